/* The one writer thread: takes blocks, decides with the caller's `admit` where they go, commits in groups, then
 * completes. An item is completed only after the transaction that holds it has committed with sync.
 *
 * Commits are spaced: the next one starts spacing_ms after the last one's start, or when batch_bytes are queued; on an
 * idle collector at once. A commit holds one pack (or several, split at 4 MiB) and one ledger value for each stream
 * touched, nothing else. A failed commit (full disk) completes nothing: the items stay, the writer logs once, reports
 * through writer_state, and tries again every second until space returns. */
#ifndef HAECHI_WRITER_H
#define HAECHI_WRITER_H

#include "db.h"
#include "ledger.h"
#include "list.h"

struct writer;

/* What the index needs to know of a block. The caller gets it from the batch header. Borrowed by the item. */
struct writer_block {
    uint32_t host;
    struct slice computer, channel;
    struct slice bytes; /* header | columns | payload */
    uint32_t header_len, n_events;
    uint64_t min_time, max_time;
    struct slice guids; /* 16 bytes each */
};

/* One event's place, for admission. */
struct writer_item;

/* Tells, inside the writer thread, where the block of an item goes: calls writer_place once for each part that is to
 * be stored (none: everything was held already). Returns ST_OK, or why the item is refused (it is completed with that
 * status and nothing of it is stored). */
typedef enum status (*writer_admit_fn)(void *ctx, struct writer *w, struct writer_item *item, struct error *err);
/* On the writer thread, after the commit (ST_OK) or a refusal; the item is the caller's again. Must not block. */
typedef void (*writer_done_fn)(void *ctx, struct writer_item *item, enum status st, const struct error *err);

struct writer_item { /* filled by the caller, owned by the writer between writer_put and done */
    struct list link;
    struct writer_block block;
    void *owner;                    /* the caller's own */
    uint32_t n_stored, n_duplicate; /* filled by admission: events kept, events held already */
};

struct writer_options {
    unsigned spacing_ms;   /* 10 */
    size_t batch_bytes;    /* 1 MiB: commit early */
    size_t queue_bytes;    /* 32 MiB: writer_put answers ST_AGAIN above */
    uint64_t (*now)(void); /* clock_wall; tests give their own */
    writer_admit_fn admit;
    writer_done_fn done;
    /* After each commit, on the writer thread: the new last pack. Wakes digest and followers. May be NULL. */
    void (*committed)(void *ctx, uint64_t last_seq);
    void *ctx;
};

MUST_USE enum status writer_start(struct db *db, const struct writer_options *o, struct writer **ret,
                                  struct error *err);
/* Commits what is queued and joins the thread; puts and calls get ST_CLOSED from then on. */
void writer_finish(struct writer *w);
void writer_stop(struct writer **w); /* finishes and frees */

MUST_USE enum status writer_put(struct writer *w, struct writer_item *item); /* any thread; ST_AGAIN: full */
bool writer_can_put(struct writer *w, size_t bytes);

/* Runs fn on the writer thread inside the next write transaction (explaining holes, removing a host): completes as an
 * item does, by `done` of this call. */
MUST_USE enum status writer_call(struct writer *w, enum status (*fn)(void *arg, struct writer *w, struct error *err),
                                 void (*done)(void *arg, enum status st, const struct error *err), void *arg);

/* ---- only inside admit and writer_call ---- */

/* The streams of a log, epochs ascending; pointers valid until the callback returns. */
struct writer_stream {
    uint32_t id, epoch;
    struct ledger *ledger; /* with what this transaction has placed already */
};
size_t writer_streams(struct writer *w, uint32_t host, struct slice computer, struct slice channel,
                      struct writer_stream **ret);
/* Finds or makes the stream of that epoch. ST_INVALID: a name that cannot be kept; ST_TOOBIG: too many of this host. */
MUST_USE enum status writer_stream_get(struct writer *w, uint32_t host, struct slice computer, struct slice channel,
                                       uint32_t epoch, struct writer_stream *ret, struct error *err);

/* What the calls below ask for takes effect when the callback has returned ST_OK: until then the ledgers that it sees do
 * not have it, and when it returns anything else nothing is stored.
 *
 * Stores the item's block under the stream, with the kept positions (n_keep 0: all of them), and adds spans to the
 * stream's ledger. Spans must be those of the kept events. */
void writer_place(struct writer *w, struct writer_item *item, uint32_t stream, const struct db_keep *keep,
                  size_t n_keep, const struct ledger_span *spans, size_t n_spans, uint64_t n_kept);
void writer_count_duplicates(struct writer *w, uint32_t stream, uint64_t n);
void writer_explain(struct writer *w, uint32_t stream, uint64_t first, uint64_t last, enum ledger_cause cause);
/* The blocks of this stream that hold ids of [first, last], those that earlier items placed in this very transaction
 * included (their
 * bytes can be read with db_read_block only after the commit; use writer_read_block). */
MUST_USE enum status writer_blocks(struct writer *w, uint32_t host, uint32_t stream, uint64_t first, uint64_t last,
                                   struct db_block **ret, size_t *ret_n, struct error *err);
MUST_USE enum status writer_read_block(struct writer *w, const struct db_block *b, struct buf *out,
                                       struct db_keep **ret_keep, size_t *ret_n_keep, struct error *err);

/* ---- any thread ---- */

#define WRITER_BUCKETS 24 /* the last has all that took longer */

struct writer_state {
    uint64_t n_commits, n_items, n_events, n_bytes, n_duplicates;
    uint64_t queued_bytes, queued_items;
    uint64_t commit_us_total, commit_us_max;
    uint64_t commit_us_bucket[WRITER_BUCKETS]; /* commits that took at most 2^i microseconds and over half of that */
    bool full;                                 /* commits fail for lack of space */
    char failure[ERROR_TEXT_MAX];              /* why commits fail now; empty when they do not */
    double cpu_s;                              /* of the writer thread */
};
void writer_get_state(struct writer *w, struct writer_state *ret);

#endif
