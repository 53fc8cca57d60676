/* rules simulate: a configuration over the events that a collector has stored; tables of what it would change. */
#include "commands.h"
#include "mem.h"
#include "table.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define ROWS 10u /* of each table by rule, unless --all */

struct rules_simulate {
    struct common common;
    const char *group, *host, *since, *until, *by;
    uint64_t samples;
    bool all;
};

static const struct arg_option simulate_options[] = {
    {"group", ARG_STRING, offsetof(struct rules_simulate, group), "G",
     "over the hosts of this group (neither --group nor --host: all hosts)"},
    {"host", ARG_STRING, offsetof(struct rules_simulate, host), "HOST", "over this host"},
    {"since", ARG_STRING, offsetof(struct rules_simulate, since), "T",
     "events from this time on: 2026-11-24T10:00:00Z, 2026-11-24, or how long ago: 15m, 24h, 7d (24h)"},
    {"until", ARG_STRING, offsetof(struct rules_simulate, until), "T", "up to this time"},
    {"by", ARG_STRING, offsetof(struct rules_simulate, by), "host|rule|id",
     "one table only: by host, by rule (all of the candidate's), or by event id"},
    {"samples", ARG_UINT, offsetof(struct rules_simulate, samples), "N",
     "show N events for each rule and verdict, at most 20"},
    {"all", ARG_FLAG, offsetof(struct rules_simulate, all), NULL,
     "all rows of the tables by rule, not only the first ten"},
    OPTION_JSON,
    OPTION_API,
};

/* ---- what came ---- */

struct answer {
    const struct rules_simulate *o;
    struct progress progress;
    yyjson_doc **lines; /* kept until the end, in order */
    size_t n, cap;
    struct error *err;
};

static enum status on_line(void *ctx, struct slice line) {
    struct answer *a = ctx;
    yyjson_doc *doc;
    enum status st = json_line(line, &doc, a->err);
    if (st) return st;
    yyjson_val *o = yyjson_doc_get_root(doc);
    bool is_progress = slice_eq_str(json_text(o, "kind"), "progress");
    if (is_progress) progress_show(&a->progress, json_uint(o, "done"), json_uint(o, "all"));
    if (is_progress || a->o->common.json) {
        if (!is_progress) {
            progress_end(&a->progress);
            st = print_line(NULL, line);
        }
        yyjson_doc_free(doc);
        return st;
    }
    mem_grow((void **)&a->lines, a->n, &a->cap, sizeof(yyjson_doc *));
    a->lines[a->n++] = doc;
    return ST_OK;
}

static bool is_kind(yyjson_val *o, const char *kind) {
    return slice_eq_str(json_text(o, "kind"), kind);
}

static yyjson_val *line_at(const struct answer *a, size_t i) {
    return yyjson_doc_get_root(a->lines[i]);
}

/* ---- numbers ---- */

static double share(uint64_t part, uint64_t all) {
    return all ? 100.0 * (double)part / (double)all : 0;
}

static void cell_uint(struct table *t, yyjson_val *o, const char *key) {
    table_cellf(t, "%llu", (unsigned long long)json_uint(o, key));
}

static void cell_bytes(struct table *t, uint64_t bytes) {
    char room[32];
    table_cellf(t, "%s", human_bytes(bytes, room));
}

/* "22 DnsQuery" */
static void cell_event(struct table *t, yyjson_val *o) {
    struct slice tag = json_text(o, "tag");
    table_cellf(t, "%llu %.*s", (unsigned long long)json_uint(o, "event_id"), (int)tag.len, (const char *)tag.p);
}

