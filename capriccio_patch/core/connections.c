/* Sockets from their making to their end, and accepting, as wrappers/sockets/lifetime.py and accept.py do
 * it.
 *
 * 1. Left to Python: listeners that others may share, families other than INET and INET6, timeouts of
 *    the kernel's own (SO_RCVTIMEO, SO_LINGER), sockets that somebody waits for while they are closed,
 *    schemes other than epoll, other OS threads.
 * 2. A record is made as a copy of one that Python has made: what it has is Python's to say.
 * 3. Who has accepted looks for another connection before it wakes the next thread for it, where each
 *    connection that comes is reported anyway. */
#include "connections.h"

#include <errno.h>

#ifdef __linux__
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static PyTypeObject *T_descriptor;
static PyObject *sample;           /* a Descriptor of a new socket */
static PyObject *o_init, *o_close; /* CPython's */
static PyObject *s_opened, *s_emulate, *s_look, *s_closed;
static PyObject *s_init, *s_close, *s_accept, *s_gettimeout;
static Py_ssize_t o_some_linger;

int accepted = -1;

/* ---- accepting ---------------------------------------------------------------------------------- */

typedef union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} Address;

/* As inet_ntop(3), which takes 20 times as long by way of printf(3). */
static PyObject *dotted(const struct in_addr *address)
{
    char host[INET_ADDRSTRLEN], *at = host;
    const unsigned char *part = (const unsigned char *)address;
    for (int i = 0; i < 4; i++) {
        if (i > 0) *at++ = '.';
        if (part[i] >= 100) *at++ = (char)('0' + part[i] / 100);
        if (part[i] >= 10) *at++ = (char)('0' + part[i] / 10 % 10);
        *at++ = (char)('0' + part[i] % 10);
    }
    return PyUnicode_FromStringAndSize(host, at - host);
}

PyObject *pair_of(PyObject *one, PyObject *other)
{
    PyObject *pair = one == NULL || other == NULL ? NULL : PyTuple_New(2);
    if (pair == NULL) {
        Py_XDECREF(one);
        Py_XDECREF(other);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, one);
    PyTuple_SET_ITEM(pair, 1, other);
    return pair;
}

/* As stock's makesockaddr. */
static PyObject *address_of(const Address *from, socklen_t size)
{
    char host[INET6_ADDRSTRLEN];
    if (size == 0) return Py_NewRef(Py_None);
    if (from->any.sa_family == AF_INET)
        return pair_of(dotted(&from->in.sin_addr), PyLong_FromLong(ntohs(from->in.sin_port)));
    if (inet_ntop(AF_INET6, &from->in6.sin6_addr, host, sizeof host) == NULL)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("siII", host, ntohs(from->in6.sin6_port), ntohl(from->in6.sin6_flowinfo),
                         from->in6.sin6_scope_id);
}

static int has_come(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, 0) > 0;
}

/* accept(2) that does not wait; -1 with *error, which is 0 where a signal handler has raised.  A
 * blocking listener is asked before: nobody else can take what it has (`wrappers.sockets.sharing`). */
static int try_accept(Socket *s, Address *from, socklen_t *size, int *error)
{
    for (;;) {
        if (s->timeout < 0 && s->fd >= 0 && !has_come(s->fd)) {
            *error = EAGAIN;
            return -1;
        }
        *size = sizeof *from;
        int fd = accept4(s->fd, &from->any, size, SOCK_CLOEXEC);
        if (LIKELY(fd >= 0)) return fd;
        *error = errno;
        if (*error != EINTR) return -1;
        if (PyErr_CheckSignals() < 0) {
            *error = 0;
            return -1;
        }
    }
}

/* Wait for the turn and try, until that succeeds or fails for good; -1 raised. */
static int accept_later(Socket *s, PyObject *d, PyObject *deadline, Address *from, socklen_t *size)
{
    int has_turn = SLOT(d, d_ended) == Py_True, error;
    for (int again = has_turn;; again = 1) {
        int in_time = has_turn ? 1 : wait_read(d, deadline, again);
        if (in_time <= 0) return in_time < 0 ? -1 : (int)raise_timeout();
        if (UNLIKELY(raise_if_closed(d) < 0)) return -1;
        put_slot(d, d_can_read, Py_False);
        int fd = try_accept(s, from, size, &error);
        if (LIKELY(fd >= 0)) return fd;
        if (error != EAGAIN) {
            if (error) raise_errno(error);
            return (int)give_up_turn(d, pass_on, 0);
        }
        has_turn = 0;
    }
}

