/* proto/tls: mutual TLS 1.3 in memory, what is refused, and what each end is told. */
// links: server rules storage proto base
// timeout: 180
#include "ca.h"
#include "clock.h"
#include "mem.h"
#include "tls.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DAY_S 86400

static struct pki {
    struct buf ca_pem, ca_key, server, server_key, agent, agent_key;
    struct ca *ca;
    struct tls_peer agent_facts;
} ours, foreign;

static const char *const both_alpn[] = {TLS_ALPN_AGENT, TLS_ALPN_ENROLL, NULL};
static const char *const names[] = {"collector.example", "127.0.0.1", NULL};

static void issue(struct pki *p, uint64_t now, uint64_t valid_s) {
    struct error err;
    struct buf csr = {0};
    buf_clear(&p->agent);
    buf_clear(&p->agent_key);
    buf_clear(&p->server);
    buf_clear(&p->server_key);
    assert_int_equal(ca_issue_server(p->ca, names, now, valid_s, &p->server, &p->server_key, &err), ST_OK);
    assert_int_equal(tls_make_key(&p->agent_key, &err), ST_OK);
    assert_int_equal(tls_make_csr(buf_slice(&p->agent_key), "x", &csr, &err), ST_OK);
    assert_int_equal(ca_issue_agent(p->ca, buf_slice(&csr), "host:17", now, valid_s, &p->agent, &p->agent_facts, &err),
                     ST_OK);
    buf_free(&csr);
}

static void make_pki(struct pki *p) {
    struct error err;
    uint64_t now = clock_wall();
    *p = (struct pki){0};
    assert_int_equal(ca_make("Haechi CA test", now, &p->ca_pem, &p->ca_key, &err), ST_OK);
    assert_int_equal(ca_load(buf_slice(&p->ca_pem), buf_slice(&p->ca_key), now, &p->ca, &err), ST_OK);
    issue(p, now, 30 * DAY_S);
}

static void free_pki(struct pki *p) {
    ca_free(&p->ca);
    struct buf *all[] = {&p->ca_pem, &p->ca_key, &p->server, &p->server_key, &p->agent, &p->agent_key};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) buf_free(all[i]);
}

static struct tls_server_options server_options(void) {
    return (struct tls_server_options){.certificate_pem = buf_slice(&ours.server),
                                       .key_pem = buf_slice(&ours.server_key),
                                       .client_ca_pem = buf_slice(&ours.ca_pem),
                                       .client_required = true,
                                       .alpn = both_alpn,
                                       .alpn_required = true};
}

static struct tls_client_options client_options(void) {
    return (struct tls_client_options){.ca_pem = buf_slice(&ours.ca_pem),
                                       .certificate_pem = buf_slice(&ours.agent),
                                       .key_pem = buf_slice(&ours.agent_key),
                                       .alpn = TLS_ALPN_AGENT};
}

struct pair {
    struct tls_config *cc, *sc;
    struct tls *client, *server;
    enum status cst, sst; /* of the handshakes; then of what came after */
    struct error cerr, serr;
};

/* Moves bytes from one to the other, `step` at a time (0: all). */
static void move(struct tls *from, struct tls *to, size_t step) {
    struct buf b = {0};
    tls_take_output(from, &b);
    for (size_t at = 0; at < b.len;) {
        size_t n = step && step < b.len - at ? step : b.len - at;
        assert_int_equal(tls_feed(to, slice_of(b.p + at, n)), ST_OK);
        if (step) (void)!tls_handshake(to, NULL);
        at += n;
    }
    buf_free(&b);
}

