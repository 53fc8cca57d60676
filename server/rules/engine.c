/* Judging events. Every field that some rule looks at is matched against all its patterns first (matcher.h); then only the terms that
 * a pattern has woken, and those that no pattern can wake, are tried in order. Pure. */
#include "engine_internal.h"
#include "fields.h"
#include "fold.h"
#include "mem.h"

#include <stdlib.h>

#define MEMOS 2048u
#define MEMO_HITS 12u
#define MEMO_MAX_LEN 4096u

/* Which patterns a value held, of the last values: images, keys and call stacks come again and again. */
struct memo {
    const struct program *program;
    uint64_t hash;
    uint32_t slot, len, cap, n_hits;
    uint32_t hits[MEMO_HITS];
    uint8_t *bytes; /* the value */
};

struct engine_scratch {
    uint32_t mark; /* of this event: what the arrays hold of others does not count */
    uint32_t *atom_seen, *hits, *term_seen, *woken, *group_seen;
    size_t n_woken;
    struct buf text, plain; /* a value folded, undoubled */
    const struct slice *values;
    bool windows;
    uint32_t event_id;
    struct slice name; /* that the last entry which matched and has one gave */
    const struct rule_field *field;
    struct memo *memos; /* by hash */
};

const char *engine_reason_name(enum engine_reason r) {
    switch (r) {
    case ENGINE_RULE: return "rule";
    case ENGINE_NO_MATCH: return "no match";
    case ENGINE_MANY_BLOCKS: return "several blocks, no match";
    case ENGINE_NO_BLOCK: return "no block";
    case ENGINE_ALWAYS: break;
    }
    return "always";
}

struct engine *engine_new(const struct ruleset *r) {
    struct engine *e = mem_zalloc(sizeof *e);
    e->ruleset = r;
    arena_init(&e->arena, ENGINE_ARENA_CAP);
    for (uint32_t id = 1; id <= ENGINE_MAX_ID; id++) {
        struct program *p = e->programs[id] = program_new(r, id, &e->arena);
        if (!p) continue;
        if (p->n_atoms > e->max_atoms) e->max_atoms = p->n_atoms;
        if (p->n_terms > e->max_terms) e->max_terms = p->n_terms;
        if (p->max_groups > e->max_groups) e->max_groups = p->max_groups;
    }
    return e;
}

void engine_free(struct engine **pe) {
    struct engine *e = *pe;
    if (!e) return;
    for (uint32_t id = 0; id <= ENGINE_MAX_ID; id++) program_free(&e->programs[id]);
    arena_deinit(&e->arena);
    mem_free(e);
    *pe = NULL;
}

struct engine_scratch *engine_scratch_new(const struct engine *e) {
    struct engine_scratch *s = mem_zalloc(sizeof *s);
    s->atom_seen = mem_zalloc(mem_mul(e->max_atoms, sizeof(uint32_t)));
    s->hits = mem_alloc(mem_mul(e->max_atoms, sizeof(uint32_t)));
    s->term_seen = mem_zalloc(mem_mul(e->max_terms, sizeof(uint32_t)));
    s->woken = mem_alloc(mem_mul(e->max_terms, sizeof(uint32_t)));
    s->group_seen = mem_zalloc(mem_mul(e->max_groups, sizeof(uint32_t)));
    s->memos = mem_zalloc(MEMOS * sizeof *s->memos);
    return s;
}

void engine_scratch_free(struct engine_scratch **ps) {
    struct engine_scratch *s = *ps;
    if (!s) return;
    mem_free(s->atom_seen);
    mem_free(s->hits);
    mem_free(s->term_seen);
    mem_free(s->woken);
    mem_free(s->group_seen);
    for (size_t i = 0; i < MEMOS; i++) mem_free(s->memos[i].bytes);
    mem_free(s->memos);
    buf_free(&s->text);
    buf_free(&s->plain);
    mem_free(s);
    *ps = NULL;
}

/* ---- values ---- */

