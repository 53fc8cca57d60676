/* batch.c, batch_build.c, batch_read.c: blocks come back as they were built, and every limit of the builder holds. */
#include "batch_fixture.h"
#include "msg.h"

static void test_round_trip(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf block = build_made(&header_len);
    struct slice header = slice_head(buf_slice(&block), header_len), body = slice_from(buf_slice(&block), header_len);
    struct batch_reader *r = batch_reader_new();
    struct arena a;
    struct batch_header h;
    struct batch_columns c;
    struct slice payload;
    struct error err = {0};
    arena_init(&a, 1 << 20);
    assert_int_equal(batch_header_parse(header, &a, &h, &err), ST_OK);
    assert_int_equal(batch_check(&h, header, body, &err), ST_OK);
    assert_true(slice_eq_str(h.channel, "log") && slice_eq_str(h.computer, "pc"));
    assert_int_equal(h.epoch, 7);
    assert_int_equal(h.n_events, N_MADE);
    assert_int_equal(h.n_runs, 2);
    assert_true(h.runs[0].first_id == 10 && h.runs[0].n == 3 && h.runs[1].first_id == 300 && h.runs[1].n == 2);
    assert_true(h.runs[0].first_time == T0 && h.runs[0].last_time == T0 + 5);
    assert_true(h.runs[1].first_time == T0 + 70 && h.runs[1].last_time == T0 + 60);
    assert_true(h.min_time == T0 && h.max_time == T0 + 70);
    assert_int_equal(h.guids.len, 3 * GUID_LEN);
    /* the payload alone, then with the columns open, is the same */
    assert_int_equal(batch_open_payload(r, &h, body, &payload, &err), ST_OK);
    struct buf alone = {0};
    buf_slice_append(&alone, payload);
    assert_int_equal(batch_open_columns(r, &h, body, &c, &err), ST_OK);
    assert_int_equal(batch_open_payload(r, &h, body, &payload, &err), ST_OK);
    assert_true(slice_eq(payload, buf_slice(&alone)));
    buf_free(&alone);
    for (uint32_t i = 0; i < N_MADE; i++) {
        struct event ev;
        arena_reset(&a);
        assert_true(c.record_id[i] == made[i].record_id && c.time[i] == made[i].time);
        assert_int_equal(c.event_id[i], made[i].event_id);
        assert_int_equal(event_decode(slice_of(payload.p + c.payload_at[i], c.payload_len[i]), &a, &ev), ST_OK);
        assert_true(ev.record_id.present && ev.record_id.v == made[i].record_id && ev.time == made[i].time);
        size_t n = 0;
        for (; n < 2 && made[i].guids[n]; n++) {
            struct guid g;
            assert_int_equal(guid_parse(slice_str(made[i].guids[n]), &g), ST_OK);
            assert_memory_equal(h.guids.p + (size_t)c.guid[i][n] * GUID_LEN, g.b, GUID_LEN);
        }
        assert_int_equal(c.n_guids[i], n);
    }
    arena_deinit(&a);
    batch_reader_free(&r);
    buf_free(&block);
}

/* What the columns hold is put back only where it was: no record id, another one, no time, a text beside it. */
static void test_odd_events(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool present;
        uint64_t in_event, given, time;
        uint32_t epoch;
    } cases[] = {
        {"content hash", false, 0, UINT64_C(0xfedcba9876543210), T0, EPOCH_CONTENT},
        {"content hash 0", false, 0, 0, T0, EPOCH_CONTENT},
        {"id 0", true, 0, 0, T0, EPOCH_FIND},
        {"largest id", true, UINT64_MAX, UINT64_MAX, T0, EPOCH_FIND},
        {"another id than the column's", true, 5, 6, T0, EPOCH_FIND},
        {"id 0 against column 6", true, 0, 6, T0, EPOCH_FIND},
        {"no time", true, 5, 5, 0, EPOCH_FIND},
        {"nothing", false, 0, 0, 0, EPOCH_CONTENT},
        {"latest time", true, 5, 5, UINT64_MAX, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct event_data data[3];
        struct event ev = event_of(&made[0], data), got;
        ev.record_id.present = cases[i].present;
        ev.record_id.v = cases[i].in_event;
        ev.time = cases[i].time;
        struct batch_builder *b = batch_builder_new(0);
        struct batch_reader *r = batch_reader_new();
        struct buf block = {0};
        uint32_t header_len;
        struct batch_header h;
        struct batch_columns c;
        struct slice payload;
        struct arena a;
        struct error err = {0};
        arena_init(&a, 1 << 20);
        batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, cases[i].epoch);
        assert_int_equal(batch_add(b, &ev, cases[i].given), ST_OK);
        assert_int_equal(batch_finish(b, &block, &header_len), ST_OK);
        struct slice body = slice_from(buf_slice(&block), header_len);
        if (batch_header_parse(slice_head(buf_slice(&block), header_len), &a, &h, &err) ||
            batch_open_columns(r, &h, body, &c, &err) || batch_open_payload(r, &h, body, &payload, &err) ||
            event_decode(payload, &a, &got)) {
            fail_msg("%s: %s", cases[i].name, err.msg);
        }
        if (c.record_id[0] != cases[i].given || c.time[0] != cases[i].time || got.time != cases[i].time ||
            got.record_id.present != cases[i].present ||
            (got.record_id.present && got.record_id.v != cases[i].in_event)) {
            fail_msg("%s: not as it was", cases[i].name);
        }
        arena_deinit(&a);
        buf_free(&block);
        batch_builder_free(&b);
        batch_reader_free(&r);
    }
}

