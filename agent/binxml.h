/* 1 SOURCE  BinXML, the token stream in .evtx records -> XML text.
 *
 * Pure. Offsets in BinXML count from the start of the chunk; names and templates are looked up in the same chunk only.
 * Work, depth and output are bounded whatever the bytes say. The format: MS-EVEN6 2.2.12 and 3.1.4.7. */
#ifndef HAECHI_BINXML_H
#define HAECHI_BINXML_H

#include "buf.h"
#include "slice.h"
#include "status.h"

#define BINXML_DEPTH_MAX 64        /* elements and templates inside each other */
#define BINXML_VALUES_MAX 1024     /* substitution values of one template instance */
#define BINXML_WORK_MAX (1u << 18) /* tokens of one record, array items and repeats counted */

struct binxml_fault {
    uint32_t offset; /* in the chunk: where the bytes stopped to make sense */
    const char *why; /* a constant */
};

/* Renders the BinXML in chunk[from, to) and appends it to xml, on one line: at most max_len bytes in all. *work is the
 * number of tokens that may be read, and is counted down. ST_FORMAT or ST_TOOBIG fill *ret_fault; on any failure xml
 * holds what it held before. ST_NOMEM: out of memory. */
MUST_USE enum status binxml_render(struct slice chunk, uint32_t from, uint32_t to, size_t max_len, uint32_t *work,
                                   struct buf *xml, struct binxml_fault *ret_fault);

#endif
