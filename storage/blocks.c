/* 9 DIGEST: which blocks a host has, from the index and from the directory of what it does not have yet.
 *
 * A block is in the directory before it is acked, and leaves it only after the index that has it is committed. So: take
 * the directory first, then each index with its cursor in one transaction, and of the directory count only what lies
 * past that cursor. Nothing is missed and nothing seen twice. */
#include "blocks.h"
#include "keys.h"
#include "mem.h"

#include <stdlib.h>

void block_encode(const struct db_block *b, struct buf *out) {
    buf_byte(out, b->partial);
    buf_varint(out, b->offset);
    buf_varint(out, b->len);
    buf_varint(out, b->header_len);
    buf_varint(out, b->n_events);
    buf_varint(out, b->n_events - b->n_kept);
    buf_varint(out, b->last_id - b->first_id);
    buf_varint(out, b->arrival);
    buf_zigzag(out, (int64_t)(b->min_time - b->arrival));
    buf_varint(out, b->max_time - b->min_time);
}

enum status block_decode(struct slice key, struct slice value, struct db_block *ret) {
    struct key_block k;
    if (key_block_parse(key, &k)) return ST_CORRUPT;
    struct db_block b = {.seq = k.seq, .index = k.index, .stream = k.stream, .host = k.host, .first_id = k.first_id};
    struct reader r = reader_of(value);
    uint8_t partial = reader_u8(&r);
    uint64_t offset = reader_varint(&r), len = reader_varint(&r), header_len = reader_varint(&r), n = reader_varint(&r),
             n_left_out = reader_varint(&r);
    b.last_id = k.first_id + reader_varint(&r);
    b.arrival = reader_varint(&r);
    b.min_time = b.arrival + (uint64_t)reader_zigzag(&r);
    b.max_time = b.min_time + reader_varint(&r);
    if (r.bad || reader_left(&r) || partial > 1 || (offset | len | header_len | n) > UINT32_MAX || header_len > len ||
        n_left_out > n) {
        return ST_CORRUPT;
    }
    b.partial = partial;
    b.offset = (uint32_t)offset;
    b.len = (uint32_t)len;
    b.header_len = (uint32_t)header_len;
    b.n_events = (uint32_t)n;
    b.n_kept = (uint32_t)(n - n_left_out);
    *ret = b;
    return ST_OK;
}

void block_list_add(struct block_list *l, const struct db_block *b) {
    mem_grow((void **)&l->b, l->n, &l->cap, sizeof *l->b);
    l->b[l->n++] = *b;
}

static int by_time(const void *pa, const void *pb) {
    const struct db_block *a = pa, *b = pb;
    if (a->min_time != b->min_time) return a->min_time < b->min_time ? -1 : 1;
    if (a->seq != b->seq) return a->seq < b->seq ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

/* The index of one partition; *ret_cursor is that of the same transaction. */
static enum status search_index(struct partition *p, const struct block_search *s, struct block_list *out,
                                uint64_t *ret_cursor, struct error *err) {
    MDB_txn *txn = NULL;
    struct index_meta m = {0};
    enum status st = env_read(p->index, &txn, err);
    if (st) return st;
    st = index_meta_get(p, txn, &m, err);
    if (!st) st = s->indexed(s->ctx, p, txn, &m, out, err);
    env_end(p->index, &txn);
    if (!st) *ret_cursor = m.cursor;
    return st;
}

enum status blocks_search(struct db *db, const struct block_search *s, struct db_block **ret, size_t *ret_n,
                          struct error *err) {
    struct tail_chunk **chunks;
    struct partition **parts;
    struct block_list out = {0};
    size_t n_chunks = tail_snapshot(db->tail, &chunks);
    uint64_t newest = db_last_seq(db); /* a chunk past it is in the directory but not readable yet */
    size_t n_parts = partitions_hold(db, &parts), at = 0;
    enum status st = ST_OK;
    for (size_t i = 0; i < n_parts && !st; i++) {
        uint64_t cursor = 0, end = i + 1 < n_parts ? parts[i + 1]->base_seq : newest;
        st = search_index(parts[i], s, &out, &cursor, err);
        for (; !st && at < n_chunks && chunks[at]->seq <= end; at++) {
            const struct tail_chunk *c = chunks[at];
            if (c->seq <= cursor || c->seq <= parts[i]->base_seq) continue;
            for (size_t j = 0; j < c->n; j++) {
                if (s->tail(s->ctx, c, j)) block_list_add(&out, &c->blocks[j]);
            }
        }
    }
    partitions_release(parts, n_parts, db);
    tail_release(db->tail, chunks, n_chunks);
    if (st) {
        mem_free(out.b);
        return st;
    }
    if (out.n) qsort(out.b, out.n, sizeof *out.b, by_time);
    *ret = out.b;
    *ret_n = out.n;
    return ST_OK;
}

/* ---- by host and time ---- */

struct wanted {
    uint32_t host, stream; /* stream 0: any */
    uint64_t since, until; /* times, or record ids of a stream */
};

/* Walks the entries from `key` on as long as they begin with its first `prefix` bytes and `want` says so. */
static enum status walk(struct partition *p, MDB_txn *txn, struct slice key, size_t prefix,
                        bool (*want)(const struct wanted *w, const struct db_block *b, bool *ret_stop),
                        const struct wanted *w, struct block_list *out, struct error *err) {
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, env_dbi(p->index, INDEX_BLOCKS), &c);
    if (rc) return env_error(p->index, rc, "cannot search", err);
    MDB_val k = env_val(key), v;
    enum status st = ST_OK;
    bool stop = false;
    for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); !rc && !st && !stop; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        struct db_block b;
        if (k.mv_size < prefix || memcmp(k.mv_data, key.p, prefix) != 0) break;
        st = block_decode(env_slice(k), env_slice(v), &b);
        if (!st && want(w, &b, &stop)) block_list_add(out, &b);
    }
    mdb_cursor_close(c);
    if (st) return error_set(err, st, "%s: the block index is damaged; rebuild the derived data", env_dir(p->index));
    return rc && rc != MDB_NOTFOUND ? env_error(p->index, rc, "cannot search", err) : ST_OK;
}

