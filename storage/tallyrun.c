/* 9 DIGEST: volumes on their way into the table. */
#include "tallyrun.h"
#include "keys.h"
#include "log.h"
#include "mem.h"

#include <stdlib.h>

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

static int append_log(const struct tallytab *r, MDB_cursor *c, uint32_t run) {
    struct buf sheet = {0};
    int rc = 0;
    uint32_t chunk = 0;
    for (size_t i = 0, end; i < r->n && !rc; i = end) {
        for (end = tallytab_section(r, i); end < r->n && end - i < TALLY_CHUNK_CELLS;) end = tallytab_section(r, end);
        uint8_t key[KEY_TALLYLOG_LEN];
        key_tallylog(key, run, r->cells[i].host, chunk++);
        buf_clear(&sheet);
        tallytab_encode(r, i, end, &sheet);
        MDB_val k = env_val(slice_of(key, sizeof key)), v = env_val(buf_slice(&sheet));
        rc = mdb_cursor_put(c, &k, &v, 0);
    }
    buf_free(&sheet);
    return rc;
}

/* ---- folding the log into the sheets ---- */

static enum status add_row(void *ctx, const struct tally_row *row) {
    struct tallytab *r = ctx;
    struct tally_cell c = {.host = row->host,
                           .slot = row->slot,
                           .event_id = row->event_id,
                           .channel = tallytab_name(r, row->channel),
                           .rule = row->is_rest ? TALLY_NAME_REST : tallytab_name(r, row->rule),
                           .events = row->events,
                           .bytes = row->bytes};
    tallytab_add(r, &c);
    return ST_OK;
}

static uint32_t name_into(struct tallytab *to, const struct tallytab *from, uint32_t number) {
    return number < TALLY_NAMES ? number : tallytab_name(to, from->names[number - TALLY_NAMES]);
}

static void add_cells(struct tallytab *to, const struct tallytab *from, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        struct tally_cell c = from->cells[i];
        c.channel = name_into(to, from, c.channel);
        c.rule = name_into(to, from, c.rule);
        tallytab_add(to, &c);
    }
}

/* The kinds of a sorted run of one host and day, but for the rest: one cell each with the sum of its events. */
static struct tally_cell *kinds_of(const struct tallytab *r, size_t *ret_n) {
    struct tally_cell *kinds = mem_alloc(mem_mul(r->n, sizeof *kinds));
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct tally_cell *c = &r->cells[i];
        if (c->rule == TALLY_NAME_REST) continue;
        if (n && tally_by_kind(&kinds[n - 1], c) == 0) {
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
    return a->events != b->events ? (a->events < b->events) - (a->events > b->events) : tally_by_kind(a, b);
}

/* Which kinds are told apart: those that were before, and of the new ones those with the most events. Once the places are
 * taken no new one gets any, so what is told apart is complete. */
static void limit_kinds(struct tallytab *day, const struct tally_cell *held, size_t n_held) {
    size_t n, n_new = 0;
    struct tally_cell *kinds = kinds_of(day, &n);
    if (n > TALLY_MAX_KINDS) {
        size_t n_cells = day->n, places = n_held < TALLY_MAX_KINDS ? TALLY_MAX_KINDS - n_held : 0;
        for (size_t i = 0; i < n; i++) {
            if (!n_held || !bsearch(&kinds[i], held, n_held, sizeof *held, tally_by_kind)) kinds[n_new++] = kinds[i];
        }
        qsort(kinds, n_new, sizeof *kinds, by_events);
        size_t n_rest = n_new > places ? n_new - places : 0;
        struct tally_cell *rest = kinds + (n_new - n_rest), *cells = mem_alloc(mem_mul(n_cells, sizeof *cells));
        qsort(rest, n_rest, sizeof *rest, tally_by_kind);
        memcpy(cells, day->cells, n_cells * sizeof *cells);
        day->n = 0;
        memset(day->slots, 0, day->n_slots * sizeof *day->slots);
        for (size_t i = 0; i < n_cells; i++) {
            if (cells[i].rule != TALLY_NAME_REST && bsearch(&cells[i], rest, n_rest, sizeof *rest, tally_by_kind)) {
                cells[i].channel = TALLY_NAME_NONE;
                cells[i].rule = TALLY_NAME_REST;
                if (cells[i].event_id > TALLY_MAX_REST_ID) cells[i].event_id = TALLY_OTHER_IDS;
            }
            tallytab_add(day, &cells[i]);
        }
        tallytab_sort(day);
        mem_free(cells);
    }
    mem_free(kinds);
}

/* Adds cells [from, to), all of one host and day, to its sheet. */
static int fold_section(const struct tallytab *all, size_t from, size_t to, struct partition *p, MDB_txn *txn,
                        struct tallytab *day, struct buf *sheet) {
    uint8_t key[KEY_TALLY_LEN];
    key_tally(key, all->cells[from].host, all->cells[from].slot / TALLY_SLOTS_A_DAY);
    MDB_val k = env_val(slice_of(key, sizeof key)), v;
    MDB_dbi dbi = env_dbi(p->index, INDEX_TALLY);
    size_t n_held;
    tallytab_clear(day);
    int rc = mdb_get(txn, dbi, &k, &v);
    if (rc && rc != MDB_NOTFOUND) return rc;
    if (!rc && tally_sheet_each(env_slice(v), 0, 0, UINT32_MAX, add_row, day)) {
        log_warn("storage", "%s: a sheet of volumes is damaged; it is replaced by what is known now",
                 env_dir(p->index));
        tallytab_clear(day);
    }
    tallytab_sort(day);
    struct tally_cell *held = kinds_of(day, &n_held);
    add_cells(day, all, from, to);
    tallytab_sort(day);
    limit_kinds(day, held, n_held);
    mem_free(held);
    buf_clear(sheet);
    tallytab_encode(day, 0, day->n, sheet);
    k = env_val(slice_of(key, sizeof key));
    v = env_val(buf_slice(sheet));
    return mdb_put(txn, dbi, &k, &v, 0);
}

static int read_log(MDB_cursor *c, struct partition *p, struct tallytab *all) {
    MDB_val k, v;
    int rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
    for (; !rc; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        if (!tally_sheet_each(env_slice(v), 0, 0, UINT32_MAX, add_row, all)) continue;
        log_warn("storage", "%s: a logged sheet of volumes is damaged; what it held is lost until the next rebuild",
                 env_dir(p->index));
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int fold_all(const struct tallytab *r, struct partition *p, MDB_txn *txn, MDB_cursor *log) {
    struct tallytab all, day;
    struct buf sheet = {0};
    tallytab_init(&all);
    tallytab_init(&day);
    int rc = read_log(log, p, &all);
    add_cells(&all, r, 0, r->n);
    tallytab_sort(&all);
    for (size_t i = 0, end; i < all.n && !rc; i = end) {
        end = tallytab_section(&all, i);
        rc = fold_section(&all, i, end, p, txn, &day, &sheet);
    }
    tallytab_deinit(&all);
    tallytab_deinit(&day);
    buf_free(&sheet);
    return rc;
}

int tallyrun_store(struct tallytab *r, struct partition *p, MDB_txn *txn) {
    if (!r->n) return 0;
    MDB_dbi dbi = env_dbi(p->index, INDEX_TALLYLOG);
    MDB_cursor *c;
    uint32_t n_runs, next;
    tallytab_sort(r);
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
