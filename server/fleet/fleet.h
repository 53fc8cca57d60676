/* The fleet: who may connect, as whom, and what was changed by whom. Certificate authority, hosts, certificates,
 * tokens, pending enrolments, API tokens, audit log: kept in storage's fleet environment, mirrored in memory.
 *
 * The host is the certificate: its subject CN is "host:ID" and its serial is known here. Look-ups (fleet_admit,
 * fleet_host_*) are in memory, thread-safe and quick: fit for loop threads. Changes block on a synced commit: call them
 * on a work thread (uv_queue_work), never on a loop. Every change writes its audit record in the same transaction. */
#ifndef HAECHI_FLEET_H
#define HAECHI_FLEET_H

#include "db.h"
#include "tls.h"

struct fleet;

struct fleet_options {
    const char *ca_dir; /* DATA/ca: ca.pem, ca.key (0600), server.pem, server.key; made on first start */
    const char *supplied_ca_cert, *supplied_ca_key; /* an existing CA, PEM files; NULL: our own */
    const char *const *server_names; /* DNS names and addresses for the server certificate; NULL-terminated */
    uint64_t host_cert_days;         /* 30 */
    uint64_t (*now)(void);           /* clock_wall; FILETIME */
};
MUST_USE enum status fleet_open(struct db *db, const struct fleet_options *o, struct fleet **ret, struct error *err);
void fleet_close(struct fleet **f);

/* For the listener: PEMs (live as long as the fleet) and the CA's pin. */
struct slice fleet_server_certificate(const struct fleet *f);
struct slice fleet_server_key(const struct fleet *f);
struct slice fleet_ca_certificates(const struct fleet *f);
void fleet_ca_pin(const struct fleet *f, uint8_t out[TLS_PIN_LEN]);
uint64_t fleet_now(const struct fleet *f); /* its clock */
/* Appends the authority's signature over the SHA-256 of the bytes (ca_sign). About 1 ms: work threads. */
MUST_USE enum status fleet_sign(const struct fleet *f, struct slice bytes, struct buf *ret_signature,
                                struct error *err);

/* tls_admit_fn with ctx = fleet: ST_REVOKED, ST_AUTH (unknown serial or host), ST_OK. */
enum status fleet_admit(void *fleet, const struct tls_peer *peer);

/* ---- hosts ---- */

enum host_state { HOST_ACTIVE, HOST_REVOKED, HOST_HELD /* clone alarm: nothing is accepted until approved */ };

struct fleet_host { /* a snapshot; strings owned, fleet_host_free */
    uint32_t id;
    char *name, *group, *os, *agent_version, *sysmon_version, *sysmon_schema, *domain, *address;
    char **tags;
    size_t n_tags;
    enum host_state state;
    uint64_t enrolled, last_seen, cert_not_after; /* FILETIME */
    char cert_serial[48];
    bool connected;
    uint64_t backlog_events, spool_bytes, log_wraps_in_s; /* from the last heartbeat */
    double events_per_s;
    char *state_reason;
};
void fleet_host_free(struct fleet_host *h);
void fleet_hosts_free(struct fleet_host *h, size_t n);
/* A copy of all hosts by name; fleet_hosts_free. */
size_t fleet_hosts(struct fleet *f, struct fleet_host **ret);
/* By name (ASCII case ignored), id in decimal, or unique prefix of a name. ST_NOTFOUND or ST_INVALID (ambiguous: the
 * sentence lists some of the matches). */
MUST_USE enum status fleet_host_find(struct fleet *f, struct slice what, struct fleet_host *ret, struct error *err);
MUST_USE enum status fleet_host_get(struct fleet *f, uint32_t id, struct fleet_host *ret); /* ST_NOTFOUND */
MUST_USE enum status fleet_host_of_peer(struct fleet *f, const struct tls_peer *peer, struct fleet_host *ret,
                                        struct error *err);

/* A live session begins. ST_DENIED: the host is held or revoked, or the same key is live from another place (clone
 * alarm: the host is held, audited; the other session is cut through the cut callback). *ret_session goes to
 * fleet_session_end.
 *
 * `instance`: the agent's state folder on this boot of this machine (FLEET_PLACE_LEN bytes), then random bytes made at
 * process start. Sessions of one place may live side by side (`send` beside `run`; a reconnect whose old socket is
 * half-open). Another place on the same machine and boot, or another machine, is a clone. The same machine after a
 * reboot takes over from the old session; if the old process then comes back, both are alive: a clone. */
#define FLEET_PLACE_LEN 8
struct fleet_presence {
    const char *address;
    struct slice machine_id, boot_id;
    struct slice instance; /* 16 bytes; empty: an agent that cannot tell, every session is taken as the same place */
};
MUST_USE enum status fleet_session_begin(struct fleet *f, uint32_t host, const struct fleet_presence *p,
                                         uint64_t *ret_session, struct error *err);
