/* Preloaded into a service, it puts the time of day wrong by the seconds that a file holds.

   The file is mapped, so that a test changes the clock of a process that runs. Monotonic clocks
   stay right, as they do when somebody sets a machine's clock. libfaketime does the same and
   cannot be used: with it time.sleep of Python 3.11 fails with EINVAL. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t nothing, *wrong_by = &nothing;
static int (*right_time)(clockid_t, struct timespec *);

__attribute__((constructor)) static void find(void) {
    const char *name = getenv("SEPTET_TEST_CLOCK");
    int file = name ? open(name, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) wrong_by = page;
    if (file >= 0) close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!right_time) right_time = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = right_time(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += *wrong_by;
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
