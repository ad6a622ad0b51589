/* What the files about calls of libc share; see libc_calls.c. */
#ifndef CAPRICCIO_LIBC_CALLS_H
#define CAPRICCIO_LIBC_CALLS_H

#include "core.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) && defined(__LP64__)
#define HAS_LIBC_HOOKS 1

/* Which calls of an object are taken over. */
enum { WAITS = 1, SYNCHRONISES = 2 };

/* The function that stands for libc's of this name; NULL: it is left alone. */
void *libc_hook_of(const char *name, int which);

PyObject *libc_objects(PyObject *module, PyObject *ignored);
PyObject *libc_hook(PyObject *module, PyObject *args);
PyObject *libc_restore(PyObject *module, PyObject *ignored);
#endif

/* The functions of the module: empty where there are no hooks. */
extern PyMethodDef libc_functions[];

#endif
