/* The API on a real store, fleet and writer, over its unix socket: its loop runs on a thread of its own, the tests are
 * blocking clients. What is stored comes in by POST .../import. */
// links: server rules storage proto base
#include "api_client.h"

#include "api.h"
#include "batch.h"
#include "clock.h"
#include "file.h"
#include "frame.h"
#include "mem.h"
#include "token.h"
#include "scratch.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define T0 UINT64_C(133000000000000000)
#define MANY 60000u

struct world {
    char dir[SCRATCH_MAX], ca_dir[80], socket[80], address[90];
    struct db *db;
    struct stats *stats;
    struct fleet *fleet;
    struct rulebook *book;
    struct rollouts *rollouts;
    struct ingest *ingest;
    struct digest *digest;
    struct api *api;
    uv_loop_t loop;
    uv_async_t ending;
    uv_thread_t thread;
};

/* ---- the collector's part ---- */

static void on_ending(uv_async_t *a) {
    struct world *w = a->data;
    api_quiet(w->api);
    ingest_stop(w->ingest);
    api_stop(&w->api);
    uv_close((uv_handle_t *)a, NULL);
}

static void run_loop(void *arg) {
    struct world *w = arg;
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
}

static enum status start_api(struct world *w, const char *address, struct api **ret, struct error *err) {
    const char *addresses[] = {address, NULL};
    struct api_options o = {.db = w->db,
                            .fleet = w->fleet,
                            .book = w->book,
                            .rollouts = w->rollouts,
                            .ingest = w->ingest,
                            .digest = w->digest,
                            .stats = w->stats,
                            .addresses = addresses,
                            .agent_address = "collector.example:7443"};
    return api_start(&w->loop, &o, ret, err);
}

static void world_open(struct world *w) {
    static const char *const names[] = {"localhost", NULL};
    struct error err = {0};
    struct db_options d = {.map_bytes = 256 * 1024 * 1024, .min_free_bytes = 1};
    if (db_open(w->dir, &d, &w->db, &err)) fail_msg("%s", err.msg);
    struct fleet_options f = {.ca_dir = w->ca_dir, .server_names = names, .host_cert_days = 30, .now = clock_wall};
    if (fleet_open(w->db, &f, &w->fleet, &err)) fail_msg("%s", err.msg);
    if (rulebook_open(w->db, w->fleet, &w->book, &err)) fail_msg("%s", err.msg);
    struct rollouts_options r = {.db = w->db, .fleet = w->fleet, .book = w->book, .now = clock_wall};
    if (rollouts_open(&r, &w->rollouts, &err)) fail_msg("%s", err.msg);
    w->stats = stats_new();
    struct ingest_options i = {.db = w->db,
                               .stats = w->stats,
                               .spacing_ms = 1,
                               .now = clock_wall,
                               .quarantine_bytes = 1 << 20,
                               .quarantine_files = 10};
    if (ingest_start(&i, &w->ingest, &err)) fail_msg("%s", err.msg);
    struct digest_options g = {.db = w->db, .writer = ingest_writer(w->ingest), .stats = w->stats};
    if (digest_start(&g, &w->digest, &err)) fail_msg("%s", err.msg);
    ingest_on_committed(w->ingest, digest_wake, w->digest);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_async_init(&w->loop, &w->ending, on_ending), 0);
    w->ending.data = w;
    if (start_api(w, w->address, &w->api, &err)) fail_msg("%s", err.msg);
    ingest_on_committed(w->ingest, api_committed, w->api);
    assert_int_equal(uv_thread_create(&w->thread, run_loop, w), 0);
}

static void world_close(struct world *w) {
    uv_async_send(&w->ending);
    uv_thread_join(&w->thread);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_false(file_exists(w->socket));
    digest_stop(&w->digest);
    ingest_free(&w->ingest);
    rollouts_close(&w->rollouts);
    rulebook_close(&w->book);
    fleet_close(&w->fleet);
    db_close(&w->db);
    stats_free(&w->stats);
}

