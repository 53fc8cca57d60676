/* Rollouts: a new revision reaches a group in waves, waits between them, and halts by itself when hosts fail. And what each host
 * shall have and says it has: the one place that knows both.
 *
 * A rollout is a row in the fleet environment, so a collector that restarts goes on where it was. What to do next is a pure function of the
 * row, the hosts and the time (rollout_step.h); this module carries it out. One rollout at a time runs in a group: a new one supersedes it,
 * and hosts that the old one has reached keep what they have until their new wave comes. A revision becomes the group's own
 * (rulebook_assign_order) when its rollout is done; until then hosts beyond the wave have what the group had before.
 *
 * A group whose first rollout runs counts, by its precedence, for the hosts that the rollout has reached. Hosts that are away get theirs
 * when they come back.
 *
 * A host is sent an order when what it reports is not that order or a later one of the same revision: each order once on a connection.
 * The serial is never lower than the highest the host has had: then the same revision is signed anew. */
#ifndef HAECHI_ROLLOUT_H
#define HAECHI_ROLLOUT_H

#include "msg.h"
#include "rollout_step.h"
#include "rulebook.h"

struct rollouts;

struct rollouts_options {
    struct db *db;
    struct fleet *fleet;
    struct rulebook *book;
    uint64_t (*now)(void); /* FILETIME */
};
MUST_USE enum status rollouts_open(const struct rollouts_options *o, struct rollouts **ret, struct error *err);
void rollouts_close(struct rollouts **r); /* writes what hosts reported last; NULLs; fine on NULL */
/* Called when some hosts may have new rules due: wakes the loops (listener_offer); any thread. NULL: none; it is not called any more
 * once this has returned. */
void rollouts_on_offer(struct rollouts *r, void (*offer)(void *ctx), void *ctx);
/* Every second, on a work thread: advances and halts what is due, signs, writes. */
void rollouts_tick(struct rollouts *r);
/* Hosts, tags, groups or their rulesets have changed: looked at before the next tick. Any thread. */
void rollouts_changed(struct rollouts *r);

/* ---- for sessions: loop threads, in memory, quick ---- */

struct rules_report { /* what Hello, heartbeat or RulesStatus say; either message may be NULL */
    const Haechi__Sysmon *sysmon;
    const Haechi__RulesStatus *rules;
    bool has_rate;
    double events_per_s;
};
/* An agent that takes rules (its Hello has `sysmon`) is there. The number stands for this connection; a later one of the same host
 * takes its place. */
uint64_t rollouts_came(struct rollouts *r, uint32_t host, const struct rules_report *says);
void rollouts_heard(struct rollouts *r, uint32_t host, const struct rules_report *says);
void rollouts_gone(struct rollouts *r, uint32_t host, uint64_t connection);
/* The order that this host must be sent now; it counts as sent. NULL: none. order_release. */
const struct order *rollouts_due(struct rollouts *r, uint32_t host, uint64_t connection);
/* From the digest: event 255, event 4, event 16 of Sysmon on a host. Any thread. */
void rollouts_on_event(struct rollouts *r, uint32_t host, uint32_t event_id, uint64_t time);

/* ---- for the API: work threads ---- */

MUST_USE enum status rollout_start(struct rollouts *r, const char *actor, const struct rollout_plan *p,
                                   uint64_t *ret_id, struct error *err);
/* ST_NOTFOUND: no such rollout; ST_EXISTS: not from the state it is in. */
MUST_USE enum status rollout_halt(struct rollouts *r, const char *actor, uint64_t id, const char *why,
                                  struct error *err);
/* Hosts that have failed or fallen silent by now count no more. */
MUST_USE enum status rollout_resume(struct rollouts *r, const char *actor, uint64_t id, struct error *err);
/* To what the group had before: under a new order, which goes to all hosts that have something else. */
MUST_USE enum status rollout_rollback(struct rollouts *r, const char *actor, uint64_t id, struct error *err);

struct host_rules { /* what a host shall have and says it has; host_rules_free */
    uint32_t host;
    char group[RULEBOOK_NAME_MAX + 1];                            /* whose ruleset counts; empty: none */
    char want[RULEBOOK_NAME_MAX + 1], has[RULEBOOK_NAME_MAX + 1]; /* empty: none */
    uint32_t want_revision, has_revision, state /* of what it has */, evidence;
    uint64_t want_serial, has_serial, since;
    uint64_t rollout; /* that reaches it; 0: none */
    bool behind;      /* it shall have something and does not have it (yet) */
    bool takes_rules; /* connected by an agent that does */
    char *reason, *words;
    struct {
        uint32_t state;
        char *version, *schema, *service, *driver, *config_hash, *cannot_apply;
        bool inbox, is_known;
        uint64_t event_16; /* when its configuration last changed by its own account; 0: not seen since start */
    } sysmon;
};
void host_rules_free(struct host_rules *h);
/* A host that has never said anything has empty fields. */
void rollouts_host(struct rollouts *r, uint32_t host, struct host_rules *ret);
/* "loaded", "failed", ...: what hosts are listed and filtered by: a state's name, or "behind" when it has not what it shall have. */
const char *host_rules_word(const struct host_rules *h);

/* JSON of one rollout, as the API gives it; the list has each on a line, without the hosts that failed. */
MUST_USE enum status rollouts_json(struct rollouts *r, uint64_t id, struct buf *out, struct error *err);
void rollouts_list_json(struct rollouts *r, const char *group /* NULL: all */, struct buf *out);

struct rollouts_counts {
    size_t by_state[RULES_DRIFTED + 1],
        behind;             /* hosts: by what they report; and those of any state that have not what they shall have */
    size_t running, halted; /* rollouts */
};
void rollouts_count(struct rollouts *r, struct rollouts_counts *ret);

#endif
