/* 3 BATCH  Events in, finished batches out: one open batch for each log (computer, channel), and when each is full or
 * old enough. Pure: time comes as an argument. Used by the agent and by imports; it knows neither spool nor wire. */
#ifndef HAECHI_BATCHER_H
#define HAECHI_BATCHER_H

#include "batch.h"

#define BATCHER_MAX_LOGS 32u /* open at once; one more flushes the oldest */
#define BATCHER_LIVE_EVENTS 1000u
#define BATCHER_LIVE_RAW (256u * 1024)
#define BATCHER_LIVE_AGE_MS 1000u
#define BATCHER_DRAIN_RAW (1024u * 1024) /* with BATCHER_LIVE_EVENTS: what a full batch is when there is a backlog */
#define BATCHER_MAX_POSITION 1024u

struct batcher;

/* One finished batch. The receiver takes the bytes over (buf_free); the rest dies when the call returns. */
struct batcher_batch {
    struct buf bytes; /* header, columns, payload: as sent and stored */
    uint32_t header_len;
    uint32_t n_events;
    uint64_t last_record_id;
    struct slice channel, computer;
    /* Where the source may go on once this batch and all batches handed out before it are safe: everything that was read
     * up to there is in them. Empty: nothing new is known. */
    struct slice position;
};
typedef void (*batcher_out_fn)(void *ctx, struct batcher_batch *b);

struct batcher_options {
    uint32_t max_events;          /* 0: BATCHER_LIVE_EVENTS */
    size_t max_raw;               /* 0: BATCHER_LIVE_RAW */
    unsigned max_age_ms;          /* 0: only full batches, and batcher_flush */
    bool own;                     /* all events are of this host, whatever they say (a live log) */
    const char *const *own_names; /* else: names of this host, compared by their first label without case */
    size_t n_own_names;
    int zstd_level; /* 0: the default */
    batcher_out_fn out;
    void *ctx;
};

struct batcher *batcher_new(const struct batcher_options *o); /* copies what o points to */
void batcher_free(struct batcher **b);                        /* open batches are dropped: flush before */

/* Adds one event; `out` may be called from inside. `position` is where the source would go on behind this event (may be
 * empty, at most BATCHER_MAX_POSITION). ST_TOOBIG: no batch can hold this event; it was not taken. */
MUST_USE enum status batcher_add(struct batcher *b, const struct event *ev, struct slice position, uint64_t now_ms);
/* The epoch that own events with a record id claim from now on; at first EPOCH_FIND. */
void batcher_set_epoch(struct batcher *b, uint32_t epoch);
void batcher_tick(struct batcher *b, uint64_t now_ms); /* hands out what has become old enough */
void batcher_flush(struct batcher *b);                 /* hands out everything */
/* With a backlog larger batches are made (age still holds). */
void batcher_set_limits(struct batcher *b, uint32_t max_events, size_t max_raw);
uint64_t batcher_deadline_ms(const struct batcher *b); /* when batcher_tick has work; UINT64_MAX: nothing is open */
uint64_t batcher_open_events(const struct batcher *b); /* added and not yet handed out */

/* True when the names agree in their first DNS label, ASCII case ignored. */
bool batcher_same_host(struct slice computer, const char *name);

#endif
