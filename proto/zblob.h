/* Some bytes as one zstd frame that says its size and has a checksum: configurations in offers and in the store. No
 * state; any thread. Unpacking is pure and takes hostile input. */
#ifndef HAECHI_ZBLOB_H
#define HAECHI_ZBLOB_H

#include "buf.h"

/* Appends the frame. ST_TOOBIG: it has more than max_len bytes. */
MUST_USE enum status zblob_pack(struct slice raw, size_t max_len, struct buf *out, struct error *err);
/* Exactly one frame of at most max_len bytes unpacked, which *ret then holds. ST_CORRUPT, ST_TOOBIG, ST_NOMEM. Memory
 * is spent on what the frame says only after that was compared with max_len. */
MUST_USE enum status zblob_unpack(struct slice frame, size_t max_len, struct buf *ret, struct error *err);

#endif
