/* simulate.c on a real store: sums, windows of time, partial and foreign events, the same counts however many threads, samples,
 * and a simulation that is given up. */
// links: server rules storage proto base
#include "batch.h"
#include "clock.h"
#include "ingest.h"
#include "log.h"
#include "mem.h"
#include "simulate.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yyjson.h>

#include <cmocka.h>

#define T0 UINT64_C(133000000000000000)
#define CHANNEL "Microsoft-Windows-Sysmon/Operational"
#define N_BATCHES 40u
#define A_BATCH 100u

static struct fixture {
    char dir[SCRATCH_MAX];
    struct db *db;
    struct stats *stats;
    struct ingest *in;
    uv_loop_t loop;
    struct ingest_door *door;
    struct batch_builder *b;
    unsigned n_sent, n_answered;
} f;

static void on_done(void *owner, const struct ingest_result *r) {
    (void)owner;
    if (r->st) fail_msg("%s", r->reason);
    f.n_answered++;
}

static void send_batch(uint32_t host) {
    struct buf block = {0}, body = {0};
    uint32_t header_len;
    assert_int_equal(batch_finish(f.b, &block, &header_len), ST_OK);
    buf_u32le(&body, header_len);
    buf_slice_append(&body, buf_slice(&block));
    buf_free(&block);
    ingest_put(f.door, host, &body, ++f.n_sent, on_done, NULL);
    while (f.n_answered < f.n_sent) uv_run(&f.loop, UV_RUN_ONCE);
}

/* Event `id` of a host: of four ids by turns, an hour after the one before. */
static void add_event(const char *channel, const char *provider, uint64_t id) {
    static const uint32_t ids[] = {1, 3, 11, 16};
    struct event_data data[2] = {{SLICE_LIT("Image"), SLICE_LIT("C:\\x\\a.exe"), EVENT_DATA},
                                 {SLICE_LIT("TargetFilename"), SLICE_LIT("C:\\Temp\\f"), EVENT_DATA}};
    if (id % 8 >= 4) data[0].value = SLICE_LIT("C:\\x\\b.exe");
    struct event ev = {.provider = slice_str(provider),
                       .event_id = {ids[id % 4], true, {0}},
                       .record_id = {id, true, {0}},
                       .time = T0 + id * 3600 * FILETIME_SECOND,
                       .time_digits = 7,
                       .channel = slice_str(channel),
                       .computer = SLICE_LIT("PC"),
                       .body = EVENT_BODY_DATA,
                       .data = data,
                       .n_data = id % 4 == 2 ? 2 : 1};
    assert_int_equal(batch_add(f.b, &ev, id), ST_OK);
}

