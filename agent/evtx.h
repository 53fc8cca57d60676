/* 1 SOURCE  Windows event log files (.evtx): bytes in, one-line event XML out, as Windows itself renders it.
 *
 * Pure: no I/O, no clock, no globals. The caller reads the first 4,096 bytes of a file for evtx_file_check() and then
 * every 64 KiB chunk behind them up to the end of the file, whatever the header says of their number: a log that was
 * copied while in use ("dirty") has more chunks than its header knows.
 *
 *     file     4,096 bytes header, then chunks of 65,536 bytes, each complete in itself
 *     chunk    "ElfChnk\0" | header 128 | name hash table 256 | template table 128 | records from 512 to `free`
 *     record   "**\0\0" u32 size | u64 id | u64 written (FILETIME) | BinXML | u32 size again
 *
 * Damage never ends a file: every readable record comes, and each skipped stretch gives one struct evtx_damage.
 *
 *     struct evtx_chunk c;
 *     st = evtx_chunk_open(&c, chunk, &dmg);             ST_OK; dmg.why not empty: worth a line. ST_END: unused chunk
 *     while ((st = evtx_chunk_next(&c, &xml, &rec, &dmg)) != ST_END)
 *         if (st == ST_OK) use(rec, xml);                ST_CORRUPT, ST_TOOBIG: dmg says what was skipped, go on
 *         else if (st == ST_NOMEM) break;                nothing was consumed; the next call tries the same record again
 */
#ifndef HAECHI_EVTX_H
#define HAECHI_EVTX_H

#include "buf.h"
#include "slice.h"
#include "status.h"

#define EVTX_FILE_HEADER 4096
#define EVTX_CHUNK 65536
#define EVTX_EVENT_MAX (4u << 20)  /* bytes of XML of one event */
#define EVTX_CHUNK_MAX (64u << 20) /* bytes of XML of all events of one chunk; real chunks give a hundredth of it */
#define EVTX_WHY_MAX 160

/* What the header of a file says. Only a hint: it is written last, and late. */
struct evtx_file {
    bool is_evtx; /* the signature is there */
    bool crc_ok;
    bool dirty, full;      /* not closed properly or still open; the log had reached its size and was not to wrap */
    uint16_t major, minor; /* 3.1 (Vista) or 3.2 */
    uint16_t n_chunks;
    uint32_t header_size; /* where the first chunk begins; 4,096, also where the header says nonsense */
    uint64_t first_chunk, last_chunk, next_record_id;
};

/* One stretch that could not be read, or a doubt about one that could (skipped is 0 then). */
struct evtx_damage {
    uint32_t offset;        /* in the chunk */
    uint32_t skipped;       /* bytes */
    uint64_t record_id;     /* of the record header; 0: unknown */
    char why[EVTX_WHY_MAX]; /* one clause; empty: no damage */
};

struct evtx_record {
    uint64_t record_id;    /* of the record header; an exported log starts again at 1, so System/EventRecordID rules */
    uint64_t written;      /* FILETIME */
    uint32_t offset, size; /* in the chunk */
};

struct evtx_chunk { /* borrows the chunk's bytes; nothing to release */
    struct slice bytes;
    bool header_ok;   /* signature and checksum hold: the numbers below are right */
    bool data_crc_ok; /* the records' checksum holds; false also where the chunk was still being filled */
    uint64_t first_number, last_number;       /* of the records in the file, from 1; last < first: no records */
    uint64_t first_record_id, last_record_id; /* of the record headers: chunks of a wrapped log are not in this order */
    uint32_t free_offset;                     /* where the records end */
    uint64_t n_read;                          /* records given so far */
    uint32_t pos, end;                        /* private from here on: the cursor, and where to stop */
    uint32_t work_left;
    size_t out_left;
    uint64_t last_seen_id;
    bool free_ok, tail;
};

/* Never fails: a header that is short or damaged leaves the fields 0 and is_evtx or crc_ok false. */
struct evtx_file evtx_file_check(struct slice header);

/* chunk: EVTX_CHUNK bytes, or fewer at the end of a file that was cut; must stay valid while c is used.
 * ST_OK: go on with evtx_chunk_next (also when *ret_damage tells of wrong checksums or a wrong signature).
 * ST_END: an unused chunk (all zero, or empty). ST_CORRUPT: nothing in it looks like a record; *ret_damage has it all. */
MUST_USE enum status evtx_chunk_open(struct evtx_chunk *c, struct slice chunk, struct evtx_damage *ret_damage);

/* The next record, rendered into xml (which is emptied first; no line end). ST_OK, ST_END, ST_NOMEM, or what was
 * skipped: ST_CORRUPT, ST_TOOBIG with *ret_damage. */
MUST_USE enum status evtx_chunk_next(struct evtx_chunk *c, struct buf *xml, struct evtx_record *ret,
                                     struct evtx_damage *ret_damage);

/* After ST_END: continue behind the last record that the chunk's header knows, as long as records follow each other
 * without a gap and their ids go on by one. For dirty files: the header of the chunk that was being filled lags behind.
 * What else lies there is the remains of older records and is never read. */
void evtx_chunk_read_tail(struct evtx_chunk *c);

/* "record 17 at byte 1234 of the chunk: <why>; 512 bytes skipped", cut to cap, NUL-terminated. */
void evtx_damage_describe(const struct evtx_damage *d, char *out, size_t cap);

#endif
