/* The GUID index (derived): (host, 32 bits of the GUID's hash) -> (pack, index in it). */
#ifndef HAECHI_GUIDS_H
#define HAECHI_GUIDS_H

#include "partition.h"

struct guid_ref {
    uint32_t host, hash, seq_from_base, index;
};

/* Sorts and writes. LMDB's number; may be repeated. */
int guids_store(struct partition *p, MDB_txn *txn, struct guid_ref *refs, size_t n);

#endif
