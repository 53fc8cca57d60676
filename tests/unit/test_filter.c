/* filter.c: each operator, missing and repeated fields, and what a mistyped condition says. */
#include "filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define TEXT(s) SLICE_LIT(s)

static struct event_data data[] = {
    {TEXT("Image"), TEXT("C:\\Windows\\System32\\cmd.exe"), EVENT_DATA},
    {TEXT("DestinationPort"), TEXT("443"), EVENT_DATA},
    {TEXT("GrantedAccess"), TEXT("0x1410"), EVENT_DATA},
    {TEXT("ProcessGuid"), TEXT("{01E2A015-D098-62BD-0D00-000000000700}"), EVENT_DATA},
    {TEXT("Twice"), TEXT("one"), EVENT_DATA},
    {TEXT("Twice"), TEXT("two"), EVENT_DATA},
    {TEXT("RuleName"), TEXT(""), EVENT_DATA},
    {{NULL, 0}, TEXT("unnamed needle"), EVENT_DATA},
};
static const struct event sample = {
    .event_id = {3, true, {0}},
    .keywords = {0x8000000000000000, true, {0}},
    .computer = TEXT("PC1.example.test"),
    .channel = TEXT("Microsoft-Windows-Sysmon/Operational"),
    .body = EVENT_BODY_DATA,
    .data = data,
    .n_data = 8,
};

static const struct {
    const char *where;
    bool matches;
} cases[] = {
    {"Image = c:\\windows\\system32\\CMD.EXE", true},
    {"Image != x", true},
    {"Image endswith \\cmd.exe", true},
    {"image startswith C:\\WINDOWS", true},
    {"Image contains system32", true},
    {"Image !contains system32", false},
    {"Image like *\\sys*32\\c?d.exe", true},
    {"Image like *\\sys*32\\c?d", false},
    {"Image like *", true},
    {"DestinationPort = 443", true},
    {"DestinationPort = 0x1bb", true},
    {"DestinationPort > 442", true},
    {"DestinationPort >= 444", false},
    {"DestinationPort < 80", false},
    {"DestinationPort <= 443", true},
    {"DestinationPort in 80,443", true},
    {"DestinationPort in 80,444", false},
    {"GrantedAccess = 0x00001410", true},
    {"GrantedAccess > 5000", true},
    {"Image > 5", false},
    {"ProcessGuid = {01e2a015-d098-62bd-0d00-000000000700}", true},
    {"Twice = two", true},
    {"Twice = one", true},
    {"Twice != two", false},
    {"RuleName = ", true},
    {"RuleName exists", true},
    {"Missing exists", false},
    {"Missing !exists", true},
    {"Missing = x", false},
    {"Missing != x", true},
    {"Missing !contains x", true},
    {"Missing contains x", false},
    {"event_id = 3", true},
    {"event_id in 1,22", false},
    {"computer endswith .example.test", true},
    {"keywords = 0x8000000000000000", true},
    {"level exists", false},
};

static void test_conditions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct filter f = {0};
        struct error err = {0};
        if (filter_add_where(&f, cases[i].where, &err)) fail_msg("%s: %s", cases[i].where, err.msg);
        if (filter_match(&f, &sample) != cases[i].matches) fail_msg("%s: wrong", cases[i].where);
        filter_deinit(&f);
    }
}

