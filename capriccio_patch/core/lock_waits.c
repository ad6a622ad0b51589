/* Waiting for a lock and waking who waits: wrappers.threads.lock_waits.
 *
 * 1. Who waits for a lock, who of them starves and who was given a lock that starved is in the
 *    dictionaries of the LockWaits of Python: what C leaves to it goes on with them.
 * 2. The Python functions look at everything again after each call, because finalizers may come
 *    there and wait.  Here they can't: between a look and the change that follows from it nothing is
 *    given up that has a finalizer, no function of Python is called, and the collector is kept from
 *    running where an object is made.  The calls that may run code of the program's are `begin`,
 *    `park`, `resume_thread` and those of `slow`; what they need is written before, what they may
 *    have changed is read again after. */
#include "locks.h"

static PyObject *c_released; /* the set of a WeakSet */

static int take_lock(PyObject *lock, PyObject *thread)
{
    (void)thread;
    return lock_try((Lock *)lock);
}
static int leave_lock(PyObject *lock)
{
    lock_free((Lock *)lock);
    return 0;
}

static int take_rlock(PyObject *lock, PyObject *thread)
{
    return rlock_try((RLock *)lock, ident_of(thread));
}
int leave_rlock(PyObject *lock)
{
    unsigned long count = rlock_count((RLock *)lock);
    if (count > 1)
        rlock_set_count((RLock *)lock, count - 1);
    else
        rlock_free((RLock *)lock);
    return 0;
}

Lock_type plain = {.take = take_lock, .leave = leave_lock, .waiting = &lock_waiting};
Lock_type recursive = {.take = take_rlock, .leave = leave_rlock, .waiting = &rlock_waiting};

/* Another OS thread has freed it: the dictionary may be looked at, with the GIL held. */
static __attribute__((noinline)) int wake_from_elsewhere(Lock_type *type, PyObject *lock, PyObject *key)
{
    int waits_for_it = PyDict_Contains(*type->waiting, key);
    return waits_for_it <= 0 ? waits_for_it : call1(type->wake, lock);
}

/* Some thread starves.  If the first does, it is given the lock: 1 it may be woken, 0 not, -1 raised. */
static __attribute__((noinline)) int give_to_starving(Lock_type *type, PyObject *lock, PyObject *key)
{
    PyObject *thread = lot_first(*type->waiting, key);
    if (thread == NULL) return PyErr_Occurred() ? -1 : 1;
    int starves = PySet_Contains(type->starving, thread), result = starves < 0 ? -1 : 1;
    if (starves > 0 && !type->take(lock, thread))
        result = 0; /* taken by another OS thread meanwhile: that releases it */
    else if (starves > 0) {
        if (PyDict_SetItem(type->given, thread, lock) < 0) {
            type->leave(lock);
            result = -1;
        } else if (PySet_Discard(type->starving, thread) < 0)
            result = -1;
    }
    Py_DECREF(thread);
    return result;
}

static int wake_for(Lock_type *type, PyObject *lock)
{
    PyObject *key = lot_key(lock), *thread;
    if (key == NULL) return -1;
    int wakes = 1, failed = 0;
    if (UNLIKELY(!at_home()))
        failed = wake_from_elsewhere(type, lock, key);
    else {
        if (UNLIKELY(PySet_GET_SIZE(type->starving))) wakes = give_to_starving(type, lock, key);
        if (wakes > 0 && (thread = lot_take_first(*type->waiting, key)) != NULL) {
            failed = resume_thread(thread);
            Py_DECREF(thread);
        } else if (wakes < 0 || PyErr_Occurred())
            failed = -1;
    }
    Py_DECREF(key);
    return failed;
}

/* `me` was to wait, and raises: what it was woken for is the next one's. */
static __attribute__((noinline)) void give_up(Lock_type *type, PyObject *lock, PyObject *me)
{
    Raised raised = set_aside();
    (void)go_on(raised, call2(type->give_up, lock, me) != 0);
}

/* `me` has begun to wait, and could not queue: it goes on, and raises. */
static __attribute__((noinline)) void not_queued(Lock_type *type, PyObject *lock, PyObject *me)
{
    give_up(type, lock, me);
    (void)cancel_begun(me);
}

