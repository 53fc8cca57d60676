/* Rollouts: a new revision reaches a group in waves, waits between them, and halts by itself when hosts fail. And what each host shall have and says it
 * has: the one place that knows both.
 *
 * A rollout is a row in the fleet environment, so a collector that restarts goes on where it was. What to do next is a pure function of the
 * row, the hosts and the time (rollout_step.h, tested on tables); this module carries it out. Which wave a host is in: the group's hosts ordered by a hash of
 * (rollout, host); wave k has the first ceil(percent of them), at least one; kept as a threshold of the hash, so that hosts that join
 * later have their place too. Hosts that are away get theirs when they come back. */
#ifndef HAECHI_ROLLOUT_H
#define HAECHI_ROLLOUT_H

#include "msg.h"
#include "rulebook.h"

#define ROLLOUT_MAX_WAVES 16

struct rollouts;

enum rollout_state {
    ROLLOUT_RUNNING, /* a wave is on its way, or waits */
    ROLLOUT_HALTED,  /* by a condition or a person: nothing new is offered, nothing is taken back */
    ROLLOUT_DONE,
    ROLLOUT_ROLLED_BACK /* the group has its last good revision again */
};

struct rollout_plan {
    const char *group, *ruleset;
    uint32_t revision;
    unsigned percent[ROLLOUT_MAX_WAVES]; /* ascending, the last is 100 */
    size_t n_waves;
    uint64_t wait_s;             /* between a wave that is done and the next */
    uint64_t timeout_s;          /* a connected host that has not loaded in so long has failed */
    unsigned max_failed_percent; /* of the hosts that were offered; more halts. 0: any failure halts */
    unsigned max_silent_percent; /* of the hosts that were connected when they were offered it and went away */
    double rate_low,
        rate_high; /* events a second after / before, of the wave's hosts together; outside halts. 0: not looked at */
    bool auto_rollback; /* a halt by a condition rolls back */
};

struct rollouts_options {
    struct db *db;
    struct fleet *fleet;
    struct rulebook *book;
    void (*offer)(void *ctx); /* some hosts may have new rules due: wake the loops (listener); any thread */
    void *offer_ctx;
    uint64_t (*now)(void);
};
MUST_USE enum status rollouts_open(const struct rollouts_options *o, struct rollouts **ret, struct error *err);
void rollouts_close(struct rollouts **r);
void rollouts_tick(struct rollouts *r); /* every second, on a work thread: advances and halts what is due */

/* ---- for sessions: loop threads, in memory, quick ---- */

/* What a host says of itself (Hello, heartbeat, RulesStatus). Either may be NULL. */
void rollouts_heard(struct rollouts *r, uint32_t host, const Haechi__Sysmon *sysmon, const Haechi__RulesStatus *rules);
void rollouts_gone(struct rollouts *r, uint32_t host); /* its connection ended */
/* The order that this host must be sent now, NULL: it has what it shall have (or was sent it on this connection). order_release. */
const struct order *rollouts_due(struct rollouts *r, uint32_t host);
/* From the digest: event 255, event 4 "Stopped", event 16 of a host. */
void rollouts_on_event(struct rollouts *r, uint32_t host, uint32_t event_id, uint64_t time);

/* ---- for the API ---- */

MUST_USE enum status rollout_start(struct rollouts *r, const char *actor, const struct rollout_plan *p,
                                   uint64_t *ret_id, struct error *err);
MUST_USE enum status rollout_halt(struct rollouts *r, const char *actor, uint64_t id, const char *why,
                                  struct error *err);
MUST_USE enum status rollout_resume(struct rollouts *r, const char *actor, uint64_t id, struct error *err);
MUST_USE enum status rollout_rollback(struct rollouts *r, const char *actor, uint64_t id, struct error *err);

struct host_rules { /* what a host shall have and says it has; host_rules_free */
    uint32_t host;
    char group[RULEBOOK_NAME_MAX + 1]; /* whose ruleset counts; empty: none */
    char want[RULEBOOK_NAME_MAX + 1], has[RULEBOOK_NAME_MAX + 1];
    uint32_t want_revision, has_revision, state, evidence;
    uint64_t want_serial, has_serial, since;
    char *reason, *words;
    struct {
        uint32_t state;
        char *version, *schema, *service, *driver, *config_hash, *cannot_apply;
        bool inbox;
    } sysmon;
};
void host_rules_free(struct host_rules *h);
MUST_USE enum status rollouts_host(struct rollouts *r, uint32_t host, struct host_rules *ret, struct error *err);

/* JSON of one rollout or all (id 0), as the API gives it: plan, state, why, waves with their counts by rules_state, and who failed. */
MUST_USE enum status rollouts_json(struct rollouts *r, uint64_t id, struct buf *out, struct error *err);

#endif
