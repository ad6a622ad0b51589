/* What C libraries call instead of libc's functions that may wait.
 *
 * Facts.  A library that waits in C has let go of the global lock, or not; it may have an exception
 * set, and it holds mutexes, which know OS threads only.  All green threads share one OS thread, so
 * while one of them waits in the system no other runs, and a mutex does not keep two apart.
 *
 * Decision.  A hook asks whether this OS thread runs green threads, of which there are others, and
 * whether the kernel is not at work.  If not, it is the call itself.  Then it tries without waiting.
 * Only what would wait takes the global lock and parks, by `wait` of libraries/hooks.py, which is the
 * kernel's one way to wait; then it tries again.
 *
 * 1. A library that keeps the global lock while it waits keeps all other threads waiting, under
 *    stock too, and may rely on it (between PyOS_BeforeFork and its end, for instance): such a call
 *    is the call itself.  But for a mutex that a parked green thread holds.
 * 2. A call that need not wait never lets others run: where a library initialises something once
 *    (pthread_once, statics of C++) a second green thread in there would wait for itself.  A call in
 *    there that does wait is the call itself (`once`).
 * 3. The stack of a green thread that is parked is not where its pointers say.  What such a pointer
 *    leads to is read before the wait and written after it, and goes to no other OS thread.
 * 4. The call whose result counts is made last, so errno is its own.
 * 5. An exception that is set on entry is set on return.  One that ends the wait is raised by Python
 *    once the library looks for signals or has returned (`wait` keeps it); the library gets EINTR.
 * 6. A mutex that a green thread held when it parked is not to be had for others: a plain one is
 *    locked, a recursive one is marked (`held`).
 * 7. What has no descriptor to wait for is a job, which a worker does while its caller parks.
 *
 * The calls are in files by subject: libc_polls.c, libc_descriptors.c, libc_sleeps.c, libc_jobs.c,
 * libc_mutexes.c; for libraries that nobody has tried: libc_careful.c. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- who may park --------------------------------------------------------------------------- */

struct Libc_state libc_state;

void enter_python(Inside *in)
{
    in->careful = libc_state.careful;
    libc_state.careful = 0;
    in->mark = mark_held();
    in->state = PyGILState_Ensure();
    PyErr_Fetch(&in->type, &in->value, &in->traceback);
}

int leave_python(Inside *in, PyObject *result)
{
    int how = NOT_HERE;
    if (result != NULL) {
        how = (int)PyLong_AsLong(result);
        Py_DECREF(result);
    }
    if (PyErr_Occurred()) PyErr_WriteUnraisable(libc_state.wait);
    PyErr_Restore(in->type, in->value, in->traceback);
    /* What ended the wait is raised by that signal's handler.  No Python runs before the library. */
    if (how & ~ANSWER) PyErr_SetInterruptEx(how >> 8);
    PyGILState_Release(in->state);
    unmark(in->mark);
    libc_state.careful = in->careful;
    return how & ANSWER;
}

static short in_and_out(short events)
{
    short wanted = events & (POLLPRI | POLLRDHUP);
    if (events & (POLLIN | POLLRDNORM | POLLRDBAND)) wanted |= POLLIN;
    if (events & (POLLOUT | POLLWRNORM | POLLWRBAND)) wanted |= POLLOUT;
    return wanted;
}

/* {number: events} */
static PyObject *wanted_of(const struct pollfd *fds, nfds_t count)
{
    PyObject *wanted = PyDict_New();
    for (nfds_t i = 0; wanted != NULL && i < count; i++) {
        if (fds[i].fd < 0) continue;
        PyObject *fd = PyLong_FromLong(fds[i].fd);
        PyObject *before = fd == NULL ? NULL : PyDict_GetItemWithError(wanted, fd); /* borrowed */
        long events = in_and_out(fds[i].events) | (before == NULL ? 0 : PyLong_AsLong(before));
        PyObject *all = PyErr_Occurred() ? NULL : PyLong_FromLong(events);
        if (all == NULL || PyDict_SetItem(wanted, fd, all) < 0) Py_CLEAR(wanted);
        Py_XDECREF(fd);
        Py_XDECREF(all);
    }
    return wanted;
}

/* Whether a library with OS threads of its own may let others run here; see libc_careful.c. */
static int may_leave(const struct pollfd *fds, nfds_t count)
{
    struct stat status;
    if (libc_state.owned) return 0;
    for (nfds_t i = 0; i < count; i++)
        if (fds[i].fd >= 0 && (fstat(fds[i].fd, &status) != 0 ||
                               !(S_ISSOCK(status.st_mode) || isatty(fds[i].fd))))
            return 0;
    return count > 0;
}

int park_for(const struct pollfd *fds, nfds_t count, double seconds)
{
    Inside in;
    int error = errno;
    if (libc_state.careful && !may_leave(fds, count)) {
        errno = error;
        return NOT_HERE;
    }
    enter_python(&in);
    libc_state.parks++;
    PyObject *wanted = wanted_of(fds, count);
    PyObject *result =
        wanted == NULL ? NULL : PyObject_CallFunction(libc_state.wait, "Od", wanted, seconds);
    Py_XDECREF(wanted);
    return leave_python(&in, result);
}

int park_until_ready(int fd, short events, double seconds)
{
    struct pollfd one = {fd, events, 0};
    return park_for(&one, 1, seconds);
}

/* ---- time ----------------------------------------------------------------------------------- */

Limit limit_of(double seconds)
{
    return (Limit){seconds < 0 ? 0.0 : now_s() + seconds, seconds < 0, 0};
}

