/* Process rows: merging, the stored form, and the table over several days. */
// links: storage base
#include "store_fixture.h"

#include "procs.h"

static struct guid guid_of(unsigned n) {
    struct guid g;
    store_guid(1, n, g.b);
    return g;
}

static void event_1_beats_placeholders(void **state) {
    (void)state;
    struct proc start = {.guid = guid_of(1),
                         .parent = guid_of(9),
                         .has_start = true,
                         .start = 100,
                         .first_seen = 100,
                         .last_seen = 100,
                         .pid = 5,
                         .parent_pid = 4,
                         .image = SLICE_LIT("C:\\a.exe"),
                         .command_line = SLICE_LIT("a -x"),
                         .start_record = 77,
                         .start_stream = 3,
                         .counts = {[1] = 1}};
    struct proc seen = {.guid = guid_of(1),
                        .first_seen = 90,
                        .last_seen = 300,
                        .pid = 6,
                        .image = SLICE_LIT("a.exe"),
                        .user = SLICE_LIT("me"),
                        .counts = {[3] = 2, [1] = 1}};
    struct proc end = {
        .guid = guid_of(1), .has_end = true, .end = 400, .first_seen = 400, .last_seen = 400, .counts = {[5] = 1}};
    const struct proc *const orders[][3] = {{&start, &seen, &end},
                                            {&seen, &start, &end},
                                            {&end, &seen, &start},
                                            {&seen, &end, &start}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct proc p = {.guid = guid_of(1)}, back;
        struct buf b = {0};
        for (int j = 0; j < 3; j++) proc_merge(&p, orders[i][j]);
        proc_encode(&p, &b);
        assert_int_equal(proc_decode(buf_slice(&b), &back), ST_OK);
        assert_true(back.has_start && back.has_end && back.start == 100 && back.end == 400);
        assert_true(back.first_seen == 90 && back.last_seen == 400);
        assert_true(back.pid == 5 && back.parent_pid == 4 && back.start_record == 77 && back.start_stream == 3);
        assert_true(slice_eq_str(back.image, "C:\\a.exe") && slice_eq_str(back.command_line, "a -x") &&
                    slice_eq_str(back.user, "me"));
        assert_true(guid_eq(&back.parent, &start.parent));
        assert_true(back.counts[1] == 2 && back.counts[3] == 2 && back.counts[5] == 1 && !back.counts[32]);
        for (size_t cut = 0; cut < b.len; cut++) {
            uint8_t *copy = mem_alloc(cut);
            if (cut) memcpy(copy, b.p, cut);
            struct proc bad; /* a cut between two counts leaves a row of fewer counts: never a read past the end */
            enum status st = proc_decode(slice_of(copy, cut), &bad);
            if (cut < b.len - 6) assert_int_not_equal(st, ST_OK);
            mem_free(copy);
        }
        buf_free(&b);
    }
}

