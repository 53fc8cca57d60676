/* From a ruleset to programs: for one event id the blocks in the order of evaluation, fields resolved to slots, values folded once,
 * equal patterns kept once, and for each pattern the terms that need looking at when it holds. Pure. */
#include "engine_internal.h"
#include "fields.h"
#include "fold.h"
#include "mem.h"
#include "text.h"

#include <stdlib.h>

struct atom { /* one pattern of one slot */
    uint32_t slot;
    struct match_pattern p;
};

struct compiler {
    struct program *p;
    const struct ruleset *r;
    struct arena *arena;
    uint32_t event_id;
    struct atom *atoms;
    size_t cap_atoms, cap_fields, n_lists, cap_lists;
    uint32_t *table; /* of atoms by hash, number + 1 */
    size_t n_table;
};

/* ---- fields ---- */

static uint16_t canonical[F_COUNT]; /* filled once, before main */

__attribute__((constructor)) static void fill_canonical(void) {
    for (uint32_t i = 1; i < F_COUNT; i++) {
        struct slice name = field_name_at(i);
        uint32_t first = 1;
        while (first < i && !slice_eq_nocase(field_name_at(first), name)) first++;
        canonical[i] = (uint16_t)first;
    }
}

uint32_t engine_field(uint32_t field) {
    return field < F_COUNT ? canonical[field] : 0;
}

static size_t place_in(const uint32_t *fields, uint32_t field) {
    size_t i = 0;
    while (fields[i] && fields[i] != field) i++;
    return i;
}

/* Does this event id have the field where the block, bound to another id of its tag perhaps, looks for it? */
static bool has_field(const struct rule_block *b, uint32_t event_id, uint32_t field) {
    const struct sysmon_event *bound = sysmon_event_find(b->bound_id), *own = sysmon_event_find(event_id);
    if (!bound || !own) return false;
    size_t at = place_in(bound->fields, field);
    if (!bound->fields[at]) return false;
    for (size_t i = 0; i < at; i++) {
        if (!own->fields[i]) return false;
    }
    return own->fields[at] == field;
}

static uint32_t slot_of(struct compiler *c, const struct rule_block *b, struct slice name) {
    uint32_t field = event_field_id(name);
    if (!field || !has_field(b, c->event_id, field)) return NO_SLOT;
    field = engine_field(field);
    for (uint32_t i = 0; i < c->p->n_slots; i++) {
        if (c->p->fields[i] == field) return i;
    }
    mem_grow((void **)&c->p->fields, c->p->n_slots, &c->cap_fields, sizeof *c->p->fields);
    c->p->fields[c->p->n_slots] = field;
    return (uint32_t)c->p->n_slots++;
}

/* ---- patterns ---- */

static struct slice folded(struct compiler *c, struct slice text) {
    uint8_t *p = arena_alloc(c->arena, text.len + 1);
    if (!p) abort(); /* a configuration has at most RULES_XML_MAX bytes */
    fold_text(text, p);
    return slice_of(p, text.len);
}

static uint32_t hash_of(const struct atom *a) {
    uint32_t h = a->slot * 31u + (uint32_t)a->p.kind;
    for (size_t i = 0; i < a->p.text.len; i++) h = (h ^ a->p.text.p[i]) * 0x01000193u;
    return h ^ h >> 15;
}

static bool same_atom(const struct atom *a, const struct atom *b) {
    return a->slot == b->slot && a->p.kind == b->p.kind && slice_eq(a->p.text, b->p.text);
}

static void place_atom(struct compiler *c, uint32_t number) {
    uint32_t at = hash_of(&c->atoms[number]) & (uint32_t)(c->n_table - 1);
    while (c->table[at]) at = (at + 1) & (uint32_t)(c->n_table - 1);
    c->table[at] = number + 1;
}

static void grow_table(struct compiler *c) {
    mem_free(c->table);
    c->n_table = c->n_table ? 2 * c->n_table : 256;
    c->table = mem_zalloc(mem_mul(c->n_table, sizeof *c->table));
    for (uint32_t i = 0; i < c->p->n_atoms; i++) place_atom(c, i);
}

