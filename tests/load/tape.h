/* Real events, read once and replayed by many hosts over and over. Each host and each lap gets them anew: other record
 * ids, later times (also those inside the events), process GUIDs of its own, its own computer name; all else stays, so
 * that what the collector stores compresses and reads as real logs do.
 *
 * The tape is one timeline: the events of one log after those of the other, gaps that are too long or backward closed. */
#ifndef LOAD_TAPE_H
#define LOAD_TAPE_H

#include "event.h"

#define TAPE_MAX_CHANNELS 16u
#define TAPE_MAX_PATCHES 16u
#define TAPE_MAX_DATA 128u /* values of one event; events with more are left out */

enum tape_patch_kind { TAPE_GUID, TAPE_TIME };

struct tape_patch { /* a value that is the host's or the lap's own */
    uint16_t data;  /* index in ev.data */
    uint8_t kind;
    bool upper;    /* TAPE_GUID: hex digits as written */
    uint64_t time; /* TAPE_TIME: FILETIME */
};

struct tape_event {
    struct event ev;
    struct tape_patch *patches;
    size_t n_patches;
    int64_t delta;  /* its own time + delta is its place on the timeline; whole milliseconds */
    uint32_t track; /* which log it comes from: batches do not cross */
    uint32_t channel;
};

struct tape {
    struct arena arena;
    struct tape_event *events;
    size_t n, cap;
    struct slice channels[TAPE_MAX_CHANNELS];
    size_t n_channels, n_tracks;
    uint64_t span;     /* of one lap: whole milliseconds */
    uint64_t left_out; /* events that cannot be replayed: no record id or time, odd System, too many channels */
};

void tape_init(struct tape *t);
void tape_deinit(struct tape *t);
/* Parses one event and adds it. ST_OK also when it is left out (counted). */
struct parser;
MUST_USE enum status tape_add(struct tape *t, struct parser *p, struct slice xml, struct error *err);
/* Reads a file (event XML or .evtx; "-": standard input), at most max events. */
MUST_USE enum status tape_read(struct tape *t, const char *path, size_t max, struct error *err);
/* After the last event: sorts by log and lays out the timeline. ST_NOTFOUND when there is nothing to replay. */
MUST_USE enum status tape_finish(struct tape *t, struct error *err);

/* Whose events, and when. */
struct tape_label {
    struct slice computer;
    uint32_t mark; /* the first four bytes of the host's process GUIDs */
    int64_t base;  /* added to the timeline; whole milliseconds */
    uint64_t lap;
};

struct tape_scratch { /* what a labelled event points to */
    struct event_data data[TAPE_MAX_DATA];
    char text[TAPE_MAX_PATCHES][GUID_TEXT_MAX + 1];
};

/* Event k with that label. *ret borrows from the tape, the label and the scratch. */
void tape_label_event(const struct tape *t, size_t k, const struct tape_label *l, uint64_t record_id,
                      struct tape_scratch *scratch, struct event *ret);
/* The time that event k gets. */
uint64_t tape_time(const struct tape *t, size_t k, const struct tape_label *l);
/* The base that puts event k of lap 0 at `from` or just after it. */
int64_t tape_base(const struct tape *t, size_t k, uint64_t from);

#endif