struct bed {
    char *dir;
    struct db *db;
    struct writer *w;
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

/* One pack of the day that store_now says, and a run that holds the rows given. */
static void add_rows(struct bed *t, const struct proc *rows, size_t n) {
    static uint64_t id;
    store_put(t->w, store_batch_new(1, "Sysmon", 1, id++, 1, 1, 10), NULL);
    uint64_t seq;
    char day[DB_DAY_LEN];
    must(index_next(t->db, &seq, day, &store_err));
    struct index_run *run = index_run_new(t->db, day);
    for (size_t i = 0; i < n; i++) index_run_proc(run, 1, &rows[i]);
    must(index_run_flush(run, seq, &store_err));
    index_run_free(&run);
}

static void rows_are_found_over_days(void **state) {
    struct bed *t = *state;
    /* yesterday: seen only, under a parent that turns out wrong; later the same day and the next day: event 1 */
    struct proc seen = {
        .guid = guid_of(1), .parent = guid_of(8), .pid = 70, .first_seen = 5, .last_seen = 6, .counts = {[3] = 1}};
    struct proc start = {.guid = guid_of(1),
                         .parent = guid_of(9),
                         .has_start = true,
                         .start = 4,
                         .pid = 70,
                         .first_seen = 4,
                         .last_seen = 4,
                         .image = SLICE_LIT("x.exe"),
                         .counts = {[1] = 1}};
    struct proc other = {.guid = guid_of(2),
                         .parent = guid_of(9),
                         .has_start = true,
                         .start = 9,
                         .pid = 70,
                         .first_seen = 9,
                         .last_seen = 9,
                         .counts = {[1] = 1}};
    struct proc later = {.guid = guid_of(1), .first_seen = 50, .last_seen = 60, .pid = 70, .counts = {[22] = 7}};
    add_rows(t, &seen, 1);
    add_rows(t, &start, 1);
    atomic_store(&store_now, DAY0 + FILETIME_DAY);
    add_rows(t, (struct proc[]){other, later}, 2);
    struct proc p;
    struct buf bytes = {0};
    struct guid one = guid_of(1), wrong = guid_of(8), right = guid_of(9), *children;
    must(procs_get(t->db, 1, &one, &p, &bytes, &store_err));
    assert_true(p.has_start && p.start == 4 && p.last_seen == 60 && p.counts[22] == 7 && p.counts[3] == 1 &&
                p.counts[1] == 1);
    assert_true(slice_eq_str(p.image, "x.exe"));
    size_t n;
    must(procs_children(t->db, 1, &wrong, &children, &n, &store_err));
    assert_int_equal(n, 0);
    mem_free(children);
    must(procs_children(t->db, 1, &right, &children, &n, &store_err));
    assert_int_equal(n, 2);
    assert_true(guid_eq(&children[0], &one));
    mem_free(children);
    struct proc_by_pid *pids;
    must(procs_by_pid(t->db, 1, 70, &pids, &n, &store_err));
    assert_int_equal(n, 2);
    assert_true(pids[0].start == 4 && pids[1].start == 9);
    mem_free(pids);
    must(procs_by_pid(t->db, 2, 70, &pids, &n, &store_err));
    assert_int_equal(n, 0);
    mem_free(pids);
    buf_free(&bytes);
}

struct walk {
    size_t n, stop_at;
    struct guid last;
    uint64_t events;
    struct db *db;
};

static enum status on_proc(void *ctx, const struct proc *p) {
    struct walk *w = ctx;
    if (w->n) assert_true(memcmp(p->guid.b, w->last.b, GUID_LEN) > 0);
    w->last = p->guid;
    w->events += p->counts[7];
    struct buf bytes = {0};
    struct proc again; /* no transaction is open here: other calls are fine */
    must(procs_get(w->db, 1, &p->guid, &again, &bytes, &store_err));
    assert_int_equal(again.counts[7], p->counts[7]);
    buf_free(&bytes);
    return ++w->n == w->stop_at ? ST_END : ST_OK;
}

static void a_walk_meets_each_process_once(void **state) {
    struct bed *t = *state;
    enum { N = 700 };
    struct proc *rows = mem_zalloc(N * sizeof *rows);
    for (unsigned day = 0; day < 3; day++) {
        atomic_store(&store_now, DAY0 + day * FILETIME_DAY);
        size_t n = 0;
        for (unsigned i = 0; i < N; i++) {
            if (day == 1 && i % 3) continue; /* days of different density */
            if (day == 2 && i < 400) continue;
            rows[n++] = (struct proc){.guid = guid_of(i), .first_seen = 1, .last_seen = 1, .counts = {[7] = 1}};
        }
        add_rows(t, rows, n);
    }
    struct walk w = {.db = t->db};
    must(procs_each(t->db, 1, on_proc, &w, &store_err));
    assert_int_equal(w.n, N);
    assert_int_equal(w.events, N + (N + 2) / 3 + 300);
    w = (struct walk){.db = t->db, .stop_at = 300};
    must(procs_each(t->db, 1, on_proc, &w, &store_err));
    assert_int_equal(w.n, 300);
    must(procs_each(t->db, 3, on_proc, &w, &store_err));
    assert_int_equal(w.n, 300);
    mem_free(rows);
}

static unsigned random_below(unsigned n) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (unsigned)(x >> 33) % n;
}

