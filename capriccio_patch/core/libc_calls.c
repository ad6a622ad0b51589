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
 * Not exact: a read of a pipe or terminal, and an accept, are preceded by a look, and wait in the
 * system if another process takes what there was; ppoll and epoll_pwait with a mask are the calls
 * themselves. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* ---- who may park --------------------------------------------------------------------------- */

/* Of the patch in force.  Written with the global lock held, on the scheduler's OS thread. */
static int enabled;
static pthread_t scheduler;
static PyObject *kernel, *wait_in_python, *job_in_python;
static PyTypeObject *Finalizer; /* borrowed */
static Py_ssize_t k_current_at, k_threads_at, t_ident_at, f_host_at;
static PyThreadState *home_state; /* borrowed */
static int once; /* how deep the scheduler's OS thread is in initialisations that are made once */
static unsigned long parks;

static inline int is_home(void)
{
    return __atomic_load_n(&enabled, __ATOMIC_RELAXED) && pthread_equal(pthread_self(), scheduler);
}

static inline int has_global_lock(void)
{
#if PY_VERSION_HEX < 0x030D0000
    return _PyThreadState_UncheckedGet() == home_state;
#else
    return PyThreadState_GetUnchecked() == home_state;
#endif
}

/* Only the scheduler's OS thread changes what is read here, so it needs no lock. */
static inline int others_may_run(void)
{
    return is_home() && !once && PyDict_GET_SIZE(SLOT(kernel, k_threads_at)) > 1 &&
           Py_TYPE(SLOT(kernel, k_current_at)) != Finalizer;
}

static inline int may_park(void) { return others_may_run() && !has_global_lock(); }

/* What a wait ends with; in the bits above `ANSWER` is a signal number to trip, or 0. */
enum { LATE, READY, INTERRUPTED, NOT_HERE, ANSWER = 255 };

static unsigned long mark_held(void);
static void unmark(unsigned long mark);

typedef struct {
    PyGILState_STATE state;
    PyObject *type, *value, *traceback;
    unsigned long mark;
} Inside;

static void enter_python(Inside *in)
{
    in->mark = mark_held();
    in->state = PyGILState_Ensure();
    PyErr_Fetch(&in->type, &in->value, &in->traceback);
}

static int leave_python(Inside *in, PyObject *result)
{
    int how = NOT_HERE;
    if (result != NULL) {
        how = (int)PyLong_AsLong(result);
        Py_DECREF(result);
    }
    if (PyErr_Occurred()) PyErr_WriteUnraisable(wait_in_python);
    PyErr_Restore(in->type, in->value, in->traceback);
    /* What ended the wait is raised by that signal's handler.  No Python runs before the library. */
    if (how & ~ANSWER) PyErr_SetInterruptEx(how >> 8);
    PyGILState_Release(in->state);
    unmark(in->mark);
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

/* Park until one of the descriptors is ready, or for `seconds`; below 0: for ever. */
static int park_for(const struct pollfd *fds, nfds_t count, double seconds)
{
    Inside in;
    enter_python(&in);
    parks++;
    PyObject *wanted = wanted_of(fds, count);
    PyObject *result =
        wanted == NULL ? NULL : PyObject_CallFunction(wait_in_python, "Od", wanted, seconds);
    Py_XDECREF(wanted);
    return leave_python(&in, result);
}

static int park_until_ready(int fd, short events, double seconds)
{
    struct pollfd one = {fd, events, 0};
    return park_for(&one, 1, seconds);
}

/* ---- time ----------------------------------------------------------------------------------- */

/* A wait with an end: seconds below 0 are for ever. */
typedef struct {
    double end;
    int endless, vain;
} Limit;

static Limit limit_of(double seconds)
{
    return (Limit){seconds < 0 ? 0.0 : now_s() + seconds, seconds < 0, 0};
}

static double left_of(const Limit *limit)
{
    if (limit->endless) return -1.0;
    double left = limit->end - now_s();
    return left > 0 ? left : 0.0;
}

/* The same for calls that take milliseconds. */
static int milliseconds_left(const Limit *limit)
{
    double left = left_of(limit);
    return left < 0 ? -1 : left > 2e6 ? INT_MAX : (int)(left * 1000 + 0.999);
}

/* As park_for; woken in vain again and again, by a hang-up that is not asked for, it pauses. */
static int park_again(const struct pollfd *fds, nfds_t count, Limit *limit)
{
    double left = left_of(limit);
    if (limit->vain++ > 3) {
        double nap = left < 0 || left > 0.001 ? 0.001 : left;
        int how = park_for(NULL, 0, nap);
        return how == LATE && nap != left ? READY : how;
    }
    return park_for(fds, count, left);
}

/* ---- poll and kin --------------------------------------------------------------------------- */

static int poll_within(struct pollfd *fds, nfds_t count, Limit limit)
{
    for (;;) {
        int how = park_again(fds, count, &limit);
        if (how == NOT_HERE) return poll(fds, count, milliseconds_left(&limit));
        if (how == INTERRUPTED) {
            errno = EINTR;
            return -1;
        }
        int found = poll(fds, count, 0);
        if (found != 0 || how == LATE) return found;
    }
}

static int hooked_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (timeout == 0 || !may_park()) return poll(fds, count, timeout);
    int found = poll(fds, count, 0);
    if (found != 0) return found;
    return poll_within(fds, count, limit_of(timeout / 1000.0));
}

