/* Record ids that will never come, and why: kept in the state directory until the collector has surely been told, for the bookmark
 * has moved past them by then and nobody would find them again.
 *
 *     haechi-gaps 1
 *     CAUSE EPOCH FIRST LAST CHANNEL
 *
 * No message answers a Gap, but a connection is worked on in order: a batch that was given to the uplink after a gap and is
 * acknowledged proves that it arrived. Pure. */
#ifndef HAECHI_GAPS_H
#define HAECHI_GAPS_H

#include "buf.h"
#include "source.h"

#define GAPS_MAX 1024u
#define GAPS_NOT_TOLD UINT64_MAX

struct gap {
    char channel[256];
    struct source_gap gap;
    uint64_t told; /* the last batch that the uplink had been given when it was told, or GAPS_NOT_TOLD */
};

struct gaps { /* zero is empty; gaps_free */
    struct gap *items;
    size_t n, cap;
    bool changed; /* since gaps_write */
    bool urgent;  /* and that by more than what a query leaves out */
};

void gaps_free(struct gaps *g);
/* Neighbours become one while they are not told; what a query leaves out is one piece, over what it lets through. */
void gaps_add(struct gaps *g, const char *channel, const struct source_gap *gap);
void gaps_acked(struct gaps *g, uint64_t seq); /* all batches up to seq are acknowledged */
void gaps_write(const struct gaps *g, struct buf *out);
MUST_USE enum status gaps_parse(struct slice text, struct gaps *ret); /* lines that cannot be read are left out */

#endif
