/* The diff by meaning: options by name, blocks by tag and onmatch, rules by what they say. What is the same in both is
 * paired first; what is left is paired by what it shares, in steps; the rest was added or removed. Pure. */
#include "diff.h"
#include "diff_internal.h"
#include "mem.h"

#include <assert.h>
#include <stdio.h>

/* ---- changes ---- */

static char *owned(struct buf *b) {
    char *text = mem_strdup(buf_cstr(b));
    buf_free(b);
    return text;
}

static struct diff_change *add(struct diff *d, enum diff_kind kind, const char *what, char *where) {
    size_t *counts[] = {&d->n_added, &d->n_removed, &d->n_changed, &d->n_moved};
    ++*counts[kind];
    mem_grow((void **)&d->list, d->n, &d->cap, sizeof *d->list);
    d->list[d->n] = (struct diff_change){.kind = kind, .what = what, .where = where};
    return &d->list[d->n++];
}

static char *text_of(struct slice s) {
    struct buf b = {0};
    buf_slice_append(&b, s);
    return owned(&b);
}

static char *version_text(uint32_t schema) {
    char text[24];
    snprintf(text, sizeof text, "%lu.%02lu", (unsigned long)schema / 100, (unsigned long)schema % 100);
    return mem_strdup(text);
}

static char *rule_text(const struct rule *r) {
    struct buf b = {0};
    diff_put_rule(&b, r);
    return owned(&b);
}

static char *block_name(const struct rule_block *b) {
    struct buf text = {0};
    buf_slice_append(&text, b->tag);
    buf_str(&text, b->exclude ? " exclude" : " include");
    return owned(&text);
}

static struct diff_item *new_items(size_t n) {
    struct diff_item *items = mem_alloc(mem_mul(n, sizeof *items));
    for (size_t i = 0; i < n; i++) items[i] = (struct diff_item){0, DIFF_NONE};
    return items;
}

/* ---- options ---- */

static struct diff_item *option_items(const struct ruleset *r) {
    struct diff_item *items = new_items(r->n_options);
    for (size_t i = 0; i < r->n_options; i++) items[i].key = diff_hash(0, r->options[i].name);
    return items;
}

struct rulesets {
    const struct ruleset *a, *b;
};

static bool same_option(const void *ctx, size_t i_a, size_t i_b) {
    const struct rulesets *r = ctx;
    return slice_eq(r->a->options[i_a].name, r->b->options[i_b].name);
}

static void diff_options(const struct ruleset *a, const struct ruleset *b, struct diff *d) {
    struct diff_item *x = option_items(a), *y = option_items(b);
    struct rulesets both = {a, b};
    diff_pair(x, a->n_options, y, b->n_options, same_option, &both);
    for (size_t i = 0; i < b->n_options; i++) {
        const struct rule_option *o = &b->options[i];
        const struct rule_option *old = y[i].partner == DIFF_NONE ? NULL : &a->options[y[i].partner];
        if (old && slice_eq(old->value, o->value)) continue;
        struct diff_change *c = add(d, old ? DIFF_CHANGED : DIFF_ADDED, "option", text_of(o->name));
        if (old) c->before = text_of(old->value);
        if (old) c->before_at = old->at;
        c->after = text_of(o->value);
        c->after_at = o->at;
    }
    for (size_t i = 0; i < a->n_options; i++) {
        if (x[i].partner != DIFF_NONE) continue;
        const struct rule_option *o = a->options + i;
        assert(a->options);
        struct diff_change *c = add(d, DIFF_REMOVED, "option", text_of(o->name));
        c->before = text_of(o->value);
        c->before_at = o->at;
    }
    mem_free(x);
    mem_free(y);
}

/* ---- rules of two blocks ---- */

static bool slices_same(struct slice a, struct slice b, bool nocase) {
    if (!a.p || !b.p) return a.p == b.p;
    return nocase ? slice_eq_nocase(a, b) : slice_eq(a, b);
}

static bool field_same(const struct rule_field *a, const struct rule_field *b, bool nocase) {
    return a->condition == b->condition && slice_eq(a->field, b->field) && slices_same(a->value, b->value, nocase) &&
           slices_same(a->name, b->name, false);
}

