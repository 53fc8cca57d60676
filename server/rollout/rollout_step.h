/* What a rollout does next: a function of its plan, where it stands, its group's hosts and the time. Pure.
 *
 * Each host of the group has a place: a hash of (rollout, host). A wave is a threshold of the hash, fixed when the wave starts: the
 * lowest that holds the wave's percentage of the hosts, at least one host, and at least one that is connected and was not in the waves
 * before, as long as there is one: a wave that nobody can try proves nothing. All below or at the threshold is reached. */
#ifndef HAECHI_ROLLOUT_STEP_H
#define HAECHI_ROLLOUT_STEP_H

#include "rules_state.h"
#include "status.h"

#include <stdbool.h>

#define ROLLOUT_MAX_WAVES 16
#define ROLLOUT_SILENT_S 120u   /* a host that is gone for so long is silent (or plan.timeout_s, if that is less) */
#define ROLLOUT_MIN_SAMPLES 3u  /* of a host's event rate, before and after */
#define ROLLOUT_MAX_RESTARTS 4u /* starts and stops of Sysmon (event 4) on one host that has been given the rules */
#define ROLLOUT_TIMEOUT_MIN_S 1u

/* number of the row and the API, name, what a person reads */
#define ROLLOUT_STATE_LIST(X)                                                           \
    X(ROLLOUT_RUNNING, "running", "a wave is on its way, or waits")                     \
    X(ROLLOUT_HALTED, "halted", "nothing new is offered, nothing is taken back")        \
    X(ROLLOUT_DONE, "done", "the group has it")                                         \
    X(ROLLOUT_ROLLED_BACK, "rolled back", "the group has its last good revision again") \
    X(ROLLOUT_SUPERSEDED, "superseded", "a later rollout to the same group took its place")

enum rollout_state {
#define ROLLOUT_STATE_ENUM(id, name, text) id,
    ROLLOUT_STATE_LIST(ROLLOUT_STATE_ENUM)
#undef ROLLOUT_STATE_ENUM
};
const char *rollout_state_name(enum rollout_state s);

struct rollout_plan {
    const char *group, *ruleset;
    uint32_t revision;
    unsigned percent[ROLLOUT_MAX_WAVES]; /* ascending, the last is 100 */
    size_t n_waves;
    uint64_t wait_s;    /* between a wave that is done and the next */
    uint64_t timeout_s; /* a host that was connected for so long since the offer and has not loaded it has failed */
    unsigned max_failed_percent; /* of the hosts that were offered; more halts. 0: any failure halts */
    unsigned max_silent_percent; /* of the hosts that were connected when they were offered it and went away */
    double rate_low,
        rate_high; /* events a second after / before, of the hosts that have it together; outside halts. 0: not looked at */
    bool auto_rollback; /* a halt by a condition rolls back */
};
/* ST_INVALID with a sentence: percentages that do not ascend to 100, bounds that make no sense. */
MUST_USE enum status rollout_plan_check(const struct rollout_plan *p, struct error *err);

struct rollout_progress { /* where it stands; kept on disk */
    enum rollout_state state;
    unsigned wave;                         /* the one under way or waited after; plan.n_waves: before the first */
    uint64_t threshold[ROLLOUT_MAX_WAVES]; /* of the waves that were started */
    uint64_t started[ROLLOUT_MAX_WAVES];   /* FILETIME; 0: not yet */
    uint64_t done[ROLLOUT_MAX_WAVES];
    bool rate_accepted; /* a person resumed after a halt for the event rate */
};
bool rollout_reaches(const struct rollout_plan *p, const struct rollout_progress *at, uint64_t hash);