static void enroll(struct world *w, const char *name) {
    struct error err = {0};
    struct fleet_token t;
    struct buf text = {0}, key = {0}, csr = {0};
    struct token raw;
    struct fleet_enrolled e = {0};
    struct fleet_token_request r = {.role = "enroll", .address = "a:1"};
    assert_int_equal(fleet_token_create(w->fleet, "test", &r, &text, &t, &err), ST_OK);
    assert_int_equal(token_decode(buf_slice(&text), &raw, &err), ST_OK);
    assert_int_equal(tls_make_key(&key, &err), ST_OK);
    assert_int_equal(tls_make_csr(buf_slice(&key), name, &csr, &err), ST_OK);
    struct fleet_enroll_request q = {.token_id = slice_of(raw.id, sizeof raw.id),
                                     .token_secret = slice_of(raw.secret, sizeof raw.secret),
                                     .csr_der = buf_slice(&csr),
                                     .host_name = slice_str(name),
                                     .os = SLICE_LIT("test"),
                                     .machine_id = slice_str(name),
                                     .agent_version = SLICE_LIT("1"),
                                     .address = "127.0.0.1:1",
                                     .agent_time = clock_wall()};
    assert_int_equal(fleet_enroll(w->fleet, &q, &e, &err), ST_OK);
    assert_int_equal(e.result, ENROLL_GRANTED);
    buf_free(&e.certificate);
    buf_free(&e.ca);
    buf_free(&text);
    buf_free(&key);
    buf_free(&csr);
    mem_free(t.group);
    mem_free(t.note);
    mem_free(t.role);
}

static struct world the_world;

static int setup(void **state) {
    struct world *w = &the_world;
    api_test_speed(20);       /* a head has 500 ms */
    signal(SIGPIPE, SIG_IGN); /* as the collector does: clients go away */
    tls_global_init();
    if (!scratch_make(w->dir, "api")) return 1;
    snprintf(w->ca_dir, sizeof w->ca_dir, "%s/ca", w->dir);
    snprintf(w->socket, sizeof w->socket, "%s/api.sock", w->dir);
    snprintf(w->address, sizeof w->address, "unix:%s", w->socket);
    world_open(w);
    enroll(w, "alpha");
    enroll(w, "beta");
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    world_close(w);
    return scratch_remove(w->dir);
}

/* Frames of batches: n events from id on. */
static struct buf frames(uint64_t id, unsigned n) {
    struct batch_builder *b = batch_builder_new(0);
    struct buf out = {0};
    while (n) {
        struct buf block = {0}, body = {0};
        uint32_t header_len;
        batch_begin(b, SLICE_LIT("C"), SLICE_LIT(""), EPOCH_FIND);
        for (unsigned i = 0; i < 1000 && n; i++, n--, id++) {
            char value[300];
            snprintf(value, sizeof value, "C:\\Windows\\%llu.exe %0200llu", (unsigned long long)id,
                     (unsigned long long)(id * 7919));
            struct event_data data = {.name = SLICE_LIT("Image"), .value = slice_str(value)};
            struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                               .event_id = {.v = 11, .present = true},
                               .record_id = {.v = id, .present = true},
                               .time = T0 + id * FILETIME_SECOND,
                               .time_digits = 7,
                               .channel = SLICE_LIT("C"),
                               .computer = SLICE_LIT("PC"),
                               .body = EVENT_BODY_DATA,
                               .data = &data,
                               .n_data = 1};
            assert_int_equal(batch_add(b, &ev, id), ST_OK);
        }
        assert_int_equal(batch_finish(b, &block, &header_len), ST_OK);
        buf_u32le(&body, header_len);
        buf_slice_append(&body, buf_slice(&block));
        frame_put(&out, FRAME_BATCH, buf_slice(&body));
        buf_free(&block);
        buf_free(&body);
    }
    batch_builder_free(&b);
    return out;
}

#define BATCHES "application/x-haechi-batches"
#define ALPHA "/api/v1/hosts/alpha"

/* ---- tests, in order: later ones ask for what earlier ones stored ---- */

