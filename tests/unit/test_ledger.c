/* The ledger against a plain array of ids, and its stored form against damage. */
#include "ledger.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define IDS 400u

static uint64_t rng = 88172645463325252u;
static uint64_t rnd(uint64_t n) {
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

static struct ledger_span span(uint64_t first, uint64_t last) {
    return (struct ledger_span){first, last, first * 10, last * 10};
}

struct model {
    bool held[IDS + 2];
    enum ledger_cause cause[IDS + 2];
};

static void check_shape(const struct ledger *l) {
    for (size_t i = 0; i < l->n; i++) {
        assert_true(l->spans[i].first <= l->spans[i].last);
        assert_true(l->spans[i].first_time == l->spans[i].first * 10);
        assert_true(l->spans[i].last_time == l->spans[i].last * 10);
        if (i) assert_true(l->spans[i].first > l->spans[i - 1].last + 1);
    }
    for (size_t i = 1; i < l->n_notes; i++) assert_true(l->notes[i].first > l->notes[i - 1].last);
}

static void check_against(const struct ledger *l, const struct model *m) {
    uint64_t count = 0, low = IDS + 1, high = 0, from = rnd(IDS), to = from + rnd(IDS - from), within = 0;
    for (uint64_t id = 0; id <= IDS; id++) {
        assert_int_equal(ledger_has(l, id), m->held[id]);
        count += m->held[id];
        if (id >= from && id <= to) within += m->held[id];
        if (m->held[id] || m->cause[id]) {
            if (id < low) low = id;
            high = id;
        }
    }
    assert_int_equal(ledger_count(l), count);
    assert_int_equal(ledger_held(l, from, to), within);
    uint64_t at = 0, next = low;
    struct ledger_note hole;
    while (ledger_next_hole(l, &at, &hole)) {
        for (; next < hole.first; next++) assert_true(m->held[next]);
        for (; next <= hole.last; next++) {
            assert_false(m->held[next]);
            assert_int_equal(m->cause[next], hole.cause);
        }
        assert_true(hole.last <= high);
    }
    for (; next <= high; next++) assert_true(m->held[next]);
}

static void agrees_with_a_plain_array(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct ledger l;
        struct model m = {{0}, {0}};
        ledger_init(&l);
        for (int step = 0; step < 60; step++) {
            uint64_t first = rnd(IDS), last = first + rnd(rnd(4) ? 4 : 60);
            if (last > IDS) last = IDS;
            if (rnd(4)) {
                ledger_add(&l, span(first, last));
                for (uint64_t id = first; id <= last; id++) m.held[id] = true;
            } else {
                enum ledger_cause cause = (enum ledger_cause)rnd(LEDGER_DAMAGED + 1);
                ledger_explain(&l, first, last, cause);
                for (uint64_t id = first; id <= last; id++) m.cause[id] = cause;
            }
            check_shape(&l);
            check_against(&l, &m);
        }
        struct buf b = {0};
        struct ledger back;
        ledger_encode(&l, &b);
        assert_int_equal(ledger_decode(buf_slice(&b), &back), ST_OK);
        assert_int_equal(back.n, l.n);
        assert_int_equal(back.n_notes, l.n_notes);
        if (l.n) assert_memory_equal(back.spans, l.spans, l.n * sizeof *l.spans);
        for (size_t i = 0; i < l.n_notes; i++) {
            assert_true(back.notes[i].first == l.notes[i].first && back.notes[i].last == l.notes[i].last &&
                        back.notes[i].cause == l.notes[i].cause);
        }
        check_against(&back, &m);
        for (size_t cut = 0; cut < b.len; cut++) { /* a cut value never decodes */
            uint8_t *copy = mem_alloc(cut);
            if (cut) memcpy(copy, b.p, cut);
            struct ledger bad;
            assert_int_not_equal(ledger_decode(slice_of(copy, cut), &bad), ST_OK);
            mem_free(copy);
        }
        ledger_deinit(&back);
        ledger_deinit(&l);
        buf_free(&b);
    }
}

static void many_at_once_is_one_after_the_other(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct ledger a, b;
        struct ledger_span add[60];
        ledger_init(&a);
        ledger_init(&b);
        for (int i = 0; i < 120; i++) {
            uint64_t first = rnd(3000);
            ledger_add(&a, span(first, first + rnd(3)));
        }
        for (size_t i = 0; i < a.n; i++) ledger_add(&b, a.spans[i]);
        size_t n = rnd(60);
        for (size_t i = 0; i < n; i++) {
            uint64_t first = rnd(3000);
            add[i] = span(first, first + rnd(round % 2 ? 3 : 200));
        }
        for (size_t i = 0; i < n; i++) ledger_add(&a, add[i]);
        ledger_add_all(&b, add, n);
        check_shape(&b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.spans, b.spans, a.n * sizeof *a.spans);
        ledger_deinit(&a);
        ledger_deinit(&b);
    }
}

