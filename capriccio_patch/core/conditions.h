/* What conditions.c offers to events.c and queue.c, and what the three keep to.
 *
 * 1. Who waits for a condition leaves a Waiter of Python in the condition's own deque, as does who
 *    waits for an event that has a condition.  It is there before the lock is released, and released
 *    once, whoever does it.
 * 2. Only what is exactly of the classes of the standard library is served, with a lock that is
 *    exactly one of C's; all else goes the way of the Python function.
 * 3. What is read of an instance is borrowed, and kept where code of the program's may run meanwhile:
 *    in a wait, and where something is woken. */
#ifndef CAPRICCIO_CONDITIONS_H
#define CAPRICCIO_CONDITIONS_H

#include "fields.h"
#include "locks.h"

#pragma GCC visibility push(hidden)

extern PyTypeObject *T_condition, *T_deque;
extern Shape of_condition; /* the order of its fields is that of the names in `conditions_bind` */
enum { C_LOCK, C_WAITERS };

enum { NOT_PLAIN = -2 }; /* it is for the Python function, or for CPython's */

static inline int is_deque(PyObject *o) { return Py_TYPE(o) == T_deque; }

/* A new Waiter, at the end of the deque. */
PyObject *new_waiter(PyObject *waiters);
/* Take it out of the deque, unless who has released it did so; what was raised goes on. */
int withdraw_waiter(PyObject *waiters, PyObject *waiter);
/* Waits.park: 1 released, 0 not in time, -1 with an exception. */
int park_waiter(PyObject *waiter, PyObject *waiters, PyObject *kind, PyObject *what,
                PyObject *deadline);
/* Wake *count, or as many as there are: 0; -1 with an exception; NOT_PLAIN, and *count is how many
 * are yet to be woken.  At home; the lock is taken. */
int notify_waiters(PyObject *waiters, Py_ssize_t *count);

/* A timeout, for which this is no wait of C's: -1 with an exception, 0 not plain, 1 plain. */
int read_deadline(PyObject *timeout, PyObject **deadline);

/* 1 notified, 0 not in time, -1 with an exception, NOT_PLAIN.  At home.  `what` is what reports show
 * that it is waited for: the condition, or the queue that it is of. */
int condition_wait(PyObject *self, PyObject *timeout, PyObject *what);
/* As `notify_waiters`. */
int condition_notify(PyObject *self, Py_ssize_t *count);

/* Free the mutex; what was raised goes on. */
static inline int free_mutex(Lock *mutex)
{
    Raised raised = set_aside();
    return go_on(raised, lock_release(mutex) != 0);
}

int events_bind(PyObject *objects, PyObject *slow); /* of the same subject */

#pragma GCC visibility pop

#endif
