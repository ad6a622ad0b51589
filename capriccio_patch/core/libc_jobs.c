/* Calls of C libraries for which there is no descriptor to wait for: a worker makes them.
 *
 * 1. A job's memory is its own: nothing in it points into the stack of its caller, which is
 *    elsewhere while that is parked.
 * 2. It is not given up: its caller waits for its end, whatever is raised meanwhile. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <errno.h>
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

Job *new_job(void (*run)(Job *))
{
    Job *job = PyMem_RawCalloc(1, sizeof *job);
    if (job != NULL) job->run = run;
    return job;
}

int job_done(Job *job)
{
    Inside in;
    enter_python(&in);
    libc_state.parks++;
    unsigned long long address = (uintptr_t)job;
    PyObject *result = PyObject_CallFunction(libc_state.job, "K", address);
    int how = leave_python(&in, result);
    while (how != NOT_HERE && !__atomic_load_n(&job->done, __ATOMIC_ACQUIRE)) usleep(500);
    return how != NOT_HERE;
}

/* libc_run(address): do a job.  Any OS thread. */
PyObject *run_job(PyObject *module, PyObject *address)
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

int hooked_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
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

pid_t hooked_waitpid(pid_t pid, int *status, int options)
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

int hooked_flock(int fd, int operation)
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
    PyObject *current = SLOT(libc_state.kernel, libc_state.current_at); /* borrowed, as the rest */
    while (current != NULL && Py_TYPE(current) == libc_state.finalizer)
        current = SLOT(current, libc_state.host_at);
    PyObject *ident = current == NULL ? NULL : SLOT(current, libc_state.ident_at);
    return ident == NULL ? PyThread_get_thread_ident() : (unsigned long)PyLong_AsSize_t(ident);
}

static void take_lock(Job *job)
{
    job->result = PyThread_acquire_lock_timed((PyThread_type_lock)job->args[0], job->args[1], 0);
}

PyLockStatus hooked_acquire_lock_timed(PyThread_type_lock lock, PY_TIMEOUT_T time, int intr)
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

int hooked_acquire_lock(PyThread_type_lock lock, int wait)
{
    return hooked_acquire_lock_timed(lock, wait ? -1 : 0, 0) == PY_LOCK_ACQUIRED;
}

const Hook libc_job_hooks[] = {
    H("getaddrinfo", hooked_getaddrinfo),
    H("waitpid", hooked_waitpid),
    H("flock", hooked_flock),
    {"PyThread_get_thread_ident", (void *)hooked_get_thread_ident, ALL},
    H("PyThread_acquire_lock", hooked_acquire_lock),
    H("PyThread_acquire_lock_timed", hooked_acquire_lock_timed),
    {NULL, NULL, 0},
};
#endif
