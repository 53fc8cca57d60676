/* The data directory: look-ups against brute force whatever the digest does, days, expiry, backup, damage, threads. */
// links: storage base
#include "store_fixture.h"

#include "cursor.h"
#include "log.h"

#include <fcntl.h>
#include <sys/wait.h>

static char *dir;
static struct db *db;
static struct writer *w;
static struct db_options options;
static atomic_uint n_log;
static char last_log[1024];

static void on_log(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    if (level > LOG_WARN) return;
    snprintf(last_log, sizeof last_log, "%s", line);
    atomic_fetch_add(&n_log, 1);
}

static void start(void) {
    uint8_t guids[4 * GUID_LEN];
    struct writer_options o = store_writer_options();
    must(db_open(dir, &options, &db, &store_err));
    must(index_load_tail(db, store_describe, guids, &store_err));
    must(writer_start(db, &o, &w, &store_err));
}

static void stop(void) {
    writer_stop(&w);
    db_close(&db);
}

static int setup(void **state) {
    (void)state;
    atomic_store(&store_now, DAY0);
    atomic_store(&n_log, 0);
    options = (struct db_options){.min_free_bytes = 1, .map_bytes = 1 << 20};
    dir = store_dir();
    log_redirect(on_log, NULL);
    start();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    if (db) stop();
    log_redirect(NULL, NULL);
    store_remove(dir);
    return 0;
}

/* Several hosts, two channels, overlapping ids, `n` batches from `from` on. */
static void fill(uint64_t from, uint64_t n) {
    for (uint64_t i = from; i < from + n; i++) {
        uint32_t host = 1 + (uint32_t)(i % 3);
        const char *channel = i % 2 ? "Sysmon" : "Security";
        store_put(w, store_batch_new(host, channel, 1 + i % 5 / 4, i * 7, 10, 1 + i % 2, 200), NULL);
    }
}

static void check_all(void) {
    for (uint32_t host = 1; host <= 4; host++) {
        store_check_lookups(db, host);
        store_check_ledger(db, host);
    }
}

static void lookups_agree_with_a_scan(void **state) {
    (void)state;
    fill(0, 60);
    check_all(); /* all in memory */
    must(store_index_some(db, 20, &store_err));
    check_all(); /* some here, some there */
    store_index_all(db, 7);
    check_all(); /* all in the index */
    assert_int_equal(db_tail_blocks(db), 0);
    fill(60, 30);
    atomic_store(&store_now, DAY0 + FILETIME_DAY + 5);
    fill(90, 30);
    must(store_index_some(db, 12, &store_err));
    check_all();
    stop();
    start();
    check_all(); /* the directory is what it was before the restart */
    store_index_all(db, 1000);
    check_all();
    struct db_partition *p;
    assert_int_equal(db_partitions(db, &p), 2);
    assert_string_equal(p[0].day, "2025-11-28");
    assert_string_equal(p[1].day, "2025-11-29");
    assert_true(p[0].sealed && !p[1].sealed && p[1].first_seq == p[0].last_seq + 1);
    struct db_stream *s;
    size_t n;
    uint64_t held = 0;
    must(db_streams(db, 0, &s, &n, &store_err));
    for (size_t i = 0; i < n; i++) held += ledger_count(s[i].ledger);
    db_streams_free(s, n);
    assert_int_equal(p[0].n_events + p[1].n_events, held);
    mem_free(p);
}

static void the_process_table_counts_once(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        store_put(w, store_batch_new(9, "Sysmon", 1, (uint64_t)i * 97 * 4, 5, 1, 50), NULL);
        if (i == 4) atomic_store(&store_now, DAY0 + FILETIME_DAY);
        if (i % 3 == 1) store_index_all(db, 2);
    }
    store_index_all(db, 2);
    struct guid g;
    struct proc p;
    struct buf bytes = {0};
    store_guid(9, 0, g.b);
    must(procs_get(db, 9, &g, &p, &bytes, &store_err));
    assert_int_equal(p.counts[1], 8 * 5);
    assert_int_equal(procs_get(db, 8, &g, &p, &bytes, &store_err), ST_NOTFOUND);
    buf_free(&bytes);
}

