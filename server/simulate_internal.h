/* Shared by simulate.c (counting) and simulate_report.c (telling). */
#ifndef HAECHI_SIMULATE_INTERNAL_H
#define HAECHI_SIMULATE_INTERNAL_H

#include "simulate.h"
#include "fields.h"

#include <stdatomic.h>

#define SIM_SLOTS 32u /* fields that rules can look at in one event id */

struct sim_tally { /* of one thread */
    struct sim_rows rows;
    struct sim_totals ids[SIM_IDS];
    struct sim_totals *hosts;             /* by index */
    uint64_t missing[SIM_IDS][SIM_SLOTS]; /* events without a field that the candidate's rules look at */
    uint64_t foreign;                     /* events that are not Sysmon's */
    uint64_t blocks, skipped, bad_events;
};

struct simulate {
    struct simulate_spec spec;
    struct engine *candidate, **current;
    struct sim_worker *workers;
    unsigned n_workers;
    /* the plan: blocks of one or more hosts; taken from by the workers */
    struct sim_planned *plan;
    size_t n_plan, cap_plan, next_host;
    _Atomic size_t next;
    uint64_t window;                            /* where the next blocks of next_host begin: FILETIME */
    uint64_t first_indexed, now;                /* the oldest time that the index knows; when it all began */
    uint64_t units_done, units_plan, units_all; /* host-windows before the plan, in it, in all */
    _Atomic uint64_t n_events;
    _Atomic bool too_slow; /* given up */
    uint64_t deadline_ms;
    bool counted;
    /* the report */
    struct sim_tally *total;
    struct sim_row **sorted;
    size_t n_sorted, at, sample_at;
    unsigned part;
};

/* All workers' tallies as one; adds up once. */
struct sim_tally *sim_total(struct simulate *s);
void sim_tally_merge(struct sim_tally *to, const struct sim_tally *from, size_t n_hosts, unsigned samples);

#endif
