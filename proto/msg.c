/* Messages between protobuf bytes and structs. Owner of <protobuf-c>: decoding goes through an arena whose cap holds
 * for the decoded size, protobuf-c's own scratch memory included (its free does nothing; all goes with the arena).
 * Pure: any thread, no state. */
#include "msg.h"

static void *msg_alloc(void *ctx, size_t len) {
    return arena_alloc(ctx, len);
}

static void msg_free(void *ctx, void *p) {
    (void)ctx;
    (void)p;
}

ProtobufCMessage *msg_unpack(const ProtobufCMessageDescriptor *d, struct slice bytes, struct arena *a) {
    ProtobufCAllocator allocator = {msg_alloc, msg_free, a};
    return protobuf_c_message_unpack(d, &allocator, bytes.len, bytes.len ? bytes.p : (const uint8_t *)"");
}

void msg_pack(const ProtobufCMessage *m, struct buf *out) {
    size_t len = protobuf_c_message_get_packed_size(m);
    if (!len) return;
    buf_reserve(out, len);
    out->len += protobuf_c_message_pack(m, out->p + out->len);
}

void msg_put_frame(struct buf *out, enum frame_type t, const ProtobufCMessage *m) {
    uint8_t head[FRAME_HEAD_LEN];
    frame_head(head, t, protobuf_c_message_get_packed_size(m));
    buf_append(out, head, sizeof head);
    msg_pack(m, out);
}
