/* events, tree. */
#include "commands.h"
#include "event.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>
#include <unistd.h>

#define TABLE_LIMIT 1000u /* rows of a table when no --limit is given */

struct events {
    struct common common;
    const char *host, *since, *until, *guid, *search, *format;
    struct arg_list ids, where;
    uint64_t limit;
    bool reverse, follow, count;
};

static const struct arg_option events_options[] = {
    {"host", ARG_STRING, offsetof(struct events, host), "HOST",
     "whose events: a name, an id, or a unique beginning of a name"},
    {"since", ARG_STRING, offsetof(struct events, since), "T",
     "from this time on: 2026-11-24T10:00:00Z, 2026-11-24, or how long ago: 15m, 24h, 7d"},
    {"until", ARG_STRING, offsetof(struct events, until), "T", "up to this time"},
    {"id", ARG_LIST, offsetof(struct events, ids), "1,3,22", "only these event ids"},
    {"guid", ARG_STRING, offsetof(struct events, guid), "GUID", "only events that name this process"},
    {"where", ARG_LIST, offsetof(struct events, where), "'FIELD OP VALUE'",
     "a condition, like: Image endswith \\cmd.exe; may be repeated, all must hold. OP: = != < <= > >= in contains !contains startswith endswith like exists !exists"},
    {"search", ARG_STRING, offsetof(struct events, search), "TEXT",
     "only events with this text in a value, upper and lower case alike"},
    {"limit", ARG_UINT, offsetof(struct events, limit), "N", "at most N events (a table: 1000; else all)"},
    {"reverse", ARG_FLAG, offsetof(struct events, reverse), NULL, "newest first"},
    {"follow", ARG_FLAG, offsetof(struct events, follow), NULL,
     "show what arrives from now on, behind what is held since --since"},
    {"count", ARG_FLAG, offsetof(struct events, count), NULL, "print the number of matching events only"},
    {"format", ARG_STRING, offsetof(struct events, format), "FORMAT",
     "table, json (one object a line), xml (one event a line, as Windows renders it) or csv"},
    OPTION_API,
};

