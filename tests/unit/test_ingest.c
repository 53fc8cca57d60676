/* server/ingest.c, placer.c and the writer together, on a real store: what is kept, in which epoch, and what is set
 * aside. Each case sends batches in rounds; all batches of a round are under way at once, so that they may meet in one
 * transaction. */
// links: server rules storage proto base
#include "batch.h"
#include "clock.h"
#include "db.h"
#include "file.h"
#include "ingest.h"
#include "log.h"
#include "mem.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define T0 UINT64_C(133000000000000000)
#define HOST 7

struct row { /* n events from id on, one a second from second `at`; the tag is their content */
    uint64_t id;
    unsigned n, at;
    char tag;
};

struct send {
    unsigned round;
    uint32_t epoch;
    struct row rows[3];
    int digits; /* of the rendered time; 0: 7 */
};

struct fixture {
    char dir[SCRATCH_MAX];
    struct db *db;
    struct stats *stats;
    struct ingest *in;
    uv_loop_t loop;
    struct ingest_door *door;
    unsigned n_answers;
    uint64_t order[32];
    enum status st[32];
    char reason[200];
    char notices[512];
    size_t queue_bytes;
};

static void on_notice(void *ctx, uint32_t host, const char *action, const char *object, const char *detail) {
    struct fixture *f = ctx;
    (void)detail;
    assert_int_equal(host, HOST);
    size_t len = strlen(f->notices);
    snprintf(f->notices + len, sizeof f->notices - len, "%s %s;", action, object);
}

static void open_all(struct fixture *f) {
    struct error err = {0};
    struct db_options d = {.map_bytes = 64 * 1024 * 1024, .min_free_bytes = 1};
    if (db_open(f->dir, &d, &f->db, &err)) fail_msg("%s", err.msg);
    f->stats = stats_new();
    struct ingest_options o = {.db = f->db,
                               .stats = f->stats,
                               .spacing_ms = 1,
                               .queue_bytes = f->queue_bytes,
                               .quarantine_bytes = 100000,
                               .quarantine_files = 2,
                               .notice = on_notice,
                               .notice_ctx = f};
    if (ingest_start(&o, &f->in, &err)) fail_msg("%s", err.msg);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(ingest_door_open(f->in, &f->loop, NULL, NULL, &f->door, &err), ST_OK);
}

static void close_all(struct fixture *f) {
    ingest_door_quiet(f->door);
    ingest_stop(f->in);
    ingest_door_drain(f->door);
    ingest_door_close(f->door, NULL, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    ingest_free(&f->in);
    db_close(&f->db);
    stats_free(&f->stats);
}

static void begin(struct fixture *f) {
    memset(f, 0, sizeof *f);
    assert_true(scratch_make(f->dir, "ingest"));
    open_all(f);
}

static void end(struct fixture *f) {
    close_all(f);
    assert_int_equal(scratch_remove(f->dir), 0);
}

static void add_event(struct batch_builder *b, uint64_t id, uint64_t time, char tag, int digits, uint32_t epoch) {
    char text[2] = {tag, 0};
    struct event_data data = {.name = SLICE_LIT("Image"), .value = slice_str(text)};
    uint64_t tick = digits == 3 ? 10000 : 1;
    struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                       .event_id = {.v = 11, .present = true},
                       .record_id = {.v = id, .present = true},
                       .time = time - time % tick,
                       .time_digits = digits,
                       .channel = SLICE_LIT("C"),
                       .computer = SLICE_LIT("PC"),
                       .body = EVENT_BODY_DATA,
                       .data = &data,
                       .n_data = 1};
    assert_int_equal(batch_add(b, &ev, epoch == EPOCH_CONTENT ? event_content_hash(&ev) : id), ST_OK);
}

static struct buf make_body(const struct send *s) {
    struct batch_builder *b = batch_builder_new(0);
    struct buf block = {0}, body = {0};
    uint32_t header_len;
    batch_begin(b, SLICE_LIT("C"), SLICE_LIT(""), s->epoch);
    for (int r = 0; r < 3 && s->rows[r].n; r++) {
        for (unsigned i = 0; i < s->rows[r].n; i++) {
            uint64_t id = s->rows[r].id + i;
            add_event(b, id, T0 + (s->rows[r].at + i) * FILETIME_SECOND + 1234567, s->rows[r].tag,
                      s->digits ? s->digits : 7, s->epoch);
        }
    }
    assert_int_equal(batch_finish(b, &block, &header_len), ST_OK);
    buf_u32le(&body, header_len);
    buf_slice_append(&body, buf_slice(&block));
    buf_free(&block);
    batch_builder_free(&b);
    return body;
}