/* As Sysmon compared it: percent signs undone, folded when asked or when it is not all ASCII. Lives until the next call. */
static struct slice value_of(struct engine_scratch *s, const struct program *p, uint32_t slot, bool fold) {
    struct slice v = s->values[slot];
    bool doubled = s->windows && ((s->event_id == 1 && p->fields[slot] == F_CommandLine) ||
                                  (s->event_id == 13 && p->fields[slot] == F_Details));
    if (doubled && v.len && memchr(v.p, '%', v.len)) {
        buf_clear(&s->plain);
        buf_reserve(&s->plain, v.len);
        s->plain.len = event_undouble(v, s->plain.p);
        v = buf_slice(&s->plain);
    }
    if (!v.len || (!fold && fold_is_ascii(v))) return v;
    buf_clear(&s->text);
    buf_reserve(&s->text, v.len);
    fold_text(v, s->text.p);
    return slice_of(s->text.p, v.len);
}

/* ---- entries and terms, when all patterns have been tried ---- */

static bool entry_holds(struct engine_scratch *s, const struct program *p, const struct entry *e) {
    if (e->slot == NO_SLOT || !s->values[e->slot].p) return false;
    if (e->test == TEST_LESS || e->test == TEST_MORE) {
        int c = slice_cmp(value_of(s, p, e->slot, true), e->value);
        return e->test == TEST_LESS ? c < 0 : c > 0;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_atoms; i++) n += s->atom_seen[p->atom_lists[e->atoms + i]] == s->mark;
    switch (e->test) {
    case TEST_ANY: return n > 0;
    case TEST_ALL: return n == e->n_atoms;
    case TEST_NONE: return n == 0;
    default: return n < e->n_atoms; /* TEST_NOT_ALL */
    }
}

static bool try_entry(struct engine_scratch *s, const struct program *p, const struct entry *e) {
    if (!entry_holds(s, p, e)) return false;
    s->field = e->field;
    if (e->name.len) s->name = e->name;
    return true;
}

static bool try_term(struct engine_scratch *s, const struct program *p, const struct term *t) {
    bool all = !t->rule->is_single && t->rule->relation == RELATION_AND;
    for (uint32_t i = 0; i < t->n_entries; i++) {
        if (try_entry(s, p, &p->entries[t->entries + i]) != all) return !all;
    }
    return all && t->n_entries;
}

/* An AND block: every group must hold. The last term that held, NULL: the block does not hold. */
static const struct term *try_and_block(struct engine_scratch *s, const struct program *p, const struct block *b) {
    const struct term *last = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_groups; i++) s->group_seen[i] = 0;
    for (uint32_t i = b->terms; i < b->terms + b->n_terms; i++) {
        const struct term *t = &p->terms[i];
        if (!try_term(s, p, t)) continue;
        last = t;
        n += !s->group_seen[t->group];
        s->group_seen[t->group] = 1;
    }
    return n == b->n_groups ? last : NULL;
}

/* ---- judging ---- */

static uint64_t hash_value(struct slice v, uint64_t seed) {
    uint64_t a = seed ^ v.len * UINT64_C(0x9e3779b97f4a7c15), b = ~a, x, y;
    size_t i = 0;
    for (; i + 16 <= v.len; i += 16) { /* two lanes, which do not wait for each other */
        memcpy(&x, v.p + i, 8);
        memcpy(&y, v.p + i + 8, 8);
        a = (a ^ x) * UINT64_C(0xd6e8feb86659fd93);
        b = (b ^ y) * UINT64_C(0xa0761d6478bd642f);
        a ^= a >> 32;
        b ^= b >> 32;
    }
    for (; i < v.len; i++) a = (a ^ v.p[i]) * UINT64_C(0x100000001b3);
    a = (a ^ b) * UINT64_C(0xd6e8feb86659fd93);
    return a ^ a >> 29;
}

static void remember(struct memo *memo, const struct memo *key, struct slice v, const uint32_t *hits, size_t n) {
    if (v.len > memo->cap) {
        memo->cap = v.len > 64 ? (uint32_t)v.len : 64;
        memo->bytes = mem_realloc(memo->bytes, memo->cap);
    }
    if (v.len) memcpy(memo->bytes, v.p, v.len);
    memo->program = key->program;
    memo->hash = key->hash;
    memo->slot = key->slot;
    memo->len = (uint32_t)v.len;
    memo->n_hits = (uint32_t)n;
    if (n) memcpy(memo->hits, hits, n * sizeof *hits);
}

