/* `threading.Event`: wrappers.threads.events. */
#include "conditions.h"

static PyObject *event_waiting; /* of the lot of events that have no condition */
static Shape of_event;
enum { E_FLAG, E_CONDITION }; /* the order of the names in `events_bind` */
static PyObject *n__flag, *n__cond, *n_event, *n_notify_all;

static PyObject *slow_event_wait, *slow_event_set, *slow_event_clear;

/* Whether `self` is an event whose condition nobody has asked for: who waits for it is in the lot. */
static inline int is_bare(PyObject *self)
{
    return event_waiting != NULL && lacks(&of_event, self, E_CONDITION);
}

/* Withdraw from the lot; what was raised goes on.  0, or -1 with an exception. */
static int leave_lot(PyObject *key, PyObject *me)
{
    Raised raised = set_aside();
    return go_on(raised, lot_withdraw(event_waiting, key, me) < 0);
}

/* Wait for a bare event: 1 set, 0 not in time, -1 with an exception, NOT_PLAIN: it is bare no more. */
static int wait_bare(PyObject *self, PyObject *deadline)
{
    PyObject *key = lot_key(self), *me = key == NULL ? NULL : begin();
    if (me == NULL) {
        Py_XDECREF(key);
        return -1;
    }
    Py_INCREF(me);
    put_slot(me, t_kind, n_event);
    put_slot(me, t_object, self);
    int set = -1, queued = lot_add(event_waiting, key, me, 0) == 0;
    PyObject *flag = queued ? field(&of_event, self, E_FLAG) : NULL;
    if (LIKELY(flag != NULL && flag != Py_True && is_bare(self))) {
        set = park(me, deadline);
        if (set <= 0 && leave_lot(key, me) < 0) set = -1;
    } else { /* a finalizer came as the wait began; or an error */
        if (flag != NULL) set = flag == Py_True ? 1 : NOT_PLAIN;
        if (queued && leave_lot(key, me) < 0) set = -1;
        if (cancel_begun(me) < 0) set = -1;
    }
    Py_DECREF(me);
    Py_DECREF(key);
    return set;
}

/* Lot.wake_all: 0, or -1 with an exception.  At home. */
static int wake_lot(PyObject *self)
{
    if (event_waiting == NULL || PyDict_GET_SIZE(event_waiting) == 0) return 0;
    PyObject *key = lot_key(self), *thread;
    if (key == NULL) return -1;
    int failed = 0;
    while (failed == 0 && (thread = lot_take_first(event_waiting, key)) != NULL) {
        failed = resume_thread(thread);
        Py_DECREF(thread);
    }
    Py_DECREF(key);
    return failed || PyErr_Occurred() ? -1 : 0;
}

/* As `wait_bare`, by the event's condition. */
static int wait_by_condition(PyObject *self, PyObject *deadline)
{
    PyObject *condition = field(&of_event, self, E_CONDITION), *waiters, *flag;
    if (condition == NULL) return -1;
    if (Py_TYPE(condition) != T_condition) return NOT_PLAIN;
    if ((waiters = field(&of_condition, condition, C_WAITERS)) == NULL) return -1;
    if (!is_deque(waiters)) return NOT_PLAIN;
    Py_INCREF(waiters);
    int set = -1;
    PyObject *waiter = new_waiter(waiters);
    if (waiter != NULL && (flag = field(&of_event, self, E_FLAG)) != NULL) {
        if (LIKELY(flag != Py_True))
            set = park_waiter(waiter, waiters, n_event, self, deadline);
        else /* by a finalizer, while the waiter was made */
            set = withdraw_waiter(waiters, waiter) < 0 ? -1 : 1;
    }
    Py_XDECREF(waiter);
    Py_DECREF(waiters);
    return set;
}

/* event.wait(timeout=None) */
static PyObject *event_wait(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (LIKELY(names == NULL && n <= 1)) {
        PyObject *flag = field(&of_event, self, E_FLAG), *deadline;
        if (flag == NULL) return NULL;
        if (flag == Py_True) Py_RETURN_TRUE;
        int plain = at_home() ? read_deadline(n ? args[0] : NULL, &deadline) : 0;
        if (plain < 0) return NULL;
        if (plain) {
            int set = LIKELY(is_bare(self)) ? wait_bare(self, deadline) : NOT_PLAIN;
            if (set == NOT_PLAIN) set = wait_by_condition(self, deadline);
            Py_DECREF(deadline);
            if (set != NOT_PLAIN) return set < 0 ? NULL : PyBool_FromLong(set);
        }
    }
    return call_slow(slow_event_wait, self, args, n, names);
}

/* Under the lock of its condition, of which nothing is borrowed: 0, or -1 with an exception. */
static int set_locked(PyObject *self, PyObject *condition, PyObject *waiters)
{
    if (put_field(&of_event, self, E_FLAG, Py_True) < 0 || wake_lot(self) < 0) return -1;
    Py_ssize_t all = PY_SSIZE_T_MAX;
    int failed = notify_waiters(waiters, &all);
    return failed == NOT_PLAIN ? done(PyObject_CallMethodNoArgs(condition, n_notify_all)) : failed;
}

static PyObject *event_set(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    int mine = at_home();
    if (LIKELY(mine && is_bare(self))) {
        if (put_field(&of_event, self, E_FLAG, Py_True) < 0 || wake_lot(self) < 0) return NULL;
        Py_RETURN_NONE;
    }
    PyObject *condition = mine ? field(&of_event, self, E_CONDITION) : Py_None;
    if (condition == NULL) return NULL;
    if (LIKELY(Py_TYPE(condition) == T_condition)) {
        PyObject *lock = field(&of_condition, condition, C_LOCK), *waiters;
        if (lock == NULL || (waiters = field(&of_condition, condition, C_WAITERS)) == NULL)
            return NULL;
        if (LIKELY(Py_TYPE(lock) == T_lock && is_deque(waiters) && lock_try((Lock *)lock))) {
            Py_INCREF(condition);
            Py_INCREF(lock);
            Py_INCREF(waiters);
            int failed = set_locked(self, condition, waiters);
            if (free_mutex((Lock *)lock) < 0) failed = -1;
            Py_DECREF(waiters);
            Py_DECREF(lock);
            Py_DECREF(condition);
            return failed < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    return PyObject_CallOneArg(slow_event_set, self);
}

static PyObject *event_clear(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return put_field(&of_event, self, E_FLAG, Py_False) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- binding ------------------------------------------------------------------------------------- */

const Stand_in events_stand_ins[] = {
    {"event_wait", FUNCTION event_wait, METH_FASTCALL | METH_KEYWORDS, &slow_event_wait},
    {"event_set", event_set, METH_NOARGS, &slow_event_set},
    {"event_clear", event_clear, METH_NOARGS, &slow_event_clear},
    {NULL, NULL, 0, NULL},
};

int events_bind(PyObject *objects, PyObject *slow)
{
    (void)slow;
    if (intern("_flag", &n__flag) < 0 || intern("_cond", &n__cond) < 0 ||
        intern("event", &n_event) < 0 || intern("notify_all", &n_notify_all) < 0 ||
        take(objects, "events", &event_waiting) < 0)
        return -1;
    PyObject *names[] = {n__flag, n__cond};
    return shape_bind(&of_event, PyDict_GetItemString(objects, "event"), names, 2);
}
