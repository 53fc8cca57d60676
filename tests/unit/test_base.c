/* The small parts of proto/base: time, text, GUIDs, buffers, arenas, log lines. */
#include "arena.h"
#include "clock.h"
#include "guid.h"
#include "log.h"
#include "mem.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void test_filetime_round_trip(void **state) {
    (void)state;
    static const char *const cases[] = {
        "1601-01-01T00:00:00.0000000Z", "1970-01-01T00:00:00.0000000Z", "2000-02-29T23:59:59.9999999Z",
        "2023-12-31T12:34:56.1234567Z", "2024-12-31T00:00:00.0000001Z", "2100-03-01T00:00:00.0000000Z",
        "2400-02-29T00:00:00.0000000Z", "9999-12-31T23:59:59.0000000Z",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t ft;
        int digits;
        bool lost;
        char out[FILETIME_TEXT_MAX];
        assert_int_equal(filetime_parse(slice_str(cases[i]), &ft, &digits, &lost), ST_OK);
        assert_int_equal(digits, 7);
        assert_false(lost);
        filetime_format(ft, 7, out);
        assert_string_equal(out, cases[i]);
    }
    /* every day of 800 years: the calendar has no gap */
    char before[11] = "", day[11];
    for (uint64_t d = 0; d < 800 * 365; d++) {
        uint64_t back;
        filetime_day(d * FILETIME_DAY, day);
        assert_int_not_equal(strcmp(before, day), 0);
        assert_int_equal(filetime_from_day(slice_str(day), &back), ST_OK);
        assert_int_equal(back, d * FILETIME_DAY);
        memcpy(before, day, sizeof day);
    }
}

static void test_filetime_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "2023-02-29T00:00:00Z",
                                      "2023-13-01T00:00:00Z",
                                      "2023-01-01T24:00:00Z",
                                      "2023-01-01T00:00:00.Z",
                                      "2023-01-01T00:00:00.1234567890Z",
                                      "1600-01-01T00:00:00Z",
                                      "2023-01-01T00:00:00+01:00",
                                      "2023-01-01T00:00:00Zx",
                                      "2023-1-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t ft;
        if (!filetime_parse(slice_str(bad[i]), &ft, NULL, NULL)) fail_msg("accepted: %s", bad[i]);
    }
    uint64_t ft;
    bool lost;
    assert_int_equal(filetime_parse(SLICE_LIT("2023-01-01 00:00:00.123456789"), &ft, NULL, &lost), ST_OK);
    assert_true(lost);
}

static void test_text(void **state) {
    (void)state;
    struct buf b = {0};
    static const uint8_t utf16[] = {'a', 0, 0x3d, 0xd8, 0x00, 0xde, 0x00, 0xd8, 'b', 0, 1, 0};
    text_from_utf16(&b, slice_of(utf16, sizeof utf16), false);
    assert_true(slice_eq(buf_slice(&b), SLICE_LIT("a\xf0\x9f\x98\x80\xed\xa0\x80"
                                                  "b\x01")));
    assert_false(text_is_utf8(buf_slice(&b)));
    struct buf json = {0};
    text_json(&json, buf_slice(&b));
    assert_string_equal(buf_cstr(&json), "a\xf0\x9f\x98\x80\\ud800b\\u0001");
    buf_clear(&json);
    text_json(&json, SLICE_LIT("\"\\\n\t\r\x7f\xff/"));
    assert_string_equal(buf_cstr(&json), "\\\"\\\\\\n\\t\\r\\u007f\\ufffd/");
    buf_clear(&json);
    text_printable(&json, SLICE_LIT("x\x1b[0m\xe2\x80\xae\xff"), 100);
    assert_string_equal(buf_cstr(&json), "x\\x1b[0m\\u{202e}\\xff");
    buf_clear(&json);
    assert_int_equal(text_sanitize(&json, SLICE_LIT("a\xc0\x80z")), 2);
    assert_string_equal(buf_cstr(&json), "a\xef\xbf\xbd\xef\xbf\xbdz");
    buf_free(&json);
    buf_free(&b);
    static const char *const words[] = {"events", "tree", "ledger"};
    assert_string_equal(text_suggest("evnts", words, 3), "events");
    assert_string_equal(text_suggest("leger", words, 3), "ledger");
    assert_null(text_suggest("xyz", words, 3));
}

