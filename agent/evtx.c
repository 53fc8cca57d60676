/* 1 SOURCE  .evtx files: the file header, the walk over the records of a chunk, and what was skipped on the way.
 *
 * Nothing that a header says is believed before it is checked against the bytes; where it does not hold, the records
 * are looked for. The cursor only moves forward, so a chunk ends. */
#include "evtx.h"

#include "binxml.h"
#include "crc32.h"

#include <stdarg.h>
#include <stdio.h>

#define FILE_HEADER_USED 128
#define CHUNK_RECORDS 512u /* where the first record begins */
#define RECORD_HEADER 24u
#define RECORD_MIN (RECORD_HEADER + 4)
#define RECORD_MAGIC "**\0\0"
#define CHUNK_WORK (1u << 22) /* tokens of all records of a chunk */

static uint32_t u16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t u32(const uint8_t *p) {
    return u16(p) | u16(p + 2) << 16;
}

static uint64_t u64(const uint8_t *p) {
    return u32(p) | (uint64_t)u32(p + 4) << 32;
}

/* ---- file header --------------------------------------------------------------------------------------------------- */

struct evtx_file evtx_file_check(struct slice header) {
    struct evtx_file f = {.header_size = EVTX_FILE_HEADER};
    const uint8_t *p = header.p;
    if (header.len < FILE_HEADER_USED) return f;
    f.is_evtx = memcmp(p, "ElfFile\0", 8) == 0;
    f.crc_ok = crc32_add(0, slice_of(p, 120)) == u32(p + 124);
    if (!f.is_evtx) return f;
    f.first_chunk = u64(p + 8);
    f.last_chunk = u64(p + 16);
    f.next_record_id = u64(p + 24);
    f.minor = (uint16_t)u16(p + 36);
    f.major = (uint16_t)u16(p + 38);
    f.n_chunks = (uint16_t)u16(p + 42);
    uint32_t flags = u32(p + 120);
    f.dirty = flags & 1;
    f.full = flags & 2;
    return f;
}

/* ---- chunk --------------------------------------------------------------------------------------------------------- */

static void damage_set(struct evtx_damage *d, uint32_t offset, uint32_t skipped, uint64_t record_id, const char *fmt,
                       ...) PRINTF_LIKE(5, 6);

static void damage_set(struct evtx_damage *d, uint32_t offset, uint32_t skipped, uint64_t record_id, const char *fmt,
                       ...) {
    *d = (struct evtx_damage){.offset = offset, .skipped = skipped, .record_id = record_id};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->why, sizeof d->why, fmt, ap);
    va_end(ap);
}

static bool is_zero(struct slice s) {
    return s.len == 0 || (s.p[0] == 0 && memcmp(s.p, s.p + 1, s.len - 1) == 0);
}

/* Is this the beginning of a record? Its two sizes must agree, or the next record must begin where it says. */
static bool is_record(const struct evtx_chunk *c, uint32_t pos, uint32_t end, uint32_t *ret_size) {
    const uint8_t *p = c->bytes.p + pos;
    if (end - pos < RECORD_MIN || memcmp(p, RECORD_MAGIC, 4) != 0) return false;
    uint32_t size = u32(p + 4);
    if (size < RECORD_MIN || size > end - pos) return false;
    *ret_size = size;
    if (u32(p + size - 4) == size || pos + size == end) return true;
    return end - pos - size >= 4 && memcmp(p + size, RECORD_MAGIC, 4) == 0;
}

/* The first record at or behind `from`; end: none. */
static uint32_t find_record(const struct evtx_chunk *c, uint32_t from, uint32_t end) {
    uint32_t size;
    while (from < end && end - from >= RECORD_MIN) {
        const uint8_t *at = memchr(c->bytes.p + from, '*', end - from);
        if (!at) break;
        from = (uint32_t)(at - c->bytes.p);
        if (is_record(c, from, end, &size)) return from;
        from++;
    }
    return end;
}

static void read_header(struct evtx_chunk *c) {
    const uint8_t *p = c->bytes.p;
    c->first_number = u64(p + 8);
    c->last_number = u64(p + 16);
    c->first_record_id = u64(p + 24);
    c->last_record_id = u64(p + 32);
    c->free_offset = u32(p + 48);
    uint32_t crc = crc32_add(crc32_add(0, slice_of(p, 120)), slice_of(p + 128, CHUNK_RECORDS - 128));
    c->header_ok = memcmp(p, "ElfChnk\0", 8) == 0 && crc == u32(p + 124) && c->free_offset >= CHUNK_RECORDS &&
                   c->free_offset <= EVTX_CHUNK;
}