static void derived_data_is_rebuilt(void **state) {
    (void)state;
    uint8_t guids[4 * GUID_LEN];
    fill(0, 40);
    store_index_all(db, 10);
    writer_stop(&w);
    must(db_drop_derived(db, &store_err));
    must(index_load_tail(db, store_describe, guids, &store_err));
    check_all();
    store_index_all(db, 9);
    assert_int_equal(db_tail_blocks(db), 0);
    check_all();
}

static void write_file(const char *path, const void *p, size_t len, off_t cut) {
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    if (len) assert_int_equal(pwrite(fd, p, len, 0), (ssize_t)len);
    if (cut >= 0) assert_int_equal(ftruncate(fd, cut), 0);
    close(fd);
}

static void a_damaged_index_is_made_anew(void **state) {
    (void)state;
    static uint8_t garbage[64 * 1024];
    for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = (uint8_t)(i * 2654435761u >> 13);
    static const struct {
        const char *name;
        size_t len;
        off_t cut;
    } cases[] = {{"garbage", sizeof garbage, sizeof garbage},
                 {"garbage in front", 8192, -1},
                 {"cut off", 0, 3 * 4096},
                 {"empty", 0, 0},
                 {"one byte", 1, 1}};
    fill(0, 40);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        store_index_all(db, 10);
        stop();
        struct buf path = {0};
        buf_printf(&path, "%s/index/2025-11-28/data.mdb", dir);
        write_file(buf_cstr(&path), garbage, cases[i].len, cases[i].cut);
        buf_free(&path);
        atomic_store(&n_log, 0);
        start();
        if (cases[i].cut && !atomic_load(&n_log)) fail_msg("%s: nothing logged", cases[i].name);
        check_all();
        store_index_all(db, 10);
        check_all();
    }
}

static void a_cut_off_ledger_is_refused_with_a_sentence(void **state) {
    (void)state;
    fill(0, 10);
    stop();
    struct buf path = {0};
    buf_printf(&path, "%s/events/2025-11-28/data.mdb", dir);
    write_file(buf_cstr(&path), NULL, 0, 4 * 4096);
    buf_free(&path);
    struct error err = {0};
    assert_int_equal(db_open(dir, &options, &db, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "backup"));
}

static void one_collector_at_a_time(void **state) {
    (void)state;
    struct db *other = NULL;
    struct error err = {0};
    if (!fork()) _exit(db_open(dir, &options, &other, &err) == ST_BUSY ? 0 : 1);
    int st;
    assert_true(wait(&st) > 0);
    assert_int_equal(st, 0);
}

static void a_newer_format_is_refused(void **state) {
    (void)state;
    stop();
    struct buf path = {0};
    buf_printf(&path, "%s/format", dir);
    write_file(buf_cstr(&path), "haechi data 2\n", 14, 14);
    struct error err = {0};
    assert_int_equal(db_open(dir, &options, &db, &err), ST_VERSION);
    unlink(buf_cstr(&path));
    assert_int_equal(db_open(dir, &options, &db, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "unfinished"));
    buf_free(&path);
}

/* Damages the pack's directory in the file: finds its first bytes. */
static void damage_pack(size_t which) {
    struct buf path = {0}, bytes = {0};
    buf_printf(&path, "%s/events/2025-11-28/data.mdb", dir);
    must(file_read(buf_cstr(&path), 1 << 30, &bytes, &store_err));
    size_t seen = 0;
    for (size_t i = 0; i + 4 < bytes.len; i++) {
        if (memcmp(bytes.p + i, "HPK1", 4) != 0 || seen++ != which) continue;
        bytes.p[i + 20] ^= 0xff;
    }
    assert_true(seen > which);
    write_file(buf_cstr(&path), bytes.p, bytes.len, -1);
    buf_free(&path);
    buf_free(&bytes);
}

