/* 1 SOURCE  A channel of the Windows Event Log: a pull subscription with a signal event and a bookmark.
 *
 * What is done about each answer of Windows stands in evtlog_policy.c; here are the calls. Nothing is fatal: a channel
 * that is missing, refused or dead is told in the log, tried again, and gives ST_AGAIN meanwhile.
 *
 * Invariants: the signal is reset before the log is drained, never after; the bookmark is made from the last record that was
 * handed on, so that a subscription may be dropped at any time; a text is taken only when it is whole. Reader thread. */
#include <windows.h>
#include <winevt.h>

#include "clock.h"
#include "evtlog_policy.h"
#include "evtlog_text.h"
#include "log.h"
#include "mem.h"
#include "source.h"
#include "text.h"

#include <stdio.h>

#define AREA "evtlog"
#define STEPS_MAX 16 /* of one call of source_next */
#define FORWARDED "ForwardedEvents"

struct evtlog_source {
    struct source base;
    char *channel;
    wchar_t *wide_channel, *query;
    bool forwarded; /* its events carry the ids of other computers: the position is the bookmark's id, without a time */
    struct evtlog_policy p;
    struct source_known known;
    EVT_HANDLE subscription, bookmark; /* bookmark: ForwardedEvents only */
    HANDLE signal;
    EVT_HANDLE events[EVTLOG_BATCH_MAX];
    DWORD n_events, at;
    bool more; /* not drained yet */
    uint8_t *render;
    size_t render_cap;
    struct buf xml, position;
    struct evtlog_log log;
    uint64_t rate_id, rate_at;
    double rate; /* records a second that the log grows by */
};

static struct evtlog_source *self(struct source *s) {
    return (struct evtlog_source *)(void *)s;
}

static wchar_t *widen(const char *s) {
    int n = MultiByteToWideChar(CP_UTF8, 0, s, -1, NULL, 0);
    wchar_t *w = mem_zalloc(mem_mul((size_t)(n > 0 ? n : 1), sizeof *w));
    MultiByteToWideChar(CP_UTF8, 0, s, -1, w, n);
    return w;
}

static void close_handle(EVT_HANDLE *h) {
    if (*h) EvtClose(*h);
    *h = NULL;
}

static void drop_events(struct evtlog_source *e) {
    while (e->at < e->n_events) EvtClose(e->events[e->at++]);
    e->at = e->n_events = 0;
}

/* ---- what the log says of itself ---- */

static uint64_t log_number(EVT_HANDLE h, EVT_LOG_PROPERTY_ID id) {
    EVT_VARIANT v;
    DWORD used = 0;
    memset(&v, 0, sizeof v);
    if (!EvtGetLogInfo(h, id, sizeof v, &v, &used) || v.Type == EvtVarTypeNull) return 0;
    return v.Type == EvtVarTypeUInt32 ? v.UInt32Val : v.UInt64Val;
}

static uint64_t max_size(const wchar_t *channel) {
    EVT_VARIANT v;
    DWORD used = 0;
    uint64_t size = 0;
    memset(&v, 0, sizeof v);
    EVT_HANDLE h = EvtOpenChannelConfig(NULL, channel, 0);
    if (h && EvtGetChannelConfigProperty(h, EvtChannelLoggingConfigMaxSize, 0, sizeof v, &v, &used)) size = v.UInt64Val;
    close_handle(&h);
    return size;
}

static unsigned look_at_log(struct evtlog_source *e, uint64_t now_ms) {
    EVT_HANDLE h = EvtOpenLog(NULL, e->wide_channel, EvtOpenChannelPath);
    if (!h) return GetLastError();
    uint64_t max = e->log.max_bytes;
    e->log = (struct evtlog_log){.oldest = log_number(h, EvtLogOldestRecordNumber),
                                 .count = log_number(h, EvtLogNumberOfLogRecords),
                                 .bytes = log_number(h, EvtLogFileSize),
                                 .max_bytes = max};
    close_handle(&h);
    uint64_t newest = evtlog_newest(&e->log);
    if (e->rate_at && newest >= e->rate_id && now_ms > e->rate_at) {
        double now = (double)(newest - e->rate_id) * 1000.0 / (double)(now_ms - e->rate_at);
        e->rate = e->rate > 0 ? e->rate * 0.7 + now * 0.3 : now;
    }
    e->rate_id = newest;
    e->rate_at = now_ms;
    struct source_facts *f = &e->base.facts;
    f->oldest_id = e->log.oldest;
    f->newest_id = newest;
    f->log_bytes = e->log.bytes;
    f->log_max_bytes = e->log.max_bytes;
    f->wraps_in_s = evtlog_wraps_in_s(&e->log, e->p.last_id, e->rate);
    return EVTLOG_OK;
}

