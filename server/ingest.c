/* 6 COLLECT  Batches on their way to the writer and back.
 *
 * A batch is one allocation of the frame's bytes, taken over from the connection, and one struct; nothing is copied
 * until the writer puts it into the pack. It is owned by its door, then by the writer, then by the door again; what
 * brought it (a session) may not be freed before it is answered. Counts of what is under way are the door's own, so a
 * door that has none in flight can be closed. */
#include "ingest.h"
#include "batch.h"
#include "clock.h"
#include "crash.h"
#include "list.h"
#include "log.h"
#include "mem.h"
#include "quarantine.h"
#include "queue.h"

#include <assert.h>
#include <stdio.h>

#define HEADER_ARENA_CAP (1024u * 1024)
#define RETRY_MS 20
#define MAX_LISTENERS 8

struct ingest {
    struct ingest_options o;
    struct writer *writer;
    struct placer *placer; /* writer thread */
    struct quarantine *quarantine;
    struct {
        void (*fn)(void *ctx, uint64_t last_seq);
        void *ctx;
    } listeners[MAX_LISTENERS];
    _Atomic size_t n_listeners; /* the last one is whole before it counts */
};

struct ingest_door { /* its loop's thread, but for `answers` */
    struct ingest *in;
    uv_async_t wake;
    uv_timer_t retry;
    struct queue *answers; /* from the writer thread */
    struct list waiting;   /* batches that the writer had no room for */
    size_t n_in_flight;
    bool thirsty; /* said "no" to someone since the last `after` */
    bool quiet;   /* the collector is going down: the writer is not touched any more */
    unsigned n_handles;
    void (*after)(void *ctx);
    void *after_ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct answer { /* what comes back through a door: the first member of a batch or a call */
    bool is_call;
    struct ingest_door *door;
    enum status st;
    struct error err;
};

struct call {
    struct answer answer;
    ingest_call_fn fn;
    ingest_called_fn done;
    void *arg;
};

struct batch {
    struct answer answer;
    struct writer_item item;
    struct list link; /* in door->waiting */
    struct buf bytes; /* the frame's body */
    struct arena arena;
    struct batch_header header;
    uint64_t number;
    ingest_done_fn done;
    void *owner;
    uv_work_t work; /* quarantine */
};

/* ---- the process's part ---- */

static void notice(struct ingest *in, uint32_t host, const char *action, const char *object, const char *detail) {
    if (in->o.notice) in->o.notice(in->o.notice_ctx, host, action, object, detail);
}

static void on_placed_oddly(void *ctx, const struct placer_notice *n) {
    struct ingest *in = ctx;
    char object[160], detail[200];
    snprintf(object, sizeof object, "%s%s%s", log_peer(n->computer), n->computer.len ? "/" : "", log_peer(n->channel));
    if (n->begun) {
        stats_add(in->o.stats, STATS_epochs_begun, 1);
        snprintf(detail, sizeof detail, "epoch %u begins: record ids start again", n->begun);
        log_info("ingest", "host %u %s: %s", n->host, object, detail);
        notice(in, n->host, "log.epoch", object, detail);
    }
    if (n->n_conflicts) {
        stats_add(in->o.stats, STATS_conflicts, 1);
        snprintf(detail, sizeof detail,
                 "%u event(s) claim record ids that different events hold in epoch %u; both are kept", n->n_conflicts,
                 n->claimed);
        log_warn("ingest", "host %u %s: %s", n->host, object, detail);
        notice(in, n->host, "log.conflict", object, detail);
    }
}

static enum status on_admit(void *ctx, struct writer *w, struct writer_item *item, struct error *err) {
    struct ingest *in = ctx;
    struct batch *b = item->owner;
    return placer_item(in->placer, w, item, &b->header, err);
}

static void answer(struct answer *a) {
    if (queue_put(a->door->answers, a, 1)) assert(!"an answer queue has no bound");
}

static void on_written(void *ctx, struct writer_item *item, enum status st, const struct error *err) {
    struct ingest *in = ctx;
    struct batch *b = item->owner;
    b->answer.st = st;
    if (st && err) b->answer.err = *err;
    if (!st) {
        stats_add(in->o.stats, STATS_events_stored, item->n_stored);
        stats_add(in->o.stats, STATS_events_duplicate, item->n_duplicate);
    }
    answer(&b->answer);
}

static void on_commit(void *ctx, uint64_t last_seq) {
    struct ingest *in = ctx;
    crash_point("committed");
    for (size_t i = 0; i < in->n_listeners; i++) in->listeners[i].fn(in->listeners[i].ctx, last_seq);
}

MUST_USE enum status ingest_start(const struct ingest_options *o, struct ingest **ret, struct error *err) {
    struct ingest *in = mem_zalloc(sizeof *in);
    in->o = *o;
    in->placer = placer_new(on_placed_oddly, in);
    enum status st =
        quarantine_open(db_dir(o->db), o->quarantine_bytes, o->quarantine_files, o->stats, &in->quarantine, err);
    if (!st) {
        struct writer_options w = {.spacing_ms = o->spacing_ms ? o->spacing_ms : 10,
                                   .batch_bytes = o->batch_bytes ? o->batch_bytes : 1024 * 1024,
                                   .queue_bytes = o->queue_bytes ? o->queue_bytes : 32 * 1024 * 1024,
                                   .now = o->now ? o->now : clock_wall,
                                   .admit = on_admit,
                                   .done = on_written,
                                   .committed = on_commit,
                                   .ctx = in};
        st = writer_start(o->db, &w, &in->writer, err);
    }
    if (st) {
        ingest_free(&in);
        return st;
    }
    *ret = in;
    return ST_OK;
}

void ingest_stop(struct ingest *in) {
    if (in && in->writer) writer_finish(in->writer);
}

void ingest_set_aside(void *ingest, uint32_t host, struct slice block, uint32_t header_len, const char *why) {
    struct ingest *in = ingest;
    struct buf body = {0};
    buf_u32le(&body, header_len);
    buf_slice_append(&body, block);
    quarantine_put(in->quarantine, host, buf_slice(&body), why);
    buf_free(&body);
}

void ingest_free(struct ingest **pin) {
    struct ingest *in = *pin;
    if (!in) return;
    writer_stop(&in->writer);
    placer_free(&in->placer);
    quarantine_close(&in->quarantine);
    mem_free(in);
    *pin = NULL;
}

struct writer *ingest_writer(struct ingest *in) {
    return in->writer;
}

void ingest_on_committed(struct ingest *in, void (*fn)(void *ctx, uint64_t last_seq), void *ctx) {
    size_t n = in->n_listeners;
    assert(n < MAX_LISTENERS);
    in->listeners[n].fn = fn;
    in->listeners[n].ctx = ctx;
    in->n_listeners = n + 1;
}

/* ---- answers ---- */

static void batch_free(struct batch *b) {
    buf_free(&b->bytes);
    arena_deinit(&b->arena);
    mem_free(b);
}

static void finish(struct batch *b) {
    struct ingest_door *d = b->answer.door;
    struct ingest_result r = {.number = b->number,
                              .st = b->answer.st,
                              .reason = b->answer.err.msg[0] ? b->answer.err.msg : status_text(b->answer.st),
                              .n_events = b->header.n_events,
                              .n_stored = b->item.n_stored,
                              .n_duplicate = b->item.n_duplicate};
    d->n_in_flight--;
    b->done(b->owner, &r);
    batch_free(b);
}

static void on_set_aside(uv_work_t *w, int status) {
    (void)status;
    struct batch *b = w->data;
    struct ingest_door *d = b->answer.door;
    finish(b);
    if (d->after) d->after(d->after_ctx);
}

static void set_aside(uv_work_t *w) {
    struct batch *b = w->data;
    quarantine_put(b->answer.door->in->quarantine, b->item.block.host, buf_slice(&b->bytes), b->answer.err.msg);
}

/* A refused batch: told to people, kept on disk, then answered. */
static void reject(struct batch *b) {
    struct ingest *in = b->answer.door->in;
    char object[160];
    snprintf(object, sizeof object, "%s", b->header.channel.len ? log_peer(b->header.channel) : "batch");
    stats_add(in->o.stats, STATS_batches_rejected, 1);
    if (!b->answer.err.msg[0]) error_set(&b->answer.err, b->answer.st, "%s", status_text(b->answer.st));
    log_warn("ingest", "host %u: batch %llu rejected and set aside: %s", b->item.block.host,
             (unsigned long long)b->number, log_peer(slice_str(b->answer.err.msg)));
    stats_error(in->o.stats, "host %u: batch rejected: %s", b->item.block.host, log_peer(slice_str(b->answer.err.msg)));
    notice(in, b->item.block.host, "batch.rejected", object, b->answer.err.msg);
    b->work.data = b;
    if (uv_queue_work(b->answer.door->wake.loop, &b->work, set_aside, on_set_aside)) finish(b);
}

/* Is it the batch's own fault? Anything else (the disk, a stop) costs nothing but time: the agent sends it again. */
static bool is_refusal(enum status st) {
    return st == ST_CORRUPT || st == ST_FORMAT || st == ST_TOOBIG || st == ST_VERSION || st == ST_INVALID ||
           st == ST_NOMEM || st == ST_PROTO;
}

static void complete(struct batch *b) {
    if (is_refusal(b->answer.st)) {
        reject(b);
        return;
    }
    if (b->answer.st) b->answer.st = ST_CANCELLED;
    finish(b);
}

static void put_waiting(struct ingest_door *d) {
    while (!list_is_empty(&d->waiting)) {
        struct batch *b = container_of(d->waiting.next, struct batch, link);
        enum status st = d->quiet ? ST_CLOSED : writer_put(d->in->writer, &b->item);
        if (st == ST_AGAIN) break;
        list_remove(&b->link);
        if (st) {
            b->answer.st = st;
            answer(&b->answer);
        }
    }
}

static void say_after(struct ingest_door *d) {
    d->thirsty = false;
    if (d->after) d->after(d->after_ctx);
    if (!d->thirsty && list_is_empty(&d->waiting)) uv_timer_stop(&d->retry);
}

static void end_call(struct call *c) {
    bool failed = c->answer.st && c->answer.st != ST_TOOBIG && c->answer.st != ST_INVALID;
    c->answer.door->n_in_flight--;
    c->done(c->arg, failed ? ST_CANCELLED : c->answer.st, &c->answer.err);
    mem_free(c);
}

void ingest_door_drain(struct ingest_door *d) {
    struct answer *a;
    while ((a = queue_try_take(d->answers))) {
        if (a->is_call)
            end_call(container_of(a, struct call, answer));
        else
            complete(container_of(a, struct batch, answer));
    }
}

static void on_answers(uv_async_t *a) {
    struct ingest_door *d = a->data;
    ingest_door_drain(d);
    put_waiting(d);
    say_after(d);
}

static void on_retry(uv_timer_t *t) {
    struct ingest_door *d = t->data;
    put_waiting(d);
    say_after(d);
}

/* ---- doors ---- */

static void wake(void *ctx) {
    struct ingest_door *d = ctx;
    uv_async_send(&d->wake);
}

MUST_USE enum status ingest_door_open(struct ingest *in, uv_loop_t *loop, void (*after)(void *ctx), void *ctx,
                                      struct ingest_door **ret, struct error *err) {
    struct ingest_door *d = mem_zalloc(sizeof *d);
    d->in = in;
    d->after = after;
    d->after_ctx = ctx;
    list_init(&d->waiting);
    if (uv_async_init(loop, &d->wake, on_answers)) {
        mem_free(d);
        return error_set(err, ST_IO, "no event descriptor for a loop: too many open files");
    }
    (void)uv_timer_init(loop, &d->retry);
    d->wake.data = d->retry.data = d;
    d->n_handles = 2;
    d->answers = queue_new(SIZE_MAX, SIZE_MAX, wake, d); /* bounded by what was let in: answers must never be refused */
    *ret = d;
    return ST_OK;
}

static void on_handle_closed(uv_handle_t *h) {
    struct ingest_door *d = h->data;
    if (--d->n_handles) return;
    void (*closed)(void *) = d->closed;
    void *ctx = d->closed_ctx;
    queue_free(&d->answers);
    mem_free(d);
    if (closed) closed(ctx);
}

void ingest_door_close(struct ingest_door *d, void (*closed)(void *ctx), void *ctx) {
    assert(d->n_in_flight == 0);
    d->closed = closed;
    d->closed_ctx = ctx;
    uv_close((uv_handle_t *)&d->wake, on_handle_closed);
    uv_close((uv_handle_t *)&d->retry, on_handle_closed);
}

void ingest_door_quiet(struct ingest_door *d) {
    d->quiet = true;
    put_waiting(d);
}

size_t ingest_door_in_flight(const struct ingest_door *d) {
    return d->n_in_flight;
}

bool ingest_can_take(struct ingest_door *d) {
    if (!d->quiet && list_is_empty(&d->waiting) && writer_can_put(d->in->writer, 1)) return true;
    if (!d->thirsty) (void)uv_timer_start(&d->retry, on_retry, RETRY_MS, RETRY_MS);
    d->thirsty = true;
    return false;
}

/* Cuts header from columns and payload and checks all that can be checked without opening them. */
static enum status check(struct batch *b) {
    struct reader r = reader_of(buf_slice(&b->bytes));
    uint32_t header_len = reader_u32le(&r);
    struct slice header = reader_bytes(&r, header_len);
    if (r.bad) return error_set(&b->answer.err, ST_FORMAT, "the batch ends inside its header");
    struct slice body = slice_of(r.p, reader_left(&r));
    enum status st = batch_header_parse(header, &b->arena, &b->header, &b->answer.err);
    if (!st) st = batch_check(&b->header, header, body, &b->answer.err);
    if (st) return st;
    b->item.block.computer = b->header.computer;
    b->item.block.channel = b->header.channel;
    b->item.block.bytes = slice_from(buf_slice(&b->bytes), 4);
    b->item.block.header_len = header_len;
    b->item.block.n_events = b->header.n_events;
    b->item.block.min_time = b->header.min_time;
    b->item.block.max_time = b->header.max_time;
    b->item.block.guids = b->header.guids;
    return ST_OK;
}

void ingest_put(struct ingest_door *d, uint32_t host, struct buf *body, uint64_t number, ingest_done_fn done,
                void *owner) {
    struct batch *b = mem_zalloc(sizeof *b);
    *b = (struct batch){.answer = {.door = d}, .bytes = *body, .number = number, .done = done, .owner = owner};
    *body = (struct buf){0};
    list_init(&b->link);
    list_init(&b->item.link);
    arena_init(&b->arena, HEADER_ARENA_CAP);
    b->item.owner = b;
    b->item.block.host = host;
    d->n_in_flight++;
    stats_add(d->in->o.stats, STATS_batches, 1);
    stats_add(d->in->o.stats, STATS_batch_bytes, (int64_t)b->bytes.len);
    b->answer.st = check(b);
    if (b->answer.st) {
        answer(&b->answer);
        return;
    }
    list_append(&d->waiting, &b->link);
    put_waiting(d);
    if (!list_is_empty(&d->waiting)) (void)ingest_can_take(d); /* starts the retry timer */
}

static void on_called(void *arg, enum status st, const struct error *err) {
    struct call *c = arg;
    c->answer.st = st;
    if (st && err) c->answer.err = *err;
    answer(&c->answer);
}

static enum status run_call(void *arg, struct writer *w, struct error *err) {
    struct call *c = arg;
    return c->fn(c->arg, w, err);
}

void ingest_call(struct ingest_door *d, ingest_call_fn fn, ingest_called_fn done, void *arg) {
    struct call *c = mem_zalloc(sizeof *c);
    *c = (struct call){.answer = {.is_call = true, .door = d}, .fn = fn, .done = done, .arg = arg};
    d->n_in_flight++;
    enum status st = d->quiet ? ST_CLOSED : writer_call(d->in->writer, run_call, on_called, c);
    if (st) on_called(c, st, NULL);
}
