/* Rollouts with a real database, fleet and rulebook, and hosts that are played here. Whatever happens, no host is offered a serial that is
 * lower than one it has had, no order twice on a connection, nothing on a connection that a later one has replaced. */
// links: server rules storage proto base
#include "rollout.h"
#include "clock.h"
#include "fleet.h"
#include "fleetdb.h"
#include "mem.h"
#include "token.h"
#include "scratch.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_HOSTS 24

static uint64_t the_time;

static uint64_t now(void) {
    return the_time;
}

struct player { /* a host */
    uint32_t id;
    uint64_t connection, highest, serial, last_sent;
    uint32_t revision, state, sysmon_state;
    char ruleset[64];
    uint8_t digest[RULES_DIGEST_LEN];
    bool has, fails;
    unsigned offers;
};

struct world {
    char dir[SCRATCH_MAX], ca_dir[80];
    struct db *db;
    struct fleet *fleet;
    struct rulebook *book;
    struct rollouts *r;
    struct player hosts[MAX_HOSTS];
    size_t n;
    bool woken;
};

static struct error why;

static void must(enum status st) {
    if (st) fail_msg("%s: %s", status_name(st), why.msg);
}

static void on_offer(void *ctx) {
    ((struct world *)ctx)->woken = true;
}

static void open_rollouts(struct world *w) {
    struct rollouts_options o = {.db = w->db, .fleet = w->fleet, .book = w->book, .now = now};
    must(rulebook_open(w->db, w->fleet, &w->book, &why));
    o.book = w->book;
    must(rollouts_open(&o, &w->r, &why));
    rollouts_on_offer(w->r, on_offer, w);
}

static void world_open(struct world *w) {
    static const char *const names[] = {"localhost", NULL};
    struct fleet_options o = {.ca_dir = w->ca_dir, .server_names = names, .host_cert_days = 30, .now = now};
    must(db_open(w->dir, &(struct db_options){.min_free_bytes = 1}, &w->db, &why));
    must(fleet_open(w->db, &o, &w->fleet, &why));
    open_rollouts(w);
}

static void world_close(struct world *w) {
    rollouts_close(&w->r);
    rulebook_close(&w->book);
    fleet_close(&w->fleet);
    db_close(&w->db);
}

