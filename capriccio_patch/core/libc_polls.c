/* Waits for descriptors by C libraries: poll, select, epoll, and kin.
 *
 * Each looks first, and parks if there is nothing; woken it looks again, so what it returns is the
 * system's.  With a signal mask they are the calls themselves. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <alloca.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>

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

int hooked_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (timeout == 0 || !may_park()) return poll(fds, count, timeout);
    int found = poll(fds, count, 0);
    if (found != 0) return found;
    return poll_within(fds, count, limit_of(timeout / 1000.0));
}

int hooked_poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size)
{
    if (size / sizeof *fds < count) abort(); /* as __poll_chk */
    return hooked_poll(fds, count, timeout);
}

int hooked_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time,
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

int hooked_select(int count, fd_set *read, fd_set *write, fd_set *except,
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

int hooked_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
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

int hooked_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout,
                              const sigset_t *mask)
{
    if (mask != NULL) return epoll_pwait(epoll, events, most, timeout, mask);
    return hooked_epoll_wait(epoll, events, most, timeout);
}

const Hook libc_poll_hooks[] = {
    H("poll", hooked_poll),
    H("__poll_chk", hooked_poll_chk),
    H("ppoll", hooked_ppoll),
    H("select", hooked_select),
    H("epoll_wait", hooked_epoll_wait),
    H("epoll_pwait", hooked_epoll_pwait),
    {NULL, NULL, 0},
};
#endif
