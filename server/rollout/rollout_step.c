/* Rollouts as a function. What is counted: hosts that are reached (their hash is at or below the wave's threshold). A wave is over
 * when each of them that is connected is loaded or failed, and somebody has tried at all. */
#include "rollout_step.h"
#include "clock.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const state_names[] = {
#define ROLLOUT_STATE_NAME(id, name, text) name,
    ROLLOUT_STATE_LIST(ROLLOUT_STATE_NAME)
#undef ROLLOUT_STATE_NAME
};

const char *rollout_state_name(enum rollout_state s) {
    return state_names[s];
}

static const struct {
    const char *name, *text;
} verdicts[] = {
#define ROLLOUT_VERDICT_TEXT(id, name, text) {name, text},
    ROLLOUT_VERDICT_LIST(ROLLOUT_VERDICT_TEXT)
#undef ROLLOUT_VERDICT_TEXT
};

const char *rollout_verdict_name(enum rollout_verdict v) {
    return verdicts[v].name;
}

const char *rollout_verdict_text(enum rollout_verdict v) {
    return verdicts[v].text;
}

MUST_USE enum status rollout_plan_check(const struct rollout_plan *p, struct error *err) {
    if (!p->n_waves || p->n_waves > ROLLOUT_MAX_WAVES)
        return error_set(err, ST_INVALID, "a rollout has 1 to %d waves", ROLLOUT_MAX_WAVES);
    for (size_t i = 0; i < p->n_waves; i++) {
        if (p->percent[i] < 1 || p->percent[i] > 100 || (i && p->percent[i] <= p->percent[i - 1])) {
            return error_set(err, ST_INVALID, "waves are percentages that ascend, as in 5,25,100: %u is out of line",
                             p->percent[i]);
        }
    }
    if (p->percent[p->n_waves - 1] != 100)
        return error_set(err, ST_INVALID, "the last wave is 100, so that the whole group gets it");
    if (p->timeout_s < ROLLOUT_TIMEOUT_MIN_S) return error_set(err, ST_INVALID, "the timeout is at least a second");
    if (p->max_failed_percent > 100 || p->max_silent_percent > 100)
        return error_set(err, ST_INVALID, "max_failed_percent and max_silent_percent are 0 to 100");
    bool sane = p->rate_low >= 0 && p->rate_high >= 0 && p->rate_low < 1e9 && p->rate_high < 1e9;
    if (!sane || (p->rate_high > 0 && p->rate_low >= p->rate_high))
        return error_set(err, ST_INVALID, "the bounds of the event rate make no sense: rate_low is below rate_high");
    return ST_OK;
}

bool rollout_reaches(const struct rollout_plan *p, const struct rollout_progress *at, uint64_t hash) {
    return at->wave < p->n_waves && hash <= at->threshold[at->wave];
}

/* ---- one host ---- */

static uint64_t silent_after(const struct rollout_plan *p) {
    return p->timeout_s < ROLLOUT_SILENT_S ? p->timeout_s : ROLLOUT_SILENT_S;
}

static enum rollout_verdict failure(const struct rollout_plan *p, const struct rollout_host *h) {
    if (h->state == RULES_FAILED) return ROLLOUT_HOST_FAILED;
    if (h->state == RULES_REFUSED) return ROLLOUT_HOST_REFUSED;
    if (h->state == RULES_DRIFTED) return ROLLOUT_HOST_DRIFTED;
    if (h->sysmon_gone) return ROLLOUT_HOST_GONE;
    if (h->event_255) return ROLLOUT_HOST_ERROR;
    if (h->restarts >= ROLLOUT_MAX_RESTARTS) return ROLLOUT_HOST_RESTARTS;
    if (h->state != RULES_LOADED && h->exposed_s >= p->timeout_s) return ROLLOUT_HOST_LATE;
    return ROLLOUT_HOST_LOADED;
}

enum rollout_verdict rollout_judge(const struct rollout_plan *p, const struct rollout_host *h) {
    if (!h->offered) return h->connected ? ROLLOUT_HOST_DUE : ROLLOUT_HOST_AWAY;
    enum rollout_verdict bad = failure(p, h);
    if (bad == ROLLOUT_HOST_LOADED && !h->connected && h->gone_s >= silent_after(p)) bad = ROLLOUT_HOST_SILENT;
    if (h->state == RULES_LOADED && bad == ROLLOUT_HOST_LOADED)
        return ROLLOUT_HOST_LOADED; /* also one that was excused */
    if (h->excused) return ROLLOUT_HOST_EXCUSED;
    return bad == ROLLOUT_HOST_LOADED ? ROLLOUT_HOST_WORKS : bad;
}

