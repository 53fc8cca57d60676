/* Replayed events: batches hold what the tape holds but for ids, times, process GUIDs and computer, and no two hosts or
 * laps the same. */
// links: load agent proto base
#include "clock.h"
#include "load/press.h"
#include "mem.h"
#include "parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const char shape[] =
    "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider "
    "Name='Microsoft-Windows-Sysmon' Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/><EventID>%d</EventID><Version>5</Version>"
    "<Level>4</Level><Task>1</Task><Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated "
    "SystemTime='2026-11-20T12:%02d:%02d.0123456Z'/><EventRecordID>%d</EventRecordID><Correlation/><Execution "
    "ProcessID='2748' ThreadID='3912'/><Channel>%s</Channel><Computer>%s</Computer><Security "
    "UserID='S-1-5-18'/></System><EventData><Data Name='UtcTime'>2026-11-20 12:%02d:%02d.010</Data><Data "
    "Name='ProcessGuid'>{0A0B0C0D-1CE5-6740-0B00-000000000400}</Data><Data Name='LogonGuid'>"
    "{00000000-0000-0000-0000-000000000000}</Data><Data Name='CreationUtcTime'>2020-01-02 03:04:05.678</Data><Data "
    "Name='Image'>C:\\%d.exe</Data></EventData></Event>";

static struct tape tape;

static void add(struct parser *p, int id, int minute, int second, int record, const char *channel,
                const char *computer) {
    struct buf xml = {0};
    struct error err;
    buf_printf(&xml, shape, id, minute, second, record, channel, computer, minute, second, record);
    if (tape_add(&tape, p, buf_slice(&xml), &err)) fail_msg("%s", err.msg);
    buf_free(&xml);
}

