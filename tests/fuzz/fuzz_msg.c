/* fuzz: -max_len=4096
 * The first byte names the message; what can be unpacked is packed and unpacked again, within the arena's cap. (Messages
 * with unknown fields are left out, at any depth: protobuf-c reads an overlong field number 0, which it would then write
 * as a malformed one. Nothing that was received is ever packed again.) */
#include "msg.h"

#include <stdbool.h>
#include <stdlib.h>

#define FUZZ_CAP (256u * 1024)

static const ProtobufCMessageDescriptor *const kinds[] = {
    &haechi__hello__descriptor,
    &haechi__welcome__descriptor,
    &haechi__ack__descriptor,
    &haechi__heartbeat__descriptor,
    &haechi__heartbeat_reply__descriptor,
    &haechi__position_query__descriptor,
    &haechi__position_reply__descriptor,
    &haechi__renew__descriptor,
    &haechi__renewed__descriptor,
    &haechi__goodbye__descriptor,
    &haechi__gap__descriptor,
    &haechi__enroll_request__descriptor,
    &haechi__enroll_reply__descriptor,
    &haechi__batch_header__descriptor,
};

static bool has_unknown(const ProtobufCMessage *m) {
    if (m->n_unknown_fields) return true;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE) continue;
        const char *at = (const char *)m + f->offset;
        bool many = f->label == PROTOBUF_C_LABEL_REPEATED;
        size_t n = many ? *(const size_t *)((const char *)m + f->quantifier_offset) : 1;
        ProtobufCMessage *const *children =
            many ? *(ProtobufCMessage *const *const *)at : (ProtobufCMessage *const *)at;
        for (size_t k = 0; k < n; k++) {
            if (children[k] && has_unknown(children[k])) return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const ProtobufCMessageDescriptor *d = kinds[data[0] % (sizeof kinds / sizeof *kinds)];
    struct arena a, b;
    arena_init(&a, FUZZ_CAP);
    arena_init(&b, 4 * FUZZ_CAP);
    ProtobufCMessage *m = msg_unpack(d, slice_of(data + 1, size - 1), &a);
    if (a.used > FUZZ_CAP) abort();
    if (m && !has_unknown(m)) {
        struct buf packed = {0}, again = {0};
        msg_pack(m, &packed);
        ProtobufCMessage *second = msg_unpack(d, buf_slice(&packed), &b);
        if (!second) abort();
        msg_pack(second, &again);
        if (!slice_eq(buf_slice(&packed), buf_slice(&again))) abort();
        buf_free(&packed);
        buf_free(&again);
    }
    arena_deinit(&a);
    arena_deinit(&b);
    return 0;
}
