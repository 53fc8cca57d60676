/* A canary rule put into configurations in all encodings: all other bytes stay, and it is refused where it would change
 * what else is logged. */
// links: rules proto base
#include "canary.h"
#include "ruleset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define RULE "<CommandLine name=\"haechi:base/3\" condition=\"contains\">haechi-canary</CommandLine>"
#define CONFIG(inner) "<Sysmon schemaversion=\"4.50\"><EventFiltering>" inner "</EventFiltering></Sysmon>"
#define GROUP(inner) "<RuleGroup name=\"\" groupRelation=\"or\">" inner "</RuleGroup>"
#define IMAGE "<Image condition=\"end with\">\xc3\xa4.exe</Image>"

static const struct {
    const char *name, *before, *after; /* `after` NULL: refused */
    const char *why;
} cases[] = {
    {"plain", CONFIG(GROUP("<ProcessCreate onmatch=\"include\">" IMAGE "</ProcessCreate>")),
     CONFIG(GROUP("<ProcessCreate onmatch=\"include\">" RULE IMAGE "</ProcessCreate>")), NULL},
    {"among others, with everything between",
     "<?xml version=\"1.0\"?>\n<!-- <ProcessCreate onmatch=\"include\"> -->\r\n" CONFIG(
         GROUP("<FileCreate onmatch=\"include\">" IMAGE "</FileCreate>")
             GROUP("<ProcessCreate onmatch=\"exclude\">" IMAGE "</ProcessCreate>")
                 GROUP("<ProcessCreate \n onmatch = 'include' \n >\n\t" IMAGE "\n</ProcessCreate>")),
     "<?xml version=\"1.0\"?>\n<!-- <ProcessCreate onmatch=\"include\"> -->\r\n" CONFIG(
         GROUP("<FileCreate onmatch=\"include\">" IMAGE "</FileCreate>")
             GROUP("<ProcessCreate onmatch=\"exclude\">" IMAGE "</ProcessCreate>")
                 GROUP("<ProcessCreate \n onmatch = 'include' \n >" RULE "\n\t" IMAGE "\n</ProcessCreate>")),
     NULL},
    {"empty", CONFIG(GROUP("<ProcessCreate onmatch=\"include\"></ProcessCreate>")),
     CONFIG(GROUP("<ProcessCreate onmatch=\"include\">" RULE "</ProcessCreate>")), NULL},
    {"empty in short", CONFIG(GROUP("<ProcessCreate onmatch=\"include\"/>")),
     CONFIG(GROUP("<ProcessCreate onmatch=\"include\">" RULE "</ProcessCreate>")), NULL},
    {"the second one is joined by or",
     CONFIG("<RuleGroup name=\"\" groupRelation=\"and\"><ProcessCreate onmatch=\"include\">" IMAGE
            "</ProcessCreate></RuleGroup>" GROUP("<ProcessCreate onmatch=\"include\">" IMAGE "</ProcessCreate>")),
     CONFIG("<RuleGroup name=\"\" groupRelation=\"and\"><ProcessCreate onmatch=\"include\">" IMAGE
            "</ProcessCreate></RuleGroup>" GROUP("<ProcessCreate onmatch=\"include\">" RULE IMAGE "</ProcessCreate>")),
     NULL},
    {"joined by and",
     CONFIG("<RuleGroup name=\"\" groupRelation=\"and\"><ProcessCreate onmatch=\"include\">" IMAGE
            "</ProcessCreate></RuleGroup>"),
     NULL, "joined by and"},
    {"joined by and, which is what holds without a group",
     CONFIG("<ProcessCreate onmatch=\"include\">" IMAGE "</ProcessCreate>"), NULL, "joined by and"},
    {"no block", CONFIG(GROUP("<FileCreate onmatch=\"include\"/>")), NULL, "there is no ProcessCreate block"},
    {"an exclude block only", CONFIG(GROUP("<ProcessCreate onmatch=\"exclude\">" IMAGE "</ProcessCreate>")), NULL,
     "exclude block only"},
    {"has one", CONFIG(GROUP("<ProcessCreate onmatch=\"include\">" RULE "</ProcessCreate>")), NULL, "haechi:base/3"},
    {"broken", "<Sysmon", NULL, ""},
    {"nothing", "", NULL, ""},
};

