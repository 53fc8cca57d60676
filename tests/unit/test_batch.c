/* batch.c, batch_build.c, batch_read.c: blocks come back as they were built, every limit holds, every lie is found. */
#include "batch_internal.h"
#include "mem.h"
#include "msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <zstd.h>
#include <cmocka.h>

#define T0 UINT64_C(134087616000000000)
#define N_MADE 5

/* ---- made events: two runs of record ids, three GUIDs, times that go back ---- */

static const struct made {
    uint64_t record_id, time, event_id;
    const char *guids[2];
} made[N_MADE] = {
    {10, T0, 1, {"{0000000c-0000-0000-0000-000000000000}", "{0000000a-0000-0000-0000-000000000000}"}},
    {11, T0 + 10, 10, {"{0000000a-0000-0000-0000-000000000000}", "{0000000b-0000-0000-0000-000000000000}"}},
    {12, T0 + 5, 4, {NULL, NULL}},
    {300, T0 + 70, 22, {"{0000000b-0000-0000-0000-000000000000}", NULL}},
    {301, T0 + 60, 255, {NULL, NULL}},
};

static struct event event_of(const struct made *m, struct event_data data[3]) {
    struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                       .event_id = {m->event_id, true, {NULL, 0}},
                       .record_id = {m->record_id, true, {NULL, 0}},
                       .time = m->time,
                       .time_digits = 7,
                       .channel = SLICE_LIT("Microsoft-Windows-Sysmon/Operational"),
                       .body = EVENT_BODY_DATA,
                       .data = data};
    static const char *const names[] = {"ProcessGuid", "ParentProcessGuid"};
    for (size_t i = 0; i < 2 && m->guids[i]; i++) {
        data[ev.n_data++] = (struct event_data){slice_str(names[i]), slice_str(m->guids[i]), EVENT_DATA};
    }
    data[ev.n_data++] = (struct event_data){SLICE_LIT("Image"), SLICE_LIT("C:\\x.exe"), EVENT_DATA};
    return ev;
}

static void add_made(struct batch_builder *b, const struct made *m) {
    struct event_data data[3];
    struct event ev = event_of(m, data);
    assert_int_equal(batch_add(b, &ev, m->record_id), ST_OK);
}

static struct buf build_made(uint32_t *ret_header_len) {
    struct batch_builder *b = batch_builder_new(0);
    struct buf out = {0};
    batch_begin(b, SLICE_LIT("log"), SLICE_LIT("pc"), 7);
    for (size_t i = 0; i < N_MADE; i++) add_made(b, &made[i]);
    assert_int_equal(batch_count(b), N_MADE);
    assert_int_equal(batch_finish(b, &out, ret_header_len), ST_OK);
    assert_int_equal(batch_count(b), 0);
    batch_builder_free(&b);
    return out;
}

/* Everything that a collector does with a block. Touches all that it hands out. */
static enum status open_all(struct slice block, size_t header_len, bool check, struct error *err) {
    struct batch_reader *r = batch_reader_new();
    struct arena a, ea;
    struct batch_header h;
    struct batch_columns c;
    struct slice payload, header = slice_head(block, header_len), body = slice_from(block, header_len);
    arena_init(&a, 1 << 20);
    arena_init(&ea, EVENT_ARENA_CAP);
    enum status st = batch_header_parse(header, &a, &h, err);
    if (!st && check) st = batch_check(&h, header, body, err);
    if (!st) st = batch_open_columns(r, &h, body, &c, err);
    if (!st) st = batch_open_payload(r, &h, body, &payload, err);
    for (uint32_t i = 0; !st && i < c.n; i++) {
        struct event ev;
        assert_true(c.time[i] >= h.min_time && c.time[i] <= h.max_time);
        for (size_t g = 0; g < c.n_guids[i]; g++) assert_true(c.guid[i][g] < h.guids.len / GUID_LEN);
        assert_true((size_t)c.payload_at[i] + c.payload_len[i] <= payload.len);
        arena_reset(&ea);
        (void)!event_decode(slice_of(payload.p + c.payload_at[i], c.payload_len[i]), &ea, &ev);
    }
    batch_reader_free(&r);
    arena_deinit(&a);
    arena_deinit(&ea);
    return st;
}

