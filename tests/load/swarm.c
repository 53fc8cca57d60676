/* The swarm. Invariants: at most `at_once` sims are opening; nothing is sent before all that can be up are up and the
 * prepared batches are made; the clock runs from the first sending to the last ack. */
#include "swarm.h"
#include "clock.h"
#include "mem.h"
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define PACE_MS 1u
#define TICK_MS 100u
#define STUCK_MS 60000u        /* without anything happening, what is missing is given up */
#define STUCK_REFUSED_MS 5000u /* the same when agents were refused for good: it is theirs that is missing */
#define MAX_THREADS 64u

enum phase {
    PHASE_OPENING,
    PHASE_PREPARING,
    PHASE_RUNNING,
    PHASE_DRAINING, /* nothing new is sent; acks are awaited */
    PHASE_CLOSING,
    PHASE_OVER
};
static const char *const phase_names[] = {"connecting", "preparing", "sending", "waiting for acks", "closing", "done"};

struct maker { /* a work thread's task */
    uv_work_t work;
    struct swarm *w;
    unsigned number;
    uint64_t events;
};

struct swarm {
    const struct swarm_options *o;
    uv_loop_t loop;
    uv_timer_t tick, pace;
    uv_signal_t signals[2];
    struct sim_world world;
    struct keys keys;
    struct token token;
    struct sim *sims;
    struct press *press;
    enum phase phase;
    bool stopping;
    uint32_t n_opening, n_over, next_open, next_turn;
    uint64_t live_batches;
    uint64_t opening_us, opened_us, preparing_us, begin_us, end_us, moved_ms, moved_mark;
    double cpu_at_begin, cpu_used;
    struct maker makers[MAX_THREADS];
    unsigned n_making;
    uint64_t prepared_events;
    swarm_progress_fn progress;
    void *progress_ctx;
};

