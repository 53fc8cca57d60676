/* One-way throughput of proto/conn over loopback, client and server loop on a thread each: MB/s and CPU per record for
 * large and small writes. Seconds per case in argv[1] (2). */
#include "ca.h"
#include "clock.h"
#include "conn.h"
#include "mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct tls_config *client_cfg, *server_cfg;
static struct buf ca_pem, ca_key, server_pem, server_key, agent_pem, agent_key;
static unsigned seconds = 2;

struct bench {
    uv_loop_t server_loop, client_loop;
    uv_tcp_t listener;
    int port;
    size_t len; /* of one write */
    uint8_t *data;
    struct conn *client, *server;
    uint64_t got, writes, began, ended;
    double cpu_server, cpu_client;
};

static double cpu_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void client_pump(struct conn *c, void *owner) {
    struct bench *b = owner;
    while (conn_can_write(c)) {
        conn_write(c, slice_of(b->data, b->len));
        b->writes++;
    }
    if (uv_hrtime() - b->began > (uint64_t)seconds * 1000000000u) conn_close_after_flush(c, ST_OK, "enough");
}

static void client_open(struct conn *c, void *owner) {
    struct bench *b = owner;
    b->began = uv_hrtime();
    client_pump(c, owner);
}

static void server_open(struct conn *c, void *owner) {
    (void)c;
    (void)owner;
}

static void on_data(struct conn *c, void *owner, struct slice s) {
    struct bench *b = owner;
    (void)c;
    b->got += s.len;
    b->ended = uv_hrtime();
}

static void on_closed(struct conn *c, void *owner, enum status why, const char *text) {
    (void)owner;
    if (why && why != ST_CLOSED) fprintf(stderr, "closed: %s\n", text);
    conn_free(&c);
}

static const struct conn_events client_events = {client_open, on_data, client_pump, NULL, on_closed},
                                server_events = {server_open, on_data, NULL, NULL, on_closed};

static void on_connection(uv_stream_t *listener, int rc) {
    struct bench *b = listener->data;
    if (rc || conn_accept(&b->server_loop, listener, server_cfg, &server_events, b, &b->server)) abort();
    uv_close((uv_handle_t *)listener, NULL);
}

static void *client_thread(void *ctx) {
    struct bench *b = ctx;
    uv_loop_init(&b->client_loop);
    b->client = conn_connect(&b->client_loop, client_cfg, "127.0.0.1", (uint16_t)b->port, &client_events, b);
    uv_run(&b->client_loop, UV_RUN_DEFAULT);
    b->cpu_client = cpu_now();
    uv_loop_close(&b->client_loop);
    return NULL;
}

static void *server_thread(void *ctx) {
    struct bench *b = ctx;
    uv_run(&b->server_loop, UV_RUN_DEFAULT);
    b->cpu_server = cpu_now();
    return NULL;
}

static void run(size_t len) {
    struct bench b = {.len = len};
    struct sockaddr_in a;
    int alen = sizeof a;
    pthread_t server, client;
    b.data = mem_zalloc(len);
    uv_loop_init(&b.server_loop);
    uv_ip4_addr("127.0.0.1", 0, &a);
    uv_tcp_init(&b.server_loop, &b.listener);
    b.listener.data = &b;
    if (uv_tcp_bind(&b.listener, (struct sockaddr *)&a, 0) || uv_listen((uv_stream_t *)&b.listener, 1, on_connection))
        abort();
    uv_tcp_getsockname(&b.listener, (struct sockaddr *)&a, &alen);
    b.port = ntohs(a.sin_port);
    pthread_create(&server, NULL, server_thread, &b);
    pthread_create(&client, NULL, client_thread, &b);
    pthread_join(client, NULL);
    pthread_join(server, NULL);
    uv_loop_close(&b.server_loop);
    double s = (double)(b.ended - b.began) / 1e9;
    printf("%7zu-byte writes: %6.0f MB/s, %9.0f writes/s, CPU %.2f us a write at the sender, %.2f us at the receiver\n",
           len, (double)b.got / s / 1e6, (double)b.writes / s, b.cpu_client * 1e6 / (double)b.writes,
           b.cpu_server * 1e6 / (double)b.writes);
    mem_free(b.data);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"127.0.0.1", NULL}, *const alpn[] = {TLS_ALPN_AGENT, NULL};
    static const size_t lens[] = {65536, 16384, 4096, 200};
    if (argc > 1) seconds = (unsigned)atoi(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    tls_global_init();
    uint64_t now = clock_wall();
    struct buf csr = {0};
    struct ca *ca = NULL;
    struct error err = {0};
    if (ca_make("bench", now, &ca_pem, &ca_key, &err) ||
        ca_load(buf_slice(&ca_pem), buf_slice(&ca_key), now, &ca, &err) ||
        ca_issue_server(ca, names, now, 86400, &server_pem, &server_key, &err) || tls_make_key(&agent_key, &err) ||
        tls_make_csr(buf_slice(&agent_key), "x", &csr, &err) ||
        ca_issue_agent(ca, buf_slice(&csr), "host:1", now, 86400, &agent_pem, NULL, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    struct tls_server_options so = {.certificate_pem = buf_slice(&server_pem),
                                    .key_pem = buf_slice(&server_key),
                                    .client_ca_pem = buf_slice(&ca_pem),
                                    .client_required = true,
                                    .alpn = alpn,
                                    .alpn_required = true};
    struct tls_client_options co = {.ca_pem = buf_slice(&ca_pem),
                                    .certificate_pem = buf_slice(&agent_pem),
                                    .key_pem = buf_slice(&agent_key),
                                    .alpn = TLS_ALPN_AGENT};
    if (tls_server_config(&so, &server_cfg, &err) || tls_client_config(&co, &client_cfg, &err)) return 1;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) run(lens[i]);
    return 0;
}
