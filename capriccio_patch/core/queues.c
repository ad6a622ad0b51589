/* `threading.Condition`, `threading.Event`, `queue.Queue` and `_queue.SimpleQueue`:
 * wrappers.threads.conditions, events, waiters, queue and simple_queue.
 *
 * 1. Who waits for a condition leaves a Waiter of Python in the condition's own deque, as does who
 *    waits for an event that has a condition.  It is there before the lock is released, and released
 *    once, whoever does it.
 * 2. Only what is exactly of the classes of the standard library is served here, with a lock that is
 *    exactly one of C's; all else goes the way of the Python function.
 * 3. With the GIL held and no code of the program's run in between, nobody can tell whether a queue's
 *    mutex was taken: it is only looked at.  A class whose `_put`, `_get` or `_qsize` are no longer
 *    the standard library's is not served.
 * 4. What is read of an instance is borrowed, and kept where code of the program's may run meanwhile:
 *    in a wait, and where something is woken. */
#include "fields.h"
#include "locks.h"

static PyTypeObject *T_condition, *T_waiter, *T_deque, *T_queue, *T_simple_queue;
static PyObject *waits;          /* wrappers.threads.waiters.Waits */
static PyObject *waits_resume;   /* its method */
static PyObject *event_waiting;  /* of the lot of events that have no condition */
static PyObject *simple_waiting; /* of the lot of SimpleQueues */
static PyObject *simple_wake;    /* Lot.wake_one */
static Py_ssize_t waits_process, waiter_process, waiter_released, waiter_thread;
static PyCFunction dq_remove;

static PyObject *slow_cond_enter, *slow_cond_exit, *slow_cond_wait, *slow_cond_notify;
static PyObject *slow_event_wait, *slow_event_set, *slow_event_clear;
static PyObject *slow_put, *slow_get, *slow_simple_put, *slow_simple_get;

/* Names: of attributes, of arguments, and kinds of waits. */
#define NAMES(X) \
    X(_lock) X(_waiters) X(_flag) X(_cond) X(mutex) X(maxsize) X(queue) X(not_empty) X(not_full) \
    X(unfinished_tasks) X(is_shutdown) X(_put) X(_get) X(_qsize) X(notify) X(notify_all) X(block) \
    X(condition) X(event)
#define DECLARE_NAME(name) static PyObject *n_##name;
NAMES(DECLARE_NAME)

/* What is read of each class: the order is that of the names in `NAME_bind`. */
static Shape of_condition, of_event, of_queue;
enum { C_LOCK, C_WAITERS };
enum { E_FLAG, E_CONDITION };
enum { Q_MUTEX, Q_ITEMS, Q_NOT_EMPTY, Q_NOT_FULL, Q_MAXSIZE, Q_UNFINISHED, Q_SHUTDOWN };

/* ---- waiters ------------------------------------------------------------------------------------- */

/* Waits.resume: a waiter was released. */
static int resume_waiter(PyObject *waiter)
{
    PyObject *thread = SLOT(waiter, waiter_thread);
    if (thread == Py_None) return 0; /* it has yet to park, and looks first */
    if (UNLIKELY(SLOT(waiter, waiter_process) != SLOT(waits, waits_process)))
        return call1(waits_resume, waiter); /* of before a fork */
    SLOT(waiter, waiter_thread) = Py_NewRef(Py_None);
    int failed = resume_thread(thread);
    Py_DECREF(thread);
    return failed;
}

/* Take it out of the deque, unless who has released it did so. */
static int withdraw(PyObject *waiters, PyObject *waiter)
{
    Raised raised = set_aside();
    PyObject *result = dq_remove(waiters, waiter);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        result = Py_NewRef(Py_None);
    }
    return go_on(raised, done(result) < 0);
}

/* A new one, at the end of the deque. */
static PyObject *new_waiter(PyObject *waiters)
{
    PyObject *waiter = T_waiter->tp_alloc(T_waiter, 0);
    if (waiter == NULL) return NULL;
    SLOT(waiter, waiter_process) = Py_NewRef(SLOT(waits, waits_process));
    SLOT(waiter, waiter_released) = Py_NewRef(Py_False);
    SLOT(waiter, waiter_thread) = Py_NewRef(Py_None);
    if (done(dq_append(waiters, waiter)) < 0) Py_CLEAR(waiter);
    return waiter;
}

