/* 7 DEDUP  Admission at work, on the writer thread. The usual batch is decided by its header alone; only where record
 * ids are held already are blocks opened: first by digest (a resent batch), then by their columns, and the payload only
 * for events that agree in id, time and event id. */
#include "placer.h"
#include "clock.h"
#include "mem.h"

#include <stdlib.h>

#define HEADER_ARENA_CAP (1024u * 1024)

struct opened { /* a block with its columns, and its payload once it was asked for */
    struct batch_reader *reader;
    struct arena arena;
    struct batch_header header;
    struct slice body;
    struct batch_columns columns;
    struct slice payload;
    bool has_payload;
};

struct placer {
    placer_notice_fn notice;
    void *notice_ctx;
    struct opened in, held; /* the batch that comes; a block that is stored */
    struct buf held_bytes;
    struct db_keep *keep; /* of the stored block */
    size_t n_keep;
    uint64_t held_seq; /* which one is open; 0: none */
    uint32_t held_index;
    size_t compared; /* decompressed bytes spent on this batch */
    struct arena scratch;
    struct admit_event *events; /* BATCH_MAX_EVENTS each */
    uint32_t *epochs, *order;
};

/* One item on its way. */
struct placing {
    struct placer *p;
    struct writer *w;
    struct writer_item *item;
    const struct batch_header *h;
    const struct writer_stream *streams;
    size_t n_streams;
    bool all_held; /* a stored block has the same digest */
};

static void opened_init(struct opened *o) {
    o->reader = batch_reader_new();
    arena_init(&o->arena, HEADER_ARENA_CAP);
}

static void opened_deinit(struct opened *o) {
    batch_reader_free(&o->reader);
    arena_deinit(&o->arena);
}

struct placer *placer_new(placer_notice_fn notice, void *ctx) {
    struct placer *p = mem_zalloc(sizeof *p);
    p->notice = notice;
    p->notice_ctx = ctx;
    opened_init(&p->in);
    opened_init(&p->held);
    arena_init(&p->scratch, EVENT_ARENA_CAP);
    p->events = mem_alloc(mem_mul(BATCH_MAX_EVENTS, sizeof *p->events));
    p->epochs = mem_alloc(mem_mul(BATCH_MAX_EVENTS, sizeof *p->epochs));
    p->order = mem_alloc(mem_mul(BATCH_MAX_EVENTS, sizeof *p->order));
    return p;
}

void placer_free(struct placer **pp) {
    struct placer *p = *pp;
    if (!p) return;
    opened_deinit(&p->in);
    opened_deinit(&p->held);
    arena_deinit(&p->scratch);
    buf_free(&p->held_bytes);
    mem_free(p->keep);
    mem_free(p->events);
    mem_free(p->epochs);
    mem_free(p->order);
    mem_free(p);
    *pp = NULL;
}

/* The encoded event at position i, decompressing the payload on first use; empty when it cannot be had. */
static struct slice event_at(struct opened *o, uint32_t i) {
    if (!o->has_payload) {
        if (batch_open_payload(o->reader, &o->header, o->body, &o->payload, NULL)) return (struct slice){0};
        o->has_payload = true;
    }
    return slice_of(o->payload.p + o->columns.payload_at[i], o->columns.payload_len[i]);
}

static enum status open_incoming(struct placing *g, struct error *err) {
    struct opened *o = &g->p->in;
    o->header = *g->h;
    o->body = slice_from(g->item->block.bytes, g->item->block.header_len);
    o->has_payload = false;
    enum status st = batch_open_columns(o->reader, &o->header, o->body, &o->columns, err);
    if (st) return st;
    for (uint32_t i = 0; i < o->columns.n; i++) {
        g->p->events[i] = (struct admit_event){o->columns.record_id[i], o->columns.time[i], false};
    }
    return ST_OK;
}

static enum status charge(struct placer *p, const struct batch_header *h, struct error *err) {
    p->compared += (size_t)h->columns_raw_len + h->payload_raw_len;
    if (p->compared <= PLACER_MAX_COMPARED) return ST_OK;
    return error_set(err, ST_TOOBIG,
                     "comparing this batch with what is stored takes too much; send it in smaller batches");
}

