/* rules list, show, export. */
#include "commands.h"
#include "file.h"
#include "ref.h"
#include "rules_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- list ---- */

static void put_groups(yyjson_val *o, struct buf *out) {
    yyjson_val *g;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(o, "groups"), i, n, g) {
        struct slice name = json_text(g, "group");
        buf_printf(out, "%s%.*s@%" PRIu64, i ? ", " : "", (int)name.len, (const char *)name.p,
                   json_uint(g, "revision"));
    }
}

static void ruleset_row(struct table *t, yyjson_val *o) {
    char time[24], bytes[32];
    struct buf groups = {0};
    put_groups(o, &groups);
    table_cell(t, json_text(o, "name"));
    table_cellf(t, "%" PRIu64, json_uint(o, "revision"));
    table_cell(t, json_time(o, "time", time));
    table_cell(t, json_text(o, "author"));
    table_cell(t, slice_str(human_bytes(json_uint(o, "bytes"), bytes)));
    table_cell(t, json_text(o, "schema"));
    table_cell(t, buf_slice(&groups));
    table_cell(t, json_text(o, "comment"));
    buf_free(&groups);
}

static const struct arg_option list_options[] = {OPTION_JSON, OPTION_API};

static enum status run_rules_list(struct client *c, const void *options, const struct arg_list *words,
                                  struct error *err) {
    static const char *const heads[] = {"RULESET", ">NEWEST", "TIME (UTC)", "BY", ">SIZE",
                                        "SCHEMA",  "GROUPS",  "COMMENT",    NULL};
    (void)words;
    struct buf url = {0};
    url_begin(&url, "/api/v1/rulesets");
    enum status st = print_list(c, &url, ((const struct common *)options)->json, heads, ruleset_row, err);
    buf_free(&url);
    return st;
}

/* ---- show ---- */

static void show_revisions(yyjson_val *o) {
    static const char *const heads[] = {">REVISION", "TIME (UTC)", "BY",         ">SIZE",   "SCHEMA",
                                        "SHA-256",   "CANARY",     ">LOADED ON", "COMMENT", NULL};
    struct table t;
    yyjson_val *r;
    size_t i, n;
    table_init(&t, heads);
    yyjson_arr_foreach(yyjson_obj_get(o, "revisions"), i, n, r) {
        char time[24], bytes[32];
        table_cellf(&t, "%" PRIu64, json_uint(r, "revision"));
        table_cell(&t, json_time(r, "time", time));
        table_cell(&t, json_text(r, "author"));
        table_cell(&t, slice_str(human_bytes(json_uint(r, "bytes"), bytes)));
        table_cell(&t, json_text(r, "schema"));
        table_cell(&t, slice_head(json_text(r, "digest"), 16));
        table_cell(&t, json_text(r, "canary").len ? SLICE_LIT("yes") : SLICE_LIT("no"));
        table_cellf(&t, "%" PRIu64, json_uint(r, "hosts_loaded"));
        table_cell(&t, json_text(r, "comment"));
    }
    table_print(&t);
    table_free(&t);
}

static void show_one(yyjson_val *r) {
    char time[24];
    printf("%-15s %.*s@%" PRIu64 "\n", "ruleset", (int)json_text(r, "name").len, (const char *)json_text(r, "name").p,
           json_uint(r, "revision"));
    print_member("time", json_time(r, "time", time));
    print_member("by", json_text(r, "author"));
    print_member("comment", json_text(r, "comment"));
    printf("%-15s %" PRIu64 "\n", "bytes", json_uint(r, "bytes"));
    print_member("SHA-256", json_text(r, "digest"));
    print_member("schema", json_text(r, "schema"));
    print_member("canary", json_text(r, "canary"));
    printf("%-15s %" PRIu64 " hosts\n", "loaded on", json_uint(r, "hosts_loaded"));
}

