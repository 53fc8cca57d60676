/* What a simulation counts: rows by rule and by event id, each thread its own, merged at the end. Memory is bounded: beyond
 * SIM_MAX_ROWS rules the rest is one row. Not shared between threads. */
#ifndef HAECHI_SIMROWS_H
#define HAECHI_SIMROWS_H

#include "engine.h"

#define SIM_MAX_ROWS 20000u
#define SIM_MAX_SAMPLES 20u                     /* a row */
#define SIM_MAX_SAMPLE_BYTES (4u * 1024 * 1024) /* of all rows */
#define SIM_SHARE 1024u    /* bytes are counted in parts of this, so that sums do not depend on the order */
#define SIM_IDS (256u + 1) /* event ids; the last stands for all larger ones */

struct sim_count {
    uint64_t events, bytes; /* bytes in 1 / SIM_SHARE */
};

static inline void sim_add(struct sim_count *c, uint64_t events, uint64_t bytes) {
    c->events += events;
    c->bytes += bytes;
}

struct sim_totals { /* of an event id, of a host, of all */
    struct sim_count all;
    struct sim_count candidate, current; /* kept by the candidate; by what it is compared with */
    struct sim_count both;               /* kept by both */
};

struct sim_row {              /* what one rule of one ruleset decided for one event id */
    uint32_t event_id, rules; /* 0: the candidate; k: the k-th of the current rulesets */
    struct engine_verdict verdict;
    struct sim_count all, other; /* decided; of them kept by the other side */
    char **samples;              /* owned lines of JSON */
    unsigned n_samples;
    struct sim_row *next; /* in its bucket */
};

struct sim_rows {
    struct sim_row **buckets;
    size_t n_buckets, n;
    struct sim_row *rest; /* beyond the limit; NULL: nothing was cut */
    size_t sample_bytes;
};

void sim_rows_init(struct sim_rows *r);
void sim_rows_deinit(struct sim_rows *r);
/* The row for that verdict; of a full table the one for the rest. Never NULL. */
struct sim_row *sim_rows_get(struct sim_rows *r, uint32_t event_id, uint32_t rules, const struct engine_verdict *v);
bool sim_rows_wants_sample(const struct sim_rows *r, const struct sim_row *row, unsigned max);
void sim_rows_sample(struct sim_rows *r, struct sim_row *row, struct slice line); /* copies */
/* Adds what `from` has; samples up to `max` a row. */
void sim_rows_merge(struct sim_rows *r, const struct sim_rows *from, unsigned max);
/* All rows, by event id, then kept before dropped, then by number of events, the most first; mem_free the list. */
struct sim_row **sim_rows_sorted(const struct sim_rows *r, size_t *ret_n);

#endif
