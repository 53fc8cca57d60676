/* 9 DIGEST: the directory of blocks not indexed yet. */
#include "tail.h"
#include "keys.h"
#include "mem.h"

#include <pthread.h>

struct tail {
    pthread_mutex_t lock;
    struct tail_chunk **chunks; /* by seq */
    size_t n, cap, n_blocks;
};

struct tail *tail_new(void) {
    struct tail *t = mem_zalloc(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

static void chunk_free(struct tail_chunk *c) {
    mem_free(c->blocks);
    mem_free(c->guid_at);
    mem_free(c->hashes);
    mem_free(c);
}

void tail_free(struct tail **t) {
    if (!*t) return;
    for (size_t i = 0; i < (*t)->n; i++) chunk_free((*t)->chunks[i]);
    mem_free((*t)->chunks);
    pthread_mutex_destroy(&(*t)->lock);
    mem_free(*t);
    *t = NULL;
}

struct tail_chunk *tail_chunk_new(uint64_t seq) {
    struct tail_chunk *c = mem_zalloc(sizeof *c);
    c->seq = seq;
    c->refs = 1;
    return c;
}

void tail_chunk_block(struct tail_chunk *c, const struct db_block *b, struct slice guids) {
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 4;
        c->blocks = mem_realloc(c->blocks, c->cap * sizeof *c->blocks);
        c->guid_at = mem_realloc(c->guid_at, (c->cap + 1) * sizeof *c->guid_at);
    }
    c->blocks[c->n] = *b;
    c->guid_at[c->n] = (uint32_t)c->n_hashes;
    for (size_t at = 0; at + GUID_LEN <= guids.len; at += GUID_LEN) {
        mem_grow((void **)&c->hashes, c->n_hashes, &c->cap_hashes, sizeof *c->hashes);
        c->hashes[c->n_hashes++] = key_guid_hash(guids.p + at);
    }
    c->guid_at[++c->n] = (uint32_t)c->n_hashes;
}

void tail_add(struct tail *t, struct tail_chunk *c) {
    pthread_mutex_lock(&t->lock);
    mem_grow((void **)&t->chunks, t->n, &t->cap, sizeof *t->chunks);
    t->chunks[t->n++] = c;
    t->n_blocks += c->n;
    pthread_mutex_unlock(&t->lock);
}

/* Drops one reference of each; those without any left go to the front of the list, their number is returned. */
static size_t unref_locked(struct tail_chunk **chunks, size_t n) {
    size_t dead = 0;
    for (size_t i = 0; i < n; i++) {
        if (--chunks[i]->refs == 0) chunks[dead++] = chunks[i];
    }
    return dead;
}

static void free_all(struct tail_chunk **chunks, size_t n) {
    for (size_t i = 0; i < n; i++) chunk_free(chunks[i]);
}

void tail_forget(struct tail *t, uint64_t after, uint64_t upto) {
    pthread_mutex_lock(&t->lock);
    size_t from = 0, to;
    while (from < t->n && t->chunks[from]->seq <= after) from++;
    for (to = from; to < t->n && t->chunks[to]->seq <= upto; to++) t->n_blocks -= t->chunks[to]->n;
    size_t n = to - from, dead;
    struct tail_chunk **out = mem_alloc(n * sizeof *out);
    if (n) memcpy(out, t->chunks + from, n * sizeof *out);
    if (n) memmove(t->chunks + from, t->chunks + to, (t->n - to) * sizeof *out);
    t->n -= n;
    dead = unref_locked(out, n);
    pthread_mutex_unlock(&t->lock);
    free_all(out, dead);
    mem_free(out);
}

size_t tail_blocks(struct tail *t) {
    pthread_mutex_lock(&t->lock);
    size_t n = t->n_blocks;
    pthread_mutex_unlock(&t->lock);
    return n;
}

size_t tail_snapshot(struct tail *t, struct tail_chunk ***ret) {
    pthread_mutex_lock(&t->lock);
    size_t n = t->n;
    struct tail_chunk **chunks = mem_alloc(n * sizeof *chunks);
    for (size_t i = 0; i < n; i++) {
        chunks[i] = t->chunks[i];
        chunks[i]->refs++;
    }
    pthread_mutex_unlock(&t->lock);
    *ret = chunks;
    return n;
}

void tail_release(struct tail *t, struct tail_chunk **chunks, size_t n) {
    pthread_mutex_lock(&t->lock);
    size_t dead = unref_locked(chunks, n);
    pthread_mutex_unlock(&t->lock);
    free_all(chunks, dead);
    mem_free(chunks);
}

bool tail_chunk_names(const struct tail_chunk *c, size_t i, uint32_t hash) {
    for (uint32_t at = c->guid_at[i]; at < c->guid_at[i + 1]; at++) {
        if (c->hashes[at] == hash) return true;
    }
    return false;
}
