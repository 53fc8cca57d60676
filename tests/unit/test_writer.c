/* The ack path: what is acked is stored once, the ledger agrees, failures are undone, a full disk loses nothing. */
// links: storage base
#include "store_fixture.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* ---- the system calls that LMDB makes, in order ----
 *
 * D: bytes into a data file; S: that file synced; M: a meta page through the descriptor that syncs by itself; A: an ack. */

static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static char trace[4096];
static size_t n_trace;
static atomic_bool tracing;
static atomic_int fail_syncs; /* so many fdatasync fail */

static void note(char what) {
    if (!atomic_load(&tracing)) return;
    pthread_mutex_lock(&trace_lock);
    if (n_trace < sizeof trace - 1 && (!n_trace || trace[n_trace - 1] != what || what != 'D')) trace[n_trace++] = what;
    trace[n_trace] = 0;
    pthread_mutex_unlock(&trace_lock);
}

static void note_write(int fd) {
    note(fcntl(fd, F_GETFL) & O_DSYNC ? 'M' : 'D');
}

static atomic_bool disk_full;
static atomic_uint n_full;

/* A full disk: the first write comes out short, the next ones fail. */
static bool fails_for_space(int fd, size_t *len) {
    if (fd <= 2 || !atomic_load(&disk_full) || fcntl(fd, F_GETFL) & O_DSYNC) return false;
    if (atomic_fetch_add(&n_full, 1)) {
        errno = ENOSPC;
        return true;
    }
    *len /= 2;
    return false;
}

int statvfs(const char *path, struct statvfs *ret) {
    struct statfs fs;
    if (syscall(SYS_statfs, path, &fs)) return -1;
    *ret = (struct statvfs){.f_bsize = (unsigned long)fs.f_bsize,
                            .f_frsize = (unsigned long)fs.f_frsize,
                            .f_blocks = fs.f_blocks,
                            .f_bfree = fs.f_bfree,
                            .f_bavail = atomic_load(&disk_full) ? 3 : fs.f_bavail};
    return 0;
}

/* These stand before libc's for liblmdb. */
ssize_t pwrite(int fd, const void *p, size_t len, off_t at) {
    if (fails_for_space(fd, &len)) return -1;
    note_write(fd);
    return syscall(SYS_pwrite64, fd, p, len, at);
}

ssize_t writev(int fd, const struct iovec *v, int n) {
    size_t len = n ? v->iov_len : 0, all = len;
    if (fails_for_space(fd, &len)) return -1;
    if (len < all) return syscall(SYS_writev, fd, &(struct iovec){v->iov_base, len}, 1);
    if (fd > 2) note_write(fd);
    return syscall(SYS_writev, fd, v, n);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) {
    note_write(fd);
    return syscall(SYS_pwritev, fd, v, n, (long)at, 0L);
}

int fdatasync(int fd) {
    if (atomic_load(&fail_syncs) > 0 && atomic_fetch_sub(&fail_syncs, 1) > 0) {
        errno = EIO;
        return -1;
    }
    int rc = (int)syscall(SYS_fdatasync, fd);
    note('S');
    return rc;
}

struct bed {
    char *dir;
    struct db *db;
    struct writer *w;
};

static struct db_options options = {.min_free_bytes = 1};
static atomic_uint n_log;
static char first_log[1024];

static void on_log(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    if (level > LOG_WARN) return;
    if (!atomic_fetch_add(&n_log, 1)) snprintf(first_log, sizeof first_log, "%s", line);
}

static void done_and_traced(void *ctx, struct writer_item *item, enum status st, const struct error *err) {
    note('A');
    store_done(ctx, item, st, err);
}

static void bed_open(struct bed *t) {
    struct writer_options o = store_writer_options();
    o.done = done_and_traced;
    uint8_t guids[4 * GUID_LEN];
    must(db_open(t->dir, &options, &t->db, &store_err));
    must(index_load_tail(t->db, store_describe, guids, &store_err));
    must(writer_start(t->db, &o, &t->w, &store_err));
}

static void bed_close(struct bed *t) {
    writer_stop(&t->w);
    db_close(&t->db);
}

static int setup(void **state) {
    struct bed *t = mem_zalloc(sizeof *t);
    atomic_store(&store_now, DAY0);
    atomic_store(&n_log, 0);
    atomic_store(&disk_full, false);
    options = (struct db_options){.min_free_bytes = 1};
    log_redirect(on_log, NULL);
    t->dir = store_dir();
    bed_open(t);
    *state = t;
    return 0;
}

static int teardown(void **state) {
    struct bed *t = *state;
    bed_close(t);
    log_redirect(NULL, NULL);
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

static void acked_means_synced(void **state) {
    struct bed *t = *state;
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 0, 5, 1, 9000), NULL); /* makes the partition */
    for (int i = 1; i < 6; i++) {
        n_trace = 0;
        atomic_store(&tracing, true);
        store_put(t->w, store_batch_new(1, "Sysmon", 1, (uint64_t)i * 10, 5, 1, 9000), NULL);
        atomic_store(&tracing, false);
        assert_string_equal(trace, "DSMA"); /* data, its sync, the page that makes it count, and only then the ack */
    }
}

