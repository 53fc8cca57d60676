/* proto/base/file_posix.c on real files of a scratch directory. */
// links: base
#include "file.h"
#include "mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/haechi-file-XXXXXX";

static char *in_root(const char *name) {
    return file_join(root, name);
}

static unsigned mode_of(const char *path) {
    struct stat sb;
    assert_int_equal(stat(path, &sb), 0);
    return sb.st_mode & 07777;
}

static size_t n_names;
static char names[8][64];
static enum status on_name(void *ctx, const char *name) {
    if (n_names < 8) snprintf(names[n_names], sizeof names[0], "%s", name);
    n_names++;
    return ctx && n_names == *(size_t *)ctx ? ST_CANCELLED : ST_OK;
}

static size_t count_names(const char *dir) {
    n_names = 0;
    assert_int_equal(file_list_dir(dir, on_name, NULL, NULL), ST_OK);
    return n_names;
}

static void assert_content(const char *path, const char *want) {
    struct buf b = {0};
    assert_int_equal(file_read(path, 100, &b, NULL), ST_OK);
    assert_true(slice_eq_str(buf_slice(&b), want));
    buf_free(&b);
}

/* No file may grow past len from here on; returns the limit to put back. */
static struct rlimit limit_files(rlim_t len) {
    struct rlimit was, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = len;
    setrlimit(RLIMIT_FSIZE, &small);
    return was;
}

static void test_replace_and_read(void **state) {
    (void)state;
    char *dir = in_root("replace"), *path = file_join(dir, "key.pem"), *none = file_join(dir, "none");
    struct error err;
    assert_int_equal(file_make_dir(dir, 0700, &err), ST_OK);
    static const struct {
        const char *name, *bytes;
        unsigned mode, umask;
    } cases[] = {
        {"new", "one", 0600, 0022},
        {"shorter", "2", 0600, 0},
        {"empty", "", 0644, 0077},
        {"longer", "three three three", 0644, 0777},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        mode_t old = umask(cases[i].umask);
        assert_int_equal(file_replace(path, slice_str(cases[i].bytes), cases[i].mode, &err), ST_OK);
        umask(old);
        assert_int_equal(mode_of(path), cases[i].mode);
        assert_content(path, cases[i].bytes);
        uint64_t len = 0;
        assert_int_equal(file_size(path, &len, &err), ST_OK);
        assert_int_equal(len, strlen(cases[i].bytes));
        assert_int_equal(count_names(dir), 1); /* no temporary file is left */
    }
    struct buf b = {0};
    buf_str(&b, "x");
    assert_int_equal(file_read(path, 16, &b, &err), ST_TOOBIG);
    assert_int_equal(b.len, 1);
    assert_int_equal(file_read(path, 17, &b, &err), ST_OK);
    assert_int_equal(file_read("/dev/zero", 10000, &b, &err), ST_TOOBIG);
    assert_int_equal(b.len, 18);
    assert_int_equal(file_read(none, 10, &b, &err), ST_NOTFOUND);
    assert_non_null(strstr(err.msg, none));
    assert_int_equal(file_read(dir, 10, &b, &err), ST_IO);
    assert_int_equal(file_read(none, 10, &b, NULL), ST_NOTFOUND);
    buf_free(&b);
    mem_free(none);
    mem_free(path);
    mem_free(dir);
}

static void test_replace_keeps_the_old_file(void **state) {
    (void)state;
    char *dir = in_root("keeps"), *path = file_join(dir, "f"), *sub = file_join(path, "x"), *d = file_join(dir, "d");
    struct error err;
    assert_int_equal(file_make_dir(dir, 0700, &err), ST_OK);
    assert_int_equal(file_replace(path, SLICE_LIT("old"), 0600, &err), ST_OK);

    static char big[10000];
    struct rlimit was = limit_files(4096);
    enum status st = file_replace(path, slice_of(big, sizeof big), 0600, &err);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(st, ST_IO);
    assert_int_equal(count_names(dir), 1);
    assert_content(path, "old");

    assert_int_equal(file_replace(sub, SLICE_LIT("x"), 0600, &err), ST_IO); /* the parent is a file */
    assert_int_equal(file_make_dir(d, 0700, &err), ST_OK);
    assert_int_not_equal(file_replace(d, SLICE_LIT("x"), 0600, &err), ST_OK); /* a directory is in the way */
    assert_int_equal(count_names(dir), 2);
    mem_free(d);
    mem_free(sub);
    mem_free(path);
    mem_free(dir);
}