static int set_up(void **state) {
    struct error err = {0};
    (void)state;
    log_set_level(LOG_ERROR);
    if (!scratch_make(f.dir, "simulate")) return -1;
    struct db_options d = {.map_bytes = 64 * 1024 * 1024, .min_free_bytes = 1};
    if (db_open(f.dir, &d, &f.db, &err)) fail_msg("%s", err.msg);
    f.stats = stats_new();
    struct ingest_options o = {
        .db = f.db, .stats = f.stats, .spacing_ms = 1, .quarantine_bytes = 1, .quarantine_files = 1};
    if (ingest_start(&o, &f.in, &err)) fail_msg("%s", err.msg);
    assert_int_equal(uv_loop_init(&f.loop), 0);
    assert_int_equal(ingest_door_open(f.in, &f.loop, NULL, NULL, &f.door, &err), ST_OK);
    f.b = batch_builder_new(0);
    for (unsigned i = 0; i < N_BATCHES; i++) {
        batch_begin(f.b, SLICE_LIT(CHANNEL), SLICE_LIT(""), 1);
        for (unsigned k = 0; k < A_BATCH; k++) add_event(CHANNEL, "Microsoft-Windows-Sysmon", (i / 2) * A_BATCH + k);
        send_batch(1 + i % 2);
    }
    batch_begin(f.b, SLICE_LIT("System"), SLICE_LIT(""), 1); /* one of them was forwarded */
    for (unsigned k = 0; k < 8; k++) add_event("System", k == 5 ? "Microsoft-Windows-Sysmon" : "Other", k);
    send_batch(1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    batch_builder_free(&f.b);
    ingest_door_close(f.door, NULL, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    uv_loop_close(&f.loop);
    ingest_free(&f.in);
    db_close(&f.db);
    stats_free(&f.stats);
    return scratch_remove(f.dir);
}

#define CANDIDATE                                                                                                        \
    "<Sysmon schemaversion=\"4.91\"><EventFiltering><RuleGroup groupRelation=\"or\">"                                    \
    "<ProcessCreate onmatch=\"include\"><Image name=\"n\" condition=\"image\">a.exe</Image></ProcessCreate></RuleGroup>" \
    "<RuleGroup groupRelation=\"or\"><FileCreate onmatch=\"exclude\"/></RuleGroup></EventFiltering></Sysmon>"
#define CURRENT                                                                       \
    "<Sysmon schemaversion=\"4.91\"><EventFiltering><RuleGroup groupRelation=\"or\">" \
    "<NetworkConnect onmatch=\"exclude\"><Image condition=\"end with\">b.exe</Image></NetworkConnect></RuleGroup></EventFiltering></Sysmon>"

static struct ruleset *parse(const char *xml) {
    struct ruleset *r = NULL;
    struct error err = {0};
    if (ruleset_parse(slice_str(xml), &r, &err)) fail_msg("%s", err.msg);
    return r;
}

static struct simulate *begin(unsigned n_threads, uint64_t since, uint64_t until, unsigned samples) {
    struct simulate_spec spec = {.db = f.db,
                                 .candidate = parse(CANDIDATE),
                                 .n_hosts = 2,
                                 .n_current = 1,
                                 .since = since,
                                 .until = until,
                                 .samples = samples,
                                 .n_threads = n_threads};
    spec.hosts = mem_zalloc(2 * sizeof *spec.hosts);
    spec.hosts[0] = (struct simulate_host){1, mem_strdup("one"), SIMULATE_NO_RULES};
    spec.hosts[1] = (struct simulate_host){2, mem_strdup("two"), 0};
    spec.current = mem_zalloc(sizeof *spec.current);
    spec.current[0] = (struct simulate_current){parse(CURRENT), mem_strdup("now@1")};
    return simulate_new(&spec);
}

static struct buf finish(struct simulate *s) {
    struct error err = {0};
    struct buf out = {0}, part = {0};
    enum status st;
    while ((st = simulate_step(s, 1, &err)) == ST_OK) {
        struct simulate_progress p = simulate_progress(s);
        assert_true(p.done <= p.all);
    }
    if (st != ST_END) fail_msg("%s", err.msg);
    assert_int_equal(simulate_progress(s).done, simulate_progress(s).all);
    do {
        buf_clear(&part);
        st = simulate_write(s, &part, 200);
        buf_slice_append(&out, buf_slice(&part));
    } while (st == ST_OK);
    assert_int_equal(st, ST_END);
    buf_free(&part);
    return out;
}

/* The member of the line of that kind (and event id, or host). */
static uint64_t number(struct slice lines, const char *kind, const char *what, const char *key) {
    uint64_t ret = UINT64_MAX;
    while (lines.len) {
        const uint8_t *end = memchr(lines.p, '\n', lines.len);
        yyjson_doc *doc = yyjson_read((const char *)lines.p, (size_t)(end - lines.p), 0);
        yyjson_val *o = yyjson_doc_get_root(doc);
        char id[24];
        assert_non_null(doc);
        snprintf(id, sizeof id, "%d", (int)yyjson_get_uint(yyjson_obj_get(o, "event_id")));
        const char *host = yyjson_get_str(yyjson_obj_get(o, "host"));
        if (strcmp(yyjson_get_str(yyjson_obj_get(o, "kind")), kind) == 0 &&
            (!what || strcmp(id, what) == 0 || (host && strcmp(host, what) == 0))) {
            ret = yyjson_get_uint(yyjson_obj_get(o, key));
        }
        yyjson_doc_free(doc);
        lines = slice_from(lines, (size_t)(end - lines.p) + 1);
    }
    return ret;
}

static void test_sums(void **state) {
    static const struct {
        const char *kind, *what, *key;
        uint64_t value;
    } cases[] = {
        {"summary", NULL, "events", 4001},
        {"summary", NULL, "foreign_events", 7},
        {"summary", NULL, "skipped_blocks", 0},
        {"summary", NULL, "hosts_without_rules", 1},
        {"summary", NULL, "kept", 500 + 1000 + 1000}, /* half of 1, all of 11 and 16 */
        {"id", "1", "events", 1000},
        {"id", "1", "kept", 500},
        {"id", "1", "current_kept", 1000}, /* stored, or by default */
        {"id", "3", "events", 1001},
        {"id", "3", "kept", 0},
        {"id", "3", "current_kept", 501 + 250}, /* of host two without b.exe */
        {"id", "11", "kept", 1000},
        {"id", "11", "current_kept", 500},
        {"id", "11", "gained", 500},
        {"id", "16", "kept", 1000},
        {"host", "one", "events", 2001},
        {"host", "one", "lost", 250 + 501},
        {"host", "one", "gained", 0},
        {"host", "two", "events", 2000},
        {"host", "two", "lost", 250 + 250},
        {"host", "two", "gained", 500},
    };
    (void)state;
    struct buf first = {0};
    for (unsigned n = 1; n <= 4; n++) {
        struct simulate *s = begin(n, 0, 0, 0);
        struct buf out = finish(s);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            uint64_t got = number(buf_slice(&out), cases[i].kind, cases[i].what, cases[i].key);
            if (got != cases[i].value) {
                fail_msg("%u threads, %s %s: %s is %llu, not %llu", n, cases[i].kind,
                         cases[i].what ? cases[i].what : "", cases[i].key, (unsigned long long)got,
                         (unsigned long long)cases[i].value);
            }
        }
        if (n == 1)
            buf_slice_append(&first, buf_slice(&out));
        else
            assert_true(slice_eq(buf_slice(&first), buf_slice(&out)));
        buf_free(&out);
        simulate_free(&s);
    }
    buf_free(&first);
}

/* An event each hour: every span of time has its events once, however many windows it is cut into. */
static void test_spans(void **state) {
    static const struct {
        uint64_t first, last; /* hours, both included */
    } spans[] = {{0, 1999},           {0, 0},   {10, 10},     {100, 99 + 24 * 7},
                 {100, 100 + 24 * 7}, {1, 500}, {1999, 5000}, {3000, 4000}};
    (void)state;
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        uint64_t hour = 3600 * FILETIME_SECOND, last = spans[i].last < 1999 ? spans[i].last : 1999;
        struct simulate *s = begin(2, T0 + spans[i].first * hour, T0 + spans[i].last * hour, 0);
        struct buf out = finish(s);
        uint64_t want = spans[i].first > last ? 0 : last - spans[i].first + 1;
        uint64_t got = number(buf_slice(&out), "host", "two", "events");
        if (got != want && !(got == UINT64_MAX && !want)) {
            fail_msg("hours %d to %d: %d events, not %d", (int)spans[i].first, (int)spans[i].last, (int)got, (int)want);
        }
        buf_free(&out);
        simulate_free(&s);
    }
}

static void test_samples(void **state) {
    (void)state;
    struct simulate *s = begin(2, 0, 0, 3);
    struct buf out = finish(s);
    size_t n = 0;
    for (size_t i = 0; i + 16 < out.len; i++) n += memcmp(out.p + i, "\"kind\":\"sample\"", 15) == 0;
    assert_int_equal(n, 3 * 5); /* 1 kept and dropped, 3, 11, 16 */
    assert_int_equal(number(buf_slice(&out), "summary", NULL, "events"), 4001);
    buf_free(&out);
    simulate_free(&s);
}

static void test_given_up(void **state) {
    struct error err = {0};
    (void)state;
    struct simulate *s = begin(2, 0, 0, 0);
    simulate_free(&s);
    assert_null(s);
    s = begin(2, 0, 0, 1);
    (void)!simulate_step(s, 1, &err);
    simulate_free(&s);
    simulate_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_given_up),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
