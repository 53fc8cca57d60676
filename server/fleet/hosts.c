/* The registry: hosts and their certificates in memory, what sessions report of them, and who is live. */
#include "fleet_internal.h"
#include "clock.h"
#include "log.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define REPORT_FLUSH_MS 60000

/* ---- tables ---- */

struct host *hosts_get(const struct fleet *f, uint32_t id) {
    size_t lo = 0, hi = f->n_hosts;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (f->hosts[mid]->pub.id < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < f->n_hosts && f->hosts[lo]->pub.id == id ? f->hosts[lo] : NULL;
}

static int name_cmp(struct slice a, struct slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < n; i++) {
        int c = slice_lower(a.p[i]) - slice_lower(b.p[i]);
        if (c) return c;
    }
    return (a.len > b.len) - (a.len < b.len);
}

/* The first position whose name is not below `name`. */
static size_t name_position(const struct fleet *f, struct slice name) {
    size_t lo = 0, hi = f->n_by_name;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (name_cmp(slice_str(f->by_name[mid]->pub.name), name) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct host *hosts_by_name(const struct fleet *f, struct slice name) {
    size_t at = name_position(f, name);
    return at < f->n_by_name && name_cmp(slice_str(f->by_name[at]->pub.name), name) == 0 ? f->by_name[at] : NULL;
}

static void insert_at(void **array, size_t *n, size_t *cap, size_t at, void *item) {
    mem_grow(array, *n, cap, sizeof(void *));
    void **items = *array;
    memmove(items + at + 1, items + at, (*n - at) * sizeof(void *));
    items[at] = item;
    ++*n;
}

void hosts_insert(struct fleet *f, struct host *h) {
    size_t at = f->n_hosts;
    while (at && f->hosts[at - 1]->pub.id > h->pub.id) at--;
    insert_at((void **)&f->hosts, &f->n_hosts, &f->cap_hosts, at, h);
    insert_at((void **)&f->by_name, &f->n_by_name, &f->cap_by_name, name_position(f, slice_str(h->pub.name)), h);
}

static size_t serial_position(const struct fleet *f, const char *serial) {
    size_t lo = 0, hi = f->n_certs;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(f->certs[mid]->serial, serial) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct cert *certs_get(const struct fleet *f, const char *serial) {
    size_t at = serial_position(f, serial);
    return at < f->n_certs && strcmp(f->certs[at]->serial, serial) == 0 ? f->certs[at] : NULL;
}

struct cert *certs_by_key(const struct fleet *f, const char *spki) {
    struct cert *best = NULL;
    for (size_t i = 0; i < f->n_certs; i++) {
        struct cert *c = f->certs[i];
        if (strcmp(c->spki, spki) != 0) continue;
        if (!best || (best->revoked && !c->revoked) ||
            (best->revoked == c->revoked && c->not_after > best->not_after)) {
            best = c;
        }
    }
    return best;
}

void certs_insert(struct fleet *f, struct cert *c) {
    insert_at((void **)&f->certs, &f->n_certs, &f->cap_certs, serial_position(f, c->serial), c);
    struct host *h = hosts_get(f, c->host);
    if (h && !c->revoked && c->not_after >= h->pub.cert_not_after) {
        h->pub.cert_not_after = c->not_after;
        snprintf(h->pub.cert_serial, sizeof h->pub.cert_serial, "%s", c->serial);
    }
}

MUST_USE enum status certs_revoke(struct fleet *f, struct fleet_txn *t, uint32_t host, struct error *err) {
    enum status st = ST_OK;
    for (size_t i = 0; i < f->n_certs && !st; i++) {
        if (f->certs[i]->host != host || f->certs[i]->revoked) continue;
        struct cert c = *f->certs[i];
        struct buf row = {0};
        c.revoked = true;
        row_cert(&c, f->now(), &row);
        st = fleet_txn_put(t, FLEET_CERTS, slice_str(c.serial), buf_slice(&row), err);
        buf_free(&row);
    }
    return st;
}

void certs_revoked_in_memory(struct fleet *f, uint32_t host) {
    for (size_t i = 0; i < f->n_certs; i++) {
        if (f->certs[i]->host == host) f->certs[i]->revoked = true;
    }
    struct host *h = hosts_get(f, host);
    if (h) {
        h->pub.cert_not_after = 0;
        h->pub.cert_serial[0] = 0;
    }
}

MUST_USE enum status change_put_host(struct fleet_txn *t, const struct host *h, struct error *err) {
    char key[12];
    snprintf(key, sizeof key, "%010lu", (unsigned long)h->pub.id);
    struct buf row = {0};
    row_host(h, &row);
    enum status st = fleet_txn_put(t, FLEET_HOSTS, slice_str(key), buf_slice(&row), err);
    buf_free(&row);
    return st;
}

/* ---- snapshots ---- */

void fleet_host_free(struct fleet_host *h) {
    char *strings[] = {h->name,          h->group,  h->os,      h->agent_version, h->sysmon_version,
                       h->sysmon_schema, h->domain, h->address, h->state_reason};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) mem_free(strings[i]);
    for (size_t i = 0; i < h->n_tags; i++) mem_free(h->tags[i]);
    mem_free(h->tags);
    *h = (struct fleet_host){0};
}

void fleet_hosts_free(struct fleet_host *h, size_t n) {
    for (size_t i = 0; i < n; i++) fleet_host_free(&h[i]);
    mem_free(h);
}

void host_free(struct host **h) {
    list_for_each_safe (it, next, &(*h)->sessions) mem_free(container_of(it, struct presence, link));
    fleet_host_free(&(*h)->pub);
    mem_free(*h);
    *h = NULL;
}

void hosts_copy(const struct host *h, struct fleet_host *ret) {
    *ret = h->pub;
    char **strings[] = {&ret->name,          &ret->group,  &ret->os,      &ret->agent_version, &ret->sysmon_version,
                        &ret->sysmon_schema, &ret->domain, &ret->address, &ret->state_reason};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) *strings[i] = mem_strdup(*strings[i]);
    ret->tags = mem_zalloc(mem_mul(ret->n_tags + 1, sizeof *ret->tags));
    for (size_t i = 0; i < ret->n_tags; i++) ret->tags[i] = mem_strdup(h->pub.tags[i]);
    ret->connected = !list_is_empty(&h->sessions);
}

size_t fleet_hosts(struct fleet *f, struct fleet_host **ret) {
    uv_rwlock_rdlock(&f->lock);
    size_t n = f->n_by_name;
    *ret = mem_zalloc(mem_mul(n, sizeof **ret));
    for (size_t i = 0; i < n; i++) hosts_copy(f->by_name[i], &(*ret)[i]);
    uv_rwlock_rdunlock(&f->lock);
    return n;
}

static bool decimal(struct slice s, uint32_t *ret) {
    uint64_t v = 0;
    if (!s.len || s.len > 10) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *ret = (uint32_t)v;
    return v <= UINT32_MAX;
}

static enum status find_prefix(const struct fleet *f, struct slice what, struct host **ret, struct error *err) {
    size_t first = name_position(f, what), n = 0;
    struct buf names = {0};
    for (size_t i = first; i < f->n_by_name; i++, n++) {
        struct slice name = slice_str(f->by_name[i]->pub.name);
        if (!slice_eq_nocase(slice_head(name, what.len), what)) break;
        if (n < 5) buf_printf(&names, "%s%s", n ? ", " : "", f->by_name[i]->pub.name);
    }
    enum status st = ST_OK;
    if (!n || !what.len) {
        st = error_set(err, ST_NOTFOUND, "no host is called '%s'; see: haechi hosts", log_peer(what));
    } else if (n > 1) {
        st = error_set(err, ST_INVALID, "'%s' fits %zu hosts (%s%s); write more of the name", log_peer(what), n,
                       buf_cstr(&names), n > 5 ? ", ..." : "");
    } else {
        *ret = f->by_name[first];
    }
    buf_free(&names);
    return st;
}

MUST_USE enum status fleet_host_find(struct fleet *f, struct slice what, struct fleet_host *ret, struct error *err) {
    uint32_t id;
    enum status st = ST_OK;
    uv_rwlock_rdlock(&f->lock);
    struct host *h = hosts_by_name(f, what);
    if (!h && decimal(what, &id)) h = hosts_get(f, id);
    if (!h) st = find_prefix(f, what, &h, err);
    if (!st) hosts_copy(h, ret);
    uv_rwlock_rdunlock(&f->lock);
    return st;
}

MUST_USE enum status fleet_host_get(struct fleet *f, uint32_t id, struct fleet_host *ret) {
    uv_rwlock_rdlock(&f->lock);
    const struct host *h = hosts_get(f, id);
    if (h) hosts_copy(h, ret);
    uv_rwlock_rdunlock(&f->lock);
    return h ? ST_OK : ST_NOTFOUND;
}

/* "host:17" */
static bool id_of_peer(const struct tls_peer *peer, uint32_t *ret) {
    struct slice cn = slice_str(peer->common_name);
    return slice_starts(cn, SLICE_LIT("host:")) && decimal(slice_from(cn, 5), ret);
}

MUST_USE enum status fleet_host_of_peer(struct fleet *f, const struct tls_peer *peer, struct fleet_host *ret,
                                        struct error *err) {
    uint32_t id;
    enum status st = error_set(err, ST_AUTH, "the certificate's subject '%s' is no host of this fleet",
                               log_peer(slice_str(peer->common_name)));
    uv_rwlock_rdlock(&f->lock);
    struct host *h = peer->verified && id_of_peer(peer, &id) ? hosts_get(f, id) : NULL;
    if (h) {
        hosts_copy(h, ret);
        st = ST_OK;
    }
    uv_rwlock_rdunlock(&f->lock);
    return st;
}

/* Inside the handshake: the CA vouches for the certificate, `verified` is set only once the key is proved as well. */
enum status fleet_admit(void *fleet, const struct tls_peer *peer) {
    struct fleet *f = fleet;
    uint32_t id;
    enum status st = ST_AUTH;
    uv_rwlock_rdlock(&f->lock);
    const struct cert *c = id_of_peer(peer, &id) ? certs_get(f, peer->serial) : NULL;
    const struct host *h = c && c->host == id ? hosts_get(f, id) : NULL;
    if (h) st = c->revoked || h->pub.state == HOST_REVOKED ? ST_REVOKED : ST_OK;
    uv_rwlock_rdunlock(&f->lock);
    return st;
}

/* ---- live sessions ---- */

void fleet_on_cut(struct fleet *f, void (*cut)(void *ctx, uint32_t host, enum status why, const char *text),
                  void *ctx) {
    f->cut = cut;
    f->cut_ctx = ctx;
}

static bool same_place(const struct presence *a, const struct presence *b) {
    return !a->instance[0] || !b->instance[0] || memcmp(a->instance, b->instance, 2 * FLEET_PLACE_LEN) == 0;
}

static bool was_superseded(const struct host *h, const char *instance) {
    for (unsigned i = 0; i < h->n_superseded && i < FLEET_SUPERSEDED; i++) {
        if (strcmp(h->superseded[i], instance) == 0) return true;
    }
    return false;
}

/* Does p, coming now, prove that the key lives twice? Sessions that a reboot left behind are noted as superseded. */
static const struct presence *find_clone(struct host *h, const struct presence *p) {
    list_for_each (it, &h->sessions) {
        struct presence *other = container_of(it, struct presence, link);
        if (same_place(other, p)) continue;
        bool rebooted = strcmp(other->machine_id, p->machine_id) == 0 && strcmp(other->boot_id, p->boot_id) != 0;
        if (!rebooted || was_superseded(h, p->instance)) return other;
        snprintf(h->superseded[h->n_superseded++ % FLEET_SUPERSEDED], sizeof h->superseded[0], "%s", other->instance);
    }
    return NULL;
}

static void hold_in_memory(struct host *h, const struct presence *a, const struct presence *b) {
    char why[256];
    snprintf(why, sizeof why, "its key is live twice: %s and %s", a->address, b->address);
    h->pub.state = HOST_HELD;
    mem_free(h->pub.state_reason);
    h->pub.state_reason = mem_strdup(why);
    h->dirty = true;
}

MUST_USE enum status fleet_session_begin(struct fleet *f, uint32_t host, const struct fleet_presence *pr,
                                         uint64_t *ret_session, struct error *err) {
    struct presence *p = mem_zalloc(sizeof *p);
    row_hex(pr->machine_id, p->machine_id, sizeof p->machine_id);
    row_hex(pr->boot_id, p->boot_id, sizeof p->boot_id);
    row_hex(pr->instance, p->instance, sizeof p->instance);
    snprintf(p->address, sizeof p->address, "%s", pr->address);
    enum status st = ST_OK;
    bool alarm = false;
    uv_rwlock_wrlock(&f->lock);
    struct host *h = hosts_get(f, host);
    if (!h || h->pub.state == HOST_REVOKED) {
        st = error_set(err, ST_REVOKED, "this host is revoked; enrol it again");
    } else if (h->pub.state == HOST_HELD) {
        st = error_set(err, ST_DENIED, "this host is held (%s); an admin lifts it with: haechi host approve %s",
                       h->pub.state_reason, h->pub.name);
    } else {
        const struct presence *other = find_clone(h, p);
        if (other) {
            alarm = true;
            hold_in_memory(h, other, p);
            st = error_set(err, ST_DENIED,
                           "clone alarm: %s; the host is held until an admin looks at it: haechi host show %s",
                           h->pub.state_reason, h->pub.name);
        } else {
            p->session = (uint64_t)host << 32 | (uint32_t)++f->next_session;
            *ret_session = p->session;
            list_append(&h->sessions, &p->link);
            memcpy(h->machine_id, p->machine_id, sizeof h->machine_id);
            mem_free(h->pub.address);
            h->pub.address = mem_strdup(p->address);
            h->pub.last_seen = f->now();
            h->dirty = true;
            p = NULL;
        }
    }
    if (alarm) f->flushed_ms = 0; /* the next tick writes the hold and its audit record at once */
    uv_rwlock_wrunlock(&f->lock);
    mem_free(p);
    if (alarm && f->cut) f->cut(f->cut_ctx, host, ST_DENIED, "clone alarm: the same key is live from another place");
    return st;
}

void fleet_session_end(struct fleet *f, uint64_t session) {
    uv_rwlock_wrlock(&f->lock);
    struct host *h = hosts_get(f, (uint32_t)(session >> 32));
    if (h) {
        list_for_each_safe (it, next, &h->sessions) {
            struct presence *p = container_of(it, struct presence, link);
            if (p->session != session) continue;
            list_remove(it);
            mem_free(p);
            h->pub.last_seen = f->now();
            h->dirty = true;
        }
    }
    uv_rwlock_wrunlock(&f->lock);
}

/* Peer text becomes clean UTF-8 of bounded length before it is kept. */
static void set_text(char **field, struct slice s) {
    if (!s.len) return;
    struct buf clean = {0};
    text_printable(&clean, s, 120);
    if (strcmp(*field, buf_cstr(&clean)) != 0) {
        mem_free(*field);
        *field = mem_strdup(buf_cstr(&clean));
    }
    buf_free(&clean);
}

void fleet_report(struct fleet *f, uint32_t host, const struct fleet_report *r) {
    uv_rwlock_wrlock(&f->lock);
    struct host *h = hosts_get(f, host);
    if (h) {
        struct fleet_host *p = &h->pub;
        set_text(&p->os, r->os);
        set_text(&p->agent_version, r->agent_version);
        set_text(&p->sysmon_version, r->sysmon_version);
        set_text(&p->sysmon_schema, r->sysmon_schema);
        set_text(&p->domain, r->domain);
        if (r->has_load) {
            p->backlog_events = r->backlog_events;
            p->spool_bytes = r->spool_bytes;
            p->log_wraps_in_s = r->log_wraps_in_s;
            p->events_per_s = r->events_per_s;
        }
        p->last_seen = f->now();
        h->dirty = true;
    }
    uv_rwlock_wrunlock(&f->lock);
}

/* ---- reports to disk ---- */

struct dirty_row {
    uint32_t id;
    bool held;
    struct buf json;
    char *name, *reason;
};

static size_t collect_dirty(struct fleet *f, struct dirty_row **ret) {
    struct dirty_row *rows = NULL;
    size_t n = 0, cap = 0;
    uv_rwlock_wrlock(&f->lock);
    for (size_t i = 0; i < f->n_hosts; i++) {
        struct host *h = f->hosts[i];
        if (!h->dirty) continue;
        h->dirty = false;
        mem_grow((void **)&rows, n, &cap, sizeof *rows);
        rows[n] = (struct dirty_row){.id = h->pub.id,
                                     .held = h->pub.state == HOST_HELD,
                                     .name = mem_strdup(h->pub.name),
                                     .reason = mem_strdup(h->pub.state_reason)};
        row_host(h, &rows[n++].json);
    }
    uv_rwlock_wrunlock(&f->lock);
    *ret = rows;
    return n;
}

static enum status write_dirty(struct fleet *f, struct dirty_row *rows, size_t n, struct error *err) {
    struct fleet_txn *t = NULL;
    enum status st = fleet_begin(f->db, &t, err);
    for (size_t i = 0; i < n && !st; i++) {
        char key[12];
        struct slice old;
        snprintf(key, sizeof key, "%010lu", (unsigned long)rows[i].id);
        bool was_held = false;
        if (rows[i].held && !fleet_txn_get(t, FLEET_HOSTS, slice_str(key), &old)) {
            struct host *h = row_host_parse(old);
            was_held = h && h->pub.state == HOST_HELD;
            if (h) host_free(&h);
        }
        if (rows[i].held && !was_held)
            st = fleet_audit_in(f, t, "collector", "clone alarm", rows[i].name, rows[i].reason, err);
        if (!st) st = fleet_txn_put(t, FLEET_HOSTS, slice_str(key), buf_slice(&rows[i].json), err);
    }
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    return st;
}

void fleet_tick(struct fleet *f) {
    uint64_t now = clock_mono_ms();
    uv_rwlock_rdlock(&f->lock);
    bool early = f->flushed_ms && now - f->flushed_ms < REPORT_FLUSH_MS;
    uv_rwlock_rdunlock(&f->lock);
    if (early) return;
    uv_mutex_lock(&f->change);
    struct dirty_row *rows;
    struct error err = {0};
    size_t n = collect_dirty(f, &rows);
    enum status st = n ? write_dirty(f, rows, n, &err) : ST_OK;
    uv_rwlock_wrlock(&f->lock);
    f->flushed_ms = now ? now : 1;
    for (size_t i = 0; st && i < n; i++) {
        struct host *h = hosts_get(f, rows[i].id);
        if (h) h->dirty = true;
    }
    uv_rwlock_wrunlock(&f->lock);
    uv_mutex_unlock(&f->change);
    if (st) log_warn("fleet", "cannot write what hosts reported: %s; trying again in a minute", err.msg);
    for (size_t i = 0; i < n; i++) {
        buf_free(&rows[i].json);
        mem_free(rows[i].name);
        mem_free(rows[i].reason);
    }
    mem_free(rows);
}
