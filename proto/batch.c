/* The block's header, digest and dictionaries. The header is a peer's: it is walked by hand, because the ack path reads
 * one per batch and needs no copies; unknown fields are skipped as protobuf does. Pure. */
#include "batch_internal.h"
#include "mem.h"

#define XXH_STATIC_LINKING_ONLY /* for a state on the stack */
#include <xxhash.h>

/* ---- dictionaries: generated from proto/dict/haechi-N.dict; an id once shipped stays for ever ---- */

extern const unsigned char dict_haechi_1[];
extern const size_t dict_haechi_1_len;

struct slice batch_dict(uint32_t id) {
    switch (id) {
    case 1: return slice_of(dict_haechi_1, dict_haechi_1_len);
    default: return (struct slice){NULL, 0};
    }
}

/* ---- digest ---- */

void batch_digest(struct slice header_before, struct slice body, uint8_t out[BATCH_DIGEST_LEN]) {
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, header_before.p, header_before.len);
    XXH3_128bits_update(&state, body.p, body.len);
    XXH128_canonical_t digest;
    XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(&state));
    memcpy(out, digest.digest, BATCH_DIGEST_LEN);
}

enum status batch_check(const struct batch_header *h, struct slice header, struct slice body, struct error *err) {
    uint64_t want = (uint64_t)h->columns_len + h->payload_len;
    if (body.len != want) {
        return error_set(err, ST_CORRUPT, "the header promises %llu bytes after it, there are %zu",
                         (unsigned long long)want, body.len);
    }
    if (header.len < BATCH_DIGEST_FIELD_LEN) return error_set(err, ST_FORMAT, "no digest in the header");
    uint8_t digest[BATCH_DIGEST_LEN];
    batch_digest(slice_head(header, header.len - BATCH_DIGEST_FIELD_LEN), body, digest);
    if (memcmp(digest, h->digest, sizeof digest) != 0) {
        return error_set(err, ST_CORRUPT, "the digest does not hold: header or body were changed");
    }
    return ST_OK;
}

/* ---- header ---- */

struct raw_header {
    struct slice runs;
    uint64_t epoch, n_events, time_span, columns_len, columns_raw_len, payload_len, payload_raw_len, dict_id;
};

static uint64_t *number_of(struct raw_header *raw, uint32_t field) {
    switch (field) {
    case BATCH_EPOCH: return &raw->epoch;
    case BATCH_N_EVENTS: return &raw->n_events;
    case BATCH_TIME_SPAN: return &raw->time_span;
    case BATCH_COLUMNS_LEN: return &raw->columns_len;
    case BATCH_COLUMNS_RAW_LEN: return &raw->columns_raw_len;
    case BATCH_PAYLOAD_LEN: return &raw->payload_len;
    case BATCH_PAYLOAD_RAW_LEN: return &raw->payload_raw_len;
    case BATCH_DICT_ID: return &raw->dict_id;
    default: return NULL;
    }
}

static struct slice *bytes_of(struct raw_header *raw, struct batch_header *h, uint32_t field) {
    switch (field) {
    case BATCH_CHANNEL: return &h->channel;
    case BATCH_COMPUTER: return &h->computer;
    case BATCH_RUNS: return &raw->runs;
    case BATCH_GUIDS: return &h->guids;
    default: return NULL;
    }
}

