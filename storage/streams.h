/* The stored form of streams, in the table "streams" of a partition:
 *
 *     host stream            -> head: version, epoch, counts, last arrival, computer, channel
 *     host stream first-id   -> a part of its ledger: the spans and notes that begin at first-id or later, up to the
 *                               next part (ledger_encode); the first part's first-id is 0
 *
 * A ledger is cut into parts of at most STREAM_PART_MAX spans, so that a commit writes what it changed and not a log's
 * whole history of holes. The newest partition holds the streams of all times. */
#ifndef HAECHI_STREAMS_H
#define HAECHI_STREAMS_H

#include "db.h"
#include "ledger.h"
#include "partition.h"

#define STREAM_PART_MAX 128u
#define STREAM_PART_FILL 96u /* what stays in the lower half of a split: most ledgers grow at the end */

struct stream_head {
    uint32_t epoch;
    struct slice computer, channel;
    uint64_t n_events, n_bytes, n_duplicates, last_arrival;
};
/* Pure. decode borrows. */
void stream_head_encode(const struct stream_head *h, struct buf *out);
MUST_USE enum status stream_head_decode(struct slice s, struct stream_head *ret);

/* A stream as read: the callee of streams_read takes over the ledger (it zeroes it) or leaves it. */
struct stream_read {
    uint32_t host, id;
    struct stream_head head;
    struct ledger ledger;
    uint64_t *parts; /* first ids */
    size_t n_parts, cap_parts;
};
/* All streams of a host (0: of all) in key order. */
MUST_USE enum status streams_read(struct partition *p, uint32_t host, void (*fn)(void *ctx, struct stream_read *s),
                                  void *ctx, struct error *err);

#endif
