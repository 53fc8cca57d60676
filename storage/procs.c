/* 9 DIGEST: the process table: merging, the stored form (pure), and reading over all partitions. */
#include "procs.h"
#include "clock.h"
#include "keys.h"
#include "mem.h"
#include "partition.h"

#include <stdlib.h>

#define PROC_VERSION 1
#define PROC_HAS_START 1u
#define PROC_HAS_END 2u
#define PAGE_ROWS 256u

static uint64_t earlier(uint64_t a, uint64_t b) {
    return !a || (b && b < a) ? b : a;
}

void proc_merge(struct proc *a, const struct proc *b) {
    bool better = b->has_start && !a->has_start;
    struct slice *mine[] = PROC_TEXTS(a);
    const struct slice *theirs[] = PROC_TEXTS(b);
    for (size_t i = 0; i < PROC_N_TEXTS; i++) {
        if (theirs[i]->len && (!mine[i]->len || better)) *mine[i] = *theirs[i];
    }
    if (!guid_is_zero(&b->parent) && (guid_is_zero(&a->parent) || better)) a->parent = b->parent;
    if (b->pid && (!a->pid || better)) a->pid = b->pid;
    if (b->parent_pid && (!a->parent_pid || better)) a->parent_pid = b->parent_pid;
    if (better || (!a->has_start && !a->start)) a->start = b->start ? b->start : a->start;
    if (better || (!a->has_start && !a->start_stream)) {
        a->start_record = b->start_record;
        a->start_stream = b->start_stream;
    }
    if (b->has_end && !a->has_end) {
        a->end = b->end;
        a->has_end = true;
    }
    a->has_start |= b->has_start;
    a->first_seen = earlier(a->first_seen, b->first_seen);
    if (b->last_seen > a->last_seen) a->last_seen = b->last_seen;
    for (size_t i = 0; i <= PROC_MAX_EVENT_ID; i++) a->counts[i] += b->counts[i];
}

/* ---- the stored form ---- */

void proc_encode(const struct proc *p, struct buf *out) {
    buf_byte(out, PROC_VERSION);
    buf_byte(out, (uint8_t)((p->has_start ? PROC_HAS_START : 0) | (p->has_end ? PROC_HAS_END : 0)));
    buf_append(out, p->guid.b, GUID_LEN);
    buf_append(out, p->parent.b, GUID_LEN);
    buf_varint(out, p->first_seen);
    buf_zigzag(out, (int64_t)(p->last_seen - p->first_seen));
    buf_zigzag(out, (int64_t)(p->start - p->first_seen));
    buf_zigzag(out, (int64_t)(p->end - p->first_seen));
    buf_varint(out, p->pid);
    buf_varint(out, p->parent_pid);
    buf_varint(out, p->start_record);
    buf_varint(out, p->start_stream);
    const struct slice *texts[] = PROC_TEXTS(p);
    for (size_t i = 0; i < PROC_N_TEXTS; i++) {
        buf_varint(out, texts[i]->len);
        buf_slice_append(out, *texts[i]);
    }
    for (size_t i = 0; i <= PROC_MAX_EVENT_ID; i++) {
        if (!p->counts[i]) continue;
        buf_byte(out, (uint8_t)i);
        buf_varint(out, p->counts[i]);
    }
}

static bool decode_counts(struct reader *r, struct proc *p) {
    int last = -1;
    while (reader_left(r)) {
        int i = reader_u8(r);
        uint64_t n = reader_varint(r);
        if (r->bad || i <= last || i > PROC_MAX_EVENT_ID || !n) return false;
        p->counts[i] = n;
        last = i;
    }
    return !r->bad;
}