static void same_proc(const char *name, const struct proc *a, const struct proc *b) {
    const struct slice *x[] = PROC_TEXTS(a), *y[] = PROC_TEXTS(b);
    for (size_t i = 0; i < PROC_N_TEXTS; i++) {
        if (!slice_eq(*x[i], *y[i])) fail_msg("%s: text %zu", name, i);
    }
    if (memcmp(a->counts, b->counts, sizeof a->counts) != 0) fail_msg("%s: counts", name);
    if (a->first_seen != b->first_seen || a->last_seen != b->last_seen) fail_msg("%s: seen", name);
    if (a->has_start != b->has_start || a->has_end != b->has_end || a->start != b->start || a->end != b->end)
        fail_msg("%s: start and end", name);
    if (a->pid != b->pid || !guid_eq(&a->parent, &b->parent)) fail_msg("%s: PID and parent", name);
}

struct compare {
    const struct proc *want;
    size_t n, at;
};

static enum status on_compared(void *ctx, const struct proc *p) {
    struct compare *c = ctx;
    while (c->at < c->n && !c->want[c->at].first_seen) c->at++; /* never seen */
    assert_true(c->at < c->n && guid_eq(&p->guid, &c->want[c->at].guid));
    same_proc("walk", p, &c->want[c->at++]);
    return ST_OK;
}

/* Runs that bring counts alone, new facts, or both, for processes new and known: all are in what is read. */
static void counts_and_facts_add_up(void **state) {
    struct bed *t = *state;
    enum { N = 400, RUNS = 40 };
    struct proc *want = mem_zalloc(N * sizeof *want), *rows = mem_zalloc(N * sizeof *rows);
    struct buf bytes = {0};
    for (unsigned i = 0; i < N; i++) want[i].guid = guid_of(i);
    for (unsigned k = 0; k < RUNS; k++) {
        size_t n = 0;
        if (k == RUNS / 2) atomic_store(&store_now, DAY0 + FILETIME_DAY);
        for (unsigned i = 0; i < N; i++) {
            if (random_below(3)) continue;
            struct proc *p = &rows[n++];
            uint64_t when = 1000 + random_below(1000);
            *p = (struct proc){.guid = guid_of(i), .first_seen = when, .last_seen = when + random_below(50)};
            p->counts[random_below(PROC_MAX_EVENT_ID + 1)] = 1 + random_below(300);
            if (!random_below(8)) p->image = SLICE_LIT("C:\\x.exe");
            if (!random_below(8)) p->pid = 1 + i;
            if (!random_below(16)) {
                p->has_start = true;
                p->start = when;
                p->parent = guid_of(i / 2);
                p->command_line = SLICE_LIT("x -y");
            }
            if (!random_below(16)) {
                p->has_end = true;
                p->end = when + 5;
            }
            proc_merge(&want[i], p);
        }
        add_rows(t, rows, n);
    }
    for (unsigned i = 0; i < N; i++) {
        struct proc p;
        buf_clear(&bytes);
        if (!want[i].first_seen) continue;
        must(procs_get(t->db, 1, &want[i].guid, &p, &bytes, &store_err));
        same_proc("look-up", &p, &want[i]);
    }
    struct compare c = {.want = want, .n = N};
    must(procs_each(t->db, 1, on_compared, &c, &store_err));
    mem_free(want);
    mem_free(rows);
    buf_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counts_and_facts_add_up, setup, teardown),
        cmocka_unit_test(event_1_beats_placeholders),
        cmocka_unit_test_setup_teardown(rows_are_found_over_days, setup, teardown),
        cmocka_unit_test_setup_teardown(a_walk_meets_each_process_once, setup, teardown),
    };
    return cmocka_run_group_tests_name("procs", tests, NULL, NULL);
}
