/* Enrolment, approval, renewal, revocation: everything that gives or takes certificates. Each is one change: checked,
 * committed with its audit record, then made visible in memory. */
#include "fleet_internal.h"
#include "clock.h"
#include "log.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define PENDING_RETRY_S 30
#define CLOCK_TOLERANCE (UINT64_C(3600) * FILETIME_SECOND)

struct request { /* an enrolment on its way through the checks */
    struct fleet *f;
    const struct fleet_enroll_request *in;
    struct token_row *token;
    struct ca_csr csr;
    char spki[65], token_id[17], machine_id[65], name[FLEET_NAME_MAX + 1];
    struct fleet_enrolled *ret;
};

/* ---- pending requests: rows by SPKI ---- */

struct pending {
    char *name, *address, *os, *machine_id, *group, *token;
    uint64_t since;
    uint32_t known_host;
    bool approved;
};

static void pending_deinit(struct pending *p) {
    char *strings[] = {p->name, p->address, p->os, p->machine_id, p->group, p->token};
    for (size_t i = 0; i < 6; i++) mem_free(strings[i]);
}

static bool pending_parse(struct slice json, struct pending *ret) {
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc);
    bool ok = yyjson_is_str(yyjson_obj_get(o, "name"));
    if (ok) {
        *ret = (struct pending){row_string(o, "name"),
                                row_string(o, "address"),
                                row_string(o, "os"),
                                row_string(o, "machine_id"),
                                row_string(o, "group"),
                                row_string(o, "token"),
                                row_uint(o, "since"),
                                (uint32_t)row_uint(o, "known_host"),
                                yyjson_get_bool(yyjson_obj_get(o, "approved"))};
    }
    yyjson_doc_free(doc);
    return ok;
}

static enum status pending_put(struct fleet_txn *t, const char *spki, const struct pending *p, struct error *err) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *o = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, o);
    yyjson_mut_obj_add_str(doc, o, "name", p->name);
    yyjson_mut_obj_add_str(doc, o, "address", p->address);
    yyjson_mut_obj_add_str(doc, o, "os", p->os);
    yyjson_mut_obj_add_str(doc, o, "machine_id", p->machine_id);
    yyjson_mut_obj_add_str(doc, o, "group", p->group);
    yyjson_mut_obj_add_str(doc, o, "token", p->token);
    yyjson_mut_obj_add_uint(doc, o, "since", p->since);
    yyjson_mut_obj_add_uint(doc, o, "known_host", p->known_host);
    yyjson_mut_obj_add_bool(doc, o, "approved", p->approved);
    size_t len = 0;
    char *text = yyjson_mut_write(doc, 0, &len);
    enum status st = text ? fleet_txn_put(t, FLEET_PENDING, slice_str(spki), slice_of(text, len), err)
                          : error_set(err, ST_FORMAT, "a text of the request is not UTF-8");
    free(text);
    yyjson_mut_doc_free(doc);
    return st;
}

static bool pending_get(struct fleet *f, const char *spki, struct pending *ret) {
    struct buf row = {0};
    bool found = !fleet_get(f->db, FLEET_PENDING, slice_str(spki), &row, NULL) && pending_parse(buf_slice(&row), ret);
    buf_free(&row);
    return found;
}

/* ---- the certificate of a host ---- */

/* Issues and stores a certificate inside a change; *ret_cert enters memory after the commit. */
static enum status issue(struct fleet *f, struct fleet_txn *t, struct slice csr, uint32_t host, const char *token,
                         struct buf *ret_pem, struct cert **ret_cert, struct error *err) {
    char cn[32];
    struct tls_peer facts;
    snprintf(cn, sizeof cn, "host:%lu", (unsigned long)host);
    enum status st = ca_issue_agent(f->ca, csr, cn, f->now(), f->host_cert_days * 86400, ret_pem, &facts, err);
    if (st) return st;
    struct cert *c = mem_zalloc(sizeof *c);
    snprintf(c->serial, sizeof c->serial, "%s", facts.serial);
    row_hex(slice_of(facts.spki, sizeof facts.spki), c->spki, sizeof c->spki);
    snprintf(c->token, sizeof c->token, "%s", token);
    c->host = host;
    c->not_after = facts.not_after;
    struct buf row = {0};
    row_cert(c, f->now(), &row);
    st = fleet_txn_put(t, FLEET_CERTS, slice_str(c->serial), buf_slice(&row), err);
    buf_free(&row);
    if (st) {
        mem_free(c);
    } else {
        *ret_cert = c;
    }
    return st;
}

