/* Lots, where threads queue: kernel.parking.Lot.  All at home. */
#ifndef CAPRICCIO_LOTS_H
#define CAPRICCIO_LOTS_H

#include "core.h"

#pragma GCC visibility push(hidden)

/* ---- of things: by key, in the dictionary `waiting` of the lot ------------------------------------ */

/* id(thing): a new reference. */
PyObject *lot_key(const PyObject *thing);
/* `me`, which has begun to wait, queues; with `first` before all others.  0 or -1. */
int lot_add(PyObject *waiting, PyObject *key, PyObject *me, int first);
/* `me` waits no longer: 1, 0 if it was woken already, -1 with an exception. */
int lot_withdraw(PyObject *waiting, PyObject *key, PyObject *me);
/* Who has waited longest; NULL if nobody does, or with an exception.  A new reference. */
PyObject *lot_first(PyObject *waiting, PyObject *key);
/* The same, and it waits no longer. */
PyObject *lot_take_first(PyObject *waiting, PyObject *key);

/* ---- of records: in a slot of each, where None is that nobody waits ------------------------------- */

int slot_add(PyObject *record, Py_ssize_t slot, PyObject *me, int first);
int slot_withdraw(PyObject *record, Py_ssize_t slot, PyObject *me);
/* Wake who has waited longest, if anybody does: 0 or -1. */
int slot_wake_one(PyObject *record, Py_ssize_t slot);

#pragma GCC visibility pop

#endif
