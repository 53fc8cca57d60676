/* Loops, sockets and connections. Each struct loop and its peers belong to its thread; the counts of connections are
 * atomics shared by all; calls (cut a host, offer rules, be quiet) come through a queue and an async handle. */
#include "clock.h"
#include "listener_internal.h"
#include "log.h"
#include "mem.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BACKLOG 1024
#define TICK_MS 1000
#define OFFERS_A_TURN 32 /* then the loop does what else there is */

/* ---- connections ---- */

static void accept_more(struct loop *lp);

/* A certificate that is not let in, or a peer that does not accept ours. */
static void note_refused(struct peer *p, const char *address, enum status why, const char *text) {
    struct listener *l = p->loop->l;
    if (!l->o.notice || (why != ST_AUTH && why != ST_REVOKED && why != ST_EXPIRED)) return;
    char who[200], detail[ERROR_TEXT_MAX + 80];
    const struct tls_peer *claimed = conn_peer(p->conn);
    const char *port = strrchr(address, ':');
    if (*claimed->common_name)
        snprintf(who, sizeof who, "%s", claimed->common_name);
    else
        snprintf(who, sizeof who, "%.*s", (int)(port ? (size_t)(port - address) : strlen(address)), address);
    if (!refusals_pass(&p->loop->refusals, who, (int)why, clock_mono_ms() + 1)) return;
    snprintf(detail, sizeof detail, "from %s: %s", address, text && *text ? text : status_text(why));
    l->o.notice(l->o.notice_ctx, 0, "connection refused", log_peer(slice_str(who)), log_peer(slice_str(detail)));
}

static void open_agent(struct peer *p, const char *address) {
    struct listener *l = p->loop->l;
    struct fleet_host host = {0};
    struct error err = {0};
    const struct tls_peer *who = conn_peer(p->conn);
    enum status st = who && who->verified ? fleet_host_of_peer(l->o.fleet, who, &host, &err) : ST_AUTH;
    if (st) {
        log_warn("listener", "%s: an agent without a certificate of this collector (%s); closing the connection",
                 address, err.msg[0] ? err.msg : status_text(st));
        stats_add(l->o.stats, STATS_connections_refused, 1);
        note_refused(p, address, ST_AUTH, "an agent without a certificate of this collector");
        conn_close(p->conn, st, "no valid certificate");
        return;
    }
    session_open(&p->session, host.id, host.name, address);
    fleet_host_free(&host);
}

static void on_open(struct conn *c, void *owner) {
    struct peer *p = owner;
    char address[64];
    peer_handshake_over(p);
    conn_address(c, address, sizeof address);
    const char *alpn = conn_alpn(c);
    if (alpn && strcmp(alpn, TLS_ALPN_AGENT) == 0)
        open_agent(p, address);
    else if (alpn && strcmp(alpn, TLS_ALPN_ENROLL) == 0)
        session_open(&p->session, 0, "", address);
    else
        conn_close(c, ST_PROTO, "no protocol agreed");
    accept_more(p->loop);
}

static void on_data(struct conn *c, void *owner, struct slice plain) {
    (void)c;
    session_feed(&((struct peer *)owner)->session, plain);
}

static void on_drained(struct conn *c, void *owner) {
    (void)c;
    session_go_on(&((struct peer *)owner)->session);
}

static void on_closed(struct conn *c, void *owner, enum status why, const char *text) {
    struct peer *p = owner;
    struct loop *lp = p->loop;
    char address[64];
    conn_address(c, address, sizeof address);
    if (!p->opened) {
        stats_add(lp->l->o.stats, STATS_handshake_failures, 1);
        log_info("listener", "%s: no session: %s", address,
                 text && *text ? log_peer(slice_str(text)) : status_text(why));
        note_refused(p, address, why, text);
        peer_handshake_over(p);
    }
    session_closed(&p->session, why, text);
    address_forget(&lp->addresses, p->address);
    conn_free(&p->conn);
    atomic_fetch_sub(&lp->l->connections, 1);
    stats_add(lp->l->o.stats, STATS_open_connections, -1);
    peer_try_free(p);
    accept_more(lp);
}

static const struct conn_events peer_events = {on_open, on_data, on_drained, NULL, on_closed};

static bool has_room(struct listener *l) {
    return atomic_load(&l->connections) < l->o.max_connections && atomic_load(&l->handshakes) < l->o.max_handshakes;
}

