/* Files and pipes: os.read and os.write, and what reads a FileIO.
 *
 * What the page cache or a pipe has is taken with preadv2(RWF_NOWAIT): it answers at once or not at
 * all.  More than PIECE bytes are taken in pieces, between which others are looked at.
 *
 * 1. Left to Python: what would wait for a disk, files that are not local, everything that refuses
 *    the flag, standard descriptors as FileIO objects, other OS threads.
 * 2. What C knows of a FileIO is its first field, the descriptor, which is tried when it is bound.
 * 3. What is read belongs to this call alone until it is returned.
 *
 * For Linux; elsewhere `files_bind` says that it does not fit. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#ifdef __linux__
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
#ifndef F_GETPIPE_SZ
#define F_GETPIPE_SZ 1032
#endif

#define CHUNK 131072  /* io.disk.CHUNK */
#define PIECE 262144  /* 10 us of copying */
#define FIRST_OWN 3   /* wrappers.files.fileio */
#define LEFT (-2)     /* nothing was done: the call is Python's */

static PyObject *synchronous;         /* set: Disk.synchronous */
static PyObject *mounts;              /* dict: Mounts.known, whether a mount is local by its number */
static PyCFunction readable, seekable; /* FileIO's own */
static PyObject *o_read;              /* FileIO.read before the patch */
static PyObject *s_record, *s_read_elsewhere, *s_fill, *s_write_rest;
static PyObject *s_os_read, *s_os_write, *s_read, *s_readinto, *s_readall;

/* preadv2(2) at the current position without waiting. */
static inline Py_ssize_t read_now(int fd, char *buffer, Py_ssize_t size)
{
    struct iovec part = {buffer, (size_t)size};
    return preadv2(fd, &part, 1, -1, RWF_NOWAIT);
}

static inline int is_pipe(int fd) { return fcntl(fd, F_GETPIPE_SZ) >= 0; }

static int is_regular(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

/* Read from a file, in pieces, up to its end: how many bytes; LEFT where the first would have to be
 * waited for; *is_more: what follows would have to be. */
static Py_ssize_t read_cached(int fd, char *buffer, Py_ssize_t size, int *is_more)
{
    Py_ssize_t count = 0;
    *is_more = 0;
    while (count < size) {
        Py_ssize_t piece = size - count < PIECE ? size - count : PIECE;
        Py_ssize_t got = read_now(fd, buffer + count, piece);
        if (got < 0) {
            if (count == 0) return LEFT;
            *is_more = errno == EAGAIN; /* another error the next call meets */
            break;
        }
        if (got == 0) break;
        count += got;
        if (count < size && yield_between_pieces(size - count) < 0) return -1;
    }
    return yield_after_pieces() < 0 ? -1 : count;
}

/* As `read_cached`, up to `size` bytes, and the rest by a worker; NULL raised, or *is_left. */
static PyObject *read_file(int fd, Py_ssize_t size, int *is_left)
{
    int is_more;
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    if (data == NULL) return NULL;
    Py_ssize_t count = read_cached(fd, PyBytes_AS_STRING(data), size, &is_more);
    if (count < 0) {
        *is_left = count == LEFT;
        Py_DECREF(data);
        return NULL;
    }
    if (count != size && _PyBytes_Resize(&data, count) < 0) return NULL;
    if (LIKELY(!is_more)) return data;
    PyObject *rest = PyObject_CallFunction(s_read_elsewhere, "ini", fd, size - count, -1);
    if (rest == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_OSError)) Py_CLEAR(data);
        else PyErr_Clear(); /* the next call meets it */
        return data;
    }
    PyBytes_ConcatAndDel(&data, rest);
    return data;
}

/* ---- os.read, os.write -------------------------------------------------------------------------- */

