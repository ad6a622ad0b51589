/* The kernel: begin, park, resume, yield, sleep, and a turn over epoll(7).
 *
 * It follows kernel/core.py line by line; what is said there of the critical section, of finalizers
 * and of interrupts is not said again here.
 *
 * 1. Any scheduler: what is not the deque of `fifo` is called as it stands in the kernel's slots.
 * 2. A turn is C's only with the scheme epoll and the system's clock; otherwise it is Python's.
 * 3. A thread that is traced or profiled parks in Python: the tracer sees that call.
 * 4. A greenlet that is switched to is not held meanwhile: its thread holds it, and a held one could
 *    not serve the next thread (kernel/lifecycle.py). */
#include "lots.h"

#include <errno.h>
#include <poll.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "greenlet.h"

#define DEFINE_K(name) Py_ssize_t k_##name;
#define DEFINE_T(name) Py_ssize_t t_##name;
#define DEFINE_D(name) Py_ssize_t d_##name;
KERNEL_SLOTS(DEFINE_K)
THREAD_SLOTS(DEFINE_T)
DESCRIPTOR_SLOTS(DEFINE_D)
Py_ssize_t f_host;

PyObject *K;
PyThreadState *home;
PyTypeObject *T_thread, *T_finalizer;
PyCFunction dq_append, dq_popleft;
lenfunc dq_len;

static PyObject *kernel_object;   /* keeps K alive */
static PyObject *thread_class, *finalizer_class, *descriptor_class;
static PyObject *fifo_push, *fifo_pop;    /* in the kernel's slots, if the scheduler is `fifo` */
static PyObject *table;                   /* dict: the descriptors by number */
static PyObject *from_inside;             /* kinds of waits that only another thread can end */
static PyObject *ints[TURN + 1], *kind_sleep;
static void **traced, **profiled, **has_local; /* words of `home`; NULL: there is none */
static int own_turn;                      /* scheme epoll, and the clock is now_s */
static Py_ssize_t b_fd, b_notifier, n_reader, tm_heap, tm_serial, sl_is_over, sl_advance;

/* What is left to Python.  Methods of Kernel: those that C stands for, and those that it calls. */
#define STANDS_FOR(X) X(begin) X(cancel) X(park) X(resume) X(yield_) X(sleep_until) X(_begin_turn)
#define METHODS(X) X(_exchange) X(_go_on) X(_drain_inbox)
/* Bound methods, of the kernel and of others. */
#define BOUND(X) \
    X(_push_and_notify) X(finish_wake_ups) X(restore_trace) X(next_deadline) X(add_timer) X(grant) \
    X(dispatch) X(notify) X(drain_notifier)
#define DEFINE_SLOW(name) static PyObject *s_##name;
STANDS_FOR(DEFINE_SLOW)
METHODS(DEFINE_SLOW)
BOUND(DEFINE_SLOW)
static PyObject *s_sleep, *s_get_ident;

/* ---- the run queue ----------------------------------------------------------------------------- */

int n_ready(void)
{
    PyObject *ready = SLOT(K, k_ready);
    if (LIKELY(fifo_pop != NULL)) return (int)dq_len(ready);
    return PyObject_IsTrue(ready);
}

int push(PyObject *thread)
{
    PyObject *way = SLOT(K, k_push);
    if (LIKELY(way == fifo_push)) return done(dq_append(SLOT(K, k_ready), thread));
    Py_INCREF(way); /* what it calls may put another one there */
    int failed = call1(way, thread);
    Py_DECREF(way);
    return failed;
}

static int begin_turn(void);

static PyObject *pop_slowly(void)
{
    for (;;) {
        PyObject *way = Py_NewRef(SLOT(K, k__pop)), *kind, *value, *trace;
        PyObject *thread = PyObject_CallNoArgs(way);
        Py_DECREF(way);
        if (thread != NULL || !PyErr_ExceptionMatches(PyExc_IndexError)) return thread;
        PyErr_Fetch(&kind, &value, &trace);
        int left = n_ready();
        if (left > 0) {
            PyErr_Restore(kind, value, trace);
            return NULL;
        }
        Py_XDECREF(kind);
        Py_XDECREF(value);
        Py_XDECREF(trace);
        /* At 0 a finalizer came at the call, and has let all others run. */
        if (left < 0 || begin_turn() < 0) return NULL;
    }
}

static inline PyObject *pop(void)
{
    if (LIKELY(SLOT(K, k__pop) == fifo_pop)) return dq_popleft(SLOT(K, k_ready), NULL);
    return pop_slowly();
}

static inline long budget(void) { return PyLong_AsLong(SLOT(K, k_budget)); }

static inline void count_down(void)
{
    long left = budget() - 1;
    put_slot(K, k_budget, ints[left < 0 ? 0 : left]);
}