static void test_socket(void **state) {
    struct world *w = *state;
    struct stat sb;
    struct error err = {0};
    struct api *second = NULL;
    assert_int_equal(lstat(w->socket, &sb), 0);
    assert_true(S_ISSOCK(sb.st_mode) && (sb.st_mode & 0777) == 0600);
    struct world other = *w;
    assert_int_equal(uv_loop_init(&other.loop), 0);
    assert_int_equal(start_api(&other, w->address, &second, &err), ST_BUSY);
    (void)uv_run(&other.loop, UV_RUN_DEFAULT);
    char path[100], address[110];
    snprintf(path, sizeof path, "%s/file", w->dir);
    snprintf(address, sizeof address, "unix:%s", path);
    assert_int_equal(file_replace(path, SLICE_LIT("x"), 0600, &err), ST_OK);
    assert_int_equal(start_api(&other, address, &second, &err), ST_EXISTS);
    assert_true(file_exists(path));
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0); /* a killed collector's file */
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    close(fd);
    assert_int_equal(start_api(&other, address, &second, &err), ST_OK);
    api_stop(&second);
    (void)uv_run(&other.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&other.loop), 0);
}

static void test_import(void **state) {
    struct world *w = *state;
    struct buf first = frames(1, 2500), both = frames(1, 3000);
    expect(post(w->socket, ALPHA "/import", BATCHES, buf_slice(&first)), 200,
           "{\"batches\":3,\"events\":2500,\"stored\":2500,\"duplicates\":0,\"rejected\":[]}");
    expect(post(w->socket, "/api/v1/hosts/1/import", BATCHES, buf_slice(&both)), 200,
           "\"stored\":500,\"duplicates\":2500");
    both.p[both.len - 1] ^= 1; /* the last batch lies about itself */
    expect(post(w->socket, ALPHA "/import", BATCHES, buf_slice(&both)), 200, "\"rejected\":[{\"batch\":3,\"reason\":");
    expect(post(w->socket, ALPHA "/import", BATCHES, slice_head(buf_slice(&both), both.len - 9)), 400,
           "inside a frame, after batch 2");
    expect(post(w->socket, ALPHA "/import", BATCHES, SLICE_LIT("\x01\0\0\0\x07x")), 400, "after batch 0");
    expect(post(w->socket, ALPHA "/import", BATCHES, SLICE_LIT("")), 200, "\"batches\":0");
    expect(post(w->socket, ALPHA "/import", "text/plain", buf_slice(&first)), 415, BATCHES);
    expect(post(w->socket, "/api/v1/hosts/gamma/import", BATCHES, buf_slice(&first)), 404, "gamma");
    expect(get(w->socket, "/api/v1/audit?reverse=1&limit=1"), 200,
           "@unix\",\"action\":\"import\",\"object\":\"alpha\"");
    buf_free(&first);
    buf_free(&both);
}

static void test_import_chunked(void **state) {
    struct world *w = *state;
    struct buf all = frames(4000, 1500), rest = {0};
    struct slice left = buf_slice(&all);
    int fd = dial(w->socket);
    assert_true(say(fd, SLICE_LIT("POST " ALPHA "/import HTTP/1.1\r\nHost: x\r\nContent-Type: " BATCHES
                                  "\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")));
    while (rest.len < 25 && hear(fd, &rest)) continue;
    assert_string_equal(buf_cstr(&rest), "HTTP/1.1 100 Continue\r\n\r\n");
    buf_clear(&rest);
    while (left.len) {
        char head[16];
        struct slice part = slice_head(left, 777);
        snprintf(head, sizeof head, "%zx\r\n", part.len);
        assert_true(say(fd, slice_str(head)) && say(fd, part) && say(fd, SLICE_LIT("\r\n")));
        left = slice_from(left, part.len);
    }
    assert_true(say(fd, SLICE_LIT("0\r\n\r\n")));
    expect(read_reply(fd, &rest), 200, "\"batches\":2,\"events\":1500,\"stored\":1500");
    close(fd);
    buf_free(&rest);
    buf_free(&all);
}