void fleet_session_end(struct fleet *f, uint64_t session);
/* What Hello and heartbeats say; kept in memory, written to disk at most once a minute by fleet_tick. */
struct fleet_report {
    struct slice os, agent_version, sysmon_version, sysmon_schema, domain, hostname;
    bool has_load;
    uint64_t backlog_events, spool_bytes, log_wraps_in_s;
    double events_per_s;
};
void fleet_report(struct fleet *f, uint32_t host, const struct fleet_report *r);
/* Called from any thread when a host's live session must go (revoked, held, clone). Set once at start. */
void fleet_on_cut(struct fleet *f, void (*cut)(void *ctx, uint32_t host, enum status why, const char *text), void *ctx);
void fleet_tick(struct fleet *f); /* every few seconds, on a work thread */

/* ---- changes: work threads only. `actor` names who asks, for the audit log ("root@unix", "token:ops", "agent") ---- */

MUST_USE enum status fleet_host_revoke(struct fleet *f, const char *actor, uint32_t host, const char *reason,
                                       struct error *err);
/* Accepts a pending enrolment under that name or id, or lifts a hold. */
MUST_USE enum status fleet_host_approve(struct fleet *f, const char *actor, struct slice what, struct error *err);
MUST_USE enum status fleet_host_tag(struct fleet *f, const char *actor, uint32_t host, const char *const *add,
                                    size_t n_add, const char *const *remove, size_t n_remove, struct error *err);

struct fleet_token {           /* snapshot, strings owned by the list */
    char id[17];               /* hex */
    char *group, *note, *role; /* role: "enroll", or "viewer", "operator", "admin" for API tokens */
    uint64_t created, expires, uses_left, uses_all; /* expires 0: never */
    bool revoked;
};
/* The whole string that an agent gets (or an API client, when role is not "enroll"). Shown once: only a hash is kept.
 *     haechi-enroll.v1.<base64url of: address, pin, id, secret>      haechi-api.v1.<id>.<secret>
 * address: HOST:PORT that agents shall connect to. */
struct fleet_token_request {
    const char *role, *group, *note, *address;
    uint64_t uses;      /* 0: 1 */
    uint64_t expires_s; /* from now; 0: 24 h for enrolment, never for API tokens */
};
MUST_USE enum status fleet_token_create(struct fleet *f, const char *actor, const struct fleet_token_request *r,
                                        struct buf *ret_text, struct fleet_token *ret, struct error *err);
MUST_USE enum status fleet_token_revoke(struct fleet *f, const char *actor, const char *id, struct error *err);
size_t fleet_tokens(struct fleet *f, struct fleet_token **ret); /* fleet_tokens_free */
void fleet_tokens_free(struct fleet_token *t, size_t n);
/* In memory, constant time over the secret: ST_AUTH, ST_EXPIRED, ST_REVOKED. */
MUST_USE enum status fleet_api_token_check(struct fleet *f, struct slice text, char ret_role[16], char ret_name[32],
                                           struct error *err);

/* ---- enrolment and renewal: work threads ---- */

struct fleet_enroll_request {
    struct slice token_id, token_secret, csr_der, host_name, os, machine_id, agent_version;
    const char *address;
    uint64_t agent_time; /* its clock; a clock wrong by more than an hour is told to it in *err / reason */
};
enum fleet_enroll_result { ENROLL_GRANTED = 1, ENROLL_PENDING = 2, ENROLL_REFUSED = 3 };
struct fleet_enrolled {
    enum fleet_enroll_result result;
    uint32_t host_id;
    char host_name[64];
    struct buf certificate, ca; /* PEM; owned */
    char reason[ERROR_TEXT_MAX];
    uint32_t retry_after_s;
};
/* Never touches the records of a known host: a name that exists becomes a pending request (the same key asking again
 * after approval is enrolled, with the host's old id). A token use is spent only by ENROLL_GRANTED and ENROLL_PENDING.
 * A lost reply is harmless: the same token with the same key gets the same host again. */
MUST_USE enum status fleet_enroll(struct fleet *f, const struct fleet_enroll_request *r, struct fleet_enrolled *ret,
                                  struct error *err);
MUST_USE enum status fleet_renew(struct fleet *f, uint32_t host, struct slice csr_der, struct buf *ret_certificate,
                                 struct buf *ret_ca, struct error *err);

struct fleet_pending {
    char *name, *address, *os;
    uint32_t known_host; /* 0: a new name */
    uint64_t since;
    char key[17]; /* first 16 hex digits of the SPKI's hash */
};
size_t fleet_pending_list(struct fleet *f, struct fleet_pending **ret);
void fleet_pending_free(struct fleet_pending *p, size_t n);

/* ---- audit ---- */

/* For what happens outside this module (rules, imports, backups, refused connections). */
MUST_USE enum status fleet_audit(struct fleet *f, const char *actor, const char *action, const char *object,
                                 const char *detail, struct error *err);
/* The same inside a transaction: with the change that it is about. */
struct fleet_txn;
MUST_USE enum status fleet_audit_in(struct fleet *f, struct fleet_txn *t, const char *actor, const char *action,
                                    const char *object, const char *detail, struct error *err);
/* JSON objects, one a call: {"seq":..,"time":..,"actor":..,"action":..,"object":..,"detail":..}; newest first when
 * reverse. */
MUST_USE enum status fleet_audit_each(struct fleet *f, uint64_t from_seq, bool reverse,
                                      enum status (*fn)(void *ctx, struct slice json), void *ctx, struct error *err);

#endif
