/* 8 STORE: the data directory as a whole: open, close, list, expire. */
#include "db.h"
#include "clock.h"
#include "fleetenv.h"
#include "log.h"
#include "mem.h"
#include "partition.h"

#define DB_FORMAT "haechi data 1\n"
#define DEFAULT_MIN_FREE (UINT64_C(256) << 20)

/* The format file comes first into a new directory and last into a backup: a directory with data but without it is an
 * unfinished copy. */
static enum status check_format(struct db *db, struct error *err) {
    char *path = file_join(db->dir, "format"), *events = file_join(db->dir, "events");
    struct buf b = {0};
    enum status st = file_read(path, 256, &b, err);
    if (st == ST_NOTFOUND && file_exists(events)) {
        st = error_set(err, ST_CORRUPT,
                       "%s has events but no file \"format\": an unfinished backup? Use a finished one", db->dir);
    } else if (st == ST_NOTFOUND && db->options.read_only) {
        error_set(err, st, "%s is not a data directory: it has no file \"format\"", db->dir);
    } else if (st == ST_NOTFOUND) {
        st = file_replace(path, SLICE_LIT(DB_FORMAT), 0600, err);
    } else if (!st && !slice_eq_str(buf_slice(&b), DB_FORMAT)) {
        st = error_set(err, ST_VERSION,
                       "%s was made by another version of haechid: its format is \"%s\", this one knows \"%.*s\"",
                       db->dir, log_peer(buf_slice(&b)), (int)sizeof DB_FORMAT - 2, DB_FORMAT);
    }
    buf_free(&b);
    mem_free(events);
    mem_free(path);
    return st;
}

static enum status make_dir(const struct db *db, const char *name, struct error *err) {
    if (db->options.read_only) return ST_OK;
    char *path = file_join(db->dir, name);
    enum status st = file_make_dir(path, 0700, err);
    mem_free(path);
    return st;
}

static enum status take_lock(struct db *db, struct error *err) {
    if (db->options.read_only) return ST_OK;
    char *path = file_join(db->dir, "LOCK");
    enum status st = file_lock(path, &db->lock_file, err);
    if (st == ST_BUSY)
        error_set(err, st, "%s is in use by another collector; stop it first or choose another --data", db->dir);
    mem_free(path);
    return st;
}

enum status db_open(const char *dir, const struct db_options *o, struct db **ret, struct error *err) {
    struct db *db = mem_zalloc(sizeof *db);
    db->dir = mem_strdup(dir);
    if (o) db->options = *o;
    if (!db->options.min_free_bytes) db->options.min_free_bytes = DEFAULT_MIN_FREE;
    pthread_mutex_init(&db->lock, NULL);
    db->tail = tail_new();
    enum status st = db->options.read_only ? ST_OK : file_make_dir(dir, 0700, err);
    if (!st) st = take_lock(db, err);
    if (!st) st = check_format(db, err);
    if (!st) st = make_dir(db, "events", err);
    if (!st) st = make_dir(db, "index", err);
    if (!st) st = make_dir(db, "fleet", err);
    if (!st && !db->options.read_only) st = file_sync_dir(dir, err); /* their names outlive a power cut, too */
    if (!st) st = partitions_open(db, err);
    if (!st) st = fleet_env_open(db, err);
    if (st) {
        db_close(&db);
    } else {
        *ret = db;
    }
    return st;
}

void db_close(struct db **db) {
    if (!*db) return;
    partitions_close(*db);
    env_close(&(*db)->fleet);
    tail_free(&(*db)->tail);
    file_close(&(*db)->lock_file);
    pthread_mutex_destroy(&(*db)->lock);
    mem_free((*db)->dir);
    mem_free(*db);
    *db = NULL;
}

const char *db_dir(const struct db *db) {
    return db->dir;
}

uint64_t db_last_seq(struct db *db) {
    pthread_mutex_lock(&db->lock);
    uint64_t seq = db->last_seq;
    pthread_mutex_unlock(&db->lock);
    return seq;
}

size_t db_tail_blocks(struct db *db) {
    return tail_blocks(db->tail);
}

/* ---- partitions ---- */

static void describe(struct db *db, struct partition *p, struct db_partition *ret) {
    *ret = (struct db_partition){.day_time = p->day_time,
                                 .bytes = env_file_bytes(p->events),
                                 .index_bytes = env_file_bytes(p->index)};
    memcpy(ret->day, p->day, DB_DAY_LEN);
    pthread_mutex_lock(&db->lock);
    if (p->last_seq > p->base_seq) {
        ret->first_seq = p->base_seq + 1;
        ret->last_seq = p->last_seq;
    }
    pthread_mutex_unlock(&db->lock);
    MDB_txn *txn = NULL;
    struct index_meta m = {0};
    if (env_read(p->index, &txn, NULL)) return;
    if (!index_meta_get(p, txn, &m, NULL)) {
        ret->n_events = m.n_events;
        ret->n_blocks = m.n_blocks;
        ret->min_time = m.min_time;
        ret->max_time = m.max_time;
    }
    env_end(p->index, &txn);
}

size_t db_partitions(struct db *db, struct db_partition **ret) {
    struct partition **parts;
    size_t n = partitions_hold(db, &parts);
    struct db_partition *out = mem_alloc(n * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        describe(db, parts[i], &out[i]);
        out[i].sealed = i + 1 < n;
    }
    partitions_release(parts, n, db);
    *ret = out;
    return n;
}

enum status db_expire(struct db *db, uint64_t now, uint64_t max_age_days, uint64_t max_bytes, size_t *ret_removed,
                      struct error *err) {
    struct partition **parts;
    size_t n = partitions_hold(db, &parts), removed = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += env_file_bytes(parts[i]->events) + env_file_bytes(parts[i]->index);
    enum status st = ST_OK;
    for (size_t i = 0; i + 1 < n && !st; i++) {
        struct partition *p = parts[i];
        /* the day's last event may be a day younger than its first moment */
        bool old = max_age_days && max_age_days < now / FILETIME_DAY &&
                   p->day_time + FILETIME_DAY <= now - max_age_days * FILETIME_DAY;
        if (!old && !(max_bytes && total > max_bytes)) break;
        total -= env_file_bytes(p->events) + env_file_bytes(p->index);
        st = partition_remove(db, p, err);
        if (!st) removed++;
    }
    partitions_release(parts, n, db);
    if (ret_removed) *ret_removed = removed;
    return st;
}

enum status db_drop_derived(struct db *db, struct error *err) {
    enum status st = ST_OK;
    for (size_t i = 0; i < db->n_parts && !st; i++) st = partition_reset_index(db, db->parts[i], err);
    return st;
}
