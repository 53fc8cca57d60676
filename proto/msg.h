/* Messages between protobuf bytes and structs. The generated structs of haechi.proto (Haechi__Hello ...) are used as
 * they are; this file owns <protobuf-c> and the generated header, caps decoding and frames what is sent. Pure. */
#ifndef HAECHI_MSG_H
#define HAECHI_MSG_H

#include "arena.h"
#include "frame.h"
#include "haechi.pb-c.h"

#define MSG_ARENA_CAP (4u * 1024 * 1024) /* decoded size of one message */

/* Unpacks into the arena; NULL for malformed bytes or over the arena's cap. The message dies with the arena. */
ProtobufCMessage *msg_unpack(const ProtobufCMessageDescriptor *d, struct slice bytes, struct arena *a);
#define MSG_UNPACK(Type, type, bytes, arena) ((Haechi__##Type *)msg_unpack(&haechi__##type##__descriptor, bytes, arena))

/* Appends the packed bytes, or a whole frame, to *out. */
void msg_pack(const ProtobufCMessage *m, struct buf *out);
void msg_put_frame(struct buf *out, enum frame_type t, const ProtobufCMessage *m);

/* Bridges: bytes fields borrow, and so do the slices made from them. */
static inline ProtobufCBinaryData msg_bytes(struct slice s) {
    return (ProtobufCBinaryData){s.len, (uint8_t *)s.p};
}

static inline struct slice msg_slice(ProtobufCBinaryData b) {
    return (struct slice){b.data, b.len};
}

#endif
