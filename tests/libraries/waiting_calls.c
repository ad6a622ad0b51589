/* An extension module that makes the calls of libc that may wait, for test_hooks.py; with one of
 * WITH_THREADS, ... it has something for which test_untried.py expects it to be treated otherwise. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stddef.h>
#include <pthread.h>
#include <pythread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_THREADS
void *const makes_threads = (void *)pthread_create;
#endif
#ifdef WITH_FUTEXES
void *const makes_system_calls = (void *)syscall;
#endif
#ifdef WITH_SEMAPHORES
#include <semaphore.h>
void *const waits_for_semaphores = (void *)sem_wait;
#endif
#ifdef WITH_STATE
_Thread_local int of_the_thread = 1;
#endif

static char data[1 << 22];
static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t recursive;
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_fd;

__attribute__((constructor)) static void make_recursive(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&recursive, &attributes);
}

/* A function that is called through a table, as gRPC calls poll. */
static int (*const table[])(struct pollfd *, nfds_t, int) = {poll};

#ifdef GUARDED /* as C++ does for a static variable */
extern int __cxa_guard_acquire(void *);
extern void __cxa_guard_release(void *);
static long long guard;

extern void _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(void *, void *);
static struct {
    pthread_mutex_t *mutex;
    char owns;
} unique = {&plain, 1};
#endif

#ifdef WITH_CONDITIONS
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int is_signalled;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* By the functions of C11, of C++, or of POSIX. */
static int wait_by(long interface, const struct timespec *end)
{
    cnd_t *c = (cnd_t *)&condition;
    mtx_t *m = (mtx_t *)&plain;
    if (interface == 1) return end == NULL ? cnd_wait(c, m) : cnd_timedwait(c, m, end);
#ifdef GUARDED
    if (interface == 2 && end == NULL) {
        _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(&condition, &unique);
        return 0;
    }
#endif
#ifdef __GLIBC__
    if (interface == 2) return pthread_cond_clockwait(&condition, &plain, CLOCK_REALTIME, end);
#endif
    return end == NULL ? pthread_cond_wait(&condition, &plain)
                       : pthread_cond_timedwait(&condition, &plain, end);
}
#endif

static void read_once(void) { (void)!read(once_fd, data, 1); }

