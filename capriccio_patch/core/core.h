/* What the files of the compiled core share.
 *
 * C has no state of its own.  The kernel, its threads and its descriptors are the Python classes with
 * __slots__; C reads and writes them where their member descriptors say that the slots lie.  Each
 * function does the plain case of the Python function that it stands for (table.py) and calls that
 * one, its `slow`, for everything else.
 *
 * 1. What is static here belongs to the patch in force, in the main interpreter.  A function that any
 *    OS thread may call asks `at_home` first; a method of the kernel asks whether it is `K`.
 * 2. A slot is written before what was in it is given up: giving up may run the program's code, which
 *    finds the new value.
 * 3. Between two steps of the kernel the evaluation loop would have run signal handlers, finalizers
 *    and pending calls that were due.  C does not: they run when Python code runs next, which is
 *    where the thread that is switched to goes on.  Only a poll that waits looks for signals itself.
 * 4. References are owned unless a comment says borrowed. */
#ifndef CAPRICCIO_CORE_H
#define CAPRICCIO_CORE_H

#define PY_SSIZE_T_CLEAN
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <Python.h>
#include <structmember.h>
#include <stddef.h>
#include <time.h>

#ifdef Py_GIL_DISABLED
#error "the compiled core is for a CPython with a global lock"
#endif

/* All of it is the extension's own, which is the shorter way to what another file defines. */
#pragma GCC visibility push(hidden)

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Switches between two polls at most: kernel.state.TURN. */
#define TURN 64

/* The slots that are used, by class; `k_current` is where `current` lies in a kernel. */
#define KERNEL_SLOTS(X) \
    X(current) X(finalizer) X(budget) X(now) X(clock) X(blocking) X(polling) X(idle) X(wake_watchdog) \
    X(push) X(_plain_push) X(_pop) X(_chosen) X(_base) X(ready) X(deferred) X(preempted) X(_inbox) \
    X(unfinished) X(timers) X(tsd) X(importing) X(backend) X(dispatch) X(_slices) X(threads) X(spare) \
    X(_ended) X(main) X(report) X(_run_thread)
#define THREAD_SLOTS(X) \
    X(greenlet) X(started) X(parked) X(timed_out) X(deadline) X(timer) X(interrupt) X(by_interrupt) \
    X(kind) X(object) X(since) X(c_state) X(trace) X(run) X(on_exit) X(ident) X(error)
#define DESCRIPTOR_SLOTS(X) \
    X(fd) X(owned) X(can_read) X(exact) X(ended) X(armed) X(readers) X(writers) X(observers)
#define DECLARE_K(name) extern Py_ssize_t k_##name;
#define DECLARE_T(name) extern Py_ssize_t t_##name;
#define DECLARE_D(name) extern Py_ssize_t d_##name;
KERNEL_SLOTS(DECLARE_K)
THREAD_SLOTS(DECLARE_T)
DESCRIPTOR_SLOTS(DECLARE_D)
extern Py_ssize_t f_host; /* of a Finalizer */

extern PyObject *K;              /* the kernel in force; NULL without one */
extern PyThreadState *home;      /* its OS thread's; NULL without one */
extern PyTypeObject *T_thread, *T_finalizer;
extern PyCFunction dq_append, dq_popleft; /* deque's own */
extern lenfunc dq_len;

/* ---- objects -------------------------------------------------------------------------------- */

#define SLOT(o, offset) (*(PyObject **)((char *)(o) + (offset)))

static inline void put_slot(PyObject *o, Py_ssize_t offset, PyObject *value)
{
    PyObject *old = SLOT(o, offset);
    SLOT(o, offset) = Py_NewRef(value);
    Py_XDECREF(old);
}

/* As `put_slot`, and takes over the reference to `value`. */
static inline void give_slot(PyObject *o, Py_ssize_t offset, PyObject *value)
{
    PyObject *old = SLOT(o, offset);
    SLOT(o, offset) = value;
    Py_XDECREF(old);
}

/* A call whose result does not matter: 0, or -1 with an exception. */
static inline int done(PyObject *result)
{
    if (result == NULL) return -1;
    Py_DECREF(result);
    return 0;
}
static inline int call0(PyObject *function) { return done(PyObject_CallNoArgs(function)); }
static inline int call1(PyObject *function, PyObject *arg)
{
    return done(PyObject_CallOneArg(function, arg));
}
static inline int call2(PyObject *function, PyObject *a, PyObject *b)
{
    PyObject *args[] = {a, b};
    return done(PyObject_Vectorcall(function, args, 2, NULL));
}

