/* Opens a block's columns and payload. The bytes are a peer's, and a digest that holds says only that the peer meant
 * them: every count, index, sum and time is held against the header, and zstd gets no memory beyond what the header's
 * checked sizes allow. One reader per thread; its buffers grow to the largest block seen, within the limits. */
#include "batch_internal.h"
#include "mem.h"

#include <zstd.h>

#define FIELD_TAG_LEN 2 /* of both event fields that are put back */
#define TIME_LEN (FIELD_TAG_LEN + 8)

struct arrays {
    uint64_t *record_id, *time;
    uint32_t *event_id, *payload_at, *payload_len;
    uint16_t (*guid)[EVENT_MAX_GUIDS];
    uint8_t *n_guids, *put_back; /* put_back: bytes by which the event grows when its payload is opened */
};

/* The columns of one block, decoded. */
struct opened {
    bool valid;
    uint8_t digest[BATCH_DIGEST_LEN];
    uint32_t n, payload_raw_len;
    struct buf raw;
    void *memory; /* of the arrays, for `cap` events */
    size_t cap;
    struct arrays a;
};

struct batch_reader {
    ZSTD_DCtx *zstd;
    ZSTD_DDict *dict; /* digested form of dict_id's */
    uint32_t dict_id;
    struct opened shown; /* what batch_open_columns handed out */
    struct opened own;   /* for a payload whose columns are not `shown` */
    struct buf raw, payload;
};

struct batch_reader *batch_reader_new(void) {
    struct batch_reader *r = mem_zalloc(sizeof *r);
    r->zstd = ZSTD_createDCtx();
    return r;
}

void batch_reader_free(struct batch_reader **pr) {
    struct batch_reader *r = *pr;
    if (!r) return;
    ZSTD_freeDCtx(r->zstd);
    ZSTD_freeDDict(r->dict);
    buf_free(&r->shown.raw);
    mem_free(r->shown.memory);
    buf_free(&r->own.raw);
    mem_free(r->own.memory);
    buf_free(&r->raw);
    buf_free(&r->payload);
    mem_free(r);
    *pr = NULL;
}

/* ---- zstd ---- */

/* RFC 8878 3.1.1.1: the window that a frame asks for, as a power of two rounded up; 0 when it is the content's size. */
static unsigned window_log(struct slice frame) {
    if (frame.len < 6 || frame.p[4] & 0x20) return 0;
    return 10 + (frame.p[5] >> 3) + ((frame.p[5] & 7) != 0);
}

/* One frame, of the size that it and the header both name, and nothing behind it. */
static enum status check_frame(struct slice frame, size_t raw_len, const char *what, struct error *err) {
    unsigned long long said = ZSTD_getFrameContentSize(frame.p, frame.len);
    if (said == ZSTD_CONTENTSIZE_UNKNOWN || said == ZSTD_CONTENTSIZE_ERROR) {
        return error_set(err, ST_CORRUPT, "the %s are no zstd frame that says its size", what);
    }
    if (said != raw_len) {
        return error_set(err, ST_CORRUPT, "the %s hold %llu bytes, the header says %zu", what, said, raw_len);
    }
    if (window_log(frame) > BATCH_WINDOW_LOG_MAX) {
        return error_set(err, ST_CORRUPT, "the %s need a zstd window over 2^%u", what, BATCH_WINDOW_LOG_MAX);
    }
    if (ZSTD_findFrameCompressedSize(frame.p, frame.len) != frame.len) {
        return error_set(err, ST_CORRUPT, "the %s are not exactly one zstd frame", what);
    }
    return ST_OK;
}