static void test_round_trip(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf block = build_made(&header_len);
    struct slice header = slice_head(buf_slice(&block), header_len), body = slice_from(buf_slice(&block), header_len);
    struct batch_reader *r = batch_reader_new();
    struct arena a;
    struct batch_header h;
    struct batch_columns c;
    struct slice payload;
    struct error err = {0};
    arena_init(&a, 1 << 20);
    assert_int_equal(batch_header_parse(header, &a, &h, &err), ST_OK);
    assert_int_equal(batch_check(&h, header, body, &err), ST_OK);
    assert_true(slice_eq_str(h.channel, "log") && slice_eq_str(h.computer, "pc"));
    assert_int_equal(h.epoch, 7);
    assert_int_equal(h.n_events, N_MADE);
    assert_int_equal(h.n_runs, 2);
    assert_true(h.runs[0].first_id == 10 && h.runs[0].n == 3 && h.runs[1].first_id == 300 && h.runs[1].n == 2);
    assert_true(h.runs[0].first_time == T0 && h.runs[0].last_time == T0 + 5);
    assert_true(h.runs[1].first_time == T0 + 70 && h.runs[1].last_time == T0 + 60);
    assert_true(h.min_time == T0 && h.max_time == T0 + 70);
    assert_int_equal(h.guids.len, 3 * GUID_LEN);
    /* the payload alone, then with the columns open, is the same */
    assert_int_equal(batch_open_payload(r, &h, body, &payload, &err), ST_OK);
    struct buf alone = {0};
    buf_slice_append(&alone, payload);
    assert_int_equal(batch_open_columns(r, &h, body, &c, &err), ST_OK);
    assert_int_equal(batch_open_payload(r, &h, body, &payload, &err), ST_OK);
    assert_true(slice_eq(payload, buf_slice(&alone)));
    buf_free(&alone);
    for (uint32_t i = 0; i < N_MADE; i++) {
        struct event ev;
        arena_reset(&a);
        assert_true(c.record_id[i] == made[i].record_id && c.time[i] == made[i].time);
        assert_int_equal(c.event_id[i], made[i].event_id);
        assert_int_equal(event_decode(slice_of(payload.p + c.payload_at[i], c.payload_len[i]), &a, &ev), ST_OK);
        assert_true(ev.record_id.present && ev.record_id.v == made[i].record_id && ev.time == made[i].time);
        size_t n = 0;
        for (; n < 2 && made[i].guids[n]; n++) {
            struct guid g;
            assert_int_equal(guid_parse(slice_str(made[i].guids[n]), &g), ST_OK);
            assert_memory_equal(h.guids.p + (size_t)c.guid[i][n] * GUID_LEN, g.b, GUID_LEN);
        }
        assert_int_equal(c.n_guids[i], n);
    }
    arena_deinit(&a);
    batch_reader_free(&r);
    buf_free(&block);
}

/* What the columns hold is put back only where it was: no record id, another one, no time, a text beside it. */
static void test_odd_events(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool present;
        uint64_t in_event, given, time;
        uint32_t epoch;
    } cases[] = {
        {"content hash", false, 0, UINT64_C(0xfedcba9876543210), T0, EPOCH_CONTENT},
        {"content hash 0", false, 0, 0, T0, EPOCH_CONTENT},
        {"id 0", true, 0, 0, T0, EPOCH_FIND},
        {"largest id", true, UINT64_MAX, UINT64_MAX, T0, EPOCH_FIND},
        {"another id than the column's", true, 5, 6, T0, EPOCH_FIND},
        {"id 0 against column 6", true, 0, 6, T0, EPOCH_FIND},
        {"no time", true, 5, 5, 0, EPOCH_FIND},
        {"nothing", false, 0, 0, 0, EPOCH_CONTENT},
        {"latest time", true, 5, 5, UINT64_MAX, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct event_data data[3];
        struct event ev = event_of(&made[0], data), got;
        ev.record_id.present = cases[i].present;
        ev.record_id.v = cases[i].in_event;
        ev.time = cases[i].time;
        struct batch_builder *b = batch_builder_new(0);
        struct batch_reader *r = batch_reader_new();
        struct buf block = {0};
        uint32_t header_len;
        struct batch_header h;
        struct batch_columns c;
        struct slice payload;
        struct arena a;
        struct error err = {0};
        arena_init(&a, 1 << 20);
        batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, cases[i].epoch);
        assert_int_equal(batch_add(b, &ev, cases[i].given), ST_OK);
        assert_int_equal(batch_finish(b, &block, &header_len), ST_OK);
        struct slice body = slice_from(buf_slice(&block), header_len);
        if (batch_header_parse(slice_head(buf_slice(&block), header_len), &a, &h, &err) ||
            batch_open_columns(r, &h, body, &c, &err) || batch_open_payload(r, &h, body, &payload, &err) ||
            event_decode(payload, &a, &got)) {
            fail_msg("%s: %s", cases[i].name, err.msg);
        }
        if (c.record_id[0] != cases[i].given || c.time[0] != cases[i].time || got.time != cases[i].time ||
            got.record_id.present != cases[i].present || (got.record_id.present && got.record_id.v != cases[i].in_event)) {
            fail_msg("%s: not as it was", cases[i].name);
        }
        arena_deinit(&a);
        buf_free(&block);
        batch_builder_free(&b);
        batch_reader_free(&r);
    }
}

