/* Deadlines: kernel/timers.py, and its heap without a call of Python's comparison for each step.
 *
 * An entry is a list, [deadline, serial, thread].  Serials differ, so threads are never compared. */
#include "kernel.h"

#include <math.h>

#define NEAR 1.0 /* kernel.timers._NEAR */

static Py_ssize_t tm_heap, tm_line, tm_serial;
static PyObject *s_next_deadline, *s_add_timer, *s_make_room;
static ssizeargfunc dq_item;

/* ---- the heap ------------------------------------------------------------------------------------ */

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

static int heap_push(PyObject *heap, PyObject *entry)
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

static PyObject *heap_pop(PyObject *heap)
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

/* ---- of threads ---------------------------------------------------------------------------------- */

/* The entry at one end of the line, borrowed; NULL, without an exception, if there is none. */
static inline PyObject *line_end(PyObject *line, int is_last)
{
    Py_ssize_t size = dq_len(line);
    if (size == 0) return NULL;
    PyObject *entry = dq_item(line, is_last ? size - 1 : 0);
    Py_DECREF(entry);
    return entry;
}

/* By how much `deadline`, a float, comes after the end of the line: 0 where that is empty, NAN where
 * who is there has something else. */
static double gap_to(PyObject *timers, PyObject *deadline)
{
    PyObject *last = line_end(SLOT(timers, tm_line), 1);
    if (last == NULL) return 0.0;
    PyObject *at = PyList_GET_ITEM(last, 0);
    return LIKELY(PyFloat_CheckExact(at)) ? PyFloat_AS_DOUBLE(deadline) - PyFloat_AS_DOUBLE(at)
                                         : NAN;
}

/* Timers.add, of a thread that has no entry. */
static int push_timer(PyObject *me, PyObject *deadline)
{
    PyObject *timers = SLOT(K, k_timers), *entry = PyList_New(3);
    if (entry == NULL) return -1;
    double gap = gap_to(timers, deadline);
    if (UNLIKELY(gap < -NEAR)) {
        if (call1(s_make_room, deadline) < 0) {
            Py_DECREF(entry);
            return -1;
        }
        gap = gap_to(timers, deadline);
    }
    PyObject *serial = PyLong_FromLongLong(PyLong_AsLongLong(SLOT(timers, tm_serial)) + 2);
    if (serial == NULL) {
        Py_DECREF(entry);
        return -1;
    }
    PyList_SET_ITEM(entry, 0, Py_NewRef(deadline));
    PyList_SET_ITEM(entry, 1, Py_NewRef(serial));
    PyList_SET_ITEM(entry, 2, Py_NewRef(me));
    give_slot(timers, tm_serial, serial);
    put_slot(me, t_deadline, deadline);
    put_slot(me, t_timer, entry);
    int failed = gap >= 0.0 && gap <= NEAR ? done(dq_append(SLOT(timers, tm_line), entry))
                                           : heap_push(SLOT(timers, tm_heap), entry);
    Py_DECREF(entry);
    return failed;
}

int add_timer(PyObject *me, PyObject *deadline)
{
    PyObject *timer = SLOT(me, t_timer);
    if (timer == Py_None && PyFloat_CheckExact(deadline)) return push_timer(me, deadline);
    if (timer != Py_None && PyFloat_CheckExact(deadline)) {
        PyObject *at = PyList_GET_ITEM(timer, 0);
        if (PyFloat_CheckExact(at) && PyFloat_AS_DOUBLE(at) <= PyFloat_AS_DOUBLE(deadline)) {
            put_slot(me, t_deadline, deadline);
            return 0; /* its entry fires early, and moves */
        }
    }
    return call2(s_add_timer, me, deadline);
}

/* Whichever entry is first, borrowed; NULL with *failed if there is none, or it raised. */
static PyObject *first_entry(int *failed)
{
    PyObject *timers = SLOT(K, k_timers), *heap = SLOT(timers, tm_heap);
    PyObject *entry = line_end(SLOT(timers, tm_line), 0);
    Py_ssize_t size = PyList_GET_SIZE(heap);
    if (size == 0) return entry;
    if (entry == NULL) return PyList_GET_ITEM(heap, 0);
    int is = is_before(heap, size, PyList_GET_ITEM(heap, 0), entry);
    *failed = is < 0 ? -1 : 0;
    return is < 0 ? NULL : is ? PyList_GET_ITEM(heap, 0) : entry;
}

