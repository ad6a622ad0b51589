/* The kernel's poll, over epoll(7), and what is told of each event: io/waits.py, dispatch. */
#include "kernel.h"
#include "lots.h"

#include <errno.h>
#include <poll.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static PyObject *table; /* dict: the descriptors by number */
static Py_ssize_t b_fd, b_notifier, n_reader;
static PyObject *s_dispatch, *s_drain_notifier;

int own_epoll(void)
{
    return own_turn ? (int)PyLong_AsLong(SLOT(SLOT(K, k_backend), b_fd)) : -1;
}

#ifdef __linux__

/* Bits of poll(2), as contracts/descriptor.py has them; those of epoll(7) are the same. */
#define NVAL 0x20
#define WAKES_READERS (EPOLLIN | EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDHUP | NVAL)
#define WAKES_WRITERS (EPOLLOUT | EPOLLERR | EPOLLHUP | NVAL)
#define NOT_EXACT (EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDHUP)

/* Python's dispatch, for one event. */
static int dispatch_one(PyObject *fd, unsigned happened)
{
    PyObject *events = Py_BuildValue("((OI))", fd, happened);
    if (events == NULL) return -1;
    int failed = call1(s_dispatch, events);
    Py_DECREF(events);
    return failed;
}

static inline int is_one(PyObject *waiting) { return Py_TYPE(waiting) == T_thread; }

/* Whether C tells of the event: nobody observes `d`, at most one thread waits to write and, where the
 * event ends the request, nobody is left whom it does not concern. */
static inline int is_plain_event(PyObject *d, unsigned happened)
{
    PyObject *readers = SLOT(d, d_readers), *writers = SLOT(d, d_writers);
    int to_read = (happened & WAKES_READERS) != 0, to_write = (happened & WAKES_WRITERS) != 0;
    if (SLOT(d, d_observers) != Py_None) return 0;
    if (LIKELY(SLOT(d, d_owned) == Py_True))
        return SLOT(d, d_armed) != ints[0] && (writers == Py_None || !to_write || is_one(writers));
    return (readers == Py_None || (to_read && is_one(readers))) &&
           (writers == Py_None || (to_write && is_one(writers)));
}

static int tell_of(PyObject *d, unsigned happened)
{
    if (SLOT(d, d_owned) != Py_True) put_slot(d, d_armed, ints[0]);
    if (happened & WAKES_READERS) {
        if (happened & NOT_EXACT) {
            put_slot(d, d_exact, Py_False);
            put_slot(d, d_ended, happened & EPOLLRDHUP ? Py_True : Py_False);
        }
        PyObject *readers = SLOT(d, d_readers);
        if (readers == Py_None)
            put_slot(d, d_can_read, Py_True);
        else if (slot_wake_one(d, d_readers) < 0)
            return -1;
    }
    if (UNLIKELY(happened & WAKES_WRITERS) && is_one(SLOT(d, d_writers)))
        return slot_wake_one(d, d_writers);
    return 0;
}

int tell(const struct epoll_event *event)
{
    unsigned happened = event->events;
    PyObject *fd = PyLong_FromLong(event->data.fd);
    if (fd == NULL) return -1;
    int failed = 0;
    PyObject *d = PyDict_GetItemWithError(table, fd); /* borrowed */
    if (LIKELY(d != NULL && is_plain_event(d, happened))) {
        Py_INCREF(d);
        failed = tell_of(d, happened);
        Py_DECREF(d);
    } else
        failed = PyErr_Occurred() != NULL ? -1 : dispatch_one(fd, happened);
    Py_DECREF(fd);
    return failed;
}

#define AT_ONCE 2e-5 /* seconds; below what another OS thread needs to wake up and take the GIL */

/* epoll_wait(2) with a time in nanoseconds.  It looks for signals, as epoll.poll() does.
 *
 * While something is there each time, the GIL is kept.  Who waits for it is woken by each release
 * that is too short to be used, and begins to wait anew: it would never come to ask for it. */
static int wait_for_events(int epoll, struct epoll_event *found, int most, double timeout)
{
    static int has_pwait2 = 1, comes_at_once = 0; /* only a hint, in a forked child too */
    int count = -1, error;
    if (timeout == 0.0 || comes_at_once) {
        count = epoll_wait(epoll, found, most, 0); /* EINTR is not possible */
        if (timeout == 0.0 || count != 0) return count;
    }
    double began = now_s();
    struct timespec limit = timespec_of(timeout);
    struct timespec *within = timeout < 0.0 ? NULL : &limit;
    Py_BEGIN_ALLOW_THREADS
#ifdef SYS_epoll_pwait2
    if (has_pwait2) {
        count = (int)syscall(SYS_epoll_pwait2, epoll, found, most, within, NULL, (size_t)8);
        if (count < 0 && (errno == ENOSYS || errno == EPERM)) has_pwait2 = 0;
    }
#else
    has_pwait2 = 0;
#endif
    if (!has_pwait2) {
        struct pollfd one = {.fd = epoll, .events = POLLIN};
        count = ppoll(&one, 1, within, NULL);
        if (count > 0) count = epoll_wait(epoll, found, most, 0);
    }
    error = errno;
    comes_at_once = count > 0 && now_s() - began < AT_ONCE;
    Py_END_ALLOW_THREADS
    errno = error;
    return count;
}

int poll_events(struct epoll_event *found, int most, double timeout)
{
    PyObject *backend = SLOT(K, k_backend);
    int epoll = (int)PyLong_AsLong(SLOT(backend, b_fd));
    int count = wait_for_events(epoll, found, most, timeout);
    if (count < 0) {
        if (errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        count = 0;
    }
    /* Where the evaluation loop looked after the poll: a handler may end the wait of a thread. */
    if (timeout != 0.0 && PyErr_CheckSignals() < 0) return -1;
    long reader = PyLong_AsLong(SLOT(SLOT(backend, b_notifier), n_reader));
    for (int i = 0; i < count; i++)
        if (found[i].data.fd == reader && call0(s_drain_notifier) < 0) return -1;
    return count;
}
#endif

int polling_bind(PyObject *objects, PyObject *slow)
{
    PyObject *backend = PyDict_GetItemString(objects, "EpollBackend"); /* borrowed, as all */
    PyObject *notifier = PyDict_GetItemString(objects, "Notifier");
    if (take(objects, "table", &table) < 0 || take(slow, "dispatch", &s_dispatch) < 0 ||
        take(slow, "drain_notifier", &s_drain_notifier) < 0)
        return -1;
    if (backend == Py_None) return 0; /* another scheme */
    return offset_of(backend, "_fd", &b_fd) < 0 ||
                   offset_of(backend, "_notifier", &b_notifier) < 0 ||
                   offset_of(notifier, "reader", &n_reader) < 0
               ? -1
               : 0;
}
