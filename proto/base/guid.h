/* GUIDs as 16 bytes in the order of the text: {01234567-89ab-cdef-...} is 01 23 45 67 89 ab cd ef ..., so that byte
 * order is text order. (Windows' in-memory GUID has the first three fields little-endian; see evtx.c.) */
#ifndef HAECHI_GUID_H
#define HAECHI_GUID_H

#include "slice.h"
#include "status.h"

#define GUID_LEN 16
#define GUID_TEXT_MAX 39 /* with braces and NUL */

struct guid {
    uint8_t b[GUID_LEN];
};

/* With or without braces, any case. ST_FORMAT for anything else. */
MUST_USE enum status guid_parse(struct slice s, struct guid *ret);
/* "{...}" lower case (or upper); 38 characters and NUL. */
void guid_format(const struct guid *g, bool upper, char out[GUID_TEXT_MAX]);
bool guid_is_zero(const struct guid *g);

static inline bool guid_eq(const struct guid *a, const struct guid *b) {
    return memcmp(a->b, b->b, GUID_LEN) == 0;
}

#endif
