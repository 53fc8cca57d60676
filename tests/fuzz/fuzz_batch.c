/* fuzz: -max_len=8192
 * Blocks whose digest holds. First byte 0: the block as it is (u32 header length, header, body), its digest made right.
 * Else: header fields, raw columns and raw payload (u16 lengths before the first two); compressed here, and the header
 * completed, so that the columns themselves are reached. */
#include "batch_internal.h"

#include <stdlib.h>
#include <zstd.h>

static struct batch_reader *reader;

static void open_block(struct slice header, struct slice body) {
    struct arena a, ea;
    struct batch_header h;
    struct batch_columns c;
    struct slice payload;
    struct error err;
    arena_init(&a, 1 << 20);
    arena_init(&ea, 1 << 20);
    if (batch_header_parse(header, &a, &h, &err)) goto out;
    if (batch_check(&h, header, body, &err)) goto out;
    if (batch_open_columns(reader, &h, body, &c, &err)) goto out;
    if (c.n != h.n_events) abort();
    bool has_payload = !batch_open_payload(reader, &h, body, &payload, &err);
    for (uint32_t i = 0; i < c.n; i++) {
        struct event ev;
        if (c.time[i] < h.min_time || c.time[i] > h.max_time || c.n_guids[i] > EVENT_MAX_GUIDS) abort();
        for (size_t g = 0; g < c.n_guids[i]; g++) {
            if (c.guid[i][g] >= h.guids.len / GUID_LEN) abort();
        }
        if (!has_payload) continue;
        if ((size_t)c.payload_at[i] + c.payload_len[i] > payload.len) abort();
        arena_reset(&ea);
        (void)!event_decode(slice_of(payload.p + c.payload_at[i], c.payload_len[i]), &ea, &ev);
    }
out:
    arena_deinit(&a);
    arena_deinit(&ea);
}

static void digest_and_open(struct buf *header, struct slice body) {
    size_t before = header->len - BATCH_DIGEST_FIELD_LEN;
    header->p[before] = BATCH_DIGEST << 3 | WIRE_BYTES;
    header->p[before + 1] = BATCH_DIGEST_LEN;
    batch_digest(slice_head(buf_slice(header), before), body, header->p + before + 2);
    open_block(buf_slice(header), body);
}

static void compress(struct slice raw, struct buf *out) {
    buf_reserve(out, ZSTD_compressBound(raw.len));
    out->len +=
        ZSTD_compress(out->p + out->len, ZSTD_compressBound(raw.len), raw.len ? (const void *)raw.p : "", raw.len, 1);
}

static void put_number(struct buf *out, enum batch_field f, uint64_t v) {
    buf_varint(out, (uint64_t)f << 3 | WIRE_VARINT);
    buf_varint(out, v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!reader) reader = batch_reader_new();
    if (!size) return 0;
    struct reader in = reader_of(slice_of(data + 1, size - 1));
    struct buf header = {0}, body = {0};
    if (!data[0]) {
        struct slice head = reader_bytes(&in, reader_u32le(&in));
        if (!in.bad && head.len >= BATCH_DIGEST_FIELD_LEN) {
            buf_slice_append(&header, head);
            digest_and_open(&header, slice_of(in.p, reader_left(&in)));
        }
    } else {
        struct slice head = reader_bytes(&in, reader_u16le(&in));
        struct slice columns = reader_bytes(&in, reader_u16le(&in));
        if (!in.bad) {
            struct slice payload = slice_of(in.p, reader_left(&in));
            buf_slice_append(&header, head);
            compress(columns, &body);
            put_number(&header, BATCH_COLUMNS_LEN, body.len);
            put_number(&header, BATCH_COLUMNS_RAW_LEN, columns.len);
            size_t at = body.len;
            compress(payload, &body);
            put_number(&header, BATCH_PAYLOAD_LEN, body.len - at);
            put_number(&header, BATCH_PAYLOAD_RAW_LEN, payload.len);
            put_number(&header, BATCH_DICT_ID, 0);
            buf_reserve(&header, BATCH_DIGEST_FIELD_LEN);
            header.len += BATCH_DIGEST_FIELD_LEN;
            digest_and_open(&header, buf_slice(&body));
        }
    }
    buf_free(&header);
    buf_free(&body);
    return 0;
}