static enum status decompress(struct batch_reader *r, uint32_t dict_id, struct slice frame, size_t raw_len,
                              struct buf *out, const char *what, struct error *err) {
    enum status st = check_frame(frame, raw_len, what, err);
    if (st) return st;
    buf_clear(out);
    /* one byte more, so that there always is a buffer */
    if (!r->zstd || buf_try_reserve(out, raw_len + 1, BATCH_MAX_PAYLOAD_RAW + 1)) {
        return error_set(err, ST_NOMEM, "no memory to decompress %zu bytes", raw_len);
    }
    if (dict_id && r->dict_id != dict_id) {
        struct slice bytes = batch_dict(dict_id);
        if (!bytes.p) return error_set(err, ST_VERSION, "dictionary %u is not known here", dict_id);
        ZSTD_freeDDict(r->dict);
        r->dict = ZSTD_createDDict(bytes.p, bytes.len);
        r->dict_id = r->dict ? dict_id : 0;
        if (!r->dict) return error_set(err, ST_NOMEM, "no memory for dictionary %u", dict_id);
    }
    size_t got = dict_id ? ZSTD_decompress_usingDDict(r->zstd, out->p, raw_len, frame.p, frame.len, r->dict)
                         : ZSTD_decompressDCtx(r->zstd, out->p, raw_len, frame.p, frame.len);
    if (ZSTD_isError(got)) {
        return error_set(err, ST_CORRUPT, "the %s cannot be decompressed: %s", what, ZSTD_getErrorName(got));
    }
    if (got != raw_len) return error_set(err, ST_CORRUPT, "the %s end early", what);
    out->len = got;
    return ST_OK;
}

/* ---- columns ---- */

/* One block of memory for all arrays, the widest elements first. */
static enum status make_arrays(struct opened *o, size_t n) {
    if (n <= o->cap) return ST_OK;
    size_t each = 2 * sizeof(uint64_t) + 3 * sizeof(uint32_t) + sizeof *o->a.guid + 2;
    uint8_t *p = mem_try_alloc(mem_mul(n, each));
    if (!p) return ST_NOMEM;
    mem_free(o->memory);
    o->memory = p;
    o->cap = n;
    o->a.record_id = (uint64_t *)(void *)p;
    o->a.time = o->a.record_id + n;
    o->a.event_id = (uint32_t *)(void *)(o->a.time + n);
    o->a.payload_at = o->a.event_id + n;
    o->a.payload_len = o->a.payload_at + n;
    o->a.guid = (uint16_t(*)[EVENT_MAX_GUIDS])(void *)(o->a.payload_len + n);
    o->a.n_guids = (uint8_t *)(void *)(o->a.guid + n);
    o->a.put_back = o->a.n_guids + n;
    return ST_OK;
}

static inline uint64_t varint(struct reader *r) {
    return !r->bad && r->p < r->end && *r->p < 0x80 ? *r->p++ : reader_varint(r);
}

static enum status read_times(struct reader *r, const struct batch_header *h, struct arrays *a, struct error *err) {
    size_t i = 0;
    uint64_t min = UINT64_MAX, max = 0;
    for (size_t k = 0; k < h->n_runs; k++) {
        const struct batch_run *run = &h->runs[k];
        uint64_t time = run->first_time;
        for (uint64_t j = 0; j < run->n; j++, i++) {
            if (j) {
                uint64_t z = varint(r);
                time += (z >> 1) ^ (0 - (z & 1));
            }
            a->record_id[i] = run->first_id + j;
            a->time[i] = time;
            if (time < min) min = time;
            if (time > max) max = time;
        }
        if (time != run->last_time && !r->bad) {
            return error_set(err, ST_CORRUPT, "the header's run %zu ends at another time than its last event", k + 1);
        }
    }
    if ((min != h->min_time || max != h->max_time) && !r->bad) {
        return error_set(err, ST_CORRUPT, "the header's span of time is not that of the events");
    }
    return ST_OK;
}

static void read_event_ids(struct reader *r, size_t n, struct arrays *a) {
    for (size_t i = 0; i < n; i++) {
        uint64_t v = varint(r);
        if (v > UINT32_MAX) r->bad = true;
        a->event_id[i] = (uint32_t)v;
    }
}