static void on_done(void *owner, const struct ingest_result *r) {
    struct fixture *f = owner;
    assert_true(f->n_answers < 32);
    f->st[f->n_answers] = r->st;
    f->order[f->n_answers++] = r->number;
    if (r->st) snprintf(f->reason, sizeof f->reason, "%s", r->reason);
}

static void put(struct fixture *f, struct buf *body, uint64_t number) {
    ingest_put(f->door, HOST, body, number, on_done, f);
    assert_null(body->p);
}

static void wait_answers(struct fixture *f, unsigned n) {
    while (f->n_answers < n) uv_run(&f->loop, UV_RUN_ONCE);
}

/* Everything that counts in the store, as "epoch:id tag ..." by epoch and id, runs of ids with one tag shortened. */
static int cmp_text(const void *a, const void *b) {
    return strcmp(a, b);
}

static void dump_block(struct fixture *f, const struct db_block *at, const struct db_stream *streams, size_t n_streams,
                       struct batch_reader *r, char (*rows)[40], size_t *n_rows) {
    struct buf bytes = {0};
    struct db_keep *keep = NULL, all;
    size_t n_keep = 0;
    struct arena a;
    struct batch_header h;
    struct batch_columns c;
    struct slice payload;
    struct event ev;
    uint32_t epoch = 0;
    arena_init(&a, EVENT_ARENA_CAP);
    assert_int_equal(db_read_block(f->db, at, &bytes, &keep, &n_keep, NULL), ST_OK);
    assert_int_equal(batch_header_parse(slice_head(buf_slice(&bytes), at->header_len), &a, &h, NULL), ST_OK);
    struct slice body = slice_from(buf_slice(&bytes), at->header_len);
    assert_int_equal(batch_open_columns(r, &h, body, &c, NULL), ST_OK);
    assert_int_equal(batch_open_payload(r, &h, body, &payload, NULL), ST_OK);
    all = (struct db_keep){0, c.n};
    for (size_t i = 0; i < n_streams; i++) {
        if (streams[i].id == at->stream) epoch = streams[i].epoch;
    }
    for (size_t k = 0; k < (n_keep ? n_keep : 1); k++) {
        struct db_keep part = n_keep ? keep[k] : all;
        for (uint32_t i = part.first; i < part.first + part.n; i++) {
            assert_int_equal(event_decode(slice_of(payload.p + c.payload_at[i], c.payload_len[i]), &a, &ev), ST_OK);
            snprintf(rows[(*n_rows)++], 40, "%010u:%06u%c", epoch, (unsigned)ev.record_id.v, ev.data[0].value.p[0]);
            assert_true(*n_rows < 2000);
        }
    }
    mem_free(keep);
    buf_free(&bytes);
    arena_deinit(&a);
}

static void dump(struct fixture *f, char *out, size_t len) {
    static char rows[2000][40];
    size_t n_rows = 0, n = 0, n_streams = 0, at = 0;
    struct db_block *blocks = NULL;
    struct db_stream *streams = NULL;
    uint64_t next;
    struct batch_reader *r = batch_reader_new();
    assert_int_equal(db_streams(f->db, HOST, &streams, &n_streams, NULL), ST_OK);
    enum status st = db_blocks_from(f->db, 1, 1000, &blocks, &n, &next, NULL);
    assert_true(st == ST_OK || st == ST_END);
    for (size_t i = 0; i < n; i++) dump_block(f, &blocks[i], streams, n_streams, r, rows, &n_rows);
    qsort(rows, n_rows, sizeof rows[0], cmp_text);
    out[0] = 0;
    for (size_t i = 0; i < n_rows;) {
        unsigned epoch, id, id2, e2;
        char tag, tag2;
        size_t k = i + 1;
        assert_int_equal(sscanf(rows[i], "%u:%u%c", &epoch, &id, &tag), 3);
        while (k < n_rows && sscanf(rows[k], "%u:%u%c", &e2, &id2, &tag2) == 3 && e2 == epoch && tag2 == tag &&
               id2 == id + (k - i))
            k++;
        at += (size_t)snprintf(out + at, len - at, "%s%u:%u-%u%c", at ? " " : "", epoch, id,
                               (unsigned)(id + (k - i) - 1), tag);
        i = k;
    }
    uint64_t held = 0; /* the ledger says the same as the scan */
    for (size_t i = 0; i < n_streams; i++) held += ledger_count(streams[i].ledger);
    assert_int_equal(held, n_rows);
    db_streams_free(streams, n_streams);
    mem_free(blocks);
    batch_reader_free(&r);
}

struct ingest_case {
    const char *name;
    struct send sends[6];
    const char *want;
    unsigned duplicates;
    const char *notices;
};

