/* check.c and its parts: a made snippet for every code, with its place; what must not be found; order, limits, and the verdict on the real
 * configurations. */
// links: rules proto base
#include "check_cases.h"
#include "check.h"
#include "config_xml.h"
#include "file.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static size_t count_lines(struct slice s) {
    size_t n = 1;
    for (size_t i = 0; i < s.len; i++) n += s.p[i] == '\n';
    return n;
}

static const struct finding *find(const struct findings *f, const char *code, uint32_t line, uint32_t column) {
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *n = &f->list[i];
        if (strcmp(n->code, code) == 0 && (!line || (n->at.line == line && n->at.column == column))) return n;
    }
    return NULL;
}

/* What holds for every list of findings. */
static void assert_sane(const struct findings *f, struct slice xml, const char *name) {
    size_t errors = 0, lines = count_lines(xml);
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *n = &f->list[i];
        bool in_order =
            !i || n[-1].at.line < n->at.line || (n[-1].at.line == n->at.line && n[-1].at.column <= n->at.column);
        if (!in_order) fail_msg("%s: %s is not in the file's order", name, n->code);
        if (!n->at.line || !n->at.column || n->at.line > lines)
            fail_msg("%s: %s in line %u", name, n->code, n->at.line);
        if (strchr(n->text, '\n')) fail_msg("%s: a line end in \"%s\"", name, n->text);
        errors += n->kind == FINDING_ERROR;
    }
    if (!f->cut) assert_int_equal(f->n_errors, errors);
}

static void fail_with(const struct findings *f, const char *name, const char *what) {
    struct buf text = {0};
    findings_text(f, "case", &text);
    fail_msg("%s: %s; found:\n%s", name, what, buf_cstr(&text));
}

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct findings f;
        struct ruleset *r = NULL;
        char name[64];
        snprintf(name, sizeof name, "case %zu, %s", i, cases[i].code);
        enum status st = ruleset_check(slice_str(cases[i].xml), &cases[i].o, &f, &r);
        assert_sane(&f, slice_str(cases[i].xml), name);
        const struct finding *n = find(&f, cases[i].code, cases[i].line, cases[i].column);
        if (!n) fail_with(&f, name, "not found at its place");
        if ((st == ST_INVALID) != (f.n_errors > 0)) fail_with(&f, name, "the status does not agree");
        bool told = !cases[i].instead || (n->instead && strstr(n->instead, cases[i].instead));
        if (!told) fail_with(&f, name, "no such advice");
        findings_free(&f);
        ruleset_free(&r);
    }
}

static void test_fine(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        struct findings f;
        struct ruleset *r = NULL;
        (void)!ruleset_check(slice_str(fine[i].xml), &fine[i].o, &f, &r);
        if (fine[i].code ? find(&f, fine[i].code, 0, 0) != NULL : f.n > 0)
            fail_with(&f, fine[i].name, "too much is found");
        findings_free(&f);
        ruleset_free(&r);
    }
}

/* Made here, since they are large. */
static void test_large(void **state) {
    (void)state;
    const struct check_options o = {0};
    struct findings f;
    struct ruleset *r = NULL;
    struct buf b = {0};
    buf_str(&b, HEAD("4.90") "<RuleGroup groupRelation=\"or\"><ImageLoad onmatch=\"exclude\">\n");
    for (int i = 0; i < 60000; i++)
        buf_printf(&b, "<ImageLoaded condition=\"contains\">\\%x\\</ImageLoaded>\n", i * 7919);
    buf_str(&b, "</ImageLoad></RuleGroup>" TAIL);
    assert_int_equal(ruleset_check(buf_slice(&b), &o, &f, &r), ST_OK);
    assert_non_null(find(&f, "large-file", 1, 1));
    assert_non_null(find(&f, "costly-block", 0, 0));
    assert_non_null(find(&f, "not-compared", 0, 0));
    assert_non_null(r);
    ruleset_free(&r);
    findings_free(&f);
    buf_clear(&b);
    buf_str(&b, HEAD("4.90") "<RuleGroup groupRelation=\"or\"><ImageLoad onmatch=\"exclude\">\n");
    for (int i = 0; i < 3000; i++) buf_str(&b, "<UtcTime>1</UtcTime>\n");
    buf_str(&b, "<Nothing/></ImageLoad></RuleGroup>" TAIL);
    assert_int_equal(ruleset_check(buf_slice(&b), &o, &f, &r), ST_INVALID);
    assert_int_equal(f.n, CHECK_MAX_FINDINGS + 1);
    assert_true(f.cut);
    buf_clear(&b);
    findings_brief(&f, "f", 2, &b);
    assert_non_null(strstr(buf_cstr(&b), ": error: "));
    assert_true(strstr(buf_cstr(&b), ": error: ") < strchr(buf_cstr(&b), '\n')); /* in the first line */
    assert_non_null(strstr(buf_cstr(&b), "more warnings"));
    assert_true(f.n_errors == 1 && f.n_warnings >= 3000);
    assert_non_null(r);
    ruleset_free(&r);
    findings_free(&f);
    buf_free(&b);
}