static uint8_t record_id_len(uint64_t id) {
    uint8_t n = FIELD_TAG_LEN + 1;
    while (id >>= 7) n++;
    return n;
}

/* Every index within the table, and every entry of the table named by some event. */
static enum status read_guids(struct reader *r, const struct batch_header *h, struct arrays *a, struct error *err) {
    size_t n_table = h->guids.len / GUID_LEN, n_seen = 0;
    uint8_t seen[BATCH_MAX_HEADER / GUID_LEN / 8] = {0};
    for (size_t i = 0; i < h->n_events; i++) {
        uint64_t v = varint(r), n = v & ~(uint64_t)BATCH_KEPT_RECORD_ID;
        if (n > EVENT_MAX_GUIDS) r->bad = true;
        a->n_guids[i] = (uint8_t)n;
        a->put_back[i] = v & BATCH_KEPT_RECORD_ID ? 0 : record_id_len(a->record_id[i]);
        if (a->time[i]) a->put_back[i] += TIME_LEN;
    }
    for (size_t i = 0; i < h->n_events && !r->bad; i++) {
        memset(a->guid[i], 0, sizeof a->guid[i]);
        for (size_t g = 0; g < a->n_guids[i]; g++) {
            uint64_t v = varint(r);
            if (v >= n_table) {
                if (r->bad) break;
                return error_set(err, ST_CORRUPT, "event %zu names GUID %llu of %zu", i + 1, (unsigned long long)v,
                                 n_table);
            }
            uint8_t bit = (uint8_t)(1u << (v & 7));
            if (!(seen[v >> 3] & bit)) n_seen++;
            seen[v >> 3] |= bit;
            a->guid[i][g] = (uint16_t)v;
        }
    }
    if (n_seen != n_table && !r->bad) {
        return error_set(err, ST_CORRUPT, "the header lists %zu GUIDs, its events name %zu", n_table, n_seen);
    }
    return ST_OK;
}

static enum status read_lengths(struct reader *r, const struct batch_header *h, struct arrays *a, struct error *err) {
    uint64_t at = 0, raw = 0;
    for (size_t i = 0; i < h->n_events; i++) {
        uint64_t len = varint(r);
        if (len > EVENT_MAX_ENCODED) {
            return error_set(err, ST_CORRUPT, "event %zu of %llu bytes, the limit is %u", i + 1,
                             (unsigned long long)len, EVENT_MAX_ENCODED);
        }
        a->payload_at[i] = (uint32_t)at; /* 4,096 events of 512 KiB stay below 2^32 */
        a->payload_len[i] = (uint32_t)len + a->put_back[i];
        at += len + a->put_back[i];
        raw += len;
    }
    if (raw != h->payload_raw_len && !r->bad) {
        return error_set(err, ST_CORRUPT, "the events' lengths sum up to %llu, the header says %u",
                         (unsigned long long)raw, h->payload_raw_len);
    }
    return ST_OK;
}

static enum status open_into(struct batch_reader *r, struct opened *o, const struct batch_header *h, struct slice body,
                             struct error *err) {
    o->valid = false;
    if (body.len < h->columns_len) return error_set(err, ST_CORRUPT, "the block is cut");
    if (make_arrays(o, h->n_events)) return error_set(err, ST_NOMEM, "no memory for %u events", h->n_events);
    enum status st = decompress(r, 0, slice_head(body, h->columns_len), h->columns_raw_len, &o->raw, "columns", err);
    if (st) return st;
    struct reader in = reader_of(buf_slice(&o->raw));
    st = read_times(&in, h, &o->a, err);
    if (!st) read_event_ids(&in, h->n_events, &o->a);
    if (!st) st = read_guids(&in, h, &o->a, err);
    if (!st) st = read_lengths(&in, h, &o->a, err);
    if (!st && (in.bad || reader_left(&in))) {
        st = error_set(err, ST_CORRUPT, "the columns are not those of %u events", h->n_events);
    }
    if (st) return st;
    o->n = h->n_events;
    o->payload_raw_len = h->payload_raw_len;
    memcpy(o->digest, h->digest, sizeof o->digest);
    o->valid = true;
    return ST_OK;
}

