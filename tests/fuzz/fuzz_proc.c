/* A stored process row, a stream's head and a block's entry: decode, merge, encode, decode. */
// links: storage base
// fuzz: -max_len=4096
#include "blocks.h"
#include "keys.h"
#include "mem.h"
#include "procs.h"
#include "streams.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_proc(struct slice s) {
    struct proc p, q;
    if (proc_decode(s, &p)) return;
    struct buf b = {0};
    proc_encode(&p, &b);
    assert(proc_decode(buf_slice(&b), &q) == ST_OK);
    assert(q.start == p.start && q.end == p.end && q.pid == p.pid && slice_eq(q.command_line, p.command_line));
    proc_merge(&q, &p);
    buf_free(&b);
}

static void try_block(struct slice s) {
    uint8_t key[KEY_BLOCK_LEN] = {0};
    struct db_block a, b;
    if (block_decode(slice_of(key, sizeof key), s, &a)) return;
    struct buf out = {0};
    block_encode(&a, &out);
    assert(block_decode(slice_of(key, sizeof key), buf_slice(&out), &b) == ST_OK);
    assert(a.last_id == b.last_id && a.len == b.len && a.max_time == b.max_time && a.n_kept == b.n_kept);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct stream_head h;
    try_proc(slice_of(data, size));
    try_block(slice_of(data, size));
    if (!stream_head_decode(slice_of(data, size), &h)) assert(h.channel.len <= size && h.computer.len <= size);
    return 0;
}
