/* The attributes of instances of Python classes, read where they lie.
 *
 * CPython keeps the attributes of most instances in an array, each at the same place for all instances
 * of its class, until somebody wants them as a dictionary that is the instance's own.
 *
 * 1. The places are found on a living instance, whose array is looked at (`shape_bind`).  What does
 *    not look as it does there is read as `getattr` reads it.
 * 2. They are right for the type's version at which the class had no properties (data descriptors) of
 *    these names, nor methods of its own that read attributes.
 * 3. What is read is borrowed: the instance keeps it until code of the program's runs. */
#ifndef CAPRICCIO_FIELDS_H
#define CAPRICCIO_FIELDS_H

#include "core.h"

#define MOST_FIELDS 8

typedef struct {
    PyTypeObject *type;           /* NULL: no places are known */
    unsigned int version, refused; /* of the type: the places are right, or not; 0 is none */
    PyObject *names[MOST_FIELDS]; /* borrowed; they are interned and kept */
    int places[MOST_FIELDS];
} Shape;

#if PY_VERSION_HEX >= 0x030D0000
/* Objects/dictobject.c: it follows the instance. */
typedef struct {
    uint8_t capacity, size, embedded, valid;
    PyObject *values[1];
} Values;
#endif

/* The array; NULL if the attributes are elsewhere.  Of instances of types with a shape. */
static inline PyObject **values_of(PyObject *o)
{
#if PY_VERSION_HEX >= 0x030D0000
    Values *found = (Values *)((char *)o + Py_TYPE(o)->tp_basicsize);
    return found->valid ? found->values : NULL;
#elif PY_VERSION_HEX >= 0x030C0000
    uintptr_t word = ((uintptr_t *)o)[-3]; /* an odd one is the array's */
    return word & 1 ? (PyObject **)(word + 1) : NULL;
#else
    return ((PyObject ***)o)[-4];
#endif
}

/* Whether somebody has a dictionary of what is in the array. */
static inline int is_shared(PyObject *o)
{
#if PY_VERSION_HEX >= 0x030D0000
    return ((PyObject **)o)[-3] != NULL;
#else
    (void)o;
    return 0;
#endif
}

/* Whether the places hold for the type as it is now; slow. */
int shape_check(Shape *shape);
/* Find where `names` lie in instances of the type of `probe`, which nobody uses and which has them
 * all.  0, or -1 with an exception; that nothing was found is none. */
int shape_bind(Shape *shape, PyObject *probe, PyObject *const *names, int count);

/* Where the attribute lies in `o`; NULL: not known. */
static inline PyObject **place_of(Shape *shape, PyObject *o, int which)
{
    if (UNLIKELY(Py_TYPE(o) != shape->type)) return NULL;
    unsigned int version = shape->type->tp_version_tag;
    if (UNLIKELY(version == 0 || version != shape->version) && !shape_check(shape)) return NULL;
    PyObject **values = values_of(o);
    return LIKELY(values != NULL) ? &values[shape->places[which]] : NULL;
}

/* Whether `o` itself has no such attribute, name not in vars(o); slow. */
int shape_lacks(Shape *shape, PyObject *o, int which);

/* The same.  A type has no shape any more when CPython has no version left for it, 1,000 in all. */
static inline int lacks(Shape *shape, PyObject *o, int which)
{
    PyObject **place = place_of(shape, o, which);
    return LIKELY(place != NULL) ? *place == NULL : shape_lacks(shape, o, which);
}

/* getattr(o, name): borrowed; NULL with an exception. */
static inline PyObject *field(Shape *shape, PyObject *o, int which)
{
    PyObject **place = place_of(shape, o, which);
    if (LIKELY(place != NULL && *place != NULL)) return *place;
    PyObject *found = PyObject_GetAttr(o, shape->names[which]);
    Py_XDECREF(found);
    return found;
}

/* setattr(o, name, value): 0, or -1 with an exception. */
static inline int put_field(Shape *shape, PyObject *o, int which, PyObject *value)
{
    PyObject **place = place_of(shape, o, which), *old;
    if (UNLIKELY(place == NULL || *place == NULL || is_shared(o)))
        return PyObject_SetAttr(o, shape->names[which], value);
    old = *place;
    *place = Py_NewRef(value);
    Py_DECREF(old);
    return 0;
}

#endif
