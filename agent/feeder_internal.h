/* What feeder.c (thread, orders, reports), feeder_in.c (inputs) and feeder_out.c (spool and queue) share. */
#ifndef HAECHI_FEEDER_INTERNAL_H
#define HAECHI_FEEDER_INTERNAL_H

#include "batcher.h"
#include "bookmarks.h"
#include "feeder.h"
#include "gaps.h"
#include "log.h"
#include "parse.h"
#include "queue.h"
#include "spool.h"

#define AREA "feeder"

enum order_kind { ORDER_ACKED, ORDER_REJECTED, ORDER_WRITE, ORDER_POSITION, ORDER_LISTEN, ORDER_STOP };
struct order {
    enum order_kind kind;
    uint64_t seq;
    struct outgoing *batch;
    enum status code;
    char *reason; /* or the name of the file to write, the channel, the canary */
    struct source_known known;
    struct buf bytes;
};

struct input {
    struct feeder *feeder;
    struct feeder_input spec;
    char *path, *query, *name; /* name: in the bookmarks and the spool */
    struct source_known known; /* where the collector stands */
    uint64_t ask_until;        /* no bookmark: opened when the collector has said where it stands, or then; 0: now */
    struct source *source;
    struct batcher *batcher;
    struct source_facts closed; /* what earlier opens of it counted */
    bool ended, caught_up;
    uint64_t retry_at, size;
    unsigned lines;
    char trouble[ERROR_TEXT_MAX]; /* why it could not be opened or read; "" */
    uint64_t events, bad;         /* of this input, since the start */
    struct buf taken;             /* position of the last batch taken from the spool, at first the bookmark's */
    struct buf open_at;           /* where the next open goes on: behind the last event that the batcher got */
};

struct ready { /* a finished batch on its way out */
    struct outgoing *batch;
    struct input *input;
    struct buf position;
};

struct feeder {
    struct feeder_options o;
    char **own_names;
    struct queue *out, *notes, *in;
    struct input *inputs;
    size_t n_inputs, at; /* at: the one that is read next */
    struct parser *parser;
    struct arena arena; /* of the event in work */
    struct spool *spool;
    struct bookmarks marks;
    char *marks_path;
    struct ready *ready, *sent; /* first in, first out */
    size_t n_ready, cap_ready, n_sent, cap_sent;
    struct feeder_item *held;
    struct buf scratch;
    bool stopping, end_said, marks_dirty;
    uint64_t save_at, report_at, spool_retry_at, next_seq;
    struct feeder_report report;
    struct feeder_log *logs;
    size_t n_logs, cap_logs;
    struct gaps gaps;
    char *gaps_path;
    uint64_t given; /* number of the last batch that the uplink got */
    uint64_t rate_at, rate_events;
    uint64_t sysmon_at; /* when it is looked at again */
    struct sysmon *sysmon;
    char canary[CANARY_MAX]; /* that is listened for */
    struct log_limit full_limit;
};

/* feeder.c */
void feeder_save_gaps(struct feeder *r);

/* feeder_out.c */
struct feeder_log *feeder_log_of(struct feeder *r, struct slice channel, struct slice computer); /* NULL: too many */
struct batcher *feeder_new_batcher(struct feeder *r, struct input *in);
void feeder_drop_first(struct ready *list, size_t *n, size_t drop);
bool feeder_put(struct feeder *r, struct feeder_item *i,
                size_t weight); /* into the loop's queue; held when that is full */
bool feeder_put_held(struct feeder *r);
bool feeder_fill_spool(struct feeder *r);  /* ready -> spool, durable; returns whether anything moved */
bool feeder_drain_spool(struct feeder *r); /* spool -> the loop's queue */
bool feeder_drain_ready(struct feeder *r); /* without a spool: ready -> the loop's queue */

/* feeder_in.c */
void feeder_close_source(struct input *in);
bool feeder_read(struct feeder *r); /* some records of the inputs that have any; returns whether there were any */

#endif
