/* fuzz: -max_len=4096
 * The first byte names the message; what can be unpacked is packed and unpacked again, within the arena's cap. (Unknown
 * fields are left out: protobuf-c reads an overlong field number 0, which it would then write as a malformed one.) */
#include "msg.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const ProtobufCMessageDescriptor *d = kinds[data[0] % (sizeof kinds / sizeof *kinds)];
    struct arena a, b;
    arena_init(&a, FUZZ_CAP);
    arena_init(&b, 4 * FUZZ_CAP);
    ProtobufCMessage *m = msg_unpack(d, slice_of(data + 1, size - 1), &a);
    if (a.used > FUZZ_CAP) abort();
    if (m && !m->n_unknown_fields) {
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
