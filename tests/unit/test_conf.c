/* conf.c: what is read, and what every kind of mistake says. */
#include "conf.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

struct settings {
    bool on;
    uint64_t loops, keep, space;
    char *address;
    struct conf_strings names;
};

static const struct conf_option options[] = {
    {"on", CONF_BOOL, offsetof(struct settings, on), "true", 0, 0, true, "whether"},
    {"listen.loops", CONF_UINT, offsetof(struct settings, loops), "1", 1, 64, false, "how many"},
    {"listen.address", CONF_STRING, offsetof(struct settings, address), "\"0.0.0.0:7443\"", 0, 0, false, "where"},
    {"listen.names", CONF_STRINGS, offsetof(struct settings, names), "[]", 0, 0, false, "as whom"},
    {"keep.age", CONF_DURATION, offsetof(struct settings, keep), "\"30d\"", 0, 0, true, "how long"},
    {"keep.space", CONF_SIZE, offsetof(struct settings, space), "0", 0, 0, true, "how much"},
};
#define N_OPTIONS (sizeof options / sizeof *options)

static enum status parse(const char *text, struct settings *s, struct error *err) {
    conf_defaults(options, N_OPTIONS, s);
    return conf_parse(options, N_OPTIONS, "x.toml", slice_str(text), s, err);
}

static void test_reads_every_type(void **state) {
    (void)state;
    struct settings s;
    struct error err = {0};
    enum status st =
        parse("\xef\xbb\xbf# a comment\r\non = false\r\n\r\n[listen]\nloops = 1_6 # behind\n"
              "address = 'C:\\x'\nnames = [\n \"a\", # one\n 'b',\n]\n[keep]\nage = \"2w\"\nspace = \"10G\"\n",
              &s, &err);
    assert_string_equal(err.msg, "");
    assert_int_equal(st, ST_OK);
    assert_false(s.on);
    assert_int_equal(s.loops, 16);
    assert_string_equal(s.address, "C:\\x");
    assert_int_equal(s.names.n, 2);
    assert_string_equal(s.names.items[1], "b");
    assert_int_equal(s.keep, 14 * 86400);
    assert_int_equal(s.space, UINT64_C(10) << 30);
    conf_free(options, N_OPTIONS, &s);
}

static void test_defaults_and_dotted_keys(void **state) {
    (void)state;
    struct settings s;
    struct error err = {0};
    assert_int_equal(parse("listen.address = \"\\u00e4\\t\"", &s, &err), ST_OK);
    assert_string_equal(s.address, "\xc3\xa4\t");
    assert_true(s.on);
    assert_int_equal(s.keep, 30 * 86400);
    conf_free(options, N_OPTIONS, &s);
}

static void test_mistakes_say_where_and_what(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"onn = true", "x.toml:1:1: unknown key onn; did you mean on?"},
        {"[listen]\nlops = 1", "x.toml:2:1: unknown key listen.lops; did you mean listen.loops?"},
        {"[lisen]", "x.toml:1:1: unknown key lisen"},
        {"on = 1", "x.toml:1:6: on takes true or false"},
        {"on = yes", "x.toml:1:6: a value is a"},
        {"on = true\non = true", "x.toml:2:1: this key is given twice"},
        {"on true", "x.toml:1:4: = is expected"},
        {"on =", "x.toml:1:5: a value is missing"},
        {"on = true false", "x.toml:1:11: the line should end here"},
        {"listen.loops = 65", "x.toml:1:16: listen.loops must be from 1 to 64, not 65"},
        {"listen.loops = 99999999999999999999", "too large"},
        {"listen.loops = 1.5", "neither a whole number"},
        {"listen.address = \"a", "x.toml:1:18: a string without its closing quote"},
        {"listen.address = \"a\nb\"", "a string must end on its line"},
        {"listen.address = \"C:\\x\"", "unknown escape"},
        {"listen.address = \"\"\"a\"\"\"", "multi-line strings"},
        {"listen.address = \"\xff\"", "not UTF-8"},
        {"listen.names = [\"a\" \"b\"]", "a comma or the closing bracket"},
        {"listen.names = [1]", "arrays hold strings"},
        {"listen.names = [", "without its closing bracket"},
        {"keep.age = \"3y\"", "'3y' is no duration"},
        {"keep.space = \"x\"", "'x' is no size"},
        {"[[listen]]", "arrays of tables"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings s;
        struct error err = {0};
        enum status st = parse(cases[i].text, &s, &err);
        if (!st || !strstr(err.msg, cases[i].says)) {
            fail_msg("%s: got %d '%s', wanted '%s'", cases[i].text, st, err.msg, cases[i].says);
        }
        conf_free(options, N_OPTIONS, &s);
    }
}

static void test_sample_lists_every_option(void **state) {
    (void)state;
    struct buf out = {0};
    conf_sample(&out, options, N_OPTIONS);
    assert_non_null(strstr(buf_cstr(&out), "\n[listen]\n# how many\n#loops = 1\n"));
    struct settings s;
    struct error err = {0};
    assert_int_equal(parse(buf_cstr(&out), &s, &err), ST_OK);
    conf_free(options, N_OPTIONS, &s);
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_type),
        cmocka_unit_test(test_defaults_and_dotted_keys),
        cmocka_unit_test(test_mistakes_say_where_and_what),
        cmocka_unit_test(test_sample_lists_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
