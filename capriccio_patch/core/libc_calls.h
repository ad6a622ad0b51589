/* What the files about calls of libc by C libraries share; see libc_calls.c. */
#ifndef CAPRICCIO_LIBC_CALLS_H
#define CAPRICCIO_LIBC_CALLS_H

#include "core.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) && defined(__LP64__)
#define HAS_LIBC_HOOKS 1

#include <poll.h>
#include <pthread.h>
#include <stdint.h>

/* ---- who may park: libc_calls.c -------------------------------------------------------------- */

/* Of the patch in force.  Written with the global lock held, on the scheduler's OS thread. */
extern struct Libc_state {
    int enabled;
    pthread_t scheduler;
    PyObject *kernel, *wait, *job;
    PyTypeObject *finalizer; /* borrowed */
    Py_ssize_t current_at, threads_at, ident_at, host_at;
    PyThreadState *home_state; /* borrowed */
    int once; /* how deep the scheduler's OS thread is in initialisations that are made once */
    int careful; /* whether the call is one of a library that is STRICT: libc_careful.c */
    int owned;   /* how many locks libraries of which little is known have taken */
    uintptr_t stack; /* of the scheduler's OS thread: its lowest address */
    size_t stack_size;
    unsigned long parks;
} libc_state;

static inline int is_home(void)
{
    return __atomic_load_n(&libc_state.enabled, __ATOMIC_RELAXED) &&
           pthread_equal(pthread_self(), libc_state.scheduler);
}

static inline int has_global_lock(void)
{
#if PY_VERSION_HEX < 0x030D0000
    return _PyThreadState_UncheckedGet() == libc_state.home_state;
#else
    return PyThreadState_GetUnchecked() == libc_state.home_state;
#endif
}

/* Only the scheduler's OS thread changes what is read here, so it needs no lock. */
static inline int others_may_run(void)
{
    return is_home() && !libc_state.once &&
           PyDict_GET_SIZE(SLOT(libc_state.kernel, libc_state.threads_at)) > 1 &&
           Py_TYPE(SLOT(libc_state.kernel, libc_state.current_at)) != libc_state.finalizer;
}

static inline int is_on_stack(const void *address)
{
    return (uintptr_t)address - libc_state.stack < libc_state.stack_size;
}

static inline int may_park(void)
{
    char here;
    return others_may_run() && !has_global_lock() && is_on_stack(&here);
}

/* What a wait ends with; in the bits above `ANSWER` is a signal number to trip, or 0. */
enum { LATE, READY, INTERRUPTED, NOT_HERE, ANSWER = 255 };

typedef struct {
    PyGILState_STATE state;
    PyObject *type, *value, *traceback;
    unsigned long mark;
    int careful;
} Inside;

void enter_python(Inside *in);
/* What the wait has ended with; steals `result`, which is NULL for an exception. */
int leave_python(Inside *in, PyObject *result);

/* Park until one of the descriptors is ready, or for `seconds`; below 0: for ever. */
int park_for(const struct pollfd *fds, nfds_t count, double seconds);
int park_until_ready(int fd, short events, double seconds);

/* A wait with an end: seconds below 0 are for ever. */
typedef struct {
    double end;
    int endless, vain;
} Limit;

Limit limit_of(double seconds);
double left_of(const Limit *limit);           /* in seconds */
int milliseconds_left(const Limit *limit);    /* for calls that take those */
/* As park_for; woken in vain again and again, by a hang-up that is not asked for, it pauses. */
int park_again(const struct pollfd *fds, nfds_t count, Limit *limit);

/* ---- jobs, which a worker does while its caller parks: libc_jobs.c ----------------------------- */

typedef struct Job {
    void (*run)(struct Job *);
    struct Job *next;
    long args[6];
    long result;
    int error, done;
} Job;

Job *new_job(void (*run)(Job *));
/* Whether a worker has done it.  A job can't be given up: others' memory is in it. */
int job_done(Job *job);
PyObject *run_job(PyObject *module, PyObject *address);

/* ---- mutexes that are held over a park: libc_mutexes.c ----------------------------------------- */

void begin_mutexes(void);
int mutexes_are_known(void); /* whether those of this libc are as expected */
int hooked_mutex_lock(pthread_mutex_t *mutex);
int hooked_mutex_trylock(pthread_mutex_t *mutex);
int hooked_mutex_unlock(pthread_mutex_t *mutex);
int is_recursive(const pthread_mutex_t *mutex);
/* Whether the object at `path` calls the guards of C++ that the hooks call. */
int has_known_guards(const char *path);
unsigned long mark_held(void);
void unmark(unsigned long mark);

/* ---- which function stands for which ---------------------------------------------------------- */

/* Which calls of an object are taken over: WAITS, and with it or WATCHFUL perhaps SYNCHRONISES; of one
 * that nobody has tried WATCHFUL or STRICT. */
enum { WAITS = 1, SYNCHRONISES = 2, WATCHFUL = 4, STRICT = 8, ALL = WAITS | WATCHFUL | STRICT };

typedef struct {
    const char *name;
    void *hook;
    int which;
} Hook;

#define H(name, hook) {name, (void *)(hook), WAITS | WATCHFUL}

/* Each ends with a row that has no name. */
extern const Hook libc_poll_hooks[], libc_descriptor_hooks[], libc_sleep_hooks[], libc_job_hooks[],
    libc_careful_hooks[], libc_mutex_hooks[];

/* The function that stands for libc's of this name; NULL: it is left alone. */
void *libc_hook_of(const char *name, int which);

int libc_may_wait(const char *name); /* whether the function of this name is one that may wait */
void libc_each_hook(void (*call)(const char *name));

/* ---- objects and their slots: libc_objects.c, libc_slots.c ------------------------------------- */

PyObject *libc_objects(PyObject *module, PyObject *args);
PyObject *libc_traits(PyObject *module, PyObject *address);
PyObject *libc_hook(PyObject *module, PyObject *args);
PyObject *libc_restore(PyObject *module, PyObject *ignored);
#endif

/* The functions of the module: empty where there are no hooks. */
extern PyMethodDef libc_functions[];

#endif
