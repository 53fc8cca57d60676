/* 4 SPOOL  The bytes of a spool segment. Pure.
 *
 *     segment   "HAESPOOL" | u32 version 1 | u32 0 | entries
 *
 *     entry     0       4     8     16           20         24           26             28         32         36
 *               +-------+-----+-----+------------+----------+------------+--------------+----------+----------+- - -
 *               | magic | len | seq | header_len | n_events | source_len | position_len | body crc | head crc | body
 *               +-------+-----+-----+------------+----------+------------+--------------+----------+----------+- - -
 *               body = source name, source position behind this batch, batch (len bytes in all); little-endian */
#ifndef HAECHI_SPOOL_ENTRY_H
#define HAECHI_SPOOL_ENTRY_H

#include "buf.h"

#define SPOOL_HEAD_LEN 16
#define SPOOL_ENTRY_HEAD 36
#define SPOOL_MAX_BATCH (4u * 1024 * 1024)
#define SPOOL_MAX_NAME 256u
#define SPOOL_MAX_POSITION 1024u
#define SPOOL_MAX_ENTRY (SPOOL_ENTRY_HEAD + SPOOL_MAX_NAME + SPOOL_MAX_POSITION + SPOOL_MAX_BATCH)

struct spool_entry {
    uint64_t seq;
    uint32_t header_len, n_events;
    struct slice source, position; /* which source, and where it goes on behind this batch; position may be empty */
    struct slice batch;
};

void spool_put_head(struct buf *out);
bool spool_head_ok(struct slice segment);
/* Appends the entry; its parts are within the limits above. */
void spool_entry_put(const struct spool_entry *e, struct buf *out);
/* The length of the whole entry from its head (SPOOL_ENTRY_HEAD bytes); 0 when the head's checksum or limits do not
 * hold. Fills seq and n_events of *ret, and the lengths of its slices. */
size_t spool_entry_head(struct slice head, struct spool_entry *ret);
/* The entry that begins at byte `at` of a segment: ST_OK with *ret (which borrows) and *ret_next; ST_END at the end;
 * ST_AGAIN: the segment ends inside this entry; ST_CORRUPT. */
MUST_USE enum status spool_entry_parse(struct slice segment, size_t at, struct spool_entry *ret, size_t *ret_next);
/* The next place behind `at` where a whole entry stands; segment.len when none does. */
size_t spool_find_entry(struct slice segment, size_t at);

#endif
