/* The feeder, on the reader thread: sources -> parse -> batcher -> spool, and back: acknowledgements -> bookmarks. It meets the loop
 * thread in two queues only.
 *
 * With a spool (run) a batch is durable before it is given to the uplink, and reading stops when the spool is full: the
 * event log itself is the buffer then. Without one (send) batches go straight to the uplink; a crash means reading the
 * files again, and the collector's ledger knows what it has. Memory is bounded by the queue and the uplink's window. */
#ifndef HAECHI_FEEDER_H
#define HAECHI_FEEDER_H

#include "source.h"
#include "sysmon.h"
#include "sysmon_note.h"
#include "uplink.h"

#define FEEDER_QUEUE_BYTES (8u * 1024 * 1024)

struct feeder_input {
    const char *path;  /* NULL for SOURCE_JOURNAL; SOURCE_EVTLOG: the channel */
    const char *query; /* SOURCE_EVTLOG: NULL: all events */
    enum source_kind kind;
    bool follow, strict;
};

struct feeder_options {
    const char *state_dir;
    const struct feeder_input *inputs;
    size_t n_inputs;
    bool spooled; /* false: read each input to its end, then FEEDER_END */
    uint64_t spool_max_bytes;
    const char *const *own_names; /* of this host: enrolled name, machine name */
    size_t n_own_names;
    void (*wake)(void *ctx); /* called on the reader's thread after it has put something */
    void *ctx;
};

/* What the loop thread gets. */
struct feeder_log { /* one log that was read from */
    char channel[256], computer[256];
    uint64_t newest_id;                                                          /* the last one in a batch */
    uint64_t log_oldest_id, log_newest_id, log_bytes, log_max_bytes, wraps_in_s; /* of a live log; 0: not known */
};

struct feeder_gap { /* record ids that will never come */
    char channel[256];
    struct source_gap gap;
};

struct feeder_trouble { /* with one of the inputs */
    char input[256], text[ERROR_TEXT_MAX];
};

struct feeder_report {
    uint64_t events, events_unread; /* read so far; in the batcher and the spool */
    uint64_t parse_errors, skipped, damaged, foreign, failed_inputs;
    uint64_t bytes_done, bytes_all;
    uint64_t spool_bytes, spool_max_bytes;
    unsigned spool_bad;
    bool spool_full;
    double events_per_s;
    size_t input, n_inputs; /* the one being read (send) */
    struct feeder_log *logs;
    size_t n_logs;
    struct feeder_gap *gaps; /* since the report before */
    size_t n_gaps;
    struct feeder_trouble *troubles;
    size_t n_troubles;
    struct sysmon *sysmon; /* looked at since the report before; else NULL */
};

enum feeder_item_kind {
    FEEDER_BATCH,
    FEEDER_REPORT,
    FEEDER_SYSMON, /* Sysmon said something about itself in a live log of this host */
    FEEDER_END,    /* all inputs are read (send) */
    FEEDER_GONE    /* the thread ends */
};
struct feeder_item {
    enum feeder_item_kind kind;
    struct outgoing *batch;
    struct sysmon_note *note;
    struct feeder_report report;
};
void feeder_item_free(struct feeder_item **i);

struct feeder;
/* Opens the spool and reads the bookmarks; no thread yet. */
MUST_USE enum status feeder_new(const struct feeder_options *o, struct feeder **ret, struct error *err);
void feeder_free(struct feeder **r); /* after FEEDER_GONE, or never run */
void feeder_run(void *feeder);       /* the thread */

/* ---- from the loop thread ---- */
struct feeder_item *feeder_take(struct feeder *r); /* FEEDER_BATCH, FEEDER_END; NULL: none now */
struct feeder_item *feeder_take_note(
    struct feeder *r); /* FEEDER_REPORT, FEEDER_SYSMON, FEEDER_GONE, past the batches that wait */
/* False: the reader is behind; call again with the same or a later number. */
MUST_USE bool feeder_acked(struct feeder *r, uint64_t seq);
void feeder_rejected(struct feeder *r, struct outgoing *o /* taken */, enum status code, const char *reason);
/* Replaces STATE/name with these bytes, some time later. */
void feeder_write(struct feeder *r, const char *name, struct slice bytes);
/* Where the collector says that a channel of this host stands: an input without a bookmark waits for it, up to 30 s. */
void feeder_position(struct feeder *r, const char *channel, struct source_known known);
/* The event 1 that has this in its command line is told of (FEEDER_SYSMON); "": no more. At most CANARY_MAX bytes with NUL. */
void feeder_listen(struct feeder *r, const char *canary);
void feeder_stop(struct feeder *r); /* finish what is open, then FEEDER_GONE */

#endif
