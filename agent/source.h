/* 1 SOURCE  Where events come from, one interface for all: open, next, ack, close.
 *
 * A source gives the text of one event after the other, each with the position behind it: opaque bytes from which a later
 * open goes on. It never moves a bookmark by itself; the reader keeps the position of what the collector has
 * acknowledged, and tells the source by source_ack (a live log keeps its own bookmark by that; files need none).
 *
 * Pull: source_next never waits longer than SOURCE_WAIT_MS. A live source says ST_AGAIN at its end, a file ST_END. What
 * cannot be read gives ST_CORRUPT or ST_FORMAT with a sentence, is counted, and the next call goes on behind it.
 *
 * Kinds: source_evtx.c (.evtx files), source_xml.c (event XML), source_journal.c (Sysmon for Linux: the journal, syslog
 * files), source_evtlog.c (a channel of the Windows Event Log). Reader thread, blocking. */
#ifndef HAECHI_SOURCE_H
#define HAECHI_SOURCE_H

#include "buf.h"

#define SOURCE_WAIT_MS 20
#define SOURCE_MAX_POSITION 1024u
#define SOURCE_MAX_EVENT (4u * 1024 * 1024) /* text of one event */

enum source_kind {
    SOURCE_AUTO,    /* by what the file begins with */
    SOURCE_EVTX,    /* a whole .evtx file */
    SOURCE_XML,     /* event XML: one line or many, <Events> or not, UTF-8 or UTF-16 */
    SOURCE_TEXT,    /* syslog lines or journal export (JSON) lines with Sysmon for Linux' events */
    SOURCE_JOURNAL, /* the live journal of this host */
    SOURCE_EVTLOG   /* a channel of this host's Windows Event Log; path is its name */
};

/* Where the collector says that a log stands. epoch 0: it holds nothing of it, or was not asked. */
struct source_known {
    uint32_t epoch;
    uint64_t id, time; /* the highest record that it holds */
};

struct source_options {
    const char *path;          /* "-": standard input; NULL for SOURCE_JOURNAL */
    bool follow;               /* what is appended later comes too, over rotation (SOURCE_TEXT) */
    bool strict;               /* only journal records whose trusted fields prove that Sysmon wrote them */
    struct slice position;     /* behind what an earlier run had; empty: from the start */
    const char *query;         /* SOURCE_EVTLOG: XPath or structured XML; NULL: all events */
    struct source_known known; /* SOURCE_EVTLOG: used where there is no position, and for the epoch */
};

/* Record ids that will never come, and why: cause as the wire has it (Gap), 0: none. */
enum { GAP_CLEARED = 1, GAP_WRAPPED = 2, GAP_FILTERED = 3, GAP_DAMAGED = 4 };
struct source_gap {
    uint64_t first_id, last_id;
    uint32_t epoch, cause;
};

struct source_record { /* valid until the next call */
    struct slice xml;
    struct slice position;
    uint64_t line, byte;   /* where the event begins in its file, from 1 and 0; line 0: not a text file */
    bool own;              /* proven to be this host's: a live log */
    uint32_t epoch;        /* what the collector calls this log, where that was found out; 0: let it find the epoch */
    struct source_gap gap; /* between the record before and this one */
};

struct source_facts {
    uint64_t bytes_done, bytes_all; /* for progress; bytes_all 0: not known */
    uint64_t skipped;               /* records that could not be read */
    uint64_t foreign;               /* lines of other programs, or without proof */
    uint64_t damaged;               /* damaged stretches */
    uint64_t oldest_id, newest_id;  /* of the log itself, where it knows; else 0 */
    uint64_t log_bytes, log_max_bytes;
    uint64_t wraps_in_s; /* until the log overwrites what was not read yet; 0: not known */
    const char *trouble; /* why nothing comes, in words that live for ever; NULL: none */
};

struct source;

MUST_USE enum status source_open(enum source_kind kind, const struct source_options *o, struct source **ret,
                                 struct error *err);
MUST_USE enum status source_next(struct source *s, struct source_record *ret, struct error *err);
void source_ack(struct source *s, struct slice position);
struct source_facts source_facts(const struct source *s);
const char *source_name(const struct source *s); /* the path, or "the journal" */
void source_close(struct source **s);

/* ---- for the kinds ---- */

struct source_ops {
    enum status (*next)(struct source *s, struct source_record *ret, struct error *err);
    void (*ack)(struct source *s, struct slice position); /* may be NULL */
    void (*close)(struct source *s);                      /* frees what is behind struct source, not itself */
};

struct source { /* first member of each kind's struct */
    const struct source_ops *ops;
    char *name;
    struct source_facts facts;
};

MUST_USE enum status source_evtx_open(const struct source_options *o, struct source **ret, struct error *err);
MUST_USE enum status source_xml_open(const struct source_options *o, struct source **ret, struct error *err);
MUST_USE enum status source_text_open(const struct source_options *o, struct source **ret, struct error *err);
MUST_USE enum status source_journal_open(const struct source_options *o, struct source **ret, struct error *err);
MUST_USE enum status source_evtlog_open(const struct source_options *o, struct source **ret,
                                        struct error *err); /* Windows */

/* What a file looks like from its first bytes (a few hundred are enough). */
enum source_kind source_guess(struct slice head);

#endif
