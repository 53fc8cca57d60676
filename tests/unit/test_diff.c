/* Diffs of configurations by meaning, on tables, and by line: a diff applied to the older text gives the newer one. */
// links: rules proto base
#include "diff.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct ruleset *parse(const char *name, const char *xml) {
    struct ruleset *r = NULL;
    struct error err = {0};
    if (ruleset_parse(slice_str(xml), &r, &err)) fail_msg("%s: %s", name, err.msg);
    return r;
}

#define CONFIG(inner) "<Sysmon schemaversion=\"4.50\"><EventFiltering>" inner "</EventFiltering></Sysmon>"
#define GROUP(inner) "<RuleGroup name=\"\" groupRelation=\"or\">" inner "</RuleGroup>"
#define CREATE(inner) GROUP("<ProcessCreate onmatch=\"include\">" inner "</ProcessCreate>")
#define NOT_CREATE(inner) GROUP("<ProcessCreate onmatch=\"exclude\">" inner "</ProcessCreate>")
#define IMAGE(value) "<Image condition=\"end with\">" value "</Image>"
#define NAMED(name, value) "<Image name=\"" name "\" condition=\"end with\">" value "</Image>"

static const struct {
    const char *name, *before, *after, *want, *want_all; /* want_all NULL: the same */
} cases[] = {
    {"equal", CONFIG(CREATE(IMAGE("a.exe"))), CONFIG(CREATE(IMAGE("a.exe"))), "no difference\n", NULL},
    {"blanks and comments mean nothing", CONFIG(CREATE(IMAGE("a.exe"))),
     CONFIG("<!-- x -->\n\n" CREATE("\n   " IMAGE("a.exe") "<!-- y -->\n")), "no difference\n", NULL},
    {"version", "<Sysmon schemaversion=\"4.5\"><EventFiltering/></Sysmon>",
     "<Sysmon schemaversion=\"4.90\"><EventFiltering/></Sysmon>",
     "~ schema schemaversion: 4.50\n      -> 4.90\n1 changed\n", NULL},
    {"options",
     "<Sysmon schemaversion=\"4.5\"><HashAlgorithms>md5</HashAlgorithms><CheckRevocation/><EventFiltering/></Sysmon>",
     "<Sysmon schemaversion=\"4.5\"><HashAlgorithms>sha256</HashAlgorithms><DnsLookup>False</DnsLookup><EventFiltering/></Sysmon>",
     "~ option HashAlgorithms: md5\n      -> sha256  (line 1)\n+ option DnsLookup: False  (line 1)\n- option CheckRevocation:   (line "
     "1)\n1 added, 1 removed, 1 changed\n",
     NULL},
    {"rule added", CONFIG(CREATE(IMAGE("a.exe"))), CONFIG(CREATE(IMAGE("a.exe") "\n" IMAGE("b.exe"))),
     "+ ProcessCreate include: Image end with \"b.exe\"  (line 2)\n1 added\n", NULL},
    {"rule removed", CONFIG(CREATE(IMAGE("a.exe") "\n" IMAGE("b.exe"))), CONFIG(CREATE(IMAGE("a.exe"))),
     "- ProcessCreate include: Image end with \"b.exe\"  (line 2)\n1 removed\n", NULL},
    {"the same rule twice, once taken away", CONFIG(CREATE(IMAGE("a.exe") IMAGE("a.exe"))),
     CONFIG(CREATE(IMAGE("a.exe"))), "- ProcessCreate include: Image end with \"a.exe\"  (line 1)\n1 removed\n", NULL},
    {"another condition", CONFIG(CREATE(IMAGE("a.exe"))), CONFIG(CREATE("<Image condition=\"image\">a.exe</Image>")),
     "~ ProcessCreate include: Image end with \"a.exe\"\n      -> Image image \"a.exe\"  (line 1)\n1 changed\n", NULL},
    {"renamed", CONFIG(CREATE(NAMED("x", "a.exe") IMAGE("b.exe"))), CONFIG(CREATE(NAMED("y", "a.exe") IMAGE("b.exe"))),
     "~ ProcessCreate include: Image end with \"a.exe\" (name \"x\")\n      -> Image end with \"a.exe\" (name \"y\")  (line 1)\n1 "
     "changed\n",
     NULL},
    {"another value under the same name", CONFIG(CREATE(NAMED("x", "a.exe"))), CONFIG(CREATE(NAMED("x", "b.exe"))),
     "~ ProcessCreate include: Image end with \"a.exe\" (name \"x\")\n      -> Image end with \"b.exe\" (name \"x\")  (line 1)\n1 "
     "changed\n",
     NULL},
    {"case of a value", CONFIG(CREATE(IMAGE("a.exe"))), CONFIG(CREATE(IMAGE("A.EXE"))), "no difference\n",
     "~ ProcessCreate include: Image end with \"a.exe\"\n      -> Image end with \"A.EXE\"  (line 1)\n1 changed\n"},
    {"moved, no name at stake", CONFIG(CREATE(IMAGE("a") IMAGE("b") IMAGE("c"))),
     CONFIG(CREATE(IMAGE("c") IMAGE("a") IMAGE("b"))), "no difference\n",
     "> ProcessCreate include: Image end with \"c\"  (line 1)\n1 moved\n"},
    {"moved, and the name depends on it", CONFIG(CREATE(NAMED("x", "a") NAMED("y", "b"))),
     CONFIG(CREATE(NAMED("y", "b") NAMED("x", "a"))),
     "> ProcessCreate include: Image end with \"a\" (name \"x\")  (line 1)\n1 moved\n", NULL},
    {"moved in an exclude block: names do not show", CONFIG(NOT_CREATE(NAMED("x", "a") NAMED("y", "b"))),
     CONFIG(NOT_CREATE(NAMED("y", "b") NAMED("x", "a"))), "no difference\n",
     "> ProcessCreate exclude: Image end with \"a\" (name \"x\")  (line 1)\n1 moved\n"},
    {"block added and removed", CONFIG(CREATE(IMAGE("a"))), CONFIG(NOT_CREATE(IMAGE("a"))),
     "+ block ProcessCreate exclude: 1 rule, joined by or (name \"\")  (line 1)\n+ ProcessCreate exclude: Image end with "
     "\"a\"  (line 1)\n- block ProcessCreate include: 1 rule, joined by or (name \"\")  (line 1)\n- ProcessCreate include: Image end with \"a\"  (line 1)\n2 added, 2 removed\n",
     NULL},
    {"relation", CONFIG(CREATE(IMAGE("a"))),
     CONFIG("<RuleGroup name=\"\" groupRelation=\"and\"><ProcessCreate onmatch=\"include\">" IMAGE(
         "a") "</ProcessCreate></RuleGroup>"),
     "~ block ProcessCreate include: 1 rule, joined by or (name \"\")\n      -> 1 rule, joined by and (name \"\")  (line 1)\n1 changed\n",
     NULL},
    {"blocks that swap places", CONFIG(CREATE(IMAGE("a")) GROUP("<FileCreate onmatch=\"include\"/>")),
     CONFIG(GROUP("<FileCreate onmatch=\"include\"/>") CREATE(IMAGE("a"))), "no difference\n", NULL},
    {"a rule of several fields",
     CONFIG(CREATE("<Rule groupRelation=\"and\" name=\"r\">" IMAGE(
         "a") "<CommandLine condition=\"contains\">-x</CommandLine></Rule>")),
     CONFIG(CREATE("<Rule groupRelation=\"and\" name=\"r\">" IMAGE(
         "a") "<CommandLine condition=\"contains\">-y</CommandLine></Rule>")),
     "~ ProcessCreate include: [Image end with \"a\" and CommandLine contains \"-x\"] (name \"r\")\n      -> [Image end with \"a\" "
     "and CommandLine contains \"-y\"] (name \"r\")  (line 1)\n1 changed\n",
     NULL},
    {"a rule without a name, by what it begins with",
     CONFIG(CREATE("<Rule groupRelation=\"and\">" IMAGE("a") IMAGE("b") "</Rule>")),
     CONFIG(CREATE("<Rule groupRelation=\"and\">" IMAGE("a") IMAGE("c") "</Rule>")),
     "~ ProcessCreate include: [Image end with \"a\" and Image end with \"b\"]\n      -> [Image end with \"a\" and Image end with "
     "\"c\"]  (line 1)\n1 changed\n",
     NULL},
    {"and becomes or", CONFIG(CREATE("<Rule groupRelation=\"and\">" IMAGE("a") IMAGE("b") "</Rule>")),
     CONFIG(CREATE("<Rule groupRelation=\"or\">" IMAGE("a") IMAGE("b") "</Rule>")),
     "~ ProcessCreate include: [Image end with \"a\" and Image end with \"b\"]\n      -> [Image end with \"a\" or Image end with "
     "\"b\"]  (line 1)\n1 changed\n",
     NULL},
};

