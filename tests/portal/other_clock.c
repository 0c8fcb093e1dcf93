/* Sets the wall clock of a preloaded process off by the seconds that OTHER_CLOCK names; what counts on from
 * some start, such as CLOCK_MONOTONIC, is left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*original)(clockid_t, struct timespec *);
static long seconds_off;

__attribute__((constructor)) static void read_environment(void)
{
    const char *seconds = getenv("OTHER_CLOCK");
    seconds_off = seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    if (original == NULL)
        original = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = original(which, now);
    if (status == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += seconds_off;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    int status = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return status;
}

time_t time(time_t *now)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now != NULL)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
