/* What the files of the kernel share: kernel.c, switch.c, exchange.c, turn.c, polling.c and timers.c. */
#ifndef CAPRICCIO_KERNEL_H
#define CAPRICCIO_KERNEL_H

#include "core.h"

#pragma GCC visibility push(hidden)

/* The methods of Kernel that C stands for: `s_park` is Python's. */
#define STANDS_FOR(X) X(begin) X(cancel) X(park) X(resume) X(yield_) X(sleep_until) X(_begin_turn)
#define DECLARE_SLOW(name) extern PyObject *s_##name;
STANDS_FOR(DECLARE_SLOW)

extern PyObject *ints[TURN + 1]; /* what `budget` and `armed` are set to */
extern int own_turn;             /* scheme epoll, and the clock is now_s */

/* ---- switch.c ------------------------------------------------------------------------------------ */

int yield_now(void);              /* Kernel.yield_ */
int sleep_until(double deadline); /* Kernel.sleep_until */
int switch_bind(PyObject *objects, PyObject *slow); /* of K, as the others here */
void switch_unbind(void);

/* ---- exchange.c ---------------------------------------------------------------------------------- */

extern void **traced, **profiled, **has_local; /* words of `home`; NULL: there is none */

static inline int is_observed(void) { return *traced != NULL || *profiled != NULL; }

/* Whether there is anything of the running thread's, other than the words of locals; and at all. */
static inline int has_other_state(void)
{
    PyObject *importing = SLOT(K, k_importing);
    return PyDict_GET_SIZE(SLOT(K, k_tsd)) != 0 ||
           (importing != Py_None && PySet_GET_SIZE(importing) != 0);
}
static inline int has_locals(void) { return has_local != NULL && *has_local != NULL; }
static inline int has_state(void) { return has_other_state() || has_locals(); }

/* Kernel._exchange; takes over `next`, and returns whom to switch to, likewise, or NULL. */
PyObject *exchange(PyObject *me, PyObject *next);
int exchange_bind(PyObject *objects, PyObject *slow);

/* ---- timers.c ------------------------------------------------------------------------------------ */

int add_timer(PyObject *me, PyObject *deadline); /* Timers.add */
/* The earliest time at which a timer may be due, into *deadline: 1; 0 if there is none. */
int next_deadline(double *deadline);
/* Make the threads runnable whose deadlines have passed, earliest first; not too many at a time. */
int expire(double now);
int timers_bind(PyObject *objects, PyObject *slow);

/* ---- polling.c ----------------------------------------------------------------------------------- */

struct epoll_event;
/* The kernel's poll: how many events there are; -1 with an exception. */
int poll_events(struct epoll_event *found, int most, double timeout);
int tell(const struct epoll_event *event); /* who waits for it */
int polling_bind(PyObject *objects, PyObject *slow);

/* ---- turn.c -------------------------------------------------------------------------------------- */

int begin_turn(void); /* Kernel._begin_turn */
int turn_bind(PyObject *objects, PyObject *slow);

#pragma GCC visibility pop

#endif
