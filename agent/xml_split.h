/* 2 PARSE  Cuts the text of single events out of documents that hold many. Pure: bytes in, slices out.
 *
 * XML_DOCUMENT: one event a line or over many lines, with or without an <Events> root and an XML declaration, as
 * UTF-8 or UTF-16 (either order; by BOM, or by the zero bytes of the first '<'). Texts come out as WTF-8.
 * XML_SYSLOG: lines of a syslog file; an event begins anywhere in its line and ends in it; #ooo of control characters
 * (as rsyslog writes them) is undone; lines without an event are skipped silently. XML_LINES: the same for lines that
 * no syslog daemon has touched.
 *
 *     xml_split_init(&s, XML_DOCUMENT);
 *     while (... got bytes) {
 *         xml_split_feed(&s, bytes);
 *         while ((kind = xml_split_next(&s, &piece)) != XML_MORE) ...
 *     }
 *     xml_split_finish(&s);   and take what is left until XML_MORE
 *     xml_split_deinit(&s);
 *
 * Memory: the bytes fed and not yet taken, and at most one unfinished event. After malformed input it goes on at the
 * next start tag <Event. */
#ifndef HAECHI_XML_SPLIT_H
#define HAECHI_XML_SPLIT_H

#include "buf.h"

#define XML_EVENT_MAX (1024u * 1024) /* bytes of one event's text */
#define XML_SPLIT_DEPTH 64

enum xml_form { XML_DOCUMENT, XML_SYSLOG, XML_LINES };

enum xml_piece_kind {
    XML_MORE,  /* nothing yet (after xml_split_finish: nothing more) */
    XML_EVENT, /* text is one whole <Event>...</Event>; valid until the next call */
    XML_BAD    /* something was skipped: why says what */
};

struct xml_piece {
    struct slice text;
    uint64_t offset; /* where it begins in the document, in the document's own bytes, from 0 */
    uint64_t line;   /* and its line, from 1 */
    const char *why; /* XML_BAD: a constant */
};

struct xml_split {
    enum xml_form form;
    int encoding;          /* found out at the first bytes */
    struct buf held;       /* bytes as fed, while they are no whole character (UTF-16) or not yet a known encoding */
    struct buf text;       /* WTF-8, not yet taken */
    struct buf line_text;  /* XML_SYSLOG: the line in work, unescaped */
    size_t head;           /* of text: done with */
    size_t taken;          /* from there: handed out, to be dropped at the next call */
    size_t scan;           /* from there: looked at already */
    size_t seen;           /* from there: there when a tag was found unfinished */
    uint64_t offset, line; /* of the byte at head */
    size_t line_scan;      /* XML_SYSLOG: of line_text */
    bool in_line;          /* an event, or a line, is in work */
    bool finished, in_bad, skip_line;
    /* the tags that are open in the event in work; names as hashes */
    uint32_t open[XML_SPLIT_DEPTH];
    uint32_t depth;
};

void xml_split_init(struct xml_split *s, enum xml_form form);
void xml_split_deinit(struct xml_split *s);
void xml_split_feed(struct xml_split *s, struct slice bytes);
void xml_split_finish(struct xml_split *s);
enum xml_piece_kind xml_split_next(struct xml_split *s, struct xml_piece *ret);

#endif
