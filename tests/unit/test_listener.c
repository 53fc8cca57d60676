/* server/listener.c over real sockets and TLS, with the real fleet, store and writer behind it; the peers are made here,
 * blocking, from proto/tls and proto/frame. */
// links: server rules storage proto base
// timeout: 180
#include "address.h"
#include "batch.h"
#include "clock.h"
#include "listener.h"
#include "log.h"
#include "mem.h"
#include "token.h"
#include "scratch.h"

#include <netinet/in.h>
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define T0 UINT64_C(133000000000000000)

struct world {
    char dir[SCRATCH_MAX];
    struct db *db;
    struct stats *stats;
    struct fleet *fleet;
    struct ingest *ingest;
    struct listener *listener;
    unsigned loops;
    uint64_t max_handshakes, max_per_address;
};

static void open_world(struct world *w) {
    static const char *const names[] = {"localhost", "127.0.0.1", NULL};
    struct error err = {0};
    struct db_options d = {.map_bytes = 64 * 1024 * 1024, .min_free_bytes = 1};
    if (!w->dir[0]) { assert_true(scratch_make(w->dir, "listener")); }
    if (db_open(w->dir, &d, &w->db, &err)) fail_msg("%s", err.msg);
    char ca[80];
    snprintf(ca, sizeof ca, "%s/ca", w->dir);
    struct fleet_options fo = {.ca_dir = ca, .server_names = names, .host_cert_days = 30, .now = clock_wall};
    if (fleet_open(w->db, &fo, &w->fleet, &err)) fail_msg("%s", err.msg);
    w->stats = stats_new();
    struct ingest_options io = {
        .db = w->db, .stats = w->stats, .spacing_ms = 1, .quarantine_bytes = 100000, .quarantine_files = 5};
    if (ingest_start(&io, &w->ingest, &err)) fail_msg("%s", err.msg);
    struct listener_options lo = {.address = "127.0.0.1:0",
                                  .loops = w->loops ? w->loops : 1,
                                  .max_connections = 100,
                                  .max_handshakes = w->max_handshakes ? w->max_handshakes : 50,
                                  .max_per_address = w->max_per_address ? w->max_per_address : 50,
                                  .limits = {.credit_batches = 8, .credit_bytes = 1024 * 1024, .heartbeat_s = 30},
                                  .db = w->db,
                                  .fleet = w->fleet,
                                  .ingest = w->ingest,
                                  .stats = w->stats};
    if (listener_start(&lo, &w->listener, &err)) fail_msg("%s", err.msg);
    fleet_on_cut(w->fleet, listener_cut, w->listener);
}

static void close_world(struct world *w) {
    listener_quiet(w->listener);
    ingest_stop(w->ingest);
    listener_stop(&w->listener);
    ingest_free(&w->ingest);
    fleet_close(&w->fleet);
    db_close(&w->db);
    assert_int_equal(stats_get(w->stats, STATS_open_connections), 0);
    assert_int_equal(stats_get(w->stats, STATS_live_sessions), 0);
    assert_int_equal(stats_get(w->stats, STATS_handshakes), 0);
    stats_free(&w->stats);
}

static void remove_world(struct world *w) {
    close_world(w);
    assert_int_equal(scratch_remove(w->dir), 0);
}

/* ---- a peer ---- */

struct agent {
    struct buf key, certificate, ca;
    uint32_t host;
};

struct peer {
    int fd;
    struct tls_config *cfg;
    struct tls *tls;
    struct frame_reader frames;
    struct buf plain; /* read, not looked at */
    struct arena arena;
};

static int dial(struct world *w) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(listener_port(w->listener))};
    struct timeval limit = {20, 0};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void push(struct peer *p) {
    struct buf out = {0};
    tls_take_output(p->tls, &out);
    for (size_t at = 0; at < out.len;) {
        ssize_t n = send(p->fd, out.p + at, out.len - at, MSG_NOSIGNAL);
        if (n <= 0) break;
        at += (size_t)n;
    }
    buf_free(&out);
}

/* False: the other side has gone. */
static bool pull(struct peer *p) {
    uint8_t raw[8192];
    ssize_t n = recv(p->fd, raw, sizeof raw, 0);
    if (n <= 0) return false;
    return tls_feed(p->tls, slice_of(raw, (size_t)n)) == ST_OK;
}