static int setup(void **state) {
    struct world *w = mem_zalloc(sizeof *w);
    the_time = clock_wall();
    assert_true(scratch_make(w->dir, "rollout"));
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

/* ---- hosts ---- */

static void enroll(struct world *w, size_t n, const char *group) {
    struct fleet_token_request r = {.role = "enroll", .group = group, .address = "localhost:1", .uses = n};
    struct fleet_token token;
    struct token parsed;
    struct buf text = {0};
    must(fleet_token_create(w->fleet, "t", &r, &text, &token, &why));
    must(token_decode(buf_slice(&text), &parsed, &why));
    for (size_t i = 0; i < n; i++) {
        struct buf key = {0}, csr = {0};
        struct fleet_enrolled done = {0};
        char name[32];
        snprintf(name, sizeof name, "%s-%zu", *group ? group : "host", w->n);
        must(tls_make_key(&key, &why));
        must(tls_make_csr(buf_slice(&key), name, &csr, &why));
        struct fleet_enroll_request e = {.token_id = slice_of(parsed.id, TOKEN_ID_LEN),
                                         .token_secret = slice_of(parsed.secret, TOKEN_SECRET_LEN),
                                         .csr_der = buf_slice(&csr),
                                         .host_name = slice_str(name),
                                         .machine_id = slice_str(name),
                                         .address = "127.0.0.1",
                                         .agent_time = the_time};
        must(fleet_enroll(w->fleet, &e, &done, &why));
        w->hosts[w->n++] = (struct player){.id = done.host_id, .sysmon_state = SYSMON_RUNNING};
        buf_free(&done.certificate);
        buf_free(&done.ca);
        buf_free(&key);
        buf_free(&csr);
    }
    buf_free(&text);
    mem_free(token.group);
    mem_free(token.note);
    mem_free(token.role);
    rollouts_changed(w->r);
}

static void report(const struct player *p, Haechi__Sysmon *s, Haechi__RulesStatus *m, struct rules_report *ret) {
    haechi__sysmon__init(s);
    haechi__rules_status__init(m);
    s->state = p->sysmon_state;
    m->serial = p->serial;
    m->ruleset = (char *)(uintptr_t)p->ruleset;
    m->revision = p->revision;
    m->digest = msg_bytes(slice_of(p->digest, sizeof p->digest));
    m->state = p->state;
    m->time = the_time;
    *ret = (struct rules_report){.sysmon = s, .rules = p->has ? m : NULL};
}

static void come(struct world *w, struct player *p) {
    Haechi__Sysmon s;
    Haechi__RulesStatus m;
    struct rules_report says;
    report(p, &s, &m, &says);
    p->last_sent = 0;
    p->connection = rollouts_came(w->r, p->id, &says);
}

static void leave(struct world *w, struct player *p) {
    rollouts_gone(w->r, p->id, p->connection);
    p->connection = 0;
}

static void say(struct world *w, struct player *p, uint32_t state) {
    Haechi__Sysmon s;
    Haechi__RulesStatus m;
    struct rules_report says;
    p->state = state;
    report(p, &s, &m, &says);
    rollouts_heard(w->r, p->id, &says);
}

/* Takes what is due. True: there was something. */
static bool take(struct world *w, struct player *p) {
    if (!p->connection) return false;
    const struct order *o = rollouts_due(w->r, p->id, p->connection);
    if (!o) return false;
    assert_true(o->serial >= p->highest);
    assert_true(o->serial != p->last_sent);
    p->highest = p->serial = p->last_sent = o->serial;
    p->revision = o->revision;
    snprintf(p->ruleset, sizeof p->ruleset, "%s", o->ruleset);
    memcpy(p->digest, o->digest, sizeof p->digest);
    p->has = true;
    p->offers++;
    order_release(&o);
    say(w, p, RULES_RECEIVED);
    return true;
}

/* Some seconds pass; hosts answer at once. */
static void pass(struct world *w, unsigned seconds) {
    for (unsigned s = 0; s < seconds; s++) {
        the_time += FILETIME_SECOND;
        rollouts_tick(w->r);
        for (size_t i = 0; i < w->n; i++) {
            struct player *p = &w->hosts[i];
            if (!take(w, p)) continue;
            say(w, p, RULES_APPLIED);
            say(w, p, p->fails && p->revision == 2 ? RULES_FAILED : RULES_LOADED);
            assert_null(rollouts_due(w->r, p->id, p->connection));
        }
    }
}

static size_t with(const struct world *w, uint32_t revision) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) n += w->hosts[i].has && w->hosts[i].revision == revision;
    return n;
}

static size_t offers(const struct world *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) n += w->hosts[i].offers;
    return n;
}

/* ---- rulesets ---- */

static uint32_t add(struct world *w, const char *xml) {
    struct revision r = {0};
    must(rulebook_add(w->book, "t", "base", "", slice_str(xml), 450, NULL, &r, &why));
    uint32_t revision = r.revision;
    revision_free(&r);
    return revision;
}

static const struct rollout_plan at_once = {.group = "default",
                                            .ruleset = "base",
                                            .revision = 1,
                                            .percent = {100},
                                            .n_waves = 1,
                                            .timeout_s = 100,
                                            .max_failed_percent = 10,
                                            .max_silent_percent = 10};

static struct rollout_plan in_waves(uint32_t revision) {
    struct rollout_plan p = at_once;
    p.revision = revision;
    p.percent[0] = 5;
    p.percent[1] = 25;
    p.percent[2] = 100;
    p.n_waves = 3;
    p.wait_s = 10;
    return p;
}

static uint64_t start(struct world *w, const struct rollout_plan *p) {
    uint64_t id = 0;
    must(rollout_start(w->r, "t", p, &id, &why));
    return id;
}

static void is(struct world *w, uint64_t id, const char *state, const char *also) {
    struct buf out = {0};
    char text[64];
    must(rollouts_json(w->r, id, &out, &why));
    snprintf(text, sizeof text, "\"state\":\"%s\",\"why\"", state);
    if (!strstr(buf_cstr(&out), text) || (also && !strstr(buf_cstr(&out), also)))
        fail_msg("not %s, %s: %s", text, also, buf_cstr(&out));
    buf_free(&out);
}