static void run_handshake(struct pair *p, size_t step) {
    p->cst = p->sst = ST_AGAIN;
    for (int i = 0; i < 20 && (p->cst == ST_AGAIN || p->sst == ST_AGAIN); i++) {
        if (p->cst == ST_AGAIN) p->cst = tls_handshake(p->client, &p->cerr);
        move(p->client, p->server, step);
        if (p->sst == ST_AGAIN) p->sst = tls_handshake(p->server, &p->serr);
        move(p->server, p->client, step);
        if ((p->cst && p->cst != ST_AGAIN) || (p->sst && p->sst != ST_AGAIN)) break;
    }
    if (p->cst == ST_OK && p->sst != ST_OK) { /* the refusal comes with the first read */
        char c;
        size_t n;
        p->cst = tls_read(p->client, &c, 1, &n, &p->cerr);
    } else if (p->cst == ST_AGAIN) {
        p->cst = tls_handshake(p->client, &p->cerr);
    }
    if (p->cst != ST_OK && p->sst == ST_AGAIN) p->sst = tls_handshake(p->server, &p->serr);
}

static void make_pair(struct pair *p, const struct tls_client_options *co, const struct tls_server_options *so,
                      const char *name) {
    *p = (struct pair){0};
    struct error err = {0};
    enum status st = tls_client_config(co, &p->cc, &err);
    if (!st) st = tls_server_config(so, &p->sc, &err);
    if (st) print_message("%s\n", err.msg);
    assert_int_equal(st, ST_OK);
    p->client = tls_new(p->cc, name);
    p->server = tls_new(p->sc, NULL);
}

static void free_pair(struct pair *p) {
    tls_free(&p->client);
    tls_free(&p->server);
    tls_config_free(&p->cc);
    tls_config_free(&p->sc);
}

static void echo(struct pair *p, size_t len) {
    uint8_t *sent = mem_alloc(len), *got = mem_alloc(len + 1);
    tls_random(sent, len);
    assert_int_equal(tls_write(p->client, slice_of(sent, len), &p->cerr), ST_OK);
    move(p->client, p->server, 0);
    size_t at = 0, n;
    enum status st;
    while ((st = tls_read(p->server, got + at, len + 1 - at, &n, &p->serr)) == ST_OK) at += n;
    assert_int_equal(st, ST_AGAIN);
    assert_int_equal(at, len);
    assert_memory_equal(sent, got, len);
    mem_free(sent);
    mem_free(got);
}

static void test_mutual(void **state) {
    (void)state;
    struct tls_server_options so = server_options();
    struct tls_client_options co = client_options();
    static const size_t steps[] = {0, 1, 7};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        print_message("  %zu bytes at a time\n", steps[i]);
        struct pair p;
        make_pair(&p, &co, &so, "collector.example");
        run_handshake(&p, steps[i]);
        if (p.cst || p.sst) print_message("client: %s\nserver: %s\n", p.cerr.msg, p.serr.msg);
        assert_int_equal(p.cst, ST_OK);
        assert_int_equal(p.sst, ST_OK);
        const struct tls_peer *agent = tls_get_peer(p.server), *collector = tls_get_peer(p.client);
        assert_true(agent->verified && collector->verified);
        assert_string_equal(agent->common_name, "host:17");
        assert_string_equal(agent->serial, ours.agent_facts.serial);
        assert_memory_equal(agent->spki, ours.agent_facts.spki, 32);
        assert_memory_equal(agent->ca_spki, ca_pin(ours.ca), 32);
        assert_memory_equal(collector->ca_spki, ca_pin(ours.ca), 32);
        assert_int_equal(agent->not_after, ours.agent_facts.not_after);
        assert_string_equal(tls_get_alpn(p.server), TLS_ALPN_AGENT);
        assert_string_equal(tls_get_alpn(p.client), TLS_ALPN_AGENT);
        uint8_t a[32], b[32];
        assert_int_equal(tls_export(p.client, "EXPORTER-haechi", a, 32), ST_OK);
        assert_int_equal(tls_export(p.server, "EXPORTER-haechi", b, 32), ST_OK);
        assert_memory_equal(a, b, 32);
        echo(&p, 1);
        echo(&p, 100000);
        tls_idle(p.client);
        tls_idle(p.server);
        echo(&p, 20000);
        tls_idle(p.server);
        echo(&p, 3);
        tls_close_notify(p.client);
        move(p.client, p.server, 0);
        char c;
        size_t n;
        assert_int_equal(tls_read(p.server, &c, 1, &n, &p.serr), ST_END);
        assert_int_equal(tls_read(p.server, &c, 1, &n, &p.serr), ST_END);
        assert_int_equal(tls_write(p.client, SLICE_LIT("x"), &p.cerr), ST_CLOSED);
        assert_int_equal(tls_write(p.server, SLICE_LIT("x"), &p.serr), ST_OK); /* the other half is open */
        free_pair(&p);
    }
}

