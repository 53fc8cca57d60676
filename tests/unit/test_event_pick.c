/* proto/event_pick: the RuleName that a decoded event has, from its encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "event.h"
#include "event_pick.h"
#include "mem.h"

#define T0 UINT64_C(133000000000000000)

static void test_rule_names(void **state) {
    (void)state;
    static const struct {
        const char *name, *provider, *field, *rule;
        unsigned before; /* values in front of it */
        const char *want;
        bool sysmon;
    } cases[] = {
        {"usual", "Microsoft-Windows-Sysmon", "RuleName", "technique_id=T1059", 0, "technique_id=T1059", true},
        {"Linux", "Linux-Sysmon", "RuleName", "x", 0, "x", true},
        {"no rule", "Microsoft-Windows-Sysmon", "RuleName", "-", 0, "", true},
        {"empty", "Microsoft-Windows-Sysmon", "RuleName", "", 0, "", true},
        {"no such value", "Microsoft-Windows-Sysmon", "Other", "y", 0, "", true},
        {"none at all", "Microsoft-Windows-Sysmon", NULL, NULL, 0, "", true},
        {"further back", "Microsoft-Windows-Sysmon", "RuleName", "back", 12, "back", true},
        {"other case", "Microsoft-Windows-Sysmon", "rulename", "lower", 3, "", true},
        {"a number", "Microsoft-Windows-Sysmon", "RuleName", "4711", 0, "4711", true},
        {"a GUID", "Microsoft-Windows-Sysmon", "RuleName", "{11223344-5566-6789-1200-00000000030A}", 0,
         "{11223344-5566-6789-1200-00000000030A}", true},
        {"a near time", "Microsoft-Windows-Sysmon", "RuleName", "2022-06-18 04:26:40.001", 0, "2022-06-18 04:26:40.001",
         true},
        {"a frequent text", "Microsoft-Windows-Sysmon", "RuleName", "SetValue", 1, "SetValue", true},
        {"another provider", "Microsoft-Windows-PowerShell", "RuleName", "x", 0, "", false},
        {"an unknown provider", "Somebody", "RuleName", "x", 0, "", false},
    };
    static const char *const fillers[] = {
        "2022-06-18 04:26:40.001",
        "{11223344-5566-6789-1200-00000000030a}",
        "12",
        "0x3e7",
        "0x00007FF812345678",
        "SHA1=0123456789ABCDEF0123456789ABCDEF01234567,MD5=00112233445566778899AABBCCDDEEFF",
        "00112233445566778899AABBCCDDEEFF",
        "plain text",
        "",
        "true",
        "1999-06-18 04:26:40.001",
        "sha1"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct event_data data[16];
        size_t n = 0;
        for (; n < cases[i].before; n++)
            data[n] = (struct event_data){n % 2 ? SLICE_LIT("Image") : SLICE_LIT("not a known name"),
                                          slice_str(fillers[n % 12]), EVENT_DATA};
        if (cases[i].field)
            data[n++] = (struct event_data){slice_str(cases[i].field), slice_str(cases[i].rule), EVENT_DATA};
        data[n++] = (struct event_data){SLICE_LIT("Image"), SLICE_LIT("C:\\x.exe"), EVENT_DATA};
        struct event ev = {.provider = slice_str(cases[i].provider),
                           .event_id = {.v = 1, .present = true},
                           .record_id = {.v = 7, .present = true},
                           .time = T0,
                           .time_digits = 7,
                           .computer = SLICE_LIT("PC"),
                           .body = EVENT_BODY_DATA,
                           .data = data,
                           .n_data = n};
        struct buf bytes = {0};
        struct arena a;
        struct slice rule = {NULL, 0};
        bool sysmon = false;
        arena_init(&a, 4096);
        assert_int_equal(event_encode(&ev, &bytes), ST_OK);
        enum status st = event_pick_rule(buf_slice(&bytes), T0, &a, &sysmon, &rule);
        if (st || sysmon != cases[i].sysmon || !slice_eq_str(rule, cases[i].want))
            fail_msg("%s: %s, \"%.*s\"", cases[i].name, status_name(st), (int)rule.len, (const char *)rule.p);
        for (size_t cut = 0; cut < bytes.len; cut++) { /* never a read past the end */
            uint8_t *copy = mem_alloc(cut);
            memcpy(copy, bytes.p, cut);
            arena_reset(&a);
            (void)!event_pick_rule(slice_of(copy, cut), T0, &a, &sysmon, &rule);
            mem_free(copy);
        }
        arena_deinit(&a);
        buf_free(&bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rule_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
