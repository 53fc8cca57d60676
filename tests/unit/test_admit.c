/* server/admit.c: tables of ledgers and events in, epochs out. */
// links: server rules storage proto base
#include "admit.h"
#include "clock.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define T(s) (UINT64_C(133000000000000000) + (uint64_t)(s)*FILETIME_SECOND)
#define MAX 40

struct known { /* an epoch as one or more spans "first last at" with one event a second from time `at` */
    uint32_t epoch;
    struct {
        uint64_t first, last;
        unsigned at;
    } spans[3];
};

struct given { /* n events from id, one a second from `at`; same: they are stored already */
    uint64_t id;
    unsigned n, at;
    bool same;
};

struct sort_case {
    const char *name;
    struct known known[4];
    uint32_t claimed;
    struct given given[4];
    const char *want; /* "epoch*n ..." in event order, 0 is held */
    unsigned conflicts, begun;
};

static const struct sort_case sorts[] = {
    {"a log never seen", {{0}}, EPOCH_FIND, {{1, 5, 0, false}}, "1*5", 0, 1},
    {"all held", {{1, {{1, 10, 0}}}}, 1, {{3, 4, 2, true}}, "0*4", 0, 0},
    {"overlap at the end", {{1, {{1, 10, 0}}}}, 1, {{8, 3, 7, true}, {11, 4, 10, false}}, "0*3 1*4", 0, 0},
    {"a hole is filled",
     {{1, {{1, 10, 0}, {15, 20, 14}}}},
     EPOCH_FIND,
     {{10, 1, 9, true}, {11, 4, 10, false}, {15, 1, 14, true}},
     "0*1 1*4 0*1",
     0,
     0},
    {"rolled back, found: old part held, the rest begins an epoch",
     {{1, {{1, 20, 0}}}},
     EPOCH_FIND,
     {{5, 6, 4, true}, {11, 15, 5000, false}},
     "0*6 2*15",
     0,
     1},
    {"rolled back, claimed epoch 1 without noticing",
     {{1, {{1, 20, 0}}}},
     1,
     {{5, 6, 4, true}, {11, 15, 5000, false}},
     "0*6 2*15",
     1,
     1},
    {"rolled back, claimed as the next epoch",
     {{1, {{1, 20, 0}}}},
     2,
     {{5, 6, 4, true}, {11, 15, 5000, false}},
     "0*6 2*15",
     0,
     1},
    {"re-imaged: ids restart", {{1, {{1, 20, 0}}}}, EPOCH_FIND, {{1, 6, 9000, false}}, "2*6", 0, 1},
    {"re-imaged twice, the newest goes on",
     {{1, {{1, 20, 0}}}, {2, {{1, 5, 9000}}}},
     EPOCH_FIND,
     {{5, 1, 9004, true}, {6, 3, 9005, false}},
     "0*1 2*3",
     0,
     0},
    {"an old file after a re-image",
     {{1, {{5, 20, 0}}}, {2, {{1, 8, 9000}}}},
     EPOCH_FIND,
     {{20, 1, 15, true}, {21, 3, 16, false}},
     "0*1 1*3",
     0,
     0},
    {"a hole of the old epoch, the new one would fit too",
     {{1, {{1, 8, 0}, {12, 20, 11}}}, {2, {{15, 18, 9000}}}},
     EPOCH_FIND,
     {{9, 3, 8, false}, {12, 1, 11, true}},
     "1*3 0*1",
     0,
     0},
    {"the clock went back, the claim is believed",
     {{1, {{1, 10, 5000}}}},
     1,
     {{10, 1, 5009, true}, {11, 3, 100, false}},
     "0*1 1*3",
     0,
     0},
    {"an unknown claim is looked up", {{1, {{1, 10, 0}}}}, 7, {{10, 1, 9, true}, {11, 2, 10, false}}, "0*1 1*2", 0, 0},
    {"an older claim that fits nowhere else",
     {{1, {{100, 110, 5000}}}, {2, {{1, 10, 9000}}}},
     1,
     {{110, 1, 5010, true}, {111, 2, 20, false}},
     "0*1 1*2",
     0,
     0},
    {"the same id twice, different events", {{0}}, 1, {{1, 3, 0, false}, {2, 2, 900, false}}, "1*3 2*2", 1, 2},
    {"by content: held and new",
     {{EPOCH_CONTENT, {{77, 77, 3}}}},
     EPOCH_CONTENT,
     {{77, 1, 3, false}, {99, 1, 5, false}, {99, 1, 5, false}},
     "0*1 4294967295*1 0*1",
     0,
     0},
};

