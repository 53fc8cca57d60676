/* The agent gives way: whatever the machine is for comes first. Bodies: priority_posix.c, priority_win.c. */
#ifndef HAECHI_PRIORITY_H
#define HAECHI_PRIORITY_H

/* This process, from now on, takes less than its share of the CPU, and starts its children so. Best effort, and never so
 * low that a busy machine could keep it from running at all: the log would overwrite what was not read. */
void priority_lower(void);

#endif