static enum status verdict;
static int n_admits;
static enum status admit(void *ctx, const struct tls_peer *peer) {
    (void)ctx;
    n_admits++;
    assert_string_equal(peer->common_name, "host:17");
    assert_false(peer->verified);
    return verdict;
}

enum trust { TRUST_CA, TRUST_PIN, TRUST_BOTH, TRUST_WRONG_CA, TRUST_WRONG_PIN, TRUST_CA_WRONG_PIN };
enum who { WHO_AGENT, WHO_NONE, WHO_FOREIGN };

static const struct {
    const char *name;
    enum trust trust;
    enum who who;
    bool optional, no_alpn, admits, leaf_only;
    enum status verdict;
    const char *alpn, *host;
    enum status client, server;
    const char *client_says, *server_says;
} meetings[] = {
    {.name = "CA"},
    {.name = "pin alone", .trust = TRUST_PIN},
    {.name = "CA and pin", .trust = TRUST_BOTH},
    {.name = "enrolment: pin, no certificate",
     .trust = TRUST_PIN,
     .who = WHO_NONE,
     .optional = true,
     .alpn = TLS_ALPN_ENROLL},
    {.name = "a certificate where it is optional", .optional = true},
    {.name = "name matches", .host = "collector.example"},
    {.name = "address matches", .host = "127.0.0.1"},
    {.name = "unknown CA",
     .trust = TRUST_WRONG_CA,
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "unknown CA",
     .server_says = "does not trust our CA"},
    {.name = "wrong pin", .trust = TRUST_WRONG_PIN, .client = ST_AUTH, .server = ST_AUTH, .client_says = "wrong pin"},
    {.name = "right CA, wrong pin",
     .trust = TRUST_CA_WRONG_PIN,
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "wrong pin"},
    {.name = "pin, but no CA in the chain",
     .trust = TRUST_PIN,
     .leaf_only = true,
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "presented no CA"},
    {.name = "another name",
     .host = "other.example",
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "other.example"},
    {.name = "no certificate",
     .who = WHO_NONE,
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "enrol this host first",
     .server_says = "has to be enrolled"},
    {.name = "foreign certificate",
     .who = WHO_FOREIGN,
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "unknown_ca",
     .server_says = "unknown CA"},
    {.name = "foreign certificate where it is optional",
     .who = WHO_FOREIGN,
     .optional = true,
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "unknown_ca",
     .server_says = "unknown CA"},
    {.name = "admitted", .admits = true},
    {.name = "revoked",
     .admits = true,
     .verdict = ST_REVOKED,
     .client = ST_REVOKED,
     .server = ST_REVOKED,
     .client_says = "certificate_revoked",
     .server_says = "is revoked"},
    {.name = "revoked where it is optional",
     .admits = true,
     .optional = true,
     .verdict = ST_REVOKED,
     .client = ST_REVOKED,
     .server = ST_REVOKED,
     .client_says = "certificate_revoked",
     .server_says = "is revoked"},
    {.name = "expired to the registry",
     .admits = true,
     .verdict = ST_EXPIRED,
     .client = ST_EXPIRED,
     .server = ST_EXPIRED,
     .client_says = "certificate_expired"},
    {.name = "unknown to the registry",
     .admits = true,
     .verdict = ST_AUTH,
     .client = ST_AUTH,
     .server = ST_AUTH,
     .client_says = "access_denied"},
    {.name = "wrong ALPN",
     .alpn = "h2",
     .client = ST_PROTO,
     .server = ST_PROTO,
     .client_says = "no_application_protocol",
     .server_says = "ALPN"},
    {.name = "no ALPN",
     .no_alpn = true,
     .client = ST_PROTO,
     .server = ST_PROTO,
     .client_says = "no_application_protocol",
     .server_says = "no ALPN"},
};

