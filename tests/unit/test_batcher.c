/* The batcher: one open batch for each log, full ones and old ones come out, and positions never run ahead. */
#include "batcher.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

struct got {
    uint32_t n_events, epoch;
    char channel[64], computer[64], position[64];
    uint64_t first_id, n_runs;
};
static struct got got[4096];
static size_t n_got;

static void on_batch(void *ctx, struct batcher_batch *b) {
    (void)ctx;
    struct arena a;
    struct batch_header h;
    struct error err = {0};
    arena_init(&a, 1 << 20);
    assert_true(b->header_len <= b->bytes.len);
    struct slice header = slice_of(b->bytes.p, b->header_len), body = slice_from(buf_slice(&b->bytes), b->header_len);
    if (batch_header_parse(header, &a, &h, &err) || batch_check(&h, header, body, &err)) fail_msg("%s", err.msg);
    assert_int_equal(h.n_events, b->n_events);
    assert_true(slice_eq(h.channel, b->channel) && slice_eq(h.computer, b->computer));
    assert_true(n_got < sizeof got / sizeof *got);
    struct got *g = &got[n_got++];
    *g = (struct got){.n_events = b->n_events, .epoch = h.epoch, .first_id = h.runs[0].first_id, .n_runs = h.n_runs};
    snprintf(g->channel, sizeof g->channel, "%.*s", (int)b->channel.len, (const char *)b->channel.p);
    snprintf(g->computer, sizeof g->computer, "%.*s", (int)b->computer.len,
             b->computer.len ? (const char *)b->computer.p : "");
    snprintf(g->position, sizeof g->position, "%.*s", (int)b->position.len,
             b->position.len ? (const char *)b->position.p : "");
    buf_free(&b->bytes);
    arena_deinit(&a);
}

static struct batcher *make(struct batcher_options o) {
    static const char *const own[] = {"WS-01", "machine.example"};
    n_got = 0;
    if (!o.own_names) {
        o.own_names = own;
        o.n_own_names = 2;
    }
    o.out = on_batch;
    return batcher_new(&o);
}

static void add(struct batcher *b, const char *channel, const char *computer, uint64_t id, const char *position,
                uint64_t now) {
    struct event ev = {.provider = SLICE_LIT("P"),
                       .event_id = {.v = 1, .present = true},
                       .time = 133000000000000000 + id,
                       .time_digits = 7,
                       .channel = slice_str(channel),
                       .computer = slice_str(computer),
                       .record_id = {.v = id, .present = id != 0}};
    assert_int_equal(batcher_add(b, &ev, slice_str(position), now), ST_OK);
}

static void test_count_and_age(void **state) {
    (void)state;
    struct batcher *b = make((struct batcher_options){.max_events = 10, .max_age_ms = 1000});
    for (unsigned i = 1; i <= 25; i++) add(b, "C", "ws-01.corp", i, "", 0);
    assert_int_equal(n_got, 2);
    assert_int_equal(got[1].first_id, 11);
    assert_int_equal(got[1].n_runs, 1);
    assert_string_equal(got[0].computer, ""); /* own, by its first label */
    assert_int_equal(batcher_open_events(b), 5);
    assert_int_equal(batcher_deadline_ms(b), 1000);
    batcher_tick(b, 999);
    assert_int_equal(n_got, 2);
    batcher_tick(b, 1000);
    assert_int_equal(n_got, 3);
    assert_int_equal(got[2].n_events, 5);
    assert_true(batcher_deadline_ms(b) == UINT64_MAX);
    batcher_free(&b);
}

static void test_raw_size(void **state) {
    (void)state;
    struct batcher *b = make((struct batcher_options){.max_raw = 10000});
    char *big = mem_zalloc(2001);
    memset(big, 'x', 2000);
    struct event_data d = {.name = SLICE_LIT("V"), .value = slice_str(big)};
    struct event ev = {.channel = SLICE_LIT("C"),
                       .time = 1,
                       .record_id = {.present = true},
                       .body = EVENT_BODY_DATA,
                       .data = &d,
                       .n_data = 1};
    for (unsigned i = 1; i <= 5; i++) {
        ev.record_id.v = i;
        assert_int_equal(batcher_add(b, &ev, SLICE_LIT(""), 0), ST_OK);
    }
    assert_int_equal(n_got, 1);
    /* An event that no batch can hold is refused and harms nobody. */
    mem_free(big);
    big = mem_zalloc(EVENT_MAX_ENCODED + 10);
    memset(big, 'x', EVENT_MAX_ENCODED + 9);
    d.value = slice_str(big);
    assert_int_equal(batcher_add(b, &ev, SLICE_LIT(""), 0), ST_TOOBIG);
    add(b, "C", "", 6, "", 0);
    batcher_flush(b);
    assert_int_equal(n_got, 2);
    assert_int_equal(got[1].n_events, 1);
    batcher_free(&b);
    mem_free(big);
}