static void accept_one(struct loop *lp) {
    struct listener *l = lp->l;
    struct peer *p = mem_zalloc(sizeof *p);
    p->loop = lp;
    list_init(&p->link);
    list_init(&p->dirty);
    list_init(&p->asked);
    session_init(&p->session, &peer_io, p, &l->o.limits, l->o.stats);
    enum status st = conn_accept(&lp->uv, (uv_stream_t *)&lp->socket, l->tls, &peer_events, p, &p->conn);
    if (st) {
        static _Thread_local struct log_limit limit;
        unsigned more;
        if (st != ST_AGAIN && log_limit_pass(&limit, 10000, &more)) {
            log_error("listener", "a connection could not be accepted (%u more since): %s", more, status_text(st));
        }
        session_deinit(&p->session);
        mem_free(p);
        return;
    }
    list_append(&lp->peers, &p->link);
    lp->n_peers++;
    atomic_fetch_add(&l->connections, 1);
    atomic_fetch_add(&l->handshakes, 1);
    stats_add(l->o.stats, STATS_connections, 1);
    stats_add(l->o.stats, STATS_open_connections, 1);
    stats_add(l->o.stats, STATS_handshakes, 1);
    char address[64];
    conn_address(p->conn, address, sizeof address);
    p->address = address_count(&lp->addresses, address);
    if (p->address->n > l->o.max_per_address) {
        stats_add(l->o.stats, STATS_connections_refused, 1);
        conn_close(p->conn, ST_DENIED, "too many connections from this address");
    }
}

/* A connection that is not accepted stays with the kernel; libuv asks again only after an accept. */
static void accept_more(struct loop *lp) {
    if (!lp->accept_waits || lp->quiet || !has_room(lp->l)) return;
    lp->accept_waits = false;
    accept_one(lp);
}

static void on_connection(uv_stream_t *s, int status) {
    struct loop *lp = s->data;
    static _Thread_local struct log_limit limit;
    unsigned more;
    if (status < 0 || lp->quiet) return;
    if (has_room(lp->l)) {
        accept_one(lp);
        return;
    }
    lp->accept_waits = true;
    if (log_limit_pass(&limit, 10000, &more)) {
        log_warn("listener", "%llu connections, %llu handshakes in flight: new ones wait",
                 (unsigned long long)atomic_load(&lp->l->connections),
                 (unsigned long long)atomic_load(&lp->l->handshakes));
    }
}

/* ---- loops ---- */

static void on_answers_given(void *ctx) {
    struct loop *lp = ctx;
    while (!list_is_empty(&lp->dirty)) {
        struct peer *p = container_of(lp->dirty.next, struct peer, dirty);
        list_remove(&p->dirty);
        session_flush(&p->session);
    }
    if (!lp->n_unread) return;
    list_for_each_safe (it, tmp, &lp->peers) {
        struct peer *p = container_of(it, struct peer, link);
        if (p->unread) session_go_on(&p->session);
    }
}

static void on_tick(uv_timer_t *t) {
    struct loop *lp = t->data;
    list_for_each_safe (it, tmp, &lp->peers) session_tick(&container_of(it, struct peer, link)->session);
    accept_more(lp);
}

static void close_socket(struct loop *lp) {
    if (lp->socket_open) uv_close((uv_handle_t *)&lp->socket, NULL);
    lp->socket_open = false;
}

static void be_quiet(struct loop *lp) {
    lp->quiet = true;
    close_socket(lp);
    ingest_door_quiet(lp->door);
    list_for_each_safe (it, tmp, &lp->peers) {
        struct peer *p = container_of(it, struct peer, link);
        if (!p->opened || p->session.state == SESSION_NEW)
            conn_close(p->conn, ST_CLOSED, "the collector is stopping");
        else if (!session_is_live(&p->session))
            session_close(&p->session, ST_CLOSED, 5, "the collector is stopping");
        else if (p->session.reading)
            conn_pause(p->conn); /* its last batches are still being committed and acked */
    }
}

static void cut_host(struct loop *lp, const struct call *o) {
    list_for_each_safe (it, tmp, &lp->peers) {
        struct session *s = &container_of(it, struct peer, link)->session;
        if (s->host != o->host || s->state == SESSION_NEW || s->state >= SESSION_CLOSING) continue;
        stats_add(lp->l->o.stats, STATS_sessions_cut, 1);
        session_close(s, o->why, 0, "%s", o->text);
    }
}

static void ask_all(struct loop *lp) {
    list_for_each (it, &lp->peers) {
        struct peer *p = container_of(it, struct peer, link);
        list_remove(&p->asked);
        list_append(&lp->asked, &p->asked);
    }
}

