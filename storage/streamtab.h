/* The writer's streams in memory: found by log, by id, with the ledger that the next admission looks into, and which
 * parts of it the coming commit must write. Belongs to the writer thread. */
#ifndef HAECHI_STREAMTAB_H
#define HAECHI_STREAMTAB_H

#include "streams.h"

#define STREAMTAB_MAX_PER_HOST 8192u /* every stream is written anew each day: names must not be made up without end */

struct stream_part {
    uint64_t first;
    bool dirty, gone; /* gone: it has become empty; the commit deletes it */
};

struct stream {
    uint32_t id, host, epoch;
    char *computer, *channel;
    struct ledger ledger;
    uint64_t n_events, n_bytes, n_duplicates, last_arrival;
    struct stream_part *parts;
    size_t n_parts, cap_parts;
    bool dirty;
    struct stream *next; /* same bucket */
};

struct host_count {
    uint32_t host, n;
};

struct streamtab {
    struct stream **by_id; /* ids are 1, 2, 3 ... */
    size_t n, cap;         /* the highest id */
    struct stream **buckets;
    size_t n_buckets, n_streams;
    struct stream **dirty;
    size_t n_dirty, cap_dirty;
    struct host_count *hosts; /* open addressing; host 0: free */
    size_t n_hosts, cap_hosts;
};

void streamtab_init(struct streamtab *t);
void streamtab_deinit(struct streamtab *t);
MUST_USE enum status streamtab_load(struct streamtab *t, struct partition *p, struct error *err);

struct stream *streamtab_by_id(const struct streamtab *t, uint32_t id);
/* The streams of a log, epochs ascending: fn for each. */
void streamtab_each(const struct streamtab *t, uint32_t host, struct slice computer, struct slice channel,
                    void (*fn)(void *ctx, struct stream *s), void *ctx);
/* Finds or makes; NULL when the host has STREAMTAB_MAX_PER_HOST already. */
struct stream *streamtab_get(struct streamtab *t, uint32_t host, struct slice computer, struct slice channel,
                             uint32_t epoch);

/* Changes that the next commit has to write. */
void stream_changed(struct streamtab *t, struct stream *s);
void stream_add(struct streamtab *t, struct stream *s, const struct ledger_span *spans, size_t n);
void stream_explain(struct streamtab *t, struct stream *s, uint64_t first, uint64_t last, enum ledger_cause cause);

/* Writes what is dirty (all: everything, into a new partition). May be repeated until streamtab_stored says that it is
 * committed. Returns LMDB's number. */
int streamtab_store(struct streamtab *t, struct partition *p, MDB_txn *txn, bool all);
void streamtab_stored(struct streamtab *t);
size_t streamtab_store_bytes(const struct streamtab *t, bool all); /* about how much that writes */

#endif
