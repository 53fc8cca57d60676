/* Encoded events from a peer: decoded, encoded and rendered without harm; what was decoded stays what it is. */
#include "event.h"
#include "event_eq.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct arena a, b;
    struct event ev, again;
    struct buf bytes = {0}, xml = {0};
    arena_init(&a, EVENT_ARENA_CAP);
    arena_init(&b, EVENT_ARENA_CAP);
    if (event_decode(slice_of(data, len), &a, &ev) == ST_OK) {
        struct guid guids[EVENT_MAX_GUIDS];
        if (event_process_guids(&ev, guids) > EVENT_MAX_GUIDS) abort();
        (void)event_value(&ev, "Image");
        event_write_xml(&ev, &xml);
        if (memchr(xml.p, '\n', xml.len) || memchr(xml.p, '\r', xml.len)) abort();
        if (event_encode(&ev, &bytes) == ST_OK) {
            if (event_decode(buf_slice(&bytes), &b, &again) || event_difference(&ev, &again)) abort();
            if (event_content_hash(&ev) != event_content_hash(&again)) abort();
        }
    }
    buf_free(&bytes);
    buf_free(&xml);
    arena_deinit(&a);
    arena_deinit(&b);
    return 0;
}
