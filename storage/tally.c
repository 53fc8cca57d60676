/* 9 DIGEST: volume: the stored form (pure), and reading a partition's. */
#include "tally.h"
#include "keys.h"
#include "mem.h"
#include "partition.h"
#include "tallytab.h"

/* ---- the stored form ---- */

struct sheet {
    struct slice *names;
    size_t n_names;
    struct reader r;
};

static enum status open_sheet(struct slice bytes, struct sheet *s) {
    *s = (struct sheet){.r = reader_of(bytes)};
    if (reader_u8(&s->r) != TALLY_VERSION) return s->r.bad ? ST_CORRUPT : ST_VERSION;
    uint64_t n = reader_varint(&s->r);
    if (s->r.bad || n > reader_left(&s->r)) return ST_CORRUPT;
    s->names = mem_alloc(mem_mul((size_t)n, sizeof *s->names));
    s->n_names = (size_t)n;
    for (size_t i = 0; i < s->n_names; i++) s->names[i] = reader_bytes(&s->r, (size_t)reader_varint(&s->r));
    return s->r.bad ? ST_CORRUPT : ST_OK;
}

static bool name_of(const struct sheet *s, uint64_t number, struct slice *ret) {
    if (number < TALLY_NAMES) {
        *ret = SLICE_LIT("");
        return true;
    }
    if (number - TALLY_NAMES >= s->n_names) return false;
    *ret = s->names[number - TALLY_NAMES];
    return true;
}

static enum status each_cell(struct reader *r, uint64_t n, struct tally_row *row, uint64_t slot, uint32_t first,
                             uint32_t last, tally_fn fn, void *ctx) {
    enum status st = ST_OK;
    for (; n && !st; n--) {
        slot += reader_varint(r);
        row->events = reader_varint(r);
        row->bytes = reader_varint(r);
        if (r->bad || slot > UINT32_MAX) return ST_CORRUPT;
        row->slot = (uint32_t)slot;
        if (slot >= first && slot <= last) st = fn(ctx, row);
    }
    return st;
}

static enum status each_kind(const struct sheet *s, struct slice section, uint32_t host, uint32_t day, uint32_t first,
                             uint32_t last, tally_fn fn, void *ctx) {
    struct reader r = reader_of(section);
    enum status st = ST_OK;
    while (reader_left(&r) && !st) {
        struct tally_row row = {.host = host};
        uint64_t channel = reader_varint(&r), id = reader_varint(&r), rule = reader_varint(&r), n = reader_varint(&r);
        if (r.bad || id > UINT32_MAX || !name_of(s, channel, &row.channel) || !name_of(s, rule, &row.rule))
            return ST_CORRUPT;
        row.event_id = (uint32_t)id;
        row.is_rest = rule == TALLY_NAME_REST;
        st = each_cell(&r, n, &row, (uint64_t)day * TALLY_SLOTS_A_DAY, first, last, fn, ctx);
    }
    return !st && r.bad ? ST_CORRUPT : st;
}

enum status tally_sheet_each(struct slice bytes, uint32_t host, uint32_t first_slot, uint32_t last_slot, tally_fn fn,
                             void *ctx) {
    struct sheet s;
    enum status st = open_sheet(bytes, &s);
    while (!st && reader_left(&s.r)) {
        uint64_t h = reader_varint(&s.r), day = reader_varint(&s.r);
        struct slice section = reader_bytes(&s.r, (size_t)reader_varint(&s.r));
        if (s.r.bad || h > UINT32_MAX || day > UINT32_MAX / TALLY_SLOTS_A_DAY) {
            st = ST_CORRUPT;
        } else if ((!host || h == host) && day * TALLY_SLOTS_A_DAY <= last_slot &&
                   (day + 1) * TALLY_SLOTS_A_DAY > first_slot) {
            st = each_kind(&s, section, (uint32_t)h, (uint32_t)day, first_slot, last_slot, fn, ctx);
        }
    }
    if (!st && s.r.bad) st = ST_CORRUPT;
    mem_free(s.names);
    return st;
}

/* ---- reading a partition ---- */

struct reading {
    uint32_t host, first, last;
    tally_fn fn;
    void *ctx;
};

