/* 8 STORE: partitions, one a day of arrival, each with its own environments. */
#include "partition.h"
#include "clock.h"
#include "keys.h"
#include "log.h"
#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GONE ".expired" /* suffix of a partition whose removal has begun */
#define DEFAULT_MAP (UINT64_C(1) << 30)
#define INDEX_SCHEMA 2 /* 2: volumes */

static const struct env_table events_tables[EVENTS_TABLES] = {{"packs", 0}, {"streams", 0}, {"meta", 0}};
static const struct env_table index_tables[INDEX_TABLES] = {
    {"blocks", 0},   {"guids", MDB_DUPSORT | MDB_DUPFIXED},
    {"procs", 0},    {"children", 0},
    {"pids", 0},     {"tally", 0},
    {"tallylog", 0}, {"meta", 0},
};

static char *day_path(const struct db *db, const char *kind, const char *day) {
    char *parent = file_join(db->dir, kind), *path = file_join(parent, day);
    mem_free(parent);
    return path;
}

/* ---- removing ---- */

static enum status remove_entry(void *ctx, const char *name) {
    char *path = file_join(ctx, name);
    struct stat sb;
    enum status st = ST_OK;
    if (!lstat(path, &sb) && S_ISDIR(sb.st_mode)) {
        st = dir_remove(path, NULL);
    } else if (unlink(path) && errno != ENOENT) {
        st = status_from_errno(errno);
    }
    mem_free(path);
    return st;
}

enum status dir_remove(const char *path, struct error *err) {
    char *dir = mem_strdup(path);
    enum status st = file_list_dir(path, remove_entry, dir, NULL);
    mem_free(dir);
    if (st == ST_NOTFOUND) return ST_OK;
    if (!st && rmdir(path) && errno != ENOENT) st = status_from_errno(errno);
    return st ? error_set(err, st, "%s: cannot remove: %s", path, status_text(st)) : ST_OK;
}

/* Out of the way by one rename, then piece by piece: a crash in between leaves a name that says so. */
static enum status remove_day(const struct db *db, const char *kind, const char *day, struct error *err) {
    char *path = day_path(db, kind, day);
    struct buf gone = {0};
    buf_printf(&gone, "%s" GONE, path);
    enum status st = ST_OK;
    if (file_exists(path)) {
        st = dir_remove(buf_cstr(&gone), err);
        if (!st) st = file_rename(path, buf_cstr(&gone), err);
    }
    if (!st) st = dir_remove(buf_cstr(&gone), err);
    buf_free(&gone);
    mem_free(path);
    return st;
}

/* ---- holding ---- */

static void part_close(struct partition **p) {
    env_close(&(*p)->events);
    env_close(&(*p)->index);
    mem_free(*p);
    *p = NULL;
}

size_t partitions_hold(struct db *db, struct partition ***ret) {
    pthread_mutex_lock(&db->lock);
    size_t n = db->n_parts;
    struct partition **parts = mem_alloc(n * sizeof *parts);
    for (size_t i = 0; i < n; i++) {
        parts[i] = db->parts[i];
        parts[i]->refs++;
    }
    pthread_mutex_unlock(&db->lock);
    *ret = parts;
    return n;
}

void partition_release(struct db *db, struct partition *p) {
    if (!p) return;
    pthread_mutex_lock(&db->lock);
    bool last = --p->refs == 0;
    pthread_mutex_unlock(&db->lock);
    if (last) part_close(&p);
}

void partitions_release(struct partition **parts, size_t n, struct db *db) {
    for (size_t i = 0; i < n; i++) partition_release(db, parts[i]);
    mem_free(parts);
}

struct partition *partition_hold_seq(struct db *db, uint64_t seq) {
    struct partition *found = NULL;
    pthread_mutex_lock(&db->lock);
    for (size_t i = db->n_parts; i-- > 0 && !found;) {
        struct partition *p = db->parts[i];
        if (seq > p->last_seq) break;
        if (seq > p->base_seq) found = p;
    }
    if (found) found->refs++;
    pthread_mutex_unlock(&db->lock);
    return found;
}

struct partition *partition_hold_day(struct db *db, const char *day) {
    struct partition *found = NULL;
    pthread_mutex_lock(&db->lock);
    for (size_t i = 0; i < db->n_parts; i++) {
        if (strcmp(db->parts[i]->day, day) == 0) found = db->parts[i];
    }
    if (found) found->refs++;
    pthread_mutex_unlock(&db->lock);
    return found;
}

