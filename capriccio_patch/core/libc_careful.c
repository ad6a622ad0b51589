/* Calls of C libraries that nobody has tried: they park where that is safe by all that can be seen.
 *
 * Facts.  Where a library waits with a lock held, and its caller parks, the next one who wants the lock
 * waits on the same OS thread; if that can't be seen it is for ever, where before it was late.  A
 * library's own OS thread may need that lock, too, or write to the stack of the one that waits for it.
 *
 * Decision.  The locks of such libraries are known here, of every kind that libc has.  One that this OS
 * thread has lets others run until it is free.  A library with OS threads of its own (STRICT) parks
 * for sockets and terminals only, and while none of these locks is held: its calls say so to
 * `park_for` (`careful`).
 *
 * 1. A lock that is taken here and given back where nobody sees it counts as held until it is taken
 *    again.  Then such libraries wait in the system, as all did before.
 *
 * Cost.  Some 2 ns a call; some 5 ns to take and give back a lock. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <errno.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <threads.h>
#include <unistd.h>

/* ---- the same calls, with care ---------------------------------------------------------------- */

#define CAREFUL(result, name, parameters, arguments)    \
    extern result hooked_##name parameters;             \
    static result careful_##name parameters             \
    {                                                   \
        if (!is_home()) return hooked_##name arguments; \
        int before = libc_state.careful;                \
        libc_state.careful = 1;                         \
        result value = hooked_##name arguments;         \
        libc_state.careful = before;                    \
        return value;                                   \
    }

#define TIME const struct timespec *
CAREFUL(int, poll, (struct pollfd *fds, nfds_t count, int time), (fds, count, time))
CAREFUL(int, ppoll, (struct pollfd *fds, nfds_t count, TIME time, const sigset_t *mask),
        (fds, count, time, mask))
CAREFUL(int, select, (int count, fd_set *read, fd_set *write, fd_set *except, struct timeval *time),
        (count, read, write, except, time))
CAREFUL(int, epoll_wait, (int epoll, struct epoll_event *events, int most, int time),
        (epoll, events, most, time))
CAREFUL(int, epoll_pwait,
        (int epoll, struct epoll_event *events, int most, int time, const sigset_t *mask),
        (epoll, events, most, time, mask))
