/* Growing byte buffers, and a reader for what they hold. No state of its own; pure but for memory. */
#include "buf.h"
#include "mem.h"

#include <stdarg.h>
#include <stdio.h>

void buf_free(struct buf *b) {
    mem_free(b->p);
    *b = (struct buf){0};
}

static size_t grown(const struct buf *b, size_t extra) {
    size_t want = b->len + extra, cap = b->cap < 64 ? 64 : b->cap;
    while (cap < want) cap = cap > SIZE_MAX / 2 ? want : cap * 2;
    return cap;
}

void buf_reserve(struct buf *b, size_t extra) {
    if (b->cap - b->len >= extra) return;
    b->cap = grown(b, extra);
    b->p = mem_realloc(b->p, b->cap);
}

MUST_USE enum status buf_try_reserve(struct buf *b, size_t extra, size_t max_len) {
    if (b->len > max_len || extra > max_len - b->len) return ST_TOOBIG;
    if (b->cap - b->len >= extra) return ST_OK;
    size_t cap = grown(b, extra);
    uint8_t *p = mem_try_realloc(b->p, cap);
    if (!p) return ST_NOMEM;
    b->p = p;
    b->cap = cap;
    return ST_OK;
}

void buf_append(struct buf *b, const void *p, size_t len) {
    if (!len) return;
    buf_reserve(b, len);
    memcpy(b->p + b->len, p, len);
    b->len += len;
}

MUST_USE enum status buf_try_append(struct buf *b, const void *p, size_t len, size_t max_len) {
    enum status st = buf_try_reserve(b, len, max_len);
    if (st) return st;
    if (len) memcpy(b->p + b->len, p, len);
    b->len += len;
    return ST_OK;
}

void buf_byte(struct buf *b, uint8_t c) {
    buf_reserve(b, 1);
    b->p[b->len++] = c;
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        buf_append(b, small, (size_t)n);
    } else if (n >= 0) {
        buf_reserve(b, (size_t)n + 1);
        vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t len) {
    if (len >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->p, b->p + len, b->len - len);
    b->len -= len;
}

const char *buf_cstr(struct buf *b) {
    buf_reserve(b, 1);
    b->p[b->len] = 0;
    return (const char *)b->p;
}

static void put_le(struct buf *b, uint64_t v, int n) {
    uint8_t le[8];
    for (int i = 0; i < n; i++) le[i] = (uint8_t)(v >> (8 * i));
    buf_append(b, le, (size_t)n);
}

void buf_u16le(struct buf *b, uint16_t v) {
    put_le(b, v, 2);
}

void buf_u32le(struct buf *b, uint32_t v) {
    put_le(b, v, 4);
}

void buf_u64le(struct buf *b, uint64_t v) {
    put_le(b, v, 8);
}

void buf_varint(struct buf *b, uint64_t v) {
    while (v >= 0x80) {
        buf_byte(b, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    buf_byte(b, (uint8_t)v);
}

void buf_zigzag(struct buf *b, int64_t v) {
    buf_varint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

struct reader reader_of(struct slice s) {
    return (struct reader){s.p, s.len ? s.p + s.len : s.p, false};
}

struct slice reader_bytes(struct reader *r, size_t len) {
    if (r->bad || (size_t)(r->end - r->p) < len) {
        r->bad = true;
        return (struct slice){r->p, 0};
    }
    struct slice s = {r->p, len};
    r->p += len;
    return s;
}

static uint64_t get_le(struct reader *r, size_t n) {
    struct slice s = reader_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) v |= (uint64_t)s.p[i] << (8 * i);
    return v;
}

uint8_t reader_u8(struct reader *r) {
    return (uint8_t)get_le(r, 1);
}

uint16_t reader_u16le(struct reader *r) {
    return (uint16_t)get_le(r, 2);
}

uint32_t reader_u32le(struct reader *r) {
    return (uint32_t)get_le(r, 4);
}

uint64_t reader_u64le(struct reader *r) {
    return get_le(r, 8);
}

uint64_t reader_varint(struct reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->bad || r->p == r->end) break;
        uint8_t c = *r->p++;
        if (shift == 63 && c > 1) break;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return v;
    }
    r->bad = true;
    return 0;
}

int64_t reader_zigzag(struct reader *r) {
    uint64_t v = reader_varint(r);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