/* ---- limits of the builder ---- */

static void test_builder_limits(void **state) {
    (void)state;
    struct batch_builder *b = batch_builder_new(0), *other = batch_builder_new_beside(b);
    struct event_data data[3];
    struct event ev = event_of(&made[2], data);
    struct buf out = {0}, name = {0};
    struct error err = {0};
    uint32_t header_len;
    assert_int_equal(batch_finish(b, &out, &header_len), ST_INVALID);

    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    for (uint64_t i = 0; i < BATCH_MAX_EVENTS; i++) assert_int_equal(batch_add(b, &ev, i), ST_OK);
    assert_int_equal(batch_add(b, &ev, BATCH_MAX_EVENTS), ST_TOOBIG);
    assert_int_equal(batch_count(b), BATCH_MAX_EVENTS);
    assert_int_equal(batch_finish(b, &out, &header_len), ST_OK);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);

    /* every record id a run of its own: the header's limit comes first */
    batch_begin(other, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_CONTENT);
    uint64_t id = 1, n = 0;
    while (batch_add(other, &ev, id) == ST_OK) {
        id = id * UINT64_C(6364136223846793005) + 1442695040888963407u;
        n++;
    }
    assert_true(n > 3000 && n == batch_count(other));
    buf_clear(&out);
    assert_int_equal(batch_finish(other, &out, &header_len), ST_OK);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);

    /* distinct GUIDs */
    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    for (n = 0;; n++) {
        char g[2][GUID_TEXT_MAX];
        for (unsigned k = 0; k < 2; k++) {
            snprintf(g[k], sizeof g[k], "{%08x-0000-0000-0000-%012x}", (unsigned)(n * 2654435761u), k + 1);
        }
        struct made m = {n, T0 + n, 1, {g[0], g[1]}};
        struct event_data d[3];
        struct event e = event_of(&m, d);
        if (batch_add(b, &e, n) != ST_OK) break;
    }
    assert_true(n > 4000 && n < BATCH_MAX_EVENTS);
    buf_clear(&out);
    assert_int_equal(batch_finish(b, &out, &header_len), ST_OK);
    assert_true(header_len <= BATCH_MAX_HEADER);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);

    /* payload that does not compress */
    static uint8_t noise[400 * 1024];
    uint64_t x = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        noise[i] = (uint8_t)(x >> 56);
    }
    data[0].value = slice_of(noise, sizeof noise);
    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    for (n = 0; batch_add(b, &ev, n) == ST_OK; n++) noise[n]++;
    assert_true(n >= 8 && batch_raw_len(b) <= BATCH_MAX_BYTES);
    buf_clear(&out);
    assert_int_equal(batch_finish(b, &out, &header_len), ST_OK);
    assert_true(out.len <= BATCH_MAX_BYTES);
    assert_int_equal(open_all(buf_slice(&out), header_len, true, &err), ST_OK);
    data[0].value = SLICE_LIT("x");

    /* an event that is too large alone leaves the batch as it was */
    struct event_data two[2] = {{SLICE_LIT("A"), slice_of(noise, sizeof noise), EVENT_DATA},
                                {SLICE_LIT("B"), slice_of(noise, sizeof noise), EVENT_DATA}};
    struct event huge = ev;
    huge.data = two;
    huge.n_data = 2;
    batch_begin(b, SLICE_LIT("log"), (struct slice){NULL, 0}, EPOCH_FIND);
    assert_int_equal(batch_add(b, &huge, 1), ST_TOOBIG);
    assert_int_equal(batch_count(b), 0);
    assert_int_equal(batch_raw_len(b), 0);

    /* names */
    for (size_t i = 0; i < BATCH_MAX_NAME; i++) buf_byte(&name, 'x');
    batch_begin(b, buf_slice(&name), buf_slice(&name), EPOCH_FIND);
    assert_int_equal(batch_add(b, &ev, 1), ST_OK);
    buf_byte(&name, 'x');
    batch_begin(b, buf_slice(&name), (struct slice){NULL, 0}, EPOCH_FIND);
    assert_int_equal(batch_add(b, &ev, 1), ST_TOOBIG);
    batch_begin(b, (struct slice){NULL, 0}, (struct slice){NULL, 0}, EPOCH_FIND);
    assert_int_equal(batch_add(b, &ev, 1), ST_TOOBIG);

    buf_free(&out);
    buf_free(&name);
    batch_builder_free(&b);
    batch_builder_free(&other);
    assert_null(b);
}

