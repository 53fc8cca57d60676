/* The rulebook with a real database and a real authority: revisions, groups, orders, what survives a restart, what damage
 * costs, and two who push at once. */
#include "clock.h"
#include "fleet.h"
#include "fleetdb.h"
#include "mem.h"
#include "msg.h"
#include "rulebook.h"
#include "token.h"
#include "zblob.h"
#include "scratch.h"

#include <pthread.h>
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
    char dir[SCRATCH_MAX], ca_dir[80];
    struct db *db;
    struct fleet *fleet;
    struct rulebook *book;
};

static struct error why;

static void must(enum status st) {
    if (st) fail_msg("%s: %s", status_name(st), why.msg);
}

static void world_open(struct world *w) {
    static const char *const names[] = {"localhost", NULL};
    struct fleet_options o = {.ca_dir = w->ca_dir, .server_names = names, .host_cert_days = 30, .now = now};
    must(db_open(w->dir, &(struct db_options){.min_free_bytes = 1}, &w->db, &why));
    must(fleet_open(w->db, &o, &w->fleet, &why));
    must(rulebook_open(w->db, w->fleet, &w->book, &why));
}

static void world_close(struct world *w) {
    rulebook_close(&w->book);
    fleet_close(&w->fleet);
    db_close(&w->db);
}

static void reopen(struct world *w) {
    world_close(w);
    world_open(w);
}

