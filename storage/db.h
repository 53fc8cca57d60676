/* The data directory: partitions, their environments, the fleet environment. Owner of <lmdb.h> with the other files
 * of storage/. Knows keys and bytes, not messages. STORAGE.md is normative for the layout.
 *
 *     DATA/LOCK                    one collector at a time
 *     DATA/format                  schema version, text
 *     DATA/fleet/                  hosts, certificates, tokens, audit ...   (fleetdb.h)
 *     DATA/events/2026-11-24/      packs, streams, ledger of that day of arrival (UTC)
 *     DATA/index/2026-11-24/       derived: blocks, guids, procs, cursors; may be deleted at any time
 *     DATA/quarantine/             batches whose header lied, as received
 *
 * Threads: one writer thread (writer.h) writes events/, one digest thread writes index/, any thread reads through
 * short read transactions that never outlive a call of this layer (all results are copied out). */
#ifndef HAECHI_DB_H
#define HAECHI_DB_H

#include "buf.h"
#include "guid.h"

struct db;

struct db_options {
    uint64_t map_bytes;      /* initial map of a partition; grows by itself. 0: the default, 1 GiB */
    uint64_t min_free_bytes; /* the file system's free space below which commits are refused (ST_FULL); 0: 256 MiB */
    bool read_only;          /* backup, tools */
};

/* Opens or creates the directory. ST_BUSY: another collector has it; ST_VERSION: made by a newer one. */
MUST_USE enum status db_open(const char *dir, const struct db_options *o, struct db **ret, struct error *err);
void db_close(struct db **db); /* writer and digest must have stopped */
const char *db_dir(const struct db *db);

/* ---- partitions ---- */

#define DB_DAY_LEN 11 /* "2026-11-24" and NUL */

struct db_partition {
    char day[DB_DAY_LEN];
    uint64_t day_time;            /* FILETIME of its first moment */
    uint64_t first_seq, last_seq; /* packs; 0, 0 when empty */
    uint64_t bytes, index_bytes;  /* on disk */
    uint64_t n_events, n_blocks;  /* of indexed blocks */
    uint64_t min_time, max_time;  /* FILETIME of indexed events; 0, 0 when none */
    bool sealed;                  /* a newer partition exists */
};
/* A copy of the list, oldest first; mem_free it. */
size_t db_partitions(struct db *db, struct db_partition **ret);

/* Removes whole partitions, oldest first, until none is older than max_age_days (0: no limit) and the sum of sizes is
 * at most max_bytes (0: no limit). The newest is never removed. *ret_removed (may be NULL) counts. A partition that a
 * reader is in is removed as soon as the reader's call ends. */
MUST_USE enum status db_expire(struct db *db, uint64_t now, uint64_t max_age_days, uint64_t max_bytes,
                               size_t *ret_removed, struct error *err);

/* A consistent copy of everything that is not derived into `dir` (must not exist or be empty) while the collector
 * runs: LMDB's own copy, compacting, one environment after the other; progress (may be NULL) gets bytes done and in
 * all. To restore: stop the collector, put the copy where the data directory was, start (derived data is rebuilt). */
MUST_USE enum status db_backup(struct db *db, const char *dir, void (*progress)(void *ctx, uint64_t done, uint64_t all),
                               void *ctx, struct error *err);

/* Throws all derived data away; the digest builds it anew from the packs. Before writer and digest start. */
MUST_USE enum status db_drop_derived(struct db *db, struct error *err);

/* ---- streams: one log's one epoch ---- */

struct db_stream {
    uint32_t id; /* of the stream, unique in this data directory */
    uint32_t host, epoch;
    char *computer, *channel; /* owned; computer "" is the host's own */
    struct ledger *ledger;    /* owned */
    uint64_t n_events, n_bytes, n_duplicates;
    uint64_t last_arrival; /* FILETIME */
};
/* The streams of a host (0: of all hosts) as committed, in order of host, computer, channel, epoch. Free with
 * db_streams_free. */
MUST_USE enum status db_streams(struct db *db, uint32_t host, struct db_stream **ret, size_t *ret_n, struct error *err);
void db_streams_free(struct db_stream *s, size_t n);

/* ---- blocks as stored ---- */

/* Where a block is, and what the index knows of it. */
struct db_block {
    uint64_t seq;   /* pack */
    uint32_t index; /* in the pack */
    uint32_t stream, host;
    uint32_t offset, len, header_len; /* bytes in the pack's value */
    uint32_t n_events;                /* of the batch (the kept ones may be fewer) */
    uint32_t n_kept;                  /* the events that count */
    bool partial;                     /* only some events count: see db_read_block */
    uint64_t first_id, last_id;       /* lowest and highest record id kept */
    uint64_t min_time, max_time;      /* FILETIME */
    uint64_t arrival;                 /* FILETIME of the commit */
};

/* A run of event positions in a batch, [first, first + n). */
struct db_keep {
    uint32_t first, n;
};

/* Copies the block's bytes (header, columns, payload) to *out (appended). When block->partial, *ret_keep (owned,
 * mem_free) lists the positions that count; else it is NULL and n 0. ST_NOTFOUND: expired meanwhile. */
MUST_USE enum status db_read_block(struct db *db, const struct db_block *b, struct buf *out, struct db_keep **ret_keep,
                                   size_t *ret_n_keep, struct error *err);

/* The blocks of a host that may hold events in [since, until] (FILETIME, both included), of all partitions, acked
 * moments ago included, in order of min_time, then seq, then index; *ret is mem_free'd by the caller. */
MUST_USE enum status db_host_blocks(struct db *db, uint32_t host, uint64_t since, uint64_t until, struct db_block **ret,
                                    size_t *ret_n, struct error *err);
/* The same for the blocks of a host that name a process GUID (a few false hits are possible, no misses). */
MUST_USE enum status db_guid_blocks(struct db *db, uint32_t host, const struct guid *g, struct db_block **ret,
                                    size_t *ret_n, struct error *err);
/* Blocks of a stream that hold ids of [first, last]: for admission and for the ledger's checks. */
MUST_USE enum status db_stream_blocks(struct db *db, uint32_t host, uint32_t stream, uint64_t first, uint64_t last,
                                      struct db_block **ret, size_t *ret_n, struct error *err);
/* Blocks from pack `seq` on, in order, whole packs of one partition, at most `max` (or one pack): for the digest, follow
 * mode and scans. *ret_next_seq is where to go on; past db_last_seq all has been given. A damaged pack is logged and left
 * out. */
MUST_USE enum status db_blocks_from(struct db *db, uint64_t seq, size_t max, struct db_block **ret, size_t *ret_n,
                                    uint64_t *ret_next_seq, struct error *err);
uint64_t db_last_seq(struct db *db);  /* newest committed pack; 0: none */
size_t db_tail_blocks(struct db *db); /* blocks that the index does not have yet: how far the digest is behind */

#endif
