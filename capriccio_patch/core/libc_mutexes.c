/* Mutexes and conditions of C libraries.
 *
 * Facts.  A mutex of POSIX belongs to an OS thread.  A green thread that parks with one locked keeps
 * it locked; another one that wants it would wait for its own OS thread.  A recursive one would even
 * let it in.  Whose a mutex is the type does not tell: glibc and musl keep it in the mutex, but for
 * musl's plain ones, of which it is noted here.
 *
 * Decision.  A mutex is tried; if this OS thread has it, the green thread lets others run and tries
 * again.  If another OS thread has it the call is the call itself.  Recursive mutexes that are held
 * when a green thread parks are marked, and are nobody else's until that one goes on.
 *
 * A condition that a library's own OS thread signals is waited for by a worker, for the libraries
 * that are known to bear it (SYNCHRONISES): a job on a waiter's stack would not lie where its pointer
 * says.  The worker takes the mutex again, and then it is its caller's, who has to run to give it
 * back: whoever wants it meanwhile lets others run. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>

/* ---- what is initialised once ------------------------------------------------------------------ */

static int hooked_pthread_once(pthread_once_t *control, void (*function)(void))
{
    if (!is_home()) return pthread_once(control, function);
    libc_state.once++;
    int result = pthread_once(control, function);
    libc_state.once--;
    return result;
}

/* Of static variables of C++.  There may be several libraries that have these functions, and they fit
 * each other only: those of the first are taken over. */
static struct {
    int (*acquire)(void *);
    void (*release)(void *), (*abort)(void *);
} guards;

/* What the linker has found, or will find, for the object. */
static void *find_for(void *object, const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    return found != NULL ? found : dlsym(object, name);
}

int has_known_guards(const char *path)
{
    void *object = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (object == NULL) return 0;
    void *acquire = find_for(object, "__cxa_guard_acquire");
    void *release = find_for(object, "__cxa_guard_release");
    void *abort = find_for(object, "__cxa_guard_abort");
    dlclose(object);
    if (acquire == NULL || release == NULL || abort == NULL) return 0;
    if (guards.acquire == NULL) {
        guards.acquire = (int (*)(void *))acquire;
        guards.release = (void (*)(void *))release;
        guards.abort = (void (*)(void *))abort;
    }
    return (void *)guards.acquire == acquire && (void *)guards.release == release &&
           (void *)guards.abort == abort;
}

static int hooked_guard_acquire(void *guard)
{
    int mine = guards.acquire(guard);
    if (mine && is_home()) libc_state.once++;
    return mine;
}

static void hooked_guard_release(void *guard)
{
    if (is_home() && libc_state.once) libc_state.once--;
    guards.release(guard);
}

static void hooked_guard_abort(void *guard)
{
    if (is_home() && libc_state.once) libc_state.once--;
    guards.abort(guard);
}

/* ---- mutexes --------------------------------------------------------------------------------- */

/* nptl/descr.h and nptl/pthread_mutex_lock.c of glibc, src/internal/pthread_impl.h of musl. */
#ifdef __GLIBC__
static int kind_of(const pthread_mutex_t *mutex) { return mutex->__data.__kind & 127; }
static int owner_of(const pthread_mutex_t *mutex) { return mutex->__data.__owner; }
static void set_owner(pthread_mutex_t *mutex, int owner) { mutex->__data.__owner = owner; }
static int tells_owner(const pthread_mutex_t *mutex) { return (void)mutex, 1; }
static int is_plain(const pthread_mutex_t *mutex)
{
    return kind_of(mutex) == PTHREAD_MUTEX_NORMAL || kind_of(mutex) == PTHREAD_MUTEX_ADAPTIVE_NP;
}
#else
static int kind_of(const pthread_mutex_t *mutex) { return mutex->__u.__i[0] & 15; }
static int owner_of(const pthread_mutex_t *mutex) { return mutex->__u.__vi[1] & 0x3fffffff; }
static void set_owner(pthread_mutex_t *mutex, int owner) { (void)mutex, (void)owner; }
static int is_plain(const pthread_mutex_t *mutex) { return kind_of(mutex) == PTHREAD_MUTEX_NORMAL; }
static int tells_owner(const pthread_mutex_t *mutex) { return !is_plain(mutex); }
#endif

static int native_id; /* of the scheduler's OS thread */
static Job *waiting;  /* workers' for conditions, in no order */

/* Mutexes that the scheduler's OS thread has locked, and since which park: recursive ones, and those
 * that do not tell whose they are. */
enum { MOST_HELD = 64 };
static struct {
    pthread_mutex_t *mutex;
    int depth;
    unsigned long mark;
} held[MOST_HELD];
static int n_held;
static unsigned long marks;

