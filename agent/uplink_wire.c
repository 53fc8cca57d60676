/* 5 WIRE  libuv behind struct uplink_io. Invariants: at most one connection; a TLS configuration lives as long as a
 * connection uses it; wire_run returns only when every handle is closed. Loop thread, but for wire_wake. */
#include "uplink_wire.h"
#include "clock.h"
#include "conn.h"
#include "log.h"
#include "mem.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define TICK_MS 100
#define N_SIGNALS 3

/* One piece of work on a thread of its own. `finished` is that thread's last act but for waking the loop. */
struct job {
    struct wire *wire;
    struct job *next;
    void (*work)(void *arg), (*done)(void *arg);
    void *arg;
    atomic_bool finished;
    uv_thread_t thread;
};

struct wire {
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer;
    uv_signal_t signals[N_SIGNALS];
    struct conn *conn;
    struct tls_config *cfg, *next_cfg; /* of the live connection; of the next ones when another was set meanwhile */
    struct wire_user user;
    bool ending, spawned;
    uv_thread_t thread;
    struct job *jobs;
};

static void run_job(void *arg) {
    struct job *j = arg;
    j->work(j->arg);
    atomic_store(&j->finished, true);
    uv_async_send(&j->wire->async); /* the handle stays open until the thread was joined */
}

bool wire_work(struct wire *w, void (*work)(void *arg), void (*done)(void *arg), void *arg) {
    if (w->ending) return false;
    struct job *j = mem_zalloc(sizeof *j);
    *j = (struct job){.wire = w, .next = w->jobs, .work = work, .done = done, .arg = arg};
    atomic_init(&j->finished, false);
    int rc = uv_thread_create(&j->thread, run_job, j);
    if (rc) {
        log_error("uplink", "cannot start a thread: %s", uv_strerror(rc));
        abort(); /* out of threads: nothing to go on with */
    }
    w->jobs = j;
    return true;
}

