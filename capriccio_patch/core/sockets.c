/* Sockets: recv, recv_into, send and sendall, as wrappers/sockets/receive.py and send.py do them.
 *
 * A call is made with MSG_DONTWAIT, so it never waits in the kernel and keeps the GIL; where it
 * would, the thread parks and tries again.  No exception is made on the way.
 *
 * 1. What C knows of a socket object (PySocketSockObject) is tried on samples when it is bound.
 * 2. Left to Python: flags, sockets without a record, other OS threads, the kernel's own timeouts
 *    (SO_RCVTIMEO), buffers and numbers of unusual types.
 * 3. A buffer is held for as long as its call lasts, as stock holds it.
 * 4. Between a call and the next no code of the program runs: what is received lies in `spare` until
 *    it is copied. */
#include "sockets.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

PyObject *timeouts, *kernel_timeouts;
Py_ssize_t o_in_use;
static PyObject *timed_out; /* "timed out" */
static PyObject *s_recv, *s_recv_into, *s_send, *s_sendall;

/* The most that is received into `spare`; of what it holds, less than SMALL is copied. */
#define SPARE 65536
#define SMALL 8192
static PyObject *spare;

/* ---- what a socket is to the program ------------------------------------------------------------ */

Way way_of(Socket *s, PyObject **deadline)
{
    *deadline = Py_None;
    if (LIKELY(s->timeout < 0)) return BLOCKS;
    if (PyDict_GET_SIZE(timeouts) == 0) return NEVER;
    PyObject *key = PyLong_FromVoidPtr(s);
    PyObject *limit = key == NULL ? NULL : PyDict_GetItemWithError(timeouts, key); /* borrowed */
    Py_XDECREF(key);
    if (limit == NULL) return PyErr_Occurred() != NULL ? RAISED : NEVER;
    if (limit == Py_None) return BLOCKS;
    double seconds = PyFloat_AsDouble(limit);
    if (seconds == -1.0 && PyErr_Occurred() != NULL) return RAISED;
    *deadline = PyFloat_FromDouble(now_s() + seconds);
    return *deadline == NULL ? RAISED : LIMITED;
}

Py_ssize_t raise_timeout(void)
{
    PyErr_SetObject(PyExc_TimeoutError, timed_out);
    return -1;
}

