/* Rows of the rulebook as a damaged store may have them: the key, a newline, the JSON. What is read can be written and read again. */
#include "mem.h"
#include "rulebook_internal.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void revision(struct slice key, struct slice json) {
    struct revision r, again;
    struct buf row = {0};
    uint8_t out[BOOK_KEY_MAX];
    if (!book_row_revision_parse(key, json, &r)) return;
    assert(ruleset_name_is_fit(slice_str(r.name)) && r.revision && r.len && r.len <= RULES_XML_MAX);
    assert(slice_eq(book_key(r.name, r.revision, out), key));
    book_row_revision(&r, &row);
    assert(book_row_revision_parse(key, buf_slice(&row), &again));
    assert(again.len == r.len && memcmp(again.digest, r.digest, sizeof r.digest) == 0);
    revision_free(&r);
    revision_free(&again);
    buf_free(&row);
}

static void group(struct slice key, struct slice json) {
    struct book_group *g = book_row_group_parse(key, json), *again;
    struct buf row = {0};
    if (!g) return;
    book_row_group(g, &row);
    again = book_row_group_parse(key, buf_slice(&row));
    assert(again && again->precedence == g->precedence && again->heal == g->heal);
    assert(strcmp(again->ruleset, g->ruleset) == 0);
    assert(!g->ruleset[0] || slice_eq(buf_slice(&again->manifest), buf_slice(&g->manifest)));
    book_group_free(g);
    book_group_free(again);
    buf_free(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len) {
    const uint8_t *end = len ? memchr(p, '\n', len) : NULL;
    if (!end) return 0;
    struct slice key = slice_of(p, (size_t)(end - p)), json = slice_from(slice_of(p, len), key.len + 1);
    revision(key, json);
    group(key, json);
    return 0;
}
