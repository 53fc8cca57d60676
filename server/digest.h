/* 9 DIGEST  The thread that turns committed blocks into derived data: block and GUID index, process table, volumes; and that
 * finds the events which say that a log was cleared, to explain the holes they leave.
 *
 * It follows the packs behind the writer, from index_next on, and writes sorted runs of up to 60,000 blocks, or what it
 * has after 30 seconds: a run rewrites the pages it touches, so longer runs write less. Everything it writes can be
 * deleted and is built again from the packs. */
#ifndef HAECHI_DIGEST_H
#define HAECHI_DIGEST_H

#include "db.h"
#include "stats.h"
#include "writer.h"

struct digest;

#define DIGEST_RUN_BLOCKS 60000u
#define DIGEST_IDLE_MS 30000

struct digest_options {
    struct db *db;
    struct writer *writer; /* for explaining holes; NULL: holes stay open */
    struct stats *stats;
    unsigned idle_ms; /* a run is written when it is this old; 0: DIGEST_IDLE_MS */
    void (*progress)(void *ctx, uint64_t seq, uint64_t last_seq); /* on the digest thread, now and then; may be NULL */
    void *progress_ctx;
    /* A stored block that does not say the truth about itself, for the audit log; on the digest thread, at most one a second. */
    void (*notice)(void *ctx, uint32_t host, const char *action, const char *object, const char *detail);
    void *notice_ctx;
    /* A copy of a stored block that lies about itself (columns or payload say other than the header) goes to the
     * quarantine, as it was received; digest thread. May be NULL. */
    void (*set_aside)(void *ctx, uint32_t host, struct slice block, uint32_t header_len, const char *why);
    void *set_aside_ctx;
    /* Sysmon's service started or stopped (4), its configuration changed (16), it reported an error (255), on that host at that
     * FILETIME; digest thread. Events may come again after a restart. May be NULL. */
    void (*sysmon)(void *ctx, uint32_t host, uint32_t event_id, uint64_t time);
    void *sysmon_ctx;
};
/* Refills storage's directory of blocks that are not indexed yet (so that queries see them at once), then starts. */
MUST_USE enum status digest_start(const struct digest_options *o, struct digest **ret, struct error *err);
void digest_stop(struct digest **d);               /* flushes, joins */
void digest_wake(void *digest, uint64_t last_seq); /* any thread: there are packs up to last_seq; an ingest listener */
uint64_t digest_position(const struct digest *d);  /* any thread: the pack up to which derived data is on disk */
/* Has what is committed by now written, and waits for it, at most timeout_ms: so that a question to the process table sees
 * what was acked a moment ago. Work threads. False: the digest is further behind than that. */
bool digest_sync(struct digest *d, unsigned timeout_ms);
/* Blocks until the position has reached seq: for a rebuild before serving. False: the digest ended. */
bool digest_wait(struct digest *d, uint64_t seq);

#endif