static int hooked_poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size)
{
    if (size / sizeof *fds < count) abort(); /* as __poll_chk */
    return hooked_poll(fds, count, timeout);
}

static int hooked_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time,
                        const sigset_t *mask)
{
    static const struct timespec none;
    if (mask != NULL || !may_park()) return ppoll(fds, count, time, mask);
    int found = ppoll(fds, count, &none, NULL);
    double seconds = time == NULL ? -1.0 : (double)time->tv_sec + (double)time->tv_nsec * 1e-9;
    if (found != 0 || seconds == 0.0) return found;
    return poll_within(fds, count, limit_of(seconds));
}

static int select_now(int count, fd_set *sets[3], const fd_set saved[3])
{
    struct timeval none = {0, 0};
    for (int i = 0; i < 3; i++)
        if (sets[i] != NULL) *sets[i] = saved[i];
    return select(count, sets[0], sets[1], sets[2], &none);
}

static int hooked_select(int count, fd_set *read, fd_set *write, fd_set *except,
                         struct timeval *time)
{
    static const short events[3] = {POLLIN, POLLOUT, POLLPRI};
    if (count < 0 || count > FD_SETSIZE || !may_park() ||
        (time != NULL && (time->tv_sec < 0 || time->tv_usec < 0)))
        return select(count, read, write, except, time);
    fd_set *sets[3] = {read, write, except}, saved[3];
    for (int i = 0; i < 3; i++)
        if (sets[i] != NULL) saved[i] = *sets[i];
    double seconds = time == NULL ? -1.0 : (double)time->tv_sec + (double)time->tv_usec * 1e-6;
    int found = select_now(count, sets, saved);
    if (found != 0 || seconds == 0.0) return found;
    struct pollfd *fds = alloca(((size_t)count + 1) * sizeof *fds);
    nfds_t n = 0;
    for (int fd = 0; fd < count; fd++) {
        struct pollfd one = {fd, 0, 0};
        for (int i = 0; i < 3; i++)
            if (sets[i] != NULL && FD_ISSET(fd, &saved[i])) one.events |= events[i];
        if (one.events) fds[n++] = one;
    }
    Limit limit = limit_of(seconds);
    do {
        int how = park_again(fds, n, &limit);
        if (how == NOT_HERE) {
            for (int i = 0; i < 3; i++)
                if (sets[i] != NULL) *sets[i] = saved[i];
            return select(count, read, write, except, time);
        }
        if (how == INTERRUPTED) {
            errno = EINTR;
            return -1;
        }
        found = select_now(count, sets, saved);
        if (how == LATE) break;
    } while (found == 0);
    if (time != NULL) { /* Linux tells how much was left */
        double left = left_of(&limit);
        time->tv_sec = (time_t)left;
        time->tv_usec = (suseconds_t)((left - (double)time->tv_sec) * 1e6);
    }
    return found;
}

static int hooked_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    if (timeout == 0 || !may_park()) return epoll_wait(epoll, events, most, timeout);
    int found = epoll_wait(epoll, events, most, 0);
    if (found != 0) return found;
    Limit limit = limit_of(timeout / 1000.0);
    struct pollfd self = {epoll, POLLIN, 0};
    for (;;) {
        int how = park_again(&self, 1, &limit);
        if (how == NOT_HERE) return epoll_wait(epoll, events, most, milliseconds_left(&limit));
        if (how == INTERRUPTED) {
            errno = EINTR;
            return -1;
        }
        found = epoll_wait(epoll, events, most, 0);
        if (found != 0 || how == LATE) return found;
    }
}

static int hooked_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout,
                              const sigset_t *mask)
{
    if (mask != NULL) return epoll_pwait(epoll, events, most, timeout, mask);
    return hooked_epoll_wait(epoll, events, most, timeout);
}

/* ---- one descriptor -------------------------------------------------------------------------- */

static int blocks(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && !(flags & O_NONBLOCK);
}