static enum status shake(struct world *w, struct peer *p, const struct agent *a, const char *alpn) {
    struct tls_client_options o = {.ca_pem = fleet_ca_certificates(w->fleet), .alpn = alpn};
    struct error err = {0};
    memset(p, 0, sizeof *p);
    if (a) {
        o.certificate_pem = buf_slice(&a->certificate);
        o.key_pem = buf_slice(&a->key);
    }
    if (tls_client_config(&o, &p->cfg, &err)) fail_msg("%s", err.msg);
    p->fd = dial(w);
    p->tls = tls_new(p->cfg, NULL);
    frame_reader_init(&p->frames, FRAME_FROM_COLLECTOR);
    arena_init(&p->arena, MSG_ARENA_CAP);
    enum status st;
    do {
        st = tls_handshake(p->tls, &err);
        push(p);
    } while (st == ST_AGAIN && (pull(p) || (st = ST_CLOSED, false)));
    return st;
}

static void hang_up(struct peer *p) {
    close(p->fd);
    tls_free(&p->tls);
    tls_config_free(&p->cfg);
    frame_reader_deinit(&p->frames);
    buf_free(&p->plain);
    arena_deinit(&p->arena);
}

static void send_bytes(struct peer *p, struct buf *bytes) {
    assert_int_equal(tls_write(p->tls, buf_slice(bytes), NULL), ST_OK);
    push(p);
    buf_free(bytes);
}

static void send_message(struct peer *p, enum frame_type t, const void *m) {
    struct buf out = {0};
    msg_put_frame(&out, t, m);
    send_bytes(p, &out);
}

/* The next frame; false: the connection ended. */
static bool receive(struct peer *p, enum frame_type *ret_type, struct slice *ret_body) {
    uint8_t raw[16384];
    for (;;) {
        struct slice in = buf_slice(&p->plain);
        size_t had = in.len;
        enum status st = frame_next(&p->frames, &in, ret_type, ret_body, NULL);
        buf_consume(&p->plain, had - in.len);
        if (st == ST_OK) return true;
        assert_int_equal(st, ST_AGAIN);
        size_t n = 0;
        st = tls_read(p->tls, raw, sizeof raw, &n, NULL);
        if (st == ST_OK)
            buf_append(&p->plain, raw, n);
        else if (st != ST_AGAIN || !pull(p))
            return false;
    }
}

static void enroll(struct world *w, struct agent *a, const char *name) {
    struct fleet_token_request tr = {.role = "enroll", .address = "127.0.0.1:7443"};
    struct fleet_token ft = {0};
    struct buf text = {0}, csr = {0};
    struct token token;
    struct peer p;
    struct error err = {0};
    enum frame_type t;
    struct slice body;
    char host_name[64], version[] = "test";
    memset(a, 0, sizeof *a);
    if (fleet_token_create(w->fleet, "test", &tr, &text, &ft, &err)) fail_msg("%s", err.msg);
    assert_int_equal(token_decode(buf_slice(&text), &token, &err), ST_OK);
    assert_int_equal(tls_make_key(&a->key, NULL), ST_OK);
    assert_int_equal(tls_make_csr(buf_slice(&a->key), name, &csr, NULL), ST_OK);
    snprintf(host_name, sizeof host_name, "%s", name);
    assert_int_equal(shake(w, &p, NULL, TLS_ALPN_ENROLL), ST_OK);
    Haechi__EnrollRequest r = HAECHI__ENROLL_REQUEST__INIT;
    r.token_id = msg_bytes(slice_of(token.id, sizeof token.id));
    r.token_secret = msg_bytes(slice_of(token.secret, sizeof token.secret));
    r.csr = msg_bytes(buf_slice(&csr));
    r.host_name = host_name;
    r.os = r.agent_version = version;
    r.time = clock_wall();
    send_message(&p, FRAME_ENROLL, &r);
    assert_true(receive(&p, &t, &body));
    assert_int_equal(t, FRAME_ENROLL_REPLY);
    Haechi__EnrollReply *m = MSG_UNPACK(EnrollReply, enroll_reply, body, &p.arena);
    if (m->result != ENROLL_GRANTED) fail_msg("%s", m->reason);
    buf_append(&a->certificate, m->certificate.data, m->certificate.len);
    buf_append(&a->ca, m->ca.data, m->ca.len);
    a->host = m->host_id;
    assert_true(receive(&p, &t, &body));
    assert_int_equal(t, FRAME_GOODBYE);
    assert_false(receive(&p, &t, &body));
    hang_up(&p);
    mem_free(ft.group);
    mem_free(ft.note);
    mem_free(ft.role);
    buf_free(&text);
    buf_free(&csr);
}

