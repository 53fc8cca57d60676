/* A stored ledger: what decodes has the shape that the look-ups rely on, and encodes to the same bytes' meaning. */
// links: storage base
// fuzz: -max_len=4096
#include "ledger.h"
#include "mem.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ledger l, again;
    if (ledger_decode(slice_of(data, size), &l)) return 0;
    for (size_t i = 1; i < l.n; i++) assert(l.spans[i].first > l.spans[i - 1].last + 1);
    for (size_t i = 1; i < l.n_notes; i++) assert(l.notes[i].first > l.notes[i - 1].last);
    uint64_t at = 0, end = 0;
    struct ledger_note hole;
    for (int n = 0; n < 10000 && ledger_next_hole(&l, &at, &hole); n++) {
        assert(hole.first >= end && hole.first <= hole.last && !ledger_held(&l, hole.first, hole.last));
        end = hole.last + 1;
    }
    struct buf b = {0};
    ledger_encode(&l, &b);
    assert(ledger_decode(buf_slice(&b), &again) == ST_OK && again.n == l.n && again.n_notes == l.n_notes);
    ledger_deinit(&again);
    if (l.n) ledger_add(&l, (struct ledger_span){l.spans[0].first, l.spans[l.n - 1].last, 0, 0});
    assert(l.n <= 1);
    ledger_explain(&l, 3, UINT64_MAX / 2, LEDGER_WRAPPED);
    ledger_deinit(&l);
    buf_free(&b);
    return 0;
}
