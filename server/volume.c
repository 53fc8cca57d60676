/* Adding up volumes. The table that collects is the store's own: a cell's slot stands for day and span here, twice the
 * number of the day plus the number of the span, so that a row's two spans are neighbours once it is sorted. */
#include "volume.h"
#include "clock.h"
#include "mem.h"

#include <stdlib.h>

struct volume {
    struct db *db;
    struct volume_spec spec;
    uint32_t *hosts;
    struct db_partition *parts;
    size_t n_parts, at;
    struct tallytab tab;
    struct volume_row *rows;
    size_t n_rows;
    bool too_many;
};

struct volume_span volume_span(uint64_t since, uint64_t until) {
    if (until < since) return (struct volume_span){0};
    uint64_t end = until / TALLY_SLOT + (until < UINT64_MAX - TALLY_SLOT); /* there is no time after the last slot */
    return (struct volume_span){since / TALLY_SLOT * TALLY_SLOT, end * TALLY_SLOT};
}

enum status volume_around(uint64_t from, uint64_t settled, uint64_t len, uint64_t now, struct volume_span ret[2]) {
    uint64_t end = from / TALLY_SLOT, begin = (settled + TALLY_SLOT - 1) / TALLY_SLOT, over = now / TALLY_SLOT;
    uint64_t n = len / TALLY_SLOT ? len / TALLY_SLOT : 1;
    if (over > begin && n > over - begin) n = over - begin;
    if (n > end) n = end;
    enum status st = over > begin && n ? ST_OK : ST_AGAIN;
    if (st) n = 1;
    ret[0] = (struct volume_span){(end > n ? end - n : 0) * TALLY_SLOT, end * TALLY_SLOT};
    ret[1] = (struct volume_span){begin * TALLY_SLOT, (begin + n) * TALLY_SLOT};
    return st;
}

struct volume *volume_new(struct db *db, const struct volume_spec *spec) {
    struct volume *v = mem_zalloc(sizeof *v);
    v->db = db;
    v->spec = *spec;
    v->hosts = mem_alloc(mem_mul(spec->n_hosts, sizeof *v->hosts));
    if (spec->n_hosts) memcpy(v->hosts, spec->hosts, spec->n_hosts * sizeof *v->hosts);
    v->spec.hosts = v->hosts;
    tallytab_init(&v->tab);
    return v;
}

void volume_free(struct volume **pv) {
    struct volume *v = *pv;
    if (!v) return;
    tallytab_deinit(&v->tab);
    mem_free(v->hosts);
    mem_free(v->parts);
    mem_free(v->rows);
    mem_free(v);
    *pv = NULL;
}

/* ---- collecting ---- */

static int by_number(const void *pa, const void *pb) {
    const uint32_t *a = pa, *b = pb;
    return (*a > *b) - (*a < *b);
}

static bool wants_host(const struct volume_spec *s, uint32_t host) {
    return s->all_hosts || (s->n_hosts && bsearch(&host, s->hosts, s->n_hosts, sizeof host, by_number));
}

static bool is_in(const struct volume_span *s, uint64_t slot) {
    return slot * TALLY_SLOT >= s->since && slot * TALLY_SLOT < s->until;
}

static enum status on_row(void *ctx, const struct tally_row *row) {
    struct volume *v = ctx;
    unsigned by = v->spec.by;
    if (!wants_host(&v->spec, row->host)) return ST_OK;
    for (unsigned i = 0; i < 2; i++) {
        if (!is_in(&v->spec.spans[i], row->slot)) continue;
        struct tally_cell c = {.events = row->events, .bytes = row->bytes};
        if (by & VOLUME_BY_HOST) c.host = row->host;
        if (by & VOLUME_BY_DAY) c.slot = row->slot / TALLY_SLOTS_A_DAY;
        c.slot = 2 * c.slot + i;
        if (by & VOLUME_BY_ID) c.event_id = row->event_id;
        if (by & VOLUME_BY_CHANNEL) c.channel = row->is_rest ? TALLY_NAME_REST : tallytab_name(&v->tab, row->channel);
        if (by & VOLUME_BY_RULE) c.rule = row->is_rest ? TALLY_NAME_REST : tallytab_name(&v->tab, row->rule);
        tallytab_add(&v->tab, &c);
    }
    v->too_many = v->tab.n > 2 * VOLUME_MAX_ROWS;
    return v->too_many ? ST_END : ST_OK;
}