static int setup(void **state) {
    struct world *w = mem_zalloc(sizeof *w);
    the_time = clock_wall();
    assert_true(scratch_make(w->dir, "rulebook"));
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

static uint32_t add(struct world *w, const char *name, const char *xml) {
    struct revision r = {0};
    must(rulebook_add(w->book, "tester", name, "why", slice_str(xml), 450, NULL, &r, &why));
    uint32_t revision = r.revision;
    assert_string_equal(r.name, name);
    assert_int_equal(r.len, strlen(xml));
    revision_free(&r);
    return revision;
}

static uint64_t assign(struct world *w, const char *group, const char *ruleset, uint32_t revision) {
    struct group g = {0};
    must(rulebook_assign(w->book, "tester", group, ruleset, revision, &g, &why));
    assert_string_equal(g.name, group);
    assert_string_equal(g.ruleset, ruleset);
    uint64_t serial = g.serial;
    group_free(&g);
    return serial;
}

struct count {
    const char *what;
    size_t n;
};

static enum status count_record(void *ctx, struct slice json) {
    struct count *c = ctx;
    char text[2048];
    snprintf(text, sizeof text, "%.*s", (int)json.len, (const char *)json.p);
    c->n += strstr(text, c->what) != NULL;
    return ST_OK;
}

static size_t audited(struct world *w, const char *what) {
    struct count c = {what, 0};
    must(fleet_audit_each(w->fleet, 0, false, count_record, &c, &why));
    return c.n;
}

/* ---- names and caps ---- */

static void names(void **state) {
    struct world *w = *state;
    static const struct {
        const char *name;
        bool fit;
    } cases[] = {{"base", true},      {"a", true},     {"9-lives_2.0", true}, {"", false},     {"-x", false},
                 {".x", false},       {"_x", false},   {"a b", false},        {"a/b", false},  {"a@1", false},
                 {"\xc3\xa4", false}, {"a\nb", false}, {"A.B-c", true},       {"a\x7f", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct revision r = {0};
        enum status st = rulebook_add(w->book, "t", cases[i].name, "", SLICE_LIT("<x/>"), 0, NULL, &r, &why);
        if ((st == ST_OK) != cases[i].fit || (st && st != ST_INVALID)) fail_msg("'%s': %s", cases[i].name, why.msg);
        revision_free(&r);
    }
    char name[70];
    memset(name, 'n', sizeof name);
    name[63] = 0;
    assert_true(ruleset_name_is_fit(slice_str(name)));
    name[63] = 'n';
    name[64] = 0;
    assert_false(ruleset_name_is_fit(slice_str(name)));
    assert_false(ruleset_name_is_fit(slice_of("a\0b", 3)));
}

static void caps(void **state) {
    struct world *w = *state;
    struct revision r = {0};
    char *comment = mem_alloc(RULEBOOK_COMMENT_MAX + 2), *text = mem_alloc(RULES_XML_MAX + 1);
    memset(comment, 'c', RULEBOOK_COMMENT_MAX + 1);
    comment[RULEBOOK_COMMENT_MAX + 1] = 0;
    struct slice one = SLICE_LIT("<x/>");
    assert_int_equal(rulebook_add(w->book, "t", "a", comment, one, 0, NULL, &r, &why), ST_INVALID);
    assert_int_equal(rulebook_add(w->book, "t", "a", "\xff", one, 0, NULL, &r, &why), ST_INVALID);
    assert_int_equal(rulebook_add(w->book, "t", "a", "", one, 0, "", &r, &why), ST_INVALID);
    assert_int_equal(rulebook_add(w->book, "t", "a", "", one, 0, "\xed\xa0\x80", &r, &why), ST_INVALID);
    assert_int_equal(rulebook_add(w->book, "t", "a", "", slice_of("", 0), 0, NULL, &r, &why), ST_INVALID);
    memset(text, 'x', RULES_XML_MAX + 1);
    assert_int_equal(rulebook_add(w->book, "t", "a", "", slice_of(text, RULES_XML_MAX + 1), 0, NULL, &r, &why),
                     ST_TOOBIG);
    tls_random(text, RULES_XML_MAX); /* what cannot be compressed does not fit into an offer */
    assert_int_equal(rulebook_add(w->book, "t", "a", "", slice_of(text, RULES_ZSTD_MAX), 0, NULL, &r, &why), ST_TOOBIG);
    memset(text, 'x', RULES_XML_MAX);
    must(rulebook_add(w->book, "t", "a", "", slice_of(text, RULES_XML_MAX), 0, NULL, &r, &why));
    revision_free(&r);
    must(rulebook_add(w->book, "t", "b", "", slice_of(text + RULES_XML_MAX - 1, 1), 0, NULL, &r, &why));
    revision_free(&r);
    assert_int_equal(audited(w, "rules add"), 2);
    mem_free(comment);
    mem_free(text);
}

/* ---- revisions ---- */

static void revisions(void **state) {
    struct world *w = *state;
    struct revision r = {0};
    struct revision *list;
    struct buf xml = {0};
    assert_int_equal(rulebook_get(w->book, "base", 0, &r, &why), ST_NOTFOUND);
    assert_non_null(strstr(why.msg, "none yet"));
    assert_int_equal(add(w, "base", "<one/>"), 1);
    assert_int_equal(add(w, "base", "<two/>"), 2);
    assert_int_equal(add(w, "base", "<two/>"), 2); /* the same bytes again */
    assert_int_equal(add(w, "base", "<one/>"), 3); /* an older one's bytes: a new revision */
    assert_int_equal(add(w, "bas", "<one/>"), 1);
    assert_int_equal(add(w, "base2", "<one/>"), 1);
    for (int again = 0; again < 2; again++, reopen(w)) {
        assert_int_equal(rulebook_list(w->book, NULL, &list), 5);
        assert_string_equal(list[0].name, "bas");
        assert_string_equal(list[4].name, "base2");
        revisions_free(list, 5);
        assert_int_equal(rulebook_list(w->book, "base", &list), 3);
        for (uint32_t i = 0; i < 3; i++) assert_int_equal(list[i].revision, i + 1);
        assert_string_equal(list[1].author, "tester");
        assert_string_equal(list[1].comment, "why");
        assert_int_equal(list[1].time, the_time);
        assert_int_equal(list[1].schema, 450);
        assert_memory_equal(list[0].digest, list[2].digest, RULES_DIGEST_LEN);
        revisions_free(list, 3);
        must(rulebook_xml(w->book, "base", 2, &xml, &why));
        assert_true(slice_eq_str(buf_slice(&xml), "<two/>"));
        buf_clear(&xml);
        must(rulebook_xml(w->book, "base", 0, &xml, &why));
        assert_true(slice_eq_str(buf_slice(&xml), "<one/>"));
        buf_clear(&xml);
        assert_int_equal(rulebook_get(w->book, "base", 4, &r, &why), ST_NOTFOUND);
        assert_non_null(strstr(why.msg, "3 is the newest"));
        assert_int_equal(rulebook_get(w->book, "bass", 0, &r, &why), ST_NOTFOUND);
        assert_non_null(strstr(why.msg, "bas, base, base2"));
    }
    assert_int_equal(audited(w, "rules add"), 5);
    buf_free(&xml);
}

/* ---- orders ---- */

static struct arena arena;

/* What an agent would see of it. */
static const Haechi__RulesManifest *open_offer(struct world *w, const struct order *o, struct buf *ret_xml) {
    struct buf signed_bytes = {0};
    arena_reset(&arena);
    assert_int_equal(o->frame.p[4], FRAME_RULES_OFFER);
    const Haechi__RulesOffer *offer =
        MSG_UNPACK(RulesOffer, rules_offer, slice_from(buf_slice(&o->frame), FRAME_HEAD_LEN), &arena);
    assert_non_null(offer);
    buf_str(&signed_bytes, RULES_SIGNED_PREFIX);
    buf_slice_append(&signed_bytes, msg_slice(offer->manifest));
    must(tls_verify_signature(fleet_ca_certificates(w->fleet), buf_slice(&signed_bytes), msg_slice(offer->signature),
                              &why));
    signed_bytes.p[signed_bytes.len - 1] ^= 1;
    assert_int_not_equal(tls_verify_signature(fleet_ca_certificates(w->fleet), buf_slice(&signed_bytes),
                                              msg_slice(offer->signature), &why),
                         ST_OK);
    buf_free(&signed_bytes);
    buf_clear(ret_xml);
    must(zblob_unpack(msg_slice(offer->xml_zstd), RULES_XML_MAX, ret_xml, &why));
    assert_true(slice_eq(msg_slice(offer->manifest), buf_slice(&o->manifest)));
    const Haechi__RulesManifest *m = MSG_UNPACK(RulesManifest, rules_manifest, msg_slice(offer->manifest), &arena);
    assert_non_null(m);
    assert_int_equal(m->serial, o->serial);
    assert_int_equal(m->revision, o->revision);
    assert_int_equal(m->len, ret_xml->len);
    assert_memory_equal(m->digest.data, o->digest, RULES_DIGEST_LEN);
    return m;
}

static void orders(void **state) {
    struct world *w = *state;
    struct buf xml = {0};
    struct revision r = {0};
    arena_init(&arena, 1 << 20);
    add(w, "base", "<one/>");
    must(rulebook_add(w->book, "t", "base", "", SLICE_LIT("<two/>"), 450, "haechi:base/2", &r, &why));
    revision_free(&r);
    assert_null(rulebook_order(w->book, "web"));
    uint64_t first = assign(w, "web", "base", 1), second = assign(w, "db", "base", 2);
    assert_true(second > first);
    for (int again = 0; again < 2; again++, reopen(w)) { /* the same serial after a restart */
        const struct order *o = rulebook_order(w->book, "web");
        assert_non_null(o);
        assert_int_equal(o->serial, first);
        const Haechi__RulesManifest *m = open_offer(w, o, &xml);
        assert_true(slice_eq_str(buf_slice(&xml), "<one/>"));
        assert_string_equal(m->ruleset, "base");
        assert_string_equal(m->canary, "");
        assert_false(m->heal);
        order_release(&o);
        o = rulebook_order(w->book, "db");
        m = open_offer(w, o, &xml);
        assert_true(slice_eq_str(buf_slice(&xml), "<two/>"));
        assert_string_equal(m->canary, "haechi:base/2");
        order_release(&o);
        assert_null(o);
    }
    uint64_t third = assign(w, "web", "base", 0); /* the newest */
    assert_true(third > second);
    const struct order *o = rulebook_order(w->book, "web"), *held = order_hold(o);
    assert_int_equal(o->revision, 2);
    bool heal = true;
    must(rulebook_group_set(w->book, "t", "web", NULL, &heal, &why)); /* is in what is signed: a new order */
    const struct order *later = rulebook_order(w->book, "web");
    assert_true(later->serial > third);
    assert_true(open_offer(w, later, &xml)->heal);
    must(rulebook_group_set(w->book, "t", "web", NULL, &heal, &why)); /* changes nothing: none */
    const struct order *same = rulebook_order(w->book, "web");
    assert_ptr_equal(same, later);
    order_release(&same);
    order_release(&later);
    order_release(&o);
    assert_int_equal(held->serial, third); /* lives as long as somebody holds it */
    order_release(&held);
    must(rulebook_unassign(w->book, "t", "web", &why));
    assert_int_equal(rulebook_unassign(w->book, "t", "web", &why), ST_NOTFOUND);
    reopen(w);
    assert_null(rulebook_order(w->book, "web"));
    struct group g;
    must(rulebook_group_get(w->book, "web", &g, &why));
    assert_true(g.heal);
    assert_string_equal(g.ruleset, "");
    group_free(&g);
    assert_true(assign(w, "web", "base", 1) > third + 1);
    assert_int_equal(audited(w, "rules assign"), 4);
    assert_int_equal(audited(w, "rules unassign"), 1);
    assert_int_equal(audited(w, "group set"), 2);
    buf_free(&xml);
    arena_deinit(&arena);
}

/* What a rollout does: signs for the first waves, keeps the manifest over a restart, gives the order to all. */
static void signed_first_assigned_later(void **state) {
    struct world *w = *state;
    struct buf manifest = {0}, xml = {0};
    const struct order *o = NULL;
    struct group g;
    arena_init(&arena, 1 << 20);
    add(w, "base", "<one/>");
    assert_int_equal(rulebook_sign(w->book, "web", "nope", 1, &o, &why), ST_NOTFOUND);
    assert_int_equal(rulebook_sign(w->book, "a b", "base", 1, &o, &why), ST_INVALID);
    must(rulebook_sign(w->book, "web", "base", 1, &o, &why));
    assert_null(rulebook_order(w->book, "web"));
    uint64_t serial = o->serial;
    buf_slice_append(&manifest, buf_slice(&o->manifest));
    order_release(&o);
    reopen(w);
    must(rulebook_sign_again(w->book, "web", buf_slice(&manifest), &o, &why));
    assert_int_equal(o->serial, serial);
    open_offer(w, o, &xml);
    must(rulebook_assign_order(w->book, "t", o, &g, &why));
    assert_int_equal(g.serial, serial);
    group_free(&g);
    assert_true(assign(w, "web", "base", 1) > serial);
    assert_int_equal(rulebook_assign_order(w->book, "t", o, &g, &why), ST_EXISTS); /* an older one */
    order_release(&o);
    for (size_t i = 0; i < manifest.len; i++) { /* what is not what was kept */
        struct error err;
        if (!rulebook_sign_again(w->book, "web", slice_head(buf_slice(&manifest), i), &o, &err)) {
            /* a prefix that ends before the optional members is a manifest too: of the same revision */
            assert_int_equal(o->revision, 1);
            order_release(&o);
        }
    }
    manifest.p[2] ^= 0xff;
    assert_int_not_equal(rulebook_sign_again(w->book, "web", buf_slice(&manifest), &o, &why), ST_OK);
    buf_free(&manifest);
    buf_free(&xml);
    arena_deinit(&arena);
}

static void heard_serials(void **state) {
    struct world *w = *state;
    add(w, "base", "<one/>");
    uint64_t first = assign(w, "web", "base", 1);
    rulebook_heard_serial(w->book, first + 1000); /* the store is an older copy */
    assert_int_equal(assign(w, "web", "base", 1), first + 1001);
    rulebook_heard_serial(w->book, first);      /* nothing new */
    rulebook_heard_serial(w->book, UINT64_MAX); /* a lie */
    rulebook_heard_serial(w->book, first + 1001 + (UINT64_C(1) << 20) + 1);
    assert_int_equal(assign(w, "web", "base", 1), first + 1002);
    reopen(w);
    assert_int_equal(assign(w, "web", "base", 1), first + 1003);
}

/* ---- groups ---- */

static void which_group_counts(void **state) {
    struct world *w = *state;
    static const struct {
        const char *group;
        int32_t precedence;
        bool assigned;
    } groups[] = {{"default", 0, true}, {"web", 10, true}, {"db", 10, true},    {"low", -5, true},
                  {"idle", 99, false},  {"x:1", 20, true}, {"servers", 0, true}};
    static const struct {
        const char *name, *group;
        const char *tags[3];
        const char *want;
    } hosts[] = {{"none", "", {NULL}, "default"},
                 {"no group", NULL, {NULL}, "default"},
                 {"group", "web", {NULL}, "web"},
                 {"equal ones by name", "web", {"db"}, "db"},
                 {"a tag", "", {"web"}, "web"},
                 {"highest", "web", {"db", "x:1"}, "x:1"},
                 {"default comes last, also after a negative one", "low", {NULL}, "low"},
                 {"none assigned: the next", "idle", {"low"}, "low"},
                 {"0 before negative", "low", {"servers"}, "servers"},
                 {"unknown words", "nope", {"nix"}, "default"}};
    add(w, "base", "<one/>");
    struct group g;
    assert_false(rulebook_group_of(w->book, "web", NULL, 0, &g));
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        must(rulebook_group_set(w->book, "t", groups[i].group, &groups[i].precedence, NULL, &why));
        if (groups[i].assigned) assign(w, groups[i].group, "base", 1);
    }
    for (int again = 0; again < 2; again++, reopen(w)) {
        for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
            size_t n = 0;
            while (n < 3 && hosts[i].tags[n]) n++;
            if (!rulebook_group_of(w->book, hosts[i].group, (char *const *)hosts[i].tags, n, &g))
                fail_msg("%s: no group", hosts[i].name);
            if (strcmp(g.name, hosts[i].want) != 0) fail_msg("%s: %s", hosts[i].name, g.name);
            group_free(&g);
        }
        struct group *list;
        size_t n = rulebook_groups(w->book, &list);
        assert_int_equal(n, 7);
        static const char *const order[] = {"idle", "x:1", "db", "web", "servers", "low", "default"};
        for (size_t i = 0; i < n; i++) assert_string_equal(list[i].name, order[i]);
        groups_free(list, n);
    }
    int32_t five = 5;
    assert_int_equal(rulebook_group_set(w->book, "t", "default", &five, NULL, &why), ST_INVALID);
    assert_int_equal(rulebook_group_set(w->book, "t", "a b", &five, NULL, &why), ST_INVALID);
    assert_int_equal(rulebook_group_set(w->book, "t", "", &five, NULL, &why), ST_INVALID);
}

