/* The process table (derived): one row per (host, process GUID), merged over the partitions it was seen in. */
#ifndef HAECHI_PROCS_H
#define HAECHI_PROCS_H

#include "db.h"

#define PROC_MAX_EVENT_ID 32 /* counts are kept for Sysmon's ids 0..31, all others in the last slot */

struct proc {
    struct guid guid, parent;       /* parent zero: none known */
    bool has_start, has_end;        /* event 1, event 5 seen */
    uint64_t start, end;            /* FILETIME: UtcTime of 1 and 5 */
    uint64_t first_seen, last_seen; /* FILETIME of any event that names it */
    uint32_t pid, parent_pid;       /* 0: not known */
    struct slice image, command_line, user, hashes, parent_image, parent_command_line, integrity, current_directory;
    uint64_t start_record, start_stream;    /* record id and stream of event 1 */
    uint64_t counts[PROC_MAX_EVENT_ID + 1]; /* events that name it, by event id */
};

/* The texts of a row, for those who go over all of them. */
#define PROC_TEXTS(p)                                                                                             \
    {                                                                                                             \
        &(p)->image, &(p)->command_line, &(p)->user, &(p)->hashes, &(p)->parent_image, &(p)->parent_command_line, \
            &(p)->integrity, &(p)->current_directory                                                              \
    }
#define PROC_N_TEXTS 8

/* Adds what b knows to a: event 1 beats placeholders, first non-empty text wins, times widen, counts add. Slices in a
 * then borrow from either. */
void proc_merge(struct proc *a, const struct proc *b);

/* The stored form. decode borrows from bytes; ST_CORRUPT. Pure. */
void proc_encode(const struct proc *p, struct buf *out);
MUST_USE enum status proc_decode(struct slice bytes, struct proc *ret);

/* A row (merged over partitions) whose slices live in *bytes (appended to). ST_NOTFOUND. */
MUST_USE enum status procs_get(struct db *db, uint32_t host, const struct guid *g, struct proc *ret, struct buf *bytes,
                               struct error *err);
/* GUIDs of the children known, in GUID order; mem_free. */
MUST_USE enum status procs_children(struct db *db, uint32_t host, const struct guid *parent, struct guid **ret,
                                    size_t *ret_n, struct error *err);
/* Processes of a host that had this PID, by start time; mem_free. PIDs are reused: the caller chooses by time. */
struct proc_by_pid {
    struct guid guid;
    uint64_t start; /* 0: start not seen */
};
MUST_USE enum status procs_by_pid(struct db *db, uint32_t host, uint32_t pid, struct proc_by_pid **ret, size_t *ret_n,
                                  struct error *err);
/* Walks all rows of a host in GUID order (partition by partition is hidden): for listings and tests.
 * fn may call anything; ST_END is a clean stop. */
MUST_USE enum status procs_each(struct db *db, uint32_t host, enum status (*fn)(void *ctx, const struct proc *p),
                                void *ctx, struct error *err);
/* The same of the partitions whose day had not ended at `since`: counts and times are those of these days alone. */
MUST_USE enum status procs_each_since(struct db *db, uint32_t host, uint64_t since,
                                      enum status (*fn)(void *ctx, const struct proc *p), void *ctx, struct error *err);

#endif
