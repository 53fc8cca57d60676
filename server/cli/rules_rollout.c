/* rules status, halt, resume, rollback. */
#include "rules_rollout.h"
#include "clock.h"
#include "commands.h"
#include "log.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 500
#define BAR_WIDTH 30

/* ---- one rollout ---- */

/* In the order in which people want to know; the API's names. */
static const char *const good[] = {"loaded", "under_way", "due", "away"};
static const char *const bad[] = {"failed",       "refused",  "drifted", "late",   "lost_sysmon",
                                  "sysmon_error", "restarts", "silent",  "excused"};

static uint64_t sum(yyjson_val *counts, const char *const *names, size_t n) {
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) all += json_uint(counts, names[i]);
    return all;
}

#define SUM(counts, names) sum((counts), (names), sizeof(names) / sizeof *(names))

static void put_counts(struct buf *out, yyjson_val *counts) {
    const char *const *lists[] = {good, bad};
    const size_t sizes[] = {sizeof good / sizeof *good, sizeof bad / sizeof *bad};
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < sizes[l]; i++) {
            uint64_t n = json_uint(counts, lists[l][i]);
            if (!n && (l || i)) continue;
            buf_printf(out, "%s%" PRIu64 " ", out->len ? ", " : "", n);
            for (const char *p = lists[l][i]; *p; p++) buf_byte(out, *p == '_' ? ' ' : (uint8_t)*p);
        }
    }
}

static void show_rate(yyjson_val *o) {
    yyjson_val *rate = yyjson_obj_get(o, "events_per_s");
    if (!json_uint(rate, "hosts")) return;
    printf("%-15s %.1f before, %.1f after, on %" PRIu64 " hosts\n", "events/s",
           yyjson_get_num(yyjson_obj_get(rate, "before")), yyjson_get_num(yyjson_obj_get(rate, "after")),
           json_uint(rate, "hosts"));
}

static void show_waves(yyjson_val *o) {
    static const char *const heads[] = {">WAVE", ">PERCENT", "STARTED (UTC)", "DONE (UTC)", ">HOSTS", "THEY ARE", NULL};
    struct table t;
    yyjson_val *w;
    size_t i, n;
    char time[24];
    table_init(&t, heads);
    yyjson_arr_foreach(yyjson_obj_get(o, "waves"), i, n, w) {
        struct buf counts = {0};
        bool started = !yyjson_is_null(yyjson_obj_get(w, "started"));
        if (started) put_counts(&counts, yyjson_obj_get(w, "counts"));
        table_cellf(&t, "%" PRIu64, json_uint(w, "wave"));
        table_cellf(&t, "%" PRIu64, json_uint(w, "percent"));
        table_cell(&t, json_time(w, "started", time));
        table_cell(&t, json_time(w, "done", time));
        table_cellf(&t, "%" PRIu64, json_uint(w, "hosts"));
        table_cell(&t, buf_slice(&counts));
        buf_free(&counts);
    }
    putchar('\n');
    table_print(&t);
    table_free(&t);
}

/* Sysmon's words: the line that says most, which is the last that is not empty. */
static struct slice last_line(struct slice words) {
    while (words.len && (words.p[words.len - 1] == '\n' || words.p[words.len - 1] == '\r')) words.len--;
    size_t from = words.len;
    while (from && words.p[from - 1] != '\n') from--;
    return slice_from(words, from);
}

static void show_failed(yyjson_val *o) {
    static const char *const heads[] = {"HOST", "IS", "BECAUSE", NULL};
    yyjson_val *list = yyjson_obj_get(o, "failed"), *h;
    struct table t;
    size_t i, n;
    if (!yyjson_arr_size(list)) return;
    table_init(&t, heads);
    yyjson_arr_foreach(list, i, n, h) {
        struct slice reason = json_text(h, "reason"), words = last_line(json_text(h, "words"));
        table_cell(&t, json_text(h, "host"));
        table_cell(&t, json_text(h, "verdict"));
        if (!reason.len) reason = json_text(h, "text");
        if (words.len)
            table_cellf(&t, "%.*s; Sysmon: %.*s", (int)reason.len, (const char *)reason.p, (int)words.len,
                        (const char *)words.p);
        else
            table_cell(&t, reason);
    }
    putchar('\n');
    table_print(&t);
    table_free(&t);
    if (json_uint(o, "n_failed") > yyjson_arr_size(list))
        printf("and %" PRIu64 " more; see: haechi hosts --rules failed\n",
               json_uint(o, "n_failed") - yyjson_arr_size(list));
}