#ifdef HAECHI_TEST_HOOKS
static void test_crash_before_rename(void **state) {
    (void)state;
    char *dir = in_root("crash"), *path = file_join(dir, "f");
    struct error err;
    assert_int_equal(file_make_dir(dir, 0700, &err), ST_OK);
    assert_int_equal(file_replace(path, SLICE_LIT("old"), 0600, &err), ST_OK);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("HAECHI_CRASH_AT", "file_replace", 1);
        enum status st = file_replace(path, SLICE_LIT("new"), 0600, &err);
        _exit(st ? 1 : 0);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(!WIFEXITED(how) || WEXITSTATUS(how) > 1);
    assert_content(path, "old");
    mem_free(path);
    mem_free(dir);
}
#endif

static void test_append_read_truncate(void **state) {
    (void)state;
    char *path = in_root("segment");
    struct error err;
    struct file *f = NULL;
    mode_t old = umask(0);
    assert_int_equal(file_open(path, FILE_READ, &f, &err), ST_NOTFOUND);
    assert_int_equal(file_open(path, FILE_APPEND, &f, &err), ST_OK);
    umask(old);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(file_append(f, SLICE_LIT("hello "), &err), ST_OK);
    assert_int_equal(file_append(f, SLICE_LIT("world"), &err), ST_OK);
    assert_int_equal(file_append(f, SLICE_LIT(""), &err), ST_OK);
    assert_int_equal(file_sync(f, &err), ST_OK);
    assert_int_equal(file_length(f), 11);
    file_close(&f);
    assert_null(f);
    file_close(&f);

    assert_int_equal(file_open(path, FILE_APPEND, &f, &err), ST_OK);
    assert_int_equal(file_length(f), 11);
    static const struct {
        uint64_t at;
        size_t want;
        const char *got;
    } reads[] = {{0, 5, "hello"}, {6, 100, "world"}, {11, 4, ""}, {5000, 4, ""}, {3, 0, ""}};
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        char in[128];
        size_t got = 99;
        print_message("  read at %u\n", (unsigned)reads[i].at);
        assert_int_equal(file_read_at(f, reads[i].at, in, reads[i].want, &got, &err), ST_OK);
        assert_true(slice_eq_str(slice_of(in, got), reads[i].got));
    }
    char one;
    size_t got;
    assert_int_equal(file_read_at(f, UINT64_MAX, &one, 1, &got, &err), ST_INVALID);
    assert_int_equal(file_truncate(f, 5, &err), ST_OK);
    assert_int_equal(file_append(f, SLICE_LIT("!"), &err), ST_OK);

    static char big[8192]; /* an append that fails half way is cut back */
    struct rlimit was = limit_files(4096);
    enum status st = file_append(f, slice_of(big, sizeof big), &err);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(st, ST_IO);
    assert_int_equal(file_length(f), 6);
    assert_content(path, "hello!");
    assert_int_equal(file_append(f, SLICE_LIT("?"), &err), ST_OK);
    file_close(&f);
    assert_content(path, "hello!?");

    assert_int_equal(file_open(root, FILE_READ, &f, &err), ST_INVALID);
    if (access("/dev/full", W_OK) == 0) { /* ENOSPC on demand */
        assert_int_equal(file_open("/dev/full", FILE_APPEND, &f, &err), ST_OK);
        assert_int_equal(file_append(f, SLICE_LIT("x"), &err), ST_FULL);
        file_close(&f);
    }
    mem_free(path);
}