/* Whether `me` was given the lock while it starved; that is known then.  -1 with an exception. */
static inline int was_given(Lock_type *type, PyObject *lock, PyObject *me)
{
    if (LIKELY(PyDict_GET_SIZE(type->given) == 0)) return 0;
    PyObject *given = PyDict_GetItemWithError(type->given, me);
    if (given != lock) return PyErr_Occurred() ? -1 : 0;
    return PyDict_DelItem(type->given, me) < 0 ? -1 : 1;
}

/* `me` waits no longer, and was not woken. */
static int no_longer(Lock_type *type, PyObject *key, PyObject *me)
{
    if (PySet_GET_SIZE(type->starving) && PySet_Discard(type->starving, me) < 0) return -1;
    return lot_withdraw(*type->waiting, key, me) < 0 ? -1 : 0;
}

int wait_for(Lock_type *type, PyObject *lock, PyObject *deadline)
{
    PyObject *key = lot_key(lock);
    if (key == NULL) return -1;
    int taken = -1;
    for (int again = 0;; again = 1) {
        PyObject *me = begin();
        if (me == NULL) break;
        Py_INCREF(me);
        put_slot(me, t_kind, type->kind);
        put_slot(me, t_object, lock);
        if ((again && PySet_Add(type->starving, me) < 0) ||
            lot_add(*type->waiting, key, me, again) < 0) {
            not_queued(type, lock, me);
            Py_DECREF(me);
            break;
        }
        if (UNLIKELY(type->take(lock, me))) { /* `begin` may have let a finalizer come */
            put_slot(me, t_object, Py_None);
            taken = no_longer(type, key, me) < 0 || cancel_wait(me) < 0 ? -1 : 1;
            Py_DECREF(me);
            break;
        }
        int woken = park(me, deadline);
        if (woken < 0)
            give_up(type, lock, me);
        else if ((taken = was_given(type, lock, me)) == 0) {
            if (!woken)
                taken = no_longer(type, key, me);
            else if (!(taken = type->take(lock, me))) {
                Py_DECREF(me);
                continue; /* others were faster */
            }
        }
        Py_DECREF(me);
        break;
    }
    Py_DECREF(key);
    return taken;
}

int wake_for_lock(PyObject *lock) { return wake_for(&plain, lock); }
int wake_for_rlock(PyObject *lock) { return wake_for(&recursive, lock); }
int wait_for_lock(PyObject *lock, PyObject *deadline) { return wait_for(&plain, lock, deadline); }
int wait_for_rlock(PyObject *lock, PyObject *deadline)
{
    return wait_for(&recursive, lock, deadline);
}
int has_c_released(void) { return PySet_GET_SIZE(c_released) != 0; }

/* ---- binding ------------------------------------------------------------------------------------- */

static int take_type(Lock_type *type, PyObject *objects, const char *const names[7])
{
    return take(objects, names[0], type->waiting) < 0 || take(objects, names[1], &type->starving) < 0 ||
                   take(objects, names[2], &type->given) < 0 ||
                   take(objects, names[3], &type->kind) < 0 ||
                   take(objects, names[4], &type->wake) < 0 ||
                   take(objects, names[5], &type->give_up) < 0 ||
                   take(objects, names[6], &type->stock_acquire) < 0
               ? -1
               : 0;
}

int lock_waits_bind(PyObject *objects)
{
    static const char *const of_lock[] = {"lock.waiting", "lock.starving", "lock.given", "lock.kind",
                                          "lock.wake",    "lock.give_up",  "lock.acquire"};
    static const char *const of_rlock[] = {"rlock.waiting", "rlock.starving", "rlock.given",
                                           "rlock.kind",    "rlock.wake",     "rlock.give_up",
                                           "rlock.acquire"};
    return take(objects, "c_released", &c_released) < 0 || take_type(&plain, objects, of_lock) < 0 ||
                   take_type(&recursive, objects, of_rlock) < 0
               ? -1
               : 0;
}
