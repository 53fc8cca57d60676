/* One LMDB environment: a directory with data.mdb and lock.mdb, and its named tables.
 *
 * LMDB may resize a map only while no transaction of the process is open in it, so every transaction holds the
 * environment's lock shared, and growing takes it alone. A thread has at most one transaction open in an environment.
 * Owner of LMDB's error numbers; the other files of storage/ translate them with env_status. */
#ifndef HAECHI_ENV_H
#define HAECHI_ENV_H

#include "slice.h"
#include "status.h"

#include <lmdb.h>

#define ENV_MAX_TABLES 16

struct env;

struct env_table {
    const char *name;
    unsigned flags; /* MDB_DUPSORT ...; MDB_CREATE is added */
};

struct env_options {
    const struct env_table *tables;
    size_t n_tables;
    uint64_t map_bytes; /* at least this; 0: as the file says */
    bool read_only;
    bool many_readers; /* growing goes before new readers (which then must not nest) */
};

/* ST_CORRUPT: the file is no environment, or shorter than its pages. */
MUST_USE enum status env_open(const char *dir, const struct env_options *o, struct env **ret, struct error *err);
void env_close(struct env **e); /* no transaction may be open */
const char *env_dir(const struct env *e);
MDB_dbi env_dbi(const struct env *e, size_t table);
uint64_t env_file_bytes(const struct env *e);

MUST_USE enum status env_read(struct env *e, MDB_txn **ret, struct error *err);
/* Grows the map first when less than `bytes` are free in it. */
MUST_USE enum status env_write(struct env *e, uint64_t bytes, MDB_txn **ret, struct error *err);
/* Durable on ST_OK. The transaction is over in any case. */
MUST_USE enum status env_commit(struct env *e, MDB_txn **txn, struct error *err);
void env_end(struct env *e, MDB_txn **txn); /* ends a reader, aborts a writer; fine on NULL */

/* With no transaction open: grows the map unless `bytes` are free in it. */
MUST_USE enum status env_reserve(struct env *e, uint64_t bytes, struct error *err);
/* After ST_AGAIN (the map was full), with no transaction open: doubles the map. */
MUST_USE enum status env_grow(struct env *e, uint64_t extra, struct error *err);
/* A compacted, consistent, synced copy into an existing empty directory. */
MUST_USE enum status env_copy(struct env *e, const char *dir, struct error *err);

/* MDB_MAP_FULL is ST_AGAIN: abort, env_grow, again. */
enum status env_status(int rc);
/* env_status plus the sentence "DIR: what: LMDB's words". */
enum status env_error(const struct env *e, int rc, const char *what, struct error *err);

static inline MDB_val env_val(struct slice s) {
    union {
        const void *in;
        void *out; /* LMDB does not write through the keys and values it is given */
    } u = {.in = s.p};
    return (MDB_val){.mv_size = s.len, .mv_data = u.out};
}

static inline struct slice env_slice(MDB_val v) {
    return slice_of(v.mv_data, v.mv_size);
}

#endif
