/* The feeder: what the reader thread does. Invariants: a batch reaches the uplink only after its entry in the spool is durable (run); a
 * bookmark moves only over batches that the collector has acknowledged; bookmarks are saved before spool segments go.
 * Everything here is the reader thread's, but for the two queues. */
#include "feeder_internal.h"
#include "clock.h"
#include "crash.h"
#include "file.h"
#include "mem.h"

#include <stdio.h>

#define IDLE_MS 50
#define REPORT_MS 500u
#define SAVE_MS 1000u
#define SYSMON_MS 30000u
#define ASK_MS 30000u /* for the collector's position, before a log is read without a bookmark */
#define QUEUE_ITEMS 4096u
#define BOOKMARKS_MAX (8u * 1024 * 1024)
#define GAPS_FILE_MAX (1024u * 1024)

void feeder_item_free(struct feeder_item **i) {
    if (!*i) return;
    outgoing_free(&(*i)->batch);
    mem_free((*i)->report.logs);
    mem_free((*i)->report.gaps);
    mem_free((*i)->report.troubles);
    mem_free((*i)->report.sysmon);
    mem_free((*i)->note);
    mem_free(*i);
    *i = NULL;
}

/* ---- orders, reports, bookmarks ---- */

static void keep_rejected(struct feeder *r, const struct order *o) {
    char name[96], note_name[sizeof name + 4];
    char *dir = file_join(r->o.state_dir, "rejected");
    struct error err = {0};
    snprintf(name, sizeof name, "%llx-%llu.batch", (unsigned long long)clock_wall(), (unsigned long long)o->batch->seq);
    char *path = file_join(dir, name);
    enum status st = file_make_dir(dir, 0700, &err);
    if (!st) st = file_replace(path, buf_slice(&o->batch->bytes), 0600, &err);
    if (!st) {
        struct buf why = {0};
        buf_printf(&why, "%s: %s\nheader %u bytes, %u events\n", status_name(o->code), o->reason, o->batch->header_len,
                   o->batch->n_events);
        snprintf(note_name, sizeof note_name, "%s.txt", name);
        char *note = file_join(dir, note_name);
        st = file_replace(note, buf_slice(&why), 0600, &err);
        mem_free(note);
        buf_free(&why);
    }
    if (st) log_error(AREA, "a rejected batch could not be kept: %s", err.msg);
    log_error(AREA, "the collector rejected a batch of %u events: %s; it is kept as %s", o->batch->n_events, o->reason,
              path);
    mem_free(path);
    mem_free(dir);
}

static void write_file(struct feeder *r, const struct order *o) {
    struct error err = {0};
    char *path = file_join(r->o.state_dir, o->reason);
    if (file_replace(path, buf_slice(&o->bytes), 0644, &err)) log_warn(AREA, "%s", err.msg);
    mem_free(path);
}

static void on_position(struct feeder *r, const struct order *o) {
    for (size_t i = 0; i < r->n_inputs; i++) {
        struct input *in = &r->inputs[i];
        if (in->spec.kind != SOURCE_EVTLOG || strcmp(in->path, o->reason) != 0) continue;
        in->known = o->known;
        in->ask_until = 0;
    }
}

static void order_free(struct order **o) {
    outgoing_free(&(*o)->batch);
    buf_free(&(*o)->bytes);
    mem_free((*o)->reason);
    mem_free(*o);
    *o = NULL;
}

static void on_acked(struct feeder *r, uint64_t seq) {
    size_t n = 0;
    crash_point("after-ack");
    while (n < r->n_sent && r->sent[n].batch->seq <= seq) {
        const struct ready *s = &r->sent[n++];
        if (!s->input || !s->position.len) continue;
        bookmarks_set(&r->marks, s->input->name, buf_slice(&s->position));
        if (s->input->source) source_ack(s->input->source, buf_slice(&s->position));
    }
    feeder_drop_first(r->sent, &r->n_sent, n);
    if (seq > r->marks.acked) r->marks.acked = seq;
    r->marks_dirty = true;
    gaps_acked(&r->gaps, r->marks.acked);
}

