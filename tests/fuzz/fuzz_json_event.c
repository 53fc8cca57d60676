/* fuzz: -max_len=8192
 * Any line as `haechi import` may meet it: refused with a sentence, or an event that can be encoded, decoded and written. */
#include "commands.h"
#include "json_event.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = {0};
    struct event ev, again;
    struct arena a, b;
    struct buf encoded = {0}, xml = {0};
    yyjson_doc *doc;
    arena_init(&a, EVENT_ARENA_CAP);
    arena_init(&b, EVENT_ARENA_CAP);
    enum status st = json_line(slice_of(data, size), &doc, &err);
    if (!st) st = json_event(yyjson_doc_get_root(doc), &a, &ev, &err);
    if (st && !err.msg[0]) abort();
    if (!st && !event_encode(&ev, &encoded)) {
        if (event_decode(buf_slice(&encoded), &b, &again)) abort();
        if (again.n_data != ev.n_data || again.event_id.v != ev.event_id.v) abort();
        event_write_xml(&again, &xml);
    }
    yyjson_doc_free(doc);
    buf_free(&encoded);
    buf_free(&xml);
    arena_deinit(&a);
    arena_deinit(&b);
    return 0;
}