/* What SO_RCVTIMEO or SO_SNDTIMEO says, in seconds; below 0: no limit. */
static double socket_limit(int fd, int option)
{
    struct timeval limit;
    socklen_t size = sizeof limit;
    if (getsockopt(fd, SOL_SOCKET, option, &limit, &size) != 0) return -1.0;
    double seconds = (double)limit.tv_sec + (double)limit.tv_usec * 1e-6;
    return seconds > 0 ? seconds : -1.0;
}

static int is_ready(int fd, short events)
{
    struct pollfd one = {fd, events, 0};
    return poll(&one, 1, 0) != 0;
}

enum { AGAIN = 1, ITSELF = 0, FAILED = -1 };

/* A call for `fd` would wait: AGAIN, it is to be tried again; ITSELF, made as it is; FAILED, with
 * errno. */
static int await(int fd, short events, double seconds)
{
    int how = park_until_ready(fd, events, seconds);
    if (how == READY) return AGAIN;
    if (how == NOT_HERE) return ITSELF;
    errno = how == LATE ? EAGAIN : EINTR;
    return FAILED;
}

static int would_block(ssize_t result)
{
    return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Return what `now` does, which does not wait, once it would not have to; `itself` is the call. */
#define RECEIVE(fd, now, itself)                                           \
    do {                                                                   \
        ssize_t result_ = (now);                                           \
        if (!would_block(result_)) return result_;                         \
        if (!blocks(fd)) {                                                 \
            errno = EAGAIN;                                                \
            return -1;                                                     \
        }                                                                  \
        double limit_ = socket_limit(fd, SO_RCVTIMEO);                     \
        for (;;) {                                                         \
            int how_ = await(fd, POLLIN, limit_);                          \
            if (how_ == ITSELF) return (itself);                           \
            if (how_ == FAILED) return -1;                                 \
            result_ = (now);                                               \
            if (!would_block(result_)) return result_;                     \
        }                                                                  \
    } while (0)

static ssize_t receive_all(int fd, char *to, size_t size, int flags)
{
    size_t had = 0;
    double limit = socket_limit(fd, SO_RCVTIMEO);
    while (had < size) {
        ssize_t more = recv(fd, to + had, size - had, (flags & ~MSG_WAITALL) | MSG_DONTWAIT);
        if (more > 0) {
            had += (size_t)more;
            continue;
        }
        if (!would_block(more)) return had ? (ssize_t)had : more;
        if (!blocks(fd)) {
            errno = EAGAIN;
            return had ? (ssize_t)had : -1;
        }
        int how = await(fd, POLLIN, limit);
        if (how == ITSELF && !had) return recv(fd, to, size, flags);
        if (how == FAILED) return had ? (ssize_t)had : -1;
    }
    return (ssize_t)had;
}

static int is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

static ssize_t hooked_recv(int fd, void *to, size_t size, int flags)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return recv(fd, to, size, flags);
    if ((flags & (MSG_WAITALL | MSG_PEEK | MSG_ERRQUEUE)) == MSG_WAITALL && is_stream(fd))
        return receive_all(fd, to, size, flags);
    RECEIVE(fd, recv(fd, to, size, flags | MSG_DONTWAIT), recv(fd, to, size, flags));
}

static ssize_t hooked_recv_chk(int fd, void *to, size_t size, size_t room, int flags)
{
    if (room < size) abort(); /* as __recv_chk */
    return hooked_recv(fd, to, size, flags);
}

static ssize_t hooked_recvfrom(int fd, void *to, size_t size, int flags, struct sockaddr *from,
                               socklen_t *length)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return recvfrom(fd, to, size, flags, from, length);
    RECEIVE(fd, recvfrom(fd, to, size, flags | MSG_DONTWAIT, from, length),
            recvfrom(fd, to, size, flags, from, length));
}

static ssize_t hooked_recvmsg(int fd, struct msghdr *message, int flags)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return recvmsg(fd, message, flags);
    RECEIVE(fd, recvmsg(fd, message, flags | MSG_DONTWAIT), recvmsg(fd, message, flags));
}

/* Of a blocking descriptor that is no socket: what is there decides. */
#define AFTER_A_LOOK(fd, events, itself)                                  \
    do {                                                                  \
        while (!is_ready(fd, events) && blocks(fd)) {                     \
            int how_ = await(fd, events, -1.0);                           \
            if (how_ == FAILED) return -1;                                \
            if (how_ == ITSELF) break;                                    \
        }                                                                 \
        return (itself);                                                  \
    } while (0)

