/* For the tests of blocks: made events, a block of them, and all that a collector does with a block. */
#ifndef HAECHI_BATCH_FIXTURE_H
#define HAECHI_BATCH_FIXTURE_H

#include "batch_internal.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define T0 UINT64_C(134087616000000000)
#define N_MADE 5

/* ---- made events: two runs of record ids, three GUIDs, times that go back ---- */

static const struct made {
    uint64_t record_id, time, event_id;
    const char *guids[2];
} made[N_MADE] = {
    {10, T0, 1, {"{0000000c-0000-0000-0000-000000000000}", "{0000000a-0000-0000-0000-000000000000}"}},
    {11, T0 + 10, 10, {"{0000000a-0000-0000-0000-000000000000}", "{0000000b-0000-0000-0000-000000000000}"}},
    {12, T0 + 5, 4, {NULL, NULL}},
    {300, T0 + 70, 22, {"{0000000b-0000-0000-0000-000000000000}", NULL}},
    {301, T0 + 60, 255, {NULL, NULL}},
};

static inline struct event event_of(const struct made *m, struct event_data data[3]) {
    struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                       .event_id = {m->event_id, true, {NULL, 0}},
                       .record_id = {m->record_id, true, {NULL, 0}},
                       .time = m->time,
                       .time_digits = 7,
                       .channel = SLICE_LIT("Microsoft-Windows-Sysmon/Operational"),
                       .body = EVENT_BODY_DATA,
                       .data = data};
    static const char *const names[] = {"ProcessGuid", "ParentProcessGuid"};
    for (size_t i = 0; i < 2 && m->guids[i]; i++) {
        data[ev.n_data++] = (struct event_data){slice_str(names[i]), slice_str(m->guids[i]), EVENT_DATA};
    }
    data[ev.n_data++] = (struct event_data){SLICE_LIT("Image"), SLICE_LIT("C:\\x.exe"), EVENT_DATA};
    return ev;
}

static inline void add_made(struct batch_builder *b, const struct made *m) {
    struct event_data data[3];
    struct event ev = event_of(m, data);
    assert_int_equal(batch_add(b, &ev, m->record_id), ST_OK);
}

static inline struct buf build_made(uint32_t *ret_header_len) {
    struct batch_builder *b = batch_builder_new(0);
    struct buf out = {0};
    batch_begin(b, SLICE_LIT("log"), SLICE_LIT("pc"), 7);
    for (size_t i = 0; i < N_MADE; i++) add_made(b, &made[i]);
    assert_int_equal(batch_count(b), N_MADE);
    assert_int_equal(batch_finish(b, &out, ret_header_len), ST_OK);
    assert_int_equal(batch_count(b), 0);
    batch_builder_free(&b);
    return out;
}

/* Everything that a collector does with a block. Touches all that it hands out. */
static inline enum status open_all(struct slice block, size_t header_len, bool check, struct error *err) {
    struct batch_reader *r = batch_reader_new();
    struct arena a, ea;
    struct batch_header h;
    struct batch_columns c;
    struct slice payload, header = slice_head(block, header_len), body = slice_from(block, header_len);
    arena_init(&a, 1 << 20);
    arena_init(&ea, EVENT_ARENA_CAP);
    enum status st = batch_header_parse(header, &a, &h, err);
    if (!st && check) st = batch_check(&h, header, body, err);
    if (!st) st = batch_open_columns(r, &h, body, &c, err);
    if (!st) st = batch_open_payload(r, &h, body, &payload, err);
    for (uint32_t i = 0; !st && i < c.n; i++) {
        struct event ev;
        assert_true(c.time[i] >= h.min_time && c.time[i] <= h.max_time);
        for (size_t g = 0; g < c.n_guids[i]; g++) assert_true(c.guid[i][g] < h.guids.len / GUID_LEN);
        assert_true((size_t)c.payload_at[i] + c.payload_len[i] <= payload.len);
        arena_reset(&ea);
        (void)!event_decode(slice_of(payload.p + c.payload_at[i], c.payload_len[i]), &ea, &ev);
    }
    batch_reader_free(&r);
    arena_deinit(&a);
    arena_deinit(&ea);
    return st;
}

#endif
