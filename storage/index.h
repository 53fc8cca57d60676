/* Writing derived data: what the digest thread puts into index/DAY in sorted runs, with its cursor, in one
 * transaction a run. Reading it: db.h (blocks, GUIDs) and procs.h. */
#ifndef HAECHI_INDEX_H
#define HAECHI_INDEX_H

#include "db.h"
#include "procs.h"
#include "tally.h"

struct index_run; /* collected in memory, belongs to one partition; one thread */

/* The oldest pack that is not indexed yet, and the partition it is in. ST_END: all is indexed. */
MUST_USE enum status index_next(struct db *db, uint64_t *ret_seq, char ret_day[DB_DAY_LEN], struct error *err);

struct index_run *index_run_new(struct db *db, const char day[DB_DAY_LEN]);
void index_run_free(struct index_run **r);
void index_run_block(struct index_run *r, const struct db_block *b, struct slice guids);
/* Merged with what the run, and at the flush the partition, has of this process already: proc_merge. Copies. */
void index_run_proc(struct index_run *r, uint32_t host, const struct proc *p);
/* Volumes: the number of a name (tallytab_name), and a cell that is added to what the run and the partition have. */
uint32_t index_run_name(struct index_run *r, struct slice name);
void index_run_tally(struct index_run *r, const struct tally_cell *c);
/* How full the run is, in blocks (3 KiB of process rows and volumes count as one more): flush at 20,000 or after a few seconds. */
size_t index_run_blocks(const struct index_run *r);
/* Writes the run and moves the cursor past pack `seq` in one transaction; the in-memory directory forgets what is
 * indexed. The run is empty then. On failure it is as it was: try again, or free it and start anew at index_next. ST_OK
 * also when the partition has expired meanwhile. */
MUST_USE enum status index_run_flush(struct index_run *r, uint64_t seq, struct error *err);

/* Called once at start, before queries: refills the in-memory directory from the packs past the cursors. `describe`
 * tells a block's times, ids and GUIDs from its header (storage does not know messages); slices it returns live until
 * the next call. */
typedef enum status (*index_describe_fn)(void *ctx, struct slice header, struct db_block *fill,
                                         struct slice *ret_guids);
MUST_USE enum status index_load_tail(struct db *db, index_describe_fn describe, void *ctx, struct error *err);

#endif
