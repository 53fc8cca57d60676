/* Rollouts: begun, halted, resumed, rolled back, shown. */
#include "handlers.h"
#include "jout.h"
#include "log.h"

#include <yyjson.h>

/* What stands in a plan that does not say otherwise. */
#define WAIT_S 900
#define TIMEOUT_S 900
#define MAX_FAILED_PERCENT 5
#define MAX_SILENT_PERCENT 20

/* ---- the plan ---- */

static enum status get_real(yyjson_val *root, const char *key, double *ret, struct error *err) {
    yyjson_val *v = yyjson_obj_get(root, key);
    if (!v) return ST_OK;
    if (!yyjson_is_num(v)) return error_set(err, ST_INVALID, "%s is no number", key);
    *ret = yyjson_get_num(v);
    return ST_OK;
}

static enum status get_waves(yyjson_val *root, struct rollout_plan *p, struct error *err) {
    yyjson_val *waves = yyjson_obj_get(root, "waves"), *w;
    size_t i, n;
    if (!waves) return ST_OK;
    if (!yyjson_is_arr(waves) || !yyjson_arr_size(waves) || yyjson_arr_size(waves) > ROLLOUT_MAX_WAVES)
        return error_set(err, ST_INVALID, "waves is no list of 1 to %d percentages", ROLLOUT_MAX_WAVES);
    p->n_waves = yyjson_arr_size(waves);
    yyjson_arr_foreach(waves, i, n, w) {
        if (!yyjson_is_uint(w) || yyjson_get_uint(w) > 100)
            return error_set(err, ST_INVALID, "waves has what is no percentage");
        p->percent[i] = (unsigned)yyjson_get_uint(w);
    }
    return ST_OK;
}

static enum status read_plan(yyjson_val *root, struct rollout_plan *p, struct error *err) {
    uint64_t revision = 0, failed = MAX_FAILED_PERCENT, silent = MAX_SILENT_PERCENT;
    *p = (struct rollout_plan){.percent = {5, 25, 100}, .n_waves = 3, .wait_s = WAIT_S, .timeout_s = TIMEOUT_S};
    enum status st = call_text(root, "group", &p->group, err);
    if (!st) st = call_text(root, "ruleset", &p->ruleset, err);
    if (!st && (!p->group || !p->ruleset)) {
        st = error_set(err, ST_INVALID, "%s is missing: a rollout gives a ruleset to a group",
                       p->group ? "ruleset" : "group");
    }
    if (!st) st = call_number(root, "revision", UINT32_MAX, &revision, err);
    if (!st) st = get_waves(root, p, err);
    if (!st) st = call_number(root, "wait_s", UINT32_MAX, &p->wait_s, err);
    if (!st) st = call_number(root, "timeout_s", UINT32_MAX, &p->timeout_s, err);
    if (!st) st = call_number(root, "max_failed_percent", 100, &failed, err);
    if (!st) st = call_number(root, "max_silent_percent", 100, &silent, err);
    if (!st) st = get_real(root, "rate_low", &p->rate_low, err);
    if (!st) st = get_real(root, "rate_high", &p->rate_high, err);
    if (!st) st = call_bool(root, "auto_rollback", &p->auto_rollback, err);
    p->revision = (uint32_t)revision;
    p->max_failed_percent = (unsigned)failed;
    p->max_silent_percent = (unsigned)silent;
    return st;
}

enum step rollout_start_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {"group",    "ruleset",   "revision",           "waves",
                                       "wait_s",   "timeout_s", "max_failed_percent", "max_silent_percent",
                                       "rate_low", "rate_high", "auto_rollback",      NULL};
    struct rollout_plan p;
    yyjson_doc *doc = NULL;
    uint64_t id = 0;
    enum status st = call_json(c, keys, &doc, err);
    if (!st) st = read_plan(yyjson_doc_get_root(doc), &p, err);
    if (!st) st = rollout_start(c->common->o->rollouts, c->actor, &p, &id, err);
    yyjson_doc_free(doc);
    if (!st) st = rollouts_json(c->common->o->rollouts, id, out, err);
    if (st) return call_fail(err, st);
    c->http = 201;
    return STEP_END;
}

/* ---- the rest ---- */

static enum status the_id(const struct call *c, uint64_t *ret, struct error *err) {
    uint64_t id = 0;
    const char *p = c->words[0];
    for (; *p >= '0' && *p <= '9' && id < UINT64_MAX / 10 - 1; p++) id = id * 10 + (uint64_t)(*p - '0');
    *ret = id;
    return !*p && p != c->words[0]
               ? ST_OK
               : error_set(err, ST_NOTFOUND, "%s is no number of a rollout; see: haechi rules status",
                           log_peer(slice_str(c->words[0])));
}

enum step rollouts_step(struct call *c, struct buf *out, struct error *err) {
    (void)err;
    rollouts_list_json(c->common->o->rollouts, call_param(c, "group"), out);
    return STEP_END;
}

enum step rollout_show_step(struct call *c, struct buf *out, struct error *err) {
    uint64_t id;
    enum status st = the_id(c, &id, err);
    if (!st) st = rollouts_json(c->common->o->rollouts, id, out, err);
    return st ? call_fail(err, st) : STEP_END;
}

static enum step changed(struct call *c, struct buf *out, enum status st, uint64_t id, struct error *err) {
    if (!st) st = rollouts_json(c->common->o->rollouts, id, out, err);
    return st ? call_fail(err, st) : STEP_END;
}

enum step rollout_halt_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {"reason", NULL};
    yyjson_doc *doc = NULL;
    uint64_t id = 0;
    enum status st = call_json(c, keys, &doc, err);
    const char *reason = NULL;
    if (!st) st = call_text(yyjson_doc_get_root(doc), "reason", &reason, err);
    if (!st) st = the_id(c, &id, err);
    if (!st) st = rollout_halt(c->common->o->rollouts, c->actor, id, reason, err);
    yyjson_doc_free(doc);
    return changed(c, out, st, id, err);
}

static enum step plain_change(struct call *c, struct buf *out, struct error *err,
                              enum status (*change)(struct rollouts *, const char *, uint64_t, struct error *)) {
    static const char *const keys[] = {NULL};
    yyjson_doc *doc = NULL;
    uint64_t id = 0;
    enum status st = call_json(c, keys, &doc, err);
    yyjson_doc_free(doc);
    if (!st) st = the_id(c, &id, err);
    if (!st) st = change(c->common->o->rollouts, c->actor, id, err);
    return changed(c, out, st, id, err);
}

enum step rollout_resume_step(struct call *c, struct buf *out, struct error *err) {
    return plain_change(c, out, err, rollout_resume);
}

enum step rollout_rollback_step(struct call *c, struct buf *out, struct error *err) {
    return plain_change(c, out, err, rollout_rollback);
}