static bool overlaps_time(const struct wanted *w, const struct db_block *b, bool *ret_stop) {
    (void)ret_stop;
    return b->min_time <= w->until && b->max_time >= w->since;
}

static enum status host_indexed(void *ctx, struct partition *p, MDB_txn *txn, const struct index_meta *m,
                                struct block_list *out, struct error *err) {
    const struct wanted *w = ctx;
    if (!m->n_blocks || m->min_time > w->until || m->max_time < w->since) return ST_OK;
    uint8_t key[KEY_STREAM_LEN];
    key_stream(key, w->host, 0);
    return walk(p, txn, slice_of(key, sizeof key), 4, overlaps_time, w, out, err);
}

static bool host_tail(void *ctx, const struct tail_chunk *c, size_t i) {
    const struct wanted *w = ctx;
    bool stop;
    return c->blocks[i].host == w->host && overlaps_time(w, &c->blocks[i], &stop);
}

enum status db_host_blocks(struct db *db, uint32_t host, uint64_t since, uint64_t until, struct db_block **ret,
                           size_t *ret_n, struct error *err) {
    struct wanted w = {.host = host, .since = since, .until = until};
    struct block_search s = {.indexed = host_indexed, .tail = host_tail, .ctx = &w};
    return blocks_search(db, &s, ret, ret_n, err);
}

/* ---- by stream and record id ---- */

static bool overlaps_ids(const struct wanted *w, const struct db_block *b, bool *ret_stop) {
    *ret_stop = b->first_id > w->until;
    return b->first_id <= w->until && b->last_id >= w->since;
}

static enum status stream_indexed(void *ctx, struct partition *p, MDB_txn *txn, const struct index_meta *m,
                                  struct block_list *out, struct error *err) {
    const struct wanted *w = ctx;
    uint8_t key[KEY_PART_LEN]; /* no block is longer than max_span, so none that begins earlier reaches `since` */
    key_part(key, w->host, w->stream, w->since > m->max_span ? w->since - m->max_span : 0);
    return walk(p, txn, slice_of(key, sizeof key), 8, overlaps_ids, w, out, err);
}

static bool stream_tail(void *ctx, const struct tail_chunk *c, size_t i) {
    const struct wanted *w = ctx;
    bool stop;
    return c->blocks[i].stream == w->stream && c->blocks[i].host == w->host && overlaps_ids(w, &c->blocks[i], &stop);
}

enum status db_stream_blocks(struct db *db, uint32_t host, uint32_t stream, uint64_t first, uint64_t last,
                             struct db_block **ret, size_t *ret_n, struct error *err) {
    struct wanted w = {.host = host, .stream = stream, .since = first, .until = last};
    struct block_search s = {.indexed = stream_indexed, .tail = stream_tail, .ctx = &w};
    return blocks_search(db, &s, ret, ret_n, err);
}
