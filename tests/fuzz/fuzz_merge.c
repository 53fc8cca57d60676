/* Configurations between NUL bytes as modules: either a complaint for each error, or a configuration in which the checker finds no error that
 * makes Sysmon drop something, the same for any order of the modules, and one that merged alone stays as it is. */
// links: rules proto base
#include "check.h"
#include "merge.h"

#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX 6u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void fail(const char *what, const struct buf *xml) {
    fprintf(stderr, "%s\n%.*s\n", what, (int)xml->len, (const char *)xml->p);
    abort();
}

/* Without the comments, which name the modules. */
static void strip(struct slice xml, struct buf *out) {
    while (xml.len) {
        const uint8_t *end = memchr(xml.p, '\n', xml.len);
        struct slice line = end ? slice_of(xml.p, (size_t)(end - xml.p) + 1) : xml, text = line;
        while (text.len && text.p[0] == ' ') text = slice_from(text, 1);
        if (!slice_starts(text, SLICE_LIT("<!--"))) buf_slice_append(out, line);
        xml = slice_from(xml, line.len);
    }
}

static void look(struct slice xml, const struct buf *shown) {
    const struct check_options o = {0};
    struct merge_module alone = {"alone", xml};
    struct buf again = {0}, complaints = {0}, before = {0}, after = {0};
    struct findings f;
    struct ruleset *r = NULL;
    struct error err;
    if (ruleset_check(xml, &o, &f, &r)) fail("the result has errors", shown);
    if (ruleset_merge(NULL, &alone, 1, &again, &complaints, &err)) fail(err.msg, shown);
    strip(xml, &before);
    strip(buf_slice(&again), &after);
    if (!slice_eq(buf_slice(&before), buf_slice(&after))) fail("merged again it is another", shown);
    findings_free(&f);
    ruleset_free(&r);
    buf_free(&again);
    buf_free(&complaints);
    buf_free(&before);
    buf_free(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static const char *const names[PARTS_MAX] = {"a", "b--c", "-d-", "e", "f", "g"};
    struct merge_module parts[PARTS_MAX], backwards[PARTS_MAX];
    struct buf xml = {0}, again = {0}, complaints = {0};
    struct error err = {0};
    size_t n = 0;
    struct slice rest = slice_of(data, len);
    while (rest.len && n < PARTS_MAX) {
        const uint8_t *end = memchr(rest.p, 0, rest.len);
        struct slice one = end ? slice_of(rest.p, (size_t)(end - rest.p)) : rest;
        parts[n] = (struct merge_module){names[n], one};
        n++;
        rest = slice_from(rest, one.len + (end != NULL));
    }
    for (size_t i = 0; i < n; i++) backwards[i] = parts[n - 1 - i];
    enum status st = ruleset_merge(NULL, parts, n, &xml, &complaints, &err);
    if ((st == ST_OK) != (complaints.len == 0)) fail("complaints and status disagree", &complaints);
    if (st && xml.len) fail("refused, but written", &xml);
    if (!st) look(buf_slice(&xml), &xml);
    buf_clear(&complaints);
    if (ruleset_merge(NULL, backwards, n, &again, &complaints, &err) != st) fail("the order matters", &xml);
    if (!slice_eq(buf_slice(&xml), buf_slice(&again))) fail("the order matters", &xml);
    buf_free(&xml);
    buf_free(&again);
    buf_free(&complaints);
    return 0;
}
