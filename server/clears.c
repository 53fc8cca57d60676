/* Remembered clearings: in memory sorted by log, on disk under FLEET_SETTINGS "cleared|HOST|COMPUTER|CHANNEL|TIME". */
#include "clears.h"
#include "batch.h"
#include "clock.h"
#include "fleetdb.h"
#include "log.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

#define CLEARS_PER_LOG 32
#define CLEARS_MAX_LOGS 100000u
#define SLACK (2 * FILETIME_SECOND) /* the event is written a moment after the deed */
#define KEY_PREFIX "cleared|"

struct log_clears {
    uint32_t host;
    char *computer, *channel;
    uint64_t times[CLEARS_PER_LOG]; /* FILETIME, ascending */
    size_t n;
    bool dirty;
};

struct clears {
    struct db *db;
    struct log_clears **logs; /* sorted */
    size_t n, cap;
    size_t n_dirty;
};

/* ---- pure ---- */

/* The text of the first <name>..</name>; LogFileCleared's channel has no entities, names of logs may not. */
static struct slice xml_text(struct slice xml, const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i + n + 2 <= xml.len; i++) {
        if (xml.p[i] != '<' || memcmp(xml.p + i + 1, name, n) != 0 || xml.p[i + 1 + n] != '>') continue;
        const uint8_t *from = xml.p + i + n + 2;
        const uint8_t *to = memchr(from, '<', xml.len - (i + n + 2));
        return to ? slice_of(from, (size_t)(to - from)) : (struct slice){0};
    }
    return (struct slice){0};
}

bool clears_event(const struct event *ev, struct arena *scratch, struct slice *ret_channel) {
    if (!slice_eq_nocase(ev->provider, SLICE_LIT("Microsoft-Windows-Eventlog"))) return false;
    if (ev->event_id.v == 1102 && slice_eq_nocase(ev->channel, SLICE_LIT("Security"))) {
        *ret_channel = ev->channel;
        return true;
    }
    if (ev->event_id.v != 104 || !slice_eq_nocase(ev->channel, SLICE_LIT("System"))) return false;
    struct slice name = ev->body == EVENT_BODY_XML ? xml_text(ev->body_xml, "Channel") : event_value(ev, "Channel");
    if (!name.len || name.len > 512) return false;
    *ret_channel = arena_copy(scratch, name);
    return ret_channel->p != NULL;
}

static bool was_cleared_between(const uint64_t *times, size_t n, uint64_t before, uint64_t after) {
    for (size_t i = 0; i < n; i++) {
        if (before <= times[i] + SLACK && after + SLACK >= times[i]) return true;
    }
    return false;
}

static bool is_explained(const struct ledger *l, uint64_t first, uint64_t last) {
    for (size_t i = 0; i < l->n_notes; i++) {
        if (l->notes[i].first <= first && l->notes[i].last >= last && l->notes[i].cause != LEDGER_OPEN) return true;
    }
    return false;
}

void clears_holes(const struct ledger *l, const uint64_t *times, size_t n,
                  void (*found)(void *ctx, uint64_t first, uint64_t last), void *ctx) {
    for (size_t i = 1; i < l->n; i++) {
        const struct ledger_span *before = &l->spans[i - 1], *after = &l->spans[i];
        uint64_t first = before->last + 1, last = after->first - 1;
        if (!was_cleared_between(times, n, before->last_time, after->first_time)) continue;
        if (!is_explained(l, first, last)) found(ctx, first, last);
    }
}

/* ---- memory ---- */

static int cmp_log(const struct log_clears *a, uint32_t host, struct slice computer, struct slice channel) {
    if (a->host != host) return a->host < host ? -1 : 1;
    int c = slice_cmp(slice_str(a->computer), computer);
    return c ? c : slice_cmp(slice_str(a->channel), channel);
}

static size_t find(const struct clears *c, uint32_t host, struct slice computer, struct slice channel,
                   bool *ret_there) {
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cmp_log(c->logs[mid], host, computer, channel) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_there = lo < c->n && cmp_log(c->logs[lo], host, computer, channel) == 0;
    return lo;
}

static void set_dirty(struct clears *c, struct log_clears *l) {
    if (!l->dirty) c->n_dirty++;
    l->dirty = true;
}

/* False: known already, or nothing more is remembered. */
static bool remember(struct clears *c, uint32_t host, struct slice computer, struct slice channel, uint64_t time) {
    bool there;
    size_t at = find(c, host, computer, channel, &there);
    if (!there) {
        if (c->n >= CLEARS_MAX_LOGS) return false;
        mem_grow((void **)&c->logs, c->n, &c->cap, sizeof *c->logs);
        memmove(c->logs + at + 1, c->logs + at, (c->n - at) * sizeof *c->logs);
        c->logs[at] = mem_zalloc(sizeof **c->logs);
        c->logs[at]->host = host;
        c->logs[at]->computer = mem_strndup(computer.p, computer.len);
        c->logs[at]->channel = mem_strndup(channel.p, channel.len);
        c->n++;
    }
    struct log_clears *l = c->logs[at];
    size_t k = 0;
    while (k < l->n && l->times[k] < time) k++;
    if (k < l->n && l->times[k] == time) return false;
    if (l->n == CLEARS_PER_LOG) { /* the oldest goes */
        if (k == 0) return false;
        memmove(l->times, l->times + 1, (k - 1) * sizeof *l->times);
        l->times[k - 1] = time;
    } else {
        memmove(l->times + k + 1, l->times + k, (l->n - k) * sizeof *l->times);
        l->times[k] = time;
        l->n++;
    }
    set_dirty(c, l);
    return true;
}

