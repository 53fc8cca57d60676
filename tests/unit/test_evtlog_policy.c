/* The Event Log source's decisions: each fault that Windows is known for, by name, and what is done about it. */
#include "evtlog_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* A move names only what matters to it. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define T0 UINT64_C(134000000000000000) /* time of record 0; each next one a second later */
#define SECOND UINT64_C(10000000)

enum kind {
    END,
    PLAN,       /* a = found, b = found time as id (0: none), log; want: start, and c = another log */
    SUBSCRIBED, /* a = error */
    NEXT,       /* a = error, b = records */
    RECORD,     /* a = id, b = id that its time is of; want: verdict, gap */
    RECORDS,    /* ids a to b, without a gap */
    CHECK,      /* a = error, log */
    SKIPPED,
    SLEEP /* a = ms */
};

struct move {
    enum kind kind;
    uint64_t a, b;
    struct evtlog_log log;
    int want; /* act, start or verdict */
    bool another;
    struct evtlog_gap gap;
    unsigned wait_ms; /* LATER: until then */
    const char *says; /* part of it */
};

static const struct row {
    const char *name;
    uint64_t last_id; /* the bookmark; its time is that of this id */
    bool filtered;
    struct move moves[16];
    unsigned batch; /* at the end; 0: any */
    uint32_t epoch; /* at the end, 7 at the start */
} rows[] = {
    {"never future events only: no bookmark starts at the oldest record",
     0,
     false,
     {{.kind = PLAN, .log = {1, 50, 1000, 2000}, .want = EVTLOG_OLDEST}, {SUBSCRIBED, 0, 0, .want = EVTLOG_READ}},
     0,
     7},
    {"a channel without events so far: open and quiet, then its first record is the position",
     0,
     false,
     {{.kind = PLAN, .log = {0, 0, 69632, 1048576}, .want = EVTLOG_OLDEST},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {CHECK, 0, .log = {0, 0, 69632, 1048576}, .want = EVTLOG_WAIT},
      {SLEEP, 10000},
      {CHECK, 0, .log = {1, 0, 69632, 1048576}, .want = EVTLOG_WAIT},
      {NEXT, 0, 1, .want = EVTLOG_READ},
      {RECORD, 1, 1, .want = EVTLOG_TAKE},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {NEXT, 15011, 0, .want = EVTLOG_REOPEN},
      {PLAN, EVTLOG_FOUND, 1, {1, 1, 69632, 1048576}, EVTLOG_AFTER}},
     0,
     7},
    {"no events so far, and the subscription is lost: from the oldest record again",
     0,
     false,
     {{.kind = PLAN, .log = {0, 0, 69632, 1048576}, .want = EVTLOG_OLDEST},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 15011, 0, .want = EVTLOG_REOPEN},
      {.kind = PLAN, .log = {1, 3, 69632, 1048576}, .want = EVTLOG_OLDEST},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 3, .want = EVTLOG_READ},
      {RECORDS, 1, 3}},
     0,
     7},
    {"the machine slept: what came meanwhile is read, no hole, no new subscription",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 1000, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {SLEEP, 28800000},
      {CHECK, 0, .log = {1, 90, 1000, 2000}, .want = EVTLOG_READ},
      {NEXT, 0, 50, .want = EVTLOG_READ},
      {RECORDS, 41, 90},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {CHECK, 0, .log = {1, 90, 1000, 2000}, .want = EVTLOG_WAIT}},
     0,
     7},
    {"it slept between two looks, and the subscription is dead: again behind the last record",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 1000, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {CHECK, 0, .log = {1, 50, 1000, 2000}, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {SLEEP, 28800000},
      {CHECK, 0, .log = {1, 90, 1000, 2000}, .want = EVTLOG_REOPEN},
      {PLAN, EVTLOG_FOUND, 40, {1, 90, 1000, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 50, .want = EVTLOG_READ},
      {RECORDS, 41, 90}},
     0,
     7},
    {"bookmark found with its time: behind it, strict, same epoch",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 50, 1000, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 10, .want = EVTLOG_READ},
      {RECORDS, 41, 50},
      {NEXT, 259, 0, .want = EVTLOG_WAIT}},
     0,
     7},
    {"stale bookmark: strict fails with 1168, then loose, first id compared, hole recorded",
     40,
     false,
     {{PLAN, EVTLOG_NOT_ASKED, 0, {1, 90, 1000, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 1168, 0, .want = EVTLOG_REOPEN},
      {PLAN, EVTLOG_NOT_ASKED, 0, {60, 31, 1900, 2000}, EVTLOG_AFTER_LOOSE},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 31, .want = EVTLOG_READ},
      {RECORD, 60, 60, .want = EVTLOG_TAKE, .gap = {41, 59, EVTLOG_WRAPPED}}},
     0,
     7},
    {"strict fails at every resubscribe: loose for good, no hole when the next id follows",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 90, 1000, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 1168, 0, .want = EVTLOG_REOPEN},
      {PLAN, EVTLOG_FOUND, 40, {1, 90, 1000, 2000}, EVTLOG_AFTER_LOOSE},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 1, .want = EVTLOG_READ},
      {RECORD, 41, 41, .want = EVTLOG_TAKE},
      {NEXT, 15011, 0, .want = EVTLOG_REOPEN},
      {PLAN, EVTLOG_FOUND, 41, {1, 90, 1000, 2000}, EVTLOG_AFTER_LOOSE}},
     0,
     7},
    {"cleared log: 15011, what was not read is a hole with that cause, ids run on",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 50, 1900, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 15011, 0, .want = EVTLOG_REOPEN, .says = "cleared"},
      {PLAN, EVTLOG_ABSENT, 0, {51, 2, 68, 2000}, EVTLOG_AFTER_LOOSE},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 2, .want = EVTLOG_READ},
      {RECORD, 51, 51, .want = EVTLOG_TAKE, .gap = {41, 50, EVTLOG_CLEARED}}},
     0,
     7},
    {"cleared and empty: nothing is concluded from an empty log",
     40,
     false,
     {{PLAN, EVTLOG_ABSENT, 0, {0, 0, 68, 2000}, EVTLOG_AFTER_LOOSE},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {CHECK, 0, 0, {0, 0, 68, 2000}, EVTLOG_WAIT}},
     0,
     7},
    {"wrapped log: bookmark gone, carry on in the epoch, hole with that cause",
     40,
     false,
     {{PLAN, EVTLOG_ABSENT, 0, {100, 500, 1990, 2000}, EVTLOG_AFTER_LOOSE},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 64, .want = EVTLOG_READ},
      {RECORD, 100, 100, .want = EVTLOG_TAKE, .gap = {41, 99, EVTLOG_WRAPPED}}},
     0,
     7},
    {"wrapped while it is read: 15012, resubscribe behind the last record",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 90, 1990, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 15012, 0, .want = EVTLOG_REOPEN},
      {PLAN, EVTLOG_ABSENT, 0, {70, 90, 1990, 2000}, EVTLOG_AFTER_LOOSE},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {RECORD, 70, 70, .want = EVTLOG_TAKE, .gap = {41, 69, EVTLOG_WRAPPED}}},
     0,
     7},
    {"deleted log: newest id lower, a new epoch from the oldest record",
     40,
     false,
     {{PLAN, EVTLOG_ABSENT, 0, {1, 5, 68, 2000}, EVTLOG_OLDEST, true},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 5, .want = EVTLOG_READ},
      {RECORD, 1, 100, .want = EVTLOG_TAKE}},
     0,
     0},
    {"deleted log, grown past the bookmark: another time under its id, a new epoch",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 99, {1, 90, 68, 2000}, EVTLOG_OLDEST, true}, {SUBSCRIBED, 0, 0, .want = EVTLOG_READ}},
     0,
     0},
    {"deleted log while subscribed: the look at the log finds it",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {CHECK, 0, 0, {1, 3, 68, 2000}, EVTLOG_REOPEN, .says = "deleted"},
      {PLAN, EVTLOG_ABSENT, 0, {1, 3, 68, 2000}, EVTLOG_OLDEST, true}},
     0,
     0},
    {"deleted log that cannot be looked into: its newest id says enough",
     40,
     false,
     {{PLAN, EVTLOG_NOT_ASKED, 0, {1, 5, 68, 2000}, EVTLOG_OLDEST, true}, {SUBSCRIBED, 0, 0, .want = EVTLOG_READ}},
     0,
     0},
    {"a log that counts less than it has: found out once, then left in peace",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 38, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {CHECK, 0, 0, {1, 38, 68, 2000}, EVTLOG_WAIT},
      {CHECK, 0, 0, {1, 40, 68, 2000}, EVTLOG_WAIT},
      {CHECK, 0, 0, {1, 3, 68, 2000}, EVTLOG_REOPEN, .says = "deleted"}},
     0,
     7},
    {"record ids go back within a subscription: a new epoch",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 2, .want = EVTLOG_READ},
      {RECORD, 1, 100, .want = EVTLOG_NEW_LOG},
      {RECORD, 2, 101, .want = EVTLOG_TAKE}},
     0,
     0},
    {"records given again: handed on, the position and the epoch stay",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 50, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {RECORD, 39, 39, .want = EVTLOG_REPEAT},
      {RECORD, 40, 40, .want = EVTLOG_REPEAT},
      {RECORD, 41, 41, .want = EVTLOG_TAKE}},
     0,
     7},
    {"batch too large (1734): resubscribe behind the bookmark with half the batch",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 500, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {PLAN, EVTLOG_FOUND, 40, {1, 500, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN}},
     16,
     7},
    {"batch too large at one record: it is left out, its hole explained",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 500, 68, 2000}, EVTLOG_AFTER},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {NEXT, 1734, 0, .want = EVTLOG_READ, .says = "too large"},
      {NEXT, 0, 1, .want = EVTLOG_READ},
      {RECORD, 42, 42, .want = EVTLOG_TAKE, .gap = {41, 41, EVTLOG_DAMAGED}}},
     1,
     7},
    {"the batch grows again after many good records",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 9000, 68, 2000}, EVTLOG_AFTER},
      {NEXT, 1734, 0, .want = EVTLOG_REOPEN},
      {NEXT, 0, 999, .want = EVTLOG_READ},
      {NEXT, 0, 1, .want = EVTLOG_READ}},
     64,
     7},
    {"4317 with newer records in the log: a dead handle",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 4317, 0, .want = EVTLOG_CHECK},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_REOPEN}},
     0,
     7},
    {"4317 with nothing newer: nothing",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 4317, 0, .want = EVTLOG_CHECK},
      {CHECK, 0, 0, {1, 40, 68, 2000}, EVTLOG_WAIT}},
     0,
     7},
    {"publisher updated (15002, 15037, then its channel away): again, then later",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {NEXT, 15002, 0, .want = EVTLOG_REOPEN, .says = "publisher"},
      {SUBSCRIBED, 15007, 0, .want = EVTLOG_LATER, .wait_ms = 10000, .says = "no such channel"},
      {SUBSCRIBED, 15007, 0, .want = EVTLOG_LATER, .wait_ms = 20000},
      {PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ, .says = "can be read now"},
      {NEXT, 0, 1, .want = EVTLOG_READ},
      {RECORD, 41, 41, .want = EVTLOG_TAKE},
      {NEXT, 15037, 0, .want = EVTLOG_REOPEN}},
     0,
     7},
    {"the service restarted (1722, 1726, 1818): backs off, goes on behind the bookmark",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {NEXT, 1726, 0, .want = EVTLOG_LATER, .wait_ms = 1000, .says = "went away"},
      {SUBSCRIBED, 1722, 0, .want = EVTLOG_LATER, .wait_ms = 2000, .says = "not there"},
      {SUBSCRIBED, 1722, 0, .want = EVTLOG_LATER, .wait_ms = 4000},
      {SUBSCRIBED, 1722, 0, .want = EVTLOG_LATER, .wait_ms = 8000},
      {SUBSCRIBED, 1722, 0, .want = EVTLOG_LATER, .wait_ms = 16000},
      {SUBSCRIBED, 1722, 0, .want = EVTLOG_LATER, .wait_ms = 30000},
      {PLAN, EVTLOG_FOUND, 40, {1, 50, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 1, .want = EVTLOG_READ},
      {NEXT, 1818, 0, .want = EVTLOG_LATER, .wait_ms = 1000}},
     0,
     7},
    {"access denied: said with what to do, each minute again, never fatal",
     0,
     false,
     {{SUBSCRIBED, 5, 0, .want = EVTLOG_LATER, .wait_ms = 60000, .says = "Event Log Readers"},
      {SUBSCRIBED, 5, 0, .want = EVTLOG_LATER, .wait_ms = 60000},
      {SLEEP, 3600000},
      {SUBSCRIBED, 5, 0, .want = EVTLOG_LATER, .wait_ms = 60000, .says = "Event Log Readers"}},
     0,
     7},
    {"missing channel: reported, retried, never fatal",
     0,
     false,
     {{SUBSCRIBED, 15007, 0, .want = EVTLOG_LATER, .wait_ms = 5000, .says = "no such channel"},
      {SUBSCRIBED, 15007, 0, .want = EVTLOG_LATER, .wait_ms = 10000},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ, .says = "can be read now"}},
     0,
     7},
    {"a query that Windows refuses, a direct channel: said, retried",
     0,
     true,
     {{SUBSCRIBED, 15001, 0, .want = EVTLOG_LATER, .wait_ms = 60000, .says = "query"},
      {SUBSCRIBED, 15009, 0, .want = EVTLOG_LATER, .wait_ms = 60000, .says = "analytic"}},
     0,
     7},
    {"an error nobody knows: backs off",
     40,
     false,
     {{NEXT, 31, 0, .want = EVTLOG_LATER, .wait_ms = 1000, .says = "error"},
      {SUBSCRIBED, 31, 0, .want = EVTLOG_LATER, .wait_ms = 2000}},
     0,
     7},
    {"a stale result again and again does not spin",
     40,
     false,
     {{NEXT, 15011, 0, .want = EVTLOG_REOPEN},
      {NEXT, 15011, 0, .want = EVTLOG_LATER, .wait_ms = 2000},
      {NEXT, 15012, 0, .want = EVTLOG_LATER, .wait_ms = 4000}},
     0,
     7},
    {"a record that could not be rendered whole: left out, its hole explained",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 500, 68, 2000}, EVTLOG_AFTER},
      {RECORD, 41, 41, .want = EVTLOG_TAKE},
      {SKIPPED},
      {RECORD, 43, 43, .want = EVTLOG_TAKE, .gap = {42, 42, EVTLOG_DAMAGED}},
      {RECORD, 45, 45, .want = EVTLOG_TAKE, .gap = {44, 44, 0}}},
     0,
     7},
    {"lost wake-up: one silent look drains, so nothing waits for a signal",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {SLEEP, 10000},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_READ},
      {NEXT, 0, 5, .want = EVTLOG_READ},
      {RECORDS, 41, 45},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {SLEEP, 10000},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_WAIT}},
     0,
     7},
    {"dead subscription: two silent looks, 20 s",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {SLEEP, 10000},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {SLEEP, 10000},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_REOPEN, .says = "dead"},
      {PLAN, EVTLOG_FOUND, 40, {1, 45, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 0, 5, .want = EVTLOG_READ},
      {RECORDS, 41, 45}},
     0,
     7},
    {"filtered: the log grows, nothing matches, one quiet look behind it is enough",
     40,
     true,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {NEXT, 259, 0, .want = EVTLOG_WAIT},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_READ},
      {SLEEP, 10000},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_REOPEN},
      {PLAN, EVTLOG_FOUND, 40, {1, 45, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {SLEEP, 10000},
      {CHECK, 0, 0, {1, 45, 68, 2000}, EVTLOG_WAIT},
      {RECORD, 50, 50, .want = EVTLOG_TAKE, .gap = {41, 49, EVTLOG_FILTERED}}},
     0,
     7},
    {"1460 is nothing yet; success without records is nothing",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {NEXT, 1460, 0, .want = EVTLOG_WAIT},
      {NEXT, 0, 0, .want = EVTLOG_WAIT}},
     0,
     7},
    {"EvtGetLogInfo fails while the service restarts: wait; the channel is gone: later",
     40,
     false,
     {{PLAN, EVTLOG_FOUND, 40, {1, 40, 68, 2000}, EVTLOG_AFTER},
      {SUBSCRIBED, 0, 0, .want = EVTLOG_READ},
      {CHECK, 1722, 0, .want = EVTLOG_WAIT},
      {CHECK, 15007, 0, .want = EVTLOG_LATER, .wait_ms = 5000}},
     0,
     7},
};

