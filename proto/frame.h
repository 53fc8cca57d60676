/* Frames: how messages are cut from the TLS byte stream.
 *
 *     0        4      5
 *     +--------+------+----------------- - - -
 *     | length | type | body (length bytes)        length: u32 little-endian, of the body alone
 *     +--------+------+----------------- - - -
 *
 * The body is the message's protobuf, but for FRAME_BATCH: header length (u32 little-endian), header, columns,
 * payload. The limit of each type is checked before a byte of the body is stored. Pure. */
#ifndef HAECHI_FRAME_H
#define HAECHI_FRAME_H

#include "buf.h"

#define FRAME_HEAD_LEN 5

/* type number, name, largest body, who sends it: 1 agent, 2 collector, 3 both */
#define FRAME_LIST(X)                          \
    X(FRAME_HELLO, 1, 256 * 1024, 1)           \
    X(FRAME_WELCOME, 2, 1024 * 1024, 2)        \
    X(FRAME_BATCH, 3, 4 * 1024 * 1024 + 4, 1)  \
    X(FRAME_ACK, 4, 256 * 1024, 2)             \
    X(FRAME_HEARTBEAT, 5, 256 * 1024, 1)       \
    X(FRAME_HEARTBEAT_REPLY, 6, 4096, 2)       \
    X(FRAME_POSITION_QUERY, 7, 256 * 1024, 1)  \
    X(FRAME_POSITION_REPLY, 8, 1024 * 1024, 2) \
    X(FRAME_RENEW, 9, 16 * 1024, 1)            \
    X(FRAME_RENEWED, 10, 256 * 1024, 2)        \
    X(FRAME_GOODBYE, 11, 4096, 3)              \
    X(FRAME_GAP, 12, 16 * 1024, 1)             \
    X(FRAME_RULES_OFFER, 13, 1024 * 1024, 2)   \
    X(FRAME_RULES_STATUS, 14, 64 * 1024, 1)    \
    X(FRAME_ENROLL, 32, 64 * 1024, 1)          \
    X(FRAME_ENROLL_REPLY, 33, 256 * 1024, 2)

enum frame_type {
#define FRAME_ENUM(name, number, max, sender) name = number,
    FRAME_LIST(FRAME_ENUM)
#undef FRAME_ENUM
};

enum frame_sender { FRAME_FROM_AGENT = 1, FRAME_FROM_COLLECTOR = 2 };

const char *frame_name(enum frame_type t); /* "HELLO", or "?" */
size_t frame_max(enum frame_type t);       /* 0: no such type */

struct frame_reader {
    enum frame_sender from; /* what the peer may send */
    size_t max_body;        /* a lower limit than the type's own, 0: none (before a peer is known, say) */
    uint8_t head[FRAME_HEAD_LEN];
    size_t head_len, body_len;
    struct buf body;
};

void frame_reader_init(struct frame_reader *r, enum frame_sender from);
void frame_reader_deinit(struct frame_reader *r);

/* Takes bytes from *in (moving it forward) until one frame is whole: ST_OK with *ret_type and *ret_body (valid until
 * the next call), ST_AGAIN when *in is used up, else ST_PROTO (unknown or wrong-way type), ST_TOOBIG, ST_NOMEM: the
 * connection is lost then. Memory grows with what arrives, not with what the length promises. */
MUST_USE enum status frame_next(struct frame_reader *r, struct slice *in, enum frame_type *ret_type,
                                struct slice *ret_body, struct error *err);

/* Moves the body of the frame just returned out of the reader (no copy); the caller owns it. */
struct buf frame_take_body(struct frame_reader *r);

/* Appends head and body. */
void frame_put(struct buf *out, enum frame_type t, struct slice body);
/* The five head bytes for a body of that length. */
void frame_head(uint8_t out[FRAME_HEAD_LEN], enum frame_type t, size_t body_len);

#endif
