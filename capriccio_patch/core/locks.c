/* `_thread.lock` and `_thread.RLock`: wrappers.threads.locks and owned_rlocks.
 *
 * An RLock's owner lies in the object of C.  Its Python form (rlocks) keeps owners in dictionaries; both
 * are never in force at once. */
#include "locks.h"

#include <string.h>

PyTypeObject *T_lock, *T_rlock;
PyObject *lock_waiting, *rlock_waiting;

/* NULL while no patch is in force; what may be called then looks at this. */
static PyObject *proxies; /* of the kernel, by identifier of an OS thread */
static double timeout_max;
static PyObject *n_blocking, *n_timeout;

unsigned long caller(void)
{
    return LIKELY(at_home()) ? ident_of(SLOT(K, k_current)) : PyThread_get_thread_ident();
}

/* Whether the caller may be an OS thread that works for a green one: Python knows what it may use. */
static inline int may_borrow(void)
{
    return !at_home() && proxies != NULL && PyDict_GET_SIZE(proxies) != 0;
}

/* ---- arguments ------------------------------------------------------------------------------------ */

PyObject *call_slow(PyObject *slow, PyObject *self, PyObject *const *args, Py_ssize_t n,
                    PyObject *names)
{
    Py_ssize_t all = n + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    PyObject *few[6], **stack = few;
    if (all > 5 && (stack = PyMem_New(PyObject *, all + 1)) == NULL) return PyErr_NoMemory();
    stack[0] = self;
    if (all) memcpy(stack + 1, args, all * sizeof *args);
    PyObject *result = PyObject_Vectorcall(slow, stack, n + 1, names);
    if (stack != few) PyMem_Free(stack);
    return result;
}

int read_wait(PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject *name,
              PyObject **blocking, PyObject **timeout)
{
    if (n > 2) return -1;
    *blocking = n > 0 ? args[0] : NULL;
    *timeout = n > 1 ? args[1] : NULL;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *each = PyTuple_GET_ITEM(names, i);
        PyObject **to = each == name ? blocking : each == n_timeout ? timeout : NULL;
        if (to == NULL || *to != NULL) return -1;
        *to = args[n + i];
    }
    return 0;
}

int read_seconds(PyObject *timeout, double *seconds)
{
    if (PyFloat_CheckExact(timeout))
        *seconds = PyFloat_AS_DOUBLE(timeout);
    else if (PyLong_CheckExact(timeout)) {
        *seconds = PyLong_AsDouble(timeout);
        if (*seconds == -1 && PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
    } else
        return 0;
    return *seconds >= 0 && *seconds <= timeout_max;
}

/* How `acquire` is to wait: so many seconds, or one of these.  What waits keeps all frames of C on the
 * stack that is saved for it: a number, not the address of one, leaves the caller's none. */
#define FOREVER (-1.0)
#define NOT_AT_ALL 0.0
#define SLOWLY (-2.0)
#define WRONGLY (-3.0)

static __attribute__((noinline)) double read_acquire(PyObject *const *args, Py_ssize_t n,
                                                     PyObject *names)
{
    PyObject *blocking, *timeout;
    double seconds;
    if (read_wait(args, n, names, n_blocking, &blocking, &timeout) < 0) return WRONGLY;
    int waits = blocking == NULL || blocking == Py_True;
    if (!waits && blocking != Py_False) {
        if (!PyLong_CheckExact(blocking)) return SLOWLY;
        if ((waits = PyObject_IsTrue(blocking)) < 0) return SLOWLY;
    }
    if (timeout == NULL) return waits ? FOREVER : NOT_AT_ALL;
    if (PyFloat_CheckExact(timeout) ? PyFloat_AS_DOUBLE(timeout) == -1
                                    : PyLong_CheckExact(timeout) && PyLong_AsLong(timeout) == -1 &&
                                          !PyErr_Occurred())
        return waits ? FOREVER : NOT_AT_ALL;
    PyErr_Clear(); /* a huge number */
    return waits && read_seconds(timeout, &seconds) ? seconds : SLOWLY;
}

/* ---- the methods ---------------------------------------------------------------------------------- */

static PyObject *answer(int taken) { return taken < 0 ? NULL : PyBool_FromLong(taken); }

/* What was not to be had at once. */
static __attribute__((noinline)) PyObject *wait_until(Lock_type *type, PyObject *lock, double seconds)
{
    PyObject *deadline = PyFloat_FromDouble(now_s() + seconds);
    if (deadline == NULL) return NULL;
    int taken = wait_for(type, lock, deadline);
    Py_DECREF(deadline);
    return answer(taken);
}
static __attribute__((noinline)) PyObject *wait_for_ever(Lock_type *type, PyObject *lock)
{
    return answer(wait_for(type, lock, Py_None));
}

static PyObject *acquire(Lock_type *type, PyObject *self, PyObject *const *args, Py_ssize_t n,
                         PyObject *names)
{
    double how = read_acquire(args, n, names);
    if (how == WRONGLY && type->stock_acquire != NULL) /* raises */
        return call_slow(type->stock_acquire, self, args, n, names);
    if (how == WRONGLY || how == SLOWLY) return call_slow(type->slow_acquire, self, args, n, names);
    int taken = type == &plain ? lock_try((Lock *)self)
                               : rlock_try((RLock *)self, caller());
    if (LIKELY(taken)) Py_RETURN_TRUE;
    if (how == NOT_AT_ALL && (type == &plain || !may_borrow())) Py_RETURN_FALSE;
    if (!at_home() || has_c_released()) return call_slow(type->slow_acquire, self, args, n, names);
    return how == FOREVER ? wait_for_ever(type, self) : wait_until(type, self, how);
}

/* lock.acquire(blocking=True, timeout=-1), lock.acquire_lock */
static PyObject *lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (LIKELY(n == 0 && names == NULL)) {
        if (LIKELY(lock_try((Lock *)self))) Py_RETURN_TRUE;
        if (LIKELY(at_home() && !has_c_released())) return wait_for_ever(&plain, self);
    }
    return acquire(&plain, self, args, n, names);
}
PyObject *lock_enter(PyObject *lock) { return lock_acquire(lock, NULL, 0, NULL); }