static void print_summary(const struct answer *a) {
    char bytes[32], kept_bytes[32], lost_bytes[32], gained_bytes[32];
    yyjson_val *o = NULL;
    for (size_t i = 0; i < a->n && !o; i++) {
        if (is_kind(line_at(a, i), "summary")) o = line_at(a, i);
    }
    if (!o) return;
    uint64_t events = json_uint(o, "events"), kept = json_uint(o, "kept"), lost = json_uint(o, "lost"),
             gained = json_uint(o, "gained"), without = json_uint(o, "hosts_without_rules"),
             hosts = json_uint(o, "hosts");
    struct slice model = json_text(o, "model");
    printf("%llu events of %llu hosts (%s stored), judged as %.*s does\n", (unsigned long long)events,
           (unsigned long long)json_uint(o, "hosts_with_events"), human_bytes(json_uint(o, "bytes"), bytes),
           (int)model.len, (const char *)model.p);
    printf("keeps   %12llu  %5.1f %%  %s\n", (unsigned long long)kept, share(kept, events),
           human_bytes(json_uint(o, "kept_bytes"), kept_bytes));
    printf("against %s:\n", !hosts || without == hosts ? "what is stored"
                            : without ? "the rules assigned now, or what is stored where there are none"
                                      : "the rules assigned now");
    printf("  loses %12llu  %5.1f %%  %s\n", (unsigned long long)lost, share(lost, events),
           human_bytes(json_uint(o, "lost_bytes"), lost_bytes));
    printf("  gains %12llu  %5.1f %%  %s\n", (unsigned long long)gained, share(gained, events),
           human_bytes(json_uint(o, "gained_bytes"), gained_bytes));
}

/* ---- tables ---- */

static void print_ids(const struct answer *a) {
    static const char *const heads[] = {"EVENT", ">EVENTS", ">KEPT",      ">%", ">KEPT BYTES",
                                        ">LOST", ">GAINED", "NOW LOGGED", "",   NULL};
    struct table t;
    table_init(&t, heads);
    for (size_t i = 0; i < a->n; i++) {
        yyjson_val *o = line_at(a, i);
        if (!is_kind(o, "id") || (!json_uint(o, "events") && !json_bool(o, "lower_bound"))) continue;
        cell_event(&t, o);
        cell_uint(&t, o, "events");
        cell_uint(&t, o, "kept");
        table_cellf(&t, "%.1f", share(json_uint(o, "kept"), json_uint(o, "events")));
        cell_bytes(&t, json_uint(o, "kept_bytes"));
        cell_uint(&t, o, "lost");
        cell_uint(&t, o, "gained");
        table_cell(&t, json_text(o, "current_logs"));
        table_cell(&t, slice_str(json_bool(o, "lower_bound") ? "at least" : ""));
    }
    table_print(&t);
    table_free(&t);
}

static void print_hosts(const struct answer *a) {
    static const char *const heads[] = {"HOST",        "RULES NOW", ">EVENTS", ">KEPT", ">%",
                                        ">KEPT BYTES", ">LOST",     ">GAINED", NULL};
    struct table t;
    table_init(&t, heads);
    for (size_t i = 0; i < a->n; i++) {
        yyjson_val *o = line_at(a, i);
        if (!is_kind(o, "host")) continue;
        struct slice rules = json_text(o, "ruleset");
        table_cell(&t, json_text(o, "host"));
        table_cell(&t, rules.len ? rules : SLICE_LIT("-"));
        cell_uint(&t, o, "events");
        cell_uint(&t, o, "kept");
        table_cellf(&t, "%.1f", share(json_uint(o, "kept"), json_uint(o, "events")));
        cell_bytes(&t, json_uint(o, "kept_bytes"));
        cell_uint(&t, o, "lost");
        cell_uint(&t, o, "gained");
    }
    table_print(&t);
    table_free(&t);
}

struct ranked { /* a row by rule, by what it counts in this table */
    yyjson_val *o;
    uint64_t events, bytes;
};

static int by_events(const void *pa, const void *pb) {
    const struct ranked *a = pa, *b = pb;
    if (a->events != b->events) return a->events > b->events ? -1 : 1;
    return (a->bytes < b->bytes) - (a->bytes > b->bytes);
}

enum which { KEPT, DECIDED, DROPPED_BY, LOST_OF, GAINED_BY };

