/* Inside storage/: the database's list of partitions and what a partition is made of.
 *
 * A partition that somebody holds stays usable; one that has been expired is out of the list and its files are
 * unlinked already, and the last release closes it, which gives the space back. */
#ifndef HAECHI_PARTITION_H
#define HAECHI_PARTITION_H

#include "db.h"
#include "env.h"
#include "file.h"
#include "tail.h"

#include <pthread.h>

enum events_table { EVENTS_PACKS, EVENTS_STREAMS, EVENTS_META, EVENTS_TABLES };
enum index_table {
    INDEX_BLOCKS,
    INDEX_GUIDS,
    INDEX_PROCS,
    INDEX_CHILDREN,
    INDEX_PIDS,
    INDEX_TALLY,
    INDEX_TALLYLOG,
    INDEX_META,
    INDEX_TABLES
};

struct partition {
    char day[DB_DAY_LEN];
    uint64_t day_time;
    struct env *events, *index;
    uint64_t id;                /* random; the index beside it carries the same */
    uint64_t base_seq;          /* of the last pack before it */
    uint64_t last_seq, indexed; /* under db->lock; indexed: the index's cursor */
    unsigned refs;              /* under db->lock; the list's own counts */
};

struct db {
    char *dir;
    struct db_options options;
    struct file *lock_file;
    pthread_mutex_t lock;     /* parts, last_seq, and the fields of partitions that say so */
    struct partition **parts; /* oldest first */
    size_t n_parts, cap_parts;
    uint64_t last_seq;
    struct tail *tail;
    struct env *fleet;
};

/* All partitions, oldest first; give them back with partitions_release. */
size_t partitions_hold(struct db *db, struct partition ***ret);
void partitions_release(struct partition **parts, size_t n, struct db *db);
/* The one that holds a pack; or of a day. NULL: none (expired). */
struct partition *partition_hold_seq(struct db *db, uint64_t seq);
struct partition *partition_hold_day(struct db *db, const char *day);
struct partition *partition_hold_newest(struct db *db);
void partition_release(struct db *db, struct partition *p);

/* Opens every partition on disk into the list, clears what an interrupted creation or removal left. */
MUST_USE enum status partitions_open(struct db *db, struct error *err);
void partitions_close(struct db *db);

/* Makes the environments of a new day; it joins the list with partition_publish, once its first transaction (which
 * holds partition_put_meta) is committed. partition_discard: it never was. */
MUST_USE enum status partition_create(struct db *db, const char *day, uint64_t base_seq, struct partition **ret,
                                      struct error *err);
MUST_USE enum status partition_put_meta(struct partition *p, MDB_txn *txn, struct error *err);
void partition_publish(struct db *db, struct partition *p); /* the caller keeps a hold */
void partition_discard(struct partition **p);
/* Takes the partition out of the list and off the disk. */
MUST_USE enum status partition_remove(struct db *db, struct partition *p, struct error *err);
/* Puts an empty index in the place of the one there. Nobody may be reading it. */
MUST_USE enum status partition_reset_index(struct db *db, struct partition *p, struct error *err);

/* What the index says of itself, read in the same transaction as its entries. */
struct index_meta {
    uint64_t id;     /* of the partition */
    uint64_t cursor; /* all packs up to this one are in */
    uint64_t n_events, n_blocks, min_time, max_time;
    uint64_t max_span; /* the largest last_id - first_id of a block */
};
MUST_USE enum status index_meta_get(const struct partition *p, MDB_txn *txn, struct index_meta *ret, struct error *err);
MUST_USE enum status index_meta_put(const struct partition *p, MDB_txn *txn, const struct index_meta *m,
                                    struct error *err);

/* Removes a directory with all that is in it. */
MUST_USE enum status dir_remove(const char *path, struct error *err);

#endif
