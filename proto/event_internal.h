/* Shared by event.c and event_value.c: the order of the numbers in System, and the typed forms of values. */
#ifndef HAECHI_EVENT_INTERNAL_H
#define HAECHI_EVENT_INTERNAL_H

#include "event.h"

/* Bits of `present` in the encoding (append only). */
enum event_member {
    EM_PROVIDER,
    EM_PROVIDER_GUID,
    EM_EVENT_SOURCE,
    EM_EVENT_ID,
    EM_QUALIFIERS,
    EM_VERSION,
    EM_LEVEL,
    EM_TASK,
    EM_OPCODE,
    EM_KEYWORDS,
    EM_RECORD_ID,
    EM_ACTIVITY_ID,
    EM_RELATED_ACTIVITY_ID,
    EM_PROCESS_ID,
    EM_THREAD_ID,
    EM_PROCESSOR_ID,
    EM_SESSION_ID,
    EM_KERNEL_TIME,
    EM_USER_TIME,
    EM_PROCESSOR_TIME,
    EM_CHANNEL,
    EM_COMPUTER,
    EM_USER_SID,
    EM_BODY_NAME,
    EM_HAS_CORRELATION,
    EM_HAS_EXECUTION,
    EM_HAS_SECURITY,
    EM_GUID_KNOWN_LOWER, /* the known provider's GUID, in that case */
    EM_GUID_KNOWN_UPPER,
    EM_CHANNEL_KNOWN, /* the known provider's usual channel */
    EM_COUNT
};

/* Forms of a value in the encoding (append only). The content that follows is drawn in event_value.c. */
enum value_form {
    VF_TEXT,
    VF_GUID_LOWER,
    VF_GUID_UPPER,
    VF_DECIMAL,
    VF_HEX,       /* "0x" and lower-case digits, no leading zeros */
    VF_HEX_UPPER, /* "0x" and 16 upper-case digits */
    VF_TIME,      /* "YYYY-MM-DD hh:mm:ss.mmm" */
    VF_TIME_NEAR, /* the same, close to the event's own time */
    VF_HASHES_UPPER,
    VF_HASHES_LOWER,
    VF_BYTES, /* upper-case hex digits, two a byte */
    VF_COMMON = 32
};

#define VALUE_TYPED_MAX 640 /* bytes of text that a typed form other than VF_BYTES can stand for */

/* Finds the typed form that renders back byte for byte (checked by rendering) and writes its content to out, which has
 * room for value.len + 16 bytes; returns the form, VF_TEXT when there is none (nothing is written then). */
enum value_form value_classify(struct slice value, uint64_t event_time, uint8_t *out, size_t *ret_len);

/* Reads the content of a form (not VF_TEXT) and gives its text: constant, or in the arena. */
MUST_USE enum status value_render(struct reader *r, uint32_t form, uint64_t event_time, struct arena *a,
                                  struct slice *ret);
/* Passes over the content of a form, VF_TEXT's too. ST_FORMAT. */
MUST_USE enum status value_skip(struct reader *r, uint32_t form);

#endif
