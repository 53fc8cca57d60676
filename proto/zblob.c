/* One zstd frame with its size, both ways. Invariant: nothing is allocated by a number that was not checked. Pure. */
#include "zblob.h"
#include "mem.h"

#include <zstd.h>

#include <stdlib.h>

#define LEVEL 9 /* made once, read by a whole fleet */

void zblob_pack(struct slice bytes, struct buf *out) {
    size_t room = ZSTD_compressBound(bytes.len);
    buf_reserve(out, room);
    size_t n = ZSTD_compress(out->p + out->len, room, bytes.p, bytes.len, LEVEL);
    if (ZSTD_isError(n)) abort(); /* the room is enough by contract; what is left is no memory */
    out->len += n;
}

enum status zblob_unpack(struct slice frame, size_t max_len, struct buf *out, struct error *err) {
    if (!frame.len) return error_set(err, ST_FORMAT, "the compressed bytes are missing");
    unsigned long long len = ZSTD_getFrameContentSize(frame.p, frame.len);
    if (len == ZSTD_CONTENTSIZE_ERROR || len == ZSTD_CONTENTSIZE_UNKNOWN)
        return error_set(err, ST_FORMAT, "the compressed bytes are no zstd frame with its size");
    if (len > max_len)
        return error_set(err, ST_TOOBIG, "the compressed bytes stand for %llu bytes, the limit is %zu", len, max_len);
    if (ZSTD_findFrameCompressedSize(frame.p, frame.len) != frame.len)
        return error_set(err, ST_FORMAT, "the compressed bytes are cut off, or others follow");
    enum status st = buf_try_reserve(out, (size_t)len + 1, out->len + max_len + 1);
    if (st) return error_set(err, st, "%llu bytes of memory are not to be had", len);
    size_t n = ZSTD_decompress(out->p + out->len, (size_t)len, frame.p, frame.len);
    if (ZSTD_isError(n) || n != len) return error_set(err, ST_FORMAT, "the compressed bytes are damaged");
    out->len += n;
    return ST_OK;
}
