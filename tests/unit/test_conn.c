/* proto/conn over real sockets on loopback: order of callbacks, closing anywhere, deadlines, back-pressure. */
// links: server storage proto base
// timeout: 180
#include "ca.h"
#include "clock.h"
#include "conn_internal.h"
#include "file.h"
#include "mem.h"

#include <pthread.h>
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
static char root[] = "/tmp/haechi-conn-XXXXXX";

static enum status admit(void *ctx, const struct tls_peer *peer) {
    (void)ctx;
    (void)peer;
    return verdict;
}

static void make_configs(void) {
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

static void act(struct conn *c, enum act a) {
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

static uint64_t mix(uint64_t sum, struct slice s) {
    for (size_t i = 0; i < s.len; i++) sum = (sum ^ s.p[i]) * UINT64_C(1099511628211);
    return sum;
}

static void send_more(struct end *e) {
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

static void on_open(struct conn *c, void *owner) {
    struct end *e = owner;
    assert_int_equal(e->opened++, 0);
    assert_int_equal(e->closed, 0);
    assert_ptr_equal(c, e->conn);
    if (e->pause_on_open) conn_pause(c);
    act(c, e->on_open);
    if (e->to_send) send_more(e);
}

static void on_resume(uv_timer_t *t) {
    struct end *e = t->data;
    if (!e->closed) conn_resume(e->conn);
    e->pausing = false;
}

static void on_data(struct conn *c, void *owner, struct slice s) {
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

static void on_drained(struct conn *c, void *owner) {
    struct end *e = owner;
    assert_true(conn_can_write(c));
    e->drains++;
    send_more(e);
}

static void on_eof(struct conn *c, void *owner) {
    struct end *e = owner;
    assert_int_equal(e->eofs++, 0);
    if (e->on_eof)
        act(c, e->on_eof);
    else
        conn_close_after_flush(c, ST_CLOSED, "eof");
}

static void on_closed(struct conn *c, void *owner, enum status why, const char *text) {
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

static void on_connection(uv_stream_t *listener, int rc) {
    struct world *w = listener->data;
    assert_int_equal(rc, 0);
    assert_int_equal(conn_accept(&w->loop, listener, w->cfg, events_of(&w->server), &w->server, &w->server.conn),
                     ST_OK);
    struct conn *none = NULL; /* nothing more to accept: nothing is made */
    assert_int_not_equal(conn_accept(&w->loop, listener, w->cfg, events_of(&w->server), &w->server, &none), ST_OK);
    assert_null(none);
}

static void on_guard(uv_timer_t *t) {
    (void)t;
    fprintf(stderr, "a test hangs\n");
    abort();
}

static void world_init(struct world *w, struct tls_config *cfg) {
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

static void connect_client(struct world *w, struct tls_config *cfg, const char *host) {
    w->client.conn = conn_connect(&w->loop, cfg, host, (uint16_t)w->port, events_of(&w->client), &w->client);
    assert_int_equal(w->client.opened + w->client.closed, 0);
}

static void close_walk(uv_handle_t *h, void *arg) {
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

static void world_run(struct world *w) {
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_walk(&w->loop, close_walk, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void expect(const struct end *e, enum status why, const char *text) {
    if (e->closed != 1 || e->why != why || !strstr(e->text, text)) {
        print_message("    %s: closed %d times, %s: %s\n", e->name, e->closed, status_name(e->why), e->text);
    }
    assert_int_equal(e->closed, 1);
    assert_int_equal(e->why, why);
    assert_non_null(strstr(e->text, text));
}

static void test_transfer(void **state) {
    (void)state;
    static const struct {
        const char *name, *host;
        uint64_t len;
        int pauses;
        bool echo;
    } cases[] = {{"1 byte", "127.0.0.1", 1, 0, false},
                 {"by name", "localhost", 5000, 0, false},
                 {"20 MB", "127.0.0.1", 20000000, 0, false},
                 {"20 MB with pauses", "127.0.0.1", 20000000, 20, false},
                 {"1 MB echoed", "127.0.0.1", 1000000, 0, true}};
    conn_test_speed(1); /* a slow machine must not run into a deadline here */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        struct world w;
        world_init(&w, server_cfg);
        w.server.has_eof = w.client.has_eof = true;
        w.client.to_send = cases[i].len;
        w.server.pauses = cases[i].pauses;
        connect_client(&w, client_cfg, cases[i].host);
        world_run(&w);
        expect(&w.client, ST_OK, "sent all");
        expect(&w.server, ST_CLOSED, "eof");
        assert_int_equal(w.server.got, cases[i].len);
        assert_true(w.server.sum == w.client.sent_sum);
        assert_true(w.client.most_waiting < CONN_WRITE_HIGH + 20000);
        if (cases[i].pauses) {
            assert_int_equal(w.server.pauses, 0);
            assert_true(w.client.drains > 0);
        }
        assert_int_equal(w.server.eofs, 1);
    }
    conn_test_speed(10);
}

static void test_close_anywhere(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum act c_open, c_data, s_open, s_data, s_eof;
        uint64_t send;
        bool s_has_eof;
    } cases[] = {
        {"client in on_open", ACT_CLOSE, 0, 0, 0, 0, 0, false},
        {"client twice in on_open", ACT_CLOSE_TWICE, 0, 0, 0, 0, 0, false},
        {"client flushes in on_open", ACT_FLUSH_CLOSE, 0, 0, 0, 0, 0, true},
        {"server in on_open", 0, 0, ACT_CLOSE, 0, 0, 100, false},
        {"server flushes in on_open", 0, 0, ACT_FLUSH_CLOSE, 0, 0, 2000000, false},
        {"server in on_data", 0, 0, 0, ACT_CLOSE_TWICE, 0, 2000000, false},
        {"server flushes in on_data", 0, 0, 0, ACT_FLUSH_CLOSE, 0, 100000, false},
        {"server in on_eof", 0, 0, 0, 0, ACT_CLOSE, 10, true},
        {"server flushes in on_eof", 0, 0, 0, 0, ACT_FLUSH_CLOSE, 10, true},
        {"both in on_open", ACT_CLOSE, 0, ACT_CLOSE, 0, 0, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        struct world w;
        world_init(&w, server_cfg);
        w.client.on_open = cases[i].c_open;
        w.server.on_open = cases[i].s_open;
        w.server.on_data = cases[i].s_data;
        w.server.on_eof = cases[i].s_eof;
        w.server.has_eof = cases[i].s_has_eof;
        w.client.to_send = cases[i].send;
        connect_client(&w, client_cfg, "127.0.0.1");
        world_run(&w);
        assert_int_equal(w.client.closed, 1);
        assert_int_equal(w.server.closed, 1);
        if (cases[i].c_open == ACT_CLOSE_TWICE) expect(&w.client, ST_CANCELLED, "first");
        if (cases[i].s_data == ACT_CLOSE_TWICE) expect(&w.server, ST_CANCELLED, "first");
        if (cases[i].s_eof == ACT_FLUSH_CLOSE) expect(&w.server, ST_OK, "done");
    }
}

static void test_close_before_open(void **state) {
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "localhost", "::1", "no-such-host.invalid", ""};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        for (int flush_first = 0; flush_first < 2; flush_first++) {
            print_message("  \"%s\"\n", hosts[i]);
            struct world w;
            world_init(&w, server_cfg);
            connect_client(&w, client_cfg, hosts[i]);
            if (flush_first) conn_close_after_flush(w.client.conn, ST_CANCELLED, "changed my mind");
            conn_close(w.client.conn, ST_CANCELLED, "changed my mind");
            assert_int_equal(w.client.closed, 0);
            world_run(&w);
            expect(&w.client, ST_CANCELLED, "changed my mind");
            assert_int_equal(w.client.opened, 0);
        }
    }
}

static void test_refusals(void **state) {
    (void)state;
    struct world w;
    print_message("  nothing listens\n");
    world_init(&w, server_cfg);
    uv_close((uv_handle_t *)&w.tcp, NULL);
    uv_run(&w.loop, UV_RUN_NOWAIT);
    connect_client(&w, client_cfg, "127.0.0.1");
    world_run(&w);
    expect(&w.client, ST_IO, "nothing listens there");
    assert_non_null(strstr(w.client.text, "127.0.0.1:"));

    print_message("  no such host\n");
    world_init(&w, server_cfg);
    connect_client(&w, client_cfg, "no-such-host.invalid");
    world_run(&w);
    assert_int_equal(w.client.closed, 1);
    assert_non_null(strstr(w.client.text, "no-such-host.invalid"));

    static const struct {
        const char *name;
        bool optional, wrong_pin;
        enum status verdict, client, server;
        const char *client_says, *server_says;
    } cases[] = {
        {"wrong pin", false, true, ST_OK, ST_AUTH, ST_AUTH, "wrong pin", "unknown_ca"},
        {"revoked", false, false, ST_REVOKED, ST_REVOKED, ST_REVOKED, "certificate_revoked", "revoked"},
        {"revoked, optional", true, false, ST_REVOKED, ST_REVOKED, ST_REVOKED, "certificate_revoked", "revoked"},
        {"unknown", true, false, ST_AUTH, ST_AUTH, ST_AUTH, "access_denied", "not admitted"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int talks = 0; talks < 2; talks++) {
            print_message("  %s%s\n", cases[i].name, talks ? ", client talks at once" : "");
            world_init(&w, cases[i].optional ? optional_cfg : server_cfg);
            verdict = cases[i].verdict;
            w.client.to_send = talks ? 300000 : 0;
            w.client.stays = true;
            w.client.has_eof = true;
            connect_client(&w, cases[i].wrong_pin ? wrong_pin_cfg : pin_cfg, "127.0.0.1");
            world_run(&w);
            expect(&w.server, cases[i].server, cases[i].server_says);
            expect(&w.client, cases[i].client, cases[i].client_says);
            assert_int_equal(w.server.opened, 0);
        }
    }
    verdict = ST_OK;
}

/* A raw TCP peer: says what it is told, one byte at a time if asked. */
struct raw {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_timer_t timer;
    const char *say;
    size_t at;
    bool reset;
};

static void raw_alloc(uv_handle_t *h, size_t n, uv_buf_t *b) {
    static char sink[65536];
    (void)h;
    (void)n;
    *b = uv_buf_init(sink, sizeof sink);
}

static void raw_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    struct raw *r = s->data;
    (void)b;
    if (n < 0) {
        uv_close((uv_handle_t *)&r->timer, NULL);
        uv_close((uv_handle_t *)s, NULL);
    }
}

static void raw_tick(uv_timer_t *t) {
    struct raw *r = t->data;
    if (r->reset) {
        uv_close((uv_handle_t *)t, NULL);
        uv_tcp_close_reset(&r->tcp, NULL);
    } else if (r->say[r->at]) {
        uv_buf_t b = uv_buf_init((char *)(uintptr_t)(r->say + r->at), 1);
        uv_try_write((uv_stream_t *)&r->tcp, &b, 1);
        r->at++;
    }
}

static void raw_connected(uv_connect_t *req, int rc) {
    struct raw *r = req->data;
    assert_int_equal(rc, 0);
    uv_read_start((uv_stream_t *)&r->tcp, raw_alloc, raw_read);
    uv_timer_start(&r->timer, raw_tick, 1, 1);
}

static void raw_start(struct world *w, struct raw *r) {
    struct sockaddr_in a;
    uv_ip4_addr("127.0.0.1", w->port, &a);
    uv_tcp_init(&w->loop, &r->tcp);
    uv_timer_init(&w->loop, &r->timer);
    r->tcp.data = r->timer.data = r->connect.data = r;
    assert_int_equal(uv_tcp_connect(&r->connect, &r->tcp, (struct sockaddr *)&a, raw_connected), 0);
}

static void test_raw_peers(void **state) {
    (void)state;
    static const struct {
        const char *name, *say;
        bool reset;
        enum status why;
        const char *text;
    } cases[] = {
        {"silent", "", false, ST_TIMEOUT, "the TLS handshake"},
        {"a web browser, byte by byte", "GET / HTTP/1.1\r\n\r\n", false, ST_TLS, "not TLS"},
        {"reset", "", true, ST_CLOSED, "during the TLS handshake"},
        {"half a record", "\x16\x03\x01\x02", false, ST_TIMEOUT, "the TLS handshake"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        struct world w;
        world_init(&w, server_cfg);
        struct raw r = {.say = cases[i].say, .reset = cases[i].reset};
        raw_start(&w, &r);
        world_run(&w);
        expect(&w.server, cases[i].why, cases[i].text);
        assert_int_equal(w.server.opened, 0);
    }
}

static void on_mute_connection(uv_stream_t *listener, int rc) {
    (void)listener;
    (void)rc;
}

static void test_deadlines(void **state) {
    (void)state;
    conn_test_speed(10); /* a handshake has to fit in under TSan */
    struct world w;
    print_message("  a listener that never answers\n");
    world_init(&w, server_cfg);
    w.tcp.connection_cb = on_mute_connection;
    connect_client(&w, client_cfg, "127.0.0.1");
    world_run(&w);
    expect(&w.client, ST_TIMEOUT, "TLS handshake");

    print_message("  a peer that never reads\n");
    world_init(&w, server_cfg);
    w.server.pause_on_open = true;
    w.client.to_send = 1 << 30;
    connect_client(&w, client_cfg, "127.0.0.1");
    while (!w.client.closed) uv_run(&w.loop, UV_RUN_ONCE);
    expect(&w.client, ST_TIMEOUT, "took no data");
    assert_true(w.client.most_waiting < CONN_WRITE_HIGH + 20000);
    assert_true(w.client.sent < 64 << 20);
    assert_int_equal(w.server.got, 0);
    conn_close(w.server.conn, ST_CANCELLED, "");
    world_run(&w);

    print_message("  an idle peer\n");
    world_init(&w, server_cfg);
    connect_client(&w, client_cfg, "127.0.0.1");
    while (!w.server.opened) uv_run(&w.loop, UV_RUN_ONCE);
    conn_set_idle_ms(w.server.conn, 80);
    world_run(&w);
    expect(&w.server, ST_TIMEOUT, "sent nothing");
    expect(&w.client, ST_CLOSED, "closed");
    conn_test_speed(10);
}

static void test_reset_when_open(void **state) {
    (void)state;
    struct world w;
    world_init(&w, server_cfg);
    connect_client(&w, client_cfg, "127.0.0.1");
    while (!w.server.opened || !w.client.opened) uv_run(&w.loop, UV_RUN_ONCE);
    uv_os_fd_t fd;
    uv_fileno(&w.client.conn->s.handle, &fd);
    struct linger l = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    w.client.conn->write_broken = true; /* no close_notify */
    conn_close(w.client.conn, ST_CANCELLED, "pulled the plug");
    world_run(&w);
    expect(&w.client, ST_CANCELLED, "pulled the plug");
    expect(&w.server, ST_CLOSED, "connection lost");
}

/* The pipe of the local API. */
static void pipe_connected(uv_connect_t *req, int rc) {
    (void)req;
    assert_int_equal(rc, 0);
}

static void pipe_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    uint64_t *got = s->data;
    (void)b;
    if (n > 0) *got += (uint64_t)n;
    if (n < 0) uv_close((uv_handle_t *)s, NULL);
}

static void pipe_shut(uv_shutdown_t *req, int rc) {
    (void)req;
    (void)rc;
}

static void pipe_written(uv_write_t *req, int rc) {
    static uv_shutdown_t shut;
    assert_int_equal(rc, 0);
    uv_shutdown(&shut, req->handle, pipe_shut);
}

static void test_pipe(void **state) {
    (void)state;
    struct world w;
    char *path = file_join(root, "api.sock");
    world_init(&w, NULL);
    w.server.has_eof = w.server.echo = true;
    uv_pipe_init(&w.loop, &w.pipe, 0);
    w.pipe.data = &w;
    assert_int_equal(uv_pipe_bind(&w.pipe, path), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&w.pipe, 4, on_connection), 0);
    uv_unref((uv_handle_t *)&w.pipe);
    uv_pipe_t client;
    uv_connect_t connect;
    uv_write_t write;
    uint64_t got = 0;
    static char big[1000000];
    uv_buf_t b = uv_buf_init(big, sizeof big);
    uv_pipe_init(&w.loop, &client, 0);
    client.data = &got;
    uv_pipe_connect(&connect, &client, path, pipe_connected);
    while (!w.server.opened) uv_run(&w.loop, UV_RUN_ONCE);
    uv_read_start((uv_stream_t *)&client, raw_alloc, pipe_read);
    assert_int_equal(uv_write(&write, (uv_stream_t *)&client, &b, 1, pipe_written), 0);
    char address[80];
    conn_address(w.server.conn, address, sizeof address);
    assert_string_equal(address, "unix");
    assert_null(conn_alpn(w.server.conn));
    assert_null(conn_tls(w.server.conn));
    assert_false(conn_peer(w.server.conn)->verified);
    world_run(&w);
    expect(&w.server, ST_CLOSED, "eof");
    assert_int_equal(w.server.got, sizeof big);
    assert_int_equal(got, sizeof big);
    mem_free(path);
}

static void *one_loop(void *ctx) {
    int *done = ctx;
    for (int i = 0; i < 3; i++) {
        struct world w;
        world_init(&w, server_cfg);
        w.server.has_eof = w.client.has_eof = true;
        w.client.to_send = 300000;
        connect_client(&w, client_cfg, "127.0.0.1");
        world_run(&w);
        *done += w.server.got == 300000 && w.client.why == ST_OK;
    }
    return NULL;
}

static void test_loops_side_by_side(void **state) {
    (void)state;
    pthread_t threads[3];
    int done[3] = {0};
    conn_test_speed(1);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, one_loop, &done[i]), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(done[i], 3);
    }
    conn_test_speed(10);
}

/* ---- OpenSSL at the other end ---- */

static void put(const char *name, struct buf *b) {
    char *path = file_join(root, name);
    assert_int_equal(file_replace(path, buf_slice(b), 0600, NULL), ST_OK);
    mem_free(path);
}

static bool have_openssl(void) {
    if (system("openssl version >/dev/null 2>&1")) return false;
    put("ca.pem", &ca_pem);
    put("server.pem", &server_pem);
    put("server.key", &server_key);
    put("agent.pem", &agent_pem);
    put("agent.key", &agent_key);
    return true;
}

static uv_process_t child;
static uv_pipe_t child_in;

static void on_exit_of_child(uv_process_t *p, int64_t rc, int sig) {
    (void)rc;
    (void)sig;
    uv_close((uv_handle_t *)p, NULL);
}

static void spawn_openssl(uv_loop_t *loop, const char *args) {
    char cmd[1024];
    snprintf(cmd, sizeof cmd, "cd %s && exec openssl %s >>openssl.log 2>&1", root, args);
    char sh[] = "sh", c[] = "-c", *argv[] = {sh, c, cmd, NULL};
    uv_pipe_init(loop, &child_in, 0);
    uv_stdio_container_t io[1] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&child_in}};
    uv_process_options_t o = {.file = "sh", .args = argv, .exit_cb = on_exit_of_child, .stdio = io, .stdio_count = 1};
    assert_int_equal(uv_spawn(loop, &child, &o), 0);
}