static uint64_t now_us(void) {
    return uv_hrtime() / 1000;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void enter(struct swarm *w, enum phase next) {
    w->phase = next;
    w->moved_ms = uv_now(&w->loop);
}

/* ---- the end ---- */

static void end_if_over(struct swarm *w) {
    if (w->phase != PHASE_CLOSING || w->n_over < w->o->agents) return;
    enter(w, PHASE_OVER);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_close((uv_handle_t *)&w->pace, NULL);
    for (int i = 0; i < 2; i++) uv_close((uv_handle_t *)&w->signals[i], NULL);
}

/* The loop stands still meanwhile: nothing is under way then. */
static void run_command(const char *command) {
    if (command && system(command)) fprintf(stderr, "haechi-load: this command failed: %s\n", command);
}

static void close_all(struct swarm *w) {
    if (w->phase >= PHASE_CLOSING) return;
    if (w->begin_us && !w->end_us) {
        w->end_us = now_us();
        w->cpu_used = cpu_s() - w->cpu_at_begin;
        run_command(w->o->after);
    }
    enter(w, PHASE_CLOSING);
    for (uint32_t i = 0; i < w->o->agents; i++) sim_finish(&w->sims[i]);
    end_if_over(w);
}

static bool all_idle(const struct swarm *w) {
    const struct sim_counts *n = &w->world.counts;
    return n->acked_batches + n->rejected_batches == n->sent_batches;
}

static void drain_if_due(struct swarm *w) {
    if (w->phase == PHASE_DRAINING && all_idle(w)) close_all(w);
}

static void stop_sending(struct swarm *w) {
    if (w->phase != PHASE_RUNNING) return;
    uv_timer_stop(&w->pace);
    enter(w, PHASE_DRAINING);
    drain_if_due(w);
}

/* ---- sending ---- */

static struct cargo *next(void *ctx, struct sim *s) {
    struct swarm *w = ctx;
    if (w->phase != PHASE_RUNNING || w->o->hold) return NULL;
    struct cargo *c = press_next(w->press, &s->reel, w->o->batch);
    if (c) w->live_batches++;
    return c;
}

static bool is_all_sent(const struct swarm *w) {
    return w->o->events && w->world.counts.sent_events >= w->o->events;
}

static void on_acked(void *ctx, struct sim *s) {
    struct swarm *w = ctx;
    if (w->phase == PHASE_RUNNING && !w->o->rate) sim_pump(s);
    if (w->phase == PHASE_RUNNING && is_all_sent(w)) stop_sending(w);
    drain_if_due(w);
}

/* Round robin: whose turn it is sends one batch, if it can. */
static bool send_one(struct swarm *w) {
    for (uint32_t tried = 0; tried < w->o->agents; tried++) {
        struct sim *s = &w->sims[w->next_turn];
        w->next_turn = w->next_turn + 1 == w->o->agents ? 0 : w->next_turn + 1;
        if (sim_send_one(s)) return true;
    }
    return false;
}

/* What could not be sent in time is sent later: the rate is held over the whole, not made up beyond a second. */
static void on_pace(uv_timer_t *timer) {
    struct swarm *w = timer->data;
    uv_update_time(&w->loop);
    double due = (double)(now_us() - w->begin_us) / 1e6 * (double)w->o->rate;
    while (w->phase == PHASE_RUNNING && (double)w->world.counts.sent_events < due) {
        if (!send_one(w)) break;
        if (is_all_sent(w)) stop_sending(w);
    }
}

static void run(struct swarm *w) {
    run_command(w->o->before);
    uv_update_time(&w->loop);
    enter(w, PHASE_RUNNING);
    w->begin_us = now_us();
    w->cpu_at_begin = cpu_s();
    if (w->o->hold) return;
    if (w->o->rate) {
        uv_timer_start(&w->pace, on_pace, 0, PACE_MS);
        return;
    }
    for (uint32_t i = 0; i < w->o->agents && w->phase == PHASE_RUNNING; i++) on_acked(w, &w->sims[i]);
}

/* ---- preparing ---- */

static void make_batches(uv_work_t *work) {
    struct maker *m = work->data;
    struct swarm *w = m->w;
    struct press *p = press_new(w->o->tape);
    uint64_t each = w->o->prepared / w->o->agents;
    for (uint32_t i = m->number; i < w->o->agents; i += w->o->threads) {
        struct sim *s = &w->sims[i];
        if (!s->placed) continue;
        for (uint64_t made = 0; made < each;) {
            struct cargo *c = press_next(p, &s->reel, w->o->batch);
            if (!c) break;
            made += c->n_events;
            m->events += c->n_events;
            sim_prepare(s, c);
        }
    }
    press_free(&p);
}

static void on_made(uv_work_t *work, int status) {
    struct maker *m = work->data;
    struct swarm *w = m->w;
    (void)status;
    w->prepared_events += m->events;
    if (--w->n_making) return;
    w->preparing_us = now_us() - w->preparing_us;
    if (w->stopping)
        close_all(w);
    else if (w->phase == PHASE_PREPARING)
        run(w);
}

static void prepare(struct swarm *w) {
    enter(w, PHASE_PREPARING);
    w->preparing_us = now_us();
    if (!w->o->prepared || w->o->hold) {
        w->preparing_us = 0;
        run(w);
        return;
    }
    w->n_making = w->o->threads;
    for (unsigned i = 0; i < w->o->threads; i++) {
        w->makers[i] = (struct maker){.w = w, .number = i};
        w->makers[i].work.data = &w->makers[i];
        if (uv_queue_work(&w->loop, &w->makers[i].work, make_batches, on_made)) abort(); /* only for a NULL function */
    }
}

/* ---- opening ---- */

static void save_keys(struct swarm *w) {
    struct error err = {0};
    if (w->o->state && w->world.counts.enrolled && keys_save(w->o->state, &w->keys, &err))
        fprintf(stderr, "haechi-load: the identities are not kept: %s\n", err.msg);
}

/* Each sim is up, or will never be. */
static void opened_if_due(struct swarm *w) {
    if (w->phase != PHASE_OPENING) return;
    uint32_t up = 0;
    if (w->world.counts.welcomes + w->n_over < w->o->agents) return;
    for (uint32_t i = 0; i < w->o->agents; i++) up += w->sims[i].state == SIM_READY;
    if (up + w->n_over < w->o->agents) return;
    w->opened_us = now_us();
    save_keys(w);
    if (up && !w->stopping)
        prepare(w);
    else
        close_all(w);
}

static void open_some(struct swarm *w) {
    uint64_t now = uv_now(&w->loop);
    if (w->phase >= PHASE_CLOSING) return;
    for (uint32_t tried = 0; tried < w->o->agents && w->n_opening < w->o->at_once; tried++) {
        struct sim *s = &w->sims[w->next_open];
        w->next_open = w->next_open + 1 == w->o->agents ? 0 : w->next_open + 1;
        if (!sim_wants_open(s, now)) continue;
        w->n_opening++;
        sim_open(s);
    }
}

static void on_settled(void *ctx, struct sim *s) {
    struct swarm *w = ctx;
    (void)s;
    w->n_opening--;
    opened_if_due(w);
}

static void on_over(void *ctx, struct sim *s) {
    struct swarm *w = ctx;
    (void)s;
    w->n_over++;
    opened_if_due(w);
    end_if_over(w);
}

/* ---- time ---- */

static void fill_report(const struct swarm *w, struct swarm_report *r) {
    const struct sim_counts *n = &w->world.counts;
    uint64_t end = n->last_ack_us > w->begin_us ? n->last_ack_us : w->end_us ? w->end_us : now_us();
    if (w->phase == PHASE_RUNNING) end = now_us();
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    *r = (struct swarm_report){.agents = w->o->agents,
                               .sent_events = n->sent_events,
                               .sent_batches = n->sent_batches,
                               .sent_bytes = n->sent_bytes,
                               .acked_events = n->acked_events,
                               .acked_batches = n->acked_batches,
                               .rejected_events = n->rejected_events,
                               .rejected_batches = n->rejected_batches,
                               .resent_batches = n->resent_batches,
                               .live_batches = w->live_batches,
                               .lost_events = n->sent_events - n->acked_events - n->rejected_events,
                               .enrolled = n->enrolled,
                               .welcomes = n->welcomes,
                               .reconnects = n->reconnects,
                               .failed = n->failed,
                               .rules_offers = n->rules_offers,
                               .rules_loaded = n->rules_loaded,
                               .seconds = w->begin_us ? (double)(end - w->begin_us) / 1e6 : 0,
                               .opening_s = (double)((w->opened_us ? w->opened_us : now_us()) - w->opening_us) / 1e6,
                               .preparing_s = (double)w->preparing_us / 1e6,
                               .prepared_events = (double)w->prepared_events,
                               .cpu_s = w->cpu_used,
                               .rss_bytes = (uint64_t)u.ru_maxrss * 1024,
                               .latency_us = n->latency_us};
    for (uint32_t i = 0; i < w->o->agents; i++) r->up += w->sims[i].state == SIM_READY;
    snprintf(r->trouble, sizeof r->trouble, "%s", w->world.trouble);
    snprintf(r->rejection, sizeof r->rejection, "%s", w->world.rejection);
}

/* Nothing moves any more: what is missing stays missing. */
static void check_stuck(struct swarm *w, uint64_t now) {
    const struct sim_counts *n = &w->world.counts;
    uint64_t mark = n->acked_batches + n->sent_batches + n->rejected_batches + n->welcomes + n->enrolled + w->n_over;
    bool waits = w->phase == PHASE_PREPARING || (w->phase == PHASE_RUNNING && w->o->hold);
    if (mark != w->moved_mark || waits) {
        w->moved_mark = mark;
        w->moved_ms = now;
    } else if (now - w->moved_ms >= (n->failed ? STUCK_REFUSED_MS : STUCK_MS)) {
        close_all(w);
    }
}

static void on_tick(uv_timer_t *timer) {
    struct swarm *w = timer->data;
    uint64_t now = uv_now(&w->loop);
    for (uint32_t i = 0; i < w->o->agents; i++) sim_tick(&w->sims[i], now);
    if (w->progress) {
        struct swarm_report *r = mem_alloc(sizeof *r);
        fill_report(w, r);
        w->progress(w->progress_ctx, phase_names[w->phase], r->seconds, r);
        mem_free(r);
    }
    if (w->phase == PHASE_RUNNING && w->o->seconds && now_us() - w->begin_us >= w->o->seconds * 1000000) {
        if (w->o->hold)
            close_all(w);
        else
            stop_sending(w);
    }
    check_stuck(w, now);
}

static void on_prepare(uv_prepare_t *p) {
    open_some(p->data);
}

static void on_signal(uv_signal_t *sig, int number) {
    struct swarm *w = sig->data;
    (void)number;
    if (w->stopping || w->phase == PHASE_OPENING || (w->phase == PHASE_RUNNING && w->o->hold))
        close_all(w); /* the second time at once */
    w->stopping = true;
    stop_sending(w);
}

/* ---- beginning ---- */

static enum status find_identities(struct swarm *w, struct error *err) {
    const struct swarm_options *o = w->o;
    enum status st = o->state ? keys_load(o->state, &w->keys, err) : ST_NOTFOUND;
    if (st && st != ST_NOTFOUND) return st;
    if (o->token) {
        st = token_decode(slice_str(o->token), &w->token, err);
        struct tls_client_options t = {.ca_pin = w->token.pin, .alpn = TLS_ALPN_ENROLL};
        if (!st) st = tls_client_config(&t, &w->world.enroll_tls, err);
        if (st) return st;
        w->world.token = &w->token;
    } else if (st) {
        return error_set(err, ST_INVALID,
                         "no hosts are kept in %s: give a token that may be used %u times, made by "
                         "`haechi token create --uses %u`",
                         o->state ? o->state : "a --state directory", o->agents, o->agents);
    }
    struct keys *k = &w->keys;
    const char *collector = o->collector ? o->collector : o->token ? w->token.address : k->collector;
    if (collector != k->collector) snprintf(k->collector, sizeof k->collector, "%s", collector);
    uint32_t random;
    tls_random(&random, sizeof random);
    if (o->prefix) snprintf(k->prefix, sizeof k->prefix, "%.40s", o->prefix);
    if (!k->prefix[0]) snprintf(k->prefix, sizeof k->prefix, "load-%04x", random & 0xffff);
    keys_resize(k, o->agents);
    return address_split(slice_str(k->collector), 7443, w->world.host, &w->world.port, err);
}

static void make_sims(struct swarm *w) {
    const struct swarm_options *o = w->o;
    w->sims = mem_alloc(mem_mul(o->agents, sizeof *w->sims));
    for (uint32_t i = 0; i < o->agents; i++) {
        struct sim *s = &w->sims[i];
        sim_init(s, &w->world, i);
        s->reel.at = (size_t)((uint64_t)i * o->tape->n / o->agents);
        s->reel.label.computer = slice_str(w->keys.entries[i].name);
        /* odd multiplier: different for all hosts, and from run to run the same */
        s->reel.label.mark = (i + 1) * UINT32_C(2654435761);
        s->reel.left = o->events ? o->events / o->agents + (i < o->events % o->agents) : UINT64_MAX;
    }
}

static void start_handles(struct swarm *w, uv_prepare_t *opener) {
    static const int numbers[2] = {SIGINT, SIGTERM};
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->tick);
    uv_timer_init(&w->loop, &w->pace);
    w->tick.data = w->pace.data = w;
    uv_timer_start(&w->tick, on_tick, 0, TICK_MS);
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&w->loop, &w->signals[i]);
        w->signals[i].data = w;
        uv_signal_start(&w->signals[i], on_signal, numbers[i]);
    }
    uv_prepare_init(&w->loop, opener);
    opener->data = w;
    uv_prepare_start(opener, on_prepare);
    uv_unref((uv_handle_t *)opener);
}

