/* rules push: check, a new revision, a rollout. The check runs here first, with the collector's own code and the schema of
 * the group's hosts; the collector runs it again. */
#include "canary.h"
#include "check.h"
#include "commands.h"
#include "group_commands.h"
#include "ref.h"
#include "rules_rollout.h"
#include "rules_words.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WAVES_MAX 16 /* ROLLOUT_MAX_WAVES */
#define WARNINGS_SHOWN 20
#define TRIES 3 /* somebody else may push in between */

struct rules_push {
    struct common common;
    const char *group, *name, *comment, *waves, *wait, *timeout, *max_failed, *max_silent, *rate;
    bool canary, auto_rollback, follow, dry_run;
};

static const struct arg_option push_options[] = {
    {"group", ARG_STRING, offsetof(struct rules_push, group), "GROUP",
     "roll it out to the hosts of this group; without it the revision is only stored"},
    {"name", ARG_STRING, offsetof(struct rules_push, name), "NAME",
     "the ruleset's name (the file's, without its ending)"},
    {"comment", ARG_STRING, offsetof(struct rules_push, comment), "TEXT", "why, for the list and the audit log"},
    {"waves", ARG_STRING, offsetof(struct rules_push, waves), "5,25,100",
     "percentages of the group's hosts that have it after each wave (5,25,100)"},
    {"wait", ARG_STRING, offsetof(struct rules_push, wait), "TIME", "how long to wait after a wave that is done (15m)"},
    {"timeout", ARG_STRING, offsetof(struct rules_push, timeout), "TIME",
     "a connected host that has not loaded it after so long has failed (15m)"},
    {"max-failed", ARG_STRING, offsetof(struct rules_push, max_failed), "PERCENT",
     "halt when more of the hosts that were offered it fail (5; 0: any)"},
    {"max-silent", ARG_STRING, offsetof(struct rules_push, max_silent), "PERCENT",
     "halt when more of the hosts that were offered it fall silent (20)"},
    {"rate", ARG_STRING, offsetof(struct rules_push, rate), "LOW,HIGH",
     "halt when the hosts' events a second change by a factor outside of this, as 0.5,3 (not looked at)"},
    {"auto-rollback", ARG_FLAG, offsetof(struct rules_push, auto_rollback), NULL,
     "when it halts by itself, give all hosts back what they had"},
    {"canary", ARG_FLAG, offsetof(struct rules_push, canary), NULL,
     "put in a rule that the agent's own canary process fires, so that an event names the revision that runs"},
    {"follow", ARG_FLAG, offsetof(struct rules_push, follow), NULL, "watch the rollout until it runs no more"},
    {"dry-run", ARG_FLAG, offsetof(struct rules_push, dry_run), NULL, "check only, store nothing"},
    OPTION_JSON,
    OPTION_API,
};

/* ---- the plan, from words ---- */

/* Checked here, so that nothing is stored for a plan that the collector would refuse. */
static enum status put_waves(const char *text, struct json_body *b, struct error *err) {
    yyjson_mut_val *list = yyjson_mut_arr(b->doc);
    unsigned long last = 0;
    for (const char *p = text; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        char *end = NULL;
        unsigned long n = *p >= '0' && *p <= '9' ? strtoul(p, &end, 10) : 0;
        if (n <= last || n > 100 || (*end && *end != ',')) {
            last = 0;
            break;
        }
        yyjson_mut_arr_add_uint(b->doc, list, n);
        last = n;
    }
    yyjson_mut_obj_add_val(b->doc, b->o, "waves", list);
    if (last == 100 && yyjson_mut_arr_size(list) <= WAVES_MAX) return ST_OK;
    return error_set(err, ST_INVALID, "--waves takes at most %d percentages that ascend to 100, as 5,25,100, not '%s'",
                     WAVES_MAX, text);
}

static enum status put_duration(const char *option, const char *key, const char *text, struct json_body *b,
                                struct error *err) {
    uint64_t s;
    if (!text) return ST_OK;
    enum status st = args_duration(text, &s, err);
    if (st) return error_prefix(err, st, "--%s", option);
    yyjson_mut_obj_add_uint(b->doc, b->o, key, s);
    return ST_OK;
}

