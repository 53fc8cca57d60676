/* Bump allocation in chunks that double up to 256 KiB. Each arena belongs to one thread. */
#include "arena.h"
#include "mem.h"

#define ARENA_ALIGN 16
#define ARENA_FIRST 4096
#define ARENA_CHUNK_MAX (256 * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t len, used;
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};

void arena_init(struct arena *a, size_t cap) {
    *a = (struct arena){.cap = cap};
}

void arena_reset(struct arena *a) {
    struct arena_chunk *keep = a->chunks;
    if (keep) {
        for (struct arena_chunk *c = keep->next, *next; c; c = next) {
            next = c->next;
            mem_free(c);
        }
        keep->next = NULL;
        keep->used = 0;
    }
    a->used = 0;
    a->exhausted = false;
}

void arena_deinit(struct arena *a) {
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    *a = (struct arena){0};
}

static struct arena_chunk *add_chunk(struct arena *a, size_t len) {
    size_t want = a->chunks ? a->chunks->len * 2 : ARENA_FIRST;
    if (want > ARENA_CHUNK_MAX) want = ARENA_CHUNK_MAX;
    if (want < len) want = len;
    struct arena_chunk *c = mem_try_alloc(sizeof *c + want);
    if (!c) return NULL;
    c->len = want;
    c->used = 0;
    c->next = a->chunks;
    a->chunks = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t len) {
    if (a->exhausted || len > a->cap - a->used) {
        a->exhausted = true;
        return NULL;
    }
    size_t room = (len + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct arena_chunk *c = a->chunks;
    if (!c || c->len - c->used < room) c = add_chunk(a, room);
    if (!c) {
        a->exhausted = true;
        return NULL;
    }
    void *p = c->bytes + c->used;
    c->used += room;
    a->used += len;
    return p;
}

void *arena_zalloc(struct arena *a, size_t len) {
    void *p = arena_alloc(a, len);
    return p ? memset(p, 0, len) : NULL;
}

struct slice arena_copy(struct arena *a, struct slice s) {
    uint8_t *p = arena_alloc(a, s.len);
    if (!p) return (struct slice){NULL, 0};
    if (s.len) memcpy(p, s.p, s.len);
    return (struct slice){p, s.len};
}
