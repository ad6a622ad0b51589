/* What the files of the compiled core that read and write share: waits.c and pace.c. */
#ifndef CAPRICCIO_IO_H
#define CAPRICCIO_IO_H

#include "core.h"

/* All: only at home. */

/* ---- waits.c: io/waits.py ---------------------------------------------------------------------- */

extern Py_ssize_t d_closed, d_listens, d_private; /* of a Descriptor */

PyObject *record_of(int fd); /* Descriptors.get, borrowed; NULL without an exception */
int keep_record(int fd, PyObject *d);
int drop_record(int fd);     /* there is one */
int pass_on(PyObject *d);    /* Waits.pass_on */
int pass_on_write(PyObject *d);
int wait_read(PyObject *d, PyObject *deadline, int again);  /* 1 its turn, 0 expired, -1 raised */
int wait_write(PyObject *d, PyObject *deadline, int again); /* likewise */
int tells_of_changes(PyObject *d); /* whether the scheme reports each thing that comes, unasked */
int raise_if_closed(PyObject *d);                           /* -1 with EBADF */

/* ---- pace.c: Kernel.yield_if_due, Kernel.yield_after_calls ------------------------------------- */

int yield_if_due(void);
int yield_after_calls(void);
int yield_between_pieces(Py_ssize_t left, double now); /* bytes of one call, better ended soon */
int yield_after_pieces(void);              /* the call has ended */

/* ---- both -------------------------------------------------------------------------------------- */

/* The Python function, for what C does not do. */
static inline PyObject *left_to(PyObject *slow, PyObject *self, PyObject *const *args,
                                Py_ssize_t count, PyObject *names)
{
    PyObject *few[8], **all = few;
    Py_ssize_t given = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    if (given >= 8) all = PyMem_New(PyObject *, given + 1);
    if (all == NULL) return PyErr_NoMemory();
    all[0] = self;
    for (Py_ssize_t i = 0; i < given; i++) all[i + 1] = args[i];
    PyObject *result = PyObject_Vectorcall(slow, all, (size_t)count + 1, names);
    if (all != few) PyMem_Free(all);
    return result;
}

#endif
