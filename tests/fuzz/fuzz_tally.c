/* A stored sheet of volumes: whatever it says, its cells can be collected, encoded and read back to the same sums. */
// links: storage base
// fuzz: -max_len=4096
#include "tallytab.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sums {
    struct tallytab *run;
    uint64_t events, bytes;
};

static enum status on_row(void *ctx, const struct tally_row *row) {
    struct sums *s = ctx;
    s->events += row->events;
    s->bytes += row->bytes;
    if (s->run) {
        tallytab_add(s->run,
                     &(struct tally_cell){.host = row->host,
                                          .slot = row->slot,
                                          .event_id = row->event_id,
                                          .channel = tallytab_name(s->run, row->channel),
                                          .rule = row->is_rest ? TALLY_NAME_REST : tallytab_name(s->run, row->rule),
                                          .events = row->events,
                                          .bytes = row->bytes});
    }
    return ST_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tallytab run;
    struct buf sheet = {0};
    tallytab_init(&run);
    struct sums was = {.run = &run}, is = {0};
    if (!tally_sheet_each(slice_of(data, size), 0, 0, UINT32_MAX, on_row, &was)) {
        tallytab_sort(&run);
        tallytab_encode(&run, 0, run.n, &sheet);
        enum status st = tally_sheet_each(buf_slice(&sheet), 0, 0, UINT32_MAX, on_row, &is);
        assert(!st && is.events == was.events && is.bytes == was.bytes);
    }
    buf_free(&sheet);
    tallytab_deinit(&run);
    return 0;
}
