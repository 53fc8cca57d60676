/* Admission: which events of a batch are new, which are held already, and to which epoch of the log they belong.
 *
 * An event is held when the log has an event of the same record id, time, event id and content, by whatever way it
 * came. Two different events that claim one record id belong to different epochs (the log was deleted, the machine
 * rolled back or re-imaged): both are kept. What the batch's header claims is believed for the newest epoch and the one
 * after it; anything else is found by the ledger: record ids of one log grow with time.
 *
 * Pure. placer.[ch] puts it to work on the writer thread. */
#ifndef HAECHI_ADMIT_H
#define HAECHI_ADMIT_H

#include "batch.h"
#include "ledger.h"

#define ADMIT_SLACK_S 10       /* clock jitter inside one log */
#define ADMIT_MAX_EPOCHS 1000u /* of one log; a log that begins anew more often is refused */
#define ADMIT_MAX_BEGUN 2u     /* epochs that one batch may begin */

struct admit_epoch {
    uint32_t epoch;
    const struct ledger *ledger; /* with everything placed so far */
};

enum admit_verdict {
    ADMIT_WHOLE,  /* all events are new: place the whole batch in `epoch` */
    ADMIT_COMPARE /* some record ids are held, or no epoch fits all: look at the events */
};
struct admit_decision {
    enum admit_verdict verdict;
    uint32_t epoch;
};
/* By the header alone. epochs: those of the log, ascending (of EPOCH_CONTENT: that one only). */
struct admit_decision admit_by_header(const struct batch_header *h, const struct admit_epoch *epochs, size_t n_epochs);

struct admit_event {
    uint64_t id, time;
    bool same; /* an equal event is stored, or comes earlier in the batch */
};
struct admit_sorted {
    uint32_t n_new, n_held;
    uint32_t n_conflicts; /* events whose record id in the claimed epoch is held by a different event */
    uint32_t begun[ADMIT_MAX_BEGUN], n_begun; /* epochs that did not exist */
};
/* Gives each event its epoch in ret_epoch[n]; 0: held already. ST_TOOBIG: more epochs than the limits allow. */
MUST_USE enum status admit_sort(const struct admit_event *ev, size_t n, uint32_t claimed,
                                const struct admit_epoch *epochs, size_t n_epochs, uint32_t *ret_epoch,
                                struct admit_sorted *ret);

/* Are two encoded events one? Time is compared as far as both renderings have it. */
bool admit_same_event(struct slice a, struct slice b, struct arena *scratch);

#endif
