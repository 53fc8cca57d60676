/* rules diff, and how configurations are named. Files are compared here, with the collector's own code. */
#include "commands.h"
#include "config_text.h"
#include "diff.h"
#include "modules.h"
#include "rules_words.h"

#include <stdio.h>

MUST_USE enum status revision_bytes(struct client *c, const struct ruleset_ref *ref, struct buf *out,
                                    struct error *err) {
    struct buf url = {0};
    url_begin(&url, "/api/v1/rulesets");
    url_part(&url, ref->name);
    if (ref->revision)
        buf_printf(&url, "/revisions/%lu", (unsigned long)ref->revision);
    else
        buf_str(&url, "/revisions/newest");
    enum status st = client_get(c, &url, out, err);
    buf_free(&url);
    return st;
}

MUST_USE enum status file_bytes(const char *path, struct buf *out, struct error *err) {
    if (strcmp(path, "-") != 0 && modules_is_folder(path)) return modules_merge(path, NULL, out, NULL, err);
    return read_config(path, out, err);
}

static bool is_file(const char *word) {
    size_t len = strlen(word);
    return strcmp(word, "-") == 0 || strchr(word, '/') || (len > 4 && strcmp(word + len - 4, ".xml") == 0);
}

MUST_USE enum status config_bytes(struct client *c, const char *word, struct buf *out, struct error *err) {
    struct ruleset_ref ref;
    if (is_file(word)) return file_bytes(word, out, err);
    enum status st = ruleset_ref_parse(slice_str(word), &ref, err);
    return st ? error_prefix(err, st, "'%s' is neither a file (write ./%s) nor a ruleset", word, word)
              : revision_bytes(c, &ref, out, err);
}

struct rules_diff {
    struct common common;
    bool lines, all;
};

static const struct arg_option diff_options[] = {
    {"lines", ARG_FLAG, offsetof(struct rules_diff, lines), NULL, "a unified diff of the texts instead"},
    {"all", ARG_FLAG, offsetof(struct rules_diff, all), NULL,
     "also what has no effect: order where no name depends on it, the case of letters"},
    OPTION_JSON,
    OPTION_API,
};

static enum status parse(const char *word, struct slice xml, struct ruleset **ret, struct error *err) {
    enum status st = ruleset_parse(xml, ret, err);
    return st ? error_prefix(err, ST_FORMAT, "%s", word) : ST_OK;
}

static void put_json(const struct diff_change *d, struct buf *out) {
    struct json_body b = json_body_begin();
    yyjson_mut_obj_add_str(b.doc, b.o, "kind", diff_kind_name(d->kind));
    yyjson_mut_obj_add_str(b.doc, b.o, "what", d->what);
    yyjson_mut_obj_add_str(b.doc, b.o, "where", d->where);
    if (d->before) yyjson_mut_obj_add_str(b.doc, b.o, "before", d->before);
    if (d->after) yyjson_mut_obj_add_str(b.doc, b.o, "after", d->after);
    if (d->before_at.line) yyjson_mut_obj_add_uint(b.doc, b.o, "before_line", d->before_at.line);
    if (d->after_at.line) yyjson_mut_obj_add_uint(b.doc, b.o, "after_line", d->after_at.line);
    yyjson_mut_obj_add_bool(b.doc, b.o, "no_effect", d->no_effect);
    (void)!json_body_end(&b, out, NULL);
    buf_byte(out, '\n');
}

static enum status by_meaning(const struct rules_diff *o, const struct arg_list *words, struct slice before,
                              struct slice after, struct buf *out, struct error *err) {
    struct ruleset *a = NULL, *b = NULL;
    enum status st = parse(words->items[0], before, &a, err);
    if (!st) st = parse(words->items[1], after, &b, err);
    if (!st) {
        struct diff d;
        ruleset_diff(a, b, o->all, &d);
        for (size_t i = 0; i < d.n && o->common.json; i++) put_json(&d.list[i], out);
        if (!o->common.json) diff_text(&d, out);
        diff_free(&d);
    }
    ruleset_free(&a);
    ruleset_free(&b);
    return st;
}

static enum status by_line(const struct arg_list *words, struct slice before, struct slice after, struct buf *out,
                           struct error *err) {
    struct config_text a = {0}, b = {0};
    struct place at;
    enum status st = config_text_decode(before, &a, &at, err);
    if (!st) st = config_text_decode(after, &b, &at, err);
    if (!st) lines_diff(buf_slice(&a.utf8), buf_slice(&b.utf8), words->items[0], words->items[1], out);
    config_text_free(&a);
    config_text_free(&b);
    return st;
}

static enum status run_rules_diff(struct client *c, const void *options, const struct arg_list *words,
                                  struct error *err) {
    const struct rules_diff *o = options;
    struct buf before = {0}, after = {0}, out = {0};
    enum status st = config_bytes(c, words->items[0], &before, err);
    if (!st) st = config_bytes(c, words->items[1], &after, err);
    if (!st && o->lines)
        st = by_line(words, buf_slice(&before), buf_slice(&after), &out, err);
    else if (!st)
        st = by_meaning(o, words, buf_slice(&before), buf_slice(&after), &out, err);
    if (!st) st = print_bytes(buf_slice(&out));
    buf_free(&before);
    buf_free(&after);
    buf_free(&out);
    return st;
}

const struct command rules_diff_command = {
    {"rules diff", "BEFORE AFTER [--lines] [--all] [--json]",
     "Shows what differs between two configurations by meaning: options, blocks and rules that were added, removed, changed "
     "or moved, whatever the text looks like. Each side is NAME, NAME@REVISION, or a file or folder of "
     "modules (a word with a / or the ending .xml, or - for stdin).",
     OPTIONS(diff_options), 2, 2},
    "compare two configurations",
    sizeof(struct rules_diff),
    run_rules_diff,
};
