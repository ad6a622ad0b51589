/* `queue.Queue`: wrappers.threads.queue.
 *
 * With the GIL held and no code of the program's run in between, nobody can tell whether a queue's
 * mutex was taken: it is only looked at.  A class whose `_put`, `_get` or `_qsize` are no longer the
 * standard library's is not served. */
#include "conditions.h"

static PyTypeObject *T_queue;
static Shape of_queue;
enum { Q_MUTEX, Q_ITEMS, Q_NOT_EMPTY, Q_NOT_FULL, Q_MAXSIZE, Q_UNFINISHED, Q_SHUTDOWN };
static PyObject *n_block, *n_notify, *n__put, *n__get, *n__qsize;
static PyObject *slow_put, *slow_get;

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

/* ---- binding ------------------------------------------------------------------------------------- */

const Stand_in queue_stand_ins[] = {
    {"queue_put", FUNCTION put, METH_FASTCALL | METH_KEYWORDS, &slow_put},
    {"queue_get", FUNCTION get, METH_FASTCALL | METH_KEYWORDS, &slow_get},
    {NULL, NULL, 0, NULL},
};

int queue_bind(PyObject *objects, PyObject *slow)
{
    static const char *const fields[] = {"mutex",   "queue",            "not_empty",  "not_full",
                                         "maxsize", "unfinished_tasks", "is_shutdown"};
    static PyObject *names[7];
    (void)slow;
    known_version = 0;
    has_shutdown = PyDict_GetItemString(objects, "ShutDown") != NULL;
    for (int i = 0; i < 7; i++)
        if (intern(fields[i], &names[i]) < 0) return -1;
    if (intern("block", &n_block) < 0 || intern("notify", &n_notify) < 0 ||
        intern("_put", &n__put) < 0 || intern("_get", &n__get) < 0 ||
        intern("_qsize", &n__qsize) < 0 || take(objects, "Queue", (PyObject **)&T_queue) < 0 ||
        take(objects, "_put", &queue_put) < 0 || take(objects, "_get", &queue_get) < 0 ||
        take(objects, "_qsize", &queue_qsize) < 0)
        return -1;
    return shape_bind(&of_queue, PyDict_GetItemString(objects, "queue"), names, 6 + has_shutdown);
}
