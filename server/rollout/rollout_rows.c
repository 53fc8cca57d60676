/* The rows of rollouts and of what hosts said, both ways. Pure. */
#include "mem.h"
#include "rollout_internal.h"
#include "row.h"

#include <stdio.h>

struct slice member_key(uint32_t id, uint8_t out[4]) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(id >> (24 - 8 * i));
    return slice_of(out, 4);
}

struct slice rollout_key(uint64_t id, uint8_t out[8]) {
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(id >> (56 - 8 * i));
    return slice_of(out, 8);
}

static uint64_t key_number(struct slice key) {
    uint64_t v = 0;
    for (size_t i = 0; i < key.len; i++) v = v << 8 | key.p[i];
    return v;
}

/* ---- hosts ---- */

static void add_text(yyjson_mut_doc *doc, yyjson_mut_val *o, const char *key, const char *text) {
    if (text) yyjson_mut_obj_add_str(doc, o, key, text);
}

void row_member(const struct member *m, struct buf *out) {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o = row_begin(&doc);
    yyjson_mut_obj_add_str(doc, o, "ruleset", m->has.ruleset);
    yyjson_mut_obj_add_uint(doc, o, "revision", m->has.revision);
    yyjson_mut_obj_add_uint(doc, o, "serial", m->serial);
    yyjson_mut_obj_add_uint(doc, o, "highest", m->highest);
    yyjson_mut_obj_add_uint(doc, o, "state", m->state);
    yyjson_mut_obj_add_uint(doc, o, "evidence", m->evidence);
    yyjson_mut_obj_add_uint(doc, o, "since", m->since);
    if (m->has_digest) row_add_hex(doc, o, "digest", slice_of(m->digest, sizeof m->digest));
    add_text(doc, o, "reason", m->reason);
    add_text(doc, o, "words", m->words);
    if (m->has_sysmon) yyjson_mut_obj_add_uint(doc, o, "sysmon_state", m->sysmon_state);
    add_text(doc, o, "version", m->version);
    add_text(doc, o, "schema", m->schema);
    add_text(doc, o, "service", m->service);
    add_text(doc, o, "driver", m->driver);
    add_text(doc, o, "config_hash", m->config_hash);
    add_text(doc, o, "cannot_apply", m->cannot_apply);
    yyjson_mut_obj_add_bool(doc, o, "inbox", m->inbox);
    if (m->offered) {
        yyjson_mut_obj_add_uint(doc, o, "rollout", m->rollout);
        yyjson_mut_obj_add_uint(doc, o, "offered", m->offered_at);
        yyjson_mut_obj_add_bool(doc, o, "excused", m->excused);
        yyjson_mut_obj_add_bool(doc, o, "sysmon_ran", m->sysmon_ran);
        yyjson_mut_obj_add_bool(doc, o, "event_255", m->event_255);
        yyjson_mut_obj_add_uint(doc, o, "restarts", m->restarts);
        yyjson_mut_obj_add_uint(doc, o, "event_4", m->event_4);
        yyjson_mut_obj_add_real(doc, o, "rate_before", m->rate_before);
        yyjson_mut_obj_add_uint(doc, o, "n_before", m->n_before);
    }
    row_end(doc, out);
}

static char *text_of(yyjson_val *o, const char *key) {
    return yyjson_is_str(yyjson_obj_get(o, key)) ? row_string(o, key) : NULL;
}

static void read_reports(yyjson_val *o, struct member *m) {
    struct buf digest = {0};
    row_copy(o, "ruleset", m->has.ruleset, sizeof m->has.ruleset);
    m->has.revision = (uint32_t)row_uint(o, "revision");
    m->serial = row_uint(o, "serial");
    m->highest = row_uint(o, "highest");
    m->state = (uint32_t)row_uint(o, "state");
    if (m->state > RULES_DRIFTED) m->state = RULES_NONE;
    m->evidence = (uint32_t)row_uint(o, "evidence");
    m->since = row_uint(o, "since");
    m->has_digest = row_bytes(o, "digest", RULES_DIGEST_LEN, &digest) && digest.len == RULES_DIGEST_LEN;
    if (m->has_digest) memcpy(m->digest, digest.p, RULES_DIGEST_LEN);
    buf_free(&digest);
    m->reason = text_of(o, "reason");
    m->words = text_of(o, "words");
    m->has_sysmon = yyjson_is_uint(yyjson_obj_get(o, "sysmon_state"));
    m->sysmon_state = (uint32_t)row_uint(o, "sysmon_state");
    m->version = text_of(o, "version");
    m->schema = text_of(o, "schema");
    m->service = text_of(o, "service");
    m->driver = text_of(o, "driver");
    m->config_hash = text_of(o, "config_hash");
    m->cannot_apply = text_of(o, "cannot_apply");
    m->inbox = yyjson_get_bool(yyjson_obj_get(o, "inbox"));
}

