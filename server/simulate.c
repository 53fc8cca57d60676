/* Walking the stored events of a simulation.
 *
 * The plan is a list of blocks, filled on the step's own thread from one host after the other, a week of event time at once, until it
 * has some hundreds; the workers take blocks from it by an atomic counter. A worker reads a block's columns, then its payload unless the
 * verdicts are the same whatever its events say, and picks the values that the rules look at (event_pick.h). */
#include "simulate_internal.h"
#include "batch.h"
#include "clock.h"
#include "event_pick.h"
#include "log.h"
#include "mem.h"
#include "render.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#define PLAN_MIN_BLOCKS 512u
#define WINDOW (7 * FILETIME_DAY)
#define WORKER_NICE 10
#define LOOK_EVERY 64u     /* events between looks at the clock inside a block */
#define MAX_BLOCK_MS 20000 /* beyond the step's budget: no real configuration takes that for some thousand events */
#define SYSMON_CHANNEL "Microsoft-Windows-Sysmon/Operational"
#define SYSMON_LINUX_CHANNEL "Linux-Sysmon/Operational"

struct sim_planned {
    struct db_block at;
    uint32_t host;         /* index */
    uint64_t since, until; /* its events in there count now */
};

struct view { /* an engine, for one thread */
    const struct engine *engine;
    struct engine_scratch *scratch;
    struct picker { /* for an event id */
        uint8_t places[F_COUNT];
        struct event_wanted wanted;
        bool known;
    } * pickers[SIM_IDS];
};

struct sim_worker {
    struct simulate *s;
    uv_thread_t thread;
    struct batch_reader *reader;
    struct arena header_arena, arena;
    struct buf block, line;
    struct view candidate, *current;
    struct slice values[SIM_SLOTS]; /* of the event at hand */
    struct sim_tally tally;
    uint32_t stream, epoch; /* of the last sample */
};

/* ---- views: which values an engine wants of an event id ---- */

static void view_init(struct view *v, const struct engine *e) {
    v->engine = e;
    v->scratch = engine_scratch_new(e);
}

static void view_deinit(struct view *v) {
    engine_scratch_free(&v->scratch);
    for (size_t i = 0; i < SIM_IDS; i++) mem_free(v->pickers[i]);
}

static const struct event_wanted *wanted_of(struct view *v, uint32_t id) {
    struct picker *p = v->pickers[id];
    if (p) return &p->wanted;
    struct engine_need need = engine_need(v->engine, id);
    p = v->pickers[id] = mem_zalloc(sizeof *p);
    for (uint32_t f = 1; f < F_COUNT; f++) {
        for (size_t i = 0; i < need.n && i < SIM_SLOTS; i++) {
            if (need.fields[i] == engine_field(f)) p->places[f] = (uint8_t)(i + 1);
        }
    }
    p->wanted = (struct event_wanted){p->places, F_COUNT, need.n < SIM_SLOTS ? need.n : SIM_SLOTS};
    return &p->wanted;
}

/* ---- life ---- */

static unsigned count_threads(unsigned asked) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = asked ? asked : processors > 4 ? (unsigned)processors / 2 : processors > 1 ? 2 : 1;
    return n < SIMULATE_MAX_THREADS ? n : SIMULATE_MAX_THREADS;
}

static void worker_init(struct sim_worker *w, struct simulate *s) {
    w->s = s;
    w->reader = batch_reader_new();
    arena_init(&w->header_arena, BATCH_MAX_RUNS * sizeof(struct batch_run) + 2 * BATCH_MAX_HEADER);
    arena_init(&w->arena, EVENT_ARENA_CAP);
    sim_rows_init(&w->tally.rows);
    w->tally.hosts = mem_zalloc(mem_mul(s->spec.n_hosts, sizeof *w->tally.hosts));
    view_init(&w->candidate, s->candidate);
    w->current = mem_zalloc(mem_mul(s->spec.n_current, sizeof *w->current));
    for (size_t i = 0; i < s->spec.n_current; i++) view_init(&w->current[i], s->current[i]);
}

