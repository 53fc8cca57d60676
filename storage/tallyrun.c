/* 9 DIGEST: volumes on their way into the table. */
#include "tallyrun.h"
#include "keys.h"
#include "log.h"
#include "mem.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define FIRST_SLOTS 1024u

void tallyrun_init(struct tallyrun *r) {
    struct timespec ts;
    *r = (struct tallyrun){.n_slots = FIRST_SLOTS, .n_name_slots = FIRST_SLOTS};
    arena_init(&r->arena, SIZE_MAX);
    r->slots = mem_zalloc(r->n_slots * sizeof *r->slots);
    r->name_slots = mem_zalloc(r->n_name_slots * sizeof *r->name_slots);
    clock_gettime(CLOCK_REALTIME, &ts);
    r->seed = (uint64_t)ts.tv_nsec << 32 ^ (uint64_t)ts.tv_sec ^ (uint64_t)getpid() << 16 ^ (uintptr_t)r->slots;
}

void tallyrun_deinit(struct tallyrun *r) {
    mem_free(r->cells);
    mem_free(r->slots);
    mem_free(r->names);
    mem_free(r->name_slots);
    arena_deinit(&r->arena);
    *r = (struct tallyrun){0};
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

void tallyrun_clear(struct tallyrun *r) {
    clear_slots(&r->slots, &r->n_slots, r->n);
    clear_slots(&r->name_slots, &r->n_name_slots, r->n_names);
    r->n = r->n_names = 0;
    arena_reset(&r->arena);
}

size_t tallyrun_bytes(const struct tallyrun *r) {
    return r->n * sizeof *r->cells + r->n_names * sizeof *r->names + r->arena.used;
}

/* ---- names ---- */

/* The slot of the name, or the free one where it belongs. */
static uint32_t *name_slot(struct tallyrun *r, struct slice name) {
    size_t at = XXH3_64bits_withSeed(name.p, name.len, r->seed) & (r->n_name_slots - 1);
    while (r->name_slots[at] && !slice_eq(r->names[r->name_slots[at] - 1], name)) at = (at + 1) & (r->n_name_slots - 1);
    return &r->name_slots[at];
}

static void grow_names(struct tallyrun *r) {
    if (r->n_names * 2 < r->n_name_slots) return;
    mem_free(r->name_slots);
    r->n_name_slots *= 2;
    r->name_slots = mem_zalloc(mem_mul(r->n_name_slots, sizeof *r->name_slots));
    for (size_t i = 0; i < r->n_names; i++) *name_slot(r, r->names[i]) = (uint32_t)i + 1;
}

uint32_t tallyrun_name(struct tallyrun *r, struct slice name) {
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

static uint32_t *cell_slot(struct tallyrun *r, const struct tally_cell *c) {
    uint64_t h = r->seed ^ ((uint64_t)c->host << 32 | c->slot);
    h = (h ^ h >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= (uint64_t)c->rule << 32 | c->event_id;
    h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ c->channel ^ h >> 32) * UINT64_C(0x94d049bb133111eb);
    size_t at = (size_t)(h >> 32) & (r->n_slots - 1);
    while (r->slots[at] && !is_same(&r->cells[r->slots[at] - 1], c)) at = (at + 1) & (r->n_slots - 1);
    return &r->slots[at];
}

static void fill_slots(struct tallyrun *r) {
    for (size_t i = 0; i < r->n; i++) *cell_slot(r, &r->cells[i]) = (uint32_t)i + 1;
}

void tallyrun_add(struct tallyrun *r, const struct tally_cell *c) {
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

static int by_kind(const void *pa, const void *pb) {
    const struct tally_cell *a = pa, *b = pb;
    if (a->channel != b->channel) return a->channel < b->channel ? -1 : 1;
    if (a->event_id != b->event_id) return a->event_id < b->event_id ? -1 : 1;
    return (a->rule > b->rule) - (a->rule < b->rule);
}

static int by_place(const void *pa, const void *pb) {
    const struct tally_cell *a = pa, *b = pb;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (day_of(a) != day_of(b)) return day_of(a) < day_of(b) ? -1 : 1;
    int c = by_kind(a, b);
    return c ? c : (a->slot > b->slot) - (a->slot < b->slot);
}

void tallyrun_sort(struct tallyrun *r) {
    if (r->n) qsort(r->cells, r->n, sizeof *r->cells, by_place);
    memset(r->slots, 0, r->n_slots * sizeof *r->slots);
    fill_slots(r);
}

/* ---- the stored form ---- */

/* Numbers of the names that [from, to) uses, in order of first use: local[number - TALLY_NAMES]. */
static size_t local_names(const struct tallyrun *r, size_t from, size_t to, uint32_t *local, struct buf *names) {
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
static void put_section(const struct tallyrun *r, size_t from, size_t to, const uint32_t *local, struct buf *out) {
    for (size_t i = from, end; i < to; i = end) {
        for (end = i + 1; end < to && by_kind(&r->cells[end], &r->cells[i]) == 0; end++) {}
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

static size_t end_of_section(const struct tallyrun *r, size_t from, size_t to) {
    const struct tally_cell *c = &r->cells[from];
    size_t end = from + 1;
    while (end < to && r->cells[end].host == c->host && day_of(&r->cells[end]) == day_of(c)) end++;
    return end;
}

void tallyrun_encode(const struct tallyrun *r, size_t from, size_t to, struct buf *out) {
    uint32_t *local = mem_zalloc(mem_mul(r->n_names, sizeof *local));
    struct buf names = {0}, section = {0};
    size_t n = local_names(r, from, to, local, &names);
    buf_byte(out, TALLY_VERSION);
    buf_varint(out, n);
    buf_slice_append(out, buf_slice(&names));
    for (size_t i = from, end; i < to; i = end) {
        end = end_of_section(r, i, to);
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

/* ---- the log ---- */

static uint64_t table_bytes(MDB_txn *txn, MDB_dbi dbi) {
    MDB_stat s;
    if (mdb_stat(txn, dbi, &s)) return 0;
    return (uint64_t)s.ms_psize * (s.ms_branch_pages + s.ms_leaf_pages + s.ms_overflow_pages);
}

/* How many runs the log has, and the number of the next one. */
static int log_runs(MDB_cursor *c, uint32_t *ret_n, uint32_t *ret_next) {
    MDB_val k, v;
    *ret_n = *ret_next = 0;
    int rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
    if (rc) return rc == MDB_NOTFOUND ? 0 : rc;
    uint32_t first = key_get_u32(k.mv_data);
    rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
    if (rc) return rc;
    *ret_next = key_get_u32(k.mv_data) + 1;
    *ret_n = *ret_next - first;
    return 0;
}

static int append_log(const struct tallyrun *r, MDB_cursor *c, uint32_t run) {
    struct buf sheet = {0};
    int rc = 0;
    uint32_t chunk = 0;
    for (size_t i = 0, end; i < r->n && !rc; i = end) {
        for (end = end_of_section(r, i, r->n); end < r->n && end - i < TALLY_CHUNK_CELLS;)
            end = end_of_section(r, end, r->n);
        uint8_t key[KEY_TALLYLOG_LEN];
        key_tallylog(key, run, r->cells[i].host, chunk++);
        buf_clear(&sheet);
        tallyrun_encode(r, i, end, &sheet);
        MDB_val k = env_val(slice_of(key, sizeof key)), v = env_val(buf_slice(&sheet));
        rc = mdb_cursor_put(c, &k, &v, 0);
    }
    buf_free(&sheet);
    return rc;
}

/* ---- folding the log into the sheets ---- */

static enum status add_row(void *ctx, const struct tally_row *row) {
    struct tallyrun *r = ctx;
    struct tally_cell c = {.host = row->host,
                           .slot = row->slot,
                           .event_id = row->event_id,
                           .channel = tallyrun_name(r, row->channel),
                           .rule = row->is_rest ? TALLY_NAME_REST : tallyrun_name(r, row->rule),
                           .events = row->events,
                           .bytes = row->bytes};
    tallyrun_add(r, &c);
    return ST_OK;
}

static uint32_t name_into(struct tallyrun *to, const struct tallyrun *from, uint32_t number) {
    return number < TALLY_NAMES ? number : tallyrun_name(to, from->names[number - TALLY_NAMES]);
}

static void add_cells(struct tallyrun *to, const struct tallyrun *from, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        struct tally_cell c = from->cells[i];
        c.channel = name_into(to, from, c.channel);
        c.rule = name_into(to, from, c.rule);
        tallyrun_add(to, &c);
    }
}

/* The kinds of a sorted run of one host and day, but for the rest: one cell each with the sum of its events. */
static struct tally_cell *kinds_of(const struct tallyrun *r, size_t *ret_n) {
    struct tally_cell *kinds = mem_alloc(mem_mul(r->n, sizeof *kinds));
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct tally_cell *c = &r->cells[i];
        if (c->rule == TALLY_NAME_REST) continue;
        if (n && by_kind(&kinds[n - 1], c) == 0) {
            kinds[n - 1].events += c->events;
        } else {
            kinds[n++] = *c;
        }
    }
    *ret_n = n;
    return kinds;
}

static int by_events(const void *pa, const void *pb) {
    const struct tally_cell *a = pa, *b = pb;
    return a->events != b->events ? (a->events < b->events) - (a->events > b->events) : by_kind(a, b);
}

/* Which kinds are told apart: those that were before, and of the new ones those with the most events. Once the places are
 * taken no new one gets any, so what is told apart is complete. */
static void limit_kinds(struct tallyrun *day, const struct tally_cell *held, size_t n_held) {
    size_t n, n_new = 0;
    struct tally_cell *kinds = kinds_of(day, &n);
    if (n > TALLY_MAX_KINDS) {
        size_t n_cells = day->n, places = n_held < TALLY_MAX_KINDS ? TALLY_MAX_KINDS - n_held : 0;
        for (size_t i = 0; i < n; i++) {
            if (!n_held || !bsearch(&kinds[i], held, n_held, sizeof *held, by_kind)) kinds[n_new++] = kinds[i];
        }
        qsort(kinds, n_new, sizeof *kinds, by_events);
        size_t n_rest = n_new > places ? n_new - places : 0;
        struct tally_cell *rest = kinds + (n_new - n_rest), *cells = mem_alloc(mem_mul(n_cells, sizeof *cells));
        qsort(rest, n_rest, sizeof *rest, by_kind);
        memcpy(cells, day->cells, n_cells * sizeof *cells);
        day->n = 0;
        memset(day->slots, 0, day->n_slots * sizeof *day->slots);
        for (size_t i = 0; i < n_cells; i++) {
            if (cells[i].rule != TALLY_NAME_REST && bsearch(&cells[i], rest, n_rest, sizeof *rest, by_kind)) {
                cells[i].channel = TALLY_NAME_NONE;
                cells[i].rule = TALLY_NAME_REST;
                if (cells[i].event_id > TALLY_MAX_REST_ID) cells[i].event_id = TALLY_OTHER_IDS;
            }
            tallyrun_add(day, &cells[i]);
        }
        tallyrun_sort(day);
        mem_free(cells);
    }
    mem_free(kinds);
}

/* Adds cells [from, to), all of one host and day, to its sheet. */
static int fold_section(const struct tallyrun *all, size_t from, size_t to, struct partition *p, MDB_txn *txn,
                        struct tallyrun *day, struct buf *sheet) {
    uint8_t key[KEY_TALLY_LEN];
    key_tally(key, all->cells[from].host, day_of(&all->cells[from]));
    MDB_val k = env_val(slice_of(key, sizeof key)), v;
    MDB_dbi dbi = env_dbi(p->index, INDEX_TALLY);
    size_t n_held;
    tallyrun_clear(day);
    int rc = mdb_get(txn, dbi, &k, &v);
    if (rc && rc != MDB_NOTFOUND) return rc;
    if (!rc && tally_sheet_each(env_slice(v), 0, 0, UINT32_MAX, add_row, day)) {
        log_warn("storage", "%s: a sheet of volumes is damaged; it is replaced by what is known now",
                 env_dir(p->index));
        tallyrun_clear(day);
    }
    tallyrun_sort(day);
    struct tally_cell *held = kinds_of(day, &n_held);
    add_cells(day, all, from, to);
    tallyrun_sort(day);
    limit_kinds(day, held, n_held);
    mem_free(held);
    buf_clear(sheet);
    tallyrun_encode(day, 0, day->n, sheet);
    k = env_val(slice_of(key, sizeof key));
    v = env_val(buf_slice(sheet));
    return mdb_put(txn, dbi, &k, &v, 0);
}

static int read_log(MDB_cursor *c, struct partition *p, struct tallyrun *all) {
    MDB_val k, v;
    int rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
    for (; !rc; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        if (!tally_sheet_each(env_slice(v), 0, 0, UINT32_MAX, add_row, all)) continue;
        log_warn("storage", "%s: a logged sheet of volumes is damaged; what it held is lost until the next rebuild",
                 env_dir(p->index));
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int fold_all(const struct tallyrun *r, struct partition *p, MDB_txn *txn, MDB_cursor *log) {
    struct tallyrun all, day;
    struct buf sheet = {0};
    tallyrun_init(&all);
    tallyrun_init(&day);
    int rc = read_log(log, p, &all);
    add_cells(&all, r, 0, r->n);
    tallyrun_sort(&all);
    for (size_t i = 0, end; i < all.n && !rc; i = end) {
        end = end_of_section(&all, i, all.n);
        rc = fold_section(&all, i, end, p, txn, &day, &sheet);
    }
    tallyrun_deinit(&all);
    tallyrun_deinit(&day);
    buf_free(&sheet);
    return rc;
}

int tallyrun_store(struct tallyrun *r, struct partition *p, MDB_txn *txn) {
    if (!r->n) return 0;
    MDB_dbi dbi = env_dbi(p->index, INDEX_TALLYLOG);
    MDB_cursor *c;
    uint32_t n_runs, next;
    tallyrun_sort(r);
    int rc = mdb_cursor_open(txn, dbi, &c);
    if (rc) return rc;
    rc = log_runs(c, &n_runs, &next);
    uint64_t log = table_bytes(txn, dbi), sheets = table_bytes(txn, env_dbi(p->index, INDEX_TALLY));
    bool full = n_runs >= TALLY_LOG_RUNS || (log >= TALLY_LOG_BYTES && log >= sheets / 2);
    if (!rc && !full) rc = append_log(r, c, next);
    if (!rc && full) rc = fold_all(r, p, txn, c);
    mdb_cursor_close(c);
    return rc || !full ? rc : mdb_drop(txn, dbi, 0);
}
