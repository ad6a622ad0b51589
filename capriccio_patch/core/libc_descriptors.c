/* Calls of C libraries that move bytes through one descriptor, connect or accept.
 *
 * 1. Sockets are tried with MSG_DONTWAIT, so nobody sees that their descriptor does not block.
 * 2. A blocking send goes on until all is sent; what was sent before an error counts.
 * 3. SO_RCVTIMEO and SO_SNDTIMEO hold.
 *
 * Not exact: a read of a pipe or terminal, and an accept, are preceded by a look, and wait in the
 * system if another process takes what there was. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

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
        if (how == FAILED) return had ? (ssize_t)had : -1;
        if (how == ITSELF) {
            more = recv(fd, to + had, size - had, flags);
            return more < 0 && had ? (ssize_t)had : more + (ssize_t)had;
        }
    }
    return (ssize_t)had;
}

static int is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

ssize_t hooked_recv(int fd, void *to, size_t size, int flags)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return recv(fd, to, size, flags);
    if ((flags & (MSG_WAITALL | MSG_PEEK | MSG_ERRQUEUE)) == MSG_WAITALL && is_stream(fd))
        return receive_all(fd, to, size, flags);
    RECEIVE(fd, recv(fd, to, size, flags | MSG_DONTWAIT), recv(fd, to, size, flags));
}

ssize_t hooked_recv_chk(int fd, void *to, size_t size, size_t room, int flags)
{
    if (room < size) abort(); /* as __recv_chk */
    return hooked_recv(fd, to, size, flags);
}

ssize_t hooked_recvfrom(int fd, void *to, size_t size, int flags, struct sockaddr *from,
                               socklen_t *length)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return recvfrom(fd, to, size, flags, from, length);
    RECEIVE(fd, recvfrom(fd, to, size, flags | MSG_DONTWAIT, from, length),
            recvfrom(fd, to, size, flags, from, length));
}

ssize_t hooked_recvmsg(int fd, struct msghdr *message, int flags)
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

ssize_t hooked_read(int fd, void *to, size_t size)
{
    if (size == 0 || !may_park()) return read(fd, to, size);
    ssize_t got = recv(fd, to, size, MSG_DONTWAIT);
    if (got >= 0 || errno != ENOTSOCK) {
        if (would_block(got)) return hooked_recv(fd, to, size, 0);
        return got;
    }
    AFTER_A_LOOK(fd, POLLIN, read(fd, to, size));
}

ssize_t hooked_read_chk(int fd, void *to, size_t size, size_t room)
{
    if (room < size) abort(); /* as __read_chk */
    return hooked_read(fd, to, size);
}

ssize_t hooked_readv(int fd, const struct iovec *parts, int count)
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

ssize_t hooked_sendto(int fd, const void *from, size_t size, int flags,
                             const struct sockaddr *to, socklen_t length)
{
    if ((flags & MSG_DONTWAIT) || !may_park()) return sendto(fd, from, size, flags, to, length);
    return send_all(fd, from, size, flags, to, length);
}

ssize_t hooked_send(int fd, const void *from, size_t size, int flags)
{
    return hooked_sendto(fd, from, size, flags, NULL, 0);
}

/* As `send_all`, of parts: `message` is left as it was. */
static ssize_t send_parts(int fd, const struct msghdr *message, int flags)
{
    ssize_t sent = sendmsg(fd, message, flags | MSG_DONTWAIT);
    if (sent < 0 && !would_block(sent)) return sent;
    int error = errno;
    size_t size = 0, done = sent > 0 ? (size_t)sent : 0, count = (size_t)message->msg_iovlen;
    for (size_t i = 0; i < count; i++) size += message->msg_iov[i].iov_len;
    if (sent == (ssize_t)size) return sent;
    if (!blocks(fd)) {
        errno = error;
        return sent;
    }
    double limit = socket_limit(fd, SO_SNDTIMEO);
    struct iovec *rest = PyMem_RawMalloc(count * sizeof *rest);
    if (rest == NULL) return done ? (ssize_t)done : sendmsg(fd, message, flags);
    while (done < size) {
        struct msghdr next = *message;
        size_t skip = done, n = 0;
        int how = await(fd, POLLOUT, limit);
        if (how == FAILED) break;
        for (size_t i = 0; i < count; i++) {
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

ssize_t hooked_sendmsg(int fd, const struct msghdr *message, int flags)
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

ssize_t hooked_write(int fd, const void *from, size_t size)
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

ssize_t hooked_writev(int fd, const struct iovec *parts, int count)
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

int hooked_connect(int fd, const struct sockaddr *to, socklen_t length)
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

int hooked_accept(int fd, struct sockaddr *from, socklen_t *length)
{
    ACCEPT(fd, accept(fd, from, length));
}

int hooked_accept4(int fd, struct sockaddr *from, socklen_t *length, int flags)
{
    ACCEPT(fd, accept4(fd, from, length, flags));
}

const Hook libc_descriptor_hooks[] = {
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
    {NULL, NULL, 0},
};
#endif
