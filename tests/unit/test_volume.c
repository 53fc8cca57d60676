/* server/volume and noise: spans of time, what rows stand for, programs added up over their processes. */
// links: server rules storage proto base
#include "store_fixture.h"

#include "noise.h"
#include "volume.h"

#define SLOT0 ((uint32_t)(DAY0 / TALLY_SLOT))

static void test_spans(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t from, settled, len, now; /* in minutes */
        uint64_t want[4];                 /* since and until of both, in minutes; all 0: nothing to compare yet */
        uint64_t again;
    } cases[] = {
        {"on the border", 600, 600, 60, 10000, {540, 600, 600, 660}, 0},
        {"in a slot", 605, 605, 60, 10000, {540, 600, 610, 670}, 0},
        {"a change that lasts", 605, 705, 60, 10000, {540, 600, 710, 770}, 0},
        {"not so much time since", 600, 600, 1440, 655, {550, 600, 600, 650}, 0},
        {"not so much time before", 20, 20, 1440, 10000, {0, 20, 20, 40}, 0},
        {"less than a slot is one", 600, 600, 1, 10000, {590, 600, 600, 610}, 0},
        {"too soon", 605, 605, 60, 615, {0, 0, 0, 0}, 620},
        {"in the future", 605, 605, 60, 100, {0, 0, 0, 0}, 620},
    };
    const uint64_t minute = TALLY_SLOT / 10;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct volume_span s[2];
        enum status st = volume_around(cases[i].from * minute, cases[i].settled * minute, cases[i].len * minute,
                                       cases[i].now * minute, s);
        if ((st == ST_AGAIN) != (cases[i].again != 0)) fail_msg("%s: %s", cases[i].name, status_name(st));
        if (st) {
            if (s[1].until != cases[i].again * minute)
                fail_msg("%s: again at %d", cases[i].name, (int)(s[1].until / minute));
            continue;
        }
        const uint64_t got[] = {s[0].since, s[0].until, s[1].since, s[1].until};
        for (int k = 0; k < 4; k++) {
            if (got[k] != cases[i].want[k] * minute) fail_msg("%s: %d is %d", cases[i].name, k, (int)(got[k] / minute));
        }
    }
    struct volume_span s = volume_span(601 * minute, 609 * minute);
    assert_true(s.since == 600 * minute && s.until == 610 * minute);
    s = volume_span(0, UINT64_MAX);
    assert_true(s.since == 0 && s.until > UINT64_MAX - 2 * TALLY_SLOT);
    s = volume_span(10, 5);
    assert_true(s.since == 0 && s.until == 0);
}

struct bed {
    char *dir;
    struct db *db;
    struct writer *w;
};

static void add(struct index_run *run, uint32_t host, uint32_t slot, uint32_t id, const char *rule, uint64_t n) {
    index_run_tally(run, &(struct tally_cell){.host = host,
                                              .slot = SLOT0 + slot,
                                              .event_id = id,
                                              .channel = index_run_name(run, SLICE_LIT("Sysmon")),
                                              .rule = index_run_name(run, slice_str(rule)),
                                              .events = n,
                                              .bytes = 10 * n});
}

static void add_proc(struct index_run *run, unsigned n, const char *image, unsigned id, uint64_t count) {
    struct proc p = {.pid = 4, .first_seen = DAY0 + 10, .last_seen = DAY0 + 20, .image = slice_str(image)};
    store_guid(1, n, p.guid.b);
    p.counts[id] = count;
    index_run_proc(run, 1, &p);
}

