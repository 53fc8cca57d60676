/* Volume (derived): how many events and bytes a host's log brought under which event id and RuleName, by slots of ten
 * minutes of the events' own time. Collecting and the stored form: tallytab.h; writing: tallyrun.h; the form is drawn in STORAGE.md.
 *
 * Names are a peer's words: they are cut to TALLY_NAME_MAX, and of one host and day at most TALLY_MAX_KINDS kinds
 * (channel, event id, rule) are told apart. What comes when these are used up is counted all the same, in kinds without
 * channel and rule (`rest`), by event id up to TALLY_MAX_REST_ID, above under TALLY_OTHER_IDS. So sums are exact always,
 * and so is every kind that is told apart. */
#ifndef HAECHI_TALLY_H
#define HAECHI_TALLY_H

#include "db.h"

#define TALLY_SLOT UINT64_C(6000000000) /* FILETIME: ten minutes */
#define TALLY_SLOTS_A_DAY 144u
#define TALLY_NAME_MAX 256u
#define TALLY_MAX_KINDS 1024u
#define TALLY_MAX_REST_ID 255u
#define TALLY_OTHER_IDS UINT32_MAX

struct tally_row {
    uint32_t host, slot; /* slot: FILETIME / TALLY_SLOT */
    uint32_t event_id;
    struct slice channel, rule; /* borrowed; rule empty: none */
    bool is_rest;
    uint64_t events, bytes;
};

/* A row whose names are numbers (of tallytab_name): what is collected. */
struct tally_cell {
    uint32_t host, slot, event_id;
    uint32_t channel, rule;
    uint64_t events, bytes;
};

/* fn must not call the store: a read transaction is open. It gets each share of a sum once; the caller adds up. ST_END
 * is a clean stop. */
typedef enum status (*tally_fn)(void *ctx, const struct tally_row *row);

/* The rows of a sheet (stored form) of one host (0: all) within [first_slot, last_slot]. ST_CORRUPT. Pure. */
MUST_USE enum status tally_sheet_each(struct slice sheet, uint32_t host, uint32_t first_slot, uint32_t last_slot,
                                      tally_fn fn, void *ctx);

/* The same of all that one partition holds up to its index's cursor. ST_NOTFOUND: it has expired. */
MUST_USE enum status tally_each(struct db *db, const char day[DB_DAY_LEN], uint32_t host, uint32_t first_slot,
                                uint32_t last_slot, tally_fn fn, void *ctx, struct error *err);

#endif
