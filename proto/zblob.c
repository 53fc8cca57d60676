/* zstd without dictionaries: a context for each call, so that nothing is shared. */
#include "zblob.h"

#include <stdlib.h>
#include <zstd.h>

#define LEVEL 12 /* made once, sent to many */

MUST_USE enum status zblob_pack(struct slice raw, size_t max_len, struct buf *out, struct error *err) {
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t bound = ZSTD_compressBound(raw.len);
    if (!c) abort();
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    buf_reserve(out, bound);
    size_t n = ZSTD_compress2(c, out->p + out->len, bound, raw.p, raw.len);
    ZSTD_freeCCtx(c);
    if (ZSTD_isError(n)) abort(); /* out of memory: nothing else is left at that bound */
    if (n > max_len) {
        return error_set(err, ST_TOOBIG, "compressed these are %zu bytes; at most %zu are accepted", n, max_len);
    }
    out->len += n;
    return ST_OK;
}

MUST_USE enum status zblob_unpack(struct slice frame, size_t max_len, struct buf *ret, struct error *err) {
    unsigned long long said = frame.len ? ZSTD_getFrameContentSize(frame.p, frame.len) : ZSTD_CONTENTSIZE_ERROR;
    buf_clear(ret);
    if (said == ZSTD_CONTENTSIZE_UNKNOWN || said == ZSTD_CONTENTSIZE_ERROR) {
        return error_set(err, ST_CORRUPT, "these are no zstd frame that says its size");
    }
    if (said > max_len) {
        return error_set(err, ST_TOOBIG, "unpacked these are %llu bytes; at most %zu are accepted", said, max_len);
    }
    if (ZSTD_findFrameCompressedSize(frame.p, frame.len) != frame.len) {
        return error_set(err, ST_CORRUPT, "these are not exactly one zstd frame");
    }
    /* one byte more, so that there always is a buffer */
    if (buf_try_reserve(ret, (size_t)said + 1, max_len + 1)) {
        return error_set(err, ST_NOMEM, "no memory to unpack %llu bytes", said);
    }
    size_t got = ZSTD_decompress(ret->p, (size_t)said, frame.p, frame.len);
    if (ZSTD_isError(got)) return error_set(err, ST_CORRUPT, "cannot be unpacked: %s", ZSTD_getErrorName(got));
    if (got != said) return error_set(err, ST_CORRUPT, "these end early");
    ret->len = got;
    return ST_OK;
}
