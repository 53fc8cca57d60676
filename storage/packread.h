/* Reading packs where they are: one block's bytes, all blocks in order. */
#ifndef HAECHI_PACKREAD_H
#define HAECHI_PACKREAD_H

#include "packs.h"
#include "partition.h"

/* Calls fn for each pack with first <= seq <= last of the partition, in order, until it returns other than ST_OK (ST_END
 * is a clean stop). A short transaction is open meanwhile: `pack` lives for the call. */
MUST_USE enum status packs_each(struct partition *p, uint64_t first, uint64_t last,
                                enum status (*fn)(void *ctx, uint64_t seq, struct slice pack), void *ctx,
                                struct error *err);

#endif