static void begin(struct world *w, size_t n) { /* all have base@1 */
    enroll(w, n, "");
    add(w, "<one/>");
    add(w, "<two/>");
    add(w, "<three/>");
    for (size_t i = 0; i < w->n; i++) come(w, &w->hosts[i]);
    uint64_t id = start(w, &at_once);
    pass(w, 2);
    is(w, id, "done", "\"loaded\":20");
    assert_int_equal(with(w, 1), n);
    assert_int_equal(offers(w), n);
}

/* ---- what is tested ---- */

static void waves(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    assert_true(w->woken);
    pass(w, 5);
    assert_int_equal(with(w, 2), 1);
    is(w, id, "running", "\"beyond\":19");
    pass(w, 10);
    assert_int_equal(with(w, 2), 5);
    struct group g;
    must(rulebook_group_get(w->book, "default", &g, &why));
    assert_int_equal(g.revision, 1);
    group_free(&g);
    pass(w, 12);
    assert_int_equal(with(w, 2), 20);
    is(w, id, "done", "\"loaded\":20");
    must(rulebook_group_get(w->book, "default", &g, &why));
    assert_int_equal(g.revision, 2);
    group_free(&g);
    assert_int_equal(offers(w), 40); /* nobody is asked again when the group gets it */
    pass(w, 30);
    assert_int_equal(offers(w), 40);
}

static void failures_halt_and_roll_back(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    for (size_t i = 0; i < w->n; i++) w->hosts[i].fails = true;
    uint64_t id = start(w, &p);
    pass(w, 60);
    is(w, id, "halted", "1 of 1 hosts failed");
    assert_int_equal(with(w, 2), 1);
    pass(w, 60);
    assert_int_equal(with(w, 2), 1); /* nothing new is offered, nothing is taken back */
    must(rollout_resume(w->r, "t", id, &why));
    pass(w, 60);
    is(w, id, "halted", "hosts failed");
    assert_int_equal(with(w, 2), 5);
    must(rollout_rollback(w->r, "t", id, &why));
    pass(w, 5);
    is(w, id, "rolled back", NULL);
    assert_int_equal(with(w, 1), 20);
    assert_int_equal(rollout_resume(w->r, "t", id, &why), ST_EXISTS);
    assert_int_equal(rollout_rollback(w->r, "t", id, &why), ST_EXISTS);
    assert_int_equal(rollout_halt(w->r, "t", id + 7, "", &why), ST_NOTFOUND);
    p.auto_rollback = true;
    id = start(w, &p);
    pass(w, 60);
    is(w, id, "rolled back", "halted and rolled back: 1 of 1 hosts failed");
    assert_int_equal(with(w, 1), 20);
}

static void done_and_rolled_back(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = at_once;
    p.revision = 2;
    uint64_t id = start(w, &p);
    pass(w, 3);
    is(w, id, "done", NULL);
    must(rollout_rollback(w->r, "t", id, &why));
    pass(w, 3);
    assert_int_equal(with(w, 1), 20);
    is(w, id, "rolled back", "\"loaded\":20");
    p.revision = 3;
    id = start(w, &p);
    pass(w, 3);
    p.revision = 2;
    (void)start(w, &p);
    pass(w, 3);
    assert_int_equal(rollout_rollback(w->r, "t", id, &why), ST_EXISTS);
    assert_non_null(strstr(why.msg, "something later"));
}

static void restart_in_the_middle(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    pass(w, 14);
    assert_int_equal(with(w, 2), 5);
    rollouts_close(&w->r);
    rulebook_close(&w->book);
    open_rollouts(w);
    is(w, id, "running", NULL);
    pass(w, 2); /* nobody is connected yet */
    for (size_t i = 0; i < w->n; i++) come(w, &w->hosts[i]);
    size_t before = offers(w);
    pass(w, 3);
    assert_int_equal(offers(w), before); /* who has it is not asked again, who has not waits for its wave */
    pass(w, 15);
    assert_int_equal(with(w, 2), 20);
    is(w, id, "done", NULL);
}

