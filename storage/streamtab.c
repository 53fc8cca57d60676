/* 7 DEDUP: streams in memory. A span or note belongs to the part in whose range its first id lies. */
#include "streamtab.h"
#include "keys.h"
#include "mem.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

void streamtab_init(struct streamtab *t) {
    *t = (struct streamtab){0};
}

static void stream_free(struct stream *s) {
    mem_free(s->computer);
    mem_free(s->channel);
    ledger_deinit(&s->ledger);
    mem_free(s->parts);
    mem_free(s);
}

void streamtab_deinit(struct streamtab *t) {
    for (size_t id = 1; id <= t->n; id++) {
        if (t->by_id[id]) stream_free(t->by_id[id]);
    }
    mem_free(t->by_id);
    mem_free(t->buckets);
    mem_free(t->dirty);
    mem_free(t->hosts);
    streamtab_init(t);
}

static size_t bucket_of(const struct streamtab *t, uint32_t host, struct slice computer, struct slice channel) {
    uint64_t h = XXH3_64bits_withSeed(computer.p, computer.len, host);
    h = XXH3_64bits_withSeed(channel.p, channel.len, h);
    return (size_t)(h & (t->n_buckets - 1));
}

static bool is_log(const struct stream *s, uint32_t host, struct slice computer, struct slice channel) {
    return s->host == host && slice_eq_str(channel, s->channel) && slice_eq_str(computer, s->computer);
}

static void insert(struct streamtab *t, struct stream *s) {
    struct stream **at = &t->buckets[bucket_of(t, s->host, slice_str(s->computer), slice_str(s->channel))];
    while (*at && (*at)->epoch < s->epoch) at = &(*at)->next; /* so a walk meets epochs ascending */
    s->next = *at;
    *at = s;
}

static void grow_buckets(struct streamtab *t) {
    if (t->n_streams < t->n_buckets) return;
    mem_free(t->buckets);
    t->n_buckets = t->n_buckets ? t->n_buckets * 2 : 64;
    t->buckets = mem_zalloc(mem_mul(t->n_buckets, sizeof *t->buckets));
    for (size_t id = 1; id <= t->n; id++) {
        if (t->by_id[id]) insert(t, t->by_id[id]);
    }
}

static struct host_count *host_slot(const struct streamtab *t, uint32_t host) {
    size_t at = (host * UINT32_C(2654435761) >> 7) & (t->cap_hosts - 1);
    while (t->hosts[at].host && t->hosts[at].host != host) at = (at + 1) & (t->cap_hosts - 1);
    return &t->hosts[at];
}

static struct host_count *count_of(struct streamtab *t, uint32_t host) {
    if (t->n_hosts * 2 >= t->cap_hosts) {
        struct host_count *old = t->hosts;
        size_t n = t->cap_hosts;
        t->cap_hosts = n ? n * 2 : 64;
        t->hosts = mem_zalloc(mem_mul(t->cap_hosts, sizeof *t->hosts));
        for (size_t i = 0; i < n; i++) {
            if (old[i].host) *host_slot(t, old[i].host) = old[i];
        }
        mem_free(old);
    }
    struct host_count *c = host_slot(t, host);
    if (!c->host) {
        c->host = host;
        t->n_hosts++;
    }
    return c;
}

static void add_stream(struct streamtab *t, struct stream *s) {
    grow_buckets(t);
    while (t->n < s->id) {
        mem_grow((void **)&t->by_id, t->n + 1, &t->cap, sizeof *t->by_id);
        t->by_id[++t->n] = NULL;
    }
    t->by_id[s->id] = s;
    insert(t, s);
    t->n_streams++;
    count_of(t, s->host)->n++;
}

static void add_part(struct stream *s, size_t at, uint64_t first, bool dirty) {
    mem_grow((void **)&s->parts, s->n_parts, &s->cap_parts, sizeof *s->parts);
    memmove(s->parts + at + 1, s->parts + at, (s->n_parts - at) * sizeof *s->parts);
    s->parts[at] = (struct stream_part){.first = first, .dirty = dirty};
    s->n_parts++;
}

static struct stream *make(uint32_t id, uint32_t host, uint32_t epoch, struct slice computer, struct slice channel) {
    struct stream *s = mem_zalloc(sizeof *s);
    s->id = id;
    s->host = host;
    s->epoch = epoch;
    s->computer = mem_strndup(computer.p, computer.len);
    s->channel = mem_strndup(channel.p, channel.len);
    return s;
}