static void check(const struct row *r, size_t i, int got, int want) {
    if (got != want) fail_msg("%s: move %zu: wanted %d, got %d", r->name, i, want, got);
}

static void run_step(const struct row *r, size_t i, const struct move *m, struct evtlog_step s,
                     const struct evtlog_policy *p, uint64_t now) {
    check(r, i, (int)s.act, m->want);
    if (s.act == EVTLOG_LATER) check(r, i, (int)(p->retry_at - now), (int)m->wait_ms);
    if (m->says && (!s.say || !strstr(s.say, m->says)))
        fail_msg("%s: move %zu: says \"%s\"", r->name, i, s.say ? s.say : "");
    if (m->kind == SUBSCRIBED && m->want == EVTLOG_LATER && !m->says && s.say)
        fail_msg("%s: move %zu: repeats \"%s\"", r->name, i, s.say);
}

static void test_rows(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const struct row *r = &rows[k];
        struct evtlog_policy p;
        uint64_t now = 5000;
        evtlog_policy_init(&p, r->last_id, r->last_id ? T0 + r->last_id * SECOND : 0, r->filtered);
        p.epoch = 7;
        if (r->moves[0].kind != PLAN && r->last_id) p.open = true;
        for (size_t i = 0; r->moves[i].kind != END; i++) {
            const struct move *m = &r->moves[i];
            struct evtlog_gap g = {0};
            switch (m->kind) {
            case PLAN:
                check(r, i, evtlog_plan(&p, &m->log, (enum evtlog_found)m->a, m->b ? T0 + m->b * SECOND : 0),
                      m->another);
                check(r, i, (int)p.start, m->want);
                break;
            case SUBSCRIBED: run_step(r, i, m, evtlog_on_subscribed(&p, (unsigned)m->a, now), &p, now); break;
            case NEXT: run_step(r, i, m, evtlog_on_next(&p, (unsigned)m->a, (unsigned)m->b, now), &p, now); break;
            case CHECK: run_step(r, i, m, evtlog_on_check(&p, (unsigned)m->a, &m->log, now), &p, now); break;
            case RECORD:
                check(r, i, (int)evtlog_on_record(&p, m->a, T0 + m->b * SECOND, &g), m->want);
                check(r, i, (int)g.cause, (int)m->gap.cause);
                check(r, i, (int)g.first_id, (int)m->gap.first_id);
                check(r, i, (int)g.last_id, (int)m->gap.last_id);
                break;
            case RECORDS:
                for (uint64_t id = m->a; id <= m->b; id++) {
                    check(r, i, (int)evtlog_on_record(&p, id, T0 + id * SECOND, &g), EVTLOG_TAKE);
                    check(r, i, (int)g.first_id, 0);
                }
                break;
            case SKIPPED: evtlog_on_skipped(&p); break;
            case SLEEP: now += m->a; break;
            default: break;
            }
            if (p.start != EVTLOG_OLDEST && p.start != EVTLOG_AFTER && p.start != EVTLOG_AFTER_LOOSE)
                fail_msg("%s: move %zu: no such start", r->name, i);
        }
        if (r->batch) check(r, 99, (int)p.batch, (int)r->batch);
        check(r, 98, (int)p.epoch, (int)r->epoch);
    }
}

