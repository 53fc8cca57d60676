/* 1 SOURCE  What the Windows Event Log source does next: Windows' answers in, the next step out. Pure: numbers and time come as
 * arguments, so that every fault is tried on any system. source_evtlog.c makes the calls.
 *
 *                    plan, subscribed            259, 1460
 *     +--------+ ------------------------> +------+ -----> wait for the signal, at most EVTLOG_DRAIN_MS
 *     | closed |                           | open | -----> read on
 *     +--------+ <------------------------ +------+
 *         |  EVTLOG_REOPEN: again at once, behind the last record (1734: half the batch; 15011, 15012, 6; 4317 when
 *         |      the log has newer records; a subscription that is silent while the log grows)
 *         |  EVTLOG_LATER: at retry_at (no such channel, access denied, the service restarts, anything unknown)
 *
 * Invariants: a subscription never begins with "future events only"; it begins behind the last record that was handed on, or at
 * the oldest one; a hole that this side knows the reason of is told (struct evtlog_gap), any other is left for the ledger to show. */
#ifndef HAECHI_EVTLOG_POLICY_H
#define HAECHI_EVTLOG_POLICY_H

#include "slice.h"
#include "status.h"

#define EVTLOG_BATCH_START 64u
#define EVTLOG_BATCH_MAX 128u
#define EVTLOG_DRAIN_MS 10000u /* look without a signal: a wake-up may be lost */
#define EVTLOG_AGAIN_MS 1000u  /* the same after a call that neither gave records nor said that there are none */
#define EVTLOG_CHECK_MS 10000u /* compare with the log's own numbers; two such looks find a dead subscription */
#define EVTLOG_RENDER_START (64u * 1024)
#define EVTLOG_RENDER_MAX (4u * 1024 * 1024)
#define EVTLOG_REPEAT_MS 3600000u /* a trouble that lasts is told again so often */

/* Windows' error numbers, here so that this file needs no Windows. */
enum {
    EVTLOG_OK = 0,
    EVTLOG_ACCESS_DENIED = 5,
    EVTLOG_INVALID_HANDLE = 6,
    EVTLOG_INSUFFICIENT_BUFFER = 122,
    EVTLOG_NO_MORE_ITEMS = 259,
    EVTLOG_NOT_FOUND = 1168,
    EVTLOG_TIMEOUT = 1460,
    EVTLOG_RPC_UNAVAILABLE = 1722,
    EVTLOG_RPC_FAILED = 1726,
    EVTLOG_RPC_BOUND = 1734, /* the batch was too large, and the position has moved on */
    EVTLOG_RPC_CANCELLED = 1818,
    EVTLOG_INVALID_OPERATION = 4317, /* "nothing", or a dead handle */
    EVTLOG_INVALID_QUERY = 15001,
    EVTLOG_PUBLISHER_NOT_FOUND = 15002,
    EVTLOG_CHANNEL_NOT_FOUND = 15007,
    EVTLOG_DIRECT_CHANNEL = 15009,
    EVTLOG_RESULT_STALE = 15011,
    EVTLOG_RESULT_POSITION = 15012,
    EVTLOG_PUBLISHER_DISABLED = 15037
};

enum evtlog_act {
    EVTLOG_READ,   /* EvtNext now, p->batch records */
    EVTLOG_WAIT,   /* until the signal or p->drain_at */
    EVTLOG_CHECK,  /* ask EvtGetLogInfo now and call evtlog_on_check */
    EVTLOG_REOPEN, /* close, evtlog_plan, subscribe at once */
    EVTLOG_LATER   /* close; the same at p->retry_at */
};

struct evtlog_step {
    enum evtlog_act act;
    bool grave;      /* a person has to mend it */
    const char *say; /* for the log, once; NULL: nothing */
};

enum evtlog_start { EVTLOG_OLDEST, EVTLOG_AFTER /* the bookmark, strict */, EVTLOG_AFTER_LOOSE };

