/* Opening and closing a FileIO, as wrappers/files/fileio.py and io/name_cache.py do it.
 *
 * 1. Opened here: what is to be read, is a regular file on a disk that is known to be local, and is in
 *    the kernel's cache of names.  openat2(RESOLVE_CACHED) answers at once or not at all; what is at
 *    the path is looked at before it is opened, because opening a fifo or a device does something.
 * 2. Closed here: what can't be written to, is local, and is not waited for by anybody.
 *
 * For Linux; elsewhere `opening_bind` says that it does not fit. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__linux__) && defined(SYS_openat2)
#define CAN_OPEN
#include <linux/openat2.h>

static PyObject *o_init, *o_close; /* CPython's */
static PyObject *s_init, *s_close;
static PyObject *opener;      /* `open_cached` */
static PyCFunction writable;  /* FileIO's own */
static int has_not_opened;

/* Numbers that were opened here, so that they are local.  Advice only: one may have been closed since
 * elsewhere, and its close wait for a server then. */
static char is_own[4096];

static int open_now(const char *path, unsigned long long flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

/* A descriptor, or -1: it can't be opened so. */
static int open_regular(const char *path, int flags)
{
    mode_t mode;
    unsigned long long size;
    int found = open_now(path, O_PATH);
    if (found < 0) return -1;
    int is_plain = is_known_local(found, &mode, &size) && S_ISREG(mode);
    close(found);
    if (!is_plain) return -1;
    int fd = open_now(path, (unsigned long long)(flags & ~O_CLOEXEC) | O_NONBLOCK);
    if (fd < 0) return -1; /* a lease has to be broken first, perhaps */
    (void)fcntl(fd, F_SETFL, flags);
    return fd;
}

/* What FileIO.__init__ calls with a path and flags. */
static PyObject *open_cached(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    PyObject *path = NULL;
    int flags = count == 2 ? (int)PyLong_AsLong(args[1]) : -1;
    if (flags != -1 && !PyUnicode_FSConverter(args[0], &path)) return NULL;
    int fd = path == NULL ? -1 : open_regular(PyBytes_AS_STRING(path), flags);
    Py_XDECREF(path);
    if (fd >= 0) {
        if (fd < (int)sizeof is_own) is_own[fd] = 1;
        return PyLong_FromLong(fd);
    }
    has_not_opened = 1;
    if (!PyErr_Occurred()) PyErr_SetNone(PyExc_BlockingIOError); /* nobody sees it */
    return NULL;
}

/* Whether the arguments are those with which open() reads a file by its path. */
static int is_for_c(PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count != 4 || names != NULL || !(PyUnicode_CheckExact(args[0]) || PyBytes_CheckExact(args[0])))
        return 0;
    if (!PyUnicode_CheckExact(args[1]) || args[2] != Py_True || args[3] != Py_None) return 0;
    return PyUnicode_CompareWithASCIIString(args[1], "r") == 0 ||
           PyUnicode_CompareWithASCIIString(args[1], "rb") == 0;
}

static PyObject *file_init(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (LIKELY(is_for_c(args, count, names) && at_home())) {
        PyObject *all[] = {self, args[0], args[1], args[2], opener};
        has_not_opened = 0;
        PyObject *made = PyObject_Vectorcall(o_init, all, 5, NULL);
        if (LIKELY(made != NULL || !has_not_opened)) return made;
        PyErr_Clear();
    }
    return left_to(s_init, self, args, count, names);
}

static int is_read_only(PyObject *self)
{
    PyObject *found = writable(self, NULL);
    int is = found == Py_False;
    Py_XDECREF(found);
    if (UNLIKELY(!is)) PyErr_Clear();
    return is;
}

static int closes_at_once(PyObject *self, int fd)
{
    mode_t mode;
    unsigned long long size;
    if (record_of(fd) != NULL || !is_read_only(self)) return 0;
    if (fd >= (int)sizeof is_own || !is_own[fd]) return is_known_local(fd, &mode, &size);
    is_own[fd] = 0;
    return 1;
}

static PyObject *file_close(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    int fd = ((File *)self)->fd;
    if (LIKELY(fd >= 0 && at_home() && closes_at_once(self, fd)))
        return PyObject_CallOneArg(o_close, self);
    return PyObject_CallOneArg(s_close, self);
}

static PyMethodDef open_cached_method = {"open_cached", FUNCTION open_cached, METH_FASTCALL, NULL};
#endif

const Stand_in opening_stand_ins[] = {
#ifdef CAN_OPEN
    {"opening_init", FUNCTION file_init, METH_FASTCALL | METH_KEYWORDS, &s_init},
    {"opening_close", file_close, METH_NOARGS, &s_close},
#endif
    {NULL, NULL, 0, NULL},
};

int opening_bind(PyObject *objects, PyObject *slow)
{
    (void)slow;
#ifdef CAN_OPEN
    PyObject *is_writable = PyDict_GetItemString(objects, "writable"); /* borrowed */
    if (is_writable == NULL) {
        PyErr_SetString(PyExc_KeyError, "writable");
        return -1;
    }
    if ((writable = function_of(is_writable, METH_NOARGS)) == NULL) return -1;
    if (opener == NULL && (opener = PyCFunction_New(&open_cached_method, NULL)) == NULL) return -1;
    return take(objects, "init", &o_init) < 0 || take(objects, "close", &o_close) < 0 ? -1 : 0;
#else
    (void)objects;
    PyErr_SetString(PyExc_SystemError, "this system can't open what is in its cache alone");
    return -1;
#endif
}
