/* Finding where attributes lie: see fields.h. */
#include "fields.h"

#include <string.h>

/* Whether what an instance has goes before what the type has, as the type is now. */
static int is_plain(Shape *shape)
{
    PyTypeObject *type = shape->type;
    if (type->tp_getattro != PyObject_GenericGetAttr || type->tp_setattro != PyObject_GenericSetAttr)
        return 0;
    for (int i = 0; i < MOST_FIELDS && shape->names[i] != NULL; i++) {
        PyObject *found = _PyType_Lookup(type, shape->names[i]);
        if (found != NULL && Py_TYPE(found)->tp_descr_set != NULL) return 0;
    }
    return 1;
}

int shape_check(Shape *shape)
{
    unsigned int version = shape->type->tp_version_tag;
    if (version != 0 && version == shape->refused) return 0;
    int plain = is_plain(shape);
    version = shape->type->tp_version_tag; /* a look gives the type one, while there are any */
    *(plain ? &shape->version : &shape->refused) = version;
    return plain && version != 0;
}

int shape_lacks(Shape *shape, PyObject *o, int which)
{
    if (Py_TYPE(o) != shape->type || !is_plain(shape)) return 0;
    PyObject *dict = PyObject_GenericGetDict(o, NULL);
    int found = dict == NULL ? -1 : PyDict_Contains(dict, shape->names[which]);
    Py_XDECREF(dict);
    if (found < 0) PyErr_Clear(); /* what asks for the attribute itself meets it */
    return found == 0;
}

/* How many values there may be at least. */
static int room_in(PyObject **values)
{
#if PY_VERSION_HEX >= 0x030D0000
    return ((Values *)((char *)values - offsetof(Values, values)))->capacity;
#else
    /* Before the array, backwards: a size, how many are used, and their places in order. */
    uint8_t *before = (uint8_t *)values;
    int used = before[-2], room = 0;
    for (int i = 0; i < used; i++)
        if (before[-3 - i] >= room) room = before[-3 - i] + 1;
    return room;
#endif
}

/* The place at which `value` lies, which lies nowhere else; -1: in none. */
static int find(PyObject *probe, PyObject *value)
{
    PyObject **values = values_of(probe);
    int room = values == NULL ? 0 : room_in(values);
    for (int i = 0; i < room; i++)
        if (values[i] == value) return i;
    return -1;
}

/* 1 found, 0 not, -1 with an exception. */
static int find_places(Shape *shape, PyObject *probe)
{
    for (int i = 0; i < MOST_FIELDS && shape->names[i] != NULL; i++) {
        PyObject *mark = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
        if (mark == NULL || PyObject_SetAttr(probe, shape->names[i], mark) < 0) {
            Py_XDECREF(mark);
            return -1;
        }
        shape->places[i] = find(probe, mark);
        Py_DECREF(mark);
        if (shape->places[i] < 0 || is_shared(probe)) return 0;
    }
    PyObject *dict = PyObject_GenericGetDict(probe, NULL); /* it is seen that there is one now */
    if (dict == NULL) return -1;
    int is_seen = values_of(probe) == NULL || is_shared(probe);
    Py_DECREF(dict);
    return is_seen;
}

int shape_bind(Shape *shape, PyObject *probe, PyObject *const *names, int count)
{
    if (probe == NULL) {
        PyErr_SetString(PyExc_KeyError, "an instance to look at");
        return -1;
    }
    PyTypeObject *cls = Py_TYPE(probe);
#if PY_VERSION_HEX >= 0x030D0000
    int has_array = (cls->tp_flags & Py_TPFLAGS_INLINE_VALUES) != 0;
#else
    int has_array = (cls->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0;
#endif
    Py_CLEAR(shape->type);
    memset(shape, 0, sizeof *shape);
    for (int i = 0; i < count; i++) shape->names[i] = names[i];
    int found = has_array ? find_places(shape, probe) : 0;
    if (found > 0) shape->type = (PyTypeObject *)Py_NewRef(cls);
    return found < 0 ? -1 : 0;
}
