/* The pack: the blocks of one commit as one value, byte for byte, behind a directory of about 25 bytes a block.
 *
 *     0    "HPK1"
 *     4    u32le  length of the directory
 *     8    u64le  XXH3-64 of the directory
 *     16   directory: arrival (u64le FILETIME), n blocks (varint), entries, keep lists
 *     ...  the blocks' bytes, in order of the entries
 *
 *     entry: flags (u8: 1 partial, 2 same bytes as the entry before), host, stream, header_len, len, n_events (varints),
 *     first_id (varint), last_id - first_id, min_time - arrival (zigzag), max_time - min_time; when partial: number of
 *     runs, then each run's gap from the end of the last one and its n - 1
 *
 * Pure, but for where the bytes come from. */
#ifndef HAECHI_PACKS_H
#define HAECHI_PACKS_H

#include "db.h"

#define PACK_MAX_BYTES (4u * 1024 * 1024) /* a bigger one holds one block only */
#define PACK_HEAD 16u
#define PACK_MAX_BLOCK (64u * 1024 * 1024)

/* Building: the directory grows as blocks are added; offsets and the head are known at the end. */
struct pack_builder {
    uint64_t arrival;
    uint32_t n;
    size_t body_len; /* of the blocks */
    struct buf entries;
};
void pack_begin(struct pack_builder *b, uint64_t arrival);
void pack_deinit(struct pack_builder *b);
/* `same`: the block's bytes are those of the block added before. offset and arrival of *blk are not looked at. */
void pack_add(struct pack_builder *b, const struct db_block *blk, const struct db_keep *keep, size_t n_keep, bool same);
size_t pack_len(const struct pack_builder *b);
/* Writes head and directory to `at` (pack_len bytes in all are there) and returns how long they are: where the blocks'
 * bytes go. */
size_t pack_write_head(const struct pack_builder *b, uint8_t *at);

/* Reading hostile bytes. */
struct pack_reader {
    struct reader r;
    uint64_t seq, arrival;
    uint32_t n, next;
    size_t at, prev, prev_len, len; /* offsets of the next and the last block, length of the pack */
};
/* ST_CORRUPT: the directory's checksum, or a length, does not hold. */
MUST_USE enum status pack_parse(struct slice pack, uint64_t seq, struct pack_reader *ret);
/* The next block, ST_END after the last. ret_keep (may be NULL): its kept runs, appended as struct db_keep to a buffer
 * that the caller empties. ST_CORRUPT. */
MUST_USE enum status pack_next(struct pack_reader *p, struct db_block *ret, struct buf *ret_keep);

#endif