/* ---- lies ---- */

static void redigest(struct buf *block, size_t header_len) {
    size_t before = header_len - BATCH_DIGEST_FIELD_LEN;
    batch_digest(slice_head(buf_slice(block), before), slice_from(buf_slice(block), header_len), block->p + before + 2);
}

static void test_every_byte_flipped(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf block = build_made(&header_len);
    for (size_t i = 0; i < block.len * 8; i++) {
        struct error err = {0};
        uint8_t bit = (uint8_t)(1u << (i & 7));
        block.p[i >> 3] ^= bit;
        enum status st = open_all(buf_slice(&block), header_len, true, &err);
        if (!st || !err.msg[0]) fail_msg("bit %zu: %s, \"%s\"", i, status_name(st), err.msg);
        /* a peer that means it: no crash, nothing out of bounds (asserted in open_all) */
        if (i >> 3 < header_len - BATCH_DIGEST_FIELD_LEN || i >> 3 >= header_len) {
            struct buf lie = {0};
            buf_slice_append(&lie, buf_slice(&block));
            redigest(&lie, header_len);
            (void)!open_all(buf_slice(&lie), header_len, true, &err);
            buf_free(&lie);
        }
        block.p[i >> 3] ^= bit;
    }
    for (size_t cut = 0; cut < block.len; cut++) {
        struct error err = {0};
        assert_int_not_equal(open_all(slice_head(buf_slice(&block), cut), header_len < cut ? header_len : cut, true, &err),
                             ST_OK);
    }
    buf_free(&block);
}

/* A block in pieces that a case may bend; lengths and digest are made right again afterwards. */
struct parts {
    Haechi__BatchHeader *h;
    struct {
        int64_t run[2][3]; /* first id's difference, n, first time's difference */
        int64_t last_time[2];
        int64_t time[3];
        uint64_t event_id[N_MADE], n_guids[N_MADE], guid[5], len[N_MADE];
    } v;
    struct buf extra_columns; /* behind the columns */
    bool keep_lengths;        /* the case has set them */
    bool no_size;             /* zstd frames without content size */
    struct buf junk;          /* behind the payload's frame */
};

static void put_columns(const struct parts *p, struct buf *out) {
    for (size_t i = 0; i < 3; i++) buf_zigzag(out, p->v.time[i]);
    for (size_t i = 0; i < N_MADE; i++) buf_varint(out, p->v.event_id[i]);
    for (size_t i = 0; i < N_MADE; i++) buf_varint(out, p->v.n_guids[i]);
    for (size_t i = 0; i < 5; i++) buf_varint(out, p->v.guid[i]);
    for (size_t i = 0; i < N_MADE; i++) buf_varint(out, p->v.len[i]);
    buf_slice_append(out, buf_slice(&p->extra_columns));
}

