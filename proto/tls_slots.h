/* Memory for mbedTLS. Each connection has two record buffers of 16 KiB and a little; they come from page-aligned slots of
 * 20 KiB, so that an idle connection can give all but the first page of each (where the sequence number lies) back to the
 * system: 15 KB a connection instead of 40. Everything else comes from malloc. Thread-safe.
 *
 * Where a system has no such mapping (or it is used up) the buffers come from malloc and tls_slots_idle does nothing. */
#ifndef HAECHI_TLS_SLOTS_H
#define HAECHI_TLS_SLOTS_H

#include <stddef.h>

void tls_slots_init(void); /* once, before the first allocation */
void *tls_slots_calloc(size_t n, size_t size);
void tls_slots_free(void *p);
/* The contents of the slot at p, but for its first page, become undefined (zero). Nothing for other memory. */
void tls_slots_idle(void *p);

#endif
