/* server/fleet with a real database, a real authority and a clock of its own: enrolment in all its refusals, pending
 * requests, revocation, clones, tokens, what survives a restart. */
#include "clock.h"
#include "file.h"
#include "fleet.h"
#include "mem.h"
#include "token.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static uint64_t the_time;

static uint64_t now(void) {
    return the_time;
}

struct world {
    char dir[SCRATCH_MAX];
    char ca_dir[80];
    struct db *db;
    struct fleet *fleet;
};

static void world_open(struct world *w) {
    static const char *const names[] = {"localhost", "127.0.0.1", NULL};
    struct fleet_options o = {.ca_dir = w->ca_dir, .server_names = names, .host_cert_days = 30, .now = now};
    struct error err = {0};
    if (db_open(w->dir, &(struct db_options){.min_free_bytes = 1}, &w->db, &err)) fail_msg("%s", err.msg);
    if (fleet_open(w->db, &o, &w->fleet, &err)) fail_msg("%s", err.msg);
}

static void world_close(struct world *w) {
    fleet_close(&w->fleet);
    db_close(&w->db);
}

static int setup(void **state) {
    struct world *w = mem_zalloc(sizeof *w);
    the_time = clock_wall();
    assert_true(scratch_make(w->dir, "fleet"));
    snprintf(w->ca_dir, sizeof w->ca_dir, "%s/ca", w->dir);
    tls_global_init();
    world_open(w);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    world_close(w);
    int rc = scratch_remove(w->dir);
    mem_free(w);
    return rc;
}

/* ---- an agent's side ---- */

struct agent {
    struct buf key, csr;
};

static struct agent make_agent(const char *subject) {
    struct agent a = {0};
    struct error err = {0};
    if (tls_make_key(&a.key, &err) || tls_make_csr(buf_slice(&a.key), subject, &a.csr, &err)) fail_msg("%s", err.msg);
    return a;
}

static void free_agent(struct agent *a) {
    buf_free(&a->key);
    buf_free(&a->csr);
}

static struct token make_token(struct world *w, uint64_t uses, uint64_t expires_s, char id[17]) {
    struct fleet_token_request r = {
        .role = "enroll", .group = "lab", .address = "127.0.0.1:7443", .uses = uses, .expires_s = expires_s};
    struct buf text = {0};
    struct fleet_token t;
    struct token raw;
    struct error err = {0};
    if (fleet_token_create(w->fleet, "test", &r, &text, &t, &err)) fail_msg("%s", err.msg);
    assert_int_equal(token_decode(buf_slice(&text), &raw, &err), ST_OK);
    memcpy(id, t.id, 17);
    mem_free(t.group);
    mem_free(t.note);
    mem_free(t.role);
    buf_free(&text);
    return raw;
}

static struct fleet_enrolled enroll(struct world *w, const struct token *t, const struct agent *a, const char *name) {
    struct fleet_enroll_request r = {.token_id = slice_of(t->id, TOKEN_ID_LEN),
                                     .token_secret = slice_of(t->secret, TOKEN_SECRET_LEN),
                                     .csr_der = buf_slice(&a->csr),
                                     .host_name = slice_str(name),
                                     .os = SLICE_LIT("Linux\x01"),
                                     .machine_id = SLICE_LIT("m1"),
                                     .agent_version = SLICE_LIT("0.1"),
                                     .address = "127.0.0.1:5",
                                     .agent_time = the_time};
    struct fleet_enrolled ret;
    struct error err = {0};
    if (fleet_enroll(w->fleet, &r, &ret, &err)) fail_msg("%s", err.msg);
    return ret;
}

static void enrolled_free(struct fleet_enrolled *e) {
    buf_free(&e->certificate);
    buf_free(&e->ca);
}

static struct tls_peer peer_of(const struct fleet_enrolled *e) {
    struct tls_peer p;
    uint64_t not_before;
    struct error err = {0};
    if (tls_certificate_facts(buf_slice(&e->certificate), &p, &not_before, &err)) fail_msg("%s", err.msg);
    p.verified = true;
    return p;
}

static void expect_refused(struct world *w, const struct token *t, const struct agent *a, const char *name,
                           const char *says) {
    struct fleet_enrolled e = enroll(w, t, a, name);
    if (e.result != ENROLL_REFUSED || !strstr(e.reason, says))
        fail_msg("wanted '%s', got %d '%s'", says, e.result, e.reason);
    assert_int_equal(e.certificate.len, 0);
    enrolled_free(&e);
}

/* ---- tests ---- */

