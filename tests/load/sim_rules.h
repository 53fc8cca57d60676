/* What a simulated agent makes of an offered ruleset: it reports received, applied, loaded after a while, or goes wrong in the way that
 * its share has it. Nothing is verified but the serial. No I/O, no clock. */
#ifndef LOAD_SIM_RULES_H
#define LOAD_SIM_RULES_H

#include "msg.h"
#include "rules_state.h"

struct rules_options {
    uint64_t delay_ms; /* from the offer to loaded */
    /* percent of the agents: which do not load them, go away and stay away, load them and find others later, lose Sysmon, never
     * answer. One after the other; together at most 100. */
    uint64_t fail, silent, drift, lose, hang;
    uint64_t bad;  /* only with this revision; 0: with any */
    uint64_t rate; /* events a second that an agent claims; with the bad revision, or any, percent of that: */
    uint64_t rate_percent;
};

enum rules_fate { FATE_LOADS, FATE_FAILS, FATE_SILENT, FATE_DRIFTS, FATE_LOSES, FATE_HANGS };
/* Agent i's: its place is i times 37 modulo 100, and the shares are laid on the places from 0 on. */
enum rules_fate rules_fate(const struct rules_options *o, uint32_t index);

struct sim_rules {
    uint64_t serial, highest, next_ms; /* next_ms: when it has more to say; 0: never */
    char ruleset[64];
    uint32_t revision, state;
    uint8_t digest[RULES_DIGEST_LEN];
    bool has, lost_sysmon, goes_away;
    uint64_t time; /* FILETIME, of the state */
};

/* An offer came. False: it cannot be read. The state has changed then. */
bool sim_rules_offer(struct sim_rules *r, const struct rules_options *o, struct slice body, struct arena *a,
                     uint64_t now_ms, uint64_t now);
/* Has anything changed by now? Then a status is due, and goes_away or lost_sysmon may be set. */
bool sim_rules_tick(struct sim_rules *r, const struct rules_options *o, uint32_t index, uint64_t now_ms, uint64_t now);
/* The messages; they borrow from r. */
void sim_rules_status(const struct sim_rules *r, Haechi__RulesStatus *ret);
void sim_rules_sysmon(const struct sim_rules *r, Haechi__Sysmon *ret);
double sim_rules_rate(const struct sim_rules *r, const struct rules_options *o);

#endif
