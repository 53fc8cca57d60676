/* The ack path: what is acked is stored once, the ledger agrees, refusals leave nothing behind. */
// links: storage base
#include "writer_fixture.h"

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

/* ---- refusals leave nothing behind ---- */

static enum status admit_then_refuse(void *ctx, struct writer *w, struct writer_item *item, struct error *err) {
    enum status st = store_admit(ctx, w, item, err);
    struct store_batch *b = item->owner;
    return st || b->n != 13 ? st : error_set(err, ST_DENIED, "thirteen");
}

static void a_refused_item_leaves_nothing(void **state) {
    struct bed *t = *state;
    writer_stop(&t->w);
    struct writer_options o = store_writer_options();
    o.admit = admit_then_refuse;
    o.spacing_ms = 200;
    must(writer_start(t->db, &o, &t->w, &store_err));
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 500, 1, 1, 50), NULL);
    struct store_batch *b = store_batch_new(1, "Sysmon", 1, 0, 13, 1, 50),
                       *good = store_batch_new(1, "Sysmon", 1, 0, 12, 1, 50);
    must(writer_put(t->w, &b->item));
    must(writer_put(t->w, &good->item)); /* in the same transaction */
    assert_int_equal(store_wait(b), 2);
    assert_int_equal(b->st, ST_DENIED);
    assert_string_equal(b->why, "thirteen");
    store_batch_free(b);
    assert_int_equal(store_wait(good), 1);
    assert_int_equal(good->item.n_stored, 12);
    store_batch_free(good);
    assert_int_equal(held(t->db, 1), 13);
    store_check_ledger(t->db, 1);
}

static void a_host_cannot_make_up_logs_without_end(void **state) {
    struct bed *t = *state;
    static char names[8300][16];
    static struct store_batch *b[8300];
    size_t stored = 0, refused = 0;
    for (size_t i = 0; i < 8300; i++) {
        snprintf(names[i], sizeof names[i], "log %zu", i);
        b[i] = store_batch_new(1, names[i], 1, 1, 1, 1, 10);
        must(writer_put(t->w, &b[i]->item));
    }
    for (size_t i = 0; i < 8300; i++) {
        stored += store_wait(b[i]) == 1;
        refused += b[i]->st == ST_TOOBIG;
        store_batch_free(b[i]);
    }
    assert_int_equal(stored, 8192);
    assert_int_equal(refused, 108);
    store_put(t->w, store_batch_new(2, "log 8299", 1, 1, 1, 1, 10), NULL); /* its own affair */
    store_put(t->w, store_batch_new(1, "log 7", 1, 2, 1, 1, 10), NULL);
    bed_close(t);
    bed_open(t);
    assert_int_equal(held(t->db, 1), 8193);
}

static void names_that_cannot_be_kept_are_refused(void **state) {
    struct bed *t = *state;
    static char longest[1025];
    memset(longest, 'x', sizeof longest);
    const struct {
        const char *name;
        struct slice channel;
    } cases[] = {{"empty", {0}},
                 {"a NUL inside", slice_of("a\0b", 3)},
                 {"too long", slice_of(longest, sizeof longest)}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store_batch *b = store_batch_new(1, "Sysmon", 1, 0, 3, 1, 50);
        b->item.block.channel = cases[i].channel;
        must(writer_put(t->w, &b->item));
        if (store_wait(b) != 2 || b->st != ST_INVALID) fail_msg("%s", cases[i].name);
        store_batch_free(b);
    }
}

/* ---- calls ---- */

static char refusal;
static atomic_int call_status;

static enum status explain_some(void *arg, struct writer *w, struct error *err) {
    struct writer_stream *s;
    size_t n = writer_streams(w, 1, slice_str(""), slice_str("Sysmon"), &s);
    if (n != 1 || s[0].epoch != 1) return error_set(err, ST_NOTFOUND, "%zu streams", n);
    writer_explain(w, s[0].id, 20, 29, LEDGER_CLEARED);
    return arg == &refusal ? ST_CANCELLED : ST_OK;
}

static void call_done(void *arg, enum status st, const struct error *err) {
    (void)err;
    (void)arg;
    atomic_store(&call_status, (int)st);
}

static enum ledger_cause cause_of_hole(struct db *db) {
    struct db_stream *s;
    size_t n;
    struct ledger_note hole = {0};
    uint64_t at = 0;
    must(db_streams(db, 1, &s, &n, &store_err));
    (void)ledger_next_hole(s[0].ledger, &at, &hole);
    db_streams_free(s, n);
    return hole.cause;
}

