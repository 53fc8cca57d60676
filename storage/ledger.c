/* 7 DEDUP: interval sets of record ids. Pure. Spans are sorted, disjoint and never adjacent; so are notes, but two
 * adjacent ones of different cause may stand side by side. */
#include "ledger.h"
#include "mem.h"

#include <assert.h>
#include <stdlib.h>

#define LEDGER_VERSION 1
#define LEDGER_MAX_ITEMS (UINT64_C(1) << 26)

void ledger_init(struct ledger *l) {
    *l = (struct ledger){0};
}

void ledger_deinit(struct ledger *l) {
    mem_free(l->spans);
    mem_free(l->notes);
    ledger_init(l);
}

/* The number of spans whose first id is at most id. */
static size_t upto(const struct ledger *l, uint64_t id) {
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->spans[mid].first <= id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

bool ledger_has(const struct ledger *l, uint64_t id) {
    size_t i = upto(l, id);
    return i && l->spans[i - 1].last >= id;
}

uint64_t ledger_held(const struct ledger *l, uint64_t first, uint64_t last) {
    if (first > last) return 0;
    size_t i = upto(l, first);
    if (i) i--;
    uint64_t held = 0;
    for (; i < l->n && l->spans[i].first <= last; i++) {
        const struct ledger_span *s = &l->spans[i];
        if (s->last < first) continue;
        uint64_t from = s->first > first ? s->first : first, to = s->last < last ? s->last : last;
        held += to - from + 1;
    }
    return held;
}

uint64_t ledger_count(const struct ledger *l) {
    uint64_t n = 0;
    for (size_t i = 0; i < l->n; i++) n += l->spans[i].last - l->spans[i].first + 1;
    return n;
}

const struct ledger_span *ledger_highest(const struct ledger *l) {
    return l->n ? &l->spans[l->n - 1] : NULL;
}

/* b joins a: they overlap or touch. Where both hold the end id, a's time stays. */
static void join(struct ledger_span *a, const struct ledger_span *b) {
    if (b->first < a->first) {
        a->first = b->first;
        a->first_time = b->first_time;
    }
    if (b->last > a->last) {
        a->last = b->last;
        a->last_time = b->last_time;
    }
}

void ledger_add(struct ledger *l, struct ledger_span s) {
    assert(s.first <= s.last);
    size_t from = upto(l, s.first), to;
    if (from && l->spans[from - 1].last >= s.first - (s.first > 0)) from--;
    for (to = from; to < l->n && l->spans[to].first <= (s.last == UINT64_MAX ? s.last : s.last + 1); to++) {}
    if (from == to) {
        mem_grow((void **)&l->spans, l->n, &l->cap, sizeof *l->spans);
        memmove(l->spans + from + 1, l->spans + from, (l->n - from) * sizeof *l->spans);
        l->spans[from] = s;
        l->n++;
        return;
    }
    join(&l->spans[from], &l->spans[to - 1]);
    join(&l->spans[from], &s);
    memmove(l->spans + from + 1, l->spans + to, (l->n - to) * sizeof *l->spans);
    l->n -= to - from - 1;
}

static int by_first(const void *pa, const void *pb) {
    const struct ledger_span *a = pa, *b = pb;
    return (a->first > b->first) - (a->first < b->first);
}

/* Appends in order of first ids, joining what overlaps or touches. */
static void put_span(struct ledger_span *out, size_t *n, const struct ledger_span *s) {
    struct ledger_span *prev = *n ? &out[*n - 1] : NULL;
    if (prev && (s->first <= prev->last || s->first - 1 == prev->last)) {
        join(prev, s);
    } else {
        out[(*n)++] = *s;
    }
}

void ledger_add_all(struct ledger *l, const struct ledger_span *spans, size_t n) {
    if (n < 8 || l->n < 64 || spans[0].first > l->spans[l->n - 1].first) { /* few, or at the end: nothing much moves */
        for (size_t i = 0; i < n; i++) ledger_add(l, spans[i]);
        return;
    }
    struct ledger_span *add = mem_alloc(mem_mul(n, sizeof *add));
    memcpy(add, spans, n * sizeof *add);
    qsort(add, n, sizeof *add, by_first);
    size_t cap = l->n + n, n_out = 0, at = 0;
    struct ledger_span *out = mem_alloc(mem_mul(cap, sizeof *out));
    for (size_t i = 0; i < n; i++) {
        assert(add[i].first <= add[i].last);
        while (at < l->n && l->spans[at].first <= add[i].first) put_span(out, &n_out, &l->spans[at++]);
        put_span(out, &n_out, &add[i]);
    }
    while (at < l->n) put_span(out, &n_out, &l->spans[at++]);
    mem_free(add);
    mem_free(l->spans);
    l->spans = out;
    l->n = n_out;
    l->cap = cap;
}

static void put_note(struct ledger_note *notes, size_t *n, struct ledger_note add) {
    struct ledger_note *prev = *n ? &notes[*n - 1] : NULL;
    if (prev && prev->cause == add.cause && prev->last + 1 == add.first) {
        prev->last = add.last;
    } else {
        notes[(*n)++] = add;
    }
}

/* What is said last about an id counts. */
void ledger_explain(struct ledger *l, uint64_t first, uint64_t last, enum ledger_cause cause) {
    assert(first <= last);
    struct ledger_note add = {first, last, cause};
    size_t cap = l->n_notes + 2, n = 0;
    struct ledger_note *notes = mem_alloc(cap * sizeof *notes);
    bool placed = cause == LEDGER_OPEN;
    for (size_t i = 0; i < l->n_notes; i++) {
        struct ledger_note old = l->notes[i];
        if (old.first < first) {
            put_note(notes, &n, (struct ledger_note){old.first, old.last < first ? old.last : first - 1, old.cause});
        }
        if (old.last > last) {
            if (!placed) put_note(notes, &n, add);
            placed = true;
            put_note(notes, &n, (struct ledger_note){old.first > last ? old.first : last + 1, old.last, old.cause});
        }
    }
    if (!placed) put_note(notes, &n, add);
    mem_free(l->notes);
    l->notes = notes;
    l->n_notes = n;
    l->cap_notes = cap;
}

bool ledger_fits(const struct ledger *l, uint64_t id, uint64_t time, uint64_t slack) {
    size_t i = upto(l, id);
    const struct ledger_span *below = i ? &l->spans[i - 1] : NULL, *above = i < l->n ? &l->spans[i] : NULL;
    uint64_t floor = 0, ceiling = UINT64_MAX;
    if (below) {
        floor = below->last < id ? below->last_time : below->first_time;
        if (below->last >= id) ceiling = below->last_time;
    }
    if (above && above->first_time < ceiling) ceiling = above->first_time;
    bool late_enough = time >= floor || floor - time <= slack;
    return late_enough && (time <= ceiling || time - ceiling <= slack);
}

/* The end of the run of ids from id on that no span holds, and the first id that one does (or past `highest`). */
static bool gap_at(const struct ledger *l, uint64_t *id, uint64_t highest, uint64_t *ret_last) {
    size_t i = upto(l, *id);
    while (i && l->spans[i - 1].last >= *id) {
        if (l->spans[i - 1].last >= highest) return false;
        *id = l->spans[i - 1].last + 1;
        i = upto(l, *id);
    }
    if (*id > highest) return false;
    *ret_last = i < l->n && l->spans[i].first <= highest ? l->spans[i].first - 1 : highest;
    return true;
}

static size_t first_note_not_before(const struct ledger *l, uint64_t id) {
    size_t lo = 0, hi = l->n_notes;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->notes[mid].last < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

bool ledger_next_hole(const struct ledger *l, uint64_t *at, struct ledger_note *ret) {
    if (!l->n && !l->n_notes) return false;
    uint64_t lowest = UINT64_MAX, highest = 0;
    if (l->n) {
        lowest = l->spans[0].first;
        highest = l->spans[l->n - 1].last;
    }
    if (l->n_notes) {
        if (l->notes[0].first < lowest) lowest = l->notes[0].first;
        if (l->notes[l->n_notes - 1].last > highest) highest = l->notes[l->n_notes - 1].last;
    }
    if (highest == UINT64_MAX) highest--; /* *at must be able to pass it */
    uint64_t first = *at > lowest ? *at : lowest, last;
    if (!gap_at(l, &first, highest, &last)) return false;
    enum ledger_cause cause = LEDGER_OPEN;
    size_t i = first_note_not_before(l, first);
    if (i < l->n_notes && l->notes[i].first <= first) {
        cause = l->notes[i].cause;
        if (l->notes[i].last < last) last = l->notes[i].last;
    } else if (i < l->n_notes && l->notes[i].first <= last) {
        last = l->notes[i].first - 1;
    }
    *ret = (struct ledger_note){first, last, cause};
    *at = last + 1;
    return true;
}

/* version | n spans | n notes | spans: gap from the last end, length - 1, times as differences | notes: gap, length -
 * 1, cause */
void ledger_encode(const struct ledger *l, struct buf *out) {
    buf_byte(out, LEDGER_VERSION);
    buf_varint(out, l->n);
    buf_varint(out, l->n_notes);
    uint64_t id = 0, time = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct ledger_span *s = &l->spans[i];
        buf_varint(out, s->first - id);
        buf_varint(out, s->last - s->first);
        buf_zigzag(out, (int64_t)(s->first_time - time));
        buf_zigzag(out, (int64_t)(s->last_time - s->first_time));
        id = s->last;
        time = s->last_time;
    }
    id = 0;
    for (size_t i = 0; i < l->n_notes; i++) {
        const struct ledger_note *n = &l->notes[i];
        buf_varint(out, n->first - id);
        buf_varint(out, n->last - n->first);
        buf_byte(out, (uint8_t)n->cause);
        id = n->last;
    }
}

static bool decode_spans(struct reader *r, struct ledger *l, size_t n) {
    uint64_t id = 0, time = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t gap = reader_varint(r), more = reader_varint(r);
        struct ledger_span s = {.first_time = time + (uint64_t)reader_zigzag(r)};
        s.last_time = s.first_time + (uint64_t)reader_zigzag(r);
        if (r->bad || gap > UINT64_MAX - id || (i && gap < 2) || more > UINT64_MAX - (id + gap)) return false;
        s.first = id + gap;
        s.last = s.first + more;
        id = s.last;
        time = s.last_time;
        l->spans[l->n++] = s;
    }
    return true;
}