enum status swarm_run(const struct swarm_options *o, swarm_progress_fn progress, void *ctx, struct swarm_report *ret,
                      struct error *err) {
    struct swarm *w = mem_zalloc(sizeof *w);
    uv_prepare_t opener;
    w->o = o;
    w->progress = progress;
    w->progress_ctx = ctx;
    w->world.tape = o->tape;
    w->world.keys = &w->keys;
    w->world.window = o->window;
    w->world.rules = &o->rules;
    w->world.ctx = w;
    w->world.next = next;
    w->world.settled = on_settled;
    w->world.acked = on_acked;
    w->world.over = on_over;
    enum status st = find_identities(w, err);
    if (!st) {
        w->world.loop = &w->loop;
        arena_init(&w->world.arena, 4u * 1024 * 1024);
        start_handles(w, &opener);
        make_sims(w);
        w->press = press_new(o->tape);
        w->opening_us = now_us();
        enter(w, PHASE_OPENING);
        uv_run(&w->loop, UV_RUN_DEFAULT);
        uv_close((uv_handle_t *)&opener, NULL);
        uv_run(&w->loop, UV_RUN_DEFAULT);
        uv_loop_close(&w->loop);
        fill_report(w, ret);
        for (uint32_t i = 0; i < o->agents; i++) sim_deinit(&w->sims[i]);
        press_free(&w->press);
        arena_deinit(&w->world.arena);
    }
    tls_config_free(&w->world.enroll_tls);
    mem_wipe(&w->token, sizeof w->token);
    keys_free(&w->keys);
    mem_free(w->sims);
    mem_free(w);
    return st;
}