static void calls_run_inside_a_transaction(void **state) {
    struct bed *t = *state;
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 10, 10, 1, 50), NULL);
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 30, 10, 1, 50), NULL);
    const struct {
        void *arg;
        int want;
        enum ledger_cause cause;
    } cases[] = {{&refusal, ST_CANCELLED, LEDGER_OPEN}, {NULL, ST_OK, LEDGER_CLEARED}};
    for (size_t i = 0; i < 2; i++) {
        atomic_store(&call_status, -1);
        must(writer_call(t->w, explain_some, call_done, cases[i].arg));
        while (atomic_load(&call_status) < 0) store_sleep_ms(1);
        assert_int_equal(atomic_load(&call_status), cases[i].want);
        assert_int_equal(cause_of_hole(t->db), cases[i].cause);
    }
    bed_close(t);
    bed_open(t);
    assert_int_equal(cause_of_hole(t->db), LEDGER_CLEARED);
}

/* ---- the map ---- */

static atomic_bool halt;

static void *read_all_the_time(void *arg) {
    struct db *db = arg;
    while (!atomic_load(&halt)) {
        struct db_block *b;
        size_t n;
        must(db_host_blocks(db, 1, 0, UINT64_MAX, &b, &n, &store_err));
        if (n) {
            struct buf bytes = {0};
            struct db_keep *keep;
            size_t n_keep;
            must(db_read_block(db, &b[n - 1], &bytes, &keep, &n_keep, &store_err));
            assert_int_equal(bytes.len, b[n - 1].len);
            buf_free(&bytes);
        }
        mem_free(b);
    }
    return NULL;
}

static void the_map_grows_under_readers(void **state) {
    struct bed *t = *state;
    bed_close(t);
    options.map_bytes = 256 * 1024;
    bed_open(t);
    pthread_t readers[2];
    atomic_store(&halt, false);
    for (int i = 0; i < 2; i++) pthread_create(&readers[i], NULL, read_all_the_time, t->db);
    for (uint64_t i = 0; i < 80; i++) store_put(t->w, store_batch_new(1, "Sysmon", 1, i * 10, 10, 1, 200000), NULL);
    atomic_store(&halt, true);
    for (int i = 0; i < 2; i++) pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&n_log), 0);
    store_check_ledger(t->db, 1);
    struct db_partition *p;
    assert_int_equal(db_partitions(t->db, &p), 1);
    assert_true(p[0].bytes > 80 * 200000);
    mem_free(p);
}

/* ---- queue and groups ---- */

static void the_queue_is_bounded(void **state) {
    struct bed *t = *state;
    writer_stop(&t->w);
    struct writer_options o = store_writer_options();
    o.queue_bytes = 10000;
    o.spacing_ms = 1000;
    must(writer_start(t->db, &o, &t->w, &store_err));
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 0, 1, 1, 10), NULL); /* at once: idle */
    struct store_batch *b[3];
    for (uint64_t i = 0; i < 3; i++) b[i] = store_batch_new(1, "Sysmon", 1, 1 + i, 1, 1, 4000);
    assert_true(writer_can_put(t->w, 4000));
    must(writer_put(t->w, &b[0]->item));
    must(writer_put(t->w, &b[1]->item));
    assert_false(writer_can_put(t->w, 4000));
    assert_int_equal(writer_put(t->w, &b[2]->item), ST_AGAIN);
    for (int i = 0; i < 2; i++) assert_int_equal(store_wait(b[i]), 1);
    must(writer_put(t->w, &b[2]->item));
    struct writer_state s;
    writer_get_state(t->w, &s);
    assert_int_equal(s.n_commits, 2); /* the two went together */
    writer_stop(&t->w);               /* commits what is queued */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&b[i]->state), 1);
        store_batch_free(b[i]);
    }
}

static void one_commit_holds_several_packs(void **state) {
    struct bed *t = *state;
    struct store_batch *b[6];
    writer_stop(&t->w);
    struct writer_options o = store_writer_options();
    o.spacing_ms = 200;
    o.batch_bytes = 64 << 20;
    must(writer_start(t->db, &o, &t->w, &store_err));
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 0, 1, 1, 10), NULL);
    for (uint64_t i = 0; i < 6; i++)
        b[i] = store_batch_new(1, "Sysmon", 1, 10 + i * 10, 10, 1, i == 3 ? 5000000 : 900000);
    for (int i = 0; i < 6; i++) must(writer_put(t->w, &b[i]->item));
    for (int i = 0; i < 6; i++) {
        assert_int_equal(store_wait(b[i]), 1);
        store_batch_free(b[i]);
    }
    assert_true(db_last_seq(t->db) > 3);
    store_check_ledger(t->db, 1);
    bed_close(t);
    bed_open(t);
    store_check_ledger(t->db, 1);
    store_check_lookups(t->db, 1);
}