/* ---- one event ---- */

/* Renders into e->xml. False: this record has to be left out. */
static bool render(struct evtlog_source *e, EVT_HANDLE event) {
    for (;;) {
        DWORD used = 0, properties = 0;
        bool ok = EvtRender(NULL, event, EvtRenderEventXml, (DWORD)e->render_cap, e->render, &used, &properties);
        unsigned error = ok ? 0 : GetLastError();
        size_t len = used <= e->render_cap ? used : e->render_cap;
        struct slice text = slice_of(e->render, len);
        size_t next = evtlog_on_render(ok, error, e->render_cap, used, ok && evtlog_text_is_whole(text));
        if (next == 0) {
            while (text.len >= 2 && !text.p[text.len - 1] && !text.p[text.len - 2]) text.len -= 2;
            buf_clear(&e->xml);
            text_from_utf16(&e->xml, text, false);
            return true;
        }
        if (next == SIZE_MAX) return false;
        mem_free(e->render);
        e->render = mem_alloc(next);
        e->render_cap = next;
    }
}

static EVT_HANDLE make_bookmark(const struct evtlog_source *e, uint64_t id) {
    struct buf xml = {0};
    evtlog_bookmark_write(&xml, slice_str(e->channel), id);
    wchar_t *wide = widen(buf_cstr(&xml));
    EVT_HANDLE h = EvtCreateBookmark(wide);
    mem_free(wide);
    buf_free(&xml);
    return h;
}

/* Is that record in the log, and with which time? */
static enum evtlog_found look_up(struct evtlog_source *e, uint64_t id, uint64_t *ret_time) {
    enum evtlog_found found = EVTLOG_NOT_ASKED;
    EVT_HANDLE mark = make_bookmark(e, id), query = NULL, event = NULL;
    DWORD n = 0;
    uint64_t got = 0;
    *ret_time = 0;
    if (mark) query = EvtQuery(NULL, e->wide_channel, L"*", EvtQueryChannelPath | EvtQueryForwardDirection);
    if (query && !EvtSeek(query, 0, mark, 0, EvtSeekRelativeToBookmark | EvtSeekStrict)) {
        if (GetLastError() == EVTLOG_NOT_FOUND) found = EVTLOG_ABSENT;
    } else if (query && EvtNext(query, 1, &event, 1000, 0, &n) && n) {
        if (e->forwarded)
            found = EVTLOG_FOUND;
        else if (render(e, event) && evtlog_text_facts(buf_slice(&e->xml), &got, ret_time))
            found = got == id ? EVTLOG_FOUND : EVTLOG_ABSENT;
    } else if (query && GetLastError() == EVTLOG_NO_MORE_ITEMS) {
        found = EVTLOG_ABSENT;
    }
    close_handle(&event);
    close_handle(&query);
    close_handle(&mark);
    return found;
}

/* ---- steps ---- */

static void unsubscribe(struct evtlog_source *e) {
    drop_events(e);
    close_handle(&e->subscription);
    close_handle(&e->bookmark);
    e->more = false;
}

static void take_step(struct evtlog_source *e, struct evtlog_step s, unsigned error) {
    if (s.say) {
        char number[32] = "";
        if (error) snprintf(number, sizeof number, " (error %u)", error);
        log_write(s.grave ? LOG_ERROR : LOG_WARN, AREA, "%s: %s%s", e->channel, s.say, number);
    }
    if (s.act == EVTLOG_LATER)
        e->base.facts.trouble = *evtlog_error_text(error) ? evtlog_error_text(error) : "the Event Log gives errors";
    else if (s.act == EVTLOG_WAIT || (s.act == EVTLOG_READ && e->subscription))
        e->base.facts.trouble = NULL;
    e->more = s.act == EVTLOG_READ;
    if (s.act == EVTLOG_REOPEN || s.act == EVTLOG_LATER) unsubscribe(e);
    if (s.act == EVTLOG_CHECK) {
        unsigned failed = look_at_log(e, clock_mono_ms());
        take_step(e, evtlog_on_check(&e->p, failed, &e->log, clock_mono_ms()), failed);
    }
}

