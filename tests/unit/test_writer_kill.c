/* The ack path under kill -9, at named points and at any: what was acked is there, and the indexes agree with the blocks. */
// links: storage base
#include "store_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static struct db_options options = {.min_free_bytes = 1, .map_bytes = 1 << 20};

struct acked {
    uint32_t host;
    uint64_t first, n, step;
    uint32_t epoch;
    bool sysmon;
};

static int acks_fd;

static void done_and_told(void *ctx, struct writer_item *item, enum status st, const struct error *err) {
    struct store_batch *b = item->owner;
    struct acked a = {.host = item->block.host,
                      .first = b->first,
                      .n = b->n,
                      .step = b->step,
                      .epoch = b->epoch,
                      .sysmon = slice_eq_str(item->block.channel, "Sysmon")};
    if (!st && write(acks_fd, &a, sizeof a) != (ssize_t)sizeof a) _exit(3);
    store_done(ctx, item, st, err);
}

static void *index_for_ever(void *arg) {
    for (;;) {
        if (store_index_some(arg, 9, &store_err)) store_sleep_ms(1);
    }
    return NULL;
}

/* The child: random appends on several streams over several days, with a digest beside it, until it is killed. */
static void live_and_die(const char *dir, unsigned seed, const char *crash_at, uint64_t now) {
    struct db *db;
    struct writer *w;
    uint8_t guids[4 * GUID_LEN];
    pthread_t t;
    struct writer_options o = store_writer_options();
    o.done = done_and_told;
    if (crash_at) setenv("HAECHI_CRASH_AT", crash_at, 1);
    atomic_store(&store_now, now);
    srand(seed);
    must(db_open(dir, &options, &db, &store_err));
    must(index_load_tail(db, store_describe, guids, &store_err));
    must(writer_start(db, &o, &w, &store_err));
    pthread_create(&t, NULL, index_for_ever, db);
    for (;;) {
        struct store_batch *b[8];
        int n = 1 + rand() % 8;
        for (int i = 0; i < n; i++) {
            b[i] = store_batch_new(1 + (uint32_t)rand() % 2, rand() % 2 ? "Sysmon" : "Security",
                                   1 + (uint32_t)rand() % 2, (uint64_t)(rand() % 600), 1 + (uint64_t)(rand() % 30),
                                   1 + (uint64_t)(rand() % 2), (size_t)(rand() % 3000));
            must(writer_put(w, &b[i]->item));
        }
        for (int i = 0; i < n; i++) {
            store_wait(b[i]);
            store_batch_free(b[i]);
        }
        if (rand() % 40 == 0) atomic_store(&store_now, atomic_load(&store_now) + FILETIME_DAY);
    }
}

static void check_after(const char *dir, const char *acks, uint64_t *ret_now) {
    struct db *db;
    uint8_t guids[4 * GUID_LEN];
    must(db_open(dir, &options, &db, &store_err));
    must(index_load_tail(db, store_describe, guids, &store_err));
    for (uint32_t host = 1; host <= 2; host++) {
        store_check_ledger(db, host);
        store_check_lookups(db, host);
    }
    struct buf b = {0};
    must(file_read(acks, 1 << 30, &b, &store_err));
    struct db_stream *s;
    size_t n;
    must(db_streams(db, 0, &s, &n, &store_err));
    for (size_t at = 0; at + sizeof(struct acked) <= b.len; at += sizeof(struct acked)) {
        struct acked a;
        memcpy(&a, b.p + at, sizeof a);
        size_t k = 0;
        while (k < n && (s[k].host != a.host || s[k].epoch != a.epoch ||
                         strcmp(s[k].channel, a.sysmon ? "Sysmon" : "Security") != 0))
            k++;
        assert_true(k < n);
        for (uint64_t i = 0; i < a.n; i++) assert_true(ledger_has(s[k].ledger, a.first + i * a.step));
    }
    db_streams_free(s, n);
    struct db_partition *p;
    size_t n_parts = db_partitions(db, &p);
    if (n_parts) *ret_now = p[n_parts - 1].day_time;
    mem_free(p);
    db_close(&db);
    buf_free(&b);
}

static void survives_being_killed(void **state) {
    (void)state;
    char *dir = store_dir();
    static const char *const points[] = {"before-commit:1",
                                         "after-commit:1",
                                         "before-commit:1",
                                         "before-commit:9",
                                         "after-commit:1",
                                         "after-commit:23",
                                         NULL,
                                         NULL,
                                         "before-commit:2",
                                         NULL,
                                         "after-commit:2",
                                         NULL,
                                         NULL,
                                         NULL};
    struct buf acks = {0};
    buf_printf(&acks, "%s/acks", dir);
    uint64_t now = DAY0;
    for (unsigned i = 0; i < sizeof points / sizeof *points; i++) {
        now += i % 2 ? 0 : FILETIME_DAY; /* so that the first transaction of a day is met, too */
        acks_fd = open(buf_cstr(&acks), O_WRONLY | O_APPEND | O_CREAT, 0600);
        pid_t child = fork();
        if (!child) live_and_die(dir, i + 1, points[i], now);
        close(acks_fd);
        if (!points[i]) store_sleep_ms(30 + (long)(i * 37 % 200));
        for (int ms = 0; points[i] && ms < 20000 && waitpid(child, NULL, WNOHANG) == 0; ms++) store_sleep_ms(1);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        check_after(dir, buf_cstr(&acks), &now);
    }
    buf_free(&acks);
    assert_true(now > DAY0 + 3 * FILETIME_DAY);
    store_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(survives_being_killed)};
    return cmocka_run_group_tests_name("writer under kill", tests, NULL, NULL);
}