/* One item placed under two epochs: its bytes are stored once. */
static enum status admit_twice(void *ctx, struct writer *w, struct writer_item *item, struct error *err) {
    (void)ctx;
    struct writer_stream a, b;
    must(writer_stream_get(w, 1, slice_str(""), item->block.channel, 1, &a, err));
    must(writer_stream_get(w, 1, slice_str(""), item->block.channel, 2, &b, err));
    struct db_keep low = {0, 5}, high = {5, 5};
    struct ledger_span first = {100, 104, 1, 2}, second = {1, 5, 3, 4};
    writer_place(w, item, a.id, &low, 1, &first, 1, 5);
    writer_place(w, item, b.id, &high, 1, &second, 1, 5);
    return ST_OK;
}

static void a_block_in_two_epochs_is_stored_once(void **state) {
    struct bed *t = *state;
    writer_stop(&t->w);
    struct writer_options o = store_writer_options();
    o.admit = admit_twice;
    must(writer_start(t->db, &o, &t->w, &store_err));
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 100, 10, 1, 5000), NULL);
    struct store_scan s = store_scan_all(t->db);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.b[0].offset, s.b[1].offset);
    assert_true(s.b[0].n_kept == 5 && s.b[1].n_kept == 5 && s.b[0].first_id == 100 && s.b[1].last_id == 5);
    mem_free(s.b);
}

/* Many holes: the ledger is stored in parts, which come and go. */
static void a_ledger_of_many_holes_comes_back(void **state) {
    struct bed *t = *state;
    for (int round = 0; round < 4; round++) {
        static const struct {
            uint64_t first, n, step;
        } puts[4][3] = {{{1000, 900, 4}, {1002, 3, 400}, {0, 1, 1}},
                        {{1001, 450, 8}, {5000, 700, 2}, {700, 2, 1}},
                        {{999, 4000, 1}, {1, 1, 1}, {5500, 100, 3}},
                        {{4999, 302, 1}, {5301, 1, 1}, {5302, 40, 1}}}; /* a span grows over the borders of parts */
        for (int i = 0; i < 3; i++) {
            store_put(t->w,
                      store_batch_new(1, "Sysmon", 1, puts[round][i].first, puts[round][i].n, puts[round][i].step, 10),
                      NULL);
            store_check_ledger(t->db, 1);
        }
        bed_close(t);
        bed_open(t);
        store_check_ledger(t->db, 1);
        atomic_store(&store_now, atomic_load(&store_now) + (round == 1) * FILETIME_DAY);
    }
    uint32_t stored;
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 999, 4000, 1, 10), &stored);
    assert_int_equal(stored, 0);
}

/* What one transaction has placed is seen by the next admission of the same transaction. */
static void admission_sees_its_own_transaction(void **state) {
    struct bed *t = *state;
    writer_stop(&t->w);
    struct writer_options o = store_writer_options();
    o.spacing_ms = 300;
    must(writer_start(t->db, &o, &t->w, &store_err));
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 0, 1, 1, 10), NULL);
    struct store_batch *a = store_batch_new(1, "Sysmon", 1, 10, 10, 1, 10),
                       *b = store_batch_new(1, "Sysmon", 1, 15, 10, 1, 10);
    must(writer_put(t->w, &a->item));
    must(writer_put(t->w, &b->item));
    assert_int_equal(store_wait(b), 1);
    assert_int_equal(a->item.n_stored, 10);
    assert_int_equal(b->item.n_stored, 5);
    assert_int_equal(b->item.n_duplicate, 5);
    store_batch_free(a);
    store_batch_free(b);
    store_check_ledger(t->db, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)
        T(stores_and_reads_back),
        T(a_refused_item_leaves_nothing),
        T(a_host_cannot_make_up_logs_without_end),
        T(names_that_cannot_be_kept_are_refused),
        T(calls_run_inside_a_transaction),
        T(the_map_grows_under_readers),
        T(the_queue_is_bounded),
        T(one_commit_holds_several_packs),
        T(a_block_in_two_epochs_is_stored_once),
        T(a_ledger_of_many_holes_comes_back),
        T(admission_sees_its_own_transaction),
    };
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