static bool is_of(const struct memo *memo, const struct memo *key, struct slice v) {
    return memo->hash == key->hash && memo->program == key->program && memo->slot == key->slot && memo->len == v.len &&
           (!v.len || memcmp(memo->bytes, v.p, v.len) == 0);
}

/* The patterns that one value holds; remembered, or found now. A pattern belongs to one slot, so none is found twice. */
static void find_in_slot(struct engine_scratch *s, const struct program *p, uint32_t slot, struct match_sink *sink) {
    struct slice v = s->values[slot];
    struct memo key = {.program = p, .slot = slot, .hash = hash_value(v, slot * 2u + s->windows)};
    struct memo *memo = &s->memos[key.hash % MEMOS];
    if (v.len > MEMO_MAX_LEN) {
        matcher_run(p->matchers[slot], value_of(s, p, slot, false), sink);
    } else if (is_of(memo, &key, v)) {
        for (uint32_t i = 0; i < memo->n_hits; i++) {
            sink->seen[memo->hits[i]] = sink->mark;
            sink->hits[sink->n++] = memo->hits[i];
        }
    } else {
        size_t before = sink->n;
        matcher_run(p->matchers[slot], value_of(s, p, slot, false), sink);
        if (sink->n - before <= MEMO_HITS) remember(memo, &key, v, sink->hits + before, sink->n - before);
    }
}

static void find_patterns(struct engine_scratch *s, const struct program *p, struct match_sink *sink) {
    for (uint32_t slot = 0; slot < p->n_slots; slot++) {
        if (p->matchers[slot] && s->values[slot].p) find_in_slot(s, p, slot, sink);
    }
}

