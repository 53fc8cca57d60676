/* The rulebook: rulesets, their revisions, checks and diffs. */
#include "handlers.h"
#include "canary.h"
#include "check.h"
#include "config_text.h"
#include "diff.h"
#include "groups.h"
#include "jout.h"
#include "log.h"
#include "mem.h"
#include "ref.h"
#include "reply.h"
#include "router.h"

#include <stdio.h>

/* ---- revisions ---- */

static void put_hex(struct buf *out, const char *key, const uint8_t *p, size_t len) {
    char hex[2 * RULES_DIGEST_LEN + 1];
    for (size_t i = 0; i < len; i++) snprintf(hex + 2 * i, 3, "%02x", p[i]);
    jout_str(out, key, hex);
}

static void put_revision(struct buf *out, const struct revision *r) {
    jout_str(out, "name", r->name);
    jout_uint(out, "revision", r->revision);
    jout_str(out, "author", r->author);
    jout_str(out, "comment", r->comment);
    jout_time(out, "time", r->time);
    put_hex(out, "digest", r->digest, sizeof r->digest);
    jout_uint(out, "bytes", r->len);
    jout_version(out, "schema", r->schema);
    if (r->canary)
        jout_str(out, "canary", r->canary);
    else
        jout_null(out, "canary");
}

/* Which groups have the ruleset, and which revision of it. */
static void put_assigned(struct buf *out, const char *name, const struct group *groups, size_t n) {
    jout_array(out, "groups");
    for (size_t i = 0; i < n; i++) {
        if (strcmp(groups[i].ruleset, name) != 0) continue;
        jout_object(out, NULL);
        jout_str(out, "group", groups[i].name);
        jout_uint(out, "revision", groups[i].revision);
        jout_uint(out, "serial", groups[i].serial);
        jout_uint(out, "hosts", groups[i].n_hosts);
        jout_close(out, '}');
    }
    jout_close(out, ']');
}

enum step rulesets_step(struct call *c, struct buf *out, struct error *err) {
    struct revision *list;
    struct group *groups;
    size_t n = rulebook_list(c->common->o->book, NULL, &list), n_groups = rulebook_groups(c->common->o->book, &groups);
    (void)err;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && strcmp(list[i].name, list[end].name) == 0;) end++;
        jout_object(out, NULL);
        put_revision(out, &list[end - 1]);
        jout_uint(out, "revisions", end - i);
        put_assigned(out, list[i].name, groups, n_groups);
        jout_line(out);
    }
    revisions_free(list, n);
    groups_free(groups, n_groups);
    return STEP_END;
}

/* loaded[i]: the hosts that say that revision list[i] is loaded. */
static void count_loaded(struct call *c, const struct revision *list, size_t n, size_t *loaded) {
    struct fleet_host *hosts;
    size_t n_hosts = fleet_hosts(c->common->o->fleet, &hosts);
    for (size_t i = 0; i < n_hosts; i++) {
        struct host_rules r;
        rollouts_host(c->common->o->rollouts, hosts[i].id, &r);
        for (size_t k = 0; k < n && r.state == RULES_LOADED && strcmp(r.has, list[0].name) == 0; k++) {
            loaded[k] += list[k].revision == r.has_revision;
        }
        host_rules_free(&r);
    }
    fleet_hosts_free(hosts, n_hosts);
}

enum step ruleset_step(struct call *c, struct buf *out, struct error *err) {
    struct revision *list, first;
    struct group *groups;
    enum status st = rulebook_get(c->common->o->book, c->words[0], 0, &first, err);
    if (st) return call_fail(err, st);
    revision_free(&first);
    size_t n = rulebook_list(c->common->o->book, c->words[0], &list);
    size_t n_groups = rulebook_groups(c->common->o->book, &groups), *loaded = mem_zalloc(mem_mul(n, sizeof *loaded));
    count_loaded(c, list, n, loaded);
    jout_object(out, NULL);
    jout_str(out, "name", c->words[0]);
    put_assigned(out, c->words[0], groups, n_groups);
    jout_array(out, "revisions");
    for (size_t i = n; i-- > 0;) {
        jout_object(out, NULL);
        put_revision(out, &list[i]);
        jout_uint(out, "hosts_loaded", loaded[i]);
        jout_close(out, '}');
    }
    jout_close(out, ']');
    jout_line(out);
    mem_free(loaded);
    revisions_free(list, n);
    groups_free(groups, n_groups);
    return STEP_END;
}