struct partition *partition_hold_newest(struct db *db) {
    pthread_mutex_lock(&db->lock);
    struct partition *p = db->n_parts ? db->parts[db->n_parts - 1] : NULL;
    if (p) p->refs++;
    pthread_mutex_unlock(&db->lock);
    return p;
}

/* ---- what an environment says of itself ---- */

static enum status meta_get_u64(const struct env *e, MDB_txn *txn, size_t table, const char *name, uint64_t *ret) {
    MDB_val k = env_val(slice_str(name)), v;
    int rc = mdb_get(txn, env_dbi(e, table), &k, &v);
    if (rc) return env_status(rc);
    if (v.mv_size != 8) return ST_CORRUPT;
    *ret = key_get_u64(v.mv_data);
    return ST_OK;
}

static enum status meta_put_u64(const struct env *e, MDB_txn *txn, size_t table, const char *name, uint64_t n,
                                struct error *err) {
    uint8_t be[8];
    key_put_u64(be, n);
    MDB_val k = env_val(slice_str(name)), v = env_val(slice_of(be, sizeof be));
    return env_error(e, mdb_put(txn, env_dbi(e, table), &k, &v, 0), name, err);
}

enum status partition_put_meta(struct partition *p, MDB_txn *txn, struct error *err) {
    enum status st = meta_put_u64(p->events, txn, EVENTS_META, "base", p->base_seq, err);
    return st ? st : meta_put_u64(p->events, txn, EVENTS_META, "id", p->id, err);
}

/* ST_NOTFOUND: its first transaction never committed. */
static enum status read_events_meta(struct partition *p, struct error *err) {
    MDB_txn *txn = NULL;
    MDB_cursor *c = NULL;
    enum status st = env_read(p->events, &txn, err);
    if (st) return st;
    st = meta_get_u64(p->events, txn, EVENTS_META, "base", &p->base_seq);
    if (!st) st = meta_get_u64(p->events, txn, EVENTS_META, "id", &p->id);
    if (!st) st = env_status(mdb_cursor_open(txn, env_dbi(p->events, EVENTS_PACKS), &c));
    if (!st) {
        MDB_val k, v;
        int rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
        p->last_seq = p->base_seq;
        st = rc == MDB_NOTFOUND ? ST_OK : rc ? env_status(rc) : key_pack_parse(env_slice(k), &p->last_seq);
        mdb_cursor_close(c);
    }
    env_end(p->events, &txn);
    if (st && st != ST_NOTFOUND) error_set(err, st, "%s: %s", env_dir(p->events), status_text(st));
    return st;
}

enum status index_meta_get(const struct partition *p, MDB_txn *txn, struct index_meta *ret, struct error *err) {
    MDB_val k = env_val(SLICE_LIT("index")), v;
    int rc = mdb_get(txn, env_dbi(p->index, INDEX_META), &k, &v);
    if (rc == MDB_NOTFOUND) {
        *ret = (struct index_meta){.id = p->id, .cursor = p->base_seq};
        return ST_OK;
    }
    if (rc) return env_error(p->index, rc, "cannot read the cursor", err);
    struct reader r = reader_of(env_slice(v));
    uint8_t schema = reader_u8(&r);
    struct index_meta m = {0};
    m.id = reader_u64le(&r);
    m.cursor = reader_varint(&r);
    m.n_events = reader_varint(&r);
    m.n_blocks = reader_varint(&r);
    m.min_time = reader_varint(&r);
    m.max_time = reader_varint(&r);
    m.max_span = reader_varint(&r);
    if (r.bad || reader_left(&r) || schema != INDEX_SCHEMA) {
        return error_set(err, ST_CORRUPT, "%s: the cursor is damaged or of another version", env_dir(p->index));
    }
    *ret = m;
    return ST_OK;
}

enum status index_meta_put(const struct partition *p, MDB_txn *txn, const struct index_meta *m, struct error *err) {
    struct buf b = {0};
    buf_byte(&b, INDEX_SCHEMA);
    buf_u64le(&b, m->id);
    buf_varint(&b, m->cursor);
    buf_varint(&b, m->n_events);
    buf_varint(&b, m->n_blocks);
    buf_varint(&b, m->min_time);
    buf_varint(&b, m->max_time);
    buf_varint(&b, m->max_span);
    MDB_val k = env_val(SLICE_LIT("index")), v = env_val(buf_slice(&b));
    int rc = mdb_put(txn, env_dbi(p->index, INDEX_META), &k, &v, 0);
    buf_free(&b);
    return env_error(p->index, rc, "cannot move the cursor", err);
}

/* ---- opening ---- */

