/* The ack path: what is acked is stored once, the ledger agrees, failures are undone, a full disk loses nothing. */
// links: storage proto base
#include "store_fixture.h"

struct bed {
    char *dir;
    struct db *db;
    struct writer *w;
};

static struct db_options options = {.min_free_bytes = 1};

static void bed_open(struct bed *t) {
    struct writer_options o = store_writer_options();
    must(db_open(t->dir, &options, &t->db, &store_err));
    must(writer_start(t->db, &o, &t->w, &store_err));
}

static void bed_close(struct bed *t) {
    writer_stop(&t->w);
    db_close(&t->db);
}

static int setup(void **state) {
    struct bed *t = mem_zalloc(sizeof *t);
    atomic_store(&store_now, DAY0);
    options = (struct db_options){.min_free_bytes = 1};
    t->dir = store_dir();
    bed_open(t);
    *state = t;
    return 0;
}

static int teardown(void **state) {
    struct bed *t = *state;
    bed_close(t);
    store_remove(t->dir);
    mem_free(t);
    return 0;
}

static uint64_t held(struct db *db, uint32_t host) {
    struct db_stream *s;
    size_t n;
    uint64_t sum = 0;
    must(db_streams(db, host, &s, &n, &store_err));
    for (size_t i = 0; i < n; i++) sum += ledger_count(s[i].ledger);
    db_streams_free(s, n);
    return sum;
}

static void stores_and_reads_back(void **state) {
    struct bed *t = *state;
    uint32_t stored;
    store_put(t->w, store_batch_new(7, "Sysmon", 1, 100, 10, 1, 500), &stored);
    assert_int_equal(stored, 10);
    store_put(t->w, store_batch_new(7, "Sysmon", 1, 105, 10, 1, 600), &stored);
    assert_int_equal(stored, 5);
    store_put(t->w, store_batch_new(7, "Sysmon", 1, 100, 15, 1, 600), &stored);
    assert_int_equal(stored, 0);
    for (int again = 0; again < 2; again++) {
        struct db_block *b;
        size_t n;
        uint64_t next;
        must(db_blocks_from(t->db, 0, 100, &b, &n, &next, &store_err));
        assert_int_equal(n, 2);
        assert_int_equal(next, db_last_seq(t->db) + 1);
        struct buf bytes = {0};
        struct db_keep *keep;
        size_t n_keep;
        must(db_read_block(t->db, &b[0], &bytes, &keep, &n_keep, &store_err));
        assert_int_equal(n_keep, 0);
        assert_null(keep);
        assert_memory_equal(bytes.p, "7 Sysmon 100 10 1 ", 18);
        assert_int_equal(bytes.len, 518);
        buf_clear(&bytes);
        must(db_read_block(t->db, &b[1], &bytes, &keep, &n_keep, &store_err));
        assert_int_equal(n_keep, 1);
        assert_int_equal(keep[0].first, 5);
        assert_int_equal(keep[0].n, 5);
        assert_int_equal(b[1].first_id, 110);
        assert_int_equal(b[1].last_id, 114);
        mem_free(keep);
        mem_free(b);
        buf_free(&bytes);
        assert_int_equal(held(t->db, 7), 15);
        assert_int_equal(held(t->db, 0), 15);
        assert_int_equal(held(t->db, 8), 0);
        bed_close(t);
        bed_open(t);
    }
    store_put(t->w, store_batch_new(7, "Sysmon", 1, 90, 40, 1, 600), &stored);
    assert_int_equal(stored, 25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stores_and_reads_back, setup, teardown),
    };
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