static void on_stored(void *ctx, struct stream_read *r) {
    struct streamtab *t = ctx;
    struct stream *s = make(r->id, r->host, r->head.epoch, r->head.computer, r->head.channel);
    s->n_events = r->head.n_events;
    s->n_bytes = r->head.n_bytes;
    s->n_duplicates = r->head.n_duplicates;
    s->last_arrival = r->head.last_arrival;
    s->ledger = r->ledger;
    ledger_init(&r->ledger);
    for (size_t i = 0; i < r->n_parts; i++) add_part(s, i, r->parts[i], false);
    if (!s->n_parts) add_part(s, 0, 0, false);
    add_stream(t, s);
}

enum status streamtab_load(struct streamtab *t, struct partition *p, struct error *err) {
    return streams_read(p, 0, on_stored, t, err);
}

struct stream *streamtab_by_id(const struct streamtab *t, uint32_t id) {
    return id && id <= t->n ? t->by_id[id] : NULL;
}

void streamtab_each(const struct streamtab *t, uint32_t host, struct slice computer, struct slice channel,
                    void (*fn)(void *ctx, struct stream *s), void *ctx) {
    if (!t->n_buckets) return;
    for (struct stream *s = t->buckets[bucket_of(t, host, computer, channel)]; s; s = s->next) {
        if (is_log(s, host, computer, channel)) fn(ctx, s);
    }
}

struct wanted {
    uint32_t epoch;
    struct stream *found;
};

static void match_epoch(void *ctx, struct stream *s) {
    struct wanted *w = ctx;
    if (s->epoch == w->epoch) w->found = s;
}

struct stream *streamtab_get(struct streamtab *t, uint32_t host, struct slice computer, struct slice channel,
                             uint32_t epoch) {
    struct wanted w = {.epoch = epoch};
    streamtab_each(t, host, computer, channel, match_epoch, &w);
    if (w.found) return w.found;
    if (count_of(t, host)->n >= STREAMTAB_MAX_PER_HOST) return NULL;
    struct stream *s = make((uint32_t)t->n + 1, host, epoch, computer, channel);
    add_part(s, 0, 0, true);
    add_stream(t, s);
    return s;
}

/* ---- changes ---- */

void stream_changed(struct streamtab *t, struct stream *s) {
    if (s->dirty) return;
    s->dirty = true;
    mem_grow((void **)&t->dirty, t->n_dirty, &t->cap_dirty, sizeof *t->dirty);
    t->dirty[t->n_dirty++] = s;
}

static size_t part_of(const struct stream *s, uint64_t id) {
    size_t lo = 1, hi = s->n_parts; /* parts[0].first is 0 */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->parts[mid].first <= id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo - 1;
}

static void touch(struct streamtab *t, struct stream *s, uint64_t first, uint64_t last) {
    for (size_t i = part_of(s, first), end = part_of(s, last); i <= end; i++) s->parts[i].dirty = true;
    stream_changed(t, s);
}