static enum status put_percent(const char *option, const char *key, const char *text, struct json_body *b,
                               struct error *err) {
    char *end = NULL;
    if (!text) return ST_OK;
    unsigned long n = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 101;
    if (n > 100 || *end) return error_set(err, ST_INVALID, "--%s takes a number from 0 to 100, not '%s'", option, text);
    yyjson_mut_obj_add_uint(b->doc, b->o, key, n);
    return ST_OK;
}

static enum status put_rate(const char *text, struct json_body *b, struct error *err) {
    char *comma = NULL, *end = NULL;
    if (!text) return ST_OK;
    double low = strtod(text, &comma), high = *comma == ',' ? strtod(comma + 1, &end) : 0;
    if (!end || *end || !(low >= 0 && low < 1) || !(high > 1 && high < 1e6))
        return error_set(err, ST_INVALID, "--rate takes two factors around 1, as 0.5,3, not '%s'", text);
    yyjson_mut_obj_add_real(b->doc, b->o, "rate_low", low);
    yyjson_mut_obj_add_real(b->doc, b->o, "rate_high", high);
    return ST_OK;
}

static enum status put_plan(const struct rules_push *o, struct json_body *b, struct error *err) {
    enum status st = o->waves ? put_waves(o->waves, b, err) : ST_OK;
    if (!st) st = put_duration("wait", "wait_s", o->wait, b, err);
    if (!st) st = put_duration("timeout", "timeout_s", o->timeout, b, err);
    if (!st) st = put_percent("max-failed", "max_failed_percent", o->max_failed, b, err);
    if (!st) st = put_percent("max-silent", "max_silent_percent", o->max_silent, b, err);
    if (!st) st = put_rate(o->rate, b, err);
    if (o->auto_rollback) yyjson_mut_obj_add_bool(b->doc, b->o, "auto_rollback", true);
    return st;
}

/* ---- check ---- */

/* The file's name without folder and ending, or the folder's name. */
static enum status choose_name(const struct rules_push *o, const char *path, char out[RULESET_NAME_MAX + 1],
                               struct error *err) {
    const char *base = o->name ? o->name : path;
    size_t len = strlen(base);
    while (!o->name && len > 1 && base[len - 1] == '/') len--;
    for (size_t i = len; !o->name && i-- > 0;) {
        if (base[i] != '/') continue;
        base += i + 1;
        len -= i + 1;
        break;
    }
    if (!o->name && len > 4 && strcmp(base + len - 4, ".xml") == 0) len -= 4;
    if (!ruleset_name_is_fit(slice_of(base, len))) {
        return error_set(err, ST_INVALID,
                         "'%.*s' is no name for a ruleset (letters, digits and . _ - only): give one with --name",
                         (int)len, base);
    }
    snprintf(out, RULESET_NAME_MAX + 1, "%.*s", (int)len, base);
    return ST_OK;
}

static enum status check(const struct check_options *co, const char *path, struct slice xml, bool quiet,
                         struct error *err) {
    struct findings f;
    struct ruleset *r = NULL;
    struct buf text = {0};
    enum status st = ruleset_check(xml, co, &f, &r);
    if (f.n_errors || !quiet) {
        findings_brief(&f, path, WARNINGS_SHOWN, &text);
        fputs(buf_cstr(&text), stderr);
    }
    if (st) {
        st = error_set(err, ST_DENIED, "%s has %zu error%s: nothing was stored", path, f.n_errors,
                       f.n_errors == 1 ? "" : "s");
    }
    findings_free(&f);
    ruleset_free(&r);
    buf_free(&text);
    return st;
}

/* ---- the revision ---- */

/* What the collector has as the newest: number and canary; 0 and "" when it has none. */
static enum status ask_newest(struct client *c, const char *name, uint32_t *ret_revision,
                              char ret_canary[RULESET_CANARY_MAX], struct error *err) {
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    *ret_revision = 0;
    ret_canary[0] = 0;
    url_begin(&url, "/api/v1/rulesets");
    url_part(&url, name);
    enum status st = client_get(c, &url, &reply, err);
    if (!st) st = json_line(buf_slice(&reply), &doc, err);
    if (!st) {
        yyjson_val *newest = yyjson_arr_get_first(yyjson_obj_get(yyjson_doc_get_root(doc), "revisions"));
        struct slice canary = json_text(newest, "canary");
        *ret_revision = (uint32_t)json_uint(newest, "revision");
        snprintf(ret_canary, RULESET_CANARY_MAX, "%.*s", (int)canary.len, (const char *)canary.p);
    }
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st == ST_NOTFOUND ? ST_OK : st;
}

