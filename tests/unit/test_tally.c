/* Volumes: the stored form, the log and the sheets that it is folded into against a plain list, the limit of kinds. */
// links: storage base
#include "store_fixture.h"

#include "tally.h"
#include "tallyrun.h"

#define SLOT0 ((uint32_t)(DAY0 / TALLY_SLOT))
#define HOSTS 9u
#define CHANNEL "Microsoft-Windows-Sysmon/Operational"

struct model_row {
    uint32_t host, slot, id;
    char rule[80];
    uint64_t events, bytes;
};

struct model {
    struct model_row *rows;
    size_t n, cap;
};

static void model_add(struct model *m, const struct model_row *row) {
    for (size_t i = 0; i < m->n; i++) {
        struct model_row *r = &m->rows[i];
        if (r->host != row->host || r->slot != row->slot || r->id != row->id || strcmp(r->rule, row->rule) != 0)
            continue;
        r->events += row->events;
        r->bytes += row->bytes;
        return;
    }
    mem_grow((void **)&m->rows, m->n, &m->cap, sizeof *m->rows);
    m->rows[m->n++] = *row;
}

static int by_all(const void *pa, const void *pb) {
    const struct model_row *a = pa, *b = pb;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (a->slot != b->slot) return a->slot < b->slot ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return strcmp(a->rule, b->rule);
}

static enum status on_row(void *ctx, const struct tally_row *row) {
    struct model_row r = {
        .host = row->host, .slot = row->slot, .id = row->event_id, .events = row->events, .bytes = row->bytes};
    assert_true(row->is_rest ? !row->channel.len : slice_eq_str(row->channel, CHANNEL));
    if (row->is_rest) {
        snprintf(r.rule, sizeof r.rule, "(rest)");
    } else {
        snprintf(r.rule, sizeof r.rule, "%.*s", (int)row->rule.len, (const char *)row->rule.p);
    }
    model_add(ctx, &r);
    return ST_OK;
}

struct bed {
    char *dir;
    struct db *db;
    struct writer *w;
    uint64_t record;
};

static int setup(void **state) {
    struct bed *t = mem_zalloc(sizeof *t);
    struct db_options options = {.min_free_bytes = 1};
    struct writer_options o = store_writer_options();
    atomic_store(&store_now, DAY0);
    t->dir = store_dir();
    must(db_open(t->dir, &options, &t->db, &store_err));
    must(writer_start(t->db, &o, &t->w, &store_err));
    *state = t;
    return 0;
}

static int teardown(void **state) {
    struct bed *t = *state;
    writer_stop(&t->w);
    db_close(&t->db);
    store_remove(t->dir);
    mem_free(t);
    return 0;
}

static void pack(struct bed *t) {
    t->record++;
    store_put(t->w, store_batch_new(1, "Sysmon", 1, t->record, 1, 1, 10), NULL);
}

static void add(struct index_run *run, const struct model_row *r) {
    index_run_tally(run, &(struct tally_cell){.host = r->host,
                                              .slot = r->slot,
                                              .event_id = r->id,
                                              .channel = index_run_name(run, SLICE_LIT(CHANNEL)),
                                              .rule = index_run_name(run, slice_str(r->rule)),
                                              .events = r->events,
                                              .bytes = r->bytes});
}

static void read_day(struct bed *t, const char *day, uint32_t host, uint32_t first, uint32_t last, struct model *m) {
    must(tally_each(t->db, day, host, first, last, on_row, m, &store_err));
}

static void read_all(struct bed *t, uint32_t host, uint32_t first, uint32_t last, struct model *m) {
    struct db_partition *parts;
    size_t n = db_partitions(t->db, &parts);
    for (size_t i = 0; i < n; i++) read_day(t, parts[i].day, host, first, last, m);
    mem_free(parts);
}

static void check_window(struct bed *t, const char *name, const struct model *want, uint32_t host, uint32_t first,
                         uint32_t last) {
    struct model got = {0}, expect = {0};
    read_all(t, host, first, last, &got);
    for (size_t i = 0; i < want->n; i++) {
        const struct model_row *r = &want->rows[i];
        if ((!host || r->host == host) && r->slot >= first && r->slot <= last) model_add(&expect, r);
    }
    if (got.n != expect.n) fail_msg("%s, host %u: %zu rows, want %zu", name, host, got.n, expect.n);
    bool any = got.rows && expect.rows;
    if (any) {
        qsort(got.rows, got.n, sizeof *got.rows, by_all);
        qsort(expect.rows, expect.n, sizeof *expect.rows, by_all);
    }
    for (size_t i = 0; any && i < got.n; i++) {
        const struct model_row *a = &got.rows[i], *b = &expect.rows[i];
        if (by_all(a, b) || a->events != b->events || a->bytes != b->bytes)
            fail_msg("%s: host %u slot %u id %u %s: %d events %d bytes, want %u %u %u %s: %d %d", name, a->host,
                     a->slot, a->id, a->rule, (int)a->events, (int)a->bytes, b->host, b->slot, b->id, b->rule,
                     (int)b->events, (int)b->bytes);
    }
    mem_free(got.rows);
    mem_free(expect.rows);
}