static void worker_deinit(struct sim_worker *w) {
    batch_reader_free(&w->reader);
    arena_deinit(&w->header_arena);
    arena_deinit(&w->arena);
    buf_free(&w->block);
    buf_free(&w->line);
    view_deinit(&w->candidate);
    for (size_t i = 0; i < w->s->spec.n_current; i++) view_deinit(&w->current[i]);
    mem_free(w->current);
    sim_rows_deinit(&w->tally.rows);
    mem_free(w->tally.hosts);
}

/* The oldest time of any indexed event, UINT64_MAX: none; windows before it would be empty but for what is not indexed yet. */
static uint64_t oldest_indexed(struct db *db) {
    struct db_partition *p = NULL;
    uint64_t oldest = UINT64_MAX;
    size_t n = db_partitions(db, &p);
    for (size_t i = 0; i < n; i++) {
        if (p[i].n_blocks && p[i].min_time < oldest) oldest = p[i].min_time;
    }
    mem_free(p);
    return oldest;
}

/* The last moment of the window that begins at `since`; the first one reaches into what is indexed, the last one to the end. */
static uint64_t window_end(const struct simulate *s, uint64_t since) {
    uint64_t from = since > s->first_indexed ? since : s->first_indexed;
    if (from >= s->spec.until || s->spec.until - from <= WINDOW || from + WINDOW > s->now) return s->spec.until;
    return from + WINDOW - 1;
}

static uint64_t count_windows(const struct simulate *s) {
    uint64_t n = 1;
    for (uint64_t end = window_end(s, s->spec.since); end != s->spec.until; end = window_end(s, end + 1)) n++;
    return n;
}

struct simulate *simulate_new(struct simulate_spec *spec) {
    struct simulate *s = mem_zalloc(sizeof *s);
    s->spec = *spec;
    *spec = (struct simulate_spec){0};
    if (!s->spec.until) s->spec.until = UINT64_MAX;
    if (s->spec.samples > SIM_MAX_SAMPLES) s->spec.samples = SIM_MAX_SAMPLES;
    s->candidate = engine_new(s->spec.candidate);
    s->current = mem_zalloc(mem_mul(s->spec.n_current, sizeof(struct engine *)));
    for (size_t i = 0; i < s->spec.n_current; i++) s->current[i] = engine_new(s->spec.current[i].rules);
    s->n_workers = count_threads(s->spec.n_threads);
    s->workers = mem_zalloc(s->n_workers * sizeof *s->workers);
    for (unsigned i = 0; i < s->n_workers; i++) worker_init(&s->workers[i], s);
    s->window = s->spec.since;
    s->now = clock_wall();
    s->first_indexed = oldest_indexed(s->spec.db);
    s->units_all = s->spec.n_hosts * count_windows(s);
    return s;
}

void simulate_spec_free(struct simulate_spec *spec) {
    for (size_t i = 0; i < spec->n_current; i++) {
        ruleset_free(&spec->current[i].rules);
        mem_free(spec->current[i].name);
    }
    mem_free(spec->current);
    ruleset_free(&spec->candidate);
    for (size_t i = 0; i < spec->n_hosts; i++) mem_free(spec->hosts[i].name);
    mem_free(spec->hosts);
    *spec = (struct simulate_spec){0};
}

void simulate_free(struct simulate **ps) {
    struct simulate *s = *ps;
    if (!s) return;
    for (unsigned i = 0; i < s->n_workers; i++) worker_deinit(&s->workers[i]);
    mem_free(s->workers);
    engine_free(&s->candidate);
    for (size_t i = 0; i < s->spec.n_current; i++) engine_free(&s->current[i]);
    mem_free(s->current);
    simulate_spec_free(&s->spec);
    mem_free(s->plan);
    mem_free(s->sorted);
    mem_free(s);
    *ps = NULL;
}

/* ---- one event ---- */

struct opened { /* a block being judged */
    const struct sim_planned *at;
    struct batch_header h;
    struct batch_columns c;
    struct slice body, payload;
    bool has_payload;
    uint64_t raw; /* encoded bytes of all its events */
};

/* 0 for ids that are no Sysmon event's */
static uint32_t place_of_id(uint32_t event_id) {
    return event_id < SIM_IDS - 1 ? event_id : SIM_IDS - 1;
}

