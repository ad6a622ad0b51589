/* `_queue.SimpleQueue`: wrappers.threads.simple_queue. */
#include "locks.h"

static PyTypeObject *T_simple_queue;
static PyObject *simple_waiting; /* of the lot of SimpleQueues */
static PyObject *simple_wake;    /* Lot.wake_one */
static PyObject *n_block, *n_queue;
static PyObject *slow_simple_put, *slow_simple_get;

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
    PyObject *key = lot_key(self);
    if (key == NULL) return -1;
    int failed = 0;
    if (!at_home()) {
        int waits_for_it = PyDict_Contains(simple_waiting, key);
        failed = waits_for_it <= 0 ? waits_for_it : call1(simple_wake, self);
    } else {
        PyObject *thread = lot_take_first(simple_waiting, key);
        if (thread == NULL)
            failed = PyErr_Occurred() ? -1 : 0;
        else {
            failed = resume_thread(thread);
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
    PyObject *me = begin();
    if (me == NULL) return -1;
    Py_INCREF(me);
    put_slot(me, t_kind, n_queue);
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
    if (cancel_begun(me) < 0) woken = -1;
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
    if (deadline == NULL || (key = lot_key(self)) == NULL) {
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

/* ---- binding ------------------------------------------------------------------------------------- */

const Stand_in simple_queue_stand_ins[] = {
    {"simple_put", FUNCTION simple_put, METH_FASTCALL | METH_KEYWORDS, &slow_simple_put},
    {"simple_get", FUNCTION simple_get, METH_FASTCALL | METH_KEYWORDS, &slow_simple_get},
    {NULL, NULL, 0, NULL},
};

int simple_queue_bind(PyObject *objects, PyObject *slow)
{
    static PyObject *put_, *get_, *size_;
    (void)slow;
    if (intern("block", &n_block) < 0 || intern("queue", &n_queue) < 0 ||
        take(objects, "waiting", &simple_waiting) < 0 ||
        take(objects, "wake", &simple_wake) < 0 ||
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
