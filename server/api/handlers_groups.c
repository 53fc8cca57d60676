/* Groups of hosts: precedence, healing, the ruleset that is assigned, what their hosts run. */
#include "handlers.h"
#include "groups.h"
#include "jout.h"

#include <yyjson.h>

/* ---- what a group's hosts run ---- */

#define MAX_SCHEMAS 32

struct needs {
    uint32_t schemas[MAX_SCHEMAS]; /* ascending; 0: not known */
    size_t n_hosts[MAX_SCHEMAS], n, n_all, n_linux;
};

static void count_schema(struct needs *n, uint32_t schema) {
    size_t at = 0;
    while (at < n->n && n->schemas[at] < schema) at++;
    if (at == n->n || n->schemas[at] != schema) {
        if (n->n == MAX_SCHEMAS) return;
        memmove(n->schemas + at + 1, n->schemas + at, (n->n - at) * sizeof *n->schemas);
        memmove(n->n_hosts + at + 1, n->n_hosts + at, (n->n - at) * sizeof *n->n_hosts);
        n->schemas[at] = schema;
        n->n_hosts[at] = 0;
        n->n++;
    }
    n->n_hosts[at]++;
}

static void count_needs(struct fleet *f, const char *group, struct needs *ret) {
    struct fleet_host *hosts;
    size_t n = fleet_hosts(f, &hosts);
    *ret = (struct needs){0};
    for (size_t i = 0; i < n; i++) {
        const struct fleet_host *h = &hosts[i];
        uint32_t schema = 0;
        if (h->state == HOST_REVOKED || !rulebook_is_member(group, h->group, h->tags, h->n_tags)) continue;
        if (!schema_version_parse(slice_str(h->sysmon_schema), &schema)) schema = 0;
        count_schema(ret, schema);
        ret->n_all++;
        ret->n_linux += slice_starts(slice_str(h->os), SLICE_LIT("Linux"));
    }
    fleet_hosts_free(hosts, n);
}

static uint32_t lowest(const struct needs *n) {
    size_t first = n->n && !n->schemas[0];
    return first < n->n ? n->schemas[first] : 0;
}

void group_needs(struct fleet *f, const char *group, struct check_options *ret) {
    struct needs n;
    count_needs(f, group, &n);
    ret->lowest_schema = lowest(&n);
    ret->linux = ret->linux || (n.n_all && n.n_linux == n.n_all);
}

/* ---- answers ---- */

static void put_assigned(struct buf *out, const struct group *g) {
    if (g->ruleset[0]) {
        jout_str(out, "ruleset", g->ruleset);
        jout_uint(out, "revision", g->revision);
        jout_uint(out, "serial", g->serial);
    } else {
        jout_null(out, "ruleset");
        jout_null(out, "revision");
        jout_null(out, "serial");
    }
}

static void put_group(struct buf *out, const struct group *g) {
    jout_str(out, "name", g->name);
    jout_int(out, "precedence", g->precedence);
    jout_bool(out, "heal", g->heal);
    jout_uint(out, "hosts", g->n_hosts);
    put_assigned(out, g);
}

void put_host_groups(struct buf *out, struct rulebook *book, const struct fleet_host *h, const char *deciding) {
    struct group *list;
    size_t n = rulebook_groups_of(book, h->group, h->tags, h->n_tags, &list);
    jout_array(out, "groups");
    for (size_t i = 0; i < n; i++) {
        jout_object(out, NULL);
        jout_str(out, "group", list[i].name);
        jout_int(out, "precedence", list[i].precedence);
        put_assigned(out, &list[i]);
        jout_bool(out, "decides", strcmp(list[i].name, deciding) == 0);
        jout_close(out, '}');
    }
    jout_close(out, ']');
    groups_free(list, n);
}

enum step groups_step(struct call *c, struct buf *out, struct error *err) {
    struct group *list;
    size_t n = rulebook_groups(c->common->o->book, &list);
    (void)err;
    for (size_t i = 0; i < n; i++) {
        jout_object(out, NULL);
        put_group(out, &list[i]);
        jout_line(out);
    }
    groups_free(list, n);
    return STEP_END;
}

enum step group_step(struct call *c, struct buf *out, struct error *err) {
    struct group g;
    struct needs n;
    enum status st = rulebook_group_get(c->common->o->book, c->words[0], &g, err);
    if (st) return call_fail(err, st);
    count_needs(c->common->o->fleet, g.name, &n);
    jout_object(out, NULL);
    put_group(out, &g);
    jout_version(out, "lowest_schema", lowest(&n));
    jout_bool(out, "linux", n.n_all && n.n_linux == n.n_all);
    jout_array(out, "schemas");
    for (size_t i = 0; i < n.n; i++) {
        jout_object(out, NULL);
        jout_version(out, "schema", n.schemas[i]);
        jout_uint(out, "hosts", n.n_hosts[i]);
        jout_close(out, '}');
    }
    jout_close(out, ']');
    jout_line(out);
    group_free(&g);
    return STEP_END;
}

/* ---- changes ---- */

static enum status get_precedence(yyjson_val *root, int32_t *ret, bool *ret_given, struct error *err) {
    yyjson_val *v = yyjson_obj_get(root, "precedence");
    *ret_given = v != NULL;
    if (!v) return ST_OK;
    int64_t n = yyjson_get_sint(v);
    if (!yyjson_is_int(v) || (yyjson_is_uint(v) && yyjson_get_uint(v) > INT32_MAX) || n < INT32_MIN || n > INT32_MAX) {
        return error_set(err, ST_INVALID, "precedence is no whole number from -2147483648 to 2147483647");
    }
    *ret = (int32_t)n;
    return ST_OK;
}

enum step group_set_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {"precedence", "heal", NULL};
    yyjson_doc *doc = NULL;
    int32_t precedence = 0;
    bool heal = false, has_precedence = false;
    enum status st = call_json(c, keys, &doc, err);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!st) st = get_precedence(root, &precedence, &has_precedence, err);
    if (!st) st = call_bool(root, "heal", &heal, err);
    bool has_heal = !st && yyjson_obj_get(root, "heal");
    if (!st && !has_precedence && !has_heal) st = error_set(err, ST_INVALID, "nothing to do: give precedence or heal");
    if (!st) {
        st = rulebook_group_set(c->common->o->book, c->actor, c->words[0], has_precedence ? &precedence : NULL,
                                has_heal ? &heal : NULL, err);
    }
    yyjson_doc_free(doc);
    if (st) return call_fail(err, st);
    rollouts_changed(c->common->o->rollouts);
    return group_step(c, out, err);
}

enum step group_unassign_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {NULL};
    yyjson_doc *doc = NULL;
    enum status st = call_json(c, keys, &doc, err);
    yyjson_doc_free(doc);
    if (!st) st = rulebook_unassign(c->common->o->book, c->actor, c->words[0], err);
    if (st) return call_fail(err, st);
    rollouts_changed(c->common->o->rollouts);
    return group_step(c, out, err);
}
