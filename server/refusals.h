/* Which refused connections enter the audit log. A revoked host knocks every few minutes for years and anyone may send a
 * certificate of its own making: the same refusal is noted once an hour, and no more than a few of all kinds a minute. Pure. */
#ifndef HAECHI_REFUSALS_H
#define HAECHI_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#define REFUSALS_KEPT 256u
#define REFUSALS_AGAIN_MS UINT64_C(3600000)
#define REFUSALS_PER_MINUTE 20u

struct refusals { /* zeroed is empty; one thread */
    struct {
        uint64_t hash, at_ms;
    } kept[REFUSALS_KEPT];
    uint64_t minute;
    unsigned n_minute;
};
/* May a refusal of `why` to `who` be noted now? now_ms: monotonic, never 0. */
bool refusals_pass(struct refusals *r, const char *who, int why, uint64_t now_ms);

#endif