static void test_dirs(void **state) {
    (void)state;
    struct error err;
    char *deep = in_root("a//b/c/"), *top = in_root("a");
    mode_t old = umask(0077);
    assert_int_equal(file_make_dir(deep, 0755, &err), ST_OK);
    umask(old);
    assert_int_equal(mode_of(deep), 0755);
    assert_int_equal(mode_of(top), 0755);
    assert_int_equal(file_make_dir(deep, 0700, &err), ST_OK);
    assert_int_equal(mode_of(deep), 0755); /* what is there stays as it is */
    static const char *const made[] = {"z", "B", "a"};
    for (size_t i = 0; i < 3; i++) {
        char *p = file_join(deep, made[i]);
        assert_int_equal(file_replace(p, SLICE_LIT("1"), 0600, &err), ST_OK);
        mem_free(p);
    }
    assert_int_equal(count_names(deep), 3);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "a");
    assert_string_equal(names[2], "z");
    size_t stop = 2;
    n_names = 0;
    assert_int_equal(file_list_dir(deep, on_name, &stop, &err), ST_CANCELLED);
    assert_int_equal(n_names, 2);

    char *z = file_join(deep, "z"), *y = in_root("y"), *under = file_join(z, "under");
    assert_int_equal(file_make_dir(z, 0700, &err), ST_EXISTS);
    assert_int_not_equal(file_make_dir(under, 0700, &err), ST_OK);
    assert_int_equal(file_make_dir("", 0700, &err), ST_INVALID);
    assert_int_equal(file_rename(z, y, &err), ST_OK);
    assert_false(file_exists(z));
    assert_true(file_exists(y));
    assert_int_equal(file_rename(z, y, &err), ST_NOTFOUND);
    assert_int_equal(file_remove(y, &err), ST_OK);
    assert_int_equal(file_remove(y, &err), ST_OK);
    assert_int_equal(file_list_dir(y, on_name, NULL, &err), ST_NOTFOUND);
    uint64_t space = 0, total = 0;
    assert_int_equal(file_space(deep, &space, &total, &err), ST_OK);
    assert_true(total > 0 && space <= total);
    assert_int_equal(chdir(root), 0);
    assert_int_equal(file_replace("relative", SLICE_LIT("1"), 0600, &err), ST_OK);
    assert_int_equal(file_make_dir("rel/dir", 0700, &err), ST_OK);
    mem_free(under);
    mem_free(z);
    mem_free(y);
    mem_free(deep);
    mem_free(top);
}

static void test_lock(void **state) {
    (void)state;
    char *path = in_root("lock");
    struct error err;
    struct file *f = NULL, *g = NULL;
    assert_int_equal(file_lock(path, &f, &err), ST_OK);
    assert_int_equal(file_lock(path, &g, &err), ST_BUSY);
    assert_null(g);
    char pid[32];
    snprintf(pid, sizeof pid, "number %ld", (long)getpid());
    assert_non_null(strstr(err.msg, pid));
    file_close(&f);
    assert_int_equal(file_lock(path, &g, &err), ST_OK);
    file_close(&g);
    mem_free(path);
}

static void test_join(void **state) {
    (void)state;
    static const struct {
        const char *dir, *name, *want;
    } cases[] = {{"/a", "b", "/a/b"}, {"/a/", "b", "/a/b"}, {"", "b", "b"}, {"/", "b", "/b"}, {".", "", "./"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *s = file_join(cases[i].dir, cases[i].name);
        assert_string_equal(s, cases[i].want);
        mem_free(s);
    }
}

int main(void) {
    if (!mkdtemp(root)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replace_and_read),
        cmocka_unit_test(test_replace_keeps_the_old_file),
#ifdef HAECHI_TEST_HOOKS
        cmocka_unit_test(test_crash_before_rename),
#endif
        cmocka_unit_test(test_append_read_truncate),
        cmocka_unit_test(test_dirs),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_join),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -rf %s", root);
    return system(cmd) ? 1 : rc;
}