/* Does the row belong into that table, and with which numbers? */
static bool rank(yyjson_val *o, enum which which, struct ranked *ret) {
    bool candidate = slice_eq_str(json_text(o, "rules"), "candidate"),
         kept = slice_eq_str(json_text(o, "verdict"), "kept");
    uint64_t events = json_uint(o, "events"), bytes = json_uint(o, "bytes"), other = json_uint(o, "other_kept"),
             other_bytes = json_uint(o, "other_kept_bytes");
    *ret = (struct ranked){o, events, bytes};
    switch (which) {
    case KEPT: return candidate && kept;
    case DECIDED: return candidate;
    case DROPPED_BY: *ret = (struct ranked){o, other, other_bytes}; return candidate && !kept && other;
    case LOST_OF:
        *ret = (struct ranked){o, events - other, bytes - other_bytes};
        return !candidate && kept && events > other;
    case GAINED_BY: break;
    }
    *ret = (struct ranked){o, events - other, bytes - other_bytes};
    return candidate && kept && events > other;
}

static void put_ranked(struct table *t, const struct ranked *r) {
    yyjson_val *o = r->o;
    struct slice what = json_text(o, "what"), reason = json_text(o, "reason"), onmatch = json_text(o, "onmatch");
    uint64_t line = json_uint(o, "line");
    table_cellf(t, "%llu", (unsigned long long)r->events);
    cell_bytes(t, r->bytes);
    cell_event(t, o);
    table_cell(t, json_text(o, "verdict"));
    table_cell(t, json_text(o, "rule_name"));
    if (line)
        table_cellf(t, "%llu", (unsigned long long)line);
    else
        table_cell(t, SLICE_LIT("-"));
    if (what.len)
        table_cellf(t, "%.*s: %.*s", (int)onmatch.len, (const char *)onmatch.p, (int)what.len, (const char *)what.p);
    else
        table_cell(t, reason);
}

/* Says nothing when there is no row, unless the title must stand. */
static void print_rules(const struct answer *a, enum which which, const char *title) {
    static const char *const heads[] = {">EVENTS", ">BYTES", "EVENT", "VERDICT", "RULENAME", ">LINE", "RULE", NULL};
    struct ranked *list = mem_alloc(mem_mul(a->n, sizeof *list));
    size_t n = 0, shown;
    struct table t;
    for (size_t i = 0; i < a->n; i++) n += is_kind(line_at(a, i), "rule") && rank(line_at(a, i), which, &list[n]);
    if (n) {
        qsort(list, n, sizeof *list, by_events);
        shown = n > ROWS && !a->o->all && which != DECIDED ? ROWS : n;
        if (title && shown < n)
            printf("\n%s (%zu of %zu; --all)\n", title, shown, n);
        else if (title)
            printf("\n%s\n", title);
        table_init(&t, heads);
        for (size_t i = 0; i < shown; i++) put_ranked(&t, &list[i]);
        table_print(&t);
        table_free(&t);
    }
    mem_free(list);
}