/* Two computers mixed, one with two channels, a long silence, a step backward. */
static int setup(void **state) {
    (void)state;
    struct parser *p = parser_new();
    struct error err;
    tape_init(&tape);
    add(p, 1, 0, 0, 100, "A", "one");
    add(p, 1, 0, 1, 7, "A", "two");
    add(p, 3, 0, 1, 101, "A", "one");
    add(p, 3, 50, 0, 102, "A", "one");
    add(p, 5, 49, 59, 103, "A", "one");
    add(p, 5, 0, 2, 1, "B", "one");
    parser_free(&p);
    assert_int_equal(tape_finish(&tape, &err), ST_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tape_deinit(&tape);
    return 0;
}

static void test_timeline(void **state) {
    (void)state;
    struct tape_label l = {.base = 0};
    assert_int_equal(tape.n, 6);
    assert_int_equal(tape.n_tracks, 3);
    assert_int_equal(tape.n_channels, 2);
    uint64_t before = 0;
    for (l.lap = 0; l.lap < 3; l.lap++) {
        for (size_t k = 0; k < tape.n; k++) {
            uint64_t t = tape_time(&tape, k, &l);
            if (t <= before) fail_msg("lap %u, event %zu is not later than the one before", (unsigned)l.lap, k);
            if (before && t - before > 2 * FILETIME_SECOND)
                fail_msg("lap %u, event %zu: a silence", (unsigned)l.lap, k);
            before = t;
        }
    }
    for (size_t k = 0; k < tape.n; k++) {
        uint64_t from = UINT64_C(134000000000000001) + k;
        l = (struct tape_label){.base = tape_base(&tape, k, from)};
        assert_true(tape_time(&tape, k, &l) >= from && tape_time(&tape, k, &l) < from + 10000);
        assert_int_equal(l.base % 10000, 0);
    }
}

static void test_label(void **state) {
    (void)state;
    struct tape_scratch scratch;
    struct event ev;
    struct tape_label l = {.computer = SLICE_LIT("host"), .mark = 0xaabbccdd};
    l.base = 3600 * (int64_t)FILETIME_SECOND; /* an hour later */
    tape_label_event(&tape, 0, &l, 555, &scratch, &ev);
    assert_int_equal(ev.record_id.v, 555);
    assert_true(slice_eq_str(ev.computer, "host"));
    assert_true(slice_eq_str(event_value(&ev, "UtcTime"), "2026-11-20 13:00:00.010"));
    /* 0x67401ce5 + 3600 = 0x67402af5 */
    assert_true(slice_eq_str(event_value(&ev, "ProcessGuid"), "{AABBCCDD-2AF5-6740-0B00-000000000400}"));
    assert_true(slice_eq_str(event_value(&ev, "LogonGuid"), "{00000000-0000-0000-0000-000000000000}"));
    assert_true(slice_eq_str(event_value(&ev, "CreationUtcTime"), "2020-01-02 03:04:05.678"));
    assert_true(slice_eq_str(event_value(&ev, "Image"), "C:\\100.exe"));
    /* the tape itself is as it was */
    assert_true(slice_eq_str(event_value(&tape.events[0].ev, "UtcTime"), "2026-11-20 12:00:00.010"));
}

/* Opens the frame as the collector would; returns its events, checks ids. */
static uint32_t open_cargo(const struct cargo *c, uint64_t first_id, const char *channel, uint64_t *time) {
    struct error err;
    struct arena a;
    struct batch_header h;
    struct batch_columns columns;
    struct slice payload, bytes = slice_of(c->bytes + 9, c->len - 9);
    struct batch_reader *r = batch_reader_new();
    uint32_t header_len = (uint32_t)c->bytes[5] | (uint32_t)c->bytes[6] << 8;
    arena_init(&a, 1 << 20);
    struct slice header = slice_head(bytes, header_len), body = slice_from(bytes, header_len);
    if (batch_header_parse(header, &a, &h, &err)) fail_msg("%s", err.msg);
    if (batch_check(&h, header, body, &err)) fail_msg("%s", err.msg);
    if (batch_open_columns(r, &h, body, &columns, &err)) fail_msg("%s", err.msg);
    if (batch_open_payload(r, &h, body, &payload, &err)) fail_msg("%s", err.msg);
    assert_true(slice_eq_str(h.channel, channel));
    assert_int_equal(h.n_events, c->n_events);
    for (uint32_t i = 0; i < columns.n; i++) {
        struct event ev;
        assert_int_equal(columns.record_id[i], first_id + i);
        assert_true(columns.time[i] > *time);
        *time = columns.time[i];
        assert_int_equal(event_decode(slice_of(payload.p + columns.payload_at[i], columns.payload_len[i]), &a, &ev),
                         ST_OK);
        assert_int_equal(ev.record_id.v, first_id + i);
        assert_int_equal(ev.time, columns.time[i]);
        assert_true(slice_eq_str(ev.computer, "host"));
    }
    arena_deinit(&a);
    batch_reader_free(&r);
    return h.n_events;
}

static void test_press(void **state) {
    (void)state;
    static const struct {
        uint32_t n;
        const char *channel;
        uint64_t first_id;
    } wanted[] = {{3, "A", 10}, {1, "A", 13}, {1, "A", 14}, {1, "B", 1000}, {3, "A", 15}, {1, "A", 18}, {1, "A", 19}};
    struct press *p = press_new(&tape);
    struct reel r = {.label = {.computer = SLICE_LIT("host"), .mark = 1}, .next_id = {10, 1000}, .left = 11};
    uint64_t time = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct cargo *c = press_next(p, &r, 3);
        assert_non_null(c);
        if (open_cargo(c, wanted[i].first_id, wanted[i].channel, &time) != wanted[i].n) fail_msg("case %zu", i);
        mem_free(c);
    }
    assert_null(press_next(p, &r, 3));
    assert_int_equal(r.label.lap, 1);
    assert_int_equal(press_passed_over(p), 0);
    press_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_timeline), cmocka_unit_test(test_label),
                                       cmocka_unit_test(test_press)};
    return cmocka_run_group_tests_name("load_tape", tests, setup, teardown);
}