void rollout_show(yyjson_val *o) {
    struct slice set = json_text(o, "ruleset"), group = json_text(o, "group");
    yyjson_val *before = yyjson_obj_get(o, "before");
    struct buf counts = {0};
    char time[24];
    printf("%-15s %" PRIu64 "\n", "rollout", json_uint(o, "id"));
    printf("%-15s %.*s@%" PRIu64 " for %.*s\n", "rules", (int)set.len, (const char *)set.p, json_uint(o, "revision"),
           (int)group.len, (const char *)group.p);
    if (yyjson_is_obj(before)) {
        struct slice was = json_text(before, "ruleset");
        printf("%-15s %.*s@%" PRIu64 "\n", "before", (int)was.len, (const char *)was.p, json_uint(before, "revision"));
    }
    print_member("state", json_text(o, "state"));
    print_member("because", json_text(o, "why"));
    if (!yyjson_is_null(yyjson_obj_get(o, "next_wave"))) print_member("next wave", json_time(o, "next_wave", time));
    print_member("begun by", json_text(o, "actor"));
    print_member("begun", json_time(o, "created", time));
    put_counts(&counts, yyjson_obj_get(o, "counts"));
    printf("%-15s %" PRIu64 " of %" PRIu64 " reached: %s\n", "hosts", json_uint(o, "reached"), json_uint(o, "hosts"),
           buf_cstr(&counts));
    buf_free(&counts);
    show_rate(o);
    show_waves(o);
    show_failed(o);
}

static enum status get_rollout(struct client *c, uint64_t id, struct buf *reply, yyjson_doc **ret, struct error *err) {
    struct buf url = {0};
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, id);
    url_begin(&url, "/api/v1/rollouts");
    url_part(&url, number);
    buf_clear(reply);
    enum status st = client_get(c, &url, reply, err);
    if (!st) st = json_line(buf_slice(reply), ret, err);
    buf_free(&url);
    return st;
}

/* ---- following ---- */

struct watch {
    bool json, terminal, drawn;
    char said[512]; /* what was last shown */
};

static void draw(struct watch *w, yyjson_val *o) {
    yyjson_val *counts = yyjson_obj_get(o, "counts");
    uint64_t all = json_uint(o, "hosts"), loaded = json_uint(counts, "loaded");
    struct slice state = json_text(o, "state");
    struct buf text = {0};
    size_t waves = yyjson_arr_size(yyjson_obj_get(o, "waves"));
    int filled = all ? (int)((loaded < all ? loaded : all) * BAR_WIDTH / all) : BAR_WIDTH;
    put_counts(&text, counts);
    if (w->terminal) {
        bool waits = !yyjson_is_null(yyjson_obj_get(o, "next_wave"));
        fprintf(stderr, "\rwave %" PRIu64 "/%zu [%.*s%*s] %" PRIu64 "/%" PRIu64 " hosts: %s%s\033[K",
                json_uint(o, "wave"), waves, filled, "##############################", BAR_WIDTH - filled, "", loaded,
                all, buf_cstr(&text), waits ? "; waiting" : "");
        w->drawn = true;
    } else {
        char line[sizeof w->said];
        snprintf(line, sizeof line, "%.*s: wave %" PRIu64 " of %zu, %s", (int)state.len, (const char *)state.p,
                 json_uint(o, "wave"), waves, buf_cstr(&text));
        if (strcmp(line, w->said) != 0) fprintf(stderr, "%s\n", line);
        memcpy(w->said, line, sizeof line);
    }
    buf_free(&text);
}

static enum status print_if_new(struct watch *w, struct slice reply) {
    char mark[64];
    uint64_t hash = UINT64_C(1469598103934665603);
    for (size_t i = 0; i < reply.len; i++) hash = (hash ^ reply.p[i]) * UINT64_C(1099511628211);
    snprintf(mark, sizeof mark, "%" PRIx64, hash);
    if (strcmp(mark, w->said) == 0) return ST_OK;
    snprintf(w->said, sizeof w->said, "%s", mark);
    enum status st = print_reply(reply);
    return !st && fflush(stdout) ? ST_CLOSED : st;
}

static enum status ending(yyjson_val *o, struct error *err) {
    struct slice state = json_text(o, "state"), why = json_text(o, "why");
    if (slice_eq_str(state, "done")) return ST_OK;
    return error_set(err, ST_DENIED, "rollout %" PRIu64 " is %.*s%s%s", json_uint(o, "id"), (int)state.len,
                     (const char *)state.p, why.len ? ": " : "", why.len ? log_peer(why) : "");
}

MUST_USE enum status rollout_follow(struct client *c, uint64_t id, bool json, struct error *err) {
    struct watch w = {.json = json, .terminal = !json && isatty(2)};
    struct buf reply = {0};
    yyjson_doc *doc = NULL;
    for (;;) {
        enum status st = get_rollout(c, id, &reply, &doc, err);
        if (!st && json) st = print_if_new(&w, buf_slice(&reply));
        yyjson_val *o = yyjson_doc_get_root(doc);
        bool runs = slice_eq_str(json_text(o, "state"), "running");
        if (!st && !json) draw(&w, o);
        if (!st && !runs) {
            if (w.drawn) fprintf(stderr, "\r\033[K");
            if (!json) rollout_show(o);
            st = ending(o, err);
        }
        yyjson_doc_free(doc);
        doc = NULL;
        if (st || !runs) {
            buf_free(&reply);
            return st;
        }
        (void)nanosleep(&(struct timespec){0, POLL_MS * 1000000L}, NULL);
    }
}

/* ---- status ---- */

struct rules_status {
    struct common common;
    const char *group;
    bool follow;
};

static const struct arg_option status_options[] = {
    {"group", ARG_STRING, offsetof(struct rules_status, group), "GROUP",
     "only rollouts to this group; with --follow the newest of them"},
    {"follow", ARG_FLAG, offsetof(struct rules_status, follow), NULL, "watch it until it runs no more"},
    OPTION_JSON,
    OPTION_API,
};

static enum status parse_id(const char *word, uint64_t *ret, struct error *err) {
    uint64_t id = 0;
    const char *p = word;
    for (; *p >= '0' && *p <= '9' && p - word < 18; p++) id = id * 10 + (uint64_t)(*p - '0');
    *ret = id;
    return !*p && p != word
               ? ST_OK
               : error_set(err, ST_INVALID, "'%s' is no number of a rollout; see: haechi rules status", word);
}

static void rollout_row(struct table *t, yyjson_val *o) {
    yyjson_val *counts = yyjson_obj_get(o, "counts");
    struct slice set = json_text(o, "ruleset");
    char time[24];
    table_cellf(t, "%" PRIu64, json_uint(o, "id"));
    table_cell(t, json_text(o, "group"));
    table_cellf(t, "%.*s@%" PRIu64, (int)set.len, (const char *)set.p, json_uint(o, "revision"));
    table_cell(t, json_text(o, "state"));
    table_cellf(t, "%" PRIu64 "/%zu", json_uint(o, "wave"), yyjson_arr_size(yyjson_obj_get(o, "waves")));
    table_cellf(t, "%" PRIu64, json_uint(o, "hosts"));
    table_cellf(t, "%" PRIu64, json_uint(counts, "loaded"));
    table_cellf(t, "%" PRIu64, SUM(counts, bad));
    table_cell(t, json_time(o, "created", time));
    table_cell(t, json_text(o, "why"));
}

struct newest {
    uint64_t id;
    struct error *err;
};

static enum status note_newest(void *ctx, struct slice line) {
    struct newest *n = ctx;
    yyjson_doc *doc;
    enum status st = json_line(line, &doc, n->err);
    if (!st) n->id = json_uint(yyjson_doc_get_root(doc), "id");
    yyjson_doc_free(doc);
    return st;
}

static enum status find_newest(struct client *c, const char *group, uint64_t *ret, struct error *err) {
    struct newest n = {.err = err};
    struct buf url = {0};
    url_begin(&url, "/api/v1/rollouts");
    url_param(&url, "group", group);
    enum status st = client_lines(c, &url, note_newest, &n, err);
    buf_free(&url);
    if (!st && !n.id)
        st = error_set(err, ST_NOTFOUND, "there is no rollout%s%s", group ? " to group " : " yet", group ? group : "");
    *ret = n.id;
    return st;
}

static enum status list_rollouts(struct client *c, const struct rules_status *o, struct error *err) {
    static const char *const heads[] = {">ID",     "GROUP",   "RULES",       "STATE", ">WAVE", ">HOSTS",
                                        ">LOADED", ">FAILED", "BEGUN (UTC)", "WHY",   NULL};
    struct buf url = {0};
    url_begin(&url, "/api/v1/rollouts");
    url_param(&url, "group", o->group);
    enum status st = print_list(c, &url, o->common.json, heads, rollout_row, err);
    buf_free(&url);
    return st;
}

static enum status run_status(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    const struct rules_status *o = options;
    struct buf reply = {0};
    yyjson_doc *doc = NULL;
    uint64_t id = 0;
    if (words->n && o->group) return error_set(err, ST_INVALID, "give the number of a rollout or --group, not both");
    enum status st = words->n ? parse_id(words->items[0], &id, err) : ST_OK;
    if (!st && !id && !o->follow) return list_rollouts(c, o, err);
    if (!st && !id) st = find_newest(c, o->group, &id, err);
    if (!st && o->follow) return rollout_follow(c, id, o->common.json, err);
    if (!st) st = get_rollout(c, id, &reply, &doc, err);
    if (!st && o->common.json)
        st = print_reply(buf_slice(&reply));
    else if (!st)
        rollout_show(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    buf_free(&reply);
    return st;
}

/* ---- halt, resume, rollback ---- */

struct rules_change {
    struct common common;
    const char *reason;
};

static const struct arg_option halt_options[] = {
    {"reason", ARG_STRING, offsetof(struct rules_change, reason), "TEXT",
     "why, for the audit log and whoever looks at it"},
    OPTION_JSON,
    OPTION_API,
};
static const struct arg_option change_options[] = {OPTION_JSON, OPTION_API};

static enum status change(struct client *c, const char *word, const char *what, const char *reason, bool json,
                          struct error *err) {
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    uint64_t id;
    enum status st = parse_id(word, &id, err);
    if (st) return st;
    struct json_body b = json_body_begin();
    if (reason) yyjson_mut_obj_add_str(b.doc, b.o, "reason", reason);
    url_begin(&url, "/api/v1/rollouts");
    url_part(&url, word);
    buf_printf(&url, "/%s", what);
    st = json_body_post(&b, c, &url, &reply, err);
    if (!st && json) {
        st = print_reply(buf_slice(&reply));
    } else if (!st) {
        st = json_line(buf_slice(&reply), &doc, err);
        yyjson_val *o = yyjson_doc_get_root(doc);
        struct slice state = json_text(o, "state"), group = json_text(o, "group");
        if (!st) {
            printf("rollout %" PRIu64 " to group %.*s is %.*s\n", id, (int)group.len, (const char *)group.p,
                   (int)state.len, (const char *)state.p);
        }
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

static enum status run_halt(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    const struct rules_change *o = options;
    return change(c, words->items[0], "halt", o->reason, o->common.json, err);
}

static enum status run_resume(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    return change(c, words->items[0], "resume", NULL, ((const struct common *)options)->json, err);
}

static enum status run_rollback(struct client *c, const void *options, const struct arg_list *words,
                                struct error *err) {
    return change(c, words->items[0], "rollback", NULL, ((const struct common *)options)->json, err);
}

const struct command rules_status_command = {
    {"rules status", "[ID|--group G] [--follow] [--json]",
     "Lists rollouts, or shows one: its waves, how far their hosts are, which failed and in Sysmon's own words why. --follow watches "
     "one until it runs no more and ends with 0 when it is done, with 1 when it was halted, rolled back or superseded.",
     OPTIONS(status_options), 0, 1},
    "show how far rollouts are",
    sizeof(struct rules_status),
    run_status,
};
const struct command rules_halt_command = {
    {"rules halt", "ID [--reason TEXT]", "Halts a rollout: nothing new is offered, nothing is taken back.",
     OPTIONS(halt_options), 1, 1},
    "halt a rollout",
    sizeof(struct rules_change),
    run_halt,
};
const struct command rules_resume_command = {
    {"rules resume", "ID",
     "Lets a halted rollout go on. Hosts that have failed or fallen silent by now count no more, and the event rate is not looked at "
     "any more.",
     OPTIONS(change_options), 1, 1},
    "let a halted rollout go on",
    sizeof(struct common),
    run_resume,
};
const struct command rules_rollback_command = {
    {"rules rollback", "ID",
     "Gives the group what it had before the rollout, at once and to all hosts that have something else. Works on a rollout that runs, "
     "was halted, or is done, as long as nothing later was pushed to the group.",
     OPTIONS(change_options), 1, 1},
    "give a group back what it had before",
    sizeof(struct common),
    run_rollback,
};
