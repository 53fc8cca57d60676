/* What Sysmon prints, in the words of its generations, and what that means. */
#include "sysmon_words.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define BANNER                                                                                          \
    "\r\n\r\nSystem Monitor v15.15 - System activity monitor\r\nBy Mark Russinovich and Thomas Garnier" \
    "\r\nCopyright (C) 2014-2024 Microsoft Corporation\r\nSysinternals - www.sysinternals.com\r\n\r\n"
#define LINUX_BANNER                                                                  \
    "\nSysmon v1.3.3 - Monitors system events\nSysinternals - www.sysinternals.com\n" \
    "By Mark Russinovich, Thomas Garnier and Kevin Sheldrake\nLicensed under MIT/GPLv2\n\n"
#define LOADING "Loading configuration file with schema version 4.50\r\n"
#define REMINDER "Sysmon schema version: 4.90\r\n"
#define VALIDATED "Configuration file validated.\r\n"
#define UPDATED "Configuration updated.\r\n"
#define USAGE "Usage:\r\nInstall:                 Sysmon64.exe -i [<configfile>]\r\n"

static const struct {
    const char *name;
    enum sysmon_system system;
    int exit_code;
    const char *printed;
    enum sysmon_answer answer;
    const char *words; /* in the sentence */
} cases[] = {
    {"taken", SYSMON_ON_WINDOWS, 0, BANNER LOADING VALIDATED UPDATED, SYSMON_ACCEPTED, ""},
    {"taken, an older schema", SYSMON_ON_WINDOWS, 0, BANNER LOADING REMINDER VALIDATED UPDATED, SYSMON_ACCEPTED, ""},
    {"taken, blanks after it", SYSMON_ON_WINDOWS, 0, BANNER LOADING VALIDATED UPDATED "\r\n  \r\n", SYSMON_ACCEPTED,
     ""},
    {"taken, no last line break", SYSMON_ON_WINDOWS, 0, LOADING VALIDATED "Configuration updated.", SYSMON_ACCEPTED,
     ""},
    {"taken, localised banner", SYSMON_ON_WINDOWS, 0, "Syst\xe8me d'analyse\r\n" LOADING VALIDATED UPDATED,
     SYSMON_ACCEPTED, ""},
    {"validated only", SYSMON_ON_WINDOWS, 0, BANNER LOADING VALIDATED, SYSMON_INDEFINITE,
     "after \"Configuration file validated.\""},
    {"loading only", SYSMON_ON_WINDOWS, 0, BANNER LOADING, SYSMON_INDEFINITE, "after \"Loading configuration file"},
    {"more after the success", SYSMON_ON_WINDOWS, 0, BANNER LOADING VALIDATED UPDATED "Stopping Sysmon.\r\n",
     SYSMON_INDEFINITE, "Stopping Sysmon."},
    {"success in the middle only", SYSMON_ON_WINDOWS, 0, BANNER UPDATED VALIDATED, SYSMON_INDEFINITE, "validated"},
    {"nothing", SYSMON_ON_WINDOWS, 5, "", SYSMON_INDEFINITE, "printed nothing and ended with 5"},
    {"success and an exit code", SYSMON_ON_WINDOWS, 1, BANNER LOADING VALIDATED UPDATED, SYSMON_INDEFINITE,
     "ended with 1"},
    {"a dropped field, and success", SYSMON_ON_WINDOWS, 0,
     BANNER LOADING "Incorrect field NewName\r\n" VALIDATED UPDATED, SYSMON_REFUSED,
     "Incorrect field NewName (it dropped"},
    {"a skipped block, and success", SYSMON_ON_WINDOWS, 0,
     BANNER LOADING "Error: You need to specifiy the onmatch attribute on ImageLoad.\r\n" VALIDATED UPDATED,
     SYSMON_REFUSED, "onmatch attribute on ImageLoad. (it skipped"},
    {"both attributes, and success", SYSMON_ON_WINDOWS, 0,
     BANNER "Error: Can't specify onmatch and default on DnsQuery (pick only one)\r\n" VALIDATED UPDATED,
     SYSMON_REFUSED, "(it skipped"},
    {"MSXML", SYSMON_ON_WINDOWS, 87,
     BANNER
     "Error: Incorrect XML configuration: C:\\x.xml\r\nReason: Element 'Proces' is unexpected according to content model of "
     "parent element 'EventFiltering'.\r\nExpecting: ProcessCreate.\r\n",
     SYSMON_REFUSED, "x.xml Reason: Element 'Proces'"},
    {"libxml2", SYSMON_ON_WINDOWS, 87,
     BANNER "element Image: validity error : No declaration for attribute onmatch of element Image\r\n"
            "LIBXML2 Error: Failed to validate the xml configuration: C:\\x.xml\r\n",
     SYSMON_REFUSED, "validity error"},
    {"libxml2, enumeration", SYSMON_ON_WINDOWS, 87,
     "Value \"Include\" for attribute onmatch of ProcessCreate is not among the enumerated set\r\n", SYSMON_REFUSED,
     "enumerated set"},
    {"pugixml", SYSMON_ON_LINUX, 87,
     LINUX_BANNER "Error: Failed to load or parse xml configuration: /x.xml (reason at offset 120)\n", SYSMON_REFUSED,
     "offset 120"},
    {"no such file", SYSMON_ON_WINDOWS, 2, BANNER "Error: Failed to open configuration file C:\\x.xml\r\n",
     SYSMON_REFUSED, "Failed to open configuration file"},
    {"white space", SYSMON_ON_WINDOWS, 87, BANNER "Error: Too much white space\r\n", SYSMON_REFUSED, "white space"},
    {"no Sysmon tag", SYSMON_ON_WINDOWS, 87, BANNER "Error: Failed to find Sysmon tag in configuration: C:\\x.xml\r\n",
     SYSMON_REFUSED, "Sysmon tag"},
    {"schema too old", SYSMON_ON_WINDOWS, 87,
     BANNER "Error: Incorrect or unsupported schema version 3.40. Current Sysmon schema version 4.90\r\n",
     SYSMON_REFUSED, "schema version 3.40"},
    {"an unknown condition", SYSMON_ON_WINDOWS, 87,
     BANNER
     "Error: Unknown condition: like\r\nExpected values are is, is not\r\nError: Failed to convert EventFiltering nodes: C:\\x.xml\r\n",
     SYSMON_REFUSED, "Unknown condition: like"},
    {"the rule engine", SYSMON_ON_WINDOWS, 87, BANNER "RuleEngine Error: Multiple rule filters of the same type\r\n",
     SYSMON_REFUSED, "Multiple rule filters"},
    {"a hash that is none", SYSMON_ON_WINDOWS, 87, BANNER "Invalid hashing algorithm: SHA3\r\n" UPDATED, SYSMON_REFUSED,
     "SHA3"},
    {"field sizes", SYSMON_ON_WINDOWS, 87, BANNER "FieldSizes field 'X' is invalid.\r\n", SYSMON_REFUSED, "'X'"},
    {"usage", SYSMON_ON_WINDOWS, 87, USAGE BANNER, SYSMON_REFUSED, "did not understand"},
    {"usage before the reason", SYSMON_ON_WINDOWS, 87, USAGE BANNER "Error: Too much white space\r\n", SYSMON_REFUSED,
     "white space"},
    {"not elevated", SYSMON_ON_WINDOWS, 5, BANNER "You need to launch Sysmon as an Administrator.\r\n",
     SYSMON_NOT_POSSIBLE, "has not the rights"},
    {"not root", SYSMON_ON_LINUX, 228, LINUX_BANNER "You need to run Sysmon as root.\n", SYSMON_NOT_POSSIBLE,
     "has not the rights"},
    {"not installed", SYSMON_ON_WINDOWS, 0, BANNER "Sysmon is not installed on this computer\r\n", SYSMON_NOT_POSSIBLE,
     "not installed"},
    {"not installed, and 0", SYSMON_ON_LINUX, 0, LINUX_BANNER "Error: Sysmon is not installed.\n", SYSMON_NOT_POSSIBLE,
     "not installed"},
    {"not running", SYSMON_ON_LINUX, 87, LINUX_BANNER "Sysmon is not running.\n", SYSMON_NOT_POSSIBLE, "not running"},
    {"no driver", SYSMON_ON_WINDOWS, 2,
     BANNER LOADING VALIDATED "Failed to connect to the driver to update configuration: Zugriff verweigert\r\n",
     SYSMON_NOT_POSSIBLE, "its driver is not reachable"},
    {"taken on Linux", SYSMON_ON_LINUX, 0, LINUX_BANNER LOADING VALIDATED, SYSMON_ACCEPTED, ""},
    {"silent on Linux", SYSMON_ON_LINUX, 0, "", SYSMON_ACCEPTED, ""},
    {"silent on Linux, but a code", SYSMON_ON_LINUX, 1, "", SYSMON_INDEFINITE, "ended with 1"},
    {"an option that Linux lacks", SYSMON_ON_LINUX, 0, LINUX_BANNER "Option not implemented on Linux.\n" VALIDATED,
     SYSMON_ACCEPTED, ""},
};