static void enroll(struct world *w, const char *name, const char *group) {
    struct fleet_token_request r = {.role = "enroll", .group = group, .address = "localhost:1"};
    struct fleet_token token;
    struct buf text = {0}, key = {0}, csr = {0};
    must(fleet_token_create(w->fleet, "t", &r, &text, &token, &why));
    struct token parsed;
    must(token_decode(buf_slice(&text), &parsed, &why));
    must(tls_make_key(&key, &why));
    must(tls_make_csr(buf_slice(&key), name, &csr, &why));
    struct fleet_enroll_request e = {.token_id = slice_of(parsed.id, TOKEN_ID_LEN),
                                     .token_secret = slice_of(parsed.secret, TOKEN_SECRET_LEN),
                                     .csr_der = buf_slice(&csr),
                                     .host_name = slice_str(name),
                                     .os = SLICE_LIT("Linux"),
                                     .machine_id = slice_str(name),
                                     .address = "127.0.0.1",
                                     .agent_time = the_time};
    struct fleet_enrolled done = {0};
    must(fleet_enroll(w->fleet, &e, &done, &why));
    assert_int_equal(done.result, ENROLL_GRANTED);
    buf_free(&done.certificate);
    buf_free(&done.ca);
    buf_free(&text);
    buf_free(&key);
    buf_free(&csr);
    mem_free(token.group);
    mem_free(token.note);
    mem_free(token.role);
}

