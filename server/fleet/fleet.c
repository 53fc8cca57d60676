/* Opening the fleet: the CA's files, the server certificate, and everything the fleet environment holds into memory. */
#include "fleet_internal.h"
#include "clock.h"
#include "file.h"
#include "log.h"
#include "mem.h"

#include <stdio.h>

#define PEM_MAX (64u * 1024)
#define SERVER_RENEW_BEFORE (UINT64_C(30) * FILETIME_DAY)

struct paths {
    char *ca_cert, *ca_key, *server_cert, *server_key;
};

static void paths_init(struct paths *p, const struct fleet_options *o) {
    p->ca_cert = o->supplied_ca_cert ? mem_strdup(o->supplied_ca_cert) : file_join(o->ca_dir, "ca.pem");
    p->ca_key = o->supplied_ca_key ? mem_strdup(o->supplied_ca_key) : file_join(o->ca_dir, "ca.key");
    p->server_cert = file_join(o->ca_dir, "server.pem");
    p->server_key = file_join(o->ca_dir, "server.key");
}

static void paths_deinit(struct paths *p) {
    mem_free(p->ca_cert);
    mem_free(p->ca_key);
    mem_free(p->server_cert);
    mem_free(p->server_key);
}

static void wipe(struct buf *b) {
    if (b->p) mem_wipe(b->p, b->cap);
    buf_free(b);
}

/* The key is written before the certificate: a crash in between leaves no certificate, and both are made anew. */
static enum status make_ca(const struct paths *p, uint64_t now, struct error *err) {
    uint8_t random[4];
    char name[32], hex[9];
    tls_random(random, sizeof random);
    row_hex(slice_of(random, sizeof random), hex, sizeof hex);
    snprintf(name, sizeof name, "Haechi CA %s", hex);
    struct buf cert = {0}, key = {0};
    enum status st = ca_make(name, now, &cert, &key, err);
    if (!st) st = file_replace(p->ca_key, buf_slice(&key), 0600, err);
    if (!st) st = file_replace(p->ca_cert, buf_slice(&cert), 0644, err);
    if (!st) log_info("fleet", "made a certificate authority, '%s': keep %s safe and backed up", name, p->ca_key);
    wipe(&key);
    buf_free(&cert);
    return st;
}

static enum status load_ca(struct fleet *f, const struct fleet_options *o, const struct paths *p, struct error *err) {
    struct buf cert = {0}, key = {0};
    enum status st = ST_OK;
    if (!o->supplied_ca_cert && !file_exists(p->ca_cert)) st = make_ca(p, f->now(), err);
    if (!st) st = file_read(p->ca_cert, PEM_MAX, &cert, err);
    if (!st) st = file_read(p->ca_key, PEM_MAX, &key, err);
    if (!st) {
        st = ca_load(buf_slice(&cert), buf_slice(&key), f->now(), &f->ca, err);
        if (st) error_prefix(err, st, "certificate authority %s", p->ca_cert);
    }
    wipe(&key);
    buf_free(&cert);
    return st;
}

static enum status load_server(struct fleet *f, const struct fleet_options *o, const struct paths *p,
                               struct error *err) {
    if (file_exists(p->server_cert) && file_exists(p->server_key)) {
        enum status st = file_read(p->server_cert, PEM_MAX, &f->server_certificate, err);
        if (!st) st = file_read(p->server_key, PEM_MAX, &f->server_key, err);
        if (st) return st;
        if (ca_server_is_fit(f->ca, buf_slice(&f->server_certificate), buf_slice(&f->server_key), o->server_names,
                             f->now() + SERVER_RENEW_BEFORE)) {
            return ST_OK;
        }
        log_info("fleet", "making a new server certificate: the old one ends soon, or names or authority have changed");
        buf_clear(&f->server_certificate);
        wipe(&f->server_key);
    }
    enum status st = ca_issue_server(f->ca, o->server_names, f->now(), (uint64_t)CA_SERVER_DAYS * 86400,
                                     &f->server_certificate, &f->server_key, err);
    if (!st) st = file_replace(p->server_key, buf_slice(&f->server_key), 0600, err);
    if (!st) st = file_replace(p->server_cert, buf_slice(&f->server_certificate), 0644, err);
    return st;
}

