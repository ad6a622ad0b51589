/* The module `_core`: makes the methods that stand for Python's, and binds C to the patch in force.
 *
 * 1. It is loaded in the main interpreter alone, whose objects its statics hold.
 * 2. A method descriptor points at its definition for ever, so definitions are never freed; the same
 *    one is used for the same function, name and text. */
#include "core.h"
#include "libc_calls.h"

#include <string.h>
#include <unistd.h>

static const Stand_in *const stand_ins[] = {
    kernel_stand_ins, stacks_stand_ins, pace_stand_ins, sockets_stand_ins, connections_stand_ins,
    listeners_stand_ins,
    files_stand_ins,  descriptors_stand_ins, opening_stand_ins, locks_stand_ins,
    conditions_stand_ins, events_stand_ins, queue_stand_ins, simple_queue_stand_ins,
};

typedef struct {
    const char *name;
    int (*bind)(PyObject *objects, PyObject *slow);
} Subject;
static const Subject subjects[] = {
    {"kernel", kernel_bind},
    {"stacks", stacks_bind},
    {"pace", pace_bind},
    {"lots", lots_bind},
    {"waits", waits_bind},
    {"sockets", sockets_bind},
    {"connections", connections_bind},
    {"listeners", listeners_bind},
    {"files", files_bind},
    {"descriptors", descriptors_bind},
    {"opening", opening_bind},
    {"locks", locks_bind},
    {"conditions", conditions_bind},
    {"queue", queue_bind},
    {"simple_queue", simple_queue_bind},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- for the subjects ------------------------------------------------------------------------- */

PyCFunction function_of(PyObject *found, int flags)
{
    if (Py_TYPE(found) == &PyMethodDescr_Type) {
        PyMethodDef *method = ((PyMethodDescrObject *)found)->d_method;
        if ((method->ml_flags & ~METH_COEXIST) == flags) return method->ml_meth;
    }
    PyErr_Format(PyExc_SystemError, "%R is not the method of C that is known", found);
    return NULL;
}

/* Where `take` has put something. */
static PyObject **taken[256];
static size_t n_taken;

static void set(PyObject **where, PyObject *value)
{
    PyObject *old = *where;
    *where = Py_NewRef(value);
    Py_XDECREF(old);
}

int take(PyObject *from, const char *name, PyObject **where)
{
    PyObject *found = PyDict_GetItemString(from, name); /* borrowed */
    size_t i = 0;
    while (i < n_taken && taken[i] != where) i++;
    if (found == NULL || i == COUNT(taken)) {
        PyErr_Format(PyExc_KeyError, "%s", name);
        return -1;
    }
    if (i == n_taken) taken[n_taken++] = where;
    set(where, found);
    return 0;
}

int offset_of(PyObject *cls, const char *name, Py_ssize_t *where)
{
    PyObject *found = PyObject_GetAttrString(cls, name);
    if (found == NULL) return -1;
    int known = Py_TYPE(found) == &PyMemberDescr_Type &&
                ((PyMemberDescrObject *)found)->d_member->type == T_OBJECT_EX;
    if (known)
        *where = ((PyMemberDescrObject *)found)->d_member->offset;
    else
        PyErr_Format(PyExc_SystemError, "%R has no slot %s", cls, name);
    Py_DECREF(found);
    return known ? 0 : -1;
}

/* ---- for table.py ----------------------------------------------------------------------------- */

typedef struct Definition {
    PyMethodDef method;
    struct wrapperbase slot; /* where the method stands for what a slot of the type does */
    struct Definition *next;
} Definition;
static Definition *definitions;

static char *copied(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = PyMem_Malloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

/* A function that takes arguments as an array, called by a slot's wrapper. */
static PyObject *call_slot(PyObject *self, PyObject *args, void *wrapped, PyObject *named)
{
    _PyCFunctionFastWithKeywords call =
        (_PyCFunctionFastWithKeywords)(void (*)(void))((PyMethodDef *)wrapped)->ml_meth;
    Py_ssize_t count = PyTuple_GET_SIZE(args), n_named = named == NULL ? 0 : PyDict_GET_SIZE(named);
    if (n_named == 0) return call(self, PySequence_Fast_ITEMS(args), count, NULL);
    PyObject *values = PyDict_Values(named), *keys = PyDict_Keys(named), *all = NULL, *names = NULL;
    PyObject *result = NULL;
    if (values != NULL && keys != NULL && (names = PyList_AsTuple(keys)) != NULL &&
        (all = PySequence_List(args)) != NULL &&
        PyList_SetSlice(all, count, count, values) == 0)
        result = call(self, PySequence_Fast_ITEMS(all), count, names);
    Py_XDECREF(values);
    Py_XDECREF(keys);
    Py_XDECREF(names);
    Py_XDECREF(all);
    return result;
}

PyCFunction stand_in_in(PyTypeObject *type, PyObject *name)
{
    PyObject *found = _PyType_Lookup(type, name); /* borrowed */
    if (found == NULL) return NULL;
    if (Py_IS_TYPE(found, &PyMethodDescr_Type))
        return ((PyMethodDescrObject *)found)->d_method->ml_meth;
    if (!Py_IS_TYPE(found, &PyWrapperDescr_Type)) return NULL;
    PyWrapperDescrObject *slot = (PyWrapperDescrObject *)found;
    int is_made = slot->d_base->wrapper == (wrapperfunc)(void (*)(void))call_slot;
    return is_made ? ((PyMethodDef *)slot->d_wrapped)->ml_meth : NULL;
}

static PyMethodDef *definition_of(const Stand_in *in, const char *name, const char *text)
{
    for (Definition *each = definitions; each != NULL; each = each->next)
        if (each->method.ml_meth == in->function && strcmp(each->method.ml_name, name) == 0 &&
            strcmp(each->method.ml_doc, text) == 0)
            return &each->method;
    Definition *made = PyMem_Malloc(sizeof *made);
    if (made == NULL) return (PyMethodDef *)PyErr_NoMemory();
    made->method = (PyMethodDef){copied(name), in->function, in->flags, copied(text)};
    made->slot = (struct wrapperbase){
        .name = made->method.ml_name,
        .wrapper = (wrapperfunc)(void (*)(void))call_slot,
        .doc = made->method.ml_doc,
        .flags = PyWrapperFlag_KEYWORDS,
    };
    if (made->method.ml_name == NULL || made->method.ml_doc == NULL) {
        PyMem_Free((char *)made->method.ml_name);
        PyMem_Free((char *)made->method.ml_doc);
        PyMem_Free(made);
        return (PyMethodDef *)PyErr_NoMemory();
    }
    made->next = definitions;
    definitions = made;
    return &made->method;
}

static const Stand_in *stand_in_of(const char *which)
{
    for (size_t i = 0; i < COUNT(stand_ins); i++)
        for (const Stand_in *in = stand_ins[i]; in->name != NULL; in++)
            if (strcmp(in->name, which) == 0) return in;
    PyErr_SetString(PyExc_KeyError, which);
    return NULL;
}

/* What there was before the patch, for each function of C that a program may keep. */
static struct {
    PyObject **slow, *stock;
} before[256];
static size_t n_before;

/* What is made, if it is, leaves to `slow` what it does not do itself. */
static PyObject *with_slow(PyObject *made, const Stand_in *in, PyObject *slow, PyObject *stock)
{
    size_t i = 0;
    if (made == NULL) return NULL;
    while (i < n_before && before[i].slow != in->slow) i++;
    if (i == COUNT(before)) {
        Py_DECREF(made);
        return PyErr_NoMemory();
    }
    if (i == n_before) before[n_before++].slow = in->slow;
    set(&before[i].stock, stock);
    set(in->slow, slow);
    return made;
}

/* method(cls, which, slow, stock, name, text): the function `which` as a method `name` of `cls`, of
 * the type that `stock` has: a slot's wrapper refuses a wrong object in words of its own. */
static PyObject *method(PyObject *module, PyObject *args)
{
    (void)module;
    PyTypeObject *cls;
    PyObject *slow, *stock;
    const char *which, *name, *text;
    if (!PyArg_ParseTuple(args, "O!sOOss", &PyType_Type, &cls, &which, &slow, &stock, &name, &text))
        return NULL;
    const Stand_in *in = stand_in_of(which);
    PyMethodDef *definition = in == NULL ? NULL : definition_of(in, name, text);
    if (definition == NULL) return NULL;
    if (!Py_IS_TYPE(stock, &PyWrapperDescr_Type))
        return with_slow(PyDescr_NewMethod(cls, definition), in, slow, stock);
    struct wrapperbase *slot = &((Definition *)definition)->slot;
    return with_slow(PyDescr_NewWrapper(cls, slot, definition), in, slow, stock);
}

/* builtin(which, slow, stock, name, text): the function `which` as a builtin. */
static PyObject *builtin(PyObject *module, PyObject *args)
{
    PyObject *slow, *stock;
    const char *which, *name, *text;
    if (!PyArg_ParseTuple(args, "sOOss", &which, &slow, &stock, &name, &text)) return NULL;
    const Stand_in *in = stand_in_of(which);
    PyMethodDef *definition = in == NULL ? NULL : definition_of(in, name, text);
    if (definition == NULL) return NULL;
    return with_slow(PyCFunction_New(definition, module), in, slow, stock);
}

/* bind(subject, objects, slow) */
static PyObject *bind(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    PyObject *objects, *slow;
    if (!PyArg_ParseTuple(args, "sO!O!", &name, &PyDict_Type, &objects, &PyDict_Type, &slow))
        return NULL;
    for (size_t i = 0; i < COUNT(subjects); i++)
        if (strcmp(subjects[i].name, name) == 0)
            return subjects[i].bind(objects, slow) < 0 ? NULL : Py_NewRef(Py_None);
    PyErr_SetString(PyExc_KeyError, name);
    return NULL;
}

/* unbind(): no patch is in force.  A method that the program has kept does what it did before. */
static PyObject *unbind(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    kernel_unbind();
    for (size_t i = 0; i < n_before; i++) set(before[i].slow, before[i].stock);
    for (size_t i = 0; i < n_taken; i++) Py_CLEAR(*taken[i]);
    Py_RETURN_NONE;
}

/* now(): seconds, as C reads the clock. */
static PyObject *now(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    return PyFloat_FromDouble(now_s());
}

/* pread_now(fd, size, offset): os.pread of a file that answers at once; the GIL is kept. */
static PyObject *pread_now(PyObject *module, PyObject *args)
{
    (void)module;
    int fd;
    Py_ssize_t size;
    long long offset;
    char found[256];
    if (!PyArg_ParseTuple(args, "inL", &fd, &size, &offset)) return NULL;
    if (size < 0 || size > (Py_ssize_t)sizeof found) {
        PyErr_SetString(PyExc_ValueError, "as much can't be read so");
        return NULL;
    }
    ssize_t got = pread(fd, found, (size_t)size, (off_t)offset);
    if (got < 0) return PyErr_SetFromErrno(PyExc_OSError);
    return PyBytes_FromStringAndSize(found, got);
}

/* swap_thread_handles(one, other): interpose.swap_thread_handles. */
static PyObject *swap_thread_handles(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    typedef struct {
        PyObject_HEAD
        void *handle;
    } Handle; /* Modules/_threadmodule.c */
    (void)module;
    if (n != 2 || Py_TYPE(args[0]) != Py_TYPE(args[1]) ||
        Py_TYPE(args[0])->tp_basicsize != (Py_ssize_t)sizeof(Handle)) {
        PyErr_SetString(PyExc_SystemError, "two handles of threads are needed");
        return NULL;
    }
    Handle *one = (Handle *)args[0], *other = (Handle *)args[1];
    void *kept = one->handle;
    one->handle = other->handle;
    other->handle = kept;
    Py_RETURN_NONE;
}

/* of_kinds(get_objects, kinds): collector.of_kinds, in one step for other OS threads. */
static PyObject *of_kinds(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *get_objects, *kinds;
    if (!PyArg_ParseTuple(args, "OO!", &get_objects, &PyTuple_Type, &kinds)) return NULL;
    PyObject *found = PyList_New(0); /* before: it may be the cause of a collection */
    PyObject *objects = found == NULL ? NULL : PyObject_CallNoArgs(get_objects);
    if (objects == NULL || !PyList_Check(objects)) {
        if (objects != NULL) PyErr_SetString(PyExc_TypeError, "get_objects() must return a list");
        Py_XDECREF(objects);
        Py_XDECREF(found);
        return NULL;
    }
    struct {
        PyTypeObject *type;
        int is_one;
    } known[256] = {{NULL, 0}}; /* by address, what was asked last */
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(objects); i++) {
        PyObject *object = PyList_GET_ITEM(objects, i);
        PyTypeObject *type = Py_TYPE(object);
        size_t place = (uintptr_t)type / 64 % COUNT(known);
        if (known[place].type != type) {
            known[place].type = type;
            known[place].is_one = 0;
            for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(kinds) && !known[place].is_one; k++)
                known[place].is_one =
                    PyType_IsSubtype(type, (PyTypeObject *)PyTuple_GET_ITEM(kinds, k));
        }
        if (known[place].is_one && PyList_Append(found, object) < 0) Py_CLEAR(found);
    }
    Py_DECREF(objects);
    return found;
}