enum status batch_open_columns(struct batch_reader *r, const struct batch_header *h, struct slice body,
                               struct batch_columns *ret, struct error *err) {
    enum status st = open_into(r, &r->shown, h, body, err);
    if (st) return st;
    const struct arrays *a = &r->shown.a;
    *ret = (struct batch_columns){.n = h->n_events,
                                  .record_id = a->record_id,
                                  .time = a->time,
                                  .event_id = a->event_id,
                                  .n_guids = a->n_guids,
                                  .guid = (const uint16_t(*)[EVENT_MAX_GUIDS])a->guid,
                                  .payload_at = a->payload_at,
                                  .payload_len = a->payload_len};
    return ST_OK;
}

/* ---- payload ---- */

static bool is_open(const struct opened *o, const struct batch_header *h) {
    return o->valid && memcmp(o->digest, h->digest, sizeof o->digest) == 0 && o->n == h->n_events &&
           o->payload_raw_len == h->payload_raw_len;
}

static uint8_t *put_record_id(uint8_t *out, uint64_t id) {
    *out++ = (uint8_t)(EVENT_FIELD_RECORD_ID << 3 | WIRE_VARINT | 0x80);
    *out++ = EVENT_FIELD_RECORD_ID >> 4;
    while (id >= 0x80) {
        *out++ = (uint8_t)(id | 0x80);
        id >>= 7;
    }
    *out++ = (uint8_t)id;
    return out;
}

static uint8_t *put_time(uint8_t *out, uint64_t time) {
    *out++ = (uint8_t)(EVENT_FIELD_TIME << 3 | WIRE_FIXED64 | 0x80);
    *out++ = EVENT_FIELD_TIME >> 4;
    for (int i = 0; i < 8; i++) *out++ = (uint8_t)(time >> (8 * i));
    return out;
}

/* The events as their encoder made them, but for these two fields being last. */
static void put_back(const struct opened *o, const uint8_t *raw, uint8_t *out) {
    for (size_t i = 0; i < o->n; i++) {
        size_t len = o->a.payload_len[i] - o->a.put_back[i];
        if (len) memcpy(out, raw, len);
        raw += len;
        out += len;
        bool has_time = o->a.time[i] != 0;
        if (o->a.put_back[i] > (has_time ? TIME_LEN : 0)) out = put_record_id(out, o->a.record_id[i]);
        if (has_time) out = put_time(out, o->a.time[i]);
    }
}

enum status batch_open_payload(struct batch_reader *r, const struct batch_header *h, struct slice body,
                               struct slice *ret_payload, struct error *err) {
    if (body.len != (uint64_t)h->columns_len + h->payload_len) return error_set(err, ST_CORRUPT, "the block is cut");
    const struct opened *o = is_open(&r->shown, h) ? &r->shown : &r->own;
    enum status st = is_open(o, h) ? ST_OK : open_into(r, &r->own, h, body, err);
    if (st) return st;
    st = decompress(r, h->dict_id, slice_from(body, h->columns_len), h->payload_raw_len, &r->raw, "events", err);
    if (st) return st;
    size_t len = (size_t)o->a.payload_at[o->n - 1] + o->a.payload_len[o->n - 1];
    buf_clear(&r->payload);
    if (buf_try_reserve(&r->payload, len + 1, SIZE_MAX)) return error_set(err, ST_NOMEM, "no memory for the events");
    put_back(o, r->raw.p, r->payload.p);
    r->payload.len = len;
    *ret_payload = buf_slice(&r->payload);
    return ST_OK;
}