/* lock.release(), lock.release_lock */
static PyObject *lock_release_(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(!lock_is_taken((Lock *)self))) return PyObject_CallOneArg(plain.slow_release, self);
    return lock_release((Lock *)self) < 0 ? NULL : Py_NewRef(Py_None);
}
PyObject *lock_exit(PyObject *lock) { return lock_release_(lock, NULL); }

static PyObject *lock_exit_(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    if (UNLIKELY(!lock_is_taken((Lock *)self))) return call_slow(plain.slow_exit, self, args, n, NULL);
    return lock_release((Lock *)self) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *rlock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    if (LIKELY(n == 0 && names == NULL && rlock_try((RLock *)self, caller())))
        Py_RETURN_TRUE;
    return acquire(&recursive, self, args, n, names);
}
PyObject *rlock_enter(PyObject *lock) { return rlock_acquire(lock, NULL, 0, NULL); }

static int rlock_is_callers(RLock *lock)
{
    return rlock_count(lock) && rlock_owner(lock) == caller();
}

/* Once, by whoever owns it. */
static PyObject *rlock_release_once(RLock *lock)
{
    unsigned long count = rlock_count(lock);
    if (count > 1)
        rlock_set_count(lock, count - 1);
    else if (rlock_release_all(lock) < 0)
        return NULL;
    Py_RETURN_NONE;
}
static PyObject *rlock_release(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(!rlock_is_callers((RLock *)self)))
        return PyObject_CallOneArg(recursive.slow_release, self);
    return rlock_release_once((RLock *)self);
}
PyObject *rlock_exit(PyObject *lock) { return rlock_release(lock, NULL); }

static PyObject *rlock_exit_(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    if (UNLIKELY(!rlock_is_callers((RLock *)self)))
        return call_slow(recursive.slow_exit, self, args, n, NULL);
    return rlock_release_once((RLock *)self);
}

static PyObject *slow_is_owned, *slow_recursion_count, *slow_acquire_restore, *slow_release_save;

static PyObject *rlock_is_owned(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    int mine = rlock_is_callers((RLock *)self);
    if (!mine && may_borrow()) return PyObject_CallOneArg(slow_is_owned, self);
    return PyBool_FromLong(mine);
}

static PyObject *rlock_recursion_count(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    RLock *lock = (RLock *)self;
    return PyLong_FromUnsignedLong(rlock_is_callers(lock) ? rlock_count(lock) : 0);
}

/* rlock._release_save() -> (count, owner): frees it, however often its owner has taken it. */
static PyObject *rlock_release_save(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    RLock *lock = (RLock *)self;
    if (!rlock_is_callers(lock)) return PyObject_CallOneArg(slow_release_save, self);
    PyObject *state = Py_BuildValue("kk", rlock_count(lock), rlock_owner(lock));
    if (state != NULL && rlock_release_all(lock) < 0) Py_CLEAR(state);
    return state;
}

