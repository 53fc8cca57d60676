/* 9 DIGEST: which blocks of a host name a process GUID. An entry is 8 + 8 bytes: the place of the block is in its pack's
 * directory, which a look-up reads; another GUID of the same 32 bits costs that look-up one block more. */
#include "guids.h"
#include "blocks.h"
#include "keys.h"
#include "mem.h"
#include "packs.h"

#include <stdlib.h>

static int by_key(const void *pa, const void *pb) {
    const struct guid_ref *a = pa, *b = pb;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
    if (a->seq_from_base != b->seq_from_base) return a->seq_from_base < b->seq_from_base ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

int guids_store(struct partition *p, MDB_txn *txn, struct guid_ref *refs, size_t n) {
    if (!n) return 0;
    qsort(refs, n, sizeof *refs, by_key);
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, env_dbi(p->index, INDEX_GUIDS), &c);
    for (size_t i = 0; i < n && !rc; i++) {
        uint8_t key[KEY_GUID_LEN], ref[KEY_REF_LEN];
        key_guid(key, refs[i].host, refs[i].hash);
        key_ref(ref, refs[i].seq_from_base, refs[i].index);
        MDB_val k = env_val(slice_of(key, sizeof key)), v = env_val(slice_of(ref, sizeof ref));
        rc = mdb_cursor_put(c, &k, &v, 0);
    }
    mdb_cursor_close(c);
    return rc;
}

/* ---- look-up ---- */

struct refs {
    uint64_t *r; /* seq_from_base << 32 | index, ascending as LMDB keeps them */
    size_t n, cap;
};

static enum status read_refs(struct partition *p, MDB_txn *txn, struct slice key, struct refs *out, struct error *err) {
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, env_dbi(p->index, INDEX_GUIDS), &c);
    if (rc) return env_error(p->index, rc, "cannot search", err);
    MDB_val k = env_val(key), v;
    enum status st = ST_OK;
    for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_KEY); !rc && !st; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT_DUP)) {
        if (v.mv_size != KEY_REF_LEN) {
            st = error_set(err, ST_CORRUPT, "%s: the GUID index is damaged; rebuild the derived data",
                           env_dir(p->index));
            break;
        }
        mem_grow((void **)&out->r, out->n, &out->cap, sizeof *out->r);
        out->r[out->n++] = key_get_u64(v.mv_data);
    }
    mdb_cursor_close(c);
    return st || !rc || rc == MDB_NOTFOUND ? st : env_error(p->index, rc, "cannot search", err);
}

/* The blocks of one pack whose indexes are wanted: [from, to) of the refs. A pack that is damaged has none. */
static void pick(struct slice pack, uint64_t seq, const uint64_t *refs, size_t n, uint32_t host,
                 struct block_list *out) {
    struct pack_reader r;
    enum status st = pack_parse(pack, seq, &r);
    for (size_t i = 0; !st && i < n;) {
        struct db_block b;
        st = pack_next(&r, &b, NULL);
        if (st || b.index != (uint32_t)refs[i]) continue;
        if (b.host == host) block_list_add(out, &b);
        i++;
    }
}

static enum status resolve(struct partition *p, const struct refs *refs, uint32_t host, struct block_list *out,
                           struct error *err) {
    MDB_txn *txn = NULL;
    enum status st = refs->n ? env_read(p->events, &txn, err) : ST_OK;
    for (size_t i = 0, end; i < refs->n && !st; i = end) {
        for (end = i + 1; end < refs->n && refs->r[end] >> 32 == refs->r[i] >> 32; end++) {}
        uint64_t seq = p->base_seq + (refs->r[i] >> 32);
        uint8_t key[KEY_PACK_LEN];
        key_pack(key, seq);
        MDB_val k = env_val(slice_of(key, sizeof key)), v;
        int rc = mdb_get(txn, env_dbi(p->events, EVENTS_PACKS), &k, &v);
        if (!rc) {
            pick(env_slice(v), seq, refs->r + i, end - i, host, out);
        } else if (rc != MDB_NOTFOUND) {
            st = env_error(p->events, rc, "cannot read a pack", err);
        }
    }
    env_end(p->events, &txn);
    return st;
}

struct wanted {
    uint32_t host, hash;
};

static enum status guid_indexed(void *ctx, struct partition *p, MDB_txn *txn, const struct index_meta *m,
                                struct block_list *out, struct error *err) {
    (void)m;
    const struct wanted *w = ctx;
    uint8_t key[KEY_GUID_LEN];
    key_guid(key, w->host, w->hash);
    struct refs refs = {0};
    enum status st = read_refs(p, txn, slice_of(key, sizeof key), &refs, err);
    if (!st) st = resolve(p, &refs, w->host, out, err);
    mem_free(refs.r);
    return st;
}

static bool guid_tail(void *ctx, const struct tail_chunk *c, size_t i) {
    const struct wanted *w = ctx;
    return c->blocks[i].host == w->host && tail_chunk_names(c, i, w->hash);
}

enum status db_guid_blocks(struct db *db, uint32_t host, const struct guid *g, struct db_block **ret, size_t *ret_n,
                           struct error *err) {
    struct wanted w = {.host = host, .hash = key_guid_hash(g->b)};
    struct block_search s = {.indexed = guid_indexed, .tail = guid_tail, .ctx = &w};
    return blocks_search(db, &s, ret, ret_n, err);
}
