/* For the tests of proto/conn: certificates, and a client and a server on one loop over a real socket, each an `end` that
 * does what it is told and notes what happened to it. */
#ifndef HAECHI_CONN_FIXTURE_H
#define HAECHI_CONN_FIXTURE_H

#include "ca.h"
#include "clock.h"
#include "conn_internal.h"
#include "mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct buf ca_pem, ca_key, server_pem, server_key, agent_pem, agent_key;
static struct ca *ca;
static struct tls_config *client_cfg, *server_cfg, *pin_cfg, *wrong_pin_cfg, *optional_cfg;
static enum status verdict;

static inline enum status admit(void *ctx, const struct tls_peer *peer) {
    (void)ctx;
    (void)peer;
    return verdict;
}

static inline void make_configs(void) {
    static const char *const names[] = {"localhost", "127.0.0.1", NULL}, *const alpn[] = {TLS_ALPN_AGENT,
                                                                                          TLS_ALPN_ENROLL, NULL};
    uint64_t now = clock_wall();
    struct buf csr = {0};
    assert_int_equal(ca_make("Haechi CA test", now, &ca_pem, &ca_key, NULL), ST_OK);
    assert_int_equal(ca_load(buf_slice(&ca_pem), buf_slice(&ca_key), now, &ca, NULL), ST_OK);
    assert_int_equal(ca_issue_server(ca, names, now, 86400, &server_pem, &server_key, NULL), ST_OK);
    assert_int_equal(tls_make_key(&agent_key, NULL), ST_OK);
    assert_int_equal(tls_make_csr(buf_slice(&agent_key), "x", &csr, NULL), ST_OK);
    assert_int_equal(ca_issue_agent(ca, buf_slice(&csr), "host:1", now, 86400, &agent_pem, NULL, NULL), ST_OK);
    struct tls_server_options so = {.certificate_pem = buf_slice(&server_pem),
                                    .key_pem = buf_slice(&server_key),
                                    .client_ca_pem = buf_slice(&ca_pem),
                                    .client_required = true,
                                    .alpn = alpn,
                                    .alpn_required = true,
                                    .admit = admit};
    struct tls_client_options co = {.ca_pem = buf_slice(&ca_pem),
                                    .certificate_pem = buf_slice(&agent_pem),
                                    .key_pem = buf_slice(&agent_key),
                                    .alpn = TLS_ALPN_AGENT};
    static uint8_t wrong[TLS_PIN_LEN];
    assert_int_equal(tls_server_config(&so, &server_cfg, NULL), ST_OK);
    so.client_required = false;
    assert_int_equal(tls_server_config(&so, &optional_cfg, NULL), ST_OK);
    assert_int_equal(tls_client_config(&co, &client_cfg, NULL), ST_OK);
    co.ca_pem.len = 0;
    co.ca_pin = ca_pin(ca);
    assert_int_equal(tls_client_config(&co, &pin_cfg, NULL), ST_OK);
    co.ca_pin = wrong;
    assert_int_equal(tls_client_config(&co, &wrong_pin_cfg, NULL), ST_OK);
    buf_free(&csr);
}

/* One end of a connection and what happened to it. */
enum act { ACT_NONE, ACT_CLOSE, ACT_CLOSE_TWICE, ACT_FLUSH_CLOSE };
struct end {
    struct conn *conn;
    const char *name;
    enum act on_open, on_data, on_eof;
    bool has_eof, echo, pause_on_open, stays;
    int opened, closed, eofs, drains;
    enum status why;
    char text[ERROR_TEXT_MAX];
    uint64_t got, sum; /* bytes received and a running hash of them */
    uint64_t to_send, sent, sent_sum;
    size_t most_waiting;
    int pauses;
    bool pausing;
    uv_timer_t resume;
};

struct world {
    uv_loop_t loop;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
    struct tls_config *cfg;
    struct end server, client;
    int port;
    uv_timer_t guard; /* fails a hung test */
};

static inline void act(struct conn *c, enum act a) {
    if (a == ACT_CLOSE || a == ACT_CLOSE_TWICE) conn_close(c, ST_CANCELLED, "first");
    if (a == ACT_CLOSE_TWICE) conn_close(c, ST_IO, "second");
    if (a == ACT_CLOSE_TWICE) conn_close_after_flush(c, ST_IO, "third");
    if (a == ACT_FLUSH_CLOSE) conn_close_after_flush(c, ST_OK, "done");
    if (a) {
        assert_true(conn_is_closing(c));
        conn_write(c, SLICE_LIT("ignored"));
        conn_resume(c);
    }
}

static inline uint64_t mix(uint64_t sum, struct slice s) {
    for (size_t i = 0; i < s.len; i++) sum = (sum ^ s.p[i]) * UINT64_C(1099511628211);
    return sum;
}

static inline void send_more(struct end *e) {
    uint8_t chunk[10000];
    while (e->sent < e->to_send && conn_can_write(e->conn)) {
        size_t n = e->to_send - e->sent < sizeof chunk ? (size_t)(e->to_send - e->sent) : sizeof chunk;
        for (size_t i = 0; i < n; i++) chunk[i] = (uint8_t)((e->sent + i) * 2654435761u >> 13);
        e->sent_sum = mix(e->sent_sum, slice_of(chunk, n));
        conn_write(e->conn, slice_of(chunk, n));
        e->sent += n;
        size_t waits = tls_output_len(e->conn->tls) + uv_stream_get_write_queue_size(&e->conn->s.stream);
        if (waits > e->most_waiting) e->most_waiting = waits;
    }
    if (e->to_send && e->sent == e->to_send && !e->stays && !conn_is_closing(e->conn))
        conn_close_after_flush(e->conn, ST_OK, "sent all");
}

