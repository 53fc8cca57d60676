/* 4 SPOOL  Batches on disk between reading and acknowledgement: append-only segments and a read cursor.
 *
 *     STATE/spool/0000000000000001.seg     named by its first entry's number (spool_entry.h: the bytes)
 *
 * An entry counts once spool_sync has returned: only then is it given out. What a crash tore is cut off at the next
 * open. A segment with other damage is renamed aside (.bad) and reported; its readable entries go on in a new segment
 * and the caller is told to read the sources again from the last position before the damage. Segments go when all of
 * their entries are acknowledged. One thread, blocking. */
#ifndef HAECHI_SPOOL_H
#define HAECHI_SPOOL_H

#include "spool_entry.h"

#define SPOOL_SEGMENT_BYTES (8u * 1024 * 1024)

struct spool;

struct spool_options {
    const char *dir;
    uint64_t max_bytes;     /* spool_can_append says no above */
    uint32_t segment_bytes; /* 0: SPOOL_SEGMENT_BYTES */
};

struct spool_stats {
    uint64_t bytes, max_bytes;
    uint64_t unread_entries, unread_events; /* durable and not yet given out by spool_next */
    uint64_t next_seq, acked;
    unsigned n_bad; /* segments set aside since the open */
};

/* Reads what is there; entries up to `acked` are skipped and their segments removed. */
MUST_USE enum status spool_open(const struct spool_options *o, uint64_t acked, struct spool **ret, struct error *err);
void spool_close(struct spool **sp);

/* Where the source goes on, by the entries found at open: behind the last one, but never past damage. ST_NOTFOUND: no
 * entry says so. */
MUST_USE enum status spool_resume(const struct spool *sp, struct slice source, struct slice *ret_position);

bool spool_can_append(const struct spool *sp, size_t batch_len);
/* e->seq is ignored. Not durable before spool_sync. ST_FULL, ST_IO ...: nothing was appended. */
MUST_USE enum status spool_append(struct spool *sp, const struct spool_entry *e, uint64_t *ret_seq, struct error *err);
/* Everything appended is on disk. On failure what was appended since the last sync is taken back: append it again. */
MUST_USE enum status spool_sync(struct spool *sp, struct error *err);

/* The next durable entry, read into *into (emptied first), which *ret borrows from. ST_END: none. ST_CORRUPT: damage was
 * met, *err says what was set aside; the caller reads its sources again from the last position it was given; the next
 * call goes on. ST_IO: nothing moved. */
MUST_USE enum status spool_next(struct spool *sp, struct buf *into, struct spool_entry *ret, struct error *err);

/* All entries up to seq are acknowledged: removes segments that hold nothing else. */
MUST_USE enum status spool_ack(struct spool *sp, uint64_t seq, struct error *err);
struct spool_stats spool_stats(const struct spool *sp);

#endif