/* ---- what C code keeps by OS thread ------------------------------------------------------------ */

static inline int is_observed(void) { return *traced != NULL || *profiled != NULL; }

static inline int has_state(void)
{
    PyObject *importing = SLOT(K, k_importing);
    return PyDict_GET_SIZE(SLOT(K, k_tsd)) != 0 || (has_local != NULL && *has_local != NULL) ||
           (importing != Py_None && PySet_GET_SIZE(importing) != 0);
}

int has_c_state(void) { return is_observed() || has_state(); }

/* ---- switching --------------------------------------------------------------------------------- */

PyObject *begin(void)
{
    PyObject *me = SLOT(K, k_current), *finalizer = SLOT(K, k_finalizer);
    if (UNLIKELY(me == finalizer)) {
        me = PyObject_CallOneArg(s_begin, K);
        Py_XDECREF(me); /* its new finalizer holds it as its host */
        return me;
    }
    put_slot(finalizer, f_host, me);
    put_slot(me, t_parked, Py_True);
    put_slot(me, t_timed_out, Py_False);
    put_slot(K, k_current, finalizer);
    return me;
}

static inline void note_greenlet(PyObject *me)
{
    give_slot(me, t_greenlet, (PyObject *)PyGreenlet_GetCurrent());
}

/* As `raise error`: an instance or a class, which is given up. */
static int raise_(PyObject *error)
{
    if (PyExceptionClass_Check(error))
        PyErr_SetNone(error);
    else
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return -1;
}

/* Run the next thread, which was popped and is given to this function; 0 when `me` runs again. */
static int switch_from(PyObject *me, PyObject *next)
{
    put_slot(K, k__chosen, next);
    if (next != me) {
        if (UNLIKELY(SLOT(next, t_c_state) != Py_None || has_state())) {
            PyObject *args[] = {K, me, next};
            PyObject *other = PyObject_Vectorcall(s__exchange, args, 3, NULL);
            Py_DECREF(next);
            if (other == NULL) return -1;
            next = other;
        }
        PyObject *finalizer = SLOT(K, k_finalizer);
        put_slot(finalizer, f_host, next);
        put_slot(K, k_current, finalizer);
        PyObject *to = SLOT(next, t_started) == Py_True ? SLOT(next, t_greenlet) : SLOT(K, k__base);
        Py_DECREF(next); /* it is the chosen one: the kernel holds it */
        return done(PyGreenlet_Switch((PyGreenlet *)to, NULL, NULL));
    }
    Py_DECREF(next);
    return 0;
}

/* `me` was switched to.  *error is what it is to raise, or NULL. */
static int arrive(PyObject *me, PyObject **error)
{
    *error = NULL;
    if (UNLIKELY(SLOT(K, k__chosen) != me || SLOT(me, t_interrupt) != Py_None)) {
        PyObject *args[] = {K, me};
        PyObject *raised = PyObject_Vectorcall(s__go_on, args, 2, NULL);
        if (raised == NULL) return -1;
        if (raised == Py_None)
            Py_DECREF(raised);
        else
            *error = raised;
    }
    put_slot(K, k__chosen, Py_None);
    return 0;
}

static int slow_park(PyObject *me, PyObject *deadline)
{
    PyObject *args[] = {K, me, deadline};
    PyObject *in_time = PyObject_Vectorcall(s_park, args, 3, NULL);
    if (in_time == NULL) return -1;
    int result = in_time == Py_True;
    Py_DECREF(in_time);
    return result;
}

/* Timers.add, of a thread that has no entry. */
static int push_timer(PyObject *me, PyObject *deadline)
{
    PyObject *timers = SLOT(K, k_timers), *entry = PyList_New(3);
    if (entry == NULL) return -1;
    PyObject *serial = PyLong_FromLongLong(PyLong_AsLongLong(SLOT(timers, tm_serial)) + 1);
    if (serial == NULL) {
        Py_DECREF(entry);
        return -1;
    }
    PyList_SET_ITEM(entry, 0, Py_NewRef(deadline));
    PyList_SET_ITEM(entry, 1, Py_NewRef(serial));
    PyList_SET_ITEM(entry, 2, Py_NewRef(me));
    give_slot(timers, tm_serial, serial);
    put_slot(me, t_deadline, deadline);
    put_slot(me, t_timer, entry);
    int failed = heap_push(SLOT(timers, tm_heap), entry);
    Py_DECREF(entry);
    return failed;
}

static int add_timer(PyObject *me, PyObject *deadline)
{
    PyObject *timer = SLOT(me, t_timer);
    if (timer == Py_None && PyFloat_CheckExact(deadline)) return push_timer(me, deadline);
    if (timer != Py_None && PyFloat_CheckExact(deadline)) {
        PyObject *at = PyList_GET_ITEM(timer, 0);
        if (PyFloat_CheckExact(at) && PyFloat_AS_DOUBLE(at) <= PyFloat_AS_DOUBLE(deadline)) {
            put_slot(me, t_deadline, deadline);
            return 0; /* its entry fires early, and moves */
        }
    }
    return call2(s_add_timer, me, deadline);
}

