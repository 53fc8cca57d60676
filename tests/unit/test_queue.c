/* queue.c: bounds, order, closing, and several threads at once (run under TSan too). */
#include "queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>
#include <cmocka.h>

#define N_PER_THREAD 20000

static void test_bounds_and_order(void **state) {
    (void)state;
    struct queue *q = queue_new(3, 100, NULL, NULL);
    int a, b, c;
    void *got = NULL;
    assert_int_equal(queue_put(q, &a, 500), ST_OK); /* one item is always let in */
    assert_int_equal(queue_put(q, &b, 1), ST_AGAIN);
    assert_ptr_equal(queue_try_take(q), &a);
    assert_int_equal(queue_put(q, &a, 40), ST_OK);
    assert_int_equal(queue_put(q, &b, 40), ST_OK);
    assert_false(queue_can_put(q, 40));
    assert_int_equal(queue_put(q, &c, 20), ST_OK);
    assert_int_equal(queue_put(q, &c, 0), ST_AGAIN);
    assert_int_equal(queue_weight(q), 100);
    queue_close(q);
    assert_int_equal(queue_put(q, &c, 0), ST_CLOSED);
    assert_int_equal(queue_take(q, -1, &got), ST_OK);
    assert_ptr_equal(got, &a);
    assert_ptr_equal(queue_try_take(q), &b);
    assert_ptr_equal(queue_try_take(q), &c);
    assert_int_equal(queue_take(q, -1, &got), ST_CLOSED);
    queue_free(&q);
}

static void test_take_times_out(void **state) {
    (void)state;
    struct queue *q = queue_new(1, 1, NULL, NULL);
    void *got;
    assert_int_equal(queue_take(q, 10, &got), ST_TIMEOUT);
    queue_free(&q);
}

static void put_many(void *arg) {
    struct queue *q = arg;
    for (uintptr_t i = 1; i <= N_PER_THREAD;) {
        if (queue_put(q, (void *)i, 1) == ST_OK) i++;
    }
}

static void test_threads(void **state) {
    (void)state;
    struct queue *q = queue_new(64, 64, NULL, NULL);
    uv_thread_t t[3];
    for (int i = 0; i < 3; i++) assert_int_equal(uv_thread_create(&t[i], put_many, q), 0);
    uint64_t sum = 0;
    for (int i = 0; i < 3 * N_PER_THREAD; i++) {
        void *got = NULL;
        assert_int_equal(queue_take(q, 5000, &got), ST_OK);
        sum += (uintptr_t)got;
    }
    for (int i = 0; i < 3; i++) uv_thread_join(&t[i]);
    assert_int_equal(sum, 3 * (uint64_t)N_PER_THREAD * (N_PER_THREAD + 1) / 2);
    assert_int_equal(queue_items(q), 0);
    queue_free(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_and_order),
        cmocka_unit_test(test_take_times_out),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
