/* Rules that others take everything from. Each rule is a set of alternatives (for an "or", its fields), each of which is a set of
 * tests that hold together; an alternative is covered by another when every test of that one is implied by one of its own.
 * Alternatives are kept by the field of their first test, so that only those that can cover are tried, and the work is
 * bounded: what was not compared is said. Blocks whose fields are ANDed are left alone. */
#include "check_internal.h"
#include "imply.h"
#include "mem.h"

#include <stdlib.h>

#define SHADOW_STEPS UINT64_C(60000000)
#define SHADOW_ARENA_CAP ((size_t)64 * 1024 * 1024)
#define FIELDS_MAX 128u

struct alternative {
    const struct rule *rule;
    const struct rule_block *block;
    struct test *tests;
    size_t n_tests, order;    /* order: of its rule among the tag's */
    struct alternative *next; /* of the same first field, in the document's order */
};

struct side { /* all includes or all excludes of a tag */
    struct alternative *first[FIELDS_MAX], *last[FIELDS_MAX];
};

struct shadow {
    struct check *c;
    struct arena arena;
    struct slice fields[FIELDS_MAX];
    unsigned n_fields;
    struct side include, exclude;
    size_t n_rules;
    uint64_t steps;
};

static unsigned field_number(struct shadow *s, struct slice name) {
    unsigned i = 0;
    while (i < s->n_fields && !slice_eq(s->fields[i], name)) i++;
    if (i == s->n_fields && i < FIELDS_MAX - 1) s->fields[s->n_fields++] = name;
    return i;
}

/* Any of its rules is enough. */
static bool is_or(const struct rule_block *b) {
    if (b->relation == RELATION_OR || b->n_rules < 2) return true;
    for (size_t i = 0; i < b->n_rules; i++) {
        const struct rule *r = &b->rules[i];
        if (!r->is_single || !slice_eq(r->fields[0].field, b->rules[0].fields[0].field)) return false;
    }
    return true;
}

static bool add_alternative(struct shadow *s, const struct rule_block *b, const struct rule *r, size_t from, size_t n,
                            size_t order) {
    struct alternative *a = arena_zalloc(&s->arena, sizeof *a);
    if (!a) return false;
    *a = (struct alternative){.rule = r, .block = b, .n_tests = n, .order = order};
    a->tests = arena_zalloc(&s->arena, n * sizeof *a->tests);
    if (!a->tests) return false;
    for (size_t i = 0; i < n; i++) {
        const struct rule_field *f = &r->fields[from + i];
        if (!test_init(&a->tests[i], f, field_number(s, f->field), &s->arena)) return false;
    }
    struct side *side = b->exclude ? &s->exclude : &s->include;
    unsigned at = a->tests[0].field;
    if (side->last[at]) {
        side->last[at]->next = a;
    } else {
        side->first[at] = a;
    }
    side->last[at] = a;
    return true;
}

static bool add_rule(struct shadow *s, const struct rule_block *b, const struct rule *r) {
    size_t order = s->n_rules++;
    if (!r->n_fields) return true;
    if (r->is_single || r->relation == RELATION_AND) return add_alternative(s, b, r, 0, r->n_fields, order);
    for (size_t i = 0; i < r->n_fields; i++) {
        if (!add_alternative(s, b, r, i, 1, order)) return false;
    }
    return true;
}

static bool covers(struct shadow *s, const struct alternative *by, const struct alternative *a) {
    for (size_t i = 0; i < by->n_tests && s->steps; i++) {
        bool implied = false;
        for (size_t k = 0; k < a->n_tests && !implied && s->steps; k++)
            implied = test_implies(&a->tests[k], &by->tests[i], &s->steps);
        if (!implied) return false;
    }
    return s->steps > 0;
}

/* Multi-id tags: a field of another binding may stand elsewhere in the event. */
static bool comparable(const struct alternative *a, const struct alternative *b) {
    return a->rule != b->rule && a->block->bound_id == b->block->bound_id;
}

/* Of `side`, the first rule that takes all of `a`; NULL: none. earlier: only rules before it; otherwise one behind it must not be
 * its equal, or each would be blamed on the other. */
static const struct rule *coverer(struct shadow *s, const struct side *side, const struct alternative *a, bool earlier,
                                  bool same_side) {
    for (size_t k = 0; k < a->n_tests && s->steps; k++) {
        for (const struct alternative *by = side->first[a->tests[k].field]; by && s->steps; by = by->next) {
            bool behind = same_side && by->order > a->order;
            if (earlier && behind) break;
            if (!comparable(a, by) || !covers(s, by, a) || !s->steps) continue;
            if (!behind || !covers(s, a, by)) return by->rule;
        }
    }
    return NULL;
}