Py_ssize_t raise_errno(int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

Py_ssize_t give_up_turn(PyObject *d, int (*next)(PyObject *), int yields)
{
    Raised raised = set_aside();
    (void)go_on(raised, (next != NULL && next(d) < 0) || (yields && yield_after_calls() < 0));
    return -1;
}

/* ---- receiving ---------------------------------------------------------------------------------- */

/* Where to: into `buffer`, or where that is NULL into a new bytes object, `data`, of what has come. */
typedef struct {
    char *buffer;
    Py_ssize_t size;
    PyObject *data;
} Room;

static inline char *bytes_of(PyObject *data) { return PyBytes_AS_STRING(data); }

/* recv(2) for a room without a buffer: memory is had for no longer than the call. */
static Py_ssize_t recv_bytes(int fd, Room *room, int flags, int *error)
{
    int is_small = room->size <= SPARE;
    PyObject **held = is_small ? &spare : &room->data;
    if (*held == NULL &&
        (*held = PyBytes_FromStringAndSize(NULL, is_small ? SPARE : room->size)) == NULL) {
        *error = 0;
        return -1;
    }
    Py_ssize_t got = recv(fd, bytes_of(*held), (size_t)room->size, flags);
    *error = errno;
    if (got < 0) {
        if (!is_small) Py_CLEAR(room->data);
        return -1;
    }
    if (is_small && got < SMALL)
        room->data = PyBytes_FromStringAndSize(bytes_of(spare), got);
    else {
        if (is_small) {
            room->data = spare;
            spare = NULL;
        }
        if (got != PyBytes_GET_SIZE(room->data)) _PyBytes_Resize(&room->data, got);
    }
    *error = 0;
    return room->data == NULL ? -1 : got;
}

/* recv(2); -1 with *error, which is 0 where an exception is set. */
static Py_ssize_t try_recv(Socket *s, Room *room, int flags, int *error)
{
    for (;;) {
        Py_ssize_t got;
        if (room->buffer == NULL)
            got = recv_bytes(s->fd, room, flags, error);
        else {
            got = recv(s->fd, room->buffer, (size_t)room->size, flags);
            *error = errno;
        }
        if (LIKELY(got >= 0 || *error != EINTR)) return got;
        if (PyErr_CheckSignals() < 0) {
            *error = 0;
            return -1;
        }
    }
}

/* As Receiver._try_woken: of the end after a shutdown(2) only those are told who would wait. */
static Py_ssize_t try_woken(Socket *s, Room *room, int *error)
{
    Py_ssize_t got = try_recv(s, room, MSG_DONTWAIT, error);
    if (LIKELY(got >= 0) || *error != EAGAIN) return got;
    struct pollfd one = {.fd = s->fd, .events = POLLRDHUP};
    if (poll(&one, 1, 0) <= 0 || !(one.revents & POLLRDHUP)) return -1;
    return try_recv(s, room, 0, error); /* ends at once */
}

/* Wait for the turn and try, until that succeeds or fails for good; *error is 0 where it raised. */
static Py_ssize_t receive_later(Socket *s, PyObject *d, Room *room, PyObject *deadline, int *error)
{
    int has_turn = SLOT(d, d_ended) == Py_True; /* no event may follow: try without one */
    for (int again = has_turn;; again = 1) {
        int in_time = has_turn ? 1 : wait_read(d, deadline, again);
        *error = 0;
        if (in_time <= 0) return in_time < 0 ? -1 : raise_timeout();
        if (UNLIKELY(raise_if_closed(d) < 0)) return -1;
        put_slot(d, d_can_read, Py_False);
        Py_ssize_t got = try_woken(s, room, error);
        if (LIKELY(got >= 0)) return got;
        if (*error != EAGAIN) {
            if (*error) raise_errno(*error);
            return give_up_turn(d, pass_on, 0);
        }
        has_turn = 0;
    }
}

/* Receiver.take; -1: raised. */
static Py_ssize_t receive(Socket *s, PyObject *d, Room *room)
{
    int error = EAGAIN, had_turn = SLOT(d, d_can_read) == Py_True, has_waited = 0;
    Py_ssize_t got = -1;
    if (had_turn) {
        put_slot(d, d_can_read, Py_False);
        got = try_recv(s, room, MSG_DONTWAIT, &error);
    }
    if (got < 0 && error == EAGAIN) {
        PyObject *deadline;
        Way way = way_of(s, &deadline);
        if (way == BLOCKS || way == LIMITED) {
            got = receive_later(s, d, room, deadline, &error);
            if (way == LIMITED) Py_DECREF(deadline);
            if (got < 0) return -1;
            has_waited = 1;
        } else if (way == NEVER)
            got = try_recv(s, room, MSG_DONTWAIT, &error);
        else
            return give_up_turn(d, had_turn ? pass_on : NULL, 0);
    }
    if (UNLIKELY(got < 0)) {
        if (error) raise_errno(error);
        return give_up_turn(d, pass_on, 1);
    }
    if ((SLOT(d, d_exact) != Py_True || got == 0 || got == room->size) && pass_on(d) < 0) return -1;
    return has_waited || yield_after_calls() == 0 ? got : -1;
}

/* `receive` with the record of the socket; LEFT where it has none. */
static Py_ssize_t receive_into(Socket *s, Room *room)
{
    PyObject *d = s->fd < 0 || is_unknown(s) ? NULL : record_of(s->fd);
    if (UNLIKELY(d == NULL)) return LEFT;
    Py_INCREF(d);
    Py_ssize_t got = receive(s, d, room);
    Py_DECREF(d);
    if (got < 0) Py_CLEAR(room->data);
    return got;
}

static PyObject *socket_recv(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (LIKELY(count == 1 && PyLong_CheckExact(args[0]) && at_home())) {
        Room room = {.size = PyLong_AsSsize_t(args[0])};
        Py_ssize_t got = LIKELY(room.size > 0) ? receive_into((Socket *)self, &room) : LEFT;
        if (LIKELY(got != LEFT)) return room.data;
        PyErr_Clear(); /* a number that is too large */
    }
    return left_to(s_recv, self, args, count, NULL);
}

static PyObject *socket_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    Py_buffer view;
    if (LIKELY(names == NULL && at_home() &&
               (count == 1 || (count == 2 && PyLong_CheckExact(args[1]))))) {
        Py_ssize_t size = count == 1 ? 0 : PyLong_AsSsize_t(args[1]);
        if (LIKELY(size >= 0 && PyObject_GetBuffer(args[0], &view, PyBUF_WRITABLE) == 0)) {
            Py_ssize_t got = LEFT;
            if (LIKELY(view.len > 0 && size <= view.len)) {
                Room room = {.buffer = view.buf, .size = size ? size : view.len};
                got = receive_into((Socket *)self, &room);
            }
            PyBuffer_Release(&view);
            if (LIKELY(got >= 0)) return PyLong_FromSsize_t(got);
            if (got != LEFT) return NULL;
        }
        PyErr_Clear();
    }
    return left_to(s_recv_into, self, args, count, names);
}

