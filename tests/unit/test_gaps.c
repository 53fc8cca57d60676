/* agent/gaps.c: what is joined, what an acknowledgement proves, and the file. */
#include "gaps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void add(struct gaps *g, const char *channel, uint64_t first, uint64_t last, uint32_t cause) {
    gaps_add(g, channel, &(struct source_gap){.first_id = first, .last_id = last, .epoch = 1, .cause = cause});
}

static void test_join(void **state) {
    (void)state;
    struct gaps g = {0};
    add(&g, "System", 5, 9, GAP_FILTERED);
    assert_true(g.changed);
    assert_false(g.urgent); /* a query leaves out something all the time */
    add(&g, "System", 11, 20, GAP_FILTERED);
    assert_int_equal(g.n, 1);
    assert_int_equal(g.items[0].gap.last_id, 20);
    add(&g, "System", 21, 30, GAP_CLEARED);
    assert_true(g.urgent);
    add(&g, "System", 31, 40, GAP_CLEARED);
    assert_int_equal(g.n, 2);
    add(&g, "System", 42, 43, GAP_CLEARED); /* 41 is there */
    add(&g, "Other", 44, 45, GAP_CLEARED);
    assert_int_equal(g.n, 4);
    g.items[3].told = 7;
    add(&g, "Other", 46, 47, GAP_CLEARED); /* what was told stays as it was told */
    assert_int_equal(g.n, 5);
    gaps_free(&g);
}

static void test_proof(void **state) {
    (void)state;
    struct gaps g = {0};
    add(&g, "A", 1, 2, GAP_CLEARED);
    add(&g, "B", 1, 2, GAP_WRAPPED);
    g.changed = false;
    g.items[0].told = 10;
    gaps_acked(&g, 10); /* given before it was told: no proof */
    assert_int_equal(g.n, 2);
    assert_false(g.changed);
    gaps_acked(&g, 11);
    assert_int_equal(g.n, 1);
    assert_string_equal(g.items[0].channel, "B");
    assert_true(g.changed);
    gaps_free(&g);
}

static void test_file(void **state) {
    (void)state;
    struct gaps g = {0}, back = {0};
    struct buf text = {0};
    add(&g, "Microsoft-Windows-Sysmon/Operational", 1, UINT64_MAX, GAP_CLEARED);
    add(&g, "Name with blanks", 7, 7, GAP_DAMAGED);
    g.items[0].told = 3;
    gaps_write(&g, &text);
    buf_str(&text, "1 1 9 8 backwards\n0 1 1 2 no cause\n1 1 1 2 \nnonsense\n1 1 5 6 cut");
    assert_int_equal(gaps_parse(buf_slice(&text), &back), ST_OK);
    assert_int_equal(back.n, 2);
    assert_false(back.changed);
    assert_string_equal(back.items[1].channel, "Name with blanks");
    assert_true(back.items[0].gap.last_id == UINT64_MAX);
    assert_true(back.items[0].told == GAPS_NOT_TOLD); /* told again, once */
    gaps_free(&back);
    assert_int_equal(gaps_parse(SLICE_LIT("something else\n"), &back), ST_FORMAT);
    buf_free(&text);
    gaps_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_proof),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
