/* 8 STORE: LMDB environments. Never MDB_WRITEMAP; readers are MDB_NOTLS and never outlive a call of this layer. */
#include "env.h"
#include "file.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENV_MAX_READERS 1024
#define ENV_SLACK (UINT64_C(1) << 20) /* room for tree pages beside what a writer asks for */

struct env {
    MDB_env *mdb;
    char *dir;
    pthread_rwlock_t resize; /* shared: a transaction; alone: a change of the map */
    MDB_dbi dbi[ENV_MAX_TABLES];
    size_t n_tables;
    bool read_only;
};

enum status env_status(int rc) {
    switch (rc) {
    case MDB_SUCCESS: return ST_OK;
    case MDB_NOTFOUND: return ST_NOTFOUND;
    case MDB_KEYEXIST: return ST_EXISTS;
    case MDB_MAP_FULL: return ST_AGAIN;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND: return ST_CORRUPT;
    case MDB_VERSION_MISMATCH: return ST_VERSION;
    case MDB_BAD_VALSIZE: return ST_INVALID;
    case MDB_READERS_FULL: return ST_BUSY;
    case EFBIG: return ST_FULL;
    default: return rc > 0 ? status_from_errno(rc) : ST_IO;
    }
}

enum status env_error(const struct env *e, int rc, const char *what, struct error *err) {
    enum status st = env_status(rc);
    return st ? error_set(err, st, "%s: %s: %s", e->dir, what, mdb_strerror(rc)) : ST_OK;
}

const char *env_dir(const struct env *e) {
    return e->dir;
}

MDB_dbi env_dbi(const struct env *e, size_t table) {
    return e->dbi[table];
}

static uint64_t data_file_bytes(const char *dir) {
    char *path = file_join(dir, "data.mdb");
    struct stat sb;
    uint64_t len = stat(path, &sb) ? 0 : (uint64_t)sb.st_size;
    mem_free(path);
    return len;
}

uint64_t env_file_bytes(const struct env *e) {
    return data_file_bytes(e->dir);
}

/* A file shorter than its own page count would end the process with SIGBUS at the first read past its end. */
static enum status check_length(const struct env *e, struct error *err) {
    MDB_envinfo info;
    MDB_stat stat_;
    mdb_env_info(e->mdb, &info);
    mdb_env_stat(e->mdb, &stat_);
    uint64_t len = env_file_bytes(e), want = ((uint64_t)info.me_last_pgno + 1) * stat_.ms_psize;
    if (len / stat_.ms_psize > info.me_last_pgno) return ST_OK;
    return error_set(err, ST_CORRUPT, "%s/data.mdb has %llu bytes where its pages need %llu: the file was cut off",
                     e->dir, (unsigned long long)len, (unsigned long long)want);
}

static enum status open_tables(struct env *e, const struct env_options *o, struct error *err) {
    MDB_txn *txn;
    int rc = mdb_txn_begin(e->mdb, NULL, o->read_only ? MDB_RDONLY : 0, &txn);
    if (rc) return env_error(e, rc, "cannot begin", err);
    for (size_t i = 0; i < o->n_tables; i++) {
        rc = mdb_dbi_open(txn, o->tables[i].name, o->tables[i].flags | (o->read_only ? 0 : MDB_CREATE), &e->dbi[i]);
        if (rc) {
            mdb_txn_abort(txn);
            return env_error(e, rc, o->tables[i].name, err);
        }
    }
    e->n_tables = o->n_tables;
    rc = mdb_txn_commit(txn);
    return env_error(e, rc, "cannot create tables", err);
}

static void init_lock(struct env *e, bool many_readers) {
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    if (many_readers) pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&e->resize, &attr);
    pthread_rwlockattr_destroy(&attr);
}

enum status env_open(const char *dir, const struct env_options *o, struct env **ret, struct error *err) {
    struct env *e = mem_zalloc(sizeof *e);
    e->dir = mem_strdup(dir);
    e->read_only = o->read_only;
    init_lock(e, o->many_readers);
    enum status st;
    int rc = mdb_env_create(&e->mdb);
    if (!rc) rc = mdb_env_set_maxdbs(e->mdb, ENV_MAX_TABLES);
    if (!rc) rc = mdb_env_set_maxreaders(e->mdb, ENV_MAX_READERS);
    if (!rc && o->map_bytes) rc = mdb_env_set_mapsize(e->mdb, o->map_bytes);
    if (!rc) rc = mdb_env_open(e->mdb, dir, MDB_NOTLS | (o->read_only ? MDB_RDONLY : 0), 0600);
    if (rc) {
        st = env_error(e, rc, "cannot open the environment", err);
        goto out;
    }
    st = check_length(e, err);
    if (st) goto out;
    int dead;
    rc = mdb_reader_check(e->mdb, &dead);
    st = env_error(e, rc, "cannot clear stale readers", err);
    if (!st) st = open_tables(e, o, err);
out:
    if (st) {
        env_close(&e);
    } else {
        *ret = e;
    }
    return st;
}