static struct host *new_host(const struct request *r, uint32_t id, const char *group) {
    struct host *h = mem_zalloc(sizeof *h);
    list_init(&h->sessions);
    struct fleet_host *p = &h->pub;
    struct buf os = {0}, version = {0};
    text_printable(&os, r->in->os, 120);
    text_printable(&version, r->in->agent_version, 40);
    p->id = id;
    p->name = mem_strdup(r->name);
    p->group = mem_strdup(group);
    p->os = mem_strdup(buf_cstr(&os));
    p->agent_version = mem_strdup(buf_cstr(&version));
    p->sysmon_version = mem_strdup("");
    p->sysmon_schema = mem_strdup("");
    p->domain = mem_strdup("");
    p->address = mem_strdup(r->in->address);
    p->state_reason = mem_strdup("");
    p->tags = mem_zalloc(sizeof *p->tags);
    p->enrolled = r->f->now();
    memcpy(h->machine_id, r->machine_id, sizeof h->machine_id);
    buf_free(&os);
    buf_free(&version);
    return h;
}

/* Spends a use of the token inside the change; memory follows after the commit. */
static enum status spend_use(struct fleet_txn *t, const struct token_row *token, struct error *err) {
    struct token_row spent = *token;
    struct buf row = {0};
    spent.pub.uses_left--;
    row_token(&spent, &row);
    enum status st = fleet_txn_put(t, FLEET_TOKENS, slice_str(spent.pub.id), buf_slice(&row), err);
    buf_free(&row);
    return st;
}

static void reply_enrolled(struct request *r, uint32_t id, const char *name) {
    r->ret->result = ENROLL_GRANTED;
    r->ret->host_id = id;
    snprintf(r->ret->host_name, sizeof r->ret->host_name, "%s", name);
    buf_slice_append(&r->ret->ca, ca_certificate_pem(r->f->ca));
}

struct grant {           /* which host the certificate is for, and what the change has to touch beside it */
    uint32_t known_host; /* 0: a new one */
    const char *group;
    bool spend, was_pending, revoke_old;
    const char *action;
};

