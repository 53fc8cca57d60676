/* frame.c: frames come out whole however the bytes arrive, and nothing that may not come is kept. */
#include "frame.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct buf stream_of_three(void) {
    struct buf b = {0}, big = {0};
    for (size_t i = 0; i < 100000; i++) buf_byte(&big, (uint8_t)(i * 7));
    frame_put(&b, FRAME_HELLO, SLICE_LIT("hello"));
    frame_put(&b, FRAME_GOODBYE, (struct slice){NULL, 0});
    frame_put(&b, FRAME_BATCH, buf_slice(&big));
    buf_free(&big);
    return b;
}

static void test_any_cut(void **state) {
    (void)state;
    struct buf b = stream_of_three();
    static const size_t pieces[] = {1, 2, 3, 4, 5, 6, 7, 1000, 16384, 200000};
    for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
        struct frame_reader r;
        frame_reader_init(&r, FRAME_FROM_AGENT);
        size_t n = 0;
        for (size_t at = 0; at < b.len; at += pieces[k]) {
            struct slice in = slice_head(slice_from(buf_slice(&b), at), pieces[k]), body;
            enum frame_type t;
            enum status st;
            while ((st = frame_next(&r, &in, &t, &body, NULL)) == ST_OK) {
                static const enum frame_type types[] = {FRAME_HELLO, FRAME_GOODBYE, FRAME_BATCH};
                static const size_t lens[] = {5, 0, 100000};
                if (n > 2 || t != types[n] || body.len != lens[n]) fail_msg("pieces of %zu: frame %zu", pieces[k], n);
                if (n == 2) assert_memory_equal(body.p, b.p + b.len - 100000, 100000);
                n++;
            }
            assert_int_equal(st, ST_AGAIN);
            assert_int_equal(in.len, 0);
        }
        if (n != 3) fail_msg("pieces of %zu: %zu frames", pieces[k], n);
        frame_reader_deinit(&r);
    }
    buf_free(&b);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint8_t head[FRAME_HEAD_LEN];
        enum frame_sender from;
        size_t max_body;
        enum status want;
    } cases[] = {
        {"type 0", {1, 0, 0, 0, 0}, FRAME_FROM_AGENT, 0, ST_PROTO},
        {"type 13", {1, 0, 0, 0, 13}, FRAME_FROM_AGENT, 0, ST_PROTO},
        {"type 255, huge", {255, 255, 255, 255, 255}, FRAME_FROM_COLLECTOR, 0, ST_PROTO},
        {"ack from an agent", {1, 0, 0, 0, FRAME_ACK}, FRAME_FROM_AGENT, 0, ST_PROTO},
        {"batch from a collector", {1, 0, 0, 0, FRAME_BATCH}, FRAME_FROM_COLLECTOR, 0, ST_PROTO},
        {"goodbye from both: agent", {1, 0, 0, 0, FRAME_GOODBYE}, FRAME_FROM_AGENT, 0, ST_AGAIN},
        {"goodbye from both: collector", {1, 0, 0, 0, FRAME_GOODBYE}, FRAME_FROM_COLLECTOR, 0, ST_AGAIN},
        {"hello at its limit", {0, 0, 4, 0, FRAME_HELLO}, FRAME_FROM_AGENT, 0, ST_AGAIN},
        {"hello over its limit", {1, 0, 4, 0, FRAME_HELLO}, FRAME_FROM_AGENT, 0, ST_TOOBIG},
        {"hello of 4 GB", {255, 255, 255, 255, FRAME_HELLO}, FRAME_FROM_AGENT, 0, ST_TOOBIG},
        {"hello over the reader's limit", {1, 4, 0, 0, FRAME_HELLO}, FRAME_FROM_AGENT, 1024, ST_TOOBIG},
        {"a limit above the type's changes nothing",
         {1, 16, 0, 0, FRAME_GOODBYE},
         FRAME_FROM_AGENT,
         1 << 20,
         ST_TOOBIG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct frame_reader r;
        struct error err = {0};
        struct slice in = slice_of(cases[i].head, FRAME_HEAD_LEN), body;
        enum frame_type t;
        frame_reader_init(&r, cases[i].from);
        r.max_body = cases[i].max_body;
        enum status st = frame_next(&r, &in, &t, &body, &err);
        if (st != cases[i].want) fail_msg("%s: %s", cases[i].name, status_name(st));
        if (st != ST_AGAIN && !err.msg[0]) fail_msg("%s: no sentence", cases[i].name);
        if (r.body.cap) fail_msg("%s: memory was taken", cases[i].name);
        frame_reader_deinit(&r);
    }
}

