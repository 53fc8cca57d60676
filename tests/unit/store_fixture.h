/* For the tests of storage/: a scratch data directory, a clock that the test sets, a writer whose admission is the plain
 * rule "what the ledger has is a duplicate", and blocks made of record ids.
 *
 * A block's bytes are its own description, so that what is read back can be checked: "host channel first n" and filler. */
#ifndef HAECHI_STORE_FIXTURE_H
#define HAECHI_STORE_FIXTURE_H

#include "clock.h"
#include "db.h"
#include "file.h"
#include "index.h"
#include "keys.h"
#include "ledger.h"
#include "mem.h"
#include "writer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY0 UINT64_C(134087616000000000) /* 2025-11-28 */

static _Atomic uint64_t store_now = DAY0;

static inline uint64_t store_clock(void) {
    return atomic_load(&store_now);
}

#define must(expr)                                                                        \
    do {                                                                                  \
        struct error *must_err = &store_err;                                              \
        must_err->msg[0] = 0;                                                             \
        enum status must_st = (expr);                                                     \
        if (must_st) {                                                                    \
            fprintf(stderr, "%s: %s (%s)\n", #expr, status_name(must_st), must_err->msg); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

static _Thread_local struct error store_err;

/* A new empty directory under TMPDIR; the test removes it with store_remove. */
static inline char *store_dir(void) {
    const char *tmp = getenv("TMPDIR");
    struct buf b = {0};
    buf_printf(&b, "%s/store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    char *path = mem_strdup(buf_cstr(&b));
    buf_free(&b);
    if (!mkdtemp(path)) abort();
    return path;
}

static inline void store_remove(char *dir) {
    struct buf b = {0};
    buf_printf(&b, "rm -rf '%s'", dir);
    if (system(buf_cstr(&b))) abort();
    buf_free(&b);
    mem_free(dir);
}

/* One batch: ids first, first + step, ... (n of them); every one at time DAY0 + id seconds. */
struct store_batch {
    struct writer_item item;
    uint64_t first, n, step;
    uint32_t epoch;
    struct buf bytes;
    uint8_t guids[4 * GUID_LEN];
    atomic_int state; /* 0 waiting, 1 acked, 2 refused */
    enum status st;
    char why[ERROR_TEXT_MAX];
};

static inline void store_guid(uint32_t host, uint64_t n, uint8_t out[GUID_LEN]) {
    memset(out, 0x5a, GUID_LEN);
    key_put_u32(out, host);
    key_put_u64(out + 8, n);
}

static inline struct store_batch *store_batch_new(uint32_t host, const char *channel, uint32_t epoch, uint64_t first,
                                                  uint64_t n, uint64_t step, size_t filler) {
    struct store_batch *b = mem_zalloc(sizeof *b);
    b->first = first;
    b->n = n;
    b->step = step;
    b->epoch = epoch;
    buf_printf(&b->bytes, "%u %s %llu %llu %llu ", host, channel, (unsigned long long)first, (unsigned long long)n,
               (unsigned long long)step);
    uint32_t header_len = (uint32_t)b->bytes.len;
    for (size_t i = 0; i < filler; i++) buf_byte(&b->bytes, (uint8_t)(first + i));
    for (unsigned i = 0; i < 4; i++) store_guid(host, (first + i) % 97, b->guids + i * GUID_LEN);
    list_init(&b->item.link);
    b->item.block = (struct writer_block){.host = host,
                                          .channel = slice_str(channel),
                                          .bytes = buf_slice(&b->bytes),
                                          .header_len = header_len,
                                          .n_events = (uint32_t)n,
                                          .min_time = DAY0 + first * FILETIME_SECOND,
                                          .max_time = DAY0 + (first + (n - 1) * step) * FILETIME_SECOND,
                                          .guids = slice_of(b->guids, sizeof b->guids)};
    b->item.owner = b;
    return b;
}

static inline void store_batch_free(struct store_batch *b) {
    buf_free(&b->bytes);
    mem_free(b);
}

static inline enum status store_admit(void *ctx, struct writer *w, struct writer_item *item, struct error *err) {
    (void)ctx;
    struct store_batch *b = item->owner;
    struct writer_stream s;
    enum status st =
        writer_stream_get(w, item->block.host, item->block.computer, item->block.channel, b->epoch, &s, err);
    if (st) return st;
    struct db_keep *keep = mem_alloc(b->n * sizeof *keep);
    struct ledger_span *spans = mem_alloc(b->n * sizeof *spans);
    size_t n_keep = 0, n_spans = 0, kept = 0;
    for (uint64_t i = 0; i < b->n; i++) {
        uint64_t id = b->first + i * b->step, time = DAY0 + id * FILETIME_SECOND;
        if (ledger_has(s.ledger, id)) continue;
        if (n_keep && keep[n_keep - 1].first + keep[n_keep - 1].n == i) {
            keep[n_keep - 1].n++;
        } else {
            keep[n_keep++] = (struct db_keep){(uint32_t)i, 1};
        }
        if (n_spans && spans[n_spans - 1].last + 1 == id) {
            spans[n_spans - 1].last = id;
            spans[n_spans - 1].last_time = time;
        } else {
            spans[n_spans++] = (struct ledger_span){id, id, time, time};
        }
        kept++;
    }
    if (kept) writer_place(w, item, s.id, keep, kept == b->n ? 0 : n_keep, spans, n_spans, kept);
    writer_count_duplicates(w, s.id, b->n - kept);
    item->n_stored = (uint32_t)kept;
    item->n_duplicate = (uint32_t)(b->n - kept);
    mem_free(keep);
    mem_free(spans);
    return ST_OK;
}

static inline void store_done(void *ctx, struct writer_item *item, enum status st, const struct error *err) {
    (void)ctx;
    struct store_batch *b = item->owner;
    b->st = st;
    if (st) memcpy(b->why, err->msg, sizeof b->why);
    atomic_store(&b->state, st ? 2 : 1);
}

static inline struct writer_options store_writer_options(void) {
    return (struct writer_options){.spacing_ms = 1, .now = store_clock, .admit = store_admit, .done = store_done};
}

static inline void store_sleep_ms(long ms) {
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&ts, NULL);
}

static inline int store_wait(struct store_batch *b) {
    for (int i = 0; i < 30000 && !atomic_load(&b->state); i++) store_sleep_ms(1);
    return atomic_load(&b->state);
}

/* Puts one batch, waits for its ack, frees it; *ret_stored may be NULL. */
static inline void store_put(struct writer *w, struct store_batch *b, uint32_t *ret_stored) {
    must(writer_put(w, &b->item));
    assert_int_equal(store_wait(b), 1);
    if (ret_stored) *ret_stored = b->item.n_stored;
    store_batch_free(b);
}

/* ---- a digest: what the collector's does, for blocks made as above ---- */

static inline enum status store_describe(void *ctx, struct slice header, struct db_block *fill,
                                         struct slice *ret_guids) {
    uint8_t *guids = ctx;
    unsigned host;
    char channel[64];
    unsigned long long first, n, step;
    char text[160] = {0};
    memcpy(text, header.p, header.len < sizeof text ? header.len : sizeof text - 1);
    if (sscanf(text, "%u %63s %llu %llu %llu", &host, channel, &first, &n, &step) != 5) return ST_CORRUPT;
    for (unsigned i = 0; i < 4; i++) store_guid(host, (first + i) % 97, guids + i * GUID_LEN);
    fill->min_time = DAY0 + first * FILETIME_SECOND;
    *ret_guids = slice_of(guids, 4 * GUID_LEN);
    return ST_OK;
}

/* Indexes at most max_blocks blocks; ST_END when there was nothing to do. */
static inline enum status store_index_some(struct db *db, size_t max_blocks, struct error *err) {
    uint64_t seq, next;
    char day[DB_DAY_LEN], of_day[DB_DAY_LEN];
    struct db_block *b;
    size_t n;
    enum status st = index_next(db, &seq, day, err);
    if (!st) st = db_blocks_from(db, seq, max_blocks, &b, &n, &next, err);
    if (st) return st;
    struct db_partition *parts;
    size_t n_parts = db_partitions(db, &parts);
    uint64_t end = next - 1;
    for (size_t i = 0; i < n_parts; i++) {
        if (strcmp(parts[i].day, day) == 0 && parts[i].last_seq < end) end = parts[i].last_seq;
    }
    mem_free(parts);
    memcpy(of_day, day, sizeof of_day);
    struct index_run *run = index_run_new(db, of_day);
    struct buf bytes = {0};
    for (size_t i = 0; i < n && b[i].seq <= end; i++) {
        struct db_keep *keep = NULL;
        size_t n_keep;
        uint8_t scratch[4 * GUID_LEN];
        struct db_block ignored;
        struct slice guids;
        buf_clear(&bytes);
        st = db_read_block(db, &b[i], &bytes, &keep, &n_keep, err);
        mem_free(keep);
        if (st) continue; /* expired */
        must(store_describe(scratch, slice_head(buf_slice(&bytes), b[i].header_len), &ignored, &guids));
        index_run_block(run, &b[i], guids);
        struct proc p = {.pid = 4, .first_seen = b[i].min_time, .last_seen = b[i].max_time};
        memcpy(p.guid.b, guids.p, GUID_LEN);
        p.counts[1] = b[i].n_kept;
        index_run_proc(run, b[i].host, &p);
    }
    st = index_run_flush(run, end, err);
    index_run_free(&run);
    buf_free(&bytes);
    mem_free(b);
    return st;
}

static inline void store_index_all(struct db *db, size_t max_blocks) {
    enum status st;
    while (!(st = store_index_some(db, max_blocks, &store_err))) {}
    assert_int_equal(st, ST_END);
}

/* ---- checks against a scan of all packs ---- */

struct store_scan {
    struct db_block *b;
    size_t n;
};

static inline struct store_scan store_scan_all(struct db *db) {
    struct store_scan s = {0};
    size_t cap = 0;
    uint64_t seq = 0;
    for (;;) {
        struct db_block *b;
        size_t n;
        must(db_blocks_from(db, seq, 50, &b, &n, &seq, &store_err));
        for (size_t i = 0; i < n; i++) {
            mem_grow((void **)&s.b, s.n, &cap, sizeof *s.b);
            s.b[s.n++] = b[i];
        }
        mem_free(b);
        if (seq > db_last_seq(db)) return s;
    }
}

static inline void store_same_block(const struct db_block *a, const struct db_block *b) {
    assert_true(a->seq == b->seq && a->index == b->index && a->stream == b->stream && a->host == b->host);
    assert_true(a->offset == b->offset && a->len == b->len && a->header_len == b->header_len);
    assert_true(a->n_events == b->n_events && a->n_kept == b->n_kept && a->partial == b->partial);
    assert_true(a->first_id == b->first_id && a->last_id == b->last_id && a->arrival == b->arrival);
    assert_true(a->min_time == b->min_time && a->max_time == b->max_time);
}

/* Every block of `found` is one of the scan that `want` picks, and none is left out or twice. */
static inline void store_same_set(const struct store_scan *s, bool (*want)(const struct db_block *b, const void *ctx),
                                  const void *ctx, const struct db_block *found, size_t n_found) {
    size_t wanted = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!want(&s->b[i], ctx)) continue;
        wanted++;
        size_t hits = 0;
        for (size_t j = 0; j < n_found; j++) {
            if (found[j].seq != s->b[i].seq || found[j].index != s->b[i].index) continue;
            store_same_block(&s->b[i], &found[j]);
            hits++;
        }
        assert_int_equal(hits, 1);
    }
    assert_int_equal(n_found, wanted);
    for (size_t j = 1; j < n_found; j++) {
        const struct db_block *a = &found[j - 1], *b = &found[j];
        assert_true(a->min_time < b->min_time ||
                    (a->min_time == b->min_time && (a->seq < b->seq || (a->seq == b->seq && a->index < b->index))));
    }
}

struct store_pick {
    struct db *db;
    uint32_t host, stream;
    uint64_t from, to;
    unsigned guid;
};

static inline bool store_pick_host(const struct db_block *b, const void *ctx) {
    const struct store_pick *p = ctx;
    return b->host == p->host && b->min_time <= p->to && b->max_time >= p->from;
}

static inline bool store_pick_stream(const struct db_block *b, const void *ctx) {
    const struct store_pick *p = ctx;
    return b->host == p->host && b->stream == p->stream && b->first_id <= p->to && b->last_id >= p->from;
}

static inline bool store_pick_guid(const struct db_block *b, const void *ctx) {
    const struct store_pick *p = ctx;
    if (b->host != p->host) return false;
    struct buf bytes = {0};
    struct db_keep *keep;
    size_t n_keep;
    must(db_read_block(p->db, b, &bytes, &keep, &n_keep, &store_err));
    uint8_t guids[4 * GUID_LEN], wanted[GUID_LEN];
    struct db_block ignored;
    struct slice g;
    must(store_describe(guids, slice_head(buf_slice(&bytes), b->header_len), &ignored, &g));
    store_guid(p->host, p->guid, wanted);
    bool hit = false;
    for (unsigned i = 0; i < 4; i++) hit |= memcmp(guids + i * GUID_LEN, wanted, GUID_LEN) == 0;
    buf_free(&bytes);
    mem_free(keep);
    return hit;
}

/* All look-ups of a host against brute force. */
static inline void store_check_lookups(struct db *db, uint32_t host) {
    struct store_scan s = store_scan_all(db);
    struct db_block *b;
    size_t n;
    static const uint64_t windows[][2] = {{0, UINT64_MAX},
                                          {DAY0, DAY0 + 500 * FILETIME_SECOND},
                                          {DAY0 + 300 * FILETIME_SECOND, DAY0 + 300 * FILETIME_SECOND}};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        struct store_pick p = {.host = host, .from = windows[i][0], .to = windows[i][1]};
        must(db_host_blocks(db, host, p.from, p.to, &b, &n, &store_err));
        store_same_set(&s, store_pick_host, &p, b, n);
        mem_free(b);
    }
    for (unsigned g = 0; g < 97; g += 16) {
        struct store_pick p = {.db = db, .host = host, .guid = g};
        struct guid guid;
        store_guid(host, g, guid.b);
        must(db_guid_blocks(db, host, &guid, &b, &n, &store_err));
        store_same_set(&s, store_pick_guid, &p, b, n);
        mem_free(b);
    }
    struct db_stream *streams;
    size_t n_streams;
    must(db_streams(db, host, &streams, &n_streams, &store_err));
    for (size_t i = 0; i < n_streams; i++) {
        static const uint64_t ids[][2] = {{0, UINT64_MAX}, {100, 200}, {333, 333}};
        for (size_t j = 0; j < sizeof ids / sizeof *ids; j++) {
            struct store_pick p = {.host = host, .stream = streams[i].id, .from = ids[j][0], .to = ids[j][1]};
            must(db_stream_blocks(db, host, p.stream, p.from, p.to, &b, &n, &store_err));
            store_same_set(&s, store_pick_stream, &p, b, n);
            mem_free(b);
        }
    }
    db_streams_free(streams, n_streams);
    mem_free(s.b);
}

