/* What reads a FileIO: wrappers/files/fileio.py.  descriptors.c reads files likewise.
 *
 * What the page cache has is taken with preadv2(RWF_NOWAIT): it answers at once or not at all.  More
 * than PIECE bytes are taken in pieces, between which others are looked at.  A piece costs 0.5 us more
 * than its bytes, so those that follow are as large as what is copied in AT_ONCE: 1 MiB where memory
 * is in use already, PIECE where it has to be mapped page by page.
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

#ifdef __linux__
#define PIECE 262144 /* 5 us of copying; 50 if the memory is new */
#define LARGEST 1048576
#define AT_ONCE 0.00002
#define FIRST_OWN 3  /* wrappers.files.fileio */

static PyObject *synchronous;         /* set: Disk.synchronous */
static PyObject *mounts;              /* dict: Mounts.known, whether a mount is local by its number */
static PyCFunction readable, seekable; /* FileIO's own */
static PyObject *o_read;              /* FileIO.read before the patch */
static PyObject *s_read_elsewhere, *s_fill, *s_read, *s_readinto, *s_readall;

/* How much is read at once after as much was, in that time. */
static inline Py_ssize_t piece_after(Py_ssize_t got, double took)
{
    double piece = (double)got * (AT_ONCE / (took > 1e-6 ? took : 1e-6));
    return piece <= PIECE ? PIECE : piece < LARGEST ? (Py_ssize_t)piece : LARGEST;
}

Py_ssize_t read_cached(int fd, char *buffer, Py_ssize_t size, Py_ssize_t end, int *is_more)
{
    Py_ssize_t count = 0, piece = PIECE;
    double began = size > PIECE ? now_s() : 0.0;
    *is_more = 0;
    while (count < size) {
        if (piece > size - count) piece = size - count;
        Py_ssize_t got = read_now(fd, buffer + count, piece);
        if (got < 0) {
            if (count == 0) return LEFT;
            *is_more = errno == EAGAIN; /* another error the next call meets */
            break;
        }
        if (got == 0) break;
        count += got;
        if (count == size || (got < piece && count == end)) break;
        double now = now_s();
        piece = piece_after(got, now - began);
        began = now; /* if others run first, the next piece seems slow, and the one after it is small */
        if (yield_between_pieces(size - count, now) < 0) return -1;
    }
    return yield_after_pieces() < 0 ? -1 : count;
}

PyObject *read_file(int fd, Py_ssize_t size, Py_ssize_t end, int *is_left)
{
    int is_more;
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    if (data == NULL) return NULL;
    Py_ssize_t count = read_cached(fd, PyBytes_AS_STRING(data), size, end, &is_more);
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
            PyObject *data = read_file(((File *)self)->fd, size, -1, &is_left);
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
            Py_ssize_t got = view.len ? read_cached(fd, view.buf, view.len, -1, &is_more) : LEFT;
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
        PyObject *data = size < 0 ? NULL : read_file(fd, size, size - 1, &is_left);
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
                   take(slow, "read_elsewhere", &s_read_elsewhere) < 0 ||
                   take(slow, "fill", &s_fill) < 0
               ? -1
               : 0;
#else
    (void)objects, (void)slow;
    PyErr_SetString(PyExc_SystemError, "this system can't ask the page cache");
    return -1;
#endif
}
