/* Small records: hosts, certificates, tokens, audit. Any thread but a loop's; LMDB lets one writer in at a time. */
#include "fleetdb.h"
#include "fleetenv.h"
#include "keys.h"
#include "mem.h"

#define FLEET_MAP (UINT64_C(256) << 20)
#define FLEET_ROOM (UINT64_C(64) << 20) /* what a transaction may write */
#define FLEET_MAX_KEY 511u              /* LMDB's own */

struct fleet_txn {
    struct env *env;
    MDB_txn *txn;
    enum status failed; /* a put failed: the whole must not be committed */
};

_Static_assert(FLEETENV_TABLES <= ENV_MAX_TABLES, "the environment takes that many tables");
static const struct env_table tables[FLEETENV_TABLES] = {
    [FLEET_HOSTS] = {"hosts", 0},
    [FLEET_CERTS] = {"certs", 0},
    [FLEET_TOKENS] = {"tokens", 0},
    [FLEET_AUDIT] = {"audit", 0},
    [FLEET_PENDING] = {"pending", 0},
    [FLEET_SETTINGS] = {"settings", 0},
    [FLEET_RULESETS] = {"rulesets", 0},
    [FLEET_RULES_XML] = {"rulesxml", 0},
    [FLEET_GROUPS] = {"groups", 0},
    [FLEET_ROLLOUTS] = {"rollouts", 0},
    [FLEET_RULES_HOSTS] = {"ruleshosts", 0},
    [FLEETENV_SEQUENCES] = {"sequences", 0},
    [FLEETENV_CURSORS] = {"cursors", 0},
};

/* A cursor past the newest pack comes from a copy of events/ that is older than that of fleet/: what it stood for will
 * be sent again under new numbers, so it must not skip them. */
static enum status clamp_cursors(struct db *db, struct error *err) {
    MDB_txn *txn = NULL;
    MDB_cursor *c = NULL;
    enum status st = env_write(db->fleet, 1 << 16, &txn, err);
    if (st) return st;
    MDB_val k, v;
    bool changed = false;
    int rc = mdb_cursor_open(txn, env_dbi(db->fleet, FLEETENV_CURSORS), &c);
    while (!rc && !(rc = mdb_cursor_get(c, &k, &v, MDB_NEXT))) {
        if (v.mv_size != 8 || key_get_u64(v.mv_data) <= db->last_seq) continue;
        uint8_t be[8];
        key_put_u64(be, db->last_seq);
        MDB_val now = env_val(slice_of(be, sizeof be));
        rc = mdb_cursor_put(c, &k, &now, MDB_CURRENT);
        changed = true;
    }
    if (c) mdb_cursor_close(c);
    if (rc && rc != MDB_NOTFOUND) st = env_error(db->fleet, rc, "cannot check the cursors", err);
    if (!st && changed) return env_commit(db->fleet, &txn, err);
    env_end(db->fleet, &txn);
    return st;
}

enum status fleet_env_open(struct db *db, struct error *err) {
    char *path = file_join(db->dir, "fleet");
    struct env_options o = {.tables = tables,
                            .n_tables = FLEETENV_TABLES,
                            .map_bytes = FLEET_MAP,
                            .read_only = db->options.read_only};
    enum status st = env_open(path, &o, &db->fleet, err);
    if (st == ST_CORRUPT) error_prefix(err, st, "the fleet's records are damaged, restore them from a backup");
    if (!st && !db->options.read_only) st = clamp_cursors(db, err);
    mem_free(path);
    return st;
}

/* ---- transactions ---- */

enum status fleet_begin(struct db *db, struct fleet_txn **ret, struct error *err) {
    MDB_txn *txn = NULL;
    enum status st = env_write(db->fleet, FLEET_ROOM, &txn, err);
    if (st) return st;
    struct fleet_txn *t = mem_zalloc(sizeof *t);
    t->env = db->fleet;
    t->txn = txn;
    *ret = t;
    return ST_OK;
}

enum status fleet_commit(struct fleet_txn **t, struct error *err) {
    enum status st = (*t)->failed;
    if (st) {
        error_set(err, st, "%s: a change of this transaction failed: %s", env_dir((*t)->env), status_text(st));
        fleet_abort(t);
        return st;
    }
    st = env_commit((*t)->env, &(*t)->txn, err);
    mem_free(*t);
    *t = NULL;
    return st == ST_AGAIN ? ST_FULL : st;
}

void fleet_abort(struct fleet_txn **t) {
    if (!*t) return;
    env_end((*t)->env, &(*t)->txn);
    mem_free(*t);
    *t = NULL;
}

static enum status txn_error(struct fleet_txn *t, int rc, struct error *err) {
    enum status st = env_error(t->env, rc, "cannot write", err);
    if (st == ST_AGAIN) st = error_set(err, ST_TOOBIG, "%s: too much for one transaction", env_dir(t->env));
    t->failed = st;
    return st;
}

static bool key_ok(struct slice key) {
    return key.len && key.len <= FLEET_MAX_KEY;
}

enum status fleet_txn_get(struct fleet_txn *t, enum fleet_table table, struct slice key, struct slice *ret) {
    if (!key_ok(key)) return ST_NOTFOUND;
    MDB_val k = env_val(key), v;
    int rc = mdb_get(t->txn, env_dbi(t->env, table), &k, &v);
    if (rc) return env_status(rc);
    *ret = env_slice(v);
    return ST_OK;
}