static inline void on_open(struct conn *c, void *owner) {
    struct end *e = owner;
    assert_int_equal(e->opened++, 0);
    assert_int_equal(e->closed, 0);
    assert_ptr_equal(c, e->conn);
    if (e->pause_on_open) conn_pause(c);
    act(c, e->on_open);
    if (e->to_send) send_more(e);
}

static inline void on_resume(uv_timer_t *t) {
    struct end *e = t->data;
    if (!e->closed) conn_resume(e->conn);
    e->pausing = false;
}

static inline void on_data(struct conn *c, void *owner, struct slice s) {
    struct end *e = owner;
    assert_int_equal(e->opened, 1);
    assert_int_equal(e->closed, 0);
    assert_false(conn_is_closing(c));
    assert_false(conn_is_paused(c));
    assert_true(s.len > 0 && s.len <= 16384);
    e->got += s.len;
    e->sum = mix(e->sum, s);
    if (e->echo) conn_write(c, s);
    if (e->pauses && e->got / 300000 > (e->got - s.len) / 300000) {
        e->pauses--;
        conn_pause(c);
        e->pausing = true;
        uv_timer_start(&e->resume, on_resume, 2, 0);
    }
    act(c, e->on_data);
}

static inline void on_drained(struct conn *c, void *owner) {
    struct end *e = owner;
    assert_true(conn_can_write(c));
    e->drains++;
    send_more(e);
}

static inline void on_eof(struct conn *c, void *owner) {
    struct end *e = owner;
    assert_int_equal(e->eofs++, 0);
    if (e->on_eof)
        act(c, e->on_eof);
    else
        conn_close_after_flush(c, ST_CLOSED, "eof");
}

static inline void on_closed(struct conn *c, void *owner, enum status why, const char *text) {
    struct end *e = owner;
    assert_int_equal(e->closed++, 0);
    e->why = why;
    snprintf(e->text, sizeof e->text, "%s", text);
    conn_free(&c);
    e->conn = NULL;
    uv_timer_stop(&e->resume);
}

static const struct conn_events with_eof = {on_open, on_data, on_drained, on_eof, on_closed},
                                without_eof = {on_open, on_data, on_drained, NULL, on_closed};

static const struct conn_events *events_of(const struct end *e) {
    return e->has_eof ? &with_eof : &without_eof;
}

static inline void on_connection(uv_stream_t *listener, int rc) {
    struct world *w = listener->data;
    assert_int_equal(rc, 0);
    assert_int_equal(conn_accept(&w->loop, listener, w->cfg, events_of(&w->server), &w->server, &w->server.conn),
                     ST_OK);
    struct conn *none = NULL; /* nothing more to accept: nothing is made */
    assert_int_not_equal(conn_accept(&w->loop, listener, w->cfg, events_of(&w->server), &w->server, &none), ST_OK);
    assert_null(none);
}

static inline void on_guard(uv_timer_t *t) {
    (void)t;
    fprintf(stderr, "a test hangs\n");
    abort();
}

static inline void world_init(struct world *w, struct tls_config *cfg) {
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    w->cfg = cfg;
    w->server.name = "server";
    w->client.name = "client";
    uv_timer_init(&w->loop, &w->guard);
    uv_timer_start(&w->guard, on_guard, 60000, 0);
    uv_unref((uv_handle_t *)&w->guard);
    struct end *ends[] = {&w->server, &w->client};
    for (int i = 0; i < 2; i++) {
        uv_timer_init(&w->loop, &ends[i]->resume);
        ends[i]->resume.data = ends[i];
    }
    struct sockaddr_in a;
    int len = sizeof a;
    uv_ip4_addr("127.0.0.1", 0, &a);
    uv_tcp_init(&w->loop, &w->tcp);
    w->tcp.data = w;
    assert_int_equal(uv_tcp_bind(&w->tcp, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&w->tcp, 16, on_connection), 0);
    uv_tcp_getsockname(&w->tcp, (struct sockaddr *)&a, &len);
    w->port = ntohs(a.sin_port);
    uv_unref((uv_handle_t *)&w->tcp);
}

static inline void connect_client(struct world *w, struct tls_config *cfg, const char *host) {
    w->client.conn = conn_connect(&w->loop, cfg, host, (uint16_t)w->port, events_of(&w->client), &w->client);
    assert_int_equal(w->client.opened + w->client.closed, 0);
}

static inline void close_walk(uv_handle_t *h, void *arg) {
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

static inline void world_run(struct world *w) {
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_walk(&w->loop, close_walk, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static inline void expect(const struct end *e, enum status why, const char *text) {
    if (e->closed != 1 || e->why != why || !strstr(e->text, text)) {
        print_message("    %s: closed %d times, %s: %s\n", e->name, e->closed, status_name(e->why), e->text);
    }
    assert_int_equal(e->closed, 1);
    assert_int_equal(e->why, why);
    assert_non_null(strstr(e->text, text));
}

static inline void fixture_open(void) {
    signal(SIGPIPE, SIG_IGN);
    tls_global_init();
    conn_test_speed(10);
    make_configs();
}

static inline void fixture_close(void) {
    struct tls_config **configs[] = {&client_cfg, &server_cfg, &pin_cfg, &wrong_pin_cfg, &optional_cfg};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) tls_config_free(configs[i]);
    struct buf *bufs[] = {&ca_pem, &ca_key, &server_pem, &server_key, &agent_pem, &agent_key};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_free(bufs[i]);
    ca_free(&ca);
}

#endif
