/* The feeder's way out: finished batches -> spool -> the loop's queue. Invariant: with a spool a batch is given to the
 * uplink only from its durable entry. Reader thread. */
#include "clock.h"
#include "feeder_internal.h"
#include "mem.h"

struct feeder_log *feeder_log_of(struct feeder *r, struct slice channel, struct slice computer) {
    struct feeder_log *l = NULL;
    for (size_t i = 0; i < r->n_logs && !l; i++) {
        if (slice_eq_str(channel, r->logs[i].channel) && slice_eq_str(computer, r->logs[i].computer)) l = &r->logs[i];
    }
    if (!l) {
        if (r->n_logs >= 256 || channel.len >= sizeof l->channel || computer.len >= sizeof l->computer) return NULL;
        mem_grow((void **)&r->logs, r->n_logs, &r->cap_logs, sizeof *r->logs);
        l = &r->logs[r->n_logs++];
        *l = (struct feeder_log){0};
        memcpy(l->channel, channel.p, channel.len);
        memcpy(l->computer, computer.p ? (const char *)computer.p : "", computer.len);
    }
    return l;
}

static void note_log(struct feeder *r, const struct batcher_batch *b) {
    struct feeder_log *l = feeder_log_of(r, b->channel, b->computer);
    if (l && b->last_record_id > l->newest_id) l->newest_id = b->last_record_id;
}

static void on_batch(void *ctx, struct batcher_batch *b) {
    struct input *in = ctx;
    struct feeder *r = in->feeder;
    note_log(r, b);
    mem_grow((void **)&r->ready, r->n_ready, &r->cap_ready, sizeof *r->ready);
    struct ready *y = &r->ready[r->n_ready++];
    *y = (struct ready){.input = in, .batch = mem_zalloc(sizeof *y->batch)};
    y->batch->bytes = b->bytes;
    y->batch->header_len = b->header_len;
    y->batch->n_events = b->n_events;
    buf_slice_append(&y->position, b->position);
}

void feeder_drop_first(struct ready *list, size_t *n, size_t drop) {
    for (size_t i = 0; i < drop; i++) {
        outgoing_free(&list[i].batch);
        buf_free(&list[i].position);
    }
    if (drop) memmove(list, list + drop, (*n - drop) * sizeof *list);
    *n -= drop;
}

/* Puts an item into the loop's queue; holds it when that is full. */
bool feeder_put(struct feeder *r, struct feeder_item *i, size_t weight) {
    enum status st = queue_put(r->out, i, weight);
    if (st == ST_CLOSED) feeder_item_free(&i);
    r->held = st == ST_AGAIN ? i : NULL;
    return st == ST_OK;
}

static bool put_batch(struct feeder *r, struct outgoing *o) {
    struct feeder_item *i = mem_zalloc(sizeof *i);
    size_t weight = o->bytes.len;
    *i = (struct feeder_item){.kind = FEEDER_BATCH, .batch = o};
    return feeder_put(r, i, weight);
}

bool feeder_put_held(struct feeder *r) {
    return !r->held || feeder_put(r, r->held, r->held->batch ? r->held->batch->bytes.len : 0);
}

/* ready -> spool, durable. Returns whether anything moved. */
bool feeder_fill_spool(struct feeder *r) {
    if (!r->n_ready || clock_mono_ms() < r->spool_retry_at) return false;
    struct error err = {0};
    enum status st = ST_OK;
    size_t n = 0;
    unsigned held_back = 0;
    bool was_full = r->report.spool_full;
    r->report.spool_full = false;
    while (n < r->n_ready && !st) {
        const struct ready *y = &r->ready[n];
        uint64_t seq;
        if (!spool_can_append(r->spool, y->batch->bytes.len)) {
            r->report.spool_full = true;
            break;
        }
        struct spool_entry e = {.header_len = y->batch->header_len,
                                .n_events = y->batch->n_events,
                                .source = slice_str(y->input->name),
                                .position = buf_slice(&y->position),
                                .batch = buf_slice(&y->batch->bytes)};
        st = spool_append(r->spool, &e, &seq, &err);
        if (!st) n++;
    }
    if (n && r->gaps.urgent) feeder_save_gaps(r); /* before the place behind them is kept */
    enum status synced = spool_sync(r->spool, st ? NULL : &err);
    if (synced) n = 0;
    feeder_drop_first(r->ready, &r->n_ready, n);
    if (r->report.spool_full && !was_full && log_limit_pass(&r->full_limit, 60000, &held_back)) {
        log_warn(AREA,
                 "the spool is full: reading waits until the collector takes what is in it; nothing is lost while the "
                 "logs keep it");
    }
    if ((st || synced) && log_limit_pass(&r->full_limit, 60000, &held_back)) {
        log_error(
            AREA,
            "the spool cannot be written: %s; reading waits, nothing is lost while the logs keep it; retry every second",
            err.msg);
    }
    if (st || synced) r->spool_retry_at = clock_mono_ms() + 1000;
    return n > 0;
}