void feeder_save_gaps(struct feeder *r) {
    struct buf text = {0};
    struct error err = {0};
    if (!r->gaps.changed || !r->o.spooled) return;
    gaps_write(&r->gaps, &text);
    if (file_replace(r->gaps_path, buf_slice(&text), 0600, &err))
        log_error(AREA, "why ids are missing could not be kept: %s; retrying", err.msg);
    else
        r->gaps.changed = r->gaps.urgent = false;
    buf_free(&text);
}

static void save_marks(struct feeder *r) {
    feeder_save_gaps(r);
    if (!r->marks_dirty || !r->o.spooled) return;
    struct buf text = {0};
    struct error err = {0};
    bookmarks_write(&r->marks, &text);
    enum status st = file_replace(r->marks_path, buf_slice(&text), 0600, &err);
    buf_free(&text);
    r->save_at = clock_mono_ms() + SAVE_MS;
    if (!st) {
        r->marks_dirty = false;
        st = spool_ack(r->spool, r->marks.acked, &err);
    }
    if (st) log_error(AREA, "%s; retrying", err.msg);
}

/* Waits up to wait_ms for the first one. */
static bool take_orders(struct feeder *r, int wait_ms) {
    bool any = false;
    void *item = NULL;
    while (queue_take(r->in, any ? 0 : wait_ms, &item) == ST_OK) {
        struct order *o = item;
        any = true;
        if (o->kind == ORDER_ACKED)
            on_acked(r, o->seq);
        else if (o->kind == ORDER_REJECTED)
            keep_rejected(r, o);
        else if (o->kind == ORDER_WRITE)
            write_file(r, o);
        else if (o->kind == ORDER_POSITION)
            on_position(r, o);
        else if (o->kind == ORDER_LISTEN)
            snprintf(r->canary, sizeof r->canary, "%s", o->reason);
        else
            r->stopping = true;
        order_free(&o);
    }
    return any;
}

static void note_facts(struct feeder *r, const struct input *in, const struct source_facts *f) {
    struct feeder_log *l = feeder_log_of(r, slice_str(in->path), SLICE_LIT(""));
    if (!l || !in->source) return;
    l->log_oldest_id = f->oldest_id;
    l->log_newest_id = f->newest_id;
    l->log_bytes = f->log_bytes;
    l->log_max_bytes = f->log_max_bytes;
    l->wraps_in_s = f->wraps_in_s;
}

static void list_troubles(const struct feeder *r, struct feeder_report *report) {
    report->troubles = NULL;
    report->n_troubles = 0;
    if (!r->o.spooled) return;
    report->troubles = mem_zalloc(mem_mul(r->n_inputs + 1, sizeof *report->troubles));
    for (size_t i = 0; i < r->n_inputs; i++) {
        const struct input *in = &r->inputs[i];
        const char *text = in->source ? source_facts(in->source).trouble : NULL;
        if (!text) text = in->trouble;
        if (!*text) continue;
        struct feeder_trouble *t = &report->troubles[report->n_troubles++];
        snprintf(t->input, sizeof t->input, "%.255s", in->path ? in->path : "the journal");
        snprintf(t->text, sizeof t->text, "%.*s", (int)sizeof t->text - 1, text);
    }
}

/* Those that the uplink was not told of yet. */
static void take_gaps(struct feeder *r, struct feeder_report *report) {
    size_t n = 0;
    report->gaps = mem_alloc(mem_mul(r->gaps.n + 1, sizeof *report->gaps));
    for (size_t i = 0; i < r->gaps.n; i++) {
        struct gap *g = &r->gaps.items[i];
        if (g->told != GAPS_NOT_TOLD) continue;
        struct feeder_gap *to = &report->gaps[n++];
        to->gap = g->gap;
        memcpy(to->channel, g->channel, sizeof to->channel);
        g->told = r->given;
    }
    report->n_gaps = n;
}

