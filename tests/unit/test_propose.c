/* server/cli/propose: which excludes a sample of events leads to, and what is said of them. */
// links: cli rules proto base
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "propose.h"

#define EXE "C:\\Program Files\\P\\p.exe"

static void test_choices(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t id;
        const char *image;
        struct {
            const char *json; /* printed with the event's number */
            unsigned n;
        } events[4];
        const char *want; /* "Field condition value" of each, with blanks and bars between; "refused" */
    } cases[] = {
        {"one parent",
         1,
         EXE,
         {{"{\"ParentImage\":\"C:\\\\a.exe\"}", 90}, {"{\"ParentImage\":\"C:\\\\p%u.exe\"}", 10}},
         "ParentImage is C:\\a.exe"},
        {"two parents",
         1,
         EXE,
         {{"{\"ParentImage\":\"C:\\\\a.exe\"}", 55},
          {"{\"ParentImage\":\"C:\\\\B.exe\"}", 40},
          {"{\"ParentImage\":\"C:\\\\b.exe\"}", 10}},
         "ParentImage is C:\\a.exe|ParentImage is C:\\B.exe"},
        {"all parents differ", 1, EXE, {{"{\"ParentImage\":\"C:\\\\p%u.exe\"}", 100}}, ""},
        {"one folder",
         11,
         EXE,
         {{"{\"TargetFilename\":\"C:\\\\D\\\\L\\\\%u.tmp\"}", 100}},
         "TargetFilename begin with C:\\D\\L\\"},
        {"everybody's folder", 11, EXE, {{"{\"TargetFilename\":\"C:\\\\Windows\\\\Temp\\\\%u.tmp\"}", 100}}, ""},
        {"a folder too high", 11, EXE, {{"{\"TargetFilename\":\"C:\\\\D\\\\%u.tmp\"}", 100}}, ""},
        {"the address, no name",
         3,
         EXE,
         {{"{\"DestinationHostname\":\"-\",\"DestinationIp\":\"10.1.2.3\"}", 100}},
         "DestinationIp is 10.1.2.3"},
        {"addresses differ", 3, EXE, {{"{\"DestinationIp\":\"10.1.2.%u\",\"DestinationPort\":\"443\"}", 100}}, ""},
        {"less than the half", 22, EXE, {{"{\"QueryName\":\"a\"}", 40}, {"{\"QueryName\":\"q%u\"}", 60}}, ""},
        {"values that cannot be written", 22, EXE, {{"{\"QueryName\":\"%%a%%\"}", 100}}, ""},
        {"who opens whom", 10, EXE, {{"{\"TargetImage\":\"C:\\\\t.exe\"}", 100}}, "TargetImage is C:\\t.exe"},
        {"an end needs no more", 5, EXE, {{"{}", 3}}, "-"},
        {"no events", 11, EXE, {{NULL, 0}}, ""},
        {"not by program", 6, EXE, {{NULL, 0}}, "refused"},
        {"no tag", 255, EXE, {{NULL, 0}}, "refused"},
        {"a bare word", 11, "svchost.exe", {{NULL, 0}}, "refused"},
        {"not known", 11, "", {{NULL, 0}}, "refused"},
        {"a variable in the path", 11, "C:\\%TEMP%\\x.exe", {{NULL, 0}}, "refused"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct propose p;
        struct proposal found[PROPOSE_MAX_VALUES];
        struct buf got = {0};
        size_t n = 0;
        if (!propose_begin(&p, cases[i].id, cases[i].image)) {
            buf_str(&got, "refused");
        } else {
            unsigned number = 0;
            for (unsigned e = 0; e < 4 && cases[i].events[e].json; e++) {
                for (unsigned k = 0; k < cases[i].events[e].n; k++) {
                    char text[300];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                    snprintf(text, sizeof text, cases[i].events[e].json, number++);
#pragma GCC diagnostic pop
                    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
                    if (!doc) fail_msg("%s: %s", cases[i].name, text);
                    propose_event(&p, yyjson_doc_get_root(doc));
                    yyjson_doc_free(doc);
                }
            }
            n = propose_end(&p, found);
        }
        for (size_t k = 0; k < n; k++) {
            const struct exclude *x = &found[k].exclude;
            assert_true(slice_eq_str(x->entries[0].value, cases[i].image) && x->entries[0].condition == COND_IS);
            buf_str(&got, k ? "|" : "");
            if (x->n_entries == 1) {
                buf_str(&got, "-");
            } else {
                buf_printf(&got, "%s %s %.*s", x->entries[1].field, rule_condition_name(x->entries[1].condition),
                           (int)x->entries[1].value.len, (const char *)x->entries[1].value.p);
            }
            proposal_free(&found[k]);
        }
        if (strcmp(buf_cstr(&got), cases[i].want) != 0) fail_msg("%s: %s", cases[i].name, buf_cstr(&got));
        buf_free(&got);
        propose_deinit(&p);
    }
}

static void test_warnings(void **state) {
    (void)state;
    static const struct {
        const char *tag, *image, *more, *want; /* want NULL: nothing is said */
    } cases[] = {
        {"FileCreate", EXE, "C:\\D\\L\\", NULL},
        {"FileCreate", "C:\\Users\\u\\x.exe", "C:\\D\\L\\", "whoever can write"},
        {"FileCreate", "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe", "C:\\D\\L\\",
         "code of others"},
        {"FileCreate", EXE, "C:\\ProgramData\\L\\", "others can write"},
        {"ProcessCreate", EXE, "C:\\a.exe", "parent can be forged"},
        {"ProcessAccess", EXE, "C:\\Windows\\System32\\lsass.exe", "credentials"},
        {"RegistryEvent", EXE, "HKLM\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\x", "start by themselves"},
        {"CreateRemoteThread", EXE, "C:\\a.exe", "injected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exclude x = {.tag = cases[i].tag,
                            .entries = {{"Image", COND_IS, slice_str(cases[i].image)},
                                        {"F", i < 4 ? COND_BEGIN_WITH : COND_IS, slice_str(cases[i].more)}},
                            .n_entries = 2};
        struct buf said = {0};
        propose_warnings(&x, &said);
        bool good = cases[i].want ? strstr(buf_cstr(&said), cases[i].want) != NULL : !said.len;
        if (!good) fail_msg("%s %s: %s", cases[i].tag, cases[i].image, buf_cstr(&said));
        buf_free(&said);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choices), cmocka_unit_test(test_warnings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