static ssize_t hooked_read(int fd, void *to, size_t size)
{
    if (size == 0 || !may_park()) return read(fd, to, size);
    ssize_t got = recv(fd, to, size, MSG_DONTWAIT);
    if (got >= 0 || errno != ENOTSOCK) {
        if (would_block(got)) return hooked_recv(fd, to, size, 0);
        return got;
    }
    AFTER_A_LOOK(fd, POLLIN, read(fd, to, size));
}

static ssize_t hooked_read_chk(int fd, void *to, size_t size, size_t room)
{
    if (room < size) abort(); /* as __read_chk */
    return hooked_read(fd, to, size);
}

static ssize_t hooked_readv(int fd, const struct iovec *parts, int count)
{
    if (!may_park() || count <= 0) return readv(fd, parts, count);
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
    if (got >= 0 || errno != ENOTSOCK) {
        if (would_block(got)) return hooked_recvmsg(fd, &message, 0);
        return got;
    }
    AFTER_A_LOOK(fd, POLLIN, readv(fd, parts, count));
}

/* Send all of it, as a blocking socket does; what was sent before an error counts. */
static ssize_t send_all(int fd, const char *from, size_t size, int flags,
                        const struct sockaddr *to, socklen_t length)
{
    ssize_t sent = sendto(fd, from, size, flags | MSG_DONTWAIT, to, length);
    if (sent == (ssize_t)size || (sent < 0 && !would_block(sent))) return sent;
    int error = errno;
    if (!blocks(fd)) {
        errno = error;
        return sent;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    double limit = socket_limit(fd, SO_SNDTIMEO);
    for (;;) {
        int how = await(fd, POLLOUT, limit);
        if (how == FAILED) return done ? (ssize_t)done : -1;
        int wait = how == ITSELF ? 0 : MSG_DONTWAIT;
        sent = sendto(fd, from + done, size - done, flags | wait, to, length);
        if (sent >= 0 && (done += (size_t)sent) >= size) return (ssize_t)done;
        if (sent < 0 && !would_block(sent)) return done ? (ssize_t)done : -1;
    }
}

static ssize_t hooked_sendto(int fd, const void *from, size_t size, int flags,
                             const struct sockaddr *to, socklen_t length)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return sendto(fd, from, size, flags, to, length);
    return send_all(fd, from, size, flags, to, length);
}

static ssize_t hooked_send(int fd, const void *from, size_t size, int flags)
{
    return hooked_sendto(fd, from, size, flags, NULL, 0);
}

/* As `send_all`, of parts: `message` is left as it was. */
static ssize_t send_parts(int fd, const struct msghdr *message, int flags)
{
    ssize_t sent = sendmsg(fd, message, flags | MSG_DONTWAIT);
    if (sent < 0 && !would_block(sent)) return sent;
    int error = errno;
    size_t size = 0, done = sent > 0 ? (size_t)sent : 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) size += message->msg_iov[i].iov_len;
    if (sent == (ssize_t)size) return sent;
    if (!blocks(fd)) {
        errno = error;
        return sent;
    }
    double limit = socket_limit(fd, SO_SNDTIMEO);
    struct iovec *rest = PyMem_RawMalloc(message->msg_iovlen * sizeof *rest);
    if (rest == NULL) return done ? (ssize_t)done : sendmsg(fd, message, flags);
    while (done < size) {
        struct msghdr next = *message;
        size_t skip = done, n = 0;
        int how = await(fd, POLLOUT, limit);
        if (how == FAILED) break;
        for (size_t i = 0; i < message->msg_iovlen; i++) {
            struct iovec part = message->msg_iov[i];
            size_t gone = skip < part.iov_len ? skip : part.iov_len;
            skip -= gone;
            rest[n] = (struct iovec){(char *)part.iov_base + gone, part.iov_len - gone};
            n += gone < part.iov_len;
        }
        next.msg_iov = rest;
        next.msg_iovlen = n;
        if (done) next.msg_control = NULL, next.msg_controllen = 0;
        sent = sendmsg(fd, &next, flags | (how == ITSELF ? 0 : MSG_DONTWAIT));
        if (sent > 0) done += (size_t)sent;
        if (sent < 0 && !would_block(sent)) break;
    }
    error = errno;
    PyMem_RawFree(rest);
    errno = error;
    return done ? (ssize_t)done : -1;
}

static ssize_t hooked_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return sendmsg(fd, message, flags);
    return send_parts(fd, message, flags);
}

/* A pipe that is ready takes PIPE_BUF bytes without waiting. */
static ssize_t write_pipe(int fd, const char *from, size_t size)
{
    size_t done = 0;
    while (done < size) {
        if (!is_ready(fd, POLLOUT)) {
            int how = await(fd, POLLOUT, -1.0);
            if (how == FAILED) return done ? (ssize_t)done : -1;
            if (how == ITSELF && !done) return write(fd, from, size);
        }
        size_t next = size - done < PIPE_BUF ? size - done : PIPE_BUF;
        ssize_t wrote = write(fd, from + done, next);
        if (wrote < 0) return done ? (ssize_t)done : -1;
        done += (size_t)wrote;
    }
    return (ssize_t)done;
}