static void free_agent(struct agent *a) {
    buf_free(&a->key);
    buf_free(&a->certificate);
    buf_free(&a->ca);
}

static bool expect(struct peer *p, enum frame_type want, struct slice *ret_body) {
    enum frame_type t;
    if (!receive(p, &t, ret_body)) return false;
    if (t != want) print_error("wanted %s, got %s\n", frame_name(want), frame_name(t));
    return t == want;
}

static void hello(struct peer *p, const char *machine) {
    struct slice body;
    char text[] = "test";
    uint8_t instance[16] = {1, 2, 3};
    Haechi__Hello h = HAECHI__HELLO__INIT;
    Haechi__Channel c = HAECHI__CHANNEL__INIT, *list[] = {&c};
    h.protocol = 1;
    h.agent_version = h.os = h.hostname = text;
    h.machine_id = msg_bytes(slice_str(machine));
    h.instance = msg_bytes(slice_of(instance, sizeof instance));
    h.time = clock_wall();
    c.channel = msg_bytes(SLICE_LIT("C"));
    h.channels = list;
    h.n_channels = 1;
    send_message(p, FRAME_HELLO, &h);
    assert_true(expect(p, FRAME_WELCOME, &body));
    arena_reset(&p->arena);
}

static struct buf make_batch(uint64_t first, unsigned n) {
    struct batch_builder *b = batch_builder_new(0);
    struct buf block = {0}, body = {0}, frame = {0};
    uint32_t header_len;
    batch_begin(b, SLICE_LIT("C"), SLICE_LIT(""), 1);
    for (unsigned i = 0; i < n; i++) {
        struct event_data data = {.name = SLICE_LIT("Image"), .value = SLICE_LIT("x")};
        struct event ev = {.provider = SLICE_LIT("P"),
                           .event_id = {.v = 11, .present = true},
                           .record_id = {.v = first + i, .present = true},
                           .time = T0 + (first + i) * FILETIME_SECOND,
                           .time_digits = 7,
                           .channel = SLICE_LIT("C"),
                           .computer = SLICE_LIT("PC"),
                           .body = EVENT_BODY_DATA,
                           .data = &data,
                           .n_data = 1};
        assert_int_equal(batch_add(b, &ev, first + i), ST_OK);
    }
    assert_int_equal(batch_finish(b, &block, &header_len), ST_OK);
    buf_u32le(&body, header_len);
    buf_slice_append(&body, buf_slice(&block));
    frame_put(&frame, FRAME_BATCH, buf_slice(&body));
    buf_free(&block);
    buf_free(&body);
    batch_builder_free(&b);
    return frame;
}

static uint64_t read_ack(struct peer *p, uint64_t through) {
    uint64_t n_rejected = 0;
    for (uint64_t at = 0; at < through;) {
        struct slice body;
        assert_true(expect(p, FRAME_ACK, &body));
        Haechi__Ack *a = MSG_UNPACK(Ack, ack, body, &p->arena);
        assert_non_null(a);
        assert_true(a->through > at);
        at = a->through;
        n_rejected += a->n_rejected;
        arena_reset(&p->arena);
    }
    return n_rejected;
}

static uint64_t held(struct world *w, uint32_t host) {
    struct db_stream *s = NULL;
    size_t n = 0;
    uint64_t sum = 0;
    assert_int_equal(db_streams(w->db, host, &s, &n, NULL), ST_OK);
    for (size_t i = 0; i < n; i++) sum += ledger_count(s[i].ledger);
    db_streams_free(s, n);
    return sum;
}

/* ---- tests ---- */

