/* Small records: transactions, order, sequences, limits, cursors, threads. */
// links: storage base
#include "store_fixture.h"

#include "cursor.h"
#include "fleetdb.h"

static char *dir;
static struct db *db;
static const struct db_options options = {.min_free_bytes = 1};

static int setup(void **state) {
    (void)state;
    dir = store_dir();
    must(db_open(dir, &options, &db, &store_err));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    db_close(&db);
    store_remove(dir);
    return 0;
}

static void put(const char *key, const char *value) {
    struct fleet_txn *t;
    must(fleet_begin(db, &t, &store_err));
    must(fleet_txn_put(t, FLEET_HOSTS, slice_str(key), slice_str(value), &store_err));
    must(fleet_commit(&t, &store_err));
    assert_null(t);
}

static void a_transaction_is_all_or_nothing(void **state) {
    (void)state;
    struct fleet_txn *t;
    struct slice v;
    struct buf b = {0};
    put("a", "1");
    must(fleet_begin(db, &t, &store_err));
    must(fleet_txn_put(t, FLEET_HOSTS, slice_str("a"), slice_str("2"), &store_err));
    must(fleet_txn_put(t, FLEET_CERTS, slice_str("c"), slice_str("3"), &store_err));
    must(fleet_txn_get(t, FLEET_HOSTS, slice_str("a"), &v));
    assert_true(slice_eq_str(v, "2"));
    assert_int_equal(fleet_txn_get(t, FLEET_TOKENS, slice_str("a"), &v), ST_NOTFOUND);
    fleet_abort(&t);
    fleet_abort(&t);
    must(fleet_get(db, FLEET_HOSTS, slice_str("a"), &b, &store_err));
    assert_true(slice_eq_str(buf_slice(&b), "1"));
    assert_int_equal(fleet_get(db, FLEET_CERTS, slice_str("c"), &b, &store_err), ST_NOTFOUND);
    must(fleet_begin(db, &t, &store_err));
    must(fleet_txn_delete(t, FLEET_HOSTS, slice_str("a"), &store_err));
    assert_int_equal(fleet_txn_delete(t, FLEET_HOSTS, slice_str("zz"), &store_err), ST_NOTFOUND);
    must(fleet_commit(&t, &store_err));
    assert_int_equal(fleet_get(db, FLEET_HOSTS, slice_str("a"), &b, &store_err), ST_NOTFOUND);
    buf_free(&b);
}

static void keys_have_limits(void **state) {
    (void)state;
    static uint8_t key[512];
    struct fleet_txn *t;
    struct buf b = {0};
    must(fleet_begin(db, &t, &store_err));
    assert_int_equal(fleet_txn_put(t, FLEET_HOSTS, slice_of(key, 0), SLICE_LIT("x"), &store_err), ST_INVALID);
    assert_int_equal(fleet_txn_put(t, FLEET_HOSTS, slice_of(key, 512), SLICE_LIT("x"), &store_err), ST_INVALID);
    must(fleet_txn_put(t, FLEET_HOSTS, slice_of(key, 511), (struct slice){0}, &store_err));
    must(fleet_commit(&t, &store_err));
    must(fleet_get(db, FLEET_HOSTS, slice_of(key, 511), &b, &store_err));
    assert_int_equal(b.len, 0);
    assert_int_equal(fleet_get(db, FLEET_HOSTS, slice_of(key, 512), &b, &store_err), ST_NOTFOUND);
    buf_free(&b);
}

static enum status list_key(void *ctx, struct slice key, struct slice value) {
    struct buf *b = ctx;
    buf_slice_append(b, key);
    buf_byte(b, ' ');
    return slice_eq_str(value, "stop") ? ST_END : ST_OK;
}