static void test_who_is_let_in(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof meetings / sizeof *meetings; i++) {
        print_message("  %s\n", meetings[i].name);
        struct tls_server_options so = server_options();
        struct tls_client_options co = client_options();
        so.client_required = !meetings[i].optional;
        if (meetings[i].admits) so.admit = admit;
        verdict = meetings[i].verdict;
        n_admits = 0;
        if (meetings[i].leaf_only) so.certificate_pem.len -= ours.ca_pem.len;
        enum trust t = meetings[i].trust;
        if (t == TRUST_WRONG_CA) co.ca_pem = buf_slice(&foreign.ca_pem);
        if (t == TRUST_PIN || t == TRUST_WRONG_PIN) co.ca_pem = (struct slice){0};
        if (t == TRUST_PIN || t == TRUST_BOTH) co.ca_pin = ca_pin(ours.ca);
        if (t == TRUST_WRONG_PIN || t == TRUST_CA_WRONG_PIN) co.ca_pin = ca_pin(foreign.ca);
        if (meetings[i].who == WHO_NONE) co.certificate_pem = (struct slice){0};
        if (meetings[i].who == WHO_FOREIGN) {
            co.certificate_pem = buf_slice(&foreign.agent);
            co.key_pem = buf_slice(&foreign.agent_key);
        }
        if (meetings[i].alpn) co.alpn = meetings[i].alpn;
        if (meetings[i].no_alpn) co.alpn = NULL;
        struct pair p;
        make_pair(&p, &co, &so, meetings[i].host);
        run_handshake(&p, 0);
        bool good = p.cst == meetings[i].client && p.sst == meetings[i].server;
        good = good && (!meetings[i].client_says || strstr(p.cerr.msg, meetings[i].client_says));
        good = good && (!meetings[i].server_says || strstr(p.serr.msg, meetings[i].server_says));
        if (!good || getenv("V")) {
            print_message("    client %s: %s\n    server %s: %s\n", status_name(p.cst), p.cst ? p.cerr.msg : "",
                          status_name(p.sst), p.sst ? p.serr.msg : "");
        }
        assert_true(good);
        if (meetings[i].admits) assert_int_equal(n_admits, 1);
        if (meetings[i].who == WHO_NONE && !p.sst) assert_false(tls_get_peer(p.server)->verified);
        char c;
        size_t n;
        if (p.sst) { /* what failed stays failed */
            assert_int_equal(tls_handshake(p.server, &p.serr), p.sst);
            assert_int_equal(tls_read(p.server, &c, 1, &n, &p.serr), p.sst);
            assert_int_equal(tls_write(p.server, SLICE_LIT("x"), &p.serr), p.sst);
        }
        free_pair(&p);
    }
}

