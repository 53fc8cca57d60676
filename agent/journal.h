/* 1 SOURCE  Sysmon for Linux' events in journal export lines (JSON, one object a line: `journalctl -o json`) and in syslog
 * text lines. Pure: one line in, event texts out.
 *
 * Formats: systemd's JSON export (a field is a string, an array of byte values when it is not UTF-8, null when too large,
 * an array of those when it came more than once); RFC 3164, RFC 5424 and ISO 8601 prefixes; rsyslog's #ooo escapes. */
#ifndef HAECHI_JOURNAL_H
#define HAECHI_JOURNAL_H

#include "buf.h"

#define JOURNAL_MAX_LINE (4u * 1024 * 1024) /* a byte array takes up to five characters a byte */
#define JOURNAL_MAX_MESSAGE (1024u * 1024)
#define JOURNAL_MAX_CURSOR 512u
#define JOURNAL_MAX_DEPTH 16

enum journal_proof {
    JOURNAL_UNPROVEN, /* none of the trusted fields is there: a text like any other */
    JOURNAL_PROVEN,   /* _UID=0 and (_EXE=/opt/sysmon/sysmon or _SYSTEMD_UNIT=sysmon.service) */
    JOURNAL_FOREIGN   /* the fields say that another program wrote it, or contradict each other */
};

struct journal_entry { /* zero before first use; reused from line to line; journal_entry_deinit */
    struct buf message, cursor;
    bool has_message, is_sysmon; /* is_sysmon: SYSLOG_IDENTIFIER is sysmon, or there is none */
    enum journal_proof proof;
    struct buf scratch;
};
void journal_entry_deinit(struct journal_entry *e);

/* One line. ST_FORMAT, ST_TOOBIG: not an export line, or over a limit. */
MUST_USE enum status journal_parse(struct slice line, struct journal_entry *e);

/* The message part of a syslog text line that sysmon wrote (or of a line that is nothing but event XML), decoded from
 * rsyslog's escapes into *out (emptied first). ST_NOTFOUND: a line of another program, or without an event. */
MUST_USE enum status journal_parse_syslog(struct slice line, struct buf *out);

/* Cuts the next event from *message (moved behind it). ST_END: no more. ST_CORRUPT: an event without its end tag (a
 * syslog daemon cut it); *message is used up. */
MUST_USE enum status journal_next_event(struct slice *message, struct slice *ret_xml);

#endif