static void walks_in_key_order(void **state) {
    (void)state;
    static const char *const keys[] = {"b", "d", "f", "ba"};
    for (int i = 0; i < 4; i++) put(keys[i], "v");
    static const struct {
        const char *from;
        bool reverse;
        const char *want;
    } cases[] = {
        {NULL, false, "b ba d f "}, {NULL, true, "f d ba b "}, {"c", false, "d f "},
        {"c", true, "ba b "},       {"d", false, "d f "},      {"d", true, "d ba b "},
        {"z", false, ""},           {"z", true, "f d ba b "},  {"a", true, ""},
        {"a", false, "b ba d f "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        struct slice from = {0};
        if (cases[i].from) from = slice_str(cases[i].from);
        must(fleet_each(db, FLEET_HOSTS, from, cases[i].reverse, list_key, &b, &store_err));
        if (strcmp(buf_cstr(&b), cases[i].want) != 0)
            fail_msg("from %s: \"%s\"", cases[i].from ? cases[i].from : "-", buf_cstr(&b));
        buf_free(&b);
    }
    put("ba", "stop");
    struct buf b = {0};
    must(fleet_each(db, FLEET_HOSTS, (struct slice){0}, false, list_key, &b, &store_err));
    assert_string_equal(buf_cstr(&b), "b ba ");
    buf_free(&b);
}

static void sequences_outlive_a_restart(void **state) {
    (void)state;
    struct fleet_txn *t;
    uint64_t n;
    for (uint64_t i = 1; i < 4; i++) {
        must(fleet_begin(db, &t, &store_err));
        must(fleet_txn_next(t, "host", &n, &store_err));
        assert_int_equal(n, i);
        must(fleet_txn_next(t, "other", &n, &store_err));
        assert_int_equal(n, i);
        must(fleet_commit(&t, &store_err));
        must(fleet_begin(db, &t, &store_err));
        must(fleet_txn_next(t, "host", &n, &store_err));
        fleet_abort(&t); /* was never given out */
        db_close(&db);
        must(db_open(dir, &options, &db, &store_err));
    }
    must(fleet_begin(db, &t, &store_err));
    must(fleet_txn_raise(t, "host", 2, &store_err)); /* is over that anyhow */
    must(fleet_txn_next(t, "host", &n, &store_err));
    assert_int_equal(n, 4);
    must(fleet_txn_raise(t, "host", UINT64_C(1) << 40, &store_err));
    must(fleet_txn_next(t, "host", &n, &store_err));
    assert_true(n == (UINT64_C(1) << 40) + 1);
    must(fleet_commit(&t, &store_err));
}

static void much_is_written_without_a_limit_in_sight(void **state) {
    (void)state;
    uint8_t *value = mem_zalloc(1 << 20);
    for (int round = 0; round < 10; round++) {
        struct fleet_txn *t;
        must(fleet_begin(db, &t, &store_err));
        for (int i = 0; i < 30; i++) {
            char key[32];
            snprintf(key, sizeof key, "%d-%d", round, i);
            must(fleet_txn_put(t, FLEET_AUDIT, slice_str(key), slice_of(value, 1 << 20), &store_err));
        }
        must(fleet_commit(&t, &store_err));
    }
    struct fleet_txn *t;
    enum status st = ST_OK;
    must(fleet_begin(db, &t, &store_err));
    for (int i = 0; i < 2000 && !st; i++) {
        char key[32];
        snprintf(key, sizeof key, "big-%d", i);
        st = fleet_txn_put(t, FLEET_AUDIT, slice_str(key), slice_of(value, 1 << 20), &store_err);
    }
    assert_int_equal(st, ST_TOOBIG);
    assert_int_equal(fleet_commit(&t, &store_err), ST_TOOBIG); /* not half of it */
    struct buf b = {0};
    assert_int_equal(fleet_get(db, FLEET_AUDIT, slice_str("big-0"), &b, &store_err), ST_NOTFOUND);
    must(fleet_get(db, FLEET_AUDIT, slice_str("9-29"), &b, &store_err));
    buf_free(&b);
    mem_free(value);
}

static void cursors_are_kept_and_never_point_past_the_packs(void **state) {
    (void)state;
    uint64_t seq;
    must(cursor_get(db, "elastic", &seq, &store_err));
    assert_int_equal(seq, 0);
    struct writer *w;
    struct writer_options o = store_writer_options();
    must(writer_start(db, &o, &w, &store_err));
    for (uint64_t i = 0; i < 5; i++) store_put(w, store_batch_new(1, "Sysmon", 1, i, 1, 1, 10), NULL);
    writer_stop(&w);
    must(cursor_set(db, "elastic", 3, &store_err));
    must(cursor_set(db, "kafka", 99, &store_err));
    db_close(&db);
    must(db_open(dir, &options, &db, &store_err));
    must(cursor_get(db, "elastic", &seq, &store_err));
    assert_int_equal(seq, 3);
    must(cursor_get(db, "kafka", &seq, &store_err));
    assert_int_equal(seq, 5);
}

static void *count_up(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct fleet_txn *t;
        uint64_t n;
        must(fleet_begin(db, &t, &store_err));
        must(fleet_txn_next(t, "n", &n, &store_err));
        must(fleet_commit(&t, &store_err));
        struct buf b = {0};
        must(fleet_each(db, FLEET_HOSTS, (struct slice){0}, false, list_key, &b, &store_err));
        buf_free(&b);
    }
    return NULL;
}

static void threads_take_turns(void **state) {
    (void)state;
    pthread_t t[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, count_up, NULL), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    struct fleet_txn *txn;
    uint64_t n;
    must(fleet_begin(db, &txn, &store_err));
    must(fleet_txn_next(txn, "n", &n, &store_err));
    fleet_abort(&txn);
    assert_int_equal(n, 81);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_transaction_is_all_or_nothing),
        T(keys_have_limits),
        T(walks_in_key_order),
        T(sequences_outlive_a_restart),
        T(much_is_written_without_a_limit_in_sight),
        T(cursors_are_kept_and_never_point_past_the_packs),
        T(threads_take_turns),
    };
    return cmocka_run_group_tests_name("fleetdb", tests, NULL, NULL);
}