/* The turn is the next one's, if there may be something for it. */
static int pass_on_listener(Socket *s, PyObject *d)
{
    if (SLOT(d, d_readers) != Py_None && tells_of_changes(d) && !has_come(s->fd)) return 0;
    return pass_on(d);
}

/* Receiver.take, of a connection; -1 raised. */
static int accept_one(Socket *s, PyObject *d, PyObject *deadline, Address *from, socklen_t *size)
{
    int error = EAGAIN, fd = -1, has_waited = 0;
    if (SLOT(d, d_can_read) == Py_True) {
        put_slot(d, d_can_read, Py_False);
        fd = try_accept(s, from, size, &error);
    }
    if (fd < 0 && error == EAGAIN) {
        fd = accept_later(s, d, deadline, from, size);
        if (fd < 0) return -1;
        has_waited = 1;
    }
    if (UNLIKELY(fd < 0)) {
        if (error) raise_errno(error);
        return (int)give_up_turn(d, pass_on, 1);
    }
    if (pass_on_listener(s, d) < 0 || (!has_waited && yield_after_calls() < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Whether nobody else can take what a listener has: Sharing.is_private. */
static int is_private(Socket *s, PyObject *d)
{
    int flags = SLOT(d, d_private) == Py_True ? fcntl(s->fd, F_GETFD) : -1;
    return flags >= 0 && flags & FD_CLOEXEC;
}

int accept_plainly(Socket *s, PyObject **address)
{
    PyObject *d = NULL, *deadline;
    if (LIKELY(at_home() && s->fd >= 0 && !is_unknown(s) &&
               (s->family == AF_INET || s->family == AF_INET6)))
        d = record_of(s->fd);
    if (UNLIKELY(d == NULL || SLOT(d, d_listens) != Py_True || !is_private(s, d))) return LEFT;
    Way way = way_of(s, &deadline);
    if (way == RAISED) return -1;
    if (way == NEVER) return LEFT;
    Address from;
    socklen_t size;
    Py_INCREF(d);
    int fd = accept_one(s, d, deadline, &from, &size);
    Py_DECREF(d);
    if (way == LIMITED) Py_DECREF(deadline);
    if (fd < 0) return -1;
    *address = address_of(&from, size);
    if (*address == NULL) {
        close(fd);
        return -1;
    }
    accepted = fd;
    return fd;
}

PyObject *socket_accept(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *address;
    int fd = accept_plainly((Socket *)self, &address);
    if (UNLIKELY(fd == LEFT)) return PyObject_CallOneArg(s_accept, self);
    return fd < 0 ? NULL : Py_BuildValue("iN", fd, address);
}

/* ---- from the making of a socket to its end ------------------------------------------------------- */

void forget_timeout(PyObject *sock)
{
    if (LIKELY(PyDict_GET_SIZE(timeouts) == 0)) return;
    PyObject *key = PyLong_FromVoidPtr(sock);
    if (key == NULL || PyDict_DelItem(timeouts, key) < 0) PyErr_Clear(); /* it has none */
    Py_XDECREF(key);
}

/* Descriptor(fd, owned=True, exact=is_exact) */
static PyObject *record_for(int fd, int is_exact)
{
    PyObject *d = T_descriptor->tp_alloc(T_descriptor, 0);
    if (d == NULL) return NULL;
    for (Py_ssize_t at = sizeof(PyObject); at < T_descriptor->tp_basicsize; at += sizeof(PyObject *))
        SLOT(d, at) = Py_XNewRef(SLOT(sample, at));
    PyObject *number = PyLong_FromLong(fd);
    if (number == NULL) {
        Py_DECREF(d);
        return NULL;
    }
    give_slot(d, d_fd, number);
    put_slot(d, d_exact, is_exact ? Py_True : Py_False);
    return d;
}

PyObject *opened(Socket *s)
{
    PyObject *d = record_of(s->fd);
    if (d != NULL) {
        if (call1(s_opened, (PyObject *)s) < 0) return NULL;
        d = record_of(s->fd);
        if (d == NULL) PyErr_SetString(PyExc_SystemError, "a socket has no record");
        return d;
    }
    int is_exact = (s->family == AF_INET || s->family == AF_INET6) && s->type == SOCK_STREAM &&
                   (s->proto == 0 || s->proto == IPPROTO_TCP);
    d = record_for(s->fd, is_exact);
    if (d == NULL) return NULL;
    int failed = keep_record(s->fd, d);
    Py_DECREF(d);
    return failed < 0 ? NULL : d;
}

/* The argument `fileno` of the call, borrowed; NULL without. */
static PyObject *number_given(PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count > 3) return args[3] == Py_None ? NULL : args[3];
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), "fileno") == 0)
            return args[count + i] == Py_None ? NULL : args[count + i];
    return NULL;
}