static int parked(PyObject *me, PyObject *deadline)
{
    if (deadline != Py_None && add_timer(me, deadline) < 0) return -1;
    put_slot(me, t_since, SLOT(K, k_now));
    note_greenlet(me);
    if (budget() <= 0 || n_ready() <= 0) {
        if (UNLIKELY(PyErr_Occurred() != NULL) || begin_turn() < 0) return -1;
    }
    count_down();
    PyObject *next = pop(), *error;
    if (next == NULL || switch_from(me, next) < 0 || arrive(me, &error) < 0) return -1;
    if (UNLIKELY(SLOT(me, t_parked) == Py_True)) {
        Py_XDECREF(error);
        PyErr_Format(PyExc_SystemError, "%R runs but was never resumed", me);
        return -1;
    }
    int in_time = SLOT(me, t_timed_out) != Py_True;
    put_slot(K, k_current, me);
    put_slot(me, t_deadline, Py_None);
    put_slot(me, t_object, Py_None);
    if (UNLIKELY(SLOT(me, t_trace) != Py_None) && call1(s_restore_trace, me) < 0) {
        Py_XDECREF(error);
        return -1;
    }
    return LIKELY(error == NULL) ? in_time : raise_(error);
}

int park(PyObject *me, PyObject *deadline)
{
    if (UNLIKELY(is_observed())) return slow_park(me, deadline);
    Py_INCREF(me); /* a finalizer that waits may have no other reference while it runs */
    int result = parked(me, deadline);
    Py_DECREF(me);
    return result;
}

int resume_thread(PyObject *thread)
{
    if (LIKELY(SLOT(thread, t_parked) == Py_True)) {
        put_slot(thread, t_parked, Py_False);
        return push(thread);
    }
    return call2(s_resume, K, thread);
}

int cancel_wait(PyObject *me)
{
    if (LIKELY(SLOT(me, t_parked) == Py_True)) {
        put_slot(me, t_parked, Py_False);
        put_slot(K, k_current, me);
        return 0;
    }
    put_slot(me, t_by_interrupt, Py_False); /* it must not go on waiting: nobody would resume it */
    return park(me, Py_None) < 0 ? -1 : 0;  /* resumed already: its turn has to be taken */
}

static int yielded(PyObject *me)
{
    put_slot(SLOT(K, k_finalizer), f_host, me);
    put_slot(K, k_current, SLOT(K, k_finalizer));
    if (push(me) < 0) return -1;
    count_down();
    put_slot(me, t_since, SLOT(K, k_now));
    note_greenlet(me);
    PyObject *next = pop(), *error;
    if (next == NULL || switch_from(me, next) < 0 || arrive(me, &error) < 0) return -1;
    put_slot(K, k_current, me);
    return LIKELY(error == NULL) ? 0 : raise_(error);
}

/* Kernel.yield_ */
static int yield_now(void)
{
    PyObject *me = SLOT(K, k_current);
    if (UNLIKELY(is_observed() || fifo_pop == NULL)) /* a frame of Python tells what it waits for */
        return call1(s_yield_, K);
    int result;
    if (me == SLOT(K, k_finalizer) || budget() <= 0 || n_ready() <= 0 || has_state()) {
        me = begin();
        if (me == NULL) return -1;
        Py_INCREF(me);
        put_slot(me, t_parked, Py_False);
        result = push(me) < 0 || park(me, Py_None) < 0 ? -1 : 0;
    } else {
        Py_INCREF(me);
        result = yielded(me);
    }
    Py_DECREF(me);
    return result;
}

/* Kernel.sleep_until */
static int sleep_until(double deadline)
{
    PyObject *at = PyFloat_FromDouble(deadline);
    if (at == NULL) return -1;
    PyObject *me = begin();
    int result = -1;
    if (me != NULL) {
        put_slot(me, t_kind, kind_sleep);
        result = park(me, at) < 0 ? -1 : 0;
    }
    Py_DECREF(at);
    return result;
}

/* ---- the turn ---------------------------------------------------------------------------------- */

#ifdef __linux__

/* Bits of poll(2), as contracts/descriptor.py has them; those of epoll(7) are the same. */
#define NVAL 0x20
#define WAKES_READERS (EPOLLIN | EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDHUP | NVAL)
#define WAKES_WRITERS (EPOLLOUT | EPOLLERR | EPOLLHUP | NVAL)
#define NOT_EXACT (EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDHUP)

#define MOST 512
#define LONGEST 86400.0 /* backends.limits.MAX_TIMEOUT */

