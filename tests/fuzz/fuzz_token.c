/* fuzz: -max_len=600 */
#include "mem.h"
#include "token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct token t, again;
    struct error err = {0};
    if (token_decode(slice_of(data, size), &t, &err)) return 0;
    struct buf b = {0};
    if (token_encode(&t, &b, &err) || token_decode(buf_slice(&b), &again, &err) || memcmp(&t.pin, &again.pin, 32) != 0)
        abort();
    buf_free(&b);
    return 0;
}