/* The ledger of each stream of the host is the union of what its blocks keep, and no id is kept twice. */
static inline void store_check_ledger(struct db *db, uint32_t host) {
    struct store_scan s = store_scan_all(db);
    struct db_stream *streams;
    size_t n_streams;
    must(db_streams(db, host, &streams, &n_streams, &store_err));
    for (size_t k = 0; k < n_streams; k++) {
        struct ledger seen;
        ledger_init(&seen);
        uint64_t kept = 0;
        for (size_t i = 0; i < s.n; i++) {
            if (s.b[i].host != host || s.b[i].stream != streams[k].id) continue;
            struct buf bytes = {0};
            struct db_keep *keep;
            size_t n_keep;
            unsigned h;
            char channel[64];
            unsigned long long first, n, step;
            must(db_read_block(db, &s.b[i], &bytes, &keep, &n_keep, &store_err));
            assert_int_equal(sscanf(buf_cstr(&bytes), "%u %63s %llu %llu %llu", &h, channel, &first, &n, &step), 5);
            assert_int_equal(h, host);
            assert_string_equal(channel, streams[k].channel);
            struct db_keep all = {0, (uint32_t)n};
            const struct db_keep *runs = n_keep ? keep : &all;
            for (size_t r = 0; r < (n_keep ? n_keep : 1); r++) {
                for (uint64_t at = runs[r].first; at < (uint64_t)runs[r].first + runs[r].n; at++) {
                    uint64_t id = first + at * step;
                    assert_false(ledger_has(&seen, id));
                    ledger_add(&seen,
                               (struct ledger_span){id, id, DAY0 + id * FILETIME_SECOND, DAY0 + id * FILETIME_SECOND});
                    kept++;
                }
            }
            mem_free(keep);
            buf_free(&bytes);
        }
        assert_int_equal(kept, ledger_count(streams[k].ledger));
        assert_int_equal(kept, streams[k].n_events);
        assert_int_equal(seen.n, streams[k].ledger->n);
        if (seen.n) assert_memory_equal(seen.spans, streams[k].ledger->spans, seen.n * sizeof *seen.spans);
        ledger_deinit(&seen);
    }
    db_streams_free(streams, n_streams);
    mem_free(s.b);
}

#endif
