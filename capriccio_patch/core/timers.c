/* The heap of kernel/timers.py: what heapq does, without a call of Python's comparison for each step.
 *
 * An entry is a list, [deadline, serial, thread].  Serials differ, so threads are never compared. */
#include "core.h"

/* Whether entry `a` comes before `b`; -1 raised, also if the heap has not `size` entries any more. */
static inline int is_before(PyObject *heap, Py_ssize_t size, PyObject *a, PyObject *b)
{
    PyObject *x = PyList_GET_ITEM(a, 0), *y = PyList_GET_ITEM(b, 0);
    if (LIKELY(PyFloat_CheckExact(x) && PyFloat_CheckExact(y))) {
        if (LIKELY(PyFloat_AS_DOUBLE(x) != PyFloat_AS_DOUBLE(y)))
            return PyFloat_AS_DOUBLE(x) < PyFloat_AS_DOUBLE(y);
        return PyLong_AsLongLong(PyList_GET_ITEM(a, 1)) < PyLong_AsLongLong(PyList_GET_ITEM(b, 1));
    }
    Py_INCREF(a);
    Py_INCREF(b);
    int is = PyObject_RichCompareBool(a, b, Py_LT);
    Py_DECREF(a);
    Py_DECREF(b);
    if (is >= 0 && PyList_GET_SIZE(heap) != size) {
        PyErr_SetString(PyExc_RuntimeError, "list changed size during iteration");
        return -1;
    }
    return is;
}

static inline void swap(PyObject *heap, Py_ssize_t i, Py_ssize_t j)
{
    PyObject *held = PyList_GET_ITEM(heap, i);
    PyList_SET_ITEM(heap, i, PyList_GET_ITEM(heap, j));
    PyList_SET_ITEM(heap, j, held);
}

int heap_push(PyObject *heap, PyObject *entry)
{
    if (PyList_Append(heap, entry) < 0) return -1;
    Py_ssize_t size = PyList_GET_SIZE(heap), at = size - 1;
    while (at > 0) {
        Py_ssize_t parent = (at - 1) / 2;
        int is = is_before(heap, size, PyList_GET_ITEM(heap, at), PyList_GET_ITEM(heap, parent));
        if (is <= 0) return is;
        swap(heap, at, parent);
        at = parent;
    }
    return 0;
}

PyObject *heap_pop(PyObject *heap)
{
    Py_ssize_t size = PyList_GET_SIZE(heap) - 1;
    if (size < 0) {
        PyErr_SetString(PyExc_IndexError, "index out of range");
        return NULL;
    }
    swap(heap, 0, size);
    PyObject *first = Py_NewRef(PyList_GET_ITEM(heap, size));
    if (PyList_SetSlice(heap, size, size + 1, NULL) < 0) {
        Py_DECREF(first);
        return NULL;
    }
    for (Py_ssize_t at = 0, child = 1; child < size; child = 2 * at + 1) {
        int is = child + 1 < size ? is_before(heap, size, PyList_GET_ITEM(heap, child + 1),
                                              PyList_GET_ITEM(heap, child))
                                  : 0;
        if (is > 0) child++;
        if (is >= 0)
            is = is_before(heap, size, PyList_GET_ITEM(heap, child), PyList_GET_ITEM(heap, at));
        if (is < 0) {
            Py_DECREF(first);
            return NULL;
        }
        if (is == 0) break;
        swap(heap, at, child);
        at = child;
    }
    return first;
}