static uint32_t atom_of(struct compiler *c, uint32_t slot, enum match_kind kind, struct slice text) {
    struct atom a = {slot, {text, kind, 0}};
    if (2 * c->p->n_atoms >= c->n_table) grow_table(c);
    for (uint32_t at = hash_of(&a) & (uint32_t)(c->n_table - 1); c->table[at];
         at = (at + 1) & (uint32_t)(c->n_table - 1)) {
        if (same_atom(&c->atoms[c->table[at] - 1], &a)) return c->table[at] - 1;
    }
    a.p.id = (uint32_t)c->p->n_atoms;
    mem_grow((void **)&c->atoms, c->p->n_atoms, &c->cap_atoms, sizeof *c->atoms);
    c->atoms[c->p->n_atoms++] = a;
    place_atom(c, a.p.id);
    return a.p.id;
}

static const struct condition {
    enum entry_test test;
    enum match_kind kind;
    bool is_list; /* split at ';' */
} conditions[COND_COUNT] = {
    [COND_IS] = {TEST_ANY, MATCH_IS, false},
    [COND_IS_NOT] = {TEST_NONE, MATCH_IS, false},
    [COND_CONTAINS] = {TEST_ANY, MATCH_CONTAINS, false},
    [COND_EXCLUDES] = {TEST_NONE, MATCH_CONTAINS, false},
    [COND_BEGIN_WITH] = {TEST_ANY, MATCH_BEGIN, false},
    [COND_END_WITH] = {TEST_ANY, MATCH_END, false},
    [COND_LESS_THAN] = {TEST_LESS, MATCH_IS, false},
    [COND_MORE_THAN] = {TEST_MORE, MATCH_IS, false},
    [COND_IMAGE] = {TEST_ANY, MATCH_IMAGE, false},
    [COND_CONTAINS_ANY] = {TEST_ANY, MATCH_CONTAINS, true},
    [COND_CONTAINS_ALL] = {TEST_ALL, MATCH_CONTAINS, true},
    [COND_EXCLUDES_ANY] = {TEST_NONE, MATCH_CONTAINS, true},
    [COND_EXCLUDES_ALL] = {TEST_NOT_ALL, MATCH_CONTAINS, true},
    [COND_IS_ANY] = {TEST_ANY, MATCH_IS, true},
    [COND_NOT_BEGIN_WITH] = {TEST_NONE, MATCH_BEGIN, false},
    [COND_NOT_END_WITH] = {TEST_NONE, MATCH_END, false},
};

static void add_atom(struct compiler *c, struct entry *e, enum match_kind kind, struct slice text) {
    if (kind == MATCH_IMAGE && text.len && memchr(text.p, '\\', text.len)) kind = MATCH_IS;
    uint32_t atom = atom_of(c, e->slot, kind, text);
    mem_grow((void **)&c->p->atom_lists, c->n_lists, &c->cap_lists, sizeof *c->p->atom_lists);
    c->p->atom_lists[c->n_lists++] = atom;
    e->n_atoms++;
}

static void add_patterns(struct compiler *c, struct entry *e, const struct condition *k, struct slice value) {
    e->atoms = (uint32_t)c->n_lists;
    while (k->is_list) {
        const uint8_t *end = value.len ? memchr(value.p, ';', value.len) : NULL;
        if (!end) break;
        size_t n = (size_t)(end - value.p);
        add_atom(c, e, k->kind, slice_head(value, n));
        value = slice_from(value, n + 1);
    }
    add_atom(c, e, k->kind, value);
}

/* ---- blocks, terms, entries ---- */

static struct slice cut_name(struct slice name) {
    size_t at = 0;
    for (unsigned n = 0; n < ENGINE_NAME_MAX && at < name.len; n++) {
        uint32_t cp;
        size_t len = text_next(slice_from(name, at), &cp);
        at += len ? len : 1;
    }
    return slice_head(name, at);
}

static struct slice name_of(const struct rule_field *f, const struct rule *rule, const struct rule_block *b) {
    struct slice name = f->name.len ? f->name : rule->name.len ? rule->name : b->group_name;
    return name.len ? cut_name(name) : SLICE_LIT("");
}

static void add_entry(struct compiler *c, const struct block *b, struct term *t, const struct rule_field *f) {
    const struct condition *k = &conditions[f->condition];
    struct entry *e = &c->p->entries[c->p->n_entries];
    *e = (struct entry){.field = f, .test = k->test, .slot = slot_of(c, b->block, f->field)};
    e->name = name_of(f, t->rule, b->block);
    if (e->slot != NO_SLOT) {
        e->value = folded(c, f->value);
        if (e->test != TEST_LESS && e->test != TEST_MORE) add_patterns(c, e, k, e->value);
    }
    c->p->n_entries++;
    t->n_entries++;
}