/* ---- rows into memory ---- */

static enum status on_host(void *ctx, struct slice key, struct slice value) {
    struct fleet *f = ctx;
    struct host *h = row_host_parse(value);
    if (h) {
        hosts_insert(f, h);
    } else {
        log_warn("fleet", "host row %s cannot be read; leaving it out", log_peer(key));
    }
    return ST_OK;
}

static enum status on_cert(void *ctx, struct slice key, struct slice value) {
    struct fleet *f = ctx;
    struct cert *c = row_cert_parse(key, value);
    if (c) {
        certs_insert(f, c);
    } else {
        log_warn("fleet", "certificate row %s cannot be read; that certificate is refused", log_peer(key));
    }
    return ST_OK;
}

static enum status on_token(void *ctx, struct slice key, struct slice value) {
    struct fleet *f = ctx;
    struct token_row *t = row_token_parse(key, value);
    if (!t) {
        log_warn("fleet", "token row %s cannot be read; that token is refused", log_peer(key));
        return ST_OK;
    }
    mem_grow((void **)&f->tokens, f->n_tokens, &f->cap_tokens, sizeof *f->tokens);
    f->tokens[f->n_tokens++] = t;
    return ST_OK;
}

MUST_USE enum status fleet_open(struct db *db, const struct fleet_options *o, struct fleet **ret, struct error *err) {
    struct fleet *f = mem_zalloc(sizeof *f);
    f->db = db;
    f->now = o->now;
    f->host_cert_days = o->host_cert_days;
    if (uv_rwlock_init(&f->lock) || uv_mutex_init(&f->change)) abort();
    struct paths p;
    paths_init(&p, o);
    enum status st = file_make_dir(o->ca_dir, 0700, err);
    if (!st) st = load_ca(f, o, &p, err);
    if (!st) st = load_server(f, o, &p, err);
    if (!st) st = fleet_each(db, FLEET_HOSTS, (struct slice){0}, false, on_host, f, err);
    if (!st) st = fleet_each(db, FLEET_CERTS, (struct slice){0}, false, on_cert, f, err);
    if (!st) st = fleet_each(db, FLEET_TOKENS, (struct slice){0}, false, on_token, f, err);
    paths_deinit(&p);
    if (st) {
        fleet_close(&f);
        return st;
    }
    *ret = f;
    return ST_OK;
}

void fleet_close(struct fleet **pf) {
    struct fleet *f = *pf;
    if (!f) return;
    f->flushed_ms = 0;
    fleet_tick(f);
    for (size_t i = 0; i < f->n_hosts; i++) host_free(&f->hosts[i]);
    for (size_t i = 0; i < f->n_certs; i++) mem_free(f->certs[i]);
    for (size_t i = 0; i < f->n_tokens; i++) {
        mem_free(f->tokens[i]->pub.group);
        mem_free(f->tokens[i]->pub.note);
        mem_free(f->tokens[i]->pub.role);
        mem_free(f->tokens[i]);
    }
    mem_free(f->hosts);
    mem_free(f->by_name);
    mem_free(f->certs);
    mem_free(f->tokens);
    wipe(&f->server_key);
    buf_free(&f->server_certificate);
    ca_free(&f->ca);
    uv_rwlock_destroy(&f->lock);
    uv_mutex_destroy(&f->change);
    mem_free(f);
    *pf = NULL;
}

struct slice fleet_server_certificate(const struct fleet *f) {
    return buf_slice(&f->server_certificate);
}

struct slice fleet_server_key(const struct fleet *f) {
    return buf_slice(&f->server_key);
}

struct slice fleet_ca_certificates(const struct fleet *f) {
    return ca_certificate_pem(f->ca);
}

void fleet_ca_pin(const struct fleet *f, uint8_t out[TLS_PIN_LEN]) {
    memcpy(out, ca_pin(f->ca), TLS_PIN_LEN);
}

uint64_t fleet_now(const struct fleet *f) {
    return f->now();
}

MUST_USE enum status fleet_sign(const struct fleet *f, struct slice bytes, struct buf *ret_signature,
                                struct error *err) {
    return ca_sign(f->ca, bytes, ret_signature, err);
}
