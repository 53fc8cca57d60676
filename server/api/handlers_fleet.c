/* Hosts, pending enrolments, the audit log. */
#include "handlers.h"
#include "batch.h"
#include "clock.h"
#include "groups.h"
#include "jout.h"
#include "ledger.h"
#include "log.h"
#include "mem.h"

#include <yyjson.h>

/* ---- hosts ---- */

static void put_host(struct buf *out, const struct fleet_host *h) {
    static const char *const states[] = {"active", "revoked", "held"};
    jout_uint(out, "id", h->id);
    jout_str(out, "name", h->name);
    jout_str(out, "group", h->group);
    jout_array(out, "tags");
    for (size_t i = 0; i < h->n_tags; i++) jout_str(out, NULL, h->tags[i]);
    jout_close(out, ']');
    jout_str(out, "state", states[h->state]);
    jout_str(out, "state_reason", h->state_reason);
    jout_str(out, "os", h->os);
    jout_str(out, "domain", h->domain);
    jout_str(out, "agent_version", h->agent_version);
    jout_str(out, "sysmon_version", h->sysmon_version);
    jout_str(out, "sysmon_schema", h->sysmon_schema);
    jout_str(out, "address", h->address);
    jout_bool(out, "connected", h->connected);
    jout_time(out, "enrolled", h->enrolled);
    jout_time(out, "last_seen", h->last_seen);
    jout_time(out, "cert_not_after", h->cert_not_after);
    jout_str(out, "cert_serial", h->cert_serial);
    jout_uint(out, "backlog_events", h->backlog_events);
    jout_uint(out, "spool_bytes", h->spool_bytes);
    jout_uint(out, "log_wraps_in_s", h->log_wraps_in_s);
    jout_real(out, "events_per_s", h->events_per_s);
}

static void put_ref(struct buf *out, const char *key, const char *ruleset, uint32_t revision, uint64_t serial) {
    if (!*ruleset) {
        jout_null(out, key);
        return;
    }
    jout_object(out, key);
    jout_str(out, "ruleset", ruleset);
    jout_uint(out, "revision", revision);
    jout_uint(out, "serial", serial);
    jout_close(out, '}');
}

static void put_rules(struct buf *out, const struct host_rules *r, bool in_full) {
    char evidence[80];
    rules_evidence_text(r->evidence, evidence, sizeof evidence);
    jout_object(out, "rules");
    jout_str(out, "is", host_rules_word(r));
    jout_str(out, "group", r->group);
    put_ref(out, "want", r->want, r->want_revision, r->want_serial);
    put_ref(out, "has", r->has, r->has_revision, r->has_serial);
    jout_str(out, "state", rules_state_name(r->state));
    jout_str(out, "evidence", evidence);
    jout_str(out, "reason", r->reason);
    if (in_full) jout_str(out, "words", r->words);
    jout_time(out, "since", r->since);
    jout_uint(out, "rollout", r->rollout);
    jout_bool(out, "takes_rules", r->takes_rules);
    jout_close(out, '}');
    jout_object(out, "sysmon");
    jout_str(out, "state", sysmon_state_name(r->sysmon.state));
    jout_str(out, "version", r->sysmon.version);
    jout_str(out, "schema", r->sysmon.schema);
    jout_str(out, "service", r->sysmon.service);
    jout_str(out, "driver", r->sysmon.driver);
    jout_bool(out, "inbox", r->sysmon.inbox);
    jout_str(out, "config_hash", r->sysmon.config_hash);
    jout_str(out, "cannot_apply", r->sysmon.cannot_apply);
    jout_time(out, "event_16", r->sysmon.event_16);
    jout_close(out, '}');
}

struct host_list {
    struct fleet_host *hosts;
    size_t n, at;
    uint64_t silent_since; /* only hosts last seen before; 0: all */
    const char *rules;     /* only hosts with this word for their rules; NULL: all */
};

static void free_hosts(void *state) {
    struct host_list *l = state;
    fleet_hosts_free(l->hosts, l->n);
    mem_free(l);
}

static enum status check_rules_word(const char *word, struct error *err) {
    if (!word || strcmp(word, "behind") == 0) return ST_OK;
    for (uint32_t i = RULES_NONE; i <= RULES_DRIFTED; i++) {
        if (strcmp(word, rules_state_name(i)) == 0) return ST_OK;
    }
    return error_set(
        err, ST_INVALID,
        "rules is none, received, applied, loaded, failed, refused, drifted, or behind for hosts that have not "
        "what they shall have; not %s",
        log_peer(slice_str(word)));
}

