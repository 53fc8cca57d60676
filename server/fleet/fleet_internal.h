/* What the files of server/fleet share. Everything in memory is guarded by `lock` (look-ups take it shared, for
 * moments); `change` serialises changes, which hold it across check, commit and the update of memory. */
#ifndef HAECHI_FLEET_INTERNAL_H
#define HAECHI_FLEET_INTERNAL_H

#include "ca.h"
#include "fleet.h"
#include "fleetdb.h"
#include "list.h"
#include "row.h"

#include <uv.h>

#define FLEET_NAME_MAX 63
#define FLEET_SUPERSEDED 4

struct presence {
    struct list link;
    uint64_t session;
    char machine_id[65], boot_id[65], instance[33]; /* hex */
    char address[64];
};

struct host {
    struct fleet_host pub;                 /* strings never NULL */
    char machine_id[65];                   /* hex, of the last session or enrolment */
    bool dirty;                            /* pub's report is newer than the stored row */
    struct list sessions;                  /* struct presence */
    char superseded[FLEET_SUPERSEDED][33]; /* instances that another one took over from */
    unsigned n_superseded;
};

struct cert {
    char serial[48];
    char spki[65]; /* hex */
    char token[17];
    uint32_t host;
    uint64_t not_after;
    bool revoked;
};

struct token_row {
    struct fleet_token pub;
    char secret_hash[65]; /* SHA-256 of the secret, hex */
};

struct fleet {
    struct db *db;
    struct ca *ca;
    struct buf server_certificate, server_key;
    uint64_t host_cert_days;
    uint64_t (*now)(void);
    uv_rwlock_t lock;
    uv_mutex_t change;
    struct host **hosts; /* by id, ascending */
    size_t n_hosts, cap_hosts;
    struct host **by_name; /* by name, ASCII case folded */
    size_t n_by_name, cap_by_name;
    struct cert **certs; /* by serial */
    size_t n_certs, cap_certs;
    struct token_row **tokens;
    size_t n_tokens, cap_tokens;
    uint64_t next_session; /* a session is the host's id << 32 | a counter */
    uint64_t flushed_ms;   /* when fleet_tick last wrote reports */
    void (*cut)(void *ctx, uint32_t host, enum status why, const char *text);
    void *cut_ctx;
};

/* ---- rows: JSON both ways (rows.c) ---- */
void row_host(const struct host *h, struct buf *out);
struct host *row_host_parse(struct slice json); /* NULL: not a row of ours */
void row_cert(const struct cert *c, uint64_t issued, struct buf *out);
struct cert *row_cert_parse(struct slice key, struct slice json);
void row_token(const struct token_row *t, struct buf *out);
struct token_row *row_token_parse(struct slice key, struct slice json);

/* ---- hosts.c: callers hold the lock ---- */
struct host *hosts_get(const struct fleet *f, uint32_t id);
struct host *hosts_by_name(const struct fleet *f, struct slice name);
void hosts_insert(struct fleet *f, struct host *h);
void host_free(struct host **h);
void hosts_copy(const struct host *h, struct fleet_host *ret);
struct cert *certs_get(const struct fleet *f, const char *serial);
struct cert *certs_by_key(const struct fleet *f, const char *spki); /* the newest that is not revoked, else a revoked */
void certs_insert(struct fleet *f, struct cert *c);
/* Marks every certificate of the host revoked, in the transaction; memory follows in certs_revoked_in_memory. */
MUST_USE enum status certs_revoke(struct fleet *f, struct fleet_txn *t, uint32_t host, struct error *err);
void certs_revoked_in_memory(struct fleet *f, uint32_t host);

/* ---- changes ---- */
/* Puts a host's row, inside a change. */
MUST_USE enum status change_put_host(struct fleet_txn *t, const struct host *h, struct error *err);

/* ---- tokens.c ---- */
struct token_row *tokens_get(const struct fleet *f, const char *id);
/* Is this secret the token's, and may it still be used (uses apart)? */
MUST_USE enum status token_check(const struct fleet *f, const struct token_row *t, struct slice secret,
                                 struct error *err);

#endif