void rollout_count(const struct rollout_plan *p, const struct rollout_progress *at, const struct rollout_host *hosts,
                   size_t n, struct rollout_tally *ret) {
    *ret = (struct rollout_tally){0};
    for (size_t i = 0; i < n; i++) {
        const struct rollout_host *h = &hosts[i];
        if (!rollout_reaches(p, at, h->hash)) continue;
        enum rollout_verdict v = rollout_judge(p, h);
        ret->n++;
        ret->by[v]++;
        ret->failed += rollout_verdict_is_failure(v);
        ret->offered += h->offered && v != ROLLOUT_HOST_EXCUSED;
        if (v == ROLLOUT_HOST_LOADED && h->n_before >= ROLLOUT_MIN_SAMPLES && h->n_after >= ROLLOUT_MIN_SAMPLES) {
            ret->rate_before += h->rate_before;
            ret->rate_after += h->rate_after;
            ret->n_rated++;
        }
    }
}

/* ---- halting ---- */

static unsigned percent_of(size_t part, size_t whole) {
    return whole ? (unsigned)((part * 100 + whole - 1) / whole) : 0;
}

/* More than max percent of them; a host that is still to be offered counts in the whole, or the first answers would weigh too much. */
static bool too_many(size_t part, size_t whole, unsigned max) {
    return part && part * 100 > (size_t)max * whole;
}

static void say_failed(const struct rollout_tally *t, size_t whole, unsigned max, struct rollout_step *s) {
    int at = snprintf(s->why, sizeof s->why, "%zu of %zu hosts failed (%u %%, at most %u %% may):", t->failed, whole,
                      percent_of(t->failed, whole), max);
    const char *comma = " ";
    for (int v = ROLLOUT_HOST_FAILED; v < ROLLOUT_VERDICTS && at > 0 && (size_t)at < sizeof s->why; v++) {
        if (!t->by[v]) continue;
        at += snprintf(s->why + at, sizeof s->why - (size_t)at, "%s%zu %s", comma, t->by[v], verdicts[v].name);
        comma = ", ";
    }
}

static bool must_halt(const struct rollout_plan *p, const struct rollout_progress *at, const struct rollout_tally *t,
                      struct rollout_step *s) {
    size_t whole = t->offered + t->by[ROLLOUT_HOST_DUE];
    s->what = ROLLOUT_HALT;
    s->roll_back = p->auto_rollback;
    if (too_many(t->failed, whole, p->max_failed_percent)) {
        say_failed(t, whole, p->max_failed_percent, s);
        return true;
    }
    if (too_many(t->by[ROLLOUT_HOST_SILENT], whole, p->max_silent_percent)) {
        snprintf(s->why, sizeof s->why, "%zu of %zu hosts fell silent after the offer (%u %%, at most %u %% may)",
                 t->by[ROLLOUT_HOST_SILENT], whole, percent_of(t->by[ROLLOUT_HOST_SILENT], whole),
                 p->max_silent_percent);
        return true;
    }
    if (t->n_rated && t->rate_before > 0 && !at->rate_accepted) {
        double ratio = t->rate_after / t->rate_before;
        s->by_rate = (p->rate_high > 0 && ratio > p->rate_high) || (p->rate_low > 0 && ratio < p->rate_low);
        if (s->by_rate) {
            snprintf(
                s->why, sizeof s->why,
                "the event rate of %zu hosts went from %.1f to %.1f events/s (times %.2f; the bounds are %.2f and %.2f)",
                t->n_rated, t->rate_before, t->rate_after, ratio, p->rate_low, p->rate_high);
            return true;
        }
    }
    s->what = ROLLOUT_WAIT;
    s->roll_back = false;
    return false;
}

/* ---- waves ---- */

static int cmp_hash(const void *pa, const void *pb) {
    const struct rollout_host *const *a = pa, *const *b = pb;
    return ((*a)->hash > (*b)->hash) - ((*a)->hash < (*b)->hash);
}

/* The threshold of a wave: percent of the hosts in the order of their hashes, at least one, none less than `least` says; then on to
 * the first that is connected and was not reached, unless there is none. */
