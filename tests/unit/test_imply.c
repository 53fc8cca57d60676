/* imply.c against a plain evaluator: pairs of conditions from a small alphabet, tried on every text of up to five letters; and that it
 * does see what it should see. */
// links: rules proto base
#include "check_internal.h"
#include "imply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define LETTERS "ab\\"
#define TEXT_MAX 5u
#define PAIRS 60000u
#define STEPS UINT64_C(1000000)

static bool has(struct slice s, struct slice part) {
    for (size_t i = 0; i + part.len <= s.len; i++) {
        if (slice_starts(slice_from(s, i), part)) return true;
    }
    return false;
}

static bool ends_with(struct slice s, struct slice end) {
    return s.len >= end.len && slice_eq(slice_from(s, s.len - end.len), end);
}

static bool is_image(struct slice s, struct slice v) {
    size_t at = s.len;
    while (at > 0 && s.p[at - 1] != '\\') at--;
    return slice_eq(s, v) || (!has(v, SLICE_LIT("\\")) && slice_eq(slice_from(s, at), v));
}

/* As the reference words them. */
static bool matches(enum rule_condition c, struct slice value, struct slice s) {
    size_t n = 0, equal = 0, inside = 0;
    struct slice rest = value, token;
    while (condition_is_list(c) && lint_token(&rest, &token)) {
        n++;
        equal += slice_eq(s, token);
        inside += has(s, token);
    }
    switch (c) {
    case COND_IS: return slice_eq(s, value);
    case COND_IS_NOT: return !slice_eq(s, value);
    case COND_CONTAINS: return has(s, value);
    case COND_EXCLUDES: return !has(s, value);
    case COND_BEGIN_WITH: return slice_starts(s, value);
    case COND_NOT_BEGIN_WITH: return !slice_starts(s, value);
    case COND_END_WITH: return ends_with(s, value);
    case COND_NOT_END_WITH: return !ends_with(s, value);
    case COND_LESS_THAN: return slice_cmp(s, value) < 0;
    case COND_MORE_THAN: return slice_cmp(s, value) > 0;
    case COND_IMAGE: return is_image(s, value);
    case COND_IS_ANY: return equal > 0;
    case COND_CONTAINS_ANY: return inside > 0;
    case COND_CONTAINS_ALL: return inside == n;
    case COND_EXCLUDES_ANY: return inside == 0;
    case COND_EXCLUDES_ALL: return inside < n;
    default: return false;
    }
}

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void make(struct rule_field *f, char *value, uint32_t *seed) {
    size_t n = 0, len = 1 + next(seed) % 4;
    f->condition = (enum rule_condition)(next(seed) % COND_COUNT);
    while (n < len) value[n++] = LETTERS[next(seed) % 3];
    if (condition_is_list(f->condition) && next(seed) % 3) {
        value[n++] = ';';
        for (size_t k = 1 + next(seed) % 2; k; k--) value[n++] = LETTERS[next(seed) % 3];
    }
    f->value = slice_of(value, n);
    f->field = SLICE_LIT("Image");
}

/* The i-th text over the letters, in the order of length. */
static struct slice text_at(uint32_t i, char *room) {
    size_t len = 0;
    for (uint32_t n = 1; i >= n; n *= 3, len++) i -= n;
    for (size_t k = 0; k < len; k++, i /= 3) room[k] = LETTERS[i % 3];
    return slice_of(room, len);
}