enum status proc_decode(struct slice bytes, struct proc *ret) {
    struct reader r = reader_of(bytes);
    uint8_t version = reader_u8(&r), flags = reader_u8(&r);
    if (r.bad) return ST_CORRUPT;
    if (version != PROC_VERSION) return ST_VERSION;
    struct proc p = {.has_start = flags & PROC_HAS_START, .has_end = flags & PROC_HAS_END};
    struct slice guid = reader_bytes(&r, GUID_LEN), parent = reader_bytes(&r, GUID_LEN);
    p.first_seen = reader_varint(&r);
    p.last_seen = p.first_seen + (uint64_t)reader_zigzag(&r);
    p.start = p.first_seen + (uint64_t)reader_zigzag(&r);
    p.end = p.first_seen + (uint64_t)reader_zigzag(&r);
    uint64_t pid = reader_varint(&r), parent_pid = reader_varint(&r);
    p.start_record = reader_varint(&r);
    p.start_stream = reader_varint(&r);
    struct slice *texts[] = PROC_TEXTS(&p);
    for (size_t i = 0; i < PROC_N_TEXTS; i++) {
        uint64_t len = reader_varint(&r);
        if (len > reader_left(&r)) return ST_CORRUPT;
        *texts[i] = reader_bytes(&r, (size_t)len);
    }
    if (r.bad || flags > (PROC_HAS_START | PROC_HAS_END) || pid > UINT32_MAX || parent_pid > UINT32_MAX)
        return ST_CORRUPT;
    if (!decode_counts(&r, &p)) return ST_CORRUPT;
    memcpy(p.guid.b, guid.p, GUID_LEN);
    memcpy(p.parent.b, parent.p, GUID_LEN);
    p.pid = (uint32_t)pid;
    p.parent_pid = (uint32_t)parent_pid;
    *ret = p;
    return ST_OK;
}

/* ---- reading ---- */

/* Rows of several partitions: copies in one buffer, in the order in which they were read. */
struct rows {
    struct buf *bytes;
    struct row {
        struct guid guid;
        size_t at, len, order;
    } * r;
    size_t n, cap;
};

static void add_row(struct rows *rows, const uint8_t *guid, MDB_val v) {
    mem_grow((void **)&rows->r, rows->n, &rows->cap, sizeof *rows->r);
    struct row *row = &rows->r[rows->n];
    *row = (struct row){.at = rows->bytes->len, .len = v.mv_size, .order = rows->n};
    memcpy(row->guid.b, guid, GUID_LEN);
    buf_append(rows->bytes, v.mv_data, v.mv_size);
    rows->n++;
}

static enum status merge_row(const struct rows *rows, size_t i, struct proc *into) {
    struct proc p;
    enum status st = proc_decode(slice_of(rows->bytes->p + rows->r[i].at, rows->r[i].len), &p);
    if (!st) proc_merge(into, &p);
    return st;
}

static enum status get_row(struct partition *p, struct slice key, const struct guid *g, struct rows *rows,
                           struct error *err) {
    MDB_txn *txn = NULL;
    enum status st = env_read(p->index, &txn, err);
    if (st) return st;
    MDB_val k = env_val(key), v;
    int rc = mdb_get(txn, env_dbi(p->index, INDEX_PROCS), &k, &v);
    if (!rc) add_row(rows, g->b, v);
    env_end(p->index, &txn);
    return rc && rc != MDB_NOTFOUND ? env_error(p->index, rc, "cannot read a process", err) : ST_OK;
}

enum status procs_get(struct db *db, uint32_t host, const struct guid *g, struct proc *ret, struct buf *bytes,
                      struct error *err) {
    uint8_t key[KEY_PROC_LEN];
    key_proc(key, host, g);
    struct rows rows = {.bytes = bytes};
    struct partition **parts;
    size_t n = partitions_hold(db, &parts);
    enum status st = ST_OK;
    for (size_t i = 0; i < n && !st; i++) st = get_row(parts[i], slice_of(key, sizeof key), g, &rows, err);
    partitions_release(parts, n, db);
    struct proc p = {.guid = *g};
    for (size_t i = 0; i < rows.n && !st; i++) {
        st = merge_row(&rows, i, &p);
        if (st) error_set(err, st, "a process row is damaged; rebuild the derived data");
    }
    if (!st && !rows.n) st = error_set(err, ST_NOTFOUND, "no such process");
    mem_free(rows.r);
    if (!st) *ret = p;
    return st;
}