static ssize_t hooked_write(int fd, const void *from, size_t size)
{
    struct stat status;
    if (size == 0 || !may_park()) return write(fd, from, size);
    ssize_t sent = send(fd, from, size, MSG_DONTWAIT);
    if (sent == (ssize_t)size) return sent;
    if (sent >= 0 || errno != ENOTSOCK) {
        if (sent < 0 && !would_block(sent)) return sent;
        if (!blocks(fd)) {
            errno = EAGAIN;
            return sent;
        }
        size_t done = sent > 0 ? (size_t)sent : 0;
        ssize_t more = send_all(fd, (const char *)from + done, size - done, 0, NULL, 0);
        return more < 0 ? (done ? (ssize_t)done : more) : (ssize_t)done + more;
    }
    if (fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode) && blocks(fd))
        return write_pipe(fd, from, size);
    AFTER_A_LOOK(fd, POLLOUT, write(fd, from, size));
}

static ssize_t hooked_writev(int fd, const struct iovec *parts, int count)
{
    struct stat status;
    if (!may_park() || count <= 0 || fstat(fd, &status) != 0) return writev(fd, parts, count);
    if (S_ISSOCK(status.st_mode)) {
        struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
        return send_parts(fd, &message, 0);
    }
    AFTER_A_LOOK(fd, POLLOUT, writev(fd, parts, count));
}

static int connected(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return -1;
    errno = error;
    return error ? -1 : 0;
}

static int hooked_connect(int fd, const struct sockaddr *to, socklen_t length)
{
    int flags = may_park() ? fcntl(fd, F_GETFL) : -1;
    if (flags < 0 || (flags & O_NONBLOCK)) return connect(fd, to, length);
    struct sockaddr_storage address;
    if (length > sizeof address) return connect(fd, to, length);
    memcpy(&address, to, length);
    Limit limit = limit_of(socket_limit(fd, SO_SNDTIMEO));
    for (double nap = 0.001;; nap = nap < 0.02 ? 2 * nap : nap) {
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        int result = connect(fd, (struct sockaddr *)&address, length), error = errno;
        fcntl(fd, F_SETFL, flags);
        errno = error;
        if (result == 0 || (error != EINPROGRESS && error != EAGAIN)) return result;
        if (error == EINPROGRESS) break;
        double left = left_of(&limit); /* the queue of a UNIX socket is full */
        if (left == 0.0) return -1;
        int how = park_for(NULL, 0, left > 0 && left < nap ? left : nap);
        if (how == NOT_HERE) return connect(fd, (struct sockaddr *)&address, length);
        if (how == INTERRUPTED) {
            errno = EINTR;
            return -1;
        }
    }
    do {
        int how = park_until_ready(fd, POLLOUT, left_of(&limit));
        if (how == NOT_HERE) {
            struct pollfd one = {fd, POLLOUT, 0};
            poll(&one, 1, milliseconds_left(&limit));
        }
        if (how == INTERRUPTED || (how == LATE && !is_ready(fd, POLLOUT))) {
            errno = how == LATE ? EINPROGRESS : EINTR;
            return -1;
        }
    } while (!is_ready(fd, POLLOUT));
    return connected(fd);
}

/* Before an accept: wait until there is somebody. */
#define ACCEPT(fd, itself)                                                \
    do {                                                                  \
        if (!may_park()) return (itself);                                 \
        while (!is_ready(fd, POLLIN) && blocks(fd)) {                     \
            int how_ = await(fd, POLLIN, socket_limit(fd, SO_RCVTIMEO));  \
            if (how_ == FAILED) return -1;                                \
            if (how_ == ITSELF) break;                                    \
        }                                                                 \
        return (itself);                                                  \
    } while (0)

static int hooked_accept(int fd, struct sockaddr *from, socklen_t *length)
{
    ACCEPT(fd, accept(fd, from, length));
}

static int hooked_accept4(int fd, struct sockaddr *from, socklen_t *length, int flags)
{
    ACCEPT(fd, accept4(fd, from, length, flags));
}

/* ---- sleeps --------------------------------------------------------------------------------- */

/* 0: the time is over; INTERRUPTED, with what is left in *left; NOT_HERE. */
static int doze(double seconds, double *left)
{
    Limit limit = limit_of(seconds);
    for (;;) {
        *left = left_of(&limit);
        if (*left == 0.0) return 0;
        int how = park_for(NULL, 0, *left);
        if (how == INTERRUPTED || how == NOT_HERE) {
            *left = left_of(&limit);
            return how;
        }
    }
}

