/* What is told of rollouts and of hosts' rules: JSON, snapshots, counts. Work threads. */
#include "clock.h"
#include "jout.h"
#include "mem.h"
#include "rollout_internal.h"

#include <ctype.h>
#include <stdio.h>

#define MAX_SHOWN 100 /* hosts that failed, in full */

/* ---- one host ---- */

static char *copy(const char *text) {
    return mem_strdup(text ? text : "");
}

void host_rules_free(struct host_rules *h) {
    char *strings[] = {h->reason,         h->words,         h->sysmon.version,     h->sysmon.schema,
                       h->sysmon.service, h->sysmon.driver, h->sysmon.config_hash, h->sysmon.cannot_apply};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) mem_free(strings[i]);
    *h = (struct host_rules){0};
}

static void snapshot(const struct member *m, struct host_rules *h) {
    struct want w;
    bool wants = member_wants(m, &w);
    if (wants) {
        memcpy(h->group, w.team->name, sizeof h->group);
        memcpy(h->want, w.what->ruleset, sizeof h->want);
        h->want_revision = w.what->revision;
        h->want_serial = w.serial;
        h->rollout = w.by_rollout ? w.team->rollout->id : 0;
        h->behind = !member_has(m, &w);
    }
    memcpy(h->has, m->has.ruleset, sizeof h->has);
    h->has_revision = m->has.revision;
    h->has_serial = m->serial;
    h->state = m->state;
    h->evidence = m->evidence;
    h->since = m->since;
    h->takes_rules = m->connection != 0;
    h->sysmon.is_known = m->has_sysmon;
    h->sysmon.state = m->sysmon_state;
    h->sysmon.inbox = m->inbox;
    h->sysmon.event_16 = m->event_16;
}

void rollouts_host(struct rollouts *r, uint32_t host, struct host_rules *ret) {
    static const struct member nobody;
    *ret = (struct host_rules){.host = host};
    uv_mutex_lock(&r->lock);
    const struct member *m = member_get(r, host);
    if (!m) m = &nobody;
    snapshot(m, ret);
    ret->reason = copy(m->reason);
    ret->words = copy(m->words);
    ret->sysmon.version = copy(m->version);
    ret->sysmon.schema = copy(m->schema);
    ret->sysmon.service = copy(m->service);
    ret->sysmon.driver = copy(m->driver);
    ret->sysmon.config_hash = copy(m->config_hash);
    ret->sysmon.cannot_apply = copy(m->cannot_apply);
    uv_mutex_unlock(&r->lock);
}

const char *host_rules_word(const struct host_rules *h) {
    return h->behind ? "behind" : rules_state_name(h->state);
}

/* ---- rollouts ---- */

struct shown { /* a host that failed */
    uint32_t id, state;
    enum rollout_verdict verdict;
    char *reason, *words;
};

struct view {          /* a copy of all that is told, taken under the lock */
    struct rollout ro; /* strings: why and actor are copies, the rest unused */
    bool live;
    size_t n_hosts, n_failed, n_shown, beyond;
    struct rollout_tally all, waves[ROLLOUT_MAX_WAVES];
    struct shown shown[MAX_SHOWN];
};

static unsigned wave_of(const struct rollout *ro, uint64_t hash) {
    unsigned k = 0;
    while (k < ro->plan.n_waves && !(ro->at.started[k] && hash <= ro->at.threshold[k])) k++;
    return k; /* n_waves: beyond */
}

static void look_at(const struct member *m, const struct rollout *ro, const struct rollout_host *h, bool in_full,
                    struct view *v) {
    enum rollout_verdict verdict = rollout_judge(&ro->plan, h);
    unsigned wave = wave_of(ro, h->hash);
    if (wave == ro->plan.n_waves) {
        v->beyond++;
        return;
    }
    v->waves[wave].n++;
    v->waves[wave].by[verdict]++;
    bool bad = verdict >= ROLLOUT_HOST_EXCUSED;
    v->n_failed += bad;
    if (!bad || !in_full || v->n_shown == MAX_SHOWN) return;
    v->shown[v->n_shown++] = (struct shown){
        .id = m->id, .state = h->state, .verdict = verdict, .reason = copy(m->reason), .words = copy(m->words)};
}

