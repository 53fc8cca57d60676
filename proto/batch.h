/* The block: events grouped once on the endpoint; it travels, is acked and is stored as the same bytes.
 *
 *     batch = header (protobuf BatchHeader) | columns (zstd) | payload (zstd of Events, end to end)
 *
 * The header is all that the ack path reads. Columns hold, per event: record id (by the header's runs), time, event
 * id, references into the header's GUID table, payload length; a query opens them without the payload. The digest is
 * XXH3-128 over the header up to it, columns and payload. Byte layout: PROTOCOL.md. Pure.
 *
 * Owner of <zstd.h> and <xxhash.h> on the agent's side. */
#ifndef HAECHI_BATCH_H
#define HAECHI_BATCH_H

#include "event.h"

#define BATCH_MAX_EVENTS 4096u
#define BATCH_MAX_HEADER (128u * 1024)
#define BATCH_MAX_COLUMNS_RAW (512u * 1024)
#define BATCH_MAX_PAYLOAD_RAW (8u * 1024 * 1024)
#define BATCH_MAX_BYTES (4u * 1024 * 1024) /* header + columns + payload, as sent */
#define BATCH_MAX_RUNS 4096u
#define BATCH_MAX_NAME 1024u /* channel, computer */
#define BATCH_DIGEST_LEN 16

#define EPOCH_FIND 0u                      /* "the collector finds the epoch by the records' times" */
#define EPOCH_CONTENT UINT32_C(0xffffffff) /* events without a record id: identified by event_content_hash */

/* Consecutive ascending record ids. first_time and last_time are those of the first and the last record. */
struct batch_run {
    uint64_t first_id, n;
    uint64_t first_time, last_time; /* FILETIME */
};

struct batch_header {
    struct slice channel;  /* the records' channel */
    struct slice computer; /* empty: the host's own log; else the other computer whose log this is */
    uint32_t epoch;
    uint32_t n_events;
    const struct batch_run *runs; /* their n sum up to n_events, in event order */
    size_t n_runs;
    uint64_t min_time, max_time;
    struct slice guids; /* distinct process GUIDs, 16 bytes each, sorted */
    uint32_t columns_len, columns_raw_len, payload_len, payload_raw_len;
    uint32_t dict_id; /* 0: none */
    uint8_t digest[BATCH_DIGEST_LEN];
};

/* ---- building (agent, imports) ---- */

struct batch_builder; /* holds a zstd context: keep and reuse it */
struct batch_builder *batch_builder_new(int zstd_level /* 0: the default, 3 */);
/* One that uses the zstd contexts of `other`, same level: for many open batches on one thread. */
struct batch_builder *batch_builder_new_beside(struct batch_builder *other);
void batch_builder_free(struct batch_builder **b);

/* Starts a batch of one log; copies the names. A batch in progress is dropped. */
void batch_begin(struct batch_builder *b, struct slice channel, struct slice computer, uint32_t epoch);
/* record_id: the event's, or its content hash under EPOCH_CONTENT. ST_TOOBIG: this event does not fit any more (or
 * never will when the batch is empty); what is in the batch stays as it was. */
MUST_USE enum status batch_add(struct batch_builder *b, const struct event *ev, uint64_t record_id);
uint32_t batch_count(const struct batch_builder *b);
size_t batch_raw_len(const struct batch_builder *b); /* payload before compression */
/* Appends header, columns and payload to *out, and writes the header's length; the builder is empty then. What was
 * added always fits BATCH_MAX_BYTES. ST_INVALID on an empty batch. */
MUST_USE enum status batch_finish(struct batch_builder *b, struct buf *out, uint32_t *ret_header_len);

/* ---- reading (collector): hostile bytes ---- */

/* Reads and checks the header against itself and the limits (sums, order, lengths). Nothing but `header` is read.
 * *ret borrows from `header` and from `a`. ST_FORMAT, ST_TOOBIG, ST_CORRUPT (disagrees with itself), ST_VERSION (a
 * dictionary that is not known here), ST_NOMEM. */
MUST_USE enum status batch_header_parse(struct slice header, struct arena *a, struct batch_header *ret,
                                        struct error *err);
/* `body` is what follows the header: lengths and digest. ST_CORRUPT when the digest does not hold. */
MUST_USE enum status batch_check(const struct batch_header *h, struct slice header, struct slice body,
                                 struct error *err);

struct batch_columns {
    uint32_t n;
    const uint64_t *record_id, *time;         /* FILETIME */
    const uint32_t *event_id;                 /* 0xffffffff for anything larger */
    const uint8_t *n_guids;                   /* per event, at most EVENT_MAX_GUIDS */
    const uint16_t (*guid)[EVENT_MAX_GUIDS];  /* indexes into the header's table */
    const uint32_t *payload_at, *payload_len; /* of the encoded event in the raw payload */
};

struct batch_reader; /* a zstd context and buffers, reused from block to block; one thread each */
struct batch_reader *batch_reader_new(void);
void batch_reader_free(struct batch_reader **r);

/* Opens a block's columns: checked against the header (count, min/max time, GUID indexes, payload lengths). Valid
 * until the next batch_open_columns on this reader. A header that lies gives ST_CORRUPT with a sentence. */
MUST_USE enum status batch_open_columns(struct batch_reader *r, const struct batch_header *h, struct slice body,
                                        struct batch_columns *ret, struct error *err);
/* Decompresses the payload and puts back what the columns hold (record id, time); event i is payload_at[i],
 * payload_len[i] of the columns in it, for event_decode. Needs no batch_open_columns before, but is quicker after it. Valid until the next batch_open_payload on
 * this reader; it does not disturb the columns. */
MUST_USE enum status batch_open_payload(struct batch_reader *r, const struct batch_header *h, struct slice body,
                                        struct slice *ret_payload, struct error *err);

#endif
