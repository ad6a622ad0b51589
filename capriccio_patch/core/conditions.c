/* `threading.Condition`: wrappers.threads.conditions and waiters. */
#include "conditions.h"

PyTypeObject *T_condition, *T_deque;
Shape of_condition;

static PyTypeObject *T_waiter;
static PyObject *waits;        /* wrappers.threads.waiters.Waits */
static PyObject *waits_resume; /* its method */
static Py_ssize_t waits_process, waiter_process, waiter_released, waiter_thread;
static PyCFunction dq_remove;
static PyObject *n__lock, *n__waiters, *n_condition;

static PyObject *slow_cond_enter, *slow_cond_exit, *slow_cond_wait, *slow_cond_notify;

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

int withdraw_waiter(PyObject *waiters, PyObject *waiter)
{
    Raised raised = set_aside();
    PyObject *result = dq_remove(waiters, waiter);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        result = Py_NewRef(Py_None);
    }
    return go_on(raised, done(result) < 0);
}

PyObject *new_waiter(PyObject *waiters)
{
    PyObject *waiter = T_waiter->tp_alloc(T_waiter, 0);
    if (waiter == NULL) return NULL;
    SLOT(waiter, waiter_process) = Py_NewRef(SLOT(waits, waits_process));
    SLOT(waiter, waiter_released) = Py_NewRef(Py_False);
    SLOT(waiter, waiter_thread) = Py_NewRef(Py_None);
    if (done(dq_append(waiters, waiter)) < 0) Py_CLEAR(waiter);
    return waiter;
}

int park_waiter(PyObject *waiter, PyObject *waiters, PyObject *kind, PyObject *what,
                PyObject *deadline)
{
    PyObject *me = begin();
    if (me == NULL) {
        withdraw_waiter(waiters, waiter);
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
    return withdraw_waiter(waiters, waiter) < 0 ? -1 : resumed;
}

int read_deadline(PyObject *timeout, PyObject **deadline)
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

int condition_wait(PyObject *self, PyObject *timeout, PyObject *what)
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
            notified = park_waiter(waiter, waiters, n_condition, what, deadline);
        else
            withdraw_waiter(waiters, waiter);
        if (take_back(lock, count) < 0) notified = -1;
        Py_DECREF(waiter);
    }
    Py_DECREF(waiters);
    Py_DECREF(lock);
    Py_DECREF(deadline);
    return notified;
}

int notify_waiters(PyObject *waiters, Py_ssize_t *count)
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
int condition_notify(PyObject *self, Py_ssize_t *count)
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

/* ---- binding ------------------------------------------------------------------------------------- */

const Stand_in conditions_stand_ins[] = {
    {"cond_enter", cond_enter, METH_NOARGS, &slow_cond_enter},
    {"cond_exit", FUNCTION cond_exit, METH_FASTCALL, &slow_cond_exit},
    {"cond_wait", FUNCTION cond_wait, METH_FASTCALL | METH_KEYWORDS, &slow_cond_wait},
    {"cond_notify", FUNCTION cond_notify, METH_FASTCALL | METH_KEYWORDS, &slow_cond_notify},
    {NULL, NULL, 0, NULL},
};

int conditions_bind(PyObject *objects, PyObject *slow)
{
    static PyObject *remove_;
    if (intern("_lock", &n__lock) < 0 || intern("_waiters", &n__waiters) < 0 ||
        intern("condition", &n_condition) < 0 ||
        take(objects, "Condition", (PyObject **)&T_condition) < 0 ||
        take(objects, "Waiter", (PyObject **)&T_waiter) < 0 || take(objects, "waits", &waits) < 0 ||
        take(objects, "waits.resume", &waits_resume) < 0 || take(objects, "remove", &remove_) < 0)
        return -1;
    if ((dq_remove = function_of(remove_, METH_O)) == NULL) return -1;
    T_deque = PyDescr_TYPE(remove_);
    PyObject *names[] = {n__lock, n__waiters};
    if (shape_bind(&of_condition, PyDict_GetItemString(objects, "condition"), names, 2) < 0)
        return -1;
    return offset_of((PyObject *)Py_TYPE(waits), "process", &waits_process) < 0 ||
                   offset_of((PyObject *)T_waiter, "process", &waiter_process) < 0 ||
                   offset_of((PyObject *)T_waiter, "released", &waiter_released) < 0 ||
                   offset_of((PyObject *)T_waiter, "thread", &waiter_thread) < 0 ||
                   events_bind(objects, slow) < 0
               ? -1
               : 0;
}