enum status evtx_chunk_open(struct evtx_chunk *c, struct slice chunk, struct evtx_damage *ret_damage) {
    chunk = slice_head(chunk, EVTX_CHUNK);
    *c = (struct evtx_chunk){.bytes = chunk, .work_left = CHUNK_WORK, .out_left = EVTX_CHUNK_MAX};
    *ret_damage = (struct evtx_damage){0};
    if (is_zero(chunk)) return ST_END;
    uint32_t len = (uint32_t)chunk.len;
    if (len < CHUNK_RECORDS) {
        damage_set(ret_damage, 0, len, 0, "the file ends inside a chunk's header");
        return ST_CORRUPT;
    }
    read_header(c);
    bool signature = memcmp(chunk.p, "ElfChnk\0", 8) == 0;
    c->free_ok = signature && c->free_offset >= CHUNK_RECORDS && c->free_offset <= EVTX_CHUNK;
    c->pos = CHUNK_RECORDS;
    c->end = c->free_ok && c->free_offset < len ? c->free_offset : len;
    c->data_crc_ok =
        c->free_ok && c->free_offset <= len &&
        crc32_add(0, slice_of(chunk.p + CHUNK_RECORDS, c->free_offset - CHUNK_RECORDS)) == u32(chunk.p + 52);
    if (c->free_ok && len < c->free_offset)
        damage_set(ret_damage, len, 0, 0, "the file is cut off: %u bytes of this chunk's records are missing",
                   c->free_offset - len);
    else if (!signature)
        damage_set(ret_damage, 0, 0, 0, "no chunk signature; looking for records");
    else if (!c->free_ok)
        damage_set(ret_damage, 0, 0, 0, "the chunk's header is damaged; looking for records");
    else if (!c->header_ok || !c->data_crc_ok)
        damage_set(ret_damage, 0, 0, 0, "the checksum of the chunk's %s does not hold; reading what is readable",
                   c->header_ok     ? "records"
                   : c->data_crc_ok ? "header"
                                    : "header and records");
    if (c->free_ok) return ST_OK;
    /* Without a header that can be believed, what lies in front of the first record and behind the last is not missed. */
    c->pos = find_record(c, CHUNK_RECORDS, c->end);
    if (c->pos < c->end) return ST_OK;
    damage_set(ret_damage, 0, len, 0, "neither a chunk signature nor a record in it");
    return ST_CORRUPT;
}

/* Moves on to the next record behind a stretch that is none. */
static enum status skip_stretch(struct evtx_chunk *c, struct evtx_damage *ret_damage) {
    uint32_t from = c->pos, size;
    bool cut = c->end == c->bytes.len && c->end < EVTX_CHUNK;
    bool starts = c->end - from >= RECORD_HEADER && memcmp(c->bytes.p + from, RECORD_MAGIC, 4) == 0;
    uint64_t id = starts ? u64(c->bytes.p + from + 8) : 0;
    c->pos = find_record(c, from + 1, c->end);
    if (!c->free_ok && !starts && !is_record(c, c->pos, c->end, &size)) return ST_END; /* the free space of the chunk */
    const char *why = !starts                   ? "no record where one should begin"
                      : c->pos == c->end && cut ? "the record is cut off by the end of the file"
                                                : "the size of the record is damaged";
    damage_set(ret_damage, from, c->pos - from, id, "%s", why);
    return ST_CORRUPT;
}

/* Behind the last known record: only what goes on without a gap. */
static bool tail_ends(const struct evtx_chunk *c, uint32_t *ret_size) {
    return !is_record(c, c->pos, c->end, ret_size) || u32(c->bytes.p + c->pos + *ret_size - 4) != *ret_size ||
           u64(c->bytes.p + c->pos + 8) != c->last_seen_id + 1;
}

enum status evtx_chunk_next(struct evtx_chunk *c, struct buf *xml, struct evtx_record *ret,
                            struct evtx_damage *ret_damage) {
    uint32_t size;
    buf_clear(xml);
    *ret_damage = (struct evtx_damage){0};
    if (c->pos >= c->end) return ST_END;
    if (c->tail) {
        if (tail_ends(c, &size)) {
            c->pos = c->end;
            return ST_END;
        }
    } else if (!is_record(c, c->pos, c->end, &size)) {
        return skip_stretch(c, ret_damage);
    }
    const uint8_t *p = c->bytes.p + c->pos;
    struct evtx_record r = {.record_id = u64(p + 8), .written = u64(p + 16), .offset = c->pos, .size = size};
    uint32_t work = c->work_left < BINXML_WORK_MAX ? c->work_left : BINXML_WORK_MAX, before = work;
    struct binxml_fault fault = {0, "unreadable"};
    size_t max = c->out_left < EVTX_EVENT_MAX ? c->out_left : EVTX_EVENT_MAX;
    enum status st = binxml_render(c->bytes, c->pos + RECORD_HEADER, c->pos + size - 4, max, &work, xml, &fault);
    if (st == ST_NOMEM) return st;
    c->work_left -= before - work;
    c->pos += size;
    c->last_seen_id = r.record_id;
    if (st != ST_OK) {
        damage_set(ret_damage, r.offset, size, r.record_id, "%s (byte %u of the chunk)", fault.why, fault.offset);
        return st == ST_TOOBIG ? ST_TOOBIG : ST_CORRUPT;
    }
    c->out_left -= xml->len;
    c->n_read++;
    *ret = r;
    return ST_OK;
}

void evtx_chunk_read_tail(struct evtx_chunk *c) {
    if (c->bytes.len < CHUNK_RECORDS || c->tail || c->last_seen_id == 0) return;
    c->tail = true;
    c->end = (uint32_t)c->bytes.len;
}

void evtx_damage_describe(const struct evtx_damage *d, char *out, size_t cap) {
    char id[40] = "";
    if (d->record_id) snprintf(id, sizeof id, "record %llu, ", (unsigned long long)d->record_id);
    if (d->skipped)
        snprintf(out, cap, "%sbyte %u of the chunk: %s; %u bytes skipped", id, d->offset, d->why, d->skipped);
    else
        snprintf(out, cap, "%sbyte %u of the chunk: %s", id, d->offset, d->why);
}