/* Those with that state; or those that have not what they shall have, whatever their state. */
static bool is_wanted(const struct host_rules *r, const char *word) {
    return !word || strcmp(word, "behind") == 0 ? !word || r->behind : strcmp(word, rules_state_name(r->state)) == 0;
}

static enum status begin_hosts(struct call *c, struct error *err) {
    uint64_t silent_s = 0, now = clock_wall();
    enum status st = call_uint(c, "silent_s", &silent_s, err);
    if (!st && silent_s > now / FILETIME_SECOND) st = error_set(err, ST_INVALID, "silent_s is too large");
    if (!st) st = check_rules_word(call_param(c, "rules"), err);
    if (st) return st;
    struct host_list *l = mem_zalloc(sizeof *l);
    l->rules = call_param(c, "rules");
    l->n = fleet_hosts(c->common->o->fleet, &l->hosts);
    if (silent_s) l->silent_since = now - silent_s * FILETIME_SECOND;
    c->state = l;
    c->free_state = free_hosts;
    return ST_OK;
}

enum step hosts_step(struct call *c, struct buf *out, struct error *err) {
    enum status st = c->state ? ST_OK : begin_hosts(c, err);
    if (st) return call_fail(err, st);
    struct host_list *l = c->state;
    const char *group = call_param(c, "group");
    for (; l->at < l->n && out->len < CALL_PIECE; l->at++) {
        const struct fleet_host *h = &l->hosts[l->at];
        if (group && !rulebook_is_member(group, h->group, h->tags, h->n_tags)) continue;
        if (l->silent_since && (h->connected || h->last_seen >= l->silent_since)) continue;
        struct host_rules r;
        rollouts_host(c->common->o->rollouts, h->id, &r);
        if (is_wanted(&r, l->rules)) {
            jout_object(out, NULL);
            put_host(out, h);
            put_rules(out, &r, false);
            jout_line(out);
        }
        host_rules_free(&r);
    }
    return l->at < l->n ? STEP_MORE : STEP_END;
}

static void put_stream(struct buf *out, const struct db_stream *s) {
    const struct ledger_span *highest = s->epoch == EPOCH_CONTENT ? NULL : ledger_highest(s->ledger);
    jout_object(out, NULL);
    jout_str(out, "computer", s->computer);
    jout_str(out, "channel", s->channel);
    if (s->epoch == EPOCH_CONTENT)
        jout_null(out, "epoch");
    else
        jout_uint(out, "epoch", s->epoch);
    jout_uint(out, "events", s->n_events);
    jout_uint(out, "bytes", s->n_bytes);
    jout_uint(out, "duplicates", s->n_duplicates);
    jout_time(out, "last_arrival", s->last_arrival);
    if (highest)
        jout_uint(out, "highest_record_id", highest->last);
    else
        jout_null(out, "highest_record_id");
    jout_close(out, '}');
}

enum step host_step(struct call *c, struct buf *out, struct error *err) {
    struct fleet_host h;
    struct host_rules r;
    struct db_stream *streams;
    size_t n;
    enum status st = call_host(c, &h, err);
    if (st) return call_fail(err, st);
    st = db_streams(c->common->o->db, h.id, &streams, &n, err);
    if (!st) {
        jout_object(out, NULL);
        put_host(out, &h);
        rollouts_host(c->common->o->rollouts, h.id, &r);
        put_host_groups(out, c->common->o->book, &h, r.group);
        put_rules(out, &r, true);
        host_rules_free(&r);
        jout_array(out, "streams");
        for (size_t i = 0; i < n; i++) put_stream(out, &streams[i]);
        jout_close(out, ']');
        jout_line(out);
        db_streams_free(streams, n);
    }
    fleet_host_free(&h);
    return st ? call_fail(err, st) : STEP_END;
}

/* ---- changes ---- */

static enum step done(struct call *c, struct buf *out, enum status st, struct error *err) {
    if (st) return call_fail(err, st);
    rollouts_changed(c->common->o->rollouts); /* who may connect, or who is in which group */
    buf_str(out, "{}\n");
    return STEP_END;
}

enum step revoke_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {"reason", NULL};
    struct fleet_host h = {0};
    yyjson_doc *doc = NULL;
    enum status st = call_json(c, keys, &doc, err);
    if (st) return call_fail(err, st);
    yyjson_val *reason = yyjson_obj_get(yyjson_doc_get_root(doc), "reason");
    if (reason && !yyjson_is_str(reason)) st = error_set(err, ST_INVALID, "reason is no text");
    if (!st) st = call_host(c, &h, err);
    if (!st) {
        st = fleet_host_revoke(c->common->o->fleet, c->actor, h.id, reason ? yyjson_get_str(reason) : "", err);
        fleet_host_free(&h);
    }
    yyjson_doc_free(doc);
    return done(c, out, st, err);
}