static void fill(const struct known *k, struct ledger *l) {
    ledger_init(l);
    for (int i = 0; i < 3 && k->spans[i].last; i++) {
        uint64_t n = k->spans[i].last - k->spans[i].first;
        ledger_add(l,
                   (struct ledger_span){k->spans[i].first, k->spans[i].last, T(k->spans[i].at), T(k->spans[i].at + n)});
    }
}

static void render(const uint32_t *epoch, size_t n, char *out, size_t len) {
    size_t at = 0;
    for (size_t i = 0; i < n;) {
        size_t k = i;
        while (k < n && epoch[k] == epoch[i]) k++;
        at += (size_t)snprintf(out + at, len - at, "%s%u*%zu", at ? " " : "", epoch[i], k - i);
        i = k;
    }
}

static void test_sort(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof sorts / sizeof *sorts; c++) {
        const struct sort_case *t = &sorts[c];
        struct ledger ledgers[4];
        struct admit_epoch epochs[4];
        size_t n_epochs = 0, n = 0;
        for (; n_epochs < 4 && t->known[n_epochs].epoch; n_epochs++) {
            fill(&t->known[n_epochs], &ledgers[n_epochs]);
            epochs[n_epochs] = (struct admit_epoch){t->known[n_epochs].epoch, &ledgers[n_epochs]};
        }
        struct admit_event ev[MAX];
        for (int g = 0; g < 4 && t->given[g].n; g++) {
            for (unsigned i = 0; i < t->given[g].n; i++) {
                ev[n++] = (struct admit_event){t->given[g].id + i, T(t->given[g].at + i), t->given[g].same};
            }
        }
        uint32_t out[MAX];
        struct admit_sorted r;
        char got[200];
        assert_int_equal(admit_sort(ev, n, t->claimed, epochs, n_epochs, out, &r), ST_OK);
        render(out, n, got, sizeof got);
        bool right = strcmp(got, t->want) == 0 && (r.n_conflicts > 0) == (t->conflicts > 0) && r.n_begun == t->begun;
        if (!right) print_error("case \"%s\": %s, %u conflicts, %u begun\n", t->name, got, r.n_conflicts, r.n_begun);
        assert_true(right);
        assert_int_equal(r.n_new + r.n_held, n);
        for (size_t i = 0; i < n_epochs; i++) ledger_deinit(&ledgers[i]);
    }
}

struct header_case {
    const char *name;
    struct known known[3];
    uint32_t claimed;
    struct batch_run runs[2];
    enum admit_verdict verdict;
    uint32_t epoch;
};

#define RUN(id, n, at) \
    { id, n, T(at), T((at) + (n)-1) }

static const struct header_case headers[] = {
    {"never seen", {{0}}, EPOCH_FIND, {RUN(1, 5, 0)}, ADMIT_WHOLE, 1},
    {"never seen, any claim", {{0}}, 9, {RUN(1, 5, 0)}, ADMIT_WHOLE, 1},
    {"goes on", {{1, {{1, 10, 0}}}}, 1, {RUN(11, 5, 10)}, ADMIT_WHOLE, 1},
    {"goes on, found", {{1, {{1, 10, 0}}}}, EPOCH_FIND, {RUN(11, 5, 10)}, ADMIT_WHOLE, 1},
    {"the next epoch, claimed", {{1, {{1, 10, 0}}}}, 2, {RUN(11, 5, 9000)}, ADMIT_WHOLE, 2},
    {"held ids", {{1, {{1, 10, 0}}}}, 1, {RUN(10, 2, 9)}, ADMIT_COMPARE, 0},
    {"held in an older epoch", {{1, {{1, 10, 0}}}, {2, {{50, 60, 900}}}}, 2, {RUN(3, 2, 9)}, ADMIT_COMPARE, 0},
    {"earlier than what is held, found", {{1, {{1, 10, 5000}}}}, EPOCH_FIND, {RUN(11, 5, 10)}, ADMIT_COMPARE, 0},
    {"a clock set back, claimed", {{1, {{1, 10, 5000}}}}, 1, {RUN(11, 5, 10)}, ADMIT_WHOLE, 1},
    {"within the slack", {{1, {{1, 10, 5000}}}}, EPOCH_FIND, {RUN(11, 5, 5001)}, ADMIT_WHOLE, 1},
    {"by time into the older one",
     {{1, {{100, 110, 0}}}, {2, {{1, 5, 9000}}}},
     EPOCH_FIND,
     {RUN(111, 5, 12)},
     ADMIT_WHOLE,
     1},
    {"a hole of the older one first",
     {{1, {{1, 8, 0}, {12, 20, 11}}}, {2, {{15, 18, 9000}}}},
     EPOCH_FIND,
     {RUN(9, 3, 8)},
     ADMIT_WHOLE,
     1},
    {"runs that go back", {{0}}, 1, {RUN(10, 5, 0), RUN(12, 2, 100)}, ADMIT_COMPARE, 0},
    {"two runs", {{1, {{1, 10, 0}}}}, 1, {RUN(11, 5, 10), RUN(20, 2, 100)}, ADMIT_WHOLE, 1},
};