static long make(const char *name, long a, long b)
{
    struct pollfd one = {(int)a, POLLIN, 0};
    struct iovec parts[2] = {{data, 3}, {data + 3, b > 3 ? (size_t)b - 3 : 0}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    struct timespec time = {b / 1000, b % 1000 * 1000000};
    struct timeval limit = {b / 1000, b % 1000 * 1000};
    if (!strcmp(name, "poll")) return poll(&one, 1, (int)b);
    if (!strcmp(name, "poll_by_table")) return table[0](&one, 1, (int)b);
    if (!strcmp(name, "ppoll")) return ppoll(&one, 1, b < 0 ? NULL : &time, NULL);
    if (!strcmp(name, "select")) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET((int)a, &set);
        long n = select((int)a + 1, &set, NULL, NULL, b < 0 ? NULL : &limit);
        return n > 0 && !FD_ISSET((int)a, &set) ? -2 : n;
    }
    if (!strcmp(name, "epoll_wait") || !strcmp(name, "epoll_pwait")) {
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {EPOLLIN, {.fd = (int)a}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, (int)a, &event);
        long n = name[6] == 'w' ? epoll_wait(epoll, &event, 1, (int)b)
                                : epoll_pwait(epoll, &event, 1, (int)b, NULL);
        close(epoll);
        return n;
    }
    if (!strcmp(name, "recv")) return recv((int)a, data, (size_t)b, 0);
    if (!strcmp(name, "recv_all")) return recv((int)a, data, (size_t)b, MSG_WAITALL);
    if (!strcmp(name, "recvfrom")) return recvfrom((int)a, data, (size_t)b, 0, NULL, NULL);
    if (!strcmp(name, "recvmsg")) return recvmsg((int)a, &message, 0);
    if (!strcmp(name, "read")) return read((int)a, data, (size_t)b);
    if (!strcmp(name, "readv")) return readv((int)a, parts, 2);
    if (!strcmp(name, "send")) return send((int)a, data, (size_t)b, 0);
    if (!strcmp(name, "sendto")) return sendto((int)a, data, (size_t)b, 0, NULL, 0);
    if (!strcmp(name, "sendmsg")) return sendmsg((int)a, &message, 0);
    if (!strcmp(name, "write")) return write((int)a, data, (size_t)b);
    if (!strcmp(name, "writev")) return writev((int)a, parts, 2);
    if (!strcmp(name, "accept")) return accept((int)a, NULL, NULL);
    if (!strcmp(name, "accept4")) return accept4((int)a, NULL, NULL, SOCK_CLOEXEC);
    if (!strcmp(name, "connect")) { /* b: the port of a server here */
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)b)};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return connect((int)a, (struct sockaddr *)&to, sizeof to);
    }
    if (!strcmp(name, "connect_unix")) { /* b: the number of a socket in the abstract space */
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        int length = snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "waiting-%ld", b);
        return connect((int)a, (struct sockaddr *)&to,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length));
    }
    if (!strcmp(name, "nanosleep")) return nanosleep(&time, NULL);
    if (!strcmp(name, "clock_nanosleep")) return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
    if (!strcmp(name, "usleep")) return usleep((useconds_t)b * 1000);
    if (!strcmp(name, "sleep")) return sleep((unsigned)(b / 1000));
    if (!strcmp(name, "getaddrinfo")) {
        struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
        int error = getaddrinfo("localhost", "80", &hints, &found);
        if (error == 0) freeaddrinfo(found);
        return error;
    }
    if (!strcmp(name, "waitpid")) {
        int status = -1;
        pid_t pid = waitpid((pid_t)a, &status, 0);
        return pid == a ? WEXITSTATUS(status) : -1;
    }
    if (!strcmp(name, "flock")) return flock((int)a, LOCK_EX);
    if (!strcmp(name, "lock")) return pthread_mutex_lock(a ? &recursive : &plain);
    if (!strcmp(name, "trylock")) return pthread_mutex_trylock(a ? &recursive : &plain);
    if (!strcmp(name, "unlock")) return pthread_mutex_unlock(a ? &recursive : &plain);
    if (!strcmp(name, "read_locked")) { /* a wait with a mutex held */
        pthread_mutex_lock(b ? &recursive : &plain);
        long n = read((int)a, data, 1);
        pthread_mutex_unlock(b ? &recursive : &plain);
        return n;
    }
    if (!strcmp(name, "write_lock")) return pthread_rwlock_wrlock(&shared);
    if (!strcmp(name, "read_lock")) return pthread_rwlock_rdlock(&shared);
    if (!strcmp(name, "unlock_shared")) return pthread_rwlock_unlock(&shared);
    if (!strcmp(name, "read_shared")) { /* a wait with a lock for readers and writers held */
        if (b) pthread_rwlock_wrlock(&shared);
        else pthread_rwlock_rdlock(&shared);
        long n = read((int)a, data, 1);
        pthread_rwlock_unlock(&shared);
        return n;
    }
    if (!strcmp(name, "once")) {
        once_fd = (int)a;
        return pthread_once(&once, read_once);
    }