/* Wait for a pipe and read; got, or -1 raised, or LEFT. */
static Py_ssize_t read_pipe_later(int fd, char *buffer, Py_ssize_t size)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || flags & O_NONBLOCK) return LEFT;
    PyObject *number = PyLong_FromLong(fd);
    PyObject *d = number == NULL ? NULL : PyObject_CallOneArg(s_record, number);
    Py_XDECREF(number);
    if (d == NULL) return -1;
    Py_ssize_t got = LEFT;
    if (LIKELY(SLOT(d, d_owned) != Py_True)) {
        if (SLOT(d, d_readers) == Py_None) put_slot(d, d_can_read, Py_False);
        for (int again = 0;; again = 1) {
            got = -1;
            if (wait_read(d, Py_None, again) < 0 || raise_if_closed(d) < 0) break;
            put_slot(d, d_can_read, Py_False);
            got = read_now(fd, buffer, size);
            if (LIKELY(got >= 0)) {
                if (pass_on(d) < 0) got = -1;
                break;
            }
            if (errno == EAGAIN) continue;
            int error = errno;
            if (pass_on(d) < 0) break;
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            break;
        }
    }
    Py_DECREF(d);
    return got;
}

/* Up to CHUNK bytes of anything; NULL raised, or *is_left. */
static PyObject *read_some(int fd, Py_ssize_t size, int *is_left)
{
    PyObject *d = record_of(fd); /* borrowed, until something is called */
    if (d != NULL && (SLOT(d, d_readers) != Py_None ||
                      (SLOT(d, d_can_read) != Py_True && SLOT(d, d_owned) == Py_True))) {
        *is_left = 1;
        return NULL;
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    if (data == NULL) return NULL;
    char *buffer = PyBytes_AS_STRING(data);
    Py_ssize_t got = read_now(fd, buffer, size);
    int has_waited = 0, is_more = 0;
    if (got < 0) {
        got = errno == EAGAIN && is_pipe(fd) ? read_pipe_later(fd, buffer, size) : LEFT;
        has_waited = 1;
    } else if (got > 0 && got < size && !is_pipe(fd) && is_regular(fd)) {
        Py_ssize_t more = read_cached(fd, buffer + got, size - got, &is_more);
        if (more == -1)
            got = -1;
        else if (more == LEFT)
            is_more = 1;
        else
            got += more;
    }
    if (UNLIKELY(got < 0)) {
        *is_left = got == LEFT;
        Py_DECREF(data);
        return NULL;
    }
    if (got != size && _PyBytes_Resize(&data, got) < 0) return NULL;
    if (UNLIKELY(is_more)) {
        PyObject *rest = PyObject_CallFunction(s_read_elsewhere, "ini", fd, size - got, -1);
        if (rest == NULL && PyErr_ExceptionMatches(PyExc_OSError))
            PyErr_Clear();
        else if (rest == NULL)
            Py_CLEAR(data);
        else
            PyBytes_ConcatAndDel(&data, rest);
    } else if (!has_waited && yield_after_calls() < 0)
        Py_CLEAR(data);
    return data;
}

/* The number that `given` is; -1 where Python looks into it. */
static inline int number_of(PyObject *given)
{
    if (UNLIKELY(!PyLong_CheckExact(given))) return -1;
    int is_more;
    long fd = PyLong_AsLongAndOverflow(given, &is_more);
    return is_more || fd < 0 || fd > INT_MAX ? -1 : (int)fd;
}

static PyObject *os_read(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (LIKELY(count == 2 && at_home() && PyLong_CheckExact(args[1]) &&
               PySet_GET_SIZE(synchronous) == 0)) {
        int fd = number_of(args[0]), is_left = 0;
        Py_ssize_t size = PyLong_AsSsize_t(args[1]);
        if (LIKELY(fd >= 0 && size > 0)) {
            PyObject *data = NULL;
            if (LIKELY(size <= CHUNK))
                data = read_some(fd, size, &is_left);
            else if (!is_pipe(fd) && is_regular(fd))
                data = read_file(fd, size, &is_left);
            else
                is_left = 1;
            if (LIKELY(!is_left)) return data;
        }
        PyErr_Clear();
    }
    return PyObject_Vectorcall(s_os_read, args, (size_t)count, NULL);
}

/* To a pipe that has room; -1 raised, or LEFT. */
static Py_ssize_t write_pipe(int fd, PyObject *object, Py_buffer *view)
{
    PyObject *d = record_of(fd); /* borrowed */
    if (view->len == 0 || (d != NULL && SLOT(d, d_writers) != Py_None) || !is_pipe(fd)) return LEFT;
    struct iovec part = {view->buf, (size_t)view->len};
    Py_ssize_t done = pwritev2(fd, &part, 1, -1, RWF_NOWAIT);
    if (done < 0) return LEFT;
    if (UNLIKELY(done < view->len)) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && !(flags & O_NONBLOCK)) {
            PyObject *all = PyObject_CallFunction(s_write_rest, "iOn", fd, object, done);
            if (all == NULL) return -1;
            done = PyLong_AsSsize_t(all);
            Py_DECREF(all);
            return done;
        }
    }
    return yield_after_calls() < 0 ? -1 : done;
}