static double seconds_of(const struct timespec *time)
{
    return (double)time->tv_sec + (double)time->tv_nsec * 1e-9;
}

static int is_time(const struct timespec *time)
{
    return time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < 1000000000;
}

static void set_time(struct timespec *time, double seconds)
{
    if (time == NULL) return;
    time->tv_sec = (time_t)seconds;
    time->tv_nsec = (long)((seconds - (double)time->tv_sec) * 1e9);
}

static int hooked_nanosleep(const struct timespec *time, struct timespec *rest)
{
    double left;
    if (!is_time(time) || !may_park()) return nanosleep(time, rest);
    struct timespec asked = *time;
    int how = doze(seconds_of(&asked), &left);
    if (how == NOT_HERE) return nanosleep(&asked, rest);
    if (how == 0) return 0;
    set_time(rest, left);
    errno = EINTR;
    return -1;
}

static int hooked_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
                                  struct timespec *rest)
{
    double left, seconds;
    struct timespec asked = *time, now;
    if ((clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) || !is_time(time) || !may_park())
        return clock_nanosleep(clock, flags, time, rest);
    seconds = seconds_of(&asked);
    if (flags & TIMER_ABSTIME) {
        clock_gettime(clock, &now);
        seconds -= seconds_of(&now);
    }
    int how = seconds > 0 ? doze(seconds, &left) : 0;
    if (how == NOT_HERE) return clock_nanosleep(clock, flags, &asked, rest);
    if (how == 0) return 0;
    if (!(flags & TIMER_ABSTIME)) set_time(rest, left);
    return EINTR;
}

static int hooked_usleep(useconds_t time)
{
    double left;
    int how = may_park() ? doze((double)time * 1e-6, &left) : NOT_HERE;
    if (how == NOT_HERE) return usleep(time);
    if (how == 0) return 0;
    errno = EINTR;
    return -1;
}

static unsigned hooked_sleep(unsigned time)
{
    double left;
    int how = may_park() ? doze((double)time, &left) : NOT_HERE;
    if (how == NOT_HERE) return sleep(time);
    return how == 0 ? 0 : (unsigned)(left + 0.5);
}

static int hooked_thrd_sleep(const struct timespec *time, struct timespec *rest)
{
    return hooked_nanosleep(time, rest);
}

/* ---- jobs: a worker makes the call ------------------------------------------------------------ */

typedef struct Job {
    void (*run)(struct Job *);
    long args[6];
    long result;
    int error, done;
} Job;

static Job *new_job(void (*run)(Job *))
{
    Job *job = PyMem_RawCalloc(1, sizeof *job);
    if (job != NULL) job->run = run;
    return job;
}

/* Whether a worker has done it.  A job can't be given up: others' memory is in it. */
static int job_done(Job *job)
{
    Inside in;
    enter_python(&in);
    parks++;
    PyObject *result = PyObject_CallFunction(job_in_python, "K", (unsigned long long)(uintptr_t)job);
    int how = leave_python(&in, result);
    while (how != NOT_HERE && !__atomic_load_n(&job->done, __ATOMIC_ACQUIRE)) usleep(500);
    return how != NOT_HERE;
}

/* libc_run(address): do a job.  Any OS thread. */
static PyObject *run_job(PyObject *module, PyObject *address)
{
    (void)module;
    Job *job = PyLong_AsVoidPtr(address);
    if (job == NULL) return NULL;
    Py_BEGIN_ALLOW_THREADS
    job->run(job);
    __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

typedef struct {
    char *node, *service;
    struct addrinfo hints, *found;
} Names;

static void look_up(Job *job)
{
    Names *names = (Names *)job->args[0];
    const struct addrinfo *hints = job->args[1] ? &names->hints : NULL;
    job->result = getaddrinfo(names->node, names->service, hints, &names->found);
    job->error = errno;
}

static int hooked_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                              struct addrinfo **found)
{
    int result = EAI_MEMORY, ran = 0;
    if (node == NULL || (hints != NULL && (hints->ai_flags & AI_NUMERICHOST)) || !may_park())
        return getaddrinfo(node, service, hints, found);
    Names *names = PyMem_RawCalloc(1, sizeof *names);
    Job *job = new_job(look_up);
    if (names != NULL && job != NULL) {
        names->node = strdup(node);
        names->service = service == NULL ? NULL : strdup(service);
        if (hints != NULL) names->hints = *hints;
        job->args[0] = (long)names;
        job->args[1] = hints != NULL;
        ran = names->node != NULL && (service == NULL || names->service != NULL) && job_done(job);
        if (ran) {
            result = (int)job->result;
            *found = names->found;
        }
        free(names->node);
        free(names->service);
    }
    int error = ran ? job->error : 0;
    PyMem_RawFree(names);
    PyMem_RawFree(job);
    if (!ran) return getaddrinfo(node, service, hints, found);
    errno = error;
    return result;
}