static void test_whole_way(void **state) {
    (void)state;
    struct world w = {.loops = 2};
    struct agent a;
    struct peer p;
    struct slice body;
    open_world(&w);
    enroll(&w, &a, "PC-1");
    assert_int_equal(shake(&w, &p, &a, TLS_ALPN_AGENT), ST_OK);
    hello(&p, "m1");
    for (unsigned i = 0; i < 8; i++) {
        struct buf b = make_batch(1 + 10 * i, 10);
        if (i == 5) b.p[b.len - 1] ^= 1; /* one lies */
        send_bytes(&p, &b);
    }
    assert_int_equal(read_ack(&p, 8), 1);
    assert_int_equal(held(&w, a.host), 70);
    struct buf again = make_batch(51, 20); /* the missing ten, and ten that are held */
    send_bytes(&p, &again);
    assert_int_equal(read_ack(&p, 9), 0);
    assert_int_equal(held(&w, a.host), 80);
    Haechi__Gap g = HAECHI__GAP__INIT;
    g.channel = msg_bytes(SLICE_LIT("C"));
    g.epoch = 1;
    g.first_id = 81;
    g.last_id = 90;
    g.cause = LEDGER_WRAPPED;
    send_message(&p, FRAME_GAP, &g);
    Haechi__Channel c = HAECHI__CHANNEL__INIT, *list[] = {&c};
    Haechi__PositionQuery q = HAECHI__POSITION_QUERY__INIT;
    c.channel = msg_bytes(SLICE_LIT("C"));
    q.channels = list;
    q.n_channels = 1;
    send_message(&p, FRAME_POSITION_QUERY, &q);
    assert_true(expect(&p, FRAME_POSITION_REPLY, &body));
    Haechi__PositionReply *r = MSG_UNPACK(PositionReply, position_reply, body, &p.arena);
    assert_int_equal(r->n_positions, 1);
    assert_int_equal(r->positions[0]->epoch, 1);
    assert_int_equal(r->positions[0]->highest_id, 80);
    assert_true(r->positions[0]->highest_time == T0 + 80 * FILETIME_SECOND);
    struct buf csr = {0};
    assert_int_equal(tls_make_csr(buf_slice(&a.key), "x", &csr, NULL), ST_OK);
    Haechi__Renew renew = HAECHI__RENEW__INIT;
    renew.csr = msg_bytes(buf_slice(&csr));
    send_message(&p, FRAME_RENEW, &renew);
    assert_true(expect(&p, FRAME_RENEWED, &body));
    buf_free(&csr);
    hang_up(&p);
    free_agent(&a);
    remove_world(&w);
}

static void test_revoked(void **state) {
    (void)state;
    struct world w = {0};
    struct agent a;
    struct peer p;
    struct slice body;
    struct error err = {0};
    open_world(&w);
    enroll(&w, &a, "PC-1");
    assert_int_equal(shake(&w, &p, &a, TLS_ALPN_AGENT), ST_OK);
    hello(&p, "m1");
    assert_int_equal(fleet_host_revoke(w.fleet, "test", a.host, "stolen", &err), ST_OK);
    assert_true(expect(&p, FRAME_GOODBYE, &body)); /* at once, without anything sent */
    Haechi__Goodbye *g = MSG_UNPACK(Goodbye, goodbye, body, &p.arena);
    assert_int_equal(g->code, ST_REVOKED);
    enum frame_type t;
    assert_false(receive(&p, &t, &body));
    hang_up(&p);
    if (shake(&w, &p, &a, TLS_ALPN_AGENT) == ST_OK) assert_false(receive(&p, &t, &body)); /* refused in the handshake */
    hang_up(&p);
    free_agent(&a);
    remove_world(&w);
}

static void test_strangers(void **state) {
    (void)state;
    struct world w = {0};
    struct peer p;
    enum frame_type t;
    struct slice body;
    open_world(&w);
    if (shake(&w, &p, NULL, TLS_ALPN_AGENT) == ST_OK) assert_false(receive(&p, &t, &body)); /* no certificate */
    hang_up(&p);
    assert_true(shake(&w, &p, NULL, NULL) != ST_OK || !receive(&p, &t, &body)); /* no ALPN */
    hang_up(&p);
    int fd = dial(&w); /* no TLS */
    assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    uint8_t raw[512];
    while (recv(fd, raw, sizeof raw, 0) > 0) continue;
    close(fd);
    assert_int_equal(stats_get(w.stats, STATS_sessions), 0);
    remove_world(&w);
}

