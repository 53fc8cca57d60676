/* The Event Log source's texts: facts of a rendered event, positions, bookmarks. */
#include "evtlog_text.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void test_facts(void **state) {
    (void)state;
    static const struct {
        const char *name, *xml;
        bool good;
        uint64_t id, time;
    } cases[] = {
        {"plain",
         "<Event xmlns='x'><System><TimeCreated SystemTime='2026-11-24T00:00:00.0000001Z'/>"
         "<EventRecordID>42</EventRecordID></System></Event>",
         true, 42, UINT64_C(134399520000000001)},
        {"double quotes, blanks behind",
         "<Event><System><TimeCreated SystemTime=\"2026-11-24T00:00:00Z\"/><EventRecordID>1</EventRecordID></System>"
         "</Event>\r\n ",
         true, 1, UINT64_C(134399520000000000)},
        {"no time", "<Event><System><EventRecordID>7</EventRecordID></System></Event>", true, 7, 0},
        {"bad time", "<Event><System><TimeCreated SystemTime='noon'/><EventRecordID>7</EventRecordID></System></Event>",
         true, 7, 0},
        {"largest id", "<Event><System><EventRecordID>18446744073709551615</EventRecordID></System></Event>", true,
         UINT64_MAX, 0},
        {"too large", "<Event><System><EventRecordID>18446744073709551616</EventRecordID></System></Event>", false, 0,
         0},
        {"cut", "<Event><System><EventRecordID>7</EventRecordID></System></Eve", false, 0, 0},
        {"an id in the data does not count",
         "<Event><System></System><EventData><EventRecordID>7</EventRecordID></EventData></Event>", false, 0, 0},
        {"nothing", "", false, 0, 0},
        {"only the end", "</Event>", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t id = 0, time = 0;
        bool good = evtlog_text_facts(slice_str(cases[i].xml), &id, &time);
        if (good != cases[i].good || (good && (id != cases[i].id || time != cases[i].time)))
            fail_msg("%s: %d %llu %llu", cases[i].name, good, (unsigned long long)id, (unsigned long long)time);
    }
}

static void test_whole(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        size_t cut;
        bool whole;
    } cases[] = {
        {"whole", "<Event></Event>", 0, true},
        {"blank behind", "<Event></Event>\r\n", 0, true},
        {"cut", "<Event></Event", 0, false},
        {"cut inside a unit", "<Event></Event>", 1, false},
        {"empty", "", 0, false},
        {"another end", "<Event></Events>", 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        for (const char *p = cases[i].text; *p; p++) buf_u16le(&b, (uint16_t)*p);
        struct slice s = slice_head(buf_slice(&b), b.len - cases[i].cut);
        if (evtlog_text_is_whole(s) != cases[i].whole) fail_msg("%s", cases[i].name);
        if (!cases[i].cut) {
            buf_u16le(&b, 0);
            if (evtlog_text_is_whole(buf_slice(&b)) != cases[i].whole) fail_msg("%s, with a NUL", cases[i].name);
        }
        buf_free(&b);
    }
}

static void test_position(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "evtlog",
                                      "evtlog ",
                                      "evtlog 1",
                                      "evtlog 1 ",
                                      "evtlog 0 5",
                                      "evtlog 1 2 3",
                                      "evtlog -1 2",
                                      "evtlog 1 x",
                                      "text 1 2",
                                      "evtlog 99999999999999999999 1"};
    struct buf b = {0};
    uint64_t id = 0, time = 0;
    evtlog_position_write(&b, 12345678901, UINT64_C(134399520000000001));
    assert_int_equal(evtlog_position_parse(buf_slice(&b), &id, &time), ST_OK);
    assert_true(id == 12345678901 && time == UINT64_C(134399520000000001));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (evtlog_position_parse(slice_str(bad[i]), &id, &time) != ST_FORMAT) fail_msg("\"%s\" is taken", bad[i]);
    }
    buf_free(&b);
}

static void test_bookmark(void **state) {
    (void)state;
    struct buf b = {0};
    uint64_t id = 0;
    evtlog_bookmark_write(&b, slice_str("A&B's <log>"), 77);
    assert_string_equal(buf_cstr(&b), "<BookmarkList><Bookmark Channel='A&amp;B&apos;s &lt;log>' RecordId='77' "
                                      "IsCurrent='true'/></BookmarkList>");
    assert_int_equal(evtlog_bookmark_parse(buf_slice(&b), &id), ST_OK);
    assert_int_equal(id, 77);
    static const char *const bad[] = {"",
                                      "<BookmarkList/>",
                                      "<Bookmark RecordId=''/>",
                                      "<Bookmark RecordId='1\"/>",
                                      "<Bookmark RecordId=",
                                      "<Bookmark RecordId='1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (evtlog_bookmark_parse(slice_str(bad[i]), &id) != ST_FORMAT) fail_msg("\"%s\" is taken", bad[i]);
    }
    buf_free(&b);
}

/* UTF-16 by runs of ASCII gives what it gives unit by unit. */
static void test_utf16(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        struct buf in[2] = {{0}, {0}}, want = {0};
        uint32_t high = 0, n = round % 40;
        for (uint32_t i = 0; i < n; i++) {
            static const uint16_t odd[] = {0x7f,   0x80,   0xff,   0x100,  0x7ff,  0x800,
                                           0xd800, 0xdbff, 0xdc00, 0xdfff, 0xffff, 0x4100};
            seed = seed * 1664525 + 1013904223;
            uint16_t u = (seed >> 16) % 7 ? (uint16_t)(1 + (seed >> 20) % 126) : odd[(seed >> 20) % 12];
            buf_u16le(&in[0], u);
            buf_byte(&in[1], (uint8_t)(u >> 8));
            buf_byte(&in[1], (uint8_t)u);
            if (high && u >= 0xdc00 && u <= 0xdfff) {
                text_put_cp(&want, 0x10000 + ((high - 0xd800) << 10) + (u - 0xdc00u));
                high = 0;
                continue;
            }
            if (high) text_put_cp(&want, high);
            high = u >= 0xd800 && u <= 0xdbff ? u : 0;
            if (!high) text_put_cp(&want, u);
        }
        if (high) text_put_cp(&want, high);
        for (int big = 0; big < 2; big++) {
            struct buf got = {0};
            text_from_utf16(&got, buf_slice(&in[big]), big);
            if (!slice_eq(buf_slice(&got), buf_slice(&want))) fail_msg("round %u, big-endian %d", round, big);
            buf_free(&got);
            buf_free(&in[big]);
        }
        buf_free(&want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf16),    cmocka_unit_test(test_facts),    cmocka_unit_test(test_whole),
        cmocka_unit_test(test_position), cmocka_unit_test(test_bookmark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
