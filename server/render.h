/* Stored events as text for people and programs: one line each. Pure. */
#ifndef HAECHI_RENDER_H
#define HAECHI_RENDER_H

#include "event.h"

enum render_format { RENDER_JSON, RENDER_XML, RENDER_CSV };

/* What the store knows of an event beside its content. */
struct render_place {
    const char *host; /* name */
    uint32_t epoch;
    uint64_t record_id; /* of the ledger: the content hash under EPOCH_CONTENT */
};

MUST_USE enum status render_format_parse(const char *name, enum render_format *ret);

/* Appends the event and a newline.
 *
 * JSON: host, channel, epoch, record_id, time, provider, provider_guid, event_id, version, level, task, opcode,
 * keywords, computer, user_sid, process_id, thread_id and what else System has, then `data`: an object in the event's
 * order. Values without a name are "#1", "#2" ... (counted among the unnamed), a name that is there already gets "#2",
 * "#3" ... behind it; a <Binary> element is "<Binary>". Bodies that are no flat EventData are the string `xml`; what
 * follows the body is `extra_xml`. Lone surrogates are \ud800-style escapes, so no value is lost.
 * CSV: render_csv_header's columns; text that a spreadsheet would run as a formula gets a leading apostrophe. */
void render_event(struct buf *out, enum render_format format, const struct render_place *where, const struct event *ev);
void render_csv_header(struct buf *out);

#endif
