/* What batch.c, batch_read.c and batch_build.c share: the header's fields, the digest, zstd's parameters, dictionaries. */
#ifndef HAECHI_BATCH_INTERNAL_H
#define HAECHI_BATCH_INTERNAL_H

#include "batch.h"

/* Field numbers of BatchHeader in haechi.proto. */
enum batch_field {
    BATCH_CHANNEL = 1,
    BATCH_COMPUTER = 2,
    BATCH_EPOCH = 3,
    BATCH_N_EVENTS = 4,
    BATCH_RUNS = 5,
    BATCH_MIN_TIME = 6,
    BATCH_TIME_SPAN = 7,
    BATCH_GUIDS = 8,
    BATCH_COLUMNS_LEN = 9,
    BATCH_COLUMNS_RAW_LEN = 10,
    BATCH_PAYLOAD_LEN = 11,
    BATCH_PAYLOAD_RAW_LEN = 12,
    BATCH_DICT_ID = 13,
    BATCH_DIGEST = 15
};

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* Event's fields that the columns say as well: cut out of the payload, put back at the event's end when it is opened. */
enum { EVENT_FIELD_RECORD_ID = 16, EVENT_FIELD_TIME = 17 };

/* In the column of GUID counts: the event kept its record id field as it was (none, or another than the column's). */
#define BATCH_KEPT_RECORD_ID 8u

#define BATCH_DIGEST_FIELD_LEN (2u + BATCH_DIGEST_LEN) /* tag, length, digest: the header's last bytes */

/* XXH3-128, big-endian, over the header's bytes before the digest field and the body. */
void batch_digest(struct slice header_before, struct slice body, uint8_t out[BATCH_DIGEST_LEN]);

#define BATCH_WINDOW_LOG_MAX 23u

/* A dictionary of proto/dict; .p NULL when the id is not known. */
struct slice batch_dict(uint32_t id);
#define BATCH_DICT_NEWEST 1u

/* For measurements: this builder, with which nothing was finished yet, and those beside it use no dictionary. */
void batch_builder_no_dict(struct batch_builder *b);
/* Bytes of its zstd contexts. */
size_t batch_builder_zstd_bytes(const struct batch_builder *b);

#endif
