/* fuzz: -max_len=2048
 * The first byte says who sends and in what pieces; whole frames that come out are put again and must be the input. */
#include "frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    size_t piece = 1 + (data[0] >> 1) % 64;
    struct slice all = slice_of(data + 1, size - 1);
    struct frame_reader r;
    struct buf again = {0};
    enum status st = ST_AGAIN;
    frame_reader_init(&r, data[0] & 1 ? FRAME_FROM_AGENT : FRAME_FROM_COLLECTOR);
    for (size_t at = 0; at < all.len && st == ST_AGAIN; at += piece) {
        struct slice in = slice_head(slice_from(all, at), piece), body;
        enum frame_type t;
        while ((st = frame_next(&r, &in, &t, &body, NULL)) == ST_OK) {
            if (body.len > frame_max(t)) abort();
            frame_put(&again, t, body);
        }
        if (st == ST_AGAIN && in.len) abort();
        if (r.body.cap > 2 * all.len + 4096) abort();
    }
    if (!slice_eq(buf_slice(&again), slice_head(all, again.len))) abort();
    buf_free(&again);
    frame_reader_deinit(&r);
    return 0;
}