static void send_report(struct feeder *r) {
    uint64_t t = clock_mono_ms();
    if (t < r->report_at || !queue_can_put(r->notes, 0)) return;
    struct feeder_item *i = mem_zalloc(sizeof *i);
    i->kind = FEEDER_REPORT;
    if (t > r->rate_at) {
        double rate = (double)(r->report.events - r->rate_events) * 1000.0 / (double)(t - r->rate_at);
        r->report.events_per_s = r->report.events_per_s * 0.8 + rate * 0.2;
    }
    r->rate_at = t;
    r->rate_events = r->report.events;
    r->report_at = t + REPORT_MS;
    i->report = r->report;
    i->report.input = r->at;
    i->report.n_inputs = r->n_inputs;
    i->report.skipped = i->report.damaged = i->report.foreign = i->report.events_unread = 0;
    for (size_t k = 0; k < r->n_inputs; k++) {
        const struct input *in = &r->inputs[k];
        struct source_facts f = in->source ? source_facts(in->source) : (struct source_facts){0};
        i->report.skipped += in->closed.skipped + f.skipped;
        i->report.damaged += in->closed.damaged + f.damaged;
        i->report.foreign += in->closed.foreign + f.foreign;
        i->report.bytes_done += in->closed.bytes_done + f.bytes_done;
        i->report.bytes_all += f.bytes_all ? f.bytes_all : in->closed.bytes_done;
        if (r->o.spooled) i->report.events_unread += batcher_open_events(in->batcher);
        if (in->spec.kind == SOURCE_EVTLOG) note_facts(r, in, &f);
    }
    if (r->spool) {
        struct spool_stats s = spool_stats(r->spool);
        i->report.events_unread += s.unread_events;
        i->report.spool_bytes = s.bytes;
        i->report.spool_max_bytes = s.max_bytes;
        i->report.spool_bad = s.n_bad;
    }
    i->report.logs = mem_alloc(mem_mul(r->n_logs + 1, sizeof *r->logs));
    if (r->n_logs) memcpy(i->report.logs, r->logs, r->n_logs * sizeof *r->logs);
    i->report.n_logs = r->n_logs;
    take_gaps(r, &i->report);
    list_troubles(r, &i->report);
    i->report.sysmon = r->sysmon;
    r->sysmon = NULL;
    if (queue_put(r->notes, i, 0)) feeder_item_free(&i);
}

/* Its state, its version and its rules may change at any time. */
static void look_at_sysmon(struct feeder *r) {
    uint64_t t = clock_mono_ms();
    if (!r->o.spooled || t < r->sysmon_at) return;
    if (!r->sysmon) r->sysmon = mem_zalloc(sizeof *r->sysmon);
    if (r->sysmon_at) sysmon_ask(); /* at the start it was done already */
    sysmon_look(r->sysmon);
    r->sysmon_at = t + SYSMON_MS;
}

static void say_end(struct feeder *r) {
    if (r->o.spooled || r->end_said || r->at < r->n_inputs || r->n_ready || r->held) return;
    r->report_at = 0;
    send_report(r);
    struct feeder_item *i = mem_zalloc(sizeof *i);
    i->kind = FEEDER_END;
    r->end_said = true;
    feeder_put(r, i, 0);
}

void feeder_run(void *feeder) {
    struct feeder *r = feeder;
    while (!r->stopping) {
        bool busy = take_orders(r, 0);
        if (r->o.spooled)
            busy |= feeder_fill_spool(r) | feeder_drain_spool(r);
        else
            busy |= feeder_drain_ready(r);
        if (!r->n_ready) busy |= feeder_read(r);
        say_end(r);
        look_at_sysmon(r);
        send_report(r);
        if (clock_mono_ms() >= r->save_at) save_marks(r);
        if (!busy) take_orders(r, r->n_ready && !r->o.spooled ? 10 : IDLE_MS);
    }
    if (r->o.spooled) {
        for (size_t i = 0; i < r->n_inputs; i++) batcher_flush(r->inputs[i].batcher);
        r->spool_retry_at = 0;
        feeder_fill_spool(r);
        save_marks(r);
    }
    struct feeder_item *gone = mem_zalloc(sizeof *gone);
    gone->kind = FEEDER_GONE;
    while (queue_put(r->notes, gone, 0) == ST_AGAIN) take_orders(r, 10);
}