PyObject *socket_init(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (UNLIKELY(!at_home())) return left_to(s_init, self, args, count, names);
    PyObject *made = left_to(o_init, self, args, count, names);
    if (made == NULL) return NULL;
    Py_DECREF(made);
    Socket *s = (Socket *)self;
    forget_timeout(self);
    if (UNLIKELY(s->timeout > 0) && call1(s_emulate, self) < 0) return NULL; /* the default timeout */
    PyObject *number = number_given(args, count, names);
    if (LIKELY(s->fd >= 0)) {
        PyObject *d = opened(s);
        if (d == NULL) return NULL;
        if (number == NULL) put_slot(d, d_private, Py_True);
    }
    int is_known = number == NULL || (accepted >= 0 && s->fd == accepted);
    accepted = -1;
    if (UNLIKELY(!is_known) && call1(s_look, self) < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *socket_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    Socket *s = (Socket *)self;
    PyObject *d = NULL;
    if (LIKELY(at_home() && s->fd >= 0 && own_epoll() >= 0 &&
               SLOT(kernel_timeouts, o_some_linger) == Py_False))
        d = record_of(s->fd);
    if (UNLIKELY(d == NULL || SLOT(d, d_readers) != Py_None || SLOT(d, d_writers) != Py_None ||
                 SLOT(d, d_observers) != Py_None))
        return PyObject_CallOneArg(s_close, self);
    int fd = s->fd;
    forget_timeout(self);
    Py_INCREF(d);
    PyObject *result = NULL;
    if (drop_record(fd) == 0) result = PyObject_CallOneArg(o_close, self);
    Raised raised = set_aside();
    /* While other OS threads ran, the number may have become that of another socket. */
    if (go_on(raised, UNLIKELY(record_of(fd) != NULL) && call1(s_closed, d) < 0) < 0) Py_CLEAR(result);
    put_slot(d, d_closed, Py_True);
    put_slot(d, d_can_read, Py_True);
    Py_DECREF(d);
    return result;
}

static PyObject *socket_gettimeout(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (LIKELY(((Socket *)self)->timeout < 0)) Py_RETURN_NONE;
    return PyObject_CallOneArg(s_gettimeout, self);
}

#endif

const Stand_in connections_stand_ins[] = {
#ifdef __linux__
    {"socket_accept", socket_accept, METH_NOARGS, &s_accept},
    {"socket_init", FUNCTION socket_init, METH_FASTCALL | METH_KEYWORDS, &s_init},
    {"socket_close", socket_close, METH_NOARGS, &s_close},
    {"socket_gettimeout", socket_gettimeout, METH_NOARGS, &s_gettimeout},
#endif
    {NULL, NULL, 0, NULL},
};

int connections_bind(PyObject *objects, PyObject *slow)
{
#ifdef __linux__
    PyObject *cls = PyDict_GetItemString(objects, "Descriptor"); /* borrowed */
    if (cls == NULL) {
        PyErr_SetString(PyExc_KeyError, "Descriptor");
        return -1;
    }
    accepted = -1;
    return take(objects, "Descriptor", (PyObject **)&T_descriptor) < 0 ||
                   take(objects, "sample", &sample) < 0 || take(objects, "init", &o_init) < 0 ||
                   take(objects, "close", &o_close) < 0 || take(slow, "opened", &s_opened) < 0 ||
                   take(slow, "emulate", &s_emulate) < 0 || take(slow, "look", &s_look) < 0 ||
                   take(slow, "closed", &s_closed) < 0 ||
                   offset_of((PyObject *)Py_TYPE(kernel_timeouts), "some_linger",
                             &o_some_linger) < 0
               ? -1
               : 0;
#else
    (void)objects, (void)slow;
    PyErr_SetString(PyExc_SystemError, "this system has no accept4 that is known");
    return -1;
#endif
}
