/* 10 FORWARD: how far each consumer of the packs has come. */
#include "cursor.h"
#include "fleetenv.h"
#include "keys.h"

enum status cursor_get(struct db *db, const char *name, uint64_t *ret_seq, struct error *err) {
    MDB_txn *txn = NULL;
    enum status st = env_read(db->fleet, &txn, err);
    if (st) return st;
    MDB_val k = env_val(slice_str(name)), v;
    int rc = mdb_get(txn, env_dbi(db->fleet, FLEETENV_CURSORS), &k, &v);
    uint64_t seq = 0;
    if (!rc && v.mv_size == 8) seq = key_get_u64(v.mv_data);
    env_end(db->fleet, &txn);
    if (rc && rc != MDB_NOTFOUND) return env_error(db->fleet, rc, "cannot read a cursor", err);
    *ret_seq = seq;
    return ST_OK;
}

enum status cursor_set(struct db *db, const char *name, uint64_t seq, struct error *err) {
    MDB_txn *txn = NULL;
    enum status st = env_write(db->fleet, 1 << 16, &txn, err);
    if (st) return st;
    uint8_t be[8];
    key_put_u64(be, seq);
    MDB_val k = env_val(slice_str(name)), v = env_val(slice_of(be, sizeof be));
    st = env_error(db->fleet, mdb_put(txn, env_dbi(db->fleet, FLEETENV_CURSORS), &k, &v, 0), "cannot move a cursor",
                   err);
    if (!st) return env_commit(db->fleet, &txn, err);
    env_end(db->fleet, &txn);
    return st;
}
