/* What a ruleset would have done to the events that are stored: for each event of some hosts and some span of time the verdict of the
 * candidate, and of the rules that its host has assigned now (where it has none: what is stored was kept); counted by event id,
 * rule and host.
 *
 * Runs in steps on a work thread. A step starts a few threads of its own at low priority, which take blocks from a common plan, and
 * joins them before it returns, so between steps nothing runs and nothing is held. Memory is bounded by the rows of simrows.h, the
 * number of hosts, and one host's blocks of a week; never by the number of events. */
#ifndef HAECHI_SIMULATE_H
#define HAECHI_SIMULATE_H

#include "db.h"
#include "simrows.h"

#define SIMULATE_NO_RULES SIZE_MAX
#define SIMULATE_MAX_THREADS 4u

struct simulate;

struct simulate_host {
    uint32_t id;
    char *name;     /* owned */
    size_t current; /* which of the current rulesets it has; SIMULATE_NO_RULES: none */
};

struct simulate_current {
    struct ruleset *rules; /* owned */
    char *name;            /* owned: "base 3" */
};

struct simulate_spec { /* all arrays and what they own are moved into the simulation */
    struct db *db;
    struct ruleset *candidate;
    struct simulate_host *hosts;
    size_t n_hosts;
    struct simulate_current *current;
    size_t n_current;
    uint64_t since, until; /* FILETIME, both included; until 0: no end */
    unsigned samples;      /* events to show for each row of the candidate, up to SIM_MAX_SAMPLES */
    unsigned n_threads;    /* 0: half of the processors, at least two of two, at most SIMULATE_MAX_THREADS */
};
void simulate_spec_free(struct simulate_spec *spec); /* of one that did not come to simulate_new */
struct simulate *simulate_new(struct simulate_spec *spec);
void simulate_free(struct simulate **s);

/* Goes on for about budget_ms. ST_OK: there is more to do; ST_END: the counts are final. A block that cannot be read is logged,
 * counted and skipped. ST_INVALID: made to be slow; it is given up. */
MUST_USE enum status simulate_step(struct simulate *s, unsigned budget_ms, struct error *err);

struct simulate_progress {
    uint64_t done, all; /* of the work, in arbitrary parts */
    uint64_t events;    /* judged so far */
};
struct simulate_progress simulate_progress(const struct simulate *s);

uint64_t simulate_skipped(const struct simulate *s); /* after ST_END: blocks that could not be read */

/* After ST_END: the result as lines of JSON, whole lines until *out has max_bytes. ST_OK: more; ST_END. openapi.json describes them. */
MUST_USE enum status simulate_write(struct simulate *s, struct buf *out, size_t max_bytes);

#endif
