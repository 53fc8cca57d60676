/* proto/conn over real sockets on loopback: order of callbacks, closing anywhere, deadlines, back-pressure. */
// links: server rules storage proto base
// timeout: 180
#include "conn_fixture.h"
#include "file.h"

#include <pthread.h>

static char root[] = "/tmp/haechi-conn-XXXXXX";

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

int main(void) {
    fixture_open();
    if (!mkdtemp(root)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer),           cmocka_unit_test(test_close_anywhere),
        cmocka_unit_test(test_close_before_open),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_raw_peers),          cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_reset_when_open),    cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_loops_side_by_side),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -rf %s", root);
    return system(cmd) ? 1 : rc;
}