/* Waits.park: 1 released, 0 not in time, -1 with an exception. */
static int park_for(PyObject *waiter, PyObject *waiters, PyObject *kind, PyObject *what,
                    PyObject *deadline)
{
    PyObject *me = begin();
    if (me == NULL) {
        withdraw(waiters, waiter);
        return -1;
    }
    if (UNLIKELY(SLOT(waiter, waiter_released) == Py_True))
        return cancel_wait(me) < 0 ? -1 : 1;
    put_slot(waiter, waiter_thread, me);
    put_slot(me, t_kind, kind);
    put_slot(me, t_object, what);
    int resumed = park(me, deadline);
    put_slot(waiter, waiter_thread, Py_None);
    if (SLOT(waiter, waiter_released) == Py_True) return resumed < 0 ? -1 : 1;
    return withdraw(waiters, waiter) < 0 ? -1 : resumed;
}

/* A timeout, for which this is no wait of C's: -1 with an exception, 0 not plain, 1 plain. */
static int read_deadline(PyObject *timeout, PyObject **deadline)
{
    double seconds;
    if (timeout == NULL || timeout == Py_None) {
        *deadline = Py_NewRef(Py_None);
        return 1;
    }
    if (!read_seconds(timeout, &seconds) || seconds == 0) return 0;
    *deadline = PyFloat_FromDouble(now_s() + seconds);
    return *deadline == NULL ? -1 : 1;
}

/* ---- threading.Condition -------------------------------------------------------------------------- */

static inline int is_deque(PyObject *o) { return Py_TYPE(o) == T_deque; }
/* Whether the caller has the lock of a condition; -1: not for C to say. */
static int has_lock(PyObject *lock)
{
    if (Py_TYPE(lock) == T_lock) return lock_is_taken((Lock *)lock) != 0;
    if (Py_TYPE(lock) == T_rlock)
        return rlock_count((RLock *)lock) && rlock_owner((RLock *)lock) == caller();
    return -1;
}

/* After a wait, which may have raised: that goes on when the lock is the caller's again. */
static int take_back(PyObject *lock, unsigned long count)
{
    int recursive = Py_TYPE(lock) == T_rlock;
    if (LIKELY(recursive ? rlock_take((RLock *)lock, caller())
                         : lock_try((Lock *)lock))) {
        if (recursive) rlock_set_count((RLock *)lock, count);
        return 0;
    }
    Raised raised = set_aside();
    int failed = done(recursive ? rlock_enter(lock) : lock_enter(lock)) < 0;
    if (!failed && recursive) rlock_set_count((RLock *)lock, count);
    return go_on(raised, failed);
}

enum { NOT_PLAIN = -2 };

/* 1 notified, 0 not in time, -1 with an exception, NOT_PLAIN.  At home.  `what` is what reports show
 * that it is waited for: the condition, or the queue that it is of. */
static int condition_wait(PyObject *self, PyObject *timeout, PyObject *what)
{
    if (Py_TYPE(self) != T_condition) return NOT_PLAIN;
    PyObject *lock = field(&of_condition, self, C_LOCK), *waiters, *deadline;
    if (lock == NULL || (waiters = field(&of_condition, self, C_WAITERS)) == NULL) return -1;
    if (has_lock(lock) != 1 || !is_deque(waiters)) return NOT_PLAIN;
    int plain = read_deadline(timeout, &deadline);
    if (plain <= 0) return plain < 0 ? -1 : NOT_PLAIN;
    Py_INCREF(lock);
    Py_INCREF(waiters);
    int notified = -1;
    PyObject *waiter = new_waiter(waiters);
    if (waiter != NULL) {
        unsigned long count = 0;
        if (Py_TYPE(lock) == T_rlock) count = rlock_count((RLock *)lock);
        if ((count ? rlock_release_all((RLock *)lock) : lock_release((Lock *)lock)) == 0)
            notified = park_for(waiter, waiters, n_condition, what, deadline);
        else
            withdraw(waiters, waiter);
        if (take_back(lock, count) < 0) notified = -1;
        Py_DECREF(waiter);
    }
    Py_DECREF(waiters);
    Py_DECREF(lock);
    Py_DECREF(deadline);
    return notified;
}