static void put_runs(const struct parts *p, struct buf *out) {
    for (size_t k = 0; k < 2; k++) {
        buf_zigzag(out, p->v.run[k][0]);
        buf_varint(out, (uint64_t)p->v.run[k][1]);
        buf_zigzag(out, p->v.run[k][2]);
        if ((uint64_t)p->v.run[k][1] > 1) buf_zigzag(out, p->v.last_time[k]);
    }
}

static void zstd(struct slice raw, bool no_size, struct buf *out) {
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t bound = ZSTD_compressBound(raw.len);
    buf_reserve(out, bound);
    if (no_size) ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
    out->len += ZSTD_compress2(c, out->p + out->len, bound, raw.p, raw.len);
    ZSTD_freeCCtx(c);
}

static struct buf unzstd(struct slice frame, size_t raw_len) {
    struct buf out = {0};
    buf_reserve(&out, raw_len);
    out.len = ZSTD_decompress(out.p, raw_len, frame.p, frame.len);
    assert_int_equal(out.len, raw_len);
    return out;
}

static const int64_t good_runs[2][3] = {{10, 3, 0}, {300 - 13, 2, 70 - 5}};

static void none(struct parts *p) { (void)p; }
static void more_events(struct parts *p) { p->h->n_events++; }
static void no_events(struct parts *p) { p->h->n_events = 0; }
static void too_many_events(struct parts *p) { p->h->n_events = BATCH_MAX_EVENTS + 1; }
static void no_channel(struct parts *p) { p->h->channel.len = 0; }
static void unknown_dict(struct parts *p) { p->h->dict_id = 999; }
static void earlier_min(struct parts *p) { p->h->min_time--; p->h->time_span++; p->v.run[0][2]++; }
static void later_max(struct parts *p) { p->h->time_span++; }
static void span_overflow(struct parts *p) { p->h->time_span = UINT64_MAX; }
static void run_before_min(struct parts *p) { p->v.run[0][2] = -1; }
static void run_longer(struct parts *p) { p->v.run[1][1] = 3; }
static void run_shorter(struct parts *p) { p->v.run[1][1] = 1; }
static void run_of_none(struct parts *p) { p->v.run[1][1] = 0; }
static void run_huge(struct parts *p) { p->v.run[1][1] = -1; }
static void run_id_overflow(struct parts *p) { p->v.run[1][0] = -14; }
static void run_wrong_end(struct parts *p) { p->v.last_time[0]--; }
static void time_moved(struct parts *p) { p->v.time[0] = 1000; p->v.time[1] = -995; }
static void guid_index(struct parts *p) { p->v.guid[0] = 3; }
static void guid_unused(struct parts *p) { p->v.guid[0] = 0; }
static void guid_count(struct parts *p) { p->v.n_guids[0] = 5; }
static void guid_fewer(struct parts *p) { p->v.n_guids[0] = 1; }
static void guid_order(struct parts *p) { p->h->guids.data[3] = 0xf; }
static void guid_twice(struct parts *p) { memcpy(p->h->guids.data + GUID_LEN, p->h->guids.data, GUID_LEN); }
static void guid_zero(struct parts *p) { memset(p->h->guids.data, 0, GUID_LEN); }
static void guid_cut(struct parts *p) { p->h->guids.len--; }
static void event_id_64(struct parts *p) { p->v.event_id[0] = UINT64_C(1) << 32; }
static void length_sum(struct parts *p) { p->v.len[0]++; }
static void length_huge(struct parts *p) { p->v.len[0] = EVENT_MAX_ENCODED + 1; }
static void length_wraps(struct parts *p) { p->v.len[0] = UINT64_MAX; p->v.len[1] += p->v.len[0] + 1; }
static void columns_longer(struct parts *p) { buf_byte(&p->extra_columns, 0); }
static void columns_cap(struct parts *p) { p->keep_lengths = true; p->h->columns_raw_len = BATCH_MAX_COLUMNS_RAW + 1; }
static void payload_cap(struct parts *p) { p->keep_lengths = true; p->h->payload_raw_len = BATCH_MAX_PAYLOAD_RAW + 1; }
static void block_cap(struct parts *p) { p->keep_lengths = true; p->h->payload_len = BATCH_MAX_BYTES; }
static void columns_len(struct parts *p) { p->keep_lengths = true; p->h->columns_len++; p->h->payload_len--; }
static void raw_len(struct parts *p) { p->keep_lengths = true; p->h->payload_raw_len++; p->v.len[0]++; }
static void size_unsaid(struct parts *p) { p->no_size = true; }
static void two_frames(struct parts *p) { zstd(SLICE_LIT("more"), false, &p->junk); }
static void frame_and_junk(struct parts *p) { buf_byte(&p->junk, 'x'); }

