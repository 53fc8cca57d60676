/* rules volume: what the fleet's logs bring, by rule and event id; for one span of time, or before and after a rollout. */
#include "commands.h"
#include "rules_volume.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BAR_WIDTH 20

struct rules_volume {
    struct common common;
    const char *host, *group, *since, *until, *by, *around, *rollout, *span;
    uint64_t limit;
};

static const struct arg_option volume_options[] = {
    {"host", ARG_STRING, offsetof(struct rules_volume, host), "HOST", "of one host (of all)"},
    {"group", ARG_STRING, offsetof(struct rules_volume, group), "GROUP", "of the hosts of a group"},
    {"since", ARG_STRING, offsetof(struct rules_volume, since), "T",
     "of events from this time on, in whole ten minutes: a time, or how long ago: 15m, 24h, 7d (24h)"},
    {"until", ARG_STRING, offsetof(struct rules_volume, until), "T", "up to this time (now)"},
    {"by", ARG_STRING, offsetof(struct rules_volume, by), "rule,id",
     "what a row stands for: rule, id, host, channel, day, or several with commas between (rule,id)"},
    {"around", ARG_STRING, offsetof(struct rules_volume, around), "T",
     "compare as long before this time as after it, a day at most"},
    {"rollout", ARG_STRING, offsetof(struct rules_volume, rollout), "ID",
     "compare before and after this rollout, of the group that it was for"},
    {"span", ARG_STRING, offsetof(struct rules_volume, span), "TIME",
     "how much is compared on each side at most (24h)"},
    {"limit", ARG_UINT, offsetof(struct rules_volume, limit), "N", "at most N rows (50)"},
    OPTION_JSON,
    OPTION_API,
};

/* ---- the question ---- */

