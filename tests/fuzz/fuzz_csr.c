/* Certificate requests, as hosts without any certificate send them: ca_check_csr. */
// links: server rules storage proto base
// fuzz: -max_len=4096
#include "ca.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct ca_csr got;
    struct error err;
    tls_global_init();
    if (ca_check_csr(slice_of(data, len), &got, &err) == ST_OK &&
        memchr(got.common_name, 0, sizeof got.common_name) == NULL) {
        __builtin_trap();
    }
    return 0;
}