struct batcher *feeder_new_batcher(struct feeder *r, struct input *in) {
    struct batcher_options b = {.max_age_ms = r->o.spooled ? BATCHER_LIVE_AGE_MS : 0,
                                .own = in->spec.kind == SOURCE_JOURNAL ||
                                       (in->spec.kind == SOURCE_EVTLOG && strcmp(in->path, "ForwardedEvents") != 0),
                                .max_raw = BATCHER_DRAIN_RAW,
                                .own_names = (const char *const *)r->own_names,
                                .n_own_names = r->o.n_own_names,
                                .out = on_batch,
                                .ctx = in};
    return batcher_new(&b);
}

/* The spool met damage: what was read since the last entry it gave out is read again; the collector knows what it has. */
static void rewind_inputs(struct feeder *r) {
    feeder_drop_first(r->ready, &r->n_ready, r->n_ready);
    for (size_t i = 0; i < r->n_inputs; i++) {
        struct input *in = &r->inputs[i];
        feeder_close_source(in);
        batcher_free(&in->batcher);
        in->batcher = feeder_new_batcher(r, in);
        buf_clear(&in->open_at);
        buf_slice_append(&in->open_at, buf_slice(&in->taken));
        in->ended = false;
        in->retry_at = 0;
    }
}

static struct input *input_named(struct feeder *r, struct slice name) {
    for (size_t i = 0; i < r->n_inputs; i++) {
        if (slice_eq_str(name, r->inputs[i].name)) return &r->inputs[i];
    }
    return NULL;
}

/* spool -> the loop's queue. */
bool feeder_drain_spool(struct feeder *r) {
    bool moved = false;
    while (feeder_put_held(r) && queue_can_put(r->out, 64 * 1024)) {
        struct spool_entry e;
        struct error err = {0};
        enum status st = spool_next(r->spool, &r->scratch, &e, &err);
        if (st == ST_CORRUPT) {
            log_error(AREA, "%s; the sources are read again from before the damage", err.msg);
            rewind_inputs(r);
            return true;
        }
        if (st) {
            unsigned held_back = 0;
            if (st != ST_END && log_limit_pass(&r->full_limit, 60000, &held_back))
                log_error(AREA, "the spool cannot be read: %s; retrying", err.msg);
            return moved;
        }
        mem_grow((void **)&r->sent, r->n_sent, &r->cap_sent, sizeof *r->sent);
        struct ready *s = &r->sent[r->n_sent++];
        struct outgoing *o = mem_zalloc(sizeof *o);
        *o = (struct outgoing){.header_len = e.header_len, .n_events = e.n_events, .seq = e.seq};
        buf_slice_append(&o->bytes, e.batch);
        *s = (struct ready){.input = input_named(r, e.source), .batch = mem_zalloc(sizeof *s->batch)};
        s->batch->seq = e.seq;
        buf_slice_append(&s->position, e.position);
        if (s->input && e.position.len) {
            buf_clear(&s->input->taken);
            buf_slice_append(&s->input->taken, e.position);
        }
        r->given = e.seq;
        put_batch(r, o);
        moved = true;
    }
    return moved;
}

/* Without a spool: ready -> the loop's queue. */
bool feeder_drain_ready(struct feeder *r) {
    size_t n = 0;
    while (n < r->n_ready && feeder_put_held(r) && queue_can_put(r->out, r->ready[n].batch->bytes.len)) {
        struct outgoing *o = r->ready[n].batch;
        r->ready[n++].batch = NULL;
        o->seq = ++r->next_seq;
        put_batch(r, o);
    }
    feeder_drop_first(r->ready, &r->n_ready, n);
    return n > 0;
}
