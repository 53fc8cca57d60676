/* What a crowd of refused connections may write into the audit log. */
#include "refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void the_same_once_an_hour(void **state) {
    (void)state;
    static struct refusals r;
    memset(&r, 0, sizeof r);
    assert_true(refusals_pass(&r, "host:1", 1, 1000));
    assert_false(refusals_pass(&r, "host:1", 1, 2000));
    assert_true(refusals_pass(&r, "host:1", 2, 2000));
    assert_true(refusals_pass(&r, "host:2", 1, 2000));
    assert_false(refusals_pass(&r, "host:1", 1, 1000 + REFUSALS_AGAIN_MS - 1));
    assert_true(refusals_pass(&r, "host:1", 1, 1000 + REFUSALS_AGAIN_MS));
}

static void a_flood_is_bounded(void **state) {
    (void)state;
    static struct refusals r;
    char who[32];
    unsigned n = 0;
    memset(&r, 0, sizeof r);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(who, sizeof who, "192.0.2.%u", i);
        n += refusals_pass(&r, who, 1, 60000 + i);
    }
    assert_in_range(n, REFUSALS_PER_MINUTE, 2 * REFUSALS_PER_MINUTE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_once_an_hour),
        cmocka_unit_test(a_flood_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