static void test_enrols_and_repeats(void **state) {
    struct world *w = *state;
    char id[17];
    struct token t = make_token(w, 1, 0, id);
    struct agent a = make_agent("someone-else");
    struct fleet_enrolled e = enroll(w, &t, &a, "PC-1");
    assert_int_equal(e.result, ENROLL_GRANTED);
    struct tls_peer p = peer_of(&e);
    assert_string_equal(p.common_name, "host:1"); /* the CSR's subject is not copied */
    assert_int_equal(fleet_admit(w->fleet, &p), ST_OK);
    struct fleet_enrolled again = enroll(w, &t, &a, "PC-1"); /* the reply was lost */
    assert_int_equal(again.result, ENROLL_GRANTED);
    assert_int_equal(again.host_id, e.host_id);
    struct agent b = make_agent("b");
    expect_refused(w, &t, &b, "PC-2", "used up");
    world_close(w);
    world_open(w);
    assert_int_equal(fleet_admit(w->fleet, &p), ST_OK);
    struct fleet_host h;
    assert_int_equal(fleet_host_find(w->fleet, SLICE_LIT("pc-"), &h, NULL), ST_OK);
    assert_string_equal(h.name, "PC-1");
    assert_string_equal(h.group, "lab");
    assert_string_equal(h.os, "Linux\\x01");
    fleet_host_free(&h);
    assert_int_equal(fleet_host_find(w->fleet, SLICE_LIT("1"), &h, NULL), ST_OK);
    fleet_host_free(&h);
    enrolled_free(&e);
    enrolled_free(&again);
    free_agent(&a);
    free_agent(&b);
}

static void test_refusals(void **state) {
    struct world *w = *state;
    char id[17], revoked_id[17];
    struct token good = make_token(w, 5, 0, id), revoked = make_token(w, 1, 0, revoked_id), wrong = good;
    struct agent a = make_agent("a");
    struct error err = {0};
    wrong.secret[5] ^= 1;
    expect_refused(w, &wrong, &a, "PC-1", "not known here");
    wrong = good;
    wrong.id[0] ^= 1;
    expect_refused(w, &wrong, &a, "PC-1", "not known here");
    assert_int_equal(fleet_token_revoke(w->fleet, "test", revoked_id, &err), ST_OK);
    expect_refused(w, &revoked, &a, "PC-1", "was revoked");
    static const char *const bad_names[] = {"", "a b", "1234", "-x", "a/b", "\xff"};
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
        expect_refused(w, &good, &a, bad_names[i], "is no host name");
    struct agent broken = make_agent("x");
    broken.csr.p[broken.csr.len - 5] ^= 1;
    expect_refused(w, &good, &broken, "PC-1", "certificate request");
    the_time += 25 * 3600 * FILETIME_SECOND;
    expect_refused(w, &good, &a, "PC-1", "expired");
    struct fleet_host *hosts;
    assert_int_equal(fleet_hosts(w->fleet, &hosts), 0);
    fleet_hosts_free(hosts, 0);
    free_agent(&a);
    free_agent(&broken);
}

static void test_known_name_waits(void **state) {
    struct world *w = *state;
    char id[17];
    struct token t = make_token(w, 5, 0, id);
    struct agent first = make_agent("a"), second = make_agent("b");
    struct error err = {0};
    struct fleet_enrolled e = enroll(w, &t, &first, "PC-1"), p = enroll(w, &t, &second, "pc-1");
    assert_int_equal(e.result, ENROLL_GRANTED);
    assert_int_equal(p.result, ENROLL_PENDING);
    assert_non_null(strstr(p.reason, "haechi host approve pc-1"));
    struct tls_peer old = peer_of(&e);
    assert_int_equal(fleet_admit(w->fleet, &old), ST_OK); /* the known host goes on */
    struct fleet_pending *list;
    size_t n = fleet_pending_list(w->fleet, &list);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].known_host, 1);
    fleet_pending_free(list, n);
    world_close(w);
    world_open(w);
    enrolled_free(&p);
    p = enroll(w, &t, &second, "pc-1");
    assert_int_equal(p.result, ENROLL_PENDING);
    assert_int_equal(fleet_host_approve(w->fleet, "test", SLICE_LIT("PC-1"), &err), ST_OK);
    enrolled_free(&p);
    p = enroll(w, &t, &second, "pc-1");
    assert_int_equal(p.result, ENROLL_GRANTED);
    assert_int_equal(p.host_id, e.host_id); /* the same host, its records stay */
    struct tls_peer fresh = peer_of(&p);
    assert_int_equal(fleet_admit(w->fleet, &fresh), ST_OK);
    assert_int_equal(fleet_admit(w->fleet, &old), ST_REVOKED);
    assert_int_equal(fleet_host_approve(w->fleet, "test", SLICE_LIT("PC-1"), &err), ST_NOTFOUND);
    enrolled_free(&e);
    enrolled_free(&p);
    free_agent(&first);
    free_agent(&second);
}

