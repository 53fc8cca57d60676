/* Rollouts as a function: verdicts, waves, halting conditions on tables; then random histories, in which nobody beyond the wave is
 * offered anything, a halted rollout does nothing, and every rollout ends. */
// links: server rules storage proto base
#include "rollout_step.h"
#include "clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_HOSTS 64
#define S FILETIME_SECOND
#define T0 (UINT64_C(134000000000000000))

static const struct rollout_plan usual = {.group = "g",
                                          .ruleset = "r",
                                          .revision = 2,
                                          .percent = {5, 25, 100},
                                          .n_waves = 3,
                                          .wait_s = 60,
                                          .timeout_s = 300,
                                          .max_failed_percent = 10,
                                          .max_silent_percent = 20,
                                          .rate_low = 0.5,
                                          .rate_high = 3};

static void test_plans(void **state) {
    static const struct {
        const char *name;
        struct rollout_plan plan;
        const char *says; /* NULL: fine */
    } cases[] = {
        {"usual", {.percent = {5, 25, 100}, .n_waves = 3, .timeout_s = 1}, NULL},
        {"at once", {.percent = {100}, .n_waves = 1, .timeout_s = 1}, NULL},
        {"none", {.n_waves = 0, .timeout_s = 1}, "1 to 16 waves"},
        {"too many", {.n_waves = 17, .timeout_s = 1}, "1 to 16 waves"},
        {"descends", {.percent = {25, 5, 100}, .n_waves = 3, .timeout_s = 1}, "5 is out of line"},
        {"twice", {.percent = {5, 5, 100}, .n_waves = 3, .timeout_s = 1}, "5 is out of line"},
        {"nobody", {.percent = {0, 100}, .n_waves = 2, .timeout_s = 1}, "0 is out of line"},
        {"beyond", {.percent = {50, 101}, .n_waves = 2, .timeout_s = 1}, "101 is out of line"},
        {"not all", {.percent = {5, 99}, .n_waves = 2, .timeout_s = 1}, "last wave is 100"},
        {"no time", {.percent = {100}, .n_waves = 1}, "timeout"},
        {"failures", {.percent = {100}, .n_waves = 1, .timeout_s = 1, .max_failed_percent = 101}, "0 to 100"},
        {"bounds", {.percent = {100}, .n_waves = 1, .timeout_s = 1, .rate_low = 2, .rate_high = 1}, "rate_low"},
        {"negative", {.percent = {100}, .n_waves = 1, .timeout_s = 1, .rate_low = -1}, "rate"},
        {"low alone", {.percent = {100}, .n_waves = 1, .timeout_s = 1, .rate_low = 0.5}, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        enum status st = rollout_plan_check(&cases[i].plan, &err);
        if (cases[i].says ? st != ST_INVALID || !strstr(err.msg, cases[i].says) : st != ST_OK)
            fail_msg("%s: %s \"%s\"", cases[i].name, status_name(st), err.msg);
    }
}

static void test_verdicts(void **state) {
    static const struct {
        const char *name;
        struct rollout_host h;
        enum rollout_verdict v;
    } cases[] = {
        {"away", {.gone_s = 9999}, ROLLOUT_HOST_AWAY},
        {"waits for the offer", {.connected = true}, ROLLOUT_HOST_DUE},
        {"offered", {.connected = true, .offered = true}, ROLLOUT_HOST_WORKS},
        {"received", {.connected = true, .offered = true, .state = RULES_RECEIVED}, ROLLOUT_HOST_WORKS},
        {"applied, not proven",
         {.connected = true, .offered = true, .state = RULES_APPLIED, .exposed_s = 299},
         ROLLOUT_HOST_WORKS},
        {"applied, never proven",
         {.connected = true, .offered = true, .state = RULES_APPLIED, .exposed_s = 300},
         ROLLOUT_HOST_LATE},
        {"loaded", {.connected = true, .offered = true, .state = RULES_LOADED, .exposed_s = 9999}, ROLLOUT_HOST_LOADED},
        {"failed", {.connected = true, .offered = true, .state = RULES_FAILED}, ROLLOUT_HOST_FAILED},
        {"failed and gone", {.offered = true, .state = RULES_FAILED, .gone_s = 9999}, ROLLOUT_HOST_FAILED},
        {"refused", {.connected = true, .offered = true, .state = RULES_REFUSED}, ROLLOUT_HOST_REFUSED},
        {"drifted", {.connected = true, .offered = true, .state = RULES_DRIFTED}, ROLLOUT_HOST_DRIFTED},
        {"gone for a moment", {.offered = true, .gone_s = 119}, ROLLOUT_HOST_WORKS},
        {"silent", {.offered = true, .gone_s = 120}, ROLLOUT_HOST_SILENT},
        {"loaded, then silent", {.offered = true, .state = RULES_LOADED, .gone_s = 120}, ROLLOUT_HOST_SILENT},
        {"loaded, gone for a moment", {.offered = true, .state = RULES_LOADED, .gone_s = 119}, ROLLOUT_HOST_LOADED},
        {"Sysmon gone",
         {.connected = true, .offered = true, .state = RULES_LOADED, .sysmon_gone = true},
         ROLLOUT_HOST_GONE},
        {"event 255",
         {.connected = true, .offered = true, .state = RULES_LOADED, .event_255 = true},
         ROLLOUT_HOST_ERROR},
        {"restarts", {.connected = true, .offered = true, .state = RULES_LOADED, .restarts = 4}, ROLLOUT_HOST_RESTARTS},
        {"one restart",
         {.connected = true, .offered = true, .state = RULES_LOADED, .restarts = 2},
         ROLLOUT_HOST_LOADED},
        {"excused", {.connected = true, .offered = true, .excused = true, .state = RULES_FAILED}, ROLLOUT_HOST_EXCUSED},
        {"excused, loaded after all",
         {.connected = true, .offered = true, .excused = true, .state = RULES_LOADED},
         ROLLOUT_HOST_LOADED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum rollout_verdict v = rollout_judge(&usual, &cases[i].h);
        if (v != cases[i].v) fail_msg("%s: %s", cases[i].name, rollout_verdict_name(v));
    }
}

/* A group by letters, each a host in the order of their hashes:
 * - away   . connected   o offered   r received   L loaded   F failed   D drifted   S silent   G lost Sysmon   E event 255   x excused */
static size_t group(const char *letters, struct rollout_host *h) {
    size_t n = strlen(letters);
    assert_true(n <= MAX_HOSTS);
    memset(h, 0, n * sizeof *h);
    for (size_t i = 0; i < n; i++) {
        char c = letters[i];
        h[i].hash = (i + 1) * 1000;
        h[i].connected = c != '-' && c != 'S';
        h[i].offered = c != '-' && c != '.';
        h[i].gone_s = h[i].connected ? 0 : 1000;
        h[i].state = c == 'L' || c == 'G' || c == 'E' ? RULES_LOADED
                     : c == 'F' || c == 'x'           ? RULES_FAILED
                     : c == 'D'                       ? RULES_DRIFTED
                     : c == 'r'                       ? RULES_RECEIVED
                                                      : RULES_NONE;
        h[i].sysmon_gone = c == 'G';
        h[i].event_255 = c == 'E';
        h[i].excused = c == 'x';
    }
    return n;
}

static void test_steps(void **state) {
    static const struct {
        const char *name, *hosts;
        unsigned wave;      /* under way; 9: none yet */
        uint64_t threshold; /* of it, in hosts */
        bool over;          /* that wave */
        uint64_t waited_s;
        enum rollout_do what;
        uint64_t reaches; /* START, WIDEN: so many hosts; 999: all */
        const char *why;  /* HALT */
    } cases[] = {
        {"first of twenty", "....................", 9, 0, false, 0, ROLLOUT_START, 1, NULL},
        {"one in a hundred or so is one", "...", 9, 0, false, 0, ROLLOUT_START, 1, NULL},
        {"first that is there", "---.----------------", 9, 0, false, 0, ROLLOUT_START, 4, NULL},
        {"nobody is there", "--------------------", 9, 0, false, 0, ROLLOUT_START, 1, NULL},
        {"an empty group", "", 9, 0, false, 0, ROLLOUT_START, 0, NULL},
        {"an empty group goes on", "", 0, 0, false, 0, ROLLOUT_WAVE_OVER, 0, NULL},
        {"and on, without waiting", "", 0, 0, true, 0, ROLLOUT_START, 0, NULL},
        {"and ends", "", 2, 999, false, 0, ROLLOUT_FINISH, 0, NULL},
        {"nobody there: waits", "--------------------", 0, 1, false, 0, ROLLOUT_WAIT, 0, NULL},
        {"then somebody comes", "----------.---------", 0, 1, false, 0, ROLLOUT_WIDEN, 11, NULL},
        {"offer is due", "....................", 0, 1, false, 0, ROLLOUT_WAIT, 0, NULL},
        {"under way", "r...................", 0, 1, false, 0, ROLLOUT_WAIT, 0, NULL},
        {"loaded", "L...................", 0, 1, false, 0, ROLLOUT_WAVE_OVER, 0, NULL},
        {"waits", "L...................", 0, 1, true, 59, ROLLOUT_WAIT, 0, NULL},
        {"has waited", "L...................", 0, 1, true, 60, ROLLOUT_START, 5, NULL},
        {"the second wave has one who is there", "L-----------.-------", 0, 1, true, 60, ROLLOUT_START, 13, NULL},
        {"the rest is away", "L-------------------", 0, 1, true, 60, ROLLOUT_START, 5, NULL},
        {"away ones do not hold it up", "L-------------------", 1, 5, false, 0, ROLLOUT_WAVE_OVER, 0, NULL},
        {"the last wave", "LLLLL...............", 1, 5, true, 60, ROLLOUT_START, 999, NULL},
        {"not all of the last wave", "LLLLLLLLLLLLLLLLLLLo", 2, 999, false, 0, ROLLOUT_WAIT, 0, NULL},
        {"all", "LLLLLLLLLLLLLLLLLLLL", 2, 999, false, 0, ROLLOUT_FINISH, 0, NULL},
        {"all who are there", "LLLLLLLLLLLLLLLL----", 2, 999, false, 0, ROLLOUT_FINISH, 0, NULL},
        {"one of twenty failed, within bounds", "LLLLLLLLLLLLFLLLLLLL", 2, 999, false, 0, ROLLOUT_FINISH, 0, NULL},
        {"two of twenty failed, within bounds", "LLLLLLFLLLLLFLLLLLLL", 2, 999, false, 0, ROLLOUT_FINISH, 0, NULL},
        {"three of twenty", "LLLFLLFLLLLLFLLLLLLL", 2, 999, false, 0, ROLLOUT_HALT, 0,
         "3 of 20 hosts failed (15 %, at most 10 % may): 3 failed"},
        {"three kinds", "LLLFLLGLLLLLELLLLLLL", 2, 999, false, 0, ROLLOUT_HALT, 0,
         "1 failed, 1 lost Sysmon, 1 Sysmon error"},
        {"the only one fails", "F...................", 0, 1, false, 0, ROLLOUT_HALT, 0, "1 of 1 hosts failed (100 %"},
        {"drift counts", "D...................", 0, 1, false, 0, ROLLOUT_HALT, 0, "1 drifted"},
        {"while it waits, too", "G...................", 0, 1, true, 10, ROLLOUT_HALT, 0, "1 lost Sysmon"},
        {"hosts yet to be offered weigh", "LF..................", 2, 999, false, 0, ROLLOUT_WAIT, 0, NULL},
        {"silent within bounds", "LSLL................", 0, 4, false, 0, ROLLOUT_HALT, 0, "1 of 4 hosts fell silent"},
        {"silent in a larger wave", "LSLLL...............", 1, 5, false, 0, ROLLOUT_WAVE_OVER, 0, NULL},
        {"all silent", "SS..................", 0, 2, false, 0, ROLLOUT_HALT, 0, "2 of 2 hosts fell silent"},
        {"excused ones count no more", "x...................", 0, 1, false, 0, ROLLOUT_WAVE_OVER, 0, NULL},
        {"a group of one", "L", 0, 1, false, 0, ROLLOUT_WAVE_OVER, 0, NULL},
        {"a group of one has no second wave", "L", 1, 1, false, 0, ROLLOUT_WAVE_OVER, 0, NULL},
        {"and waits for nothing there", "L", 1, 1, true, 0, ROLLOUT_START, 999, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rollout_host h[MAX_HOSTS];
        size_t n = group(cases[i].hosts, h);
        struct rollout_progress at = {.wave = cases[i].wave == 9 ? 3 : cases[i].wave};
        for (unsigned w = 0; w <= at.wave && at.wave < 3; w++) {
            at.threshold[w] = cases[i].threshold == 999 && w == at.wave ? UINT64_MAX : cases[i].threshold * 1000;
            if (w < at.wave && cases[i].threshold == 999) at.threshold[w] = n / 4 * 1000;
            if (w < at.wave && cases[i].threshold != 999 && cases[i].threshold > 1) at.threshold[w] = 1000;
            at.started[w] = T0;
            if (w < at.wave || cases[i].over) at.done[w] = T0 + S;
        }
        struct rollout_step s;
        rollout_next(&usual, &at, h, n, T0 + S + cases[i].waited_s * S, &s);
        if (s.what != cases[i].what) fail_msg("%s: does %d (%s)", cases[i].name, (int)s.what, s.why);
        if (s.what == ROLLOUT_START || s.what == ROLLOUT_WIDEN) {
            uint64_t wanted = cases[i].reaches == 999 ? UINT64_MAX : cases[i].reaches * 1000;
            if (s.threshold != wanted) fail_msg("%s: threshold %llu", cases[i].name, (unsigned long long)s.threshold);
        }
        if (cases[i].why && !strstr(s.why, cases[i].why)) fail_msg("%s: \"%s\"", cases[i].name, s.why);
    }
}

static void test_rates(void **state) {
    static const struct {
        const char *name;
        double low, high, before, after;
        unsigned n_before, n_after;
        bool accepted, halts;
    } cases[] = {
        {"as before", 0.5, 3, 10, 10, 3, 3, false, false},
        {"too many", 0.5, 3, 10, 31, 3, 3, false, true},
        {"just within", 0.5, 3, 10, 30, 3, 3, false, false},
        {"too few", 0.5, 3, 10, 4.9, 3, 3, false, true},
        {"none at all", 0.5, 3, 10, 0, 3, 3, false, true},
        {"accepted", 0.5, 3, 10, 0, 3, 3, true, false},
        {"not looked at", 0, 0, 10, 1000, 9, 9, false, false},
        {"only above", 0, 3, 10, 0, 9, 9, false, false},
        {"only below", 0.5, 0, 10, 1000, 9, 9, false, false},
        {"too few samples before", 0.5, 3, 10, 1000, 2, 9, false, false},
        {"too few samples after", 0.5, 3, 10, 1000, 9, 2, false, false},
        {"from nothing", 0.5, 3, 0, 1000, 9, 9, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rollout_plan p = usual;
        struct rollout_host h[MAX_HOSTS];
        size_t n = group("LL..", h);
        struct rollout_progress at = {.threshold = {2000}, .started = {T0}, .rate_accepted = cases[i].accepted};
        struct rollout_step s;
        p.rate_low = cases[i].low;
        p.rate_high = cases[i].high;
        p.auto_rollback = true;
        for (size_t k = 0; k < 2; k++) {
            h[k].rate_before = cases[i].before;
            h[k].rate_after = cases[i].after;
            h[k].n_before = cases[i].n_before;
            h[k].n_after = cases[i].n_after;
        }
        rollout_next(&p, &at, h, n, T0 + S, &s);
        if ((s.what == ROLLOUT_HALT) != cases[i].halts) fail_msg("%s: does %d (%s)", cases[i].name, (int)s.what, s.why);
        assert_int_equal(s.what == ROLLOUT_HALT, s.roll_back && s.by_rate);
    }
}

static void test_stands_still(void **state) {
    static const enum rollout_state still[] = {ROLLOUT_HALTED, ROLLOUT_DONE, ROLLOUT_ROLLED_BACK, ROLLOUT_SUPERSEDED};
    struct rollout_host h[MAX_HOSTS];
    size_t n = group("LLLFF...", h);
    (void)state;
    for (size_t i = 0; i < sizeof still / sizeof *still; i++) {
        struct rollout_progress at = {.state = still[i], .threshold = {1000}, .started = {T0}};
        struct rollout_step s;
        rollout_next(&usual, &at, h, n, T0 + 99999 * S, &s);
        if (s.what != ROLLOUT_WAIT) fail_msg("%s: does %d", rollout_state_name(still[i]), (int)s.what);
    }
}

/* ---- random histories ---- */

static uint64_t rng;
static unsigned dice(unsigned n) {
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (unsigned)((rng >> 20) % n);
}

struct history {
    struct rollout_plan p;
    struct rollout_progress at;
    struct rollout_host h[MAX_HOSTS];
    size_t n;
    uint64_t now;
    bool calm; /* all come, and answer */
};

static void host_lives(struct history *r, size_t i, uint64_t dt) {
    struct rollout_host *h = &r->h[i];
    if (!h->connected) {
        h->gone_s += dt;
        if (r->calm || !dice(8)) h->connected = true, h->gone_s = 0;
    } else if (!r->calm && !dice(20)) {
        h->connected = false;
        h->gone_s = 0;
    }
    if (!h->connected || !h->offered) return;
    h->exposed_s += dt;
    static const uint32_t next[] = {RULES_RECEIVED, RULES_APPLIED, RULES_LOADED,
                                    RULES_FAILED,   RULES_REFUSED, RULES_LOADED};
    if (r->calm && h->state < RULES_LOADED)
        h->state = RULES_LOADED;
    else if (h->state < RULES_LOADED && !dice(3))
        h->state = next[dice(dice(4) ? 3 : 6)];
    else if (h->state == RULES_LOADED && !r->calm && !dice(100))
        h->state = RULES_DRIFTED;
    h->event_255 |= !r->calm && !dice(400);
    h->sysmon_gone = !r->calm && !dice(200);
}

static void carry_out(struct history *r) {
    struct rollout_step s;
    for (int guard = 0;; guard++) {
        if (guard > 2 * ROLLOUT_MAX_WAVES + 2) fail_msg("it does not come to rest");
        uint64_t before = r->at.wave < r->p.n_waves ? r->at.threshold[r->at.wave] : 0;
        rollout_next(&r->p, &r->at, r->h, r->n, r->now, &s);
        if (s.what == ROLLOUT_WAIT) return;
        assert_int_equal(r->at.state, ROLLOUT_RUNNING);
        rollout_apply(&s, r->now, &r->at);
        if (s.what == ROLLOUT_START || s.what == ROLLOUT_WIDEN) assert_true(r->at.threshold[r->at.wave] >= before);
        if (s.what == ROLLOUT_FINISH) {
            struct rollout_tally t;
            rollout_count(&r->p, &r->at, r->h, r->n, &t);
            assert_int_equal(t.by[ROLLOUT_HOST_DUE] + t.by[ROLLOUT_HOST_WORKS], 0);
            assert_false(t.failed * 100 > r->p.max_failed_percent * t.offered);
            assert_int_equal(r->at.wave, r->p.n_waves - 1);
        }
    }
}

static void one_history(uint64_t seed) {
    struct history r = {.p = usual, .now = T0};
    rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    r.n = dice(4) ? dice(MAX_HOSTS) : dice(4);
    r.p.n_waves = 1 + dice(4);
    for (size_t i = 0; i < r.p.n_waves; i++)
        r.p.percent[i] = i + 1 == r.p.n_waves ? 100 : (unsigned)(1 + i * 20 + dice(20));
    r.p.wait_s = dice(100);
    r.p.timeout_s = 1 + dice(200);
    r.p.max_failed_percent = dice(101);
    r.p.max_silent_percent = dice(101);
    r.at.wave = (unsigned)r.p.n_waves;
    for (size_t i = 0; i < r.n; i++) {
        r.h[i].hash = ((uint64_t)dice(1u << 30) << 32) | dice(1u << 30);
        r.h[i].connected = dice(3) > 0;
    }
    unsigned turns = 0;
    for (; r.at.state != ROLLOUT_DONE && turns < 4000; turns++) {
        uint64_t dt = 1 + dice(20);
        r.now += dt * S;
        r.calm = turns > 200;
        for (size_t i = 0; i < r.n; i++) host_lives(&r, i, dt);
        if (r.n < MAX_HOSTS && !dice(50)) { /* one joins */
            r.h[r.n] = (struct rollout_host){.hash = (uint64_t)dice(1u << 30) << 33, .connected = true};
            r.n++;
        }
        if (r.n && !dice(60)) { /* one leaves */
            unsigned who = dice((unsigned)r.n);
            r.h[who] = r.h[--r.n];
        }
        carry_out(&r);
        if (r.at.state == ROLLOUT_HALTED && (r.calm || !dice(5))) { /* a person looks at it and goes on */
            for (size_t i = 0; i < r.n; i++) {
                enum rollout_verdict v = rollout_judge(&r.p, &r.h[i]);
                if (rollout_verdict_is_failure(v) || v == ROLLOUT_HOST_SILENT) r.h[i].excused = true;
            }
            r.at.state = ROLLOUT_RUNNING;
            carry_out(&r);
        }
        if (r.at.state != ROLLOUT_RUNNING) continue;
        for (size_t i = 0; i < r.n; i++) { /* what a collector does: offer to whom it reaches */
            if (r.h[i].connected && rollout_reaches(&r.p, &r.at, r.h[i].hash)) r.h[i].offered = true;
            if (r.h[i].offered && !rollout_reaches(&r.p, &r.at, r.h[i].hash))
                fail_msg("seed %llu: one beyond the wave has it", (unsigned long long)seed);
        }
    }
    if (r.at.state != ROLLOUT_DONE)
        fail_msg("seed %llu: %zu hosts, after %u turns it is %s in wave %u", (unsigned long long)seed, r.n, turns,
                 rollout_state_name(r.at.state), r.at.wave);
}

static void test_histories(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 1500; seed++) one_history(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans), cmocka_unit_test(test_verdicts),     cmocka_unit_test(test_steps),
        cmocka_unit_test(test_rates), cmocka_unit_test(test_stands_still), cmocka_unit_test(test_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