static void test_text_take(void **state) {
    static const struct {
        const char *text, *rest;
        unsigned base;
        bool ok;
        uint64_t n;
    } cases[] = {
        {"0", "", 10, true, 0},
        {"12.5", ".5", 10, true, 12},
        {"ffG", "G", 16, true, 255},
        {"FF", "FF", 10, false, 0},
        {"-1", "-1", 10, false, 0},
        {" 1", " 1", 10, false, 0},
        {"", "", 10, false, 0},
        {"18446744073709551615", "", 10, true, UINT64_MAX},
        {"18446744073709551616", "18446744073709551616", 10, false, 0},
        {"10000000000000000", "10000000000000000", 16, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice s = slice_str(cases[i].text);
        uint64_t n = 0;
        if (text_take_number(&s, cases[i].base, &n) != cases[i].ok || n != cases[i].n ||
            !slice_eq_str(s, cases[i].rest))
            fail_msg("\"%s\"", cases[i].text);
    }
    struct slice s = SLICE_LIT("evtx 5"), none = {NULL, 0};
    assert_false(text_take(&s, "xml "));
    assert_true(text_take(&s, "evtx ") && s.len == 1);
    assert_false(text_take(&none, "x"));
}

static void test_guid(void **state) {
    (void)state;
    struct guid g;
    char out[GUID_TEXT_MAX];
    assert_int_equal(guid_parse(SLICE_LIT("{01e2A015-d098-62bd-0d00-000000000700}"), &g), ST_OK);
    guid_format(&g, true, out);
    assert_string_equal(out, "{01E2A015-D098-62BD-0D00-000000000700}");
    assert_int_equal(guid_parse(SLICE_LIT("01e2a015-d098-62bd-0d00-000000000700"), &g), ST_OK);
    assert_int_equal(guid_parse(SLICE_LIT("{01e2a015-d098-62bd-0d00-00000000070}"), &g), ST_FORMAT);
    assert_int_equal(guid_parse(SLICE_LIT("01e2a015xd098-62bd-0d00-000000000700"), &g), ST_FORMAT);
}

static void test_reader_is_sticky(void **state) {
    (void)state;
    struct buf b = {0};
    static const uint64_t values[] = {0, 1, 127, 128, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < 6; i++) buf_varint(&b, values[i]);
    buf_zigzag(&b, INT64_MIN);
    buf_u64le(&b, 0x0102030405060708);
    struct reader r = reader_of(buf_slice(&b));
    for (size_t i = 0; i < 6; i++) assert_true(reader_varint(&r) == values[i]);
    assert_true(reader_zigzag(&r) == INT64_MIN);
    assert_true(reader_u64le(&r) == 0x0102030405060708);
    assert_false(r.bad);
    assert_int_equal(reader_u8(&r), 0);
    assert_true(r.bad);
    r = reader_of(SLICE_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    assert_int_equal(reader_varint(&r), 0);
    assert_true(r.bad);
    buf_free(&b);
}

static void test_arena_cap(void **state) {
    (void)state;
    struct arena a;
    arena_init(&a, 10000);
    for (int round = 0; round < 3; round++) {
        assert_non_null(arena_alloc(&a, 9000));
        assert_null(arena_alloc(&a, 1001));
        assert_null(arena_alloc(&a, 1)); /* stays exhausted */
        arena_reset(&a);
    }
    assert_non_null(arena_copy(&a, (struct slice){NULL, 0}).p);
    arena_deinit(&a);
}

static char logged[4096];

static void keep_line(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    snprintf(logged, sizeof logged, "%s", line);
}

static void test_log_escapes_and_limits(void **state) {
    (void)state;
    log_redirect(keep_line, NULL);
    log_info("x", "peer says %s\nand more", log_peer(SLICE_LIT("a\nb\x1b")));
    assert_string_equal(logged, "peer says a\\x0ab\\x1b and more");
    logged[0] = 0;
    log_debug("x", "not at this level");
    assert_string_equal(logged, "");
    log_redirect(NULL, NULL);
    struct log_limit l = {0};
    unsigned suppressed;
    assert_true(log_limit_pass(&l, 60000, &suppressed));
    assert_false(log_limit_pass(&l, 60000, &suppressed));
    assert_int_equal(l.suppressed, 1);
}

static void test_error_texts(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, ST_TOOBIG, "%d bytes", 7), ST_TOOBIG);
    assert_int_equal(error_prefix(&err, ST_TOOBIG, "file %s", "x"), ST_TOOBIG);
    assert_string_equal(err.msg, "file x: 7 bytes");
    for (int i = 0; i < ST_COUNT; i++) assert_non_null(status_text((enum status)i));
    assert_string_equal(status_name(ST_COUNT), "ST_?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filetime_round_trip),
        cmocka_unit_test(test_filetime_refuses),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_text_take),
        cmocka_unit_test(test_guid),
        cmocka_unit_test(test_reader_is_sticky),
        cmocka_unit_test(test_arena_cap),
        cmocka_unit_test(test_log_escapes_and_limits),
        cmocka_unit_test(test_error_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