struct cuts {
    unsigned n;
    uint32_t host;
    enum status why;
};

static void on_cut(void *ctx, uint32_t host, enum status why, const char *text) {
    struct cuts *c = ctx;
    (void)text;
    c->n++;
    c->host = host;
    c->why = why;
}

static void test_revocation(void **state) {
    struct world *w = *state;
    char id[17];
    struct token t = make_token(w, 1, 0, id);
    struct agent a = make_agent("a");
    struct cuts cuts = {0};
    struct error err = {0};
    fleet_on_cut(w->fleet, on_cut, &cuts);
    struct fleet_enrolled e = enroll(w, &t, &a, "PC-1");
    struct tls_peer p = peer_of(&e);
    struct buf renewed = {0}, ca = {0};
    assert_int_equal(fleet_renew(w->fleet, 1, buf_slice(&a.csr), &renewed, &ca, &err), ST_OK);
    assert_int_equal(fleet_admit(w->fleet, &p), ST_OK);
    struct fleet_enrolled again = enroll(w, &t, &a, "PC-1"); /* a state folder from before the renewal */
    assert_int_equal(again.result, ENROLL_GRANTED);
    assert_int_equal(again.host_id, 1);
    enrolled_free(&again);
    assert_int_equal(fleet_host_revoke(w->fleet, "test", 1, "stolen", &err), ST_OK);
    assert_int_equal(cuts.n, 1);
    assert_int_equal(cuts.why, ST_REVOKED);
    assert_int_equal(fleet_admit(w->fleet, &p), ST_REVOKED);
    assert_int_equal(fleet_renew(w->fleet, 1, buf_slice(&a.csr), &renewed, &ca, &err), ST_REVOKED);
    world_close(w);
    world_open(w);
    assert_int_equal(fleet_admit(w->fleet, &p), ST_REVOKED);
    expect_refused(w, &t, &a, "PC-1", "revoked host");
    snprintf(p.serial, sizeof p.serial, "00");
    assert_int_equal(fleet_admit(w->fleet, &p), ST_AUTH);
    buf_free(&renewed);
    buf_free(&ca);
    enrolled_free(&e);
    free_agent(&a);
}

static enum status begin(struct world *w, const char *machine, const char *boot, const char *instance, uint64_t *s) {
    struct fleet_presence p = {.address = "127.0.0.1:1",
                               .machine_id = slice_str(machine),
                               .boot_id = slice_str(boot),
                               .instance = slice_str(instance)};
    return fleet_session_begin(w->fleet, 1, &p, s, NULL);
}

static void test_clones(void **state) {
    struct world *w = *state;
    static const struct {
        const char *name;
        struct {
            const char *machine, *boot, *instance;
        } a, b, c;
        enum status second, third;
    } cases[] = {
        {"send beside run",
         {"m", "b", "place--1random-1"},
         {"m", "b", "place--1random-2"},
         {"m", "b", "place--1random-3"},
         ST_OK,
         ST_OK},
        {"copied folder",
         {"m", "b", "place--1random-1"},
         {"m", "b", "place--2random-2"},
         {"m", "b", "place--1random-1"},
         ST_DENIED,
         ST_DENIED},
        {"other machine",
         {"m", "b", "place--1random-1"},
         {"n", "c", "place--2random-2"},
         {"m", "b", "place--1random-1"},
         ST_DENIED,
         ST_DENIED},
        {"reboot",
         {"m", "b", "place--1random-1"},
         {"m", "c", "place--2random-2"},
         {"m", "c", "place--2random-3"},
         ST_OK,
         ST_OK},
        {"two boots alive",
         {"m", "b", "place--1random-1"},
         {"m", "c", "place--2random-2"},
         {"m", "b", "place--1random-1"},
         ST_OK,
         ST_DENIED},
    };
    char id[17];
    struct token t = make_token(w, 1, 0, id);
    struct agent a = make_agent("a");
    struct fleet_enrolled e = enroll(w, &t, &a, "PC-1");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t s[3] = {0};
        struct cuts cuts = {0};
        struct error err = {0};
        fleet_on_cut(w->fleet, on_cut, &cuts);
        if (begin(w, cases[i].a.machine, cases[i].a.boot, cases[i].a.instance, &s[0]))
            fail_msg("%s: first", cases[i].name);
        enum status second = begin(w, cases[i].b.machine, cases[i].b.boot, cases[i].b.instance, &s[1]);
        if (second != cases[i].second) fail_msg("%s: second is %s", cases[i].name, status_name(second));
        enum status third = begin(w, cases[i].c.machine, cases[i].c.boot, cases[i].c.instance, &s[2]);
        if (third != cases[i].third) fail_msg("%s: third is %s", cases[i].name, status_name(third));
        bool alarm = second || third;
        if ((cuts.n > 0) != alarm) fail_msg("%s: %u cuts", cases[i].name, cuts.n);
        for (int k = 0; k < 3; k++) {
            if (s[k]) fleet_session_end(w->fleet, s[k]);
        }
        fleet_tick(w->fleet);
        enum status approved = fleet_host_approve(w->fleet, "test", SLICE_LIT("PC-1"), &err);
        if (approved != (alarm ? ST_OK : ST_NOTFOUND)) fail_msg("%s: approve says %s", cases[i].name, err.msg);
    }
    enrolled_free(&e);
    free_agent(&a);
}

