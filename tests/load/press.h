/* Makes batches, ready to be sent, from the tape for one host after the other: a press has the zstd contexts, a reel is
 * where a host stands. A press belongs to one thread; a reel to one thread at a time. */
#ifndef LOAD_PRESS_H
#define LOAD_PRESS_H

#include "tape.h"

#include "batch.h"

struct reel {
    struct tape_label label;
    size_t at;                           /* the next event of the tape */
    uint64_t next_id[TAPE_MAX_CHANNELS]; /* of each channel's log */
    uint64_t left;                       /* events still to be made; UINT64_MAX: no end */
};

/* One frame: head, header length, header, columns, payload. */
struct cargo {
    struct cargo *next; /* the owner's */
    uint64_t sent_us;   /* the owner's */
    uint32_t n_events, len;
    uint8_t bytes[];
};

struct press;
struct press *press_new(const struct tape *t);
void press_free(struct press **p);

/* The reel's next batch of at most n events: fewer at the end of a log on the tape, of the lap, of what is left. The
 * owner frees it with mem_free. NULL: nothing is left. */
struct cargo *press_next(struct press *p, struct reel *r, size_t n);
/* Events of the tape that were too large for any batch, and were passed over. */
uint64_t press_passed_over(const struct press *p);

#endif
