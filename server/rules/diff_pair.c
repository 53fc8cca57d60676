/* Pairing the equal things of two lists, and the fewest of them that have moved. Pure. */
#include "diff_internal.h"
#include "mem.h"

#include <stdlib.h>

static uint64_t hash_byte(uint64_t h, uint8_t c) {
    return (h ^ c) * UINT64_C(1099511628211);
}

/* FNV-1a, with the length in front, so that parts do not run together. */
uint64_t diff_hash(uint64_t h, struct slice s) {
    if (!h) h = UINT64_C(14695981039346656037);
    for (int i = 0; i < 4; i++) h = hash_byte(h, (uint8_t)(s.len >> 8 * i));
    for (size_t i = 0; i < s.len; i++) h = hash_byte(h, s.p[i]);
    return h ? h : 1;
}

uint64_t diff_hash_nocase(uint64_t h, struct slice s) {
    if (!h) h = UINT64_C(14695981039346656037);
    for (int i = 0; i < 4; i++) h = hash_byte(h, (uint8_t)(s.len >> 8 * i));
    for (size_t i = 0; i < s.len; i++) h = hash_byte(h, (uint8_t)slice_lower(s.p[i]));
    return h ? h : 1;
}

static int by_key(const void *a, const void *b) {
    const struct diff_ref *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

void diff_sort(struct diff_ref *refs, size_t n) {
    if (n) qsort(refs, n, sizeof *refs, by_key);
}

static size_t free_ones(const struct diff_item *items, size_t n, struct diff_ref **ret) {
    size_t n_free = 0;
    *ret = mem_alloc(mem_mul(n, sizeof **ret));
    for (size_t i = 0; i < n; i++) {
        if (items[i].partner == DIFF_NONE && items[i].key) (*ret)[n_free++] = (struct diff_ref){items[i].key, i};
    }
    diff_sort(*ret, n_free);
    return n_free;
}

void diff_pair(struct diff_item *a, size_t n_a, struct diff_item *b, size_t n_b,
               bool (*same)(const void *ctx, size_t i_a, size_t i_b), const void *ctx) {
    struct diff_ref *x, *y;
    size_t n_x = free_ones(a, n_a, &x), n_y = free_ones(b, n_b, &y);
    for (size_t i = 0, j = 0; i < n_x && j < n_y;) {
        if (x[i].key != y[j].key) {
            if (x[i].key < y[j].key)
                i++;
            else
                j++;
            continue;
        }
        if (!same || same(ctx, x[i].at, y[j].at)) {
            a[x[i].at].partner = y[j].at;
            b[y[j].at].partner = x[i].at;
        }
        i++;
        j++;
    }
    mem_free(x);
    mem_free(y);
}

/* The paired items outside of the longest run whose partners ascend. */
void diff_moved(const struct diff_item *a, size_t n_a, bool *moved) {
    size_t *ends = mem_alloc(mem_mul(n_a, sizeof *ends)), *before = mem_alloc(mem_mul(n_a, sizeof *before)), n = 0;
    for (size_t i = 0; i < n_a; i++) {
        moved[i] = a[i].partner != DIFF_NONE;
        if (!moved[i]) continue;
        size_t lo = 0, hi = n; /* the shortest run that this one cannot make longer: its end is replaced */
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (a[ends[mid]].partner < a[i].partner) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        before[i] = lo ? ends[lo - 1] : DIFF_NONE;
        ends[lo] = i;
        if (lo == n) n++;
    }
    for (size_t i = n ? ends[n - 1] : DIFF_NONE; i != DIFF_NONE; i = before[i]) moved[i] = false;
    mem_free(ends);
    mem_free(before);
}
