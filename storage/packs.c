/* 8 STORE: packs. Pure. */
#include "packs.h"
#include "keys.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PACK_PARTIAL 1u
#define PACK_SAME 2u
#define PACK_MAX_KEEP 65536u

static const uint8_t magic[4] = {'H', 'P', 'K', '1'};

void pack_begin(struct pack_builder *b, uint64_t arrival) {
    b->arrival = arrival;
    b->n = 0;
    b->body_len = 0;
    buf_clear(&b->entries);
}

void pack_deinit(struct pack_builder *b) {
    buf_free(&b->entries);
}

void pack_add(struct pack_builder *b, const struct db_block *blk, const struct db_keep *keep, size_t n_keep,
              bool same) {
    struct buf *e = &b->entries;
    buf_byte(e, (uint8_t)((n_keep ? PACK_PARTIAL : 0) | (same ? PACK_SAME : 0)));
    buf_varint(e, blk->host);
    buf_varint(e, blk->stream);
    buf_varint(e, blk->header_len);
    buf_varint(e, blk->len);
    buf_varint(e, blk->n_events);
    buf_varint(e, blk->first_id);
    buf_varint(e, blk->last_id - blk->first_id);
    buf_zigzag(e, (int64_t)(blk->min_time - b->arrival));
    buf_varint(e, blk->max_time - blk->min_time);
    if (n_keep) {
        buf_varint(e, n_keep);
        uint32_t end = 0;
        for (size_t i = 0; i < n_keep; i++) {
            buf_varint(e, keep[i].first - end);
            buf_varint(e, keep[i].n - 1);
            end = keep[i].first + keep[i].n;
        }
    }
    b->n++;
    if (!same) b->body_len += blk->len;
}

static size_t varint_len(uint64_t v) {
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

size_t pack_len(const struct pack_builder *b) {
    return PACK_HEAD + 8 + varint_len(b->n) + b->entries.len + b->body_len;
}

size_t pack_write_head(const struct pack_builder *b, uint8_t *at) {
    struct buf n = {0};
    buf_u64le(&n, b->arrival);
    buf_varint(&n, b->n);
    size_t dir_len = n.len + b->entries.len;
    memcpy(at + PACK_HEAD, n.p, n.len);
    if (b->entries.len) memcpy(at + PACK_HEAD + n.len, b->entries.p, b->entries.len);
    buf_clear(&n);
    buf_append(&n, magic, sizeof magic);
    buf_u32le(&n, (uint32_t)dir_len);
    buf_u64le(&n, XXH3_64bits(at + PACK_HEAD, dir_len));
    memcpy(at, n.p, PACK_HEAD);
    buf_free(&n);
    return PACK_HEAD + dir_len;
}

enum status pack_parse(struct slice pack, uint64_t seq, struct pack_reader *ret) {
    struct reader r = reader_of(pack);
    struct slice m = reader_bytes(&r, sizeof magic);
    uint32_t dir_len = reader_u32le(&r);
    uint64_t sum = reader_u64le(&r);
    struct slice dir = reader_bytes(&r, dir_len);
    if (r.bad || memcmp(m.p, magic, sizeof magic) != 0) return ST_CORRUPT;
    if (XXH3_64bits(dir.p, dir.len) != sum) return ST_CORRUPT;
    struct pack_reader p = {.r = reader_of(dir), .seq = seq, .at = PACK_HEAD + dir.len, .len = pack.len};
    p.arrival = reader_u64le(&p.r);
    uint64_t n = reader_varint(&p.r);
    if (p.r.bad || n > reader_left(&p.r) / 10) return ST_CORRUPT; /* an entry has at least 10 bytes */
    p.n = (uint32_t)n;
    *ret = p;
    return ST_OK;
}

static enum status next_keep(struct reader *r, uint32_t n_events, uint32_t *ret_kept, struct buf *ret_keep) {
    uint64_t n = reader_varint(r), end = 0;
    *ret_kept = 0;
    if (r->bad || n == 0 || n > reader_left(r) / 2 || n > PACK_MAX_KEEP) return ST_CORRUPT;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t gap = reader_varint(r), more = reader_varint(r);
        if (r->bad || gap > n_events || more >= n_events || end + gap + more + 1 > n_events) return ST_CORRUPT;
        struct db_keep k = {(uint32_t)(end + gap), (uint32_t)more + 1};
        end = (uint64_t)k.first + k.n;
        *ret_kept += k.n;
        if (ret_keep) buf_append(ret_keep, &k, sizeof k);
    }
    return ST_OK;
}

enum status pack_next(struct pack_reader *p, struct db_block *ret, struct buf *ret_keep) {
    if (p->next == p->n) return reader_left(&p->r) ? ST_CORRUPT : ST_END;
    struct reader *r = &p->r;
    uint8_t flags = reader_u8(r);
    uint64_t host = reader_varint(r), stream = reader_varint(r), header_len = reader_varint(r), len = reader_varint(r),
             n_events = reader_varint(r);
    struct db_block b = {.seq = p->seq, .index = p->next, .arrival = p->arrival, .partial = flags & PACK_PARTIAL};
    b.first_id = reader_varint(r);
    uint64_t id_span = reader_varint(r);
    b.min_time = p->arrival + (uint64_t)reader_zigzag(r);
    uint64_t time_span = reader_varint(r);
    if (r->bad || flags & ~(PACK_PARTIAL | PACK_SAME) || host > UINT32_MAX || stream > UINT32_MAX ||
        len > PACK_MAX_BLOCK || header_len > len || n_events > UINT32_MAX || id_span > UINT64_MAX - b.first_id ||
        time_span > UINT64_MAX - b.min_time) {
        return ST_CORRUPT;
    }
    b.host = (uint32_t)host;
    b.stream = (uint32_t)stream;
    b.header_len = (uint32_t)header_len;
    b.len = (uint32_t)len;
    b.n_events = b.n_kept = (uint32_t)n_events;
    b.last_id = b.first_id + id_span;
    b.max_time = b.min_time + time_span;
    if (b.partial) {
        enum status st = next_keep(r, b.n_events, &b.n_kept, ret_keep);
        if (st) return st;
    }
    size_t at = p->at;
    if (flags & PACK_SAME) {
        if (!p->next || len != p->prev_len) return ST_CORRUPT;
        at = p->prev;
    } else {
        if (len > p->len - p->at) return ST_CORRUPT;
        p->at += (size_t)len;
    }
    b.offset = (uint32_t)at;
    p->prev = at;
    p->prev_len = (size_t)len;
    p->next++;
    *ret = b;
    return ST_OK;
}
