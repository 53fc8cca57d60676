/* Child processes: one whose output is read while it runs (journalctl), and one that is run to its end (Sysmon). Bodies:
 * child_posix.c, child_win.c. Used by one thread at a time; Blocking. */
#ifndef HAECHI_CHILD_H
#define HAECHI_CHILD_H

#include "buf.h"

#include <stdatomic.h>

struct child;

/* argv[0] is looked up in PATH; NULL-terminated. The child's standard error is ours. */
MUST_USE enum status child_start(const char *const *argv, struct child **ret, struct error *err);
/* Waits at most timeout_ms for output and appends up to max bytes of it. ST_AGAIN: nothing came. ST_END: it has ended. */
MUST_USE enum status child_read(struct child *c, unsigned timeout_ms, size_t max, struct buf *into, struct error *err);
void child_stop(struct child **c); /* ends it if it still runs */

/* ---- to the end ---- */

struct child_run {
    const char *const *argv;    /* argv[0]: an absolute path, taken as it is; NULL-terminated */
    const char *dir;            /* where it works */
    unsigned time_limit_ms;     /* then it is killed, with all that it started */
    size_t max_output;          /* bytes kept; what comes after is read and dropped */
    const atomic_bool *give_up; /* set by another thread: kill it after CHILD_GRACE_MS; may be NULL */
};
#define CHILD_GRACE_MS 3000u

struct child_end {           /* zero, or owned: buf_free(&output) */
    struct buf output;       /* standard output and error in one, as they came */
    int exit_code;           /* Windows: as the process gave it; POSIX: 0 to 255 */
    bool timed_out, gave_up; /* and was killed: exit_code says nothing */
    bool crashed;            /* ended by a signal or an exception; exit_code has its number */
    unsigned ran_ms;
};
/* Whatever a child leaves behind after an end of its own goes on. */
MUST_USE enum status child_run(const struct child_run *o, struct child_end *ret, struct error *err);

/* A program that we are about to run with our rights: an absolute path to a plain file that no stranger could have put there or can
 * change. ST_NOTFOUND, ST_DENIED with a sentence. */
MUST_USE enum status child_check_program(const char *path, struct error *err);
/* This program's own path, absolute; "" when the system does not say. */
void child_own_path(char *out, size_t cap);

#endif