/* ---- life ---- */

static enum status load_marks(struct feeder *r, struct error *err) {
    struct buf text = {0};
    r->marks_path = file_join(r->o.state_dir, "bookmarks");
    if (!file_exists(r->marks_path)) return ST_OK;
    enum status st = file_read(r->marks_path, BOOKMARKS_MAX, &text, err);
    if (!st && bookmarks_parse(buf_slice(&text), &r->marks)) {
        log_error(AREA, "%s is damaged: all logs are read from their start; the collector knows what it has",
                  r->marks_path);
    }
    buf_free(&text);
    return st;
}

static char *name_of(const struct input *in) {
    struct buf name = {0};
    if (!in->path) return mem_strdup("journal:");
    if (in->spec.kind != SOURCE_EVTLOG) return mem_strdup(in->path);
    buf_printf(&name, "evtlog:%s", in->path);
    char *copy = mem_strdup(buf_cstr(&name));
    buf_free(&name);
    return copy;
}

static enum status load_gaps(struct feeder *r, struct error *err) {
    struct buf text = {0};
    r->gaps_path = file_join(r->o.state_dir, "gaps");
    if (!file_exists(r->gaps_path)) return ST_OK;
    enum status st = file_read(r->gaps_path, GAPS_FILE_MAX, &text, err);
    if (!st && gaps_parse(buf_slice(&text), &r->gaps)) log_error(AREA, "%s is damaged: it is left out", r->gaps_path);
    buf_free(&text);
    return st;
}

enum status feeder_new(const struct feeder_options *o, struct feeder **ret, struct error *err) {
    struct feeder *r = mem_zalloc(sizeof *r);
    r->o = *o;
    r->own_names = mem_zalloc(mem_mul(o->n_own_names + 1, sizeof *r->own_names));
    for (size_t i = 0; i < o->n_own_names; i++) r->own_names[i] = mem_strdup(o->own_names[i]);
    r->out = queue_new(QUEUE_ITEMS, FEEDER_QUEUE_BYTES, o->wake, o->ctx);
    r->notes = queue_new(16, SIZE_MAX, o->wake, o->ctx);
    r->in = queue_new(QUEUE_ITEMS, SIZE_MAX, NULL, NULL);
    r->parser = parser_new();
    arena_init(&r->arena, EVENT_ARENA_CAP);
    r->n_inputs = o->n_inputs;
    r->inputs = mem_zalloc(mem_mul(o->n_inputs + 1, sizeof *r->inputs));
    enum status st = ST_OK;
    if (o->spooled) {
        char *dir = file_join(o->state_dir, "spool");
        st = load_marks(r, err);
        if (!st) st = load_gaps(r, err);
        r->given = r->marks.acked;
        struct spool_options s = {.dir = dir, .max_bytes = o->spool_max_bytes};
        if (!st) st = spool_open(&s, r->marks.acked, &r->spool, err);
        mem_free(dir);
    }
    for (size_t i = 0; i < o->n_inputs; i++) {
        struct input *in = &r->inputs[i];
        in->feeder = r;
        in->spec = o->inputs[i];
        in->path = in->spec.path ? mem_strdup(in->spec.path) : NULL;
        in->query = in->spec.query ? mem_strdup(in->spec.query) : NULL;
        in->name = name_of(in);
        in->batcher = o->spooled || i == 0 ? feeder_new_batcher(r, in) : r->inputs[0].batcher;
        struct slice from = bookmarks_get(&r->marks, in->name), resume;
        buf_slice_append(&in->taken, from);
        if (r->spool && spool_resume(r->spool, slice_str(in->name), &resume) == ST_OK) from = resume;
        buf_slice_append(&in->open_at, from);
        if (in->spec.kind == SOURCE_EVTLOG && !from.len) in->ask_until = clock_mono_ms() + ASK_MS;
    }
    if (st)
        feeder_free(&r);
    else
        *ret = r;
    return st;
}