static void test_render(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool ok;
        unsigned error;
        size_t size, used;
        bool whole;
        size_t want;
    } cases[] = {
        {"good", true, 0, 65536, 2000, true, 0},
        {"too small, says how much", false, 122, 65536, 90000, false, 90000},
        {"too small, says nothing", false, 122, 65536, 0, false, 131072},
        {"cut render: success, but the end is missing", true, 0, 65536, 65536, false, 131072},
        {"cut render: success, but more was used than there is", true, 0, 65536, 90000, true, 90000},
        {"at the cap", true, 0, EVTLOG_RENDER_MAX, EVTLOG_RENDER_MAX, false, SIZE_MAX},
        {"up to the cap", false, 122, 65536, 5u << 20, false, EVTLOG_RENDER_MAX},
        {"far beyond the cap", false, 122, 65536, 1u << 30, false, SIZE_MAX},
        {"another error", false, 15005, 65536, 0, false, SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t got = evtlog_on_render(cases[i].ok, cases[i].error, cases[i].size, cases[i].used, cases[i].whole);
        if (got != cases[i].want) fail_msg("%s: %zu", cases[i].name, got);
    }
}

static void test_wraps(void **state) {
    (void)state;
    struct evtlog_log full = {1001, 1000, 1 << 20, 1 << 20}, half = {1, 1000, 1 << 19, 1 << 20}, none = {0};
    assert_int_equal(evtlog_wraps_in_s(&full, 2000, 10), 100);
    assert_int_equal(evtlog_wraps_in_s(&full, 1000, 10), 1); /* nothing of it is read: it happens now */
    assert_int_equal(evtlog_wraps_in_s(&half, 500, 10), 150);
    assert_int_equal(evtlog_wraps_in_s(&half, 500, 0), 0);
    assert_int_equal(evtlog_wraps_in_s(&none, 500, 10), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
