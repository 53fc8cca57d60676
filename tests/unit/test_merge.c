/* merge.c: what the one configuration is of several, what cannot be merged and which module is named, the same bytes whatever the order;
 * and the real modules against the real merged configuration. */
// links: rules proto base
#include "file.h"
#include "merge.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define DOC(body) "<Sysmon schemaversion=\"4.50\"><EventFiltering>" body "</EventFiltering></Sysmon>"
#define GROUP(name, relation, tag, how, body)                                                                 \
    "<RuleGroup name=\"" name "\" groupRelation=\"" relation "\"><" tag " onmatch=\"" how "\">" body "</" tag \
    "></RuleGroup>"
#define OPTION(version, text) "<Sysmon schemaversion=\"" version "\">" text "</Sysmon>"

#define HEAD(version, n, options)                                                                                    \
    "<Sysmon schemaversion=\"" version "\">\n  <!-- merged from " n " modules: change those, not this -->\n" options \
    "  <EventFiltering>\n"
#define TAIL "  </EventFiltering>\n</Sysmon>\n"

static const struct {
    const char *name, *base, *modules[3];
    const char *want;      /* NULL: refused */
    const char *complaint; /* what it must hold */
} cases[] = {
    {"two of one tag",
     NULL,
     {DOC(GROUP("", "or", "FileCreate", "include", "<Image condition=\"image\">a&amp;b</Image>")),
      DOC(GROUP("", "or", "FileCreate", "include",
                "<Rule name=\"&quot;r\" groupRelation=\"and\"><Image>c&#13;</Image><User>d</User></Rule>"))},
     HEAD(
         "4.80", "2",
         "") "    <RuleGroup groupRelation=\"or\">\n      <FileCreate onmatch=\"include\">\n        <!-- m0.xml -->\n"
             "        <Image condition=\"image\">a&amp;b</Image>\n        <!-- m1.xml -->\n        <Rule name=\"&quot;r\" groupRelation=\"and\">\n"
             "          <Image condition=\"is\">c&#13;</Image>\n          <User condition=\"is\">d</User>\n        </Rule>\n"
             "      </FileCreate>\n    </RuleGroup>\n" TAIL,
     NULL},
    {"order of tags, directions, empty blocks",
     NULL,
     {DOC(GROUP("x", "or", "FileCreate", "exclude", "")), DOC(GROUP("", "or", "FileCreate", "include", "")),
      DOC(GROUP("", "or", "ProcessCreate", "exclude", ""))},
     HEAD(
         "4.50", "3",
         "") "    <RuleGroup groupRelation=\"or\">\n      <ProcessCreate onmatch=\"exclude\">\n      </ProcessCreate>\n    </RuleGroup>\n"
             "    <RuleGroup groupRelation=\"or\">\n      <FileCreate onmatch=\"include\">\n      </FileCreate>\n    </RuleGroup>\n"
             "    <RuleGroup name=\"x\" groupRelation=\"or\">\n      <FileCreate onmatch=\"exclude\">\n      </FileCreate>\n    </RuleGroup>\n" TAIL,
     NULL},
    {"names of groups that differ go to the rules",
     NULL,
     {DOC(GROUP("g", "or", "FileCreate", "include",
                "<Image>a</Image><Image name=\"n\">b</Image><Rule groupRelation=\"or\"><Image>c</Image></Rule>")),
      DOC(GROUP("h", "or", "FileCreate", "include", "<Image>d</Image>"))},
     HEAD(
         "4.50", "2",
         "") "    <RuleGroup groupRelation=\"or\">\n      <FileCreate onmatch=\"include\">\n        <!-- m0.xml -->\n"
             "        <Image name=\"g\" condition=\"is\">a</Image>\n        <Image name=\"n\" condition=\"is\">b</Image>\n"
             "        <Rule name=\"g\" groupRelation=\"or\">\n          <Image condition=\"is\">c</Image>\n        </Rule>\n"
             "        <!-- m1.xml -->\n        <Image name=\"h\" condition=\"is\">d</Image>\n      </FileCreate>\n    </RuleGroup>\n" TAIL,
     NULL},
    {"and becomes a Rule",
     NULL,
     {DOC("<FileCreate onmatch=\"include\"><Image>a</Image><TargetFilename>b</TargetFilename></FileCreate>")},
     HEAD(
         "4.50", "1",
         "") "    <RuleGroup groupRelation=\"or\">\n      <FileCreate onmatch=\"include\">\n        <!-- m0.xml -->\n"
             "        <Rule groupRelation=\"and\">\n          <Image condition=\"is\">a</Image>\n          <TargetFilename condition=\"is\">b</TargetFilename>\n"
             "        </Rule>\n      </FileCreate>\n    </RuleGroup>\n" TAIL,
     NULL},
    {"and of one field is or",
     NULL,
     {DOC("<FileCreate onmatch=\"include\"><Image>a</Image><Image>b</Image></FileCreate>")},
     HEAD(
         "4.50", "1",
         "") "    <RuleGroup groupRelation=\"or\">\n      <FileCreate onmatch=\"include\">\n        <!-- m0.xml -->\n"
             "        <Image condition=\"is\">a</Image>\n        <Image condition=\"is\">b</Image>\n      </FileCreate>\n    </RuleGroup>\n" TAIL,
     NULL},
    {"a base",
     OPTION("4.21", "<HashAlgorithms>MD5</HashAlgorithms>"),
     {OPTION("4.90", "<HashAlgorithms>*</HashAlgorithms><ArchiveDirectory>A</ArchiveDirectory>")},
     HEAD("4.21", "1", "  <HashAlgorithms>MD5</HashAlgorithms>\n  <ArchiveDirectory>A</ArchiveDirectory>\n") TAIL,
     NULL},
    {"a base and something newer",
     OPTION("4.21", ""),
     {OPTION("4.90", "<DnsLookup>false</DnsLookup>")},
     HEAD("4.30", "1", "  <DnsLookup>false</DnsLookup>\n") TAIL,
     NULL},
    {"options agree",
     NULL,
     {OPTION("4.50", "<DnsLookup>false</DnsLookup>"), OPTION("4.40", "<DnsLookup>false</DnsLookup>")},
     HEAD("4.50", "2", "  <DnsLookup>false</DnsLookup>\n") TAIL,
     NULL},
    {"options differ",
     NULL,
     {OPTION("4.50", "<DnsLookup>false</DnsLookup>"), OPTION("4.40", "\n<DnsLookup>true</DnsLookup>")},
     NULL,
     "m1.xml:2:1: error: DnsLookup has another value in m0.xml"},
    {"a module with an error",
     NULL,
     {DOC(""), DOC("\n<FileCreat onmatch=\"include\"/>")},
     NULL,
     "m1.xml:2:1: error: <FileCreat> is no event tag"},
    {"no XML", NULL, {"<Sysmon"}, NULL, "m0.xml:1:1: error: "},
    {"a base with an error", "<Sysmon/>", {DOC("")}, NULL, "base.xml:1:1: error: "},
    {"fields of no single event",
     NULL,
     {DOC(GROUP("", "or", "RegistryEvent", "include", "<Details>a</Details>")),
      DOC("\n" GROUP("", "or", "RegistryEvent", "include", "<NewName>a</NewName>"))},
     NULL,
     "m1.xml:2:39: error: <RegistryEvent>: no single event"},
    {"schemas that do not go together",
     NULL,
     {"<Sysmon schemaversion=\"4.30\"><EventFiltering><ClipboardChange onmatch=\"include\"><Path>a</Path></ClipboardChange></EventFiltering></Sysmon>",
      DOC("")},
     NULL,
     "(merged):7:9: error: the field Path of ClipboardChange"},
    {"alternatives in an and",
     NULL,
     {DOC(
         "\n<FileCreate onmatch=\"include\"><Image>a</Image><Image>b</Image><TargetFilename>b</TargetFilename></FileCreate>")},
     NULL,
     "m0.xml:2:1: error: <FileCreate>: alternatives"},
};