void feeder_free(struct feeder **rp) {
    struct feeder *r = *rp;
    if (!r) return;
    void *item = NULL;
    while ((item = queue_try_take(r->in))) {
        struct order *o = item;
        order_free(&o);
    }
    struct feeder_item *i;
    while ((i = queue_try_take(r->out))) feeder_item_free(&i);
    while ((i = queue_try_take(r->notes))) feeder_item_free(&i);
    queue_free(&r->notes);
    feeder_item_free(&r->held);
    queue_free(&r->in);
    queue_free(&r->out);
    for (size_t k = 0; k < r->n_inputs; k++) {
        struct input *in = &r->inputs[k];
        source_close(&in->source);
        if (r->o.spooled || k == 0) batcher_free(&in->batcher);
        mem_free(in->path);
        mem_free(in->query);
        mem_free(in->name);
        buf_free(&in->taken);
        buf_free(&in->open_at);
    }
    mem_free(r->inputs);
    feeder_drop_first(r->ready, &r->n_ready, r->n_ready);
    feeder_drop_first(r->sent, &r->n_sent, r->n_sent);
    mem_free(r->ready);
    mem_free(r->sent);
    parser_free(&r->parser);
    arena_deinit(&r->arena);
    spool_close(&r->spool);
    bookmarks_free(&r->marks);
    mem_free(r->marks_path);
    for (size_t k = 0; k < r->o.n_own_names; k++) mem_free(r->own_names[k]);
    mem_free(r->own_names);
    mem_free(r->logs);
    gaps_free(&r->gaps);
    mem_free(r->gaps_path);
    mem_free(r->sysmon);
    buf_free(&r->scratch);
    mem_free(r);
    *rp = NULL;
}

struct feeder_item *feeder_take(struct feeder *r) {
    return queue_try_take(r->out);
}

struct feeder_item *feeder_take_note(struct feeder *r) {
    return queue_try_take(r->notes);
}

static bool order(struct feeder *r, struct order o) {
    struct order *copy = mem_alloc(sizeof *copy);
    *copy = o;
    if (queue_put(r->in, copy, 0) == ST_OK) return true;
    mem_free(copy);
    return false;
}

bool feeder_acked(struct feeder *r, uint64_t seq) {
    return order(r, (struct order){.kind = ORDER_ACKED, .seq = seq});
}

void feeder_rejected(struct feeder *r, struct outgoing *o, enum status code, const char *reason) {
    struct order what = {.kind = ORDER_REJECTED, .batch = o, .code = code, .reason = mem_strdup(reason ? reason : "")};
    if (order(r, what)) return;
    log_error(AREA, "a rejected batch of %u events could not be kept: the reader is behind", o->n_events);
    outgoing_free(&what.batch);
    mem_free(what.reason);
}

void feeder_write(struct feeder *r, const char *name, struct slice bytes) {
    struct order what = {.kind = ORDER_WRITE, .reason = mem_strdup(name)};
    buf_slice_append(&what.bytes, bytes);
    if (order(r, what)) return;
    buf_free(&what.bytes);
    mem_free(what.reason);
}

void feeder_position(struct feeder *r, const char *channel, struct source_known known) {
    struct order what = {.kind = ORDER_POSITION, .reason = mem_strdup(channel), .known = known};
    if (!order(r, what)) mem_free(what.reason); /* it is read without, after a while */
}

void feeder_listen(struct feeder *r, const char *canary) {
    struct order what = {.kind = ORDER_LISTEN, .reason = mem_strdup(canary)};
    if (!order(r, what)) mem_free(what.reason); /* the canary is started again when nothing is heard of it */
}

void feeder_stop(struct feeder *r) {
    if (!order(r, (struct order){.kind = ORDER_STOP})) queue_close(r->in);
}