void env_close(struct env **e) {
    if (!*e) return;
    if ((*e)->mdb) mdb_env_close((*e)->mdb);
    pthread_rwlock_destroy(&(*e)->resize);
    mem_free((*e)->dir);
    mem_free(*e);
    *e = NULL;
}

enum status env_read(struct env *e, MDB_txn **ret, struct error *err) {
    pthread_rwlock_rdlock(&e->resize);
    int rc = mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, ret);
    if (!rc) return ST_OK;
    pthread_rwlock_unlock(&e->resize);
    if (rc == MDB_MAP_RESIZED) { /* only tools beside the collector get here: its process has grown the map */
        pthread_rwlock_wrlock(&e->resize);
        rc = mdb_env_set_mapsize(e->mdb, 0);
        pthread_rwlock_unlock(&e->resize);
        if (!rc) return env_read(e, ret, err);
    }
    return env_error(e, rc, "cannot read", err);
}

static uint64_t free_in_map(struct env *e) {
    MDB_envinfo info;
    MDB_stat stat_;
    pthread_rwlock_rdlock(&e->resize);
    mdb_env_info(e->mdb, &info);
    mdb_env_stat(e->mdb, &stat_);
    pthread_rwlock_unlock(&e->resize);
    uint64_t used = ((uint64_t)info.me_last_pgno + 1) * stat_.ms_psize;
    return info.me_mapsize > used ? info.me_mapsize - used : 0;
}

enum status env_grow(struct env *e, uint64_t extra, struct error *err) {
    pthread_rwlock_wrlock(&e->resize);
    MDB_envinfo info;
    mdb_env_info(e->mdb, &info);
    uint64_t want = (uint64_t)info.me_mapsize * 2;
    if (want < info.me_mapsize + extra) want = info.me_mapsize + extra;
    want = (want + 65535) / 65536 * 65536;
    int rc = mdb_env_set_mapsize(e->mdb, (size_t)want);
    pthread_rwlock_unlock(&e->resize);
    if (!rc) return ST_OK;
    return error_set(err, ST_FULL, "%s: cannot map %llu bytes: %s; raise the limit on address space (ulimit -v)",
                     e->dir, (unsigned long long)want, mdb_strerror(rc));
}

enum status env_reserve(struct env *e, uint64_t bytes, struct error *err) {
    return free_in_map(e) < bytes ? env_grow(e, bytes, err) : ST_OK;
}

enum status env_write(struct env *e, uint64_t bytes, MDB_txn **ret, struct error *err) {
    enum status st = env_reserve(e, bytes + bytes / 8 + ENV_SLACK, err);
    if (st) return st;
    pthread_rwlock_rdlock(&e->resize);
    int rc = mdb_txn_begin(e->mdb, NULL, 0, ret);
    if (!rc) return ST_OK;
    pthread_rwlock_unlock(&e->resize);
    if (rc == MDB_PANIC)
        return error_set(err, ST_IO, "%s: an earlier write failed half-way; restart the collector", e->dir);
    return env_error(e, rc, "cannot begin to write", err);
}

enum status env_commit(struct env *e, MDB_txn **txn, struct error *err) {
    int rc = mdb_txn_commit(*txn);
    *txn = NULL;
    pthread_rwlock_unlock(&e->resize);
    return env_error(e, rc, "cannot commit", err);
}

void env_end(struct env *e, MDB_txn **txn) {
    if (!*txn) return;
    mdb_txn_abort(*txn);
    *txn = NULL;
    pthread_rwlock_unlock(&e->resize);
}

static enum status sync_path(const char *path, struct error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) ? errno : 0;
    if (fd >= 0) close(fd);
    return rc ? error_set(err, status_from_errno(rc), "%s: cannot sync: %s", path, mdb_strerror(rc)) : ST_OK;
}

enum status env_copy(struct env *e, const char *dir, struct error *err) {
    char *path = file_join(dir, "data.mdb");
    pthread_rwlock_rdlock(&e->resize);
    int rc = mdb_env_copy2(e->mdb, dir, MDB_CP_COMPACT);
    if (rc == MDB_INCOMPATIBLE) { /* LMDB will not compact a file with pages that nothing owns: copy them too */
        (void)unlink(path);
        rc = mdb_env_copy2(e->mdb, dir, 0);
    }
    pthread_rwlock_unlock(&e->resize);
    enum status st = env_error(e, rc, "cannot copy", err);
    if (!st) st = sync_path(path, err);
    if (!st) st = file_sync_dir(dir, err);
    mem_free(path);
    return st;
}
