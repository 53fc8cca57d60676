/* Encoded events from a peer: what the quick look finds in the encoding of an event is what the decoded event says. */
// links: proto base
#include "event_peek.h"
#include "event.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct arena a, b;
    struct event ev;
    struct event_peek peek;
    struct buf bytes = {0};
    arena_init(&a, EVENT_ARENA_CAP);
    arena_init(&b, EVENT_ARENA_CAP);
    (void)!event_peek(slice_of(data, len), 0, &b, &peek);
    if (!event_decode(slice_of(data, len), &a, &ev) && !event_encode(&ev, &bytes)) {
        bool sysmon =
            slice_eq_str(ev.provider, "Microsoft-Windows-Sysmon") || slice_eq_str(ev.provider, "Linux-Sysmon");
        struct slice rule = sysmon && ev.body == EVENT_BODY_DATA ? event_value(&ev, "RuleName") : SLICE_LIT("");
        if (slice_eq_str(rule, "-")) rule.len = 0;
        arena_reset(&b);
        if (event_peek(buf_slice(&bytes), ev.time, &b, &peek)) abort();
        if (peek.is_sysmon != sysmon || !slice_eq(peek.rule, rule)) abort();
    }
    buf_free(&bytes);
    arena_deinit(&a);
    arena_deinit(&b);
    return 0;
}
