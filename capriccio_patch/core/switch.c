/* Spawned threads take turns: the run queue, begin, park, resume, yield and sleep.
 *
 * It follows kernel/core.py line by line; what is said there of the critical section, of finalizers
 * and of interrupts is not said again here.
 *
 * 1. Any scheduler: what is not the deque of `fifo` is called as it stands in the kernel's slots.
 * 2. A thread that is traced or profiled parks in Python: the tracer sees that call.
 * 3. What waits keeps all frames of C on the stack that is saved for it: they are small, and what is
 *    seldom done has functions of its own.
 * 4. A greenlet that is switched to is not held meanwhile: its thread holds it, and a held one could
 *    not serve the next thread (kernel/lifecycle.py). */
#include "kernel.h"
#include "pulse.h"

#include "greenlets.h"

static PyObject *fifo_push, *fifo_pop;    /* in the kernel's slots, if the scheduler is `fifo` */
static PyObject *kind_sleep;
static PyObject *s__go_on, *s_restore_trace;

/* ---- the run queue ----------------------------------------------------------------------------- */

int n_ready(void)
{
    PyObject *ready = SLOT(K, k_ready);
    if (LIKELY(fifo_pop != NULL)) return (int)dq_len(ready);
    return PyObject_IsTrue(ready);
}

int push(PyObject *thread)
{
    PyObject *way = SLOT(K, k_push);
    if (LIKELY(way == fifo_push)) return done(dq_append(SLOT(K, k_ready), thread));
    Py_INCREF(way); /* what it calls may put another one there */
    int failed = call1(way, thread);
    Py_DECREF(way);
    return failed;
}

static __attribute__((noinline)) PyObject *pop_slowly(void)
{
    for (;;) {
        PyObject *way = Py_NewRef(SLOT(K, k__pop));
        PyObject *thread = PyObject_CallNoArgs(way);
        Py_DECREF(way);
        if (thread != NULL || !PyErr_ExceptionMatches(PyExc_IndexError)) return thread;
        Raised raised = set_aside();
        int left = n_ready();
        if (go_on(raised, left <= 0) == 0) return NULL;
        /* At 0 a finalizer came at the call, and has let all others run. */
        if (left < 0 || begin_turn() < 0) return NULL;
    }
}

static inline PyObject *pop(void)
{
    if (LIKELY(SLOT(K, k__pop) == fifo_pop)) return dq_popleft(SLOT(K, k_ready), NULL);
    return pop_slowly();
}

/* A small number, also where it is Python that counts. */
static inline long budget(void)
{
    PyLongObject *left = (PyLongObject *)SLOT(K, k_budget);
#if PY_VERSION_HEX >= 0x030C0000
    return (long)PyUnstable_Long_CompactValue(left);
#else
    return (long)Py_SIZE(left) * (long)left->ob_digit[0];
#endif
}

static inline void count_down(void)
{
    long left = budget() - 1;
    put_slot(K, k_budget, ints[left < 0 ? 0 : left]);
    note_switch();
}

/* ---- switching --------------------------------------------------------------------------------- */

PyObject *begin(void)
{
    PyObject *me = SLOT(K, k_current), *finalizer = SLOT(K, k_finalizer);
    if (UNLIKELY(me == finalizer)) {
        me = PyObject_CallOneArg(s_begin, K);
        Py_XDECREF(me); /* its new finalizer holds it as its host */
        return me;
    }
    put_slot(finalizer, f_host, me);
    put_slot(me, t_parked, Py_True);
    put_slot(me, t_timed_out, Py_False);
    put_slot(K, k_current, finalizer);
    return me;
}

static inline void note_greenlet(PyObject *me)
{
    give_slot(me, t_greenlet, (PyObject *)PyGreenlet_GetCurrent());
}

/* What `arrive` has returned is not raised. */
static void give_up(PyObject *error)
{
    if (error != Py_None) Py_DECREF(error);
}

/* As `raise error`: an instance or a class, which is given up. */
static __attribute__((noinline)) int raise_(PyObject *error)
{
    if (PyExceptionClass_Check(error))
        PyErr_SetNone(error);
    else
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return -1;
}

