/* What the blocks of a tag do together, and what the fields of one block do together. */
#include "check_internal.h"

#define MANY_SEARCHES 100u /* substring searches for each event of a frequent kind */

struct tag_blocks {
    const struct rule_block *first_include, *first_exclude;
    size_t n_include, n_exclude;
    bool includes_something, excludes_something; /* some block has rules */
};

static bool is_frequent(struct slice tag) {
    static const char names[][16] = {"ImageLoad", "ProcessAccess", "RegistryEvent", "FileCreate", "PipeEvent"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (slice_eq_str(tag, names[i])) return true;
    }
    return false;
}

static struct tag_blocks blocks_of(const struct ruleset *r, const char *tag) {
    struct tag_blocks t = {0};
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct rule_block *b = &r->blocks[i];
        if (!slice_eq_str(b->tag, tag)) continue;
        const struct rule_block **first = b->exclude ? &t.first_exclude : &t.first_include;
        size_t *n = b->exclude ? &t.n_exclude : &t.n_include;
        if (!*first) *first = b;
        (*n)++;
        *(b->exclude ? &t.excludes_something : &t.includes_something) |= b->n_rules > 0;
    }
    return t;
}

static void lint_tag(struct check *c, const struct ruleset *r, const char *tag) {
    struct tag_blocks t = blocks_of(r, tag), so_far = {0};
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct rule_block *b = &r->blocks[i];
        if (!slice_eq_str(b->tag, tag)) continue;
        const struct rule_block *before = b->exclude ? t.first_exclude : t.first_include;
        size_t *n = b->exclude ? &so_far.n_exclude : &so_far.n_include;
        if (++*n < 2) continue;
        finding_instead(finding_add(c->f, CODE_REPEATED, b->at, "a second %s block of %s; the first is in line %u",
                                    b->exclude ? "exclude" : "include", tag, before->at.line),
                        "move its rules into that one: older versions refuse or mistreat a second");
    }
    if (t.n_exclude && t.n_exclude + t.n_include > 1 && !t.includes_something) {
        finding_instead(
            finding_add(c->f, CODE_DROPS_ALL, t.first_exclude->at,
                        "%zu blocks of %s and no rule that includes: with more than one block, what matches none is "
                        "not logged, so nothing is",
                        t.n_exclude + t.n_include, tag),
            t.n_include ? "take the empty include out" : "merge them into one block");
    }
    if (t.n_include && !t.n_exclude && !t.includes_something) {
        finding_add(c->f, CODE_EMPTY_INCLUDE, t.first_include->at, "an empty include alone: %s is never logged", tag);
    }
    if (t.n_exclude && t.includes_something && !t.excludes_something) {
        finding_add(c->f, CODE_EMPTY_EXCLUDE, t.first_exclude->at,
                    "an empty exclude beside an include of %s: only what the include matches is logged", tag);
    }
    if (t.n_exclude == 1 && !t.n_include && !t.first_exclude->n_rules && is_frequent(slice_str(tag))) {
        finding_add(c->f, CODE_LOGS_ALL, t.first_exclude->at, "every %s is logged: that is much", tag);
    }
}

/* The field's second place in an AND group makes alternatives of the two, another field makes a condition more. */
static void lint_relation(struct check *c, const struct rule_block *b) {
    if (b->relation != RELATION_AND) return;
    const struct rule *first = b->n_rules ? &b->rules[0] : NULL, *other = NULL;
    for (size_t i = 1; i < b->n_rules && !other; i++) {
        const struct rule *r = &b->rules[i];
        bool same = first->is_single && r->is_single && slice_eq(first->fields[0].field, r->fields[0].field);
        if (!same) other = r;
    }
    if (!other) return;
    finding_instead(finding_add(c->f, CODE_AND_GROUP, b->at, "%s: lines %u and %u must match the same event",
                                b->in_group ? "the RuleGroup says \"and\""
                                            : "outside of a RuleGroup \"and\" holds since schema 4.2",
                                first->at.line, other->at.line),
                    "put the block into a RuleGroup with groupRelation=\"or\" if either is enough");
}

static bool holds_nearly_always(const struct rule *r) {
    for (size_t i = 0; i < r->n_fields; i++) {
        if (condition_is_negative(r->fields[i].condition) && (r->is_single || r->relation == RELATION_OR)) return true;
    }
    return false;
}

static void lint_negative(struct check *c, const struct rule_block *b) {
    if (b->relation != RELATION_OR || b->n_rules < 2) return;
    for (size_t i = 0; i < b->n_rules; i++) {
        if (!holds_nearly_always(&b->rules[i])) continue;
        finding_instead(
            finding_add(c->f, CODE_NEGATIVE, b->rules[i].at,
                        "one of several alternatives, and it holds for nearly every %.*s: nearly all are %s",
                        (int)b->tag.len, (const char *)b->tag.p, b->exclude ? "dropped" : "logged"),
            "put it with another condition into a Rule with groupRelation=\"and\"");
    }
}

static size_t searches(const struct rule_field *f) {
    if (f->condition == COND_CONTAINS || f->condition == COND_EXCLUDES) return 1;
    if (!condition_is_list(f->condition) || f->condition == COND_IS_ANY) return 0;
    size_t n = 1;
    for (size_t i = 0; i < f->value.len; i++) n += f->value.p[i] == ';';
    return n;
}

static void lint_cost(struct check *c, const struct rule_block *b) {
    if (!is_frequent(b->tag)) return;
    size_t n = 0;
    for (size_t i = 0; i < b->n_rules; i++) {
        for (size_t k = 0; k < b->rules[i].n_fields; k++) n += searches(&b->rules[i].fields[k]);
    }
    if (n < MANY_SEARCHES) return;
    finding_instead(finding_add(c->f, CODE_COSTLY, b->at,
                                "%zu searches inside the text of each %.*s, which is a frequent event", n,
                                (int)b->tag.len, (const char *)b->tag.p),
                    "prefer is, begin with and end with");
}

/* In the other ids of the tag a field counts only at the same index. */
static void lint_bound(struct check *c, const struct rule_block *b, const struct rule_field *f) {
    int index = schema_field_index(b->bound_id, f->field);
    for (const uint32_t *id = b->event_ids; *id; id++) {
        int there = schema_field_index(*id, f->field);
        if (there < 0 || there == index) continue;
        finding_instead(
            finding_add(
                c->f, CODE_BOUND_ID, f->at,
                "the block goes by event %u, where %.*s stands at another place than in event %u: it matches no event %u",
                b->bound_id, (int)f->field.len, (const char *)f->field.p, *id, *id),
            "use a field that both have at the same place, as TargetObject or Operation");
        return;
    }
}

void lint_blocks(struct check *c, const struct ruleset *r) {
    for (size_t i = 0; i < schema_n_tags; i++) lint_tag(c, r, schema_tags[i].tag);
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct rule_block *b = &r->blocks[i];
        lint_relation(c, b);
        lint_negative(c, b);
        lint_cost(c, b);
        if (!b->event_ids[1]) continue;
        for (size_t k = 0; k < b->n_rules; k++) {
            for (size_t m = 0; m < b->rules[k].n_fields; m++) lint_bound(c, b, &b->rules[k].fields[m]);
        }
    }
}
