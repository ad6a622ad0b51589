/* Lots, where threads queue: kernel.parking.Lot, in its two forms.
 *
 * Between a look and the change that follows from it nothing is given up that has a finalizer, no
 * function of Python is called, and the collector is kept from running where an object is made: what
 * is found is what is changed. */
#include "lots.h"

static PyTypeObject *T_wait_queue;
static PyObject *n_move_to_end, *names_last;

/* ---- queues of several ---------------------------------------------------------------------------- */

/* A new one, of one thread. */
static PyObject *queue_of(PyObject *thread)
{
    int collects = PyGC_Disable();
    PyObject *queue = PyObject_CallNoArgs((PyObject *)T_wait_queue);
    if (collects) PyGC_Enable();
    if (queue == NULL || PyODict_SetItem(queue, thread, Py_None) == 0) return queue;
    Py_DECREF(queue);
    return NULL;
}

static int queue_add(PyObject *queue, PyObject *me, int first)
{
    if (PyODict_SetItem(queue, me, Py_None) < 0) return -1;
    if (!first) return 0;
    PyObject *args[] = {queue, me, Py_False};
    return done(PyObject_VectorcallMethod(n_move_to_end, args, 2, names_last));
}

/* Who has waited longest: a new reference, or NULL. */
static PyObject *queue_first(PyObject *queue)
{
    int collects = PyGC_Disable();
    PyObject *each = PyObject_GetIter(queue);
    if (collects) PyGC_Enable();
    if (each == NULL) return NULL;
    PyObject *thread = PyIter_Next(each);
    Py_DECREF(each);
    return thread;
}

/* Whether it was in there, and is no longer; -1 with an exception. */
static int queue_withdraw(PyObject *queue, PyObject *me)
{
    int found = PyDict_Contains(queue, me);
    return found <= 0 ? found : PyODict_DelItem(queue, me) < 0 ? -1 : 1;
}

/* ---- keys ------------------------------------------------------------------------------------------ */

/* The ints of the addresses that were asked for last, each at the place that its address gives. */
static struct {
    const void *thing;
    PyObject *key;
} keys[64];

PyObject *lot_key(const PyObject *thing)
{
    size_t place = ((uintptr_t)thing >> 4) % (sizeof keys / sizeof *keys);
    if (UNLIKELY(keys[place].thing != thing)) {
        PyObject *key = PyLong_FromVoidPtr((void *)thing);
        if (key == NULL) return NULL;
        keys[place].thing = thing;
        Py_XSETREF(keys[place].key, key);
    }
    return Py_NewRef(keys[place].key);
}

/* ---- of things ------------------------------------------------------------------------------------ */

static inline PyObject *entry_of(PyObject *waiting, PyObject *key) /* borrowed */
{
    return PyDict_GetItemWithError(waiting, key);
}

int lot_add(PyObject *waiting, PyObject *key, PyObject *me, int first)
{
    Py_ssize_t before = PyDict_GET_SIZE(waiting);
    PyObject *found = PyDict_SetDefault(waiting, key, me); /* borrowed */
    if (found == NULL) return -1;
    if (LIKELY(PyDict_GET_SIZE(waiting) != before)) return 0;
    int is_queue = Py_TYPE(found) == T_wait_queue;
    PyObject *queue = is_queue ? Py_NewRef(found) : queue_of(found);
    if (queue == NULL) return -1;
    int failed = is_queue ? 0 : PyDict_SetItem(waiting, key, queue);
    if (failed == 0) failed = queue_add(queue, me, first);
    Py_DECREF(queue);
    return failed;
}

int lot_withdraw(PyObject *waiting, PyObject *key, PyObject *me)
{
    PyObject *found = entry_of(waiting, key);
    if (found == NULL) return PyErr_Occurred() ? -1 : 0;
    if (found == me) return PyDict_DelItem(waiting, key) < 0 ? -1 : 1;
    if (Py_TYPE(found) != T_wait_queue) return 0;
    Py_INCREF(found);
    int was = queue_withdraw(found, me);
    if (was == 1 && PyDict_GET_SIZE(found) == 0 && PyDict_DelItem(waiting, key) < 0) was = -1;
    Py_DECREF(found);
    return was;
}

PyObject *lot_first(PyObject *waiting, PyObject *key)
{
    PyObject *found = entry_of(waiting, key);
    if (found == NULL) return NULL;
    return Py_TYPE(found) == T_wait_queue ? queue_first(found) : Py_NewRef(found);
}

PyObject *lot_take_first(PyObject *waiting, PyObject *key)
{
    PyObject *found = entry_of(waiting, key);
    if (found == NULL) return NULL;
    PyObject *first = Py_TYPE(found) == T_wait_queue ? queue_first(found) : Py_NewRef(found);
    if (first == NULL) return NULL;
    int failed = LIKELY(found == first) ? PyDict_DelItem(waiting, key) < 0
                                        : lot_withdraw(waiting, key, first) < 0;
    if (failed) Py_CLEAR(first);
    return first;
}

/* ---- of records ----------------------------------------------------------------------------------- */

int slot_add(PyObject *record, Py_ssize_t slot, PyObject *me, int first)
{
    PyObject *found = SLOT(record, slot);
    if (LIKELY(found == Py_None)) {
        put_slot(record, slot, me);
        return 0;
    }
    if (Py_TYPE(found) != T_wait_queue) {
        PyObject *queue = queue_of(found);
        if (queue == NULL) return -1;
        give_slot(record, slot, queue);
        found = queue;
    }
    return queue_add(found, me, first);
}

int slot_withdraw(PyObject *record, Py_ssize_t slot, PyObject *me)
{
    PyObject *found = SLOT(record, slot);
    if (LIKELY(found == me)) {
        put_slot(record, slot, Py_None);
        return 1;
    }
    if (Py_TYPE(found) != T_wait_queue) return 0;
    int was = queue_withdraw(found, me);
    if (was == 1 && PyDict_GET_SIZE(found) == 0) put_slot(record, slot, Py_None);
    return was;
}

int slot_wake_one(PyObject *record, Py_ssize_t slot)
{
    PyObject *found = SLOT(record, slot);
    if (found == Py_None) return 0;
    PyObject *thread = Py_TYPE(found) == T_wait_queue ? queue_first(found) : Py_NewRef(found);
    if (thread == NULL) return -1;
    int failed = slot_withdraw(record, slot, thread) < 0 ? -1 : resume_thread(thread);
    Py_DECREF(thread);
    return failed;
}

int lots_bind(PyObject *objects, PyObject *slow)
{
    (void)slow;
    if (n_move_to_end == NULL) {
        n_move_to_end = PyUnicode_InternFromString("move_to_end");
        names_last = Py_BuildValue("(N)", PyUnicode_InternFromString("last"));
        if (!n_move_to_end || !names_last) return -1;
    }
    return take(objects, "WaitQueue", (PyObject **)&T_wait_queue);
}
