/* The enrolment token: what was encoded decodes, and everything else is refused with the right word. */
#include "crc32.h"
#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct token sample(const char *address) {
    struct token t = {0};
    snprintf(t.address, sizeof t.address, "%s", address);
    for (unsigned i = 0; i < 32; i++) {
        t.pin[i] = (uint8_t)(i * 7);
        t.secret[i] = (uint8_t)(255 - i);
    }
    for (unsigned i = 0; i < 8; i++) t.id[i] = (uint8_t)(i + 200);
    return t;
}

static void test_crc(void **state) {
    (void)state;
    assert_int_equal(crc32_add(0, SLICE_LIT("123456789")), 0xcbf43926u);
    assert_int_equal(crc32_add(crc32_add(0, SLICE_LIT("1234")), SLICE_LIT("56789")), 0xcbf43926u);
    assert_int_equal(crc32_add(0, SLICE_LIT("")), 0);
}

static void test_both_ways(void **state) {
    (void)state;
    static const char *const addresses[] = {"a:1", "collector.example:7443", "[2001:db8::1]:65535", "127.0.0.1:7443"};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        struct token t = sample(addresses[i]), got;
        struct buf b = {0};
        assert_int_equal(token_encode(&t, &b, NULL), ST_OK);
        assert_true(b.len < TOKEN_TEXT_MAX);
        buf_str(&b, " \r\n");
        assert_int_equal(token_decode(buf_slice(&b), &got, NULL), ST_OK);
        assert_string_equal(got.address, t.address);
        assert_memory_equal(got.pin, t.pin, 32);
        assert_memory_equal(got.id, t.id, 8);
        assert_memory_equal(got.secret, t.secret, 32);
        buf_free(&b);
    }
}

static void test_damage(void **state) {
    (void)state;
    struct token t = sample("collector.example:7443"), got;
    struct buf b = {0};
    assert_int_equal(token_encode(&t, &b, NULL), ST_OK);
    for (size_t n = 0; n < b.len; n++) { /* cut anywhere */
        assert_int_not_equal(token_decode(slice_of(b.p, n), &got, NULL), ST_OK);
    }
    for (size_t i = 0; i < b.len; i++) { /* one character mistyped */
        uint8_t was = b.p[i];
        b.p[i] = was == 'x' ? 'y' : 'x';
        if (token_decode(buf_slice(&b), &got, NULL) == ST_OK) fail_msg("a wrong character at %zu was not seen", i);
        b.p[i] = was;
    }
    buf_free(&b);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum status want;
    } cases[] = {
        {"", ST_FORMAT},
        {"hello", ST_FORMAT},
        {"haechi-api.v1.00.11", ST_INVALID},
        {"haechi-enroll.v2.AAAA", ST_VERSION},
        {"haechi-enroll.v1.", ST_CORRUPT},
        {"haechi-enroll.v1.AAAA", ST_CORRUPT},
        {"haechi-enroll.v1.!!!!", ST_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct token got;
        struct error err = {0};
        enum status st = token_decode(slice_str(cases[i].text), &got, &err);
        if (st != cases[i].want)
            fail_msg("\"%s\": %s, not %s", cases[i].text, status_name(st), status_name(cases[i].want));
        if (!*err.msg) fail_msg("\"%s\": no sentence", cases[i].text);
    }
}

static void test_addresses(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint16_t fallback;
        enum status want;
        const char *host;
        uint16_t port;
    } cases[] = {
        {"h:1", 0, ST_OK, "h", 1},           {"h", 7443, ST_OK, "h", 7443},
        {"h", 0, ST_INVALID, "", 0},         {"[::1]:7", 0, ST_OK, "::1", 7},
        {"[::1]", 7443, ST_OK, "::1", 7443}, {"::1:7", 0, ST_INVALID, "", 0},
        {"[::1:7", 0, ST_INVALID, "", 0},    {"h:0", 0, ST_INVALID, "", 0},
        {"h:65536", 0, ST_INVALID, "", 0},   {"h:99999999999", 0, ST_INVALID, "", 0},
        {"h:7x", 0, ST_INVALID, "", 0},      {":7", 0, ST_INVALID, "", 0},
        {"a b:7", 0, ST_INVALID, "", 0},     {"", 7443, ST_INVALID, "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char host[ADDRESS_HOST_MAX] = "";
        uint16_t port = 0;
        enum status st = address_split(slice_str(cases[i].text), cases[i].fallback, host, &port, NULL);
        if (st != cases[i].want || strcmp(host, cases[i].host) != 0 || port != cases[i].port) {
            fail_msg("%s: %s \"%s\" %u", cases[i].text, status_name(st), host, port);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),     cmocka_unit_test(test_both_ways), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
