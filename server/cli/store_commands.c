/* ledger, status, backup. */
#include "commands.h"
#include "mem.h"
#include "table.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* ---- ledger ---- */

struct ledger {
    struct common common;
    const char *host;
    bool holes;
};

static const struct arg_option ledger_options[] = {
    {"host", ARG_STRING, offsetof(struct ledger, host), "HOST", "one host (all of them)"},
    {"holes", ARG_FLAG, offsetof(struct ledger, holes), NULL, "only what is missing: one line a hole"},
    OPTION_JSON,
    OPTION_API,
};

struct ledger_lines {
    bool holes;
    struct error *err;
};

static void put_log(yyjson_val *o, struct buf *out) {
    struct slice host = json_text(o, "host"), channel = json_text(o, "channel"), computer = json_text(o, "computer");
    buf_printf(out, "%.*s  ", (int)host.len, (const char *)host.p);
    buf_slice_append(out, channel);
    if (computer.len) buf_printf(out, " of %.*s", (int)computer.len, (const char *)computer.p);
    if (json_uint(o, "epoch") > 1) buf_printf(out, " (epoch %llu)", (unsigned long long)json_uint(o, "epoch"));
}

static void put_holes(yyjson_val *o, struct buf *out) {
    yyjson_val *h;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(o, "holes"), i, n, h) {
        struct slice cause = json_text(h, "cause");
        put_log(o, out);
        buf_printf(out, "  record ids %llu to %llu (%llu)  %.*s\n", (unsigned long long)json_uint(h, "first"),
                   (unsigned long long)json_uint(h, "last"), (unsigned long long)json_uint(h, "count"), (int)cause.len,
                   (const char *)cause.p);
    }
    if (json_uint(o, "more")) {
        put_log(o, out);
        buf_printf(out, "  and %llu more holes\n", (unsigned long long)json_uint(o, "more"));
    }
}

static void put_ledger(yyjson_val *o, struct buf *out) {
    uint64_t held = json_uint(o, "held"), missing = json_uint(o, "missing"), explained = json_uint(o, "explained");
    put_log(o, out);
    if (json_bool(o, "by_content")) {
        buf_printf(out, "  %llu events without record ids\n", (unsigned long long)held);
        return;
    }
    buf_printf(out, "  received %llu of %llu", (unsigned long long)held, (unsigned long long)(held + missing));
    buf_printf(out, "  (record ids %llu to %llu)", (unsigned long long)json_uint(o, "first_id"),
               (unsigned long long)json_uint(o, "last_id"));
    if (missing) {
        buf_printf(out, "  %llu missing in %zu hole%s", (unsigned long long)missing,
                   yyjson_arr_size(yyjson_obj_get(o, "holes")) + json_uint(o, "more"),
                   yyjson_arr_size(yyjson_obj_get(o, "holes")) == 1 ? "" : "s");
    }
    if (explained) buf_printf(out, ", %llu of them explained", (unsigned long long)explained);
    buf_byte(out, '\n');
}

static enum status on_ledger(void *ctx, struct slice line) {
    struct ledger_lines *l = ctx;
    yyjson_doc *doc;
    enum status st = json_line(line, &doc, l->err);
    if (st) return st;
    struct buf out = {0};
    if (l->holes) {
        put_holes(yyjson_doc_get_root(doc), &out);
    } else {
        put_ledger(yyjson_doc_get_root(doc), &out);
    }
    st = print_bytes(buf_slice(&out));
    buf_free(&out);
    yyjson_doc_free(doc);
    return st;
}

static enum status run_ledger(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    const struct ledger *o = options;
    (void)words;
    struct ledger_lines l = {o->holes, err};
    struct buf url = {0};
    url_begin(&url, "/api/v1/ledger");
    url_param(&url, "host", o->host);
    url_param_flag(&url, "holes", o->holes);
    enum status st =
        o->common.json ? client_lines(c, &url, print_line, NULL, err) : client_lines(c, &url, on_ledger, &l, err);
    buf_free(&url);
    return st;
}

/* ---- status ---- */

static const struct arg_option status_options[] = {OPTION_JSON, OPTION_API};

static void print_pair(const char *label, yyjson_val *v) {
    char bytes[32];
    size_t n = strlen(label);
    if (yyjson_is_str(v)) {
        if (yyjson_get_len(v)) printf("%s\n", yyjson_get_str(v));
    } else if (n > 5 && strcmp(label + n - 5, "bytes") == 0) {
        printf("%s\n", human_bytes(yyjson_get_uint(v), bytes));
    } else if (yyjson_is_real(v)) {
        printf("%.3f\n", yyjson_get_real(v));
    } else if (yyjson_is_bool(v)) {
        printf("%s\n", yyjson_get_bool(v) ? "yes" : "no");
    } else {
        printf("%lld\n", (long long)yyjson_get_sint(v));
    }
}