/* Take out `entry`, which is the first: a new reference; NULL raised. */
static PyObject *take_first(PyObject *entry)
{
    PyObject *timers = SLOT(K, k_timers), *line = SLOT(timers, tm_line);
    if (entry == line_end(line, 0)) return dq_popleft(line, NULL);
    return heap_pop(SLOT(timers, tm_heap));
}

/* The entry of the earliest deadline, as Timers._first finds it, borrowed; NULL with *failed if there
 * is none, or it raised.  It is the first until anything is called or let go of. */
static PyObject *first_timer(int *failed)
{
    *failed = 0;
    for (int looked = 0;; looked = 1) {
        PyObject *entry = first_entry(failed);
        if (entry == NULL) return NULL;
        PyObject *at = PyList_GET_ITEM(entry, 0), *thread = PyList_GET_ITEM(entry, 2);
        if (LIKELY(thread != Py_None)) {
            PyObject *wanted = SLOT(thread, t_deadline);
            if (LIKELY(PyFloat_CheckExact(wanted) && PyFloat_CheckExact(at))) {
                if (PyFloat_AS_DOUBLE(wanted) <= PyFloat_AS_DOUBLE(at)) return entry;
            } else if (looked && wanted != Py_None)
                return entry; /* Python has compared them */
        }
        PyObject *found = PyObject_CallNoArgs(s_next_deadline); /* drops what is stale */
        if (found == NULL) {
            *failed = -1;
            return NULL;
        }
        Py_DECREF(found);
    }
}

static int deadline_of(PyObject *entry, double *deadline)
{
    *deadline = PyFloat_AsDouble(PyList_GET_ITEM(entry, 0));
    return *deadline == -1.0 && PyErr_Occurred() != NULL ? -1 : 1;
}

int next_deadline(double *deadline)
{
    int failed;
    PyObject *entry = first_timer(&failed);
    return entry == NULL ? failed : deadline_of(entry, deadline);
}

int expire(double now)
{
    for (int count = 0; count < TURN; count++) {
        double deadline;
        int failed;
        PyObject *entry = first_timer(&failed);
        if (entry == NULL) return failed;
        if (deadline_of(entry, &deadline) < 0) return -1;
        if (deadline > now) return 0;
        if ((entry = take_first(entry)) == NULL) return -1;
        PyObject *thread = Py_NewRef(PyList_GET_ITEM(entry, 2));
        put_slot(thread, t_timer, Py_None);
        put_slot(thread, t_deadline, Py_None);
        Py_DECREF(entry);
        if (SLOT(thread, t_parked) == Py_True) {
            put_slot(thread, t_timed_out, Py_True);
            put_slot(thread, t_parked, Py_False);
            failed = push(thread);
        } else if (SLOT(thread, t_by_interrupt) == Py_True) {
            put_slot(thread, t_timed_out, Py_True);
            put_slot(thread, t_by_interrupt, Py_False);
        }
        Py_DECREF(thread);
        if (failed) return -1;
    }
    return 0;
}

int timers_bind(PyObject *objects, PyObject *slow)
{
    PyObject *cls = PyDict_GetItemString(objects, "Timers"); /* borrowed */
    if (take(slow, "next_deadline", &s_next_deadline) < 0 ||
        take(slow, "add_timer", &s_add_timer) < 0 || take(slow, "make_room", &s_make_room) < 0)
        return -1;
    dq_item = PyDescr_TYPE(PyDict_GetItemString(objects, "append"))->tp_as_sequence->sq_item;
    return offset_of(cls, "_heap", &tm_heap) < 0 || offset_of(cls, "_line", &tm_line) < 0 ||
                   offset_of(cls, "_serial", &tm_serial) < 0
               ? -1
               : 0;
}