static void wake(struct engine_scratch *s, uint32_t term) {
    if (s->term_seen[term] == s->mark) return;
    s->term_seen[term] = s->mark;
    size_t i = s->n_woken++;
    for (; i && s->woken[i - 1] > term; i--) s->woken[i] = s->woken[i - 1];
    s->woken[i] = term;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The terms that may hold, in order. */
static void wake_terms(struct engine_scratch *s, const struct program *p, const struct match_sink *sink) {
    s->n_woken = 0;
    for (size_t i = 0; i < sink->n; i++) {
        const struct span *w = &p->wakes[s->hits[i]];
        for (uint32_t k = 0; k < w->n; k++) {
            uint32_t term = p->woken[w->at + k];
            if (s->n_woken < 32) {
                wake(s, term);
            } else if (s->term_seen[term] != s->mark) {
                s->term_seen[term] = s->mark;
                s->woken[s->n_woken++] = term;
            }
        }
    }
    if (s->n_woken >= 32) qsort(s->woken, s->n_woken, sizeof *s->woken, by_number);
}

/* All that was tried up to and with the term that decided, for the name that something before it left. */
static void replay(struct engine_scratch *s, const struct program *p, uint32_t last) {
    const struct rule_field *field = s->field;
    uint32_t block = p->terms[last].block;
    s->name = SLICE_LIT("");
    for (uint32_t i = 0; i <= block; i++) {
        const struct block *b = &p->blocks[i];
        if (b->block->relation == RELATION_AND) {
            (void)try_and_block(s, p, b);
            continue;
        }
        for (uint32_t k = b->terms; k < b->terms + b->n_terms && k <= last; k++) (void)try_term(s, p, &p->terms[k]);
    }
    s->field = field;
}

static struct engine_verdict of_rule(struct engine_scratch *s, const struct program *p, const struct term *t) {
    const struct rule_block *b = p->blocks[t->block].block;
    if (!s->name.len && p->leaves_names) replay(s, p, (uint32_t)(t - p->terms));
    return (struct engine_verdict){.logged = !b->exclude,
                                   .reason = ENGINE_RULE,
                                   .block = b,
                                   .rule = t->rule,
                                   .field = s->field,
                                   .rule_name = s->name};
}

static struct engine_verdict of_none(const struct program *p) {
    struct engine_verdict v = {.reason = ENGINE_MANY_BLOCKS, .rule_name = SLICE_LIT("")};
    if (p->n_blocks > 1) return v;
    v.reason = ENGINE_NO_MATCH;
    v.block = p->blocks[0].block;
    v.logged = v.block->exclude;
    return v;
}

static bool is_filterable(uint32_t event_id) {
    const struct sysmon_event *known = sysmon_event_find(event_id);
    return known && known->tag;
}

static struct engine_verdict without_block(uint32_t event_id) {
    bool filterable = is_filterable(event_id);
    return (struct engine_verdict){.logged = !filterable || event_id == 1 || event_id == 5,
                                   .reason = filterable ? ENGINE_NO_BLOCK : ENGINE_ALWAYS,
                                   .rule_name = SLICE_LIT("")};
}

static const struct program *program_of(const struct engine *e, uint32_t event_id) {
    return event_id <= ENGINE_MAX_ID ? e->programs[event_id] : NULL;
}

struct engine_need engine_need(const struct engine *e, uint32_t event_id) {
    const struct program *p = program_of(e, event_id);
    return p ? (struct engine_need){p->fields, p->n_slots} : (struct engine_need){NULL, 0};
}

static void next_mark(const struct engine *e, struct engine_scratch *s) {
    if (++s->mark) return;
    if (e->max_atoms) memset(s->atom_seen, 0, e->max_atoms * sizeof *s->atom_seen);
    if (e->max_terms) memset(s->term_seen, 0, e->max_terms * sizeof *s->term_seen);
    s->mark = 1;
}

struct engine_verdict engine_judge_values(const struct engine *e, struct engine_scratch *s, uint32_t event_id,
                                          bool windows, const struct slice *values) {
    const struct program *p = program_of(e, event_id);
    if (!p) return without_block(event_id);
    next_mark(e, s);
    s->event_id = event_id;
    s->windows = windows;
    s->values = values;
    s->name = SLICE_LIT("");
    s->field = NULL;
    struct match_sink sink = {.seen = s->atom_seen, .mark = s->mark, .hits = s->hits};
    find_patterns(s, p, &sink);
    wake_terms(s, p, &sink);
    for (size_t w = 0, a = 0; w < s->n_woken || a < p->n_always;) {
        bool from_always = w == s->n_woken || (a < p->n_always && p->always[a] < s->woken[w]);
        const struct term *t = &p->terms[from_always ? p->always[a++] : s->woken[w++]];
        const struct block *b = &p->blocks[t->block];
        s->name = SLICE_LIT(""); /* what others left is found by replay, where it counts */
        if (b->block->relation == RELATION_AND)
            t = try_and_block(s, p, b);
        else if (!try_term(s, p, t))
            t = NULL;
        if (t) return of_rule(s, p, t);
    }
    return of_none(p);
}

struct engine_verdict engine_judge(const struct engine *e, struct engine_scratch *s, const struct event *ev) {
    struct slice values[F_COUNT];
    bool windows = slice_eq_str(ev->provider, "Microsoft-Windows-Sysmon");
    uint32_t id = ev->event_id.v <= ENGINE_MAX_ID ? (uint32_t)ev->event_id.v : ENGINE_MAX_ID + 1;
    if (!windows && !slice_eq_str(ev->provider, "Linux-Sysmon")) {
        return (struct engine_verdict){.logged = true, .reason = ENGINE_ALWAYS, .rule_name = SLICE_LIT("")};
    }
    struct engine_need need = engine_need(e, id);
    for (size_t i = 0; i < need.n; i++) values[i] = event_value(ev, event_field_name(need.fields[i]));
    return engine_judge_values(e, s, id, windows, values);
}

enum engine_scope engine_scope(const struct engine *e, uint32_t event_id) {
    const struct program *p = program_of(e, event_id);
    if (!p) return without_block(event_id).logged ? ENGINE_ALL : ENGINE_NOTHING;
    bool includes = false;
    for (size_t i = 0; i < p->n_blocks; i++) includes |= !p->blocks[i].block->exclude && p->blocks[i].n_terms;
    if (p->n_blocks == 1 && p->blocks[0].block->exclude) return p->n_terms ? ENGINE_SOME : ENGINE_ALL;
    return includes ? ENGINE_SOME : ENGINE_NOTHING;
}
