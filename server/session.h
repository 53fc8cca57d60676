/* 6 COLLECT  One agent: a state machine that reads frames and answers them. It knows no sockets, threads or clocks: all it
 * asks of its surroundings goes through struct session_io (listener.c has the real one, tests a scripted one), so one
 * thread, the one that calls it.
 *
 * Order of life: session_init, session_open (the peer is known), session_feed as bytes come, session_tick every second,
 * session_batch_done and session_job_done for what it started, session_closed when the connection is gone. It may be
 * freed when session_can_free says so: what it started has come back by then. */
#ifndef HAECHI_SESSION_H
#define HAECHI_SESSION_H

#include "frame.h"
#include "ingest.h"
#include "job.h"
#include "rollout.h"

#define SESSION_HELLO_MS 10000
#define SESSION_MAX_CREDIT 1024u
#define SESSION_GOODBYE_MAX 300

enum session_state {
    SESSION_NEW,       /* connected, peer not known */
    SESSION_HELLO,     /* an agent: its Hello is due within SESSION_HELLO_MS */
    SESSION_WELCOMING, /* the Hello is being looked into on a work thread */
    SESSION_READY,     /* batches, heartbeats, questions */
    SESSION_BUSY,      /* ready, but a question is being looked into: nothing is read meanwhile */
    SESSION_ENROLL,    /* a host without a certificate: its EnrollRequest is due */
    SESSION_ENROLLING, /* it is being looked into */
    SESSION_CLOSING,   /* the last words are said; waits for the connection to go */
    SESSION_CLOSED     /* the connection is gone; waits for what it started */
};

struct session;

struct session_io {
    uint64_t (*now_ms)(void *ctx);
    uint64_t (*now)(void *ctx); /* FILETIME */
    void (*send)(void *ctx, struct slice bytes);
    bool (*can_send)(void *ctx);
    void (*read)(void *ctx, bool on);
    void (*close)(void *ctx, enum status why, const char *text); /* after what was sent; session_closed follows */
    bool (*can_take)(void *ctx); /* ingest; when false, session_go_on is called once it is worth asking again */
    void (*batch)(void *ctx, uint64_t number, struct buf *body); /* takes it; session_batch_done follows, later */
    void (*job)(void *ctx, struct job *j);                       /* takes it; session_job_done follows, later */
    void (*report)(void *ctx, const struct fleet_report *r);
    void (*end)(void *ctx, uint64_t fleet_session);
    /* rules, as rollout.h has them for the session's host */
    uint64_t (*rules_came)(void *ctx, const struct rules_report *says);
    void (*rules_heard)(void *ctx, const struct rules_report *says);
    const struct order *(*rules_due)(void *ctx, uint64_t connection);
    void (*rules_gone)(void *ctx, uint64_t connection);
};

struct session_limits {
    uint32_t credit_batches; /* unacknowledged batches; at most SESSION_MAX_CREDIT */
    uint64_t credit_bytes;
    uint32_t heartbeat_s;
    const char *const *collectors; /* addresses of the fleet, in order; NULL-terminated or NULL */
};

struct session_slot { /* a batch under way */
    enum { SLOT_WAITS, SLOT_STORED, SLOT_REJECTED } is;
    size_t len;
    uint32_t n_stored, n_held; /* events; STORED */
    enum status code;
    char *reason; /* owned; REJECTED */
};

struct session {
    enum session_state state;
    const struct session_io *io;
    void *ctx;
    struct session_limits limits;
    struct stats *stats;
    uint32_t host; /* 0: enrolling */
    char name[64], address[64];
    struct frame_reader frames;
    struct buf pending;           /* bytes read but not looked at, while it does not read */
    struct session_slot *slots;   /* ring of credit_batches */
    uint64_t n_received, n_acked; /* batches in; answered in order */
    uint32_t n_waiting;           /* at ingest */
    uint64_t bytes_in_flight;
    uint64_t events_stored, events_held; /* of the batches that were acknowledged */
    uint64_t deadline_ms, last_heard_ms;
    uint64_t fleet_session;
    uint64_t rules_connection; /* rollouts_came; 0: its agent takes no rules */
    bool reading, job_under_way, feeding, counted_paused;
    bool offer_waits; /* for room in the connection */
};

void session_init(struct session *s, const struct session_io *io, void *ctx, const struct session_limits *limits,
                  struct stats *stats);
void session_deinit(struct session *s);

/* The handshake is done: an agent with a certificate (host, name), or one that wants to enrol (host 0). */
void session_open(struct session *s, uint32_t host, const char *name, const char *address);
void session_feed(struct session *s, struct slice bytes);
void session_go_on(struct session *s); /* reading may be possible again */
void session_tick(struct session *s);
void session_offer(struct session *s); /* there may be new rules for its host */
void session_batch_done(struct session *s, const struct ingest_result *r);
void session_job_done(struct session *s, struct job *j); /* takes it */
void session_flush(struct session *s); /* sends the acks that are due: once for many session_batch_done */
/* Says goodbye and closes; idempotent. retry_after_s 0: nothing said. */
void session_close(struct session *s, enum status why, uint32_t retry_after_s, const char *fmt, ...) PRINTF_LIKE(4, 5);
void session_closed(struct session *s, enum status why, const char *text);
bool session_can_free(const struct session *s);
bool session_is_live(const struct session *s); /* READY or BUSY */
const char *session_state_name(enum session_state st);

#endif