/* The revision that the path names. */
static enum status the_revision(struct call *c, struct ruleset_ref *ret, struct error *err) {
    char text[160];
    bool newest = strcmp(c->words[1], "newest") == 0;
    snprintf(text, sizeof text, "%.100s%s%.20s", c->words[0], newest ? "" : "@", newest ? "" : c->words[1]);
    return ruleset_ref_parse(slice_str(text), ret, err);
}

enum step revision_step(struct call *c, struct buf *out, struct error *err) {
    struct ruleset_ref ref;
    enum status st = the_revision(c, &ref, err);
    if (!st) st = rulebook_xml(c->common->o->book, ref.name, ref.revision, out, err);
    return st ? call_fail(err, st) : STEP_END;
}

/* ---- checks ---- */

static void put_findings(struct buf *out, const struct findings *f) {
    struct buf lines = {0};
    findings_json(f, NULL, &lines);
    jout_uint(out, "errors", f->n_errors);
    jout_uint(out, "warnings", f->n_warnings);
    jout_array(out, "findings");
    for (size_t i = 0; i < lines.len; i++) {
        bool end = lines.p[i] == '\n';
        if (!end || i + 1 < lines.len) buf_byte(out, end ? ',' : lines.p[i]);
    }
    jout_close(out, ']');
    buf_free(&lines);
}

/* The body, checked for the group's hosts (or for what the caller says of them). */
static enum status check_body(struct call *c, struct findings *f, struct ruleset **ret, struct error *err) {
    struct check_options o = {0};
    const char *group = call_param(c, "group"), *schema = call_param(c, "schema");
    enum status st = call_flag(c, "linux", &o.linux, err);
    *f = (struct findings){0};
    if (!st && schema && !schema_version_parse(slice_str(schema), &o.lowest_schema)) {
        st = error_set(err, ST_INVALID, "schema=%s is no version; write it as in 4.90", log_peer(slice_str(schema)));
    }
    if (!st && group) {
        struct group g;
        st = rulebook_group_get(c->common->o->book, group, &g, err);
        if (!st) group_free(&g);
        if (!st && !o.lowest_schema) group_needs(c->common->o->fleet, group, &o);
    }
    if (st) return st;
    (void)!ruleset_check(buf_slice(&c->body), &o, f, ret);
    return ST_OK;
}

enum step check_step(struct call *c, struct buf *out, struct error *err) {
    struct findings f;
    struct ruleset *r = NULL;
    enum status st = check_body(c, &f, &r, err);
    if (!st) {
        jout_object(out, NULL);
        put_findings(out, &f);
        jout_line(out);
    }
    findings_free(&f);
    ruleset_free(&r);
    return st ? call_fail(err, st) : STEP_END;
}

/* ---- a new revision ---- */

/* 422: what the checker says stands beside the sentence. */
static void refuse(struct call *c, const struct findings *f, struct buf *out) {
    char detail[160];
    c->http = 422;
    c->type = REPLY_PROBLEM;
    snprintf(detail, sizeof detail, "the configuration has %zu error%s; nothing was stored", f->n_errors,
             f->n_errors == 1 ? "" : "s");
    reply_problem_begin(out, c->http, detail);
    put_findings(out, f);
    jout_line(out);
}

static enum status add(struct call *c, const struct findings *f, const struct ruleset *r, struct buf *out,
                       struct error *err) {
    const char *comment = call_param(c, "comment");
    char canary[RULEBOOK_CANARY_MAX + 1];
    struct revision before = {0}, now = {0};
    bool has_canary = canary_find(r, canary, sizeof canary);
    uint32_t newest = rulebook_get(c->common->o->book, c->words[0], 0, &before, NULL) ? 0 : before.revision;
    enum status st = rulebook_add(c->common->o->book, c->actor, c->words[0], comment ? comment : "",
                                  buf_slice(&c->body), r->schema, has_canary ? canary : NULL, &now, err);
    if (!st) {
        c->http = now.revision == newest ? 200 : 201;
        jout_object(out, NULL);
        put_revision(out, &now);
        jout_bool(out, "is_new", now.revision != newest);
        put_findings(out, f);
        jout_line(out);
    }
    revision_free(&before);
    revision_free(&now);
    return st;
}