/* What was raised, or nothing, while something is undone. */
typedef struct {
    PyObject *kind, *value, *trace;
} Raised;
static inline Raised set_aside(void)
{
    Raised raised;
    PyErr_Fetch(&raised.kind, &raised.value, &raised.trace);
    return raised;
}
/* It goes on, unless the undoing has failed: then what that has raised does.  0 or -1. */
static inline int go_on(Raised raised, int failed)
{
    if (LIKELY(!failed)) {
        PyErr_Restore(raised.kind, raised.value, raised.trace);
        return 0;
    }
    Py_XDECREF(raised.kind);
    Py_XDECREF(raised.value);
    Py_XDECREF(raised.trace);
    return -1;
}

/* A function of C that stands for one of Python, by the name that table.py has for it. */
typedef struct {
    const char *name;
    PyCFunction function;
    int flags;
    PyObject **slow; /* the one of Python; set before a program can call the one of C */
} Stand_in;

#define FUNCTION (PyCFunction)(void (*)(void))

/* A method of `found`, which must be one of C with these flags; NULL with SystemError. */
PyCFunction function_of(PyObject *found, int flags);
/* The function of C that is the method `name` of a type; NULL if it is none that is known. */
PyCFunction stand_in_in(PyTypeObject *type, PyObject *name);
/* *where = from[name], until the next time or the end of the patch, when it is NULL.  -1: KeyError. */
int take(PyObject *from, const char *name, PyObject **where);
/* *where is the name, for the life of the process; 0 or -1. */
static inline int intern(const char *name, PyObject **where)
{
    return *where != NULL || (*where = PyUnicode_InternFromString(name)) != NULL ? 0 : -1;
}
/* Where the slot `name` of the class lies.  -1: SystemError. */
int offset_of(PyObject *cls, const char *name, Py_ssize_t *where);

/* ---- the kernel ------------------------------------------------------------------- */

/* Whether the calling OS thread is the scheduler's, in the main interpreter. */
static inline int at_home(void) { return PyThreadState_GET() == home; }

/* Seconds of the kernel's clock. */
static inline double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline struct timespec timespec_of(double seconds)
{
    time_t whole = (time_t)seconds;
    return (struct timespec){whole, (long)((seconds - (double)whole) * 1e9)};
}

/* All: only at home. */
int n_ready(void);                              /* more than 0 if a thread can run; -1: raised */
int push(PyObject *thread);                     /* into the run queue */
PyObject *begin(void);                          /* Kernel.begin: borrowed; its wait keeps it */
int park(PyObject *me, PyObject *deadline);     /* 1 resumed, 0 the deadline has passed, -1 raised */
int resume_thread(PyObject *thread);            /* Kernel.resume */
int cancel_wait(PyObject *me);                  /* Kernel.cancel */
int cancel_begun(PyObject *me);                 /* likewise, of a wait for t_object; what was raised goes on */
int has_c_state(void);                          /* whether C code keeps something for the thread */
int look_around(void);                          /* poll without waiting: 1 if others may want to run */
int look_for_new(void);                         /* as look_around, for those that it wakes alone */
int own_epoll(void);                            /* the scheme's epoll descriptor; -1: another scheme */
int has_own_clock(void);                        /* whether the kernel's clock is `now_s` */

/* ---- by subject ------------------------------------------------------------------------------ */

/* NAME_bind(objects, slow): take live objects and Python functions by name. */
extern const Stand_in kernel_stand_ins[], stacks_stand_ins[];
int kernel_bind(PyObject *objects, PyObject *slow);
void kernel_unbind(void);
int stacks_bind(PyObject *objects, PyObject *slow); /* of the kernel that is bound */
extern const Stand_in pace_stand_ins[], sockets_stand_ins[], connections_stand_ins[];
extern const Stand_in listeners_stand_ins[];
extern const Stand_in files_stand_ins[], descriptors_stand_ins[], opening_stand_ins[];
int pace_bind(PyObject *objects, PyObject *slow);
int lots_bind(PyObject *objects, PyObject *slow);
int waits_bind(PyObject *objects, PyObject *slow);
int sockets_bind(PyObject *objects, PyObject *slow);
int connections_bind(PyObject *objects, PyObject *slow); /* after `sockets_bind` */
int listeners_bind(PyObject *objects, PyObject *slow);
int files_bind(PyObject *objects, PyObject *slow);
int descriptors_bind(PyObject *objects, PyObject *slow);
int opening_bind(PyObject *objects, PyObject *slow); /* after `files_bind` */
extern const Stand_in locks_stand_ins[], conditions_stand_ins[], events_stand_ins[];
extern const Stand_in queue_stand_ins[], simple_queue_stand_ins[];
extern PyMethodDef locks_functions[], pulse_functions[];
int locks_bind(PyObject *objects, PyObject *slow);
int conditions_bind(PyObject *objects, PyObject *slow);
int queue_bind(PyObject *objects, PyObject *slow);
int simple_queue_bind(PyObject *objects, PyObject *slow);

#pragma GCC visibility pop

#endif
