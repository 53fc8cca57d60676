/* Which programs make a host's noise: its process rows added up by image. Work threads. */
#ifndef HAECHI_NOISE_H
#define HAECHI_NOISE_H

#include "arena.h"
#include "procs.h"

#define NOISE_TEXT_CAP (64u * 1024 * 1024)

struct noise_image {
    struct slice image; /* in noise.text; upper and lower case are one, spelled as first met; empty: not known */
    uint64_t processes, events;
    uint64_t counts[PROC_MAX_EVENT_ID + 1]; /* by event id, as in struct proc */
};

struct noise {
    struct noise_image *images; /* most events first */
    size_t n, cap;
    struct arena text;
};

/* Events count for every process that they name: one that opens another counts for both. Counts are those of whole days of
 * arrival, from the one that `since` lies in; processes that were not heard of since `since` are left out. ST_TOOBIG: the
 * images' names are over NOISE_TEXT_CAP. */
MUST_USE enum status noise_images(struct db *db, uint32_t host, uint64_t since, struct noise *ret, struct error *err);
void noise_deinit(struct noise *n);

#endif
