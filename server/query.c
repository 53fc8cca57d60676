/* Time-ordered merge over blocks.
 *
 * The plan is a list of blocks sorted by the time of their first event (last event, when newest comes first). A heap
 * holds the blocks that are open: those whose time range reaches the front of the merge. Opening reads the columns
 * only and keeps, per matching event, where it is in the payload. Payloads are opened when an event is due, a few at
 * a time (N_PAYLOADS), so memory stays small however many blocks overlap.
 *
 * Order: time, then stream, then record id; events with equal keys keep the order of arrival. */
#include "query.h"
#include "batch.h"
#include "clock.h"
#include "log.h"
#include "mem.h"

#include <stdlib.h>

#define N_PAYLOADS 16
#define READ_CHUNK_STEPS 64 /* events between looks at the clock */

struct match { /* one event that columns did not rule out */
    uint64_t time, record_id;
    uint32_t payload_at, payload_len;
};

struct open_block {
    struct match *matches; /* in merge order */
    uint32_t n, at;
    uint32_t plan; /* index into the plan */
};

struct payload {
    uint32_t plan; /* UINT32_MAX: empty */
    uint64_t used; /* tick of the last use */
    struct buf bytes;
};

struct stream_facts {
    uint32_t id, epoch;
};

struct query {
    struct db *db;
    struct query_spec spec;
    char *host_name;
    struct db_block *plan;
    size_t n_plan, next; /* next: the first block not opened yet */
    struct open_block *heap;
    size_t n_heap, cap_heap;
    struct stream_facts *streams;
    size_t n_streams;
    struct batch_reader *reader;
    struct arena arena;
    struct buf block;
    struct payload payloads[N_PAYLOADS];
    uint64_t tick, rows, skipped, counted;
    uint64_t seq; /* the last pack that the plan covers */
    bool header_written;
};

/* ---- order ---- */