static bool rule_same(const struct rule *a, const struct rule *b, bool nocase) {
    if (a->is_single != b->is_single || a->n_fields != b->n_fields) return false;
    if (!a->is_single && (a->relation != b->relation || !slices_same(a->name, b->name, false))) return false;
    for (size_t i = 0; i < a->n_fields; i++) {
        if (!field_same(&a->fields[i], &b->fields[i], nocase)) return false;
    }
    return true;
}

/* What the steps of pairing go by, the strictest first. */
enum step {
    SAME,        /* byte for byte */
    SAME_CASE,   /* but for the case of values, which Sysmon does not look at */
    SAME_TEST,   /* another name */
    SAME_VALUE,  /* of a single field: another condition; of a rule: the same fields and values */
    SAME_NAME,   /* of the same kind and fields: other values */
    SAME_FIELDS, /* of a rule: the same first field and value */
    STEPS
};

static uint64_t hash_field(uint64_t h, const struct rule_field *f, enum step step) {
    h = diff_hash(h, f->field);
    if (step == SAME_NAME) return h;
    h = step == SAME ? diff_hash(h, f->value) : diff_hash_nocase(h, f->value);
    if (step <= SAME_TEST) h = diff_hash(h, slice_str(rule_condition_name(f->condition)));
    return step <= SAME_CASE ? diff_hash(h, f->name.p ? f->name : SLICE_LIT("\x01")) : h;
}

static uint64_t rule_key(const struct rule *r, enum step step) {
    struct slice name = r->is_single && r->n_fields ? r->fields[0].name : r->name;
    size_t n = r->n_fields;
    if (step == SAME_NAME && !name.len) return 0;
    if (step == SAME_FIELDS) {
        if (r->is_single) return 0;
        n = n ? 1 : 0;
    }
    uint64_t h = diff_hash(0, r->is_single ? SLICE_LIT("field") : SLICE_LIT("rule"));
    if (step <= SAME_CASE || step == SAME_NAME) h = diff_hash(h, name.p ? name : SLICE_LIT("\x01"));
    if (step <= SAME_TEST && !r->is_single) h = diff_hash(h, slice_of(&r->relation, sizeof r->relation));
    if (step == SAME_NAME && !r->is_single) return h;
    for (size_t i = 0; i < n; i++) h = hash_field(h, &r->fields[i], step);
    return h;
}

struct blocks {
    const struct rule_block *a, *b;
    enum step step;
};

/* That two are the same is not taken from a hash. */
static bool rules_pair(const void *ctx, size_t i_a, size_t i_b) {
    const struct blocks *s = ctx;
    return s->step > SAME_CASE || rule_same(&s->a->rules[i_a], &s->b->rules[i_b], s->step == SAME_CASE);
}

static bool names_differ(const struct rule_block *b) {
    for (size_t i = 0; i < b->n_rules; i++) {
        for (size_t k = 0; k < b->rules[i].n_fields; k++) {
            const struct rule *r = &b->rules[i];
            struct slice name = r->fields[k].name.p ? r->fields[k].name : r->name, first = b->rules[0].name;
            if (b->rules[0].n_fields && b->rules[0].fields[0].name.p) first = b->rules[0].fields[0].name;
            if (!slice_eq(name, first)) return true;
        }
    }
    return false;
}

/* Where two rules of a block match, the first one's name counts: so order matters in include blocks with several names. */
static bool order_matters(const struct rule_block *a, const struct rule_block *b) {
    return !b->exclude && (names_differ(a) || names_differ(b));
}

static void put_rule(struct diff *d, enum diff_kind kind, const struct rule_block *block, const struct rule *before,
                     const struct rule *after, bool no_effect) {
    struct diff_change *c = add(d, kind, "rule", block_name(block));
    if (before) {
        c->before = rule_text(before);
        c->before_at = before->at;
    }
    if (after) {
        c->after = rule_text(after);
        c->after_at = after->at;
    }
    c->no_effect = no_effect;
}

