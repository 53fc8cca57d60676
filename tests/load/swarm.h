/* All simulated agents together: opens them a few at a time, has batches made ahead by work threads, gives the pace,
 * stops, waits for the last acks. One loop thread; the work threads see the tape and one reel each. */
#ifndef LOAD_SWARM_H
#define LOAD_SWARM_H

#include "histogram.h"
#include "sim_rules.h"
#include "tape.h"

struct swarm_options {
    const struct tape *tape;
    const char *collector;    /* HOST:PORT; NULL: the token's, or the kept one */
    const char *token;        /* NULL: only hosts that are kept in `state` */
    const char *state;        /* NULL: identities are made for this run only */
    const char *prefix;       /* of host names; NULL: kept, or made up */
    uint32_t agents, at_once; /* at_once: in TCP, TLS, enrolment or greeting */
    uint32_t batch, window;
    uint64_t rate;     /* events a second of all together; 0: as fast as acks come */
    uint64_t events;   /* of all together; 0: no limit */
    uint64_t seconds;  /* 0: no limit */
    uint64_t prepared; /* events made into batches before the clock starts */
    unsigned threads;  /* that make them */
    struct rules_options rules;
    bool hold; /* connect and heartbeat, send nothing */
    /* Shell commands, for measuring: when all are up and the prepared batches are made, just before the clock starts;
     * after the last ack, before the goodbyes. NULL: none. */
    const char *before, *after;
};

struct swarm_report {
    uint32_t agents, up; /* up: had a session */
    uint64_t sent_events, sent_batches, sent_bytes;
    uint64_t acked_events, acked_batches, rejected_events, rejected_batches, resent_batches, live_batches;
    uint64_t lost_events; /* sent, and neither acknowledged nor rejected */
    uint64_t enrolled, welcomes, reconnects, failed, rules_offers, rules_loaded;
    double seconds, opening_s, enrolling_s, preparing_s, prepared_events;
    double cpu_s; /* of this process while the clock ran */
    uint64_t rss_bytes;
    struct histogram latency_us;
    char trouble[512], rejection[512];
};

typedef void (*swarm_progress_fn)(void *ctx, const char *phase, double seconds, const struct swarm_report *r);

/* Runs to the end, or until SIGINT or SIGTERM: then what is under way is still waited for. ST_OK also when something was
 * lost or refused: the report says so. */
MUST_USE enum status swarm_run(const struct swarm_options *o, swarm_progress_fn progress, void *ctx,
                               struct swarm_report *ret, struct error *err);

#endif
