/* The locks of C as C keeps them, and what waits for them: what its files share.
 *
 * They are locks.c (the methods), lock_waits.c and lock_layouts.c; conditions and queues use it too.
 *
 * 1. A lock's state is where CPython keeps it, so that OS threads, C code and `repr` see it.  That of
 *    an RLock has an owner in it: the identifier of a green thread, which is never that of an OS
 *    thread, where CPython has the identifier of an OS thread.
 * 2. `try_locks` tries these layouts on live objects; nothing here is used before it has. */
#ifndef CAPRICCIO_LOCKS_H
#define CAPRICCIO_LOCKS_H

#include "lots.h"

/* Modules/_threadmodule.c, whose structures no header has.  A Lock has a semaphore until CPython 3.13.0
 * and a mutex from 3.13.1 on, an RLock has one from 3.14 on; what is built for 3.13 runs with both. */
typedef struct {
    PyObject_HEAD
} Lock;

#pragma GCC visibility push(hidden)
#if PY_VERSION_HEX >= 0x030E0000
#define BY_KIND(mutex, semaphore) (mutex)
#elif PY_VERSION_HEX >= 0x030D0000
extern int has_mutexes; /* try_locks has found out */
#define BY_KIND(mutex, semaphore) (LIKELY(has_mutexes) ? (mutex) : (semaphore))
#else
#define BY_KIND(mutex, semaphore) (semaphore)
#endif
#pragma GCC visibility pop

#if PY_VERSION_HEX >= 0x030D0000
typedef struct {
    PyObject_HEAD
    PyMutex mutex;
} MutexLock;

static inline int mutex_is_taken(PyMutex *mutex)
{
    return _Py_atomic_load_uint8_relaxed(&mutex->_bits) & _Py_LOCKED;
}
static inline int mutex_try(PyMutex *mutex)
{
    uint8_t bits = _Py_atomic_load_uint8_relaxed(&mutex->_bits);
    while (!(bits & _Py_LOCKED))
        if (_Py_atomic_compare_exchange_uint8(&mutex->_bits, &bits, bits | _Py_LOCKED)) return 1;
    return 0;
}
static inline PyMutex *mutex_of(Lock *lock) { return &((MutexLock *)lock)->mutex; }
#endif

#if PY_VERSION_HEX < 0x030E0000
#include <pythread.h>

/* Python/thread_pthread.h: on Linux it is a semaphore.  CPython asks for the time before it tries one,
 * which costs more than the rest. */
#ifdef __linux__
#include <semaphore.h>
static inline int os_lock_try(PyThread_type_lock lock) { return sem_trywait((sem_t *)lock) == 0; }
static inline int os_lock_is(PyThread_type_lock lock, int free)
{
    int value;
    return sem_getvalue((sem_t *)lock, &value) == 0 && value == free;
}
#else
static inline int os_lock_try(PyThread_type_lock lock) { return PyThread_acquire_lock(lock, 0); }
static inline int os_lock_is(PyThread_type_lock lock, int free) { return (void)lock, (void)free, 1; }
#endif

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock;
    PyObject *weakrefs;
    char taken;
} OsLock;

static inline int os_is_known(OsLock *lock) { return os_lock_is(lock->lock, !lock->taken); }
/* One of another OS thread has it from when C gives it on; `taken` says so once that has the GIL. */
static inline int os_try(OsLock *lock)
{
    if (lock->taken || !os_lock_try(lock->lock)) return 0;
    lock->taken = 1;
    return 1;
}
static inline void os_free(OsLock *lock)
{
    lock->taken = 0;
    PyThread_release_lock(lock->lock);
}
static inline OsLock *os_lock_of(Lock *lock) { return (OsLock *)lock; }
#endif

static inline Py_ssize_t lock_size(void) { return BY_KIND(sizeof(MutexLock), sizeof(OsLock)); }
static inline int lock_is_taken(Lock *lock)
{
    return BY_KIND(mutex_is_taken(mutex_of(lock)), os_lock_of(lock)->taken);
}
/* Whether what the system has of it says the same. */
static inline int lock_is_known(Lock *lock) { return BY_KIND(((void)lock, 1), os_is_known(os_lock_of(lock))); }
static inline int lock_try(Lock *lock)
{
    return BY_KIND(mutex_try(mutex_of(lock)), os_try(os_lock_of(lock)));
}
static inline void lock_free(Lock *lock)
{
    BY_KIND(PyMutex_Unlock(mutex_of(lock)), os_free(os_lock_of(lock)));
}

#if PY_VERSION_HEX >= 0x030E0000
#define Py_BUILD_CORE 1
#include <internal/pycore_lock.h>
#undef Py_BUILD_CORE

typedef struct {
    PyObject_HEAD
    _PyRecursiveMutex mutex;
} RLock;