static int is_as_known(int kind)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, kind);
    pthread_mutex_init(&mutex, &attributes);
    int is_free = owner_of(&mutex) == 0 && is_recursive(&mutex) == (kind == PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_lock(&mutex);
    int owner = owner_of(&mutex);
    int is_ours = tells_owner(&mutex) ? owner == (int)syscall(SYS_gettid) : owner != 0;
    pthread_mutex_unlock(&mutex);
    pthread_mutex_destroy(&mutex);
    pthread_mutexattr_destroy(&attributes);
    return is_free && is_ours;
}

int mutexes_are_known(void)
{
    return is_as_known(PTHREAD_MUTEX_NORMAL) && is_as_known(PTHREAD_MUTEX_RECURSIVE);
}

void begin_mutexes(void)
{
    native_id = (int)syscall(SYS_gettid);
    n_held = 0;
    waiting = NULL;
}

int is_recursive(const pthread_mutex_t *mutex) { return kind_of(mutex) == PTHREAD_MUTEX_RECURSIVE; }

static int is_noted(const pthread_mutex_t *mutex)
{
    return is_recursive(mutex) || !tells_owner(mutex);
}

static int held_at(const pthread_mutex_t *mutex)
{
    for (int i = 0; i < n_held; i++)
        if (held[i].mutex == mutex) return i;
    return -1;
}

/* Whether the scheduler's OS thread has it, as far as can be seen. */
static int is_ours(const pthread_mutex_t *mutex)
{
    if (tells_owner(mutex)) return owner_of(mutex) == native_id;
    return owner_of(mutex) != 0 && held_at(mutex) >= 0;
}

/* Whether it belongs to a green thread that is parked. */
static int is_anothers(pthread_mutex_t *mutex)
{
    int at = n_held ? held_at(mutex) : -1;
    if (at < 0 || !held[at].mark) return 0;
    if (is_ours(mutex)) return 1;
    held[at] = held[--n_held]; /* unlocked by code that does not call us */
    return 0;
}

/* Whether a worker waits for a condition with it, or may have taken it for a green thread. */
static int is_waited_with(const pthread_mutex_t *mutex)
{
    for (const Job *job = waiting; job != NULL; job = job->next)
        if ((pthread_mutex_t *)job->args[1] == mutex) return 1;
    return 0;
}

static void has_locked(pthread_mutex_t *mutex)
{
    int at = held_at(mutex);
    if (at >= 0) {
        held[at].depth = is_recursive(mutex) ? held[at].depth + 1 : 1;
    } else if (n_held < MOST_HELD) {
        held[n_held].mutex = mutex;
        held[n_held].depth = 1;
        held[n_held++].mark = 0;
    }
}

unsigned long mark_held(void)
{
    unsigned long mark = 0;
    for (int i = 0; i < n_held; i++)
        if (!held[i].mark) held[i].mark = mark ? mark : (mark = ++marks);
    return mark;
}

void unmark(unsigned long mark)
{
    for (int i = 0; mark && i < n_held; i++)
        if (held[i].mark == mark) held[i].mark = 0;
}

static void has_unlocked(pthread_mutex_t *mutex)
{
    int at = held_at(mutex);
    if (at >= 0 && --held[at].depth == 0) held[at] = held[--n_held];
}

int hooked_mutex_unlock(pthread_mutex_t *mutex)
{
    if (n_held && is_home() && is_noted(mutex)) has_unlocked(mutex);
    return pthread_mutex_unlock(mutex);
}

static int try_mutex(pthread_mutex_t *mutex)
{
    if (!is_noted(mutex)) return pthread_mutex_trylock(mutex);
    if (is_anothers(mutex)) return EBUSY;
    int result = pthread_mutex_trylock(mutex);
    if (result == 0) has_locked(mutex);
    return result;
}

int hooked_mutex_trylock(pthread_mutex_t *mutex)
{
    return is_home() ? try_mutex(mutex) : pthread_mutex_trylock(mutex);
}

int hooked_mutex_lock(pthread_mutex_t *mutex)
{
    if (!is_home()) return pthread_mutex_lock(mutex);
    double nap = 0.0;
    for (int tries = 0;; tries++) {
        int result = try_mutex(mutex);
        if (result != EBUSY) return result;
        int ours = is_anothers(mutex) || is_ours(mutex) || is_waited_with(mutex);
        if (!ours || !others_may_run() || park_for(NULL, 0, nap) == NOT_HERE) {
            result = pthread_mutex_lock(mutex);
            if (result == 0 && is_noted(mutex)) has_locked(mutex);
            return result;
        }
        nap = tries < 20 ? 0.0 : tries < 100 ? 0.0005 : 0.005;
    }
}

static int hooked_mtx_lock(mtx_t *mutex)
{
    int result = hooked_mutex_lock((pthread_mutex_t *)mutex);
    return result == 0 ? thrd_success : thrd_error;
}