static enum status judge(struct sim_worker *w, struct view *v, const struct opened *b, uint32_t i,
                         enum event_origin origin, struct engine_verdict *ret) {
    uint32_t id = place_of_id(b->c.event_id[i]);
    const struct event_wanted *want = wanted_of(v, id);
    if (want->n) {
        struct slice bytes = slice_of(b->payload.p + b->c.payload_at[i], b->c.payload_len[i]);
        enum status st = event_pick(bytes, b->c.time[i], want, &w->arena, &origin, w->values);
        if (st) return st;
    }
    *ret = engine_judge_values(v->engine, v->scratch, id, origin == ORIGIN_SYSMON, w->values);
    return ST_OK;
}

/* The epoch of the block's stream: a header may have left it to the collector. */
static uint32_t epoch_of(struct sim_worker *w, const struct opened *b) {
    struct db_stream *streams = NULL;
    size_t n = 0;
    if (w->stream == b->at->at.stream) return w->epoch;
    w->epoch = b->h.epoch;
    if (db_streams(w->s->spec.db, b->at->at.host, &streams, &n, NULL)) return w->epoch;
    for (size_t i = 0; i < n; i++) {
        if (streams[i].id == b->at->at.stream) w->epoch = streams[i].epoch;
    }
    db_streams_free(streams, n);
    w->stream = b->at->at.stream;
    return w->epoch;
}

static void take_sample(struct sim_worker *w, const struct opened *b, uint32_t i, struct sim_row *row) {
    struct event ev;
    struct arena a;
    arena_init(&a, EVENT_ARENA_CAP);
    struct slice bytes = slice_of(b->payload.p + b->c.payload_at[i], b->c.payload_len[i]);
    if (event_decode(bytes, &a, &ev) == ST_OK) {
        const char *host = w->s->spec.hosts[b->at->host].name;
        buf_clear(&w->line);
        render_event(&w->line, RENDER_JSON, &(struct render_place){host, epoch_of(w, b), b->c.record_id[i]}, &ev);
        while (w->line.len && w->line.p[w->line.len - 1] == '\n') w->line.len--;
        sim_rows_sample(&w->tally.rows, row, buf_slice(&w->line));
    }
    arena_deinit(&a);
}

static void add_totals(struct sim_totals *t, uint64_t bytes, bool kept, bool kept_now) {
    sim_add(&t->all, 1, bytes);
    sim_add(&t->candidate, kept, kept ? bytes : 0);
    sim_add(&t->current, kept_now, kept_now ? bytes : 0);
    sim_add(&t->both, kept && kept_now, kept && kept_now ? bytes : 0);
}

static enum status judge_event(struct sim_worker *w, const struct opened *b, uint32_t i, enum event_origin origin) {
    struct simulate *s = w->s;
    struct sim_tally *t = &w->tally;
    size_t current = s->spec.hosts[b->at->host].current;
    uint32_t id = place_of_id(b->c.event_id[i]);
    uint64_t bytes = b->raw ? (uint64_t)b->at->at.len * SIM_SHARE * b->c.payload_len[i] / b->raw : 0;
    struct engine_verdict v, now = {.logged = true};
    arena_reset(&w->arena);
    enum status st = judge(w, &w->candidate, b, i, origin, &v);
    if (st) return st;
    const struct event_wanted *want = wanted_of(&w->candidate, id);
    for (size_t k = 0; k < want->n; k++) t->missing[id][k] += !w->values[k].p;
    if (current != SIMULATE_NO_RULES) {
        st = judge(w, &w->current[current], b, i, origin, &now);
        if (st) return st;
        struct sim_row *row = sim_rows_get(&t->rows, id, (uint32_t)current + 1, &now);
        sim_add(&row->all, 1, bytes);
        sim_add(&row->other, v.logged, v.logged ? bytes : 0);
    }
    struct sim_row *row = sim_rows_get(&t->rows, id, 0, &v);
    sim_add(&row->all, 1, bytes);
    sim_add(&row->other, now.logged, now.logged ? bytes : 0);
    if (sim_rows_wants_sample(&t->rows, row, s->spec.samples)) take_sample(w, b, i, row);
    add_totals(&t->ids[id], bytes, v.logged, now.logged);
    add_totals(&t->hosts[b->at->host], bytes, v.logged, now.logged);
    return ST_OK;
}

/* ---- one block ---- */

