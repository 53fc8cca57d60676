/* Two configurations, or two texts, cut from the input at its first zero byte: what is added one way is removed the other, and a
 * text against itself has no difference. */
// links: rules proto base
#include "diff.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static void by_meaning(struct slice a, struct slice b) {
    struct ruleset *x = NULL, *y = NULL;
    if (!ruleset_parse(a, &x, NULL) && !ruleset_parse(b, &y, NULL)) {
        struct diff there, back;
        struct buf text = {0};
        ruleset_diff(x, y, true, &there);
        ruleset_diff(y, x, true, &back);
        assert(there.n_added == back.n_removed && there.n_removed == back.n_added);
        assert(there.n_changed == back.n_changed);
        diff_text(&there, &text);
        diff_free(&there);
        diff_free(&back);
        ruleset_diff(x, x, true, &there);
        assert(!there.n);
        diff_free(&there);
        buf_free(&text);
    }
    ruleset_free(&x);
    ruleset_free(&y);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len) {
    const uint8_t *zero = len ? memchr(p, 0, len) : NULL;
    struct slice a = slice_of(p, zero ? (size_t)(zero - p) : len / 2);
    struct slice b = slice_from(slice_of(p, len), a.len + (zero != NULL));
    struct buf out = {0};
    if (len > 65536) return 0;
    lines_diff(a, b, "a", "b", &out);
    assert(slice_eq(a, b) == !out.len);
    by_meaning(a, b);
    buf_free(&out);
    return 0;
}