struct member *row_member_parse(struct slice key, struct slice json) {
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc);
    struct member *m = NULL;
    if (key.len == 4 && yyjson_is_obj(o)) {
        m = mem_zalloc(sizeof *m);
        m->id = (uint32_t)key_number(key);
        m->said = true;
        read_reports(o, m);
        m->rollout = row_uint(o, "rollout");
        m->offered = m->rollout != 0;
        m->offered_at = row_uint(o, "offered");
        m->excused = yyjson_get_bool(yyjson_obj_get(o, "excused"));
        m->sysmon_ran = yyjson_get_bool(yyjson_obj_get(o, "sysmon_ran"));
        m->event_255 = yyjson_get_bool(yyjson_obj_get(o, "event_255"));
        m->restarts = (unsigned)row_uint(o, "restarts");
        m->event_4 = row_uint(o, "event_4");
        m->rate_before = yyjson_get_num(yyjson_obj_get(o, "rate_before"));
        m->n_before = (unsigned)row_uint(o, "n_before");
    }
    yyjson_doc_free(doc);
    return m;
}

/* ---- rollouts ---- */

static void add_waves(yyjson_mut_doc *doc, yyjson_mut_val *o, const struct rollout *ro) {
    yyjson_mut_val *waves = yyjson_mut_arr(doc);
    for (size_t i = 0; i < ro->plan.n_waves; i++) {
        yyjson_mut_val *w = yyjson_mut_arr_add_obj(doc, waves);
        yyjson_mut_obj_add_uint(doc, w, "percent", ro->plan.percent[i]);
        yyjson_mut_obj_add_uint(doc, w, "threshold", ro->at.threshold[i]);
        yyjson_mut_obj_add_uint(doc, w, "started", ro->at.started[i]);
        yyjson_mut_obj_add_uint(doc, w, "done", ro->at.done[i]);
    }
    yyjson_mut_obj_add_val(doc, o, "waves", waves);
}

static void add_ref(yyjson_mut_doc *doc, yyjson_mut_val *o, const char *key, const struct revision_ref *ref) {
    yyjson_mut_val *v = yyjson_mut_obj_add_obj(doc, o, key);
    yyjson_mut_obj_add_str(doc, v, "ruleset", ref->ruleset);
    yyjson_mut_obj_add_uint(doc, v, "revision", ref->revision);
}

void row_rollout(const struct rollout *ro, struct buf *out) {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o = row_begin(&doc), *last = yyjson_mut_arr(doc);
    const struct rollout_plan *p = &ro->plan;
    yyjson_mut_obj_add_str(doc, o, "group", ro->group);
    add_ref(doc, o, "gives", &ro->gives);
    add_ref(doc, o, "before", &ro->before);
    yyjson_mut_obj_add_uint(doc, o, "wait_s", p->wait_s);
    yyjson_mut_obj_add_uint(doc, o, "timeout_s", p->timeout_s);
    yyjson_mut_obj_add_uint(doc, o, "max_failed_percent", p->max_failed_percent);
    yyjson_mut_obj_add_uint(doc, o, "max_silent_percent", p->max_silent_percent);
    yyjson_mut_obj_add_real(doc, o, "rate_low", p->rate_low);
    yyjson_mut_obj_add_real(doc, o, "rate_high", p->rate_high);
    yyjson_mut_obj_add_bool(doc, o, "auto_rollback", p->auto_rollback);
    yyjson_mut_obj_add_str(doc, o, "state", rollout_state_name(ro->at.state));
    yyjson_mut_obj_add_uint(doc, o, "wave", ro->at.wave);
    yyjson_mut_obj_add_bool(doc, o, "rate_accepted", ro->at.rate_accepted);
    add_waves(doc, o, ro);
    yyjson_mut_obj_add_uint(doc, o, "created", ro->created);
    yyjson_mut_obj_add_uint(doc, o, "changed", ro->changed);
    yyjson_mut_obj_add_str(doc, o, "actor", ro->actor);
    yyjson_mut_obj_add_str(doc, o, "why", ro->why);
    yyjson_mut_obj_add_uint(doc, o, "serial", ro->serial);
    yyjson_mut_obj_add_uint(doc, o, "keep_from", ro->keep_from);
    row_add_hex(doc, o, "manifest", buf_slice(&ro->manifest));
    for (size_t i = 0; i < ROLLOUT_VERDICTS; i++) yyjson_mut_arr_add_uint(doc, last, ro->last.by[i]);
    yyjson_mut_obj_add_val(doc, o, "last", last);
    yyjson_mut_obj_add_uint(doc, o, "hosts", ro->n_hosts);
    row_end(doc, out);
}

