/* socket.socket: accepting and closing, as wrappers/sockets/listeners.py does it.
 *
 * 1. An accepted connection is made as a copy of its listener, without a call of the class, where that is
 *    as the standard library and the patch have made it (`is_as_known`).  What the standard library would
 *    ask the system of it, accept(2) has said.
 * 2. A program that traces sees the call, and one that passes too much gets Python's words. */
#include "connections.h"

#include "kernel.h"

#include <string.h>

#ifdef __linux__
static PyTypeObject *T_socket, *T_base; /* socket.socket, and that of C */
static PyObject *globals;               /* of its module */
static PyObject *o_getdefaulttimeout, *k_init, *k_real_close;
static PyObject *s_accept, *s_close;
static PyObject *n_socket, *n__accept, *n_init, *n_close, *n__real_close, *names_fileno;
static Py_ssize_t o_io_refs, o_closed;
static unsigned int version, refused; /* of the class, as in fields.h */

/* ---- whether the class is as it is known ---------------------------------------------------------- */

static int is_as_known_now(void)
{
    return stand_in_in(T_socket, n__accept) == socket_accept &&
           stand_in_in(T_base, n_close) == socket_close &&
           stand_in_in(T_base, n_init) == (PyCFunction)(void (*)(void))socket_init &&
           _PyType_Lookup(T_socket, n_init) == k_init &&
           _PyType_Lookup(T_socket, n__real_close) == k_real_close &&
           T_socket->tp_new == T_base->tp_new;
}

static __attribute__((noinline)) int look_at_class(void)
{
    unsigned int found = T_socket->tp_version_tag;
    if (found != 0 && found == refused) return 0;
    int is_known = is_as_known_now();
    found = T_socket->tp_version_tag; /* a look gives the type one, while there are any */
    *(is_known ? &version : &refused) = found;
    return is_known;
}

/* Whether making an object and closing it is what the standard library and the patch do. */
static inline int is_as_known(void)
{
    unsigned int found = T_socket->tp_version_tag;
    return LIKELY(found != 0 && found == version) ? 1 : look_at_class();
}

static inline int is_mine(PyObject *self)
{
    return Py_TYPE(self) == T_socket && at_home() && is_as_known();
}

/* ---- accepting ------------------------------------------------------------------------------------ */

/* Whether a new socket waits for as long as it takes. */
static int is_blocking_by_default(void)
{
    PyObject *timeout = PyObject_CallNoArgs(o_getdefaulttimeout);
    if (timeout == NULL) PyErr_Clear(); /* the class meets it too */
    Py_XDECREF(timeout);
    return timeout == Py_None;
}

/* The object of a connection, of its class. */
static __attribute__((noinline)) PyObject *called_for(Socket *s, int fd)
{
    PyObject *args[] = {PyLong_FromLong(s->family), PyLong_FromLong(s->type),
                        PyLong_FromLong(s->proto), PyLong_FromLong(fd)};
    PyObject *made = NULL;
    if (args[0] != NULL && args[1] != NULL && args[2] != NULL && args[3] != NULL)
        made = PyObject_Vectorcall((PyObject *)Py_TYPE(s), args, 3, names_fileno);
    for (int i = 0; i < 4; i++) Py_XDECREF(args[i]);
    return made;
}

/* The same, as `socket.__init__` and `_socket.socket.__init__` make it. */
static PyObject *made_of(Socket *s, int fd)
{
    PyObject *none = PyTuple_New(0);
    PyObject *made = none == NULL ? NULL : T_socket->tp_new(T_socket, none, NULL);
    Py_XDECREF(none);
    if (made == NULL) return NULL;
    if (PySys_Audit("socket.__new__", "Oiii", made, s->family, s->type, s->proto) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    int64_t timeout = ((Socket *)made)->timeout;
    memcpy((char *)made + sizeof(PyObject), (char *)s + sizeof(PyObject),
           (size_t)T_base->tp_basicsize - sizeof(PyObject));
    ((Socket *)made)->timeout = timeout;
    ((Socket *)made)->fd = fd;
    accepted = -1;
    forget_timeout(made);
    put_slot(made, o_io_refs, ints[0]);
    put_slot(made, o_closed, Py_False);
    if (opened((Socket *)made) == NULL) Py_CLEAR(made); /* which closes it */
    return made;
}

static PyObject *listener_accept(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names)
{
    if (UNLIKELY(count != 0 || names != NULL)) return left_to(s_accept, self, args, count, names);
    Socket *s = (Socket *)self;
    PyObject *address;
    if (UNLIKELY(!is_mine(self) || s->timeout >= 0 ||
                 PyDict_GetItem(globals, n_socket) != (PyObject *)T_socket))
        return PyObject_CallOneArg(s_accept, self);
    int fd = accept_plainly(s, &address);
    if (UNLIKELY(fd == LEFT)) return PyObject_CallOneArg(s_accept, self);
    if (fd < 0) return NULL;
    /* Other threads have run meanwhile, and may have undone the patch. */
    int is_plain = at_home() && is_as_known() && !is_observed() && is_blocking_by_default();
    return pair_of(is_plain ? made_of(s, fd) : called_for(s, fd), address);
}

/* ---- closing -------------------------------------------------------------------------------------- */

static PyObject *listener_close(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *names)
{
    if (UNLIKELY(count != 0 || names != NULL)) return left_to(s_close, self, args, count, names);
    PyObject *refs = UNLIKELY(!is_mine(self) || is_observed()) ? NULL : SLOT(self, o_io_refs);
    if (UNLIKELY(refs == NULL || !PyLong_CheckExact(refs))) return PyObject_CallOneArg(s_close, self);
    put_slot(self, o_closed, Py_True);
    if (refs != ints[0] && PyLong_AsLong(refs) > 0) Py_RETURN_NONE;
    return socket_close(self, NULL);
}
#endif

const Stand_in listeners_stand_ins[] = {
#ifdef __linux__
    {"listener_accept", FUNCTION listener_accept, METH_FASTCALL | METH_KEYWORDS, &s_accept},
    {"listener_close", FUNCTION listener_close, METH_FASTCALL | METH_KEYWORDS, &s_close},
#endif
    {NULL, NULL, 0, NULL},
};

int listeners_bind(PyObject *objects, PyObject *slow)
{
    (void)slow;
#ifdef __linux__
    if (names_fileno == NULL) /* interned: the call finds it without a comparison of strings */
        names_fileno = Py_BuildValue("(N)", PyUnicode_InternFromString("fileno"));
    if (names_fileno == NULL || intern("socket", &n_socket) < 0 ||
        intern("_accept", &n__accept) < 0 || intern("__init__", &n_init) < 0 ||
        intern("close", &n_close) < 0 || intern("_real_close", &n__real_close) < 0)
        return -1;
    version = refused = 0;
    return take(objects, "globals", &globals) < 0 ||
                   take(objects, "socket", (PyObject **)&T_socket) < 0 ||
                   take(objects, "base", (PyObject **)&T_base) < 0 ||
                   take(objects, "getdefaulttimeout", &o_getdefaulttimeout) < 0 ||
                   take(objects, "init", &k_init) < 0 ||
                   take(objects, "real_close", &k_real_close) < 0 ||
                   offset_of((PyObject *)T_socket, "_io_refs", &o_io_refs) < 0 ||
                   offset_of((PyObject *)T_socket, "_closed", &o_closed) < 0
               ? -1
               : 0;
#else
    (void)objects;
    return 0;
#endif
}