static void test_gone_importer(void **state) {
    struct world *w = *state;
    struct buf all = frames(10000, 1000);
    int fd = dial(w->socket);
    assert_true(say(fd, SLICE_LIT("POST /api/v1/hosts/beta/import HTTP/1.1\r\nHost: x\r\nContent-Type: " BATCHES
                                  "\r\nContent-Length: 99999999\r\n\r\n")));
    assert_true(say(fd, buf_slice(&all)));
    close(fd);
    for (int i = 0; i < 200; i++) { /* what it brought is stored and audited */
        struct reply r = get(w->socket, "/api/v1/audit?reverse=1&limit=1");
        bool found = strstr(buf_cstr(&r.body), "\"object\":\"beta\",\"detail\":\"1 batches, 1000 events") &&
                     strstr(buf_cstr(&r.body), "broken off");
        reply_free(&r);
        if (found) break;
        assert_true(i < 199);
        usleep(10000);
    }
    expect(get(w->socket, "/api/v1/hosts/beta/events?count=1"), 200, "{\"count\":1000}");
    buf_free(&all);
}

static const struct {
    const char *path;
    int status;
    const char *part;
    size_t lines; /* 0: any */
} gets[] = {
    {"/api/v1/status", 200, "\"hosts\":{\"total\":2,", 1},
    {"/metrics", 200, "haechi_events_stored_total 5500\n", 0},
    {"/api/v1/openapi.json", 200, "\"openapi\": \"3.1.0\"", 0},
    {"/api/v1/hosts", 200, "\"name\":\"beta\"", 2},
    {"/api/v1/hosts?group=x", 200, "", 0},
    {"/api/v1/hosts?silent_s=5", 200, "", 0},
    {"/api/v1/hosts?silent_s=99999999999999", 400, "silent_s", 0},
    {ALPHA, 200, "\"streams\":[{\"computer\":\"\",\"channel\":\"C\",\"epoch\":1,\"events\":4500", 1},
    {"/api/v1/hosts/al", 200, "\"name\":\"alpha\"", 1},
    {"/api/v1/hosts/nobody", 404, "nobody", 1},
    {"/api/v1/pending", 200, "", 0},
    {"/api/v1/tokens", 200, "\"role\":\"enroll\"", 2},
    {"/api/v1/audit?limit=3", 200, "{\"seq\":1,", 3},
    {"/api/v1/audit?from=2&limit=1", 200, "{\"seq\":2,", 1},
    {"/api/v1/audit?from=2&limit=5&reverse=1", 200, "{\"seq\":1,", 2},
    {"/api/v1/audit?limit=x", 400, "limit", 1},
    {"/api/v1/ledger", 200, "\"held\":4500,\"missing\":999,\"explained\":0,\"complete\":false", 2},
    {"/api/v1/ledger?holes=1", 200, "\"holes\":[{\"first\":3001,\"last\":3999,\"count\":999,\"cause\":\"open\"}]", 1},
    {"/api/v1/ledger?host=beta", 200, "\"complete\":true", 1},
    {"/api/v1/ledger?host=x", 404, "x", 1},
    {ALPHA "/events?count=1", 200, "{\"count\":4500}\n", 1},
    {ALPHA "/events?count=1&limit=7", 200, "{\"count\":7}\n", 1},
    {ALPHA "/events?limit=3", 200, "\"record_id\":1,", 3},
    {ALPHA "/events?limit=3&reverse=1", 200, "\"record_id\":5499,", 3},
    {ALPHA "/events", 200, "\"record_id\":3000,", 4500},
    {ALPHA "/events?where=record_id+%3C+11", 200, "\"record_id\":10,", 10},
    {ALPHA "/events?where=record_id+%3E%3D+5&where=record_id+%3C%3D+6", 200, "\"record_id\":5,", 2},
    {ALPHA "/events?search=%5C17.EXE", 200, "\"record_id\":17,", 1},
    {ALPHA "/events?id=1,2", 200, "", 0},
    {ALPHA "/events?since=2022-06-18T02:00:00Z&until=2022-06-18T02:00:09Z&count=1", 200, "{\"count\":", 1},
    {ALPHA "/events?format=xml&limit=1", 200, "<Event xmlns=", 1},
    {ALPHA "/events?format=csv&limit=1", 200, "alpha", 2},
    {ALPHA "/events?format=table", 400, "json, xml and csv", 1},
    {ALPHA "/events?since=yesterday", 400, "since", 1},
    {ALPHA "/events?where=x", 400, "", 1},
    {ALPHA "/events?guid=x", 400, "", 1},
    {ALPHA "/events?count=2", 400, "count is 1 or 0", 1},
    {ALPHA "/events?follow=1&reverse=1", 400, "do not go together", 1},
    {ALPHA "/events?limt=1", 400, "did you mean 'limit'", 1},
    {ALPHA "/tree", 400, "guid", 1},
    {ALPHA "/tree?guid=%7B00000000-0000-0000-0000-000000000001%7D", 404, "", 1},
    {ALPHA "/tree?pid=4", 404, "", 1},
    {ALPHA "/tree?guid=1&pid=4", 400, "", 1},
    {"/", 404, "openapi.json", 1},
    {"/api/v1/hosts/%00", 400, "NUL", 1},
};

