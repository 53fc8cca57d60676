/* The ack path and the disk: an ack comes after the sync, a failed sync is no ack, a full disk loses nothing. */
// links: storage base
#include "writer_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* The system calls that LMDB makes, in order.
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

static void done_and_traced(void *ctx, struct writer_item *item, enum status st, const struct error *err) {
    note('A');
    store_done(ctx, item, st, err);
}

static int setup(void **state) {
    bed_done = done_and_traced;
    atomic_store(&disk_full, false);
    return bed_setup(state);
}

/* ---- syncs ---- */

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

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, bed_teardown)
        T(acked_means_synced),
        T(a_failed_sync_is_never_acked),
        T(a_full_disk_acks_nothing_and_recovers),
        T(below_the_reserve_nothing_is_acked),
    };
    return cmocka_run_group_tests_name("writer and disk", tests, NULL, NULL);
}