static void check(struct bed *t, const char *name, const struct model *want) {
    for (uint32_t host = 0; host <= HOSTS + 1; host++) check_window(t, name, want, host, 0, UINT32_MAX);
    check_window(t, name, want, 0, SLOT0 + 20, SLOT0 + 200);
    check_window(t, name, want, 3, SLOT0 + 144, SLOT0 + 287);
    check_window(t, name, want, HOSTS, SLOT0 + 5, SLOT0 + 5);
}

static uint32_t random_below(uint32_t n) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 33) % n;
}

static void one_run(struct bed *t, struct model *want, unsigned n) {
    uint64_t seq;
    char day[DB_DAY_LEN];
    pack(t);
    must(index_next(t->db, &seq, day, &store_err));
    struct index_run *run = index_run_new(t->db, day);
    for (unsigned i = 0; i < n; i++) {
        struct model_row r = {.host = 1 + random_below(HOSTS),
                              .slot = SLOT0 + random_below(300),
                              .id = 1 + random_below(3),
                              .events = 1 + random_below(5),
                              .bytes = random_below(1000)};
        if (random_below(3)) snprintf(r.rule, sizeof r.rule, "technique_id=T%u", random_below(4));
        add(run, &r);
        model_add(want, &r);
    }
    must(index_run_flush(run, seq, &store_err));
    index_run_free(&run);
}

static void log_and_sheets_agree_with_a_list(void **state) {
    struct bed *t = *state;
    struct model want = {0};
    check(t, "nothing yet", &want);
    for (unsigned i = 0; i < 40; i++) one_run(t, &want, i % 7 ? 15 : 0);
    check(t, "in the log", &want);
    for (unsigned i = 0; i < TALLY_LOG_RUNS; i++) one_run(t, &want, 10);
    check(t, "folded once", &want);
    atomic_store(&store_now, DAY0 + FILETIME_DAY);
    for (unsigned i = 0; i < 10; i++) one_run(t, &want, 10);
    check(t, "over two days", &want);
    writer_stop(&t->w);
    db_close(&t->db);
    struct db_options options = {.min_free_bytes = 1};
    struct writer_options o = store_writer_options();
    must(db_open(t->dir, &options, &t->db, &store_err));
    must(writer_start(t->db, &o, &t->w, &store_err));
    check(t, "after a restart", &want);
    for (unsigned i = 0; i < TALLY_LOG_RUNS + 5; i++) one_run(t, &want, 3);
    check(t, "folded again", &want);
    mem_free(want.rows);
}

/* A chunk of the log holds thousands of cells; hosts are found in whichever they are in. */
static void many_chunks(void **state) {
    struct bed *t = *state;
    struct model got = {0};
    uint64_t seq;
    char day[DB_DAY_LEN];
    enum { N_HOSTS = 300, N_SLOTS = 100 };
    for (unsigned k = 0; k < 2; k++) {
        pack(t);
        must(index_next(t->db, &seq, day, &store_err));
        struct index_run *run = index_run_new(t->db, day);
        for (uint32_t h = 1; h <= N_HOSTS; h++) {
            for (uint32_t s = 0; s < N_SLOTS; s++)
                add(run, &(struct model_row){.host = 2 * h, .slot = SLOT0 + 3 * s, .id = 1, .events = h, .bytes = s});
        }
        must(index_run_flush(run, seq, &store_err));
        index_run_free(&run);
    }
    for (uint32_t h = 1; h <= 2 * N_HOSTS + 1; h++) {
        got.n = 0;
        read_all(t, h, 0, UINT32_MAX, &got);
        if (got.n != (h % 2 ? 0 : N_SLOTS)) fail_msg("host %u: %zu rows", h, got.n);
        for (size_t i = 0; i < got.n; i++) assert_true(got.rows[i].events == h && got.rows[i].host == h);
    }
    mem_free(got.rows);
}