static void test_gets(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++) {
        struct reply r = get(w->socket, gets[i].path);
        bool good = r.status == gets[i].status && r.whole && strstr(buf_cstr(&r.body), gets[i].part) &&
                    (!gets[i].lines || lines(&r.body) == gets[i].lines);
        good = good && (r.status < 400) == !strstr(buf_cstr(&r.head), "application/problem+json");
        if (!good)
            fail_msg("GET %s: %s%.500s (%zu lines)", gets[i].path, buf_cstr(&r.head), buf_cstr(&r.body),
                     lines(&r.body));
        reply_free(&r);
    }
}

static const struct {
    const char *path, *body;
    int status;
    const char *part;
} posts[] = {
    {"/api/v1/tokens", "{}", 201, "{\"token\":\"haechi-enroll.v1."},
    {"/api/v1/tokens", "", 201, "\"uses_all\":1"},
    {"/api/v1/tokens", "{\"role\":\"viewer\",\"expires_s\":60,\"note\":\"n\"}", 201, "{\"token\":\"haechi-api.v1."},
    {"/api/v1/tokens", "{\"role\":\"king\"}", 400, "king"},
    {"/api/v1/tokens", "{\"role\":7}", 400, "role"},
    {"/api/v1/tokens", "{\"uses\":-1}", 400, "uses"},
    {"/api/v1/tokens", "{\"rol\":\"viewer\"}", 400, "'rol'"},
    {"/api/v1/tokens", "[]", 400, "object"},
    {"/api/v1/tokens", "{\"role\":\"viewer\"", 400, "JSON"},
    {"/api/v1/tokens/00/revoke", "{}", 404, "00"},
    {ALPHA "/tags", "{\"add\":[\"web\",\"eu\"]}", 200, "{}"},
    {ALPHA "/tags", "{\"remove\":[\"eu\"],\"add\":[1]}", 400, "no text"},
    {ALPHA "/tags", "{\"remove\":[\"eu\"]}", 200, "{}"},
    {"/api/v1/hosts/nobody/approve", "", 404, "nobody"},
    {"/api/v1/backup", "{\"dir\":\"relative\"}", 400, "absolute"},
    {"/api/v1/backup", "{}", 400, "absolute"},
    {"/api/v1/backup", "{\"dir\":\"/proc/nope\"}", 0, ""},
};

static void test_posts(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < sizeof posts / sizeof *posts; i++) {
        struct reply r = post(w->socket, posts[i].path, "application/json", slice_str(posts[i].body));
        bool good = posts[i].status ? r.status == posts[i].status : r.status >= 400;
        if (!good || !strstr(buf_cstr(&r.body), posts[i].part)) {
            fail_msg("POST %s %s: %d %s", posts[i].path, posts[i].body, r.status, buf_cstr(&r.body));
        }
        reply_free(&r);
    }
    expect(get(w->socket, ALPHA), 200, "\"tags\":[\"web\"]");
    struct buf big = {0}, path = {0};
    for (size_t i = 0; i < 70000; i++) buf_byte(&big, ' ');
    expect(post(w->socket, "/api/v1/tokens", "application/json", buf_slice(&big)), 413, "64 KiB");
    expect(post(w->socket, "/api/v1/tokens", "text/plain", SLICE_LIT("{}")), 415, "application/json");
    expect(
        ask(w->socket,
            "POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"),
        201, "haechi-enroll");
    buf_printf(&path, "{\"dir\":\"%s/copy\"}", w->dir);
    expect(post(w->socket, "/api/v1/backup", "application/json", buf_slice(&path)), 200, "{\"ok\":true}\n");
    struct reply again = post(w->socket, "/api/v1/backup", "application/json", buf_slice(&path));
    assert_true(again.status >= 400);
    reply_free(&again);
    buf_free(&big);
    buf_free(&path);
}

