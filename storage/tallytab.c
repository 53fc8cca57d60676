/* 9 DIGEST: volumes in memory, and their stored form. */
#include "tallytab.h"
#include "mem.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define FIRST_SLOTS 1024u

void tallytab_init(struct tallytab *r) {
    struct timespec ts;
    *r = (struct tallytab){.n_slots = FIRST_SLOTS, .n_name_slots = FIRST_SLOTS};
    arena_init(&r->arena, SIZE_MAX);
    r->slots = mem_zalloc(r->n_slots * sizeof *r->slots);
    r->name_slots = mem_zalloc(r->n_name_slots * sizeof *r->name_slots);
    clock_gettime(CLOCK_REALTIME, &ts);
    r->seed = (uint64_t)ts.tv_nsec << 32 ^ (uint64_t)ts.tv_sec ^ (uint64_t)getpid() << 16 ^ (uintptr_t)r->slots;
}

void tallytab_deinit(struct tallytab *r) {
    mem_free(r->cells);
    mem_free(r->slots);
    mem_free(r->names);
    mem_free(r->name_slots);
    arena_deinit(&r->arena);
    *r = (struct tallytab){0};
}

/* A table that a large run has blown up is not kept. */
static void clear_slots(uint32_t **slots, size_t *n_slots, size_t n) {
    if (*n_slots > FIRST_SLOTS && n < *n_slots / 16) {
        mem_free(*slots);
        *n_slots = FIRST_SLOTS;
        *slots = mem_alloc(*n_slots * sizeof **slots);
    }
    memset(*slots, 0, *n_slots * sizeof **slots);
}

void tallytab_clear(struct tallytab *r) {
    clear_slots(&r->slots, &r->n_slots, r->n);
    clear_slots(&r->name_slots, &r->n_name_slots, r->n_names);
    r->n = r->n_names = 0;
    arena_reset(&r->arena);
}

size_t tallytab_bytes(const struct tallytab *r) {
    return r->n * sizeof *r->cells + r->n_names * sizeof *r->names + r->arena.used;
}

/* ---- names ---- */

/* The slot of the name, or the free one where it belongs. */
static uint32_t *name_slot(struct tallytab *r, struct slice name) {
    size_t at = XXH3_64bits_withSeed(name.p, name.len, r->seed) & (r->n_name_slots - 1);
    while (r->name_slots[at] && !slice_eq(r->names[r->name_slots[at] - 1], name)) at = (at + 1) & (r->n_name_slots - 1);
    return &r->name_slots[at];
}

static void grow_names(struct tallytab *r) {
    if (r->n_names * 2 < r->n_name_slots) return;
    mem_free(r->name_slots);
    r->n_name_slots *= 2;
    r->name_slots = mem_zalloc(mem_mul(r->n_name_slots, sizeof *r->name_slots));
    for (size_t i = 0; i < r->n_names; i++) *name_slot(r, r->names[i]) = (uint32_t)i + 1;
}

uint32_t tallytab_name(struct tallytab *r, struct slice name) {
    if (!name.len) return TALLY_NAME_NONE;
    if (name.len > TALLY_NAME_MAX) { /* not in the middle of a character */
        name.len = TALLY_NAME_MAX;
        while (name.len > TALLY_NAME_MAX - 4 && (name.p[name.len] & 0xc0) == 0x80) name.len--;
    }
    grow_names(r);
    uint32_t *slot = name_slot(r, name);
    if (!*slot) {
        mem_grow((void **)&r->names, r->n_names, &r->cap_names, sizeof *r->names);
        r->names[r->n_names] = arena_copy(&r->arena, name);
        *slot = (uint32_t)++r->n_names;
    }
    return *slot - 1 + TALLY_NAMES;
}

/* ---- cells ---- */

static bool is_same(const struct tally_cell *a, const struct tally_cell *b) {
    return a->host == b->host && a->slot == b->slot && a->event_id == b->event_id && a->channel == b->channel &&
           a->rule == b->rule;
}

static uint32_t *cell_slot(struct tallytab *r, const struct tally_cell *c) {
    uint64_t h = r->seed ^ ((uint64_t)c->host << 32 | c->slot);
    h = (h ^ h >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= (uint64_t)c->rule << 32 | c->event_id;
    h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ c->channel ^ h >> 32) * UINT64_C(0x94d049bb133111eb);
    size_t at = (size_t)(h >> 32) & (r->n_slots - 1);
    while (r->slots[at] && !is_same(&r->cells[r->slots[at] - 1], c)) at = (at + 1) & (r->n_slots - 1);
    return &r->slots[at];
}

static void fill_slots(struct tallytab *r) {
    for (size_t i = 0; i < r->n; i++) *cell_slot(r, &r->cells[i]) = (uint32_t)i + 1;
}

