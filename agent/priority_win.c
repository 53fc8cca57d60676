/* Below normal, not the background mode: that one lowers the CPU to idle, and a busy machine would stop the agent. Its files
 * ask for low I/O by themselves (file_win.c). */
#include "priority.h"

#include <windows.h>

void priority_lower(void) {
    SetPriorityClass(GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS); /* best effort */
}
