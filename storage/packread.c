/* 8 STORE: reading packs. A damaged pack costs its own blocks: it is named once and the rest goes on. */
#include "packread.h"
#include "keys.h"
#include "log.h"
#include "mem.h"

enum status packs_each(struct partition *p, uint64_t first, uint64_t last,
                       enum status (*fn)(void *ctx, uint64_t seq, struct slice pack), void *ctx, struct error *err) {
    MDB_txn *txn = NULL;
    MDB_cursor *c = NULL;
    enum status st = env_read(p->events, &txn, err);
    if (st) return st;
    uint8_t key[KEY_PACK_LEN];
    key_pack(key, first);
    MDB_val k = env_val(slice_of(key, sizeof key)), v;
    int rc = mdb_cursor_open(txn, env_dbi(p->events, EVENTS_PACKS), &c);
    if (!rc) rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    for (; !rc; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        uint64_t seq;
        st = key_pack_parse(env_slice(k), &seq);
        if (!st && seq > last) break;
        if (!st) st = fn(ctx, seq, env_slice(v));
        if (st) break;
    }
    if (c) mdb_cursor_close(c);
    env_end(p->events, &txn);
    if (st == ST_END) return ST_OK;
    return st || !rc || rc == MDB_NOTFOUND ? st : env_error(p->events, rc, "cannot read packs", err);
}

/* ---- one block ---- */

static enum status find_keep(struct slice pack, const struct db_block *b, struct buf *keep) {
    struct pack_reader r;
    struct db_block found;
    enum status st = pack_parse(pack, b->seq, &r);
    do {
        buf_clear(keep);
        if (!st) st = pack_next(&r, &found, keep);
    } while (!st && found.index != b->index);
    if (st == ST_END || (!st && (found.offset != b->offset || found.len != b->len))) st = ST_CORRUPT;
    return st;
}

static enum status copy_block(struct slice pack, const struct db_block *b, struct buf *out, struct buf *keep) {
    if (b->offset > pack.len || b->len > pack.len - b->offset || b->header_len > b->len) return ST_CORRUPT;
    if (b->partial) {
        enum status st = find_keep(pack, b, keep);
        if (st) return st;
    }
    buf_append(out, pack.p + b->offset, b->len);
    return ST_OK;
}

enum status db_read_block(struct db *db, const struct db_block *b, struct buf *out, struct db_keep **ret_keep,
                          size_t *ret_n_keep, struct error *err) {
    struct partition *p = partition_hold_seq(db, b->seq);
    if (!p) return error_set(err, ST_NOTFOUND, "pack %llu has expired", (unsigned long long)b->seq);
    struct buf keep = {0};
    MDB_txn *txn = NULL;
    enum status st = env_read(p->events, &txn, err);
    if (!st) {
        uint8_t key[KEY_PACK_LEN];
        key_pack(key, b->seq);
        MDB_val k = env_val(slice_of(key, sizeof key)), v;
        int rc = mdb_get(txn, env_dbi(p->events, EVENTS_PACKS), &k, &v);
        st = rc ? env_error(p->events, rc, "cannot read a pack", err) : copy_block(env_slice(v), b, out, &keep);
        if (st == ST_CORRUPT)
            error_set(err, st, "%s: pack %llu is damaged", env_dir(p->events), (unsigned long long)b->seq);
        env_end(p->events, &txn);
    }
    partition_release(db, p);
    if (st) {
        buf_free(&keep);
        return st;
    }
    *ret_n_keep = keep.len / sizeof **ret_keep;
    *ret_keep = NULL;
    if (keep.len) {
        *ret_keep = mem_alloc(keep.len);
        memcpy(*ret_keep, keep.p, keep.len);
    }
    buf_free(&keep);
    return ST_OK;
}

/* ---- all blocks in order ---- */

struct gather {
    struct db_block *b;
    size_t n, cap, max;
    uint64_t next_seq;
    bool full;
};

static enum status gather_pack(void *ctx, uint64_t seq, struct slice pack) {
    struct gather *g = ctx;
    struct pack_reader r;
    size_t before = g->n;
    enum status st = pack_parse(pack, seq, &r);
    g->full = g->n >= g->max || (!st && g->n && r.n > g->max - g->n);
    if (g->full) return ST_END; /* whole packs only */
    while (!st) {
        struct db_block b;
        st = pack_next(&r, &b, NULL);
        if (st) break;
        mem_grow((void **)&g->b, g->n, &g->cap, sizeof *g->b);
        g->b[g->n++] = b;
    }
    if (st != ST_END) {
        g->n = before;
        log_error("storage", "pack %llu is damaged; its blocks are left out, the rest goes on",
                  (unsigned long long)seq);
    }
    g->next_seq = seq + 1;
    return ST_OK;
}

enum status db_blocks_from(struct db *db, uint64_t seq, size_t max, struct db_block **ret, size_t *ret_n,
                           uint64_t *ret_next_seq, struct error *err) {
    struct gather g = {.max = max ? max : 1, .next_seq = seq ? seq : 1};
    uint64_t newest = db_last_seq(db);
    struct partition **parts;
    size_t n_parts = partitions_hold(db, &parts);
    enum status st = ST_OK;
    for (size_t i = 0; !st && i < n_parts && !g.full; i++) {
        uint64_t end = i + 1 < n_parts ? parts[i + 1]->base_seq : newest;
        if (end < g.next_seq) continue;
        if (g.next_seq <= parts[i]->base_seq) g.next_seq = parts[i]->base_seq + 1; /* what was before it has expired */
        st = packs_each(parts[i], g.next_seq, end, gather_pack, &g, err);
        if (!st && !g.full) g.next_seq = end + 1;
        if (g.n) break; /* one answer never mixes days: a run of derived entries belongs to one */
    }
    partitions_release(parts, n_parts, db);
    if (st) {
        mem_free(g.b);
        return st;
    }
    *ret = g.b;
    *ret_n = g.n;
    *ret_next_seq = g.next_seq;
    return ST_OK;
}
