/* os.read and os.write of pipes, and of what the page cache has: wrappers/files/descriptors.py.
 *
 * Left to Python: what would wait for a disk, everything that refuses RWF_NOWAIT, other OS threads.
 *
 * For Linux; elsewhere `descriptors_bind` says that it does not fit. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#ifdef __linux__
#ifndef F_GETPIPE_SZ
#define F_GETPIPE_SZ 1032
#endif

static PyObject *synchronous; /* set: Disk.synchronous */
static PyObject *s_record, *s_read_elsewhere, *s_write_rest;
static PyObject *s_os_read, *s_os_write;

static inline int is_pipe(int fd) { return fcntl(fd, F_GETPIPE_SZ) >= 0; }

static int is_regular(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

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
        Py_ssize_t more = read_cached(fd, buffer + got, size - got, -1, &is_more);
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
                data = read_file(fd, size, -1, &is_left);
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
    Py_ssize_t done = write_now(fd, view->buf, view->len);
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

#endif

const Stand_in descriptors_stand_ins[] = {
#ifdef __linux__
    {"os_read", FUNCTION os_read, METH_FASTCALL, &s_os_read},
    {"os_write", FUNCTION os_write, METH_FASTCALL, &s_os_write},
#endif
    {NULL, NULL, 0, NULL},
};

int descriptors_bind(PyObject *objects, PyObject *slow)
{
#ifdef __linux__
    return take(objects, "synchronous", &synchronous) < 0 ||
                   take(slow, "record", &s_record) < 0 ||
                   take(slow, "read_elsewhere", &s_read_elsewhere) < 0 ||
                   take(slow, "write_rest", &s_write_rest) < 0
               ? -1
               : 0;
#else
    (void)objects, (void)slow;
    PyErr_SetString(PyExc_SystemError, "this system can't ask the page cache");
    return -1;
#endif
}
