/* 8 STORE: big-endian keys. Pure. */
#include "keys.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

void key_put_u32(uint8_t *at, uint32_t v) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(v >> (24 - 8 * i));
}

void key_put_u64(uint8_t *at, uint64_t v) {
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(v >> (56 - 8 * i));
}

uint32_t key_get_u32(const uint8_t *at) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) v = v << 8 | at[i];
    return v;
}

uint64_t key_get_u64(const uint8_t *at) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | at[i];
    return v;
}

void key_pack(uint8_t out[KEY_PACK_LEN], uint64_t seq) {
    key_put_u64(out, seq);
}

void key_stream(uint8_t out[KEY_STREAM_LEN], uint32_t host, uint32_t stream) {
    key_put_u32(out, host);
    key_put_u32(out + 4, stream);
}

void key_part(uint8_t out[KEY_PART_LEN], uint32_t host, uint32_t stream, uint64_t first_id) {
    key_stream(out, host, stream);
    key_put_u64(out + 8, first_id);
}

void key_block(uint8_t out[KEY_BLOCK_LEN], const struct key_block *k) {
    key_part(out, k->host, k->stream, k->first_id);
    key_put_u64(out + 16, k->seq);
    key_put_u32(out + 24, k->index);
}

void key_guid(uint8_t out[KEY_GUID_LEN], uint32_t host, uint32_t hash) {
    key_put_u32(out, host);
    key_put_u32(out + 4, hash);
}

void key_ref(uint8_t out[KEY_REF_LEN], uint32_t seq_from_base, uint32_t index) {
    key_put_u32(out, seq_from_base);
    key_put_u32(out + 4, index);
}

void key_proc(uint8_t out[KEY_PROC_LEN], uint32_t host, const struct guid *g) {
    key_put_u32(out, host);
    memcpy(out + 4, g->b, GUID_LEN);
}

void key_child(uint8_t out[KEY_CHILD_LEN], uint32_t host, const struct guid *parent, const struct guid *child) {
    key_proc(out, host, parent);
    memcpy(out + KEY_PROC_LEN, child->b, GUID_LEN);
}

void key_pid(uint8_t out[KEY_PID_LEN], uint32_t host, uint32_t pid, uint64_t start, const struct guid *g) {
    key_put_u32(out, host);
    key_put_u32(out + 4, pid);
    key_put_u64(out + 8, start);
    memcpy(out + 16, g->b, GUID_LEN);
}

void key_tally(uint8_t out[KEY_TALLY_LEN], uint32_t host, uint32_t day) {
    key_put_u32(out, host);
    key_put_u32(out + 4, day);
}

void key_tallylog(uint8_t out[KEY_TALLYLOG_LEN], uint32_t run, uint32_t host, uint32_t chunk) {
    key_put_u32(out, run);
    key_put_u32(out + 4, host);
    key_put_u32(out + 8, chunk);
}

enum status key_pack_parse(struct slice key, uint64_t *ret_seq) {
    if (key.len != KEY_PACK_LEN) return ST_CORRUPT;
    *ret_seq = key_get_u64(key.p);
    return ST_OK;
}

enum status key_block_parse(struct slice key, struct key_block *ret) {
    if (key.len != KEY_BLOCK_LEN) return ST_CORRUPT;
    *ret = (struct key_block){.host = key_get_u32(key.p),
                              .stream = key_get_u32(key.p + 4),
                              .first_id = key_get_u64(key.p + 8),
                              .seq = key_get_u64(key.p + 16),
                              .index = key_get_u32(key.p + 24)};
    return ST_OK;
}

uint32_t key_guid_hash(const uint8_t guid[GUID_LEN]) {
    return (uint32_t)XXH3_64bits(guid, GUID_LEN);
}
