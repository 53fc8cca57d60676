/* 7 DEDUP: streams as stored, and what others see of them. */
#include "streams.h"
#include "keys.h"
#include "mem.h"

#include <stdlib.h>

#define STREAM_VERSION 1

void stream_head_encode(const struct stream_head *h, struct buf *out) {
    buf_byte(out, STREAM_VERSION);
    buf_varint(out, h->epoch);
    buf_varint(out, h->n_events);
    buf_varint(out, h->n_bytes);
    buf_varint(out, h->n_duplicates);
    buf_varint(out, h->last_arrival);
    buf_varint(out, h->computer.len);
    buf_slice_append(out, h->computer);
    buf_varint(out, h->channel.len);
    buf_slice_append(out, h->channel);
}

static struct slice get_text(struct reader *r) {
    uint64_t len = reader_varint(r);
    if (len > reader_left(r)) r->bad = true;
    return reader_bytes(r, r->bad ? 0 : (size_t)len);
}

enum status stream_head_decode(struct slice s, struct stream_head *ret) {
    struct reader r = reader_of(s);
    uint8_t version = reader_u8(&r);
    if (!r.bad && version != STREAM_VERSION) return ST_VERSION;
    struct stream_head h;
    uint64_t epoch = reader_varint(&r);
    h.n_events = reader_varint(&r);
    h.n_bytes = reader_varint(&r);
    h.n_duplicates = reader_varint(&r);
    h.last_arrival = reader_varint(&r);
    h.computer = get_text(&r);
    h.channel = get_text(&r);
    if (r.bad || reader_left(&r) || epoch > UINT32_MAX) return ST_CORRUPT;
    h.epoch = (uint32_t)epoch;
    *ret = h;
    return ST_OK;
}

/* ---- reading ---- */

static enum status add_part(struct stream_read *s, uint64_t first_id, struct slice bytes) {
    struct ledger part;
    enum status st = ledger_decode(bytes, &part);
    if (st) return st;
    const struct ledger_span *end = ledger_highest(&s->ledger);
    if (part.n && (part.spans[0].first < first_id || (end && part.spans[0].first <= end->last))) st = ST_CORRUPT;
    if (!st && s->n_parts == 0) {
        s->ledger = part;
        ledger_init(&part);
    }
    for (size_t i = 0; !st && i < part.n; i++) ledger_add(&s->ledger, part.spans[i]);
    for (size_t i = 0; !st && i < part.n_notes; i++) {
        struct ledger *l = &s->ledger;
        mem_grow((void **)&l->notes, l->n_notes, &l->cap_notes, sizeof *l->notes);
        l->notes[l->n_notes++] = part.notes[i];
    }
    ledger_deinit(&part);
    if (st) return st;
    mem_grow((void **)&s->parts, s->n_parts, &s->cap_parts, sizeof *s->parts);
    s->parts[s->n_parts++] = first_id;
    return ST_OK;
}

static void read_reset(struct stream_read *s) {
    ledger_deinit(&s->ledger);
    mem_free(s->parts);
    *s = (struct stream_read){0};
}

static void hand_over(struct stream_read *s, void (*fn)(void *ctx, struct stream_read *s), void *ctx) {
    if (s->id) fn(ctx, s);
    read_reset(s);
}

static enum status read_row(struct stream_read *s, struct slice key, struct slice value,
                            void (*fn)(void *ctx, struct stream_read *s), void *ctx) {
    if (key.len != KEY_STREAM_LEN && key.len != KEY_PART_LEN) return ST_CORRUPT;
    uint32_t host = key_get_u32(key.p), id = key_get_u32(key.p + 4);
    if (key.len == KEY_STREAM_LEN) {
        hand_over(s, fn, ctx);
        s->host = host;
        s->id = id;
        return id ? stream_head_decode(value, &s->head) : ST_CORRUPT;
    }
    if (host != s->host || id != s->id) return ST_CORRUPT;
    return add_part(s, key_get_u64(key.p + 8), value);
}

enum status streams_read(struct partition *p, uint32_t host, void (*fn)(void *ctx, struct stream_read *s), void *ctx,
                         struct error *err) {
    MDB_txn *txn = NULL;
    MDB_cursor *c = NULL;
    enum status st = env_read(p->events, &txn, err);
    if (st) return st;
    int rc = mdb_cursor_open(txn, env_dbi(p->events, EVENTS_STREAMS), &c);
    if (!rc) {
        uint8_t from[KEY_STREAM_LEN];
        key_stream(from, host, 0);
        struct stream_read s = {0};
        MDB_val k = env_val(slice_of(from, sizeof from)), v;
        for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); !rc; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
            if (host && memcmp(k.mv_data, from, 4) != 0) break;
            st = read_row(&s, env_slice(k), env_slice(v), fn, ctx);
            if (st) {
                error_set(err, st, "%s: the ledger of stream %u of host %u: %s", env_dir(p->events), s.id, s.host,
                          status_text(st));
                break;
            }
        }
        if (!st) hand_over(&s, fn, ctx);
        read_reset(&s);
        mdb_cursor_close(c);
    }
    if (!st && rc && rc != MDB_NOTFOUND) st = env_error(p->events, rc, "cannot read the streams", err);
    env_end(p->events, &txn);
    return st;
}

/* ---- for others ---- */

struct collected {
    struct db_stream *s;
    size_t n, cap;
};

static void collect(void *ctx, struct stream_read *r) {
    struct collected *c = ctx;
    mem_grow((void **)&c->s, c->n, &c->cap, sizeof *c->s);
    struct db_stream *s = &c->s[c->n++];
    *s = (struct db_stream){.id = r->id,
                            .host = r->host,
                            .epoch = r->head.epoch,
                            .computer = mem_strndup(r->head.computer.p, r->head.computer.len),
                            .channel = mem_strndup(r->head.channel.p, r->head.channel.len),
                            .ledger = mem_alloc(sizeof *s->ledger),
                            .n_events = r->head.n_events,
                            .n_bytes = r->head.n_bytes,
                            .n_duplicates = r->head.n_duplicates,
                            .last_arrival = r->head.last_arrival};
    *s->ledger = r->ledger;
    ledger_init(&r->ledger);
}

static int by_name(const void *pa, const void *pb) {
    const struct db_stream *a = pa, *b = pb;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    int c = strcmp(a->computer, b->computer);
    if (!c) c = strcmp(a->channel, b->channel);
    if (c) return c;
    return (a->epoch > b->epoch) - (a->epoch < b->epoch);
}

enum status db_streams(struct db *db, uint32_t host, struct db_stream **ret, size_t *ret_n, struct error *err) {
    struct collected c = {0};
    struct partition *p = partition_hold_newest(db);
    enum status st = p ? streams_read(p, host, collect, &c, err) : ST_OK;
    partition_release(db, p);
    if (st) {
        db_streams_free(c.s, c.n);
        return st;
    }
    if (c.n) qsort(c.s, c.n, sizeof *c.s, by_name);
    *ret = c.s;
    *ret_n = c.n;
    return ST_OK;
}

void db_streams_free(struct db_stream *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        mem_free(s[i].computer);
        mem_free(s[i].channel);
        ledger_deinit(s[i].ledger);
        mem_free(s[i].ledger);
    }
    mem_free(s);
}