/* A few at a time: ten thousand offers must not keep acks waiting. */
static void offer_some(struct loop *lp) {
    for (unsigned i = 0; i < OFFERS_A_TURN && !list_is_empty(&lp->asked); i++) {
        struct peer *p = container_of(lp->asked.next, struct peer, asked);
        list_remove(&p->asked);
        session_offer(&p->session);
    }
    if (!list_is_empty(&lp->asked)) uv_async_send(&lp->calls);
}

static void say_goodbye(struct loop *lp) {
    lp->ending = true;
    ingest_door_drain(lp->door);
    list_for_each_safe (it, tmp, &lp->peers) {
        struct peer *p = container_of(it, struct peer, link);
        session_close(&p->session, ST_CLOSED, 5, "the collector is stopping");
    }
}

static void end_if_idle(struct loop *lp) {
    if (!lp->ending || lp->n_peers || ingest_door_in_flight(lp->door)) return;
    lp->ending = false;
    uv_timer_stop(&lp->tick);
    uv_close((uv_handle_t *)&lp->tick, NULL);
    uv_close((uv_handle_t *)&lp->calls, NULL);
    ingest_door_close(lp->door, NULL, NULL);
    lp->door = NULL;
}

static void on_calls(uv_async_t *a) {
    struct loop *lp = a->data;
    struct call *o;
    while ((o = queue_try_take(lp->queue))) {
        if (o->what == CALL_CUT) cut_host(lp, o);
        if (o->what == CALL_OFFER) ask_all(lp);
        if (o->what == CALL_QUIET) be_quiet(lp);
        if (o->what == CALL_END) say_goodbye(lp);
        if (o->done) uv_sem_post(o->done);
        mem_free(o);
    }
    if (!lp->ending) offer_some(lp);
}

static void run_loop(void *arg) {
    struct loop *lp = arg;
    stats_thread_begin(lp->l->o.stats, lp->name);
    while (uv_run(&lp->uv, UV_RUN_ONCE)) end_if_idle(lp);
    stats_thread_end(lp->l->o.stats);
}

static void wake_loop(void *ctx) {
    uv_async_send(&((struct loop *)ctx)->calls);
}

/* ---- start and stop ---- */

static enum status bind_loop(struct loop *lp, const struct sockaddr *addr, const char *text, struct error *err) {
    int on = 1, rc = uv_tcp_init_ex(&lp->uv, &lp->socket, addr->sa_family);
    uv_os_fd_t fd = -1;
    lp->socket.data = lp;
    if (!rc) lp->socket_open = true;
    if (!rc) rc = uv_fileno((uv_handle_t *)&lp->socket, &fd);
    if (!rc && lp->l->n_loops > 1 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) rc = UV_EINVAL;
    if (!rc) rc = uv_tcp_bind(&lp->socket, addr, 0);
    if (!rc) rc = uv_listen((uv_stream_t *)&lp->socket, BACKLOG, on_connection);
    if (rc == UV_EADDRINUSE)
        return error_set(err, ST_BUSY, "%s is in use: is another collector running? Choose another with --listen",
                         text);
    if (rc == UV_EACCES)
        return error_set(err, ST_DENIED, "%s may not be used: ports below 1024 need the right to bind", text);
    if (rc == UV_EADDRNOTAVAIL) return error_set(err, ST_INVALID, "%s is not an address of this machine", text);
    if (rc) return error_set(err, ST_IO, "%s: %s", text, uv_strerror(rc));
    return ST_OK;
}