static const char *const names[] = {"m0.xml", "m1.xml", "m2.xml"};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct merge_module modules[3], backwards[3], base = {"base.xml", slice_str(cases[i].base)};
        struct buf xml = {0}, again = {0}, complaints = {0};
        struct error err = {0};
        size_t n = 0;
        for (; n < 3 && cases[i].modules[n]; n++)
            modules[n] = (struct merge_module){names[n], slice_str(cases[i].modules[n])};
        for (size_t k = 0; k < n; k++) backwards[k] = modules[n - 1 - k];
        enum status st = ruleset_merge(cases[i].base ? &base : NULL, modules, n, &xml, &complaints, &err);
        if ((st == ST_OK) != (cases[i].want != NULL))
            fail_msg("%s: %s\n%s", cases[i].name, err.msg, buf_cstr(&complaints));
        if (cases[i].want && strcmp(buf_cstr(&xml), cases[i].want) != 0)
            fail_msg("%s:\n%s", cases[i].name, buf_cstr(&xml));
        if (cases[i].complaint && !strstr(buf_cstr(&complaints), cases[i].complaint))
            fail_msg("%s: %s", cases[i].name, buf_cstr(&complaints));
        if (st && xml.len) fail_msg("%s: something was written", cases[i].name);
        buf_clear(&complaints);
        (void)!ruleset_merge(cases[i].base ? &base : NULL, backwards, n, &again, &complaints, &err);
        if (!slice_eq(buf_slice(&xml), buf_slice(&again))) fail_msg("%s: the order matters", cases[i].name);
        buf_free(&xml);
        buf_free(&again);
        buf_free(&complaints);
    }
}

/* ---- real ones ---- */

static void put_text(struct buf *b, struct slice s) {
    buf_slice_append(b, s);
    buf_byte(b, 1);
}