enum step push_step(struct call *c, struct buf *out, struct error *err) {
    struct findings f;
    struct ruleset *r = NULL;
    enum status st = check_body(c, &f, &r, err);
    if (!st && (f.n_errors || !r)) {
        refuse(c, &f, out);
    } else if (!st) {
        st = add(c, &f, r, out, err);
    }
    findings_free(&f);
    ruleset_free(&r);
    return st ? call_fail(err, st) : STEP_END;
}

/* ---- diffs ---- */

/* Both sides: the path's, and the one named by `to` (else the newest of the same name). */
struct sides {
    struct ruleset_ref from, to;
    struct buf before, after;
};

static enum status read_sides(struct call *c, struct sides *s, struct error *err) {
    const char *to = call_param(c, "to");
    enum status st = the_revision(c, &s->from, err);
    s->to = s->from;
    s->to.revision = 0;
    if (!st && to) {
        st = ruleset_ref_parse(slice_str(to), &s->to, err);
        if (st) error_prefix(err, st, "to");
    }
    if (!st) st = rulebook_xml(c->common->o->book, s->from.name, s->from.revision, &s->before, err);
    if (!st) st = rulebook_xml(c->common->o->book, s->to.name, s->to.revision, &s->after, err);
    return st;
}

static void put_change(struct buf *out, const struct diff_change *d) {
    jout_object(out, NULL);
    jout_str(out, "kind", diff_kind_name(d->kind));
    jout_str(out, "what", d->what);
    jout_str(out, "where", d->where);
    if (d->before) jout_str(out, "before", d->before);
    if (d->after) jout_str(out, "after", d->after);
    if (d->before_at.line) jout_uint(out, "before_line", d->before_at.line);
    if (d->after_at.line) jout_uint(out, "after_line", d->after_at.line);
    jout_bool(out, "no_effect", d->no_effect);
    jout_line(out);
}

static enum status by_meaning(struct slice before, struct slice after, bool all, struct buf *out, struct error *err) {
    struct ruleset *a = NULL, *b = NULL;
    enum status st = ruleset_parse(before, &a, err);
    if (!st) st = ruleset_parse(after, &b, err);
    if (!st) {
        struct diff d;
        ruleset_diff(a, b, all, &d);
        for (size_t i = 0; i < d.n; i++) put_change(out, &d.list[i]);
        diff_free(&d);
    }
    ruleset_free(&a);
    ruleset_free(&b);
    return st;
}

static void put_ref(const struct ruleset_ref *r, char *out, size_t len) {
    if (r->revision)
        snprintf(out, len, "%s@%lu", r->name, (unsigned long)r->revision);
    else
        snprintf(out, len, "%s", r->name);
}

static enum status by_line(const struct sides *s, struct buf *out, struct error *err) {
    struct config_text a = {0}, b = {0};
    struct place at;
    char from[RULESET_NAME_MAX + 16], to[RULESET_NAME_MAX + 16];
    put_ref(&s->from, from, sizeof from);
    put_ref(&s->to, to, sizeof to);
    enum status st = config_text_decode(buf_slice(&s->before), &a, &at, err);
    if (!st) st = config_text_decode(buf_slice(&s->after), &b, &at, err);
    if (!st) lines_diff(buf_slice(&a.utf8), buf_slice(&b.utf8), from, to, out);
    config_text_free(&a);
    config_text_free(&b);
    return st;
}

enum step diff_step(struct call *c, struct buf *out, struct error *err) {
    struct sides s = {0};
    bool lines = false, all = false;
    enum status st = call_flag(c, "lines", &lines, err);
    if (!st) st = call_flag(c, "all", &all, err);
    if (!st) st = read_sides(c, &s, err);
    if (!st && lines) {
        c->type = c->route->types[1];
        st = by_line(&s, out, err);
    } else if (!st) {
        st = by_meaning(buf_slice(&s.before), buf_slice(&s.after), all, out, err);
    }
    buf_free(&s.before);
    buf_free(&s.after);
    return st ? call_fail(err, st) : STEP_END;
}
