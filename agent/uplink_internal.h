/* What uplink.c (states, connecting, time) and uplink_stream.c (what is said on a connection) share. */
#ifndef HAECHI_UPLINK_INTERNAL_H
#define HAECHI_UPLINK_INTERNAL_H

#include "log.h"
#include "msg.h"
#include "uplink.h"

#define AREA "uplink"

#define UPLINK_GAPS 64u

enum uplink_state {
    UPLINK_NEW,        /* not started */
    UPLINK_WAITING,    /* no connection until wait_until */
    UPLINK_CONNECTING, /* name, TCP, TLS: the connection has its own deadline */
    UPLINK_GREETING,   /* Hello is sent, Welcome awaited */
    UPLINK_STREAMING,  /* batches out, acks in */
    UPLINK_CLOSING,    /* close was asked for, on_closed awaited */
    UPLINK_STOPPED     /* final */
};

struct uplink {
    struct uplink_options o;
    struct uplink_io io;
    struct uplink_owner owner;
    char **collectors;
    size_t n_collectors, at, tried; /* at: in use; tried: how many in this round */
    enum uplink_state state;
    unsigned attempt; /* rounds without success */
    uint64_t wait_until, deadline, unreached_since;
    bool finishing, stopping, pumping;
    uint64_t stop_at;

    /* this connection */
    struct frame_reader reader;
    bool reader_used;
    struct arena arena;
    uint64_t last_heard, heartbeat_ms, heartbeat_at;
    uint64_t their_time, their_time_at; /* the collector's clock at the greeting, and ours that cannot be set */
    uint64_t credit_batches, credit_bytes;
    enum status bye; /* why the connection ends, when we know better than the socket */
    char bye_text[ERROR_TEXT_MAX];
    uint64_t bye_wait_ms;

    struct outgoing **window; /* in order; the first n_sent were sent on this connection as first_no ... */
    size_t n_window, cap_window, n_sent;
    uint64_t first_no, window_bytes, sent_bytes, window_events;
    uint64_t stored_here, held_here; /* events, by the last ack of this connection */

    struct uplink_gap gaps[UPLINK_GAPS]; /* the latest, as a ring */
    size_t n_gaps, gap_at;
    uint64_t renew_at_ms, renew_deadline; /* 0: not due, not asked */
    struct buf scratch;
    char trouble[ERROR_TEXT_MAX];
    struct uplink_status counts;
};

/* uplink.c */
uint64_t uplink_now(const struct uplink *u);
void uplink_keep_text(char *out, size_t cap, const char *text); /* as much as fits */
void uplink_enter(struct uplink *u, enum uplink_state next);    /* the only writer of state */
/* Ends the connection for a reason of ours. */
void uplink_hang_up(struct uplink *u, enum status why, const char *text, bool flush);

/* uplink_stream.c */
void uplink_pump(struct uplink *u); /* sends what credit, window and socket allow; says goodbye when that was all */
void uplink_say_goodbye(struct uplink *u, enum status code, const char *reason);
void uplink_heartbeat(struct uplink *u);
void uplink_renew_if_due(struct uplink *u);
void uplink_renew_failed(struct uplink *u, const char *text);

#endif