/* Memory that runs out at any point is a finding, or the check goes through. */
static void test_no_memory(void **state) {
    (void)state;
    const struct check_options o = {0};
    const char *xml =
        INCLUDE("<Image name=\"n\">C:\\a</Image><Rule groupRelation=\"and\"><User>a</User><User>b</User></Rule>");
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        struct findings f;
        struct ruleset *r = NULL;
        mem_test_fail_at(n);
        enum status st = ruleset_check(slice_str(xml), &o, &f, &r);
        failed = find(&f, "not-xml", 0, 0) != NULL;
        if (failed ? st != ST_INVALID || r : st != ST_OK || !r) fail_with(&f, "no memory", "the status does not agree");
        bool compared = find(&f, "not-compared", 0, 0) == NULL;
        if (!failed && !compared) failed = true; /* the comparison gave up, the rest went through */
        findings_free(&f);
        ruleset_free(&r);
        assert_true(n < 1000);
    }
    mem_test_fail_at(0);
}

static void test_every_code(void **state) {
    static const char *const made[] = {"large-file", "costly-block", "not-compared"};
    (void)state;
    for (size_t i = 0; i < n_finding_codes; i++) {
        bool seen = false;
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
            seen |= strcmp(cases[k].code, finding_codes[i].code) == 0;
        for (size_t k = 0; k < sizeof made / sizeof *made; k++) seen |= strcmp(made[k], finding_codes[i].code) == 0;
        if (!seen) fail_msg("no case for %s", finding_codes[i].code);
    }
}

static void test_forms(void **state) {
    (void)state;
    const struct check_options o = {0};
    struct findings f;
    struct ruleset *r = NULL;
    struct buf text = {0};
    assert_int_equal(ruleset_check(SLICE_LIT(
                                       "<Sysmon schemaversion=\"4.90\">\n<HashAlgorithm>\"</HashAlgorithm></Sysmon>"),
                                   &o, &f, &r),
                     ST_INVALID);
    findings_text(&f, "a.xml", &text);
    assert_string_equal(
        buf_cstr(&text),
        "a.xml:2:1: error: <HashAlgorithm> is no option of Sysmon: it and those after it are left out or "
        "the file is refused; did you mean <HashAlgorithms>? [unknown-option]\n");
    buf_clear(&text);
    findings_json(&f, NULL, &text);
    assert_string_equal(
        buf_cstr(&text),
        "{\"line\":2,\"column\":1,\"kind\":\"error\",\"code\":\"unknown-option\",\"message\":\"<HashAlgorithm> is no option of "
        "Sysmon: it and those after it are left out or the file is refused\",\"instead\":\"did you mean <HashAlgorithms>?\"}\n");
    buf_free(&text);
    findings_free(&f);
    ruleset_free(&r);
}

/* ---- the real ones ---- */

struct verdict {
    char file[256];
    bool strict_ok, lenient_ok;
};

/* A row: file, repository, path, licence, schemaversion, strict, lenient, why. */
static bool read_row(const char *line, struct verdict *v) {
    const char *at = line, *columns[8] = {line};
    for (size_t i = 1; i < 8; i++) {
        at = strchr(at, '\t');
        if (!at) return false;
        columns[i] = ++at;
    }
    snprintf(v->file, sizeof v->file, "%.*s", (int)(columns[1] - columns[0] - 1), columns[0]);
    v->strict_ok = strncmp(columns[5], "ok\t", 3) == 0;
    v->lenient_ok = strncmp(columns[6], "ok\t", 3) == 0;
    return strcmp(v->file, "file") != 0;
}

static void judge_file(const char *folder, const struct verdict *v) {
    const struct check_options o = {0};
    char path[700];
    struct buf xml = {0};
    struct error err = {0};
    struct findings f;
    struct ruleset *r = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, v->file);
    if (file_read(path, RULES_XML_MAX, &xml, &err)) fail_msg("%s", err.msg);
    (void)!ruleset_check(buf_slice(&xml), &o, &f, &r);
    if ((f.n_errors == 0) != v->lenient_ok) fail_with(&f, v->file, "another verdict");
    /* what only the strict check refuses is newer than the schema that the file names */
    bool newer = find(&f, "newer-than-schema", 0, 0) != NULL;
    if (v->lenient_ok && newer == v->strict_ok) fail_with(&f, v->file, "another strict verdict");
    findings_free(&f);
    ruleset_free(&r);
    buf_free(&xml);
}

static void test_real(void **state) {
    const char *shared = getenv("HAECHI_SHARED");
    char folder[512], path[600];
    struct buf status = {0};
    struct error err = {0};
    size_t n = 0;
    (void)state;
    snprintf(folder, sizeof folder, "%s/data/configs", shared ? shared : "../shared");
    snprintf(path, sizeof path, "%s/STATUS.tsv", folder);
    if (file_read(path, 1 << 20, &status, &err)) {
        print_message("no configurations in %s: skipped\n", folder);
        return;
    }
    char *save = NULL, *line = strtok_r((char *)(uintptr_t)buf_cstr(&status), "\n", &save);
    for (; line; line = strtok_r(NULL, "\n", &save)) {
        struct verdict v;
        if (!read_row(line, &v)) continue;
        judge_file(folder, &v);
        n++;
    }
    assert_true(n >= 79);
    buf_free(&status);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),      cmocka_unit_test(test_fine),
                                       cmocka_unit_test(test_large),      cmocka_unit_test(test_no_memory),
                                       cmocka_unit_test(test_every_code), cmocka_unit_test(test_forms),
                                       cmocka_unit_test(test_real)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
