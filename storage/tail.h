/* The directory in memory of blocks that the index does not have yet: so that a query sees an event as soon as it is
 * acked, while the ack path writes packs only.
 *
 * The writer adds one chunk a pack; the digest's flush lets chunks go after the index has them. A chunk never changes
 * once added, so a snapshot is a list of references and the lock is held for as long as it takes to copy that. Any
 * thread. */
#ifndef HAECHI_TAIL_H
#define HAECHI_TAIL_H

#include "db.h"

struct tail;

struct tail_chunk { /* the blocks of one pack */
    uint64_t seq;
    size_t n, cap;
    struct db_block *blocks;
    uint32_t *guid_at; /* n + 1 positions in hashes */
    uint32_t *hashes;  /* key_guid_hash of the GUIDs that each block names */
    size_t n_hashes, cap_hashes;
    unsigned refs; /* under the tail's lock once added */
};

struct tail *tail_new(void);
void tail_free(struct tail **t);

struct tail_chunk *tail_chunk_new(uint64_t seq);
void tail_chunk_block(struct tail_chunk *c, const struct db_block *b, struct slice guids);

void tail_add(struct tail *t, struct tail_chunk *c); /* takes it; seq grows from call to call */
/* Lets the chunks of (after, upto] go. */
void tail_forget(struct tail *t, uint64_t after, uint64_t upto);
size_t tail_blocks(struct tail *t);

/* References to all chunks, by seq; give them back with tail_release. */
size_t tail_snapshot(struct tail *t, struct tail_chunk ***ret);
void tail_release(struct tail *t, struct tail_chunk **chunks, size_t n);

/* Does block i of the chunk name a GUID of that hash? */
bool tail_chunk_names(const struct tail_chunk *c, size_t i, uint32_t hash);

#endif
