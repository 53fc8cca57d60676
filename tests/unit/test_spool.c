/* The spool: what was synced comes back in order after any end of the process; damage is set aside and never deleted. */
#include "clock.h"
#include "file.h"
#include "log.h"
#include "mem.h"
#include "spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char dir[512];
static unsigned n_dirs;

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("HAECHI_TMP") ? getenv("HAECHI_TMP") : "/tmp";
    snprintf(dir, sizeof dir, "%s/spool-%llu-%u", tmp, (unsigned long long)clock_mono_ms(), n_dirs++);
    return 0;
}

static struct spool *open_at(uint64_t acked, uint64_t max, uint32_t seg) {
    struct spool *sp = NULL;
    struct error err = {0};
    struct spool_options o = {.dir = dir, .max_bytes = max, .segment_bytes = seg};
    if (spool_open(&o, acked, &sp, &err)) fail_msg("%s", err.msg);
    return sp;
}

static void put(struct spool *sp, unsigned i, size_t len) {
    char *body = mem_alloc(len), pos[32];
    memset(body, (int)('a' + i % 26), len);
    snprintf(pos, sizeof pos, "pos-%u", i);
    struct spool_entry e = {.header_len = 10,
                            .n_events = i,
                            .source = SLICE_LIT("src"),
                            .position = slice_str(pos),
                            .batch = slice_of(body, len)};
    uint64_t seq = 0;
    struct error err = {0};
    if (spool_append(sp, &e, &seq, &err)) fail_msg("%s", err.msg);
    assert_int_equal(seq, i);
    mem_free(body);
}

static void take(struct spool *sp, unsigned i, size_t len) {
    struct buf b = {0};
    struct spool_entry e;
    struct error err = {0};
    enum status st = spool_next(sp, &b, &e, &err);
    if (st) fail_msg("entry %u: %s %s", i, status_name(st), err.msg);
    assert_int_equal(e.seq, i);
    assert_int_equal(e.n_events, i);
    assert_int_equal(e.header_len, 10);
    assert_int_equal(e.batch.len, len);
    assert_int_equal(e.batch.p[len - 1], 'a' + i % 26);
    assert_true(slice_eq_str(e.source, "src"));
    buf_free(&b);
}

static void nothing(struct spool *sp) {
    struct buf b = {0};
    struct spool_entry e;
    assert_int_equal(spool_next(sp, &b, &e, NULL), ST_END);
    buf_free(&b);
}

static unsigned n_seg, n_bad;
static enum status count(void *ctx, const char *name) {
    (void)ctx;
    if (strstr(name, ".bad"))
        n_bad++;
    else
        n_seg++;
    return ST_OK;
}

static void count_files(void) {
    n_seg = n_bad = 0;
    assert_int_equal(file_list_dir(dir, count, NULL, NULL), ST_OK);
}

static void test_round_trip(void **state) {
    (void)state;
    struct spool *sp = open_at(0, 1 << 30, 4000);
    for (unsigned i = 1; i <= 20; i++) {
        put(sp, i, 1000);
        assert_int_equal(spool_sync(sp, NULL), ST_OK);
    }
    assert_int_equal(spool_stats(sp).unread_entries, 20);
    assert_int_equal(spool_stats(sp).unread_events, 210);
    for (unsigned i = 1; i <= 10; i++) take(sp, i, 1000);
    count_files();
    assert_int_equal(n_seg, 5);
    assert_int_equal(spool_ack(sp, 9, NULL), ST_OK);
    count_files();
    assert_int_equal(n_seg, 3);
    spool_close(&sp); /* as kill -9 would: nothing is written at close */

    sp = open_at(9, 1 << 30, 4000);
    struct slice pos;
    assert_int_equal(spool_resume(sp, SLICE_LIT("src"), &pos), ST_OK);
    assert_true(slice_eq_str(pos, "pos-20"));
    assert_int_equal(spool_resume(sp, SLICE_LIT("other"), &pos), ST_NOTFOUND);
    for (unsigned i = 10; i <= 20; i++) take(sp, i, 1000);
    nothing(sp);
    put(sp, 21, 50);
    assert_int_equal(spool_sync(sp, NULL), ST_OK);
    take(sp, 21, 50);
    assert_int_equal(spool_ack(sp, 21, NULL), ST_OK);
    spool_close(&sp);

    sp = open_at(21, 1 << 30, 4000); /* all acknowledged: numbers go on, files are gone */
    nothing(sp);
    count_files();
    assert_int_equal(n_seg, 0);
    put(sp, 22, 50);
    spool_close(&sp);
}

static void test_full(void **state) {
    (void)state;
    struct spool *sp = open_at(0, 20000, 4000);
    unsigned n = 0;
    while (spool_can_append(sp, 1000)) put(sp, ++n, 1000);
    assert_in_range(n, 10, 20);
    assert_int_equal(spool_sync(sp, NULL), ST_OK);
    for (unsigned i = 1; i <= n; i++) take(sp, i, 1000);
    assert_int_equal(spool_ack(sp, n, NULL), ST_OK);
    assert_true(spool_can_append(sp, 1000));
    spool_close(&sp);
}

