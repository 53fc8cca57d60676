/* msg.c: messages go and come back; hostile bytes and the arena's cap give NULL, never more memory. */
#include "mem.h"
#include "msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct buf welcome(size_t n_positions) {
    Haechi__Welcome w = HAECHI__WELCOME__INIT;
    Haechi__Position *p = mem_alloc(mem_mul(n_positions, sizeof *p));
    Haechi__Position **list = mem_alloc(mem_mul(n_positions, sizeof *list));
    for (size_t i = 0; i < n_positions; i++) {
        p[i] = (Haechi__Position)HAECHI__POSITION__INIT;
        p[i].channel = msg_bytes(SLICE_LIT("Security"));
        p[i].highest_id = UINT64_MAX - i;
        list[i] = &p[i];
    }
    w.protocol = 1;
    w.host_name = (char *)(uintptr_t) "host";
    w.positions = list;
    w.n_positions = n_positions;
    struct buf b = {0};
    msg_put_frame(&b, FRAME_WELCOME, &w.base);
    mem_free(p);
    mem_free(list);
    return b;
}

static void test_round_trip(void **state) {
    (void)state;
    struct buf b = welcome(3);
    struct frame_reader r;
    struct slice in = buf_slice(&b), body;
    enum frame_type t;
    frame_reader_init(&r, FRAME_FROM_COLLECTOR);
    assert_int_equal(frame_next(&r, &in, &t, &body, NULL), ST_OK);
    assert_int_equal(t, FRAME_WELCOME);
    assert_int_equal(in.len, 0);
    struct arena a;
    arena_init(&a, MSG_ARENA_CAP);
    Haechi__Welcome *w = MSG_UNPACK(Welcome, welcome, body, &a);
    assert_non_null(w);
    assert_string_equal(w->host_name, "host");
    assert_string_equal(w->collector_version, "");
    assert_int_equal(w->n_positions, 3);
    assert_true(w->positions[2]->highest_id == UINT64_MAX - 2);
    assert_true(slice_eq_str(msg_slice(w->positions[0]->channel), "Security"));
    struct buf again = {0};
    msg_pack(&w->base, &again);
    assert_true(slice_eq(buf_slice(&again), body));
    buf_free(&again);
    arena_deinit(&a);
    frame_reader_deinit(&r);
    buf_free(&b);
}

static void test_bad_bytes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct slice bytes;
        bool good;
    } cases[] = {
        {"nothing: all defaults", {NULL, 0}, true},
        {"unknown field", {(const uint8_t *)"\xf8\x07\x01", 3}, true},
        {"cut varint", {(const uint8_t *)"\x08\xff", 2}, false},
        {"length past the end", {(const uint8_t *)"\x0a\x7f\x00", 3}, false},
        {"length near 2^64", {(const uint8_t *)"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, false},
        {"group", {(const uint8_t *)"\x0b\x0c", 2}, false},
        {"tag 0", {(const uint8_t *)"\x00\x00", 2}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        arena_init(&a, MSG_ARENA_CAP);
        if (!!MSG_UNPACK(Ack, ack, cases[i].bytes, &a) != cases[i].good) fail_msg("%s", cases[i].name);
        arena_deinit(&a);
    }
}

/* 100 KB of empty submessages: two bytes each as sent, forty and more decoded. */
static void test_decoded_cap(void **state) {
    (void)state;
    struct buf b = {0};
    for (size_t i = 0; i < 50000; i++) buf_append(&b, "\x12\x00", 2);
    struct arena a;
    arena_init(&a, 1024 * 1024);
    assert_null(MSG_UNPACK(Ack, ack, buf_slice(&b), &a));
    assert_true(a.exhausted);
    arena_reset(&a);
    assert_non_null(MSG_UNPACK(Ack, ack, slice_head(buf_slice(&b), 20), &a));
    arena_deinit(&a);
    buf_free(&b);
}

static void test_no_memory(void **state) {
    (void)state;
    struct buf b = welcome(500);
    struct slice body = slice_from(buf_slice(&b), FRAME_HEAD_LEN);
    bool done = false;
    for (unsigned long n = 1; !done; n++) {
        struct arena a;
        arena_init(&a, MSG_ARENA_CAP);
        mem_test_fail_at(n);
        done = MSG_UNPACK(Welcome, welcome, body, &a) != NULL;
        mem_test_fail_at(0);
        assert_true(done || a.exhausted);
        arena_deinit(&a);
        assert_true(n < 100);
    }
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_decoded_cap),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
