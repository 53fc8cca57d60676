/* The texts that Windows' Event Log gives, and stored positions.
 * fuzz: -max_len=4096 */
#include "evtlog_text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice s = slice_of(data, size);
    uint64_t id = 0, time = 0, again_id = 0, again_time = 0;
    if (evtlog_text_facts(s, &id, &time) && size < 8) abort();
    (void)evtlog_text_is_whole(s);
    if (evtlog_bookmark_parse(s, &id) == ST_OK) {
        struct buf b = {0};
        evtlog_bookmark_write(&b, slice_of("c", 1), id);
        if (evtlog_bookmark_parse(buf_slice(&b), &again_id) || again_id != id) abort();
        buf_free(&b);
    }
    if (evtlog_position_parse(s, &id, &time) == ST_OK) {
        struct buf b = {0};
        evtlog_position_write(&b, id, time);
        if (evtlog_position_parse(buf_slice(&b), &again_id, &again_time) || again_id != id || again_time != time)
            abort();
        buf_free(&b);
    }
    return 0;
}