static void pull_apart(struct slice block, size_t header_len, struct arena *a, struct parts *p, struct buf *payload) {
    *p = (struct parts){.h = MSG_UNPACK(BatchHeader, batch_header, slice_head(block, header_len), a)};
    assert_non_null(p->h);
    struct slice body = slice_from(block, header_len);
    struct buf raw = unzstd(slice_head(body, p->h->columns_len), p->h->columns_raw_len);
    static const uint64_t ids[N_MADE] = {1, 10, 4, 22, 255}, n_guids[N_MADE] = {2, 2, 0, 1, 0}, guid[5] = {2, 0, 0, 1, 1};
    memcpy(p->v.run, good_runs, sizeof good_runs);
    p->v.last_time[0] = 5;
    p->v.last_time[1] = -10;
    p->v.time[0] = 10;
    p->v.time[1] = -5;
    p->v.time[2] = -10;
    memcpy(p->v.event_id, ids, sizeof ids);
    memcpy(p->v.n_guids, n_guids, sizeof n_guids);
    memcpy(p->v.guid, guid, sizeof guid);
    /* the lengths are the encoder's business; all else is known: this pins the layout */
    struct buf expect = {0};
    put_columns(p, &expect);
    size_t known = expect.len - N_MADE;
    assert_true(raw.len > known);
    assert_memory_equal(raw.p, expect.p, known);
    struct reader r = reader_of(slice_from(buf_slice(&raw), known));
    for (size_t i = 0; i < N_MADE; i++) p->v.len[i] = reader_varint(&r);
    assert_true(!r.bad && !reader_left(&r));
    buf_clear(&expect);
    put_runs(p, &expect);
    assert_true(slice_eq(buf_slice(&expect), msg_slice(p->h->runs)));
    buf_free(&expect);
    buf_free(&raw);
    ZSTD_DCtx *d = ZSTD_createDCtx();
    struct slice dict = batch_dict(p->h->dict_id);
    buf_reserve(payload, p->h->payload_raw_len);
    payload->len = ZSTD_decompress_usingDict(d, payload->p, payload->cap, body.p + p->h->columns_len, p->h->payload_len,
                                             dict.p, dict.len);
    assert_int_equal(payload->len, p->h->payload_raw_len);
    ZSTD_freeDCtx(d);
    p->h->dict_id = 0;
}

static struct buf put_together(struct parts *p, struct slice payload, uint32_t *ret_header_len) {
    struct buf columns = {0}, body = {0}, runs = {0}, out = {0};
    put_columns(p, &columns);
    put_runs(p, &runs);
    zstd(buf_slice(&columns), p->no_size, &body);
    size_t columns_zstd = body.len;
    zstd(payload, p->no_size, &body);
    buf_slice_append(&body, buf_slice(&p->junk));
    Haechi__BatchHeader *h = p->h, was = *h;
    h->runs = msg_bytes(buf_slice(&runs));
    h->columns_len = (uint32_t)columns_zstd;
    h->columns_raw_len = (uint32_t)columns.len;
    h->payload_len = (uint32_t)(body.len - columns_zstd);
    h->payload_raw_len = (uint32_t)payload.len;
    if (p->keep_lengths) { /* as differences to what was right at first */
        h->columns_len += was.columns_len;
        h->columns_raw_len += was.columns_raw_len;
        h->payload_len += was.payload_len;
        h->payload_raw_len += was.payload_raw_len;
    }
    msg_pack(&h->base, &out);
    *ret_header_len = (uint32_t)out.len;
    buf_slice_append(&out, buf_slice(&body));
    redigest(&out, *ret_header_len);
    buf_free(&columns);
    buf_free(&body);
    buf_free(&runs);
    return out;
}

