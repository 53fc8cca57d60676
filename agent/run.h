/* The agent at work: `run` (reads on for ever, through the spool) and `send` (files, until all is acknowledged). Wires
 * feeder, uplink and loop together. */
#ifndef HAECHI_RUN_H
#define HAECHI_RUN_H

#include "feeder.h"

struct run_options {
    const char *state;
    bool send;
    const struct feeder_input *inputs;
    size_t n_inputs;
    const char *const *collectors; /* none: those of the enrolment */
    size_t n_collectors;
    uint64_t spool_max_bytes;
    const char *sysmon_directory; /* Sysmon for Linux; NULL: the usual one */
    unsigned retry_min_ms, retry_max_ms;
    unsigned rules_apply_ms, rules_prove_ms, rules_look_ms; /* rules.h; 0: the defaults */
};

/* Returns at the end: ST_OK (run: was stopped; send: all is acknowledged, the summary is on standard output), else *err
 * has the sentence. */
MUST_USE enum status run_agent(const struct run_options *o, struct error *err);

/* From any thread: the running agent shall stop, as by SIGTERM. Before run_agent: it stops at once. */
void run_stop(void);
bool run_is_stopping(void); /* run_stop was called; from any thread */

#endif
