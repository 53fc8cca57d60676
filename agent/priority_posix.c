/* Nice 5, as the unit has it. The unit also lowers I/O. */
#include "priority.h"

#include <errno.h>
#include <sys/resource.h>

#define NICE 5

void priority_lower(void) {
    errno = 0;
    int now = getpriority(PRIO_PROCESS, 0);
    if (errno || now >= NICE) return;
    if (setpriority(PRIO_PROCESS, 0, NICE)) return; /* as it was */
}
