/* Latencies by logarithmic buckets: 32 for each power of two, so a percentile is off by 3 % at most. Pure. */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5u
#define HISTOGRAM_SUB (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKETS ((64u - HISTOGRAM_SUB_BITS + 1u) * HISTOGRAM_SUB)

struct histogram { /* zeroed is empty */
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t n, max;
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The smallest value that at least that part (0 to 1) of all values does not exceed, rounded up to its bucket's end, and
 * never above the largest value added; 0 when there are none. */
uint64_t histogram_at(const struct histogram *h, double part);

#endif
