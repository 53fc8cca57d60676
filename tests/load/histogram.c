/* Buckets: values below 2 * HISTOGRAM_SUB have one each; above, the top bits of a value choose. Pure. */
#include "histogram.h"

static size_t bucket_of(uint64_t v) {
    if (v < HISTOGRAM_SUB) return (size_t)v;
    unsigned top = 63u - (unsigned)__builtin_clzll(v); /* at least HISTOGRAM_SUB_BITS */
    unsigned shift = top - HISTOGRAM_SUB_BITS;
    return (size_t)(shift + 1) * HISTOGRAM_SUB + (size_t)((v >> shift) & (HISTOGRAM_SUB - 1));
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(size_t b) {
    if (b < HISTOGRAM_SUB) return b;
    unsigned shift = (unsigned)(b / HISTOGRAM_SUB) - 1;
    uint64_t first = (HISTOGRAM_SUB + (uint64_t)(b % HISTOGRAM_SUB)) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *h, uint64_t value) {
    h->counts[bucket_of(value)]++;
    h->n++;
    if (value > h->max) h->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
    for (size_t b = 0; b < HISTOGRAM_BUCKETS; b++) into->counts[b] += from->counts[b];
    into->n += from->n;
    if (from->max > into->max) into->max = from->max;
}

uint64_t histogram_at(const struct histogram *h, double part) {
    if (!h->n) return 0;
    double wanted = part * (double)h->n;
    uint64_t seen = 0;
    for (size_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
        seen += h->counts[b];
        if (seen && (double)seen >= wanted) {
            uint64_t end = bucket_end(b);
            return end < h->max ? end : h->max;
        }
    }
    return h->max;
}
