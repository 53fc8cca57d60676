/* Puts admission (admit.h) to work inside the writer's transaction: reads the ledgers, compares with what is stored
 * where record ids are held already, places what is new. One struct placer, the writer thread. */
#ifndef HAECHI_PLACER_H
#define HAECHI_PLACER_H

#include "admit.h"
#include "writer.h"

/* Decompressed bytes of stored blocks that one batch may cause to be compared: a peer that aims at the writer's time
 * gets its batch refused. */
#define PLACER_MAX_COMPARED (64u * 1024 * 1024)

/* Something that a person should know of; slices are borrowed. */
struct placer_notice {
    uint32_t host;
    struct slice computer, channel;
    uint32_t claimed;
    uint32_t n_conflicts; /* events that claimed the place of a different one in the claimed epoch */
    uint32_t begun;       /* a new epoch of a log that was known; 0: none */
};
typedef void (*placer_notice_fn)(void *ctx, const struct placer_notice *n);

struct placer;
struct placer *placer_new(placer_notice_fn notice, void *ctx);
void placer_free(struct placer **p);

/* Places the parts of the item that are new, counts the rest, fills n_stored and n_duplicate. `h` is its parsed
 * header. ST_CORRUPT: the header lies about the events; ST_TOOBIG: over a limit; ST_IO: the store failed. */
MUST_USE enum status placer_item(struct placer *p, struct writer *w, struct writer_item *item,
                                 const struct batch_header *h, struct error *err);

#endif