/* The slots from the first to the last of both spans; false: there are none. */
static bool slots_of(const struct volume_spec *s, uint32_t *ret_first, uint32_t *ret_last) {
    uint64_t since = UINT64_MAX, until = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (s->spans[i].until <= s->spans[i].since) continue;
        if (s->spans[i].since < since) since = s->spans[i].since;
        if (s->spans[i].until > until) until = s->spans[i].until;
    }
    if (since >= until) return false;
    *ret_first = (uint32_t)(since / TALLY_SLOT);
    *ret_last = (uint32_t)((until - 1) / TALLY_SLOT);
    return true;
}

/* ---- the rows ---- */

static struct slice name_of(const struct tallytab *t, uint32_t number) {
    return number < TALLY_NAMES ? SLICE_LIT("") : t->names[number - TALLY_NAMES];
}

static uint64_t weight(const struct volume_sum *s) {
    return s->bytes[0] > s->bytes[1] ? s->bytes[0] : s->bytes[1];
}

static int by_day_and_bytes(const void *pa, const void *pb) {
    const struct volume_row *a = pa, *b = pb;
    if (a->day != b->day) return a->day < b->day ? -1 : 1;
    if (weight(&a->sum) != weight(&b->sum)) return weight(&a->sum) < weight(&b->sum) ? 1 : -1;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (a->event_id != b->event_id) return a->event_id < b->event_id ? -1 : 1;
    int c = slice_cmp(a->rule, b->rule);
    return c ? c : slice_cmp(a->channel, b->channel);
}

static void make_rows(struct volume *v) {
    const struct tally_cell *before = NULL;
    tallytab_sort(&v->tab);
    v->rows = mem_alloc(mem_mul(v->tab.n, sizeof *v->rows));
    for (size_t i = 0; i < v->tab.n; i++) {
        const struct tally_cell *c = &v->tab.cells[i];
        if (!before || before->host != c->host || before->slot / 2 != c->slot / 2 || tally_by_kind(before, c) != 0) {
            v->rows[v->n_rows++] =
                (struct volume_row){.host = c->host,
                                    .event_id = c->event_id,
                                    .day = c->slot / 2 * FILETIME_DAY,
                                    .channel = name_of(&v->tab, c->channel),
                                    .rule = name_of(&v->tab, c->rule),
                                    .is_rest = c->channel == TALLY_NAME_REST || c->rule == TALLY_NAME_REST};
        }
        struct volume_sum *s = &v->rows[v->n_rows - 1].sum;
        s->events[c->slot % 2] += c->events;
        s->bytes[c->slot % 2] += c->bytes;
        before = c;
    }
    if (v->n_rows) qsort(v->rows, v->n_rows, sizeof *v->rows, by_day_and_bytes);
}

enum status volume_step(struct volume *v, struct error *err) {
    uint32_t first, last;
    if (!v->parts)
        v->n_parts = db_partitions(v->db, &v->parts); /* now: what they hold is known when the digest is done */
    if (v->at == v->n_parts || !slots_of(&v->spec, &first, &last)) {
        if (!v->rows) make_rows(v);
        return ST_END;
    }
    const struct db_partition *p = &v->parts[v->at++];
    if (!p->n_events || p->min_time / TALLY_SLOT > last || p->max_time / TALLY_SLOT < first) return ST_OK;
    uint32_t host = !v->spec.all_hosts && v->spec.n_hosts == 1 ? v->spec.hosts[0] : 0;
    enum status st = tally_each(v->db, p->day, host, first, last, on_row, v, err);
    if (st == ST_NOTFOUND) return ST_OK; /* expired meanwhile */
    if (v->too_many) {
        return error_set(err, ST_TOOBIG,
                         "these are more than %u rows: ask by fewer things, for fewer hosts or for a shorter time",
                         VOLUME_MAX_ROWS);
    }
    return st;
}

size_t volume_rows(struct volume *v, const struct volume_row **ret, struct volume_sum *ret_all) {
    *ret_all = (struct volume_sum){0};
    for (size_t i = 0; i < v->n_rows; i++) {
        for (unsigned k = 0; k < 2; k++) {
            ret_all->events[k] += v->rows[i].sum.events[k];
            ret_all->bytes[k] += v->rows[i].sum.bytes[k];
        }
    }
    *ret = v->rows;
    return v->n_rows;
}