static size_t span_at(const struct ledger *l, uint64_t id) { /* the number of spans that begin below id */
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->spans[mid].first < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static size_t note_at(const struct ledger *l, uint64_t id) {
    size_t lo = 0, hi = l->n_notes;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->notes[mid].first < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

void stream_add(struct streamtab *t, struct stream *s, const struct ledger_span *spans, size_t n) {
    struct ledger *l = &s->ledger;
    ledger_add_all(l, spans, n);
    for (size_t k = 0; k < n; k++) { /* what a span was joined with lies inside the one that now holds it */
        size_t i = span_at(l, spans[k].first);
        if (i == l->n || l->spans[i].first > spans[k].first) i--;
        touch(t, s, l->spans[i].first, l->spans[i].last);
    }
}

void stream_explain(struct streamtab *t, struct stream *s, uint64_t first, uint64_t last, enum ledger_cause cause) {
    size_t i = note_at(&s->ledger, first);
    uint64_t from = i ? s->ledger.notes[i - 1].first : first;
    ledger_explain(&s->ledger, first, last, cause);
    touch(t, s, from, last == UINT64_MAX ? last : last + 1);
    /* joined with a note that began inside or just after: the ones that are gone began no later than last + 1 */
}

/* ---- storing ---- */

struct range {
    size_t span, n_spans, note, n_notes;
};

static struct range range_of(const struct stream *s, size_t part) {
    const struct ledger *l = &s->ledger;
    uint64_t first = s->parts[part].first;
    bool last = part + 1 == s->n_parts;
    struct range r = {.span = span_at(l, first), .note = note_at(l, first)};
    r.n_spans = (last ? l->n : span_at(l, s->parts[part + 1].first)) - r.span;
    r.n_notes = (last ? l->n_notes : note_at(l, s->parts[part + 1].first)) - r.note;
    return r;
}

/* Cuts a part that has grown too long; what is above the cut is a dirty part of its own. */
static void split(struct stream *s, size_t part) {
    struct range r = range_of(s, part);
    const struct ledger *l = &s->ledger;
    if (r.n_spans > STREAM_PART_MAX) {
        add_part(s, part + 1, l->spans[r.span + STREAM_PART_FILL].first, true);
    } else if (r.n_notes > STREAM_PART_MAX) {
        add_part(s, part + 1, l->notes[r.note + STREAM_PART_FILL].first, true);
    }
}

static int store_part(const struct stream *s, struct partition *p, MDB_txn *txn, size_t part, struct buf *b) {
    struct range r = range_of(s, part);
    struct ledger view = {.n = r.n_spans, .n_notes = r.n_notes};
    if (r.n_spans) view.spans = s->ledger.spans + r.span;
    if (r.n_notes) view.notes = s->ledger.notes + r.note;
    uint8_t key[KEY_PART_LEN];
    key_part(key, s->host, s->id, s->parts[part].first);
    MDB_val k = env_val(slice_of(key, sizeof key));
    s->parts[part].gone = part && !r.n_spans && !r.n_notes;
    if (s->parts[part].gone) {
        int rc = mdb_del(txn, env_dbi(p->events, EVENTS_STREAMS), &k, NULL);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    buf_clear(b);
    ledger_encode(&view, b);
    MDB_val v = env_val(buf_slice(b));
    return mdb_put(txn, env_dbi(p->events, EVENTS_STREAMS), &k, &v, 0);
}

static int store_head(const struct stream *s, struct partition *p, MDB_txn *txn, struct buf *b) {
    uint8_t key[KEY_STREAM_LEN];
    key_stream(key, s->host, s->id);
    struct stream_head h = {.epoch = s->epoch,
                            .computer = slice_str(s->computer),
                            .channel = slice_str(s->channel),
                            .n_events = s->n_events,
                            .n_bytes = s->n_bytes,
                            .n_duplicates = s->n_duplicates,
                            .last_arrival = s->last_arrival};
    buf_clear(b);
    stream_head_encode(&h, b);
    MDB_val k = env_val(slice_of(key, sizeof key)), v = env_val(buf_slice(b));
    return mdb_put(txn, env_dbi(p->events, EVENTS_STREAMS), &k, &v, 0);
}

static int store(struct stream *s, struct partition *p, MDB_txn *txn, bool all, struct buf *b) {
    int rc = store_head(s, p, txn, b);
    for (size_t i = 0; !rc && i < s->n_parts; i++) {
        if (!all && !s->parts[i].dirty) continue;
        split(s, i);
        rc = store_part(s, p, txn, i, b);
    }
    return rc;
}

int streamtab_store(struct streamtab *t, struct partition *p, MDB_txn *txn, bool all) {
    struct buf b = {0};
    int rc = 0;
    if (all) {
        for (size_t id = 1; !rc && id <= t->n; id++) {
            if (t->by_id[id]) rc = store(t->by_id[id], p, txn, true, &b);
        }
    } else {
        for (size_t i = 0; !rc && i < t->n_dirty; i++) rc = store(t->dirty[i], p, txn, false, &b);
    }
    buf_free(&b);
    return rc;
}

void streamtab_stored(struct streamtab *t) {
    for (size_t i = 0; i < t->n_dirty; i++) {
        struct stream *s = t->dirty[i];
        size_t n = 0;
        for (size_t j = 0; j < s->n_parts; j++) {
            if (!s->parts[j].gone) s->parts[n++] = (struct stream_part){.first = s->parts[j].first};
        }
        s->n_parts = n;
        s->dirty = false;
    }
    t->n_dirty = 0;
}

size_t streamtab_store_bytes(const struct streamtab *t, bool all) {
    size_t n = all ? 0 : t->n_dirty * 8192; /* a page each for head and parts, and their way up */
    for (size_t id = 1; all && id <= t->n; id++) {
        if (t->by_id[id]) n += 512 + t->by_id[id]->ledger.n * 32 + t->by_id[id]->ledger.n_notes * 16;
    }
    return n;
}