static void print_samples(const struct answer *a) {
    struct buf out = {0};
    bool any = false;
    for (size_t i = 0; i < a->n; i++) {
        yyjson_val *o = line_at(a, i);
        if (!is_kind(o, "sample")) continue;
        if (!any) printf("\nSamples\n");
        any = true;
        struct slice verdict = json_text(o, "verdict"), tag = json_text(o, "tag"), what = json_text(o, "what");
        size_t len = 0;
        char *event = yyjson_val_write(yyjson_obj_get(o, "event"), YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
        buf_clear(&out);
        buf_printf(&out, "%.*s: %llu %.*s, ", (int)verdict.len, (const char *)verdict.p,
                   (unsigned long long)json_uint(o, "event_id"), (int)tag.len, (const char *)tag.p);
        if (json_uint(o, "line")) buf_printf(&out, "line %llu, ", (unsigned long long)json_uint(o, "line"));
        text_printable(&out, what.len ? what : json_text(o, "reason"), 80);
        buf_str(&out, "\n    ");
        text_printable(&out, slice_of(event, event ? len : 0), 100000);
        printf("%s\n", buf_cstr(&out));
        free(event);
    }
    buf_free(&out);
}

static void print_missing(const struct answer *a) {
    static const char *const heads[] = {"EVENT", "FIELD", ">EVENTS WITHOUT IT", NULL};
    struct table t;
    table_init(&t, heads);
    for (size_t i = 0; i < a->n; i++) {
        yyjson_val *o = line_at(a, i);
        if (!is_kind(o, "missing")) continue;
        cell_event(&t, o);
        table_cell(&t, json_text(o, "field"));
        cell_uint(&t, o, "events");
    }
    if (t.n_cells) {
        printf("\nFields that rules look at and events lack\n");
        table_print(&t);
    }
    table_free(&t);
}

static void print_notes(const struct answer *a) {
    bool any = false;
    for (size_t i = 0; i < a->n; i++) {
        struct slice text = json_text(line_at(a, i), "text");
        if (!is_kind(line_at(a, i), "note")) continue;
        if (!any) printf("\nWhat these numbers cannot say\n");
        any = true;
        struct buf out = {0};
        text_printable(&out, text, 1000);
        printf("- %s\n", buf_cstr(&out));
        buf_free(&out);
    }
}

static void print_answer(const struct answer *a) {
    const char *by = a->o->by;
    if (by && strcmp(by, "host") == 0) {
        print_hosts(a);
    } else if (by && strcmp(by, "rule") == 0) {
        print_rules(a, DECIDED, NULL);
    } else if (by) {
        print_ids(a);
    } else {
        print_summary(a);
        printf("\n");
        print_ids(a);
        print_rules(a, KEPT, "Rules that keep most");
        print_rules(a, DROPPED_BY, "What is lost, by the candidate's rule that drops it");
        print_rules(a, LOST_OF, "What is lost, by the rule that logs it now");
        print_rules(a, GAINED_BY, "What is gained, by the candidate's rule");
    }
    print_samples(a);
    if (by) return;
    print_missing(a);
    print_notes(a);
}

/* ---- the question ---- */

static enum status check_options(const struct rules_simulate *o, struct error *err) {
    if (o->group && o->host) return error_set(err, ST_INVALID, "--group and --host do not go together");
    if (o->by && strcmp(o->by, "host") != 0 && strcmp(o->by, "rule") != 0 && strcmp(o->by, "id") != 0) {
        return error_set(err, ST_INVALID, "--by %s: host, rule and id are known", o->by);
    }
    if (o->samples > 20) return error_set(err, ST_INVALID, "--samples: at most 20");
    enum status st = check_time("since", o->since, err);
    return st ? st : check_time("until", o->until, err);
}

static enum status send_file(void *ctx, struct buf *out, struct error *err) {
    struct buf *file = ctx;
    (void)err;
    buf_slice_append(out, buf_slice(file));
    buf_clear(file);
    return ST_OK;
}

static enum status run_rules_simulate(struct client *c, const void *options, const struct arg_list *words,
                                      struct error *err) {
    const struct rules_simulate *o = options;
    struct answer a = {.o = o, .err = err};
    struct buf file = {0}, url = {0};
    enum status st = check_options(o, err);
    if (st) return st;
    st = read_config(words->items[0], &file, err);
    if (st) return st == ST_INVALID ? ST_IO : st;
    url_begin(&url, "/api/v1/rules/simulate");
    url_param(&url, "group", o->group);
    url_param(&url, "host", o->host);
    url_param(&url, "since", o->since);
    url_param(&url, "until", o->until);
    url_param_uint(&url, "samples", o->samples);
    progress_begin(&a.progress, "simulate");
    st = client_upload_lines(c, &url, "application/xml", send_file, &file, on_line, &a, err);
    progress_end(&a.progress);
    if (!st && !o->common.json) print_answer(&a);
    for (size_t i = 0; i < a.n; i++) yyjson_doc_free(a.lines[i]);
    mem_free(a.lines);
    buf_free(&file);
    buf_free(&url);
    return st;
}

const struct command rules_simulate_command = {
    {"rules simulate", "FILE [--group G | --host HOST] [--since T] [--until T]",
     "Judges the events that the collector has stored by the configuration in FILE, as Sysmon would, and by the rules that the "
     "hosts have assigned now: what would be kept, dropped, lost and gained, by event id, rule and host, in events and in "
     "bytes as stored. Nothing is changed. Events that the rules in force never logged are not there to be judged, so where "
     "they do not log everything of an event id, what the candidate keeps of it is a lower bound. The file - is stdin.",
     OPTIONS(simulate_options), 1, 1},
    "try a configuration on stored events",
    sizeof(struct rules_simulate),
    run_rules_simulate,
};