static void wait_for_child(Job *job)
{
    int status = 0;
    job->result = waitpid((pid_t)job->args[0], &status, (int)job->args[1]);
    job->args[2] = status;
    job->error = errno;
}

static pid_t hooked_waitpid(pid_t pid, int *status, int options)
{
    if ((options & WNOHANG) || !may_park()) return waitpid(pid, status, options);
    pid_t found = waitpid(pid, status, options | WNOHANG);
    if (found != 0) return found;
    Job *job = new_job(wait_for_child);
    if (job != NULL) {
        job->args[0] = pid;
        job->args[1] = options;
    }
    if (job == NULL || !job_done(job)) {
        PyMem_RawFree(job);
        return waitpid(pid, status, options);
    }
    int error = job->error;
    found = (pid_t)job->result;
    if (status != NULL && found > 0) *status = (int)job->args[2];
    PyMem_RawFree(job);
    errno = error;
    return found;
}

static void lock_file(Job *job)
{
    job->result = flock((int)job->args[0], (int)job->args[1]);
    job->error = errno;
}

static int hooked_flock(int fd, int operation)
{
    if ((operation & LOCK_NB) || !may_park()) return flock(fd, operation);
    int result = flock(fd, operation | LOCK_NB);
    if (result == 0 || errno != EWOULDBLOCK) return result;
    Job *job = new_job(lock_file);
    if (job != NULL) {
        job->args[0] = fd;
        job->args[1] = operation;
    }
    if (job == NULL || !job_done(job)) {
        PyMem_RawFree(job);
        return flock(fd, operation);
    }
    int error = job->error;
    result = (int)job->result;
    PyMem_RawFree(job);
    errno = error;
    return result;
}

/* ---- Python's own --------------------------------------------------------------------------- */

static unsigned long hooked_get_thread_ident(void)
{
    if (!is_home()) return PyThread_get_thread_ident();
    PyObject *current = SLOT(kernel, k_current_at); /* borrowed, as the rest */
    while (current != NULL && Py_TYPE(current) == Finalizer) current = SLOT(current, f_host_at);
    PyObject *ident = current == NULL ? NULL : SLOT(current, t_ident_at);
    return ident == NULL ? PyThread_get_thread_ident() : (unsigned long)PyLong_AsSize_t(ident);
}

static void take_lock(Job *job)
{
    job->result = PyThread_acquire_lock_timed((PyThread_type_lock)job->args[0], job->args[1], 0);
}

static PyLockStatus hooked_acquire_lock_timed(PyThread_type_lock lock, PY_TIMEOUT_T time, int intr)
{
    if (time == 0 || !may_park()) return PyThread_acquire_lock_timed(lock, time, intr);
    PyLockStatus status = PyThread_acquire_lock_timed(lock, 0, 0);
    Job *job = status == PY_LOCK_ACQUIRED ? NULL : new_job(take_lock);
    if (job == NULL) return status;
    job->args[0] = (long)lock;
    job->args[1] = time;
    if (job_done(job))
        status = (PyLockStatus)job->result;
    else
        status = PyThread_acquire_lock_timed(lock, time, intr);
    PyMem_RawFree(job);
    return status;
}

static int hooked_acquire_lock(PyThread_type_lock lock, int wait)
{
    return hooked_acquire_lock_timed(lock, wait ? -1 : 0, 0) == PY_LOCK_ACQUIRED;
}

/* ---- what is initialised once ------------------------------------------------------------------ */

static int hooked_pthread_once(pthread_once_t *control, void (*function)(void))
{
    if (!is_home()) return pthread_once(control, function);
    once++;
    int result = pthread_once(control, function);
    once--;
    return result;
}

extern int __cxa_guard_acquire(void *) __attribute__((weak));
extern void __cxa_guard_release(void *) __attribute__((weak));
extern void __cxa_guard_abort(void *) __attribute__((weak));

static int hooked_guard_acquire(void *guard)
{
    int mine = __cxa_guard_acquire(guard);
    if (mine && is_home()) once++;
    return mine;
}

static void hooked_guard_release(void *guard)
{
    if (is_home() && once) once--;
    __cxa_guard_release(guard);
}

static void hooked_guard_abort(void *guard)
{
    if (is_home() && once) once--;
    __cxa_guard_abort(guard);
}

