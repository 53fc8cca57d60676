/* server/rules/exclude: what is added leaves out what it names, and nothing else changes: judged by the engine, on made
 * configurations and on the real ones. */
// links: rules proto base
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "check.h"
#include "engine.h"
#include "exclude.h"
#include "file.h"
#include "mem.h"

#define NOISY2 "C:\\Program Files\\A &amp; B\\&lt;noisy&gt;.exe"
#define NOISY "C:\\Program Files\\A & B\\<noisy>.exe"

static struct exclude an_exclude(const char *tag) {
    return (struct exclude){.tag = tag,
                            .entries = {{"Image", COND_IS, SLICE_LIT(NOISY)},
                                        {"TargetFilename", COND_BEGIN_WITH, SLICE_LIT("C:\\Data\\log\\")}},
                            .n_entries = 2,
                            .comment = SLICE_LIT("two -- dashes")};
}

static struct engine_verdict judge(struct slice config, uint32_t id, const char *image, const char *target) {
    struct findings f;
    struct ruleset *r = NULL;
    struct check_options o = {0};
    (void)!ruleset_check(config, &o, &f, &r);
    findings_free(&f);
    if (!r) fail_msg("not understood: %.*s", (int)config.len, (const char *)config.p);
    struct event_data data[] = {{SLICE_LIT("RuleName"), SLICE_LIT("-"), EVENT_DATA},
                                {SLICE_LIT("Image"), slice_str(image), EVENT_DATA},
                                {SLICE_LIT("TargetFilename"), slice_str(target), EVENT_DATA}};
    struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                       .event_id = {.v = id, .present = true},
                       .body = EVENT_BODY_DATA,
                       .data = data,
                       .n_data = 3};
    struct engine *e = engine_new(r);
    struct engine_scratch *s = engine_scratch_new(e);
    struct engine_verdict v = engine_judge(e, s, &ev);
    v.rule = NULL;
    v.block = NULL;
    v.rule_name = SLICE_LIT("");
    engine_scratch_free(&s);
    engine_free(&e);
    ruleset_free(&r);
    return v;
}

/* The noisy event is left out, three others are judged as before. */
static void check_effect(const char *name, struct slice before, struct slice after) {
    static const struct {
        uint32_t id;
        const char *image, *target;
    } others[] = {{11, "C:\\other.exe", "C:\\Data\\log\\x"},
                  {11, NOISY, "C:\\Data\\else"},
                  {23, NOISY, "C:\\Data\\log\\x"},
                  {1, NOISY, ""}};
    if (judge(after, 11, "C:\\program files\\a & b\\<NOISY>.exe", "c:\\data\\LOG\\1.tmp").logged)
        fail_msg("%s: the event is logged still: %.*s", name, (int)after.len, (const char *)after.p);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        bool was = judge(before, others[i].id, others[i].image, others[i].target).logged;
        if (judge(after, others[i].id, others[i].image, others[i].target).logged != was)
            fail_msg("%s: event %zu was %s: %.*s", name, i, was ? "logged" : "not logged", (int)after.len,
                     (const char *)after.p);
    }
}

#define HEAD "<Sysmon schemaversion=\"4.50\"><EventFiltering>"
#define TAIL "</EventFiltering></Sysmon>"
#define GROUP(inside) "<RuleGroup name=\"\" groupRelation=\"or\">" inside "</RuleGroup>"

