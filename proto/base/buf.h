/* A growing run of bytes that owns its memory. Zero-initialised is a valid empty buffer (`struct buf b = {0}`).
 *
 * buf_* abort when memory runs out; buf_try_* return ST_NOMEM or ST_TOOBIG and leave the buffer as it was: use them
 * for sizes that a peer can influence. */
#ifndef HAECHI_BUF_H
#define HAECHI_BUF_H

#include "slice.h"
#include "status.h"

struct buf {
    uint8_t *p;
    size_t len, cap;
};

void buf_free(struct buf *b);                  /* empties and releases; fine on an empty one */
void buf_reserve(struct buf *b, size_t extra); /* room for `extra` more bytes */
void buf_append(struct buf *b, const void *p, size_t len);
void buf_byte(struct buf *b, uint8_t c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_consume(struct buf *b, size_t len); /* drops the first len bytes (moves the rest) */
const char *buf_cstr(struct buf *b);         /* NUL-terminates (not counted in len) and borrows */

MUST_USE enum status buf_try_reserve(struct buf *b, size_t extra, size_t max_len);
MUST_USE enum status buf_try_append(struct buf *b, const void *p, size_t len, size_t max_len);

static inline struct slice buf_slice(const struct buf *b) {
    return (struct slice){b->p, b->len};
}

static inline void buf_slice_append(struct buf *b, struct slice s) {
    buf_append(b, s.p, s.len);
}

static inline void buf_str(struct buf *b, const char *s) {
    buf_append(b, s, strlen(s));
}

static inline void buf_clear(struct buf *b) {
    b->len = 0;
}

/* Little-endian integers and LEB128 varints (as protobuf has them). */
void buf_u16le(struct buf *b, uint16_t v);
void buf_u32le(struct buf *b, uint32_t v);
void buf_u64le(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);
void buf_zigzag(struct buf *b, int64_t v);

/* A cursor that reads what the functions above write, from hostile bytes: every reader sets `bad` on a short or
 * malformed input, returns 0, and stays bad; check once at the end. */
struct reader {
    const uint8_t *p, *end;
    bool bad;
};

struct reader reader_of(struct slice s);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16le(struct reader *r);
uint32_t reader_u32le(struct reader *r);
uint64_t reader_u64le(struct reader *r);
uint64_t reader_varint(struct reader *r);
int64_t reader_zigzag(struct reader *r);
struct slice reader_bytes(struct reader *r, size_t len);

static inline size_t reader_left(const struct reader *r) {
    return r->bad ? 0 : (size_t)(r->end - r->p);
}

#endif
