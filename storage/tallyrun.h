/* Writing the volumes of one index run.
 *
 * A run is appended to a log of sheets, compact and in order; when the log has TALLY_LOG_RUNS runs, or TALLY_LOG_BYTES and
 * half of what the sheets take, it is added to the sheets by host and day, in the same transaction. So a host's sheet is
 * rewritten once in many runs. */
#ifndef HAECHI_TALLYRUN_H
#define HAECHI_TALLYRUN_H

#include "partition.h"
#include "tallytab.h"

#define TALLY_LOG_RUNS 256u
#define TALLY_LOG_BYTES (8u * 1024 * 1024)
#define TALLY_CHUNK_CELLS 4096u /* of a sheet in the log, about */

/* Appends to the partition's log, or folds all of it into the sheets. Sorts. LMDB's number; a sheet that cannot be read is
 * replaced by what is known now. May be repeated. */
int tallyrun_store(struct tallytab *r, struct partition *p, MDB_txn *txn);

#endif