static void test_header(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof headers / sizeof *headers; c++) {
        const struct header_case *t = &headers[c];
        struct ledger ledgers[3];
        struct admit_epoch epochs[3];
        size_t n = 0;
        for (; n < 3 && t->known[n].epoch; n++) {
            fill(&t->known[n], &ledgers[n]);
            epochs[n] = (struct admit_epoch){t->known[n].epoch, &ledgers[n]};
        }
        struct batch_header h = {.epoch = t->claimed, .runs = t->runs, .n_runs = t->runs[1].n ? 2 : 1};
        struct admit_decision d = admit_by_header(&h, epochs, n);
        bool right = d.verdict == t->verdict && d.epoch == t->epoch;
        if (!right) print_error("case \"%s\": verdict %d, epoch %u\n", t->name, d.verdict, d.epoch);
        assert_true(right);
        for (size_t i = 0; i < n; i++) ledger_deinit(&ledgers[i]);
    }
}

static void test_limits(void **state) {
    (void)state;
    struct admit_event ev[4];
    uint32_t out[4];
    struct admit_sorted r;
    for (int i = 0; i < 4; i++) ev[i] = (struct admit_event){7, T(1000 * i), false};
    assert_int_equal(admit_sort(ev, 2, 1, NULL, 0, out, &r), ST_OK);
    assert_int_equal(r.n_begun, 2);
    assert_int_equal(admit_sort(ev, 4, 1, NULL, 0, out, &r), ST_TOOBIG); /* a batch may not begin epochs at will */
}

static struct event made(int digits, uint64_t time, const char *value) {
    static struct event_data data;
    data = (struct event_data){.name = SLICE_LIT("Image"), .value = slice_str(value)};
    return (struct event){.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                          .event_id = {.v = 1, .present = true},
                          .record_id = {.v = 5, .present = true},
                          .time = time,
                          .time_digits = digits,
                          .channel = SLICE_LIT("Microsoft-Windows-Sysmon/Operational"),
                          .computer = SLICE_LIT("PC"),
                          .body = EVENT_BODY_DATA,
                          .data = &data,
                          .n_data = 1};
}

static void test_same_event(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int digits;
        uint64_t time;
        const char *value;
        bool same;
    } cases[] = {
        {"itself", 7, T(5) + 1234567, "a", true},
        {"cut to milliseconds", 3, T(5) + 1230000, "a", true},
        {"cut to seconds", 0, T(5), "a", true},
        {"another tick", 7, T(5) + 1234568, "a", false},
        {"another millisecond", 3, T(5) + 1240000, "a", false},
        {"another value", 7, T(5) + 1234567, "b", false},
        {"another value, cut", 3, T(5) + 1230000, "b", false},
    };
    struct arena scratch;
    arena_init(&scratch, EVENT_ARENA_CAP);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf a = {0}, b = {0};
        struct event ea = made(7, T(5) + 1234567, "a");
        assert_int_equal(event_encode(&ea, &a), ST_OK);
        struct event eb = made(cases[i].digits, cases[i].time, cases[i].value);
        assert_int_equal(event_encode(&eb, &b), ST_OK);
        bool same = admit_same_event(buf_slice(&a), buf_slice(&b), &scratch);
        if (same != cases[i].same) print_error("case \"%s\": %d\n", cases[i].name, same);
        assert_int_equal(same, cases[i].same);
        buf_free(&a);
        buf_free(&b);
    }
    assert_false(admit_same_event(SLICE_LIT("\xff\xff"), SLICE_LIT("\x08"), &scratch));
    arena_deinit(&scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_same_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
