/* fuzz: -max_len=20000 */
#include "rules_kept.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rules_kept k, again;
    struct buf once = {0}, twice = {0};
    if (rules_kept_parse(slice_of(data, size), &k, NULL)) return 0;
    rules_kept_write(&k, &once);
    if (rules_kept_parse(buf_slice(&once), &again, NULL)) abort();
    rules_kept_write(&again, &twice);
    if (!slice_eq(buf_slice(&once), buf_slice(&twice))) abort();
    rules_kept_free(&k);
    rules_kept_free(&again);
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
