/* Work on threads of its own beside the agent's loop: it is done, its end is told on the loop's thread, and the loop does not end before. */
// links: agent proto base
#include "clock.h"
#include "tls.h"
#include "uplink_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

struct world {
    struct wire *w;
    pthread_t loop, worker;
    unsigned done, ticks, refused;
    bool end_at_once;
};

static void slow(void *arg) {
    struct world *w = arg;
    w->worker = pthread_self();
    usleep(150000);
}

static void quick(void *arg) {
    (void)arg;
}

static void finished(void *arg) {
    struct world *w = arg;
    assert_true(pthread_equal(pthread_self(), w->loop));
    w->done++;
    if (w->done == 1 && !wire_work(w->w, quick, finished, w)) w->refused++; /* from inside */
    if (w->done == 3) wire_end(w->w);
}

static void on_tick(void *ctx) {
    struct world *w = ctx;
    if (w->ticks++) return;
    assert_true(wire_work(w->w, slow, finished, w));
    if (w->end_at_once)
        wire_end(w->w);
    else
        assert_true(wire_work(w->w, quick, finished, w));
}

static void run(struct world *w) {
    w->w = wire_new();
    w->loop = pthread_self();
    wire_set_user(w->w, &(struct wire_user){.ctx = w, .on_tick = on_tick});
    wire_run(w->w);
}

static void test_work(void **state) {
    (void)state;
    struct world w = {0};
    run(&w);
    assert_int_equal(w.done, 3);
    assert_false(pthread_equal(w.worker, w.loop));
    assert_true(w.ticks > 1); /* the loop went on meanwhile */
    wire_free(&w.w);
}

static void test_end_waits(void **state) {
    (void)state;
    struct world w = {.end_at_once = true};
    uint64_t began = clock_mono_ms();
    run(&w);
    assert_int_equal(w.done, 1);
    assert_int_equal(w.refused, 1); /* no new work after the end */
    assert_true(clock_mono_ms() - began >= 150);
    wire_free(&w.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_work), cmocka_unit_test(test_end_waits)};
    tls_global_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
