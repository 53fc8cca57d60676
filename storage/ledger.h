/* The ledger of one stream: which record ids the collector holds, as intervals, and why others will never come.
 *
 * Pure. Dedup is a look-up here; holes are the complement between the lowest and the highest id known. Each interval
 * remembers the times of its first and last record: record ids of one log grow with time, so an (id, time) pair tells
 * whether a record can belong to this log's epoch at all. */
#ifndef HAECHI_LEDGER_H
#define HAECHI_LEDGER_H

#include "buf.h"

struct ledger_span {
    uint64_t first, last;           /* record ids, both included */
    uint64_t first_time, last_time; /* FILETIME of those records */
};

enum ledger_cause {
    LEDGER_OPEN = 0,
    LEDGER_CLEARED = 1,  /* log cleared: events 104, 1102 */
    LEDGER_WRAPPED = 2,  /* overwritten before it was read */
    LEDGER_FILTERED = 3, /* the agent's own query leaves it out */
    LEDGER_DAMAGED = 4   /* the record could not be read */
};

struct ledger_note { /* an explained range: it counts as a hole only where it is not held */
    uint64_t first, last;
    enum ledger_cause cause;
};

struct ledger {
    struct ledger_span *spans; /* sorted, disjoint, not adjacent */
    size_t n, cap;
    struct ledger_note *notes; /* sorted by first, disjoint */
    size_t n_notes, cap_notes;
};

void ledger_init(struct ledger *l);
void ledger_deinit(struct ledger *l);

bool ledger_has(const struct ledger *l, uint64_t id);
/* How many of [first, last] are held. */
uint64_t ledger_held(const struct ledger *l, uint64_t first, uint64_t last);
uint64_t ledger_count(const struct ledger *l);                    /* held in all */
const struct ledger_span *ledger_highest(const struct ledger *l); /* NULL when empty */
/* Adds ids that may be held already (the union is taken); merges neighbours. */
void ledger_add(struct ledger *l, struct ledger_span s);
/* The same for many at once, in any order: one pass over the ledger instead of one move of its tail for each. */
void ledger_add_all(struct ledger *l, const struct ledger_span *spans, size_t n);
void ledger_explain(struct ledger *l, uint64_t first, uint64_t last, enum ledger_cause cause);

/* Can a record of that id and time belong to this log? Not when a lower id held is later, or a higher one earlier, by
 * more than slack. */
bool ledger_fits(const struct ledger *l, uint64_t id, uint64_t time, uint64_t slack);

/* Holes between the lowest and the highest id (of spans and notes), in order, split where the cause changes. Start
 * with *at = 0; false at the end. */
bool ledger_next_hole(const struct ledger *l, uint64_t *at, struct ledger_note *ret);

/* The stored form: a version byte, then varints (differences). decode: ST_CORRUPT for what encode cannot have made. */
void ledger_encode(const struct ledger *l, struct buf *out);
MUST_USE enum status ledger_decode(struct slice s, struct ledger *ret);

#endif