static const struct ingest_case cases[] = {
    {"one batch", {{1, 1, {{1, 10, 0, 'a'}}, 0}}, "1:1-10a", 0, ""},
    {"resent after the commit", {{1, 1, {{1, 10, 0, 'a'}}, 0}, {2, 1, {{1, 10, 0, 'a'}}, 0}}, "1:1-10a", 10, ""},
    {"resent in the same transaction", {{1, 1, {{1, 10, 0, 'a'}}, 0}, {1, 1, {{1, 10, 0, 'a'}}, 0}}, "1:1-10a", 10, ""},
    {"overlapping, cut elsewhere",
     {{1, 1, {{1, 10, 0, 'a'}}, 0}, {1, 1, {{5, 10, 4, 'a'}}, 0}, {2, EPOCH_FIND, {{1, 20, 0, 'a'}}, 0}},
     "1:1-20a",
     20,
     ""},
    {"an import in between closes the hole",
     {{1, 1, {{1, 5, 0, 'a'}}, 0}, {2, 1, {{11, 5, 10, 'a'}}, 0}, {3, EPOCH_FIND, {{3, 10, 2, 'a'}}, 0}},
     "1:1-15a",
     5,
     ""},
    {"another rendering, milliseconds only",
     {{1, 1, {{1, 10, 0, 'a'}}, 0}, {2, EPOCH_FIND, {{1, 12, 0, 'a'}}, 3}},
     "1:1-12a",
     10,
     ""},
    {"the coarse rendering first",
     {{1, EPOCH_FIND, {{1, 10, 0, 'a'}}, 3}, {2, 1, {{1, 12, 0, 'a'}}, 0}},
     "1:1-12a",
     10,
     ""},
    {"two events claim one place",
     {{1, 1, {{1, 10, 0, 'a'}}, 0}, {2, 1, {{4, 2, 3, 'b'}}, 0}},
     "1:1-10a 2:4-5b",
     0,
     "log.epoch C;log.conflict C;"},
    {"rolled back, and the agent did not notice",
     {{1, 1, {{1, 100, 0, 'a'}}, 0}, {2, 1, {{41, 10, 40, 'a'}, {51, 60, 9000, 'b'}}, 0}},
     "1:1-100a 2:51-110b",
     10,
     "log.epoch C;log.conflict C;"},
    {"rolled back, state lost",
     {{1, 1, {{1, 100, 0, 'a'}}, 0},
      {2, EPOCH_FIND, {{1, 50, 0, 'a'}, {51, 60, 9000, 'b'}}, 0},
      {3, EPOCH_FIND, {{111, 5, 9060, 'b'}}, 0}},
     "1:1-100a 2:51-115b",
     50,
     "log.epoch C;"},
    {"rolled back, claimed as the next, and sent twice",
     {{1, 1, {{1, 100, 0, 'a'}}, 0},
      {2, 2, {{1, 50, 0, 'a'}, {51, 60, 9000, 'b'}}, 0},
      {3, 2, {{1, 50, 0, 'a'}, {51, 60, 9000, 'b'}}, 0}},
     "1:1-100a 2:51-110b",
     160,
     "log.epoch C;"},
    {"re-imaged, then the old file is imported",
     {{1, 1, {{1, 50, 0, 'a'}}, 0},
      {2, 2, {{1, 20, 9000, 'b'}}, 0},
      {3, EPOCH_FIND, {{1, 60, 0, 'a'}}, 0},
      {4, EPOCH_FIND, {{15, 10, 9014, 'b'}}, 0}},
     "1:1-60a 2:1-24b",
     56,
     "log.epoch C;"},
    {"one event twice in one batch", {{1, 1, {{1, 10, 0, 'a'}, {4, 3, 3, 'a'}}, 0}}, "1:1-10a", 3, ""},
    {"by content",
     {{1, EPOCH_CONTENT, {{1, 5, 0, 'a'}}, 0}, {2, EPOCH_CONTENT, {{3, 5, 2, 'a'}}, 0}},
     "4294967295:1-7a",
     3,
     ""},
    {"four ways in one transaction",
     {{1, 1, {{1, 10, 0, 'a'}}, 0},
      {1, EPOCH_FIND, {{6, 10, 5, 'a'}}, 3},
      {1, 1, {{11, 10, 10, 'a'}}, 0},
      {1, 1, {{1, 20, 0, 'a'}}, 0}},
     "1:1-20a",
     30,
     ""},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct ingest_case *t = &cases[i];
        struct fixture f;
        char got[500];
        unsigned sent = 0;
        begin(&f);
        for (unsigned round = 1; round < 6; round++) {
            for (int s = 0; s < 6 && t->sends[s].round; s++) {
                if (t->sends[s].round != round) continue;
                struct buf body = make_body(&t->sends[s]);
                put(&f, &body, ++sent);
            }
            wait_answers(&f, sent);
        }
        dump(&f, got, sizeof got);
        struct writer_state w;
        writer_get_state(ingest_writer(f.in), &w);
        bool right = strcmp(got, t->want) == 0 && stats_get(f.stats, STATS_events_duplicate) == t->duplicates &&
                     strcmp(f.notices, t->notices) == 0;
        if (!right) {
            print_error("case \"%s\": %s, %u duplicates, notices \"%s\"\n", t->name, got,
                        (unsigned)stats_get(f.stats, STATS_events_duplicate), f.notices);
        }
        assert_true(right);
        for (unsigned a = 0; a < sent; a++) {
            assert_int_equal(f.st[a], ST_OK);
            assert_int_equal(f.order[a], a + 1);
        }
        end(&f);
    }
}