static enum event_origin origin_of_channel(struct slice channel) {
    if (slice_eq_str(channel, SYSMON_CHANNEL)) return ORIGIN_SYSMON;
    return slice_eq_str(channel, SYSMON_LINUX_CHANNEL) ? ORIGIN_SYSMON_LINUX : ORIGIN_OTHER;
}

/* Can the event be judged by its id alone? */
static bool is_plain(struct sim_worker *w, const struct opened *b, uint32_t i, enum event_origin origin) {
    size_t current = w->s->spec.hosts[b->at->host].current;
    uint32_t id = place_of_id(b->c.event_id[i]);
    return origin != ORIGIN_OTHER && !w->s->spec.samples && !wanted_of(&w->candidate, id)->n &&
           (current == SIMULATE_NO_RULES || !wanted_of(&w->current[current], id)->n);
}

static enum status open_payload(struct sim_worker *w, struct opened *b, struct error *err) {
    if (b->has_payload) return ST_OK;
    enum status st = batch_open_payload(w->reader, &b->h, b->body, &b->payload, err);
    b->has_payload = !st;
    return st;
}

/* The provider of an event in a log that is not Sysmon's own (forwarded ones). */
static enum status find_origin(struct sim_worker *w, const struct opened *b, uint32_t i, enum event_origin *ret) {
    static const struct event_wanted nothing = {0};
    struct slice bytes = slice_of(b->payload.p + b->c.payload_at[i], b->c.payload_len[i]);
    return event_pick(bytes, b->c.time[i], &nothing, &w->arena, ret, NULL);
}

static enum status judge_one(struct sim_worker *w, struct opened *b, uint32_t i, struct error *err) {
    enum event_origin origin = origin_of_channel(b->h.channel);
    bool plain = is_plain(w, b, i, origin);
    enum status st = plain ? ST_OK : open_payload(w, b, err);
    if (st) return st;
    if (!plain && origin == ORIGIN_OTHER) {
        st = find_origin(w, b, i, &origin);
        if (!st && origin == ORIGIN_OTHER) {
            w->tally.foreign++;
            return ST_OK;
        }
    }
    if (!st) st = judge_event(w, b, i, origin);
    w->tally.bad_events += st != ST_OK;
    return ST_OK;
}

static enum status judge_block(struct sim_worker *w, const struct sim_planned *at, struct error *err) {
    struct db_keep *keep = NULL, all = {0, UINT32_MAX};
    struct opened b = {.at = at};
    size_t n_keep = 0;
    uint64_t n_judged = 0;
    buf_clear(&w->block);
    arena_reset(&w->header_arena);
    enum status st = db_read_block(w->s->spec.db, &at->at, &w->block, &keep, &n_keep, err);
    if (st) return st;
    struct slice bytes = buf_slice(&w->block);
    st = batch_header_parse(slice_head(bytes, at->at.header_len), &w->header_arena, &b.h, err);
    b.body = slice_from(bytes, at->at.header_len);
    if (!st) st = batch_open_columns(w->reader, &b.h, b.body, &b.c, err);
    for (uint32_t i = 0; !st && i < b.c.n; i++) b.raw += b.c.payload_len[i];
    for (size_t k = 0; !st && k < (keep ? n_keep : 1); k++) {
        const struct db_keep *part = keep ? &keep[k] : &all;
        for (uint32_t i = part->first; i < b.c.n && i - part->first < part->n && !st; i++) {
            if (b.c.time[i] < at->since || b.c.time[i] > at->until) continue;
            st = judge_one(w, &b, i, err);
            if (++n_judged % LOOK_EVERY == 0 && clock_mono_ms() > w->s->deadline_ms + MAX_BLOCK_MS) {
                atomic_store(&w->s->too_slow, true);
                st = error_set(err, ST_INVALID, "the rules take too long");
            }
        }
    }
    mem_free(keep);
    atomic_fetch_add_explicit(&w->s->n_events, n_judged, memory_order_relaxed);
    return st;
}

