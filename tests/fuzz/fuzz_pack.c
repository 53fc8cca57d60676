/* A pack's directory. The input is taken as it is, and once more as the directory of a pack whose checksum holds. */
// links: storage base
// fuzz: -max_len=8192
#include "mem.h"
#include "packs.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct slice pack) {
    struct pack_reader r;
    struct db_block b;
    struct buf keep = {0};
    if (pack_parse(pack, 7, &r)) return;
    while (buf_clear(&keep), !pack_next(&r, &b, &keep)) {
        assert(b.len <= pack.len && b.offset <= pack.len - b.len && b.header_len <= b.len);
        assert(b.first_id <= b.last_id && b.min_time <= b.max_time && b.n_kept <= b.n_events);
        const struct db_keep *k = (const struct db_keep *)keep.p;
        uint64_t end = 0;
        for (size_t i = 0; i < keep.len / sizeof *k; i++) {
            assert(k[i].n && k[i].first >= end && (uint64_t)k[i].first + k[i].n <= b.n_events);
            end = (uint64_t)k[i].first + k[i].n;
        }
    }
    buf_free(&keep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_all(slice_of(data, size));
    struct buf head = {0};
    size_t dir_len = size - size / 4; /* the rest stands for the blocks */
    buf_append(&head, "HPK1", 4);
    buf_u32le(&head, (uint32_t)dir_len);
    buf_u64le(&head, XXH3_64bits(data, dir_len));
    uint8_t *pack = mem_alloc(head.len + size);
    memcpy(pack, head.p, head.len);
    if (size) memcpy(pack + head.len, data, size);
    read_all(slice_of(pack, head.len + size));
    mem_free(pack);
    buf_free(&head);
    return 0;
}
