/* The volumes of one index run: collected in memory, then written with it. One thread.
 *
 * A run is appended to a log of sheets, compact and in order; when the log has TALLY_LOG_RUNS runs, or TALLY_LOG_BYTES and
 * half of what the sheets take, it is added to the sheets by host and day, in the same transaction. So a host's sheet is
 * rewritten once in many runs. */
#ifndef HAECHI_TALLYRUN_H
#define HAECHI_TALLYRUN_H

#include "arena.h"
#include "partition.h"
#include "tally.h"

#define TALLY_VERSION 1
#define TALLY_LOG_RUNS 256u
#define TALLY_LOG_BYTES (8u * 1024 * 1024)
#define TALLY_CHUNK_CELLS 4096u /* of a sheet in the log, about */

enum { TALLY_NAME_NONE, TALLY_NAME_REST, TALLY_NAMES }; /* numbers of names; TALLY_NAMES is the first that has a text */

struct tally_cell {
    uint32_t host, slot, event_id;
    uint32_t channel, rule; /* of tallyrun_name */
    uint64_t events, bytes;
};

struct tallyrun {
    struct tally_cell *cells;
    uint32_t *slots; /* cell + 1; 0: free */
    size_t n, cap, n_slots;
    struct slice *names; /* in the arena; from TALLY_NAMES on */
    uint32_t *name_slots;
    size_t n_names, cap_names, n_name_slots;
    struct arena arena;
    uint64_t seed; /* names are a peer's words: their places in the table must not be foreseen */
};

void tallyrun_init(struct tallyrun *r);
void tallyrun_deinit(struct tallyrun *r);
void tallyrun_clear(struct tallyrun *r);
size_t tallyrun_bytes(const struct tallyrun *r);
/* The number of a name, which is cut to TALLY_NAME_MAX; TALLY_NAME_NONE when empty. Holds until tallyrun_clear. */
uint32_t tallyrun_name(struct tallyrun *r, struct slice name);
void tallyrun_add(struct tallyrun *r, const struct tally_cell *c);
/* Appends to the partition's log, or folds all of it into the sheets. LMDB's number; a sheet that cannot be read is
 * replaced by what is known now. May be repeated. */
int tallyrun_store(struct tallyrun *r, struct partition *p, MDB_txn *txn);

/* Appends the sheet of cells [from, to), which tallyrun_sort has put in order. Pure, for tests. */
void tallyrun_sort(struct tallyrun *r);
void tallyrun_encode(const struct tallyrun *r, size_t from, size_t to, struct buf *out);

#endif
