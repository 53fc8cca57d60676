/* Any bytes as a configuration to check: the same findings twice, in the file's order, in lines that the file has; errors counted; a
 * ruleset exactly when ruleset_parse makes one too. The first byte chooses what it is checked for. */
// links: rules proto base
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static bool before(struct place a, struct place b) {
    return a.line < b.line || (a.line == b.line && a.column <= b.column);
}

static size_t listed(size_t n) {
    return n < CHECK_MAX_FINDINGS ? n : CHECK_MAX_FINDINGS;
}

static void look(const struct findings *f, size_t file_len) {
    size_t errors = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *n = &f->list[i];
        if (i && !before(n[-1].at, n->at)) fail("not in order");
        if (!n->at.line || !n->at.column || n->at.line > file_len + 1 || n->at.column > file_len + 1)
            fail("outside of the file");
        errors += n->kind == FINDING_ERROR;
    }
    if (errors != listed(f->n_errors) || f->n - errors != listed(f->n_warnings)) fail("miscounted");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static const uint32_t lowest[] = {0, 340, 421, 450, 483, 490, 491, 500};
    if (!len) return 0;
    const struct check_options o = {.lowest_schema = lowest[data[0] & 7], .linux = (data[0] & 8) != 0};
    struct slice xml = slice_of(data + 1, len - 1);
    struct findings f, again;
    struct ruleset *r = NULL, *parsed = NULL;
    struct buf text = {0}, text_again = {0};
    struct error err = {0};
    enum status st = ruleset_check(xml, &o, &f, &r);
    look(&f, len);
    if ((st == ST_OK) != (f.n_errors == 0)) fail("the status and the errors disagree");
    if (st == ST_OK && !r) fail("no error, but no ruleset");
    if ((ruleset_parse(xml, &parsed, &err) == ST_OK) != (r != NULL)) fail("the parser disagrees");
    findings_text(&f, "f", &text);
    findings_json(&f, "f", &text);
    ruleset_free(&r);
    ruleset_free(&parsed);
    (void)!ruleset_check(xml, &o, &again, &r);
    findings_text(&again, "f", &text_again);
    findings_json(&again, "f", &text_again);
    if (!slice_eq(buf_slice(&text), buf_slice(&text_again))) fail("not the same twice");
    ruleset_free(&r);
    findings_free(&f);
    findings_free(&again);
    buf_free(&text);
    buf_free(&text_again);
    return 0;
}