/* Wake *count, or as many as there are: 0; -1 with an exception; NOT_PLAIN, and *count is how many
 * are yet to be woken.  At home; the lock is taken. */
static int notify_waiters(PyObject *waiters, Py_ssize_t *count)
{
    int failed = 0;
    while (failed == 0 && *count > 0 && dq_len(waiters)) {
        PyObject *waiter = PySequence_GetItem(waiters, 0);
        if (waiter == NULL) return -1;
        if (Py_TYPE(waiter) != T_waiter)
            failed = NOT_PLAIN; /* of an OS thread, or from before the patch */
        else if ((failed = done(dq_popleft(waiters, NULL))) == 0 &&
                 SLOT(waiter, waiter_released) != Py_True) {
            put_slot(waiter, waiter_released, Py_True);
            failed = resume_waiter(waiter);
            --*count;
        }
        Py_DECREF(waiter);
    }
    return failed;
}
static int condition_notify(PyObject *self, Py_ssize_t *count)
{
    if (Py_TYPE(self) != T_condition) return NOT_PLAIN;
    PyObject *lock = field(&of_condition, self, C_LOCK), *waiters;
    if (lock == NULL || (waiters = field(&of_condition, self, C_WAITERS)) == NULL) return -1;
    if (has_lock(lock) != 1 || !is_deque(waiters)) return NOT_PLAIN;
    Py_INCREF(waiters);
    int failed = notify_waiters(waiters, count);
    Py_DECREF(waiters);
    return failed;
}

static PyObject *cond_enter(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (LIKELY(Py_TYPE(self) == T_condition)) {
        PyObject *lock = field(&of_condition, self, C_LOCK), *taken = NULL;
        if (lock == NULL) return NULL;
        Py_INCREF(lock);
        int plain = Py_TYPE(lock) == T_lock, known = plain || Py_TYPE(lock) == T_rlock;
        if (known) taken = plain ? lock_enter(lock) : rlock_enter(lock);
        Py_DECREF(lock);
        if (known) return taken;
    }
    return PyObject_CallOneArg(slow_cond_enter, self);
}
static PyObject *cond_exit(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    if (LIKELY(Py_TYPE(self) == T_condition)) {
        PyObject *lock = field(&of_condition, self, C_LOCK), *freed = NULL;
        if (lock == NULL) return NULL;
        Py_INCREF(lock);
        int plain = Py_TYPE(lock) == T_lock, known = plain || Py_TYPE(lock) == T_rlock;
        if (known) freed = plain ? lock_exit(lock) : rlock_exit(lock);
        Py_DECREF(lock);
        if (known) return freed;
    }
    return call_slow(slow_cond_exit, self, args, n, NULL);
}

/* condition.wait(timeout=None) */
static PyObject *cond_wait(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (LIKELY(names == NULL && n <= 1 && at_home())) {
        int notified = condition_wait(self, n ? args[0] : NULL, self);
        if (notified >= 0) return PyBool_FromLong(notified);
        if (notified != NOT_PLAIN) return NULL;
    }
    return call_slow(slow_cond_wait, self, args, n, names);
}
/* condition.notify(n=1) */
static PyObject *cond_notify(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (LIKELY(names == NULL && n <= 1 && at_home() && (n == 0 || PyLong_CheckExact(args[0])))) {
        Py_ssize_t count = n ? PyLong_AsSsize_t(args[0]) : 1;
        if (count == -1 && PyErr_Occurred())
            PyErr_Clear();
        else {
            int failed = condition_notify(self, &count);
            if (failed == 0) Py_RETURN_NONE;
            if (failed != NOT_PLAIN) return NULL;
            PyObject *rest[] = {self, PyLong_FromSsize_t(count)};
            if (rest[1] == NULL) return NULL;
            PyObject *result = PyObject_Vectorcall(slow_cond_notify, rest, 2, NULL);
            Py_DECREF(rest[1]);
            return result;
        }
    }
    return call_slow(slow_cond_notify, self, args, n, names);
}