/* A poll within a poll (a finalizer that waits while events are dispatched) has its own, smaller. */
static struct epoll_event events_found[MOST];
static int is_dispatching;

/* Python's dispatch, for one event. */
static int dispatch_one(PyObject *fd, unsigned happened)
{
    PyObject *events = Py_BuildValue("((OI))", fd, happened);
    if (events == NULL) return -1;
    int failed = call1(s_dispatch, events);
    Py_DECREF(events);
    return failed;
}

static inline int is_one(PyObject *waiting) { return Py_TYPE(waiting) == T_thread; }

/* Whether C tells of the event: nobody observes `d`, at most one thread waits to write and, where the
 * event ends the request, nobody is left whom it does not concern. */
static inline int is_plain_event(PyObject *d, unsigned happened)
{
    PyObject *readers = SLOT(d, d_readers), *writers = SLOT(d, d_writers);
    int to_read = (happened & WAKES_READERS) != 0, to_write = (happened & WAKES_WRITERS) != 0;
    if (SLOT(d, d_observers) != Py_None) return 0;
    if (LIKELY(SLOT(d, d_owned) == Py_True))
        return SLOT(d, d_armed) != ints[0] && (writers == Py_None || !to_write || is_one(writers));
    return (readers == Py_None || (to_read && is_one(readers))) &&
           (writers == Py_None || (to_write && is_one(writers)));
}

static int tell_of(PyObject *d, unsigned happened)
{
    if (SLOT(d, d_owned) != Py_True) put_slot(d, d_armed, ints[0]);
    if (happened & WAKES_READERS) {
        if (happened & NOT_EXACT) {
            put_slot(d, d_exact, Py_False);
            put_slot(d, d_ended, happened & EPOLLRDHUP ? Py_True : Py_False);
        }
        PyObject *readers = SLOT(d, d_readers);
        if (readers == Py_None)
            put_slot(d, d_can_read, Py_True);
        else if (slot_wake_one(d, d_readers) < 0)
            return -1;
    }
    if (UNLIKELY(happened & WAKES_WRITERS) && is_one(SLOT(d, d_writers)))
        return slot_wake_one(d, d_writers);
    return 0;
}

static int tell(const struct epoll_event *event)
{
    unsigned happened = event->events;
    PyObject *fd = PyLong_FromLong(event->data.fd);
    if (fd == NULL) return -1;
    int failed = 0;
    PyObject *d = PyDict_GetItemWithError(table, fd); /* borrowed */
    if (LIKELY(d != NULL && is_plain_event(d, happened))) {
        Py_INCREF(d);
        failed = tell_of(d, happened);
        Py_DECREF(d);
    } else
        failed = PyErr_Occurred() != NULL ? -1 : dispatch_one(fd, happened);
    Py_DECREF(fd);
    return failed;
}

/* epoll_wait(2) with a time in nanoseconds.  It looks for signals, as epoll.poll() does. */
static int wait_for_events(int epoll, struct epoll_event *found, int most, double timeout)
{
    static int has_pwait2 = 1;
    int count = -1, error;
    if (timeout == 0.0)
        return epoll_wait(epoll, found, most, 0); /* EINTR is not possible */
    struct timespec limit = {(time_t)timeout, (long)((timeout - (double)(time_t)timeout) * 1e9)};
    struct timespec *within = timeout < 0.0 ? NULL : &limit;
    Py_BEGIN_ALLOW_THREADS
#ifdef SYS_epoll_pwait2
    if (has_pwait2) {
        count = (int)syscall(SYS_epoll_pwait2, epoll, found, most, within, NULL, (size_t)8);
        if (count < 0 && (errno == ENOSYS || errno == EPERM)) has_pwait2 = 0;
    }
#else
    has_pwait2 = 0;
#endif
    if (!has_pwait2) {
        struct pollfd one = {.fd = epoll, .events = POLLIN};
        count = ppoll(&one, 1, within, NULL);
        if (count > 0) count = epoll_wait(epoll, found, most, 0);
    }
    error = errno;
    Py_END_ALLOW_THREADS
    errno = error;
    return count;
}