#ifdef WITH_CONDITIONS
    if (!strcmp(name, "wait_for_condition")) { /* a: `wait_by`; b: milliseconds, or 0 for ever */
        struct timespec end;
        int error = 0;
        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_nsec += time.tv_nsec;
        end.tv_sec += time.tv_sec + end.tv_nsec / 1000000000;
        end.tv_nsec %= 1000000000;
        pthread_mutex_lock(&plain);
        while (!is_signalled && error == 0) error = wait_by(a, b ? &end : NULL);
        is_signalled = 0;
        pthread_mutex_unlock(&plain);
        return error;
    }
    if (!strcmp(name, "signal")) { /* b: milliseconds after which it wants the mutex itself */
        pthread_mutex_lock(&plain);
        is_signalled = 1;
        pthread_cond_signal(&condition);
        pthread_mutex_unlock(&plain);
        for (double end = now() + (double)b / 1e3; now() < end;) {}
        long error = pthread_mutex_lock(&plain);
        long is_taken = !is_signalled;
        pthread_mutex_unlock(&plain);
        return error ? -1 : is_taken;
    }
#endif
#ifdef GUARDED
    if (!strcmp(name, "guarded")) {
        long n = 0;
        if (__cxa_guard_acquire(&guard)) {
            n = read((int)a, data, 1);
            __cxa_guard_release(&guard);
        }
        return n;
    }
#endif
    errno = ENOSYS;
    return -1;
}

/* call(name, a, b): the result, or OSError for -1. */
static PyObject *call(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    long a, b, result;
    if (!PyArg_ParseTuple(args, "sll", &name, &a, &b)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = make(name, a, b);
    Py_END_ALLOW_THREADS
    return result == -1 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(result);
}

/* call_failed(name, a, b): with an exception, which must stay. */
static PyObject *call_failed(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    long a, b, result;
    if (!PyArg_ParseTuple(args, "sll", &name, &a, &b)) return NULL;
    PyErr_SetString(PyExc_LookupError, "set before");
    Py_BEGIN_ALLOW_THREADS
    result = make(name, a, b);
    Py_END_ALLOW_THREADS
    if (!PyErr_ExceptionMatches(PyExc_LookupError)) return NULL;
    PyErr_Clear();
    return PyLong_FromLong(result);
}

/* call_keeping(name, a, b): with the global lock. */
static PyObject *call_keeping(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    long a, b;
    if (!PyArg_ParseTuple(args, "sll", &name, &a, &b)) return NULL;
    return PyLong_FromLong(make(name, a, b));
}

/* poll_asking(fd): as a library that looks for signals when it is interrupted. */
static PyObject *poll_asking(PyObject *module, PyObject *fd)
{
    (void)module;
    struct pollfd one = {(int)PyLong_AsLong(fd), POLLIN, 0};
    for (;;) {
        int result;
        Py_BEGIN_ALLOW_THREADS
        result = poll(&one, 1, -1);
        Py_END_ALLOW_THREADS
        if (result >= 0) return PyLong_FromLong(result);
        if (errno != EINTR) return PyErr_SetFromErrno(PyExc_OSError);
        if (PyErr_CheckSignals() < 0) return NULL;
    }
}

static PyObject *ident(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    return PyLong_FromUnsignedLong(PyThread_get_thread_ident());
}

static PyThread_type_lock lock;
static PyObject *acquire(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    if (lock == NULL) lock = PyThread_allocate_lock();
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(lock, 1);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *release(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    PyThread_release_lock(lock);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"call", call, METH_VARARGS, NULL},
    {"call_failed", call_failed, METH_VARARGS, NULL},
    {"call_keeping", call_keeping, METH_VARARGS, NULL},
    {"poll_asking", poll_asking, METH_O, NULL},
    {"ident", ident, METH_NOARGS, NULL},
    {"acquire", acquire, METH_NOARGS, NULL},
    {"release", release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
#ifdef OTHER_NAME /* than that by which it is imported, as `_bjoern`, which calls itself bjoern */
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "other", NULL, -1, functions};
PyMODINIT_FUNC PyInit_waiting_calls(void) { return PyModule_Create(&definition); }
#else
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "waiting_calls", NULL, 0, functions};
PyMODINIT_FUNC PyInit_waiting_calls(void) { return PyModuleDef_Init(&definition); }
#endif
