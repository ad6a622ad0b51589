/* Whether the locks of this CPython are laid out as locks.h has them. */
#include "locks.h"

#include <string.h>

#if PY_VERSION_HEX >= 0x030D0000 && PY_VERSION_HEX < 0x030E0000
int has_mutexes;
#endif

static int says(PyObject *lock, const char *method, const char *expected)
{
    PyObject *text = PyObject_CallMethod(lock, method, NULL);
    if (text == NULL) return -1;
    PyObject *shown = PyObject_Str(text);
    Py_DECREF(text);
    if (shown == NULL) return -1;
    const char *is = PyUnicode_AsUTF8(shown);
    int found = is == NULL ? -1 : strstr(is, expected) != NULL;
    Py_DECREF(shown);
    return found;
}

static int unknown(const char *what)
{
    if (!PyErr_Occurred()) PyErr_Format(PyExc_SystemError, "the layout of %s is not known", what);
    return -1;
}

/* With the methods of CPython itself: `objects` has a fresh lock and a fresh RLock, and theirs. */
static int try_lock(Lock *lock, PyObject *acquire, PyObject *release)
{
    PyObject *o = (PyObject *)lock;
#if PY_VERSION_HEX >= 0x030D0000 && PY_VERSION_HEX < 0x030E0000
    has_mutexes = Py_TYPE(o)->tp_basicsize == sizeof(MutexLock);
#endif
    if (Py_TYPE(o)->tp_basicsize != lock_size() || lock_is_taken(lock) || !lock_is_known(lock))
        return unknown("locks");
    if (call1(acquire, o) < 0) return -1;
    if (!lock_is_taken(lock) || !lock_is_known(lock) || lock_try(lock)) return unknown("locks");
    if (call1(release, o) < 0) return -1;
    if (lock_is_taken(lock) || !lock_try(lock) || says(o, "locked", "True") != 1)
        return unknown("locks");
    lock_free(lock);
    if (says(o, "locked", "False") != 1 || call1(acquire, o) < 0 || call1(release, o) < 0)
        return unknown("locks");
    return 0;
}

static int try_rlock(RLock *lock, PyObject *acquire, PyObject *release)
{
    PyObject *o = (PyObject *)lock;
    unsigned long mine = PyThread_get_thread_ident();
    if (Py_TYPE(o)->tp_basicsize != sizeof(RLock) || rlock_count(lock) || !rlock_is_known(lock))
        return unknown("RLocks");
    if (call1(acquire, o) < 0 || call1(acquire, o) < 0) return -1;
    if (rlock_count(lock) != 2 || !rlock_is_known(lock) || rlock_owner(lock) != mine || rlock_take(lock, 1))
        return unknown("RLocks");
    if (call1(release, o) < 0 || call1(release, o) < 0) return -1;
    if (rlock_count(lock) || !rlock_try(lock, 12345) || !rlock_try(lock, 12345) ||
        rlock_try(lock, mine) || says(o, "__repr__", "owner=12345 count=2") != 1)
        return unknown("RLocks");
    rlock_free(lock);
    if (says(o, "__repr__", "owner=0 count=0") != 1 || call1(acquire, o) < 0 ||
        call1(release, o) < 0)
        return unknown("RLocks");
    return 0;
}

/* try_locks(lock, acquire, release, rlock, acquire, release): of CPython.  SystemError if the layout
 * of its locks is not the one that is known here. */
PyObject *try_locks(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    if (n != 6) {
        PyErr_SetString(PyExc_TypeError, "two locks, with their methods");
        return NULL;
    }
    if (try_lock((Lock *)args[0], args[1], args[2]) < 0 ||
        try_rlock((RLock *)args[3], args[4], args[5]) < 0)
        return NULL;
    Py_RETURN_NONE;
}
