/* What the files of the diff share. */
#ifndef HAECHI_DIFF_INTERNAL_H
#define HAECHI_DIFF_INTERNAL_H

#include "diff.h"

/* ---- things that two lists have in common (diff_pair.c) ---- */

#define DIFF_NONE SIZE_MAX

struct diff_item {
    uint64_t key;   /* equal things have equal keys */
    size_t partner; /* in the other list; DIFF_NONE: none yet */
};
/* Pairs items that have no partner yet and whose keys are equal, in order; same (may be NULL) is asked first. A key of 0
 * pairs with nothing. */
void diff_pair(struct diff_item *a, size_t n_a, struct diff_item *b, size_t n_b,
               bool (*same)(const void *ctx, size_t i_a, size_t i_b), const void *ctx);
/* Marks in moved[0..n_a) the paired items of a that must be moved to come into b's order: as few as possible. */
void diff_moved(const struct diff_item *a, size_t n_a, bool *moved);

struct diff_ref { /* a place in a list, to be sorted by what is there */
    uint64_t key;
    size_t at;
};
void diff_sort(struct diff_ref *refs, size_t n); /* by key, equal ones by place */

uint64_t diff_hash(uint64_t h, struct slice s); /* 0 begins */
uint64_t diff_hash_nocase(uint64_t h, struct slice s);

/* ---- words (diff_text.c) ---- */
void diff_put_field(struct buf *out, const struct rule_field *f);
void diff_put_rule(struct buf *out, const struct rule *r);
void diff_put_block(struct buf *out, const struct rule_block *b);

#endif
