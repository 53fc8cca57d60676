/* 9 DIGEST: sorted runs of derived entries into the environment beside a partition, each with its cursor in one
 * transaction: an entry is there exactly when the cursor says so. */
#include "index.h"
#include "arena.h"
#include "blocks.h"
#include "guids.h"
#include "keys.h"
#include "log.h"
#include "mem.h"
#include "packread.h"
#include "partition.h"
#include "procrun.h"
#include "tallyrun.h"

#include <stdlib.h>

#define BYTES_A_BLOCK 3072u

struct index_run {
    struct db *db;
    char day[DB_DAY_LEN];
    struct db_block *blocks;
    size_t n_blocks, cap_blocks;
    struct guid_ref *refs;
    size_t n_refs, cap_refs;
    struct partition *part; /* held for its base sequence; NULL when it had expired already */
    struct procrun procs;
    struct tallytab tally;
};

enum status index_next(struct db *db, uint64_t *ret_seq, char ret_day[DB_DAY_LEN], struct error *err) {
    (void)err;
    enum status st = ST_END;
    pthread_mutex_lock(&db->lock);
    for (size_t i = 0; i < db->n_parts && st; i++) {
        const struct partition *p = db->parts[i];
        if (p->indexed >= p->last_seq) continue;
        *ret_seq = p->indexed + 1;
        memcpy(ret_day, p->day, DB_DAY_LEN);
        st = ST_OK;
    }
    pthread_mutex_unlock(&db->lock);
    return st;
}

struct index_run *index_run_new(struct db *db, const char day[DB_DAY_LEN]) {
    struct index_run *r = mem_zalloc(sizeof *r);
    r->db = db;
    memcpy(r->day, day, DB_DAY_LEN);
    r->part = partition_hold_day(db, day);
    procrun_init(&r->procs);
    tallytab_init(&r->tally);
    return r;
}

void index_run_free(struct index_run **r) {
    if (!*r) return;
    partition_release((*r)->db, (*r)->part);
    procrun_deinit(&(*r)->procs);
    tallytab_deinit(&(*r)->tally);
    mem_free((*r)->blocks);
    mem_free((*r)->refs);
    mem_free(*r);
    *r = NULL;
}

void index_run_block(struct index_run *r, const struct db_block *b, struct slice guids) {
    mem_grow((void **)&r->blocks, r->n_blocks, &r->cap_blocks, sizeof *r->blocks);
    r->blocks[r->n_blocks++] = *b;
    for (size_t at = 0; r->part && at + GUID_LEN <= guids.len; at += GUID_LEN) {
        mem_grow((void **)&r->refs, r->n_refs, &r->cap_refs, sizeof *r->refs);
        r->refs[r->n_refs++] = (struct guid_ref){.host = b->host,
                                                 .hash = key_guid_hash(guids.p + at),
                                                 .seq_from_base = (uint32_t)(b->seq - r->part->base_seq),
                                                 .index = b->index};
    }
}

void index_run_proc(struct index_run *r, uint32_t host, const struct proc *p) {
    procrun_add(&r->procs, host, p);
}

uint32_t index_run_name(struct index_run *r, struct slice name) {
    return tallytab_name(&r->tally, name);
}

void index_run_tally(struct index_run *r, const struct tally_cell *c) {
    tallytab_add(&r->tally, c);
}

size_t index_run_blocks(const struct index_run *r) {
    return r->n_blocks + (procrun_bytes(&r->procs) + tallytab_bytes(&r->tally)) / BYTES_A_BLOCK;
}

static void clear(struct index_run *r) {
    r->n_blocks = r->n_refs = 0;
    procrun_clear(&r->procs);
    tallytab_clear(&r->tally);
}

/* ---- writing ---- */

static int by_key(const void *pa, const void *pb) {
    const struct db_block *a = pa, *b = pb;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (a->stream != b->stream) return a->stream < b->stream ? -1 : 1;
    if (a->first_id != b->first_id) return a->first_id < b->first_id ? -1 : 1;
    if (a->seq != b->seq) return a->seq < b->seq ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static void account(struct index_meta *m, const struct db_block *b) {
    m->n_events += b->n_kept;
    m->n_blocks++;
    if (!m->min_time || b->min_time < m->min_time) m->min_time = b->min_time;
    if (b->max_time > m->max_time) m->max_time = b->max_time;
    if (b->last_id - b->first_id > m->max_span) m->max_span = b->last_id - b->first_id;
}

static int store_blocks(struct index_run *r, MDB_txn *txn, struct index_meta *m) {
    if (!r->n_blocks) return 0;
    qsort(r->blocks, r->n_blocks, sizeof *r->blocks, by_key);
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, env_dbi(r->part->index, INDEX_BLOCKS), &c);
    if (rc) return rc;
    struct buf value = {0};
    for (size_t i = 0; i < r->n_blocks && !rc; i++) {
        const struct db_block *b = &r->blocks[i];
        uint8_t key[KEY_BLOCK_LEN];
        key_block(key, &(struct key_block){b->host, b->stream, b->first_id, b->seq, b->index});
        buf_clear(&value);
        block_encode(b, &value);
        MDB_val k = env_val(slice_of(key, sizeof key)), v = env_val(buf_slice(&value));
        rc = mdb_cursor_put(c, &k, &v, 0);
        account(m, b);
    }
    mdb_cursor_close(c);
    buf_free(&value);
    return rc;
}

