/* groups, group show, set, unassign. */
#include "group_commands.h"
#include "commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void group_url(struct buf *url, const char *group, const char *action) {
    url_begin(url, "/api/v1/groups");
    url_part(url, group);
    if (action) buf_printf(url, "/%s", action);
}

MUST_USE enum status group_check_options(struct client *c, const char *group, struct check_options *ret,
                                         struct error *err) {
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    group_url(&url, group, NULL);
    enum status st = client_get(c, &url, &reply, err);
    if (!st) st = json_line(buf_slice(&reply), &doc, err);
    yyjson_val *o = yyjson_doc_get_root(doc);
    uint32_t lowest;
    if (!st && !ret->lowest_schema && schema_version_parse(json_text(o, "lowest_schema"), &lowest))
        ret->lowest_schema = lowest;
    if (!st && json_bool(o, "linux")) ret->linux = true;
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

/* ---- groups ---- */

static void put_ruleset(yyjson_val *o, char *out, size_t len) {
    struct slice name = json_text(o, "ruleset");
    if (name.len)
        snprintf(out, len, "%.*s@%" PRIu64, (int)name.len, (const char *)name.p, json_uint(o, "revision"));
    else
        snprintf(out, len, "-");
}

static void group_row(struct table *t, yyjson_val *o) {
    char ruleset[96];
    put_ruleset(o, ruleset, sizeof ruleset);
    table_cell(t, json_text(o, "name"));
    table_cellf(t, "%" PRId64, yyjson_get_sint(yyjson_obj_get(o, "precedence")));
    table_cellf(t, "%" PRIu64, json_uint(o, "hosts"));
    table_cell(t, json_bool(o, "heal") ? SLICE_LIT("yes") : SLICE_LIT("no"));
    table_cell(t, slice_str(ruleset));
}

static const struct arg_option list_options[] = {OPTION_JSON, OPTION_API};

static enum status run_groups(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    static const char *const heads[] = {"GROUP", ">PRECEDENCE", ">HOSTS", "HEAL", "RULES", NULL};
    (void)words;
    struct buf url = {0};
    url_begin(&url, "/api/v1/groups");
    enum status st = print_list(c, &url, ((const struct common *)options)->json, heads, group_row, err);
    buf_free(&url);
    return st;
}

/* ---- one group ---- */

static void show_group(yyjson_val *o) {
    char ruleset[96];
    yyjson_val *s;
    size_t i, n;
    bool is_default = slice_eq_str(json_text(o, "name"), "default");
    put_ruleset(o, ruleset, sizeof ruleset);
    print_member("group", json_text(o, "name"));
    if (is_default)
        printf("%-15s comes last\n", "precedence");
    else
        printf("%-15s %" PRId64 "\n", "precedence", yyjson_get_sint(yyjson_obj_get(o, "precedence")));
    printf("%-15s %s\n", "heal", json_bool(o, "heal") ? "yes" : "no");
    printf("%-15s %s\n", "rules", ruleset);
    printf("%-15s %" PRIu64 "%s\n", "hosts", json_uint(o, "hosts"), json_bool(o, "linux") ? ", all of them Linux" : "");
    yyjson_arr_foreach(yyjson_obj_get(o, "schemas"), i, n, s) {
        struct slice schema = json_text(s, "schema");
        printf("%-15s %" PRIu64 " with schema %.*s\n", "", json_uint(s, "hosts"), schema.len ? (int)schema.len : 13,
               schema.len ? (const char *)schema.p : "not known yet");
    }
}

static enum status show_reply(struct buf *reply, bool json, struct error *err) {
    yyjson_doc *doc = NULL;
    if (json) return print_reply(buf_slice(reply));
    enum status st = json_line(buf_slice(reply), &doc, err);
    if (!st) show_group(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return st;
}

static enum status run_group_show(struct client *c, const void *options, const struct arg_list *words,
                                  struct error *err) {
    struct buf url = {0}, reply = {0};
    group_url(&url, words->items[0], NULL);
    enum status st = client_get(c, &url, &reply, err);
    if (!st) st = show_reply(&reply, ((const struct common *)options)->json, err);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

struct group_set {
    struct common common;
    const char *precedence, *heal;
};

static const struct arg_option set_options[] = {
    {"precedence", ARG_STRING, offsetof(struct group_set, precedence), "N",
     "of a host's groups that have a ruleset, the one of the highest precedence counts (0)"},
    {"heal", ARG_STRING, offsetof(struct group_set, heal), "yes|no",
     "whether agents apply the rules again when they find others in force (no)"},
    OPTION_JSON,
    OPTION_API,
};

static enum status put_changes(const struct group_set *o, struct json_body *b, struct error *err) {
    char *end = NULL;
    long long n = o->precedence ? strtoll(o->precedence, &end, 10) : 0;
    if (!o->precedence && !o->heal)
        return error_set(err, ST_INVALID, "nothing to do: give --precedence N or --heal yes|no");
    if (o->precedence && (end == o->precedence || *end || n < INT32_MIN || n > INT32_MAX))
        return error_set(err, ST_INVALID, "--precedence takes a whole number, not '%s'", o->precedence);
    if (o->heal && strcmp(o->heal, "yes") != 0 && strcmp(o->heal, "no") != 0)
        return error_set(err, ST_INVALID, "--heal takes yes or no, not '%s'", o->heal);
    if (o->precedence) yyjson_mut_obj_add_sint(b->doc, b->o, "precedence", n);
    if (o->heal) yyjson_mut_obj_add_bool(b->doc, b->o, "heal", strcmp(o->heal, "yes") == 0);
    return ST_OK;
}

static enum status run_group_set(struct client *c, const void *options, const struct arg_list *words,
                                 struct error *err) {
    const struct group_set *o = options;
    struct buf url = {0}, text = {0}, reply = {0};
    struct json_body b = json_body_begin();
    enum status st = put_changes(o, &b, err), ended = json_body_end(&b, &text, st ? NULL : err);
    if (!st) st = ended;
    group_url(&url, words->items[0], NULL);
    if (!st) st = client_send(c, "PATCH", &url, "application/json", buf_slice(&text), &reply, NULL, err);
    if (!st) st = show_reply(&reply, o->common.json, err);
    buf_free(&url);
    buf_free(&text);
    buf_free(&reply);
    return st;
}

static enum status run_group_unassign(struct client *c, const void *options, const struct arg_list *words,
                                      struct error *err) {
    struct buf url = {0}, reply = {0};
    struct json_body b = json_body_begin();
    group_url(&url, words->items[0], "unassign");
    enum status st = json_body_post(&b, c, &url, &reply, err);
    if (!st) st = show_reply(&reply, ((const struct common *)options)->json, err);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

const struct command groups_command = {
    {"groups", "[--json]",
     "Lists groups of hosts in the order in which they count for rules. A group is a word that hosts bear: the group of "
     "their enrolment token, or a tag; every host is in the group default, which comes last.",
     OPTIONS(list_options), 0, 0},
    "list groups of hosts",
    sizeof(struct common),
    run_groups,
};
const struct command group_show_command = {
    {"group show", "GROUP [--json]", "Shows a group: its precedence, its rules, and the schemas of its hosts' Sysmon.",
     OPTIONS(list_options), 1, 1},
    "show one group",
    sizeof(struct common),
    run_group_show,
};
const struct command group_set_command = {
    {"group set", "GROUP [--precedence N] [--heal yes|no]",
     "Changes a group. A host has one ruleset: of its groups that have one, that of the group of the highest precedence; of "
     "equal ones, that whose name comes first.",
     OPTIONS(set_options), 1, 1},
    "change a group's precedence or healing",
    sizeof(struct group_set),
    run_group_set,
};
const struct command group_unassign_command = {
    {"group unassign", "GROUP",
     "Takes a group's ruleset away. Its hosts get the ruleset of the next of their groups; where there is none they keep "
     "what they have.",
     OPTIONS(list_options), 1, 1},
    "take a group's ruleset away",
    sizeof(struct common),
    run_group_unassign,
};
