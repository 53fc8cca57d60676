/* proto/conn with OpenSSL's command line at the other end: another TLS stack agrees, and an attacker's choices are refused. */
// links: server rules storage proto base
// timeout: 180
#include "conn_fixture.h"
#include "file.h"

static char root[] = "/tmp/haechi-conn-XXXXXX";

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
    fixture_open();
    if (!mkdtemp(root)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openssl_client),
        cmocka_unit_test(test_openssl_servers),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -rf %s", root);
    return system(cmd) ? 1 : rc;
}
