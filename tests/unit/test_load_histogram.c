/* Percentiles of the load's histogram. */
// links: load agent proto base
#include "load/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct histogram h, other;

static void test_percentiles(void **state) {
    (void)state;
    static const struct {
        uint64_t first, step, n;
        double part;
        uint64_t exact;
    } cases[] = {
        {0, 1, 1, 0.5, 0},
        {7, 0, 5, 0.99, 7},
        {1, 1, 100, 0.5, 50},
        {1, 1, 100, 0.99, 99},
        {1, 1, 100000, 0.5, 50000},
        {1, 1, 100000, 0.999, 99900},
        {1, 1, 100000, 1, 100000},
        {UINT64_C(1) << 40, UINT64_C(1) << 33, 64, 0.5, (UINT64_C(1) << 40) + (UINT64_C(31) << 33)},
        {UINT64_MAX, 0, 2, 1, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        h = (struct histogram){0};
        for (uint64_t k = 0; k < cases[i].n; k++) histogram_add(&h, cases[i].first + k * cases[i].step);
        uint64_t got = histogram_at(&h, cases[i].part);
        if (got < cases[i].exact || got - cases[i].exact > cases[i].exact / 32)
            fail_msg("case %zu: got %llu, wanted %llu", i, (unsigned long long)got, (unsigned long long)cases[i].exact);
    }
}

static void test_empty_and_merge(void **state) {
    (void)state;
    h = other = (struct histogram){0};
    assert_int_equal(histogram_at(&h, 0.5), 0);
    histogram_add(&h, 10);
    histogram_add(&other, 1000);
    histogram_add(&other, 1001);
    histogram_merge(&h, &other);
    assert_int_equal(h.n, 3);
    assert_int_equal(h.max, 1001);
    assert_int_equal(histogram_at(&h, 0.3), 10);
    assert_true(histogram_at(&h, 0.9) >= 1000 && histogram_at(&h, 0.9) <= 1001);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_percentiles), cmocka_unit_test(test_empty_and_merge)};
    return cmocka_run_group_tests_name("load_histogram", tests, NULL, NULL);
}