static enum status open_env(const struct db *db, const char *kind, const char *day, const struct env_table *tables,
                            size_t n_tables, uint64_t map, struct env **ret, struct error *err) {
    char *path = day_path(db, kind, day);
    enum status st = db->options.read_only ? ST_OK : file_make_dir(path, 0700, err);
    struct env_options o = {.tables = tables,
                            .n_tables = n_tables,
                            .map_bytes = map,
                            .many_readers = true,
                            .read_only = db->options.read_only};
    if (!st) st = env_open(path, &o, ret, err);
    mem_free(path);
    return st;
}

static uint64_t first_map(const struct db *db) {
    return db->options.map_bytes ? db->options.map_bytes : DEFAULT_MAP;
}

static enum status open_index(struct db *db, struct partition *p, struct error *err) {
    MDB_txn *txn = NULL;
    struct index_meta m = {0};
    enum status st = open_env(db, "index", p->day, index_tables, INDEX_TABLES, first_map(db), &p->index, err);
    if (!st) st = env_read(p->index, &txn, err);
    if (!st) st = index_meta_get(p, txn, &m, err);
    if (p->index) env_end(p->index, &txn);
    if (!st && (m.id != p->id || m.cursor < p->base_seq || m.cursor > p->last_seq)) {
        st = error_set(err, ST_CORRUPT, "%s: belongs to other packs than those beside it", env_dir(p->index));
    }
    if (st) {
        env_close(&p->index);
    } else {
        p->indexed = m.cursor;
    }
    return st;
}

enum status partition_reset_index(struct db *db, struct partition *p, struct error *err) {
    env_close(&p->index);
    enum status st = remove_day(db, "index", p->day, err);
    return st ? st : open_index(db, p, err);
}

/* Derived data is never a reason not to start: what cannot be opened is made anew. */
static enum status open_or_reset_index(struct db *db, struct partition *p, struct error *err) {
    struct error why = {0};
    enum status st = open_index(db, p, &why);
    if (!st) return ST_OK;
    if (db->options.read_only || st == ST_FULL || st == ST_DENIED || st == ST_NOMEM) {
        return error_set(err, st, "%s", why.msg);
    }
    log_warn("storage", "%s; the index of %s is dropped and will be rebuilt from the packs", why.msg, p->day);
    return partition_reset_index(db, p, err);
}

static struct partition *part_new(const char *day) {
    uint64_t day_time;
    if (strlen(day) != DB_DAY_LEN - 1 || filetime_from_day(slice_str(day), &day_time)) return NULL;
    struct partition *p = mem_zalloc(sizeof *p);
    memcpy(p->day, day, DB_DAY_LEN);
    p->day_time = day_time;
    p->refs = 1;
    return p;
}

static void list_append_part(struct db *db, struct partition *p) {
    mem_grow((void **)&db->parts, db->n_parts, &db->cap_parts, sizeof *db->parts);
    db->parts[db->n_parts++] = p;
    if (p->last_seq > db->last_seq) db->last_seq = p->last_seq;
}

struct names {
    struct buf list; /* of char[DB_DAY_LEN] */
    struct db *db;
    const char *kind;
};

static enum status on_name(void *ctx, const char *name) {
    struct names *names = ctx;
    struct partition *p = part_new(name);
    size_t len = strlen(name), suffix = sizeof GONE - 1;
    if (p) {
        buf_append(&names->list, name, DB_DAY_LEN);
        mem_free(p);
    } else if (len > suffix && strcmp(name + len - suffix, GONE) == 0 && !names->db->options.read_only) {
        char *path = day_path(names->db, names->kind, name);
        if (dir_remove(path, NULL))
            log_warn("storage", "%s is left from a removal and cannot be deleted; delete it", path);
        mem_free(path);
    } else {
        log_warn("storage", "%s/%s is not a partition; leaving it alone", names->kind, log_peer(slice_str(name)));
    }
    return ST_OK;
}

static enum status open_one(struct db *db, const char *day, struct partition **ret, struct error *err) {
    struct partition *p = part_new(day);
    enum status st = open_env(db, "events", day, events_tables, EVENTS_TABLES, first_map(db), &p->events, err);
    if (!st) st = read_events_meta(p, err);
    if (!st && p->base_seq < db->last_seq) {
        st = error_set(err, ST_CORRUPT, "%s: its packs overlap those of an older partition", env_dir(p->events));
    }
    if (!st) st = open_or_reset_index(db, p, err);
    if (st) {
        part_close(&p);
    } else {
        *ret = p;
    }
    return st;
}