/* Every cut of the last segment leaves exactly the entries that are whole. */
static void test_torn_tail(void **state) {
    (void)state;
    struct spool *sp = open_at(0, 1 << 30, 0);
    for (unsigned i = 1; i <= 3; i++) put(sp, i, 40);
    assert_int_equal(spool_sync(sp, NULL), ST_OK);
    spool_close(&sp);
    char *path = file_join(dir, "0000000000000001.seg");
    struct buf all = {0};
    assert_int_equal(file_read(path, 1 << 20, &all, NULL), ST_OK);
    size_t each = (all.len - SPOOL_HEAD_LEN) / 3;
    for (size_t cut = 0; cut <= all.len; cut++) {
        assert_int_equal(file_replace(path, slice_of(all.p, cut), 0600, NULL), ST_OK);
        unsigned whole = cut < SPOOL_HEAD_LEN ? 0 : (unsigned)((cut - SPOOL_HEAD_LEN) / each);
        sp = open_at(0, 1 << 30, 0);
        if (spool_stats(sp).unread_entries != whole) {
            fail_msg("cut at %zu: %llu entries, not %u", cut, (unsigned long long)spool_stats(sp).unread_entries,
                     whole);
        }
        for (unsigned i = 1; i <= whole; i++) take(sp, i, 40);
        nothing(sp);
        put(sp, whole + 1, 40); /* and it goes on */
        assert_int_equal(spool_sync(sp, NULL), ST_OK);
        take(sp, whole + 1, 40);
        spool_close(&sp);
        count_files();
        assert_int_equal(n_bad, 0);
        char name[64];
        snprintf(name, sizeof name, "%016x.seg", whole + 1);
        char *extra = file_join(dir, name);
        assert_int_equal(file_remove(extra, NULL), ST_OK);
        mem_free(extra);
    }
    buf_free(&all);
    mem_free(path);
}

static void test_damage_at_open(void **state) {
    (void)state;
    struct spool *sp = open_at(0, 1 << 30, 400); /* three entries of 144 bytes in a segment */
    for (unsigned i = 1; i <= 9; i++) {
        put(sp, i, 100);
        assert_int_equal(spool_sync(sp, NULL), ST_OK);
    }
    spool_close(&sp);
    char *path = file_join(dir, "0000000000000004.seg"); /* entries 4 to 6 */
    struct buf b = {0};
    assert_int_equal(file_read(path, 1 << 20, &b, NULL), ST_OK);
    b.p[b.len / 2] ^= 1; /* in entry 5 */
    assert_int_equal(file_replace(path, buf_slice(&b), 0600, NULL), ST_OK);
    sp = open_at(0, 1 << 30, 400);
    assert_int_equal(spool_stats(sp).n_bad, 1);
    struct slice pos;
    assert_int_equal(spool_resume(sp, SLICE_LIT("src"), &pos), ST_OK);
    assert_true(slice_eq_str(pos, "pos-4")); /* never past the damage */
    static const unsigned left[] = {1, 2, 3, 4, 6, 7, 8, 9};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) take(sp, left[i], 100);
    nothing(sp);
    count_files();
    assert_int_equal(n_bad, 1);
    spool_close(&sp);
    sp = open_at(0, 1 << 30, 400); /* and it is sound now */
    assert_int_equal(spool_stats(sp).n_bad, 0);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) take(sp, left[i], 100);
    spool_close(&sp);
    buf_free(&b);
    mem_free(path);
}

static void test_damage_while_reading(void **state) {
    (void)state;
    for (unsigned bad = 1; bad <= 3; bad++) { /* which of three entries of one segment, which is still written to */
        setup(NULL);
        struct spool *sp = open_at(0, 1 << 30, 0);
        for (unsigned i = 1; i <= 3; i++) put(sp, i, 100);
        assert_int_equal(spool_sync(sp, NULL), ST_OK);
        char *path = file_join(dir, "0000000000000001.seg");
        struct buf b = {0};
        assert_int_equal(file_read(path, 1 << 20, &b, NULL), ST_OK);
        size_t each = (b.len - SPOOL_HEAD_LEN) / 3;
        b.p[SPOOL_HEAD_LEN + each * bad - 5] ^= 1;
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        assert_int_equal(fwrite(b.p, 1, b.len, f), b.len);
        fclose(f);
        for (unsigned i = 1; i < bad; i++) take(sp, i, 100);
        struct buf into = {0};
        struct spool_entry e;
        struct error err = {0};
        assert_int_equal(spool_next(sp, &into, &e, &err), ST_CORRUPT);
        assert_non_null(strstr(err.msg, ".bad"));
        for (unsigned i = bad + 1; i <= 3; i++) take(sp, i, 100);
        nothing(sp);
        put(sp, 4, 100);
        assert_int_equal(spool_sync(sp, NULL), ST_OK);
        take(sp, 4, 100);
        nothing(sp);
        assert_int_equal(spool_ack(sp, 4, NULL), ST_OK);
        spool_close(&sp);
        buf_free(&into);
        buf_free(&b);
        mem_free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_full, setup),
        cmocka_unit_test_setup(test_torn_tail, setup),
        cmocka_unit_test_setup(test_damage_at_open, setup),
        cmocka_unit_test_setup(test_damage_while_reading, setup),
    };
    log_init("test_spool", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