static void reap_jobs(struct wire *w) {
    for (struct job **at = &w->jobs; *at;) {
        struct job *j = *at;
        if (!atomic_load(&j->finished)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        uv_thread_join(&j->thread);
        j->done(j->arg); /* may begin another one, at the head of the list */
        mem_free(j);
        at = &w->jobs;
    }
}

/* The last thing that keeps the loop: it is what a job wakes it by. */
static void close_async(struct wire *w) {
    if (w->ending && !w->jobs && !uv_is_closing((uv_handle_t *)&w->async)) uv_close((uv_handle_t *)&w->async, NULL);
}

static void on_async(uv_async_t *h) {
    struct wire *w = h->data;
    reap_jobs(w);
    close_async(w);
    if (!w->ending && w->user.on_wake) w->user.on_wake(w->user.ctx);
}

static void on_timer(uv_timer_t *h) {
    struct wire *w = h->data;
    if (!w->ending && w->user.on_tick) w->user.on_tick(w->user.ctx);
}

static void on_signal(uv_signal_t *h, int number) {
    struct wire *w = h->data;
    if (w->ending) return;
    if (w->user.on_signal)
        w->user.on_signal(w->user.ctx, number == SIGHUP);
    else if (number != SIGHUP)
        wire_end(w);
}

struct wire *wire_new(void) {
    static const int numbers[N_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    struct wire *w = mem_zalloc(sizeof *w);
    int rc = uv_loop_init(&w->loop);
    if (!rc) rc = uv_async_init(&w->loop, &w->async, on_async);
    if (!rc) rc = uv_timer_init(&w->loop, &w->timer);
    for (size_t i = 0; i < N_SIGNALS && !rc; i++) {
        rc = uv_signal_init(&w->loop, &w->signals[i]);
        w->signals[i].data = w;
        /* A signal that this system does not have is one that never comes. */
        if (!rc && uv_signal_start(&w->signals[i], on_signal, numbers[i])) w->signals[i].data = w;
    }
    if (!rc) rc = uv_timer_start(&w->timer, on_timer, TICK_MS, TICK_MS);
    if (rc) {
        log_error("uplink", "the event loop cannot start: %s", uv_strerror(rc));
        abort(); /* out of descriptors at program start: nothing to go on with */
    }
    w->async.data = w->timer.data = w;
    return w;
}

void wire_free(struct wire **w) {
    if (!*w) return;
    if (!(*w)->ending) { /* never ran */
        wire_end(*w);
        wire_run(*w);
    }
    tls_config_free(&(*w)->cfg);
    tls_config_free(&(*w)->next_cfg);
    mem_free(*w);
    *w = NULL;
}

void wire_set_user(struct wire *w, const struct wire_user *user) {
    w->user = *user;
}

void wire_set_tls(struct wire *w, struct tls_config *cfg) {
    if (w->conn) {
        tls_config_free(&w->next_cfg);
        w->next_cfg = cfg;
    } else {
        tls_config_free(&w->cfg);
        w->cfg = cfg;
    }
}

/* ---- the connection ---- */

static void on_open(struct conn *c, void *owner) {
    (void)c;
    struct wire *w = owner;
    w->user.on_open(w->user.ctx);
}

static void on_data(struct conn *c, void *owner, struct slice plain) {
    (void)c;
    struct wire *w = owner;
    w->user.on_data(w->user.ctx, plain);
}

static void on_drained(struct conn *c, void *owner) {
    (void)c;
    struct wire *w = owner;
    if (w->user.on_drained) w->user.on_drained(w->user.ctx);
}

static void on_closed(struct conn *c, void *owner, enum status why, const char *text) {
    struct wire *w = owner;
    char copy[ERROR_TEXT_MAX];
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    assert(c == w->conn);
    conn_free(&c);
    w->conn = NULL;
    if (w->next_cfg) {
        tls_config_free(&w->cfg);
        w->cfg = w->next_cfg;
        w->next_cfg = NULL;
    }
    if (!w->ending) w->user.on_closed(w->user.ctx, why, copy);
}

static void io_connect(void *ctx, const char *host, uint16_t port) {
    static const struct conn_events events = {.on_open = on_open,
                                              .on_data = on_data,
                                              .on_drained = on_drained,
                                              .on_closed = on_closed};
    struct wire *w = ctx;
    assert(!w->conn && w->cfg);
    w->conn = conn_connect(&w->loop, w->cfg, host, port, &events, w);
}

static void io_write(void *ctx, struct slice bytes) {
    struct wire *w = ctx;
    if (w->conn) conn_write(w->conn, bytes);
}

static bool io_can_write(void *ctx) {
    const struct wire *w = ctx;
    return w->conn && !conn_is_closing(w->conn) && conn_can_write(w->conn);
}

static void io_close(void *ctx, bool flush) {
    struct wire *w = ctx;
    if (!w->conn) return;
    if (flush)
        conn_close_after_flush(w->conn, ST_CLOSED, "");
    else
        conn_close(w->conn, ST_CLOSED, "");
}

static uint64_t io_now_ms(void *ctx) {
    (void)ctx;
    return clock_mono_ms();
}

static uint64_t io_wall(void *ctx) {
    (void)ctx;
    return clock_wall();
}

static uint32_t io_random(void *ctx) {
    (void)ctx;
    uint32_t r;
    tls_random(&r, sizeof r);
    return r;
}

struct uplink_io wire_io(struct wire *w) {
    return (struct uplink_io){.ctx = w,
                              .now_ms = io_now_ms,
                              .wall = io_wall,
                              .random = io_random,
                              .connect = io_connect,
                              .write = io_write,
                              .can_write = io_can_write,
                              .close = io_close};
}

/* ---- life ---- */

enum status wire_spawn(struct wire *w, void (*run)(void *arg), void *arg, struct error *err) {
    int rc = uv_thread_create(&w->thread, run, arg);
    w->spawned = rc == 0;
    return rc ? error_set(err, ST_NOMEM, "cannot start a thread: %s", uv_strerror(rc)) : ST_OK;
}

void wire_run(struct wire *w) {
    uv_run(&w->loop, UV_RUN_DEFAULT);
    if (w->spawned) uv_thread_join(&w->thread); /* before the loop goes: it may still be in wire_wake */
    w->spawned = false;
    int rc = uv_loop_close(&w->loop);
    assert(rc == 0);
    (void)rc;
}

void wire_end(struct wire *w) {
    if (w->ending) return;
    w->ending = true;
    if (w->conn) conn_close(w->conn, ST_CLOSED, "");
    close_async(w);
    uv_close((uv_handle_t *)&w->timer, NULL);
    for (size_t i = 0; i < N_SIGNALS; i++) uv_close((uv_handle_t *)&w->signals[i], NULL);
}

void wire_wake(struct wire *w) {
    uv_async_send(&w->async);
}
