/* 7 DEDUP  Admission: tables of epochs in, an epoch for each event out. No I/O, no clock.
 *
 * Order of preference for an event that is held nowhere: the epoch that the agent claims (if it is the newest or the
 * next); an epoch in whose range the id is missing; the epoch where the event before it went; the newest epoch whose ids and times it fits; the older epoch that was claimed; a new epoch. */
#include "admit.h"
#include "clock.h"
#include "mem.h"

#include <assert.h>
#include <stdlib.h>

#define SLACK (ADMIT_SLACK_S * FILETIME_SECOND)

static bool run_held(const struct batch_run *r, const struct ledger *l) {
    return ledger_held(l, r->first_id, r->first_id + (r->n - 1)) > 0;
}

static bool run_fits(const struct batch_run *r, const struct ledger *l) {
    return ledger_fits(l, r->first_id, r->first_time, SLACK) &&
           ledger_fits(l, r->first_id + (r->n - 1), r->last_time, SLACK);
}

/* Is id between the lowest and the highest record held? */
static bool is_inside(const struct ledger *l, uint64_t id) {
    return l->n && id > l->spans[0].first && id < l->spans[l->n - 1].last;
}

/* Ascending and disjoint is what every honest source makes; anything else may hold an id twice. */
static bool runs_ascend(const struct batch_header *h) {
    for (size_t i = 1; i < h->n_runs; i++) {
        const struct batch_run *before = &h->runs[i - 1];
        if (h->runs[i].first_id <= before->first_id + (before->n - 1)) return false;
    }
    return true;
}

static bool all_fit(const struct batch_header *h, const struct ledger *l, bool inside) {
    for (size_t i = 0; i < h->n_runs; i++) {
        if (inside && !is_inside(l, h->runs[i].first_id)) return false;
        if (!run_fits(&h->runs[i], l)) return false;
    }
    return true;
}

static bool is_trusted(uint32_t claimed, const struct admit_epoch *epochs, size_t n) {
    if (claimed == EPOCH_FIND) return false;
    if (claimed == EPOCH_CONTENT) return true;
    uint32_t newest = n ? epochs[n - 1].epoch : 0;
    return claimed == newest || claimed == newest + 1;
}

struct admit_decision admit_by_header(const struct batch_header *h, const struct admit_epoch *epochs, size_t n_epochs) {
    struct admit_decision compare = {ADMIT_COMPARE, 0};
    if (!runs_ascend(h)) return compare;
    for (size_t e = 0; e < n_epochs; e++) {
        for (size_t i = 0; i < h->n_runs; i++) {
            if (run_held(&h->runs[i], epochs[e].ledger)) return compare;
        }
    }
    if (is_trusted(h->epoch, epochs, n_epochs)) return (struct admit_decision){ADMIT_WHOLE, h->epoch};
    if (!n_epochs) return (struct admit_decision){ADMIT_WHOLE, 1};
    for (int inside = 1; inside >= 0; inside--) {
        for (size_t e = n_epochs; e-- > 0;) {
            if (all_fit(h, epochs[e].ledger, inside)) return (struct admit_decision){ADMIT_WHOLE, epochs[e].epoch};
        }
    }
    for (size_t e = 0; e < n_epochs; e++) {
        if (epochs[e].epoch == h->epoch) return (struct admit_decision){ADMIT_WHOLE, h->epoch};
    }
    return compare;
}

/* ---- event by event ---- */

struct lane { /* an epoch while a batch is being sorted */
    uint32_t epoch;
    const struct ledger *base; /* NULL: the epoch begins with this batch */
    struct ledger added;       /* by this batch */
};

struct lanes {
    struct lane *at;
    size_t n, n_known;
};

static bool lane_has(const struct lane *l, uint64_t id) {
    return (l->base && ledger_has(l->base, id)) || ledger_has(&l->added, id);
}

static bool lane_fits(const struct lane *l, const struct admit_event *ev) {
    return (!l->base || ledger_fits(l->base, ev->id, ev->time, SLACK)) &&
           ledger_fits(&l->added, ev->id, ev->time, SLACK);
}

static struct lane *lane_of(struct lanes *ls, uint32_t epoch) {
    for (size_t i = 0; i < ls->n; i++) {
        if (ls->at[i].epoch == epoch) return &ls->at[i];
    }
    return NULL;
}

static struct lane *lane_begin(struct lanes *ls, uint32_t epoch) {
    if (ls->n - ls->n_known >= ADMIT_MAX_BEGUN || ls->n >= ADMIT_MAX_EPOCHS) return NULL;
    struct lane *l = &ls->at[ls->n++];
    *l = (struct lane){.epoch = epoch};
    ledger_init(&l->added);
    return l;
}

