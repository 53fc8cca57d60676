/* No slots: an agent has one or two connections. */
#include "tls_slots.h"

#include <stdlib.h>

void tls_slots_init(void) {}

void *tls_slots_calloc(size_t n, size_t size) {
    return calloc(n, size);
}

void tls_slots_free(void *p) {
    free(p);
}

void tls_slots_idle(void *p) {
    (void)p;
}