/* Members in the collector's order, nested objects indented: whatever the collector counts is shown. */
static void print_object(yyjson_val *o, int indent) {
    yyjson_val *key, *v;
    size_t i, n;
    yyjson_obj_foreach(o, i, n, key, v) {
        if (yyjson_is_str(v) && !yyjson_get_len(v)) continue;
        struct buf label = {0};
        for (const char *p = yyjson_get_str(key); *p; p++) buf_byte(&label, *p == '_' ? ' ' : (uint8_t)*p);
        printf("%*s", indent, "");
        if (yyjson_is_obj(v)) {
            printf("%s\n", buf_cstr(&label));
            print_object(v, indent + 2);
        } else if (yyjson_is_arr(v)) {
            yyjson_val *item;
            size_t j, m;
            printf("%s\n", buf_cstr(&label));
            yyjson_arr_foreach(v, j, m, item) {
                yyjson_val *k2, *v2;
                size_t a, b;
                printf("%*s", indent + 2, "");
                yyjson_obj_foreach(item, a, b, k2, v2) {
                    printf("%s%s ", a ? ", " : "", yyjson_get_str(k2));
                    if (yyjson_is_str(v2)) {
                        printf("%s", yyjson_get_str(v2));
                    } else if (yyjson_is_real(v2)) {
                        printf("%.2f", yyjson_get_real(v2));
                    } else if (yyjson_is_bool(v2)) {
                        printf("%s", yyjson_get_bool(v2) ? "yes" : "no");
                    } else {
                        printf("%lld", (long long)yyjson_get_sint(v2));
                    }
                }
                putchar('\n');
            }
        } else {
            printf("%-*s ", 28 - indent, buf_cstr(&label));
            print_pair(buf_cstr(&label), v);
        }
        buf_free(&label);
    }
}

static enum status run_status(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    (void)words;
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    url_begin(&url, "/api/v1/status");
    enum status st = client_get(c, &url, &reply, err);
    if (!st && ((const struct common *)options)->json) {
        st = print_reply(buf_slice(&reply));
    } else if (!st) {
        st = json_line(buf_slice(&reply), &doc, err);
        if (!st) print_object(yyjson_doc_get_root(doc), 0);
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

/* ---- backup ---- */

static const struct arg_option backup_options[] = {OPTION_API};

struct backup {
    struct progress progress;
    bool done;
    struct error *err;
};

static enum status on_backup(void *ctx, struct slice line) {
    struct backup *b = ctx;
    yyjson_doc *doc;
    enum status st = json_line(line, &doc, b->err);
    if (st) return st;
    yyjson_val *o = yyjson_doc_get_root(doc);
    struct slice failed = json_text(o, "error");
    if (failed.len) st = error_set(b->err, ST_IO, "%.*s", (int)failed.len, (const char *)failed.p);
    b->done = json_bool(o, "ok");
    progress_show(&b->progress, json_uint(o, "done"), json_uint(o, "all"));
    yyjson_doc_free(doc);
    return st;
}

static enum status run_backup(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    (void)options;
    char cwd[PATH_MAX];
    struct buf dir = {0}, url = {0};
    if (words->items[0][0] != '/') {
        if (!getcwd(cwd, sizeof cwd))
            return error_set(err, ST_IO, "the working directory cannot be told; give an absolute path");
        buf_printf(&dir, "%s/", cwd);
    }
    buf_str(&dir, words->items[0]);
    struct json_body body = json_body_begin();
    struct buf text = {0};
    yyjson_mut_obj_add_str(body.doc, body.o, "dir", buf_cstr(&dir));
    struct backup b = {.err = err};
    progress_begin(&b.progress, "backup");
    url_begin(&url, "/api/v1/backup");
    enum status st = json_body_end(&body, &text, err);
    if (!st) st = client_post_lines(c, &url, buf_slice(&text), on_backup, &b, err);
    progress_end(&b.progress);
    if (!st && !b.done)
        st = error_set(err, ST_IO, "the backup did not come to its end; remove %s and try again", buf_cstr(&dir));
    if (!st) printf("backup written to %s on the collector\n", buf_cstr(&dir));
    buf_free(&text);
    buf_free(&dir);
    buf_free(&url);
    return st;
}

const struct command store_commands[] = {
    {{"ledger", "[--host HOST] [--holes] [--json]",
      "Says for each log of each host which record ids the collector holds and which it does not: a hole is open, or "
      "explained (log cleared, wrapped before it was read, filtered by the agent's query, damaged).",
      OPTIONS(ledger_options), 0, 0},
     "show what is held and what is missing",
     sizeof(struct ledger),
     run_ledger},
    {{"status", "[--json]", "Shows how the collector is.", OPTIONS(status_options), 0, 0},
     "show how the collector is",
     sizeof(struct common),
     run_status},
    {{"backup", "DIR",
      "Writes a consistent copy of everything into DIR on the collector's machine while it runs. To restore: stop "
      "haechid, put the copy where its data directory was, start it.",
      OPTIONS(backup_options), 1, 1},
     "copy all data while the collector runs",
     sizeof(struct common),
     run_backup},
};
const size_t n_store_commands = sizeof store_commands / sizeof *store_commands;
