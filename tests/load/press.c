/* Batches from the tape. */
#include "press.h"
#include "frame.h"
#include "mem.h"

#include <assert.h>

struct press {
    const struct tape *tape;
    struct batch_builder *builder;
    struct buf bytes;
    struct tape_scratch scratch;
    uint64_t passed_over;
};

struct press *press_new(const struct tape *t) {
    struct press *p = mem_zalloc(sizeof *p);
    p->tape = t;
    p->builder = batch_builder_new(0);
    return p;
}

void press_free(struct press **pp) {
    struct press *p = *pp;
    if (!p) return;
    batch_builder_free(&p->builder);
    buf_free(&p->bytes);
    mem_free(p);
    *pp = NULL;
}

uint64_t press_passed_over(const struct press *p) {
    return p->passed_over;
}

static void advance(const struct tape *t, struct reel *r) {
    if (++r->at < t->n) return;
    r->at = 0;
    r->label.lap++;
}

static struct cargo *finish(struct press *p) {
    uint8_t head[FRAME_HEAD_LEN];
    uint32_t header_len, n = batch_count(p->builder);
    buf_clear(&p->bytes);
    enum status st = batch_finish(p->builder, &p->bytes, &header_len);
    assert(st == ST_OK);
    (void)st;
    struct cargo *c = mem_alloc(sizeof *c + FRAME_HEAD_LEN + 4 + p->bytes.len);
    *c = (struct cargo){.n_events = n, .len = (uint32_t)(FRAME_HEAD_LEN + 4 + p->bytes.len)};
    frame_head(head, FRAME_BATCH, p->bytes.len + 4);
    memcpy(c->bytes, head, FRAME_HEAD_LEN);
    for (int i = 0; i < 4; i++) c->bytes[FRAME_HEAD_LEN + i] = (uint8_t)(header_len >> (8 * i));
    memcpy(c->bytes + FRAME_HEAD_LEN + 4, p->bytes.p, p->bytes.len);
    return c;
}

/* Adds events of one log and one lap to the batch, at most n. */
static void fill(struct press *p, struct reel *r, size_t n) {
    const struct tape *t = p->tape;
    const struct tape_event *first = &t->events[r->at], *e = first;
    batch_begin(p->builder, t->channels[first->channel], (struct slice){NULL, 0}, EPOCH_FIND);
    do {
        uint64_t *id = &r->next_id[e->channel];
        struct event ev;
        tape_label_event(t, r->at, &r->label, *id, &p->scratch, &ev);
        if (batch_add(p->builder, &ev, *id) == ST_OK) {
            (*id)++;
        } else if (batch_count(p->builder)) {
            return; /* the batch is full; or this event alone is too large, which the next batch finds out */
        } else {
            p->passed_over++;
        }
        advance(t, r);
        e = &t->events[r->at];
    } while (batch_count(p->builder) < n && e > first && e->track == first->track);
}

struct cargo *press_next(struct press *p, struct reel *r, size_t n) {
    if (!r->left) return NULL;
    if (n > r->left) n = (size_t)r->left;
    for (size_t tries = 0; tries < p->tape->n_tracks + 1; tries++) {
        fill(p, r, n);
        if (!batch_count(p->builder)) continue; /* a whole log of events that are too large */
        if (r->left != UINT64_MAX) r->left -= batch_count(p->builder);
        return finish(p);
    }
    return NULL;
}