enum step approve_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {NULL};
    yyjson_doc *doc = NULL;
    enum status st = call_json(c, keys, &doc, err);
    yyjson_doc_free(doc);
    if (!st) st = fleet_host_approve(c->common->o->fleet, c->actor, slice_str(c->words[0]), err);
    return done(c, out, st, err);
}

#define MAX_TAGS 64

static enum status tag_list(yyjson_val *root, const char *key, const char *tags[MAX_TAGS], size_t *ret_n,
                            struct error *err) {
    yyjson_val *list = yyjson_obj_get(root, key), *tag;
    size_t i, n;
    *ret_n = 0;
    if (!list) return ST_OK;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MAX_TAGS) {
        return error_set(err, ST_INVALID, "%s is no list of at most %d tags", key, MAX_TAGS);
    }
    yyjson_arr_foreach(list, i, n, tag) {
        if (!yyjson_is_str(tag)) return error_set(err, ST_INVALID, "a tag in %s is no text", key);
        tags[(*ret_n)++] = yyjson_get_str(tag);
    }
    return ST_OK;
}

enum step tags_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {"add", "remove", NULL};
    const char *add[MAX_TAGS], *removed[MAX_TAGS];
    size_t n_add, n_removed = 0;
    struct fleet_host h = {0};
    yyjson_doc *doc = NULL;
    enum status st = call_json(c, keys, &doc, err);
    if (st) return call_fail(err, st);
    st = tag_list(yyjson_doc_get_root(doc), "add", add, &n_add, err);
    if (!st) st = tag_list(yyjson_doc_get_root(doc), "remove", removed, &n_removed, err);
    if (!st) st = call_host(c, &h, err);
    if (!st) {
        st = fleet_host_tag(c->common->o->fleet, c->actor, h.id, add, n_add, removed, n_removed, err);
        fleet_host_free(&h);
    }
    yyjson_doc_free(doc);
    return done(c, out, st, err);
}

/* ---- pending ---- */

enum step pending_step(struct call *c, struct buf *out, struct error *err) {
    struct fleet_pending *p;
    size_t n = fleet_pending_list(c->common->o->fleet, &p);
    (void)err;
    for (size_t i = 0; i < n; i++) {
        jout_object(out, NULL);
        jout_str(out, "name", p[i].name);
        if (p[i].known_host)
            jout_uint(out, "known_host", p[i].known_host);
        else
            jout_null(out, "known_host");
        jout_str(out, "address", p[i].address);
        jout_str(out, "os", p[i].os);
        jout_time(out, "since", p[i].since);
        jout_str(out, "key", p[i].key);
        jout_line(out);
    }
    fleet_pending_free(p, n);
    return STEP_END;
}

/* ---- audit ---- */

struct audit {
    uint64_t from, limit, rows;
    bool reverse, full;
    struct buf *out;
};

/* "{"seq":17,...": what the next piece goes on from. */
static uint64_t seq_of(struct slice json) {
    static const char head[] = "{\"seq\":";
    uint64_t seq = 0;
    if (!slice_starts(json, slice_str(head))) return 0;
    for (size_t i = sizeof head - 1; i < json.len && json.p[i] >= '0' && json.p[i] <= '9'; i++) {
        seq = seq * 10 + (uint64_t)(json.p[i] - '0');
    }
    return seq;
}

static enum status put_audit(void *ctx, struct slice json) {
    struct audit *a = ctx;
    uint64_t seq = seq_of(json);
    if (a->limit && a->rows >= a->limit) return ST_END;
    if (a->out->len >= CALL_PIECE) {
        a->full = true;
        a->from = seq;
        return ST_END;
    }
    a->rows++;
    buf_slice_append(a->out, json);
    buf_byte(a->out, '\n');
    return ST_OK;
}

enum step audit_step(struct call *c, struct buf *out, struct error *err) {
    struct audit *a = c->state;
    enum status st = ST_OK;
    if (!a) {
        a = c->state = mem_zalloc(sizeof *a);
        c->free_state = mem_free;
        st = call_uint(c, "from", &a->from, err);
        if (!st) st = call_uint(c, "limit", &a->limit, err);
        if (!st) st = call_flag(c, "reverse", &a->reverse, err);
    }
    a->full = false;
    a->out = out;
    if (!st) st = fleet_audit_each(c->common->o->fleet, a->from, a->reverse, put_audit, a, err);
    if (st) return call_fail(err, st);
    return a->full ? STEP_MORE : STEP_END;
}
