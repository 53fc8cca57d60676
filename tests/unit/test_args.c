/* args.c: parsing by table, suggestions, durations, sizes and times. */
#include "args.h"
#include "clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

struct target {
    bool json;
    const char *host;
    struct arg_list where;
    uint64_t limit;
};

static const struct arg_option options[] = {
    {"json", ARG_FLAG, offsetof(struct target, json), NULL, "one object a line"},
    {"host", ARG_STRING, offsetof(struct target, host), "HOST", "whose events"},
    {"where", ARG_LIST, offsetof(struct target, where), "'FIELD OP VALUE'", "a condition; may be repeated"},
    {"limit", ARG_UINT, offsetof(struct target, limit), "N", "at most so many"},
};
static const struct arg_command command = {"events", "--host HOST [FILE]", "Shows events.", options, 4, 0, 1};

static enum status parse(char **argv, struct target *t, struct arg_list *words, struct error *err) {
    int argc = 0;
    while (argv[argc]) argc++;
    return args_parse(&command, argc, argv, t, words, err);
}

static void test_parses_options_and_words(void **state) {
    (void)state;
    struct target t = {0};
    struct arg_list words = {0};
    struct error err = {0};
    char *argv[] = {"--host", "a", "--where=x = 1", "--json", "--where", "y", "--limit", "12", "--", "--f", NULL};
    assert_int_equal(parse(argv, &t, &words, &err), ST_OK);
    assert_true(t.json);
    assert_string_equal(t.host, "a");
    assert_int_equal(t.where.n, 2);
    assert_string_equal(t.where.items[0], "x = 1");
    assert_int_equal(t.limit, 12);
    assert_string_equal(words.items[0], "--f");
    arg_list_free(&t.where);
    arg_list_free(&words);
}

static void test_mistakes(void **state) {
    (void)state;
    static char *const cases[][4] = {
        {"--hots", "a", NULL, "unknown option --hots; did you mean --host?"},
        {"--zzz", NULL, NULL, "unknown option --zzz; see events --help"},
        {"--host", NULL, NULL, "--host needs a value: --host HOST"},
        {"--json=1", NULL, NULL, "--json takes no value"},
        {"--limit", "1x", NULL, "--limit takes a whole number, not '1x'"},
        {"-j", NULL, NULL, "unknown option -j; options are written --name"},
        {"a", "b", NULL, "unexpected word 'b'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target t = {0};
        struct arg_list words = {0};
        struct error err = {0};
        char *argv[] = {cases[i][0], cases[i][1], NULL};
        if (parse(argv, &t, &words, &err) != ST_INVALID || !strstr(err.msg, cases[i][3])) {
            fail_msg("%s: got '%s'", cases[i][3], err.msg);
        }
        arg_list_free(&words);
    }
}

static void test_small_grammars(void **state) {
    (void)state;
    uint64_t v;
    static const struct {
        const char *text;
        uint64_t s;
    } durations[] = {{"90", 90}, {"90s", 90}, {"15m", 900}, {"24h", 86400}, {"7d", 604800}, {"2w", 1209600}};
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        assert_int_equal(args_duration(durations[i].text, &v, NULL), ST_OK);
        assert_int_equal(v, durations[i].s);
    }
    static const char *const bad[] = {"", "d", "1y", "1dd", "-1", "99999999999999999999w"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(args_duration(bad[i], &v, NULL), ST_INVALID);
        assert_int_equal(args_size(bad[i], &v, NULL), ST_INVALID);
    }
    assert_int_equal(args_size("64K", &v, NULL), ST_OK);
    assert_int_equal(v, 65536);
    assert_int_equal(args_size("99999999T", &v, NULL), ST_INVALID);
    uint64_t now = filetime_from_unix(1700000000);
    assert_int_equal(args_time("15m", now, &v, NULL), ST_OK);
    assert_int_equal(now - v, 900 * FILETIME_SECOND);
    assert_int_equal(args_time("2026-11-24", now, &v, NULL), ST_OK);
    assert_int_equal(filetime_to_unix(v), 1795478400);
    assert_int_equal(args_time("15", now, &v, NULL), ST_INVALID);
}

static void test_help(void **state) {
    (void)state;
    struct buf out = {0};
    args_help(&out, "haechi", &command);
    assert_non_null(strstr(buf_cstr(&out), "usage: haechi events --host HOST [FILE]\n\nShows events.\n\n  --json"));
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parses_options_and_words),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_small_grammars),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
