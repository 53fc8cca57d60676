/* Cuts frames from a byte stream. The bytes are a peer's: a frame's type, direction and length are judged before a byte
 * of its body is kept, and the body's memory follows what has arrived (at most twice that, never more than the frame
 * is long). One reader per connection, on the connection's thread. */
#include "frame.h"
#include "mem.h"

#include <assert.h>

#define FRAME_FIRST_ROOM 4096
#define FRAME_KEEP_ROOM (256u * 1024) /* a larger buffer is given back once its frame is done */

struct frame_kind {
    const char *name;
    size_t max;
    unsigned sender;
};

#define FRAME_NAME_OFFSET 6 /* strlen("FRAME_") */

static struct frame_kind kind_of(unsigned t) {
    switch (t) {
#define FRAME_CASE(name, number, max, sender) \
    case number: return (struct frame_kind){&#name[FRAME_NAME_OFFSET], max, sender};
        FRAME_LIST(FRAME_CASE)
#undef FRAME_CASE
    default: return (struct frame_kind){"?", 0, 0};
    }
}

const char *frame_name(enum frame_type t) {
    return kind_of(t).name;
}

size_t frame_max(enum frame_type t) {
    return kind_of(t).max;
}

void frame_reader_init(struct frame_reader *r, enum frame_sender from) {
    *r = (struct frame_reader){.from = from};
}

void frame_reader_deinit(struct frame_reader *r) {
    buf_free(&r->body);
}

static void next_frame(struct frame_reader *r) {
    r->head_len = r->body_len = 0;
    if (r->body.cap > FRAME_KEEP_ROOM) buf_free(&r->body);
    buf_clear(&r->body);
}

/* The head is whole: may this frame come in? */
static enum status judge_head(struct frame_reader *r, struct error *err) {
    size_t len = (size_t)r->head[0] | (size_t)r->head[1] << 8 | (size_t)r->head[2] << 16 | (size_t)r->head[3] << 24;
    unsigned type = r->head[4];
    struct frame_kind kind = kind_of(type);
    if (!kind.max) return error_set(err, ST_PROTO, "frame of unknown type %u", type);
    if (!(kind.sender & (unsigned)r->from)) {
        return error_set(err, ST_PROTO, "frame %s is not for %s to send", kind.name,
                         r->from == FRAME_FROM_AGENT ? "an agent" : "a collector");
    }
    size_t max = r->max_body && r->max_body < kind.max ? r->max_body : kind.max;
    if (len > max) return error_set(err, ST_TOOBIG, "frame %s of %zu bytes, the limit is %zu", kind.name, len, max);
    r->body_len = len;
    return ST_OK;
}

static enum status make_room(struct frame_reader *r, size_t n) {
    if (r->body.cap - r->body.len >= n) return ST_OK;
    size_t want = r->body.cap * 2 > FRAME_FIRST_ROOM ? r->body.cap * 2 : FRAME_FIRST_ROOM;
    if (want < r->body.len + n) want = r->body.len + n;
    if (want > r->body_len) want = r->body_len;
    uint8_t *p = mem_try_realloc(r->body.p, want);
    if (!p) return ST_NOMEM;
    r->body.p = p;
    r->body.cap = want;
    return ST_OK;
}

static struct slice cut(struct slice *in, size_t n) {
    struct slice s = slice_head(*in, n);
    *in = slice_from(*in, s.len);
    return s;
}

enum status frame_next(struct frame_reader *r, struct slice *in, enum frame_type *ret_type, struct slice *ret_body,
                       struct error *err) {
    if (r->head_len == FRAME_HEAD_LEN && r->body.len == r->body_len) next_frame(r); /* it was handed out already */
    if (r->head_len < FRAME_HEAD_LEN) {
        struct slice s = cut(in, FRAME_HEAD_LEN - r->head_len);
        if (s.len) memcpy(r->head + r->head_len, s.p, s.len);
        r->head_len += s.len;
        if (r->head_len < FRAME_HEAD_LEN) return ST_AGAIN;
        enum status st = judge_head(r, err);
        if (st) return st;
    }
    struct slice s = slice_head(*in, r->body_len - r->body.len);
    if (s.len) {
        if (make_room(r, s.len)) return error_set(err, ST_NOMEM, "no memory for a frame of %zu bytes", r->body_len);
        memcpy(r->body.p + r->body.len, s.p, s.len);
        r->body.len += s.len;
        *in = slice_from(*in, s.len);
    }
    if (r->body.len < r->body_len) return ST_AGAIN;
    *ret_type = (enum frame_type)r->head[4];
    *ret_body = buf_slice(&r->body);
    return ST_OK;
}

struct buf frame_take_body(struct frame_reader *r) {
    struct buf body = r->body;
    r->body = (struct buf){0};
    r->head_len = r->body_len = 0;
    return body;
}

void frame_head(uint8_t out[FRAME_HEAD_LEN], enum frame_type t, size_t body_len) {
    assert(body_len <= frame_max(t));
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(body_len >> (8 * i));
    out[4] = (uint8_t)t;
}

void frame_put(struct buf *out, enum frame_type t, struct slice body) {
    uint8_t head[FRAME_HEAD_LEN];
    frame_head(head, t, body.len);
    buf_append(out, head, sizeof head);
    buf_slice_append(out, body);
}
