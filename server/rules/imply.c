/* Reasoning about conditions. Positive conditions are sets of texts (is: one; begin with: all with that beginning; ...); a negative one
 * is the rest, so that not-P implies not-Q where Q implies P. */
#include "imply.h"
#include "check_internal.h"

static bool has_backslash(struct slice s) {
    return s.len && memchr(s.p, '\\', s.len);
}

static struct slice lower(struct slice s, struct arena *a) {
    uint8_t *out = arena_alloc(a, s.len + 1);
    if (!out) return (struct slice){NULL, 0};
    for (size_t i = 0; i < s.len; i++) out[i] = (uint8_t)slice_lower(s.p[i]);
    return slice_of(out, s.len);
}

static size_t count_tokens(struct slice s) {
    size_t n = 1;
    for (size_t i = 0; i < s.len; i++) n += s.p[i] == ';';
    return n;
}

bool test_init(struct test *t, const struct rule_field *f, unsigned field, struct arena *a) {
    bool list = condition_is_list(f->condition);
    struct slice value = lower(f->value, a), rest = value;
    *t = (struct test){.field = field, .condition = f->condition, .plain = true, .ascii = true};
    t->n_tokens = list ? count_tokens(value) : 1;
    t->tokens = arena_alloc(a, t->n_tokens * sizeof *t->tokens);
    if (!value.p || !t->tokens) return false;
    t->tokens[0] = value;
    for (size_t i = 0; list && i < t->n_tokens && lint_token(&rest, &t->tokens[i]);) i++;
    for (size_t i = 0; i < t->n_tokens; i++) t->plain &= t->tokens[i].len > 0;
    for (size_t i = 0; i < value.len; i++) {
        t->plain &= value.p[i] != '%';
        t->ascii &= value.p[i] < 0x80;
    }
    return true;
}

static bool spend(uint64_t *steps, size_t n) {
    bool enough = *steps > n;
    *steps = enough ? *steps - n : 0;
    return enough;
}

static bool starts(struct slice s, struct slice prefix, uint64_t *steps) {
    return spend(steps, 1) && slice_starts(s, prefix);
}

static bool ends(struct slice s, struct slice suffix, uint64_t *steps) {
    return spend(steps, 1) && s.len >= suffix.len && slice_eq(slice_from(s, s.len - suffix.len), suffix);
}

static bool contains(struct slice s, struct slice part, uint64_t *steps) {
    if (part.len > s.len || !part.len) return !part.len;
    size_t last = s.len - part.len;
    for (size_t i = 0; i <= last; i++) {
        const uint8_t *found = memchr(s.p + i, part.p[0], last - i + 1);
        if (!spend(steps, found ? (size_t)(found - s.p) - i + 1 : last - i + 1) || !found) return false;
        i = (size_t)(found - s.p);
        if (!spend(steps, part.len / 8) || memcmp(found, part.p, part.len) == 0) return *steps > 0;
    }
    return false;
}

/* The text ends with \name, name without a backslash. */
static bool ends_in_name(struct slice s, struct slice name, uint64_t *steps) {
    return s.len > name.len && ends(s, name, steps) && s.p[s.len - name.len - 1] == '\\';
}

static enum rule_condition positive(enum rule_condition c) {
    switch (c) {
    case COND_IS_NOT: return COND_IS;
    case COND_EXCLUDES: return COND_CONTAINS;
    case COND_EXCLUDES_ANY: return COND_CONTAINS_ANY;
    case COND_EXCLUDES_ALL: return COND_CONTAINS_ALL;
    case COND_NOT_BEGIN_WITH: return COND_BEGIN_WITH;
    case COND_NOT_END_WITH: return COND_END_WITH;
    default: return c;
    }
}

/* The positive condition c on the text s, for one token. */
static bool holds(enum rule_condition c, struct slice token, struct slice s, uint64_t *steps) {
    switch (c) {
    case COND_IS:
    case COND_IS_ANY: return spend(steps, 1) && slice_eq(s, token);
    case COND_BEGIN_WITH: return starts(s, token, steps);
    case COND_END_WITH: return ends(s, token, steps);
    case COND_CONTAINS:
    case COND_CONTAINS_ANY:
    case COND_CONTAINS_ALL: return contains(s, token, steps);
    case COND_IMAGE: return slice_eq(s, token) || (!has_backslash(token) && ends_in_name(s, token, steps));
    default: return false;
    }
}

