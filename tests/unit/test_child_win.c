/* Child processes on Windows that are run to their end. This program is the child, too: its second argument says what it does. */
#include "child.h"
#include "clock.h"
#include "wide_win.h"

#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char self[1024];

/* ---- as the child ---- */

static int be_child(const char *what, const char *more) {
    HANDLE out = GetStdHandle(STD_OUTPUT_HANDLE), err = GetStdHandle(STD_ERROR_HANDLE);
    DWORD n;
    if (strcmp(what, "exit") == 0) return atoi(more);
    if (strcmp(what, "both") == 0) {
        WriteFile(out, "one ", 4, &n, NULL);
        WriteFile(err, "two ", 4, &n, NULL);
        WriteFile(out, "three", 5, &n, NULL);
    } else if (strcmp(what, "much") == 0) {
        static char block[4096];
        for (int i = 0; i < 100; i++) WriteFile(out, block, sizeof block, &n, NULL);
    } else if (strcmp(what, "echo") == 0) {
        WriteFile(out, more, (DWORD)strlen(more), &n, NULL);
    } else if (strcmp(what, "folder") == 0) {
        char dir[MAX_PATH];
        n = GetCurrentDirectoryA(sizeof dir, dir);
        WriteFile(out, dir, n, &n, NULL);
    } else if (strcmp(what, "input") == 0) {
        char c;
        if (ReadFile(GetStdHandle(STD_INPUT_HANDLE), &c, 1, &n, NULL) && n) return 9;
        WriteFile(out, "end", 3, &n, NULL);
    } else if (strcmp(what, "hang") == 0) {
        WriteFile(out, "began", 5, &n, NULL);
        Sleep(60000);
    } else if (strcmp(what, "crash") == 0) {
        TerminateProcess(GetCurrentProcess(), 0xc0000005);
    } else if (strcmp(what, "tree") == 0 || strcmp(what, "leave") == 0) {
        char line[1200], pid[20];
        STARTUPINFOA si = {.cb = sizeof si};
        PROCESS_INFORMATION pi;
        snprintf(line, sizeof line, "\"%s\" child hang x", more);
        if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &si, &pi)) return 8;
        WriteFile(out, pid, (DWORD)snprintf(pid, sizeof pid, "%lu ", pi.dwProcessId), &n, NULL);
        if (strcmp(what, "tree") == 0) Sleep(60000);
    }
    return 0;
}

/* ---- as the test ---- */

static void run(const char *what, const char *more, unsigned limit_ms, const atomic_bool *give_up,
                struct child_end *e) {
    const char *argv[] = {self, "child", what, more, NULL};
    struct child_run o = {
        .argv = argv, .dir = "C:\\windows", .time_limit_ms = limit_ms, .max_output = 5000, .give_up = give_up};
    struct error err = {0};
    if (child_run(&o, e, &err)) fail_msg("%s: %s", what, err.msg);
}

static void test_ends(void **state) {
    (void)state;
    static const struct {
        const char *name, *what, *more;
        unsigned limit_ms;
        unsigned code;
        bool crashed, timed_out;
        const char *output;
    } cases[] = {
        {"nothing", "exit", "0", 20000, 0, false, false, ""},
        {"a code", "exit", "87", 20000, 87, false, false, ""},
        {"both streams", "both", "", 20000, 0, false, false, "one two three"},
        {"no input", "input", "", 20000, 0, false, false, "end"},
        {"its folder", "folder", "", 20000, 0, false, false, "C:\\windows"},
        {"words with blanks and quotes", "echo", "C:\\a b\\c \"d\" \\\\e\\", 20000, 0, false, false,
         "C:\\a b\\c \"d\" \\\\e\\"},
        {"crashes", "crash", "", 20000, 0xc0000005, true, false, ""},
        {"hangs", "hang", "", 2000, 1, false, true, "began"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct child_end e;
        run(cases[i].what, cases[i].more, cases[i].limit_ms, NULL, &e);
        if ((unsigned)e.exit_code != cases[i].code || e.crashed != cases[i].crashed ||
            e.timed_out != cases[i].timed_out || strcmp(buf_cstr(&e.output), cases[i].output) != 0)
            fail_msg("%s: code %#x, crashed %d, timed out %d, \"%s\"", cases[i].name, (unsigned)e.exit_code, e.crashed,
                     e.timed_out, buf_cstr(&e.output));
        buf_free(&e.output);
    }
}

static void test_much(void **state) {
    (void)state;
    struct child_end e;
    run("much", "", 30000, NULL, &e);
    assert_int_equal(e.exit_code, 0);
    assert_int_equal(e.output.len, 5000);
    buf_free(&e.output);
}

static bool is_alive(DWORD pid) {
    HANDLE p = OpenProcess(SYNCHRONIZE, FALSE, pid);
    bool alive = p && WaitForSingleObject(p, 0) == WAIT_TIMEOUT;
    if (p) CloseHandle(p);
    return alive;
}

/* A time limit ends what the child has started; an end of its own leaves it alone, and is not waited for. */
static void test_tree(void **state) {
    (void)state;
    struct child_end e;
    run("tree", self, 2500, NULL, &e);
    assert_true(e.timed_out);
    DWORD pid = strtoul(buf_cstr(&e.output), NULL, 10);
    assert_true(pid != 0);
    for (int i = 0; i < 100 && is_alive(pid); i++) Sleep(20);
    assert_false(is_alive(pid));
    buf_free(&e.output);
    run("leave", self, 20000, NULL, &e);
    assert_false(e.timed_out);
    assert_true(e.ran_ms < 15000);
    pid = strtoul(buf_cstr(&e.output), NULL, 10);
    assert_true(is_alive(pid));
    HANDLE p = OpenProcess(PROCESS_TERMINATE, FALSE, pid);
    TerminateProcess(p, 0);
    CloseHandle(p);
    buf_free(&e.output);
}

static void test_give_up(void **state) {
    (void)state;
    struct child_end e;
    atomic_bool stop;
    atomic_init(&stop, true);
    run("hang", "", 60000, &stop, &e);
    assert_true(e.gave_up && !e.timed_out);
    assert_true(e.ran_ms >= CHILD_GRACE_MS && e.ran_ms < CHILD_GRACE_MS + 3000);
    buf_free(&e.output);
}

static void test_programs(void **state) {
    (void)state;
    struct error err = {0};
    struct child_end e;
    const char *argv[] = {"C:\\windows\\nothing.exe", NULL};
    struct child_run o = {.argv = argv, .dir = "C:\\windows", .time_limit_ms = 1000, .max_output = 10};
    assert_int_equal(child_run(&o, &e, &err), ST_NOTFOUND);
    assert_int_equal(child_check_program(self, &err), ST_OK);
    assert_int_equal(child_check_program("C:\\windows\\nothing.exe", &err), ST_NOTFOUND);
    assert_int_equal(child_check_program("C:\\windows", &err), ST_DENIED);
    assert_int_equal(child_check_program("nothing.exe", &err), ST_DENIED);
    assert_int_equal(child_check_program("\\\\server\\share\\x.exe", &err), ST_DENIED);
    assert_int_equal(child_check_program("", &err), ST_DENIED);
}

int main(int argc, char **argv) {
    wide_args(&argc, &argv);
    if (argc == 4 && strcmp(argv[1], "child") == 0) return be_child(argv[2], argv[3]);
    child_own_path(self, sizeof self);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends), cmocka_unit_test(test_much),
                                       cmocka_unit_test(test_tree), cmocka_unit_test(test_give_up),
                                       cmocka_unit_test(test_programs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