static size_t run_bytes(const struct index_run *r) {
    return r->n_blocks * 160 + r->n_refs * 64 + r->procs.n * 1024 + r->procs.arena.used * 2 +
           tallytab_bytes(&r->tally) * 2;
}

static enum status write_run(struct index_run *r, uint64_t seq, struct error *err) {
    struct env *e = r->part->index;
    MDB_txn *txn = NULL;
    struct index_meta m = {0};
    enum status st = env_write(e, run_bytes(r), &txn, err);
    if (st) return st;
    st = index_meta_get(r->part, txn, &m, err);
    int rc = 0;
    if (!st) rc = store_blocks(r, txn, &m);
    if (!st && !rc) rc = guids_store(r->part, txn, r->refs, r->n_refs);
    if (!st && !rc) rc = procrun_store(&r->procs, r->part, txn);
    if (!st && !rc) rc = tallyrun_store(&r->tally, r->part, txn);
    if (!st && rc) st = env_error(e, rc, "cannot index", err);
    if (!st && seq > m.cursor) m.cursor = seq;
    if (!st) st = index_meta_put(r->part, txn, &m, err);
    if (!st) return env_commit(e, &txn, err);
    env_end(e, &txn);
    return st;
}

static bool has_expired(struct index_run *r) {
    struct partition *p = r->part ? partition_hold_day(r->db, r->day) : NULL;
    bool gone = !p || p != r->part;
    partition_release(r->db, p);
    return gone;
}

enum status index_run_flush(struct index_run *r, uint64_t seq, struct error *err) {
    if (has_expired(r)) { /* nobody will ask for it again */
        clear(r);
        return ST_OK;
    }
    pthread_mutex_lock(&r->db->lock);
    if (seq > r->part->last_seq) seq = r->part->last_seq; /* a cursor that claims more would be taken for damage */
    pthread_mutex_unlock(&r->db->lock);
    enum status st = write_run(r, seq, err);
    for (int tries = 0; st == ST_AGAIN && tries < 8; tries++) {
        st = env_grow(r->part->index, run_bytes(r), err);
        if (!st) st = write_run(r, seq, err);
    }
    if (st) return st;
    pthread_mutex_lock(&r->db->lock);
    if (seq > r->part->indexed) r->part->indexed = seq;
    pthread_mutex_unlock(&r->db->lock);
    tail_forget(r->db->tail, r->part->base_seq, seq);
    clear(r);
    return ST_OK;
}

/* ---- the directory after a start ---- */

struct loading {
    struct db *db;
    index_describe_fn describe;
    void *ctx;
};

static enum status load_pack(void *ctx, uint64_t seq, struct slice pack) {
    struct loading *l = ctx;
    struct pack_reader r;
    struct tail_chunk *c = tail_chunk_new(seq);
    enum status st = pack_parse(pack, seq, &r);
    while (!st) {
        struct db_block b;
        st = pack_next(&r, &b, NULL);
        if (st) break;
        struct db_block scratch = b; /* times and ids of what is kept are the directory's, not the header's */
        struct slice guids = {0};
        if (l->describe && l->describe(l->ctx, slice_of(pack.p + b.offset, b.header_len), &scratch, &guids)) {
            log_error("storage", "block %u of pack %llu has a damaged header; it is not found by GUID", b.index,
                      (unsigned long long)seq);
            guids = (struct slice){0};
        }
        tail_chunk_block(c, &b, guids);
    }
    if (st != ST_END) {
        log_error("storage", "pack %llu is damaged; its blocks are left out, the rest goes on",
                  (unsigned long long)seq);
        c->n = 0;
    }
    tail_add(l->db->tail, c);
    return ST_OK;
}

enum status index_load_tail(struct db *db, index_describe_fn describe, void *ctx, struct error *err) {
    struct loading l = {.db = db, .describe = describe, .ctx = ctx};
    struct partition **parts;
    size_t n = partitions_hold(db, &parts);
    tail_forget(db->tail, 0, UINT64_MAX); /* called again after a rebuild: from the start */
    enum status st = ST_OK;
    for (size_t i = 0; i < n && !st; i++) {
        pthread_mutex_lock(&db->lock);
        uint64_t from = parts[i]->indexed + 1, to = parts[i]->last_seq;
        pthread_mutex_unlock(&db->lock);
        if (from <= to) st = packs_each(parts[i], from, to, load_pack, &l, err);
    }
    partitions_release(parts, n, db);
    return st;
}