/* Run the next thread, which was popped and is given to this function; 0 when `me` runs again. */
static int switch_from(PyObject *me, PyObject *next)
{
    put_slot(K, k__chosen, next);
    if (next != me) {
        if (UNLIKELY(SLOT(next, t_c_state) != Py_None || has_state())) {
            next = exchange(me, next);
            if (next == NULL) return -1;
        }
        PyObject *finalizer = SLOT(K, k_finalizer);
        put_slot(finalizer, f_host, next);
        put_slot(K, k_current, finalizer);
        PyObject *to = SLOT(next, t_started) == Py_True ? SLOT(next, t_greenlet) : SLOT(K, k__base);
        Py_DECREF(next); /* it is the chosen one: the kernel holds it */
        return done(PyGreenlet_Switch((PyGreenlet *)to, NULL, NULL));
    }
    Py_DECREF(next);
    return 0;
}

static __attribute__((noinline)) PyObject *go_on_slowly(PyObject *me)
{
    PyObject *args[] = {K, me};
    return PyObject_Vectorcall(s__go_on, args, 2, NULL);
}

/* `me` was switched to.  What it is to raise, a new reference; None is nothing, and borrowed; NULL with
 * an exception. */
static inline PyObject *arrive(PyObject *me)
{
    PyObject *error = Py_None;
    if (UNLIKELY(SLOT(K, k__chosen) != me || SLOT(me, t_interrupt) != Py_None)) {
        error = go_on_slowly(me);
        if (error == NULL) return NULL;
        if (error == Py_None) Py_DECREF(error);
    }
    put_slot(K, k__chosen, Py_None);
    return error;
}

static __attribute__((noinline)) int slow_park(PyObject *me, PyObject *deadline)
{
    PyObject *args[] = {K, me, deadline};
    PyObject *in_time = PyObject_Vectorcall(s_park, args, 3, NULL);
    if (in_time == NULL) return -1;
    int result = in_time == Py_True;
    Py_DECREF(in_time);
    return result;
}


static int parked(PyObject *me, PyObject *deadline)
{
    if (deadline != Py_None && add_timer(me, deadline) < 0) return -1;
    put_slot(me, t_since, SLOT(K, k_now));
    note_greenlet(me);
    if (budget() <= 0 || n_ready() <= 0) {
        if (UNLIKELY(PyErr_Occurred() != NULL) || begin_turn() < 0) return -1;
    }
    count_down();
    PyObject *next = pop(), *error;
    if (next == NULL || switch_from(me, next) < 0 || (error = arrive(me)) == NULL) return -1;
    if (UNLIKELY(SLOT(me, t_parked) == Py_True)) {
        give_up(error);
        PyErr_Format(PyExc_SystemError, "%R runs but was never resumed", me);
        return -1;
    }
    int in_time = SLOT(me, t_timed_out) != Py_True;
    put_slot(K, k_current, me);
    put_slot(me, t_deadline, Py_None);
    put_slot(me, t_object, Py_None);
    if (UNLIKELY(SLOT(me, t_trace) != Py_None) && call1(s_restore_trace, me) < 0) {
        give_up(error);
        return -1;
    }
    return LIKELY(error == Py_None) ? in_time : raise_(error);
}

int park(PyObject *me, PyObject *deadline)
{
    if (UNLIKELY(is_observed())) return slow_park(me, deadline);
    Py_INCREF(me); /* a finalizer that waits may have no other reference while it runs */
    int result = parked(me, deadline);
    Py_DECREF(me);
    return result;
}

int resume_thread(PyObject *thread)
{
    if (LIKELY(SLOT(thread, t_parked) == Py_True)) {
        put_slot(thread, t_parked, Py_False);
        return push(thread);
    }
    return call2(s_resume, K, thread);
}