/* The collector's own position: where to go on when there is no bookmark, and the epoch's number when it is this log's. */
static void use_known(struct evtlog_source *e) {
    uint64_t time = 0, newest = evtlog_newest(&e->log);
    if (!e->known.epoch || !e->known.id || e->forwarded) return;
    enum evtlog_found found = look_up(e, e->known.id, &time);
    bool same = found == EVTLOG_FOUND && time == e->known.time;
    bool gone = found == EVTLOG_ABSENT && newest >= e->known.id; /* wrapped, cleared */
    if (same) e->p.epoch = e->known.epoch;
    if (!e->p.last_id && (same || gone)) {
        e->p.last_id = e->known.id;
        e->p.last_time = e->known.time;
        e->p.epoch = e->known.epoch;
    }
    if (same || gone || found == EVTLOG_FOUND || newest) e->known = (struct source_known){0}; /* asked and answered */
}

static void subscribe(struct evtlog_source *e, uint64_t now_ms) {
    static const DWORD flags[] = {[EVTLOG_OLDEST] = EvtSubscribeStartAtOldestRecord,
                                  [EVTLOG_AFTER] = EvtSubscribeStartAfterBookmark | EvtSubscribeStrict,
                                  [EVTLOG_AFTER_LOOSE] = EvtSubscribeStartAfterBookmark};
    uint64_t time = 0;
    e->log = (struct evtlog_log){.max_bytes = max_size(e->wide_channel)};
    unsigned error = look_at_log(e, now_ms);
    if (!error) use_known(e);
    enum evtlog_found found = !error && e->p.last_id ? look_up(e, e->p.last_id, &time) : EVTLOG_NOT_ASKED;
    if (e->forwarded && found == EVTLOG_FOUND) time = e->p.last_time;
    if (evtlog_plan(&e->p, &e->log, found, time)) {
        e->known = (struct source_known){0};
        log_warn(AREA, "%s: this is another log than before: it is read from its oldest record", e->channel);
    }
    EVT_HANDLE mark = e->p.start == EVTLOG_OLDEST ? NULL : make_bookmark(e, e->p.last_id);
    ResetEvent(e->signal);
    e->subscription = EvtSubscribe(NULL, e->signal, e->wide_channel, e->query, mark, NULL, NULL, flags[e->p.start]);
    error = e->subscription ? 0 : GetLastError();
    if (!e->subscription && !error) error = EVTLOG_INVALID_HANDLE;
    close_handle(&mark);
    if (e->forwarded && e->subscription) e->bookmark = EvtCreateBookmark(NULL);
    take_step(e, evtlog_on_subscribed(&e->p, error, now_ms), error);
}

static void fetch(struct evtlog_source *e, uint64_t now_ms) {
    DWORD n = 0;
    ResetEvent(e->signal); /* before: what comes while we drain sets it again */
    bool ok = EvtNext(e->subscription, e->p.batch, e->events, 0, 0, &n);
    unsigned error = ok ? 0 : GetLastError();
    e->at = 0;
    e->n_events = ok && n <= e->p.batch ? n : 0;
    take_step(e, evtlog_on_next(&e->p, error, e->n_events, now_ms), error);
}

/* ---- positions ---- */

static uint64_t bookmark_id(struct evtlog_source *e, EVT_HANDLE event) {
    uint8_t text[2048];
    DWORD used = 0, properties = 0;
    uint64_t id = 0;
    struct buf xml = {0};
    if (e->bookmark && EvtUpdateBookmark(e->bookmark, event) &&
        EvtRender(NULL, e->bookmark, EvtRenderBookmark, sizeof text, text, &used, &properties) && used <= sizeof text) {
        text_from_utf16(&xml, slice_of(text, used), false);
        if (evtlog_bookmark_parse(buf_slice(&xml), &id)) id = 0;
    }
    buf_free(&xml);
    return id;
}