static void test_time(void **state) {
    (void)state;
    uint64_t now = clock_wall();
    static const struct {
        const char *name, *client_says;
        int64_t from_s;
        uint64_t valid_s;
        enum status st;
    } cases[] = {
        {"good", NULL, -DAY_S, 2 * DAY_S, ST_OK},
        {"expired a second ago", "has expired", -DAY_S, DAY_S - 1, ST_EXPIRED},
        {"not yet valid", "not yet valid", 2 * 3600, DAY_S, ST_EXPIRED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        issue(&ours, now + (uint64_t)(cases[i].from_s * (int64_t)FILETIME_SECOND), cases[i].valid_s);
        struct tls_server_options so = server_options();
        struct tls_client_options co = client_options();
        struct pair p;
        make_pair(&p, &co, &so, NULL);
        run_handshake(&p, 0);
        if (p.cst != cases[i].st || getenv("V")) print_message("    client %s: %s\n", status_name(p.cst), p.cerr.msg);
        assert_int_equal(p.cst, cases[i].st);
        assert_int_equal(p.sst, cases[i].st);
        if (cases[i].client_says) assert_non_null(strstr(p.cerr.msg, cases[i].client_says));
        free_pair(&p);

        /* the other way: the collector judges the agent's */
        struct buf server = {0}, key = {0};
        assert_int_equal(ca_issue_server(ours.ca, names, now, DAY_S, &server, &key, NULL), ST_OK);
        so.certificate_pem = buf_slice(&server);
        so.key_pem = buf_slice(&key);
        make_pair(&p, &co, &so, NULL);
        run_handshake(&p, 0);
        if (p.sst != cases[i].st || getenv("V"))
            print_message("    server %s: %s\n    client %s: %s\n", status_name(p.sst), p.serr.msg, status_name(p.cst),
                          p.cerr.msg);
        assert_int_equal(p.sst, cases[i].st);
        assert_int_equal(p.cst, cases[i].st);
        if (cases[i].st) assert_non_null(strstr(p.cerr.msg, "certificate_expired"));
        free_pair(&p);
        buf_free(&server);
        buf_free(&key);
    }
    issue(&ours, now, 30 * DAY_S);
#ifdef HAECHI_TEST_HOOKS
    setenv("HAECHI_TEST_CLOCK_S", "3456000", 1); /* 40 days on */
    struct tls_server_options so = server_options();
    struct tls_client_options co = client_options();
    struct pair p;
    make_pair(&p, &co, &so, NULL);
    run_handshake(&p, 0);
    unsetenv("HAECHI_TEST_CLOCK_S");
    assert_int_equal(p.cst, ST_EXPIRED);
    free_pair(&p);
#endif
}

static void test_bad_configurations(void **state) {
    (void)state;
    struct error err;
    struct tls_config *c = NULL;
    struct tls_server_options so = server_options();
    so.key_pem = buf_slice(&ours.agent_key);
    assert_int_equal(tls_server_config(&so, &c, &err), ST_INVALID);
    so = server_options();
    so.client_ca_pem.len = 0;
    assert_int_equal(tls_server_config(&so, &c, &err), ST_INVALID);
    so = server_options();
    so.certificate_pem = SLICE_LIT("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_int_equal(tls_server_config(&so, &c, &err), ST_FORMAT);
    struct tls_client_options co = client_options();
    co.ca_pem.len = 0;
    assert_int_equal(tls_client_config(&co, &c, &err), ST_INVALID);
    co = client_options();
    co.key_pem = SLICE_LIT("");
    assert_int_equal(tls_client_config(&co, &c, &err), ST_INVALID);
    assert_null(c);
    tls_config_free(&c);
}

static void test_damage(void **state) {
    (void)state;
    struct tls_server_options so = server_options();
    struct tls_client_options co = client_options();
    struct pair p;
    make_pair(&p, &co, &so, NULL);
    run_handshake(&p, 0);
    struct buf b = {0};
    assert_int_equal(tls_write(p.client, SLICE_LIT("hello"), NULL), ST_OK);
    tls_take_output(p.client, &b);
    b.p[b.len - 1] ^= 1;
    assert_int_equal(tls_feed(p.server, buf_slice(&b)), ST_OK);
    char c;
    size_t n;
    assert_int_equal(tls_read(p.server, &c, 1, &n, &p.serr), ST_TLS);
    assert_int_equal(tls_read(p.server, &c, 1, &n, &p.serr), ST_TLS);
    assert_true(tls_has_output(p.server)); /* an alert */
    move(p.server, p.client, 0);
    assert_int_equal(tls_read(p.client, &c, 1, &n, &p.cerr), ST_TLS);
    assert_non_null(strstr(p.cerr.msg, "bad_record_mac"));
    free_pair(&p);

    make_pair(&p, &co, &so, NULL);
    assert_int_equal(tls_feed(p.server, SLICE_LIT("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), ST_OK);
    assert_int_equal(tls_handshake(p.server, &p.serr), ST_TLS);
    static uint8_t big[TLS_FEED_MAX + 1];
    assert_int_equal(tls_feed(p.client, slice_of(big, sizeof big)), ST_TOOBIG);
    buf_free(&b);
    free_pair(&p);
}

/* Shared configurations, many threads: what TSan looks at. */
#define N_THREADS 4
static struct tls_config *shared_client, *shared_server;

static void *handshakes(void *ctx) {
    int *n = ctx;
    for (int i = 0; i < 6; i++) {
        struct pair p = {.client = tls_new(shared_client, NULL), .server = tls_new(shared_server, NULL)};
        run_handshake(&p, 0);
        if (p.cst == ST_OK && p.sst == ST_OK && tls_get_peer(p.server)->verified) (*n)++;
        tls_idle(p.server);
        tls_free(&p.client);
        tls_free(&p.server);
    }
    struct buf key = {0}, csr = {0}, cert = {0};
    if (!tls_make_key(&key, NULL) && !tls_make_csr(buf_slice(&key), "t", &csr, NULL) &&
        !ca_issue_agent(ours.ca, buf_slice(&csr), "host:1", clock_wall(), 60, &cert, NULL, NULL)) {
        (*n)++;
    }
    buf_free(&key);
    buf_free(&csr);
    buf_free(&cert);
    return NULL;
}

static enum status admit_all(void *ctx, const struct tls_peer *peer) {
    (void)ctx;
    (void)peer;
    return ST_OK;
}

static void test_threads(void **state) {
    (void)state;
    struct tls_server_options so = server_options();
    struct tls_client_options co = client_options();
    so.admit = admit_all;
    assert_int_equal(tls_client_config(&co, &shared_client, NULL), ST_OK);
    assert_int_equal(tls_server_config(&so, &shared_server, NULL), ST_OK);
    pthread_t threads[N_THREADS];
    int done[N_THREADS] = {0};
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, handshakes, &done[i]), 0);
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(done[i], 7);
    }
    tls_config_free(&shared_client);
    tls_config_free(&shared_server);
}

static void test_csr_names(void **state) {
    (void)state;
    struct buf csr = {0};
    static const struct {
        const char *name;
        enum status st;
    } cases[] = {{"host-1", ST_OK},
                 {"a,b=c+d\"#;<>\\ ", ST_OK},
                 {"\xea\xb0\x80", ST_OK},
                 {"", ST_INVALID},
                 {"\xff", ST_INVALID},
                 {"0123456789012345678901234567890123456789012345678901234567890123", ST_OK},
                 {"01234567890123456789012345678901234567890123456789012345678901234", ST_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  \"%s\"\n", cases[i].name);
        buf_clear(&csr);
        assert_int_equal(tls_make_csr(buf_slice(&ours.agent_key), cases[i].name, &csr, NULL), cases[i].st);
        struct ca_csr got;
        if (!cases[i].st) {
            assert_int_equal(ca_check_csr(buf_slice(&csr), &got, NULL), ST_OK);
            assert_string_equal(got.common_name, cases[i].name);
        }
    }
    buf_free(&csr);
}

int main(void) {
    tls_global_init();
    tls_global_init();
    make_pki(&ours);
    make_pki(&foreign);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual),    cmocka_unit_test(test_who_is_let_in),
        cmocka_unit_test(test_time),      cmocka_unit_test(test_bad_configurations),
        cmocka_unit_test(test_damage),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_csr_names),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free_pki(&ours);
    free_pki(&foreign);
    return rc;
}