int cancel_wait(PyObject *me)
{
    if (LIKELY(SLOT(me, t_parked) == Py_True)) {
        put_slot(me, t_parked, Py_False);
        put_slot(K, k_current, me);
        return 0;
    }
    put_slot(me, t_by_interrupt, Py_False); /* it must not go on waiting: nobody would resume it */
    return park(me, Py_None) < 0 ? -1 : 0;  /* resumed already: its turn has to be taken */
}

int cancel_begun(PyObject *me)
{
    Raised raised = set_aside();
    put_slot(me, t_object, Py_None);
    int failed = cancel_wait(me);
    if (raised.kind != NULL) (void)go_on(raised, 0); /* whatever that has raised */
    return failed;
}

static int yielded(PyObject *me)
{
    put_slot(SLOT(K, k_finalizer), f_host, me);
    put_slot(K, k_current, SLOT(K, k_finalizer));
    if (push(me) < 0) return -1;
    count_down();
    put_slot(me, t_since, SLOT(K, k_now));
    note_greenlet(me);
    PyObject *next = pop(), *error;
    if (next == NULL || switch_from(me, next) < 0 || (error = arrive(me)) == NULL) return -1;
    put_slot(K, k_current, me);
    return LIKELY(error == Py_None) ? 0 : raise_(error);
}

/* Kernel.yield_ */
int yield_now(void)
{
    PyObject *me = SLOT(K, k_current);
    if (UNLIKELY(is_observed() || fifo_pop == NULL)) /* a frame of Python tells what it waits for */
        return call1(s_yield_, K);
    int result;
    if (me == SLOT(K, k_finalizer) || budget() <= 0 || n_ready() <= 0 || has_state()) {
        me = begin();
        if (me == NULL) return -1;
        Py_INCREF(me);
        put_slot(me, t_parked, Py_False);
        result = push(me) < 0 || park(me, Py_None) < 0 ? -1 : 0;
    } else {
        Py_INCREF(me);
        result = yielded(me);
    }
    Py_DECREF(me);
    return result;
}

/* Kernel.sleep_until */
int sleep_until(double deadline)
{
    PyObject *at = PyFloat_FromDouble(deadline);
    if (at == NULL) return -1;
    PyObject *me = begin();
    int result = -1;
    if (me != NULL) {
        put_slot(me, t_kind, kind_sleep);
        result = park(me, at) < 0 ? -1 : 0;
    }
    Py_DECREF(at);
    return result;
}
/* ---- binding ------------------------------------------------------------------------------------ */

/* Whether `method` is deque's own function, bound to the run queue. */
static int is_of_deque(PyObject *method, PyCFunction function, PyObject *queue)
{
    return PyCFunction_Check(method) && PyCFunction_GET_SELF(method) == queue &&
           PyCFunction_GET_FUNCTION(method) == function;
}

int switch_bind(PyObject *objects, PyObject *slow)
{
    PyObject *append = PyDict_GetItemString(objects, "append");
    PyObject *popleft = PyDict_GetItemString(objects, "popleft");
    if (append == NULL || popleft == NULL) {
        PyErr_SetString(PyExc_KeyError, "append");
        return -1;
    }
    if (import_greenlet() < 0) return -1;
    dq_append = function_of(append, METH_O);
    dq_popleft = dq_append == NULL ? NULL : function_of(popleft, METH_NOARGS);
    if (dq_popleft == NULL) return -1;
    dq_len = PyDescr_TYPE(append)->tp_as_sequence->sq_length;
    if (take(slow, "_go_on", &s__go_on) < 0 || take(slow, "restore_trace", &s_restore_trace) < 0)
        return -1;
    if (kind_sleep == NULL && (kind_sleep = PyUnicode_InternFromString("sleep")) == NULL) return -1;
    PyObject *ready = SLOT(K, k_ready);
    int is_fifo = is_of_deque(SLOT(K, k__plain_push), dq_append, ready) &&
                  is_of_deque(SLOT(K, k__pop), dq_popleft, ready);
    fifo_push = is_fifo ? SLOT(K, k__plain_push) : NULL;
    fifo_pop = is_fifo ? SLOT(K, k__pop) : NULL;
    return 0;
}

void switch_unbind(void) { fifo_push = fifo_pop = NULL; }