/* A host that makes up rule names: its sums stay exact, and so do those of the rules that were there before. */
static void made_up_names_run_into_the_limit(void **state) {
    struct bed *t = *state;
    struct model got = {0};
    uint64_t seq, events = 0, bytes = 0;
    char day[DB_DAY_LEN];
    for (unsigned k = 0; k < 2 * (TALLY_LOG_RUNS + 1); k++) {
        pack(t);
        must(index_next(t->db, &seq, day, &store_err));
        struct index_run *run = index_run_new(t->db, day);
        for (unsigned i = 0; i < 20; i++) {
            struct model_row r = {.host = 1, .slot = SLOT0, .id = i % 2 ? 1 : 5000 + k, .events = 1, .bytes = 10};
            if (i == 0) {
                r.id = 3;
                snprintf(r.rule, sizeof r.rule, "honest");
            } else {
                snprintf(r.rule, sizeof r.rule, "junk %u %u", k, i);
            }
            add(run, &r);
            events += r.events;
            bytes += r.bytes;
        }
        must(index_run_flush(run, seq, &store_err));
        index_run_free(&run);
    }
    read_all(t, 1, 0, UINT32_MAX, &got);
    size_t n_kinds = 0, n_rest = 0;
    uint64_t honest = 0;
    for (size_t i = 0; i < got.n; i++) {
        const struct model_row *r = &got.rows[i];
        bool rest = strcmp(r->rule, "(rest)") == 0;
        if (rest) assert_true(r->id == 1 || r->id == TALLY_OTHER_IDS);
        n_kinds += !rest;
        n_rest += rest;
        events -= r->events;
        bytes -= r->bytes;
        if (strcmp(r->rule, "honest") == 0) honest += r->events;
    }
    assert_int_equal(events, 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(n_kinds, TALLY_MAX_KINDS);
    assert_int_equal(n_rest, 2);
    assert_int_equal(honest, 2 * (TALLY_LOG_RUNS + 1));
    mem_free(got.rows);
}

static void names_are_cut(void **state) {
    (void)state;
    struct tallytab r;
    char name[TALLY_NAME_MAX + 40];
    tallytab_init(&r);
    memset(name, 'a', sizeof name);
    assert_int_equal(tallytab_name(&r, SLICE_LIT("")), TALLY_NAME_NONE);
    uint32_t long_one = tallytab_name(&r, slice_of(name, sizeof name));
    assert_int_equal(long_one, tallytab_name(&r, slice_of(name, TALLY_NAME_MAX)));
    assert_int_not_equal(long_one, tallytab_name(&r, slice_of(name, TALLY_NAME_MAX - 1)));
    memcpy(name + TALLY_NAME_MAX - 1, "\xc3\xa4", 2); /* a character over the limit goes whole */
    assert_int_equal(tallytab_name(&r, slice_of(name, sizeof name)),
                     tallytab_name(&r, slice_of(name, TALLY_NAME_MAX - 1)));
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "name %u", i);
        uint32_t n = tallytab_name(&r, slice_str(name));
        if (n != tallytab_name(&r, slice_str(name))) fail_msg("%s has two numbers", name);
    }
    tallytab_clear(&r);
    assert_int_equal(tallytab_name(&r, SLICE_LIT("x")), TALLY_NAMES);
    tallytab_deinit(&r);
}

static void damaged_sheets_are_refused(void **state) {
    (void)state;
    struct tallytab r;
    struct buf sheet = {0};
    struct model got = {0};
    tallytab_init(&r);
    for (uint32_t i = 0; i < 6; i++) {
        struct tally_cell c = {.host = 1 + i / 3,
                               .slot = SLOT0 + 100 * i,
                               .event_id = 1 + i % 2,
                               .channel = tallytab_name(&r, SLICE_LIT(CHANNEL)),
                               .rule = tallytab_name(&r, i % 2 ? SLICE_LIT("rule") : SLICE_LIT("")),
                               .events = i + 1,
                               .bytes = 100};
        tallytab_add(&r, &c);
    }
    tallytab_sort(&r);
    tallytab_encode(&r, 0, r.n, &sheet);
    must(tally_sheet_each(buf_slice(&sheet), 0, 0, UINT32_MAX, on_row, &got));
    assert_int_equal(got.n, 6);
    size_t n_ok = 0;
    for (size_t cut = 0; cut < sheet.len; cut++) {
        uint8_t *copy = mem_alloc(cut);
        memcpy(copy, sheet.p, cut);
        got.n = 0; /* a cut between two sections is a sheet of fewer */
        n_ok += !tally_sheet_each(slice_of(copy, cut), 0, 0, UINT32_MAX, on_row, &got);
        mem_free(copy);
    }
    assert_true(n_ok <= 5);
    mem_free(got.rows);
    buf_free(&sheet);
    tallytab_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_cut),
        cmocka_unit_test(damaged_sheets_are_refused),
        cmocka_unit_test_setup_teardown(log_and_sheets_agree_with_a_list, setup, teardown),
        cmocka_unit_test_setup_teardown(many_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(made_up_names_run_into_the_limit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
