/* 4 SPOOL  Segment bytes, both ways. Pure: what comes from the disk is treated as foreign. */
#include "spool_entry.h"
#include "crc32.h"

#define SEGMENT_MAGIC "HAESPOOL"
#define SEGMENT_VERSION 1u
#define ENTRY_MAGIC UINT32_C(0x31455348) /* "HSE1" */

void spool_put_head(struct buf *out) {
    buf_append(out, SEGMENT_MAGIC, 8);
    buf_u32le(out, SEGMENT_VERSION);
    buf_u32le(out, 0);
}

bool spool_head_ok(struct slice segment) {
    struct reader r = reader_of(segment);
    struct slice magic = reader_bytes(&r, 8);
    uint32_t version = reader_u32le(&r);
    return !r.bad && slice_eq(magic, SLICE_LIT(SEGMENT_MAGIC)) && version == SEGMENT_VERSION;
}

void spool_entry_put(const struct spool_entry *e, struct buf *out) {
    size_t at = out->len;
    buf_u32le(out, ENTRY_MAGIC);
    buf_u32le(out, (uint32_t)(e->source.len + e->position.len + e->batch.len));
    buf_u64le(out, e->seq);
    buf_u32le(out, e->header_len);
    buf_u32le(out, e->n_events);
    buf_u16le(out, (uint16_t)e->source.len);
    buf_u16le(out, (uint16_t)e->position.len);
    buf_u32le(out, crc32_add(crc32_add(crc32_add(0, e->source), e->position), e->batch));
    buf_u32le(out, crc32_add(0, slice_of(out->p + at, out->len - at)));
    buf_slice_append(out, e->source);
    buf_slice_append(out, e->position);
    buf_slice_append(out, e->batch);
}

/* The body's checksum goes to *ret_crc. */
static size_t parse_head(struct slice head, struct spool_entry *ret, uint32_t *ret_crc) {
    if (head.len < SPOOL_ENTRY_HEAD) return 0;
    struct reader r = reader_of(slice_head(head, SPOOL_ENTRY_HEAD));
    struct spool_entry e = {0};
    uint32_t magic = reader_u32le(&r), len = reader_u32le(&r);
    e.seq = reader_u64le(&r);
    e.header_len = reader_u32le(&r);
    e.n_events = reader_u32le(&r);
    e.source.len = reader_u16le(&r);
    e.position.len = reader_u16le(&r);
    uint32_t body_crc = reader_u32le(&r), head_crc = reader_u32le(&r);
    if (r.bad || magic != ENTRY_MAGIC || head_crc != crc32_add(0, slice_head(head, SPOOL_ENTRY_HEAD - 4))) return 0;
    if (e.source.len > SPOOL_MAX_NAME || e.position.len > SPOOL_MAX_POSITION || len < e.source.len + e.position.len)
        return 0;
    e.batch.len = len - e.source.len - e.position.len;
    if (e.batch.len > SPOOL_MAX_BATCH || e.header_len > e.batch.len) return 0;
    *ret = e;
    *ret_crc = body_crc;
    return SPOOL_ENTRY_HEAD + (size_t)len;
}

size_t spool_entry_head(struct slice head, struct spool_entry *ret) {
    uint32_t crc;
    return parse_head(head, ret, &crc);
}

enum status spool_entry_parse(struct slice segment, size_t at, struct spool_entry *ret, size_t *ret_next) {
    if (at >= segment.len) return ST_END;
    struct slice rest = slice_from(segment, at);
    if (rest.len < SPOOL_ENTRY_HEAD) return ST_AGAIN;
    struct spool_entry e;
    uint32_t crc;
    size_t len = parse_head(rest, &e, &crc);
    if (!len) return ST_CORRUPT;
    if (len > rest.len) return ST_AGAIN;
    struct slice body = slice_of(rest.p + SPOOL_ENTRY_HEAD, len - SPOOL_ENTRY_HEAD);
    if (crc32_add(0, body) != crc) return ST_CORRUPT;
    e.source.p = body.p;
    e.position.p = body.p + e.source.len;
    e.batch.p = body.p + e.source.len + e.position.len;
    *ret = e;
    *ret_next = at + len;
    return ST_OK;
}

size_t spool_find_entry(struct slice segment, size_t at) {
    static const uint8_t magic[4] = {'H', 'S', 'E', '1'};
    for (size_t i = at + 1; i + SPOOL_ENTRY_HEAD <= segment.len; i++) {
        struct spool_entry e;
        size_t next;
        if (memcmp(segment.p + i, magic, 4) == 0 && spool_entry_parse(segment, i, &e, &next) == ST_OK) return i;
    }
    return segment.len;
}
