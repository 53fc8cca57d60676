/* 1 SOURCE  The Event Log source's decisions. Pure. */
#include "evtlog_policy.h"

#define FAIL_MAX_SHIFT 10u
#define GROW_AFTER 1000u /* good records before the batch is doubled again */

/* What each error means and how long it is waited for: doubled from base to most. again: the first time at once. */
static const struct trouble {
    unsigned error, base_ms, most_ms;
    bool again, grave;
    const char *text;
} troubles[] = {
    {EVTLOG_ACCESS_DENIED, 60000, 60000, false, true,
     "access is denied: run the service as LocalSystem, or put its account into Event Log Readers; trying again every minute"},
    {EVTLOG_CHANNEL_NOT_FOUND, 5000, 60000, false, true,
     "there is no such channel on this host; trying again every minute, in case it is installed later"},
    {EVTLOG_INVALID_QUERY, 60000, 60000, false, true,
     "Windows refuses the query of this channel; trying again every minute"},
    {EVTLOG_DIRECT_CHANNEL, 60000, 60000, false, true,
     "an analytic or debug channel cannot be read live; trying again every minute"},
    {EVTLOG_RPC_UNAVAILABLE, 1000, 30000, false, false, "the Event Log service is not there: trying again"},
    {EVTLOG_RPC_FAILED, 1000, 30000, false, false, "the Event Log service went away: trying again"},
    {EVTLOG_RPC_CANCELLED, 1000, 30000, false, false, "the Event Log service ended the call: trying again"},
    {EVTLOG_PUBLISHER_NOT_FOUND, 1000, 30000, true, false, "the publisher is being updated: subscribing again"},
    {EVTLOG_PUBLISHER_DISABLED, 1000, 30000, true, false, "the publisher is being updated: subscribing again"},
    {EVTLOG_RESULT_STALE, 1000, 30000, true, false, "the log was cleared or rolled over: subscribing again"},
    {EVTLOG_RESULT_POSITION, 1000, 30000, true, false, "the log was cleared or rolled over: subscribing again"},
    {EVTLOG_INVALID_HANDLE, 1000, 30000, true, false, "the subscription is gone: subscribing again"},
};

static const struct trouble *trouble_of(unsigned error) {
    static const struct trouble other = {0, 1000, 60000, false, false, "an error of the Event Log: trying again"};
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        if (troubles[i].error == error) return &troubles[i];
    }
    return &other;
}

const char *evtlog_error_text(unsigned error) {
    const struct trouble *t = trouble_of(error);
    return t->error ? t->text : "";
}

uint64_t evtlog_newest(const struct evtlog_log *l) {
    return l->count ? l->oldest + (l->count - 1) : 0;
}

void evtlog_policy_init(struct evtlog_policy *p, uint64_t last_id, uint64_t last_time, bool filtered) {
    *p = (struct evtlog_policy){.last_id = last_id,
                                .last_time = last_time,
                                .filtered = filtered,
                                .batch = EVTLOG_BATCH_START};
}

static struct evtlog_step step(enum evtlog_act act) {
    return (struct evtlog_step){.act = act};
}

/* Once for each trouble, and again when it lasts. */
static struct evtlog_step say(struct evtlog_policy *p, enum evtlog_act act, unsigned error, uint64_t now_ms) {
    struct evtlog_step s = step(act);
    if (p->told == error && now_ms < p->told_at + EVTLOG_REPEAT_MS) return s;
    p->told = error;
    p->told_at = now_ms;
    s.say = trouble_of(error)->text;
    s.grave = trouble_of(error)->grave;
    return s;
}

static struct evtlog_step fail(struct evtlog_policy *p, unsigned error, uint64_t now_ms) {
    const struct trouble *t = trouble_of(error);
    unsigned before = p->fails;
    if (p->fails < FAIL_MAX_SHIFT) p->fails++;
    p->open = p->doubt = false;
    p->suspect_at = 0;
    if (t->again && !before) {
        p->retry_at = now_ms;
        return say(p, EVTLOG_REOPEN, error, now_ms);
    }
    uint64_t wait = (uint64_t)t->base_ms << before;
    p->retry_at = now_ms + (wait < t->most_ms ? wait : t->most_ms);
    return say(p, EVTLOG_LATER, error, now_ms);
}

