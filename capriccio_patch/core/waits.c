/* Waiting for descriptors: io/waits.py.
 *
 * 1. A thread that waits while the kernel is at work (a finalizer) waits in Python.
 * 2. A wait that ends without its turn is undone in Python (Waits.left). */
#include "io.h"
#include "lots.h"

#include <errno.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

/* contracts/descriptor.py */
#define READ 0x001
#define PRI 0x002
#define WRITE 0x004
#define RDHUP 0x2000

Py_ssize_t d_closed, d_listens, d_private;
static Py_ssize_t d_file, d_registration, d_reused;

static PyObject *table; /* dict: the descriptors by number */
static PyObject *kind_read, *kind_write;
static PyObject *s_wait_read, *s_wait_write, *s_arm, *s_left;

PyObject *record_of(int fd)
{
    PyObject *number = PyLong_FromLong(fd);
    PyObject *d = number == NULL ? NULL : PyDict_GetItemWithError(table, number);
    Py_XDECREF(number);
    if (UNLIKELY(d == NULL)) PyErr_Clear();
    return d;
}

int keep_record(int fd, PyObject *d)
{
    PyObject *number = PyLong_FromLong(fd);
    int failed = number == NULL ? -1 : PyDict_SetItem(table, number, d);
    Py_XDECREF(number);
    return failed;
}

int drop_record(int fd)
{
    PyObject *number = PyLong_FromLong(fd);
    int failed = number == NULL ? -1 : PyDict_DelItem(table, number);
    Py_XDECREF(number);
    return failed;
}

int pass_on(PyObject *d)
{
    if (UNLIKELY(SLOT(d, d_readers) != Py_None)) return slot_wake_one(d, d_readers);
    put_slot(d, d_can_read, Py_True);
    return 0;
}

int pass_on_write(PyObject *d) { return slot_wake_one(d, d_writers); }

int tells_of_changes(PyObject *d)
{
    return own_epoll() >= 0 && SLOT(d, d_owned) == Py_True &&
           (PyLong_AsLong(SLOT(d, d_armed)) & READ) != 0;
}

int raise_if_closed(PyObject *d)
{
    if (LIKELY(SLOT(d, d_closed) != Py_True)) return 0;
    errno = EBADF;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* What is seldom done has functions of its own: a thread that waits keeps all frames of C. */

static __attribute__((noinline)) int wait_in_python(PyObject *wait, PyObject *d, PyObject *deadline,
                                                    int again)
{
    PyObject *args[] = {d, deadline, again ? Py_True : Py_False};
    PyObject *in_time = PyObject_Vectorcall(wait, args, 3, NULL);
    if (in_time == NULL) return -1;
    int result = in_time == Py_True;
    Py_DECREF(in_time);
    return result;
}

/* `me` has not had its turn. */
static __attribute__((noinline)) int leave(PyObject *d, PyObject *me, PyObject *kind, int result)
{
    Raised raised = set_aside();
    PyObject *args[] = {d, me, kind, result < 0 ? Py_True : Py_False};
    return go_on(raised, done(PyObject_Vectorcall(s_left, args, 4, NULL)) < 0) < 0 ? -1 : result;
}

/* Waits.arm, where the scheme epoll has `d` registered: EpollBackend.add_request. */
static __attribute__((noinline)) int arm(PyObject *d)
{
#ifdef __linux__
    int epoll = own_epoll();
    if (LIKELY(epoll >= 0 && SLOT(d, d_registration) == Py_True && SLOT(d, d_file) != Py_None &&
               SLOT(d, d_reused) == Py_False && SLOT(d, d_observers) == Py_None)) {
        long wanted = (SLOT(d, d_readers) != Py_None ? READ : 0) |
                      (SLOT(d, d_writers) != Py_None ? WRITE : 0);
        int is_owned = SLOT(d, d_owned) == Py_True, fd = (int)PyLong_AsLong(SLOT(d, d_fd));
        long armed = wanted;
        if (is_owned)
            armed = READ | PRI | RDHUP | PyLong_AsLong(SLOT(d, d_armed)) | (wanted & WRITE);
        struct epoll_event event = {.events = (uint32_t)armed | (is_owned ? EPOLLET : EPOLLONESHOT),
                                    .data = {.fd = fd}};
        if (LIKELY(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0)) {
            PyObject *number = PyLong_FromLong(armed);
            if (number == NULL) return -1;
            give_slot(d, d_armed, number);
            return 0;
        }
    }
#endif
    return call1(s_arm, d); /* another scheme, the first time, or the number is another file's */
}

static int wait_in(Py_ssize_t queue, PyObject *d, PyObject *deadline, PyObject *kind, int again)
{
    PyObject *me = begin();
    if (me == NULL) return -1;
    Py_INCREF(me);
    put_slot(me, t_kind, kind);
    put_slot(me, t_object, d);
    int result = slot_add(d, queue, me, again);
    if (result == 0 && queue == d_readers && UNLIKELY(SLOT(d, d_can_read) == Py_True)) {
        put_slot(me, t_object, Py_None);
        if (slot_withdraw(d, queue, me) < 0) PyErr_Clear(); /* it is not there */
        result = cancel_wait(me) < 0 ? -1 : 1;
        Py_DECREF(me);
        return result;
    }
    if (result == 0 && (queue != d_readers || SLOT(d, d_owned) != Py_True ||
                        !(PyLong_AsLong(SLOT(d, d_armed)) & READ)))
        result = arm(d);
    if (result == 0) result = park(me, deadline);
    if (UNLIKELY(result != 1)) result = leave(d, me, kind, result);
    Py_DECREF(me);
    return result;
}

static inline int is_at_work(void) { return SLOT(K, k_current) == SLOT(K, k_finalizer); }

int wait_read(PyObject *d, PyObject *deadline, int again)
{
    if (UNLIKELY(is_at_work())) return wait_in_python(s_wait_read, d, deadline, again);
    return wait_in(d_readers, d, deadline, kind_read, again);
}

int wait_write(PyObject *d, PyObject *deadline, int again)
{
    if (UNLIKELY(is_at_work())) return wait_in_python(s_wait_write, d, deadline, again);
    return wait_in(d_writers, d, deadline, kind_write, again);
}

int waits_bind(PyObject *objects, PyObject *slow)
{
    PyObject *cls = PyDict_GetItemString(objects, "Descriptor"); /* borrowed */
    if (cls == NULL) {
        PyErr_SetString(PyExc_KeyError, "Descriptor");
        return -1;
    }
    if (kind_read == NULL && (kind_read = PyUnicode_InternFromString("read")) == NULL) return -1;
    if (kind_write == NULL && (kind_write = PyUnicode_InternFromString("write")) == NULL) return -1;
    return offset_of(cls, "closed", &d_closed) < 0 || offset_of(cls, "file", &d_file) < 0 ||
                   offset_of(cls, "registration", &d_registration) < 0 ||
                   offset_of(cls, "listens", &d_listens) < 0 ||
                   offset_of(cls, "private", &d_private) < 0 ||
                   offset_of(cls, "reused", &d_reused) < 0 || take(objects, "table", &table) < 0 ||
                   take(slow, "wait_read", &s_wait_read) < 0 ||
                   take(slow, "wait_write", &s_wait_write) < 0 ||
                   take(slow, "arm", &s_arm) < 0 || take(slow, "left", &s_left) < 0
               ? -1
               : 0;
}