static int hooked_mtx_trylock(mtx_t *mutex)
{
    int result = hooked_mutex_trylock((pthread_mutex_t *)mutex);
    return result == 0 ? thrd_success : result == EBUSY ? thrd_busy : thrd_error;
}

static int hooked_mtx_unlock(mtx_t *mutex)
{
    return hooked_mutex_unlock((pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

/* ---- conditions ------------------------------------------------------------------------------- */

typedef int Clockwait(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
enum { ITS_OWN = -1 }; /* the clock of a condition */

static int wait_itself(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                       const struct timespec *end)
{
    if (end == NULL) return pthread_cond_wait(condition, mutex);
    if (clock == ITS_OWN) return pthread_cond_timedwait(condition, mutex, end);
    Clockwait *wait = (Clockwait *)dlsym(RTLD_DEFAULT, "pthread_cond_clockwait"); /* glibc 2.30 */
    return wait(condition, mutex, clock, end);
}

static void wait_for_condition(Job *job)
{
    pthread_cond_t *condition = (pthread_cond_t *)job->args[0];
    pthread_mutex_t *mutex = (pthread_mutex_t *)job->args[1];
    struct timespec end = {job->args[3], job->args[4]};
    clockid_t clock = (clockid_t)job->args[5];
    job->result = wait_itself(condition, mutex, clock, job->args[2] ? &end : NULL);
}

static int condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                          const struct timespec *end)
{
    Job *job = is_plain(mutex) && may_park() ? new_job(wait_for_condition) : NULL;
    if (job != NULL) {
        job->args[0] = (long)condition;
        job->args[1] = (long)mutex;
        job->args[2] = end != NULL;
        job->args[5] = clock;
        if (end != NULL) job->args[3] = end->tv_sec, job->args[4] = end->tv_nsec;
        if (!tells_owner(mutex)) has_unlocked(mutex);
        job->next = waiting;
        waiting = job;
        int is_done = job_done(job), result = (int)job->result;
        Job **at = &waiting;
        while (*at != NULL && *at != job) at = &(*at)->next;
        if (*at != NULL) *at = job->next; /* else this is a forked child */
        PyMem_RawFree(job);
        if (!tells_owner(mutex)) has_locked(mutex);
        if (is_done) {
            set_owner(mutex, native_id); /* the worker has locked it for us */
            return result;
        }
    }
    return wait_itself(condition, mutex, clock, end);
}

static int hooked_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    return condition_wait(condition, mutex, ITS_OWN, NULL);
}

static int hooked_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                 const struct timespec *end)
{
    return condition_wait(condition, mutex, ITS_OWN, end);
}

static int hooked_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                                 const struct timespec *end)
{
    return condition_wait(condition, mutex, clock, end);
}

/* C11's and C++'s are those of POSIX. */
static int hooked_cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return hooked_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex) == 0
               ? thrd_success
               : thrd_error;
}

static int hooked_cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *end)
{
    int result = hooked_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, end);
    return result == 0 ? thrd_success : result == ETIMEDOUT ? thrd_timedout : thrd_error;
}

/* libstdc++'s std::unique_lock<std::mutex>: bits/unique_lock.h. */
typedef struct {
    pthread_mutex_t *mutex;
    char owns;
} Unique_lock;

static void hooked_condition_variable_wait(pthread_cond_t *condition, Unique_lock *lock)
{
    hooked_cond_wait(condition, lock->mutex);
}

const Hook libc_mutex_hooks[] = {
    {"pthread_once", (void *)hooked_pthread_once, ALL},
    {"__cxa_guard_acquire", (void *)hooked_guard_acquire, ALL},
    {"__cxa_guard_release", (void *)hooked_guard_release, ALL},
    {"__cxa_guard_abort", (void *)hooked_guard_abort, ALL},
    H("pthread_mutex_lock", hooked_mutex_lock),
    H("pthread_mutex_trylock", hooked_mutex_trylock),
    H("pthread_mutex_unlock", hooked_mutex_unlock),
    H("mtx_lock", hooked_mtx_lock),
    H("mtx_trylock", hooked_mtx_trylock),
    H("mtx_unlock", hooked_mtx_unlock),
    {"pthread_cond_wait", (void *)hooked_cond_wait, SYNCHRONISES},
    {"pthread_cond_timedwait", (void *)hooked_cond_timedwait, SYNCHRONISES},
    {"pthread_cond_clockwait", (void *)hooked_cond_clockwait, SYNCHRONISES},
    {"cnd_wait", (void *)hooked_cnd_wait, SYNCHRONISES},
    {"cnd_timedwait", (void *)hooked_cnd_timedwait, SYNCHRONISES},
    {"_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE",
     (void *)hooked_condition_variable_wait, SYNCHRONISES},
    {NULL, NULL, 0},
};
#endif