/* A field of the schema must have the schema's wire type; others are skipped. */
static enum status read_fields(struct reader *r, struct raw_header *raw, struct batch_header *h) {
    while (reader_left(r)) {
        uint64_t tag = reader_varint(r);
        uint32_t field = tag >> 3 > UINT32_MAX ? UINT32_MAX : (uint32_t)(tag >> 3);
        uint64_t *number = number_of(raw, field);
        struct slice *bytes = bytes_of(raw, h, field);
        if (!field || field == BATCH_DIGEST) return ST_FORMAT;
        switch (tag & 7) {
        case WIRE_VARINT: {
            uint64_t v = reader_varint(r);
            if (bytes || field == BATCH_MIN_TIME) return ST_FORMAT;
            if (number) *number = v;
            break;
        }
        case WIRE_BYTES: {
            uint64_t len = reader_varint(r);
            struct slice s = reader_bytes(r, len > SIZE_MAX ? SIZE_MAX : (size_t)len);
            if (number || field == BATCH_MIN_TIME) return ST_FORMAT;
            if (bytes) *bytes = s;
            break;
        }
        case WIRE_FIXED64: {
            uint64_t v = reader_u64le(r);
            if (number || bytes) return ST_FORMAT;
            if (field == BATCH_MIN_TIME) h->min_time = v;
            break;
        }
        case WIRE_FIXED32:
            (void)reader_u32le(r);
            if (number || bytes || field == BATCH_MIN_TIME) return ST_FORMAT;
            break;
        default: return ST_FORMAT;
        }
    }
    return r->bad ? ST_FORMAT : ST_OK;
}

static enum status check_sizes(const struct raw_header *raw, struct slice header, const struct batch_header *h,
                               struct error *err) {
    if (!h->channel.len) return error_set(err, ST_FORMAT, "the header names no channel");
    if (h->channel.len > BATCH_MAX_NAME || h->computer.len > BATCH_MAX_NAME) {
        return error_set(err, ST_TOOBIG, "channel or computer is named with more than %u bytes", BATCH_MAX_NAME);
    }
    if (raw->epoch > UINT32_MAX) return error_set(err, ST_FORMAT, "epoch is no 32-bit number");
    if (!raw->n_events || raw->n_events > BATCH_MAX_EVENTS) {
        return error_set(err, raw->n_events ? ST_TOOBIG : ST_FORMAT, "%llu events, allowed are 1 to %u",
                         (unsigned long long)raw->n_events, BATCH_MAX_EVENTS);
    }
    if (raw->columns_raw_len > BATCH_MAX_COLUMNS_RAW || raw->payload_raw_len > BATCH_MAX_PAYLOAD_RAW) {
        return error_set(err, ST_TOOBIG, "columns of %llu and payload of %llu bytes, the limits are %u and %u",
                         (unsigned long long)raw->columns_raw_len, (unsigned long long)raw->payload_raw_len,
                         BATCH_MAX_COLUMNS_RAW, BATCH_MAX_PAYLOAD_RAW);
    }
    if (raw->columns_len > BATCH_MAX_BYTES || raw->payload_len > BATCH_MAX_BYTES ||
        header.len + raw->columns_len + raw->payload_len > BATCH_MAX_BYTES) {
        return error_set(err, ST_TOOBIG, "larger than %u bytes as sent", BATCH_MAX_BYTES);
    }
    if (raw->dict_id > UINT32_MAX || (raw->dict_id && !batch_dict((uint32_t)raw->dict_id).p)) {
        return error_set(err, ST_VERSION, "compressed with dictionary %llu, which this version does not know",
                         (unsigned long long)raw->dict_id);
    }
    return ST_OK;
}

static enum status check_guids(const struct batch_header *h, struct error *err) {
    if (h->guids.len % GUID_LEN) return error_set(err, ST_FORMAT, "the GUID table is cut");
    if (h->guids.len / GUID_LEN > (size_t)h->n_events * EVENT_MAX_GUIDS) {
        return error_set(err, ST_CORRUPT, "more GUIDs than %u events can name", h->n_events);
    }
    static const uint8_t zero[GUID_LEN];
    const uint8_t *before = zero;
    for (size_t at = 0; at < h->guids.len; at += GUID_LEN) {
        if (memcmp(before, h->guids.p + at, GUID_LEN) >= 0) {
            return error_set(err, ST_CORRUPT, "the GUID table is not in order, without repeats and zeros");
        }
        before = h->guids.p + at;
    }
    return ST_OK;
}

