/* The two clocks of Windows. The monotonic one goes on through sleep and hibernation, as deadlines want it. No state. */
#include "clock.h"

#include <windows.h>

uint64_t clock_system(void) {
    FILETIME ft;
    GetSystemTimePreciseAsFileTime(&ft);
    return (uint64_t)ft.dwHighDateTime << 32 | ft.dwLowDateTime;
}

uint64_t clock_mono_ms(void) {
    return GetTickCount64();
}