/* ---- limits of the builder ---- */

static void test_limit_of_events(void **state) {
    (void)state;
    struct batch_builder *b = batch_builder_new(0);
    struct event_data data[3];
    struct event ev = event_of(&made[2], data);
    struct buf out = {0};
    struct error err = {0};
    uint32_t header_len;
    assert_int_equal(batch_finish(b, &out, &header_len), ST_INVALID);
    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    for (uint64_t i = 0; i < BATCH_MAX_EVENTS; i++) assert_int_equal(batch_add(b, &ev, i), ST_OK);
    assert_int_equal(batch_add(b, &ev, BATCH_MAX_EVENTS), ST_TOOBIG);
    assert_int_equal(batch_count(b), BATCH_MAX_EVENTS);
    assert_int_equal(batch_finish(b, &out, &header_len), ST_OK);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);
    buf_free(&out);
    batch_builder_free(&b);
    assert_null(b);
}

/* Every record id a run of its own, and distinct GUIDs: the header's limit comes first. */
static void test_limit_of_the_header(void **state) {
    (void)state;
    struct batch_builder *b = batch_builder_new(0), *other = batch_builder_new_beside(b);
    struct event_data data[3];
    struct event ev = event_of(&made[2], data);
    struct buf out = {0};
    struct error err = {0};
    uint32_t header_len;
    batch_begin(other, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_CONTENT);
    uint64_t id = 1, n = 0;
    while (batch_add(other, &ev, id) == ST_OK) {
        id = id * UINT64_C(6364136223846793005) + 1442695040888963407u;
        n++;
    }
    assert_true(n > 3000 && n == batch_count(other));
    assert_int_equal(batch_finish(other, &out, &header_len), ST_OK);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);

    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    for (n = 0;; n++) {
        char g[2][GUID_TEXT_MAX];
        for (unsigned k = 0; k < 2; k++) {
            snprintf(g[k], sizeof g[k], "{%08x-0000-0000-0000-%012x}", (unsigned)(n * 2654435761u), k + 1);
        }
        struct made m = {n, T0 + n, 1, {g[0], g[1]}};
        struct event_data d[3];
        struct event e = event_of(&m, d);
        if (batch_add(b, &e, n) != ST_OK) break;
    }
    assert_true(n > 4000 && n < BATCH_MAX_EVENTS);
    buf_clear(&out);
    assert_int_equal(batch_finish(b, &out, &header_len), ST_OK);
    assert_true(header_len <= BATCH_MAX_HEADER);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);
    buf_free(&out);
    batch_builder_free(&b);
    batch_builder_free(&other);
}

/* Payload that does not compress; an event that is too large alone leaves the batch as it was. */
static void test_limit_of_bytes(void **state) {
    (void)state;
    struct batch_builder *b = batch_builder_new(0);
    struct event_data data[3];
    struct event ev = event_of(&made[2], data);
    struct buf out = {0};
    struct error err = {0};
    uint32_t header_len;
    static uint8_t noise[400 * 1024];
    uint64_t x = 1, n;
    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        noise[i] = (uint8_t)(x >> 56);
    }
    data[0].value = slice_of(noise, sizeof noise);
    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    for (n = 0; batch_add(b, &ev, n) == ST_OK; n++) noise[n]++;
    assert_true(n >= 8 && batch_raw_len(b) <= BATCH_MAX_BYTES);
    assert_int_equal(batch_finish(b, &out, &header_len), ST_OK);
    assert_true(out.len <= BATCH_MAX_BYTES);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);

    struct event_data two[2] = {{SLICE_LIT("A"), slice_of(noise, sizeof noise), EVENT_DATA},
                                {SLICE_LIT("B"), slice_of(noise, sizeof noise), EVENT_DATA}};
    ev.data = two;
    ev.n_data = 2;
    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    assert_int_equal(batch_add(b, &ev, 1), ST_TOOBIG);
    assert_int_equal(batch_count(b), 0);
    assert_int_equal(batch_raw_len(b), 0);
    buf_free(&out);
    batch_builder_free(&b);
}