/* Handshakes in flight are few: the next one waits in the backlog and gets its turn. */
static void test_limits(void **state) {
    (void)state;
    struct world w = {.max_handshakes = 2, .max_per_address = 4};
    struct agent a;
    struct peer p[6];
    enum frame_type t;
    struct slice body;
    open_world(&w);
    enroll(&w, &a, "PC-1");
    int idle[2] = {dial(&w), dial(&w)};
    usleep(100000);
    assert_int_equal(stats_get(w.stats, STATS_handshakes), 2);
    int waits = dial(&w); /* in the kernel */
    usleep(100000);
    assert_int_equal(stats_get(w.stats, STATS_open_connections), 2);
    close(idle[0]);
    close(idle[1]);
    close(waits);
    for (int i = 0; i < 100 && stats_get(w.stats, STATS_open_connections); i++) usleep(20000);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(shake(&w, &p[i], &a, TLS_ALPN_AGENT), ST_OK);
        hello(&p[i], "m1");
    }
    assert_true(shake(&w, &p[4], &a, TLS_ALPN_AGENT) != ST_OK ||
                !receive(&p[4], &t, &body)); /* a fifth of one address */
    for (int i = 0; i < 5; i++) hang_up(&p[i]);
    for (int i = 0; i < 100 && stats_get(w.stats, STATS_open_connections); i++) usleep(20000);
    assert_int_equal(stats_get(w.stats, STATS_open_connections), 0);
    free_agent(&a);
    remove_world(&w);
}

/* Stopping with batches under way: each is in the store or was not acknowledged; the session hears why. */
static void test_stop(void **state) {
    (void)state;
    struct world w = {0};
    struct agent a;
    struct peer p;
    enum frame_type t;
    struct slice body;
    uint64_t acked = 0;
    bool told = false;
    open_world(&w);
    enroll(&w, &a, "PC-1");
    assert_int_equal(shake(&w, &p, &a, TLS_ALPN_AGENT), ST_OK);
    hello(&p, "m1");
    for (unsigned i = 0; i < 8; i++) {
        struct buf b = make_batch(1 + 10 * i, 10);
        send_bytes(&p, &b);
    }
    int idle = dial(&w);
    usleep(1000);
    close_world(&w);
    while (receive(&p, &t, &body)) {
        if (t == FRAME_ACK) acked = MSG_UNPACK(Ack, ack, body, &p.arena)->through;
        if (t == FRAME_GOODBYE) told = true;
    }
    close(idle);
    hang_up(&p);
    assert_true(told);
    open_world(&w);
    assert_true(held(&w, a.host) >= 10 * acked);
    free_agent(&a);
    remove_world(&w);
}

static void test_address(void **state) {
    (void)state;
    static const struct {
        const char *text, *host;
        int port; /* -1: refused */
    } cases[] = {
        {"0.0.0.0:7443", "0.0.0.0", 7443},
        {"*:0", "", 0},
        {"[::1]:99", "::1", 99},
        {"name:1", "name", 1},
        {"::1:99", "", -1},
        {"x", "", -1},
        {"x:", "", -1},
        {"x:70000", "", -1},
        {"x:1a", "", -1},
        {":5", "", 5},
        {"[::1]", "", -1},
        {"", "", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char host[256];
        uint16_t port = 0;
        struct error err = {0};
        enum status st = address_parse(cases[i].text, host, &port, &err);
        bool right = cases[i].port < 0 ? st == ST_INVALID && err.msg[0]
                                       : st == ST_OK && port == cases[i].port && strcmp(host, cases[i].host) == 0;
        if (!right) print_error("case \"%s\": %s\n", cases[i].text, status_name(st));
        assert_true(right);
    }
}

static void drop_line(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    if (getenv("VERBOSE")) fprintf(stderr, "%s\n", line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address),   cmocka_unit_test(test_whole_way), cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_strangers), cmocka_unit_test(test_limits),    cmocka_unit_test(test_stop),
    };
    log_redirect(drop_line, NULL);
    tls_global_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
