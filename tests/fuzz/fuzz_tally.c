/* A stored sheet of volumes: whatever it says, its cells can be collected, encoded and read back to the same sums. */
// links: storage base
// fuzz: -max_len=4096
#include "tallyrun.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sums {
    struct tallyrun *run;
    uint64_t events, bytes;
};

static enum status on_row(void *ctx, const struct tally_row *row) {
    struct sums *s = ctx;
    s->events += row->events;
    s->bytes += row->bytes;
    if (s->run) {
        tallyrun_add(s->run,
                     &(struct tally_cell){.host = row->host,
                                          .slot = row->slot,
                                          .event_id = row->event_id,
                                          .channel = tallyrun_name(s->run, row->channel),
                                          .rule = row->is_rest ? TALLY_NAME_REST : tallyrun_name(s->run, row->rule),
                                          .events = row->events,
                                          .bytes = row->bytes});
    }
    return ST_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tallyrun run;
    struct buf sheet = {0};
    tallyrun_init(&run);
    struct sums was = {.run = &run}, is = {0};
    if (!tally_sheet_each(slice_of(data, size), 0, 0, UINT32_MAX, on_row, &was)) {
        tallyrun_sort(&run);
        tallyrun_encode(&run, 0, run.n, &sheet);
        enum status st = tally_sheet_each(buf_slice(&sheet), 0, 0, UINT32_MAX, on_row, &is);
        assert(!st && is.events == was.events && is.bytes == was.bytes);
    }
    buf_free(&sheet);
    tallyrun_deinit(&run);
    return 0;
}