/* The collector refused what the check here let pass (it knows more of the hosts, or is newer): what it found. */
static void say_findings(struct client *c, const char *name) {
    struct slice text = client_problem(c);
    yyjson_doc *doc = text.len ? yyjson_read((const char *)text.p, text.len, 0) : NULL;
    yyjson_val *f;
    size_t i, n;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "findings"), i, n, f) {
        struct buf line = {0};
        struct slice instead = json_text(f, "instead");
        text_printable(&line, json_text(f, "message"), SIZE_MAX);
        if (instead.len) buf_str(&line, "; ");
        text_printable(&line, instead, SIZE_MAX);
        fprintf(stderr, "%s:%" PRIu64 ":%" PRIu64 ": %s: %s\n", name, json_uint(f, "line"), json_uint(f, "column"),
                slice_eq_str(json_text(f, "kind"), "error") ? "error" : "warning", buf_cstr(&line));
        buf_free(&line);
    }
    yyjson_doc_free(doc);
}

static enum status post_revision(struct client *c, const struct rules_push *o, const char *name, struct slice xml,
                                 struct buf *reply, unsigned *ret_http, struct error *err) {
    struct buf url = {0};
    url_begin(&url, "/api/v1/rulesets");
    url_part(&url, name);
    buf_str(&url, "/revisions");
    url_param(&url, "comment", o->comment);
    url_param(&url, "group", o->group);
    buf_clear(reply);
    enum status st = client_send(c, "POST", &url, "application/xml", xml, reply, ret_http, err);
    if (st == ST_DENIED) say_findings(c, name);
    buf_free(&url);
    return st;
}

/* What the newest revision has already, canary and all, stays that revision; else the canary names the next one. */
static enum status push_with_canary(struct client *c, const struct rules_push *o, const char *name, struct slice xml,
                                    struct buf *reply, struct error *err) {
    struct buf with = {0}, newest = {0};
    char canary[RULESET_CANARY_MAX], own[RULESET_CANARY_MAX];
    unsigned http = 409;
    enum status st = ST_OK;
    for (int i = 0; i < TRIES && http == 409; i++) {
        uint32_t revision;
        st = ask_newest(c, name, &revision, canary, err);
        if (st) break;
        ruleset_canary_name(name, revision, own);
        bool known = false;
        if (revision && strcmp(canary, own) == 0) {
            struct ruleset_ref ref = {.revision = revision};
            snprintf(ref.name, sizeof ref.name, "%s", name);
            buf_clear(&with);
            buf_clear(&newest);
            st = canary_insert(xml, own, &with, err);
            if (!st) st = revision_bytes(c, &ref, &newest, err);
            known = !st && slice_eq(buf_slice(&with), buf_slice(&newest));
        }
        if (!st && !known) {
            ruleset_canary_name(name, revision + 1, own);
            buf_clear(&with);
            st = canary_insert(xml, own, &with, err);
        }
        if (st) break;
        st = post_revision(c, o, name, buf_slice(&with), reply, &http, err);
    }
    buf_free(&with);
    buf_free(&newest);
    return st == ST_INVALID ? ST_DENIED : st;
}

/* ---- the rollout ---- */

static enum status start_rollout(struct client *c, const struct rules_push *o, yyjson_val *revision,
                                 struct json_body *plan, uint64_t *ret_id, uint64_t *ret_hosts, struct buf *reply,
                                 struct error *err) {
    struct buf url = {0};
    yyjson_doc *doc = NULL;
    struct slice name = json_text(revision, "name");
    yyjson_mut_obj_add_str(plan->doc, plan->o, "group", o->group);
    yyjson_mut_obj_add_strncpy(plan->doc, plan->o, "ruleset", (const char *)name.p, name.len);
    yyjson_mut_obj_add_uint(plan->doc, plan->o, "revision", json_uint(revision, "revision"));
    url_begin(&url, "/api/v1/rollouts");
    enum status st = json_body_post(plan, c, &url, reply, err);
    plan->doc = NULL; /* it is gone */
    if (!st) st = json_line(buf_slice(reply), &doc, err);
    if (!st) *ret_id = json_uint(yyjson_doc_get_root(doc), "id");
    if (!st) *ret_hosts = json_uint(yyjson_doc_get_root(doc), "hosts");
    yyjson_doc_free(doc);
    buf_free(&url);
    return st;
}

