/* What reads files: files.c, for descriptors.c and opening.c too. */
#ifndef CAPRICCIO_FILES_H
#define CAPRICCIO_FILES_H

#include "io.h"

#ifdef __linux__
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

#define CHUNK 131072 /* io.disk.CHUNK */
#define LEFT (-2)    /* nothing was done: the call is Python's */

/* The first field of a FileIO. */
typedef struct {
    PyObject_HEAD
    int fd;
} File;

/* Whether an open file, which may be an O_PATH one, is known to be on a disk of this machine; then
 * what it is, and how large.  No exception is left. */
int is_known_local(int fd, mode_t *mode, unsigned long long *size);

/* preadv2(2) and pwritev2(2) at the current position, whose offset has two halves, without waiting.
 * musl before 1.2.5 has no function for them. */
static inline Py_ssize_t read_now(int fd, char *buffer, Py_ssize_t size)
{
    struct iovec part = {buffer, (size_t)size};
    return syscall(SYS_preadv2, fd, &part, 1L, -1L, -1L, RWF_NOWAIT);
}
static inline Py_ssize_t write_now(int fd, char *buffer, Py_ssize_t size)
{
    struct iovec part = {buffer, (size_t)size};
    return syscall(SYS_pwritev2, fd, &part, 1L, -1L, -1L, RWF_NOWAIT);
}

/* Read from a file, in pieces, up to its end: how many bytes; LEFT where the first would have to be
 * waited for; *is_more: what follows would have to be.  A file that has just been seen to end after
 * `end` bytes is not asked again whether it does. */
Py_ssize_t read_cached(int fd, char *buffer, Py_ssize_t size, Py_ssize_t end, int *is_more);

/* As `read_cached`, up to `size` bytes, and the rest by a worker; NULL raised, or *is_left. */
PyObject *read_file(int fd, Py_ssize_t size, Py_ssize_t end, int *is_left);
#endif

#endif
