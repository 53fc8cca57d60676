/* The keys of all tables: big-endian integers, so that LMDB's byte order is number order. Drawn in STORAGE.md. Pure. */
#ifndef HAECHI_KEYS_H
#define HAECHI_KEYS_H

#include "guid.h"

#define KEY_PACK_LEN 8      /* seq */
#define KEY_STREAM_LEN 8    /* host stream */
#define KEY_PART_LEN 16     /* host stream first-id */
#define KEY_BLOCK_LEN 28    /* host stream first-id seq index */
#define KEY_GUID_LEN 8      /* host hash */
#define KEY_REF_LEN 8       /* seq-base index: a value of the GUID index */
#define KEY_PROC_LEN 20     /* host guid */
#define KEY_CHILD_LEN 36    /* host parent-guid child-guid */
#define KEY_PID_LEN 32      /* host pid start guid */
#define KEY_TALLY_LEN 8     /* host day */
#define KEY_TALLYLOG_LEN 12 /* run first-host chunk */

void key_put_u32(uint8_t *at, uint32_t v);
void key_put_u64(uint8_t *at, uint64_t v);
uint32_t key_get_u32(const uint8_t *at);
uint64_t key_get_u64(const uint8_t *at);

struct key_block {
    uint32_t host, stream;
    uint64_t first_id, seq;
    uint32_t index;
};

void key_pack(uint8_t out[KEY_PACK_LEN], uint64_t seq);
void key_stream(uint8_t out[KEY_STREAM_LEN], uint32_t host, uint32_t stream);
void key_part(uint8_t out[KEY_PART_LEN], uint32_t host, uint32_t stream, uint64_t first_id);
void key_block(uint8_t out[KEY_BLOCK_LEN], const struct key_block *k);
void key_guid(uint8_t out[KEY_GUID_LEN], uint32_t host, uint32_t hash);
void key_ref(uint8_t out[KEY_REF_LEN], uint32_t seq_from_base, uint32_t index);
void key_proc(uint8_t out[KEY_PROC_LEN], uint32_t host, const struct guid *g);
void key_child(uint8_t out[KEY_CHILD_LEN], uint32_t host, const struct guid *parent, const struct guid *child);
void key_pid(uint8_t out[KEY_PID_LEN], uint32_t host, uint32_t pid, uint64_t start, const struct guid *g);
void key_tally(uint8_t out[KEY_TALLY_LEN], uint32_t host, uint32_t day);
void key_tallylog(uint8_t out[KEY_TALLYLOG_LEN], uint32_t run, uint32_t host, uint32_t chunk);

/* ST_CORRUPT for a key of another length. */
MUST_USE enum status key_pack_parse(struct slice key, uint64_t *ret_seq);
MUST_USE enum status key_block_parse(struct slice key, struct key_block *ret);

/* The 32 bits of a process GUID that the GUID index keeps. */
uint32_t key_guid_hash(const uint8_t guid[GUID_LEN]);

#endif