static bool decode_notes(struct reader *r, struct ledger *l, size_t n) {
    uint64_t id = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t gap = reader_varint(r), more = reader_varint(r);
        unsigned cause = reader_u8(r);
        if (r->bad || gap > UINT64_MAX - id || (i && gap < 1) || more > UINT64_MAX - (id + gap)) return false;
        if (cause == LEDGER_OPEN || cause > LEDGER_DAMAGED) return false;
        struct ledger_note note = {id + gap, id + gap + more, (enum ledger_cause)cause};
        if (i && gap == 1 && l->notes[i - 1].cause == note.cause) return false;
        id = note.last;
        l->notes[l->n_notes++] = note;
    }
    return true;
}

enum status ledger_decode(struct slice s, struct ledger *ret) {
    struct reader r = reader_of(s);
    uint8_t version = reader_u8(&r);
    if (r.bad) return ST_CORRUPT;
    if (version != LEDGER_VERSION) return ST_VERSION;
    uint64_t n = reader_varint(&r), n_notes = reader_varint(&r);
    /* a span takes at least 4 bytes, a note 3: what is allocated is bounded by what is there */
    if (r.bad || n > reader_left(&r) / 4 || n_notes > reader_left(&r) / 3 || n + n_notes > LEDGER_MAX_ITEMS) {
        return ST_CORRUPT;
    }
    struct ledger l = {.spans = mem_try_alloc((size_t)n * sizeof *l.spans),
                       .cap = (size_t)n,
                       .notes = mem_try_alloc((size_t)n_notes * sizeof *l.notes),
                       .cap_notes = (size_t)n_notes};
    enum status st = !l.spans || !l.notes ? ST_NOMEM : ST_OK;
    if (!st && (!decode_spans(&r, &l, (size_t)n) || !decode_notes(&r, &l, (size_t)n_notes) || reader_left(&r))) {
        st = ST_CORRUPT;
    }
    if (st) {
        ledger_deinit(&l);
    } else {
        *ret = l;
    }
    return st;
}