static void no_memory_is_not_damage(void **state) {
    (void)state;
    static const uint8_t bytes[] = {1, 1, 1, 5, 0, 0, 0, 9, 0, 1};
    for (unsigned long nth = 1; nth <= 3; nth++) {
        struct ledger l;
        mem_test_fail_at(nth);
        enum status st = ledger_decode(slice_of(bytes, sizeof bytes), &l);
        mem_test_fail_at(0);
        assert_int_equal(st, nth < 3 ? ST_NOMEM : ST_OK);
        if (!st) ledger_deinit(&l);
    }
}

static void ends_of_the_number_range(void **state) {
    (void)state;
    struct ledger l, back;
    ledger_init(&l);
    ledger_add(&l, (struct ledger_span){UINT64_MAX, UINT64_MAX, 5, 5});
    ledger_add(&l, (struct ledger_span){0, 0, 1, 1});
    ledger_add(&l, (struct ledger_span){UINT64_MAX - 1, UINT64_MAX, 4, 5});
    assert_int_equal(l.n, 2);
    assert_true(ledger_has(&l, 0) && ledger_has(&l, UINT64_MAX) && !ledger_has(&l, 1));
    uint64_t at = 0;
    struct ledger_note hole;
    assert_true(ledger_next_hole(&l, &at, &hole));
    assert_true(hole.first == 1 && hole.last == UINT64_MAX - 2);
    assert_false(ledger_next_hole(&l, &at, &hole));
    struct buf b = {0};
    ledger_encode(&l, &b);
    assert_int_equal(ledger_decode(buf_slice(&b), &back), ST_OK);
    assert_memory_equal(back.spans, l.spans, 2 * sizeof *l.spans);
    ledger_deinit(&back);
    ledger_explain(&l, 0, UINT64_MAX, LEDGER_WRAPPED);
    at = 0;
    assert_true(ledger_next_hole(&l, &at, &hole));
    assert_false(ledger_next_hole(&l, &at, &hole));
    ledger_deinit(&l);
    buf_free(&b);
}

static void fits_by_time(void **state) {
    (void)state;
    struct ledger l;
    ledger_init(&l);
    assert_true(ledger_fits(&l, 5, 0, 0)); /* nothing is known yet */
    ledger_add(&l, (struct ledger_span){10, 20, 1000, 2000});
    ledger_add(&l, (struct ledger_span){40, 50, 4000, 5000});
    static const struct {
        const char *name;
        uint64_t id, time, slack;
        bool fits;
    } cases[] = {
        {"below all, earlier", 5, 500, 0, true},
        {"below all, later than the first", 5, 1500, 0, false},
        {"below all, later but within slack", 5, 1050, 50, true},
        {"inside a span, inside its times", 15, 1500, 0, true},
        {"inside a span, too early", 15, 900, 0, false},
        {"inside a span, too late", 15, 2100, 0, false},
        {"inside a span, too late within slack", 15, 2100, 100, true},
        {"between, between", 30, 3000, 0, true},
        {"between, before the lower", 30, 1900, 99, false},
        {"between, after the higher", 30, 4001, 0, false},
        {"above all, later", 60, 6000, 0, true},
        {"above all, earlier: ids started again", 60, 1000, 0, false},
        {"above all, time zero, endless slack", 60, 0, UINT64_MAX, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (ledger_fits(&l, cases[i].id, cases[i].time, cases[i].slack) != cases[i].fits) fail_msg("%s", cases[i].name);
    }
    ledger_deinit(&l);
}

static void refuses_what_it_cannot_have_made(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint8_t bytes[16];
        size_t len;
        enum status want;
    } cases[] = {
        {"nothing", {0}, 0, ST_CORRUPT},
        {"another version", {2, 0, 0}, 3, ST_VERSION},
        {"empty", {1, 0, 0}, 3, ST_OK},
        {"trailing bytes", {1, 0, 0, 0}, 4, ST_CORRUPT},
        {"more spans than bytes", {1, 200, 1, 0}, 4, ST_CORRUPT},
        {"adjacent spans", {1, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0}, 11, ST_CORRUPT},
        {"spans", {1, 2, 0, 1, 0, 0, 0, 2, 0, 0, 0}, 11, ST_OK},
        {"an open note", {1, 0, 1, 5, 0, 0}, 6, ST_CORRUPT},
        {"an unknown cause", {1, 0, 1, 5, 0, 9}, 6, ST_CORRUPT},
        {"a note", {1, 0, 1, 5, 0, 1}, 6, ST_OK},
        {"notes that should be one", {1, 0, 2, 5, 0, 1, 1, 0, 1}, 9, ST_CORRUPT},
        {"overlapping notes", {1, 0, 2, 5, 0, 1, 0, 0, 2}, 9, ST_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *copy = mem_alloc(cases[i].len);
        memcpy(copy, cases[i].bytes, cases[i].len);
        struct ledger l;
        enum status st = ledger_decode(slice_of(copy, cases[i].len), &l);
        if (st != cases[i].want) fail_msg("%s: %s", cases[i].name, status_name(st));
        if (!st) ledger_deinit(&l);
        mem_free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_plain_array),
        cmocka_unit_test(many_at_once_is_one_after_the_other),
        cmocka_unit_test(no_memory_is_not_damage),
        cmocka_unit_test(ends_of_the_number_range),
        cmocka_unit_test(fits_by_time),
        cmocka_unit_test(refuses_what_it_cannot_have_made),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
