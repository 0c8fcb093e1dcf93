/* Makes every fsync of a preloaded process take a fixed time more, so that commits cost the same on every disk.
 *
 * The delay in microseconds is the first long of the file that FIXED_FSYNC names. It is mapped, so that whoever
 * writes the file changes the delay of all processes at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static const volatile long *delay;

__attribute__((constructor)) static void map_delay(void)
{
    const char *path = getenv("FIXED_FSYNC");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        delay = mapped;
    close(file);
}

static void wait_a_fixed_time(void)
{
    if (delay == NULL || *delay <= 0)
        return;
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    struct timespec time = {*delay / 1000000, *delay % 1000000 * 1000};
    nanosleep(&time, NULL);
}

static int then_wait(const char *name, int file)
{
    int (*original)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int status = original(file);
    wait_a_fixed_time();
    return status;
}

int fsync(int file)
{
    return then_wait("fsync", file);
}

int fdatasync(int file)
{
    return then_wait("fdatasync", file);
}
