/* 5 WIRE  The way to the collector: connect, greet, send what credit allows, resend after a loss, back off, fail over,
 * renew the certificate, say goodbye. One state machine without sockets and clocks of its own: struct uplink_io is how it
 * touches the world (uplink_wire.h for real, a scenario in tests). Loop thread only. */
#ifndef HAECHI_UPLINK_H
#define HAECHI_UPLINK_H

#include "buf.h"

struct sysmon;

/* A batch on its way. Made by mem_alloc; whoever holds it frees it with outgoing_free. */
struct outgoing {
    struct buf bytes; /* header, columns, payload */
    uint32_t header_len, n_events;
    uint64_t seq; /* the feeder's number: ascending */
};
void outgoing_free(struct outgoing **o);

struct uplink_io {
    void *ctx;
    uint64_t (*now_ms)(void *ctx); /* monotonic */
    uint64_t (*wall)(void *ctx);   /* FILETIME */
    uint32_t (*random)(void *ctx);
    /* Starts to connect; uplink_on_open or uplink_on_closed follows, never from inside. One connection at a time. */
    void (*connect)(void *ctx, const char *host, uint16_t port);
    void (*write)(void *ctx, struct slice bytes);
    bool (*can_write)(void *ctx);
    void (*close)(void *ctx, bool flush); /* uplink_on_closed follows, never from inside */
};

/* What one log looks like on this host, for Hello and heartbeats. */
struct uplink_log {
    const char *channel, *computer;
    uint64_t oldest_id, newest_id, bytes, max_bytes;
};

/* Record ids of a log of this host that will never come; cause as Gap has it. */
struct uplink_gap {
    char channel[256];
    uint32_t epoch, cause;
    uint64_t first_id, last_id;
};

/* Where a log of this host stands at the collector; epoch 0: it holds nothing of it. */
struct uplink_position {
    const char *channel; /* borrowed */
    uint32_t epoch;
    uint64_t highest_id, highest_time;
};

/* How far this host is with the fleet's rules, as RulesStatus has it; borrowed. */
struct uplink_rules {
    uint64_t serial, time;
    const char *ruleset;
    uint32_t revision, state, evidence; /* rules_state.h */
    struct slice digest, rules_digest;
    const char *reason, *words;
};

struct uplink_load {
    const struct sysmon *sysmon;      /* NULL: not looked at yet */
    const struct uplink_rules *rules; /* NULL: this host has never had any */
    uint64_t backlog_events;          /* read and not yet given to the uplink */
    uint64_t spool_bytes, spool_max_bytes;
    double events_per_s;
    uint64_t cpu_ms, rss_bytes, parse_errors, records_skipped;
    uint64_t wraps_in_s;           /* until the first of the logs overwrites what was not read; 0: not known */
    const struct uplink_log *logs; /* borrowed for the call */
    size_t n_logs;
};

struct uplink_welcome { /* borrowed */
    uint32_t host_id;
    struct slice host_name, collector_version;
    uint64_t time; /* the collector's clock */
    const struct slice *collectors;
    size_t n_collectors;
};

struct uplink_owner {
    void *ctx;
    struct outgoing *(*next)(
        void *ctx); /* the next batch, now the uplink's; NULL: none now (uplink_kick when there is) */
    void (*acked)(void *ctx, uint64_t seq, uint64_t n_events); /* all up to seq are on the collector's disk */
    void (*rejected)(void *ctx, struct outgoing *o /* yours */, enum status code, const char *reason);
    void (*load)(void *ctx, struct uplink_load *ret);             /* for Hello and heartbeats */
    void (*welcome)(void *ctx, const struct uplink_welcome *w);   /* may be NULL */
    void (*position)(void *ctx, const struct uplink_position *p); /* for each log that `load` named; may be NULL */
    void (*rules)(void *ctx, struct slice offer); /* a RulesOffer's bytes, not looked into; may be NULL */
    MUST_USE enum status (*make_csr)(void *ctx, struct buf *ret_der, struct error *err);
    /* A new certificate: keep it; says its dates. */
    MUST_USE enum status (*renewed)(void *ctx, struct slice certificate, struct slice ca, uint64_t *ret_not_before,
                                    uint64_t *ret_not_after, struct error *err);
    /* The end, once: ST_OK after uplink_finish or uplink_stop, else why it was given up. */
    void (*stopped)(void *ctx, enum status why, const char *text);
};

struct uplink_options {
    const char *const *collectors; /* HOST:PORT in order of preference */
    size_t n_collectors;
    unsigned backoff_base_ms, backoff_max_ms; /* 0: 1 s, 60 s; each try doubles, a random half is taken off */
    unsigned refused_ms;                      /* after a refused certificate; 0: 5 min */
    bool refusal_is_final;                    /* stop at the first refusal, and ... */
    unsigned give_up_ms;                      /* ... when no collector could be reached for so long; 0: never */
    size_t window_bytes;                      /* unacknowledged batches kept in memory; 0: 16 MiB */
    uint64_t not_before, not_after;           /* of our certificate; 0: it is not ours to renew */
    const char *os, *hostname, *domain;       /* NULL: not known */
    struct slice machine_id, boot_id, instance;
    int utc_offset_minutes;
};

struct uplink;
struct uplink *uplink_new(const struct uplink_options *o, const struct uplink_io *io, const struct uplink_owner *owner);
void uplink_free(struct uplink **u); /* only before uplink_start or after `stopped` */

void uplink_start(struct uplink *u);
void uplink_kick(struct uplink *u); /* there are batches again */
/* No batches come any more: stop once all are acknowledged, and a renewal that was asked for is answered. */
void uplink_finish(struct uplink *u);
/* Tells the collector why a hole will stay. Kept and told again on each of the next connections, for no message answers it. */
void uplink_explain(struct uplink *u, const struct uplink_gap *g);
/* `load` has other rules to tell than before: now, when there is a connection; else Hello will. */
void uplink_rules_changed(struct uplink *u);
void uplink_stop(struct uplink *u, unsigned grace_ms); /* stop soon: acks are waited for so long, then goodbye */
void uplink_tick(struct uplink *u);                    /* at uplink_deadline_ms, or more often */
uint64_t uplink_deadline_ms(const struct uplink *u);

/* From the connection. */
void uplink_on_open(struct uplink *u);
void uplink_on_data(struct uplink *u, struct slice plain);
void uplink_on_drained(struct uplink *u);
void uplink_on_closed(struct uplink *u, enum status why, const char *text);

struct uplink_status {
    const char *state;     /* "streaming" */
    const char *collector; /* the one in use or tried last */
    bool connected;
    uint64_t acked_batches, acked_events, rejected_batches, rejected_events, reconnects;
    /* What the acks say became of the acked events: new to the collector, or held already. A batch that was stored but
     * whose ack was lost is sent again and counts as held. Less than acked_events in sum: a collector did not say. */
    uint64_t events_stored, events_held;
    uint64_t unacked_batches, unacked_events, unacked_bytes;
    const char *trouble; /* why there is no connection; "" */
    uint64_t heard;      /* when the collector last said something, FILETIME; 0: never since the start */
};
struct uplink_status uplink_get_status(const struct uplink *u);

#endif