/* ---- threading.Event ------------------------------------------------------------------------------ */

/* Free the mutex; what was raised goes on. */
static int free_mutex(Lock *mutex)
{
    Raised raised = set_aside();
    return go_on(raised, lock_release(mutex) != 0);
}

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
    PyObject *key = PyLong_FromVoidPtr(self), *me = key == NULL ? NULL : begin();
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
        PyObject *kind, *value, *trace;
        PyErr_Fetch(&kind, &value, &trace);
        put_slot(me, t_object, Py_None);
        if (cancel_wait(me) < 0) set = -1;
        if (kind != NULL) PyErr_Restore(kind, value, trace);
    }
    Py_DECREF(me);
    Py_DECREF(key);
    return set;
}

/* Lot.wake_all: 0, or -1 with an exception.  At home. */
static int wake_lot(PyObject *self)
{
    if (event_waiting == NULL || PyDict_GET_SIZE(event_waiting) == 0) return 0;
    PyObject *key = PyLong_FromVoidPtr(self), *thread;
    if (key == NULL) return -1;
    int failed = 0;
    while (failed == 0 && (thread = lot_first(event_waiting, key)) != NULL) {
        failed = lot_withdraw(event_waiting, key, thread) < 0 ? -1 : resume_thread(thread);
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
            set = park_for(waiter, waiters, n_event, self, deadline);
        else /* by a finalizer, while the waiter was made */
            set = withdraw(waiters, waiter) < 0 ? -1 : 1;
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

/* ---- queue.Queue ---------------------------------------------------------------------------------- */

static PyObject *queue_put, *queue_get, *queue_qsize; /* `_put` and so on, of the class */
static int has_shutdown;                              /* from CPython 3.13 */
static unsigned int known_version;                    /* the class is as it was when looked at last */

static int is_plain_queue(PyObject *self)
{
    if (Py_TYPE(self) != T_queue || T_queue == NULL) return 0;
    if (LIKELY(known_version != 0 && T_queue->tp_version_tag == known_version)) return 1;
    if (_PyType_Lookup(T_queue, n__put) != queue_put || _PyType_Lookup(T_queue, n__get) != queue_get ||
        _PyType_Lookup(T_queue, n__qsize) != queue_qsize)
        return 0;
    known_version = T_queue->tp_version_tag;
    return 1;
}

/* What a call to a queue works on: all borrowed. */
typedef struct {
    Lock *mutex;
    PyObject *items;
} Parts;

/* 1; 0 if it is not plain; -1 with an exception. */
static int parts_of(PyObject *self, Parts *parts)
{
    PyObject *mutex = field(&of_queue, self, Q_MUTEX);
    if (mutex == NULL || (parts->items = field(&of_queue, self, Q_ITEMS)) == NULL) return -1;
    parts->mutex = (Lock *)mutex;
    if (Py_TYPE(mutex) != T_lock || !is_deque(parts->items)) return 0;
    if (has_shutdown) {
        PyObject *shutdown = field(&of_queue, self, Q_SHUTDOWN);
        if (shutdown != Py_False) return shutdown == NULL ? -1 : 0;
    }
    return 1;
}

/* Tell one of those who wait for it; the mutex is taken. */
static int tell(PyObject *condition)
{
    Py_ssize_t one = 1;
    Py_INCREF(condition);
    int failed = condition_notify(condition, &one);
    if (failed == NOT_PLAIN) failed = done(PyObject_CallMethodNoArgs(condition, n_notify));
    Py_DECREF(condition);
    return failed;
}

/* How many wait for a condition, as C knows conditions; -1 with an exception, NOT_PLAIN. */
static Py_ssize_t waiting_for(PyObject *condition)
{
    if (Py_TYPE(condition) != T_condition) return NOT_PLAIN;
    PyObject *waiters = field(&of_condition, condition, C_WAITERS);
    if (waiters == NULL) return -1;
    return is_deque(waiters) ? dq_len(waiters) : NOT_PLAIN;
}

/* count + 1 */
static inline PyObject *one_more(PyObject *count)
{
    int is_huge = 1;
    long number = PyLong_CheckExact(count) ? PyLong_AsLongAndOverflow(count, &is_huge) : 0;
    if (LIKELY(!is_huge && number != LONG_MAX)) return PyLong_FromLong(number + 1);
    PyObject *one = PyLong_FromLong(1), *more = one == NULL ? NULL : PyNumber_Add(count, one);
    Py_XDECREF(one);
    return more;
}

/* One more item is in the queue: 0, or -1 with an exception. */
static int append(PyObject *self, PyObject *items, PyObject *item)
{
    PyObject *count = field(&of_queue, self, Q_UNFINISHED);
    if (count == NULL) return -1;
    PyObject *more = one_more(count);
    if (more == NULL) return -1;
    int failed = done(dq_append(items, item)) < 0 ||
                 put_field(&of_queue, self, Q_UNFINISHED, more) < 0;
    Py_DECREF(more);
    return failed ? -1 : 0;
}

/* 1 done, 0 for the Python function, -1 with an exception. */
static int put_in(PyObject *self, PyObject *item, int waits_for_room)
{
    Parts parts;
    int plain = parts_of(self, &parts);
    if (plain <= 0) return plain;
    PyObject *limit = field(&of_queue, self, Q_MAXSIZE), *count, *not_empty;
    if (limit == NULL || (count = field(&of_queue, self, Q_UNFINISHED)) == NULL ||
        (not_empty = field(&of_queue, self, Q_NOT_EMPTY)) == NULL)
        return -1;
    if (!PyLong_CheckExact(limit) || !PyLong_CheckExact(count)) return 0;
    Py_ssize_t most = PyLong_AsSsize_t(limit), waiting = waiting_for(not_empty);
    if (most == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    if (waiting == -1) return -1;
    if (waiting == NOT_PLAIN || lock_is_taken(parts.mutex)) return 0;
    int full = most > 0 && dq_len(parts.items) >= most;
    if (LIKELY(waiting == 0 && !full)) return append(self, parts.items, item) < 0 ? -1 : 1;
    if ((full && !waits_for_room) || !lock_try(parts.mutex)) return 0;
    Py_INCREF(parts.mutex);
    Py_INCREF(parts.items);
    int done_ = 1;
    while (done_ == 1 && most > 0 && dq_len(parts.items) >= most) {
        PyObject *not_full = field(&of_queue, self, Q_NOT_FULL);
        done_ = not_full == NULL ? -1 : condition_wait(not_full, NULL, self);
        if (done_ == NOT_PLAIN) done_ = 0;
        if (done_ == 1 && has_shutdown) { /* meanwhile: the Python function raises that */
            PyObject *shutdown = field(&of_queue, self, Q_SHUTDOWN);
            done_ = shutdown == NULL ? -1 : shutdown == Py_False;
        }
    }
    if (done_ == 1 && (append(self, parts.items, item) < 0 ||
                       (not_empty = field(&of_queue, self, Q_NOT_EMPTY)) == NULL ||
                       tell(not_empty) < 0))
        done_ = -1;
    if (free_mutex(parts.mutex) < 0) done_ = -1;
    Py_DECREF(parts.mutex);
    Py_DECREF(parts.items);
    return done_;
}

/* Likewise; *item is what was got. */
static int get_from(PyObject *self, PyObject **item, int waits_for_item)
{
    Parts parts;
    int plain = parts_of(self, &parts);
    if (plain <= 0) return plain;
    PyObject *not_full = field(&of_queue, self, Q_NOT_FULL);
    if (not_full == NULL) return -1;
    Py_ssize_t waiting = waiting_for(not_full);
    if (waiting == -1) return -1;
    if (waiting == NOT_PLAIN || lock_is_taken(parts.mutex)) return 0;
    Py_ssize_t count = dq_len(parts.items);
    if (LIKELY(waiting == 0 && count)) {
        *item = dq_popleft(parts.items, NULL);
        return *item == NULL ? -1 : 1;
    }
    if ((count == 0 && !waits_for_item) || !lock_try(parts.mutex)) return 0;
    Py_INCREF(parts.mutex);
    Py_INCREF(parts.items);
    int got = 1;
    while (got == 1 && dq_len(parts.items) == 0) {
        PyObject *not_empty = field(&of_queue, self, Q_NOT_EMPTY);
        got = not_empty == NULL ? -1 : condition_wait(not_empty, NULL, self);
        if (got == NOT_PLAIN) got = 0;
        if (got == 1 && has_shutdown && dq_len(parts.items) == 0) {
            PyObject *shutdown = field(&of_queue, self, Q_SHUTDOWN);
            got = shutdown == NULL ? -1 : shutdown == Py_False;
        }
    }
    if (got == 1) {
        *item = dq_popleft(parts.items, NULL);
        if (*item == NULL || (not_full = field(&of_queue, self, Q_NOT_FULL)) == NULL ||
            tell(not_full) < 0)
            got = -1;
    }
    if (free_mutex(parts.mutex) < 0) got = -1;
    if (got == -1) Py_CLEAR(*item);
    Py_DECREF(parts.mutex);
    Py_DECREF(parts.items);
    return got;
}

/* Whether a call may wait for ever, 0 not at all; -1 (without an exception): for Python to read. */
static int read_block(PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *block, *timeout;
    if (LIKELY(n == 0 && names == NULL)) return 1;
    if (read_wait(args, n, names, n_block, &block, &timeout) < 0) return -1;
    if (timeout != NULL && timeout != Py_None) return -1;
    return block == NULL || block == Py_True ? 1 : block == Py_False ? 0 : -1;
}

/* queue.put(item, block=True, timeout=None) */
static PyObject *put(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    int waits_for_room = n >= 1 ? read_block(args + 1, n - 1, names) : -1;
    if (LIKELY(waits_for_room >= 0 && at_home() && is_plain_queue(self))) {
        int is_in = put_in(self, args[0], waits_for_room);
        if (is_in > 0) Py_RETURN_NONE;
        if (is_in < 0) return NULL;
    }
    return call_slow(slow_put, self, args, n, names);
}
/* queue.get(block=True, timeout=None) */
static PyObject *get(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    int waits_for_item = read_block(args, n, names);
    if (LIKELY(waits_for_item >= 0 && at_home() && is_plain_queue(self))) {
        PyObject *item = NULL;
        int got = get_from(self, &item, waits_for_item);
        if (got) return item;
    }
    return call_slow(slow_get, self, args, n, names);
}

/* ---- _queue.SimpleQueue --------------------------------------------------------------------------- */

/* CPython's own: what is NULL was not found with the flags that are known. */
typedef PyObject *(*With_names)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
static With_names stock_put;
static PyCMethod stock_get;
static PyCFunction stock_size;

/* Whether there is anything in it; -1 with an exception. */
static inline int has_items(PyObject *self)
{
    PyObject *size = stock_size(self, NULL);
    if (size == NULL) return -1;
    int any = PyLong_AsSsize_t(size) > 0;
    Py_DECREF(size);
    return any;
}

/* Lot.wake_one: something was put into it. */
static int wake_getter(PyObject *self)
{
    PyObject *key = PyLong_FromVoidPtr(self);
    if (key == NULL) return -1;
    int failed = 0;
    if (!at_home()) {
        int waits_for_it = PyDict_Contains(simple_waiting, key);
        failed = waits_for_it <= 0 ? waits_for_it : call1(simple_wake, self);
    } else {
        PyObject *thread = lot_first(simple_waiting, key);
        if (thread == NULL)
            failed = PyErr_Occurred() ? -1 : 0;
        else {
            failed = lot_withdraw(simple_waiting, key, thread) < 0 ? -1 : resume_thread(thread);
            Py_DECREF(thread);
        }
    }
    Py_DECREF(key);
    return failed;
}

/* simple_queue.put(item, block=True, timeout=None), simple_queue.put_nowait(item) */
static PyObject *simple_put(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (UNLIKELY(Py_TYPE(self) != T_simple_queue))
        return call_slow(slow_simple_put, self, args, n, names);
    PyObject *result = stock_put(self, args, n, names);
    if (LIKELY(PyDict_GET_SIZE(simple_waiting) == 0) || result == NULL) return result;
    if (wake_getter(self) < 0) Py_CLEAR(result);
    return result;
}

/* It has raised instead of going on: what it was woken for is the next one's. */
static void pass_on(PyObject *self, PyObject *key, PyObject *me)
{
    Raised raised = set_aside();
    int queued = lot_withdraw(simple_waiting, key, me);
    if (queued == 0 && (queued = has_items(self)) > 0) queued = wake_getter(self);
    (void)go_on(raised, queued < 0);
}

/* Wait for an item: 1 there may be one, 0 not in time, -1 with an exception. */
static int wait_for_item(PyObject *self, PyObject *key, PyObject *deadline, int again)
{
    static PyObject *kind;
    if (kind == NULL && (kind = PyUnicode_InternFromString("queue")) == NULL) return -1;
    PyObject *me = begin();
    if (me == NULL) return -1;
    Py_INCREF(me);
    put_slot(me, t_kind, kind);
    put_slot(me, t_object, self);
    int woken = -1;
    if (lot_add(simple_waiting, key, me, again) == 0) {
        int any = has_items(self);
        if (LIKELY(any == 0)) {
            woken = park(me, deadline);
            if (woken == 0 && lot_withdraw(simple_waiting, key, me) < 0) woken = -1;
            if (UNLIKELY(woken < 0)) pass_on(self, key, me);
            Py_DECREF(me);
            return woken;
        }
        if (lot_withdraw(simple_waiting, key, me) >= 0) woken = any;
    }
    PyObject *error, *value, *trace;
    PyErr_Fetch(&error, &value, &trace);
    put_slot(me, t_object, Py_None);
    if (cancel_wait(me) < 0) woken = -1;
    if (error != NULL) PyErr_Restore(error, value, trace);
    Py_DECREF(me);
    return woken;
}

/* simple_queue.get(block=True, timeout=None) */
static PyObject *simple_get(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (UNLIKELY(Py_TYPE(self) != T_simple_queue || !at_home()))
        return call_slow(slow_simple_get, self, args, n, names);
    PyObject *block, *timeout, *deadline, *key, *item = NULL, *no_wait[] = {Py_False};
    if (read_wait(args, n, names, n_block, &block, &timeout) < 0) /* raises */
        return stock_get(self, T_simple_queue, args, n, names);
    int plain = (block == NULL || block == Py_True) && (timeout == NULL || timeout == Py_None);
    int any = plain ? has_items(self) : 0;
    if (any < 0) return NULL;
    if (LIKELY(any)) return stock_get(self, T_simple_queue, no_wait, 1, NULL);
    if (!plain) {
        double seconds;
        if ((block != NULL && block != Py_True) || !read_seconds(timeout, &seconds) || seconds == 0)
            return call_slow(slow_simple_get, self, args, n, names);
        if ((any = has_items(self)) < 0) return NULL;
        deadline = PyFloat_FromDouble(now_s() + seconds);
    } else
        deadline = Py_NewRef(Py_None);
    if (deadline == NULL || (key = PyLong_FromVoidPtr(self)) == NULL) {
        Py_XDECREF(deadline);
        return NULL;
    }
    for (int again = 0; !any; again = 1) {
        int woken = wait_for_item(self, key, deadline, again);
        if (woken < 0) break;
        if ((any = has_items(self)) < 0) break;
        if (!woken) any = 1; /* or it raises Empty */
    }
    if (any > 0) item = stock_get(self, T_simple_queue, no_wait, 1, NULL);
    Py_DECREF(key);
    Py_DECREF(deadline);
    return item;
}

/* ---- for module.c --------------------------------------------------------------------------------- */

const Stand_in queues_stand_ins[] = {
    {"cond_enter", cond_enter, METH_NOARGS, &slow_cond_enter},
    {"cond_exit", FUNCTION cond_exit, METH_FASTCALL, &slow_cond_exit},
    {"cond_wait", FUNCTION cond_wait, METH_FASTCALL | METH_KEYWORDS, &slow_cond_wait},
    {"cond_notify", FUNCTION cond_notify, METH_FASTCALL | METH_KEYWORDS, &slow_cond_notify},
    {"event_wait", FUNCTION event_wait, METH_FASTCALL | METH_KEYWORDS, &slow_event_wait},
    {"event_set", event_set, METH_NOARGS, &slow_event_set},
    {"event_clear", event_clear, METH_NOARGS, &slow_event_clear},
    {"queue_put", FUNCTION put, METH_FASTCALL | METH_KEYWORDS, &slow_put},
    {"queue_get", FUNCTION get, METH_FASTCALL | METH_KEYWORDS, &slow_get},
    {"simple_put", FUNCTION simple_put, METH_FASTCALL | METH_KEYWORDS, &slow_simple_put},
    {"simple_get", FUNCTION simple_get, METH_FASTCALL | METH_KEYWORDS, &slow_simple_get},
    {NULL, NULL, 0, NULL},
};

/* objects[name] is an instance that nobody uses. */
static int shape_of(PyObject *objects, const char *name, Shape *shape, PyObject *const *names,
                    int count)
{
    PyObject *probe = PyDict_GetItemString(objects, name); /* borrowed */
    if (probe == NULL) {
        PyErr_SetString(PyExc_KeyError, name);
        return -1;
    }
    return shape_bind(shape, probe, names, count);
}

int conditions_bind(PyObject *objects, PyObject *slow)
{
    static PyObject *remove_;
    (void)slow;
#define INTERN(name) \
    if (n_##name == NULL && (n_##name = PyUnicode_InternFromString(#name)) == NULL) return -1;
    NAMES(INTERN)
    if (take(objects, "Condition", (PyObject **)&T_condition) < 0 ||
        take(objects, "Waiter", (PyObject **)&T_waiter) < 0 || take(objects, "waits", &waits) < 0 ||
        take(objects, "waits.resume", &waits_resume) < 0 ||
        take(objects, "events", &event_waiting) < 0 || take(objects, "remove", &remove_) < 0)
        return -1;
    if ((dq_remove = function_of(remove_, METH_O)) == NULL) return -1;
    T_deque = PyDescr_TYPE(remove_);
    PyObject *condition[] = {n__lock, n__waiters}, *event[] = {n__flag, n__cond};
    if (shape_of(objects, "condition", &of_condition, condition, 2) < 0 ||
        shape_of(objects, "event", &of_event, event, 2) < 0)
        return -1;
    return offset_of((PyObject *)Py_TYPE(waits), "process", &waits_process) < 0 ||
                   offset_of((PyObject *)T_waiter, "process", &waiter_process) < 0 ||
                   offset_of((PyObject *)T_waiter, "released", &waiter_released) < 0 ||
                   offset_of((PyObject *)T_waiter, "thread", &waiter_thread) < 0
               ? -1
               : 0;
}

int queue_bind(PyObject *objects, PyObject *slow)
{
    (void)slow;
    known_version = 0;
    has_shutdown = PyDict_GetItemString(objects, "ShutDown") != NULL;
    PyObject *names[] = {n_mutex,   n_queue,   n_not_empty,        n_not_full,
                         n_maxsize, n_unfinished_tasks, n_is_shutdown};
    return take(objects, "Queue", (PyObject **)&T_queue) < 0 ||
                   take(objects, "_put", &queue_put) < 0 || take(objects, "_get", &queue_get) < 0 ||
                   take(objects, "_qsize", &queue_qsize) < 0 ||
                   shape_of(objects, "queue", &of_queue, names, 6 + has_shutdown) < 0
               ? -1
               : 0;
}

int simple_queue_bind(PyObject *objects, PyObject *slow)
{
    static PyObject *put_, *get_, *size_;
    (void)slow;
    if (take(objects, "waiting", &simple_waiting) < 0 || take(objects, "wake", &simple_wake) < 0 ||
        take(objects, "put", &put_) < 0 || take(objects, "get", &get_) < 0 ||
        take(objects, "qsize", &size_) < 0)
        return -1;
    stock_put = (With_names)(void (*)(void))function_of(put_, METH_FASTCALL | METH_KEYWORDS);
    stock_get = (PyCMethod)(void (*)(void))function_of(
        get_, METH_METHOD | METH_FASTCALL | METH_KEYWORDS);
    stock_size = function_of(size_, METH_NOARGS);
    if (stock_put == NULL || stock_get == NULL || stock_size == NULL) return -1;
    return take(objects, "SimpleQueue", (PyObject **)&T_simple_queue);
}