static void test_sound(void **state) {
    uint32_t seed = 7, implied = 0, contradicted = 0;
    (void)state;
    for (uint32_t i = 0; i < PAIRS; i++) {
        struct rule_field f[2] = {0};
        struct test t[2];
        struct arena a;
        char value[2][16], room[TEXT_MAX + 1];
        uint64_t steps = STEPS;
        arena_init(&a, 65536);
        for (size_t k = 0; k < 2; k++) {
            make(&f[k], value[k], &seed);
            assert_true(test_init(&t[k], &f[k], 0, &a));
        }
        bool implies = test_implies(&t[0], &t[1], &steps), never = test_contradicts(&t[0], &t[1], &steps);
        for (uint32_t k = 0; k < 364 && (implies || never); k++) { /* 1 + 3 + 9 + 27 + 81 + 243 */
            struct slice s = text_at(k, room);
            bool one = matches(f[0].condition, f[0].value, s), two = matches(f[1].condition, f[1].value, s);
            if ((implies && one && !two) || (never && one && two)) {
                fail_msg("%s \"%.*s\" and %s \"%.*s\": %s is wrong for \"%.*s\"", rule_condition_name(f[0].condition),
                         (int)f[0].value.len, value[0], rule_condition_name(f[1].condition), (int)f[1].value.len,
                         value[1], implies ? "implies" : "never both", (int)s.len, room);
            }
        }
        implied += implies;
        contradicted += never;
        arena_deinit(&a);
    }
    assert_true(implied > PAIRS / 30 && contradicted > PAIRS / 30);
}

static const struct {
    enum rule_condition c1;
    const char *v1;
    enum rule_condition c2;
    const char *v2;
    bool implies, never;
} seen[] = {
    {COND_IS, "C:\\A", COND_IS, "c:\\a", true, false},
    {COND_IS, "C:\\x\\a.exe", COND_IMAGE, "A.exe", true, false},
    {COND_IMAGE, "a.exe", COND_END_WITH, "exe", true, false},
    {COND_IMAGE, "a.exe", COND_END_WITH, "\\a.exe", false, false},
    {COND_END_WITH, "\\x\\a.exe", COND_IMAGE, "a.exe", true, false},
    {COND_BEGIN_WITH, "C:\\Users\\b", COND_CONTAINS_ANY, "temp;users", true, false},
    {COND_CONTAINS_ANY, "abc;bcd", COND_CONTAINS, "bc", true, false},
    {COND_CONTAINS_ALL, "ab;cd", COND_CONTAINS, "a", true, false},
    {COND_CONTAINS, "abcd", COND_CONTAINS_ALL, "ab;cd", true, false},
    {COND_EXCLUDES, "a", COND_EXCLUDES, "ab", true, false},
    {COND_EXCLUDES_ANY, "a;b", COND_EXCLUDES, "b", true, false},
    {COND_IS, "a", COND_IS_NOT, "b", true, false},
    {COND_IS, "a", COND_IS, "b", false, true},
    {COND_BEGIN_WITH, "ab", COND_BEGIN_WITH, "ac", false, true},
    {COND_BEGIN_WITH, "ab", COND_EXCLUDES, "b", false, true},
    {COND_IS_ANY, "a;b", COND_IS_ANY, "c;d", false, true},
    {COND_IS, "%TEMP%\\a", COND_CONTAINS, "temp", false, false},
    {COND_IS, "\xc3\x84", COND_IS_NOT, "\xc3\xa4", false, false}, /* one letter to Sysmon */
    {COND_CONTAINS_ANY, "a;", COND_CONTAINS, "a", false, false},
    {COND_LESS_THAN, "5", COND_LESS_THAN, "6", false, false},
};

static void test_seen(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        struct rule_field f1 = {.condition = seen[i].c1, .value = slice_str(seen[i].v1)};
        struct rule_field f2 = {.condition = seen[i].c2, .value = slice_str(seen[i].v2)};
        struct test t1, t2;
        struct arena a;
        uint64_t steps = STEPS;
        arena_init(&a, 65536);
        assert_true(test_init(&t1, &f1, 0, &a) && test_init(&t2, &f2, 0, &a));
        bool implies = test_implies(&t1, &t2, &steps), never = test_contradicts(&t1, &t2, &steps);
        if (implies != seen[i].implies || never != seen[i].never) fail_msg("case %zu: %d %d", i, implies, never);
        t2.field = 1;
        if (test_implies(&t1, &t2, &steps) || test_contradicts(&t1, &t2, &steps))
            fail_msg("case %zu: another field", i);
        t2.field = 0;
        steps = 1;
        if (test_implies(&t1, &t2, &steps) || test_contradicts(&t1, &t2, &steps))
            fail_msg("case %zu: no steps left", i);
        arena_deinit(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sound), cmocka_unit_test(test_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
