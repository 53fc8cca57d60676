/* Small records of the fleet environment: tables of key -> value bytes. Values are opaque here (server/fleet writes
 * JSON, so that a person can read a dump). Calls block on a synced commit: never on a loop thread. */
#ifndef HAECHI_FLEETDB_H
#define HAECHI_FLEETDB_H

#include "db.h"

enum fleet_table {
    FLEET_HOSTS,
    FLEET_CERTS,
    FLEET_TOKENS,
    FLEET_AUDIT,
    FLEET_PENDING,
    FLEET_SETTINGS,
    FLEET_RULESETS,    /* name, 0, revision:4 -> who, when, why, digest */
    FLEET_RULES_XML,   /* digest:32 -> the configuration's bytes, zstd */
    FLEET_GROUPS,      /* name -> precedence, ruleset that is assigned */
    FLEET_ROLLOUTS,    /* id:8 -> waves and where it stands */
    FLEET_RULES_HOSTS, /* host:4 -> how far that host is */
    FLEET_TABLES
};

struct fleet_txn; /* one write transaction, one thread; others wait */
MUST_USE enum status fleet_begin(struct db *db, struct fleet_txn **ret, struct error *err);
MUST_USE enum status fleet_commit(struct fleet_txn **t, struct error *err);
void fleet_abort(struct fleet_txn **t); /* fine on NULL */

/* Inside a transaction (sees its own changes). The slice from get lives until the next call on the transaction. */
MUST_USE enum status fleet_txn_get(struct fleet_txn *t, enum fleet_table table, struct slice key, struct slice *ret);
MUST_USE enum status fleet_txn_put(struct fleet_txn *t, enum fleet_table table, struct slice key, struct slice value,
                                   struct error *err);
MUST_USE enum status fleet_txn_delete(struct fleet_txn *t, enum fleet_table table, struct slice key, struct error *err);
/* The next number of a named sequence, from 1. */
MUST_USE enum status fleet_txn_next(struct fleet_txn *t, const char *sequence, uint64_t *ret, struct error *err);
/* The next number will be over `last`; nothing where it would be anyhow. */
MUST_USE enum status fleet_txn_raise(struct fleet_txn *t, const char *sequence, uint64_t last, struct error *err);

/* Outside: a copy appended to *out; ST_NOTFOUND. */
MUST_USE enum status fleet_get(struct db *db, enum fleet_table table, struct slice key, struct buf *out,
                               struct error *err);
/* In key order from `from` (NULL .p: the start), forward or backward, until fn returns other than ST_OK (ST_END is a
 * clean stop). The slices live for the call of fn; fn must not call back into the fleet database. */
MUST_USE enum status fleet_each(struct db *db, enum fleet_table table, struct slice from, bool reverse,
                                enum status (*fn)(void *ctx, struct slice key, struct slice value), void *ctx,
                                struct error *err);

#endif