static void groups_count_their_hosts(void **state) {
    struct world *w = *state;
    static const char *const tags[] = {"web", "eu"};
    struct fleet_host h;
    struct group g, *list;
    enroll(w, "a", "web");
    enroll(w, "b", "web");
    enroll(w, "c", "");
    enroll(w, "d", "two words"); /* no name for a group with rules */
    must(fleet_host_find(w->fleet, SLICE_LIT("a"), &h, &why));
    must(fleet_host_tag(w->fleet, "t", h.id, tags, 2, NULL, 0, &why)); /* web twice: counts once */
    fleet_host_free(&h);
    must(rulebook_group_get(w->book, "web", &g, &why));
    assert_int_equal(g.n_hosts, 2);
    group_free(&g);
    int32_t high = 7;
    must(rulebook_group_set(w->book, "t", "eu", &high, NULL, &why));
    must(rulebook_group_set(w->book, "t", "empty", &high, NULL, &why));
    size_t n = rulebook_groups(w->book, &list);
    static const struct {
        const char *name;
        size_t n_hosts;
    } want[] = {{"empty", 0}, {"eu", 1}, {"web", 2}, {"default", 4}};
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(list[i].name, want[i].name);
        if (list[i].n_hosts != want[i].n_hosts) fail_msg("%s: %zu hosts", want[i].name, list[i].n_hosts);
    }
    groups_free(list, n);
    n = rulebook_groups_of(w->book, "web", (char *const[]){(char *)"eu", (char *)"web", (char *)"x"}, 3, &list);
    static const char *const of[] = {"eu", "web", "x", "default"};
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++) assert_string_equal(list[i].name, of[i]);
    assert_int_equal(list[0].precedence, 7);
    groups_free(list, n);
}

