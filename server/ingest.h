/* The door through which every batch comes in, from sessions and from imports: checked on the loop thread, admitted and
 * committed by the writer thread, answered on the loop thread that brought it. A batch that lies about itself is set
 * aside in DATA/quarantine before it is answered.
 *
 * One struct ingest for the process; one struct ingest_door for each loop, used on that loop's thread only. */
#ifndef HAECHI_INGEST_H
#define HAECHI_INGEST_H

#include "buf.h"
#include "placer.h"
#include "stats.h"
#include "writer.h"

#include <uv.h>

struct ingest;
struct ingest_door;

struct ingest_options {
    struct db *db;
    struct stats *stats;
    unsigned spacing_ms; /* of commits; 0: the writer's default */
    size_t batch_bytes, queue_bytes;
    uint64_t (*now)(void);                       /* clock_wall */
    uint64_t quarantine_bytes, quarantine_files; /* most that DATA/quarantine may hold */
    /* Conflicts, new epochs, rejected batches, for the audit log: any thread, must not block. May be NULL. */
    void (*notice)(void *ctx, uint32_t host, const char *action, const char *object, const char *detail);
    void *notice_ctx;
};
MUST_USE enum status ingest_start(const struct ingest_options *o, struct ingest **ret, struct error *err);
/* Commits what is queued and ends the writer; its answers are on their way to the doors then. */
void ingest_stop(struct ingest *in);
void ingest_free(struct ingest **in); /* all doors closed */
struct writer *ingest_writer(struct ingest *in);
/* Keeps a copy of a block that was found to lie after it was stored: digest's set_aside, ctx is the ingest. Blocks on the
 * disk; any thread but a loop's. */
void ingest_set_aside(void *ingest, uint32_t host, struct slice block, uint32_t header_len, const char *why);

/* After each commit, on the writer thread: up to 8 listeners, added by main's thread and never removed. */
void ingest_on_committed(struct ingest *in, void (*fn)(void *ctx, uint64_t last_seq), void *ctx);

/* ---- doors ---- */

struct ingest_result {
    uint64_t number; /* the caller's */
    enum status st;  /* ST_OK: committed with sync. ST_CANCELLED: not stored, through no fault of its own. Anything
                         else: the batch is at fault: refused, and kept in the quarantine while that has room */
    const char *reason;
    uint32_t n_events, n_stored, n_duplicate;
};
typedef void (*ingest_done_fn)(void *owner, const struct ingest_result *r);

/* after (may be NULL) is called on the loop once a wake-up's answers have been given: the moment to send acks and to go
 * on reading. It is also called from time to time while ingest_can_take has been false. */
MUST_USE enum status ingest_door_open(struct ingest *in, uv_loop_t *loop, void (*after)(void *ctx), void *ctx,
                                      struct ingest_door **ret, struct error *err);
/* Every batch must have been answered. `closed` comes when the loop has let go of the handles and the door is freed. */
void ingest_door_close(struct ingest_door *d, void (*closed)(void *ctx), void *ctx);
/* From now on the door does not touch the writer: what waits for room and what comes is answered ST_CANCELLED. All
 * doors must be quiet before ingest_stop. */
void ingest_door_quiet(struct ingest_door *d);
size_t ingest_door_in_flight(const struct ingest_door *d);

/* False: the writer is behind; stop reading until `after`. Batches that come all the same are kept (each session has
 * one at most), not refused. */
bool ingest_can_take(struct ingest_door *d);
/* Takes a FRAME_BATCH body (always; *body is empty then). done is called exactly once, never inside this call. */
void ingest_put(struct ingest_door *d, uint32_t host, struct buf *body, uint64_t number, ingest_done_fn done,
                void *owner);

/* Runs fn on the writer thread inside its next transaction; done comes on the door's loop with what the commit gave
 * (ST_CANCELLED: not done), exactly once, never inside this call. Until then it counts as in flight. */
typedef enum status (*ingest_call_fn)(void *arg, struct writer *w, struct error *err);
typedef void (*ingest_called_fn)(void *arg, enum status st, const struct error *err);
void ingest_call(struct ingest_door *d, ingest_call_fn fn, ingest_called_fn done, void *arg);

/* Gives the answers that have come, now: before a last word is said to the sessions. */
void ingest_door_drain(struct ingest_door *d);

#endif