struct audit {
    struct buf text;
    size_t n;
};

static enum status collect(void *ctx, struct slice json) {
    struct audit *a = ctx;
    buf_slice_append(&a->text, json);
    buf_byte(&a->text, '\n');
    a->n++;
    return ST_OK;
}

static void test_tokens_tags_audit(void **state) {
    struct world *w = *state;
    struct fleet_token_request r = {.role = "operator", .note = "ops \"desk\""};
    struct buf text = {0};
    struct fleet_token t;
    struct error err = {0};
    char role[16], name[32], id[17];
    assert_int_equal(fleet_token_create(w->fleet, "root@unix", &r, &text, &t, &err), ST_OK);
    assert_int_equal(fleet_api_token_check(w->fleet, buf_slice(&text), role, name, &err), ST_OK);
    assert_string_equal(role, "operator");
    text.p[text.len - 1] ^= 1;
    assert_int_equal(fleet_api_token_check(w->fleet, buf_slice(&text), role, name, &err), ST_AUTH);
    text.p[text.len - 1] ^= 1;
    world_close(w);
    world_open(w);
    assert_int_equal(fleet_api_token_check(w->fleet, buf_slice(&text), role, name, &err), ST_OK);
    assert_int_equal(fleet_token_revoke(w->fleet, "root@unix", t.id, &err), ST_OK);
    assert_int_equal(fleet_api_token_check(w->fleet, buf_slice(&text), role, name, &err), ST_REVOKED);
    r.role = "root";
    struct fleet_token none;
    assert_int_equal(fleet_token_create(w->fleet, "x", &r, &text, &none, &err), ST_INVALID);

    struct token raw = make_token(w, 1, 0, id);
    struct agent a = make_agent("a");
    struct fleet_enrolled e = enroll(w, &raw, &a, "PC-1");
    const char *add[] = {"server", "dmz"}, *remove[] = {"server"};
    assert_int_equal(fleet_host_tag(w->fleet, "root@unix", 1, add, 2, NULL, 0, &err), ST_OK);
    assert_int_equal(fleet_host_tag(w->fleet, "root@unix", 1, NULL, 0, remove, 1, &err), ST_OK);
    struct fleet_host h;
    assert_int_equal(fleet_host_find(w->fleet, SLICE_LIT("PC-1"), &h, &err), ST_OK);
    assert_int_equal(h.n_tags, 1);
    assert_string_equal(h.tags[0], "dmz");
    fleet_host_free(&h);
    const char *bad[] = {"a b"};
    assert_int_equal(fleet_host_tag(w->fleet, "x", 1, bad, 1, NULL, 0, &err), ST_INVALID);

    struct audit log = {0};
    assert_int_equal(fleet_audit_each(w->fleet, 0, false, collect, &log, &err), ST_OK);
    assert_int_equal(log.n, 6);
    assert_non_null(strstr(buf_cstr(&log.text), "\"action\":\"enrolment\",\"object\":\"PC-1\""));
    assert_null(strstr(buf_cstr(&log.text), "haechi-"));
    buf_free(&log.text);
    buf_free(&text);
    mem_free(t.group);
    mem_free(t.note);
    mem_free(t.role);
    enrolled_free(&e);
    free_agent(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_enrols_and_repeats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_name_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revocation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clones, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_tags_audit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