static void say_revision(yyjson_val *r) {
    struct slice name = json_text(r, "name"), digest = json_text(r, "digest");
    printf("%.*s@%" PRIu64 " %s: %" PRIu64 " bytes, SHA-256 %.*s\n", (int)name.len, (const char *)name.p,
           json_uint(r, "revision"), json_bool(r, "is_new") ? "is new" : "has these bytes already",
           json_uint(r, "bytes"), (int)digest.len, (const char *)digest.p);
}

static enum status roll_out(struct client *c, const struct rules_push *o, yyjson_val *revision, struct json_body *plan,
                            struct error *err) {
    struct buf reply = {0};
    uint64_t id = 0, hosts = 0;
    enum status st = start_rollout(c, o, revision, plan, &id, &hosts, &reply, err);
    if (!st && o->common.json && !o->follow) st = print_reply(buf_slice(&reply));
    if (!st && !o->common.json) {
        printf("rollout %" PRIu64 " to group %s began; to watch it: haechi rules status %" PRIu64 " --follow\n", id,
               o->group, id);
        if (!hosts) printf("no host is in group %s yet; those that join it get these rules\n", o->group);
        fflush(stdout);
    }
    if (!st && o->follow) st = rollout_follow(c, id, o->common.json, err);
    buf_free(&reply);
    return st;
}

static enum status push(struct client *c, const struct rules_push *o, const char *name, struct slice xml,
                        struct json_body *plan, struct error *err) {
    struct buf reply = {0};
    yyjson_doc *doc = NULL;
    enum status st =
        o->canary ? push_with_canary(c, o, name, xml, &reply, err) : post_revision(c, o, name, xml, &reply, NULL, err);
    if (!st) st = json_line(buf_slice(&reply), &doc, err);
    yyjson_val *revision = yyjson_doc_get_root(doc);
    if (!st && o->common.json) st = print_reply(buf_slice(&reply));
    if (!st && !o->common.json) say_revision(revision);
    if (!st && o->group) st = roll_out(c, o, revision, plan, err);
    yyjson_doc_free(doc);
    buf_free(&reply);
    return st;
}

static enum status run_rules_push(struct client *c, const void *options, const struct arg_list *words,
                                  struct error *err) {
    const struct rules_push *o = options;
    const char *path = words->items[0];
    struct json_body plan = json_body_begin();
    struct check_options co = {0};
    struct buf xml = {0};
    char name[RULESET_NAME_MAX + 1];
    enum status st = put_plan(o, &plan, err);
    if (!st) st = choose_name(o, path, name, err);
    if (!st) st = file_bytes(path, &xml, err);
    if (!st && o->group) st = group_check_options(c, o->group, &co, err);
    if (!st) st = check(&co, path, buf_slice(&xml), o->common.json, err);
    if (!st && !o->dry_run) st = push(c, o, name, buf_slice(&xml), &plan, err);
    buf_free(&xml);
    yyjson_mut_doc_free(plan.doc);
    return st;
}

const struct command rules_push_command = {
    {"rules push", "FILE|FOLDER [--group G] [--waves 5,25,100] [--wait TIME] [--auto-rollback] [--canary] [--follow]",
     "Checks a Sysmon configuration for the hosts of a group, stores it as a new revision of its ruleset, and rolls it out to "
     "the group in waves. Nothing is stored when the check finds an error; warnings go to stderr, the first 20 of them. The same bytes as the newest "
     "revision's are that revision. A folder of modules is merged first, as by rules merge. The file - is stdin, and then "
     "needs --name.",
     OPTIONS(push_options), 1, 1},
    "check, store and roll out a configuration",
    sizeof(struct rules_push),
    run_rules_push,
};
