/* 8 STORE: a group of blocks on its way into packs. */
#include "group.h"
#include "keys.h"
#include "mem.h"

#include <assert.h>

static void start_pack(struct group *g) {
    if (g->n_packs == g->cap_packs) {
        size_t old = g->cap_packs;
        mem_grow((void **)&g->packs, g->n_packs, &g->cap_packs, sizeof *g->packs);
        memset(g->packs + old, 0, (g->cap_packs - old) * sizeof *g->packs);
    }
    pack_begin(&g->packs[g->n_packs++], g->arrival);
}

void group_begin(struct group *g, uint64_t arrival, uint64_t first_seq) {
    g->arrival = arrival;
    g->first_seq = first_seq;
    g->n_packs = g->n_placed = g->n_keeps = g->n_spans = g->n_wishes = 0;
    g->n_events = g->n_bytes = g->n_duplicates = 0;
}

void group_deinit(struct group *g) {
    for (size_t i = 0; i < g->cap_packs; i++) pack_deinit(&g->packs[i]);
    mem_free(g->packs);
    mem_free(g->placed);
    mem_free(g->keeps);
    mem_free(g->spans);
    mem_free(g->wishes);
    *g = (struct group){0};
}

void group_wish(struct group *g, struct wish w, const struct db_keep *keep, const struct ledger_span *spans) {
    w.keep_at = g->n_keeps;
    w.span_at = g->n_spans;
    for (size_t i = 0; i < w.n_keep; i++) {
        assert(keep[i].n);
        mem_grow((void **)&g->keeps, g->n_keeps, &g->cap_keeps, sizeof *g->keeps);
        g->keeps[g->n_keeps++] = keep[i];
    }
    for (size_t i = 0; i < w.n_spans; i++) {
        mem_grow((void **)&g->spans, g->n_spans, &g->cap_spans, sizeof *g->spans);
        g->spans[g->n_spans++] = spans[i];
    }
    mem_grow((void **)&g->wishes, g->n_wishes, &g->cap_wishes, sizeof *g->wishes);
    g->wishes[g->n_wishes++] = w;
}

void group_forget_wishes(struct group *g) {
    g->n_wishes = 0;
}

static uint32_t kept(const struct db_keep *keep, size_t n) {
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += keep[i].n;
    return sum;
}

static void place(struct group *g, struct streamtab *t, const struct wish *w) {
    const struct writer_block *in = &w->item->block;
    struct stream *s = w->stream;
    struct placement p = {.stream = s, .item = w->item, .keep_at = w->keep_at, .n_keep = w->n_keep};
    p.blk = (struct db_block){.stream = s->id,
                              .host = s->host,
                              .len = (uint32_t)in->bytes.len,
                              .header_len = in->header_len,
                              .n_events = in->n_events,
                              .n_kept = w->n_keep ? kept(g->keeps + w->keep_at, w->n_keep) : in->n_events,
                              .partial = w->n_keep > 0,
                              .first_id = UINT64_MAX,
                              .min_time = in->min_time,
                              .max_time = in->max_time < in->min_time ? in->min_time : in->max_time,
                              .arrival = g->arrival};
    for (size_t i = 0; i < w->n_spans; i++) {
        const struct ledger_span *span = &g->spans[w->span_at + i];
        if (span->first < p.blk.first_id) p.blk.first_id = span->first;
        if (span->last > p.blk.last_id) p.blk.last_id = span->last;
    }
    stream_add(t, s, g->spans + w->span_at, w->n_spans);
    if (!w->n_spans) p.blk.first_id = 0;
    /* an entry is 70 bytes at most, a kept run 10 */
    if (!g->n_packs || pack_len(&g->packs[g->n_packs - 1]) + in->bytes.len + 70 + 10 * w->n_keep > PACK_MAX_BYTES)
        start_pack(g);
    struct pack_builder *b = &g->packs[g->n_packs - 1];
    p.same = b->n && g->placed[g->n_placed - 1].item == w->item;
    p.blk.seq = g->first_seq + g->n_packs - 1;
    p.blk.index = b->n;
    pack_add(b, &p.blk, g->keeps + p.keep_at, p.n_keep, p.same);
    mem_grow((void **)&g->placed, g->n_placed, &g->cap_placed, sizeof *g->placed);
    g->placed[g->n_placed++] = p;
    uint64_t bytes = p.same ? 0 : in->bytes.len;
    s->n_events += w->n;
    s->n_bytes += bytes;
    s->last_arrival = g->arrival;
    g->n_events += w->n;
    g->n_bytes += bytes;
    stream_changed(t, s);
}

void group_grant_wishes(struct group *g, struct streamtab *t) {
    for (size_t i = 0; i < g->n_wishes; i++) {
        const struct wish *w = &g->wishes[i];
        switch (w->kind) {
        case WISH_PLACE: place(g, t, w); break;
        case WISH_DUPLICATES:
            w->stream->n_duplicates += w->n;
            g->n_duplicates += w->n;
            stream_changed(t, w->stream);
            break;
        case WISH_EXPLAIN: stream_explain(t, w->stream, w->first, w->last, w->cause); break;
        }
    }
    g->n_wishes = 0;
}

size_t group_bytes(const struct group *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_packs; i++) n += pack_len(&g->packs[i]) + 8192;
    return n;
}

int group_store(struct group *g, struct partition *p, MDB_txn *txn) {
    size_t at = 0;
    for (size_t i = 0; i < g->n_packs; i++) {
        const struct pack_builder *b = &g->packs[i];
        uint8_t key[KEY_PACK_LEN];
        key_pack(key, g->first_seq + i);
        MDB_val k = env_val(slice_of(key, sizeof key)), v = {.mv_size = pack_len(b)};
        int rc = mdb_put(txn, env_dbi(p->events, EVENTS_PACKS), &k, &v, MDB_APPEND | MDB_RESERVE);
        if (rc) return rc;
        uint8_t *out = v.mv_data;
        size_t offset = pack_write_head(b, out);
        for (uint32_t j = 0; j < b->n; j++) {
            struct placement *pl = &g->placed[at++];
            if (pl->same) {
                pl->blk.offset = g->placed[at - 2].blk.offset;
                continue;
            }
            pl->blk.offset = (uint32_t)offset;
            memcpy(out + offset, pl->item->block.bytes.p, pl->blk.len);
            offset += pl->blk.len;
        }
        assert(offset == v.mv_size);
    }
    return 0;
}

void group_publish(struct group *g, struct tail *tail) {
    size_t at = 0;
    for (size_t i = 0; i < g->n_packs; i++) {
        struct tail_chunk *c = tail_chunk_new(g->first_seq + i);
        for (uint32_t j = 0; j < g->packs[i].n; j++, at++) {
            tail_chunk_block(c, &g->placed[at].blk, g->placed[at].item->block.guids);
        }
        tail_add(tail, c);
    }
}

const struct placement *group_find(const struct group *g, uint64_t seq, uint32_t index) {
    for (size_t i = 0; i < g->n_placed; i++) {
        if (g->placed[i].blk.seq == seq && g->placed[i].blk.index == index) return &g->placed[i];
    }
    return NULL;
}