/* What is known of a text that t1's token describes makes t2's token hold. */
static bool token_implies(enum rule_condition c1, struct slice v, enum rule_condition c2, struct slice u,
                          uint64_t *steps) {
    bool name = c1 == COND_IMAGE && !has_backslash(v);
    if (c1 == COND_IS || c1 == COND_IS_ANY || (c1 == COND_IMAGE && !name)) return holds(c2, u, v, steps);
    switch (c2) {
    case COND_CONTAINS:
    case COND_CONTAINS_ANY:
    case COND_CONTAINS_ALL: return contains(v, u, steps);
    case COND_BEGIN_WITH: return c1 == COND_BEGIN_WITH && starts(v, u, steps);
    case COND_END_WITH: return (c1 == COND_END_WITH || name) && ends(v, u, steps);
    case COND_IMAGE:
        if (has_backslash(u)) return false;
        return name ? slice_eq(v, u) : c1 == COND_END_WITH && ends_in_name(v, u, steps);
    default: return false;
    }
}

/* One alternative of t1 (its tokens from..to, which hold together) implies t2. */
static bool part_implies(enum rule_condition c1, const struct slice *v, size_t n, enum rule_condition c2,
                         const struct test *t2, uint64_t *steps) {
    bool all = c2 == COND_CONTAINS_ALL;
    for (size_t k = 0; k < t2->n_tokens; k++) {
        bool found = false;
        for (size_t i = 0; i < n && !found; i++) found = token_implies(c1, v[i], c2, t2->tokens[k], steps);
        if (found != all) return found;
    }
    return all;
}

/* Both taken as positive. */
static bool positive_implies(const struct test *t1, const struct test *t2, uint64_t *steps) {
    enum rule_condition c1 = positive(t1->condition), c2 = positive(t2->condition);
    if (c1 == COND_LESS_THAN || c1 == COND_MORE_THAN || c2 == COND_LESS_THAN || c2 == COND_MORE_THAN) return false;
    if (c1 == COND_CONTAINS_ALL) return part_implies(c1, t1->tokens, t1->n_tokens, c2, t2, steps);
    for (size_t i = 0; i < t1->n_tokens; i++) {
        if (!part_implies(c1, &t1->tokens[i], 1, c2, t2, steps)) return false;
    }
    return true;
}

/* No text that t1 describes satisfies t2, both positive; sure for ASCII only. */
static bool excludes_each(const struct test *t1, const struct test *t2, uint64_t *steps) {
    enum rule_condition c1 = positive(t1->condition), c2 = positive(t2->condition);
    if (c2 == COND_LESS_THAN || c2 == COND_MORE_THAN || !t1->ascii || !t2->ascii) return false;
    bool exact = c1 == COND_IS || c1 == COND_IS_ANY;
    bool edges = c1 == c2 && t1->n_tokens == 1 && (c1 == COND_BEGIN_WITH || c1 == COND_END_WITH);
    if (edges) {
        struct slice a = t1->tokens[0], b = t2->tokens[0];
        return c1 == COND_BEGIN_WITH ? !slice_starts(a, b) && !slice_starts(b, a)
                                     : !ends(a, b, steps) && !ends(b, a, steps);
    }
    for (size_t i = 0; exact && i < t1->n_tokens; i++) {
        bool all = true, any = false;
        for (size_t k = 0; k < t2->n_tokens; k++) {
            bool one = holds(c2, t2->tokens[k], t1->tokens[i], steps);
            all &= one;
            any |= one;
        }
        if (c2 == COND_CONTAINS_ALL ? all : any) return false;
    }
    return exact && *steps > 0;
}

static bool same(const struct test *t1, const struct test *t2) {
    if (t1->condition != t2->condition || t1->n_tokens != t2->n_tokens) return false;
    for (size_t i = 0; i < t1->n_tokens; i++) {
        if (!slice_eq(t1->tokens[i], t2->tokens[i])) return false;
    }
    return true;
}

bool test_implies(const struct test *t1, const struct test *t2, uint64_t *steps) {
    if (t1->field != t2->field || !spend(steps, 1)) return false;
    if (same(t1, t2)) return true;
    if (!t1->plain || !t2->plain) return false;
    bool not1 = condition_is_negative(t1->condition), not2 = condition_is_negative(t2->condition);
    if (not1) return not2 && positive_implies(t2, t1, steps);
    return not2 ? excludes_each(t1, t2, steps) : positive_implies(t1, t2, steps);
}

bool test_contradicts(const struct test *t1, const struct test *t2, uint64_t *steps) {
    if (t1->field != t2->field || !t1->plain || !t2->plain || !spend(steps, 1)) return false;
    bool not1 = condition_is_negative(t1->condition), not2 = condition_is_negative(t2->condition);
    if (not1) return !not2 && positive_implies(t2, t1, steps);
    return not2 ? positive_implies(t1, t2, steps) : excludes_each(t1, t2, steps) || excludes_each(t2, t1, steps);
}