static void judge(const char *name, struct slice captured, size_t i) {
    struct buf lines = {0};
    struct sysmon_verdict v;
    sysmon_words_decode(captured, &lines);
    assert_true(text_is_utf8(buf_slice(&lines)) || !lines.len);
    sysmon_words_judge(buf_slice(&lines), cases[i].system, cases[i].exit_code, &v);
    if (v.answer != cases[i].answer || !strstr(v.reason, cases[i].words) || !*v.reason != (v.answer == SYSMON_ACCEPTED))
        fail_msg("%s%s: answer %d, \"%s\"", cases[i].name, name, (int)v.answer, v.reason);
    buf_free(&lines);
}

static void test_words(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice s = slice_str(cases[i].printed);
        struct buf b = {0};
        judge("", s, i);
        for (size_t k = 0; k < s.len; k++) buf_u16le(&b, s.p[k]);
        judge(" in UTF-16", buf_slice(&b), i);
        buf_clear(&b);
        buf_u16le(&b, 0xfeff);
        for (size_t k = 0; k < s.len; k++) buf_u16le(&b, s.p[k]);
        judge(" in UTF-16 with a mark", buf_slice(&b), i);
        buf_clear(&b);
        buf_str(&b, "\xef\xbb\xbf");
        buf_slice_append(&b, s);
        judge(" in UTF-8 with a mark", buf_slice(&b), i);
        buf_free(&b);
    }
}