static void test_memory_follows_arrival(void **state) {
    (void)state;
    struct frame_reader r;
    uint8_t head[FRAME_HEAD_LEN], piece[1000] = {0};
    struct slice in = slice_of(head, sizeof head), body;
    enum frame_type t;
    frame_head(head, FRAME_BATCH, 4u << 20);
    frame_reader_init(&r, FRAME_FROM_AGENT);
    assert_int_equal(frame_next(&r, &in, &t, &body, NULL), ST_AGAIN);
    for (size_t got = sizeof piece; got <= 200 * sizeof piece; got += sizeof piece) {
        in = slice_of(piece, sizeof piece);
        assert_int_equal(frame_next(&r, &in, &t, &body, NULL), ST_AGAIN);
        if (r.body.cap > 2 * got + 4096) fail_msg("%zu bytes came, %zu are held", got, r.body.cap);
    }
    frame_reader_deinit(&r);
}

static void test_take_body(void **state) {
    (void)state;
    struct buf b = {0};
    frame_put(&b, FRAME_BATCH, SLICE_LIT("first"));
    frame_put(&b, FRAME_BATCH, SLICE_LIT("second"));
    frame_put(&b, FRAME_GOODBYE, (struct slice){NULL, 0});
    struct frame_reader r;
    struct slice in = buf_slice(&b), body;
    enum frame_type t;
    frame_reader_init(&r, FRAME_FROM_AGENT);
    assert_int_equal(frame_next(&r, &in, &t, &body, NULL), ST_OK);
    struct buf first = frame_take_body(&r);
    assert_int_equal(frame_next(&r, &in, &t, &body, NULL), ST_OK);
    struct buf second = frame_take_body(&r);
    assert_true(slice_eq_str(buf_slice(&first), "first"));
    assert_true(slice_eq_str(buf_slice(&second), "second"));
    assert_int_equal(frame_next(&r, &in, &t, &body, NULL), ST_OK);
    assert_int_equal(t, FRAME_GOODBYE);
    struct buf none = frame_take_body(&r);
    assert_int_equal(none.len, 0);
    assert_int_equal(frame_next(&r, &in, &t, &body, NULL), ST_AGAIN);
    buf_free(&none);
    buf_free(&first);
    buf_free(&second);
    buf_free(&b);
    frame_reader_deinit(&r);
}

static void test_no_memory(void **state) {
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct frame_reader r;
        struct buf b = stream_of_three();
        struct slice in = buf_slice(&b), body;
        enum frame_type t;
        enum status st;
        frame_reader_init(&r, FRAME_FROM_AGENT);
        mem_test_fail_at(n);
        while ((st = frame_next(&r, &in, &t, &body, NULL)) == ST_OK) {}
        mem_test_fail_at(0);
        frame_reader_deinit(&r);
        buf_free(&b);
        if (st == ST_AGAIN) break;
        assert_int_equal(st, ST_NOMEM);
        assert_true(n < 100);
    }
}

static void test_names(void **state) {
    (void)state;
    assert_string_equal(frame_name(FRAME_POSITION_QUERY), "POSITION_QUERY");
    assert_string_equal(frame_name((enum frame_type)200), "?");
    assert_int_equal(frame_max((enum frame_type)200), 0);
    assert_int_equal(frame_max(FRAME_HEARTBEAT_REPLY), 4096);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_take_body), cmocka_unit_test(test_memory_follows_arrival),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
