/* The kernel's methods as Python sees them, and where its state lies: kernel/core.py.
 *
 * What they do is in switch.c, exchange.c, turn.c, polling.c and timers.c. */
#include "kernel.h"

#define DEFINE_K(name) Py_ssize_t k_##name;
#define DEFINE_T(name) Py_ssize_t t_##name;
#define DEFINE_D(name) Py_ssize_t d_##name;
KERNEL_SLOTS(DEFINE_K)
THREAD_SLOTS(DEFINE_T)
DESCRIPTOR_SLOTS(DEFINE_D)
Py_ssize_t f_host;

PyObject *K;
PyThreadState *home;
PyTypeObject *T_thread, *T_finalizer;
PyCFunction dq_append, dq_popleft;
lenfunc dq_len;
PyObject *ints[TURN + 1];

static PyObject *kernel_object;   /* keeps K alive */
static PyObject *thread_class, *finalizer_class, *descriptor_class;

#define DEFINE_SLOW(name) PyObject *s_##name;
STANDS_FOR(DEFINE_SLOW)
static PyObject *s_sleep, *s_get_ident;

/* ---- the methods --------------------------------------------------------------------------------- */

static PyObject *none(int failed) { return failed < 0 ? NULL : Py_NewRef(Py_None); }

static PyObject *slow_method(PyObject *slow, PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *all[3] = {self};
    for (Py_ssize_t i = 0; i < count; i++) all[i + 1] = args[i];
    return PyObject_Vectorcall(slow, all, (size_t)count + 1, NULL);
}

static PyObject *method_begin(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K)) return PyObject_CallOneArg(s_begin, self);
    PyObject *me = begin();
    return Py_XNewRef(me);
}

static PyObject *method_cancel(PyObject *self, PyObject *me)
{
    if (UNLIKELY(self != K)) return slow_method(s_cancel, self, &me, 1);
    return none(cancel_wait(me));
}

static PyObject *method_park(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count < 1 || count > 2 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "park(me, deadline=None)");
        return NULL;
    }
    if (UNLIKELY(self != K)) return slow_method(s_park, self, args, count);
    int result = park(args[0], count > 1 ? args[1] : Py_None);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *method_resume(PyObject *self, PyObject *thread)
{
    if (UNLIKELY(self != K)) return slow_method(s_resume, self, &thread, 1);
    return none(resume_thread(thread));
}

static PyObject *method_yield(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K)) return PyObject_CallOneArg(s_yield_, self);
    return none(yield_now());
}

static PyObject *method_sleep_until(PyObject *self, PyObject *deadline)
{
    if (UNLIKELY(self != K)) return slow_method(s_sleep_until, self, &deadline, 1);
    double at = PyFloat_AsDouble(deadline);
    if (at == -1.0 && PyErr_Occurred()) return NULL;
    return none(sleep_until(at));
}

static PyObject *method_begin_turn(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K)) return PyObject_CallOneArg(s__begin_turn, self);
    return none(begin_turn());
}

/* time.sleep(): no time, or a plain number of seconds; everything else is wrappers/time.py's. */
static __attribute__((noinline)) PyObject *sleep_for(PyObject *duration)
{
    if (LIKELY(at_home() && own_turn)) {
        if (PyLong_CheckExact(duration)) {
            int is_more;
            long seconds = PyLong_AsLongAndOverflow(duration, &is_more);
            if (seconds > 0 && seconds < 1000000000)
                return none(sleep_until(now_s() + (double)seconds));
        } else if (PyFloat_CheckExact(duration)) {
            double seconds = PyFloat_AS_DOUBLE(duration);
            if (seconds == 0.0) return none(yield_now());
            if (seconds > 0.0 && seconds < 1e9) return none(sleep_until(now_s() + seconds));
        }
    }
    return PyObject_CallOneArg(s_sleep, duration);
}
static PyObject *sleep_not_at_all(void) { return none(yield_now()); }

static PyObject *time_sleep(PyObject *module, PyObject *duration)
{
    (void)module;
    /* There is one 0, but for instances of a class that is derived. */
    if (LIKELY(duration == ints[0] && at_home() && own_turn)) return sleep_not_at_all();
    return sleep_for(duration);
}

/* _thread.get_ident() */
static PyObject *get_ident(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    if (LIKELY(at_home())) {
        PyObject *current = SLOT(K, k_current);
        if (LIKELY(Py_TYPE(current) == T_thread)) return Py_NewRef(SLOT(current, t_ident));
    }
    return PyObject_CallNoArgs(s_get_ident);
}

const Stand_in kernel_stand_ins[] = {
    {"begin", method_begin, METH_NOARGS, &s_begin},
    {"cancel", method_cancel, METH_O, &s_cancel},
    {"park", FUNCTION method_park, METH_FASTCALL | METH_KEYWORDS, &s_park},
    {"resume", method_resume, METH_O, &s_resume},
    {"yield_", method_yield, METH_NOARGS, &s_yield_},
    {"sleep_until", method_sleep_until, METH_O, &s_sleep_until},
    {"_begin_turn", method_begin_turn, METH_NOARGS, &s__begin_turn},
    {"sleep", time_sleep, METH_O, &s_sleep},
    {"get_ident", get_ident, METH_NOARGS, &s_get_ident},
    {NULL, NULL, 0, NULL},
};

/* ---- binding ------------------------------------------------------------------------------------ */
static int find_offsets(void)
{
    PyObject *kernel_class = (PyObject *)Py_TYPE(kernel_object);
#define FIND_K(name) if (offset_of(kernel_class, #name, &k_##name) < 0) return -1;
#define FIND_T(name) if (offset_of(thread_class, #name, &t_##name) < 0) return -1;
#define FIND_D(name) if (offset_of(descriptor_class, #name, &d_##name) < 0) return -1;
    KERNEL_SLOTS(FIND_K)
    THREAD_SLOTS(FIND_T)
    DESCRIPTOR_SLOTS(FIND_D)
    return offset_of(finalizer_class, "host", &f_host);
}

int kernel_bind(PyObject *objects, PyObject *slow)
{
    if (take(objects, "kernel", &kernel_object) < 0 ||
        take(objects, "Thread", &thread_class) < 0 ||
        take(objects, "Finalizer", &finalizer_class) < 0 ||
        take(objects, "Descriptor", &descriptor_class) < 0 || find_offsets() < 0)
        return -1;
    for (long i = 0; i <= TURN; i++)
        if (ints[i] == NULL && (ints[i] = PyLong_FromLong(i)) == NULL) return -1;
    T_thread = (PyTypeObject *)thread_class;
    T_finalizer = (PyTypeObject *)finalizer_class;
    K = kernel_object;
    if (switch_bind(objects, slow) < 0 || exchange_bind(objects, slow) < 0 ||
        timers_bind(objects, slow) < 0 || polling_bind(objects, slow) < 0 ||
        turn_bind(objects, slow) < 0)
        return -1;
    home = PyThreadState_Get();
    return 0;
}

void kernel_unbind(void)
{
    K = NULL;
    home = NULL;
    switch_unbind();
}
