/* The two clocks of POSIX systems. No state. */
#include "clock.h"

#include <time.h>

uint64_t clock_system(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return FILETIME_UNIX_EPOCH + (uint64_t)ts.tv_sec * FILETIME_SECOND + (uint64_t)ts.tv_nsec / 100;
}

uint64_t clock_mono_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts); /* goes on while the machine sleeps, as deadlines want it */
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}