static uint16_t port_of(const struct loop *lp) {
    struct sockaddr_storage a = {0};
    int len = sizeof a;
    if (uv_tcp_getsockname(&lp->socket, (struct sockaddr *)&a, &len)) return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static enum status init_loop(struct listener *l, unsigned i, struct sockaddr_storage *addr, struct error *err) {
    struct loop *lp = &l->loops[i];
    lp->l = l;
    snprintf(lp->name, sizeof lp->name, "loop %u", i);
    list_init(&lp->peers);
    list_init(&lp->dirty);
    list_init(&lp->asked);
    if (uv_loop_init(&lp->uv)) return error_set(err, ST_IO, "no event loop: too many open files");
    lp->queue = queue_new(SIZE_MAX, SIZE_MAX, wake_loop, lp); /* calls are few: cuts of live hosts, new rules */
    if (uv_async_init(&lp->uv, &lp->calls, on_calls)) abort();
    (void)uv_timer_init(&lp->uv, &lp->tick);
    lp->calls.data = lp->tick.data = lp;
    (void)uv_timer_start(&lp->tick, on_tick, TICK_MS, TICK_MS);
    enum status st = ingest_door_open(l->o.ingest, &lp->uv, on_answers_given, lp, &lp->door, err);
    if (st) return st;
    st = bind_loop(lp, (struct sockaddr *)addr, l->o.address, err);
    if (!st && i == 0) {
        l->port = port_of(lp);
        address_set_port(addr, l->port);
    }
    return st;
}

/* Lets a loop run out (its handles are closing) and frees it; no thread runs it. */
static void drop_loop(struct loop *lp) {
    if (!lp->queue) return;
    if (lp->door) {
        close_socket(lp);
        lp->ending = true;
        end_if_idle(lp);
    }
    (void)uv_run(&lp->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&lp->uv);
    for (struct call *o; (o = queue_try_take(lp->queue));) mem_free(o);
    queue_free(&lp->queue);
}

static enum status make_tls(struct listener *l, struct error *err) {
    static const char *const alpn[] = {TLS_ALPN_AGENT, TLS_ALPN_ENROLL, NULL};
    struct tls_server_options t = {.certificate_pem = fleet_server_certificate(l->o.fleet),
                                   .key_pem = fleet_server_key(l->o.fleet),
                                   .client_ca_pem = fleet_ca_certificates(l->o.fleet),
                                   .alpn = alpn,
                                   .alpn_required = true,
                                   .admit = fleet_admit,
                                   .admit_ctx = l->o.fleet};
    return tls_server_config(&t, &l->tls, err);
}

static void free_all(struct listener **pl) {
    struct listener *l = *pl;
    for (unsigned i = 0; i < l->n_loops; i++) drop_loop(&l->loops[i]);
    tls_config_free(&l->tls);
    mem_free(l);
    *pl = NULL;
}

MUST_USE enum status listener_start(const struct listener_options *o, struct listener **ret, struct error *err) {
    struct listener *l = mem_zalloc(sizeof *l);
    struct sockaddr_storage addr;
    l->o = *o;
    l->n_loops = o->loops < 1 ? 1 : o->loops > LISTENER_MAX_LOOPS ? LISTENER_MAX_LOOPS : o->loops;
    enum status st = address_resolve(o->address, &addr, err);
    if (!st) st = make_tls(l, err);
    for (unsigned i = 0; i < l->n_loops && !st; i++) st = init_loop(l, i, &addr, err);
    if (st) {
        free_all(&l);
        return st;
    }
    for (unsigned i = 0; i < l->n_loops; i++) {
        if (uv_thread_create(&l->loops[i].thread, run_loop, &l->loops[i])) abort();
    }
    *ret = l;
    return ST_OK;
}

uint16_t listener_port(const struct listener *l) {
    return l->port;
}

static void call_loop(struct loop *lp, const struct call *what) {
    struct call *o = mem_alloc(sizeof *o);
    *o = *what;
    if (queue_put(lp->queue, o, 1)) mem_free(o);
}

void listener_cut(void *listener, uint32_t host, enum status why, const char *text) {
    struct listener *l = listener;
    struct call o = {.what = CALL_CUT, .host = host, .why = why};
    snprintf(o.text, sizeof o.text, "%s", text);
    for (unsigned i = 0; i < l->n_loops; i++) call_loop(&l->loops[i], &o);
}

void listener_offer(void *listener) {
    struct listener *l = listener;
    for (unsigned i = 0; i < l->n_loops; i++) call_loop(&l->loops[i], &(struct call){.what = CALL_OFFER});
}

void listener_quiet(struct listener *l) {
    uv_sem_t done;
    if (uv_sem_init(&done, 0)) abort();
    for (unsigned i = 0; i < l->n_loops; i++)
        call_loop(&l->loops[i], &(struct call){.what = CALL_QUIET, .done = &done});
    for (unsigned i = 0; i < l->n_loops; i++) uv_sem_wait(&done);
    uv_sem_destroy(&done);
}

void listener_stop(struct listener **pl) {
    struct listener *l = *pl;
    if (!l) return;
    for (unsigned i = 0; i < l->n_loops; i++) call_loop(&l->loops[i], &(struct call){.what = CALL_END});
    for (unsigned i = 0; i < l->n_loops; i++) (void)uv_thread_join(&l->loops[i].thread);
    free_all(pl);
}