static struct evtlog_step reopen(struct evtlog_policy *p, uint64_t now_ms, const char *why) {
    p->open = p->doubt = false;
    p->suspect_at = 0;
    p->retry_at = now_ms;
    return (struct evtlog_step){.act = EVTLOG_REOPEN, .say = why};
}

/* A log that is far from full has not overwritten anything: it was cleared. */
static enum evtlog_cause cause_of(const struct evtlog_log *l) {
    return l->max_bytes && l->bytes < l->max_bytes / 2 ? EVTLOG_CLEARED : EVTLOG_WRAPPED;
}

bool evtlog_plan(struct evtlog_policy *p, const struct evtlog_log *l, enum evtlog_found found, uint64_t found_time) {
    uint64_t newest = evtlog_newest(l);
    p->compare = false;
    if (!p->last_id) {
        p->start = EVTLOG_OLDEST;
        return false;
    }
    bool other = (found == EVTLOG_FOUND && p->last_time && found_time != p->last_time) ||
                 (found != EVTLOG_FOUND && newest && newest < p->last_id);
    p->low_is_known = !other && newest && newest < p->last_id;
    if (other) {
        p->last_id = p->last_time = 0;
        p->epoch = 0;
        p->excused = 0;
        p->damaged = false;
        p->start = EVTLOG_OLDEST;
        return true;
    }
    p->start = found == EVTLOG_ABSENT || p->no_strict ? EVTLOG_AFTER_LOOSE : EVTLOG_AFTER;
    p->compare = p->start == EVTLOG_AFTER_LOOSE;
    p->lost_cause = cause_of(l);
    return false;
}

struct evtlog_step evtlog_on_subscribed(struct evtlog_policy *p, unsigned error, uint64_t now_ms) {
    if (error == EVTLOG_NOT_FOUND && p->start == EVTLOG_AFTER) {
        p->no_strict = true;
        return reopen(p, now_ms, NULL);
    }
    if (error) return fail(p, error, now_ms);
    p->open = true;
    p->drain_at = now_ms;
    p->check_at = now_ms + EVTLOG_CHECK_MS;
    struct evtlog_step s = step(EVTLOG_READ);
    if (p->fails && p->told && trouble_of(p->told)->grave) s.say = "it can be read now";
    return s;
}

static void on_good(struct evtlog_policy *p, unsigned n) {
    p->fails = 0;
    p->told = 0;
    p->good += n;
    if (p->good < GROW_AFTER || p->batch >= EVTLOG_BATCH_MAX) return;
    p->good = 0;
    p->batch = p->batch * 2 < EVTLOG_BATCH_MAX ? p->batch * 2 : EVTLOG_BATCH_MAX;
}

static struct evtlog_step on_too_large(struct evtlog_policy *p, uint64_t now_ms) {
    p->good = 0;
    if (p->batch > 1) {
        p->batch /= 2;
        return reopen(p, now_ms, NULL);
    }
    /* One record that no call can carry: the position is behind it already. */
    p->damaged = true;
    struct evtlog_step s = step(EVTLOG_READ);
    s.say = "a record is too large for Windows to hand out: it is left out and its hole is explained";
    return s;
}

struct evtlog_step evtlog_on_next(struct evtlog_policy *p, unsigned error, unsigned n, uint64_t now_ms) {
    switch (error) {
    case EVTLOG_OK:
        if (n) {
            on_good(p, n);
            return step(EVTLOG_READ);
        }
        p->drain_at = now_ms + EVTLOG_AGAIN_MS; /* success with nothing is not the end either */
        return step(EVTLOG_WAIT);
    case EVTLOG_TIMEOUT: p->drain_at = now_ms + EVTLOG_AGAIN_MS; return step(EVTLOG_WAIT);
    case EVTLOG_NO_MORE_ITEMS: p->fails = 0; break;
    case EVTLOG_RPC_BOUND: return on_too_large(p, now_ms);
    case EVTLOG_INVALID_OPERATION: p->doubt = true; return step(EVTLOG_CHECK);
    default: return fail(p, error, now_ms);
    }
    p->drain_at = now_ms + EVTLOG_DRAIN_MS;
    return step(EVTLOG_WAIT);
}