static void test_openssl_client(void **state) {
    (void)state;
    if (!have_openssl()) skip();
    struct world w;
    char args[512];
    world_init(&w, server_cfg);
    w.server.on_data = ACT_FLUSH_CLOSE;
    snprintf(
        args, sizeof args,
        "s_client -tls1_3 -quiet -verify_return_error -CAfile ca.pem -cert agent.pem -key agent.key -alpn haechi/1 -connect 127.0.0.1:%d",
        w.port);
    spawn_openssl(&w.loop, args);
    while (!w.server.opened && !w.server.closed) uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(w.server.opened, 1);
    assert_string_equal(conn_peer(w.server.conn)->common_name, "host:1");
    uv_buf_t b = uv_buf_init((char *)(uintptr_t) "hello", 5);
    assert_int_equal(uv_try_write((uv_stream_t *)&child_in, &b, 1), 5);
    while (!w.server.closed) uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(w.server.got, 5);
    expect(&w.server, ST_OK, "done");
    uv_close((uv_handle_t *)&child_in, NULL);
    world_run(&w);
}

/* mbedTLS would not serve a certificate that is made for clients; an attacker would. */
static void test_openssl_servers(void **state) {
    (void)state;
    if (!have_openssl()) skip();
    static const struct {
        const char *name, *args;
        bool pin;
        enum status why; /* ST_OK: opens */
        const char *text;
    } cases[] = {
        {"a collector", "-cert server.pem -key server.key -alpn haechi/1 -Verify 1 -CAfile ca.pem", false, ST_OK, ""},
        {"an agent plays collector", "-cert agent.pem -key agent.key -cert_chain ca.pem -alpn haechi/1", false, ST_AUTH,
         "not made for a server"},
        {"an agent plays collector to a pin", "-cert agent.pem -key agent.key -cert_chain ca.pem -alpn haechi/1", true,
         ST_AUTH, "not made for a server"},
        {"no ALPN", "-cert server.pem -key server.key", false, ST_PROTO, "no Haechi collector"},
        {"TLS 1.2 only", "-cert server.pem -key server.key -tls1_2", false, ST_VERSION, "TLS 1.3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        struct world w;
        char args[512];
        world_init(&w, server_cfg);
        uv_close((uv_handle_t *)&w.tcp, NULL); /* its port is free then */
        uv_run(&w.loop, UV_RUN_NOWAIT);
        snprintf(args, sizeof args, "s_server -quiet -accept 127.0.0.1:%d %s", w.port, cases[i].args);
        spawn_openssl(&w.loop, args);
        for (int tries = 0; tries < 100; tries++) { /* until it listens */
            w.client = (struct end){.name = "client", .resume = w.client.resume};
            connect_client(&w, cases[i].pin ? pin_cfg : client_cfg, "127.0.0.1");
            while (!w.client.opened && !w.client.closed) uv_run(&w.loop, UV_RUN_ONCE);
            if (w.client.opened || !strstr(w.client.text, "nothing listens")) break;
            usleep(20000);
        }
        if (!cases[i].why) {
            assert_int_equal(w.client.opened, 1);
            conn_close(w.client.conn, ST_OK, "");
        } else {
            while (!w.client.closed) uv_run(&w.loop, UV_RUN_ONCE);
            expect(&w.client, cases[i].why, cases[i].text);
        }
        uv_process_kill(&child, SIGTERM);
        uv_close((uv_handle_t *)&child_in, NULL);
        world_run(&w);
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(root)) return 1;
    tls_global_init();
    conn_test_speed(10);
    make_configs();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer),           cmocka_unit_test(test_close_anywhere),
        cmocka_unit_test(test_close_before_open),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_raw_peers),          cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_reset_when_open),    cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_loops_side_by_side), cmocka_unit_test(test_openssl_client),
        cmocka_unit_test(test_openssl_servers),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    struct tls_config **configs[] = {&client_cfg, &server_cfg, &pin_cfg, &wrong_pin_cfg, &optional_cfg};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) tls_config_free(configs[i]);
    struct buf *bufs[] = {&ca_pem, &ca_key, &server_pem, &server_key, &agent_pem, &agent_key};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_free(bufs[i]);
    ca_free(&ca);
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -rf %s", root);
    return system(cmd) ? 1 : rc;
}