static inline int rlock_is_known(RLock *lock) { return (void)lock, 1; }
static inline unsigned long rlock_owner(RLock *lock) { return lock->mutex.thread; }
/* How often its owner has taken it; 0: nobody has, or one of another OS thread is about to. */
static inline unsigned long rlock_count(RLock *lock)
{
    return lock->mutex.thread ? lock->mutex.level + 1 : 0;
}
static inline void rlock_set_count(RLock *lock, unsigned long count)
{
    lock->mutex.level = count - 1;
}
static inline int rlock_take(RLock *lock, unsigned long owner)
{
    if (!mutex_try(&lock->mutex.mutex)) return 0;
    lock->mutex.thread = owner;
    lock->mutex.level = 0;
    return 1;
}
static inline void rlock_free(RLock *lock)
{
    lock->mutex.level = 0;
    lock->mutex.thread = 0;
    PyMutex_Unlock(&lock->mutex.mutex);
}
#else
typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock;
    unsigned long owner, count;
    PyObject *weakrefs;
} RLock;

static inline int rlock_is_known(RLock *lock) { return os_lock_is(lock->lock, !lock->count); }
static inline unsigned long rlock_owner(RLock *lock) { return lock->owner; }
static inline unsigned long rlock_count(RLock *lock) { return lock->count; }
static inline void rlock_set_count(RLock *lock, unsigned long count) { lock->count = count; }
static inline int rlock_take(RLock *lock, unsigned long owner)
{
    if (lock->count || !os_lock_try(lock->lock)) return 0;
    lock->owner = owner;
    lock->count = 1;
    return 1;
}
static inline void rlock_free(RLock *lock)
{
    lock->count = 0;
    lock->owner = 0;
    PyThread_release_lock(lock->lock);
}
#endif

#pragma GCC visibility push(hidden)

extern PyTypeObject *T_lock, *T_rlock;
/* By id: who waits for it.  NULL while no patch is in force. */
extern PyObject *lock_waiting, *rlock_waiting;

static inline unsigned long ident_of(PyObject *thread)
{
    while (UNLIKELY(Py_TYPE(thread) == T_finalizer)) thread = SLOT(thread, f_host);
    return PyLong_AsUnsignedLong(SLOT(thread, t_ident));
}
/* Who calls: the identifier of a green thread, or of another OS thread. */
unsigned long caller(void);

/* Take it for the caller, again if it has it: 1, or 0 if another has it.  Never waits. */
static inline int rlock_try(RLock *lock, unsigned long who)
{
    if (rlock_count(lock) && rlock_owner(lock) == who) {
        rlock_set_count(lock, rlock_count(lock) + 1);
        return 1;
    }
    return rlock_take(lock, who);
}

/* It was freed, and somebody waits for one of its type: 0, or -1 with an exception.  Any OS thread. */
int wake_for_lock(PyObject *lock);
int wake_for_rlock(PyObject *lock);

/* Free it, and wake the first of those who wait for it: 0, or -1 with an exception. */
static inline int lock_release(Lock *lock)
{
    lock_free(lock);
    if (LIKELY(lock_waiting == NULL || PyDict_GET_SIZE(lock_waiting) == 0)) return 0;
    return wake_for_lock((PyObject *)lock);
}
static inline int rlock_release_all(RLock *lock)
{
    rlock_free(lock);
    if (LIKELY(rlock_waiting == NULL || PyDict_GET_SIZE(rlock_waiting) == 0)) return 0;
    return wake_for_rlock((PyObject *)lock);
}

/* ---- waits ---------------------------------------------------------------------------------------- */

/* What is done with the locks of one type, and who waits for them. */
typedef struct {
    int (*take)(PyObject *lock, PyObject *thread); /* for this green thread; never waits */
    int (*leave)(PyObject *lock);                  /* what `take` took; wakes nobody */
    PyObject **waiting;
    PyObject *starving, *given; /* a set; by thread: the lock */
    PyObject *kind;             /* what the records of threads say that wait */
    PyObject *wake, *give_up;   /* Python's */
    PyObject *slow_acquire, *slow_release, *slow_exit;
    PyObject *stock_acquire;    /* CPython's; NULL once the patch is undone */
} Lock_type;
extern Lock_type plain, recursive;

/* Wait until it is the caller's: 1, 0 if the deadline has passed, -1 with an exception.  At home. */
int wait_for(Lock_type *type, PyObject *lock, PyObject *deadline);
int leave_rlock(PyObject *lock); /* recursive.leave */
int lock_waits_bind(PyObject *objects);
/* Whether C releases locks without calling us; then waits are Python's to judge. */
int has_c_released(void);

/* What `with` calls. */
PyObject *lock_enter(PyObject *lock);
PyObject *lock_exit(PyObject *lock);
PyObject *rlock_enter(PyObject *lock);
PyObject *rlock_exit(PyObject *lock);

/* ---- arguments ------------------------------------------------------------------------------------ */

/* The call of a Python function with what a method was called with. */
PyObject *call_slow(PyObject *slow, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names);
/* What a caller passes as `blocking` and `timeout`, by position or name: both as they are, NULL where
 * it is left out; 0, or -1 (without an exception) if there is anything else. */
int read_wait(PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject *name,
              PyObject **blocking, PyObject **timeout);
/* A timeout in seconds that is plain, a float or an int between 0 and what a lock takes: 1; else 0. */
int read_seconds(PyObject *timeout, double *seconds);

/* try_locks(lock, acquire, release, rlock, acquire, release), of CPython: lock_layouts.c */
PyObject *try_locks(PyObject *module, PyObject *const *args, Py_ssize_t n);

#pragma GCC visibility pop

#endif