static void by_meaning(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ruleset *a = parse(cases[i].name, cases[i].before), *b = parse(cases[i].name, cases[i].after);
        for (int all = 0; all < 2; all++) {
            struct diff d;
            struct buf text = {0};
            const char *want = all && cases[i].want_all ? cases[i].want_all : cases[i].want;
            ruleset_diff(a, b, all, &d);
            diff_text(&d, &text);
            if (strcmp(buf_cstr(&text), want) != 0)
                fail_msg("%s%s:\n%s\nwanted:\n%s", cases[i].name, all ? ", all" : "", buf_cstr(&text), want);
            for (size_t k = 0; k < d.n; k++) assert_true(d.list[k].no_effect ? all : true);
            diff_free(&d);
            buf_free(&text);
        }
        ruleset_free(&a);
        ruleset_free(&b);
    }
}

static void read_file(const char *path, struct buf *out) {
    FILE *f = fopen(path, "rb");
    char piece[65536];
    size_t n;
    if (!f) return;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) buf_append(out, piece, n);
    fclose(f);
}

/* Every real configuration against itself and against another one, both ways: what is added one way is removed the other. */
static void real_ones(void **state) {
    (void)state;
    static const char *const paths[] = {"swiftonsecurity/sysmonconfig-export.xml", "sysmon-modular/sysmonconfig.xml",
                                        "sysmon-modular/sysmonconfig-research.xml",
                                        "sysmon-modular/sysmonconfig-excludes-only.xml"};
    const char *shared = getenv("HAECHI_SHARED");
    struct ruleset *r[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        char path[512];
        struct buf bytes = {0};
        snprintf(path, sizeof path, "%s/data/configs/%s", shared ? shared : "../shared", paths[i]);
        read_file(path, &bytes);
        if (!bytes.len) {
            printf("skipped: no %s\n", path);
            buf_free(&bytes);
            goto out;
        }
        struct error err = {0};
        if (ruleset_parse(buf_slice(&bytes), &r[i], &err)) fail_msg("%s: %s", path, err.msg);
        buf_free(&bytes);
    }
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 4; k++) {
            struct diff there, back;
            ruleset_diff(r[i], r[k], true, &there);
            ruleset_diff(r[k], r[i], true, &back);
            assert_int_equal(there.n_added, back.n_removed);
            assert_int_equal(there.n_removed, back.n_added);
            assert_int_equal(there.n_changed, back.n_changed);
            assert_int_equal(there.n == 0, i == k);
            diff_free(&there);
            diff_free(&back);
        }
    }