static void a_damaged_pack_costs_its_own_blocks(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 5; i++) store_put(w, store_batch_new(1, "Sysmon", 1, i * 10, 10, 1, 3000), NULL);
    stop();
    damage_pack(2);
    atomic_store(&n_log, 0);
    start();
    assert_int_equal(atomic_load(&n_log), 1);
    assert_non_null(strstr(last_log, "pack"));
    struct store_scan s = store_scan_all(db);
    assert_int_equal(s.n, 4);
    mem_free(s.b);
    store_index_all(db, 2);
    struct db_block *b;
    size_t n;
    must(db_host_blocks(db, 1, 0, UINT64_MAX, &b, &n, &store_err));
    assert_int_equal(n, 4);
    mem_free(b);
}

static bool is_mapped(const char *part_of_name) {
    char line[1024];
    bool found = false;
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && fgets(line, sizeof line, f)) found |= strstr(line, dir) && strstr(line, part_of_name);
    if (f) fclose(f);
    return found;
}

static void expiry_removes_whole_days(void **state) {
    (void)state;
    for (uint64_t day = 0; day < 5; day++) {
        atomic_store(&store_now, DAY0 + day * FILETIME_DAY + FILETIME_DAY / 2);
        fill(day * 30, 30);
        if (day < 4) store_index_all(db, 10);
    }
    assert_true(is_mapped("/2025-11-28"));
    size_t removed;
    must(db_expire(db, atomic_load(&store_now), 0, 0, &removed, &store_err));
    assert_int_equal(removed, 0);
    must(db_expire(db, DAY0 + 4 * FILETIME_DAY, 3, 0, &removed, &store_err)); /* the first day ended 3 days ago */
    assert_int_equal(removed, 1);
    struct buf path = {0};
    buf_printf(&path, "%s/events/2025-11-28", dir);
    assert_false(file_exists(buf_cstr(&path)));
    assert_false(is_mapped("/2025-11-28")); /* nobody holds on to the space */
    struct db_partition *p;
    size_t n = db_partitions(db, &p);
    assert_int_equal(n, 4);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += p[i].bytes + p[i].index_bytes;
    must(db_expire(db, DAY0, 0, total - 1, &removed, &store_err));
    assert_int_equal(removed, 1);
    mem_free(p);
    must(db_expire(db, DAY0 + 900 * FILETIME_DAY, 1, 1, &removed, &store_err)); /* the newest stays */
    assert_int_equal(removed, 2);
    assert_int_equal(db_partitions(db, &p), 1);
    mem_free(p);
    struct db_stream *s; /* what was held stays known */
    must(db_streams(db, 1, &s, &n, &store_err));
    assert_true(n >= 2 && ledger_has(s[0].ledger, 42));
    db_streams_free(s, n);
    for (uint32_t host = 1; host <= 3; host++) store_check_lookups(db, host);
    stop();
    start();
    for (uint32_t host = 1; host <= 3; host++) store_check_lookups(db, host);
    assert_int_equal(db_partitions(db, &p), 1);
    mem_free(p);
    buf_free(&path);
}

static void a_damaged_old_day_does_not_stop_the_others(void **state) {
    (void)state;
    fill(0, 20);
    atomic_store(&store_now, DAY0 + FILETIME_DAY);
    fill(20, 20);
    stop();
    struct buf path = {0};
    buf_printf(&path, "%s/events/2025-11-28/data.mdb", dir);
    write_file(buf_cstr(&path), NULL, 0, 3 * 4096);
    buf_free(&path);
    atomic_store(&n_log, 0);
    start();
    assert_int_equal(atomic_load(&n_log), 1);
    assert_non_null(strstr(last_log, "backup"));
    struct store_scan s = store_scan_all(db);
    assert_int_equal(s.n, 20);
    mem_free(s.b);
    for (uint32_t host = 1; host <= 3; host++) store_check_lookups(db, host);
    fill(40, 5);
}