/* The runs as PROTOCOL.md draws them. Every run takes at least three bytes, which bounds the array. */
static enum status read_runs(struct slice bytes, struct arena *a, struct batch_header *h, struct error *err) {
    size_t most = bytes.len / 3 < h->n_events ? bytes.len / 3 : h->n_events;
    struct batch_run *runs = arena_alloc(a, mem_mul(most, sizeof *runs));
    if (!runs) return error_set(err, ST_NOMEM, "no memory for the header's runs");
    struct reader r = reader_of(bytes);
    uint64_t next_id = 0, time = h->min_time, left = h->n_events;
    size_t n_runs = 0;
    while (reader_left(&r)) {
        struct batch_run run = {.first_id = next_id + (uint64_t)reader_zigzag(&r), .n = reader_varint(&r)};
        run.first_time = run.last_time = time + (uint64_t)reader_zigzag(&r);
        if (run.n > 1) run.last_time += (uint64_t)reader_zigzag(&r);
        if (r.bad || n_runs == most) break;
        if (!run.n || run.n > left || run.first_id + (run.n - 1) < run.first_id) {
            return error_set(err, ST_CORRUPT, "run %zu of record ids does not fit %u events", n_runs + 1, h->n_events);
        }
        if (run.first_time < h->min_time || run.first_time > h->max_time || run.last_time < h->min_time ||
            run.last_time > h->max_time) {
            return error_set(err, ST_CORRUPT, "run %zu is outside the header's own span of time", n_runs + 1);
        }
        left -= run.n;
        next_id = run.first_id + run.n;
        time = run.last_time;
        runs[n_runs++] = run;
    }
    if (r.bad || reader_left(&r)) return error_set(err, ST_FORMAT, "the runs of record ids cannot be read");
    if (left) return error_set(err, ST_CORRUPT, "the runs of record ids lack %u events", (unsigned)left);
    h->runs = runs;
    h->n_runs = n_runs;
    return ST_OK;
}

enum status batch_header_parse(struct slice header, struct arena *a, struct batch_header *ret, struct error *err) {
    if (header.len > BATCH_MAX_HEADER) {
        return error_set(err, ST_TOOBIG, "header of %zu bytes, the limit is %u", header.len, BATCH_MAX_HEADER);
    }
    size_t before = header.len - BATCH_DIGEST_FIELD_LEN;
    if (header.len < BATCH_DIGEST_FIELD_LEN || header.p[before] != (BATCH_DIGEST << 3 | WIRE_BYTES) ||
        header.p[before + 1] != BATCH_DIGEST_LEN) {
        return error_set(err, ST_FORMAT, "the header does not end with a digest");
    }
    struct batch_header h = {0};
    struct raw_header raw = {0};
    memcpy(h.digest, header.p + before + 2, BATCH_DIGEST_LEN);
    struct reader r = reader_of(slice_head(header, before));
    if (read_fields(&r, &raw, &h)) return error_set(err, ST_FORMAT, "the header cannot be read");
    enum status st = check_sizes(&raw, header, &h, err);
    if (st) return st;
    h.epoch = (uint32_t)raw.epoch;
    h.n_events = (uint32_t)raw.n_events;
    h.columns_len = (uint32_t)raw.columns_len;
    h.columns_raw_len = (uint32_t)raw.columns_raw_len;
    h.payload_len = (uint32_t)raw.payload_len;
    h.payload_raw_len = (uint32_t)raw.payload_raw_len;
    h.dict_id = (uint32_t)raw.dict_id;
    h.max_time = h.min_time + raw.time_span;
    if (h.max_time < h.min_time) return error_set(err, ST_CORRUPT, "the span of time is too long");
    st = check_guids(&h, err);
    if (!st) st = read_runs(raw.runs, a, &h, err);
    if (!st) *ret = h;
    return st;
}