/* In an AND block entries of one field are alternatives, and each Rule stands for itself. Entries that no event of this id can
 * match are one group: it never holds. */
static void number_groups(struct compiler *c, struct block *b) {
    uint32_t of_slot[F_COUNT] = {0}; /* group + 1 */
    for (uint32_t i = b->terms; i < b->terms + b->n_terms; i++) {
        struct term *t = &c->p->terms[i];
        uint32_t slot = t->n_entries ? c->p->entries[t->entries].slot : NO_SLOT;
        uint32_t *group = &of_slot[slot == NO_SLOT ? F_COUNT - 1 : slot];
        if (!t->rule->is_single || !*group) {
            t->group = b->n_groups++;
            if (t->rule->is_single) *group = t->group + 1;
        } else {
            t->group = *group - 1;
        }
    }
    if (b->n_groups > c->p->max_groups) c->p->max_groups = b->n_groups;
}

static void add_block(struct compiler *c, const struct rule_block *source) {
    struct program *p = c->p;
    struct block *b = &p->blocks[p->n_blocks];
    *b = (struct block){.block = source, .terms = (uint32_t)p->n_terms};
    for (size_t i = 0; i < source->n_rules; i++) {
        struct term *t = &p->terms[p->n_terms++];
        *t =
            (struct term){.rule = &source->rules[i], .entries = (uint32_t)p->n_entries, .block = (uint32_t)p->n_blocks};
        for (size_t k = 0; k < t->rule->n_fields; k++) add_entry(c, b, t, &t->rule->fields[k]);
        bool may_fail_late =
            source->relation == RELATION_AND || (t->rule->relation == RELATION_AND && t->n_entries > 1);
        for (uint32_t k = 0; k < t->n_entries; k++) {
            p->leaves_names |= may_fail_late && p->entries[t->entries + k].name.len;
        }
        b->n_terms++;
    }
    if (source->relation == RELATION_AND) number_groups(c, b);
    p->n_blocks++;
}

/* ---- what wakes a term ---- */

static bool is_positive(const struct entry *e) {
    return e->test == TEST_ANY || e->test == TEST_ALL;
}

/* The entry without which an AND cannot hold, best one with few and long patterns; NULL: there is none to be found by patterns. */
static const struct entry *best_entry(const struct compiler *c, const struct term *t) {
    const struct entry *best = NULL;
    for (uint32_t i = 0; i < t->n_entries; i++) {
        const struct entry *e = &c->p->entries[t->entries + i];
        if (is_positive(e) && (!best || e->n_atoms < best->n_atoms)) best = e;
    }
    return best;
}

enum wake { WAKE_NEVER, WAKE_ALWAYS, WAKE_BY_ATOM };

/* Calls for each atom that may make the term hold; or says that it never or always has to be looked at. */
static enum wake each_wake(const struct compiler *c, const struct term *t,
                           void (*fn)(void *ctx, uint32_t atom, uint32_t term), void *ctx) {
    const struct program *p = c->p;
    uint32_t number = (uint32_t)(t - p->terms);
    bool all = !t->rule->is_single && t->rule->relation == RELATION_AND, any_here = false;
    for (uint32_t i = 0; i < t->n_entries; i++) {
        const struct entry *e = &p->entries[t->entries + i];
        if (e->slot == NO_SLOT && all) return WAKE_NEVER;
        any_here |= e->slot != NO_SLOT;
        if (!all && e->slot != NO_SLOT && !is_positive(e)) return WAKE_ALWAYS;
    }
    if (!any_here) return WAKE_NEVER;
    const struct entry *only = all ? best_entry(c, t) : NULL;
    if (all && !only) return WAKE_ALWAYS;
    for (uint32_t i = 0; i < t->n_entries; i++) {
        const struct entry *e = &p->entries[t->entries + i];
        if (e->slot == NO_SLOT || (all && e != only)) continue;
        uint32_t n = e->test == TEST_ALL ? 1 : e->n_atoms;
        for (uint32_t k = 0; k < n; k++) fn(ctx, p->atom_lists[e->atoms + k], number);
    }
    return WAKE_BY_ATOM;
}

static void count_wake(void *ctx, uint32_t atom, uint32_t term) {
    struct program *p = ctx;
    (void)term;
    p->wakes[atom].n++;
}

static void put_wake(void *ctx, uint32_t atom, uint32_t term) {
    struct program *p = ctx;
    p->woken[p->wakes[atom].at + p->wakes[atom].n++] = term;
}