enum status fleet_txn_put(struct fleet_txn *t, enum fleet_table table, struct slice key, struct slice value,
                          struct error *err) {
    if (!key_ok(key)) return error_set(err, ST_INVALID, "a key has 1 to %u bytes, not %zu", FLEET_MAX_KEY, key.len);
    MDB_val k = env_val(key), v = env_val(value);
    int rc = mdb_put(t->txn, env_dbi(t->env, table), &k, &v, 0);
    return rc ? txn_error(t, rc, err) : ST_OK;
}

enum status fleet_txn_delete(struct fleet_txn *t, enum fleet_table table, struct slice key, struct error *err) {
    if (!key_ok(key)) return error_set(err, ST_NOTFOUND, "no such record");
    MDB_val k = env_val(key);
    int rc = mdb_del(t->txn, env_dbi(t->env, table), &k, NULL);
    if (rc == MDB_NOTFOUND) return error_set(err, ST_NOTFOUND, "no such record");
    return rc ? txn_error(t, rc, err) : ST_OK;
}

static enum status sequence_get(struct fleet_txn *t, const char *sequence, uint64_t *ret, struct error *err) {
    MDB_val k = env_val(slice_str(sequence)), v;
    int rc = mdb_get(t->txn, env_dbi(t->env, FLEETENV_SEQUENCES), &k, &v);
    if (rc && rc != MDB_NOTFOUND) return txn_error(t, rc, err);
    *ret = rc || v.mv_size != 8 ? 0 : key_get_u64(v.mv_data);
    return ST_OK;
}

static enum status sequence_put(struct fleet_txn *t, const char *sequence, uint64_t last, struct error *err) {
    uint8_t be[8];
    key_put_u64(be, last);
    MDB_val k = env_val(slice_str(sequence)), v = env_val(slice_of(be, sizeof be));
    int rc = mdb_put(t->txn, env_dbi(t->env, FLEETENV_SEQUENCES), &k, &v, 0);
    return rc ? txn_error(t, rc, err) : ST_OK;
}

enum status fleet_txn_next(struct fleet_txn *t, const char *sequence, uint64_t *ret, struct error *err) {
    uint64_t last = 0;
    enum status st = sequence_get(t, sequence, &last, err);
    if (!st) st = sequence_put(t, sequence, last + 1, err);
    if (!st) *ret = last + 1;
    return st;
}

enum status fleet_txn_raise(struct fleet_txn *t, const char *sequence, uint64_t last, struct error *err) {
    uint64_t now = 0;
    enum status st = sequence_get(t, sequence, &now, err);
    return st || now >= last ? st : sequence_put(t, sequence, last, err);
}

/* ---- outside of transactions ---- */

enum status fleet_get(struct db *db, enum fleet_table table, struct slice key, struct buf *out, struct error *err) {
    if (!key_ok(key)) return error_set(err, ST_NOTFOUND, "no such record");
    MDB_txn *txn = NULL;
    enum status st = env_read(db->fleet, &txn, err);
    if (st) return st;
    MDB_val k = env_val(key), v;
    int rc = mdb_get(txn, env_dbi(db->fleet, table), &k, &v);
    if (!rc) buf_append(out, v.mv_data, v.mv_size);
    env_end(db->fleet, &txn);
    if (rc == MDB_NOTFOUND) return error_set(err, ST_NOTFOUND, "no such record");
    return env_error(db->fleet, rc, "cannot read", err);
}

/* Puts the cursor on the first record of the walk. */
static int seek(MDB_cursor *c, struct slice from, bool reverse, MDB_val *k, MDB_val *v) {
    if (!from.p) return mdb_cursor_get(c, k, v, reverse ? MDB_LAST : MDB_FIRST);
    *k = env_val(slice_head(from, FLEET_MAX_KEY));
    if (!k->mv_size) return mdb_cursor_get(c, k, v, MDB_FIRST);
    int rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
    if (!reverse) return rc;
    if (rc == MDB_NOTFOUND) return mdb_cursor_get(c, k, v, MDB_LAST);
    if (!rc && slice_cmp(env_slice(*k), from) > 0) return mdb_cursor_get(c, k, v, MDB_PREV);
    return rc;
}

enum status fleet_each(struct db *db, enum fleet_table table, struct slice from, bool reverse,
                       enum status (*fn)(void *ctx, struct slice key, struct slice value), void *ctx,
                       struct error *err) {
    MDB_txn *txn = NULL;
    MDB_cursor *c = NULL;
    enum status st = env_read(db->fleet, &txn, err);
    if (st) return st;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn, env_dbi(db->fleet, table), &c);
    if (!rc) rc = seek(c, from, reverse, &k, &v);
    while (!rc && !st) {
        st = fn(ctx, env_slice(k), env_slice(v));
        if (!st) rc = mdb_cursor_get(c, &k, &v, reverse ? MDB_PREV : MDB_NEXT);
    }
    if (c) mdb_cursor_close(c);
    env_end(db->fleet, &txn);
    if (st == ST_END) return ST_OK;
    return st || rc == MDB_NOTFOUND ? st : env_error(db->fleet, rc, "cannot read", err);
}