/* ---- damage ---- */

static void put_row(struct world *w, enum fleet_table table, struct slice key, const char *value) {
    struct fleet_txn *t = NULL;
    must(fleet_begin(w->db, &t, &why));
    must(fleet_txn_put(t, table, key, slice_str(value), &why));
    must(fleet_commit(&t, &why));
}

static void damaged_rows(void **state) {
    struct world *w = *state;
    struct revision r = {0};
    struct buf xml = {0};
    uint8_t digest[RULES_DIGEST_LEN];
    add(w, "base", "<one/>");
    add(w, "base", "<two/>");
    uint64_t serial = assign(w, "web", "base", 1);
    assign(w, "db", "base", 2);
    put_row(w, FLEET_RULESETS, slice_of("base\0\0\0\0\3", 9), "{}");          /* the newest: its number is taken */
    put_row(w, FLEET_RULESETS, slice_of("x", 1), "{}");                       /* no key of ours */
    put_row(w, FLEET_RULESETS, slice_of("a b\0\0\0\0\1", 8), "{\"len\":1}");  /* no name */
    put_row(w, FLEET_RULESETS, slice_of("zero\0\0\0\0\0", 9), "{\"len\":1}"); /* no number */
    put_row(w, FLEET_GROUPS, SLICE_LIT("gone"), "[]");
    put_row(w, FLEET_GROUPS, SLICE_LIT("odd"),
            "{\"precedence\":3,\"ruleset\":\"base\",\"revision\":1,\"serial\":9,\"manifest\":\"0g\"}");
    put_row(w, FLEET_GROUPS, SLICE_LIT("lost"),
            "{\"precedence\":3,\"ruleset\":\"base\",\"revision\":1,\"serial\":9,\"manifest\":\"0809\"}");
    tls_sha256(SLICE_LIT("<two/>"), digest);
    put_row(w, FLEET_RULES_XML, slice_of(digest, sizeof digest), "no zstd");
    reopen(w);
    struct revision *list;
    size_t n = rulebook_list(w->book, NULL, &list);
    assert_int_equal(n, 2);
    revisions_free(list, n);
    assert_int_equal(rulebook_xml(w->book, "base", 2, &xml, &why), ST_CORRUPT);
    assert_non_null(strstr(why.msg, "base@2"));
    assert_int_equal(xml.len, 0);
    const struct order *o = rulebook_order(w->book, "web"); /* the others stay whole */
    assert_int_equal(o->serial, serial);
    order_release(&o);
    assert_null(rulebook_order(w->book, "db")); /* nothing is signed that is not what was put in */
    assert_null(rulebook_order(w->book, "odd"));
    assert_null(rulebook_order(w->book, "lost"));
    assert_int_equal(rulebook_sign(w->book, "web", "base", 2, &o, &why), ST_CORRUPT);
    struct group g;
    assert_int_equal(rulebook_assign(w->book, "t", "web", "base", 2, &g, &why), ST_CORRUPT);
    assert_int_equal(add(w, "base", "<two/>"), 2); /* the same bytes again mend them */
    must(rulebook_xml(w->book, "base", 2, &xml, &why));
    assert_true(slice_eq_str(buf_slice(&xml), "<two/>"));
    assert_int_equal(add(w, "base", "<three/>"), 4); /* 3 is not written over */
    must(rulebook_get(w->book, "base", 4, &r, &why));
    revision_free(&r);
    buf_free(&xml);
}