struct rollout_host { /* one of the group's hosts: active ones only */
    uint64_t hash;
    bool connected;   /* by an agent that takes rules */
    bool offered;     /* was sent these rules, or says that it has had them */
    bool excused;     /* a person resumed although it had failed: counts no more */
    bool sysmon_gone; /* it ran when these rules were offered and does not now */
    bool event_255;   /* since the offer */
    unsigned restarts;
    uint32_t state;                 /* enum rules_state, of these rules */
    uint64_t exposed_s;             /* connected since the offer, all in all */
    uint64_t gone_s;                /* not connected for so long */
    double rate_before, rate_after; /* events a second, means */
    unsigned n_before, n_after;     /* of so many samples */
};

/* name, what a person reads; from FAILED on: what is wrong */
#define ROLLOUT_VERDICT_LIST(X)                                                  \
    X(ROLLOUT_HOST_AWAY, "away", "not connected; gets it when it is back")       \
    X(ROLLOUT_HOST_DUE, "due", "not offered yet")                                \
    X(ROLLOUT_HOST_WORKS, "under way", "offered, not loaded yet")                \
    X(ROLLOUT_HOST_LOADED, "loaded", "loaded")                                   \
    X(ROLLOUT_HOST_EXCUSED, "excused", "failed, and the rollout was resumed")    \
    X(ROLLOUT_HOST_SILENT, "silent", "fell silent after the offer")              \
    X(ROLLOUT_HOST_FAILED, "failed", "Sysmon did not load the rules")            \
    X(ROLLOUT_HOST_REFUSED, "refused", "the agent refused the offer")            \
    X(ROLLOUT_HOST_DRIFTED, "drifted", "other rules were found in force")        \
    X(ROLLOUT_HOST_LATE, "late", "did not load the rules in time")               \
    X(ROLLOUT_HOST_GONE, "lost Sysmon", "Sysmon does not run any more")          \
    X(ROLLOUT_HOST_ERROR, "Sysmon error", "Sysmon reported an error, event 255") \
    X(ROLLOUT_HOST_RESTARTS, "restarts", "Sysmon restarts again and again")

enum rollout_verdict {
#define ROLLOUT_VERDICT_ENUM(id, name, text) id,
    ROLLOUT_VERDICT_LIST(ROLLOUT_VERDICT_ENUM)
#undef ROLLOUT_VERDICT_ENUM
        ROLLOUT_VERDICTS
};
const char *rollout_verdict_name(enum rollout_verdict v);
const char *rollout_verdict_text(enum rollout_verdict v);
static inline bool rollout_verdict_is_failure(enum rollout_verdict v) {
    return v >= ROLLOUT_HOST_FAILED;
}
enum rollout_verdict rollout_judge(const struct rollout_plan *p, const struct rollout_host *h);

struct rollout_tally { /* of the hosts that are reached */
    size_t n, by[ROLLOUT_VERDICTS], failed /* all kinds */, offered /* and not excused */;
    double rate_before, rate_after; /* sums over the hosts with enough samples */
    size_t n_rated;
};
void rollout_count(const struct rollout_plan *p, const struct rollout_progress *at, const struct rollout_host *hosts,
                   size_t n, struct rollout_tally *ret);

enum rollout_do {
    ROLLOUT_WAIT,      /* nothing now */
    ROLLOUT_START,     /* wave `wave` with `threshold` */
    ROLLOUT_WIDEN,     /* the same wave with a higher threshold: none of its hosts is there, another one is */
    ROLLOUT_WAVE_OVER, /* its hosts are settled; the next one after wait_s */
    ROLLOUT_HALT,      /* `why`; and roll_back */
    ROLLOUT_FINISH     /* the last wave's hosts are settled */
};
struct rollout_step {
    enum rollout_do what;
    unsigned wave;
    uint64_t threshold;
    bool roll_back, by_rate;
    char why[ERROR_TEXT_MAX];
};
/* One step; the caller carries it out with rollout_apply and asks again until it is to wait. now: FILETIME. */
void rollout_next(const struct rollout_plan *p, const struct rollout_progress *at, const struct rollout_host *hosts,
                  size_t n, uint64_t now, struct rollout_step *ret);
void rollout_apply(const struct rollout_step *s, uint64_t now, struct rollout_progress *at);

#endif
