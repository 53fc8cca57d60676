/* The file of simulated hosts' identities: what was written reads back; what is damaged is refused. */
// links: load agent proto base
#include "load/keys.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct keys sample(void) {
    struct keys k = {.collector = "127.0.0.1:7443", .prefix = "load"};
    keys_resize(&k, 3);
    buf_str(&k.ca, "the CA\n");
    for (unsigned i = 0; i < 3; i += 2) { /* the second is not enrolled */
        buf_printf(&k.entries[i].key, "key %u\n", i);
        buf_printf(&k.entries[i].certificate, "certificate\nof %u\n", i);
        k.entries[i].host_id = 17 + i;
    }
    return k;
}

static void test_both_ways(void **state) {
    (void)state;
    struct keys k = sample(), got;
    struct buf text = {0}, again = {0};
    struct error err;
    keys_write(&k, &text);
    assert_int_equal(keys_read(buf_slice(&text), &got, &err), ST_OK);
    assert_int_equal(got.n, 3);
    assert_string_equal(got.collector, k.collector);
    assert_string_equal(got.entries[2].name, "load-00003");
    assert_int_equal(got.entries[2].host_id, 19);
    assert_int_equal(got.entries[1].key.len, 0);
    keys_write(&got, &again);
    assert_true(slice_eq(buf_slice(&text), buf_slice(&again)));
    keys_resize(&got, 5);
    assert_string_equal(got.entries[4].name, "load-00005");
    keys_free(&k);
    keys_free(&got);
    buf_free(&text);
    buf_free(&again);
}

static void test_damage(void **state) {
    (void)state;
    struct keys k = sample(), got;
    struct buf text = {0};
    keys_write(&k, &text);
    for (size_t n = 0; n < text.len; n++) {
        struct error err;
        /* cut behind a whole entry, it is a shorter file */
        enum status st = keys_read(slice_of(text.p, n), &got, &err);
        if (!st && got.n == 3) fail_msg("cut at %zu of %zu", n, text.len);
        if (!st) keys_free(&got);
    }
    static const char *const bad[] = {
        "",
        "haechi-load 2\ncollector a:1\nprefix p\nca 0\n\n",
        "haechi-load 1\ncollector \nprefix p\nca 0\n\n",
        "haechi-load 1\ncollector a:1\nprefix p\nca 99\n\n",
        "haechi-load 1\ncollector a:1\nprefix p\nca 0\n\nagent 0 1 n 1 1\nab",
        "haechi-load 1\ncollector a:1\nprefix p\nca 0\n\nagent 9999999 1 n 1 1\nab\n",
        "haechi-load 1\ncollector a:1\nprefix p\nca 0\n\nagent 0 1 n 1 999999999999\nab\n",
        "haechi-load 1\ncollector a:1\nprefix p\nca 0\n\nagent 0 1 n 1 1 1\nab\n",
        "haechi-load 1\ncollector a:1\nprefix p\nca 0\n\nagent 0 1 n 1 1\nab\nagent 0 1 n 1 1\nab\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err;
        if (keys_read(slice_str(bad[i]), &got, &err) != ST_FORMAT) fail_msg("case %zu was read", i);
    }
    keys_free(&k);
    buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways), cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests_name("load_keys", tests, NULL, NULL);
}