static enum status count_file(void *ctx, const char *name) {
    if (strstr(name, ".batch")) ++*(unsigned *)ctx;
    return ST_OK;
}

/* Lies: each is rejected and kept, up to the quarantine's limit; the good one beside them is stored. */
static void test_lies(void **state) {
    (void)state;
    struct fixture f;
    struct send good = {1, 1, {{1, 10, 0, 'a'}}, 0};
    char got[200];
    unsigned files = 0;
    begin(&f);
    struct buf flipped = make_body(&good);
    flipped.p[flipped.len - 1] ^= 1;
    put(&f, &flipped, 1);
    struct buf cut = make_body(&good);
    cut.len = 30;
    put(&f, &cut, 2);
    struct buf ok = make_body(&good);
    put(&f, &ok, 3);
    struct buf none = {0};
    put(&f, &none, 4);
    wait_answers(&f, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(f.st[i] == ST_OK, f.order[i] == 3);
    dump(&f, got, sizeof got);
    assert_string_equal(got, "1:1-10a");
    char *dir = file_join(f.dir, "quarantine");
    assert_int_equal(file_list_dir(dir, count_file, &files, NULL), ST_OK);
    mem_free(dir);
    assert_int_equal(files, 2);
    assert_int_equal(stats_get(f.stats, STATS_batches_rejected), 3);
    assert_int_equal(stats_get(f.stats, STATS_quarantine_dropped), 1);
    end(&f);
}

/* What is under way when the collector stops is committed, and everything is answered. */
static void test_stop(void **state) {
    (void)state;
    struct fixture f;
    char got[200];
    begin(&f);
    for (unsigned i = 0; i < 10; i++) {
        struct buf body = make_body(&(struct send){1, 1, {{1 + 10 * i, 10, 10 * i, 'a'}}, 0});
        put(&f, &body, i + 1);
    }
    ingest_door_quiet(f.door);
    ingest_stop(f.in);
    struct buf late = make_body(&(struct send){1, 1, {{500, 10, 500, 'a'}}, 0});
    put(&f, &late, 11);
    ingest_door_drain(f.door);
    assert_int_equal(f.n_answers, 11);
    assert_int_equal(f.st[10], ST_CANCELLED);
    ingest_door_close(f.door, NULL, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    uv_loop_close(&f.loop);
    ingest_free(&f.in);
    db_close(&f.db);
    stats_free(&f.stats);
    open_all(&f);
    dump(&f, got, sizeof got);
    assert_string_equal(got, "1:1-100a");
    end(&f);
}

static enum status hold_writer(void *arg, struct writer *w, struct error *err) {
    (void)w;
    (void)err;
    uv_sem_wait(arg);
    return ST_OK;
}

static void on_called(void *arg, enum status st, const struct error *err) {
    (void)arg;
    (void)err;
    assert_int_equal(st, ST_OK);
}

/* A full queue is not an error: batches wait at the door, which says so. */
static void test_pressure(void **state) {
    (void)state;
    struct fixture f;
    char got[200];
    uv_sem_t go;
    begin(&f);
    close_all(&f);
    f.queue_bytes = 2000;
    open_all(&f);
    assert_int_equal(uv_sem_init(&go, 0), 0);
    ingest_call(f.door, hold_writer, on_called, &go);
    struct send one = {1, 1, {{1, 60, 0, 'a'}}, 0};
    for (unsigned i = 0; i < 30; i++) {
        one.rows[0].id = 1 + 60 * (uint64_t)i;
        one.rows[0].at = 60 * i;
        struct buf body = make_body(&one);
        put(&f, &body, i + 1);
    }
    assert_false(ingest_can_take(f.door));
    assert_int_equal(ingest_door_in_flight(f.door), 31);
    uv_sem_post(&go);
    wait_answers(&f, 30);
    for (unsigned i = 0; i < 30; i++) assert_int_equal(f.order[i], i + 1);
    assert_true(ingest_can_take(f.door));
    dump(&f, got, sizeof got);
    assert_string_equal(got, "1:1-1800a");
    uv_sem_destroy(&go);
    end(&f);
}

static void drop_line(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    (void)line;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_pressure),
    };
    log_redirect(drop_line, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
