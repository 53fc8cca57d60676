/* The fleet's rules on this host: an order is verified and kept, given to Sysmon, seen to be in force, and watched from then on. One state
 * machine without files, processes and clocks of its own: struct rules_io is how it touches the world (rules_run.h for real, a scenario in
 * tests). Loop thread only; what blocks is a job, one at a time, on a thread of its own.
 *
 *     offer -> RECEIVED   verified; configuration and highest serial are on disk
 *           -> APPLIED    Sysmon was run and took it, by its words
 *           -> LOADED     proven: see rules_proof.h for what that needs
 *           -> FAILED     with the reason. What the host lacks (no Sysmon, no rights, it is stopped) is waited for
 *     LOADED -> DRIFTED   the system's copy is another than the one seen then, or event 16 names another file
 *     any    -> REFUSED   is told of an offer that was not accepted; what was ordered before stays in force and is watched
 *
 * A job that died with the process is begun again: to give Sysmon the same file twice does no harm. */
#ifndef HAECHI_RULES_H
#define HAECHI_RULES_H

#include "rules_kept.h"
#include "sysmon.h"
#include "sysmon_note.h"
#include "sysmon_words.h"
#include "uplink.h"

#include <stdatomic.h>

enum rules_work {
    RULES_KEEP,  /* only what is to be written */
    RULES_LOOK,  /* sysmon_look */
    RULES_APPLY, /* look, run Sysmon with the file, look again */
    RULES_CANARY /* run our own program with `canary` as its argument */
};

/* Everything a job needs and brings back. Made by rules.c; whoever does the work fills in what is below the line. */
struct rules_job {
    enum rules_work work;
    struct buf xml;   /* if not empty: written first, as the file of this digest */
    struct buf state; /* if not empty: written after that, as the state file */
    uint8_t digest[RULES_DIGEST_LEN];
    char canary[CANARY_MAX];
    unsigned time_limit_ms;
    atomic_bool give_up; /* end early: the agent stops */

    enum status st;   /* writing, or running, did not work: */
    struct error err; /* the sentence */
    bool not_kept;    /* it was the writing */
    bool host_lacks;  /* before says that Sysmon cannot be asked; it was not */
    struct sysmon before, after;
    struct buf output;
    int exit_code;
    bool timed_out, gave_up, crashed;
};
void rules_job_free(struct rules_job **j);

struct rules_io {
    void *ctx;
    uint64_t (*now_ms)(void *ctx); /* monotonic */
    uint64_t (*wall)(void *ctx);   /* FILETIME */
    void (*random)(void *ctx, void *out, size_t len);
    void (*start)(void *ctx, struct rules_job *j); /* rules_on_done follows, never from inside */
    void (*listen)(void *ctx, const char *canary); /* event 1 with this in its command line is wanted; "": no more */
    void (*looked)(void *ctx, const struct sysmon *s); /* it was looked at just now; may be NULL */
    void (*changed)(void *ctx);                        /* rules_get_status says something else: tell the collector */
};

struct rules_options {
    enum sysmon_system system;
    bool reads_events; /* this agent reads Sysmon's channel: event 16 is part of the proof */
    unsigned apply_ms; /* how long Sysmon may run; 0: 60 s */
    unsigned prove_ms; /* how long to wait for proof after it; 0: 60 s */
    unsigned look_ms;  /* how often the system's copy is compared; 0: 10 s */
};

struct rules;
/* state_file: what an earlier run kept; empty: nothing. A damaged one is said so and forgotten, which makes the collector
 * offer again. */
struct rules *rules_new(const struct rules_options *o, const struct rules_io *io, struct slice state_file);
void rules_free(struct rules **r); /* when no job runs */

void rules_offered(struct rules *r, struct slice offer, struct slice ca_pem);
void rules_on_note(struct rules *r, const struct sysmon_note *n); /* an event of this host's own log */
void rules_on_done(struct rules *r, struct rules_job *j /* taken */);
void rules_tick(struct rules *r); /* ten times a second or so */
/* No new jobs; the one that runs is asked to end. */
void rules_stop(struct rules *r);

/* False: this host has never had rules. What *ret points to is valid until the next call of any of these functions. */
bool rules_get_status(const struct rules *r, struct uplink_rules *ret);

#endif
