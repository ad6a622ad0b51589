/* Letting others run after calls that were complete at once: kernel/core.py, point 6.
 *
 * C tells whether it is time; to step aside is Python's. */
#include "io.h"

#define POLL_INTERVAL 0.00005 /* kernel.slices.POLL_INTERVAL */
#define MOST_LOOKS 8 /* between the pieces of calls, before others run that could run already */
#define LONG (1 << 20) /* bytes of a call that are worth having others wait for no longer */

static Py_ssize_t k__calls_turn, k__calls_run, k__calls_due;
static PyObject *zero;
static PyObject *s_yield_if_due, *s_yield_after_calls, *s_step_aside;

/* Nobody is to be let run: the clock need not be asked. */
static inline int is_alone(void) { return PyDict_GET_SIZE(SLOT(K, k_threads)) <= 1; }

/* Another thread may want to run: the caller steps aside if any does. */
static int step_aside(void)
{
    int others = look_around();
    return others <= 0 ? others : call1(s_step_aside, K);
}

int yield_if_due(void)
{
    if (is_alone() || LIKELY(now_s() - PyFloat_AS_DOUBLE(SLOT(K, k_now)) <= POLL_INTERVAL)) return 0;
    return step_aside();
}

/* Who was looked at others for last, by address, and how often since it let others run. */
static PyObject *looker;
static int looks;

int yield_between_pieces(Py_ssize_t left, double now)
{
    if (is_alone() || LIKELY(now - PyFloat_AS_DOUBLE(SLOT(K, k_now)) <= POLL_INTERVAL)) return 0;
    if (looker != SLOT(K, k_current)) {
        looker = SLOT(K, k_current);
        looks = 0;
    }
    /* What descriptors wake runs at once.  Others that are in the midst of a call like this would
     * only have more memory half filled: they wait until the call ends, if that is soon. */
    int others = ++looks > MOST_LOOKS && left > LONG ? 1 : look_for_new();
    if (others <= 0) return others;
    looks = 0;
    return call1(s_step_aside, K);
}

int yield_after_pieces(void)
{
    if (LIKELY(looks <= MOST_LOOKS || looker != SLOT(K, k_current))) return yield_if_due();
    looks = 0;
    return is_alone() ? 0 : step_aside();
}

int yield_after_calls(void)
{
    if (is_alone()) return 0;
    if (SLOT(K, k__calls_run) != SLOT(K, k_budget) || SLOT(K, k__calls_turn) != SLOT(K, k_now)) {
        put_slot(K, k__calls_turn, SLOT(K, k_now));
        put_slot(K, k__calls_run, SLOT(K, k_budget));
        put_slot(K, k__calls_due, zero);
        return 0;
    }
    double due = PyFloat_AS_DOUBLE(SLOT(K, k__calls_due)), now = now_s();
    if (due == 0.0) {
        PyObject *first = PyFloat_FromDouble(now + POLL_INTERVAL);
        if (first == NULL) return -1;
        give_slot(K, k__calls_due, first);
        return 0;
    }
    return LIKELY(now <= due) ? 0 : step_aside();
}

static PyObject *method_yield_if_due(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K || !has_own_clock())) return PyObject_CallOneArg(s_yield_if_due, self);
    return yield_if_due() < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *method_yield_after_calls(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    if (UNLIKELY(self != K || !has_own_clock())) return PyObject_CallOneArg(s_yield_after_calls, self);
    return yield_after_calls() < 0 ? NULL : Py_NewRef(Py_None);
}

const Stand_in pace_stand_ins[] = {
    {"yield_if_due", method_yield_if_due, METH_NOARGS, &s_yield_if_due},
    {"yield_after_calls", method_yield_after_calls, METH_NOARGS, &s_yield_after_calls},
    {NULL, NULL, 0, NULL},
};

int pace_bind(PyObject *objects, PyObject *slow)
{
    PyObject *cls = PyDict_GetItemString(objects, "Kernel"); /* borrowed */
    if (cls == NULL) {
        PyErr_SetString(PyExc_KeyError, "Kernel");
        return -1;
    }
    if (zero == NULL && (zero = PyFloat_FromDouble(0.0)) == NULL) return -1;
    return take(slow, "step_aside", &s_step_aside) < 0 ||
                   offset_of(cls, "_calls_turn", &k__calls_turn) < 0 ||
                   offset_of(cls, "_calls_run", &k__calls_run) < 0 ||
                   offset_of(cls, "_calls_due", &k__calls_due) < 0
               ? -1
               : 0;
}
