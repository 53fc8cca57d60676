/* The processes of one index run: collected and merged in memory, then merged with the rows of the partition. One
 * thread. */
#ifndef HAECHI_PROCRUN_H
#define HAECHI_PROCRUN_H

#include "arena.h"
#include "partition.h"
#include "procs.h"

struct procrun_entry {
    uint32_t host;
    struct proc proc; /* texts in the run's arena */
};

struct procrun {
    struct procrun_entry *entries;
    size_t n, cap;
    uint32_t *slots; /* entry + 1, 0 free */
    size_t n_slots;
    struct arena arena;
};

void procrun_init(struct procrun *r);
void procrun_deinit(struct procrun *r);
void procrun_clear(struct procrun *r);
void procrun_add(struct procrun *r, uint32_t host, const struct proc *p);
size_t procrun_bytes(const struct procrun *r);
/* Sorts, then writes rows, children and PIDs. LMDB's number; a row that cannot be read is replaced. May be repeated. */
int procrun_store(struct procrun *r, struct partition *p, MDB_txn *txn);

#endif
