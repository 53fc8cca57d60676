/* A small table of what was noted lately; the slot that was used longest ago is taken for something new. */
#include "refusals.h"

static uint64_t hash_of(const char *who, int why) { /* FNV-1a */
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)why;
    for (; *who; who++) h = (h ^ (uint8_t)*who) * UINT64_C(0x100000001b3);
    return h;
}

bool refusals_pass(struct refusals *r, const char *who, int why, uint64_t now_ms) {
    uint64_t hash = hash_of(who, why), minute = now_ms / 60000;
    unsigned oldest = 0;
    for (unsigned i = 0; i < REFUSALS_KEPT; i++) {
        if (r->kept[i].at_ms && r->kept[i].hash == hash) {
            if (now_ms - r->kept[i].at_ms < REFUSALS_AGAIN_MS) return false;
            r->kept[i].at_ms = 0;
        }
        if (r->kept[i].at_ms < r->kept[oldest].at_ms) oldest = i;
    }
    if (r->minute != minute) {
        r->minute = minute;
        r->n_minute = 0;
    }
    if (r->n_minute >= REFUSALS_PER_MINUTE) return false;
    r->n_minute++;
    r->kept[oldest].hash = hash;
    r->kept[oldest].at_ms = now_ms;
    return true;
}