/* To the first chunk of a run that may hold the host; chunks are in order of hosts, and a chunk's key names its first. */
static int seek_chunk(MDB_cursor *c, uint32_t run, uint32_t host, MDB_val *k, MDB_val *v) {
    uint8_t key[KEY_TALLYLOG_LEN];
    key_tallylog(key, run, host, 0);
    *k = env_val(slice_of(key, sizeof key));
    int rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
    if (!host || (rc && rc != MDB_NOTFOUND)) return rc;
    int before = mdb_cursor_get(c, k, v, rc ? MDB_LAST : MDB_PREV);
    if (!before && key_get_u32(k->mv_data) == run) return 0;
    return rc ? rc : mdb_cursor_get(c, k, v, before ? MDB_FIRST : MDB_NEXT);
}

static enum status each_log(const struct reading *q, struct env *e, MDB_cursor *c, struct error *err) {
    MDB_val k, v;
    int rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
    enum status st = ST_OK;
    while (!rc && !st) {
        uint32_t run = key_get_u32(k.mv_data);
        rc = seek_chunk(c, run, q->host, &k, &v);
        while (!rc && !st && key_get_u32(k.mv_data) == run) {
            if (q->host && key_get_u32((const uint8_t *)k.mv_data + 4) > q->host) break;
            st = tally_sheet_each(env_slice(v), q->host, q->first, q->last, q->fn, q->ctx);
            if (!st) rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
        }
        if (!rc && !st && key_get_u32(k.mv_data) == run) rc = seek_chunk(c, run + 1, 0, &k, &v);
    }
    return st || !rc || rc == MDB_NOTFOUND ? st : env_error(e, rc, "cannot read volumes", err);
}

static enum status each_sheet(const struct reading *q, struct env *e, MDB_cursor *c, struct error *err) {
    uint8_t from[KEY_TALLY_LEN];
    key_tally(from, q->host, q->host ? q->first / TALLY_SLOTS_A_DAY : 0);
    MDB_val k = env_val(slice_of(from, sizeof from)), v;
    int rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    enum status st = ST_OK;
    for (; !rc && k.mv_size == KEY_TALLY_LEN; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        uint32_t host = key_get_u32(k.mv_data), day = key_get_u32((const uint8_t *)k.mv_data + 4);
        if (q->host && (host != q->host || day > q->last / TALLY_SLOTS_A_DAY)) break;
        if (day < q->first / TALLY_SLOTS_A_DAY || day > q->last / TALLY_SLOTS_A_DAY) continue;
        st = tally_sheet_each(env_slice(v), q->host, q->first, q->last, q->fn, q->ctx);
        if (st) break;
    }
    return st || !rc || rc == MDB_NOTFOUND ? st : env_error(e, rc, "cannot read volumes", err);
}

static enum status each_in(struct partition *p, const struct reading *q, struct error *err) {
    static const enum index_table tables[] = {INDEX_TALLYLOG, INDEX_TALLY};
    MDB_txn *txn = NULL;
    enum status st = env_read(p->index, &txn, err);
    for (size_t i = 0; i < 2 && !st; i++) {
        MDB_cursor *c;
        int rc = mdb_cursor_open(txn, env_dbi(p->index, tables[i]), &c);
        if (rc) {
            st = env_error(p->index, rc, "cannot read volumes", err);
            break;
        }
        st = i ? each_sheet(q, p->index, c, err) : each_log(q, p->index, c, err);
        mdb_cursor_close(c);
    }
    env_end(p->index, &txn);
    if (st == ST_CORRUPT || st == ST_VERSION) {
        error_set(err, st, "%s: a sheet of volumes is damaged; rebuild the derived data", env_dir(p->index));
    }
    return st == ST_END ? ST_OK : st;
}

enum status tally_each(struct db *db, const char day[DB_DAY_LEN], uint32_t host, uint32_t first_slot,
                       uint32_t last_slot, tally_fn fn, void *ctx, struct error *err) {
    struct reading q = {.host = host, .first = first_slot, .last = last_slot, .fn = fn, .ctx = ctx};
    struct partition *p = partition_hold_day(db, day);
    if (!p) return error_set(err, ST_NOTFOUND, "the day %s has expired", day);
    enum status st = first_slot <= last_slot ? each_in(p, &q, err) : ST_OK;
    partition_release(db, p);
    return st;
}