out:
    for (size_t i = 0; i < 4; i++) ruleset_free(&r[i]);
}

/* ---- by line ---- */

static const struct {
    const char *name, *before, *after, *want;
} line_cases[] = {
    {"equal", "a\nb\n", "a\nb\n", ""},
    {"one changed", "a\nb\nc\n", "a\nx\nc\n", "--- A\n+++ B\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
    {"from nothing", "", "a\n", "--- A\n+++ B\n@@ -0,0 +1 @@\n+a\n"},
    {"to nothing", "a\nb\n", "", "--- A\n+++ B\n@@ -1,2 +0,0 @@\n-a\n-b\n"},
    {"two hunks", "1\n2\n3\n4\n5\n6\n7\n8\n9\nx\n", "0\n2\n3\n4\n5\n6\n7\n8\n9\ny\n",
     "--- A\n+++ B\n@@ -1,4 +1,4 @@\n-1\n+0\n 2\n 3\n 4\n@@ -7,4 +7,4 @@\n 7\n 8\n 9\n-x\n+y\n"},
    {"near ones share a hunk", "1\n2\n3\n4\n5\n6\n7\n8\n", "0\n2\n3\n4\n5\n6\n7\n9\n",
     "--- A\n+++ B\n@@ -1,8 +1,8 @@\n-1\n+0\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+9\n"},
    {"line ends", "a\nb\n", "a\r\nb\r\n", "--- A\n+++ B\nthe line ends differ, or the end of the last line\n"},
    {"end of the last line", "a\nb", "a\nb\n", "--- A\n+++ B\nthe line ends differ, or the end of the last line\n"},
    {"moved", "a\nb\nc\nd\n", "d\na\nb\nc\n", "--- A\n+++ B\n@@ -1,4 +1,4 @@\n+d\n a\n b\n c\n-d\n"},
};

static void by_line(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof line_cases / sizeof *line_cases; i++) {
        struct buf out = {0};
        lines_diff(slice_str(line_cases[i].before), slice_str(line_cases[i].after), "A", "B", &out);
        if (strcmp(buf_cstr(&out), line_cases[i].want) != 0)
            fail_msg("%s:\n%s\nwanted:\n%s", line_cases[i].name, buf_cstr(&out), line_cases[i].want);
        buf_free(&out);
    }
}