static void away(void **state) {
    struct world *w = *state;
    begin(w, 20);
    for (size_t i = 0; i < 10; i++) leave(w, &w->hosts[i]);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    pass(w, 40);
    is(w, id, "done", "\"away\":10");
    assert_int_equal(with(w, 2), 10);
    for (size_t i = 0; i < 10; i++) come(w, &w->hosts[i]);
    pass(w, 2);
    assert_int_equal(with(w, 2), 20);
    is(w, id, "done", "\"away\":0");
    for (size_t i = 0; i < w->n; i++) leave(w, &w->hosts[i]);
    p = at_once;
    p.revision = 3;
    id = start(w, &p);
    pass(w, 40);
    is(w, id, "running", "\"away\":20"); /* nobody has tried it */
    come(w, &w->hosts[3]);
    pass(w, 3);
    is(w, id, "done", "\"away\":19");
}

static void silent_ones(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    p.timeout_s = 20;
    uint64_t id = start(w, &p);
    pass(w, 3);
    for (size_t i = 0; i < w->n; i++) {
        if (w->hosts[i].revision == 2) leave(w, &w->hosts[i]);
    }
    pass(w, 30);
    is(w, id, "halted", "fell silent");
}

static void late_ones(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    for (unsigned s = 0; s < 99; s++) { /* taken, and nothing said */
        the_time += FILETIME_SECOND;
        rollouts_tick(w->r);
        for (size_t i = 0; i < w->n; i++) (void)take(w, &w->hosts[i]);
    }
    is(w, id, "running", "\"under_way\":1");
    pass(w, 2);
    is(w, id, "halted", "1 late");
}

static void sysmon_gone(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    pass(w, 3);
    for (size_t i = 0; i < w->n; i++) {
        if (w->hosts[i].revision != 2) continue;
        w->hosts[i].sysmon_state = SYSMON_STOPPED;
        say(w, &w->hosts[i], RULES_LOADED);
    }
    pass(w, 2);
    is(w, id, "halted", "1 lost Sysmon");
}

static void events_255(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    pass(w, 3);
    for (size_t i = 0; i < w->n; i++) { /* an old one, one of a host that is not reached, one that counts */
        struct player *h = &w->hosts[i];
        rollouts_on_event(w->r, h->id, 255, the_time - 100 * FILETIME_SECOND);
        if (h->revision == 1) rollouts_on_event(w->r, h->id, 255, the_time);
        rollouts_on_event(w->r, h->id, 16, the_time);
        rollouts_on_event(w->r, h->id, 4, the_time);
    }
    pass(w, 2);
    is(w, id, "running", NULL);
    for (size_t i = 0; i < w->n; i++) {
        if (w->hosts[i].revision == 2) rollouts_on_event(w->r, w->hosts[i].id, 255, the_time);
    }
    pass(w, 2);
    is(w, id, "halted", "1 Sysmon error");
}

static void rates(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    p.rate_high = 2;
    uint64_t id = start(w, &p);
    for (int s = 0; s < 8; s++) {
        for (size_t i = 0; i < w->n; i++) {
            struct rules_report says = {.has_rate = true, .events_per_s = 10};
            rollouts_heard(w->r, w->hosts[i].id, &says);
        }
    }
    pass(w, 3);
    is(w, id, "running", NULL);
    for (int s = 0; s < 4; s++) {
        for (size_t i = 0; i < w->n; i++) {
            struct rules_report says = {.has_rate = true, .events_per_s = w->hosts[i].revision == 2 ? 25 : 10};
            rollouts_heard(w->r, w->hosts[i].id, &says);
        }
    }
    pass(w, 2);
    is(w, id, "halted", "from 10.0 to 25.0 events/s");
    must(rollout_resume(w->r, "t", id, &why));
    pass(w, 40);
    is(w, id, "done", NULL);
}

static void superseded(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t first = start(w, &p);
    pass(w, 14);
    assert_int_equal(with(w, 2), 5);
    p = in_waves(3);
    uint64_t second = start(w, &p);
    is(w, first, "superseded", NULL);
    assert_int_equal(rollout_resume(w->r, "t", first, &why), ST_EXISTS);
    pass(w, 3);
    size_t kept = with(w, 2);
    assert_true(kept == 4 || kept == 5); /* they keep what they have until their wave comes */
    assert_int_equal(with(w, 3), 1);
    pass(w, 40);
    is(w, second, "done", NULL);
    assert_int_equal(with(w, 3), 20);
}

