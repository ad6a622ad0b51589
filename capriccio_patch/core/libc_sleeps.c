/* Sleeps of C libraries: time of the kernel's.  They end early for what a signal handler raises. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <errno.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

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
    if (time != NULL) *time = timespec_of(seconds);
}

int hooked_nanosleep(const struct timespec *time, struct timespec *rest)
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

int hooked_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
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

int hooked_usleep(useconds_t time)
{
    double left;
    int how = may_park() ? doze((double)time * 1e-6, &left) : NOT_HERE;
    if (how == NOT_HERE) return usleep(time);
    if (how == 0) return 0;
    errno = EINTR;
    return -1;
}

unsigned hooked_sleep(unsigned time)
{
    double left;
    int how = may_park() ? doze((double)time, &left) : NOT_HERE;
    if (how == NOT_HERE) return sleep(time);
    return how == 0 ? 0 : (unsigned)(left + 0.5);
}

int hooked_thrd_sleep(const struct timespec *time, struct timespec *rest)
{
    return hooked_nanosleep(time, rest);
}

const Hook libc_sleep_hooks[] = {
    H("nanosleep", hooked_nanosleep),
    H("clock_nanosleep", hooked_clock_nanosleep),
    H("usleep", hooked_usleep),
    H("sleep", hooked_sleep),
    H("thrd_sleep", hooked_thrd_sleep),
    {NULL, NULL, 0},
};
#endif