/* Calls fn for the keys of a table that begin with prefix, in all partitions; fn copies. */
static enum status each_key(struct db *db, enum index_table table, struct slice prefix, size_t key_len,
                            void (*fn)(void *ctx, const uint8_t *key), void *ctx, struct error *err) {
    struct partition **parts;
    size_t n = partitions_hold(db, &parts);
    enum status st = ST_OK;
    for (size_t i = 0; i < n && !st; i++) {
        MDB_txn *txn = NULL;
        MDB_cursor *c = NULL;
        struct env *e = parts[i]->index;
        st = env_read(e, &txn, err);
        if (st) break;
        MDB_val k = env_val(prefix), v;
        int rc = mdb_cursor_open(txn, env_dbi(e, table), &c);
        if (!rc) rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
        while (!rc && k.mv_size == key_len && memcmp(k.mv_data, prefix.p, prefix.len) == 0) {
            fn(ctx, k.mv_data);
            rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
        }
        if (c) mdb_cursor_close(c);
        env_end(e, &txn);
        if (rc && rc != MDB_NOTFOUND) st = env_error(e, rc, "cannot read the process table", err);
    }
    partitions_release(parts, n, db);
    return st;
}

struct found {
    struct proc_by_pid *p;
    size_t n, cap;
};

static void add_child(void *ctx, const uint8_t *key) {
    struct found *f = ctx;
    mem_grow((void **)&f->p, f->n, &f->cap, sizeof *f->p);
    f->p[f->n] = (struct proc_by_pid){0};
    memcpy(f->p[f->n++].guid.b, key + KEY_PROC_LEN, GUID_LEN);
}

static void add_pid(void *ctx, const uint8_t *key) {
    struct found *f = ctx;
    mem_grow((void **)&f->p, f->n, &f->cap, sizeof *f->p);
    f->p[f->n] = (struct proc_by_pid){.start = key_get_u64(key + 8)};
    memcpy(f->p[f->n++].guid.b, key + 16, GUID_LEN);
}

static int by_guid(const void *pa, const void *pb) {
    const struct proc_by_pid *a = pa, *b = pb;
    int c = memcmp(a->guid.b, b->guid.b, GUID_LEN);
    return c ? c : (a->start < b->start) - (a->start > b->start); /* a known start before none */
}

static int by_start(const void *pa, const void *pb) {
    const struct proc_by_pid *a = pa, *b = pb;
    if (a->start != b->start) return a->start < b->start ? -1 : 1;
    return memcmp(a->guid.b, b->guid.b, GUID_LEN);
}

static void unique(struct found *f) {
    size_t n = 0;
    if (f->n) qsort(f->p, f->n, sizeof *f->p, by_guid);
    for (size_t i = 0; i < f->n; i++) {
        if (!n || !guid_eq(&f->p[n - 1].guid, &f->p[i].guid)) f->p[n++] = f->p[i];
    }
    f->n = n;
}

enum status procs_children(struct db *db, uint32_t host, const struct guid *parent, struct guid **ret, size_t *ret_n,
                           struct error *err) {
    uint8_t key[KEY_PROC_LEN];
    key_proc(key, host, parent);
    struct found f = {0};
    enum status st = each_key(db, INDEX_CHILDREN, slice_of(key, sizeof key), KEY_CHILD_LEN, add_child, &f, err);
    if (!st) {
        unique(&f);
        struct guid *out = mem_alloc(f.n * sizeof *out);
        for (size_t i = 0; i < f.n; i++) out[i] = f.p[i].guid;
        *ret = out;
        *ret_n = f.n;
    }
    mem_free(f.p);
    return st;
}

enum status procs_by_pid(struct db *db, uint32_t host, uint32_t pid, struct proc_by_pid **ret, size_t *ret_n,
                         struct error *err) {
    uint8_t key[8];
    key_put_u32(key, host);
    key_put_u32(key + 4, pid);
    struct found f = {0};
    enum status st = each_key(db, INDEX_PIDS, slice_of(key, sizeof key), KEY_PID_LEN, add_pid, &f, err);
    if (st) {
        mem_free(f.p);
        return st;
    }
    unique(&f);
    if (f.n) qsort(f.p, f.n, sizeof *f.p, by_start);
    *ret = f.p;
    *ret_n = f.n;
    return ST_OK;
}

/* ---- all rows of a host: page by page, so that no transaction is open while the caller works ---- */