/* The kernel's poll: how many events there are; -1 with an exception. */
static int poll_events(struct epoll_event *found, int most, double timeout)
{
    PyObject *backend = SLOT(K, k_backend);
    int epoll = (int)PyLong_AsLong(SLOT(backend, b_fd));
    int count = wait_for_events(epoll, found, most, timeout);
    if (count < 0) {
        if (errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        count = 0;
    }
    /* Where the evaluation loop looked after the poll: a handler may end the wait of a thread. */
    if (timeout != 0.0 && PyErr_CheckSignals() < 0) return -1;
    long reader = PyLong_AsLong(SLOT(SLOT(backend, b_notifier), n_reader));
    for (int i = 0; i < count; i++)
        if (found[i].data.fd == reader && call0(s_drain_notifier) < 0) return -1;
    return count;
}

/* The entry of the earliest deadline, as Timers._first finds it, borrowed; NULL with *failed if there
 * is none, or it raised.  It is the first until anything is called or let go of. */
static PyObject *first_timer(int *failed)
{
    *failed = 0;
    for (int looked = 0;; looked = 1) {
        PyObject *heap = SLOT(SLOT(K, k_timers), tm_heap);
        if (PyList_GET_SIZE(heap) == 0) return NULL;
        PyObject *entry = PyList_GET_ITEM(heap, 0), *at = PyList_GET_ITEM(entry, 0);
        PyObject *thread = PyList_GET_ITEM(entry, 2);
        if (LIKELY(thread != Py_None)) {
            PyObject *wanted = SLOT(thread, t_deadline);
            if (LIKELY(PyFloat_CheckExact(wanted) && PyFloat_CheckExact(at))) {
                if (PyFloat_AS_DOUBLE(wanted) <= PyFloat_AS_DOUBLE(at)) return entry;
            } else if (looked && wanted != Py_None)
                return entry; /* Python has compared them */
        }
        PyObject *found = PyObject_CallNoArgs(s_next_deadline); /* drops what is stale */
        if (found == NULL) {
            *failed = -1;
            return NULL;
        }
        Py_DECREF(found);
    }
}

/* The earliest time at which a timer may be due, into *deadline: 1; 0 if there is none. */
static int next_deadline(double *deadline)
{
    int failed;
    PyObject *entry = first_timer(&failed);
    if (entry == NULL) return failed;
    *deadline = PyFloat_AsDouble(PyList_GET_ITEM(entry, 0));
    return *deadline == -1.0 && PyErr_Occurred() != NULL ? -1 : 1;
}

/* Make the threads runnable whose deadlines have passed, earliest first; not too many at a time. */
static int expire(double now)
{
    for (int count = 0; count < TURN; count++) {
        double deadline;
        int found = next_deadline(&deadline), failed = 0;
        if (found <= 0 || deadline > now) return found < 0 ? -1 : 0;
        PyObject *entry = heap_pop(SLOT(SLOT(K, k_timers), tm_heap));
        if (entry == NULL) return -1;
        PyObject *thread = Py_NewRef(PyList_GET_ITEM(entry, 2));
        put_slot(thread, t_timer, Py_None);
        put_slot(thread, t_deadline, Py_None);
        Py_DECREF(entry);
        if (SLOT(thread, t_parked) == Py_True) {
            put_slot(thread, t_timed_out, Py_True);
            put_slot(thread, t_parked, Py_False);
            failed = push(thread);
        } else if (SLOT(thread, t_by_interrupt) == Py_True) {
            put_slot(thread, t_timed_out, Py_True);
            put_slot(thread, t_by_interrupt, Py_False);
        }
        Py_DECREF(thread);
        if (failed) return -1;
    }
    return 0;
}

static inline int drain_inbox(void)
{
    return dq_len(SLOT(K, k__inbox)) != 0 ? call1(s__drain_inbox, K) : 0;
}

/* How long to wait where no deadline is set: who looks for deadlocks says so, but is not asked where
 * the last that ran waits for something from outside (diagnosis/deadlock.py: `idle`). */
static int ask_idle(double *timeout)
{
    PyObject *host = SLOT(SLOT(K, k_finalizer), f_host);
    if (SLOT(host, t_greenlet) != Py_None) {
        int is_inside = PySet_Contains(from_inside, SLOT(host, t_kind));
        if (is_inside <= 0) {
            *timeout = -1.0;
            return is_inside;
        }
    }
    PyObject *idle = Py_NewRef(SLOT(K, k_idle)), *limit = PyObject_CallNoArgs(idle);
    Py_DECREF(idle);
    if (limit == NULL) return -1;
    *timeout = limit == Py_None ? -1.0 : PyFloat_AsDouble(limit);
    Py_DECREF(limit);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* Until when to wait; *timeout is 0.0 where somebody can run, and below 0 for ever. */
static int find_timeout(double *timeout)
{
    double deadline;
    *timeout = 0.0;
    if (n_ready() != 0 || dq_len(SLOT(K, k_deferred)) != 0) return PyErr_Occurred() ? -1 : 0;
    int found = next_deadline(&deadline);
    if (found < 0) return -1;
    if (!found && ask_idle(timeout) < 0) return -1;
    if (found) {
        *timeout = deadline - now_s();
        if (*timeout < 0.0) *timeout = 0.0;
        if (*timeout > LONGEST) *timeout = LONGEST;
    }
    put_slot(K, k_blocking, Py_True);
    put_slot(K, k_polling, Py_True);
    put_slot(K, k_push, s__push_and_notify);
    if (dq_len(SLOT(K, k__inbox)) != 0 || n_ready() != 0) *timeout = 0.0;
    return PyErr_Occurred() ? -1 : 0;
}

/* One poll, and what came of it, into `found`; at least one thread may be runnable after it. */
static __attribute__((noinline)) int poll_and_tell(struct epoll_event *found, int most, int below)
{
    double timeout;
    if (find_timeout(&timeout) < 0) return -1;
    int count = poll_events(found, most, timeout);
    put_slot(K, k_blocking, Py_False);
    if (SLOT(K, k_polling) == Py_True && !below) {
        put_slot(K, k_polling, Py_False);
        put_slot(K, k_push, SLOT(K, k__plain_push));
    }
    if (count < 0) return -1;
    double now = now_s();
    PyObject *ended = PyFloat_FromDouble(now);
    if (ended == NULL) return -1;
    give_slot(K, k_now, ended);
    if (timeout != 0.0 && SLOT(K, k_wake_watchdog) != Py_None) {
        PyObject *wake = Py_NewRef(SLOT(K, k_wake_watchdog));
        int failed = call0(wake);
        Py_DECREF(wake);
        if (failed) return -1;
    }
    for (int i = 0; i < count; i++)
        if (tell(&found[i]) < 0) return -1;
    return expire(now);
}

/* Of `poll_and_tell`, what a thread needs that goes on: no waiting. */
static int look(struct epoll_event *found, int most)
{
    int count = poll_events(found, most, 0.0);
    if (count < 0) return -1;
    double now = now_s();
    PyObject *ended = PyFloat_FromDouble(now);
    if (ended == NULL) return -1;
    give_slot(K, k_now, ended);
    put_slot(K, k_budget, ints[TURN]);
    for (int i = 0; i < count; i++)
        if (tell(&found[i]) < 0) return -1;
    return expire(now);
}

static __attribute__((noinline)) int poll_within_poll(int below)
{
    struct epoll_event few[16];
    return poll_and_tell(few, 16, below);
}

static int own_begin_turn(void)
{
    put_slot(K, k_budget, ints[TURN]);
    PyObject *idle = n_ready() != 0 ? Py_False : Py_True;
    int below = SLOT(K, k_polling) == Py_True; /* and on top of it a finalizer waits */
    for (;;) {
        int failed;
        if (drain_inbox() < 0) return -1;
        if (UNLIKELY(PyDict_GET_SIZE(SLOT(K, k_unfinished)) != 0) && call0(s_finish_wake_ups) < 0)
            return -1;
        if (UNLIKELY(is_dispatching))
            failed = poll_within_poll(below);
        else {
            is_dispatching = 1;
            failed = poll_and_tell(events_found, MOST, below);
            is_dispatching = 0;
        }
        if (failed || drain_inbox() < 0) return -1;
        if (dq_len(SLOT(K, k_deferred)) != 0) {
            if (call1(s_grant, idle) < 0) return -1;
        } else
            put_slot(SLOT(K, k__slices), sl_is_over, Py_False);
        int runnable = n_ready();
        if (runnable < 0) return -1;
        if (runnable) /* else this poll has taken what was to end the one below */
            return below ? call0(s_notify) : 0;
    }
}

#endif

static int begin_turn(void)
{
#ifdef __linux__
    /* A thread that steps aside may be overtaken by those that the poll wakes: `slices` knows. */
    if (LIKELY(own_turn && SLOT(SLOT(K, k__slices), sl_is_over) == Py_False)) return own_begin_turn();
#endif
    return call1(s__begin_turn, K);
}

int has_own_clock(void) { return own_turn; }

int own_epoll(void)
{
    return own_turn ? (int)PyLong_AsLong(SLOT(SLOT(K, k_backend), b_fd)) : -1;
}

/* Whether a thread may poll that goes on afterwards: nothing else of the kernel's is under way. */
static inline int may_look(void)
{
#ifdef __linux__
    return own_turn && !is_dispatching && SLOT(K, k_current) != SLOT(K, k_finalizer) &&
           SLOT(K, k_polling) != Py_True && dq_len(SLOT(K, k__inbox)) == 0 &&
           PyDict_GET_SIZE(SLOT(K, k_unfinished)) == 0;
#else
    return 0;
#endif
}

/* A poll that does not wait: how many more threads can run after it; -1: raised. */
static int look_now(void)
{
#ifdef __linux__
    int before = n_ready();
    if (before < 0) return -1;
    is_dispatching = 1;
    int failed = look(events_found, MOST);
    is_dispatching = 0;
    int after = failed ? -1 : n_ready();
    return after < 0 ? -1 : after - before + (dq_len(SLOT(K, k__inbox)) != 0);
#else
    return 1;
#endif
}

int look_around(void)
{
    int others = n_ready();
    if (others != 0 || dq_len(SLOT(K, k_deferred)) != 0 || !may_look()) return others < 0 ? -1 : 1;
    return look_now();
}

int look_for_new(void)
{
    PyObject *slices = SLOT(K, k__slices), *advance = SLOT(slices, sl_advance);
    if (advance == Py_None || !may_look()) return 1;
    int woken = look_now();
    if (woken <= 0) return woken;
    /* They go before those that could run already, as Slices.overtake has it. */
    PyObject *count = PyLong_FromLong(woken);
    if (count == NULL) return -1;
    Py_INCREF(advance);
    int failed = dq_len(SLOT(K, k__inbox)) != 0 ? 0 : call1(advance, count);
    Py_DECREF(advance);
    Py_DECREF(count);
    return failed ? -1 : woken;
}

/* ---- as Python sees them ------------------------------------------------------------------------ */

static PyObject *none(int failed) { return failed < 0 ? NULL : Py_NewRef(Py_None); }

static PyObject *slow_method(PyObject *slow, PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *all[3] = {self};
    for (Py_ssize_t i = 0; i < count; i++) all[i + 1] = args[i];
    return PyObject_Vectorcall(slow, all, (size_t)count + 1, NULL);
}

static PyObject *method_begin(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K)) return PyObject_CallOneArg(s_begin, self);
    PyObject *me = begin();
    return Py_XNewRef(me);
}