static void plan_wakes(struct compiler *c) {
    struct program *p = c->p;
    uint32_t n = 0;
    p->wakes = mem_zalloc(mem_mul(p->n_atoms + 1, sizeof *p->wakes));
    p->always = mem_alloc(mem_mul(p->n_terms + 1, sizeof *p->always));
    for (size_t i = 0; i < p->n_terms; i++) {
        const struct term *t = &p->terms[i];
        const struct block *b = &p->blocks[t->block];
        if (b->block->relation == RELATION_AND) {
            if (i == b->terms) p->always[p->n_always++] = (uint32_t)i;
        } else if (each_wake(c, t, count_wake, p) == WAKE_ALWAYS) {
            p->always[p->n_always++] = (uint32_t)i;
        }
    }
    for (size_t i = 0; i < p->n_atoms; i++) {
        p->wakes[i].at = n;
        n += p->wakes[i].n;
        p->wakes[i].n = 0;
    }
    p->woken = mem_alloc(mem_mul(n + 1, sizeof *p->woken));
    for (size_t i = 0; i < p->n_terms; i++) {
        if (p->blocks[p->terms[i].block].block->relation != RELATION_AND) (void)each_wake(c, &p->terms[i], put_wake, p);
    }
}

/* ---- programs ---- */

static int by_slot(const void *pa, const void *pb) {
    const struct atom *a = pa, *b = pb;
    if (a->slot != b->slot) return a->slot < b->slot ? -1 : 1;
    return (a->p.id > b->p.id) - (a->p.id < b->p.id);
}

static void make_matchers(struct compiler *c) {
    struct program *p = c->p;
    struct match_pattern *patterns = mem_alloc(mem_mul(p->n_atoms, sizeof *patterns));
    p->matchers = mem_zalloc(mem_mul(p->n_slots, sizeof(struct matcher *)));
    if (c->atoms) qsort(c->atoms, p->n_atoms, sizeof *c->atoms, by_slot);
    for (size_t at = 0; c->atoms && at < p->n_atoms;) {
        uint32_t slot = c->atoms[at].slot;
        size_t n = 0;
        while (at < p->n_atoms && c->atoms[at].slot == slot) patterns[n++] = c->atoms[at++].p;
        p->matchers[slot] = matcher_new(patterns, n);
    }
    mem_free(patterns);
}

static bool is_for(const struct rule_block *b, uint32_t event_id) {
    const uint32_t *id = b->event_ids;
    while (*id && *id != event_id) id++;
    return *id != 0;
}

struct program *program_new(const struct ruleset *r, uint32_t event_id, struct arena *a) {
    size_t n_blocks = 0, n_terms = 0, n_entries = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        if (!is_for(&r->blocks[i], event_id)) continue;
        n_blocks++;
        n_terms += r->blocks[i].n_rules;
        for (size_t k = 0; k < r->blocks[i].n_rules; k++) n_entries += r->blocks[i].rules[k].n_fields;
    }
    if (!n_blocks) return NULL;
    struct compiler c = {.p = mem_zalloc(sizeof *c.p), .r = r, .arena = a, .event_id = event_id};
    c.p->blocks = mem_alloc(mem_mul(n_blocks, sizeof *c.p->blocks));
    c.p->terms = mem_alloc(mem_mul(n_terms, sizeof *c.p->terms));
    c.p->entries = mem_alloc(mem_mul(n_entries, sizeof *c.p->entries));
    for (int exclude = 1; exclude >= 0; exclude--) {
        for (size_t i = 0; i < r->n_blocks; i++) {
            if (r->blocks[i].exclude == exclude && is_for(&r->blocks[i], event_id)) add_block(&c, &r->blocks[i]);
        }
    }
    plan_wakes(&c);
    make_matchers(&c);
    mem_free(c.atoms);
    mem_free(c.table);
    return c.p;
}

void program_free(struct program **pp) {
    struct program *p = *pp;
    if (!p) return;
    for (size_t i = 0; i < p->n_slots; i++) matcher_free(&p->matchers[i]);
    mem_free(p->matchers);
    mem_free(p->blocks);
    mem_free(p->terms);
    mem_free(p->entries);
    mem_free(p->fields);
    mem_free(p->atom_lists);
    mem_free(p->wakes);
    mem_free(p->woken);
    mem_free(p->always);
    mem_free(p);
    *pp = NULL;
}