/* ---- sending ------------------------------------------------------------------------------------ */

/* send(2) without waiting; -1 with *error, which is 0 where a signal handler has raised. */
static Py_ssize_t try_send(Socket *s, const char *data, Py_ssize_t size, int *error)
{
    for (;;) {
        Py_ssize_t sent = send(s->fd, data, (size_t)size, MSG_DONTWAIT);
        if (LIKELY(sent >= 0)) return sent;
        *error = errno;
        if (*error != EINTR) return -1;
        if (PyErr_CheckSignals() < 0) {
            *error = 0;
            return -1;
        }
    }
}

/* What a call ends with: one part that the kernel takes; all, unless an error comes after the first
 * part, as a blocking send(2); all, or an error. */
typedef enum { ONE, WHOLE, ALL } Until;

/* Send what is left of `data` after `done` bytes, in turns; how much was sent then, or -1. */
static Py_ssize_t send_later(Socket *s, PyObject *d, const char *data, Py_ssize_t size,
                             Py_ssize_t done, PyObject *deadline, Until until)
{
    int again = done > 0, error;
    do {
        int in_time = wait_write(d, deadline, again);
        if (in_time <= 0) return in_time < 0 ? -1 : raise_timeout();
        again = 1;
        Py_ssize_t sent = SLOT(d, d_closed) == Py_True ? (error = EBADF, -1)
                                                       : try_send(s, data + done, size - done, &error);
        if (LIKELY(sent >= 0)) {
            done += sent;
            if (until == ONE) break;
        } else if (error != EAGAIN) {
            if (until == WHOLE && done && error) break; /* the next call meets it */
            if (error) raise_errno(error);
            return give_up_turn(d, pass_on_write, 0);
        }
    } while (done < size);
    return pass_on_write(d) < 0 ? -1 : done;
}

/* sendall() that must not wait: until there is no more room. */
static Py_ssize_t send_now(Socket *s, const char *data, Py_ssize_t size, Py_ssize_t done)
{
    int error;
    while (done < size) {
        Py_ssize_t sent = try_send(s, data + done, size - done, &error);
        if (sent < 0) {
            if (error) raise_errno(error);
            return give_up_turn(NULL, NULL, 1);
        }
        done += sent;
    }
    return yield_after_calls() < 0 ? -1 : done;
}