/* Under the lock. */
static void take_view(struct rollouts *r, const struct rollout *ro, bool in_full, struct view *v) {
    struct rollout_host *hosts;
    struct member **members;
    const struct team *t = team_get(r, ro->group);
    *v = (struct view){.ro = *ro};
    v->ro.why = mem_strdup(ro->why);
    v->ro.actor = mem_strdup(ro->actor);
    v->live = rollout_is_active(ro) || (t && t->rollout == ro);
    v->n_hosts = ro->n_hosts;
    v->all = ro->last;
    if (!v->live) return;
    v->n_hosts = members_of(r, ro, &hosts, &members);
    rollout_count(&ro->plan, &ro->at, hosts, v->n_hosts, &v->all);
    for (size_t i = 0; i < v->n_hosts; i++) look_at(members[i], ro, &hosts[i], in_full, v);
    mem_free(hosts);
    mem_free(members);
}

static void drop_view(struct view *v) {
    for (size_t i = 0; i < v->n_shown; i++) {
        mem_free(v->shown[i].reason);
        mem_free(v->shown[i].words);
    }
    mem_free(v->ro.why);
    mem_free(v->ro.actor);
    mem_free(v);
}

static void put_counts(struct buf *out, const struct rollout_tally *t) {
    jout_object(out, "counts");
    for (int i = 0; i < ROLLOUT_VERDICTS; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s", rollout_verdict_name((enum rollout_verdict)i));
        for (char *c = key; *c; c++) *c = *c == ' ' ? '_' : (char)tolower((unsigned char)*c);
        jout_uint(out, key, t->by[i]);
    }
    jout_close(out, '}');
}

static void put_ref(struct buf *out, const char *key, const struct revision_ref *ref) {
    if (!ref->ruleset[0]) {
        jout_null(out, key);
        return;
    }
    jout_object(out, key);
    jout_str(out, "ruleset", ref->ruleset);
    jout_uint(out, "revision", ref->revision);
    jout_close(out, '}');
}

static void put_plan(struct buf *out, const struct rollout_plan *p) {
    jout_uint(out, "wait_s", p->wait_s);
    jout_uint(out, "timeout_s", p->timeout_s);
    jout_uint(out, "max_failed_percent", p->max_failed_percent);
    jout_uint(out, "max_silent_percent", p->max_silent_percent);
    jout_real(out, "rate_low", p->rate_low);
    jout_real(out, "rate_high", p->rate_high);
    jout_bool(out, "auto_rollback", p->auto_rollback);
}

static void put_waves(struct buf *out, const struct view *v) {
    const struct rollout_progress *at = &v->ro.at;
    jout_array(out, "waves");
    for (unsigned k = 0; k < v->ro.plan.n_waves; k++) {
        jout_object(out, NULL);
        jout_uint(out, "wave", k + 1);
        jout_uint(out, "percent", v->ro.plan.percent[k]);
        jout_time(out, "started", at->started[k]);
        jout_time(out, "done", at->done[k]);
        jout_uint(out, "hosts", v->waves[k].n);
        put_counts(out, &v->waves[k]);
        jout_close(out, '}');
    }
    jout_close(out, ']');
}

static void put_failed(struct rollouts *r, struct buf *out, const struct view *v) {
    jout_uint(out, "n_failed", v->n_failed);
    jout_array(out, "failed");
    for (size_t i = 0; i < v->n_shown; i++) {
        const struct shown *s = &v->shown[i];
        struct fleet_host h = {0};
        bool known = fleet_host_get(r->o.fleet, s->id, &h) == ST_OK;
        jout_object(out, NULL);
        jout_uint(out, "id", s->id);
        jout_str(out, "host", known ? h.name : "");
        jout_str(out, "verdict", rollout_verdict_name(s->verdict));
        jout_str(out, "text", rollout_verdict_text(s->verdict));
        jout_str(out, "state", rules_state_name(s->state));
        jout_str(out, "reason", s->reason);
        jout_str(out, "words", s->words);
        jout_close(out, '}');
        if (known) fleet_host_free(&h);
    }
    jout_close(out, ']');
}