CAREFUL(ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
CAREFUL(ssize_t, recvfrom,
        (int fd, void *to, size_t size, int flags, struct sockaddr *from, socklen_t *length),
        (fd, to, size, flags, from, length))
CAREFUL(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
CAREFUL(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
CAREFUL(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
CAREFUL(ssize_t, send, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags))
CAREFUL(ssize_t, sendto,
        (int fd, const void *from, size_t size, int flags, const struct sockaddr *to, socklen_t length),
        (fd, from, size, flags, to, length))
CAREFUL(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
CAREFUL(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
CAREFUL(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
CAREFUL(int, connect, (int fd, const struct sockaddr *to, socklen_t length), (fd, to, length))
CAREFUL(int, accept, (int fd, struct sockaddr *from, socklen_t *length), (fd, from, length))
CAREFUL(int, accept4, (int fd, struct sockaddr *from, socklen_t *length, int flags),
        (fd, from, length, flags))
CAREFUL(int, poll_chk, (struct pollfd *fds, nfds_t count, int time, size_t size),
        (fds, count, time, size))
CAREFUL(ssize_t, recv_chk, (int fd, void *to, size_t size, size_t room, int flags),
        (fd, to, size, room, flags))
CAREFUL(ssize_t, read_chk, (int fd, void *to, size_t size, size_t room), (fd, to, size, room))

/* ---- locks of such libraries that the scheduler's OS thread has ------------------------------- */

enum { MOST_OWNED = 64 };
static struct {
    const void *lock;
    int depth; /* more than one reader */
} owned[MOST_OWNED];

static int owned_at(const void *lock)
{
    for (int i = 0; i < libc_state.owned && i < MOST_OWNED; i++)
        if (owned[i].lock == lock) return i;
    return -1;
}

/* `again`: whether whoever has it may take it once more. */
static void own(const void *lock, int again)
{
    int at = owned_at(lock);
    if (at >= 0) {
        if (again) owned[at].depth++;
    } else {
        if (libc_state.owned < MOST_OWNED) {
            owned[libc_state.owned].lock = lock;
            owned[libc_state.owned].depth = 1;
        }
        libc_state.owned++; /* too many to be known: nobody parks any more */
    }
}

static void disown(const void *lock)
{
    int at = owned_at(lock);
    if (at < 0 || libc_state.owned > MOST_OWNED || --owned[at].depth) return;
    owned[at] = owned[--libc_state.owned];
}

/* Take `lock` by `now`, which does not wait, or by `itself`. */
static int take_lock(void *lock, int (*now)(void *), int (*itself)(void *), int again)
{
    double nap = 0.0;
    for (int tries = 0;; tries++) {
        int result = now(lock);
        if (result == EBUSY) {
            int ours = owned_at(lock) >= 0 && others_may_run();
            if (ours && park_for(NULL, 0, nap) != NOT_HERE) {
                nap = tries < 20 ? 0.0 : tries < 100 ? 0.0005 : 0.005;
                continue;
            }
            result = itself(lock);
        }
        if (result == 0) own(lock, again);
        return result;
    }
}

#define LOCK(name, type, try, again)                                             \
    static int try_##name(void *lock) { return try((type *)lock); }              \
    static int itself_##name(void *lock) { return name((type *)lock); }          \
    static int owned_##name(type *lock)                                          \
    {                                                                            \
        if (!is_home()) return name(lock);                                       \
        return take_lock((void *)lock, try_##name, itself_##name, again);        \
    }
#define TRY(name, type, again)                       \
    static int owned_##name(type *lock)              \
    {                                                \
        int result = name(lock);                     \
        if (result == 0 && is_home()) own((void *)lock, again); \
        return result;                               \
    }
#define UNLOCK(name, type)                           \
    static int owned_##name(type *lock)              \
    {                                                \
        if (is_home()) disown((void *)lock);         \
        return name(lock);                           \
    }

LOCK(pthread_rwlock_rdlock, pthread_rwlock_t, pthread_rwlock_tryrdlock, 1)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t, pthread_rwlock_trywrlock, 0)
TRY(pthread_rwlock_tryrdlock, pthread_rwlock_t, 1)
TRY(pthread_rwlock_trywrlock, pthread_rwlock_t, 0)
UNLOCK(pthread_rwlock_unlock, pthread_rwlock_t)
LOCK(pthread_spin_lock, pthread_spinlock_t, pthread_spin_trylock, 0)
TRY(pthread_spin_trylock, pthread_spinlock_t, 0)
UNLOCK(pthread_spin_unlock, pthread_spinlock_t)

static int owned_mutex_lock(pthread_mutex_t *mutex)
{
    int result = hooked_mutex_lock(mutex);
    if (result == 0 && is_home()) own(mutex, is_recursive(mutex));
    return result;
}

static int owned_mutex_trylock(pthread_mutex_t *mutex)
{
    int result = hooked_mutex_trylock(mutex);
    if (result == 0 && is_home()) own(mutex, is_recursive(mutex));
    return result;
}

static int owned_mutex_unlock(pthread_mutex_t *mutex)
{
    if (is_home()) disown(mutex);
    return hooked_mutex_unlock(mutex);
}

static int owned_mtx_lock(mtx_t *mutex)
{
    return owned_mutex_lock((pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

static int owned_mtx_trylock(mtx_t *mutex)
{
    int result = owned_mutex_trylock((pthread_mutex_t *)mutex);
    return result == 0 ? thrd_success : result == EBUSY ? thrd_busy : thrd_error;
}

static int owned_mtx_unlock(mtx_t *mutex)
{
    return owned_mutex_unlock((pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

#define S(name, hook) {name, (void *)(hook), STRICT}
#define B(name, hook) {name, (void *)(hook), STRICT | WATCHFUL}
const Hook libc_careful_hooks[] = {
    S("poll", careful_poll),
    S("__poll_chk", careful_poll_chk),
    S("ppoll", careful_ppoll),
    S("select", careful_select),
    S("epoll_wait", careful_epoll_wait),
    S("epoll_pwait", careful_epoll_pwait),
    S("recv", careful_recv),
    S("__recv_chk", careful_recv_chk),
    S("recvfrom", careful_recvfrom),
    S("recvmsg", careful_recvmsg),
    S("read", careful_read),
    S("__read_chk", careful_read_chk),
    S("readv", careful_readv),
    S("send", careful_send),
    S("sendto", careful_sendto),
    S("sendmsg", careful_sendmsg),
    S("write", careful_write),
    S("writev", careful_writev),
    S("connect", careful_connect),
    S("accept", careful_accept),
    S("accept4", careful_accept4),
    S("pthread_mutex_lock", owned_mutex_lock),
    S("pthread_mutex_trylock", owned_mutex_trylock),
    S("pthread_mutex_unlock", owned_mutex_unlock),
    S("mtx_lock", owned_mtx_lock),
    S("mtx_trylock", owned_mtx_trylock),
    S("mtx_unlock", owned_mtx_unlock),
    B("pthread_rwlock_rdlock", owned_pthread_rwlock_rdlock),
    B("pthread_rwlock_wrlock", owned_pthread_rwlock_wrlock),
    B("pthread_rwlock_tryrdlock", owned_pthread_rwlock_tryrdlock),
    B("pthread_rwlock_trywrlock", owned_pthread_rwlock_trywrlock),
    B("pthread_rwlock_unlock", owned_pthread_rwlock_unlock),
    B("pthread_spin_lock", owned_pthread_spin_lock),
    B("pthread_spin_trylock", owned_pthread_spin_trylock),
    B("pthread_spin_unlock", owned_pthread_spin_unlock),
    {NULL, NULL, 0},
};
#endif
