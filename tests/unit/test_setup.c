// links: agent proto base
/* Texts of an unattended installation: what an installer's words become, what is refused and in which words, and the file read back. */
#include "mem.h"
#include "setup.h"
#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *good_token(void) {
    static struct buf text;
    struct token t = {.pin = {1, 2, 3}, .address = "collector.example:7443"};
    if (!text.len) assert_int_equal(token_encode(&t, &text, NULL), ST_OK);
    return buf_cstr(&text);
}

/* %T stands for a good token. */
static char *with_token(const char *pattern) {
    struct buf out = {0};
    const char *at = strstr(pattern, "%T");
    if (!at) return mem_strdup(pattern);
    buf_append(&out, pattern, (size_t)(at - pattern));
    buf_str(&out, good_token());
    buf_str(&out, at + 2);
    char *s = mem_strdup(buf_cstr(&out));
    buf_free(&out);
    return s;
}

static void test_words(void **state) {
    (void)state;
    static const struct {
        const char *token, *server, *channels, *enroll, *config;
    } cases[] = {
        {NULL, NULL, NULL, "", ""},
        {"", "", "", "", ""},
        {"%T", NULL, NULL, "token = \"%T\"\n", ""},
        {"  %T ", NULL, NULL, "token = \"%T\"\n", ""},
        {NULL, "a.example", NULL, "", "collectors = [\"a.example:7443\"]\n"},
        {"%T", "a:1,[2001:db8::1]; b", NULL,
         "token = \"%T\"\ncollectors = [\"a:1\", \"[2001:db8::1]:7443\", \"b:7443\"]\n",
         "collectors = [\"a:1\", \"[2001:db8::1]:7443\", \"b:7443\"]\n"},
        {NULL, NULL, "System", "", "[sources]\nchannels = [\"System\"]\n"},
        {NULL, NULL, " Microsoft-Windows-Sysmon/Operational;; System: *[System[(EventID=104 and EventID>'3')]] ;", "",
         "[sources]\nchannels = [\"Microsoft-Windows-Sysmon/Operational\", \"System: *[System[(EventID=104 and EventID>'3')]]\"]\n"},
        {NULL, "a", "System: *[EventData[Data[@Name=\"Image\"]='C:\\x']]", "",
         "collectors = [\"a:7443\"]\n\n[sources]\nchannels = [\"System: *[EventData[Data[@Name=\\\"Image\\\"]='C:\\\\x']]\"]\n"},
        {NULL, NULL, "K\xc3\xa4nal", "", "[sources]\nchannels = [\"K\xc3\xa4nal\"]\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *token = with_token(cases[i].token ? cases[i].token : ""), *enroll = with_token(cases[i].enroll);
        struct setup_words w = {.token = token, .server = cases[i].server, .channels = cases[i].channels};
        struct buf e = {0}, c = {0};
        struct error err = {0};
        if (setup_compose(&w, &e, &c, &err)) fail_msg("case %zu: %s", i, err.msg);
        const char *line = e.len ? strchr(buf_cstr(&e), '\n') + 1 : ""; /* behind the comment */
        if (strcmp(line, enroll) != 0) fail_msg("case %zu: \"%s\"", i, line);
        line = c.len ? strchr(buf_cstr(&c), '\n') + 1 : "";
        if (strcmp(line, cases[i].config) != 0) fail_msg("case %zu: \"%s\"", i, line);
        if (e.len) { /* and it is read back */
            struct setup_file f = {0};
            if (setup_file_parse("enroll.conf", buf_slice(&e), &f, &err)) fail_msg("case %zu: %s", i, err.msg);
            assert_string_equal(f.token, good_token());
            setup_file_free(&f);
        }
        buf_free(&e);
        buf_free(&c);
        mem_free(token);
        mem_free(enroll);
    }
}

static void test_refused_words(void **state) {
    (void)state;
    static char long_word[5000], long_name[300];
    memset(long_word, 'a', sizeof long_word - 1);
    memset(long_name, 'a', sizeof long_name - 1);
    const struct {
        const char *token, *server, *channels, *says;
    } cases[] = {
        {"hello", NULL, NULL, "TOKEN: not an enrolment token"},
        {"haechi-enroll.v1.AAAA", NULL, NULL, "TOKEN: the token is cut off or mistyped"},
        {"haechi-api.v1.a.b", NULL, NULL, "TOKEN: this is a token for the API"},
        {"a\tb", NULL, NULL, "TOKEN has a control character (code 9) at place 2"},
        {NULL, "a\nb", NULL, "SERVER has a control character (code 10)"},
        {NULL, "a/b", NULL, "SERVER: a/b: a collector's address is HOST:PORT"},
        {NULL, "a:0", NULL, "SERVER: a:0: the port"},
        {NULL, "::1", NULL, "an IPv6 address is written [ADDRESS]:PORT"},
        {NULL, "\"; x = \"", NULL, "SERVER: "},
        {NULL, " ,;", NULL, "SERVER names no collector"},
        {NULL, long_word, NULL, "SERVER has more than 4096 bytes"},
        {NULL, NULL, ";", "CHANNELS names no channel"},
        {NULL, NULL, "a\"b", "a channel's name has no '\"'"},
        {NULL, NULL, "a\\b", "a channel's name has no '\\'"},
        {NULL, NULL, "*[System]", "a channel's name has no '*'"},
        {NULL, NULL, ": *", "a channel's name has 1 to 255 bytes"},
        {NULL, NULL, "System:", "there is no query behind the colon"},
        {NULL, NULL, "System: ", "there is no query behind the colon"},
        {NULL, NULL, long_name, "a channel's name has 1 to 255 bytes"},
        {NULL, NULL, "a\xff", "CHANNELS is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct setup_words w = {.token = cases[i].token, .server = cases[i].server, .channels = cases[i].channels};
        struct buf e = {0}, c = {0};
        struct error err = {0};
        if (setup_compose(&w, &e, &c, &err) == ST_OK) fail_msg("case %zu was taken: %s", i, cases[i].says);
        if (!strstr(err.msg, cases[i].says)) fail_msg("case %zu: \"%s\", not \"%s\"", i, err.msg, cases[i].says);
        if (e.len || c.len) fail_msg("case %zu: something was written", i);
        buf_free(&e);
        buf_free(&c);
    }
}

static void test_file(void **state) {
    (void)state;
    static const struct {
        const char *text, *name, *collectors, *says; /* says NULL: good */
    } cases[] = {
        {"%T", "", "", NULL},
        {"\r\n  %T\r\n", "", "", NULL},
        {"token = \"%T\"\n", "", "", NULL},
        {"# c\ntoken = '%T'\nname = \"PC\"\ncollectors = [\"a\", \"b:1\"]\n", "PC", "a:7443 b:1 ", NULL},
        {"", NULL, NULL, "enroll.conf: it has no token"},
        {"name = \"PC\"\n", NULL, NULL, "it has no token"},
        {"token = \"x\"\n", NULL, NULL, "enroll.conf: token: not an enrolment token"},
        {"token = \"%T\"\ncollectors = [\"a b\"]\n", NULL, NULL, "enroll.conf: collectors: a collector's address"},
        {"tokn = \"%T\"\n", NULL, NULL, "did you mean token"},
        {"token = \"%T\" x\n", NULL, NULL, "enroll.conf:1:"},
        {"%T x", NULL, NULL, "cut off or mistyped"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = with_token(cases[i].text);
        struct setup_file f = {0};
        struct error err = {0};
        struct buf all = {0};
        enum status st = setup_file_parse("enroll.conf", slice_str(text), &f, &err);
        if ((st == ST_OK) != !cases[i].says) fail_msg("case %zu: %s", i, st ? err.msg : "taken");
        if (st && !strstr(err.msg, cases[i].says)) fail_msg("case %zu: \"%s\"", i, err.msg);
        if (st && strstr(err.msg, good_token())) fail_msg("case %zu: the token is in the message", i);
        if (!st) {
            assert_string_equal(f.token, good_token());
            assert_string_equal(f.name, cases[i].name);
            for (size_t k = 0; k < f.collectors.n; k++) buf_printf(&all, "%s ", f.collectors.items[k]);
            assert_string_equal(buf_cstr(&all), cases[i].collectors);
        }
        buf_free(&all);
        setup_file_free(&f);
        mem_free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_refused_words),
                                       cmocka_unit_test(test_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