static void run_worker(void *arg) {
    struct sim_worker *w = arg;
    struct simulate *s = w->s;
    (void)setpriority(PRIO_PROCESS, 0, WORKER_NICE); /* of this thread, on Linux */
    while (clock_mono_ms() < s->deadline_ms && !atomic_load(&s->too_slow)) {
        size_t at = atomic_fetch_add(&s->next, 1);
        if (at >= s->n_plan) return;
        struct error err = {0};
        enum status st = judge_block(w, &s->plan[at], &err);
        if (st == ST_NOTFOUND) continue; /* expired meanwhile */
        w->tally.blocks++;
        if (!st) continue;
        w->tally.skipped++;
        log_warn("simulate", "host %s: skipping block %lu of pack %llu: %s", s->spec.hosts[s->plan[at].host].name,
                 (unsigned long)s->plan[at].at.index, (unsigned long long)s->plan[at].at.seq, err.msg);
    }
}

/* ---- the plan ---- */

static void plan_blocks(struct simulate *s, uint32_t host, uint64_t since, uint64_t until, const struct db_block *b,
                        size_t n) {
    for (size_t i = 0; i < n; i++) {
        mem_grow((void **)&s->plan, s->n_plan, &s->cap_plan, sizeof *s->plan);
        s->plan[s->n_plan++] = (struct sim_planned){b[i], host, since, until};
    }
}

/* Fills the plan anew. ST_END: every host has been through it. */
static enum status make_plan(struct simulate *s, struct error *err) {
    s->units_done += s->units_plan;
    s->units_plan = 0;
    s->n_plan = 0;
    atomic_store(&s->next, 0);
    while (s->n_plan < PLAN_MIN_BLOCKS && s->next_host < s->spec.n_hosts && clock_mono_ms() < s->deadline_ms) {
        uint64_t since = s->window, until = window_end(s, since);
        struct db_block *blocks = NULL;
        size_t n = 0;
        enum status st = db_host_blocks(s->spec.db, s->spec.hosts[s->next_host].id, since, until, &blocks, &n, err);
        if (st) return st;
        plan_blocks(s, (uint32_t)s->next_host, since, until, blocks, n);
        mem_free(blocks);
        s->units_plan++;
        bool last = until == s->spec.until;
        s->next_host += last;
        s->window = last ? s->spec.since : until + 1;
    }
    return s->n_plan || s->next_host < s->spec.n_hosts ? ST_OK : ST_END;
}

MUST_USE enum status simulate_step(struct simulate *s, unsigned budget_ms, struct error *err) {
    s->deadline_ms = clock_mono_ms() + budget_ms;
    while (!s->counted && clock_mono_ms() < s->deadline_ms) {
        if (atomic_load(&s->next) >= s->n_plan) {
            enum status st = make_plan(s, err);
            if (st && st != ST_END) return st;
            if (st == ST_END) s->counted = true;
            continue;
        }
        unsigned n = 0;
        for (; n < s->n_workers; n++) {
            if (uv_thread_create(&s->workers[n].thread, run_worker, &s->workers[n])) break;
        }
        if (!n) return error_set(err, ST_NOMEM, "no thread can be started");
        for (unsigned i = 0; i < n; i++) (void)uv_thread_join(&s->workers[i].thread);
        if (atomic_load(&s->too_slow)) {
            return error_set(
                err, ST_INVALID,
                "these rules take more than %d s for the events of one block; has a field very many values that begin alike?",
                MAX_BLOCK_MS / 1000);
        }
    }
    return s->counted ? ST_END : ST_OK;
}

struct simulate_progress simulate_progress(const struct simulate *s) {
    enum { PARTS = 1000 };
    size_t next = atomic_load(&s->next);
    uint64_t in_plan = s->n_plan ? PARTS * s->units_plan * (next < s->n_plan ? next : s->n_plan) / s->n_plan : 0;
    uint64_t all = PARTS * s->units_all, done = PARTS * s->units_done + in_plan;
    return (struct simulate_progress){s->counted || done > all ? all : done, all, atomic_load(&s->n_events)};
}

struct sim_tally *sim_total(struct simulate *s) {
    struct sim_tally *total = &s->workers[0].tally;
    for (unsigned i = 1; i < s->n_workers; i++) {
        sim_tally_merge(total, &s->workers[i].tally, s->spec.n_hosts, s->spec.samples);
    }
    return total;
}

uint64_t simulate_skipped(const struct simulate *s) {
    uint64_t n = 0;
    for (unsigned i = 0; i < s->n_workers; i++) n += s->workers[i].tally.skipped;
    return n;
}