/* ---- disk ---- */

static void put_key(struct buf *key, uint32_t host, struct slice computer, struct slice channel, uint64_t time) {
    buf_printf(key, KEY_PREFIX "%010u|", host);
    buf_slice_append(key, computer);
    buf_byte(key, '|');
    buf_slice_append(key, channel);
    buf_printf(key, "|%020llu", (unsigned long long)time);
}

static enum status load_one(void *ctx, struct slice key, struct slice value) {
    struct clears *c = ctx;
    (void)value;
    size_t prefix = sizeof KEY_PREFIX - 1;
    if (!slice_starts(key, SLICE_LIT(KEY_PREFIX)) || key.len < prefix + 11 + 1 + 1 + 20) return ST_END;
    char number[21];
    memcpy(number, key.p + prefix, 10);
    number[10] = 0;
    uint32_t host = (uint32_t)strtoul(number, NULL, 10);
    struct slice names = slice_of(key.p + prefix + 11, key.len - prefix - 11 - 21);
    memcpy(number, key.p + key.len - 20, 20);
    number[20] = 0;
    const uint8_t *bar = memchr(names.p, '|', names.len);
    if (!bar) return ST_OK;
    size_t n = (size_t)(bar - names.p);
    (void)remember(c, host, slice_head(names, n), slice_from(names, n + 1), strtoull(number, NULL, 10));
    return ST_OK;
}

MUST_USE enum status clears_open(struct db *db, struct clears **ret, struct error *err) {
    struct clears *c = mem_zalloc(sizeof *c);
    c->db = db;
    enum status st = fleet_each(db, FLEET_SETTINGS, SLICE_LIT(KEY_PREFIX), false, load_one, c, err);
    if (st && st != ST_END) {
        clears_close(&c);
        return st;
    }
    *ret = c;
    return ST_OK;
}

void clears_close(struct clears **pc) {
    struct clears *c = *pc;
    if (!c) return;
    for (size_t i = 0; i < c->n; i++) {
        mem_free(c->logs[i]->computer);
        mem_free(c->logs[i]->channel);
        mem_free(c->logs[i]);
    }
    mem_free(c->logs);
    mem_free(c);
    *pc = NULL;
}

MUST_USE enum status clears_add(struct clears *c, uint32_t host, struct slice computer, struct slice channel,
                                uint64_t time, struct error *err) {
    struct fleet_txn *t = NULL;
    struct buf key = {0};
    if (!remember(c, host, computer, channel, time)) return ST_OK;
    put_key(&key, host, computer, channel, time);
    enum status st =
        key.len > 500 ? ST_OK : fleet_begin(c->db, &t, err); /* a longer key is remembered until a restart */
    if (!st && t) st = fleet_txn_put(t, FLEET_SETTINGS, buf_slice(&key), SLICE_LIT("1"), err);
    if (!st && t) st = fleet_commit(&t, err);
    fleet_abort(&t);
    buf_free(&key);
    return st;
}

void clears_touch(struct clears *c, uint32_t host, struct slice computer, struct slice channel) {
    bool there;
    if (!c->n) return;
    size_t at = find(c, host, computer, channel, &there);
    if (there) set_dirty(c, c->logs[at]);
}

/* ---- explaining ---- */

struct explain { /* one log, copied: the call runs on the writer thread */
    uint32_t host;
    char *computer, *channel;
    uint64_t times[CLEARS_PER_LOG];
    size_t n;
    struct writer *w;
    uint32_t stream;
};

static void on_hole(void *ctx, uint64_t first, uint64_t last) {
    struct explain *e = ctx;
    writer_explain(e->w, e->stream, first, last, LEDGER_CLEARED);
}

static enum status explain_log(void *arg, struct writer *w, struct error *err) {
    struct explain *e = arg;
    struct writer_stream *s = NULL;
    (void)err;
    e->w = w;
    size_t n = writer_streams(w, e->host, slice_str(e->computer), slice_str(e->channel), &s);
    for (size_t i = 0; i < n; i++) {
        if (s[i].epoch == EPOCH_CONTENT) continue;
        e->stream = s[i].id;
        clears_holes(s[i].ledger, e->times, e->n, on_hole, e);
    }
    return ST_OK;
}

static void explained(void *arg, enum status st, const struct error *err) {
    struct explain *e = arg;
    if (st && st != ST_CANCELLED && st != ST_CLOSED) {
        log_warn("digest", "host %u: holes of %s are not explained: %s", e->host, log_peer(slice_str(e->channel)),
                 err && err->msg[0] ? err->msg : status_text(st));
    }
    mem_free(e->computer);
    mem_free(e->channel);
    mem_free(e);
}

size_t clears_explain(struct clears *c, struct writer *w) {
    size_t n = 0;
    for (size_t i = 0; i < c->n && c->n_dirty; i++) {
        struct log_clears *l = c->logs[i];
        if (!l->dirty) continue;
        struct explain *e = mem_zalloc(sizeof *e);
        e->host = l->host;
        e->computer = mem_strdup(l->computer);
        e->channel = mem_strdup(l->channel);
        memcpy(e->times, l->times, sizeof e->times);
        e->n = l->n;
        enum status st = writer_call(w, explain_log, explained, e);
        if (st) { /* going down, or behind: next time */
            explained(e, ST_CLOSED, NULL);
            break;
        }
        l->dirty = false;
        c->n_dirty--;
        n++;
    }
    return n;
}
