/* The event model: one Windows event (or one of Sysmon for Linux) as it was written, and its two encodings.
 *
 * In memory all text is WTF-8 (base/text.h), exactly as the event's XML said it. Numbers carry their value and, only
 * when they were not written canonically (leading zeros, other case), their text as well, so that rendering gives the
 * same System section, EventData names, values and order. Encoded as protobuf (`Event` in haechi.proto) values are
 * typed where the typed form renders back byte for byte, else text. Pure: no I/O, no clock.
 *
 * Slices in a struct event borrow: from the XML's arena, from the encoded bytes, or from the arena given to
 * event_decode; the caller keeps those alive. Source of names and shapes: Windows' event schema
 * (http://schemas.microsoft.com/win/2004/08/events/event) and Sysmon's manifests 2.0 to 4.91. */
#ifndef HAECHI_EVENT_H
#define HAECHI_EVENT_H

#include "arena.h"
#include "buf.h"
#include "guid.h"

#define EVENT_MAX_ENCODED (512u * 1024) /* one encoded event; larger ones are refused by encode and decode */
#define EVENT_MAX_DATA 1024u            /* named values in one event */
#define EVENT_ARENA_CAP (8u * 1024 * 1024)

struct event_num {
    uint64_t v;
    bool present;
    struct slice text; /* empty when the canonical rendering of v is what was written */
};

enum event_element { EVENT_DATA, EVENT_BINARY }; /* <Data> or <Binary> inside EventData */

struct event_data {
    struct slice name; /* .p NULL: no Name attribute */
    struct slice value;
    enum event_element element;
};

enum event_body {
    EVENT_BODY_NONE,
    EVENT_BODY_DATA, /* EventData that holds only Data and Binary elements: data[] */
    EVENT_BODY_XML   /* anything else (UserData, nested EventData, DebugData ...): body_xml, the elements as text */
};

enum event_form {
    EVENT_FORM_WINDOWS, /* xmlns, single quotes, Security UserID */
    EVENT_FORM_LINUX    /* no xmlns, double quotes, Security UserId: Sysmon for Linux */
};

/* Which of System's container elements were there (an element without attributes is there too). */
enum { EVENT_HAS_CORRELATION = 1, EVENT_HAS_EXECUTION = 2, EVENT_HAS_SECURITY = 4 };

struct event {
    enum event_form form;
    struct slice provider, provider_guid, event_source; /* .p NULL: attribute absent; GUIDs as written */
    struct event_num event_id, qualifiers, version, level, task, opcode, keywords /* hex */, record_id;
    uint64_t time;          /* FILETIME of TimeCreated/@SystemTime; 0 when absent */
    int time_digits;        /* fraction digits as written */
    struct slice time_text; /* as written, when FILETIME and digits do not give it back (true nanoseconds, ...) */
    struct slice activity_id, related_activity_id;
    struct event_num process_id, thread_id, processor_id, session_id, kernel_time, user_time, processor_time;
    struct slice channel, computer, user_sid; /* .p NULL: absent */
    unsigned has;
    struct slice system_xml; /* set when System held what the members above cannot say: the whole <System> element */
    enum event_body body;
    struct slice body_name; /* EventData/@Name; .p NULL: absent */
    struct event_data *data;
    size_t n_data;
    struct slice body_xml;  /* EVENT_BODY_XML */
    struct slice extra_xml; /* what follows the body: RenderingInfo, ProcessingErrorData ...; usually empty */
};

/* Appends the protobuf encoding. ST_TOOBIG over EVENT_MAX_ENCODED or EVENT_MAX_DATA. */
MUST_USE enum status event_encode(const struct event *ev, struct buf *out);

/* Hostile bytes in: ST_FORMAT, ST_TOOBIG, ST_NOMEM (arena cap). What *ret points to lives in `a` and in `bytes`. */
MUST_USE enum status event_decode(struct slice bytes, struct arena *a, struct event *ret);

/* One line, as Windows' EvtRender prints it (Sysmon for Linux's own form for EVENT_FORM_LINUX): & < > and quotes
 * escaped, CR, LF as &#13; &#10;, other control characters raw as Windows does, lone surrogates as &#xD800; No newline
 * at the end. */
void event_write_xml(const struct event *ev, struct buf *out);

/* The escaping of event_write_xml alone, for a text or for a value between single quotes. */
void event_escape_xml(struct buf *out, struct slice s, bool in_attribute);

/* The first value with that name (ASCII case ignored: SourceProcessGUID and SourceProcessGuid are one); .p NULL when
 * there is none. */
struct slice event_value(const struct event *ev, const char *name);

/* Sysmon on Windows doubles every '%' in two fields, and only there: CommandLine of event 1 and Details of event 13. What
 * is stored, and rendered as XML and JSON, stays as it was written; display, search and comparison undo it. */
bool event_is_doubled(struct slice provider, uint64_t event_id, struct slice field);
/* "%%" becomes "%". Writes at most s.len bytes (out may be s itself); returns how many. */
size_t event_undouble(struct slice s, uint8_t *out);

/* The process GUIDs that the event names (ProcessGuid, ParentProcessGuid, SourceProcessGUID, TargetProcessGUID; never
 * LogonGuid), in order of appearance, each once, without zero GUIDs; at most EVENT_MAX_GUIDS. */
#define EVENT_MAX_GUIDS 4
size_t event_process_guids(const struct event *ev, struct guid out[EVENT_MAX_GUIDS]);

/* Identity of the content, the same by whatever way the event came: case, white space, empty values, leading zeros and
 * GUID case are folded, so .evtx, EvtRender and wevtutil renderings of one event agree. */
uint64_t event_content_hash(const struct event *ev);

/* The interned name table (fields.def): append only, the same on both ends. 0 is "no such name". */
uint32_t event_field_id(struct slice name); /* exact spelling */
const char *event_field_name(uint32_t id);  /* NULL when unknown */

/* Sysmon's events (fields.def): for help texts, tables and documents. NULL when the id is not one of Sysmon's. */
struct sysmon_event {
    uint32_t id;
    const char *tag;        /* "ProcessCreate"; NULL when it cannot be filtered */
    const char *title;      /* "Process Create" */
    const uint32_t *fields; /* interned ids in manifest order (Windows 4.91), 0-terminated */
};
const struct sysmon_event *sysmon_event_find(uint32_t id);

#endif
