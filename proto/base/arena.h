/* Memory for one message or one event: many small pieces, given back all at once, capped on the total.
 *
 * The cap is on *decoded* bytes: a few kilobytes of tiny protobuf fields can unpack to a hundred. An arena that has
 * hit its cap returns NULL and stays exhausted until it is reset. */
#ifndef HAECHI_ARENA_H
#define HAECHI_ARENA_H

#include "slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used, cap;           /* bytes handed out, and how many may be */
    bool exhausted;
};

void arena_init(struct arena *a, size_t cap);
void arena_reset(struct arena *a); /* forgets all pieces, keeps one chunk for the next message */
void arena_deinit(struct arena *a);
void *arena_alloc(struct arena *a, size_t len); /* 16-byte aligned, not zeroed; NULL over the cap */
void *arena_zalloc(struct arena *a, size_t len);
/* A copy in the arena; .p is NULL (and len 0) over the cap. An empty slice copies to a non-NULL empty one. */
struct slice arena_copy(struct arena *a, struct slice s);

#endif
