/* Key layouts: byte order is number order, and keys come back as they went in. */
#include "keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint64_t numbers[] = {0,
                                   1,
                                   2,
                                   127,
                                   128,
                                   255,
                                   256,
                                   65535,
                                   65536,
                                   1u << 31,
                                   UINT32_MAX,
                                   (uint64_t)UINT32_MAX + 1,
                                   UINT64_C(1) << 63,
                                   UINT64_MAX - 1,
                                   UINT64_MAX};
#define N (sizeof numbers / sizeof *numbers)

static void pack_keys_sort_as_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < N; j++) {
            uint8_t a[KEY_PACK_LEN], b[KEY_PACK_LEN];
            key_pack(a, numbers[i]);
            key_pack(b, numbers[j]);
            int c = memcmp(a, b, sizeof a);
            assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
            uint64_t back;
            assert_int_equal(key_pack_parse(slice_of(a, sizeof a), &back), ST_OK);
            assert_true(back == numbers[i]);
        }
    }
}

static void block_keys_come_back(void **state) {
    (void)state;
    for (size_t i = 0; i < N; i++) {
        struct key_block k = {(uint32_t)numbers[i], (uint32_t)numbers[N - 1 - i], numbers[i], numbers[N - 1 - i],
                              (uint32_t)i},
                         back;
        uint8_t a[KEY_BLOCK_LEN];
        key_block(a, &k);
        assert_int_equal(key_block_parse(slice_of(a, sizeof a), &back), ST_OK);
        assert_true(back.host == k.host && back.stream == k.stream && back.first_id == k.first_id &&
                    back.seq == k.seq && back.index == k.index);
        assert_int_equal(key_block_parse(slice_of(a, sizeof a - 1), &back), ST_CORRUPT);
    }
}

static void layouts_are_as_drawn(void **state) {
    (void)state;
    struct guid g, h;
    memset(g.b, 0xaa, GUID_LEN);
    memset(h.b, 0xbb, GUID_LEN);
    uint8_t k[KEY_CHILD_LEN];
    static const uint8_t pid[8] = {0x01, 0x02, 0x03, 0x04, 0x0a, 0x0b, 0x0c, 0x0d};
    key_pid(k, 0x01020304, 0x0a0b0c0d, 0x1122334455667788, &g);
    assert_memory_equal(k, pid, 8);
    assert_int_equal(k[8], 0x11);
    assert_int_equal(k[15], 0x88);
    assert_memory_equal(k + 16, g.b, GUID_LEN);
    key_child(k, 0x01020304, &g, &h);
    assert_memory_equal(k, pid, 4);
    assert_memory_equal(k + 4, g.b, GUID_LEN);
    assert_memory_equal(k + 20, h.b, GUID_LEN);
    key_part(k, 0x01020304, 0x0a0b0c0d, 9);
    assert_memory_equal(k, pid, 8);
    assert_int_equal(k[15], 9);
    assert_int_not_equal(key_guid_hash(g.b), key_guid_hash(h.b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pack_keys_sort_as_numbers),
        cmocka_unit_test(block_keys_come_back),
        cmocka_unit_test(layouts_are_as_drawn),
    };
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