static void test_decode(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct slice in;
        const char *out;
    } texts[] = {
        {"code page", SLICE_LIT("Fl\xfcgel\r\n"), "Fl?gel\n"},
        {"UTF-8", SLICE_LIT("Fl\xc3\xbcgel\r\n"), "Fl\xc3\xbcgel\n"},
        {"UTF-16",
         SLICE_LIT("\xff\xfe"
                   "F\0l\0\xfc\0g\0\r\0\n\0"),
         "Fl\xc3\xbcg\n"},
        {"UTF-16, big-endian", SLICE_LIT("\xfe\xff\0F\0l\0\xfc\0g"), "Fl\xc3\xbcg"},
        {"escape sequences", SLICE_LIT("a\x1b[31mb\x7f\xc2\x9b"), "a?[31mb??"},
        {"zero bytes", SLICE_LIT("a\0b and some more text"), "a?b and some more text"},
        {"a lone surrogate",
         SLICE_LIT("\xff\xfe"
                   "a\0\x00\xd8"),
         "a?"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf b = {0};
        sysmon_words_decode(texts[i].in, &b);
        if (strcmp(buf_cstr(&b), texts[i].out) != 0) fail_msg("%s: \"%s\"", texts[i].name, buf_cstr(&b));
        buf_free(&b);
    }
}

static void test_cut(void **state) {
    (void)state;
    struct buf in = {0}, out = {0};
    sysmon_words_cut(SLICE_LIT("short\n\n"), 100, &out);
    assert_string_equal(buf_cstr(&out), "short");
    for (int i = 0; i < 1000; i++) buf_str(&in, "\xc3\xbc");
    for (size_t max = 100; max < 110; max++) {
        buf_clear(&out);
        sysmon_words_cut(buf_slice(&in), max, &out);
        assert_true(out.len <= max && out.len > max - 6);
        assert_true(text_is_utf8(buf_slice(&out)));
        assert_non_null(strstr(buf_cstr(&out), "[...]"));
    }
    buf_free(&in);
    buf_free(&out);
}

/* A sentence fits, whatever the lines are. */
static void test_long_lines(void **state) {
    (void)state;
    struct buf in = {0};
    struct sysmon_verdict v;
    buf_str(&in, "Error: ");
    for (int i = 0; i < 5000; i++) buf_str(&in, "\xe2\x82\xac");
    buf_str(&in, "\nReason: ");
    for (int i = 0; i < 5000; i++) buf_str(&in, "\xe2\x82\xac");
    sysmon_words_judge(buf_slice(&in), SYSMON_ON_WINDOWS, 0, &v);
    assert_int_equal(v.answer, SYSMON_REFUSED);
    assert_true(text_is_utf8(slice_str(v.reason)));
    buf_free(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
