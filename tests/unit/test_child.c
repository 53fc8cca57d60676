/* Child processes that are run to their end: output, exit codes, time limits, and what they leave behind. */
// links: agent proto base
#include "child.h"
#include "clock.h"
#include "file.h"
#include "mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void test_ends(void **state) {
    (void)state;
    static const struct {
        const char *name, *script;
        size_t max;
        unsigned limit_ms;
        int code;
        bool crashed, timed_out;
        const char *output;
    } cases[] = {
        {"nothing", "exit 0", 100, 5000, 0, false, false, ""},
        {"a code", "exit 228", 100, 5000, 228, false, false, ""},
        {"both streams", "echo one; echo two >&2; echo three", 100, 5000, 0, false, false, "one\ntwo\nthree\n"},
        {"more than is kept", "echo 0123456789; echo more", 10, 5000, 0, false, false, "0123456789"},
        {"much more than a pipe holds", "head -c 300000 /dev/zero | tr '\\0' x; exit 4", 3, 9000, 4, false, false,
         "xxx"},
        {"no input", "cat; echo end", 100, 5000, 0, false, false, "end\n"},
        {"killed by itself", "kill -SEGV $$", 100, 5000, SIGSEGV, true, false, ""},
        {"hangs", "echo began; sleep 60", 100, 300, 0, false, true, "began\n"},
        {"hangs and will not die", "trap '' TERM INT; echo began; sleep 60 & wait", 100, 300, 0, false, true,
         "began\n"},
        {"closes its output and hangs", "exec >&- 2>&-; sleep 60", 100, 300, 0, false, true, ""},
        {"leaves one behind that holds the pipe", "sleep 2 & echo done", 100, 5000, 0, false, false, "done\n"},
        {"a folder", "pwd", 100, 5000, 0, false, false, "/usr\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *argv[] = {"/bin/sh", "-c", cases[i].script, NULL};
        struct child_run o = {.argv = argv,
                              .dir = "/usr",
                              .time_limit_ms = cases[i].limit_ms,
                              .max_output = cases[i].max};
        struct child_end e;
        uint64_t began = clock_mono_ms();
        assert_int_equal(child_run(&o, &e, NULL), ST_OK);
        if (e.exit_code != cases[i].code || e.crashed != cases[i].crashed || e.timed_out != cases[i].timed_out ||
            strcmp(buf_cstr(&e.output), cases[i].output) != 0)
            fail_msg("%s: code %d, crashed %d, timed out %d, \"%s\"", cases[i].name, e.exit_code, e.crashed,
                     e.timed_out, buf_cstr(&e.output));
        if (clock_mono_ms() - began > cases[i].limit_ms + 1000) fail_msg("%s: took too long", cases[i].name);
        buf_free(&e.output);
    }
}

/* A time limit ends what the child has started, too. */
static void test_tree(void **state) {
    (void)state;
    const char *argv[] = {"/bin/sh", "-c", "sh -c 'echo $$; sleep 60' & wait", NULL};
    struct child_run o = {.argv = argv, .dir = "/", .time_limit_ms = 300, .max_output = 100};
    struct child_end e;
    assert_int_equal(child_run(&o, &e, NULL), ST_OK);
    long pid = strtol(buf_cstr(&e.output), NULL, 10);
    assert_true(pid > 1);
    bool gone = false;
    for (int i = 0; i < 100 && !gone; i++) {
        char path[64];
        struct buf b = {0};
        snprintf(path, sizeof path, "/proc/%ld/stat", pid);
        gone = file_read(path, 4096, &b, NULL) != ST_OK || strstr(buf_cstr(&b), ") Z ");
        buf_free(&b);
        if (!gone) usleep(10000);
    }
    assert_true(gone);
    buf_free(&e.output);
}

static void test_give_up(void **state) {
    (void)state;
    atomic_bool stop;
    atomic_init(&stop, true);
    const char *quick[] = {"/bin/sh", "-c", "sleep 0.3; echo done", NULL};
    const char *slow[] = {"/bin/sh", "-c", "sleep 60", NULL};
    struct child_run o = {.argv = quick, .dir = "/", .time_limit_ms = 60000, .max_output = 100, .give_up = &stop};
    struct child_end e;
    assert_int_equal(child_run(&o, &e, NULL), ST_OK); /* it has the time to end well */
    assert_false(e.gave_up);
    assert_string_equal(buf_cstr(&e.output), "done\n");
    buf_free(&e.output);
    o.argv = slow;
    assert_int_equal(child_run(&o, &e, NULL), ST_OK);
    assert_true(e.gave_up && !e.timed_out);
    assert_true(e.ran_ms >= CHILD_GRACE_MS && e.ran_ms < CHILD_GRACE_MS + 1000);
    buf_free(&e.output);
}

static void test_no_program(void **state) {
    (void)state;
    const char *argv[] = {"/nonexistent/sysmon", "-c", NULL};
    struct child_run o = {.argv = argv, .dir = "/", .time_limit_ms = 1000, .max_output = 100};
    struct child_end e;
    assert_int_equal(child_run(&o, &e, NULL), ST_OK);
    assert_int_equal(e.exit_code, 127);
    buf_free(&e.output);
}

static void test_check(void **state) {
    (void)state;
    char dir[] = "/tmp/haechi-child-XXXXXX";
    struct error err = {0};
    assert_non_null(mkdtemp(dir));
    char *path = file_join(dir, "program");
    static const struct {
        const char *name;
        unsigned mode;
        enum status want;
        const char *words;
    } cases[] = {
        {"fine", 0755, ST_OK, ""},
        {"its owner's alone", 0700, ST_OK, ""},
        {"anybody's", 0777, ST_DENIED, "can be changed by others"},
        {"its group's", 0775, ST_DENIED, "can be changed by others"},
        {"no program", 0644, ST_DENIED, "no program"},
    };
    assert_int_equal(file_replace(path, SLICE_LIT("#!/bin/sh\n"), 0644, NULL), ST_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(chmod(path, cases[i].mode), 0);
        enum status st = child_check_program(path, &err);
        if (st != cases[i].want || (st && !strstr(err.msg, cases[i].words)))
            fail_msg("%s: %s, %s", cases[i].name, status_name(st), err.msg);
    }
    assert_int_equal(child_check_program("sysmon", &err), ST_DENIED);
    assert_int_equal(child_check_program(dir, &err), ST_DENIED);
    assert_int_equal(file_remove(path, NULL), ST_OK);
    assert_int_equal(child_check_program(path, &err), ST_NOTFOUND);
    rmdir(dir);
    mem_free(path);
}

static void test_own_path(void **state) {
    (void)state;
    char path[1024];
    child_own_path(path, sizeof path);
    assert_non_null(strstr(path, "test_child"));
    assert_int_equal(*path, '/');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),  cmocka_unit_test(test_tree),     cmocka_unit_test(test_give_up),
        cmocka_unit_test(test_check), cmocka_unit_test(test_own_path), cmocka_unit_test(test_no_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