#include "libc_mutexes.h"

/* ---- which stands for which ------------------------------------------------------------------- */

typedef struct {
    const char *name;
    void *hook;
    int which;
} Hook;

#define H(name, hook) {name, (void *)(hook), WAITS}
static const Hook hooks[] = {
    H("poll", hooked_poll),
    H("__poll_chk", hooked_poll_chk),
    H("ppoll", hooked_ppoll),
    H("select", hooked_select),
    H("epoll_wait", hooked_epoll_wait),
    H("epoll_pwait", hooked_epoll_pwait),
    H("recv", hooked_recv),
    H("__recv_chk", hooked_recv_chk),
    H("recvfrom", hooked_recvfrom),
    H("recvmsg", hooked_recvmsg),
    H("read", hooked_read),
    H("__read_chk", hooked_read_chk),
    H("readv", hooked_readv),
    H("send", hooked_send),
    H("sendto", hooked_sendto),
    H("sendmsg", hooked_sendmsg),
    H("write", hooked_write),
    H("writev", hooked_writev),
    H("connect", hooked_connect),
    H("accept", hooked_accept),
    H("accept4", hooked_accept4),
    H("nanosleep", hooked_nanosleep),
    H("clock_nanosleep", hooked_clock_nanosleep),
    H("usleep", hooked_usleep),
    H("sleep", hooked_sleep),
    H("thrd_sleep", hooked_thrd_sleep),
    H("getaddrinfo", hooked_getaddrinfo),
    H("waitpid", hooked_waitpid),
    H("flock", hooked_flock),
    H("PyThread_get_thread_ident", hooked_get_thread_ident),
    H("PyThread_acquire_lock", hooked_acquire_lock),
    H("PyThread_acquire_lock_timed", hooked_acquire_lock_timed),
    H("pthread_once", hooked_pthread_once),
    H("__cxa_guard_acquire", hooked_guard_acquire),
    H("__cxa_guard_release", hooked_guard_release),
    H("__cxa_guard_abort", hooked_guard_abort),
    MUTEX_HOOKS
};

void *libc_hook_of(const char *name, int which)
{
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++)
        if (name[0] == hooks[i].name[0] && strcmp(name, hooks[i].name) == 0)
            return (hooks[i].which & which) ? hooks[i].hook : NULL;
    return NULL;
}

/* ---- the module ------------------------------------------------------------------------------- */

/* libc_begin(kernel, Thread, Finalizer, wait, job): the calling OS thread runs green threads, whose
 * waits are made by ``wait({number: events}, seconds)`` and ``job(address)``. */
static PyObject *begin_hooks(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *k, *thread, *finalizer, *wait, *job;
    if (!PyArg_ParseTuple(args, "OOO!OO", &k, &thread, &PyType_Type, &finalizer, &wait, &job))
        return NULL;
    PyObject *cls = (PyObject *)Py_TYPE(k);
    if (offset_of(cls, "current", &k_current_at) < 0 ||
        offset_of(cls, "threads", &k_threads_at) < 0 ||
        offset_of(thread, "ident", &t_ident_at) < 0 || offset_of(finalizer, "host", &f_host_at) < 0)
        return NULL;
    Py_XSETREF(kernel, Py_NewRef(k));
    Py_XSETREF(wait_in_python, Py_NewRef(wait));
    Py_XSETREF(job_in_python, Py_NewRef(job));
    Finalizer = (PyTypeObject *)finalizer;
    scheduler = pthread_self();
    home_state = PyThreadState_Get();
    once = 0;
    begin_mutexes();
    __atomic_store_n(&enabled, 1, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

/* libc_end(): every hook is the call itself. */
static PyObject *end_hooks(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    __atomic_store_n(&enabled, 0, __ATOMIC_RELEASE);
    Py_CLEAR(kernel);
    Py_CLEAR(wait_in_python);
    Py_CLEAR(job_in_python);
    Py_RETURN_NONE;
}

/* libc_parks(): how many waits have parked a green thread. */
static PyObject *count_parks(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    return PyLong_FromUnsignedLong(parks);
}

PyMethodDef libc_functions[] = {
    {"libc_begin", begin_hooks, METH_VARARGS, NULL},
    {"libc_end", end_hooks, METH_NOARGS, NULL},
    {"libc_parks", count_parks, METH_NOARGS, NULL},
    {"libc_run", run_job, METH_O, NULL},
    {"libc_objects", libc_objects, METH_NOARGS, NULL},
    {"libc_hook", libc_hook, METH_VARARGS, NULL},
    {"libc_restore", libc_restore, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
#else
PyMethodDef libc_functions[] = {{NULL, NULL, 0, NULL}};
#endif
