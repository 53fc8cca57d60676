/* The state file of the rules, both ways; and the memory of what Sysmon made of files. */
#include "rules_kept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct rules_kept sample(void) {
    struct rules_kept k = {
        .highest = UINT64_MAX,
        .has_order = true,
        .order =
            {.serial = 12, .len = 4711, .time = 99, .ruleset = "base", .canary = "a b", .revision = 3, .heal = true},
        .state = RULES_DRIFTED,
        .evidence = 7,
        .since = 1234567890123,
        .waits = true,
        .was_loaded = true,
        .reason = "somebody's doing",
        .version = "15.15",
        .has_rules = true};
    memset(k.order.digest, 0xab, 32);
    memset(k.rules_digest, 0x01, 32);
    memset(k.hash.md5, 0x02, 16);
    memset(k.hash.sha1, 0xf3, 20);
    memset(k.hash.sha256, 0xab, 32);
    buf_str(&k.words, "Error: one\n\nstate 5\nlast");
    for (unsigned i = 0; i < RULES_MEMORY_MAX + 3; i++) {
        char version[32];
        uint8_t a[32], b[32];
        memset(a, (int)i, 32);
        memset(b, (int)(i + 100), 32);
        snprintf(version, sizeof version, "14.%u", i);
        rules_kept_remember(&k, version, a, b);
    }
    return k;
}

static void test_both_ways(void **state) {
    (void)state;
    struct rules_kept k = sample(), got;
    struct buf text = {0}, again = {0};
    rules_kept_write(&k, &text);
    assert_int_equal(rules_kept_parse(buf_slice(&text), &got, NULL), ST_OK);
    rules_kept_write(&got, &again);
    assert_true(slice_eq(buf_slice(&text), buf_slice(&again)));
    assert_int_equal(got.highest, UINT64_MAX);
    assert_int_equal(got.order.serial, 12);
    assert_string_equal(got.order.canary, "a b");
    assert_true(got.order.heal && got.waits && got.was_loaded && got.has_rules);
    assert_memory_equal(&got.hash, &k.hash, sizeof k.hash);
    assert_memory_equal(got.memory, k.memory, sizeof k.memory);
    assert_true(slice_eq(buf_slice(&got.words), buf_slice(&k.words)));
    rules_kept_free(&got);
    for (size_t n = 0; n < text.len; n++) { /* cut anywhere: at a line's end it may be read, never more than there is */
        if (rules_kept_parse(slice_of(text.p, n), &got, NULL) == ST_OK) rules_kept_free(&got);
    }
    rules_kept_free(&k);
    buf_free(&text);
    buf_free(&again);
}

static void test_damaged(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum status want;
    } cases[] = {
        {"", ST_FORMAT},
        {"haechi-rules 1", ST_FORMAT},
        {"haechi-rules 1\n", ST_OK},
        {"haechi-rules 1\nhighest 5\n", ST_OK},
        {"haechi-rules 1\nhighest 5\nlater thing\n", ST_OK},
        {"haechi-rules 2\nhighest 5\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 5", ST_FORMAT},
        {"haechi-rules 1\nhighest x\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 18446744073709551616\n", ST_FORMAT},
        {"haechi-rules 1\nhighest -1\n", ST_FORMAT},
        {"haechi-rules 1\nhighest\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 5\nserial 6\nruleset a\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 5\nserial 5\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 5\nserial 5\nruleset a\n", ST_OK},
        {"haechi-rules 1\nhighest 5\nserial 5\nruleset a\nstate 7\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 5\nserial 5\nruleset a\nsha256 00\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 5\nserial 5\nruleset a\nwords 10\nshort\n", ST_FORMAT},
        {"haechi-rules 1\nhighest 5\nserial 5\nruleset a\nwords 5\nshort\n", ST_OK},
        {"haechi-rules 1\nhighest 5\nserial 5\nruleset a\nwords 99999999\nshort\n", ST_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rules_kept k = {0};
        enum status st = rules_kept_parse(slice_str(cases[i].text), &k, NULL);
        if (st != cases[i].want) fail_msg("\"%s\": %s", cases[i].text, status_name(st));
        if (!st) rules_kept_free(&k);
    }
}

static void test_memory(void **state) {
    (void)state;
    struct rules_kept k = {0};
    uint8_t file[32] = {1}, other[32] = {2}, made[32] = {3}, anew[32] = {4};
    rules_kept_remember(&k, "15.15", file, made);
    rules_kept_remember(&k, "15.14", file, anew);
    rules_kept_remember(&k, "", file, made); /* of no version nothing is known */
    assert_int_equal(k.n_memory, 2);
    assert_memory_equal(rules_kept_recall(&k, "15.15", file)->rules_digest, made, 32);
    assert_memory_equal(rules_kept_recall(&k, "15.14", file)->rules_digest, anew, 32);
    assert_null(rules_kept_recall(&k, "15.15", other));
    rules_kept_remember(&k, "15.15", file, anew);
    assert_int_equal(k.n_memory, 2);
    assert_memory_equal(rules_kept_recall(&k, "15.15", file)->rules_digest, anew, 32);
    assert_string_equal(k.memory[0].version, "15.15");
    for (unsigned i = 0; i < 40; i++) {
        other[1] = (uint8_t)i;
        rules_kept_remember(&k, "15.15", other, made);
    }
    assert_int_equal(k.n_memory, RULES_MEMORY_MAX);
    assert_null(rules_kept_recall(&k, "15.14", file)); /* the oldest go */
    assert_non_null(rules_kept_recall(&k, "15.15", other));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways), cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
