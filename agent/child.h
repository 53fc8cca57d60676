/* A child process whose standard output we read: journalctl. POSIX only (child_posix.c); Windows has its own event API. */
#ifndef HAECHI_CHILD_H
#define HAECHI_CHILD_H

#include "buf.h"

struct child;

/* argv[0] is looked up in PATH; NULL-terminated. The child's standard error is ours. */
MUST_USE enum status child_start(const char *const *argv, struct child **ret, struct error *err);
/* Waits at most timeout_ms for output and appends up to max bytes of it. ST_AGAIN: nothing came. ST_END: it has ended. */
MUST_USE enum status child_read(struct child *c, unsigned timeout_ms, size_t max, struct buf *into, struct error *err);
void child_stop(struct child **c); /* ends it if it still runs */

#endif