static enum status commit_grant(struct request *r, const struct grant *g, struct host **ret_new, struct cert **ret_cert,
                                uint32_t *ret_id, struct error *err) {
    struct fleet *f = r->f;
    struct fleet_txn *t = NULL;
    char detail[200];
    uint64_t id = g->known_host;
    snprintf(detail, sizeof detail, "from %s, key %.16s, token %s", r->in->address, r->spki, r->token_id);
    enum status st = fleet_begin(f->db, &t, err);
    if (!st && !id) st = fleet_txn_next(t, "host", &id, err);
    if (!st && !g->known_host) {
        *ret_new = new_host(r, (uint32_t)id, g->group);
        st = change_put_host(t, *ret_new, err);
    }
    if (!st && g->revoke_old) st = certs_revoke(f, t, (uint32_t)id, err);
    if (!st) st = issue(f, t, r->in->csr_der, (uint32_t)id, r->token_id, &r->ret->certificate, ret_cert, err);
    if (!st && g->spend) st = spend_use(t, r->token, err);
    if (!st && g->was_pending) st = fleet_txn_delete(t, FLEET_PENDING, slice_str(r->spki), err);
    if (!st) st = fleet_audit_in(f, t, "agent", g->action, r->name, detail, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    *ret_id = (uint32_t)id;
    return st;
}

static enum status grant_certificate(struct request *r, const struct grant *g, struct error *err) {
    struct fleet *f = r->f;
    struct host *fresh = NULL;
    struct cert *cert = NULL;
    uint32_t id;
    enum status st = commit_grant(r, g, &fresh, &cert, &id, err);
    if (st) {
        if (fresh) host_free(&fresh);
        mem_free(cert);
        buf_clear(&r->ret->certificate);
        return st;
    }
    uv_rwlock_wrlock(&f->lock);
    if (g->revoke_old) certs_revoked_in_memory(f, id);
    if (fresh) hosts_insert(f, fresh);
    certs_insert(f, cert);
    struct host *h = hosts_get(f, id);
    if (h->pub.state == HOST_REVOKED && g->revoke_old) { /* approved again by an admin */
        h->pub.state = HOST_ACTIVE;
        h->dirty = true;
    }
    if (g->spend) r->token->pub.uses_left--;
    reply_enrolled(r, id, h->pub.name);
    uv_rwlock_wrunlock(&f->lock);
    if (g->revoke_old && f->cut) f->cut(f->cut_ctx, id, ST_REVOKED, "this host was enrolled anew with another key");
    return ST_OK;
}

/* ---- enrolment ---- */

static enum status refuse(struct request *r, const char *reason) {
    r->ret->result = ENROLL_REFUSED;
    snprintf(r->ret->reason, sizeof r->ret->reason, "%s", reason);
    struct error err = {0};
    char detail[ERROR_TEXT_MAX + 120];
    struct buf name = {0};
    text_printable(&name, r->in->host_name, FLEET_NAME_MAX);
    snprintf(detail, sizeof detail, "from %s: %s", r->in->address, reason);
    log_warn("fleet", "enrolment of '%s' from %s refused: %s", buf_cstr(&name), r->in->address, reason);
    if (fleet_audit(r->f, "agent", "enrolment refused", buf_cstr(&name), detail, &err)) {
        log_warn("fleet", "cannot write the audit log: %s", err.msg);
    }
    buf_free(&name);
    return ST_OK;
}

static bool name_is_fit(struct slice name) {
    if (!name.len || name.len > FLEET_NAME_MAX) return false;
    bool digits_only = true;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.p[i], l = (uint8_t)slice_lower(c);
        bool alnum = (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9');
        if (!alnum && !(i && (c == '-' || c == '_' || c == '.'))) return false;
        digits_only = digits_only && c >= '0' && c <= '9';
    }
    return !digits_only; /* a number is an id on the command line */
}

static enum status leave_pending(struct request *r, uint32_t known_host, struct error *err) {
    struct fleet *f = r->f;
    struct buf os = {0};
    text_printable(&os, r->in->os, 120);
    struct pending p = {.name = r->name,
                        .address = (char *)r->in->address,
                        .os = (char *)buf_cstr(&os),
                        .machine_id = r->machine_id,
                        .group = r->token->pub.group,
                        .token = r->token_id,
                        .since = f->now(),
                        .known_host = known_host};
    char detail[200];
    snprintf(detail, sizeof detail, "the name is known (host %lu); from %s, key %.16s", (unsigned long)known_host,
             r->in->address, r->spki);
    struct fleet_txn *t = NULL;
    enum status st = fleet_begin(f->db, &t, err);
    if (!st) st = pending_put(t, r->spki, &p, err);
    if (!st) st = spend_use(t, r->token, err);
    if (!st) st = fleet_audit_in(f, t, "agent", "enrolment pending", r->name, detail, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    buf_free(&os);
    if (st) return st;
    uv_rwlock_wrlock(&f->lock);
    r->token->pub.uses_left--;
    uv_rwlock_wrunlock(&f->lock);
    log_warn("fleet", "enrolment of '%s' from %s waits: that name is known; haechi host approve %s", r->name,
             r->in->address, r->name);
    return ST_OK;
}

static void reply_pending(struct request *r) {
    r->ret->result = ENROLL_PENDING;
    r->ret->retry_after_s = PENDING_RETRY_S;
    snprintf(
        r->ret->reason, sizeof r->ret->reason,
        "a host called %s is known already; its records are not touched. An admin accepts this machine in its place "
        "with: haechi host approve %s (key %.16s)",
        r->name, r->name, r->spki);
}

/* Same key again: a lost reply, or a state folder that was restored. The host it belongs to gets a certificate. */
static enum status reissue(struct request *r, const struct cert *c, struct error *err) {
    const struct host *h = hosts_get(r->f, c->host);
    if (c->revoked || !h || h->pub.state == HOST_REVOKED) {
        return refuse(r,
                      "this key belongs to a revoked host; remove the agent's state folder and enrol with a new key");
    }
    snprintf(r->name, sizeof r->name, "%s", h->pub.name);
    return grant_certificate(r, &(struct grant){.known_host = c->host, .action = "enrolment repeated"}, err);
}

static enum status decide(struct request *r, struct error *err) {
    struct fleet *f = r->f;
    struct pending p;
    const struct cert *c = certs_by_key(f, r->spki);
    if (c && (c->revoked || strcmp(c->token, r->token_id) == 0)) return reissue(r, c, err);
    if (c)
        return refuse(
            r, "this key is enrolled already, through another token; to enrol anew remove the agent's state folder");
    if (pending_get(f, r->spki, &p)) {
        enum status st = ST_OK;
        snprintf(r->name, sizeof r->name, "%s", p.name);
        if (p.approved) {
            st = grant_certificate(r,
                                   &(struct grant){.known_host = p.known_host,
                                                   .group = p.group,
                                                   .was_pending = true,
                                                   .revoke_old = p.known_host != 0,
                                                   .action = "enrolment approved"},
                                   err);
        } else {
            reply_pending(r);
        }
        pending_deinit(&p);
        return st;
    }
    if (!r->token->pub.uses_left) {
        return refuse(r, "this token is used up; make a new one with: haechi token create");
    }
    const struct host *known = hosts_by_name(f, slice_str(r->name));
    if (known) {
        enum status st = leave_pending(r, known->pub.id, err);
        if (!st) reply_pending(r);
        return st;
    }
    return grant_certificate(r, &(struct grant){.group = r->token->pub.group, .spend = true, .action = "enrolment"},
                             err);
}

static void note_clock(struct request *r) {
    uint64_t mine = r->f->now(), its = r->in->agent_time;
    uint64_t off = mine > its ? mine - its : its - mine;
    if (!its || off < CLOCK_TOLERANCE || r->ret->reason[0]) return;
    snprintf(r->ret->reason, sizeof r->ret->reason,
             "the clock of this machine is %llu minutes %s the collector's; set it right",
             (unsigned long long)(off / (60 * FILETIME_SECOND)), mine > its ? "behind" : "ahead of");
    log_warn("fleet", "host %s: %s", r->name, r->ret->reason);
}

MUST_USE enum status fleet_enroll(struct fleet *f, const struct fleet_enroll_request *in, struct fleet_enrolled *ret,
                                  struct error *err) {
    *ret = (struct fleet_enrolled){0};
    struct request r = {.f = f, .in = in, .ret = ret};
    struct error why = {0};
    row_hex(in->token_id, r.token_id, sizeof r.token_id);
    row_hex(in->machine_id, r.machine_id, sizeof r.machine_id);
    enum status st = ca_check_csr(in->csr_der, &r.csr, &why);
    if (st) return refuse(&r, why.msg);
    row_hex(slice_of(r.csr.spki, sizeof r.csr.spki), r.spki, sizeof r.spki);
    uv_mutex_lock(&f->change);
    r.token = tokens_get(f, r.token_id);
    st = token_check(f, r.token, in->token_secret, &why);
    if (!st && strcmp(r.token->pub.role, "enroll") != 0) {
        st = error_set(&why, ST_AUTH, "this token is for the API, not for enrolment");
    }
    if (!st && !name_is_fit(in->host_name)) {
        st = error_set(
            &why, ST_INVALID,
            "'%s' is no host name: letters, digits, '-', '_' and '.', at most %d, not digits alone; give one with --name",
            log_peer(in->host_name), FLEET_NAME_MAX);
    }
    if (st) {
        st = refuse(&r, why.msg);
    } else {
        snprintf(r.name, sizeof r.name, "%.*s", (int)in->host_name.len, (const char *)in->host_name.p);
        st = decide(&r, err);
    }
    uv_mutex_unlock(&f->change);
    if (!st) note_clock(&r);
    return st;
}

MUST_USE enum status fleet_renew(struct fleet *f, uint32_t host, struct slice csr_der, struct buf *ret_certificate,
                                 struct buf *ret_ca, struct error *err) {
    struct fleet_txn *t = NULL;
    struct cert *cert = NULL;
    struct ca_csr csr;
    char spki[65];
    uv_mutex_lock(&f->change);
    struct host *h = hosts_get(f, host);
    enum status st = h && h->pub.state == HOST_ACTIVE ? ST_OK : error_set(err, ST_REVOKED, "this host may not renew");
    if (!st) st = ca_check_csr(csr_der, &csr, err);
    if (!st) st = fleet_begin(f->db, &t, err);
    if (!st) {
        /* the same key keeps its token: an enrolment repeated with it still finds its host */
        row_hex(slice_of(csr.spki, sizeof csr.spki), spki, sizeof spki);
        const struct cert *old = certs_by_key(f, spki);
        st = issue(f, t, csr_der, host, old && old->host == host ? old->token : "", ret_certificate, &cert, err);
    }
    if (!st) st = fleet_audit_in(f, t, "agent", "certificate renewed", h->pub.name, cert->serial, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    if (st) {
        mem_free(cert);
        buf_clear(ret_certificate);
    } else {
        uv_rwlock_wrlock(&f->lock);
        certs_insert(f, cert);
        uv_rwlock_wrunlock(&f->lock);
        buf_slice_append(ret_ca, ca_certificate_pem(f->ca));
    }
    uv_mutex_unlock(&f->change);
    return st;
}

/* ---- an admin's decisions ---- */

static void set_state(struct host *h, enum host_state state, const char *reason) {
    h->pub.state = state;
    mem_free(h->pub.state_reason);
    h->pub.state_reason = mem_strdup(reason);
}

/* One host's state, with its audit record. Memory changes only after the commit. */
static enum status change_state(struct fleet *f, const char *actor, const char *action, struct host *h,
                                enum host_state state, const char *reason, struct error *err) {
    struct host changed = *h;
    struct fleet_txn *t = NULL;
    changed.pub.state = state;
    changed.pub.state_reason = (char *)reason;
    enum status st = fleet_begin(f->db, &t, err);
    if (!st) st = change_put_host(t, &changed, err);
    if (!st && state == HOST_REVOKED) st = certs_revoke(f, t, h->pub.id, err);
    if (!st) st = fleet_audit_in(f, t, actor, action, h->pub.name, reason, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    if (st) return st;
    uv_rwlock_wrlock(&f->lock);
    set_state(h, state, reason);
    if (state == HOST_REVOKED) certs_revoked_in_memory(f, h->pub.id);
    h->n_superseded = 0;
    uv_rwlock_wrunlock(&f->lock);
    return ST_OK;
}

MUST_USE enum status fleet_host_revoke(struct fleet *f, const char *actor, uint32_t host, const char *reason,
                                       struct error *err) {
    if (reason && !text_is_utf8(slice_str(reason))) return error_set(err, ST_INVALID, "the reason is not UTF-8");
    uv_mutex_lock(&f->change);
    struct host *h = hosts_get(f, host);
    enum status st = h ? change_state(f, actor, "host revoke", h, HOST_REVOKED, reason ? reason : "", err)
                       : error_set(err, ST_NOTFOUND, "no host has the id %lu", (unsigned long)host);
    uv_mutex_unlock(&f->change);
    if (!st && f->cut) f->cut(f->cut_ctx, host, ST_REVOKED, "this host was revoked");
    return st;
}

struct search { /* pending requests that fit a word */
    struct slice what;
    char spki[65];
    struct pending found;
    size_t n;
    struct buf keys;
};

static enum status match_pending(void *ctx, struct slice key, struct slice value) {
    struct search *s = ctx;
    struct pending p;
    if (!pending_parse(value, &p)) return ST_OK;
    bool fits = slice_eq_nocase(slice_str(p.name), s->what) || (s->what.len >= 8 && slice_starts(key, s->what));
    if (p.approved || !fits || s->n++) {
        if (fits && !p.approved) buf_printf(&s->keys, ", %.16s", (const char *)key.p);
        pending_deinit(&p);
        return ST_OK;
    }
    snprintf(s->spki, sizeof s->spki, "%.*s", (int)key.len, (const char *)key.p);
    buf_printf(&s->keys, "%.16s", s->spki);
    s->found = p;
    return ST_OK;
}

static enum status approve_pending(struct fleet *f, const char *actor, struct search *s, struct error *err) {
    struct fleet_txn *t = NULL;
    char detail[120];
    snprintf(detail, sizeof detail, "key %.16s, from %s", s->spki, s->found.address);
    s->found.approved = true;
    enum status st = fleet_begin(f->db, &t, err);
    if (!st) st = pending_put(t, s->spki, &s->found, err);
    if (!st) st = fleet_audit_in(f, t, actor, "host approve", s->found.name, detail, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    return st;
}

MUST_USE enum status fleet_host_approve(struct fleet *f, const char *actor, struct slice what, struct error *err) {
    struct search s = {.what = what};
    uv_mutex_lock(&f->change);
    enum status st = fleet_each(f->db, FLEET_PENDING, (struct slice){0}, false, match_pending, &s, err);
    if (!st && s.n > 1) {
        st = error_set(err, ST_INVALID, "%zu machines ask for the name '%s': approve one by its key (%s)", s.n,
                       log_peer(what), buf_cstr(&s.keys));
    } else if (!st && s.n == 1) {
        st = approve_pending(f, actor, &s, err);
    } else if (!st) {
        struct host *h = hosts_by_name(f, what);
        if (h && h->pub.state == HOST_HELD) {
            st = change_state(f, actor, "host approve", h, HOST_ACTIVE, "", err);
        } else {
            st =
                error_set(err, ST_NOTFOUND, "nothing waits for approval under '%s'; see: haechi hosts", log_peer(what));
        }
    }
    uv_mutex_unlock(&f->change);
    if (s.n) pending_deinit(&s.found);
    buf_free(&s.keys);
    return st;
}

struct listing {
    struct fleet_pending *items;
    size_t n, cap;
};

static enum status list_pending(void *ctx, struct slice key, struct slice value) {
    struct listing *l = ctx;
    struct pending p;
    if (!pending_parse(value, &p)) return ST_OK;
    if (!p.approved) {
        mem_grow((void **)&l->items, l->n, &l->cap, sizeof *l->items);
        struct fleet_pending *o = &l->items[l->n++];
        *o = (struct fleet_pending){
            mem_strdup(p.name), mem_strdup(p.address), mem_strdup(p.os), p.known_host, p.since, ""};
        snprintf(o->key, sizeof o->key, "%.16s", (const char *)key.p);
    }
    pending_deinit(&p);
    return ST_OK;
}

size_t fleet_pending_list(struct fleet *f, struct fleet_pending **ret) {
    struct listing l = {0};
    struct error err = {0};
    if (fleet_each(f->db, FLEET_PENDING, (struct slice){0}, false, list_pending, &l, &err)) {
        log_warn("fleet", "cannot read the pending enrolments: %s", err.msg);
    }
    *ret = l.items;
    return l.n;
}

void fleet_pending_free(struct fleet_pending *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        mem_free(p[i].name);
        mem_free(p[i].address);
        mem_free(p[i].os);
    }
    mem_free(p);
}
