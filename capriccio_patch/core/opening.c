/* Opening and closing a FileIO, as wrappers/files/fileio.py and io/name_cache.py do it.
 *
 * Facts: openat2(RESOLVE_CACHED) answers at once or not at all.  Opening a fifo or a device does
 * something, so what is at a path has to be looked at first, by O_PATH: that costs 1.2 us, and reading
 * a file of 1 MiB 27.
 *
 * Decision: a path at which there was a regular file is opened again without that look, and what was
 * opened is looked at.  If it is no regular file any more, the path is forgotten.  A fifo that has a
 * writer, who may have been waiting for this, is used as it is; everything else is closed, and opened
 * once more by Python.
 *
 * Cost: a device that took the place of a file since is opened twice, once.  So is a fifo without a
 * writer: one that comes in the 2 us between the two may find it broken.  The same could happen
 * between the look and the opening.
 *
 * 1. Opened here: what is to be read, is a regular file on a disk that is known to be local, and is in
 *    the kernel's cache of names.
 * 2. Closed here: what can't be written to, is local, and is not waited for by anybody.
 *
 * For Linux; elsewhere `opening_bind` says that it does not fit. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#ifdef __linux__
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__linux__) && defined(SYS_openat2)
#define CAN_OPEN
#include <linux/openat2.h>

static PyObject *o_init, *o_close; /* CPython's */
static PyObject *s_init, *s_close, *n_name;
static PyCFunction writable; /* FileIO's own */

/* Numbers that were opened here, so that they are local.  Advice only: one may have been closed since
 * elsewhere, and its close wait for a server then. */
static char is_own[4096];

/* Hashes of paths at which there were regular local files; 0: none. */
static Py_hash_t seen[1024];

static int open_now(const char *path, unsigned long long flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_CACHED};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

static int is_plain(int fd, mode_t *mode)
{
    unsigned long long size;
    *mode = 0;
    return is_known_local(fd, mode, &size) && S_ISREG(*mode);
}

/* Whether a fifo that has been opened has, or had since, what a blocking open waits for. */
static int has_writer(int fifo)
{
    struct pollfd one = {.fd = fifo, .events = POLLIN};
    int ends[2];
    if (poll(&one, 1, 0) > 0) return 1;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return 0;
    int has = tee(fifo, ends[1], 1, SPLICE_F_NONBLOCK) != 0; /* EAGAIN, or 0: nobody writes */
    close(ends[0]);
    close(ends[1]);
    return has;
}

/* A descriptor to read from, or -1: it can't be opened so. */
static int open_regular(const char *path, Py_ssize_t size, Py_hash_t hash)
{
    mode_t mode;
    if (strlen(path) != (size_t)size) return -1;
    Py_hash_t *known = &seen[(size_t)hash % (sizeof seen / sizeof *seen)];
    int was_seen = *known == hash;
    if (!was_seen) {
        int found = open_now(path, O_PATH);
        if (found < 0) return -1;
        int is = is_plain(found, &mode);
        close(found);
        if (!is) return -1;
    }
    int fd = open_now(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return -1; /* a lease has to be broken first, perhaps */
    *known = hash;
    if (was_seen && UNLIKELY(!is_plain(fd, &mode))) {
        *known = 0;
        if (!S_ISREG(mode) && (!S_ISFIFO(mode) || !has_writer(fd))) {
            close(fd);
            return -1;
        }
    } else if (fd < (int)sizeof is_own)
        is_own[fd] = 1;
    (void)fcntl(fd, F_SETFL, O_RDONLY);
    return fd;
}

/* A descriptor for a path, which is str or bytes, or -1; no exception is left. */
static int open_path(PyObject *path)
{
    int fd = -1;
    if (PyUnicode_Check(path) && PyUnicode_IS_ASCII(path)) /* in every file system's encoding */
        return open_regular((const char *)PyUnicode_DATA(path), PyUnicode_GET_LENGTH(path),
                            PyObject_Hash(path));
    PyObject *name = PyBytes_Check(path) ? Py_NewRef(path) : PyUnicode_EncodeFSDefault(path);
    if (name == NULL)
        PyErr_Clear();
    else
        fd = open_regular(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyObject_Hash(path));
    Py_XDECREF(name);
    return fd;
}

/* No event of CPython's can be made of this format, which it looks at where there are hooks. */
static int is_audited(void)
{
    if (LIKELY(PySys_Audit("capriccio_patch", "!") == 0)) return 0;
    PyErr_Clear();
    return 1;
}

/* FileIO.__init__ of a descriptor, which is opened here: not of the path, by an opener, as C would ask
 * the system once more to close what an opener returns in children.  Nobody sees that but hooks. */
static int init_opened(PyObject *self, int fd, PyObject *const *args)
{
    PyObject *number = PyLong_FromLong(fd), *made = NULL;
    if (number != NULL) {
        PyObject *all[] = {self, number, args[1], args[2]};
        made = PyObject_Vectorcall(o_init, all, 4, NULL);
        Py_DECREF(number);
    }
    if (UNLIKELY(made == NULL)) {
        close(fd);
        return -1;
    }
    Py_DECREF(made);
    return PyObject_SetAttr(self, n_name, args[0]);
}

/* Whether the arguments are those with which open() makes an object that reads a file by its path. */
static int is_for_c(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (((File *)self)->fd >= 0 || Py_TYPE(self) != PyDescr_TYPE(o_init)) return 0;
    if (count != 4 || names != NULL || !(PyUnicode_CheckExact(args[0]) || PyBytes_CheckExact(args[0])))
        return 0;
    if (!PyUnicode_CheckExact(args[1]) || args[2] != Py_True || args[3] != Py_None) return 0;
    return PyUnicode_CompareWithASCIIString(args[1], "r") == 0 ||
           PyUnicode_CompareWithASCIIString(args[1], "rb") == 0;
}

static PyObject *file_init(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (LIKELY(at_home() && is_for_c(self, args, count, names) && !is_audited())) {
        int fd = open_path(args[0]);
        if (LIKELY(fd >= 0)) return init_opened(self, fd, args) < 0 ? NULL : Py_NewRef(Py_None);
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
    memset(seen, 0, sizeof seen);
    if (intern("name", &n_name) < 0) return -1;
    return take(objects, "init", &o_init) < 0 || take(objects, "close", &o_close) < 0 ? -1 : 0;
#else
    (void)objects;
    PyErr_SetString(PyExc_SystemError, "this system can't open what is in its cache alone");
    return -1;
#endif
}