static void report(struct shadow *s, const struct alternative *a, const struct rule *shadow,
                   const struct rule *excluder) {
    if (excluder) {
        finding_instead(finding_add(s->c->f, CODE_EXCLUDED, a->rule->at,
                                    "never logged: the exclude of line %u takes all that this includes",
                                    excluder->at.line),
                        "take one of the two out");
    } else if (shadow && a->block->exclude) {
        finding_instead(finding_add(s->c->f, CODE_SHADOWED, a->rule->at,
                                    "the exclude of line %u takes all that this one takes", shadow->at.line),
                        "take it out");
    } else if (shadow) {
        finding_instead(
            finding_add(s->c->f, CODE_SHADOWED, a->rule->at,
                        "the include of line %u comes first and matches all that this one matches: not even its "
                        "RuleName is ever given",
                        shadow->at.line),
            "move it before that one if its name matters, or take it out");
    }
}

/* The alternatives of one rule are all covered. They stand in several lists, so a rule is looked at by its fields. */
static void judge_rule(struct shadow *s, const struct alternative *const *list, size_t n) {
    const struct rule *shadow = NULL, *excluder = NULL;
    bool exclude = list[0]->block->exclude;
    const struct side *own = exclude ? &s->exclude : &s->include;
    for (size_t i = 0; i < n && !exclude; i++) {
        excluder = coverer(s, &s->exclude, list[i], false, false);
        if (!excluder) break;
    }
    for (size_t i = 0; i < n && !excluder; i++) {
        shadow = coverer(s, own, list[i], !exclude, true);
        if (!shadow) break;
    }
    report(s, list[0], shadow, excluder);
}

static void judge_contradiction(struct shadow *s, const struct alternative *a) {
    for (size_t i = 0; i < a->n_tests && s->steps; i++) {
        for (size_t k = i + 1; k < a->n_tests && s->steps; k++) {
            if (!test_contradicts(&a->tests[i], &a->tests[k], &s->steps)) continue;
            finding_instead(finding_add(s->c->f, CODE_NEVER, a->rule->at,
                                        "lines %u and %u of this Rule cannot hold together, so it never matches",
                                        a->rule->fields[i].at.line, a->rule->fields[k].at.line),
                            "write groupRelation=\"or\", or a list condition");
            return;
        }
    }
}

static int by_order(const void *x, const void *y) {
    const struct alternative *a = *(const struct alternative *const *)x, *b = *(const struct alternative *const *)y;
    return (a->order > b->order) - (a->order < b->order);
}

static void judge_side(struct shadow *s, const struct side *side) {
    size_t n = 0, at = 0;
    for (unsigned i = 0; i < s->n_fields; i++) {
        for (const struct alternative *a = side->first[i]; a; a = a->next) n++;
    }
    const struct alternative **all = mem_alloc((n + 1) * sizeof *all);
    for (unsigned i = 0; i < s->n_fields; i++) {
        for (const struct alternative *a = side->first[i]; a; a = a->next) all[at++] = a;
    }
    qsort(all, n, sizeof *all, by_order);
    for (size_t from = 0, to; from < n && s->steps; from = to) {
        for (to = from + 1; to < n && all[to]->rule == all[from]->rule; to++) {}
        if (to == from + 1 && all[from]->n_tests > 1) judge_contradiction(s, all[from]);
        judge_rule(s, all + from, to - from);
    }
    mem_free(all);
}

static void lint_tag(struct shadow *s, const struct ruleset *r, const char *tag) {
    bool room = true;
    arena_reset(&s->arena);
    s->n_fields = 0;
    s->n_rules = 0;
    s->include = s->exclude = (struct side){0};
    for (size_t i = 0; i < r->n_blocks && room; i++) {
        const struct rule_block *b = &r->blocks[i];
        if (!slice_eq_str(b->tag, tag) || !is_or(b)) continue;
        for (size_t k = 0; k < b->n_rules && room; k++) room = add_rule(s, b, &b->rules[k]);
    }
    if (!room) {
        s->steps = 0;
        return;
    }
    judge_side(s, &s->include);
    judge_side(s, &s->exclude);
}

void lint_shadow(struct check *c, const struct ruleset *r) {
    struct shadow *s = mem_zalloc(sizeof *s);
    s->c = c;
    s->steps = SHADOW_STEPS;
    arena_init(&s->arena, SHADOW_ARENA_CAP);
    for (size_t i = 0; i < schema_n_tags && s->steps; i++) lint_tag(s, r, schema_tags[i].tag);
    if (!s->steps) {
        finding_add(c->f, CODE_UNCOMPARED, c->doc->root->at,
                    "too many rules to compare each with each: some that others take everything from are not named");
    }
    arena_deinit(&s->arena);
    mem_free(s);
}
