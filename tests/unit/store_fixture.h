/* For the tests of storage/: a scratch data directory, a clock that the test sets, a writer whose admission is the plain
 * rule "what the ledger has is a duplicate", and blocks made of record ids.
 *
 * A block's bytes are its own description, so that what is read back can be checked: "host channel first n" and filler. */
#ifndef HAECHI_STORE_FIXTURE_H
#define HAECHI_STORE_FIXTURE_H

#include "clock.h"
#include "db.h"
#include "file.h"
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

#define must(expr)                                                                                                     \
    do {                                                                                                               \
        struct error *must_err = &store_err;                                                                           \
        must_err->msg[0] = 0;                                                                                          \
        enum status must_st = (expr);                                                                                  \
        if (must_st) {                                                                                                 \
            fprintf(stderr, "%s: %s (%s)\n", #expr, status_name(must_st), must_err->msg);                              \
            abort();                                                                                                   \
        }                                                                                                              \
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

static inline struct store_batch *store_batch_new(uint32_t host, const char *channel, uint32_t epoch, uint64_t first, uint64_t n,
                                                  uint64_t step, size_t filler) {
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
    enum status st = writer_stream_get(w, item->block.host, item->block.computer, item->block.channel, b->epoch, &s, err);
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

#endif