static void a_tool_reads_beside_the_collector(void **state) {
    (void)state;
    fill(0, 20);
    store_index_all(db, 100);
    fill(20, 4);
    pid_t child = fork();
    if (!child) {
        struct db_options o = {.read_only = true};
        struct db *other;
        struct db_stream *streams;
        size_t n;
        must(db_open(dir, &o, &other, &store_err));
        struct store_scan s = store_scan_all(other);
        must(db_streams(other, 0, &streams, &n, &store_err));
        _exit(s.n == 24 && n > 2 ? 0 : 1);
    }
    int st;
    assert_int_equal(waitpid(child, &st, 0), child);
    assert_int_equal(st, 0);
    fill(24, 4);
    check_all();
}

static void a_half_made_day_is_forgotten(void **state) {
    (void)state;
    fill(0, 12);
    stop();
    struct buf path = {0};
    buf_printf(
        &path,
        "mkdir -p '%s/events/2025-11-29' '%s/index/2025-11-29' '%s/events/2025-11-20.expired' && touch '%s/events/2025-11-20.expired/data.mdb'",
        dir, dir, dir, dir);
    assert_int_equal(system(buf_cstr(&path)), 0);
    buf_free(&path);
    start();
    check_all();
    struct db_partition *p;
    assert_int_equal(db_partitions(db, &p), 1);
    mem_free(p);
    atomic_store(&store_now, DAY0 + FILETIME_DAY);
    fill(12, 12);
    check_all();
}

/* ---- backup ---- */

static atomic_bool halt;

static void *keep_writing(void *arg) {
    (void)arg;
    for (uint64_t i = 1000; !atomic_load(&halt); i++) {
        struct store_batch *b = store_batch_new(4, "Sysmon", 1, i * 10, 10, 1, 2000);
        must(writer_put(w, &b->item));
        store_wait(b);
        store_batch_free(b);
    }
    return NULL;
}