/* What EvtGetLogInfo says; all 0: not known. */
struct evtlog_log {
    uint64_t oldest, count, bytes, max_bytes;
};
uint64_t evtlog_newest(const struct evtlog_log *l); /* 0: not known, or the log is empty */

/* The record of the bookmark, looked up in the log. */
enum evtlog_found { EVTLOG_NOT_ASKED, EVTLOG_FOUND, EVTLOG_ABSENT };

/* Causes as the wire has them (Gap). */
enum evtlog_cause { EVTLOG_CLEARED = 1, EVTLOG_WRAPPED = 2, EVTLOG_FILTERED = 3, EVTLOG_DAMAGED = 4 };
struct evtlog_gap { /* cause 0: none */
    uint64_t first_id, last_id;
    enum evtlog_cause cause;
};

struct evtlog_policy {
    uint64_t last_id, last_time; /* the last record handed on; 0: none */
    uint32_t epoch;              /* what the collector calls this log; 0: let it find out */
    unsigned batch;
    enum evtlog_start start;
    bool filtered; /* there is a query: ids that do not come are normal */
    uint64_t retry_at, drain_at, check_at;

    bool open;
    bool no_strict; /* strict was refused: never again in this run */
    bool compare;   /* the next record tells whether some are gone, by lost_cause */
    enum evtlog_cause lost_cause;
    bool damaged;                 /* a record was left out since the last one */
    bool low_is_known;            /* the log counts less than it has: the bookmark's record was found all the same */
    bool doubt;                   /* 4317: dead or empty? */
    unsigned fails, good;         /* failures in a row; records since the batch was cut */
    uint64_t suspect_at, excused; /* the log grows in silence since; up to this id that has been looked into */
    unsigned told;                /* the error that was told last */
    uint64_t told_at;
};

void evtlog_policy_init(struct evtlog_policy *p, uint64_t last_id, uint64_t last_time, bool filtered);

/* Before each subscription: how it begins. True: this is another log than before (deleted, re-imaged, rolled back): it is read from its
 * oldest record and the collector finds the epoch. */
bool evtlog_plan(struct evtlog_policy *p, const struct evtlog_log *l, enum evtlog_found found, uint64_t found_time);

struct evtlog_step evtlog_on_subscribed(struct evtlog_policy *p, unsigned error, uint64_t now_ms);
struct evtlog_step evtlog_on_next(struct evtlog_policy *p, unsigned error, unsigned n, uint64_t now_ms);
/* EvtGetLogInfo's answer, every EVTLOG_CHECK_MS and after EVTLOG_CHECK. */
struct evtlog_step evtlog_on_check(struct evtlog_policy *p, unsigned error, const struct evtlog_log *l,
                                   uint64_t now_ms);

enum evtlog_verdict {
    EVTLOG_TAKE,
    EVTLOG_REPEAT, /* an earlier one again: hand it on, the collector knows it; the position stays */
    EVTLOG_NEW_LOG /* ids have begun again: hand it on, epoch is 0 from here on */
};
enum evtlog_verdict evtlog_on_record(struct evtlog_policy *p, uint64_t id, uint64_t time, struct evtlog_gap *ret);
void evtlog_on_skipped(struct evtlog_policy *p); /* a record that could not be rendered */

/* EvtRender into a buffer of `size` bytes: ok is what it returned, `whole` whether the text ends as an event does.
 * Returns 0: the text is good; SIZE_MAX: leave this record out; else the size to try next. */
size_t evtlog_on_render(bool ok, unsigned error, size_t size, size_t used, bool whole);

/* Seconds until the log overwrites what is not read yet, when it grows by `rate` records a second; 0: not known. */
uint64_t evtlog_wraps_in_s(const struct evtlog_log *l, uint64_t last_read, double rate);

const char *evtlog_error_text(unsigned error); /* in plain words; "" for those without a story */

#endif