/* How much was sent, or -1. */
static Py_ssize_t send_data(Socket *s, PyObject *d, const char *data, Py_ssize_t size, int is_all)
{
    int error = EAGAIN;
    Py_ssize_t sent = -1;
    if (LIKELY(SLOT(d, d_writers) == Py_None)) {
        sent = try_send(s, data, size, &error);
        if (LIKELY(sent == size)) return yield_after_calls() < 0 ? -1 : sent;
        if (sent < 0 && error != EAGAIN) {
            if (error) raise_errno(error);
            return give_up_turn(NULL, NULL, 1);
        }
    }
    PyObject *deadline;
    Way way = way_of(s, &deadline);
    if (way == RAISED) return -1;
    Until until = is_all ? ALL : way == BLOCKS && s->type == SOCK_STREAM ? WHOLE : ONE;
    if (until == ONE && sent >= 0)
        sent = yield_after_calls() < 0 ? -1 : sent;
    else if (way == NEVER && is_all)
        sent = send_now(s, data, size, sent < 0 ? 0 : sent);
    else if (way == NEVER) {
        raise_errno(EAGAIN);
        sent = give_up_turn(NULL, NULL, 1);
    } else
        sent = send_later(s, d, data, size, sent < 0 ? 0 : sent, deadline, until);
    if (way == LIMITED) Py_DECREF(deadline);
    return sent;
}

/* How much of args[0] was sent; LEFT where that is Python's to do, -1: raised. */
static Py_ssize_t send_buffer(Socket *s, PyObject *const *args, Py_ssize_t count, int is_all)
{
    Py_buffer view;
    if (UNLIKELY(count != 1 || !at_home() || s->fd < 0 || is_unknown(s))) return LEFT;
    PyObject *d = record_of(s->fd);
    if (UNLIKELY(d == NULL)) return LEFT;
    if (UNLIKELY(PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)) {
        PyErr_Clear();
        return LEFT;
    }
    Py_INCREF(d);
    Py_ssize_t sent = send_data(s, d, view.buf, view.len, is_all);
    Py_DECREF(d);
    PyBuffer_Release(&view);
    return sent;
}

static PyObject *socket_send(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t sent = send_buffer((Socket *)self, args, count, 0);
    if (UNLIKELY(sent == LEFT)) return left_to(s_send, self, args, count, NULL);
    return sent < 0 ? NULL : PyLong_FromSsize_t(sent);
}

static PyObject *socket_sendall(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t sent = send_buffer((Socket *)self, args, count, 1);
    if (UNLIKELY(sent == LEFT)) return left_to(s_sendall, self, args, count, NULL);
    return sent < 0 ? NULL : Py_NewRef(Py_None);
}

const Stand_in sockets_stand_ins[] = {
    {"socket_recv", FUNCTION socket_recv, METH_FASTCALL, &s_recv},
    {"socket_recv_into", FUNCTION socket_recv_into, METH_FASTCALL | METH_KEYWORDS, &s_recv_into},
    {"socket_send", FUNCTION socket_send, METH_FASTCALL, &s_send},
    {"socket_sendall", FUNCTION socket_sendall, METH_FASTCALL, &s_sendall},
    {NULL, NULL, 0, NULL},
};

/* ---- binding ------------------------------------------------------------------------------------ */

/* `samples`: (socket, its descriptor, family, type, protocol, timeout in nanoseconds), ... */
static int try_samples(PyObject *samples)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(samples); i++) {
        PyObject *sock;
        int fd, family, type, proto;
        long long timeout;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(samples, i), "OiiiiL", &sock, &fd, &family, &type,
                              &proto, &timeout))
            return -1;
        Socket *s = (Socket *)sock;
        if (Py_TYPE(sock)->tp_basicsize < (Py_ssize_t)sizeof *s || s->fd != fd ||
            s->family != family || s->type != type || s->proto != proto || s->timeout != timeout) {
            PyErr_SetString(PyExc_SystemError, "a socket object is not as it is known");
            return -1;
        }
    }
    return 0;
}

int sockets_bind(PyObject *objects, PyObject *slow)
{
    (void)slow;
    PyObject *samples = PyDict_GetItemString(objects, "samples"); /* borrowed */
    if (samples == NULL || !PyTuple_Check(samples)) {
        PyErr_SetString(PyExc_KeyError, "samples");
        return -1;
    }
    if (timed_out == NULL && (timed_out = PyUnicode_InternFromString("timed out")) == NULL) return -1;
    if (try_samples(samples) < 0 || take(objects, "timeouts", &timeouts) < 0 ||
        take(objects, "kernel_timeouts", &kernel_timeouts) < 0)
        return -1;
    return offset_of((PyObject *)Py_TYPE(kernel_timeouts), "in_use", &o_in_use);
}
