/* CRC-32 through a table of 256 entries made by the preprocessor's arithmetic, a byte a step: no table to be made at run
 * time, so nothing that threads could race for. */
#include "crc32.h"

/* The table is linear in its index: an entry is the sum of what each bit of the index gives. */
#define BITS(i)                                                                                                      \
    ((i & 1 ? 0x77073096u : 0) ^ (i & 2 ? 0xee0e612cu : 0) ^ (i & 4 ? 0x076dc419u : 0) ^ (i & 8 ? 0x0edb8832u : 0) ^ \
     (i & 16 ? 0x1db71064u : 0) ^ (i & 32 ? 0x3b6e20c8u : 0) ^ (i & 64 ? 0x76dc4190u : 0) ^                          \
     (i & 128 ? 0xedb88320u : 0))
#define ENTRY_4(i) BITS((i)), BITS((i + 1)), BITS((i + 2)), BITS((i + 3))
#define ENTRY_16(i) ENTRY_4((i)), ENTRY_4((i + 4)), ENTRY_4((i + 8)), ENTRY_4((i + 12))
#define ENTRY_64(i) ENTRY_16((i)), ENTRY_16((i + 16)), ENTRY_16((i + 32)), ENTRY_16((i + 48))
static const uint32_t table[256] = {ENTRY_64(0), ENTRY_64(64), ENTRY_64(128), ENTRY_64(192)};

uint32_t crc32_add(uint32_t before, struct slice s) {
    uint32_t c = ~before;
    for (size_t i = 0; i < s.len; i++) c = c >> 8 ^ table[(c ^ s.p[i]) & 0xff];
    return ~c;
}