static PyObject *os_write(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    Py_buffer view;
    if (LIKELY(count == 2 && at_home())) {
        int fd = number_of(args[0]);
        if (LIKELY(fd >= 0 && PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) == 0)) {
            Py_ssize_t done = write_pipe(fd, args[1], &view);
            PyBuffer_Release(&view);
            if (done >= 0) return PyLong_FromSsize_t(done);
            if (done != LEFT) return NULL;
        }
        PyErr_Clear();
    }
    return PyObject_Vectorcall(s_os_write, args, (size_t)count, NULL);
}

/* ---- FileIO ------------------------------------------------------------------------------------- */

/* Whether the object is open to be read, and on a disk; no exception is left. */
static int is_readable_file(PyObject *self)
{
    if (((File *)self)->fd < FIRST_OWN) return 0;
    PyObject *found = readable(self, NULL);
    int is = found == Py_True;
    Py_XDECREF(found);
    if (is) {
        found = seekable(self, NULL);
        is = found == Py_True;
        Py_XDECREF(found);
    }
    if (UNLIKELY(!is)) PyErr_Clear();
    return is;
}

static inline int is_for_c(PyObject *self)
{
    return at_home() && PySet_GET_SIZE(synchronous) == 0 && is_readable_file(self);
}

static PyObject *file_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (LIKELY(count == 1 && PyLong_CheckExact(args[0]) && is_for_c(self))) {
        Py_ssize_t size = PyLong_AsSsize_t(args[0]);
        if (LIKELY(size > 0)) {
            int is_left = 0;
            if (size <= CHUNK && PyDict_GET_SIZE(SLOT(K, k_threads)) == 1)
                return left_to(o_read, self, args, count, NULL); /* nobody minds if it waits */
            PyObject *data = read_file(((File *)self)->fd, size, &is_left);
            if (LIKELY(!is_left)) return data;
        }
        PyErr_Clear();
    }
    return left_to(s_read, self, args, count, NULL);
}

static PyObject *file_readinto(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer view;
    if (LIKELY(count == 1 && is_for_c(self))) {
        if (LIKELY(PyObject_GetBuffer(args[0], &view, PyBUF_WRITABLE) == 0)) {
            int is_more, fd = ((File *)self)->fd;
            Py_ssize_t got = view.len ? read_cached(fd, view.buf, view.len, &is_more) : LEFT;
            if (UNLIKELY(got > 0 && is_more)) {
                PyObject *all = PyObject_CallFunction(s_fill, "iOn", fd, args[0], got);
                got = all == NULL ? -1 : PyLong_AsSsize_t(all);
                Py_XDECREF(all);
            }
            PyBuffer_Release(&view);
            if (LIKELY(got >= 0)) return PyLong_FromSsize_t(got);
            if (got != LEFT) return NULL;
        }
        PyErr_Clear();
    }
    return left_to(s_readinto, self, args, count, NULL);
}