/* Opens a stored block. ST_CORRUPT: it cannot be read, nothing in it can be compared. */
static enum status open_held(struct placing *g, const struct db_block *b, struct error *err) {
    struct placer *p = g->p;
    struct opened *o = &p->held;
    if (p->held_seq == b->seq && p->held_index == b->index && b->seq) return ST_OK;
    p->held_seq = 0;
    mem_free(p->keep);
    p->keep = NULL;
    buf_clear(&p->held_bytes);
    arena_reset(&o->arena);
    enum status st = writer_read_block(g->w, b, &p->held_bytes, &p->keep, &p->n_keep, err);
    if (st) return st;
    struct slice bytes = buf_slice(&p->held_bytes);
    if (batch_header_parse(slice_head(bytes, b->header_len), &o->arena, &o->header, NULL)) return ST_CORRUPT;
    o->body = slice_from(bytes, b->header_len);
    o->has_payload = false;
    if (memcmp(o->header.digest, g->h->digest, BATCH_DIGEST_LEN) == 0) {
        g->all_held = true;
        return ST_OK;
    }
    st = charge(p, &o->header, err);
    if (st) return st;
    if (batch_open_columns(o->reader, &o->header, o->body, &o->columns, NULL)) return ST_CORRUPT;
    p->held_seq = b->seq;
    p->held_index = b->index;
    return ST_OK;
}

