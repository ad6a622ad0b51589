/* What suspended greenlets refer to, counted before the collector of a CPython 3.14 without the GIL
 * looks: cpython/suspended.py says why.
 *
 * The collector calls tp_traverse of a greenlet while all other OS threads stand still.  Here it first
 * turns each reference of its suspended frames that nobody has counted into one that is, which the
 * interpreter takes as well: CPython does so itself with the frames of generators. */
#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE_MODULE 1
#include <Python.h>

#include "internal/pycore_frame.h"
#include "internal/pycore_gc.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_interpframe.h"
#include "internal/pycore_stackref.h"

static traverseproc traverse_rest; /* greenlet's own */
static PyGetSetDef *frame_of;      /* greenlet.gr_frame: makes nothing */

static void count(_PyStackRef *ref)
{
    if (PyStackRef_IsNullOrInt(*ref) || !PyStackRef_IsDeferred(*ref)) return;
    *ref = PyStackRef_AsStrongReference(*ref);
    PyObject *found = PyStackRef_AsPyObjectBorrow(*ref);
    /* Its count may have been taken already, into ob_tid; counted twice it stays this time. */
    if (found->ob_gc_bits & _PyGC_BITS_UNREACHABLE) found->ob_tid += 1;
}

static int traverse(PyObject *greenlet, visitproc visit, void *arg)
{
    if (PyInterpreterState_Get()->stoptheworld.world_stopped) {
        PyObject *top = frame_of->get(greenlet, frame_of->closure);
        if (top == NULL)
            PyErr_Clear();
        else if (PyFrame_Check(top)) {
            _PyInterpreterFrame *frame = ((PyFrameObject *)top)->f_frame;
            for (; frame != NULL; frame = frame->previous) {
                if (frame->owner != FRAME_OWNED_BY_THREAD || frame->stackpointer == NULL) continue;
                count(&frame->f_executable);
                count(&frame->f_funcobj);
                for (_PyStackRef *ref = frame->localsplus; ref < frame->stackpointer; ref++) count(ref);
            }
        }
        Py_XDECREF(top);
    }
    return traverse_rest(greenlet, visit, arg);
}

/* show(greenlet): for the class and all that are made of it, from now on. */
static PyObject *show(PyObject *module, PyObject *type)
{
    (void)module;
    if (traverse_rest == NULL) {
        PyObject *found = PyType_Check(type) ? PyObject_GetAttrString(type, "gr_frame") : NULL;
        if (found == NULL || !Py_IS_TYPE(found, &PyGetSetDescr_Type)) {
            Py_XDECREF(found);
            if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "not greenlet.greenlet");
            return NULL;
        }
        frame_of = ((PyGetSetDescrObject *)found)->d_getset;
        Py_DECREF(found);
        traverse_rest = ((PyTypeObject *)type)->tp_traverse;
        ((PyTypeObject *)type)->tp_traverse = traverse;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"show", show, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "capriccio_patch.cpython._suspended",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__suspended(void);
PyMODINIT_FUNC PyInit__suspended(void) { return PyModuleDef_Init(&definition); }
