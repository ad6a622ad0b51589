/* What C code keeps by OS thread, exchanged at a switch: kernel/thread_locals.py. */
#include "kernel.h"

void **traced, **profiled, **has_local;
static PyObject *n_local; /* the key of CState for both words of `has_local` */
static PyObject *s__exchange;

int has_c_state(void) { return is_observed() || has_state(); }

/* What CState.save makes of the words; they are given up if that can be made. */
static PyObject *save_locals(void)
{
    PyObject *saved = PyDict_New();
    PyObject *words = saved == NULL ? NULL : PyList_New(2);
    for (int i = 0; words != NULL && i < 2; i++) {
        PyObject *word = PyLong_FromVoidPtr(has_local[i]);
        if (word == NULL)
            Py_CLEAR(words);
        else
            PyList_SET_ITEM(words, i, word);
    }
    if (words == NULL || PyDict_SetItem(saved, n_local, words) < 0)
        Py_CLEAR(saved);
    else
        has_local[0] = has_local[1] = NULL;
    Py_XDECREF(words);
    return saved;
}

/* What CState.save has made of words, if of nothing else: borrowed, or NULL without an exception. */
static PyObject *saved_locals(PyObject *state)
{
    if (!PyDict_CheckExact(state) || PyDict_GET_SIZE(state) != 1) return NULL;
    PyObject *words = PyDict_GetItem(state, n_local);
    if (words == NULL || !PyList_CheckExact(words) || PyList_GET_SIZE(words) != 2) return NULL;
    for (int i = 0; i < 2; i++)
        if (!PyLong_CheckExact(PyList_GET_ITEM(words, i))) return NULL;
    return words;
}

/* Kernel._exchange, where both threads have locals at most: 1, 0 if there is more, -1 raised.  From
 * CPython 3.13, where there are such words, an object that is made has nothing collected. */
static int exchange_locals(PyObject *me, PyObject *next)
{
    PyObject *state = SLOT(next, t_c_state), *words = NULL;
    if (has_local == NULL || has_other_state() || SLOT(me, t_c_state) != Py_None) return 0;
    if (state != Py_None && (words = saved_locals(state)) == NULL) return 0;
    if (has_locals()) {
        PyObject *saved = save_locals();
        if (saved == NULL) return -1;
        give_slot(me, t_c_state, saved);
    }
    if (words == NULL) return 1;
    for (int i = 0; i < 2; i++) has_local[i] = PyLong_AsVoidPtr(PyList_GET_ITEM(words, i));
    put_slot(next, t_c_state, Py_None);
    return 1;
}

PyObject *exchange(PyObject *me, PyObject *next)
{
    int exchanged = exchange_locals(me, next);
    if (exchanged > 0) return next;
    PyObject *args[] = {K, me, next};
    PyObject *other = exchanged < 0 ? NULL : PyObject_Vectorcall(s__exchange, args, 3, NULL);
    Py_DECREF(next);
    return other;
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

int exchange_bind(PyObject *objects, PyObject *slow)
{
    return intern("capriccio_patch.local", &n_local) < 0 ||
                   take(slow, "_exchange", &s__exchange) < 0 ||
                   take_word(objects, "traced", &traced) < 0 ||
                   take_word(objects, "profiled", &profiled) < 0 ||
                   take_word(objects, "has_local", &has_local) < 0
               ? -1
               : 0;
}