/* rlock._acquire_restore((count, owner)) */
#if PY_VERSION_HEX >= 0x030F0000
#define RESTORE_FLAGS METH_O
#define parse_state PyArg_Parse
#else
#define RESTORE_FLAGS METH_VARARGS
#define parse_state PyArg_ParseTuple
#endif
static PyObject *rlock_acquire_restore(PyObject *self, PyObject *state)
{
    unsigned long count, owner;
    if (!parse_state(state, "(kk):_acquire_restore", &count, &owner)) return NULL;
    RLock *lock = (RLock *)self;
    if (!rlock_take(lock, caller())) {
        PyObject *taken = acquire(&recursive, self, NULL, 0, NULL);
        if (taken == NULL) return NULL;
        Py_DECREF(taken);
    }
    rlock_set_count(lock, count);
    Py_RETURN_NONE;
}

const Stand_in locks_stand_ins[] = {
    {"lock_acquire", FUNCTION lock_acquire, METH_FASTCALL | METH_KEYWORDS, &plain.slow_acquire},
    {"lock_release", lock_release_, METH_NOARGS, &plain.slow_release},
    {"lock_exit", FUNCTION lock_exit_, METH_FASTCALL, &plain.slow_exit},
    {"rlock_acquire", FUNCTION rlock_acquire, METH_FASTCALL | METH_KEYWORDS,
     &recursive.slow_acquire},
    {"rlock_release", rlock_release, METH_NOARGS, &recursive.slow_release},
    {"rlock_exit", FUNCTION rlock_exit_, METH_FASTCALL, &recursive.slow_exit},
    {"rlock_is_owned", rlock_is_owned, METH_NOARGS, &slow_is_owned},
    {"rlock_recursion_count", rlock_recursion_count, METH_NOARGS, &slow_recursion_count},
    {"rlock_release_save", rlock_release_save, METH_NOARGS, &slow_release_save},
    {"rlock_acquire_restore", rlock_acquire_restore, RESTORE_FLAGS, &slow_acquire_restore},
    {NULL, NULL, 0, NULL},
};

/* ---- for Python ----------------------------------------------------------------------------------- */

/* Before the patch is in force T_rlock is not known: these are for what is made for one. */

/* rlock_try(lock): take it for the caller, again if it has it; whether that was possible. */
static PyObject *rlock_try_(PyObject *module, PyObject *lock)
{
    (void)module;
    return PyBool_FromLong(rlock_try((RLock *)lock, caller()));
}

/* rlock_is_mine(lock): whether the caller has it. */
static PyObject *rlock_is_mine(PyObject *module, PyObject *lock)
{
    (void)module;
    return PyBool_FromLong(rlock_is_callers((RLock *)lock));
}

/* rlock_owner(lock): the identifier of who has it; 0 if nobody has. */
static PyObject *rlock_owner_(PyObject *module, PyObject *lock)
{
    (void)module;
    return PyLong_FromUnsignedLong(rlock_count((RLock *)lock) ? rlock_owner((RLock *)lock) : 0);
}

/* rlock_take_for(lock, thread): take it for a green thread; whether that was possible. */
static PyObject *rlock_take_for(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    if (n == 2) return PyBool_FromLong(recursive.take(args[0], args[1]));
    PyErr_SetString(PyExc_TypeError, "a lock and a thread");
    return NULL;
}

/* rlock_drop(lock): it was taken once too often; wakes nobody. */
static PyObject *rlock_drop(PyObject *module, PyObject *lock)
{
    (void)module;
    leave_rlock(lock);
    Py_RETURN_NONE;
}

PyMethodDef locks_functions[] = {
    {"try_locks", FUNCTION try_locks, METH_FASTCALL, NULL},
    {"rlock_try", rlock_try_, METH_O, NULL},
    {"rlock_is_mine", rlock_is_mine, METH_O, NULL},
    {"rlock_owner", rlock_owner_, METH_O, NULL},
    {"rlock_take_for", FUNCTION rlock_take_for, METH_FASTCALL, NULL},
    {"rlock_drop", rlock_drop, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int locks_bind(PyObject *objects, PyObject *slow)
{
    static PyObject *longest;
    (void)slow;
    if (intern("blocking", &n_blocking) < 0 || intern("timeout", &n_timeout) < 0 ||
        take(objects, "LockType", (PyObject **)&T_lock) < 0 ||
        take(objects, "RLockType", (PyObject **)&T_rlock) < 0 ||
        take(objects, "proxies", &proxies) < 0 ||
        take(objects, "TIMEOUT_MAX", &longest) < 0 || lock_waits_bind(objects) < 0)
        return -1;
    timeout_max = PyFloat_AsDouble(longest);
    return timeout_max == -1 && PyErr_Occurred() ? -1 : 0;
}