static void test_refusals(void **state) {
    struct world *w = *state;
    expect(ask(w->socket, "PUT /api/v1/hosts HTTP/1.1\r\nHost: x\r\n\r\n"), 405, "method");
    expect(ask(w->socket, "GET /api/v1/hosts HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"), 413, "no body");
    expect(ask(w->socket, "GET /api/v1/hosts HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n"), 406, "Accept");
    expect(ask(w->socket, "GET /api/v1/hosts HTTP/1.1\r\n\r\n"), 400, "Host");
    expect(ask(w->socket, "GET /api/v1/hosts HTTP/1.0\r\nHost: x\r\n\r\n"), 505, "1.1");
    expect(ask(w->socket, "hello\r\n\r\n"), 400, "malformed");
}

/* Several requests on one connection: at once, byte by byte, after a refusal. */
static void test_keep_alive(void **state) {
    struct world *w = *state;
    static const char three[] = "GET /api/v1/hosts/alpha/events?limit=1500 HTTP/1.1\r\nHost: x\r\n\r\n"
                                "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
                                "GET /api/v1/hosts/beta HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (size_t step = 1; step < 1000; step += 998) {
        struct buf rest = {0};
        int fd = dial(w->socket);
        for (struct slice s = SLICE_LIT(three); s.len; s = slice_from(s, step))
            assert_true(say(fd, slice_head(s, step)));
        /* the first one is chunked: read up to its end by hand */
        while (!strstr(buf_cstr(&rest), "\r\n0\r\n\r\nHTTP/1.1 404") && hear(fd, &rest)) continue;
        char *second = strstr((char *)(uintptr_t)buf_cstr(&rest), "HTTP/1.1 404");
        assert_non_null(second);
        buf_consume(&rest, (size_t)(second - (char *)rest.p));
        expect(read_reply(fd, &rest), 404, "nothing here");
        struct reply r = read_reply(fd, &rest);
        assert_non_null(strstr(buf_cstr(&r.head), "Connection: close"));
        expect(r, 200, "\"name\":\"beta\"");
        assert_false(hear(fd, &rest));
        close(fd);
        buf_free(&rest);
    }
}

static void test_timeouts(void **state) {
    struct world *w = *state;
    static const char *const starts[] = {
        "GET / HT",
        "POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{",
        "POST " ALPHA "/import HTTP/1.1\r\nHost: x\r\nContent-Type: " BATCHES "\r\nContent-Length: 5\r\n\r\nx"};
    for (size_t i = 0; i < 3; i++) {
        struct buf rest = {0};
        int fd = dial(w->socket);
        assert_true(say(fd, slice_str(starts[i])));
        expect(read_reply(fd, &rest), 408, "in time");
        assert_false(hear(fd, &rest));
        close(fd);
        buf_free(&rest);
    }
    struct buf rest = {0};
    int fd = dial(w->socket); /* nothing at all: closed without a word */
    assert_false(hear(fd, &rest));
    close(fd);
}

/* ---- large answers ---- */

static void test_stream(void **state) {
    struct world *w = *state;
    struct buf all = frames(20000, MANY);
    expect(post(w->socket, "/api/v1/hosts/beta/import", BATCHES, buf_slice(&all)), 200, "\"stored\":60000");
    buf_free(&all);
    struct reply r = get(w->socket, "/api/v1/hosts/beta/events");
    assert_true(r.whole);
    assert_int_equal(lines(&r.body), MANY + 1000);
    reply_free(&r);
}