static void test_lies(void **state) {
    (void)state;
    static const struct {
        const char *name;
        void (*bend)(struct parts *p);
        enum status want;
        const char *says;
    } cases[] = {
        {"nothing bent", none, ST_OK, ""},
        {"one event more", more_events, ST_CORRUPT, "lack 1"},
        {"no events", no_events, ST_FORMAT, "0 events"},
        {"too many events", too_many_events, ST_TOOBIG, "4097"},
        {"no channel", no_channel, ST_FORMAT, "channel"},
        {"unknown dictionary", unknown_dict, ST_VERSION, "dictionary 999"},
        {"earlier first time", earlier_min, ST_CORRUPT, "span of time"},
        {"later last time", later_max, ST_CORRUPT, "span of time"},
        {"span overflows", span_overflow, ST_CORRUPT, "span of time"},
        {"run before the first time", run_before_min, ST_CORRUPT, "run 1"},
        {"run too long", run_longer, ST_CORRUPT, "run 2"},
        {"run too short", run_shorter, ST_CORRUPT, "lack 1"},
        {"empty run", run_of_none, ST_CORRUPT, "run 2"},
        {"run of 2^64 - 1", run_huge, ST_CORRUPT, "run 2"},
        {"record ids overflow", run_id_overflow, ST_CORRUPT, "run 2"},
        {"run ends at another time", run_wrong_end, ST_CORRUPT, "run 1"},
        {"an event outside the span", time_moved, ST_CORRUPT, "span of time"},
        {"GUID index past the table", guid_index, ST_CORRUPT, "GUID 3 of 3"},
        {"GUID that no event names", guid_unused, ST_CORRUPT, "3 GUIDs"},
        {"five GUIDs in one event", guid_count, ST_CORRUPT, "columns"},
        {"one GUID fewer", guid_fewer, ST_CORRUPT, ""},
        {"GUIDs out of order", guid_order, ST_CORRUPT, "GUID table"},
        {"GUID twice", guid_twice, ST_CORRUPT, "GUID table"},
        {"zero GUID", guid_zero, ST_CORRUPT, "GUID table"},
        {"half a GUID", guid_cut, ST_FORMAT, "GUID table"},
        {"event id over 32 bits", event_id_64, ST_CORRUPT, "columns"},
        {"lengths sum up wrong", length_sum, ST_CORRUPT, "lengths"},
        {"length over the limit", length_huge, ST_CORRUPT, "event 1"},
        {"lengths wrap around", length_wraps, ST_CORRUPT, "event 1"},
        {"columns too long", columns_longer, ST_CORRUPT, "columns"},
        {"columns over the cap", columns_cap, ST_TOOBIG, "limits"},
        {"payload over the cap", payload_cap, ST_TOOBIG, "limits"},
        {"block over the cap", block_cap, ST_TOOBIG, "larger than"},
        {"columns end elsewhere", columns_len, ST_CORRUPT, "columns"},
        {"payload's own size differs", raw_len, ST_CORRUPT, "header says"},
        {"frames without size", size_unsaid, ST_CORRUPT, "size"},
        {"two frames", two_frames, ST_CORRUPT, "one zstd frame"},
        {"junk behind the frame", frame_and_junk, ST_CORRUPT, "one zstd frame"},
    };
    uint32_t header_len;
    struct buf good = build_made(&header_len);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        struct parts p;
        struct buf payload = {0};
        struct error err = {0};
        arena_init(&a, 1 << 20);
        pull_apart(buf_slice(&good), header_len, &a, &p, &payload);
        p.h->columns_len = p.h->columns_raw_len = p.h->payload_len = p.h->payload_raw_len = 0;
        cases[i].bend(&p);
        uint32_t len;
        struct buf lie = put_together(&p, buf_slice(&payload), &len);
        enum status st = open_all(buf_slice(&lie), len, true, &err);
        if (st != cases[i].want || !strstr(err.msg, cases[i].says)) {
            fail_msg("%s: %s, \"%s\"", cases[i].name, status_name(st), err.msg);
        }
        buf_free(&lie);
        buf_free(&payload);
        buf_free(&p.extra_columns);
        buf_free(&p.junk);
        arena_deinit(&a);
    }
    buf_free(&good);
}

