/* 1 SOURCE  Whole .evtx files: chunks in the order of their first record id (a wrapped log is a ring), all readable
 * records, damage told in one line for each stretch. Position: "evtx SIZE N", N records of a file of SIZE bytes are
 * done. Reader thread. */
#include "evtx.h"
#include "file.h"
#include "mem.h"
#include "source.h"
#include "text.h"

#include <stdlib.h>

#define CHUNKS_MAX (1u << 20) /* 64 GiB of log */

struct place {
    uint64_t first_id, offset;
};

struct evtx_source {
    struct source base;
    struct file *file;
    uint64_t size, done, skip_to; /* records given or skipped as damaged; those before skip_to are passed over */
    struct evtx_file head;
    struct place *places;
    size_t n_places, at;
    uint8_t *bytes;
    bool open, in_tail, end_told;
    struct evtx_chunk chunk;
    struct buf xml, position;
};

static struct evtx_source *self(struct source *s) {
    return (struct evtx_source *)s;
}

static void evtx_close(struct source *s) {
    struct evtx_source *e = self(s);
    file_close(&e->file);
    mem_free(e->places);
    mem_free(e->bytes);
    buf_free(&e->xml);
    buf_free(&e->position);
}

static int by_id(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->first_id != y->first_id) return x->first_id < y->first_id ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Reads the chunk headers and puts the chunks in order. A chunk without a known id keeps its neighbour's place. */
static enum status find_chunks(struct evtx_source *e, struct error *err) {
    size_t cap = 0;
    uint64_t last = 0;
    uint64_t at = e->head.header_size ? e->head.header_size : EVTX_FILE_HEADER;
    for (; at < e->size && e->n_places < CHUNKS_MAX; at += EVTX_CHUNK) {
        size_t got = 0;
        struct evtx_chunk c;
        struct evtx_damage d = {0};
        enum status st = file_read_at(e->file, at, e->bytes, EVTX_CHUNK, &got, err);
        if (st) return st;
        if (evtx_chunk_open(&c, slice_of(e->bytes, got), &d) == ST_END) continue; /* unused */
        mem_grow((void **)&e->places, e->n_places, &cap, sizeof *e->places);
        bool known = c.header_ok && c.last_record_id >= c.first_record_id;
        if (known) last = c.first_record_id;
        e->places[e->n_places++] = (struct place){.first_id = last, .offset = at};
        if (known && (!e->base.facts.oldest_id || c.first_record_id < e->base.facts.oldest_id))
            e->base.facts.oldest_id = c.first_record_id;
        if (known && c.last_record_id > e->base.facts.newest_id) e->base.facts.newest_id = c.last_record_id;
    }
    if (e->n_places) qsort(e->places, e->n_places, sizeof *e->places, by_id);
    return ST_OK;
}

static enum status damaged(struct evtx_source *e, const struct evtx_damage *d, struct error *err) {
    char what[EVTX_WHY_MAX + 128];
    evtx_damage_describe(d, what, sizeof what);
    e->base.facts.damaged++;
    if (d->skipped) e->base.facts.skipped++;
    return error_set(err, ST_CORRUPT, "chunk at byte %llu: %s", (unsigned long long)e->places[e->at].offset, what);
}

/* A file that was cut between two chunks: only its header knows. Inside a chunk, the chunk says so. */
static enum status end_of_file(struct evtx_source *e, struct error *err) {
    uint64_t body = e->size > e->head.header_size ? e->size - e->head.header_size : 0, have = body / EVTX_CHUNK;
    if (e->end_told || !e->head.crc_ok || body % EVTX_CHUNK || have >= e->head.n_chunks) return ST_END;
    e->end_told = true;
    e->base.facts.damaged++;
    return error_set(err, ST_CORRUPT, "the file is cut off: of the %u chunks that its header counts %llu are there",
                     e->head.n_chunks, (unsigned long long)have);
}

/* Opens the chunk at e->at. */
static enum status next_chunk(struct evtx_source *e, struct error *err) {
    if (e->at >= e->n_places) return end_of_file(e, err);
    size_t got = 0;
    enum status st = file_read_at(e->file, e->places[e->at].offset, e->bytes, EVTX_CHUNK, &got, err);
    if (st) return st;
    struct evtx_damage d = {0};
    st = evtx_chunk_open(&e->chunk, slice_of(e->bytes, got), &d);
    e->open = st == ST_OK;
    e->in_tail = false;
    if (st == ST_CORRUPT) {
        st = damaged(e, &d, err);
        e->at++;
        return st;
    }
    if (st == ST_END)
        e->at++;
    else if (!st && d.why[0])
        return damaged(e, &d, err);
    return st == ST_END ? ST_OK : st;
}

static enum status evtx_next(struct source *s, struct source_record *ret, struct error *err) {
    struct evtx_source *e = self(s);
    for (;;) {
        if (!e->open) {
            enum status st = next_chunk(e, err);
            if (st) return st;
            continue;
        }
        struct evtx_record r;
        struct evtx_damage d = {0};
        enum status st = evtx_chunk_next(&e->chunk, &e->xml, &r, &d);
        if (st == ST_END) {
            if (!e->in_tail && e->head.dirty) { /* the header of the chunk that was being filled lags behind */
                e->in_tail = true;
                evtx_chunk_read_tail(&e->chunk);
                continue;
            }
            e->open = false;
            e->at++;
            s->facts.bytes_done += EVTX_CHUNK;
            continue;
        }
        if (st == ST_NOMEM) return error_set(err, ST_NOMEM, "no memory for a record");
        e->done++;
        if (e->done <= e->skip_to) continue;
        if (st) return damaged(e, &d, err);
        buf_clear(&e->position);
        buf_printf(&e->position, "evtx %llu %llu", (unsigned long long)e->size, (unsigned long long)e->done);
        *ret = (struct source_record){.xml = buf_slice(&e->xml), .position = buf_slice(&e->position)};
        return ST_OK;
    }
}

enum status source_evtx_open(const struct source_options *o, struct source **ret, struct error *err) {
    static const struct source_ops ops = {.next = evtx_next, .close = evtx_close};
    struct evtx_source *e = mem_zalloc(sizeof *e);
    uint8_t head[EVTX_FILE_HEADER];
    size_t got = 0;
    e->base.ops = &ops;
    e->bytes = mem_alloc(EVTX_CHUNK);
    enum status st = file_open(o->path, FILE_READ, &e->file, err);
    if (!st) st = file_read_at(e->file, 0, head, sizeof head, &got, err);
    if (!st) {
        e->size = file_length(e->file);
        e->head = evtx_file_check(slice_of(head, got));
        if (!e->head.is_evtx && e->size < EVTX_FILE_HEADER + 512)
            st = error_set(err, ST_FORMAT, "%s is not an .evtx file", o->path);
    }
    if (!st) st = find_chunks(e, err);
    if (!st && !e->n_places && !e->head.is_evtx) st = error_set(err, ST_FORMAT, "%s is not an .evtx file", o->path);
    if (st) {
        evtx_close(&e->base);
        mem_free(e);
        return st;
    }
    struct slice p = o->position;
    uint64_t size = 0, done = 0;
    if (text_take(&p, "evtx ") && text_take_number(&p, 10, &size) && text_take(&p, " ") &&
        text_take_number(&p, 10, &done) && size == e->size)
        e->skip_to = done;
    e->base.facts.bytes_all = (uint64_t)e->n_places * EVTX_CHUNK;
    *ret = &e->base;
    return ST_OK;
}