static enum status check_events(const struct events *o, struct error *err) {
    static const char *const formats[] = {"table", "json", "xml", "csv"};
    bool known = !o->format;
    for (size_t i = 0; i < 4 && !known; i++) known = strcmp(o->format, formats[i]) == 0;
    if (!known) {
        const char *near = text_suggest(o->format, formats, 4);
        return error_set(err, ST_INVALID, "--format %s: table, json, xml and csv are known%s%s%s", o->format,
                         near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    if (!o->host) return error_set(err, ST_INVALID, "--host HOST is needed: whose events? See: haechi hosts");
    if (o->follow && o->reverse) return error_set(err, ST_INVALID, "--follow and --reverse do not go together");
    enum status st = check_time("since", o->since, err);
    return st ? st : check_time("until", o->until, err);
}

static void events_url(const struct events *o, const char *format, struct buf *url) {
    struct buf ids = {0};
    for (size_t i = 0; i < o->ids.n; i++) buf_printf(&ids, "%s%s", i ? "," : "", o->ids.items[i]);
    url_begin(url, "/api/v1/hosts");
    url_part(url, o->host);
    buf_str(url, "/events");
    url_param(url, "format", format);
    url_param(url, "since", o->since);
    url_param(url, "until", o->until);
    url_param(url, "id", ids.len ? buf_cstr(&ids) : NULL);
    url_param(url, "guid", o->guid);
    for (size_t i = 0; i < o->where.n; i++) url_param(url, "where", o->where.items[i]);
    url_param(url, "search", o->search);
    url_param_flag(url, "reverse", o->reverse);
    url_param_flag(url, "follow", o->follow);
    url_param_flag(url, "count", o->count);
    buf_free(&ids);
}

static enum status print_piece(void *ctx, struct slice bytes) {
    const struct events *o = ctx;
    if (print_bytes(bytes)) return ST_CLOSED;
    return o->follow && fflush(stdout) ? ST_CLOSED : ST_OK;
}

/* ---- the table ---- */

/* What a person wants to see first of an event, by id; two fields are joined by an arrow. */
static const struct {
    uint32_t id;
    const char *fields[3];
} gist[] = {
    {1, {"CommandLine"}},
    {2, {"Image", "TargetFilename"}},
    {3, {"Image", "DestinationIp", "DestinationPort"}},
    {4, {"State", "Version"}},
    {5, {"Image"}},
    {6, {"ImageLoaded", "Signature"}},
    {7, {"Image", "ImageLoaded"}},
    {8, {"SourceImage", "TargetImage"}},
    {9, {"Image", "Device"}},
    {10, {"SourceImage", "TargetImage", "GrantedAccess"}},
    {11, {"Image", "TargetFilename"}},
    {12, {"EventType", "Image", "TargetObject"}},
    {13, {"Image", "TargetObject", "Details"}},
    {14, {"Image", "TargetObject", "NewName"}},
    {15, {"Image", "TargetFilename"}},
    {16, {"Configuration", "ConfigurationFileHash"}},
    {17, {"Image", "PipeName"}},
    {18, {"Image", "PipeName"}},
    {19, {"Operation", "Name", "Query"}},
    {20, {"Operation", "Name", "Destination"}},
    {21, {"Operation", "Consumer", "Filter"}},
    {22, {"Image", "QueryName", "QueryResults"}},
    {23, {"Image", "TargetFilename"}},
    {24, {"Image", "ClientInfo"}},
    {25, {"Image", "Type"}},
    {26, {"Image", "TargetFilename"}},
    {27, {"Image", "TargetFilename"}},
    {28, {"Image", "TargetFilename"}},
    {29, {"Image", "TargetFilename"}},
    {255, {"ID", "Description"}},
};

static bool is_sysmon(yyjson_val *o) {
    struct slice p = json_text(o, "provider");
    return slice_eq_str(p, "Microsoft-Windows-Sysmon") || slice_eq_str(p, "Linux-Sysmon");
}

static void put_fields(struct buf *out, yyjson_val *o, yyjson_val *data, const char *const fields[3]) {
    for (size_t i = 0; i < 3 && fields[i]; i++) {
        struct buf plain = {0};
        struct slice v = json_text(data, fields[i]);
        if (event_is_doubled(json_text(o, "provider"), json_uint(o, "event_id"), slice_str(fields[i]))) {
            buf_reserve(&plain, v.len + 1);
            plain.len = event_undouble(v, plain.p);
            v = buf_slice(&plain);
        }
        if (i) buf_str(out, "  ->  ");
        text_printable(out, v, 2000);
        buf_free(&plain);
    }
}

/* Events without a gist: their values, as long as there is room. */
static void put_values(struct buf *out, yyjson_val *o, yyjson_val *data) {
    yyjson_val *key, *value;
    size_t i, n;
    yyjson_obj_foreach(data, i, n, key, value) {
        if (out->len > 300) {
            buf_str(out, " ...");
            return;
        }
        buf_printf(out, "%s%s=", i ? " " : "", yyjson_get_str(key));
        text_printable(out, slice_of(yyjson_get_str(value), yyjson_get_len(value)), 100);
    }
    text_printable(out, json_text(o, "xml"), 300);
}

static void put_row(struct buf *out, yyjson_val *o) {
    yyjson_val *data = yyjson_obj_get(o, "data");
    uint32_t id = (uint32_t)json_uint(o, "event_id");
    const struct sysmon_event *known = is_sysmon(o) ? sysmon_event_find(id) : NULL;
    struct slice time = slice_head(json_text(o, "time"), 23);
    buf_printf(out, "%-23.*s  %5lu  ", (int)time.len, (const char *)time.p, (unsigned long)id);
    if (known) {
        buf_printf(out, "%-28.28s  ", known->title);
    } else {
        struct slice provider = json_text(o, "provider");
        buf_printf(out, "%-28.*s  ", (int)(provider.len < 28 ? provider.len : 28), (const char *)provider.p);
    }
    for (size_t i = 0; known && i < sizeof gist / sizeof *gist; i++) {
        if (gist[i].id == id) {
            put_fields(out, o, data, gist[i].fields);
            return;
        }
    }
    put_values(out, o, data);
}

struct rows {
    uint64_t n;
    bool follow;
    struct error *err;
};

static enum status on_event(void *ctx, struct slice line) {
    struct rows *r = ctx;
    yyjson_doc *doc;
    enum status st = json_line(line, &doc, r->err);
    if (st) return st;
    struct buf out = {0};
    if (!r->n++) printf("%-23s  %5s  %-28s  %s\n", "TIME (UTC)", "ID", "EVENT", "WHAT");
    put_row(&out, yyjson_doc_get_root(doc));
    st = print_line(NULL, buf_slice(&out));
    if (!st && r->follow && fflush(stdout)) st = ST_CLOSED;
    buf_free(&out);
    yyjson_doc_free(doc);
    return st;
}

static enum status print_table(struct client *c, const struct events *o, struct buf *url, struct error *err) {
    struct rows r = {.follow = o->follow, .err = err};
    uint64_t limit = o->limit ? o->limit : o->follow ? 0 : TABLE_LIMIT;
    url_param_uint(url, "limit", limit);
    enum status st = client_lines(c, url, on_event, &r, err);
    if (!st && !o->limit && r.n == TABLE_LIMIT) {
        fflush(stdout);
        fprintf(stderr, "haechi events: the first %u are shown; for more give --limit, or --since and --until\n",
                TABLE_LIMIT);
    }
    return st;
}

static enum status print_count(struct client *c, struct buf *url, struct error *err) {
    struct buf reply = {0};
    yyjson_doc *doc = NULL;
    enum status st = client_get(c, url, &reply, err);
    if (!st) st = json_line(buf_slice(&reply), &doc, err);
    if (!st) printf("%llu\n", (unsigned long long)json_uint(yyjson_doc_get_root(doc), "count"));
    yyjson_doc_free(doc);
    buf_free(&reply);
    return st;
}

static enum status run_events(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    const struct events *o = options;
    (void)words;
    enum status st = check_events(o, err);
    if (st) return st;
    bool table = !o->format || strcmp(o->format, "table") == 0;
    struct buf url = {0};
    events_url(o, table ? "json" : o->format, &url);
    if (o->count) {
        url_param_uint(&url, "limit", o->limit);
        st = print_count(c, &url, err);
    } else if (table) {
        st = print_table(c, o, &url, err);
    } else {
        url_param_uint(&url, "limit", o->limit);
        st = client_stream(c, &url, print_piece, (void *)o, err);
    }
    buf_free(&url);
    return st;
}

/* ---- tree ---- */

struct tree {
    struct common common;
    const char *host, *guid, *at, *format;
    uint64_t pid;
};

static const struct arg_option tree_options[] = {
    {"host", ARG_STRING, offsetof(struct tree, host), "HOST", "whose process"},
    {"guid", ARG_STRING, offsetof(struct tree, guid), "GUID", "the process, by its GUID"},
    {"pid", ARG_UINT, offsetof(struct tree, pid), "PID", "or by its PID: the process that had it at --at"},
    {"at", ARG_STRING, offsetof(struct tree, at), "T", "when it had that PID (the latest one when not given)"},
    {"format", ARG_STRING, offsetof(struct tree, format), "FORMAT", "text or json (one object a process)"},
    OPTION_API,
};

static enum status run_tree(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    const struct tree *o = options;
    (void)words;
    if (!o->host) return error_set(err, ST_INVALID, "--host HOST is needed: whose process? See: haechi hosts");
    if (!o->guid == !o->pid)
        return error_set(err, ST_INVALID, "give the process by --guid GUID, or by --pid PID --at T");
    if (o->format && strcmp(o->format, "text") != 0 && strcmp(o->format, "json") != 0) {
        return error_set(err, ST_INVALID, "--format %s: text and json are known", o->format);
    }
    enum status st = check_time("at", o->at, err);
    if (st) return st;
    struct buf url = {0};
    struct events as_is = {0};
    url_begin(&url, "/api/v1/hosts");
    url_part(&url, o->host);
    buf_str(&url, "/tree");
    url_param(&url, "guid", o->guid);
    url_param_uint(&url, "pid", o->pid);
    url_param(&url, "at", o->at);
    url_param(&url, "format", o->format ? o->format : "text");
    st = client_stream(c, &url, print_piece, &as_is, err);
    buf_free(&url);
    return st;
}

const struct command event_commands[] = {
    {{"events", "--host HOST [--since T] [--until T] [--id 1,3,22] [--guid GUID] [--where 'FIELD OP VALUE']...",
      "Shows what a host did, in order of time.", OPTIONS(events_options), 0, 0},
     "show what a host did",
     sizeof(struct events),
     run_events},
    {{"tree", "--host HOST --guid GUID | --pid PID [--at T]",
      "Shows a process with its ancestors and everything it started.", OPTIONS(tree_options), 0, 0},
     "show a process's ancestors and descendants",
     sizeof(struct tree),
     run_tree},
};
const size_t n_event_commands = sizeof event_commands / sizeof *event_commands;