/* A host that was in another group, or whose collector is an older copy: it gets a serial that is high enough. */
static void serials_ascend(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct player *p = &w->hosts[4];
    leave(w, p);
    p->serial = p->highest = 5000;
    snprintf(p->ruleset, sizeof p->ruleset, "foreign");
    come(w, p);
    pass(w, 3);
    assert_true(p->serial > 5000);
    assert_string_equal(p->ruleset, "base");
    assert_int_equal(with(w, 1), 20);
    /* one that lies is offered nothing, and costs one signature a connection */
    p = &w->hosts[5];
    leave(w, p);
    p->serial = p->highest = UINT64_MAX;
    snprintf(p->ruleset, sizeof p->ruleset, "foreign");
    come(w, p);
    struct revision r = {0};
    const struct order *o = NULL;
    must(rulebook_sign(w->book, "default", "base", 1, &o, &why));
    uint64_t serial = o->serial;
    order_release(&o);
    pass(w, 20);
    assert_string_equal(p->ruleset, "foreign");
    must(rulebook_sign(w->book, "default", "base", 1, &o, &why));
    assert_true(o->serial <= serial + 2);
    order_release(&o);
    revision_free(&r);
}

static void groups_and_precedence(void **state) {
    struct world *w = *state;
    static const char *const web[] = {"web"};
    begin(w, 20);
    for (size_t i = 0; i < 4; i++) must(fleet_host_tag(w->fleet, "t", w->hosts[i].id, web, 1, NULL, 0, &why));
    rollouts_changed(w->r);
    struct rollout_plan p = at_once;
    p.group = "web";
    p.revision = 3;
    uint64_t id = start(w, &p);
    pass(w, 3);
    is(w, id, "done", "\"loaded\":4");
    assert_int_equal(with(w, 3), 4);
    p.group = "default"; /* comes last: not for those in web */
    p.revision = 2;
    (void)start(w, &p);
    pass(w, 3);
    assert_int_equal(with(w, 3), 4);
    assert_int_equal(with(w, 2), 16);
    struct host_rules h;
    rollouts_host(w->r, w->hosts[0].id, &h);
    assert_string_equal(h.group, "web");
    assert_int_equal(h.want_revision, 3);
    assert_false(h.behind);
    assert_string_equal(host_rules_word(&h), "loaded");
    host_rules_free(&h);
    must(fleet_host_tag(w->fleet, "t", w->hosts[0].id, NULL, 0, web, 1, &why)); /* leaves: gets the other group's */
    rollouts_changed(w->r);
    pass(w, 3);
    assert_int_equal(w->hosts[0].revision, 2);
    /* a first rollout of a group that is rolled back leaves its hosts to their other groups */
    p.group = "web";
    must(rollout_rollback(w->r, "t", id, &why));
    is(w, id, "rolled back", "the group had no rules before");
    pass(w, 3);
    assert_int_equal(with(w, 2), 20);
}

static void replaced_connections(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct player *p = &w->hosts[0], old = *p;
    come(w, p); /* the old one is half-open */
    struct rollout_plan plan = at_once;
    plan.revision = 2;
    (void)start(w, &plan);
    assert_null(rollouts_due(w->r, old.id, old.connection));
    rollouts_gone(w->r, old.id, old.connection);
    assert_true(take(w, p));
    /* cut in the middle: asked again on the next connection, in case its answer was lost */
    leave(w, p);
    come(w, p);
    assert_true(take(w, p));
    assert_false(take(w, p));
}

static void clock_set_back(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    pass(w, 4);
    the_time -= 365 * FILETIME_DAY;
    pass(w, 40);
    is(w, id, "done", NULL);
}

