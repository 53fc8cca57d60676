/* A run of bytes as one zstd frame that says its size: for what is not a batch (configurations of Sysmon). Pure. */
#ifndef HAECHI_ZBLOB_H
#define HAECHI_ZBLOB_H

#include "buf.h"

/* Appends the frame. */
void zblob_pack(struct slice bytes, struct buf *out);

/* Appends what the frame holds, at most max_len bytes; the size it claims is looked at before memory is spent. ST_TOOBIG: it
 * claims more, or its window is larger than max_len needs. ST_FORMAT: no frame, no size, a wrong size, or bytes behind it.
 * ST_NOMEM. *out is as it was then. */
MUST_USE enum status zblob_unpack(struct slice frame, size_t max_len, struct buf *out, struct error *err);

#endif