static enum status remove_stray_indexes(struct db *db, struct error *err) {
    char *dir = file_join(db->dir, "index");
    struct names names = {.db = db, .kind = "index"};
    enum status st = file_exists(dir) ? file_list_dir(dir, on_name, &names, err) : ST_OK;
    for (size_t at = 0; !st && at < names.list.len && !db->options.read_only; at += DB_DAY_LEN) {
        const char *day = (const char *)names.list.p + at;
        bool known = false;
        for (size_t i = 0; i < db->n_parts; i++) known |= strcmp(db->parts[i]->day, day) == 0;
        if (!known) st = remove_day(db, "index", day, err);
    }
    buf_free(&names.list);
    mem_free(dir);
    return st;
}

enum status partitions_open(struct db *db, struct error *err) {
    char *dir = file_join(db->dir, "events");
    struct names names = {.db = db, .kind = "events"};
    enum status st = file_list_dir(dir, on_name, &names, err);
    size_t n_damaged = 0;
    for (size_t at = 0; !st && at < names.list.len; at += DB_DAY_LEN) {
        const char *day = (const char *)names.list.p + at;
        bool newest = at + DB_DAY_LEN == names.list.len;
        struct partition *p = NULL;
        struct error why = {0};
        st = open_one(db, day, &p, &why);
        if (!st) {
            list_append_part(db, p);
        } else if (st == ST_NOTFOUND && !db->options.read_only) {
            log_info("storage", "events/%s was never written to; removing it", day);
            st = remove_day(db, "events", day, err);
        } else if (st == ST_CORRUPT && !newest) {
            log_error("storage", "%s; its events cannot be read, the other days are served; restore it from a backup",
                      why.msg);
            n_damaged++;
            st = ST_OK;
        } else {
            error_set(err, st, "%s%s", why.msg,
                      st == ST_CORRUPT ? "; it holds the ledger of all hosts: restore it from a backup" : "");
        }
    }
    buf_free(&names.list);
    mem_free(dir);
    if (!st && !n_damaged) st = remove_stray_indexes(db, err);
    return st;
}

void partitions_close(struct db *db) {
    for (size_t i = 0; i < db->n_parts; i++) partition_release(db, db->parts[i]);
    mem_free(db->parts);
    db->parts = NULL;
    db->n_parts = db->cap_parts = 0;
}

enum status partition_create(struct db *db, const char *day, uint64_t base_seq, struct partition **ret,
                             struct error *err) {
    struct partition *p = part_new(day);
    if (!p) return error_set(err, ST_INVALID, "no such day: %s", day);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    uint8_t seed[16] = {0};
    key_put_u64(seed, (uint64_t)ts.tv_sec);
    key_put_u32(seed + 8, (uint32_t)ts.tv_nsec);
    key_put_u32(seed + 12, (uint32_t)getpid());
    p->id = (uint64_t)key_guid_hash(seed) << 32 | (uint32_t)ts.tv_nsec;
    p->base_seq = p->last_seq = p->indexed = base_seq;
    enum status st = remove_day(db, "events", day, err);
    if (!st) st = remove_day(db, "index", day, err);
    if (!st) st = open_env(db, "events", day, events_tables, EVENTS_TABLES, first_map(db), &p->events, err);
    if (!st) st = open_index(db, p, err);
    char *events = file_join(db->dir, "events");
    if (!st) st = file_sync_dir(events, err); /* the new name must outlive a power cut before its packs are acked */
    if (!st) st = file_sync_dir(env_dir(p->events), err);
    mem_free(events);
    if (st) {
        part_close(&p);
    } else {
        *ret = p;
    }
    return st;
}

void partition_publish(struct db *db, struct partition *p) {
    pthread_mutex_lock(&db->lock);
    p->refs++;
    list_append_part(db, p);
    pthread_mutex_unlock(&db->lock);
}

void partition_discard(struct partition **p) {
    if (*p) part_close(p);
}

enum status partition_remove(struct db *db, struct partition *p, struct error *err) {
    enum status st = remove_day(db, "events", p->day, err);
    if (!st) st = remove_day(db, "index", p->day, err);
    if (st) return st;
    pthread_mutex_lock(&db->lock);
    bool listed = false;
    for (size_t i = 0; i < db->n_parts && !listed; i++) {
        if (db->parts[i] != p) continue;
        memmove(db->parts + i, db->parts + i + 1, (db->n_parts - i - 1) * sizeof *db->parts);
        db->n_parts--;
        listed = true;
    }
    pthread_mutex_unlock(&db->lock);
    tail_forget(db->tail, p->base_seq, p->last_seq);
    if (listed) partition_release(db, p);
    return ST_OK;
}