void tallytab_add(struct tallytab *r, const struct tally_cell *c) {
    if (r->n * 2 >= r->n_slots) {
        mem_free(r->slots);
        r->n_slots *= 2;
        r->slots = mem_zalloc(mem_mul(r->n_slots, sizeof *r->slots));
        fill_slots(r);
    }
    uint32_t *slot = cell_slot(r, c);
    if (*slot) {
        r->cells[*slot - 1].events += c->events;
        r->cells[*slot - 1].bytes += c->bytes;
        return;
    }
    mem_grow((void **)&r->cells, r->n, &r->cap, sizeof *r->cells);
    r->cells[r->n] = *c;
    *slot = (uint32_t)++r->n;
}

static uint32_t day_of(const struct tally_cell *c) {
    return c->slot / TALLY_SLOTS_A_DAY;
}

int tally_by_kind(const void *pa, const void *pb) {
    const struct tally_cell *a = pa, *b = pb;
    if (a->channel != b->channel) return a->channel < b->channel ? -1 : 1;
    if (a->event_id != b->event_id) return a->event_id < b->event_id ? -1 : 1;
    return (a->rule > b->rule) - (a->rule < b->rule);
}

static int by_place(const void *pa, const void *pb) {
    const struct tally_cell *a = pa, *b = pb;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (day_of(a) != day_of(b)) return day_of(a) < day_of(b) ? -1 : 1;
    int c = tally_by_kind(a, b);
    return c ? c : (a->slot > b->slot) - (a->slot < b->slot);
}

void tallytab_sort(struct tallytab *r) {
    if (r->n) qsort(r->cells, r->n, sizeof *r->cells, by_place);
    memset(r->slots, 0, r->n_slots * sizeof *r->slots);
    fill_slots(r);
}

bool tally_is_same_day(const struct tally_cell *a, const struct tally_cell *b) {
    return a->host == b->host && day_of(a) == day_of(b);
}

/* ---- the stored form ---- */

/* Numbers of the names that [from, to) uses, in order of first use: local[number - TALLY_NAMES]. */
static size_t local_names(const struct tallytab *r, size_t from, size_t to, uint32_t *local, struct buf *names) {
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        const uint32_t used[] = {r->cells[i].channel, r->cells[i].rule};
        for (size_t k = 0; k < 2; k++) {
            if (used[k] < TALLY_NAMES || local[used[k] - TALLY_NAMES]) continue;
            struct slice name = r->names[used[k] - TALLY_NAMES];
            local[used[k] - TALLY_NAMES] = (uint32_t)n++ + TALLY_NAMES;
            buf_varint(names, name.len);
            buf_slice_append(names, name);
        }
    }
    return n;
}

static void put_name(struct buf *out, const uint32_t *local, uint32_t number) {
    buf_varint(out, number < TALLY_NAMES ? number : local[number - TALLY_NAMES]);
}

/* The kinds of one host and day. */
static void put_section(const struct tallytab *r, size_t from, size_t to, const uint32_t *local, struct buf *out) {
    for (size_t i = from, end; i < to; i = end) {
        for (end = i + 1; end < to && tally_by_kind(&r->cells[end], &r->cells[i]) == 0; end++) {}
        put_name(out, local, r->cells[i].channel);
        buf_varint(out, r->cells[i].event_id);
        put_name(out, local, r->cells[i].rule);
        buf_varint(out, end - i);
        uint32_t before = day_of(&r->cells[i]) * TALLY_SLOTS_A_DAY;
        for (size_t c = i; c < end; c++) {
            buf_varint(out, r->cells[c].slot - before);
            buf_varint(out, r->cells[c].events);
            buf_varint(out, r->cells[c].bytes);
            before = r->cells[c].slot;
        }
    }
}

size_t tallytab_section(const struct tallytab *r, size_t from) {
    size_t end = from + 1;
    while (end < r->n && tally_is_same_day(&r->cells[end], &r->cells[from])) end++;
    return end;
}

void tallytab_encode(const struct tallytab *r, size_t from, size_t to, struct buf *out) {
    uint32_t *local = mem_zalloc(mem_mul(r->n_names, sizeof *local));
    struct buf names = {0}, section = {0};
    size_t n = local_names(r, from, to, local, &names);
    buf_byte(out, TALLY_VERSION);
    buf_varint(out, n);
    buf_slice_append(out, buf_slice(&names));
    for (size_t i = from, end; i < to; i = end) {
        end = tallytab_section(r, i);
        buf_clear(&section);
        put_section(r, i, end, local, &section);
        buf_varint(out, r->cells[i].host);
        buf_varint(out, day_of(&r->cells[i]));
        buf_varint(out, section.len);
        buf_slice_append(out, buf_slice(&section));
    }
    buf_free(&names);
    buf_free(&section);
    mem_free(local);
}