static PyObject *method_cancel(PyObject *self, PyObject *me)
{
    if (UNLIKELY(self != K)) return slow_method(s_cancel, self, &me, 1);
    return none(cancel_wait(me));
}

static PyObject *method_park(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count < 1 || count > 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "park(me, deadline=None)");
        return NULL;
    }
    if (UNLIKELY(self != K)) return slow_method(s_park, self, args, count);
    int result = park(args[0], count > 1 ? args[1] : Py_None);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *method_resume(PyObject *self, PyObject *thread)
{
    if (UNLIKELY(self != K)) return slow_method(s_resume, self, &thread, 1);
    return none(resume_thread(thread));
}

static PyObject *method_yield(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K)) return PyObject_CallOneArg(s_yield_, self);
    return none(yield_now());
}

static PyObject *method_sleep_until(PyObject *self, PyObject *deadline)
{
    if (UNLIKELY(self != K)) return slow_method(s_sleep_until, self, &deadline, 1);
    double at = PyFloat_AsDouble(deadline);
    if (at == -1.0 && PyErr_Occurred()) return NULL;
    return none(sleep_until(at));
}

static PyObject *method_begin_turn(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K)) return PyObject_CallOneArg(s__begin_turn, self);
    return none(begin_turn());
}

/* time.sleep(): no time, or a plain number of seconds; everything else is wrappers/time.py's. */
static PyObject *time_sleep(PyObject *module, PyObject *duration)
{
    (void)module;
    if (LIKELY(at_home() && own_turn)) {
        if (PyLong_CheckExact(duration)) {
            int is_more;
            long seconds = PyLong_AsLongAndOverflow(duration, &is_more);
            if (seconds == 0 && !is_more) return none(yield_now());
            if (seconds > 0 && seconds < 1000000000)
                return none(sleep_until(now_s() + (double)seconds));
        } else if (PyFloat_CheckExact(duration)) {
            double seconds = PyFloat_AS_DOUBLE(duration);
            if (seconds == 0.0) return none(yield_now());
            if (seconds > 0.0 && seconds < 1e9) return none(sleep_until(now_s() + seconds));
        }
    }
    return PyObject_CallOneArg(s_sleep, duration);
}