/* ---- races ---- */

#define PUSHES 12

struct pusher {
    struct world *w;
    int id;
    pthread_t thread;
    bool failed;
};

static void *push(void *arg) {
    struct pusher *p = arg;
    for (int i = 0; i < PUSHES; i++) {
        struct revision r = {0};
        struct group g = {0};
        struct error err;
        char xml[64];
        snprintf(xml, sizeof xml, "<x who=\"%d\" what=\"%d\"/>", p->id, i);
        enum status st = rulebook_add(p->w->book, "t", "base", "", slice_str(xml), 450, NULL, &r, &err);
        if (!st) st = rulebook_assign(p->w->book, "t", i % 2 ? "web" : "db", "base", r.revision, &g, &err);
        p->failed = p->failed || st;
        group_free(&g);
        revision_free(&r);
        if (rulebook_group_of(p->w->book, "web", NULL, 0, &g)) group_free(&g);
        const struct order *o = rulebook_order(p->w->book, "web");
        order_release(&o);
    }
    return NULL;
}

static void two_push_at_once(void **state) {
    struct world *w = *state;
    struct pusher p[2] = {{.w = w, .id = 1}, {.w = w, .id = 2}};
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&p[i].thread, NULL, push, &p[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(p[i].thread, NULL);
    assert_false(p[0].failed || p[1].failed);
    struct revision *list;
    size_t n = rulebook_list(w->book, "base", &list);
    assert_int_equal(n, 2 * PUSHES);
    for (size_t i = 0; i < n; i++) assert_int_equal(list[i].revision, i + 1);
    revisions_free(list, n);
    struct group web, db;
    must(rulebook_group_get(w->book, "web", &web, &why));
    must(rulebook_group_get(w->book, "db", &db, &why));
    assert_int_equal(web.serial > db.serial ? web.serial : db.serial, 2 * PUSHES); /* each order has its own */
    group_free(&web);
    group_free(&db);
    assert_int_equal(audited(w, "rules assign"), 2 * PUSHES);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {CASE(names),
                                       CASE(caps),
                                       CASE(revisions),
                                       CASE(orders),
                                       CASE(signed_first_assigned_later),
                                       CASE(heard_serials),
                                       CASE(which_group_counts),
                                       CASE(groups_count_their_hosts),
                                       CASE(damaged_rows),
                                       CASE(two_push_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
