/* batch.c, batch_read.c: every damage and every lie is found, and says what it is. */
// links: proto base
#include "batch_fixture.h"
#include "msg.h"

#include <zstd.h>

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
        assert_int_not_equal(open_all(slice_head(buf_slice(&block), cut), header_len < cut ? header_len : cut, true,
                                      &err),
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

/* clang-format off */
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
/* clang-format on */

static void pull_apart(struct slice block, size_t header_len, struct arena *a, struct parts *p, struct buf *payload) {
    *p = (struct parts){.h = MSG_UNPACK(BatchHeader, batch_header, slice_head(block, header_len), a)};
    assert_non_null(p->h);
    struct slice body = slice_from(block, header_len);
    struct buf raw = unzstd(slice_head(body, p->h->columns_len), p->h->columns_raw_len);
    static const uint64_t ids[N_MADE] = {1, 10, 4, 22, 255}, n_guids[N_MADE] = {2, 2, 0, 1, 0},
                          guid[5] = {2, 0, 0, 1, 1};
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

static const struct {
    const char *name;
    void (*bend)(struct parts *p);
    enum status want;
    const char *says;
} lies[] = {
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

static void test_lies(void **state) {
    (void)state;
    uint32_t header_len;
    struct buf good = build_made(&header_len);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct arena a;
        struct parts p;
        struct buf payload = {0};
        struct error err = {0};
        arena_init(&a, 1 << 20);
        pull_apart(buf_slice(&good), header_len, &a, &p, &payload);
        p.h->columns_len = p.h->columns_raw_len = p.h->payload_len = p.h->payload_raw_len = 0;
        lies[i].bend(&p);
        uint32_t len;
        struct buf lie = put_together(&p, buf_slice(&payload), &len);
        enum status st = open_all(buf_slice(&lie), len, true, &err);
        if (st != lies[i].want || !strstr(err.msg, lies[i].says)) {
            fail_msg("%s: %s, \"%s\"", lies[i].name, status_name(st), err.msg);
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
        if (!strstr(err.msg, "window") != (exponent + 10 <= BATCH_WINDOW_LOG_MAX))
            fail_msg("2^%u: %s", exponent + 10, err.msg);
        batch_reader_free(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_every_byte_flipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