/* A frame head that asks for a window over 2^23 is refused before anything is decompressed. */
static void test_window(void **state) {
    (void)state;
    for (unsigned exponent = 0; exponent + 10 <= 31; exponent++) { /* zstd itself knows no larger ones */
        struct batch_header h = {.n_events = 1, .columns_raw_len = 1};
        static const struct batch_run run = {1, 1, 0, 0};
        uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x80, (uint8_t)(exponent << 3), 1, 0, 0, 0, 9, 0, 0, 'x'};
        struct batch_reader *r = batch_reader_new();
        struct batch_columns c;
        struct error err = {0};
        h.runs = &run;
        h.n_runs = 1;
        h.columns_len = sizeof frame;
        assert_int_equal(batch_open_columns(r, &h, slice_of(frame, sizeof frame), &c, &err), ST_CORRUPT);
        if (!strstr(err.msg, "window") != (exponent + 10 <= BATCH_WINDOW_LOG_MAX)) fail_msg("2^%u: %s", exponent + 10, err.msg);
        batch_reader_free(&r);
    }
}

static void test_header_bytes(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf block = build_made(&header_len), other = {0};
    struct arena a;
    struct batch_header h;
    struct error err = {0};
    arena_init(&a, 1 << 20);
    /* protobuf-c writes the very same bytes */
    Haechi__BatchHeader *m = MSG_UNPACK(BatchHeader, batch_header, slice_head(buf_slice(&block), header_len), &a);
    msg_pack(&m->base, &other);
    assert_true(slice_eq(buf_slice(&other), slice_head(buf_slice(&block), header_len)));
    /* unknown fields of every wire type pass */
    struct slice fields = SLICE_LIT("\xf8\x07\x05\xf9\x07xxxxxxxx\xfa\x07\x02hi\xfd\x07xxxx");
    buf_clear(&other);
    buf_slice_append(&other, fields);
    buf_append(&other, block.p, header_len);
    assert_int_equal(batch_header_parse(buf_slice(&other), &a, &h, &err), ST_OK);
    static const struct {
        const char *name;
        struct slice before;
    } bad[] = {
        {"known field of another wire type", {(const uint8_t *)"\x08\x01", 2}},
        {"number as bytes", {(const uint8_t *)"\x22\x01x", 3}},
        {"first time as a varint", {(const uint8_t *)"\x30\x01", 2}},
        {"digest in the middle", {(const uint8_t *)"\x7a\x01x", 3}},
        {"group", {(const uint8_t *)"\xfb\x07", 2}},
        {"field 0", {(const uint8_t *)"\x00\x01", 2}},
        {"length past the end", {(const uint8_t *)"\xfa\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&other);
        buf_slice_append(&other, bad[i].before);
        buf_append(&other, block.p, header_len);
        if (batch_header_parse(buf_slice(&other), &a, &h, &err) != ST_FORMAT) fail_msg("%s", bad[i].name);
    }
    buf_clear(&other);
    for (size_t i = 0; i < BATCH_MAX_HEADER; i += 4) buf_append(&other, "\xfa\x07\x01x", 4);
    buf_append(&other, block.p, header_len);
    assert_int_equal(batch_header_parse(buf_slice(&other), &a, &h, &err), ST_TOOBIG);
    buf_free(&other);
    buf_free(&block);
    arena_deinit(&a);
}

static void test_no_memory(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf block = build_made(&header_len);
    unsigned long n = 1;
    for (enum status st = ST_NOMEM; st; n++) {
        struct error err = {0};
        mem_test_fail_at(n);
        st = open_all(buf_slice(&block), header_len, true, &err);
        mem_test_fail_at(0);
        if (st && (st != ST_NOMEM || n > 50)) fail_msg("allocation %lu: %s, \"%s\"", n, status_name(st), err.msg);
    }
    assert_true(n > 4);
    struct arena small;
    struct batch_header h;
    struct error err = {0};
    arena_init(&small, 1);
    assert_int_equal(batch_header_parse(slice_head(buf_slice(&block), header_len), &small, &h, &err), ST_NOMEM);
    arena_deinit(&small);
    buf_free(&block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_odd_events),
        cmocka_unit_test(test_header_bytes), cmocka_unit_test(test_builder_limits),
        cmocka_unit_test(test_lies),         cmocka_unit_test(test_window),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_every_byte_flipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
