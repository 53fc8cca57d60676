/* 2 PARSE  One event's XML text -> struct event. Pure: no I/O, no clock.
 *
 * Any rendering of an event is read: EvtRender's, wevtutil's, the event viewer's, libevtx', Sysmon for Linux' own.
 * Values and names come out as the XML says, as WTF-8, with nothing lost: characters that XML 1.0 cannot hold (control
 * characters, U+FFFE, lone surrogates), raw or as numeric references, are kept. Bytes that are no UTF-8 become U+FFFD.
 * What struct event has no members for is kept as XML text in one normal form: one line, single quotes, comments and
 * blanks between elements left out.
 *
 * parse_event(event_write_xml(ev)) is ev again. Owner of <expat.h>. */
#ifndef HAECHI_PARSE_H
#define HAECHI_PARSE_H

#include "event.h"
#include "xml_split.h"

#define PARSE_MAX_DEPTH 64
#define PARSE_MAX_ATTRIBUTES 64

struct parser; /* reusable; one thread at a time */

struct parser *parser_new(void);
void parser_free(struct parser **p);

/* How many bytes became U+FFFD, in all texts so far. */
uint64_t parser_replaced(const struct parser *p);

/* Reads one <Event ...>...</Event> (an XML declaration, blanks and comments around it are fine). What *ret points to
 * lives in `a` and in `xml`. ST_FORMAT: *err says line and byte (both from 1) in xml, and what is wrong there.
 * ST_TOOBIG: over XML_EVENT_MAX, EVENT_MAX_DATA, depth or attributes. ST_NOMEM: the arena's cap. */
MUST_USE enum status parse_event(struct parser *p, struct slice xml, struct arena *a, struct event *ret,
                                 struct error *err);

/* The same by expat alone, without the quick way for the usual shape: for tests. */
MUST_USE enum status parse_event_slow(struct parser *p, struct slice xml, struct arena *a, struct event *ret,
                                      struct error *err);

#endif
