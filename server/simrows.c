/* Rows of a simulation: a hash table by event id, rule and verdict. */
#include "simrows.h"
#include "mem.h"

#include <stdlib.h>

#define FIRST_BUCKETS 1024u

void sim_rows_init(struct sim_rows *r) {
    *r = (struct sim_rows){.n_buckets = FIRST_BUCKETS};
    r->buckets = mem_zalloc(mem_mul(r->n_buckets, sizeof(struct sim_row *)));
}

static void free_row(struct sim_row *row) {
    for (unsigned i = 0; i < row->n_samples; i++) mem_free(row->samples[i]);
    mem_free(row->samples);
    mem_free(row);
}

void sim_rows_deinit(struct sim_rows *r) {
    for (size_t i = 0; i < r->n_buckets; i++) {
        for (struct sim_row *row = r->buckets[i], *next; row; row = next) {
            next = row->next;
            free_row(row);
        }
    }
    if (r->rest) free_row(r->rest);
    mem_free(r->buckets);
    *r = (struct sim_rows){0};
}

/* Verdicts of one engine share their pointers, so these are compared. */
static size_t hash_of(uint32_t event_id, uint32_t rules, const struct engine_verdict *v) {
    uint64_t h = event_id * UINT64_C(0x9e3779b97f4a7c15) + rules;
    const void *const parts[] = {v->block, v->rule, v->field, v->rule_name.p};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        h = (h ^ (uintptr_t)parts[i]) * UINT64_C(0x9fb21c651e98df25);
    return (size_t)(h ^ h >> 29);
}

static bool is_row(const struct sim_row *row, uint32_t event_id, uint32_t rules, const struct engine_verdict *v) {
    const struct engine_verdict *w = &row->verdict;
    return row->event_id == event_id && row->rules == rules && w->block == v->block && w->rule == v->rule &&
           w->field == v->field && w->reason == v->reason && w->logged == v->logged &&
           slice_eq(w->rule_name, v->rule_name);
}

static void grow(struct sim_rows *r) {
    size_t n = 4 * r->n_buckets;
    struct sim_row **buckets = mem_zalloc(mem_mul(n, sizeof(struct sim_row *)));
    for (size_t i = 0; i < r->n_buckets; i++) {
        for (struct sim_row *row = r->buckets[i], *next; row; row = next) {
            next = row->next;
            size_t at = hash_of(row->event_id, row->rules, &row->verdict) & (n - 1);
            row->next = buckets[at];
            buckets[at] = row;
        }
    }
    mem_free(r->buckets);
    r->buckets = buckets;
    r->n_buckets = n;
}

struct sim_row *sim_rows_get(struct sim_rows *r, uint32_t event_id, uint32_t rules, const struct engine_verdict *v) {
    size_t hash = hash_of(event_id, rules, v);
    for (struct sim_row *row = r->buckets[hash & (r->n_buckets - 1)]; row; row = row->next) {
        if (is_row(row, event_id, rules, v)) return row;
    }
    if (r->n == SIM_MAX_ROWS) {
        if (!r->rest) r->rest = mem_zalloc(sizeof *r->rest);
        return r->rest;
    }
    if (r->n >= r->n_buckets) grow(r);
    struct sim_row *row = mem_zalloc(sizeof *row);
    row->event_id = event_id;
    row->rules = rules;
    row->verdict = *v;
    size_t at = hash & (r->n_buckets - 1);
    row->next = r->buckets[at];
    r->buckets[at] = row;
    r->n++;
    return row;
}

bool sim_rows_wants_sample(const struct sim_rows *r, const struct sim_row *row, unsigned max) {
    return row->n_samples < max && row != r->rest && r->sample_bytes < SIM_MAX_SAMPLE_BYTES;
}

void sim_rows_sample(struct sim_rows *r, struct sim_row *row, struct slice line) {
    if (!row->samples) row->samples = mem_alloc(SIM_MAX_SAMPLES * sizeof(char *));
    row->samples[row->n_samples++] = mem_strndup(line.p, line.len);
    r->sample_bytes += line.len;
}

static void merge_row(struct sim_rows *r, struct sim_row *to, const struct sim_row *from, unsigned max) {
    sim_add(&to->all, from->all.events, from->all.bytes);
    sim_add(&to->other, from->other.events, from->other.bytes);
    for (unsigned i = 0; i < from->n_samples && sim_rows_wants_sample(r, to, max); i++) {
        sim_rows_sample(r, to, slice_str(from->samples[i]));
    }
}

void sim_rows_merge(struct sim_rows *r, const struct sim_rows *from, unsigned max) {
    for (size_t i = 0; i < from->n_buckets; i++) {
        for (const struct sim_row *row = from->buckets[i]; row; row = row->next) {
            merge_row(r, sim_rows_get(r, row->event_id, row->rules, &row->verdict), row, max);
        }
    }
    if (!from->rest) return;
    if (!r->rest) r->rest = mem_zalloc(sizeof *r->rest);
    merge_row(r, r->rest, from->rest, 0);
}

static int by_use(const void *pa, const void *pb) {
    const struct sim_row *a = *(struct sim_row *const *)pa, *b = *(struct sim_row *const *)pb;
    if (a->rules != b->rules) return a->rules < b->rules ? -1 : 1;
    if (a->event_id != b->event_id) return a->event_id < b->event_id ? -1 : 1;
    if (a->verdict.logged != b->verdict.logged) return a->verdict.logged ? -1 : 1;
    if (a->all.events != b->all.events) return a->all.events > b->all.events ? -1 : 1;
    const struct rule_field *x = a->verdict.field, *y = b->verdict.field;
    if (!x || !y || x->at.line == y->at.line) return 0;
    return x->at.line < y->at.line ? -1 : 1;
}

struct sim_row **sim_rows_sorted(const struct sim_rows *r, size_t *ret_n) {
    struct sim_row **list = mem_alloc(mem_mul(r->n + 1, sizeof(struct sim_row *)));
    size_t n = 0;
    for (size_t i = 0; i < r->n_buckets; i++) {
        for (struct sim_row *row = r->buckets[i]; row; row = row->next) list[n++] = row;
    }
    if (n) qsort(list, n, sizeof *list, by_use);
    *ret_n = n;
    return list;
}