static void test_limit_of_names(void **state) {
    (void)state;
    struct batch_builder *b = batch_builder_new(0);
    struct event_data data[3];
    struct event ev = event_of(&made[2], data);
    struct buf name = {0};
    for (size_t i = 0; i < BATCH_MAX_NAME; i++) buf_byte(&name, 'x');
    batch_begin(b, buf_slice(&name), buf_slice(&name), EPOCH_FIND);
    assert_int_equal(batch_add(b, &ev, 1), ST_OK);
    buf_byte(&name, 'x');
    batch_begin(b, buf_slice(&name), (struct slice){NULL, 0}, EPOCH_FIND);
    assert_int_equal(batch_add(b, &ev, 1), ST_TOOBIG);
    batch_begin(b, (struct slice){NULL, 0}, (struct slice){NULL, 0}, EPOCH_FIND);
    assert_int_equal(batch_add(b, &ev, 1), ST_TOOBIG);
    buf_free(&name);
    batch_builder_free(&b);
}

static void test_header_bytes(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf block = build_made(&header_len), other = {0};
    struct arena a;
    struct batch_header h;
    struct error err = {0};
    arena_init(&a, 1 << 20);
    /* protobuf-c writes the very same bytes */
    Haechi__BatchHeader *m = MSG_UNPACK(BatchHeader, batch_header, slice_head(buf_slice(&block), header_len), &a);
    msg_pack(&m->base, &other);
    assert_true(slice_eq(buf_slice(&other), slice_head(buf_slice(&block), header_len)));
    /* unknown fields of every wire type pass */
    struct slice fields = SLICE_LIT("\xf8\x07\x05\xf9\x07xxxxxxxx\xfa\x07\x02hi\xfd\x07xxxx");
    buf_clear(&other);
    buf_slice_append(&other, fields);
    buf_append(&other, block.p, header_len);
    assert_int_equal(batch_header_parse(buf_slice(&other), &a, &h, &err), ST_OK);
    static const struct {
        const char *name;
        struct slice before;
    } bad[] = {
        {"known field of another wire type", {(const uint8_t *)"\x08\x01", 2}},
        {"number as bytes", {(const uint8_t *)"\x22\x01x", 3}},
        {"first time as a varint", {(const uint8_t *)"\x30\x01", 2}},
        {"digest in the middle", {(const uint8_t *)"\x7a\x01x", 3}},
        {"group", {(const uint8_t *)"\xfb\x07", 2}},
        {"field 0", {(const uint8_t *)"\x00\x01", 2}},
        {"length past the end", {(const uint8_t *)"\xfa\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&other);
        buf_slice_append(&other, bad[i].before);
        buf_append(&other, block.p, header_len);
        if (batch_header_parse(buf_slice(&other), &a, &h, &err) != ST_FORMAT) fail_msg("%s", bad[i].name);
    }
    buf_clear(&other);
    for (size_t i = 0; i < BATCH_MAX_HEADER; i += 4) buf_append(&other, "\xfa\x07\x01x", 4);
    buf_append(&other, block.p, header_len);
    assert_int_equal(batch_header_parse(buf_slice(&other), &a, &h, &err), ST_TOOBIG);
    buf_free(&other);
    buf_free(&block);
    arena_deinit(&a);
}

static void test_no_memory(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf block = build_made(&header_len);
    unsigned long n = 1;
    for (enum status st = ST_NOMEM; st; n++) {
        struct error err = {0};
        mem_test_fail_at(n);
        st = open_all(buf_slice(&block), header_len, true, &err);
        mem_test_fail_at(0);
        if (st && (st != ST_NOMEM || n > 50)) fail_msg("allocation %lu: %s, \"%s\"", n, status_name(st), err.msg);
    }
    assert_true(n > 4);
    struct arena small;
    struct batch_header h;
    struct error err = {0};
    arena_init(&small, 1);
    assert_int_equal(batch_header_parse(slice_head(buf_slice(&block), header_len), &small, &h, &err), ST_NOMEM);
    arena_deinit(&small);
    buf_free(&block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_odd_events),
        cmocka_unit_test(test_header_bytes),        cmocka_unit_test(test_limit_of_events),
        cmocka_unit_test(test_limit_of_the_header), cmocka_unit_test(test_limit_of_bytes),
        cmocka_unit_test(test_limit_of_names),      cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
