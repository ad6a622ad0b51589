/* What sockets.c knows of socket objects, for connections.c too. */
#ifndef CAPRICCIO_SOCKETS_H
#define CAPRICCIO_SOCKETS_H

#include "io.h"

/* The first fields of a socket object, in CPython 3.11 to 3.15. */
typedef struct {
    PyObject_HEAD
    int fd, family, type, proto;
    void *errorhandler;
    int64_t timeout; /* in nanoseconds; below 0: none */
} Socket;

extern PyObject *timeouts;        /* dict: SocketMode.timeouts */
extern PyObject *kernel_timeouts; /* SocketMode.kernel_timeouts */
extern Py_ssize_t o_in_use;       /* its slot */

#define LEFT (-2) /* nothing was done: the call is Python's */

/* Whether C does not know for how long its calls may wait. */
static inline int is_unknown(Socket *s)
{
    return s->timeout > 0 || SLOT(kernel_timeouts, o_in_use) != Py_False;
}

typedef enum { NEVER, BLOCKS, LIMITED, RAISED } Way;

/* All: only at home. */

/* How a call may wait; *deadline is new where that is LIMITED, else borrowed. */
Way way_of(Socket *s, PyObject **deadline);
Py_ssize_t raise_timeout(void);    /* -1 with TimeoutError */
Py_ssize_t raise_errno(int error); /* -1 with OSError */
/* An exception is set: the turn is the next one's; -1. */
Py_ssize_t give_up_turn(PyObject *d, int (*next)(PyObject *), int yields);

#endif