/* _thread.get_ident() */
static PyObject *get_ident(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    if (LIKELY(at_home())) {
        PyObject *current = SLOT(K, k_current);
        if (LIKELY(Py_TYPE(current) == T_thread)) return Py_NewRef(SLOT(current, t_ident));
    }
    return PyObject_CallNoArgs(s_get_ident);
}

const Stand_in kernel_stand_ins[] = {
    {"begin", method_begin, METH_NOARGS, &s_begin},
    {"cancel", method_cancel, METH_O, &s_cancel},
    {"park", FUNCTION method_park, METH_FASTCALL | METH_KEYWORDS, &s_park},
    {"resume", method_resume, METH_O, &s_resume},
    {"yield_", method_yield, METH_NOARGS, &s_yield_},
    {"sleep_until", method_sleep_until, METH_O, &s_sleep_until},
    {"_begin_turn", method_begin_turn, METH_NOARGS, &s__begin_turn},
    {"sleep", time_sleep, METH_O, &s_sleep},
    {"get_ident", get_ident, METH_NOARGS, &s_get_ident},
    {NULL, NULL, 0, NULL},
};

/* ---- binding ------------------------------------------------------------------------------------ */

static int find_offsets(PyObject *objects)
{
    PyObject *kernel_class = (PyObject *)Py_TYPE(kernel_object);
    PyObject *backend_class = PyDict_GetItemString(objects, "EpollBackend"); /* borrowed, as all */
    PyObject *notifier_class = PyDict_GetItemString(objects, "Notifier");
    PyObject *timers_class = PyDict_GetItemString(objects, "Timers");
    PyObject *slices_class = PyDict_GetItemString(objects, "Slices");
#define FIND_K(name) if (offset_of(kernel_class, #name, &k_##name) < 0) return -1;
#define FIND_T(name) if (offset_of(thread_class, #name, &t_##name) < 0) return -1;
#define FIND_D(name) if (offset_of(descriptor_class, #name, &d_##name) < 0) return -1;
    KERNEL_SLOTS(FIND_K)
    THREAD_SLOTS(FIND_T)
    DESCRIPTOR_SLOTS(FIND_D)
    if (offset_of(finalizer_class, "host", &f_host) < 0 ||
        offset_of(timers_class, "_heap", &tm_heap) < 0 ||
        offset_of(timers_class, "_serial", &tm_serial) < 0 ||
        offset_of(slices_class, "is_over", &sl_is_over) < 0 ||
        offset_of(slices_class, "_advance", &sl_advance) < 0)
        return -1;
    if (backend_class == Py_None) return 0; /* another scheme */
    return offset_of(backend_class, "_fd", &b_fd) < 0 ||
                   offset_of(backend_class, "_notifier", &b_notifier) < 0 ||
                   offset_of(notifier_class, "reader", &n_reader) < 0
               ? -1
               : 0;
}