static void put_view(struct rollouts *r, struct buf *out, const struct view *v, bool in_full) {
    const struct rollout *ro = &v->ro;
    unsigned wave = ro->at.wave;
    bool waits = ro->at.state == ROLLOUT_RUNNING && wave < ro->plan.n_waves && ro->at.done[wave];
    jout_object(out, NULL);
    jout_uint(out, "id", ro->id);
    jout_str(out, "group", ro->group);
    jout_str(out, "ruleset", ro->gives.ruleset);
    jout_uint(out, "revision", ro->gives.revision);
    put_ref(out, "before", &ro->before);
    jout_uint(out, "serial", ro->serial);
    jout_str(out, "state", rollout_state_name(ro->at.state));
    jout_str(out, "why", ro->why);
    jout_str(out, "actor", ro->actor);
    jout_time(out, "created", ro->created);
    jout_time(out, "changed", ro->changed);
    put_plan(out, &ro->plan);
    jout_uint(out, "wave", wave < ro->plan.n_waves ? wave + 1 : 0);
    jout_time(out, "next_wave", waits ? ro->at.done[wave] + ro->plan.wait_s * FILETIME_SECOND : 0);
    jout_uint(out, "hosts", v->n_hosts);
    jout_uint(out, "reached", v->all.n);
    jout_uint(out, "beyond", v->beyond);
    put_counts(out, &v->all);
    jout_object(out, "events_per_s");
    jout_real(out, "before", v->all.rate_before);
    jout_real(out, "after", v->all.rate_after);
    jout_uint(out, "hosts", v->all.n_rated);
    jout_close(out, '}');
    put_waves(out, v);
    if (in_full) put_failed(r, out, v);
    jout_line(out);
}

MUST_USE enum status rollouts_json(struct rollouts *r, uint64_t id, struct buf *out, struct error *err) {
    struct view *v = mem_zalloc(sizeof *v);
    uv_mutex_lock(&r->lock);
    const struct rollout *ro = rollout_get(r, id);
    if (ro) take_view(r, ro, true, v);
    uv_mutex_unlock(&r->lock);
    if (ro) put_view(r, out, v, true);
    drop_view(v);
    return ro ? ST_OK
              : error_set(err, ST_NOTFOUND, "there is no rollout %llu; see: haechi rules status",
                          (unsigned long long)id);
}

void rollouts_list_json(struct rollouts *r, const char *group, struct buf *out) {
    for (size_t i = 0;; i++) {
        struct view *v = mem_zalloc(sizeof *v);
        uv_mutex_lock(&r->lock);
        bool more = i < r->n_rollouts, wanted = more && (!group || strcmp(r->rollouts[i]->group, group) == 0);
        if (wanted) take_view(r, r->rollouts[i], false, v);
        uv_mutex_unlock(&r->lock);
        if (wanted) put_view(r, out, v, false);
        drop_view(v);
        if (!more) return;
    }
}

void rollouts_count(struct rollouts *r, struct rollouts_counts *ret) {
    struct want w;
    *ret = (struct rollouts_counts){0};
    uv_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n_members; i++) {
        const struct member *m = r->members[i];
        if (!m->active) continue;
        ret->by_state[m->state]++;
        ret->behind += member_wants(m, &w) && !member_has(m, &w);
    }
    for (size_t i = 0; i < r->n_rollouts; i++) {
        ret->running += r->rollouts[i]->at.state == ROLLOUT_RUNNING;
        ret->halted += r->rollouts[i]->at.state == ROLLOUT_HALTED;
    }
    uv_mutex_unlock(&r->lock);
}