static PyMethodDef functions[] = {
    {"of_kinds", of_kinds, METH_VARARGS, NULL},
    {"pread_now", pread_now, METH_VARARGS, NULL},
    {"swap_thread_handles", FUNCTION swap_thread_handles, METH_FASTCALL, NULL},
    {"method", method, METH_VARARGS, NULL},
    {"builtin", builtin, METH_VARARGS, NULL},
    {"now", now, METH_NOARGS, NULL},
    {"bind", bind, METH_VARARGS, NULL},
    {"unbind", unbind, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the compiled core is for the main interpreter");
        return -1;
    }
    if (PyModule_AddFunctions(module, libc_functions) < 0 ||
        PyModule_AddFunctions(module, locks_functions) < 0 ||
        PyModule_AddFunctions(module, pulse_functions) < 0)
        return -1;
    PyObject *names = PyList_New(0);
    if (names == NULL) return -1;
    for (size_t i = 0; i < COUNT(stand_ins); i++)
        for (const Stand_in *in = stand_ins[i]; in->name != NULL; in++) {
            PyObject *name = PyUnicode_FromString(in->name);
            if (name == NULL || PyList_Append(names, name) < 0) {
                Py_XDECREF(name);
                Py_DECREF(names);
                return -1;
            }
            Py_DECREF(name);
        }
    int failed = PyModule_AddObjectRef(module, "STAND_INS", names);
    Py_DECREF(names);
    return failed;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_core", "The compiled core.", 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }
