/* token, hosts, host, audit. */
#include "commands.h"
#include "mem.h"
#include "text.h"
#include "table.h"

#include <stdio.h>

static void body_list(struct json_body *b, const char *key, const struct arg_list *items) {
    yyjson_mut_val *list = yyjson_mut_arr(b->doc);
    for (size_t i = 0; i < items->n; i++) yyjson_mut_arr_add_str(b->doc, list, items->items[i]);
    yyjson_mut_obj_add_val(b->doc, b->o, key, list);
}

/* ---- token ---- */

struct token_create {
    struct common common;
    uint64_t uses;
    const char *expires, *group, *note, *role, *address;
};

static const struct arg_option token_create_options[] = {
    {"uses", ARG_UINT, offsetof(struct token_create, uses), "N", "how many hosts may enrol with it (1)"},
    {"expires", ARG_STRING, offsetof(struct token_create, expires), "24h",
     "how long it is good (24h; API tokens: for ever)"},
    {"group", ARG_STRING, offsetof(struct token_create, group), "NAME", "the group that enrolled hosts get"},
    {"address", ARG_STRING, offsetof(struct token_create, address), "HOST:PORT",
     "where agents reach the collector, when not as it says itself"},
    {"role", ARG_STRING, offsetof(struct token_create, role), "ROLE",
     "an API token instead: viewer, operator or admin"},
    {"note", ARG_STRING, offsetof(struct token_create, note), "TEXT", "what it is for, for your own memory"},
    OPTION_JSON,
    OPTION_API,
};

static enum status run_token_create(struct client *c, const void *options, const struct arg_list *words,
                                    struct error *err) {
    const struct token_create *o = options;
    (void)words;
    uint64_t expires_s = 0;
    enum status st = o->expires ? args_duration(o->expires, &expires_s, err) : ST_OK;
    if (st) return error_prefix(err, st, "--expires");
    struct json_body b = json_body_begin();
    struct buf url = {0}, reply = {0};
    yyjson_mut_obj_add_str(b.doc, b.o, "role", o->role ? o->role : "enroll");
    if (o->uses) yyjson_mut_obj_add_uint(b.doc, b.o, "uses", o->uses);
    if (expires_s) yyjson_mut_obj_add_uint(b.doc, b.o, "expires_s", expires_s);
    if (o->group) yyjson_mut_obj_add_str(b.doc, b.o, "group", o->group);
    if (o->note) yyjson_mut_obj_add_str(b.doc, b.o, "note", o->note);
    if (o->address) yyjson_mut_obj_add_str(b.doc, b.o, "address", o->address);
    url_begin(&url, "/api/v1/tokens");
    st = json_body_post(&b, c, &url, &reply, err);
    yyjson_doc *doc = NULL;
    if (!st && o->common.json) {
        st = print_line(NULL, buf_slice(&reply));
    } else if (!st) {
        st = json_line(buf_slice(&reply), &doc, err);
        struct slice token = json_text(yyjson_doc_get_root(doc), "token");
        if (!st) st = print_line(NULL, token);
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

static const struct arg_option list_options[] = {OPTION_JSON, OPTION_API};

static void token_row(struct table *t, yyjson_val *o) {
    char time[24];
    table_cell(t, json_text(o, "id"));
    table_cell(t, json_text(o, "role"));
    table_cell(t, json_text(o, "group"));
    if (slice_eq_str(json_text(o, "role"), "enroll")) {
        table_cellf(t, "%llu of %llu", (unsigned long long)json_uint(o, "uses_left"),
                    (unsigned long long)json_uint(o, "uses_all"));
    } else {
        table_cell(t, SLICE_LIT("-"));
    }
    table_cell(t, json_time(o, "expires", time));
    table_cell(t, json_bool(o, "revoked") ? SLICE_LIT("revoked") : SLICE_LIT(""));
    table_cell(t, json_text(o, "note"));
}

static enum status run_token_list(struct client *c, const void *options, const struct arg_list *words,
                                  struct error *err) {
    static const char *const heads[] = {"ID", "ROLE", "GROUP", "USES LEFT", "EXPIRES", "STATE", "NOTE", NULL};
    (void)words;
    struct buf url = {0};
    url_begin(&url, "/api/v1/tokens");
    enum status st = print_list(c, &url, ((const struct common *)options)->json, heads, token_row, err);
    buf_free(&url);
    return st;
}

static const struct arg_option plain_options[] = {OPTION_API};

static enum status run_token_revoke(struct client *c, const void *options, const struct arg_list *words,
                                    struct error *err) {
    (void)options;
    struct json_body b = json_body_begin();
    struct buf url = {0}, reply = {0};
    url_begin(&url, "/api/v1/tokens");
    url_part(&url, words->items[0]);
    buf_str(&url, "/revoke");
    enum status st = json_body_post(&b, c, &url, &reply, err);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

/* ---- hosts ---- */

struct hosts {
    struct common common;
    const char *group, *silent_for, *rules;
    bool silent, pending;
};

static const struct arg_option hosts_options[] = {
    {"group", ARG_STRING, offsetof(struct hosts, group), "GROUP", "only hosts of this group, by token or by tag"},
    {"silent", ARG_FLAG, offsetof(struct hosts, silent), NULL, "only hosts that were not heard of for 15 minutes"},
    {"silent-for", ARG_STRING, offsetof(struct hosts, silent_for), "TIME", "the same for another time: 1h, 2d"},
    {"rules", ARG_STRING, offsetof(struct hosts, rules), "STATE",
     "only hosts whose rules are none, received, applied, loaded, failed, refused, drifted, or behind what they shall be"},
    {"pending", ARG_FLAG, offsetof(struct hosts, pending), NULL, "enrolments that wait for: haechi host approve"},
    OPTION_JSON,
    OPTION_API,
};

/* "base@3 loaded", "base@4 behind" */
static void rules_cell(struct table *t, yyjson_val *rules) {
    yyjson_val *has = yyjson_obj_get(rules, "has"), *want = yyjson_obj_get(rules, "want");
    yyjson_val *shown = yyjson_is_obj(want) ? want : has;
    struct slice set = json_text(shown, "ruleset"), is = json_text(rules, "is");
    if (yyjson_is_obj(shown))
        table_cellf(t, "%.*s@%llu %.*s", (int)set.len, (const char *)set.p,
                    (unsigned long long)json_uint(shown, "revision"), (int)is.len, (const char *)is.p);
    else
        table_cell(t, SLICE_LIT(""));
}

static void host_row(struct table *t, yyjson_val *o) {
    char time[24], rate[32];
    struct slice state = json_text(o, "state");
    table_cellf(t, "%llu", (unsigned long long)json_uint(o, "id"));
    table_cell(t, json_text(o, "name"));
    table_cell(t, json_text(o, "group"));
    if (slice_eq_str(state, "active")) state = json_bool(o, "connected") ? SLICE_LIT("connected") : SLICE_LIT("away");
    table_cell(t, state);
    table_cell(t, json_time(o, "last_seen", time));
    snprintf(rate, sizeof rate, "%.1f", yyjson_get_num(yyjson_obj_get(o, "events_per_s")));
    table_cell(t, slice_str(rate));
    table_cellf(t, "%llu", (unsigned long long)json_uint(o, "backlog_events"));
    rules_cell(t, yyjson_obj_get(o, "rules"));
    table_cell(t, json_text(o, "agent_version"));
    table_cell(t, json_text(o, "os"));
}

static void pending_row(struct table *t, yyjson_val *o) {
    char time[24];
    table_cell(t, json_text(o, "key"));
    table_cell(t, json_text(o, "name"));
    table_cell(t, json_text(o, "address"));
    table_cell(t, json_time(o, "since", time));
    table_cell(t, json_text(o, "os"));
}

static enum status run_hosts(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    static const char *const heads[] = {">ID",   "HOST",  "GROUP",  "STATE", "LAST SEEN (UTC)", ">EVENTS/S", ">BACKLOG",
                                        "RULES", "AGENT", "SYSTEM", NULL};
    static const char *const pending_heads[] = {"KEY", "HOST", "FROM", "SINCE (UTC)", "SYSTEM", NULL};
    const struct hosts *o = options;
    (void)words;
    uint64_t silent_s = o->silent ? 900 : 0;
    enum status st = o->silent_for ? args_duration(o->silent_for, &silent_s, err) : ST_OK;
    if (st) return error_prefix(err, st, "--silent-for");
    struct buf url = {0};
    if (o->pending) {
        url_begin(&url, "/api/v1/pending");
        st = print_list(c, &url, o->common.json, pending_heads, pending_row, err);
    } else {
        url_begin(&url, "/api/v1/hosts");
        url_param(&url, "group", o->group);
        url_param_uint(&url, "silent_s", silent_s);
        url_param(&url, "rules", o->rules);
        st = print_list(c, &url, o->common.json, heads, host_row, err);
    }
    buf_free(&url);
    return st;
}

/* ---- host ---- */

static void host_url(struct buf *url, const char *host, const char *action) {
    url_begin(url, "/api/v1/hosts");
    url_part(url, host);
    if (action) buf_printf(url, "/%s", action);
}

static void print_streams(yyjson_val *streams) {
    static const char *const heads[] = {"CHANNEL",     "COMPUTER",           ">EPOCH", ">EVENTS", ">BYTES",
                                        ">HIGHEST ID", "LAST ARRIVAL (UTC)", NULL};
    struct table t;
    yyjson_val *s;
    size_t i, n;
    char time[24], bytes[32];
    table_init(&t, heads);
    yyjson_arr_foreach(streams, i, n, s) {
        table_cell(&t, json_text(s, "channel"));
        table_cell(&t, json_text(s, "computer"));
        table_cellf(&t, "%llu", (unsigned long long)json_uint(s, "epoch"));
        table_cellf(&t, "%llu", (unsigned long long)json_uint(s, "events"));
        table_cell(&t, slice_str(human_bytes(json_uint(s, "bytes"), bytes)));
        table_cellf(&t, "%llu", (unsigned long long)json_uint(s, "highest_record_id"));
        table_cell(&t, json_time(s, "last_arrival", time));
    }
    putchar('\n');
    table_print(&t);
    table_free(&t);
}

static void print_ref(const char *label, yyjson_val *ref) {
    struct slice set = json_text(ref, "ruleset");
    if (set.len) {
        printf("%-15s %.*s@%llu (order %llu)\n", label, (int)set.len, (const char *)set.p,
               (unsigned long long)json_uint(ref, "revision"), (unsigned long long)json_uint(ref, "serial"));
    }
}

/* The groups that count for its rules, in the order in which they do, and which of them decides. */
static void print_groups(yyjson_val *groups) {
    yyjson_val *g;
    size_t i, n;
    yyjson_arr_foreach(groups, i, n, g) {
        struct slice name = json_text(g, "group"), set = json_text(g, "ruleset");
        printf("%-15s %.*s", i ? "" : "rule groups", (int)name.len, (const char *)name.p);
        if (slice_eq_str(name, "default"))
            printf(", which comes last: ");
        else
            printf(", precedence %lld: ", (long long)yyjson_get_sint(yyjson_obj_get(g, "precedence")));
        if (set.len)
            printf("%.*s@%llu", (int)set.len, (const char *)set.p, (unsigned long long)json_uint(g, "revision"));
        else
            printf(json_bool(g, "decides") ? "rules on their way" : "no rules");
        puts(json_bool(g, "decides") ? " (decides: the first that has rules)" : "");
    }
}

static void print_rules(yyjson_val *r) {
    char time[24];
    struct slice words = json_text(r, "words");
    print_member("rules of group", json_text(r, "group"));
    print_ref("  shall have", yyjson_obj_get(r, "want"));
    print_ref("  has", yyjson_obj_get(r, "has"));
    if (json_uint(r, "rollout")) printf("%-15s %llu\n", "  by rollout", (unsigned long long)json_uint(r, "rollout"));
    print_member("  state", json_text(r, "state"));
    if (yyjson_is_obj(yyjson_obj_get(r, "has"))) print_member("  since", json_time(r, "since", time));
    print_member("  seen by", json_text(r, "evidence"));
    print_member("  because", json_text(r, "reason"));
    const char *label = "  Sysmon says";
    while (words.len) { /* a line at a time, and none of it able to move a cursor */
        const uint8_t *end = memchr(words.p, '\n', words.len);
        struct slice line = slice_head(words, end ? (size_t)(end - words.p) : words.len);
        struct buf clean = {0};
        text_printable(&clean, line, SIZE_MAX);
        if (clean.len) printf("%-15s %s\n", label, buf_cstr(&clean));
        if (clean.len) label = "";
        buf_free(&clean);
        words = slice_from(words, line.len + (end != NULL));
    }
}

static void print_sysmon(yyjson_val *s) {
    char time[24];
    struct slice service = json_text(s, "service"), driver = json_text(s, "driver"), schema = json_text(s, "schema");
    print_member("Sysmon", json_text(s, "state"));
    print_member("  version", json_text(s, "version"));
    print_member("  schema", schema);
    if (service.len || driver.len)
        printf("%-15s %.*s%s%.*s%s\n", "  service", (int)service.len, (const char *)service.p,
               driver.len ? ", driver " : "", (int)driver.len, (const char *)driver.p,
               json_bool(s, "inbox") ? ", part of Windows" : "");
    print_member("  config hash", json_text(s, "config_hash"));
    print_member("  cannot", json_text(s, "cannot_apply"));
    if (!yyjson_is_null(yyjson_obj_get(s, "event_16"))) print_member("  event 16", json_time(s, "event_16", time));
}

static void print_host(yyjson_val *o) {
    char time[24];
    yyjson_val *tag;
    size_t i, n;
    printf("%-15s %.*s (id %llu)\n", "host", (int)json_text(o, "name").len, (const char *)json_text(o, "name").p,
           (unsigned long long)json_uint(o, "id"));
    print_member("state", json_text(o, "state"));
    print_member("because", json_text(o, "state_reason"));
    printf("%-15s %s\n", "connected", json_bool(o, "connected") ? "yes" : "no");
    print_member("group", json_text(o, "group"));
    printf("%-15s", "tags");
    yyjson_arr_foreach(yyjson_obj_get(o, "tags"), i, n, tag) printf(" %s", yyjson_get_str(tag));
    putchar('\n');
    print_member("last seen", json_time(o, "last_seen", time));
    print_member("address", json_text(o, "address"));
    print_member("system", json_text(o, "os"));
    print_member("domain", json_text(o, "domain"));
    print_member("agent", json_text(o, "agent_version"));
    print_sysmon(yyjson_obj_get(o, "sysmon"));
    print_groups(yyjson_obj_get(o, "groups"));
    print_rules(yyjson_obj_get(o, "rules"));
    print_member("enrolled", json_time(o, "enrolled", time));
    print_member("certificate", json_text(o, "cert_serial"));
    print_member("  good until", json_time(o, "cert_not_after", time));
    printf("%-15s %llu events\n", "backlog", (unsigned long long)json_uint(o, "backlog_events"));
    print_streams(yyjson_obj_get(o, "streams"));
}

static enum status run_host_show(struct client *c, const void *options, const struct arg_list *words,
                                 struct error *err) {
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    host_url(&url, words->items[0], NULL);
    enum status st = client_get(c, &url, &reply, err);
    if (!st && ((const struct common *)options)->json) {
        st = print_reply(buf_slice(&reply));
    } else if (!st) {
        st = json_line(buf_slice(&reply), &doc, err);
        if (!st) print_host(yyjson_doc_get_root(doc));
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

struct host_change {
    struct common common;
    const char *reason;
    struct arg_list add, remove;
};

static const struct arg_option revoke_options[] = {
    {"reason", ARG_STRING, offsetof(struct host_change, reason), "TEXT", "why, for the audit log"},
    OPTION_API,
};
static const struct arg_option tag_options[] = {
    {"add", ARG_LIST, offsetof(struct host_change, add), "TAG", "adds a tag; may be repeated"},
    {"remove", ARG_LIST, offsetof(struct host_change, remove), "TAG", "takes a tag away; may be repeated"},
    OPTION_API,
};

static enum status post_host(struct client *c, const char *host, const char *action, struct json_body *b,
                             struct error *err) {
    struct buf url = {0}, reply = {0};
    host_url(&url, host, action);
    enum status st = json_body_post(b, c, &url, &reply, err);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

static enum status run_host_approve(struct client *c, const void *options, const struct arg_list *words,
                                    struct error *err) {
    (void)options;
    struct json_body b = json_body_begin();
    return post_host(c, words->items[0], "approve", &b, err);
}

static enum status run_host_revoke(struct client *c, const void *options, const struct arg_list *words,
                                   struct error *err) {
    const struct host_change *o = options;
    struct json_body b = json_body_begin();
    if (o->reason) yyjson_mut_obj_add_str(b.doc, b.o, "reason", o->reason);
    return post_host(c, words->items[0], "revoke", &b, err);
}

static enum status run_host_tag(struct client *c, const void *options, const struct arg_list *words,
                                struct error *err) {
    const struct host_change *o = options;
    if (!o->add.n && !o->remove.n) return error_set(err, ST_INVALID, "nothing to do: give --add TAG or --remove TAG");
    struct json_body b = json_body_begin();
    body_list(&b, "add", &o->add);
    body_list(&b, "remove", &o->remove);
    return post_host(c, words->items[0], "tags", &b, err);
}

/* ---- audit ---- */

struct audit {
    struct common common;
    uint64_t limit, from;
};

static const struct arg_option audit_options[] = {
    {"limit", ARG_UINT, offsetof(struct audit, limit), "N", "the newest N records (100)"},
    {"from", ARG_UINT, offsetof(struct audit, from), "SEQ", "all records from this number on, oldest first"},
    OPTION_JSON,
    OPTION_API,
};

static void audit_row(struct table *t, yyjson_val *o) {
    char time[24];
    table_cellf(t, "%llu", (unsigned long long)json_uint(o, "seq"));
    table_cell(t, json_time(o, "time", time));
    table_cell(t, json_text(o, "actor"));
    table_cell(t, json_text(o, "action"));
    table_cell(t, json_text(o, "object"));
    table_cell(t, json_text(o, "detail"));
}

static enum status run_audit(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    static const char *const heads[] = {">SEQ", "TIME (UTC)", "WHO", "WHAT", "OBJECT", "DETAIL", NULL};
    const struct audit *o = options;
    (void)words;
    struct buf url = {0};
    url_begin(&url, "/api/v1/audit");
    if (o->from) {
        url_param_uint(&url, "from", o->from);
        url_param_uint(&url, "limit", o->limit);
    } else {
        url_param_flag(&url, "reverse", true);
        url_param_uint(&url, "limit", o->limit ? o->limit : 100);
    }
    enum status st = print_list(c, &url, o->common.json, heads, audit_row, err);
    buf_free(&url);
    return st;
}

const struct command fleet_commands[] = {
    {{"token create", "[--uses N] [--expires 24h] [--group NAME] [--role ROLE]",
      "Makes a token and prints it, once: only its hash is kept. An enrolment token carries the collector's address, its "
      "authority's fingerprint and a secret; give it to: haechi-agent enroll --token TOKEN",
      OPTIONS(token_create_options), 0, 0},
     "make an enrolment (or API) token",
     sizeof(struct token_create),
     run_token_create},
    {{"token list", "[--json]", "Lists tokens, used-up and expired ones too.", OPTIONS(list_options), 0, 0},
     "list tokens",
     sizeof(struct common),
     run_token_list},
    {{"token revoke", "ID", "Makes a token useless. Hosts that enrolled with it stay.", OPTIONS(plain_options), 1, 1},
     "make a token useless",
     sizeof(struct common),
     run_token_revoke},
    {{"hosts", "[--group G] [--rules STATE] [--silent] [--pending] [--json]", "Lists the fleet's hosts.",
      OPTIONS(hosts_options), 0, 0},
     "list hosts",
     sizeof(struct hosts),
     run_hosts},
    {{"host show", "HOST [--json]", "Shows all that is known of a host, and which logs of it are held.",
      OPTIONS(list_options), 1, 1},
     "show one host",
     sizeof(struct common),
     run_host_show},
    {{"host approve", "HOST|KEY",
      "Accepts an enrolment that waits because its name is known (the old certificates of that host end), or lifts the "
      "hold after a clone alarm.",
      OPTIONS(plain_options), 1, 1},
     "accept a pending enrolment, lift a hold",
     sizeof(struct common),
     run_host_approve},
    {{"host revoke", "HOST [--reason TEXT]",
      "Ends a host's certificates: its live connection is cut, the next one refused. Its records stay.",
      OPTIONS(revoke_options), 1, 1},
     "end a host's certificates",
     sizeof(struct host_change),
     run_host_revoke},
    {{"host tag", "HOST [--add TAG]... [--remove TAG]...", "Changes a host's tags.", OPTIONS(tag_options), 1, 1},
     "change a host's tags",
     sizeof(struct host_change),
     run_host_tag},
    {{"audit", "[--limit N] [--from SEQ] [--json]", "Shows who changed what: the newest records first.",
      OPTIONS(audit_options), 0, 0},
     "show who changed what",
     sizeof(struct audit),
     run_audit},
};
const size_t n_fleet_commands = sizeof fleet_commands / sizeof *fleet_commands;