static int setup(void **state) {
    struct bed *t = mem_zalloc(sizeof *t);
    struct db_options options = {.min_free_bytes = 1};
    struct writer_options o = store_writer_options();
    atomic_store(&store_now, DAY0);
    t->dir = store_dir();
    must(db_open(t->dir, &options, &t->db, &store_err));
    must(writer_start(t->db, &o, &t->w, &store_err));
    uint64_t seq;
    char day[DB_DAY_LEN];
    struct store_batch *b = store_batch_new(1, "Sysmon", 1, 1, 1, 1, 10);
    b->item.block.min_time = DAY0; /* the days that the cells below are of */
    b->item.block.max_time = DAY0 + 2 * FILETIME_DAY;
    store_put(t->w, b, NULL);
    must(index_next(t->db, &seq, day, &store_err));
    struct db_block *blocks;
    size_t n;
    uint64_t next;
    must(db_blocks_from(t->db, seq, 10, &blocks, &n, &next, &store_err));
    struct index_run *run = index_run_new(t->db, day);
    blocks[0].min_time = DAY0;
    blocks[0].max_time = DAY0 + 2 * FILETIME_DAY;
    index_run_block(run, &blocks[0], (struct slice){0});
    mem_free(blocks);
    add(run, 1, 0, 1, "a", 1);
    add(run, 1, 1, 1, "a", 2);
    add(run, 1, 143, 3, "a", 4);
    add(run, 1, 144, 3, "", 8);
    add(run, 2, 1, 1, "b", 16);
    add(run, 2, 150, 1, "a", 32);
    add(run, 3, 1, 22, "c", 64);
    add_proc(run, 1, "C:\\X.exe", 1, 5);
    add_proc(run, 2, "c:\\x.EXE", 3, 7);
    add_proc(run, 3, "C:\\y.exe", 3, 8);
    add_proc(run, 4, "", 3, 1);
    must(index_run_flush(run, seq, &store_err));
    index_run_free(&run);
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

#define ALL \
    { DAY0, DAY0 + 3 * FILETIME_DAY }

static void test_rows(void **state) {
    struct bed *t = *state;
    static const uint32_t one[] = {1}, two[] = {1, 3};
    static const struct {
        const char *name;
        struct volume_spec spec;
        const char *want; /* host/id/rule/day:events[,events after] with blanks between, the most bytes first */
    } cases[] = {
        {"nothing", {.all_hosts = true, .spans = {ALL}}, "0/0//0:127"},
        {"by host", {.all_hosts = true, .by = VOLUME_BY_HOST, .spans = {ALL}}, "3/0//0:64 2/0//0:48 1/0//0:15"},
        {"by rule",
         {.all_hosts = true, .by = VOLUME_BY_RULE, .spans = {ALL}},
         "0/0/c/0:64 0/0/a/0:39 0/0/b/0:16 0/0//0:8"},
        {"by id", {.hosts = two, .n_hosts = 2, .by = VOLUME_BY_ID, .spans = {ALL}}, "0/22//0:64 0/3//0:12 0/1//0:3"},
        {"one host",
         {.hosts = one, .n_hosts = 1, .by = VOLUME_BY_ID | VOLUME_BY_RULE, .spans = {ALL}},
         "0/3//0:8 0/3/a/0:4 0/1/a/0:3"},
        {"nobody", {.by = VOLUME_BY_HOST, .spans = {ALL}}, ""},
        {"by day", {.all_hosts = true, .by = VOLUME_BY_DAY, .spans = {ALL}}, "0/0//0:87 0/0//1:40"},
        {"a part",
         {.all_hosts = true, .by = VOLUME_BY_HOST, .spans = {{DAY0 + TALLY_SLOT, DAY0 + 2 * TALLY_SLOT}}},
         "3/0//0:64 2/0//0:16 1/0//0:2"},
        {"before and after",
         {.all_hosts = true,
          .by = VOLUME_BY_RULE,
          .spans = {{DAY0, DAY0 + 2 * TALLY_SLOT}, {DAY0 + 143 * TALLY_SLOT, DAY0 + 151 * TALLY_SLOT}}},
         "0/0/c/0:64,0 0/0/a/0:3,36 0/0/b/0:16,0 0/0//0:0,8"},
        {"no time", {.all_hosts = true, .by = VOLUME_BY_HOST}, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct volume *v = volume_new(t->db, &cases[i].spec);
        const struct volume_row *rows;
        struct volume_sum all, sum = {0};
        struct buf got = {0};
        enum status st;
        do st = volume_step(v, &store_err);
        while (!st);
        assert_int_equal(st, ST_END);
        size_t n = volume_rows(v, &rows, &all);
        for (size_t k = 0; k < n; k++) {
            buf_printf(&got, "%s%u/%u/%.*s/%d:%d", k ? " " : "", rows[k].host, rows[k].event_id, (int)rows[k].rule.len,
                       (const char *)rows[k].rule.p, rows[k].day ? (int)((rows[k].day - DAY0) / FILETIME_DAY) : 0,
                       (int)rows[k].sum.events[0]);
            if (cases[i].spec.spans[1].until) buf_printf(&got, ",%d", (int)rows[k].sum.events[1]);
            assert_true(rows[k].sum.bytes[0] == 10 * rows[k].sum.events[0] && !rows[k].is_rest);
            sum.events[0] += rows[k].sum.events[0];
            sum.events[1] += rows[k].sum.events[1];
        }
        if (strcmp(buf_cstr(&got), cases[i].want) != 0) fail_msg("%s: %s", cases[i].name, buf_cstr(&got));
        assert_true(all.events[0] == sum.events[0] && all.events[1] == sum.events[1]);
        buf_free(&got);
        volume_free(&v);
    }
}

static void test_noise(void **state) {
    struct bed *t = *state;
    struct noise n;
    must(noise_images(t->db, 1, 0, &n, &store_err));
    assert_int_equal(n.n, 3);
    assert_true(slice_eq_nocase(n.images[0].image, SLICE_LIT("C:\\x.exe")) && n.images[0].events == 12);
    assert_true(n.images[0].processes == 2 && n.images[0].counts[1] == 5 && n.images[0].counts[3] == 7);
    assert_true(slice_eq_str(n.images[1].image, "C:\\y.exe") && n.images[1].events == 8);
    assert_true(!n.images[2].image.len && n.images[2].processes == 1);
    noise_deinit(&n);
    must(noise_images(t->db, 1, DAY0 + 21, &n, &store_err)); /* none was heard of since */
    assert_int_equal(n.n, 0);
    noise_deinit(&n);
    must(noise_images(t->db, 1, DAY0 + FILETIME_DAY, &n, &store_err)); /* the day is over */
    assert_int_equal(n.n, 0);
    noise_deinit(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans),
        cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_noise, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