static void test_made(void **state) {
    (void)state;
    static const struct {
        const char *name, *config, *why_not;
    } cases[] = {
        {"an exclude block with rules",
         HEAD GROUP("<FileCreate onmatch=\"exclude\">\n  <Image>C:\\q.exe</Image>\n</FileCreate>") TAIL, NULL},
        {"an empty one", HEAD GROUP("<FileCreate onmatch=\"exclude\"/>") TAIL, NULL},
        {"an empty one, open", HEAD GROUP("<FileCreate onmatch='exclude' ></FileCreate >") TAIL, NULL},
        {"the old form", HEAD GROUP("<FileCreate default=\"include\"/>") TAIL, NULL},
        {"include and exclude",
         HEAD GROUP("<FileCreate onmatch=\"include\"><Image condition=\"contains\">a</Image></FileCreate>")
             GROUP("<FileCreate onmatch=\"exclude\"><Image>C:\\q.exe</Image></FileCreate>") TAIL,
         NULL},
        {"include alone",
         HEAD GROUP("<FileCreate onmatch=\"include\"><Image condition=\"contains\">e</Image></FileCreate>") TAIL, NULL},
        {"include alone, without a group",
         HEAD "<FileCreate onmatch=\"include\"><Image>" NOISY2 "</Image></FileCreate>" TAIL, NULL},
        {"two excludes",
         HEAD GROUP("<FileCreate onmatch=\"exclude\"><Image>C:\\q.exe</Image></FileCreate>")
             GROUP("<FileCreate onmatch=\"exclude\"/>") TAIL,
         NULL},
        {"tags in comments",
         HEAD "<!-- <FileCreate onmatch=\"exclude\"> --><!-- </EventFiltering> -->" GROUP(
             "<FileCreate onmatch=\"exclude\"><!-- </FileCreate> --><Image>a&gt;b</Image></FileCreate>") TAIL,
         NULL},
        {"a bracket in an attribute",
         HEAD GROUP("<FileCreate onmatch=\"exclude\"><Image name=\"x>y/\">q</Image></FileCreate>") TAIL, NULL},
        {"an exclude block with and",
         HEAD
         "<RuleGroup groupRelation=\"and\"><FileCreate onmatch=\"exclude\"><Image>C:\\q.exe</Image></FileCreate></RuleGroup>" TAIL,
         "and"},
        {"no block for the tag", HEAD GROUP("<ProcessCreate onmatch=\"exclude\"/>") TAIL, "switch it on"},
        {"no filtering", "<Sysmon schemaversion=\"4.50\"></Sysmon>", "switch it on"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exclude x = an_exclude("FileCreate");
        struct buf out = {0};
        struct error err = {0};
        if (exclude_add(slice_str(cases[i].config), &x, 1, &out, &err)) fail_msg("%s: %s", cases[i].name, err.msg);
        if (!cases[i].why_not != !x.why_not || (x.why_not && !strstr(x.why_not, cases[i].why_not)))
            fail_msg("%s: %s", cases[i].name, x.why_not ? x.why_not : "added");
        if (x.why_not) {
            if (!slice_eq_str(buf_slice(&out), cases[i].config)) fail_msg("%s: changed", cases[i].name);
        } else {
            check_effect(cases[i].name, slice_str(cases[i].config), buf_slice(&out));
        }
        buf_free(&out);
    }
}

/* Tags that Sysmon logs without a block get one of their own. */
static void test_default(void **state) {
    (void)state;
    static const char *const configs[] = {"<Sysmon schemaversion=\"4.50\"></Sysmon>",
                                          "<Sysmon schemaversion=\"4.50\"><EventFiltering/></Sysmon>", HEAD TAIL};
    for (size_t i = 0; i < 3; i++) {
        struct exclude x = {.tag = "ProcessCreate", .entries = {{"Image", COND_IS, SLICE_LIT(NOISY)}}, .n_entries = 1};
        struct buf out = {0};
        struct error err = {0};
        if (exclude_add(slice_str(configs[i]), &x, 1, &out, &err)) fail_msg("%zu: %s", i, err.msg);
        assert_null(x.why_not);
        assert_false(judge(buf_slice(&out), 1, NOISY, "").logged);
        assert_true(judge(buf_slice(&out), 1, "C:\\else.exe", "").logged);
        assert_true(judge(buf_slice(&out), 5, NOISY, "").logged);
        assert_false(judge(buf_slice(&out), 11, NOISY, "").logged);
        buf_free(&out);
    }
}

static void test_several(void **state) {
    (void)state;
    uint32_t ids[] = {11, 23, 1, 255};
    struct buf base = {0}, out = {0};
    struct error err = {0};
    exclude_nothing(450, ids, 4, &base);
    struct exclude x[] = {an_exclude("FileCreate"), an_exclude("FileDelete"), an_exclude("FileCreate")};
    x[2].entries[1].value = SLICE_LIT("C:\\more\\");
    if (exclude_add(buf_slice(&base), x, 3, &out, &err)) fail_msg("%s", err.msg);
    assert_false(judge(buf_slice(&out), 11, NOISY, "C:\\more\\x").logged);
    assert_false(judge(buf_slice(&out), 11, NOISY, "C:\\Data\\log\\x").logged);
    assert_true(judge(buf_slice(&out), 11, NOISY, "C:\\Data\\x").logged);
    assert_false(judge(buf_slice(&out), 23, NOISY, "C:\\Data\\log\\x").logged);
    assert_true(judge(buf_slice(&out), 23, NOISY, "C:\\more\\x").logged);
    assert_true(judge(buf_slice(&out), 1, NOISY, "").logged);
    buf_free(&base);
    buf_free(&out);
}

static void test_fit(void **state) {
    (void)state;
    static const struct {
        struct slice value;
        bool fit;
    } cases[] = {{SLICE_LIT("C:\\a b\\c.exe"), true},
                 {SLICE_LIT(""), false},
                 {SLICE_LIT(" a"), false},
                 {SLICE_LIT("a "), false},
                 {SLICE_LIT("a%b"), false},
                 {SLICE_LIT("a\nb"), false},
                 {SLICE_LIT("\xed\xa0\x80"), false},
                 {SLICE_LIT("\xff"), false},
                 {SLICE_LIT("<&>\"'"), true},
                 {SLICE_LIT("\xc3\xa4"), true},
                 {SLICE_LIT("a\x7f"), false},
                 {SLICE_LIT("a;b"), true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (exclude_value_is_fit(cases[i].value) != cases[i].fit) fail_msg("case %zu", i);
    }
}

static size_t n_real, n_added;

static enum status on_file(void *ctx, const char *name) {
    struct buf config = {0}, out = {0};
    struct error err = {0};
    char *path = file_join(ctx, name);
    size_t len = strlen(name);
    if (len > 4 && strcmp(name + len - 4, ".xml") == 0 && !file_read(path, RULES_XML_MAX, &config, &err)) {
        struct exclude x = an_exclude("FileCreate");
        struct findings f;
        struct ruleset *r = NULL;
        struct check_options o = {0};
        (void)!ruleset_check(buf_slice(&config), &o, &f, &r);
        enum status st = r ? exclude_add(buf_slice(&config), &x, 1, &out, &err) : ST_INVALID;
        if (r && f.n_errors == 0) {
            n_real++;
            if (st) fail_msg("%s: %s", name, err.msg);
            if (!x.why_not) {
                check_effect(name, buf_slice(&config), buf_slice(&out));
                n_added++;
            }
        }
        findings_free(&f);
        ruleset_free(&r);
    }
    buf_free(&config);
    buf_free(&out);
    mem_free(path);
    return ST_OK;
}

static void test_real(void **state) {
    (void)state;
    static const char *const folders[] = {"swiftonsecurity", "sysmon-modular", "sysmon-modular/modules", "sysmoncommon",
                                          "sysmonforlinux",  "guide",          "pssysmontools"};
    const char *shared = getenv("HAECHI_SHARED");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/data/configs/%s", shared ? shared : "../shared", folders[i]);
        if (file_exists(path) && file_list_dir(path, on_file, path, NULL)) fail_msg("%s", path);
    }
    if (!n_real) {
        printf("the real configurations are not here\n");
        skip();
    }
    printf("%zu configurations, an exclude added to %zu\n", n_real, n_added);
    assert_true(n_added > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_made), cmocka_unit_test(test_default),
                                       cmocka_unit_test(test_several), cmocka_unit_test(test_fit),
                                       cmocka_unit_test(test_real)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
