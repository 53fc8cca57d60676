/* 6 COLLECT  What a session asks of its surroundings: its connection, the door of ingest, work threads, the fleet, rollouts.
 *
 * A peer lives until three things are over: its connection, the batches that it brought, the job that it started. */
#include "clock.h"
#include "listener_internal.h"
#include "mem.h"

#include <stdlib.h>

static void count_unread(struct peer *p, bool unread) {
    if (p->unread != unread) p->loop->n_unread += unread ? 1 : (size_t)-1;
    p->unread = unread;
}

void peer_try_free(struct peer *p) {
    if (p->conn || !session_can_free(&p->session)) return;
    struct loop *lp = p->loop;
    list_remove(&p->link);
    list_remove(&p->dirty);
    list_remove(&p->asked);
    count_unread(p, false);
    lp->n_peers--;
    session_deinit(&p->session);
    mem_free(p);
}

void peer_handshake_over(struct peer *p) {
    if (p->opened) return;
    p->opened = true;
    atomic_fetch_sub(&p->loop->l->handshakes, 1);
    stats_add(p->loop->l->o.stats, STATS_handshakes, -1);
}

static uint64_t io_now_ms(void *ctx) {
    return uv_now(&((struct peer *)ctx)->loop->uv);
}

static uint64_t io_now(void *ctx) {
    (void)ctx;
    return clock_wall();
}

static void io_send(void *ctx, struct slice bytes) {
    conn_write(((struct peer *)ctx)->conn, bytes);
}

static bool io_can_send(void *ctx) {
    return conn_can_write(((struct peer *)ctx)->conn);
}

static void io_read(void *ctx, bool on) {
    struct peer *p = ctx;
    count_unread(p, !on);
    if (on)
        conn_resume(p->conn);
    else
        conn_pause(p->conn);
}

static void io_close(void *ctx, enum status why, const char *text) {
    conn_close_after_flush(((struct peer *)ctx)->conn, why, text);
}

static bool io_can_take(void *ctx) {
    return ingest_can_take(((struct peer *)ctx)->loop->door);
}

static void on_batch_done(void *owner, const struct ingest_result *r) {
    struct peer *p = owner;
    session_batch_done(&p->session, r);
    list_remove(&p->dirty);
    list_append(&p->loop->dirty, &p->dirty);
    if (p->session.state == SESSION_CLOSED) peer_try_free(p);
}

static void io_batch(void *ctx, uint64_t number, struct buf *body) {
    struct peer *p = ctx;
    ingest_put(p->loop->door, p->session.host, body, number, on_batch_done, p);
}

struct errand {
    uv_work_t work;
    struct peer *peer;
    struct job *job;
};

static void run_errand(uv_work_t *w) {
    struct errand *e = w->data;
    struct listener *l = e->peer->loop->l;
    struct job_context c = {.fleet = l->o.fleet, .db = l->o.db};
    job_run(e->job, &c);
}

static void end_errand(struct errand *e) {
    struct peer *p = e->peer;
    session_job_done(&p->session, e->job);
    mem_free(e);
    peer_try_free(p);
}

static void on_errand_done(uv_work_t *w, int status) {
    struct errand *e = w->data;
    if (status && !e->job->st) e->job->st = ST_CANCELLED;
    end_errand(e);
}

static enum status explain(void *arg, struct writer *w, struct error *err) {
    return job_explain(((struct errand *)arg)->job, w, err);
}

static void on_explained(void *arg, enum status st, const struct error *err) {
    struct errand *e = arg;
    e->job->st = st;
    if (st && err) e->job->err = *err;
    end_errand(e);
}

static void io_job(void *ctx, struct job *j) {
    struct peer *p = ctx;
    struct errand *e = mem_zalloc(sizeof *e);
    *e = (struct errand){.peer = p, .job = j};
    e->work.data = e;
    if (j->kind == JOB_GAP)
        ingest_call(p->loop->door, explain, on_explained, e);
    else if (uv_queue_work(&p->loop->uv, &e->work, run_errand, on_errand_done))
        abort(); /* only for a NULL function */
}

static void io_report(void *ctx, const struct fleet_report *r) {
    struct peer *p = ctx;
    fleet_report(p->loop->l->o.fleet, p->session.host, r);
}

static void io_end(void *ctx, uint64_t fleet_session) {
    fleet_session_end(((struct peer *)ctx)->loop->l->o.fleet, fleet_session);
}

static uint64_t io_rules_came(void *ctx, const struct rules_report *says) {
    struct peer *p = ctx;
    struct rollouts *r = p->loop->l->o.rollouts;
    return r ? rollouts_came(r, p->session.host, says) : 0;
}

static void io_rules_heard(void *ctx, const struct rules_report *says) {
    struct peer *p = ctx;
    rollouts_heard(p->loop->l->o.rollouts, p->session.host, says);
}

static const struct order *io_rules_due(void *ctx, uint64_t connection) {
    struct peer *p = ctx;
    return rollouts_due(p->loop->l->o.rollouts, p->session.host, connection);
}

static void io_rules_gone(void *ctx, uint64_t connection) {
    struct peer *p = ctx;
    rollouts_gone(p->loop->l->o.rollouts, p->session.host, connection);
}

const struct session_io peer_io = {io_now_ms, io_now,        io_send,        io_can_send,  io_read,
                                   io_close,  io_can_take,   io_batch,       io_job,       io_report,
                                   io_end,    io_rules_came, io_rules_heard, io_rules_due, io_rules_gone};
