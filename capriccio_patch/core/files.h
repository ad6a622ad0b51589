/* What files.c knows of files, for opening.c too. */
#ifndef CAPRICCIO_FILES_H
#define CAPRICCIO_FILES_H

#include "io.h"

#ifdef __linux__
#include <sys/stat.h>

/* The first field of a FileIO. */
typedef struct {
    PyObject_HEAD
    int fd;
} File;

/* Whether an open file, which may be an O_PATH one, is known to be on a disk of this machine; then
 * what it is, and how large.  No exception is left. */
int is_known_local(int fd, mode_t *mode, unsigned long long *size);
#endif

#endif