/* Sysmon on Windows doubles percent signs in CommandLine of event 1 and Details of event 13, and nowhere else. */
static void test_doubled_percent(void **state) {
    (void)state;
    static const struct {
        const char *provider, *field;
        unsigned id;
        const char *value, *where, *search;
        bool matches;
    } rows[] = {
        {"Microsoft-Windows-Sysmon", "CommandLine", 1, "del %%TEMP%%\\a", "CommandLine = del %TEMP%\\a", NULL, true},
        {"Microsoft-Windows-Sysmon", "CommandLine", 1, "del %%TEMP%%\\a", "CommandLine = del %%TEMP%%\\a", NULL, true},
        {"Microsoft-Windows-Sysmon", "CommandLine", 1, "del %%TEMP%%\\a", "CommandLine != del %TEMP%\\a", NULL, false},
        {"Microsoft-Windows-Sysmon", "CommandLine", 1, "del %%TEMP%%\\a", "CommandLine contains l %temp%\\", NULL,
         true},
        {"Microsoft-Windows-Sysmon", "CommandLine", 1, "del %%TEMP%%\\a", "CommandLine !contains %TEMP%\\", NULL,
         false},
        {"Microsoft-Windows-Sysmon", "commandline", 1, "%%A%%%%B%%", "CommandLine like %A%%B%", NULL, true},
        {"Microsoft-Windows-Sysmon", "CommandLine", 1, "100% %%", "CommandLine endswith 100% %", NULL, true},
        {"Microsoft-Windows-Sysmon", "CommandLine", 1, "100% %%", "CommandLine = 100% %%%", NULL, false},
        {"Microsoft-Windows-Sysmon", "Details", 13, "%%APPDATA%%\\x", "Details startswith %APPDATA%\\", NULL, true},
        {"Microsoft-Windows-Sysmon", "Details", 13, "%%APPDATA%%\\x", NULL, "%appdata%\\x", true},
        {"Microsoft-Windows-Sysmon", "Details", 13, "%%APPDATA%%\\x", NULL, "%%appdata%%\\x", true},
        {"Microsoft-Windows-Sysmon", "Details", 1, "%%A%%\\x", "Details = %A%\\x", NULL, false},
        {"Microsoft-Windows-Sysmon", "ParentCommandLine", 1, "%%A%%\\x", "ParentCommandLine = %A%\\x", NULL, false},
        {"Microsoft-Windows-Sysmon", "ParentCommandLine", 1, "%%A%%\\x", NULL, "%A%\\x", false},
        {"Linux-Sysmon", "CommandLine", 1, "date +%%s", "CommandLine = date +%s", NULL, false},
        {"Linux-Sysmon", "CommandLine", 1, "date +%%s", NULL, "date +%s", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct event_data d = {slice_str(rows[i].field), slice_str(rows[i].value), EVENT_DATA};
        struct event ev = {.provider = slice_str(rows[i].provider),
                           .event_id = {rows[i].id, true, {0}},
                           .body = EVENT_BODY_DATA,
                           .data = &d,
                           .n_data = 1};
        struct filter f = {0};
        if (rows[i].where) assert_int_equal(filter_add_where(&f, rows[i].where, NULL), ST_OK);
        if (rows[i].search) filter_set_search(&f, rows[i].search);
        if (filter_match(&f, &ev) != rows[i].matches)
            fail_msg("row %zu, %s: %s %s: wrong", i, rows[i].value, rows[i].where ? rows[i].where : "search",
                     rows[i].search ? rows[i].search : "");
        filter_deinit(&f);
    }
}

static void test_all_conditions_and_search(void **state) {
    (void)state;
    struct filter f = {0};
    assert_int_equal(filter_add_where(&f, "Image contains cmd", NULL), ST_OK);
    filter_set_search(&f, "NEEDLE");
    assert_true(filter_match(&f, &sample));
    assert_int_equal(filter_add_where(&f, "DestinationPort = 80", NULL), ST_OK);
    assert_false(filter_match(&f, &sample));
    filter_deinit(&f);
    filter_set_search(&f, "nowhere");
    assert_false(filter_match(&f, &sample));
    filter_deinit(&f);
}

static void test_mistakes(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"Image", "is not FIELD OP VALUE"},
        {"", "is not FIELD OP VALUE"},
        {"Image contain x", "did you mean 'contains'?"},
        {"Image endswith ", "a value is missing"},
        {"Image ~~ x", "unknown operator '~~'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct filter f = {0};
        struct error err = {0};
        if (!filter_add_where(&f, bad[i][0], &err) || !strstr(err.msg, bad[i][1]))
            fail_msg("%s: '%s'", bad[i][0], err.msg);
        filter_deinit(&f);
    }
    struct filter f = {0};
    static const char *const bad_ids[] = {"", "1,", "a", "1,,2", "65536", "1 2", "-1"};
    for (size_t i = 0; i < sizeof bad_ids / sizeof *bad_ids; i++) {
        if (!filter_add_ids(&f, bad_ids[i], NULL)) fail_msg("accepted ids '%s'", bad_ids[i]);
    }
    filter_deinit(&f);
    assert_int_equal(filter_add_ids(&f, "1,3,22", NULL), ST_OK);
    assert_true(filter_has_id(&f, 22));
    assert_false(filter_has_id(&f, 2));
    assert_int_equal(filter_set_guid(&f, "{x}", NULL), ST_INVALID);
    filter_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_doubled_percent),
        cmocka_unit_test(test_all_conditions_and_search),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
