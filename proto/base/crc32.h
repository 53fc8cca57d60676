/* CRC-32 (the reflected polynomial 0xEDB88320 of Ethernet and zip): finds torn writes and cut pastes, not forgeries. Pure. */
#ifndef HAECHI_CRC32_H
#define HAECHI_CRC32_H

#include "slice.h"

/* Over s, going on from `before` (0 at the start): crc32_add(crc32_add(0, a), b) is that of a and b together. */
uint32_t crc32_add(uint32_t before, struct slice s);

#endif
