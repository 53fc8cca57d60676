/* One group commit while it is being put together: what admission placed, as it will lie in packs. Belongs to the
 * writer thread. Nothing here reaches the streams before the item it belongs to has been admitted as a whole. */
#ifndef HAECHI_GROUP_H
#define HAECHI_GROUP_H

#include "packs.h"
#include "streamtab.h"
#include "writer.h"

struct placement {
    struct db_block blk; /* offset is known at the commit */
    struct stream *stream;
    struct writer_item *item;
    size_t keep_at, n_keep; /* in group.keeps */
    bool same;              /* bytes of the placement before */
};

/* What a callback asked for, until it has returned ST_OK. */
struct wish {
    enum { WISH_PLACE, WISH_DUPLICATES, WISH_EXPLAIN } kind;
    struct stream *stream;
    struct writer_item *item;
    size_t keep_at, n_keep, span_at, n_spans;
    uint64_t n, first, last;
    enum ledger_cause cause;
};

struct group {
    uint64_t arrival, first_seq;
    struct pack_builder *packs; /* n_packs in use, the others keep their memory */
    size_t n_packs, cap_packs;
    struct placement *placed;
    size_t n_placed, cap_placed;
    struct db_keep *keeps;
    size_t n_keeps, cap_keeps;
    struct ledger_span *spans;
    size_t n_spans, cap_spans;
    struct wish *wishes;
    size_t n_wishes, cap_wishes;
    uint64_t n_events, n_bytes, n_duplicates;
};

void group_begin(struct group *g, uint64_t arrival, uint64_t first_seq);
void group_deinit(struct group *g);

void group_wish(struct group *g, struct wish w, const struct db_keep *keep, const struct ledger_span *spans);
void group_forget_wishes(struct group *g);
void group_grant_wishes(struct group *g, struct streamtab *t);

size_t group_bytes(const struct group *g);
/* Writes the packs; LMDB's number. May be repeated. */
int group_store(struct group *g, struct partition *p, MDB_txn *txn);
/* After the commit: makes the blocks known to readers' directory. */
void group_publish(struct group *g, struct tail *tail);

const struct placement *group_find(const struct group *g, uint64_t seq, uint32_t index);

#endif
