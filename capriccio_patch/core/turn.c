/* The turn: a poll, timers and the inbox, and the looks of threads that go on afterwards.
 *
 * A turn is C's only with the scheme epoll and the system's clock; otherwise it is Python's. */
#include "kernel.h"
#include "pulse.h"

#ifdef __linux__
#include <sys/epoll.h>
#endif

int own_turn;
static PyObject *from_inside; /* kinds of waits that only another thread can end */
static Py_ssize_t sl_is_over, sl_advance;
static PyObject *s__drain_inbox, *s__push_and_notify, *s_finish_wake_ups, *s_grant, *s_notify;

static inline int has_deferred(void)
{
    return dq_len(SLOT(K, k_deferred)) != 0 || dq_len(SLOT(K, k_preempted)) != 0;
}

#ifdef __linux__

#define MOST 512
#define LONGEST 86400.0 /* backends.limits.MAX_TIMEOUT */

/* A poll within a poll (a finalizer that waits while events are dispatched) has its own, smaller. */
static struct epoll_event events_found[MOST];
static int is_dispatching;

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
    if (n_ready() != 0 || has_deferred()) return PyErr_Occurred() ? -1 : 0;
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

/* A poll has ended, at *now. */
static inline int end_poll(double *now)
{
    *now = now_s();
    PyObject *ended = PyFloat_FromDouble(*now);
    if (ended == NULL) return -1;
    give_slot(K, k_now, ended);
    note_turn(*now);
    return 0;
}

/* One poll, and what came of it, into `found`; at least one thread may be runnable after it. */
static __attribute__((noinline)) int poll_and_tell(struct epoll_event *found, int most, int below)
{
    double timeout;
    if (find_timeout(&timeout) < 0) return -1;
    PULSE_WRITE(waits, timeout != 0.0);
    int count = poll_events(found, most, timeout);
    PULSE_WRITE(waits, 0);
    put_slot(K, k_blocking, Py_False);
    if (SLOT(K, k_polling) == Py_True && !below) {
        put_slot(K, k_polling, Py_False);
        put_slot(K, k_push, SLOT(K, k__plain_push));
    }
    double now;
    if (count < 0 || end_poll(&now) < 0) return -1;
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
    double now;
    if (count < 0 || end_poll(&now) < 0) return -1;
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
        if (has_deferred()) {
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

int begin_turn(void)
{
#ifdef __linux__
    /* A thread that steps aside may be overtaken by those that the poll wakes: `slices` knows. */
    if (LIKELY(own_turn && SLOT(SLOT(K, k__slices), sl_is_over) == Py_False)) return own_begin_turn();
#endif
    return call1(s__begin_turn, K);
}

int has_own_clock(void) { return own_turn; }
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
    if (others != 0 || has_deferred() || !may_look()) return others < 0 ? -1 : 1;
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

int turn_bind(PyObject *objects, PyObject *slow)
{
    PyObject *slices = PyDict_GetItemString(objects, "Slices"); /* borrowed, as all */
    PyObject *is_own = PyDict_GetItemString(objects, "own_turn");
    if (take(objects, "from_inside", &from_inside) < 0 ||
        take(slow, "_drain_inbox", &s__drain_inbox) < 0 ||
        take(slow, "_push_and_notify", &s__push_and_notify) < 0 ||
        take(slow, "finish_wake_ups", &s_finish_wake_ups) < 0 ||
        take(slow, "grant", &s_grant) < 0 || take(slow, "notify", &s_notify) < 0 ||
        offset_of(slices, "is_over", &sl_is_over) < 0 ||
        offset_of(slices, "_advance", &sl_advance) < 0)
        return -1;
    own_turn = is_own == Py_True;
    return 0;
}