static void a_backup_taken_while_running_restores(void **state) {
    (void)state;
    fill(0, 30);
    atomic_store(&store_now, DAY0 + FILETIME_DAY);
    fill(30, 30);
    store_index_all(db, 100);
    struct buf sub = {0}, key = {0};
    buf_printf(&sub, "%s/backup", dir); /* inside the data directory: must not copy itself */
    buf_printf(&key, "%s/ca.key", dir);
    must(file_replace(buf_cstr(&key), SLICE_LIT("secret"), 0600, &store_err));
    must(cursor_set(db, "elastic", UINT64_MAX / 2, &store_err));
    pthread_t t;
    atomic_store(&halt, false);
    pthread_create(&t, NULL, keep_writing, NULL);
    store_sleep_ms(20);
    must(db_backup(db, buf_cstr(&sub), NULL, NULL, &store_err));
    atomic_store(&halt, true);
    pthread_join(t, NULL);
    struct error err = {0};
    assert_int_equal(db_backup(db, buf_cstr(&sub), NULL, NULL, &err), ST_EXISTS);
    stop();
    char *original = dir;
    dir = mem_strdup(buf_cstr(&sub));
    start();
    check_all();
    uint64_t seq;
    must(cursor_get(db, "elastic", &seq, &store_err));
    assert_int_equal(seq, db_last_seq(db));
    assert_true(db_last_seq(db) >= 60);
    buf_clear(&key);
    buf_printf(&key, "%s/ca.key", dir);
    struct stat sb;
    assert_int_equal(stat(buf_cstr(&key), &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    fill(60, 20);
    check_all();
    stop();
    mem_free(dir);
    dir = original;
    buf_free(&sub);
    buf_free(&key);
}

/* ---- threads ---- */

static _Atomic uint64_t acked_day; /* day number << 32 | batches acked on that day */
static atomic_uint n_checks;

static void *write_days(void *arg) {
    (void)arg;
    uint64_t id = 0;
    for (uint64_t day = 0; day < 6; day++) {
        atomic_store(&acked_day, day << 32);
        atomic_store(&store_now, DAY0 + day * FILETIME_DAY);
        for (uint64_t i = 0; i < 60; i++, id += 10) {
            store_put(w, store_batch_new(1, "Sysmon", 1, id, 10, 1, 100), NULL);
            atomic_store(&acked_day, day << 32 | (i + 1));
        }
    }
    atomic_store(&halt, true);
    return NULL;
}

static void *index_days(void *arg) {
    (void)arg;
    while (!atomic_load(&halt)) {
        if (store_index_some(db, 15, &store_err)) store_sleep_ms(1);
    }
    return NULL;
}

static void *expire_days(void *arg) {
    (void)arg;
    while (!atomic_load(&halt)) {
        must(db_expire(db, atomic_load(&store_now), 1, 0, NULL, &store_err));
        store_sleep_ms(3);
    }
    return NULL;
}

static void *read_days(void *arg) {
    (void)arg;
    struct guid g;
    store_guid(1, 0, g.b);
    while (!atomic_load(&halt)) {
        uint64_t acked = atomic_load(&acked_day), day = acked >> 32, n_acked = acked & 0xffffffff, of_day = 0;
        struct db_block *b;
        size_t n;
        must(db_host_blocks(db, 1, 0, UINT64_MAX, &b, &n, &store_err));
        for (size_t i = 0; i < n; i++) {
            if (b[i].arrival == DAY0 + day * FILETIME_DAY) of_day++;
            if (i) assert_true(b[i].first_id > b[i - 1].last_id); /* by time, which is by id here: none twice */
        }
        assert_true(of_day >= n_acked);
        for (size_t i = 0; i < n; i += 37) {
            struct buf bytes = {0};
            struct db_keep *keep;
            size_t n_keep;
            enum status st = db_read_block(db, &b[i], &bytes, &keep, &n_keep, &store_err);
            assert_true(!st || st == ST_NOTFOUND);
            if (!st) mem_free(keep);
            buf_free(&bytes);
        }
        mem_free(b);
        must(db_guid_blocks(db, 1, &g, &b, &n, &store_err));
        mem_free(b);
        struct proc p;
        struct buf bytes = {0};
        enum status st = procs_get(db, 1, &g, &p, &bytes, &store_err);
        assert_true(!st || st == ST_NOTFOUND);
        buf_free(&bytes);
        struct db_partition *parts;
        assert_true(db_partitions(db, &parts) <= 6);
        mem_free(parts);
        atomic_fetch_add(&n_checks, 1);
    }
    return NULL;
}

static void nothing_is_missed_or_twice_while_all_are_at_work(void **state) {
    (void)state;
    void *(*const work[])(void *) = {write_days, index_days, expire_days, read_days, read_days};
    pthread_t t[sizeof work / sizeof *work];
    atomic_store(&halt, false);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) assert_int_equal(pthread_create(&t[i], NULL, work[i], NULL), 0);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) pthread_join(t[i], NULL);
    assert_true(atomic_load(&n_checks) > 10);
    store_index_all(db, 100);
    assert_int_equal(db_tail_blocks(db), 0); /* no pack was indexed before the directory had it */
    struct db_partition *p;
    assert_true(db_partitions(db, &p) <= 3);
    mem_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(lookups_agree_with_a_scan),
        T(the_process_table_counts_once),
        T(derived_data_is_rebuilt),
        T(a_damaged_index_is_made_anew),
        T(a_cut_off_ledger_is_refused_with_a_sentence),
        T(one_collector_at_a_time),
        T(a_newer_format_is_refused),
        T(a_damaged_pack_costs_its_own_blocks),
        T(expiry_removes_whole_days),
        T(a_damaged_old_day_does_not_stop_the_others),
        T(a_tool_reads_beside_the_collector),
        T(a_half_made_day_is_forgotten),
        T(a_backup_taken_while_running_restores),
        T(nothing_is_missed_or_twice_while_all_are_at_work),
    };
    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