static void test_logs_apart(void **state) {
    (void)state;
    struct batcher *b = make((struct batcher_options){0});
    for (unsigned i = 1; i <= 30; i++) {
        add(b, "A", "WS-01", i, "", 0);
        add(b, "A", "other.example", i, "", 0);
        add(b, "B", "MACHINE", i, "", 0);
        add(b, "A", "WS-01", 0, "", 0); /* no record id: its content is its identity */
    }
    batcher_flush(b);
    assert_int_equal(n_got, 4);
    unsigned other = 0, content = 0;
    for (size_t i = 0; i < n_got; i++) {
        assert_int_equal(got[i].n_events, 30);
        other += strcmp(got[i].computer, "other.example") == 0;
        content += got[i].epoch == EPOCH_CONTENT;
    }
    assert_int_equal(other, 1);
    assert_int_equal(content, 1);
    batcher_free(&b);
}

static void test_own(void **state) {
    (void)state;
    static const struct {
        const char *computer;
        bool own;
    } cases[] = {{"WS-01", true},   {"ws-01", true}, {"Ws-01.corp.example", true}, {"machine", true}, {"", true},
                 {"WS-010", false}, {"WS-0", false}, {"corp.ws-01", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct batcher *b = make((struct batcher_options){0});
        add(b, "A", cases[i].computer, 1, "", 0);
        batcher_flush(b);
        if ((got[0].computer[0] == 0) != cases[i].own) fail_msg("%s", cases[i].computer);
        batcher_free(&b);
    }
    struct batcher *b = make((struct batcher_options){.own = true});
    add(b, "A", "anything", 1, "", 0);
    batcher_flush(b);
    assert_string_equal(got[0].computer, "");
    batcher_free(&b);
}

/* More logs than may be open: the oldest goes out first, and all events come through. */
static void test_many_logs(void **state) {
    (void)state;
    struct batcher *b = make((struct batcher_options){0});
    char name[32];
    for (unsigned i = 0; i < BATCHER_MAX_LOGS + 5; i++) {
        snprintf(name, sizeof name, "channel-%u", i);
        add(b, name, "", 1, "", 0);
    }
    assert_int_equal(n_got, 5);
    assert_string_equal(got[0].channel, "channel-0");
    batcher_flush(b);
    assert_int_equal(n_got, BATCHER_MAX_LOGS + 5);
    batcher_free(&b);
}

/* A position is safe only when everything before it has been handed out. */
static void test_positions(void **state) {
    (void)state;
    struct batcher *b = make((struct batcher_options){.max_events = 3});
    add(b, "A", "", 1, "p1", 0);
    add(b, "B", "", 1, "p2", 0);
    add(b, "A", "", 2, "p3", 0);
    add(b, "A", "", 3, "p4", 0); /* A is full; B still holds what was read behind p1 */
    assert_int_equal(n_got, 1);
    assert_string_equal(got[0].position, "p1");
    add(b, "A", "", 4, "p5", 0);
    add(b, "A", "", 5, "", 0); /* in the middle of a line: no new place to go on from */
    batcher_flush(b);
    assert_int_equal(n_got, 3);
    assert_string_equal(got[1].channel, "A");
    assert_string_equal(got[1].position, "p1");
    assert_string_equal(got[2].channel, "B");
    assert_string_equal(got[2].position, "p5");
    batcher_free(&b);
}

/* A live log that knows its epoch claims it; other computers' logs and events without an id never do. */
static void test_claimed_epoch(void **state) {
    (void)state;
    struct batcher *b = make((struct batcher_options){.max_events = 100});
    add(b, "C", "WS-01", 1, "1", 0);
    batcher_set_epoch(b, 3);
    add(b, "C", "WS-01", 2, "2", 0);
    add(b, "C", "OTHER", 7, "3", 0);
    add(b, "C", "WS-01", 0, "4", 0);
    batcher_set_epoch(b, EPOCH_FIND);
    add(b, "C", "WS-01", 3, "5", 0);
    batcher_flush(b);
    assert_int_equal(n_got, 4);
    for (size_t i = 0; i < n_got; i++) {
        uint32_t want = got[i].first_id == 1 || got[i].first_id == 7 ? EPOCH_FIND
                        : got[i].first_id == 2                       ? 3
                                                                     : EPOCH_CONTENT;
        assert_int_equal(got[i].epoch, want);
        assert_int_equal(got[i].n_events, got[i].first_id == 1 ? 2 : 1);
    }
    batcher_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claimed_epoch), cmocka_unit_test(test_count_and_age), cmocka_unit_test(test_raw_size),
        cmocka_unit_test(test_logs_apart),    cmocka_unit_test(test_own),           cmocka_unit_test(test_many_logs),
        cmocka_unit_test(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