static uint64_t threshold_of(unsigned percent, uint64_t least, bool has_least, const struct rollout_host *hosts,
                             size_t n) {
    if (percent == 100) return UINT64_MAX;
    const struct rollout_host **order = mem_alloc(mem_mul(n + 1, sizeof(struct rollout_host *)));
    for (size_t i = 0; i < n; i++) order[i] = &hosts[i];
    if (n) qsort(order, n, sizeof *order, cmp_hash);
    size_t reached = (n * percent + 99) / 100, fresh = n;
    while (has_least && reached < n && order[reached]->hash <= least) reached++;
    for (size_t i = 0; i < n; i++) {
        if (has_least && order[i]->hash <= least) continue;
        if (order[i]->connected) {
            fresh = i;
            break;
        }
    }
    if (fresh < n && fresh >= reached) reached = fresh + 1;
    uint64_t t = reached ? order[reached - 1]->hash : 0;
    mem_free(order);
    return has_least && t < least ? least : t;
}

static void start(const struct rollout_plan *p, const struct rollout_progress *at, unsigned wave,
                  const struct rollout_host *hosts, size_t n, struct rollout_step *s) {
    bool has_least = at->wave < p->n_waves;
    s->what = ROLLOUT_START;
    s->wave = wave;
    s->threshold = threshold_of(p->percent[wave], has_least ? at->threshold[at->wave] : 0, has_least, hosts, n);
}

static bool somebody_waits(const struct rollout_host *hosts, size_t n, const struct rollout_plan *p,
                           const struct rollout_progress *at) {
    for (size_t i = 0; i < n; i++) {
        if (hosts[i].connected && !rollout_reaches(p, at, hosts[i].hash)) return true;
    }
    return false;
}

/* Has the wave brought any host that the one before had not? */
static bool brought_any(const struct rollout_progress *at, const struct rollout_host *hosts, size_t n) {
    if (!at->wave) return true;
    for (size_t i = 0; i < n; i++) {
        if (hosts[i].hash <= at->threshold[at->wave] && hosts[i].hash > at->threshold[at->wave - 1]) return true;
    }
    return false;
}

static void in_wave(const struct rollout_plan *p, const struct rollout_progress *at, const struct rollout_host *hosts,
                    size_t n, const struct rollout_tally *t, struct rollout_step *s) {
    size_t tried = t->by[ROLLOUT_HOST_LOADED] + t->failed + t->by[ROLLOUT_HOST_SILENT] + t->by[ROLLOUT_HOST_EXCUSED];
    size_t pending = t->by[ROLLOUT_HOST_DUE] + t->by[ROLLOUT_HOST_WORKS];
    s->wave = at->wave;
    if (pending) return;
    if (!tried && n) { /* nobody there who could try it */
        if (!somebody_waits(hosts, n, p, at)) return;
        s->what = ROLLOUT_WIDEN;
        s->threshold = threshold_of(p->percent[at->wave], at->threshold[at->wave], true, hosts, n);
        return;
    }
    s->what = at->wave + 1 == p->n_waves ? ROLLOUT_FINISH : ROLLOUT_WAVE_OVER;
}

void rollout_next(const struct rollout_plan *p, const struct rollout_progress *at, const struct rollout_host *hosts,
                  size_t n, uint64_t now, struct rollout_step *ret) {
    struct rollout_tally t;
    *ret = (struct rollout_step){.what = ROLLOUT_WAIT, .wave = at->wave};
    if (at->state != ROLLOUT_RUNNING) return;
    if (at->wave >= p->n_waves) {
        start(p, at, 0, hosts, n, ret);
        return;
    }
    rollout_count(p, at, hosts, n, &t);
    if (must_halt(p, at, &t, ret)) return;
    if (!at->done[at->wave]) {
        in_wave(p, at, hosts, n, &t, ret);
        return;
    }
    /* a wave that was the same hosts again has nothing to wait for */
    uint64_t wait = brought_any(at, hosts, n) && n ? p->wait_s : 0;
    if (now < at->done[at->wave] || (now - at->done[at->wave]) / FILETIME_SECOND < wait) return;
    start(p, at, at->wave + 1, hosts, n, ret);
}

void rollout_apply(const struct rollout_step *s, uint64_t now, struct rollout_progress *at) {
    switch (s->what) {
    case ROLLOUT_WAIT: break;
    case ROLLOUT_START:
        at->wave = s->wave;
        at->threshold[s->wave] = s->threshold;
        at->started[s->wave] = now;
        break;
    case ROLLOUT_WIDEN: at->threshold[s->wave] = s->threshold; break;
    case ROLLOUT_WAVE_OVER: at->done[s->wave] = now; break;
    case ROLLOUT_HALT: at->state = ROLLOUT_HALTED; break;
    case ROLLOUT_FINISH:
        at->done[s->wave] = now;
        at->state = ROLLOUT_DONE;
        break;
    }
}