int is_known_local(int fd, mode_t *mode, unsigned long long *size)
{
#ifdef STATX_MNT_ID
    struct statx found;
    unsigned wanted = STATX_TYPE | STATX_SIZE | STATX_MNT_ID;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, &found) < 0 ||
        (found.stx_mask & wanted) != wanted)
        return 0;
    PyObject *mount = PyLong_FromUnsignedLongLong(found.stx_mnt_id);
    PyObject *is_local = mount == NULL ? NULL : PyDict_GetItemWithError(mounts, mount);
    Py_XDECREF(mount);
    if (UNLIKELY(is_local == NULL)) PyErr_Clear();
    *mode = found.stx_mode;
    *size = found.stx_size;
    return is_local == Py_True;
#else
    (void)fd, (void)mode, (void)size;
    return 0;
#endif
}

/* How much of a regular file that is known to be local lies ahead, and one byte more, so that the
 * end is seen at once; -1: Python looks. */
static Py_ssize_t size_left(int fd)
{
    mode_t mode;
    unsigned long long size;
    if (!is_known_local(fd, &mode, &size) || !S_ISREG(mode)) return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at < 0 || size < (unsigned long long)at) return -1;
    unsigned long long left = size - (unsigned long long)at;
    return left < PY_SSIZE_T_MAX ? (Py_ssize_t)left + 1 : -1;
}

static PyObject *file_readall(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (LIKELY(is_for_c(self))) {
        int is_left = 0, fd = ((File *)self)->fd;
        Py_ssize_t size = size_left(fd);
        PyObject *data = size < 0 ? NULL : read_file(fd, size, &is_left);
        if (LIKELY(data != NULL)) {
            if (LIKELY(PyBytes_GET_SIZE(data) < size)) return data;
            PyObject *rest = PyObject_CallOneArg(s_readall, self); /* it has grown */
            if (rest == NULL || rest == Py_None) {
                Py_XDECREF(rest);
                if (rest == NULL) Py_CLEAR(data);
                return data;
            }
            PyBytes_ConcatAndDel(&data, rest);
            return data;
        }
        if (size >= 0 && !is_left) return NULL;
        PyErr_Clear();
    }
    return PyObject_CallOneArg(s_readall, self);
}

#endif

const Stand_in files_stand_ins[] = {
#ifdef __linux__
    {"file_os_read", FUNCTION os_read, METH_FASTCALL, &s_os_read},
    {"file_os_write", FUNCTION os_write, METH_FASTCALL, &s_os_write},
    {"file_read", FUNCTION file_read, METH_FASTCALL, &s_read},
    {"file_readinto", FUNCTION file_readinto, METH_FASTCALL, &s_readinto},
    {"file_readall", file_readall, METH_NOARGS, &s_readall},
#endif
    {NULL, NULL, 0, NULL},
};

int files_bind(PyObject *objects, PyObject *slow)
{
#ifdef __linux__
    PyObject *sample, *is_readable, *is_seekable;
    int fd;
    if (!PyArg_ParseTuple(PyDict_GetItemString(objects, "sample"), "OiOO", &sample, &fd,
                          &is_readable, &is_seekable))
        return -1;
    if (((File *)sample)->fd != fd) {
        PyErr_SetString(PyExc_SystemError, "a FileIO is not as it is known");
        return -1;
    }
    readable = function_of(is_readable, METH_NOARGS);
    seekable = readable == NULL ? NULL : function_of(is_seekable, METH_NOARGS);
    if (seekable == NULL) return -1;
    return take(objects, "synchronous", &synchronous) < 0 ||
                   take(objects, "mounts", &mounts) < 0 || take(objects, "read", &o_read) < 0 ||
                   take(slow, "record", &s_record) < 0 ||
                   take(slow, "read_elsewhere", &s_read_elsewhere) < 0 ||
                   take(slow, "fill", &s_fill) < 0 || take(slow, "write_rest", &s_write_rest) < 0
               ? -1
               : 0;
#else
    (void)objects, (void)slow;
    PyErr_SetString(PyExc_SystemError, "this system can't ask the page cache");
    return -1;
#endif
}