/* Up to PAGE_ROWS rows with keys from `from` (after: past it). *ret_last: the last GUID read when there may be more. */
static enum status read_page(struct partition *p, const uint8_t from[KEY_PROC_LEN], bool after, struct rows *rows,
                             bool *ret_more, struct error *err) {
    MDB_txn *txn = NULL;
    MDB_cursor *c = NULL;
    enum status st = env_read(p->index, &txn, err);
    if (st) return st;
    MDB_val k = env_val(slice_of(from, KEY_PROC_LEN)), v;
    size_t n = 0;
    int rc = mdb_cursor_open(txn, env_dbi(p->index, INDEX_PROCS), &c);
    if (!rc) rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    if (!rc && after && k.mv_size == KEY_PROC_LEN && memcmp(k.mv_data, from, KEY_PROC_LEN) == 0) {
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    }
    while (!rc && n < PAGE_ROWS && k.mv_size == KEY_PROC_LEN && memcmp(k.mv_data, from, 4) == 0) {
        add_row(rows, (const uint8_t *)k.mv_data + 4, v);
        n++;
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    }
    if (c) mdb_cursor_close(c);
    env_end(p->index, &txn);
    *ret_more = n == PAGE_ROWS;
    return rc && rc != MDB_NOTFOUND ? env_error(p->index, rc, "cannot read the process table", err) : ST_OK;
}

static int by_guid_then_age(const void *pa, const void *pb) {
    const struct row *a = pa, *b = pb;
    int c = memcmp(a->guid.b, b->guid.b, GUID_LEN);
    return c ? c : (a->order > b->order) - (a->order < b->order);
}

/* Merges equal GUIDs up to `bound` and hands them out. */
static enum status hand_out(struct rows *rows, const struct guid *bound,
                            enum status (*fn)(void *ctx, const struct proc *p), void *ctx, struct error *err) {
    if (rows->n) qsort(rows->r, rows->n, sizeof *rows->r, by_guid_then_age);
    for (size_t i = 0; i < rows->n;) {
        struct proc p = {.guid = rows->r[i].guid};
        if (bound && memcmp(p.guid.b, bound->b, GUID_LEN) > 0) break;
        for (; i < rows->n && guid_eq(&rows->r[i].guid, &p.guid); i++) {
            enum status st = merge_row(rows, i, &p);
            if (st) return error_set(err, st, "a process row is damaged; rebuild the derived data");
        }
        enum status st = fn(ctx, &p);
        if (st) return st;
    }
    return ST_OK;
}

enum status procs_each_since(struct db *db, uint32_t host, uint64_t since,
                             enum status (*fn)(void *ctx, const struct proc *p), void *ctx, struct error *err) {
    struct partition **all;
    size_t n_all = partitions_hold(db, &all), older = 0;
    while (older < n_all && all[older]->day_time + FILETIME_DAY <= since) older++;
    struct partition **parts = all + older;
    size_t n = n_all - older;
    struct buf bytes = {0};
    struct rows rows = {.bytes = &bytes};
    uint8_t from[KEY_PROC_LEN] = {0};
    key_put_u32(from, host);
    enum status st = ST_OK;
    bool after = false, more = true;
    while (!st && more) {
        struct guid bound;
        more = false;
        rows.n = 0;
        buf_clear(&bytes);
        for (size_t i = 0; i < n && !st; i++) {
            bool full;
            st = read_page(parts[i], from, after, &rows, &full, err);
            if (st || !full) continue;
            const struct guid *end = &rows.r[rows.n - 1].guid; /* the page that ends first bounds what is complete */
            if (!more || memcmp(end->b, bound.b, GUID_LEN) < 0) bound = *end;
            more = true;
        }
        if (!st) st = hand_out(&rows, more ? &bound : NULL, fn, ctx, err);
        if (more) memcpy(from + 4, bound.b, GUID_LEN);
        after = true;
    }
    partitions_release(all, n_all, db);
    mem_free(rows.r);
    buf_free(&bytes);
    return st == ST_END ? ST_OK : st;
}

enum status procs_each(struct db *db, uint32_t host, enum status (*fn)(void *ctx, const struct proc *p), void *ctx,
                       struct error *err) {
    return procs_each_since(db, host, 0, fn, ctx, err);
}