static void a_failed_sync_is_never_acked(void **state) {
    struct bed *t = *state;
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 0, 5, 1, 900), NULL);
    struct store_batch *b = store_batch_new(1, "Sysmon", 1, 5, 5, 1, 900);
    atomic_store(&fail_syncs, 1);
    must(writer_put(t->w, &b->item));
    while (atomic_load(&fail_syncs) > 0) store_sleep_ms(1);
    store_sleep_ms(30);
    assert_int_equal(atomic_load(&b->state), 0);
    assert_int_equal(held(t->db, 1), 5); /* the ledger on disk has not got ahead */
    assert_int_equal(db_last_seq(t->db), 1);
    assert_int_equal(atomic_load(&n_log), 1);
    assert_int_equal(store_wait(b), 1); /* tried again after a second */
    assert_int_equal(b->item.n_stored, 5);
    store_batch_free(b);
    assert_int_equal(held(t->db, 1), 10);
    store_check_ledger(t->db, 1);
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

/* ---- space ---- */

static void a_full_disk_acks_nothing_and_recovers(void **state) {
    struct bed *t = *state;
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 0, 10, 1, 100), NULL);
    atomic_store(&n_full, 0);
    atomic_store(&disk_full, true);
    struct store_batch *b[3];
    for (uint64_t i = 0; i < 3; i++) {
        b[i] = store_batch_new(1, "Sysmon", 1, 10 + i * 10, 10, 1, 300000);
        must(writer_put(t->w, &b[i]->item));
    }
    struct writer_state s = {0};
    for (int ms = 0; ms < 20000 && (!s.full || atomic_load(&n_full) < 3); ms++) { /* until it has been tried again */
        store_sleep_ms(1);
        writer_get_state(t->w, &s);
    }
    assert_true(s.full);
    assert_non_null(strstr(s.failure, "space"));
    assert_int_equal(atomic_load(&n_log), 1); /* once, though it has been tried again */
    assert_non_null(strstr(first_log, "free some space"));
    for (int i = 0; i < 3; i++) assert_int_equal(atomic_load(&b[i]->state), 0);
    assert_int_equal(held(t->db, 1), 10);
    assert_true(atomic_load(&n_full) >= 3);
    atomic_store(&disk_full, false);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_wait(b[i]), 1);
        store_batch_free(b[i]);
    }
    writer_get_state(t->w, &s);
    assert_false(s.full);
    assert_int_equal(s.failure[0], 0);
    assert_int_equal(held(t->db, 1), 40);
    store_check_ledger(t->db, 1);
}

static void below_the_reserve_nothing_is_acked(void **state) {
    struct bed *t = *state;
    bed_close(t);
    options.min_free_bytes = UINT64_MAX / 2;
    bed_open(t);
    struct store_batch *b = store_batch_new(1, "Sysmon", 1, 0, 10, 1, 100),
                       *late = store_batch_new(1, "Sysmon", 1, 0, 10, 1, 100);
    must(writer_put(t->w, &b->item));
    store_sleep_ms(50);
    must(writer_put(t->w, &late->item));
    assert_int_equal(atomic_load(&b->state), 0);
    writer_stop(&t->w); /* gives them back unstored */
    assert_int_equal(b->st, ST_FULL);
    assert_int_equal(late->st, ST_FULL);
    store_batch_free(b);
    store_batch_free(late);
    assert_int_equal(held(t->db, 0), 0);
    db_close(&t->db);
    options.min_free_bytes = 1;
    bed_open(t);
    store_put(t->w, store_batch_new(1, "Sysmon", 1, 0, 10, 1, 100), NULL);
}

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

/* ---- kill ---- */

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
    struct bed *t = *state;
    bed_close(t);
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
    buf_printf(&acks, "%s/acks", t->dir);
    uint64_t now = DAY0;
    options.map_bytes = 1 << 20;
    for (unsigned i = 0; i < sizeof points / sizeof *points; i++) {
        now += i % 2 ? 0 : FILETIME_DAY; /* so that the first transaction of a day is met, too */
        acks_fd = open(buf_cstr(&acks), O_WRONLY | O_APPEND | O_CREAT, 0600);
        pid_t child = fork();
        if (!child) live_and_die(t->dir, i + 1, points[i], now);
        close(acks_fd);
        if (!points[i]) store_sleep_ms(30 + (long)(i * 37 % 200));
        for (int ms = 0; points[i] && ms < 20000 && waitpid(child, NULL, WNOHANG) == 0; ms++) store_sleep_ms(1);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        check_after(t->dir, buf_cstr(&acks), &now);
    }
    buf_free(&acks);
    assert_true(now > DAY0 + 3 * FILETIME_DAY);
    bed_open(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(stores_and_reads_back),
        T(acked_means_synced),
        T(a_failed_sync_is_never_acked),
        T(a_refused_item_leaves_nothing),
        T(a_host_cannot_make_up_logs_without_end),
        T(names_that_cannot_be_kept_are_refused),
        T(calls_run_inside_a_transaction),
        T(a_full_disk_acks_nothing_and_recovers),
        T(below_the_reserve_nothing_is_acked),
        T(the_map_grows_under_readers),
        T(the_queue_is_bounded),
        T(one_commit_holds_several_packs),
        T(a_block_in_two_epochs_is_stored_once),
        T(a_ledger_of_many_holes_comes_back),
        T(admission_sees_its_own_transaction),
        T(survives_being_killed),
    };
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
