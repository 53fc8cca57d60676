/* rules check: the checker of the collector, on files here; a collector is asked only what a group's hosts run. */
#include "check.h"
#include "commands.h"
#include "group_commands.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>

#define SHOWN_NAME 200

struct rules_check {
    struct common common;
    const char *schema, *group;
    bool linux, codes, strict;
};

static const struct arg_option check_options[] = {
    {"schema", ARG_STRING, offsetof(struct rules_check, schema), "X.YY",
     "the lowest schema of the hosts that the files are for: what that Sysmon lacks is an error"},
    {"group", ARG_STRING, offsetof(struct rules_check, group), "GROUP",
     "ask the collector for the lowest schema of this group's hosts, and whether they run Linux"},
    {"linux", ARG_FLAG, offsetof(struct rules_check, linux), NULL, "the files are for Sysmon for Linux"},
    {"strict", ARG_FLAG, offsetof(struct rules_check, strict), NULL, "fail on warnings as well"},
    {"codes", ARG_FLAG, offsetof(struct rules_check, codes), NULL, "list the codes of all findings and what they mean"},
    OPTION_JSON,
    OPTION_API,
};

struct totals {
    size_t files, errors, warnings;
};

static enum status check_file(const struct rules_check *o, const struct check_options *co, const char *path,
                              struct totals *t, struct error *err) {
    bool is_stdin = strcmp(path, "-") == 0;
    struct buf bytes = {0}, out = {0}, name = {0};
    struct findings f;
    struct ruleset *r = NULL;
    enum status st = read_config(path, &bytes, err);
    if (!st) {
        text_printable(&name, slice_str(is_stdin ? "<stdin>" : path), SHOWN_NAME);
        (void)!ruleset_check(buf_slice(&bytes), co, &f, &r);
        if (o->common.json) {
            findings_json(&f, buf_cstr(&name), &out);
        } else {
            findings_text(&f, buf_cstr(&name), &out);
        }
        st = print_bytes(buf_slice(&out));
        t->files++;
        t->errors += f.n_errors;
        t->warnings += f.n_warnings;
        findings_free(&f);
        ruleset_free(&r);
    }
    buf_free(&bytes);
    buf_free(&out);
    buf_free(&name);
    return st;
}

static enum status print_codes(bool json) {
    struct buf out = {0};
    for (size_t i = 0; i < n_finding_codes; i++) {
        const struct finding_code *c = &finding_codes[i];
        const char *kind = c->kind == FINDING_ERROR ? "error" : "warning";
        if (json) {
            buf_printf(&out, "{\"code\":\"%s\",\"kind\":\"%s\",\"meaning\":\"", c->code, kind);
            text_json(&out, slice_str(c->meaning));
            buf_str(&out, "\"}\n");
        } else {
            buf_printf(&out, "%-21s  %-7s  %s\n", c->code, kind, c->meaning);
        }
    }
    enum status st = print_bytes(buf_slice(&out));
    buf_free(&out);
    return st;
}

static void count(struct buf *out, size_t n, const char *what) {
    if (n) {
        buf_printf(out, "%zu %s%s", n, what, n == 1 ? "" : "s");
    } else {
        buf_printf(out, "no %ss", what);
    }
}

static enum status summarise(const struct rules_check *o, const struct totals *t, struct error *err) {
    struct buf text = {0};
    enum status st = ST_OK;
    count(&text, t->files, "file");
    buf_str(&text, ": ");
    count(&text, t->errors, "error");
    buf_str(&text, ", ");
    count(&text, t->warnings, "warning");
    if (t->errors || (o->strict && t->warnings)) {
        st = error_set(err, ST_FORMAT, "%s", buf_cstr(&text));
    } else if (!o->common.json) {
        printf("%s\n", buf_cstr(&text));
    }
    buf_free(&text);
    return st;
}

static enum status run_rules_check(struct client *c, const void *options, const struct arg_list *words,
                                   struct error *err) {
    const struct rules_check *o = options;
    struct check_options co = {.linux = o->linux};
    struct totals t = {0};
    if (o->codes) return print_codes(o->common.json);
    if (!words->n) return error_set(err, ST_INVALID, "which file? \"-\" reads stdin");
    if (o->schema && !schema_version_parse(slice_str(o->schema), &co.lowest_schema)) {
        return error_set(err, ST_INVALID, "--schema takes a version, as in 4.90, not '%s'", o->schema);
    }
    if (o->group) {
        enum status st = group_check_options(c, o->group, &co, err);
        if (st) return st;
    }
    for (size_t i = 0; i < words->n; i++) {
        enum status st = check_file(o, &co, words->items[i], &t, err);
        if (st) return st == ST_INVALID ? ST_IO : st;
    }
    return summarise(o, &t, err);
}

const struct command rules_check_command = {
    {"rules check", "[--group G|--schema X.YY] [--linux] FILE...",
     "Checks Sysmon configurations, each for itself; no collector is asked without --group. An error is what Sysmon refuses or leaves "
     "out without a word; a warning is what it takes and hardly means. Each line names the place, what is wrong, what to "
     "write instead, and a code that does not change; --codes explains them. The file - is stdin. The exit status is 0 "
     "without errors, 1 with errors.",
     OPTIONS(check_options), 0, 100000},
    "check Sysmon configurations",
    sizeof(struct rules_check),
    run_rules_check,
};