/* The next of the fetched events. ST_AGAIN: none of them was fit. */
static enum status take_event(struct evtlog_source *e, struct source_record *ret, struct error *err) {
    EVT_HANDLE event = e->events[e->at++];
    uint64_t id = 0, time = 0;
    struct evtlog_gap gap;
    bool good = render(e, event) && evtlog_text_facts(buf_slice(&e->xml), &id, &time);
    if (good && e->forwarded) {
        id = bookmark_id(e, event);
        time = 0;
    }
    EvtClose(event);
    if (!good) {
        evtlog_on_skipped(&e->p);
        e->base.facts.skipped++;
        return error_set(err, ST_CORRUPT, "the record behind %llu cannot be rendered whole",
                         (unsigned long long)e->p.last_id);
    }
    if (evtlog_on_record(&e->p, id, time, &gap) == EVTLOG_NEW_LOG)
        log_warn(AREA, "%s: record ids have begun again at %llu: a new log", e->channel, (unsigned long long)id);
    buf_clear(&e->position);
    if (e->p.last_id) evtlog_position_write(&e->position, e->p.last_id, e->p.last_time);
    *ret = (struct source_record){.xml = buf_slice(&e->xml),
                                  .position = buf_slice(&e->position),
                                  .own = !e->forwarded,
                                  .epoch = e->forwarded ? 0 : e->p.epoch};
    if (gap.cause && !e->forwarded)
        ret->gap = (struct source_gap){gap.first_id, gap.last_id, e->p.epoch, (uint32_t)gap.cause};
    return ST_OK;
}

static enum status evtlog_next(struct source *s, struct source_record *ret, struct error *err) {
    struct evtlog_source *e = self(s);
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        if (e->at < e->n_events) return take_event(e, ret, err);
        uint64_t now = clock_mono_ms();
        if (!e->subscription) {
            if (now < e->p.retry_at) return ST_AGAIN;
            subscribe(e, now);
        } else if (now >= e->p.check_at) {
            unsigned error = look_at_log(e, now);
            bool more = e->more;
            take_step(e, evtlog_on_check(&e->p, error, &e->log, now), error);
            if (e->subscription) e->more |= more;
        } else if (e->more || now >= e->p.drain_at || WaitForSingleObject(e->signal, 0) == WAIT_OBJECT_0) {
            fetch(e, now);
        } else {
            return ST_AGAIN;
        }
    }
    return ST_AGAIN;
}

/* ---- life ---- */

static void evtlog_close(struct source *s) {
    struct evtlog_source *e = self(s);
    unsubscribe(e);
    if (e->signal) CloseHandle(e->signal);
    mem_free(e->channel);
    mem_free(e->wide_channel);
    mem_free(e->query);
    mem_free(e->render);
    buf_free(&e->xml);
    buf_free(&e->position);
}

static const struct source_ops evtlog_ops = {.next = evtlog_next, .close = evtlog_close};

enum status source_evtlog_open(const struct source_options *o, struct source **ret, struct error *err) {
    uint64_t id = 0, time = 0;
    struct evtlog_source *e = mem_zalloc(sizeof *e);
    e->base.ops = &evtlog_ops;
    e->channel = mem_strdup(o->path);
    e->wide_channel = widen(o->path);
    e->query = widen(o->query && *o->query ? o->query : "*");
    e->forwarded = slice_eq_nocase(slice_str(o->path), SLICE_LIT(FORWARDED));
    e->known = o->known;
    e->render_cap = EVTLOG_RENDER_START;
    e->render = mem_alloc(e->render_cap);
    if (o->position.len && evtlog_position_parse(o->position, &id, &time))
        log_warn(AREA, "%s: its position cannot be read: the collector's is used, or the oldest record", e->channel);
    evtlog_policy_init(&e->p, id, time, o->query && *o->query && strcmp(o->query, "*") != 0);
    e->signal = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!e->signal) {
        evtlog_close(&e->base);
        mem_free(e);
        return error_set(err, ST_NOMEM, "channel %s: no event object", o->path);
    }
    *ret = &e->base;
    return ST_OK;
}