struct evtlog_step evtlog_on_check(struct evtlog_policy *p, unsigned error, const struct evtlog_log *l,
                                   uint64_t now_ms) {
    uint64_t newest = evtlog_newest(l), seen = p->last_id > p->excused ? p->last_id : p->excused;
    bool doubt = p->doubt;
    p->doubt = false;
    p->check_at = now_ms + EVTLOG_CHECK_MS;
    p->drain_at = now_ms + EVTLOG_DRAIN_MS;
    if (!p->open) return step(EVTLOG_WAIT);
    if (error == EVTLOG_CHANNEL_NOT_FOUND) return fail(p, error, now_ms);
    if (error || !newest) return step(EVTLOG_WAIT);
    if (newest >= p->last_id) p->low_is_known = false;
    if (newest < p->last_id && !p->low_is_known)
        return reopen(p, now_ms, "the log's newest record is older than what was read: it was deleted or rolled back");
    if (newest < p->excused) p->excused = seen = p->last_id;
    if (newest <= seen) {
        p->suspect_at = 0;
        return step(EVTLOG_WAIT);
    }
    if (!doubt && !p->suspect_at) { /* perhaps only the signal was lost */
        p->suspect_at = now_ms ? now_ms : 1;
        return step(EVTLOG_READ);
    }
    if (!doubt && now_ms < p->suspect_at + EVTLOG_CHECK_MS) return step(EVTLOG_READ);
    p->excused = newest;
    return reopen(p, now_ms,
                  p->filtered ? NULL : "the subscription is dead, the log has newer records: subscribing again");
}

enum evtlog_verdict evtlog_on_record(struct evtlog_policy *p, uint64_t id, uint64_t time, struct evtlog_gap *ret) {
    enum evtlog_verdict v = EVTLOG_TAKE;
    *ret = (struct evtlog_gap){0};
    p->suspect_at = 0;
    if (p->last_id && id <= p->last_id) {
        if (!p->last_time || time <= p->last_time) return EVTLOG_REPEAT;
        p->epoch = 0;
        p->excused = 0;
        v = EVTLOG_NEW_LOG;
    } else if (p->last_id && id - p->last_id > 1) {
        ret->first_id = p->last_id + 1;
        ret->last_id = id - 1;
        if (p->compare)
            ret->cause = p->lost_cause;
        else if (p->damaged)
            ret->cause = EVTLOG_DAMAGED;
        else if (p->filtered)
            ret->cause = EVTLOG_FILTERED;
    }
    p->compare = p->damaged = false;
    p->last_id = id;
    p->last_time = time;
    return v;
}

void evtlog_on_skipped(struct evtlog_policy *p) {
    p->damaged = true;
}

size_t evtlog_on_render(bool ok, unsigned error, size_t size, size_t used, bool whole) {
    if (ok && used <= size && whole) return 0;
    if (!ok && error != EVTLOG_INSUFFICIENT_BUFFER) return SIZE_MAX;
    size_t want = used > size ? used : size * 2;
    if (size >= EVTLOG_RENDER_MAX || want > EVTLOG_RENDER_MAX * (size_t)2) return SIZE_MAX;
    return want < EVTLOG_RENDER_MAX ? want : EVTLOG_RENDER_MAX;
}

uint64_t evtlog_wraps_in_s(const struct evtlog_log *l, uint64_t last_read, double rate) {
    if (!l->count || !l->max_bytes || !l->bytes || rate <= 0) return 0;
    double each = (double)l->bytes / (double)l->count;
    double room = l->max_bytes > l->bytes ? (double)(l->max_bytes - l->bytes) / each : 0;
    if (last_read >= l->oldest) room += (double)(last_read - l->oldest + 1);
    double s = room / rate;
    return s < 1 ? 1 : s > 4e9 ? 0 : (uint64_t)s;
}