/* UTF-8 into what the case is tried in. */
static void encode(const char *utf8, const char *encoding, bool bom, struct buf *out) {
    bool wide = strncmp(encoding, "UTF-16", 6) == 0, big = strcmp(encoding, "UTF-16BE") == 0;
    if (bom && wide) buf_append(out, big ? "\xfe\xff" : "\xff\xfe", 2);
    if (bom && !wide) buf_append(out, "\xef\xbb\xbf", 3);
    for (const unsigned char *p = (const unsigned char *)utf8; *p; p++) {
        unsigned c = *p;
        if (!wide) {
            buf_byte(out, *p);
            continue;
        }
        if (c >= 0xc0) c = (c & 0x1f) << 6 | (*++p & 0x3f);
        buf_byte(out, (uint8_t)(big ? c >> 8 : c));
        buf_byte(out, (uint8_t)(big ? c : c >> 8));
    }
}

static void put_in(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool bom;
    } encodings[] = {{"UTF-8", false}, {"UTF-8", true}, {"UTF-16LE", true}, {"UTF-16LE", false}, {"UTF-16BE", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++) {
            struct buf before = {0}, want = {0}, out = {0};
            struct error err = {0};
            encode(cases[i].before, encodings[e].name, encodings[e].bom, &before);
            buf_str(&out, "kept");
            if (cases[i].after) encode(cases[i].after, encodings[e].name, encodings[e].bom, &want);
            enum status st = canary_insert(buf_slice(&before), "haechi:base/3", &out, &err);
            if (!st != !!cases[i].after) fail_msg("%s, %s: %s", cases[i].name, encodings[e].name, err.msg);
            if (st && cases[i].why && !strstr(err.msg, cases[i].why)) fail_msg("%s: %s", cases[i].name, err.msg);
            if (!slice_starts(buf_slice(&out), SLICE_LIT("kept")) ||
                !slice_eq(slice_from(buf_slice(&out), 4), buf_slice(&want)))
                fail_msg("%s, %s: %.*s", cases[i].name, encodings[e].name, (int)out.len, (const char *)out.p);
            buf_free(&before);
            buf_free(&want);
            buf_free(&out);
        }
    }
}

static void latin1(void **state) {
    (void)state;
    static const char head[] = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>";
    static const char inner[] =
        CONFIG(GROUP("<ProcessCreate onmatch=\"include\"><Image>\xe4.exe</Image></ProcessCreate>"));
    static const char want[] =
        CONFIG(GROUP("<ProcessCreate onmatch=\"include\">" RULE "<Image>\xe4.exe</Image></ProcessCreate>"));
    struct buf xml = {0}, out = {0};
    struct error err = {0};
    struct ruleset *r = NULL;
    char name[64];
    buf_str(&xml, head);
    buf_str(&xml, inner);
    if (canary_insert(buf_slice(&xml), "haechi:base/3", &out, &err)) fail_msg("%s", err.msg);
    assert_true(slice_eq_str(slice_from(buf_slice(&out), strlen(head)), want));
    assert_int_equal(ruleset_parse(buf_slice(&out), &r, &err), ST_OK);
    assert_true(canary_find(r, name, sizeof name));
    assert_string_equal(name, "haechi:base/3");
    assert_false(canary_find(r, name, 5));
    ruleset_free(&r);
    buf_free(&xml);
    buf_free(&out);
}

static void names(void **state) {
    (void)state;
    static const char *const bad[] = {"", "a<b", "a&b", "a\"b", "a'b", "a\nb", "\xc3\xa4"};
    struct buf out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        if (canary_insert(SLICE_LIT(CONFIG(GROUP("<ProcessCreate onmatch=\"include\"/>"))), bad[i], &out, &err) !=
            ST_INVALID)
            fail_msg("'%s'", bad[i]);
    }
    assert_int_equal(out.len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(put_in), cmocka_unit_test(latin1), cmocka_unit_test(names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