static int cmp_u64(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

static int match_cmp(const struct match *a, const struct match *b) {
    int c = cmp_u64(a->time, b->time);
    return c ? c : cmp_u64(a->record_id, b->record_id);
}

static int by_time(const void *a, const void *b) {
    return match_cmp(a, b);
}

static int by_time_reverse(const void *a, const void *b) {
    return match_cmp(b, a);
}

static int plan_reverse(const void *pa, const void *pb) {
    const struct db_block *a = pa, *b = pb;
    int c = cmp_u64(b->max_time, a->max_time);
    c = c ? c : cmp_u64(b->seq, a->seq);
    return c ? c : cmp_u64(b->index, a->index);
}

/* True when a's next event comes before b's. */
static bool comes_first(const struct query *q, const struct open_block *a, const struct open_block *b) {
    const struct match *x = &a->matches[a->at], *y = &b->matches[b->at];
    const struct db_block *bx = &q->plan[a->plan], *by = &q->plan[b->plan];
    int c = cmp_u64(x->time, y->time);
    c = c ? c : cmp_u64(bx->stream, by->stream);
    c = c ? c : cmp_u64(x->record_id, y->record_id);
    if (q->spec.reverse) c = -c;
    return c ? c < 0 : a->plan < b->plan;
}

static void heap_down(struct query *q, size_t i) {
    for (;;) {
        size_t least = i, l = 2 * i + 1, r = l + 1;
        if (l < q->n_heap && comes_first(q, &q->heap[l], &q->heap[least])) least = l;
        if (r < q->n_heap && comes_first(q, &q->heap[r], &q->heap[least])) least = r;
        if (least == i) return;
        struct open_block t = q->heap[i];
        q->heap[i] = q->heap[least];
        q->heap[least] = t;
        i = least;
    }
}

static void heap_push(struct query *q, struct open_block b) {
    mem_grow((void **)&q->heap, q->n_heap, &q->cap_heap, sizeof *q->heap);
    size_t i = q->n_heap++;
    q->heap[i] = b;
    while (i && comes_first(q, &q->heap[i], &q->heap[(i - 1) / 2])) {
        struct open_block t = q->heap[i];
        q->heap[i] = q->heap[(i - 1) / 2];
        q->heap[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

static void heap_pop(struct query *q) {
    mem_free(q->heap[0].matches);
    q->heap[0] = q->heap[--q->n_heap];
    heap_down(q, 0);
}

/* ---- blocks ---- */

static void skip_block(struct query *q, const struct db_block *b, const struct error *err) {
    q->skipped++;
    log_warn("query", "host %s: skipping block %lu of pack %llu: %s", q->host_name, (unsigned long)b->index,
             (unsigned long long)b->seq, err->msg);
}

/* Reads block `b` into q->block and parses its header. *ret_keep is the caller's to free. */
static enum status load_block(struct query *q, const struct db_block *b, struct batch_header *h, struct slice *ret_body,
                              struct db_keep **ret_keep, size_t *ret_n_keep, struct error *err) {
    buf_clear(&q->block);
    enum status st = db_read_block(q->db, b, &q->block, ret_keep, ret_n_keep, err);
    if (st) return st;
    struct slice bytes = buf_slice(&q->block);
    arena_reset(&q->arena);
    st = b->header_len > bytes.len ? error_set(err, ST_CORRUPT, "its header is longer than the block")
                                   : batch_header_parse(slice_head(bytes, b->header_len), &q->arena, h, err);
    if (st) {
        mem_free(*ret_keep);
        *ret_keep = NULL;
        return st;
    }
    *ret_body = slice_from(bytes, b->header_len);
    return ST_OK;
}

/* Which events of a partial block count: the runs are sorted, `*at` moves forward with i. */
static bool is_kept(const struct db_keep *keep, size_t n_keep, size_t *at, uint32_t i) {
    if (!keep) return true;
    while (*at < n_keep && i >= keep[*at].first + keep[*at].n) ++*at;
    return *at < n_keep && i >= keep[*at].first;
}

static bool names_guid(const struct query *q, const struct batch_header *h, const struct batch_columns *c, uint32_t i) {
    for (uint8_t g = 0; g < c->n_guids[i]; g++) {
        if (memcmp(h->guids.p + (size_t)c->guid[i][g] * GUID_LEN, q->spec.filter.guid.b, GUID_LEN) == 0) return true;
    }
    return false;
}

/* The events of a block that its columns let through, into *ret (owned by the caller). */
static enum status match_columns(struct query *q, const struct db_block *b, struct match **ret, uint32_t *ret_n,
                                 struct error *err) {
    struct batch_header h;
    struct batch_columns c = {0};
    struct slice body;
    struct db_keep *keep = NULL;
    size_t n_keep = 0, at = 0;
    enum status st = load_block(q, b, &h, &body, &keep, &n_keep, err);
    if (!st) st = batch_open_columns(q->reader, &h, body, &c, err);
    if (!st) {
        struct match *m = mem_alloc(mem_mul(c.n, sizeof *m));
        uint32_t n = 0;
        for (uint32_t i = 0; i < c.n; i++) {
            if (!is_kept(keep, n_keep, &at, i) || c.time[i] < q->spec.since || c.time[i] > q->spec.until) continue;
            if (!filter_has_id(&q->spec.filter, c.event_id[i])) continue;
            if (q->spec.filter.has_guid && !names_guid(q, &h, &c, i)) continue;
            m[n++] = (struct match){c.time[i], c.record_id[i], c.payload_at[i], c.payload_len[i]};
        }
        *ret = m;
        *ret_n = n;
    }
    mem_free(keep);
    return st;
}

/* Opens the plan's next block; one without matches is dropped at once. */
static enum status open_next(struct query *q, struct error *err) {
    uint32_t plan = (uint32_t)q->next++;
    struct open_block b = {.plan = plan};
    enum status st = match_columns(q, &q->plan[plan], &b.matches, &b.n, err);
    if (st == ST_NOTFOUND) return ST_OK; /* expired meanwhile */
    if (st) {
        skip_block(q, &q->plan[plan], err);
        return ST_OK;
    }
    if (!b.n) {
        mem_free(b.matches);
        return ST_OK;
    }
    qsort(b.matches, b.n, sizeof *b.matches, q->spec.reverse ? by_time_reverse : by_time);
    heap_push(q, b);
    return ST_OK;
}

/* Is a block that is not open yet due before the front of the merge? */
static bool must_open(const struct query *q) {
    if (q->next >= q->n_plan) return false;
    if (!q->n_heap) return true;
    uint64_t front = q->heap[0].matches[q->heap[0].at].time;
    const struct db_block *b = &q->plan[q->next];
    return q->spec.reverse ? b->max_time >= front : b->min_time <= front;
}

static enum status open_payload(struct query *q, uint32_t plan, struct slice *ret, struct error *err) {
    struct payload *oldest = &q->payloads[0];
    for (size_t i = 0; i < N_PAYLOADS; i++) {
        struct payload *p = &q->payloads[i];
        if (p->plan == plan) {
            p->used = ++q->tick;
            *ret = buf_slice(&p->bytes);
            return ST_OK;
        }
        if (p->used < oldest->used) oldest = p;
    }
    struct batch_header h;
    struct slice body, raw;
    struct db_keep *keep = NULL;
    size_t n_keep;
    enum status st = load_block(q, &q->plan[plan], &h, &body, &keep, &n_keep, err);
    mem_free(keep);
    if (!st) st = batch_open_payload(q->reader, &h, body, &raw, err);
    if (st) return st;
    buf_clear(&oldest->bytes);
    buf_slice_append(&oldest->bytes, raw);
    oldest->plan = plan;
    oldest->used = ++q->tick;
    *ret = buf_slice(&oldest->bytes);
    return ST_OK;
}

/* ---- the plan ---- */

static enum status load_streams(struct query *q, struct error *err) {
    struct db_stream *s;
    size_t n;
    enum status st = db_streams(q->db, q->spec.host, &s, &n, err);
    if (st) return st;
    mem_free(q->streams);
    q->streams = mem_alloc(mem_mul(n, sizeof *q->streams));
    q->n_streams = n;
    for (size_t i = 0; i < n; i++) q->streams[i] = (struct stream_facts){s[i].id, s[i].epoch};
    db_streams_free(s, n);
    return ST_OK;
}

static uint32_t epoch_of(const struct query *q, uint32_t stream) {
    for (size_t i = 0; i < q->n_streams; i++) {
        if (q->streams[i].id == stream) return q->streams[i].epoch;
    }
    return 0;
}

/* Leaves what came after the plan's snapshot to query_follow, so that nothing is seen twice. */
static void drop_later(struct query *q) {
    size_t n = 0;
    for (size_t i = 0; i < q->n_plan; i++) {
        if (q->plan[i].seq <= q->seq) q->plan[n++] = q->plan[i];
    }
    q->n_plan = n;
}

MUST_USE enum status query_new(struct db *db, struct query_spec *spec, struct query **ret, struct error *err) {
    struct query *q = mem_zalloc(sizeof *q);
    q->db = db;
    q->spec = *spec;
    spec->filter = (struct filter){0};
    q->host_name = mem_strdup(spec->host_name);
    if (!q->spec.until) q->spec.until = UINT64_MAX;
    q->reader = batch_reader_new();
    arena_init(&q->arena, EVENT_ARENA_CAP);
    for (size_t i = 0; i < N_PAYLOADS; i++) q->payloads[i].plan = UINT32_MAX;
    q->seq = db_last_seq(db);
    enum status st = ST_OK;
    if (q->spec.filter.has_guid && !q->spec.new_only) {
        st = db_guid_blocks(db, q->spec.host, &q->spec.filter.guid, &q->plan, &q->n_plan, err);
    } else if (!q->spec.new_only) {
        st = db_host_blocks(db, q->spec.host, q->spec.since, q->spec.until, &q->plan, &q->n_plan, err);
    }
    if (!st) st = load_streams(q, err);
    if (st) {
        query_free(&q);
        return st;
    }
    drop_later(q);
    if (q->spec.reverse) qsort(q->plan, q->n_plan, sizeof *q->plan, plan_reverse);
    *ret = q;
    return ST_OK;
}

void query_free(struct query **pq) {
    struct query *q = *pq;
    if (!q) return;
    for (size_t i = 0; i < q->n_heap; i++) mem_free(q->heap[i].matches);
    for (size_t i = 0; i < N_PAYLOADS; i++) buf_free(&q->payloads[i].bytes);
    mem_free(q->heap);
    mem_free(q->plan);
    mem_free(q->streams);
    mem_free(q->host_name);
    batch_reader_free(&q->reader);
    arena_deinit(&q->arena);
    buf_free(&q->block);
    filter_deinit(&q->spec.filter);
    mem_free(q);
    *pq = NULL;
}

/* ---- stepping ---- */

static enum status decode_match(struct query *q, uint32_t plan, const struct match *m, struct event *ret,
                                struct error *err) {
    struct slice payload;
    enum status st = open_payload(q, plan, &payload, err);
    if (st) return st;
    if (m->payload_at > payload.len || m->payload_len > payload.len - m->payload_at) {
        return error_set(err, ST_CORRUPT, "an event lies outside its payload");
    }
    arena_reset(&q->arena);
    st = event_decode(slice_of(payload.p + m->payload_at, m->payload_len), &q->arena, ret);
    return st ? error_set(err, st, "an event cannot be decoded: %s", status_text(st)) : ST_OK;
}

/* Takes the front event of the merge, writes it when it matches. A payload that cannot be read costs its block. */
static void emit_front(struct query *q, struct buf *out) {
    struct open_block *b = &q->heap[0];
    uint32_t plan = b->plan;
    struct match m = b->matches[b->at];
    struct event ev;
    struct error err = {0};
    enum status st = decode_match(q, plan, &m, &ev, &err);
    if (st && st != ST_NOTFOUND) skip_block(q, &q->plan[plan], &err);
    if (st || ++b->at == b->n) {
        heap_pop(q);
    } else {
        heap_down(q, 0);
    }
    if (st || (filter_needs_event(&q->spec.filter) && !filter_match(&q->spec.filter, &ev))) return;
    struct render_place where = {q->host_name, epoch_of(q, q->plan[plan].stream), m.record_id};
    render_event(out, q->spec.format, &where, &ev);
    q->rows++;
}

MUST_USE enum status query_step(struct query *q, struct buf *out, size_t max_bytes, unsigned budget_ms,
                                struct error *err) {
    uint64_t deadline = clock_mono_ms() + budget_ms;
    if (q->spec.format == RENDER_CSV && !q->header_written) render_csv_header(out);
    q->header_written = true;
    for (unsigned n = 0; out->len < max_bytes; n++) {
        if (q->spec.limit && q->rows >= q->spec.limit) return ST_END;
        if (n % READ_CHUNK_STEPS == READ_CHUNK_STEPS - 1 && clock_mono_ms() >= deadline) return ST_OK;
        if (must_open(q)) {
            enum status st = open_next(q, err);
            if (st) return st;
        } else if (q->n_heap) {
            emit_front(q, out);
        } else {
            return ST_END;
        }
    }
    return ST_OK;
}

static void count_block(struct query *q, uint32_t plan) {
    struct error err = {0};
    struct match *m;
    uint32_t n;
    enum status st = match_columns(q, &q->plan[plan], &m, &n, &err);
    if (st) {
        if (st != ST_NOTFOUND) skip_block(q, &q->plan[plan], &err);
        return;
    }
    if (!filter_needs_event(&q->spec.filter)) {
        q->counted += n;
    } else {
        for (uint32_t i = 0; i < n && !st; i++) {
            struct event ev;
            st = decode_match(q, plan, &m[i], &ev, &err);
            if (!st && filter_match(&q->spec.filter, &ev)) q->counted++;
        }
        if (st) skip_block(q, &q->plan[plan], &err);
    }
    mem_free(m);
}

MUST_USE enum status query_count(struct query *q, unsigned budget_ms, uint64_t *ret, struct error *err) {
    (void)err;
    uint64_t deadline = clock_mono_ms() + budget_ms;
    while (q->next < q->n_plan && clock_mono_ms() < deadline) count_block(q, (uint32_t)q->next++);
    *ret = q->spec.limit && q->counted > q->spec.limit ? q->spec.limit : q->counted;
    return q->next < q->n_plan ? ST_OK : ST_END;
}

MUST_USE enum status query_follow(struct query *q, struct error *err) {
    struct db_block *blocks;
    size_t n, kept = 0;
    uint64_t next;
    if (db_last_seq(q->db) <= q->seq) return ST_AGAIN;
    enum status st = db_blocks_from(q->db, q->seq + 1, 4096, &blocks, &n, &next, err);
    if (st) return st;
    st = load_streams(q, err);
    if (st) {
        mem_free(blocks);
        return st;
    }
    for (size_t i = 0; i < n; i++) {
        if (blocks[i].host == q->spec.host) blocks[kept++] = blocks[i];
    }
    mem_free(q->plan);
    q->plan = blocks;
    q->n_plan = kept;
    q->next = 0;
    q->seq = next - 1;
    for (size_t i = 0; i < N_PAYLOADS; i++) q->payloads[i].plan = UINT32_MAX;
    return kept || db_last_seq(q->db) > q->seq ? ST_OK : ST_AGAIN;
}

uint64_t query_rows(const struct query *q) {
    return q->rows;
}

uint64_t query_skipped(const struct query *q) {
    return q->skipped;
}