/* A rule with its tag and direction as one line. */
static char *line_of(const struct rule_block *k, const struct rule *r) {
    struct buf b = {0};
    put_text(&b, k->tag);
    buf_printf(&b, "%d%d%d", k->exclude, r->is_single, !r->is_single && r->relation == RELATION_AND);
    put_text(&b, r->name.len ? r->name : k->group_name);
    for (size_t i = 0; i < r->n_fields; i++) {
        put_text(&b, r->fields[i].field);
        put_text(&b, r->fields[i].name);
        buf_byte(&b, (uint8_t)('A' + r->fields[i].condition));
        put_text(&b, r->fields[i].value);
    }
    char *line = strdup(buf_cstr(&b));
    buf_free(&b);
    return line;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t lines_of(const struct ruleset *r, char ***ret) {
    size_t n = 0;
    char **list = malloc((r->n_fields + 1) * sizeof *list);
    for (size_t i = 0; i < r->n_blocks; i++) {
        for (size_t k = 0; k < r->blocks[i].n_rules; k++) {
            if (r->blocks[i].rules[k].n_fields) list[n++] = line_of(&r->blocks[i], &r->blocks[i].rules[k]);
        }
    }
    qsort(list, n, sizeof *list, by_text);
    *ret = list;
    return n;
}

static void lines_free(char **list, size_t n) {
    for (size_t i = 0; i < n; i++) free(list[i]);
    free(list);
}

static struct ruleset *must_parse(struct slice xml) {
    struct ruleset *r = NULL;
    struct error err = {0};
    if (ruleset_parse(xml, &r, &err)) fail_msg("%s", err.msg);
    return r;
}

#define REAL_MAX 200

static void test_real(void **state) {
    const char *shared = getenv("HAECHI_SHARED");
    char folder[512], path[900], *paths[REAL_MAX];
    struct merge_module modules[REAL_MAX];
    struct buf bytes[REAL_MAX] = {0}, xml = {0}, whole = {0}, complaints = {0};
    struct error err = {0};
    size_t n = 0, n_pieces = 0;
    (void)state;
    snprintf(folder, sizeof folder, "%s/data/configs/sysmon-modular", shared ? shared : "../shared");
    snprintf(path, sizeof path, "%s/modules", folder);
    DIR *d = opendir(path);
    if (!d) {
        print_message("no modules in %s: skipped\n", folder);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) && n < REAL_MAX;) {
        if (e->d_name[0] == '.' || strstr(e->d_name, "cve_2021_40444")) continue; /* a file that Sysmon refuses */
        snprintf(path, sizeof path, "%s/modules/%s", folder, e->d_name);
        assert_int_equal(file_read(path, RULES_XML_MAX, &bytes[n], &err), ST_OK);
        paths[n] = strdup(e->d_name);
        modules[n] = (struct merge_module){paths[n], buf_slice(&bytes[n])};
        n++;
    }
    closedir(d);
    if (ruleset_merge(NULL, modules, n, &xml, &complaints, &err)) fail_msg("%s", buf_cstr(&complaints));
    struct ruleset *merged = must_parse(buf_slice(&xml));
    snprintf(path, sizeof path, "%s/sysmonconfig.xml", folder);
    assert_int_equal(file_read(path, RULES_XML_MAX, &whole, &err), ST_OK);
    struct ruleset *real = must_parse(buf_slice(&whole));
    char **ours, **theirs, **pieces = malloc(100000 * sizeof *pieces);
    size_t n_ours = lines_of(merged, &ours), n_theirs = lines_of(real, &theirs), missing = 0;
    /* the same rules as the modules have, each as often */
    for (size_t i = 0; i < n; i++) {
        struct ruleset *r = must_parse(modules[i].bytes);
        char **list;
        size_t k = lines_of(r, &list);
        memcpy(pieces + n_pieces, list, k * sizeof *list);
        n_pieces += k;
        free(list);
        ruleset_free(&r);
    }
    qsort(pieces, n_pieces, sizeof *pieces, by_text);
    assert_int_equal(n_pieces, n_ours);
    for (size_t i = 0; i < n_ours; i++) assert_string_equal(pieces[i], ours[i]);
    /* and the project's own merged file has them all, but for FileDelete, which it keeps switched off */
    for (size_t i = 0; i < n_ours; i++) {
        bool off = strncmp(ours[i], "FileDelete\1", 11) == 0;
        missing += !off && !bsearch(&ours[i], theirs, n_theirs, sizeof *theirs, by_text);
    }
    print_message("%zu modules, %zu rules\n", n, n_ours);
    assert_int_equal(missing, 0);
    for (size_t i = 0; i < merged->n_blocks; i++) { /* one block for each tag and direction */
        for (size_t k = 0; k < i; k++) {
            assert_false(slice_eq(merged->blocks[i].tag, merged->blocks[k].tag) &&
                         merged->blocks[i].exclude == merged->blocks[k].exclude);
        }
    }
    lines_free(ours, n_ours);
    lines_free(theirs, n_theirs);
    lines_free(pieces, n_pieces);
    for (size_t i = 0; i < n; i++) {
        buf_free(&bytes[i]);
        free(paths[i]);
    }
    ruleset_free(&merged);
    ruleset_free(&real);
    buf_free(&xml);
    buf_free(&whole);
    buf_free(&complaints);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_real)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