static void diff_rules(const struct rule_block *a, const struct rule_block *b, bool all, struct diff *d) {
    struct diff_item *x = new_items(a->n_rules), *y = new_items(b->n_rules);
    bool *moved = mem_zalloc(a->n_rules + 1), matters = order_matters(a, b);
    for (int step = SAME; step < STEPS; step++) {
        struct blocks both = {a, b, (enum step)step};
        for (size_t i = 0; i < a->n_rules; i++) x[i].key = rule_key(&a->rules[i], (enum step)step);
        for (size_t i = 0; i < b->n_rules; i++) y[i].key = rule_key(&b->rules[i], (enum step)step);
        diff_pair(x, a->n_rules, y, b->n_rules, rules_pair, &both);
    }
    diff_moved(x, a->n_rules, moved);
    for (size_t i = 0; i < b->n_rules; i++) {
        const struct rule *new = &b->rules[i], *old = y[i].partner == DIFF_NONE ? NULL : &a->rules[y[i].partner];
        if (!old) {
            put_rule(d, DIFF_ADDED, b, NULL, new, false);
            continue;
        }
        bool cased = rule_same(old, new, true), same = rule_same(old, new, false);
        if (!cased || (all && !same)) put_rule(d, DIFF_CHANGED, b, old, new, cased);
        if (moved[y[i].partner] && (matters || all)) put_rule(d, DIFF_MOVED, b, old, new, !matters);
    }
    for (size_t i = 0; i < a->n_rules; i++) {
        if (x[i].partner == DIFF_NONE) put_rule(d, DIFF_REMOVED, a, &a->rules[i], NULL, false);
    }
    mem_free(x);
    mem_free(y);
    mem_free(moved);
}

/* ---- blocks ---- */

static uint64_t block_key(const struct rule_block *b, enum step step) {
    uint64_t h = diff_hash(0, b->tag);
    h = diff_hash(h, b->exclude ? SLICE_LIT("exclude") : SLICE_LIT("include"));
    if (step == SAME_FIELDS) return h; /* the last step: whatever is in it */
    if (b->group_name.p) h = diff_hash(h, b->group_name);
    if (step == SAME_NAME) return h;
    h = diff_hash(h, slice_of(&b->relation, sizeof b->relation));
    for (size_t i = 0; i < b->n_rules; i++) {
        uint64_t key = rule_key(&b->rules[i], SAME);
        h = diff_hash(h, slice_of(&key, sizeof key));
    }
    return h;
}

/* `is`: the one of the two that there is. */
static void put_block(struct diff *d, enum diff_kind kind, const struct rule_block *is, const struct rule_block *before,
                      const struct rule_block *after) {
    struct diff_change *c = add(d, kind, "block", block_name(is));
    struct buf text = {0};
    if (before) {
        diff_put_block(&text, before);
        c->before = owned(&text);
        c->before_at = before->at;
    }
    if (after) {
        diff_put_block(&text, after);
        c->after = owned(&text);
        c->after_at = after->at;
    }
}

static const struct rule_block nothing;

static void diff_blocks(const struct ruleset *a, const struct ruleset *b, bool all, struct diff *d) {
    static const enum step steps[] = {SAME, SAME_NAME, SAME_FIELDS};
    struct diff_item *x = new_items(a->n_blocks), *y = new_items(b->n_blocks);
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        for (size_t i = 0; i < a->n_blocks; i++) x[i].key = block_key(&a->blocks[i], steps[s]);
        for (size_t i = 0; i < b->n_blocks; i++) y[i].key = block_key(&b->blocks[i], steps[s]);
        diff_pair(x, a->n_blocks, y, b->n_blocks, NULL, NULL);
    }
    for (size_t i = 0; i < b->n_blocks; i++) {
        const struct rule_block *new = &b->blocks[i],
                                *old = y[i].partner == DIFF_NONE ? NULL : &a->blocks[y[i].partner];
        if (!old) {
            put_block(d, DIFF_ADDED, new, NULL, new);
        } else if (old->relation != new->relation || !slices_same(old->group_name, new->group_name, false)) {
            put_block(d, DIFF_CHANGED, new, old, new);
        }
        diff_rules(old ? old : &nothing, new, all, d);
    }
    for (size_t i = 0; i < a->n_blocks; i++) {
        if (x[i].partner != DIFF_NONE) continue;
        put_block(d, DIFF_REMOVED, &a->blocks[i], &a->blocks[i], NULL);
        diff_rules(&a->blocks[i], &nothing, all, d);
    }
    mem_free(x);
    mem_free(y);
}

void ruleset_diff(const struct ruleset *before, const struct ruleset *after, bool all, struct diff *ret) {
    *ret = (struct diff){0};
    if (before->schema != after->schema) {
        struct diff_change *c = add(ret, DIFF_CHANGED, "schema", mem_strdup("schemaversion"));
        c->before = version_text(before->schema);
        c->after = version_text(after->schema);
    }
    diff_options(before, after, ret);
    diff_blocks(before, after, all, ret);
}