double left_of(const Limit *limit)
{
    if (limit->endless) return -1.0;
    double left = limit->end - now_s();
    return left > 0 ? left : 0.0;
}

int milliseconds_left(const Limit *limit)
{
    double left = left_of(limit);
    return left < 0 ? -1 : left > 2e6 ? INT_MAX : (int)(left * 1000 + 0.999);
}

int park_again(const struct pollfd *fds, nfds_t count, Limit *limit)
{
    double left = left_of(limit);
    if (limit->vain++ > 3) {
        double nap = left < 0 || left > 0.001 ? 0.001 : left;
        int how = park_for(NULL, 0, nap);
        return how == LATE && nap != left ? READY : how;
    }
    return park_for(fds, count, left);
}

/* ---- which stands for which ------------------------------------------------------------------- */

static const Hook *const hooks[] = {libc_poll_hooks, libc_descriptor_hooks, libc_sleep_hooks,
                                    libc_job_hooks,  libc_careful_hooks,    libc_mutex_hooks};
enum { WAITING_HOOKS = 4, HOOKS = 6 };

void *libc_hook_of(const char *name, int which)
{
    for (int i = 0; i < HOOKS; i++)
        for (const Hook *each = hooks[i]; each->name != NULL; each++)
            if ((each->which & which) && strcmp(name, each->name) == 0) return each->hook;
    return NULL;
}

int libc_may_wait(const char *name)
{
    for (int i = 0; i < WAITING_HOOKS; i++)
        for (const Hook *each = hooks[i]; each->name != NULL; each++)
            if (strcmp(name, each->name) == 0) return 1;
    return 0;
}

void libc_each_hook(void (*call)(const char *name))
{
    for (int i = 0; i < HOOKS; i++)
        for (const Hook *each = hooks[i]; each->name != NULL; each++) call(each->name);
}

/* ---- the module ------------------------------------------------------------------------------- */

enum { LARGE_STACK = 64 << 20 };

/* Which stack green threads have: a library's own can't be left for another green thread.  Of the
 * process's, which grows, musl tells what there is so far. */
static void note_stack(void)
{
    pthread_attr_t attributes;
    struct rlimit limit = {0, 0};
    void *lowest;
    size_t size;
    libc_state.stack = 0;
    libc_state.stack_size = SIZE_MAX;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
    if (pthread_attr_getstack(&attributes, &lowest, &size) == 0) {
        if (syscall(SYS_gettid) == getpid()) getrlimit(RLIMIT_STACK, &limit);
        size_t most = limit.rlim_cur == RLIM_INFINITY ? LARGE_STACK : (size_t)limit.rlim_cur;
        if (most < size) most = size;
        libc_state.stack = (uintptr_t)lowest + size - most;
        libc_state.stack_size = most;
    }
    pthread_attr_destroy(&attributes);
}

/* libc_begin(kernel, Thread, Finalizer, wait, job): the calling OS thread runs green threads, whose
 * waits are made by ``wait({number: events}, seconds)`` and ``job(address)``. */
static PyObject *begin_hooks(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *k, *thread, *finalizer, *wait, *job;
    if (!PyArg_ParseTuple(args, "OOO!OO", &k, &thread, &PyType_Type, &finalizer, &wait, &job))
        return NULL;
    PyObject *cls = (PyObject *)Py_TYPE(k);
    if (offset_of(cls, "current", &libc_state.current_at) < 0 ||
        offset_of(cls, "threads", &libc_state.threads_at) < 0 ||
        offset_of(thread, "ident", &libc_state.ident_at) < 0 ||
        offset_of(finalizer, "host", &libc_state.host_at) < 0)
        return NULL;
    Py_XSETREF(libc_state.kernel, Py_NewRef(k));
    Py_XSETREF(libc_state.wait, Py_NewRef(wait));
    Py_XSETREF(libc_state.job, Py_NewRef(job));
    libc_state.finalizer = (PyTypeObject *)finalizer;
    libc_state.scheduler = pthread_self();
    libc_state.home_state = PyThreadState_Get();
    libc_state.once = libc_state.careful = libc_state.owned = 0;
    note_stack();
    begin_mutexes();
    __atomic_store_n(&libc_state.enabled, 1, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

/* libc_end(): every hook is the call itself. */
static PyObject *end_hooks(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    __atomic_store_n(&libc_state.enabled, 0, __ATOMIC_RELEASE);
    Py_CLEAR(libc_state.kernel);
    Py_CLEAR(libc_state.wait);
    Py_CLEAR(libc_state.job);
    Py_RETURN_NONE;
}

/* libc_fits(): whether this libc is as the hooks know it. */
static PyObject *fits(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    return PyBool_FromLong(mutexes_are_known());
}

/* libc_parks(): how many waits have parked a green thread. */
static PyObject *count_parks(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    return PyLong_FromUnsignedLong(libc_state.parks);
}

PyMethodDef libc_functions[] = {
    {"libc_begin", begin_hooks, METH_VARARGS, NULL},
    {"libc_end", end_hooks, METH_NOARGS, NULL},
    {"libc_fits", fits, METH_NOARGS, NULL},
    {"libc_parks", count_parks, METH_NOARGS, NULL},
    {"libc_run", run_job, METH_O, NULL},
    {"libc_objects", libc_objects, METH_VARARGS, NULL},
    {"libc_traits", libc_traits, METH_O, NULL},
    {"libc_hook", libc_hook, METH_VARARGS, NULL},
    {"libc_restore", libc_restore, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
#else
PyMethodDef libc_functions[] = {{NULL, NULL, 0, NULL}};
#endif