static bool read_state(yyjson_val *o, enum rollout_state *ret) {
    const char *s = yyjson_get_str(yyjson_obj_get(o, "state"));
    for (int i = ROLLOUT_RUNNING; s && i <= ROLLOUT_SUPERSEDED; i++) {
        if (strcmp(s, rollout_state_name((enum rollout_state)i)) != 0) continue;
        *ret = (enum rollout_state)i;
        return true;
    }
    return false;
}

static void read_waves(yyjson_val *o, struct rollout *ro) {
    yyjson_val *waves = yyjson_obj_get(o, "waves"), *w;
    size_t i, n;
    yyjson_arr_foreach(waves, i, n, w) {
        if (i >= ROLLOUT_MAX_WAVES) break;
        ro->plan.percent[i] = (unsigned)row_uint(w, "percent");
        ro->at.threshold[i] = row_uint(w, "threshold");
        ro->at.started[i] = row_uint(w, "started");
        ro->at.done[i] = row_uint(w, "done");
        ro->plan.n_waves = i + 1;
    }
}

static void read_ref(yyjson_val *o, const char *key, struct revision_ref *ref) {
    row_copy(yyjson_obj_get(o, key), "ruleset", ref->ruleset, sizeof ref->ruleset);
    ref->revision = (uint32_t)row_uint(yyjson_obj_get(o, key), "revision");
}

static void read_plan(yyjson_val *o, struct rollout *ro) {
    struct rollout_plan *p = &ro->plan;
    p->wait_s = row_uint(o, "wait_s");
    p->timeout_s = row_uint(o, "timeout_s");
    p->max_failed_percent = (unsigned)row_uint(o, "max_failed_percent");
    p->max_silent_percent = (unsigned)row_uint(o, "max_silent_percent");
    p->rate_low = yyjson_get_num(yyjson_obj_get(o, "rate_low"));
    p->rate_high = yyjson_get_num(yyjson_obj_get(o, "rate_high"));
    p->auto_rollback = yyjson_get_bool(yyjson_obj_get(o, "auto_rollback"));
    p->group = ro->group;
    p->ruleset = ro->gives.ruleset;
    p->revision = ro->gives.revision;
}

struct rollout *row_rollout_parse(struct slice key, struct slice json) {
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc), *last = yyjson_obj_get(o, "last"), *count;
    struct rollout *ro = mem_zalloc(sizeof *ro);
    size_t i, n;
    bool good = key.len == 8 && read_state(o, &ro->at.state);
    ro->id = key_number(key);
    row_copy(o, "group", ro->group, sizeof ro->group);
    read_ref(o, "gives", &ro->gives);
    read_ref(o, "before", &ro->before);
    read_waves(o, ro);
    read_plan(o, ro);
    ro->at.wave = (unsigned)row_uint(o, "wave");
    ro->at.rate_accepted = yyjson_get_bool(yyjson_obj_get(o, "rate_accepted"));
    ro->created = row_uint(o, "created");
    ro->changed = row_uint(o, "changed");
    ro->actor = row_string(o, "actor");
    ro->why = row_string(o, "why");
    ro->serial = row_uint(o, "serial");
    ro->keep_from = row_uint(o, "keep_from");
    good = good && ro->id && ro->group[0] && ro->gives.ruleset[0] && ro->at.wave <= ro->plan.n_waves &&
           !rollout_plan_check(&ro->plan, NULL) && row_bytes(o, "manifest", 4096, &ro->manifest);
    yyjson_arr_foreach(last, i, n, count) {
        if (i < ROLLOUT_VERDICTS) ro->last.by[i] = yyjson_get_uint(count);
    }
    ro->n_hosts = row_uint(o, "hosts");
    yyjson_doc_free(doc);
    if (good) return ro;
    rollout_free(ro);
    return NULL;
}

void rollout_free(struct rollout *ro) {
    order_release(&ro->order);
    buf_free(&ro->manifest);
    mem_free(ro->actor);
    mem_free(ro->why);
    mem_free(ro);
}