static struct slice next_line(struct slice *s) {
    const uint8_t *end = memchr(s->p, '\n', s->len);
    struct slice line = slice_head(*s, end ? (size_t)(end - s->p) : s->len);
    *s = slice_from(*s, line.len + 1);
    return line;
}

/* What patch(1) does. */
static void apply(struct slice before, struct slice diff, struct buf *out) {
    size_t at = 1;
    next_line(&diff);
    next_line(&diff);
    while (diff.len) {
        struct slice line = next_line(&diff);
        unsigned long from = 0, n = 1;
        if (slice_starts(line, SLICE_LIT("@@"))) {
            char head[80];
            snprintf(head, sizeof head, "%.*s", (int)line.len, (const char *)line.p);
            char *end;
            from = strtoul(head + 4, &end, 10);
            if (*end == ',') n = strtoul(end + 1, NULL, 10);
            for (size_t first = n ? from : from + 1; at < first; at++) {
                struct slice kept = next_line(&before);
                buf_slice_append(out, kept);
                buf_byte(out, '\n');
            }
        } else {
            struct slice old = line.p[0] != '+' ? next_line(&before) : SLICE_LIT("");
            if (line.p[0] != '+') at++;
            if (line.p[0] != '+' && !slice_eq(old, slice_from(line, 1))) fail_msg("a line that is not there");
            if (line.p[0] == '-') continue;
            buf_slice_append(out, slice_from(line, 1));
            buf_byte(out, '\n');
        }
    }
    buf_slice_append(out, before);
}

static unsigned dice(unsigned *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void random_texts(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++) {
        unsigned s = seed, words = 2 + seed % 40 * seed % 40, n = seed % 10 == 0 ? 3000 : 10 + dice(&s) % 60;
        struct buf a = {0}, b = {0}, diff = {0}, again = {0};
        for (unsigned i = 0; i < n; i++) {
            unsigned word = dice(&s) % words, what = dice(&s) % 10;
            if (what != 0) buf_printf(&a, "word %u\n", word);
            if (what == 1) buf_printf(&b, "word %u\n", dice(&s) % words);
            if (what != 2) buf_printf(&b, "word %u\n", word);
        }
        lines_diff(buf_slice(&a), buf_slice(&b), "A", "B", &diff);
        if (diff.len) apply(buf_slice(&a), buf_slice(&diff), &again);
        if (diff.len && !slice_eq(buf_slice(&again), buf_slice(&b))) fail_msg("seed %u", seed);
        buf_free(&a);
        buf_free(&b);
        buf_free(&diff);
        buf_free(&again);
    }
}

static void large_texts(void **state) {
    (void)state;
    struct buf a = {0}, b = {0}, diff = {0}, again = {0};
    for (unsigned i = 0; i < 60000; i++) {
        buf_printf(&a, "line %u\n", i % 977 ? i : 0);
        if (i % 100) buf_printf(&b, "line %u\n", i % 977 ? i : 0);
        if (i % 1500 == 0) buf_str(&b, "new\n");
    }
    lines_diff(buf_slice(&a), buf_slice(&b), "A", "B", &diff);
    apply(buf_slice(&a), buf_slice(&diff), &again);
    assert_true(slice_eq(buf_slice(&again), buf_slice(&b)));
    assert_true(diff.len < a.len / 2); /* only what changed, and around it */
    buf_clear(&a);
    buf_clear(&diff);
    for (unsigned i = 0; i < 300000; i++) buf_byte(&a, '\n');
    lines_diff(buf_slice(&a), buf_slice(&b), "A", "B", &diff);
    assert_non_null(strstr(buf_cstr(&diff), "too many lines"));
    buf_free(&a);
    buf_free(&b);
    buf_free(&diff);
    buf_free(&again);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_meaning), cmocka_unit_test(real_ones),
                                       cmocka_unit_test(by_line), cmocka_unit_test(random_texts),
                                       cmocka_unit_test(large_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