/* The newest epoch that the record's id and time point at (with inside: in whose range the id is missing), or NULL. */
static struct lane *lane_by_time(struct lanes *ls, const struct admit_event *ev, bool inside) {
    for (size_t i = ls->n; i-- > 0;) {
        struct lane *l = &ls->at[i];
        if (inside && !(l->base && is_inside(l->base, ev->id))) continue;
        if (!lane_has(l, ev->id) && lane_fits(l, ev)) return l;
    }
    return NULL;
}

struct sorting {
    struct lanes lanes;
    uint32_t claimed;
    bool trusted;         /* the claim holds so far */
    struct lane *current; /* where the last event went after the claim proved wrong */
};

static struct lane *choose(struct sorting *s, const struct admit_event *ev, bool *ret_conflict) {
    struct lane *claimed = lane_of(&s->lanes, s->claimed);
    if (s->trusted) {
        if (!claimed) return lane_begin(&s->lanes, s->claimed);
        if (!lane_has(claimed, ev->id)) return claimed;
        *ret_conflict = true;
    }
    struct lane *l = lane_by_time(&s->lanes, ev, true);
    if (!l && s->current && !lane_has(s->current, ev->id) && lane_fits(s->current, ev)) l = s->current;
    if (!l) l = lane_by_time(&s->lanes, ev, false);
    if (!l && claimed && !lane_has(claimed, ev->id)) l = claimed;
    if (!l) l = lane_begin(&s->lanes, s->lanes.n ? s->lanes.at[s->lanes.n - 1].epoch + 1 : 1);
    return l;
}

static enum status sort_all(struct sorting *s, const struct admit_event *ev, size_t n, uint32_t *ret_epoch,
                            struct admit_sorted *ret) {
    for (size_t i = 0; i < n; i++) {
        bool conflict = false;
        struct lane *l = NULL;
        if (!ev[i].same) {
            if (s->claimed == EPOCH_CONTENT) {
                l = lane_of(&s->lanes, EPOCH_CONTENT);
                if (!l) l = lane_begin(&s->lanes, EPOCH_CONTENT);
                if (l && lane_has(l, ev[i].id)) l = NULL; /* the id is the content: held */
            } else {
                l = choose(s, &ev[i], &conflict);
                if (!l) return ST_TOOBIG;
            }
        }
        if (conflict) {
            ret->n_conflicts++;
            s->trusted = false;
        }
        if (!s->trusted) s->current = l ? l : s->current;
        ret_epoch[i] = l ? l->epoch : 0;
        if (!l) {
            ret->n_held++;
            continue;
        }
        ret->n_new++;
        ledger_add(&l->added, (struct ledger_span){ev[i].id, ev[i].id, ev[i].time, ev[i].time});
    }
    return ST_OK;
}

MUST_USE enum status admit_sort(const struct admit_event *ev, size_t n, uint32_t claimed,
                                const struct admit_epoch *epochs, size_t n_epochs, uint32_t *ret_epoch,
                                struct admit_sorted *ret) {
    struct sorting s = {.claimed = claimed, .trusted = is_trusted(claimed, epochs, n_epochs)};
    s.lanes.at = mem_zalloc(mem_mul(n_epochs + ADMIT_MAX_BEGUN, sizeof *s.lanes.at));
    s.lanes.n = s.lanes.n_known = n_epochs;
    for (size_t i = 0; i < n_epochs; i++) {
        s.lanes.at[i] = (struct lane){.epoch = epochs[i].epoch, .base = epochs[i].ledger};
        ledger_init(&s.lanes.at[i].added);
    }
    memset(ret, 0, sizeof *ret);
    enum status st = sort_all(&s, ev, n, ret_epoch, ret);
    for (size_t i = 0; i < s.lanes.n; i++) {
        if (i >= n_epochs) ret->begun[ret->n_begun++] = s.lanes.at[i].epoch;
        ledger_deinit(&s.lanes.at[i].added);
    }
    mem_free(s.lanes.at);
    return st;
}

/* ---- one event or two? ---- */

static uint64_t tick_of(int digits) {
    uint64_t tick = FILETIME_SECOND;
    for (int i = 0; i < digits && i < 7; i++) tick /= 10;
    return tick;
}

bool admit_same_event(struct slice a, struct slice b, struct arena *scratch) {
    struct event ea, eb;
    if (slice_eq(a, b)) return true;
    arena_reset(scratch);
    if (event_decode(a, scratch, &ea) || event_decode(b, scratch, &eb)) return false;
    int digits = ea.time_digits < eb.time_digits ? ea.time_digits : eb.time_digits;
    uint64_t tick = tick_of(digits);
    if (ea.event_id.v != eb.event_id.v || ea.record_id.v != eb.record_id.v || ea.time / tick != eb.time / tick)
        return false;
    ea.time = eb.time = ea.time - ea.time % tick;
    ea.time_digits = eb.time_digits = digits;
    ea.time_text = eb.time_text = (struct slice){0};
    return event_content_hash(&ea) == event_content_hash(&eb);
}