static uint64_t apart(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

/* Marks the events of the run (positions from `at` on) that the open block has at positions [from, from + n). */
static void compare_part(struct placing *g, const struct batch_run *run, uint32_t at, uint32_t from, uint32_t n) {
    struct opened *in = &g->p->in, *held = &g->p->held;
    for (uint32_t k = from; k < from + n && k < held->columns.n; k++) {
        uint64_t id = held->columns.record_id[k];
        if (id < run->first_id || id - run->first_id >= run->n) continue;
        uint32_t i = at + (uint32_t)(id - run->first_id);
        if (g->p->events[i].same || in->columns.event_id[i] != held->columns.event_id[k]) continue;
        if (apart(in->columns.time[i], held->columns.time[k]) >= FILETIME_SECOND)
            continue; /* coarser renderings exist */
        struct slice a = event_at(in, i), b = event_at(held, k);
        if (a.len && b.len && admit_same_event(a, b, &g->p->scratch)) g->p->events[i].same = true;
    }
}

/* Record ids that the ledger holds while no block has them any more: retention removed their day. Nothing is left to
 * compare with, so the time decides. A machine that begins its ids again has later times than all that it had before. */
static void trust_ledger(struct placing *g, const struct writer_stream *s, const struct batch_run *run, uint32_t at,
                         const struct db_block *blocks, size_t n_blocks) {
    for (uint32_t k = 0; k < run->n; k++) {
        struct admit_event *ev = &g->p->events[at + k];
        if (ev->same || !ledger_has(s->ledger, ev->id) || !ledger_fits(s->ledger, ev->id, ev->time, FILETIME_SECOND))
            continue;
        size_t b = 0;
        while (b < n_blocks && (ev->id < blocks[b].first_id || ev->id > blocks[b].last_id)) b++;
        ev->same = b == n_blocks;
    }
}

static enum status compare_run(struct placing *g, const struct writer_stream *s, const struct batch_run *run,
                               uint32_t at, struct error *err) {
    struct db_block *blocks = NULL;
    size_t n = 0;
    enum status st =
        writer_blocks(g->w, g->item->block.host, s->id, run->first_id, run->first_id + (run->n - 1), &blocks, &n, err);
    for (size_t b = 0; b < n && !st && !g->all_held; b++) {
        if (blocks[b].min_time > g->h->max_time + FILETIME_SECOND) continue;
        if (blocks[b].max_time + FILETIME_SECOND < g->h->min_time) continue;
        st = open_held(g, &blocks[b], err);
        if (st == ST_CORRUPT || st == ST_NOTFOUND) { /* unreadable, or expired meanwhile: it proves nothing */
            st = ST_OK;
            continue;
        }
        if (st || g->all_held) break;
        if (!g->p->n_keep) compare_part(g, run, at, 0, g->p->held.columns.n);
        for (size_t k = 0; k < g->p->n_keep; k++) compare_part(g, run, at, g->p->keep[k].first, g->p->keep[k].n);
    }
    if (!st && !g->all_held) trust_ledger(g, s, run, at, blocks, n);
    mem_free(blocks);
    return st;
}

static enum status compare_stored(struct placing *g, struct error *err) {
    for (size_t s = 0; s < g->n_streams; s++) {
        uint32_t at = 0;
        for (size_t r = 0; r < g->h->n_runs; r++) {
            const struct batch_run *run = &g->h->runs[r];
            if (ledger_held(g->streams[s].ledger, run->first_id, run->first_id + (run->n - 1))) {
                enum status st = compare_run(g, &g->streams[s], run, at, err);
                if (st || g->all_held) return st;
            }
            at += (uint32_t)run->n;
        }
    }
    return ST_OK;
}

/* ---- the same event twice in one batch ---- */

static _Thread_local const struct admit_event *sort_events;

static int by_id(const void *pa, const void *pb) {
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    uint64_t ia = sort_events[a].id, ib = sort_events[b].id;
    return ia != ib ? (ia < ib ? -1 : 1) : (a > b) - (a < b);
}

static void compare_inside(struct placing *g) {
    struct placer *p = g->p;
    uint32_t n = g->h->n_events;
    for (uint32_t i = 0; i < n; i++) p->order[i] = i;
    sort_events = p->events;
    qsort(p->order, n, sizeof *p->order, by_id);
    for (uint32_t k = 1; k < n; k++) {
        uint32_t i = p->order[k];
        for (uint32_t j = k; j-- > 0 && k - j <= 8 && p->events[p->order[j]].id == p->events[i].id;) {
            if (p->events[i].same) break;
            struct slice a = event_at(&p->in, p->order[j]), b = event_at(&p->in, i);
            if (a.len && b.len && admit_same_event(a, b, &p->scratch)) p->events[i].same = true;
        }
    }
}

/* ---- placing ---- */

static enum status place_whole(struct placing *g, uint32_t epoch, struct error *err) {
    struct writer_stream s;
    const struct writer_block *b = &g->item->block;
    enum status st = writer_stream_get(g->w, b->host, b->computer, b->channel, epoch, &s, err);
    if (st) return st;
    struct ledger_span *spans = mem_alloc(mem_mul(g->h->n_runs, sizeof *spans));
    for (size_t i = 0; i < g->h->n_runs; i++) {
        const struct batch_run *r = &g->h->runs[i];
        spans[i] = (struct ledger_span){r->first_id, r->first_id + (r->n - 1), r->first_time, r->last_time};
    }
    writer_place(g->w, g->item, s.id, NULL, 0, spans, g->h->n_runs, g->h->n_events);
    g->item->n_stored = g->h->n_events;
    mem_free(spans);
    return ST_OK;
}

static enum status place_epoch(struct placing *g, uint32_t epoch, struct error *err) {
    const struct writer_block *b = &g->item->block;
    const struct admit_event *ev = g->p->events;
    struct writer_stream s;
    enum status st = writer_stream_get(g->w, b->host, b->computer, b->channel, epoch, &s, err);
    if (st) return st;
    size_t n_keep = 0, n_spans = 0;
    uint32_t n_kept = 0;
    struct db_keep *keep = mem_alloc(mem_mul(g->h->n_events, sizeof *keep));
    struct ledger_span *spans = mem_alloc(mem_mul(g->h->n_events, sizeof *spans));
    for (uint32_t i = 0; i < g->h->n_events; i++) {
        if (g->p->epochs[i] != epoch) continue;
        n_kept++;
        if (n_keep && keep[n_keep - 1].first + keep[n_keep - 1].n == i)
            keep[n_keep - 1].n++;
        else
            keep[n_keep++] = (struct db_keep){i, 1};
        struct ledger_span *last = n_spans ? &spans[n_spans - 1] : NULL;
        if (last && ev[i].id && last->last == ev[i].id - 1) {
            last->last = ev[i].id;
            last->last_time = ev[i].time;
        } else {
            spans[n_spans++] = (struct ledger_span){ev[i].id, ev[i].id, ev[i].time, ev[i].time};
        }
    }
    bool all = n_kept == g->h->n_events;
    writer_place(g->w, g->item, s.id, all ? NULL : keep, all ? 0 : n_keep, spans, n_spans, n_kept);
    g->item->n_stored += n_kept;
    mem_free(keep);
    mem_free(spans);
    return ST_OK;
}

static void count_held(struct placing *g, uint32_t n) {
    g->item->n_duplicate = n;
    if (n && g->n_streams) writer_count_duplicates(g->w, g->streams[g->n_streams - 1].id, n);
}

static void tell(struct placing *g, uint32_t n_conflicts, uint32_t begun) {
    const struct writer_block *b = &g->item->block;
    if (!g->p->notice || (!n_conflicts && !begun)) return;
    g->p->notice(g->p->notice_ctx,
                 &(struct placer_notice){b->host, b->computer, b->channel, g->h->epoch, n_conflicts, begun});
}

static enum status place_sorted(struct placing *g, const struct admit_epoch *epochs, struct error *err) {
    struct admit_sorted r;
    uint32_t n = g->h->n_events;
    enum status st = admit_sort(g->p->events, n, g->h->epoch, epochs, g->n_streams, g->p->epochs, &r);
    if (st) return error_set(err, st, "the log begins anew too often in one batch");
    count_held(g, r.n_held);
    /* writer_stream_get may move the streams: nothing of g->streams is used from here on */
    for (size_t e = 0; e < g->n_streams + r.n_begun && !st; e++) {
        uint32_t epoch = e < g->n_streams ? epochs[e].epoch : r.begun[e - g->n_streams];
        bool used = false;
        for (uint32_t i = 0; i < n && !used; i++) used = g->p->epochs[i] == epoch;
        if (used) st = place_epoch(g, epoch, err);
    }
    if (!st) tell(g, r.n_conflicts, g->n_streams && r.n_begun ? r.begun[0] : 0);
    return st;
}

static enum status place_compared(struct placing *g, const struct admit_epoch *epochs, struct error *err) {
    enum status st = open_incoming(g, err);
    if (st) return st;
    if (g->h->epoch != EPOCH_CONTENT) {
        st = compare_stored(g, err);
        if (st) return st;
        if (g->all_held) {
            count_held(g, g->h->n_events);
            return ST_OK;
        }
        compare_inside(g);
    }
    return place_sorted(g, epochs, err);
}

MUST_USE enum status placer_item(struct placer *p, struct writer *w, struct writer_item *item,
                                 const struct batch_header *h, struct error *err) {
    struct writer_stream *all = NULL;
    struct placing g = {.p = p, .w = w, .item = item, .h = h};
    size_t n = writer_streams(w, item->block.host, item->block.computer, item->block.channel, &all);
    /* EPOCH_CONTENT sorts last; a batch meets either that one or all the others */
    size_t n_numbered = n && all[n - 1].epoch == EPOCH_CONTENT ? n - 1 : n;
    g.streams = h->epoch == EPOCH_CONTENT ? all + n_numbered : all;
    g.n_streams = h->epoch == EPOCH_CONTENT ? n - n_numbered : n_numbered;
    p->held_seq = 0;
    p->compared = 0;
    item->n_stored = item->n_duplicate = 0;
    struct admit_epoch *epochs = mem_alloc(mem_mul(g.n_streams + 1, sizeof *epochs));
    for (size_t i = 0; i < g.n_streams; i++) epochs[i] = (struct admit_epoch){g.streams[i].epoch, g.streams[i].ledger};
    struct admit_decision d = admit_by_header(h, epochs, g.n_streams);
    enum status st;
    if (d.verdict == ADMIT_WHOLE) {
        bool begun = g.n_streams && d.epoch != EPOCH_CONTENT && d.epoch > epochs[g.n_streams - 1].epoch;
        st = begun && g.n_streams >= ADMIT_MAX_EPOCHS ? error_set(err, ST_TOOBIG, "the log begins anew too often")
                                                      : place_whole(&g, d.epoch, err);
        if (!st && begun) tell(&g, 0, d.epoch);
    } else {
        st = place_compared(&g, epochs, err);
    }
    mem_free(epochs);
    return st;
}