static int take_word(PyObject *objects, const char *name, void ***where)
{
    PyObject *address = PyDict_GetItemString(objects, name);
    if (address == NULL) {
        PyErr_SetString(PyExc_KeyError, name);
        return -1;
    }
    *where = PyLong_AsVoidPtr(address);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* Whether `method` is deque's own function, bound to the run queue. */
static int is_of_deque(PyObject *method, PyCFunction function, PyObject *queue)
{
    return PyCFunction_Check(method) && PyCFunction_GET_SELF(method) == queue &&
           PyCFunction_GET_FUNCTION(method) == function;
}

int kernel_bind(PyObject *objects, PyObject *slow)
{
    PyObject *append = PyDict_GetItemString(objects, "append");
    PyObject *popleft = PyDict_GetItemString(objects, "popleft");
    if (append == NULL || popleft == NULL) {
        PyErr_SetString(PyExc_KeyError, "append");
        return -1;
    }
    PyGreenlet_Import();
    if (_PyGreenlet_API == NULL) return -1;
    dq_append = function_of(append, METH_O);
    dq_popleft = dq_append == NULL ? NULL : function_of(popleft, METH_NOARGS);
    if (dq_popleft == NULL) return -1;
    dq_len = PyDescr_TYPE(append)->tp_as_sequence->sq_length;
#define TAKE_SLOW(name) if (take(slow, #name, &s_##name) < 0) return -1;
    METHODS(TAKE_SLOW)
    BOUND(TAKE_SLOW)
    PyObject *is_own = PyDict_GetItemString(objects, "own_turn");
    if (take(objects, "kernel", &kernel_object) < 0 ||
        take(objects, "Thread", &thread_class) < 0 ||
        take(objects, "Finalizer", &finalizer_class) < 0 ||
        take(objects, "Descriptor", &descriptor_class) < 0 ||
        
        take(objects, "table", &table) < 0 ||
        take(objects, "from_inside", &from_inside) < 0 || find_offsets(objects) < 0 ||
        take_word(objects, "traced", &traced) < 0 ||
        take_word(objects, "profiled", &profiled) < 0 ||
        take_word(objects, "has_local", &has_local) < 0)
        return -1;
    T_thread = (PyTypeObject *)thread_class;
    T_finalizer = (PyTypeObject *)finalizer_class;
    for (long i = 0; i <= TURN; i++)
        if (ints[i] == NULL && (ints[i] = PyLong_FromLong(i)) == NULL) return -1;
    if (kind_sleep == NULL && (kind_sleep = PyUnicode_InternFromString("sleep")) == NULL) return -1;
    K = kernel_object;
    PyObject *ready = SLOT(K, k_ready);
    int is_fifo = is_of_deque(SLOT(K, k__plain_push), dq_append, ready) &&
                  is_of_deque(SLOT(K, k__pop), dq_popleft, ready);
    fifo_push = is_fifo ? SLOT(K, k__plain_push) : NULL;
    fifo_pop = is_fifo ? SLOT(K, k__pop) : NULL;
    own_turn = is_own == Py_True;
    home = PyThreadState_Get();
    return 0;
}

void kernel_unbind(void)
{
    K = NULL;
    home = NULL;
    fifo_push = fifo_pop = NULL;
}
