/* fuzz: -max_len=20000 */
/* Input: what follows a chunk's header of 512 bytes; the header is made here, so that mutations meet the records. The
 * first byte chooses: even, a good header; odd, the input is the whole chunk. */
#include "evtx.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > EVTX_CHUNK - 512) return 0;
    struct buf chunk = {0}, xml = {0};
    bool whole = data[0] & 1;
    if (!whole) {
        uint8_t head[512] = "ElfChnk";
        uint32_t end = (uint32_t)(512 + size - 1);
        memcpy(head + 48, (uint8_t[]){(uint8_t)end, (uint8_t)(end >> 8), (uint8_t)(end >> 16), 0}, 4);
        buf_append(&chunk, head, sizeof head);
    }
    buf_append(&chunk, data + 1, size - 1);
    (void)evtx_file_check(buf_slice(&chunk));
    struct evtx_chunk c;
    struct evtx_damage d;
    struct evtx_record rec;
    char line[64];
    enum status st = evtx_chunk_open(&c, buf_slice(&chunk), &d);
    for (int pass = 0; st == ST_OK && pass < 2; pass++) {
        uint32_t last = 0;
        while ((st = evtx_chunk_next(&c, &xml, &rec, &d)) != ST_END) {
            if (c.pos <= last || xml.len > EVTX_EVENT_MAX) abort();
            last = c.pos;
            if (st == ST_OK && (xml.len == 0 || d.why[0])) abort();
            if (st != ST_OK && !d.why[0]) abort();
            evtx_damage_describe(&d, line, sizeof line);
        }
        evtx_chunk_read_tail(&c);
        st = ST_OK;
    }
    buf_free(&chunk);
    buf_free(&xml);
    return 0;
}
