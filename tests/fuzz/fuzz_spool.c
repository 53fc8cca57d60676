/* fuzz: -max_len=4096 */
#include "spool_entry.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice s = slice_of(data, size);
    (void)spool_head_ok(s);
    for (size_t at = 0, next = 0; at < size; at = next) {
        struct spool_entry e;
        enum status st = spool_entry_parse(s, at, &e, &next);
        if (st == ST_OK) {
            struct buf b = {0};
            spool_entry_put(&e, &b);
            if (b.len != next - at || memcmp(b.p, data + at, b.len) != 0) abort();
            buf_free(&b);
        } else {
            next = spool_find_entry(s, at);
        }
        if (next <= at) abort();
    }
    return 0;
}
