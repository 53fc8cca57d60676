/* The block index (derived), and the merge of it with the directory in memory that all look-ups of blocks share. */
#ifndef HAECHI_BLOCKS_H
#define HAECHI_BLOCKS_H

#include "partition.h"

/* What the table "blocks" keeps under key_block: pure. decode fills what the key does not say. */
void block_encode(const struct db_block *b, struct buf *out);
MUST_USE enum status block_decode(struct slice key, struct slice value, struct db_block *ret);

/* A growing list of blocks found. */
struct block_list {
    struct db_block *b;
    size_t n, cap;
};
void block_list_add(struct block_list *l, const struct db_block *b);

/* What a look-up wants: `indexed` adds what the index of one partition knows, `tail` judges a block of the directory. */
struct block_search {
    enum status (*indexed)(void *ctx, struct partition *p, MDB_txn *txn, const struct index_meta *m,
                           struct block_list *out, struct error *err);
    bool (*tail)(void *ctx, const struct tail_chunk *c, size_t i);
    void *ctx;
};
/* Every committed block exactly once, whatever the digest does meanwhile; by min_time, seq, index. */
MUST_USE enum status blocks_search(struct db *db, const struct block_search *s, struct db_block **ret, size_t *ret_n,
                                   struct error *err);

#endif