static enum status find_revision(yyjson_val *o, const struct ruleset_ref *ref, yyjson_val **ret, struct error *err) {
    yyjson_val *r;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(o, "revisions"), i, n, r) {
        if (json_uint(r, "revision") != ref->revision) continue;
        *ret = r;
        return ST_OK;
    }
    return error_set(err, ST_NOTFOUND, "%s has no revision %lu; see: haechi rules show %s", ref->name,
                     (unsigned long)ref->revision, ref->name);
}

static void show_all(yyjson_val *o) {
    yyjson_val *g;
    size_t i, n;
    print_member("ruleset", json_text(o, "name"));
    yyjson_arr_foreach(yyjson_obj_get(o, "groups"), i, n, g) {
        struct slice name = json_text(g, "group");
        printf("%-15s %.*s has revision %" PRIu64 " (order %" PRIu64 ", %" PRIu64 " hosts)\n", i ? "" : "groups",
               (int)name.len, (const char *)name.p, json_uint(g, "revision"), json_uint(g, "serial"),
               json_uint(g, "hosts"));
    }
    if (!n) puts("groups          none has it");
    putchar('\n');
    show_revisions(o);
}

static enum status run_rules_show(struct client *c, const void *options, const struct arg_list *words,
                                  struct error *err) {
    struct buf url = {0}, reply = {0};
    struct ruleset_ref ref;
    yyjson_doc *doc = NULL;
    yyjson_val *one = NULL;
    enum status st = ruleset_ref_parse(slice_str(words->items[0]), &ref, err);
    if (st) return st;
    url_begin(&url, "/api/v1/rulesets");
    url_part(&url, ref.name);
    st = client_get(c, &url, &reply, err);
    if (!st) st = json_line(buf_slice(&reply), &doc, err);
    yyjson_val *o = yyjson_doc_get_root(doc);
    if (!st && ref.revision) st = find_revision(o, &ref, &one, err);
    if (!st && ((const struct common *)options)->json) {
        char *text = one ? yyjson_val_write(one, 0, NULL) : NULL;
        st = text ? print_line(NULL, slice_str(text)) : print_reply(buf_slice(&reply));
        free(text);
    } else if (!st && one) {
        show_one(one);
    } else if (!st) {
        show_all(o);
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

/* ---- export ---- */

struct rules_export {
    struct common common;
    const char *out;
};

static const struct arg_option export_options[] = {
    {"out", ARG_STRING, offsetof(struct rules_export, out), "FILE", "write them there instead of to stdout"},
    OPTION_API,
};

static enum status run_rules_export(struct client *c, const void *options, const struct arg_list *words,
                                    struct error *err) {
    const struct rules_export *o = options;
    struct ruleset_ref ref;
    struct buf xml = {0};
    enum status st = ruleset_ref_parse(slice_str(words->items[0]), &ref, err);
    if (!st) st = revision_bytes(c, &ref, &xml, err);
    if (!st && o->out && strcmp(o->out, "-") != 0) {
        st = file_replace(o->out, buf_slice(&xml), 0644, err);
    } else if (!st) {
        st = print_bytes(buf_slice(&xml));
    }
    buf_free(&xml);
    return st;
}

const struct command rules_list_command = {
    {"rules list", "[--json]", "Lists rulesets: the newest revision of each, and which groups have it.",
     OPTIONS(list_options), 0, 0},
    "list rulesets",
    sizeof(struct common),
    run_rules_list,
};
const struct command rules_show_command = {
    {"rules show", "NAME[@REVISION] [--json]",
     "Shows a ruleset's revisions: who pushed them, when and why, their digests, where they are assigned, and on how many "
     "hosts they are loaded.",
     OPTIONS(list_options), 1, 1},
    "show a ruleset's revisions",
    sizeof(struct common),
    run_rules_show,
};
const struct command rules_export_command = {
    {"rules export", "NAME[@REVISION] [--out FILE]",
     "Writes the exact bytes that were pushed; of the newest revision, if none is named.", OPTIONS(export_options), 1,
     1},
    "write a revision's exact bytes",
    sizeof(struct rules_export),
    run_rules_export,
};
