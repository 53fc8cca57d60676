/* Which events of Sysmon are about itself, and what is taken from them. */
#include "arena.h"
#include "parse.h"
#include "sysmon_note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define SYSTEM(provider, id)                                                                                       \
    "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='" provider       \
    "' Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/><EventID>" id                                                \
    "</EventID><Version>3</Version><Level>4</Level><Task>16</Task><Opcode>0</Opcode><Keywords>0x8000000000000000"  \
    "</Keywords><TimeCreated SystemTime='2026-11-24T16:00:00.1234567Z'/><EventRecordID>7</EventRecordID>"          \
    "<Correlation/><Execution ProcessID='1' ThreadID='2'/><Channel>Microsoft-Windows-Sysmon/Operational</Channel>" \
    "<Computer>X</Computer><Security UserID='S-1-5-18'/></System>"
#define DATA(text) "<EventData>" text "</EventData></Event>"
#define CANARY "haechi-canary-0123"

static const struct {
    const char *name, *canary, *xml;
    unsigned event; /* 0: nothing of interest */
    const char *hash, *file, *text;
} cases[] = {
    {"configuration changed", "",
     SYSTEM("Microsoft-Windows-Sysmon", "16") DATA(
         "<Data Name='UtcTime'>x</Data><Data Name='Configuration'>C:\\x.xml</Data><Data Name='ConfigurationFileHash'>SHA256=AB</Data>"),
     16, "SHA256=AB", "C:\\x.xml", "S-1-5-18"},
    {"on Linux", "",
     SYSTEM("Linux-Sysmon", "16")
         DATA("<Data Name='Configuration'>/x.xml</Data><Data Name='ConfigurationFileHash'>-</Data>"),
     16, "-", "/x.xml", "S-1-5-18"},
    {"of another provider", "",
     SYSTEM("Microsoft-Windows-Security-Auditing", "16") DATA("<Data Name='Configuration'>C:\\x.xml</Data>"), 0, NULL,
     NULL, NULL},
    {"a name that begins alike", "", SYSTEM("Microsoft-Windows-Sysmon2", "16") DATA(""), 0, NULL, NULL, NULL},
    {"without data", "", SYSTEM("Microsoft-Windows-Sysmon", "16") "</Event>", 16, "", "", "S-1-5-18"},
    {"started", "",
     SYSTEM("Microsoft-Windows-Sysmon", "4") DATA("<Data Name='State'>Started</Data><Data Name='Version'>15.15</Data>"),
     4, "", "Started", "15.15"},
    {"an error", "",
     SYSTEM("Microsoft-Windows-Sysmon", "255")
         DATA("<Data Name='ID'>DriverCommunication</Data><Data Name='Description'>lost</Data>"),
     255, "", "DriverCommunication", "lost"},
    {"a file", "", SYSTEM("Microsoft-Windows-Sysmon", "11") DATA(""), 0, NULL, NULL, NULL},
    {"a process, nothing is waited for", "",
     SYSTEM("Microsoft-Windows-Sysmon", "1") DATA("<Data Name='CommandLine'>" CANARY "</Data>"), 0, NULL, NULL, NULL},
    {"another process", CANARY,
     SYSTEM("Microsoft-Windows-Sysmon", "1") DATA("<Data Name='CommandLine'>haechi-canary-0124</Data>"), 0, NULL, NULL,
     NULL},
    {"the canary", CANARY,
     SYSTEM("Microsoft-Windows-Sysmon", "1") DATA(
         "<Data Name='RuleName'>base@3</Data><Data Name='CommandLine'>\"C:\\a b\\haechi-agent.exe\" \"canary\" \"" CANARY
         "\"</Data>"),
     1, "", "base@3", ""},
    {"the canary without a rule", CANARY,
     SYSTEM("Microsoft-Windows-Sysmon", "1") DATA("<Data Name='CommandLine'>" CANARY "</Data>"), 1, "", "", ""},
    {"the word in another field", CANARY,
     SYSTEM("Microsoft-Windows-Sysmon", "1")
         DATA("<Data Name='Image'>" CANARY "</Data><Data Name='CommandLine'>x</Data>"),
     0, NULL, NULL, NULL},
};

static void test_notes(void **state) {
    (void)state;
    struct parser *p = parser_new();
    struct arena a;
    arena_init(&a, EVENT_ARENA_CAP);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct event ev;
        struct error err = {0};
        struct sysmon_note n = {0};
        if (parse_event(p, slice_str(cases[i].xml), &a, &ev, &err)) fail_msg("%s: %s", cases[i].name, err.msg);
        bool got = sysmon_note_of(&ev, cases[i].canary, &n);
        if (got != (cases[i].event != 0) || n.event != cases[i].event) fail_msg("%s: event %u", cases[i].name, n.event);
        if (got && (strcmp(n.hash, cases[i].hash) != 0 || strcmp(n.file, cases[i].file) != 0 ||
                    strcmp(n.text, cases[i].text) != 0 || n.time != ev.time))
            fail_msg("%s: \"%s\" \"%s\" \"%s\"", cases[i].name, n.hash, n.file, n.text);
        arena_reset(&a);
    }
    arena_deinit(&a);
    parser_free(&p);
}

/* What does not fit is cut between characters. */
static void test_long(void **state) {
    (void)state;
    char path[1000];
    struct event_data d[] = {{.name = SLICE_LIT("Configuration"), .value = slice_of(path, sizeof path)}};
    struct event ev = {.provider = SLICE_LIT("Linux-Sysmon"),
                       .event_id = {.v = 16, .present = true},
                       .body = EVENT_BODY_DATA,
                       .data = d,
                       .n_data = 1};
    struct sysmon_note n;
    for (size_t i = 0; i + 1 < sizeof path; i += 2) memcpy(path + i, "\xc3\xbc", 2);
    assert_true(sysmon_note_of(&ev, "", &n));
    assert_int_equal(strlen(n.file), 298);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_notes), cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