static void refusals_count(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct rollout_plan p = in_waves(2);
    uint64_t id = start(w, &p);
    for (size_t i = 0; i < w->n; i++) {
        struct player *h = &w->hosts[i], had = *h;
        if (!take(w, h)) continue;
        h->revision = had.revision; /* it says of what it has that the offer was refused */
        h->serial = had.serial;
        memcpy(h->digest, had.digest, sizeof h->digest);
        say(w, h, RULES_REFUSED);
        assert_false(take(w, h));
    }
    pass(w, 2);
    is(w, id, "halted", "1 refused");
}

static void nonsense_is_survived(void **state) {
    struct world *w = *state;
    begin(w, 20);
    char text[3000];
    memset(text, 0xff, sizeof text - 1);
    text[sizeof text - 1] = 0;
    memcpy(text, "\xed\xa0\x80\x1b[2J\r", 8);
    Haechi__RulesStatus m = HAECHI__RULES_STATUS__INIT;
    Haechi__Sysmon s = HAECHI__SYSMON__INIT;
    m.ruleset = m.reason = m.words = s.version = s.service = s.cannot_apply = text;
    m.state = 77;
    m.evidence = UINT32_MAX;
    m.serial = 3;
    s.state = 99;
    struct rules_report says = {.sysmon = &s, .rules = &m, .has_rate = true, .events_per_s = -1};
    rollouts_heard(w->r, w->hosts[0].id, &says);
    rollouts_heard(w->r, 4000000000u, &says); /* no such host */
    rollouts_gone(w->r, 4000000001u, 1);
    assert_null(rollouts_due(w->r, 4000000000u, 1));
    pass(w, 30);
    rollouts_close(&w->r);
    rulebook_close(&w->book);
    open_rollouts(w);
    struct host_rules h;
    rollouts_host(w->r, w->hosts[0].id, &h);
    assert_null(strchr(h.words, 0x1b));
    host_rules_free(&h);
}

/* ---- many at once ---- */

#define CROWD 4

struct crowd {
    pthread_t thread;
    struct world *w;
    size_t from, to;
};

static _Atomic bool crowd_ends;

static void *crowd_lives(void *arg) {
    struct crowd *c = arg;
    for (unsigned turn = 0; !crowd_ends; turn++) {
        for (size_t i = c->from; i < c->to; i++) {
            struct player *p = &c->w->hosts[i];
            if (turn % 7 == i % 7) {
                leave(c->w, p);
                come(c->w, p);
            }
            if (take(c->w, p)) say(c->w, p, RULES_LOADED);
            rollouts_on_event(c->w->r, p->id, 16, the_time);
        }
    }
    return NULL;
}

/* Loops, the digest, ticks and the API at the same time. */
static void a_crowd(void **state) {
    struct world *w = *state;
    begin(w, 20);
    struct crowd crowd[CROWD];
    crowd_ends = false;
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = (struct crowd){.w = w, .from = i * 5, .to = i * 5 + 5};
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, crowd_lives, &crowd[i]), 0);
    }
    struct buf out = {0};
    uint64_t id = 0;
    for (unsigned i = 0; i < 12; i++) {
        struct rollout_plan p = i % 3 ? in_waves(2 + i % 2) : at_once;
        p.wait_s = 0;
        id = start(w, &p);
        for (unsigned k = 0; k < 10; k++) {
            struct host_rules h;
            rollouts_tick(w->r);
            rollouts_changed(w->r);
            rollouts_list_json(w->r, NULL, &out);
            rollouts_host(w->r, w->hosts[k].id, &h);
            host_rules_free(&h);
            buf_clear(&out);
        }
    }
    crowd_ends = true;
    for (size_t i = 0; i < CROWD; i++) pthread_join(crowd[i].thread, NULL);
    pass(w, 20);
    is(w, id, "done", "\"loaded\":20");
    buf_free(&out);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(waves),
        CASE(failures_halt_and_roll_back),
        CASE(done_and_rolled_back),
        CASE(restart_in_the_middle),
        CASE(away),
        CASE(silent_ones),
        CASE(late_ones),
        CASE(sysmon_gone),
        CASE(events_255),
        CASE(rates),
        CASE(superseded),
        CASE(serials_ascend),
        CASE(groups_and_precedence),
        CASE(replaced_connections),
        CASE(refusals_count),
        CASE(clock_set_back),
        CASE(nonsense_is_survived),
        CASE(a_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