/* Clients that do not read: their queries stand still, and more than 32 are turned away; when they go, others are let in. */
static void test_stalled(void **state) {
    struct world *w = *state;
    int fd[40];
    unsigned n_busy = 0;
    for (int i = 0; i < 40; i++) {
        int small = 4096;
        fd[i] = dial(w->socket);
        setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        assert_true(say(fd[i], SLICE_LIT("GET /api/v1/hosts/beta/events HTTP/1.1\r\nHost: x\r\n\r\n")));
        char head[13] = "";
        assert_int_equal(recv(fd[i], head, 12, MSG_WAITALL), 12);
        if (strcmp(head, "HTTP/1.1 503") == 0) n_busy++;
    }
    assert_int_equal(n_busy, 8);
    struct reply r = get(w->socket, "/api/v1/hosts/beta/events?count=1");
    assert_non_null(strstr(buf_cstr(&r.head), "Retry-After: 1\r\n"));
    expect(r, 503, "too many queries");
    expect(get(w->socket, "/api/v1/hosts"), 200, "beta");
    for (int i = 0; i < 40; i++) close(fd[i]);
    for (int i = 0;; i++) {
        r = get(w->socket, "/api/v1/hosts/beta/events?count=1");
        bool good = r.status == 200;
        reply_free(&r);
        if (good) break;
        assert_true(i < 500);
        usleep(10000);
    }
}

static void test_follow(void **state) {
    struct world *w = *state;
    struct buf rest = {0}, more = frames(500000, 3), other = frames(600000, 3);
    int fd = dial(w->socket);
    assert_true(
        say(fd, SLICE_LIT("GET " ALPHA "/events?follow=1&where=record_id+%3E+100000 HTTP/1.1\r\nHost: x\r\n\r\n")));
    while (!strstr(buf_cstr(&rest), "\r\n\r\n"))
        assert_true(hear(fd, &rest)); /* the head comes though there is no event yet */
    expect(post(w->socket, "/api/v1/hosts/beta/import", BATCHES, buf_slice(&other)), 200, "\"stored\":3");
    expect(post(w->socket, ALPHA "/import", BATCHES, buf_slice(&more)), 200, "\"stored\":3");
    while (!strstr(buf_cstr(&rest), "\"record_id\":500002,")) assert_true(hear(fd, &rest));
    assert_null(strstr(buf_cstr(&rest), "600000"));
    close(fd);
    buf_free(&rest);
    buf_free(&more);
    buf_free(&other);
}

static void test_revoke(void **state) {
    struct world *w = *state;
    expect(post(w->socket, "/api/v1/hosts/alpha/revoke", "application/json", SLICE_LIT("{\"reason\":\"stolen\"}")), 200,
           "{}");
    expect(get(w->socket, ALPHA), 200, "\"state\":\"revoked\",\"state_reason\":\"stolen\"");
}

/* The collector ends while answers and imports are under way. */
static void test_stop(void **state) {
    struct world *w = *state;
    struct buf all = frames(700000, 5000);
    int fd[12];
    for (int i = 0; i < 12; i++) {
        fd[i] = dial(w->socket);
        if (i % 3 == 0) {
            assert_true(say(fd[i], SLICE_LIT("GET /api/v1/hosts/beta/events HTTP/1.1\r\nHost: x\r\n\r\n")));
        } else if (i % 3 == 1) {
            assert_true(
                say(fd[i], SLICE_LIT("POST /api/v1/hosts/beta/import HTTP/1.1\r\nHost: x\r\nContent-Type: " BATCHES
                                     "\r\nContent-Length: 99999999\r\n\r\n")));
            assert_true(say(fd[i], buf_slice(&all)));
        } else {
            assert_true(say(
                fd[i],
                SLICE_LIT("GET /api/v1/hosts/beta/events?follow=1&limit=99999999&id=1 HTTP/1.1\r\nHost: x\r\n\r\n")));
        }
    }
    world_close(w);
    for (int i = 0; i < 12; i++) close(fd[i]);
    buf_free(&all);
    world_open(w);
    expect(get(w->socket, "/api/v1/hosts"), 200, "beta");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_socket),         cmocka_unit_test(test_import),
                                       cmocka_unit_test(test_import_chunked), cmocka_unit_test(test_gone_importer),
                                       cmocka_unit_test(test_gets),           cmocka_unit_test(test_posts),
                                       cmocka_unit_test(test_refusals),       cmocka_unit_test(test_keep_alive),
                                       cmocka_unit_test(test_timeouts),       cmocka_unit_test(test_stream),
                                       cmocka_unit_test(test_stalled),        cmocka_unit_test(test_follow),
                                       cmocka_unit_test(test_revoke),         cmocka_unit_test(test_stop)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
