/* How the watchdog waits: preemption/watchdog.py looks only once nothing has switched for a while, or the
 * kernel has waited in its poll for a few periods: one that waits for less is about to go on, and
 * sleeping and waking the watchdog's Python would take more than these looks do.
 *
 * 1. While it waits it has no GIL, so it touches no object: `pulse` is numbers, and the word by which
 *    it is woken belongs to it.
 * 2. What it compares with is what there was at its last look: when that was, and for how long the
 *    scheduler's OS thread had been without a CPU by then.
 *
 * For Linux (futex); elsewhere, and where a turn is not C's, there is nothing to compare with. */
#include "kernel.h"
#include "pulse.h"

Pulse pulse;

#ifdef __linux__
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { QUIET, WOKEN, ASLEEP }; /* what is in a word */

static long futex(unsigned *word, int what, unsigned value, const struct timespec *within)
{
    return syscall(SYS_futex, word, what | FUTEX_PRIVATE_FLAG, value, within, NULL, 0);
}

/* Sleep for so many seconds, or until the word is woken: whether it was. */
static int sleep_on(unsigned *word, double seconds)
{
    double end = now_s() + seconds;
    unsigned found = QUIET;
    if (__atomic_compare_exchange_n(word, &found, ASLEEP, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        while (seconds > 0.0 && __atomic_load_n(word, __ATOMIC_ACQUIRE) == ASLEEP) {
            struct timespec within = timespec_of(seconds);
            if (futex(word, FUTEX_WAIT, ASLEEP, &within) < 0 && errno == ETIMEDOUT) break;
            seconds = end - now_s();
        }
    return __atomic_exchange_n(word, QUIET, __ATOMIC_ACQ_REL) == WOKEN;
}

/* The second number of a schedstat file, in seconds; below 0: it can't be read. */
static double delay_of(int fd)
{
    char text[100], *second;
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    if (got <= 0) return -1.0;
    text[got] = 0;
    (void)strtoull(text, &second, 10);
    return (double)strtoull(second, NULL, 10) * 1e-9;
}

#define MOST_IDLE 5 /* looks in a row while the kernel waits */

/* How long the running thread has run since the last turn, if nothing has switched since. */
static double ran_since_turn(unsigned long moves, double now)
{
    if (moves - PULSE_READ(turn) > 1) return 0.0;
    return now - (double)PULSE_READ(began) * 1e-9;
}

/* watch(word, schedstat, pause, period, slice, until): sleep for `pause` seconds, and as long as threads
 * switch, or the kernel has begun to wait, go on for about a `period` each time, until the clock says
 * `until` or the word is woken.
 *
 * Returns (looks, when, delay, pause, is_still), or None if nothing is to be seen here: how often
 * nobody was found computing, when that was last, for how long the OS thread had had no CPU by then,
 * the last pause, and whether nothing has switched since.  `when` and `delay` are of such looks. */
static PyObject *watch(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer word;
    int schedstat, looks = 0, idle = 0, is_woken;
    double pause, period, slice, until, when = 0.0, delay = 0.0;
    if (!PyArg_ParseTuple(args, "w*idddd", &word, &schedstat, &pause, &period, &slice, &until))
        return NULL;
    if (!own_turn || word.len < (Py_ssize_t)sizeof(unsigned)) {
        PyBuffer_Release(&word);
        Py_RETURN_NONE;
    }
    unsigned long seen = PULSE_READ(moves);
    Py_BEGIN_ALLOW_THREADS
    for (;;) {
        is_woken = sleep_on(word.buf, pause);
        unsigned long moves = PULSE_READ(moves);
        if (is_woken) break;
        if (moves != seen)
            idle = 0;
        else if (!PULSE_READ(waits) || ++idle > MOST_IDLE)
            break;
        double gone = delay_of(schedstat);
        if (gone < 0.0) break; /* Python finds another way */
        looks++;
        seen = moves;
        when = now_s();
        delay = gone;
        if (when >= until) break;
        double ran = PULSE_READ(waits) ? 0.0 : ran_since_turn(moves, when);
        pause = 0.0 < ran && ran < slice ? slice - ran : period;
        if (pause < period / 8) pause = period / 8;
        if (pause > period) pause = period;
    }
    Py_END_ALLOW_THREADS
    int is_still = !is_woken && PULSE_READ(moves) == seen;
    PyBuffer_Release(&word);
    return Py_BuildValue("idddN", looks, when, delay, pause, PyBool_FromLong(is_still));
}

/* wake(word): end the sleep of who watches by it, or its next one. */
static PyObject *wake(PyObject *module, PyObject *object)
{
    (void)module;
    Py_buffer word;
    if (PyObject_GetBuffer(object, &word, PyBUF_WRITABLE) < 0) return NULL;
    if (word.len >= (Py_ssize_t)sizeof(unsigned) &&
        __atomic_exchange_n((unsigned *)word.buf, WOKEN, __ATOMIC_ACQ_REL) == ASLEEP)
        futex(word.buf, FUTEX_WAKE, INT_MAX, NULL);
    PyBuffer_Release(&word);
    Py_RETURN_NONE;
}
#endif

PyMethodDef pulse_functions[] = {
#ifdef __linux__
    {"watch", watch, METH_VARARGS, NULL},
    {"wake", wake, METH_O, NULL},
#endif
    {NULL, NULL, 0, NULL},
};
