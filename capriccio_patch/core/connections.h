/* What connections.c does with sockets, for listeners.c too. */
#ifndef CAPRICCIO_CONNECTIONS_H
#define CAPRICCIO_CONNECTIONS_H

#include "sockets.h"

/* The number that was accepted last, whose object is yet to be made: nothing is unknown of it. */
extern int accepted;

/* All: only at home. */

/* The number, and its address into *address; LEFT: it is Python's to accept; -1 raised. */
int accept_plainly(Socket *s, PyObject **address);
void forget_timeout(PyObject *sock);
PyObject *opened(Socket *s);                         /* SocketMode.opened, borrowed; NULL raised */
PyObject *pair_of(PyObject *one, PyObject *other);   /* takes over both; NULL if one is */

/* Of `_socket.socket`. */
PyObject *socket_accept(PyObject *self, PyObject *ignored);
PyObject *socket_close(PyObject *self, PyObject *ignored);
PyObject *socket_init(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

#endif