/* The time at which a rollout began, and the last one at which one of its waves began or was done. */
static enum status read_rollout(struct client *c, const char *id, struct buf *from, struct buf *settled,
                                struct buf *group, struct error *err) {
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    yyjson_val *wave;
    size_t i, n;
    url_begin(&url, "/api/v1/rollouts");
    url_part(&url, id);
    enum status st = client_get(c, &url, &reply, err);
    if (!st) st = json_line(buf_slice(&reply), &doc, err);
    if (!st) {
        yyjson_val *o = yyjson_doc_get_root(doc);
        struct slice last = json_text(o, "created");
        buf_slice_append(from, last);
        yyjson_arr_foreach(yyjson_obj_get(o, "waves"), i, n, wave) {
            struct slice t = json_text(wave, "done").len ? json_text(wave, "done") : json_text(wave, "started");
            if (slice_cmp(t, last) > 0)
                last = t; /* RFC 3339 in UTC with the same digits: order of text is order of time */
        }
        buf_slice_append(settled, last);
        buf_slice_append(group, json_text(o, "group"));
        if (!from->len) st = error_set(err, ST_INVALID, "rollout %s has not begun", id);
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

static enum status check_volume(const struct rules_volume *o, struct error *err) {
    if (o->host && o->group) return error_set(err, ST_INVALID, "--host and --group do not go together");
    if (o->around && o->rollout) return error_set(err, ST_INVALID, "--around and --rollout do not go together");
    if ((o->around || o->rollout) && (o->since || o->until)) {
        return error_set(err, ST_INVALID, "--%s compares two spans of its own: it does not go with --since and --until",
                         o->around ? "around" : "rollout");
    }
    if (o->span && !o->around && !o->rollout)
        return error_set(err, ST_INVALID, "--span goes with --around or --rollout");
    enum status st = check_time("since", o->since, err);
    if (!st) st = check_time("until", o->until, err);
    return st ? st : check_time("around", o->around, err);
}

static enum status volume_url(struct client *c, const struct rules_volume *o, struct buf *url, struct error *err) {
    struct buf from = {0}, settled = {0}, group = {0};
    uint64_t span_s = 0;
    enum status st = o->span ? args_duration(o->span, &span_s, err) : ST_OK;
    if (st) return error_prefix(err, st, "--span");
    st = o->rollout ? read_rollout(c, o->rollout, &from, &settled, &group, err) : ST_OK;
    if (!st) {
        url_begin(url, "/api/v1/volume");
        url_param(url, "host", o->host);
        url_param(url, "group", o->group ? o->group : o->rollout && !o->host ? buf_cstr(&group) : NULL);
        url_param(url, "since", o->since);
        url_param(url, "until", o->until);
        url_param(url, "around", o->rollout ? buf_cstr(&from) : o->around);
        if (o->rollout) url_param(url, "settled", buf_cstr(&settled));
        url_param_uint(url, "span_s", span_s);
        url_param(url, "by", o->by);
        url_param_uint(url, "limit", o->limit);
    }
    buf_free(&from);
    buf_free(&settled);
    buf_free(&group);
    return st;
}

/* ---- the answer, for people ---- */

static void print_span(const char *what, yyjson_val *o) {
    char from[24], to[24], bytes[32], day[32];
    uint64_t events = json_uint(o, "events"), s = json_uint(o, "seconds"), sum = json_uint(o, "bytes");
    struct slice since = json_time(o, "since", from), until = json_time(o, "until", to);
    printf("%s%.16s to %.16s UTC: %llu events, %s", what, (const char *)since.p, (const char *)until.p,
           (unsigned long long)events, human_bytes(sum, bytes));
    if (s) {
        printf(" (%.2f events/s, %s a day)", (double)events / (double)s,
               human_bytes((uint64_t)((double)sum * 86400 / (double)s), day));
    }
    putchar('\n');
}

static bool is_by(yyjson_val *o, const char *name) {
    yyjson_val *v;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(o, "by"), i, n, v) {
        if (yyjson_equals_str(v, name)) return true;
    }
    return false;
}

static void put_key(struct table *t, yyjson_val *o, yyjson_val *row, const char *name) {
    struct slice text = json_text(row, name);
    if (strcmp(name, "id") == 0 && yyjson_is_uint(yyjson_obj_get(row, "id"))) {
        table_cellf(t, "%llu", (unsigned long long)json_uint(row, "id"));
    } else if (strcmp(name, "id") == 0 || (json_bool(row, "rest") && is_by(o, "rule") && strcmp(name, "rule") == 0)) {
        table_cell(t, SLICE_LIT("(others)"));
    } else {
        table_cell(t, text);
    }
}

/* Parts of all bytes: a number, and a bar on a terminal. */
static void put_share(struct table *t, uint64_t part, uint64_t all) {
    static const char bar[] = "####################";
    double share = all ? (double)part / (double)all : 0;
    int filled = (int)(share * BAR_WIDTH + 0.5);
    if (isatty(1)) {
        table_cellf(t, "%5.1f%% %-*.*s", share * 100, BAR_WIDTH, filled, bar);
    } else {
        table_cellf(t, "%.1f%%", share * 100);
    }
}

static void put_rates(struct table *t, yyjson_val *o, yyjson_val *row) {
    char text[32];
    uint64_t events[2], bytes[2];
    double s = (double)json_uint(yyjson_obj_get(o, "before"), "seconds");
    static const char *const names[2] = {"before", "after"};
    for (int i = 0; i < 2; i++) {
        yyjson_val *sum = yyjson_obj_get(row, names[i]);
        events[i] = json_uint(sum, "events");
        bytes[i] = json_uint(sum, "bytes");
    }
    for (int i = 0; i < 2; i++) table_cellf(t, "%.3f", s > 0 ? (double)events[i] / s : 0);
    if (!events[0]) {
        table_cell(t, SLICE_LIT("new"));
    } else if (!events[1]) {
        table_cell(t, SLICE_LIT("gone"));
    } else {
        table_cellf(t, "%+.1f%%", ((double)events[1] / (double)events[0] - 1) * 100);
    }
    for (int i = 0; i < 2; i++)
        table_cellf(t, "%s", human_bytes((uint64_t)(s > 0 ? (double)bytes[i] * 86400 / s : 0), text));
}

static void print_rows(yyjson_val *o, bool compare) {
    static const char *const keys[] = {"day", "host", "channel", "id", "rule"}, *const names[] = {"DAY", "HOST",
                                                                                                  "CHANNEL", ">ID",
                                                                                                  "RULE"};
    static const char *const sums[] = {">EVENTS", ">BYTES", ">SHARE"}, *const rates[] = {">BEFORE/S", ">AFTER/S",
                                                                                         ">CHANGE", ">BYTES/DAY",
                                                                                         ">THEN"};
    const char *heads[TABLE_MAX_COLUMNS] = {0};
    size_t n_heads = 0, i, n;
    yyjson_val *row;
    struct table t;
    for (i = 0; i < (compare ? 5 : 3); i++) heads[n_heads++] = compare ? rates[i] : sums[i];
    for (i = 0; i < 5; i++) {
        if (is_by(o, keys[i])) heads[n_heads++] = names[i];
    }
    table_init(&t, heads);
    yyjson_arr_foreach(yyjson_obj_get(o, "rows"), i, n, row) {
        char bytes[32];
        if (compare) {
            put_rates(&t, o, row);
        } else {
            table_cellf(&t, "%llu", (unsigned long long)json_uint(row, "events"));
            table_cellf(&t, "%s", human_bytes(json_uint(row, "bytes"), bytes));
            put_share(&t, json_uint(row, "bytes"), json_uint(o, "bytes"));
        }
        for (size_t k = 0; k < 5; k++) {
            if (is_by(o, keys[k])) put_key(&t, o, row, keys[k]);
        }
    }
    if (t.n_cells) table_print(&t);
    table_free(&t);
}

void print_volume(yyjson_val *o) {
    bool compare = yyjson_obj_get(o, "before") != NULL;
    if (compare) {
        print_span("before  ", yyjson_obj_get(o, "before"));
        print_span("after   ", yyjson_obj_get(o, "after"));
    } else {
        print_span("", o);
    }
    print_rows(o, compare);
    if (json_uint(o, "more"))
        printf("and %llu more rows; --limit shows them\n", (unsigned long long)json_uint(o, "more"));
    if (json_uint(o, "behind_packs")) {
        fprintf(stderr, "the collector has not counted the last %llu packs yet; ask again for them\n",
                (unsigned long long)json_uint(o, "behind_packs"));
    }
}

static enum status run_rules_volume(struct client *c, const void *options, const struct arg_list *words,
                                    struct error *err) {
    const struct rules_volume *o = options;
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    (void)words;
    enum status st = check_volume(o, err);
    if (!st) st = volume_url(c, o, &url, err);
    if (!st) st = client_get(c, &url, &reply, err);
    if (!st && o->common.json) {
        st = print_reply(buf_slice(&reply));
    } else if (!st) {
        st = json_line(buf_slice(&reply), &doc, err);
        if (!st) print_volume(yyjson_doc_get_root(doc));
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

const struct command rules_volume_command = {
    {"rules volume", "[--host HOST | --group GROUP] [--since T] [--by rule,id,host,day] [--around T | --rollout ID]",
     "Shows how many events and bytes hosts' logs bring under which RuleName and event id, the largest first. The counts are "
     "kept while events arrive, by ten minutes of the events' own time, so the answer is exact and comes at once; an "
     "event's bytes are its share of what its block takes in the store. With --around or --rollout it compares equal "
     "spans of time before and after a change.",
     OPTIONS(volume_options), 0, 0},
    "events and bytes by rule, before and after a rollout",
    sizeof(struct rules_volume),
    run_rules_volume,
};
