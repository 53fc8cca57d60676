/* One simulated agent: enrols, connects, greets, sends batches as credit allows, resends after a loss, says goodbye. A
 * state machine of its own, so that the collector meets a second reading of PROTOCOL.md. Loop thread only.
 *
 * A sim never opens by itself: the world sees to it that not all do at once (sim_wants_open, sim_open). */
#ifndef LOAD_SIM_H
#define LOAD_SIM_H

#include "conn.h"
#include "frame.h"
#include "histogram.h"
#include "keys.h"
#include "press.h"
#include "sim_rules.h"
#include "token.h"

enum sim_state {
    SIM_WAITING,    /* no connection until retry_at */
    SIM_ENROLLING,  /* connection for the certificate */
    SIM_CONNECTING, /* TCP and TLS: the connection has its own deadline */
    SIM_GREETING,   /* Hello is sent, Welcome awaited */
    SIM_READY,      /* batches out, acks in */
    SIM_CLOSING,    /* close was asked for, on_closed awaited */
    SIM_OVER        /* final: done, or refused for good */
};

struct sim_counts {
    uint64_t sent_events, sent_batches, sent_bytes; /* each batch once */
    uint64_t acked_events, acked_batches, rejected_events, rejected_batches, resent_batches;
    uint64_t enrolled, welcomes, reconnects, failed; /* failed: sims that were refused for good */
    uint64_t rules_offers, rules_loaded;
    uint64_t last_ack_us;
    struct histogram latency_us; /* from the first sending to the ack */
};

struct sim;

struct sim_world {
    uv_loop_t *loop;
    const struct tape *tape;
    char host[ADDRESS_HOST_MAX];
    uint16_t port;
    const struct token *token; /* NULL: hosts that are not enrolled fail */
    struct tls_config *enroll_tls;
    struct keys *keys; /* gets the CA and what each host is given */
    const struct rules_options *rules;
    uint32_t window;    /* batches that a sim leaves unacknowledged at most; 0: all that is granted */
    struct arena arena; /* of one message */
    struct sim_counts counts;
    char trouble[ERROR_TEXT_MAX];   /* the last thing that went wrong */
    char rejection[ERROR_TEXT_MAX]; /* the first */
    void *ctx;
    struct cargo *(*next)(void *ctx, struct sim *s); /* a batch of its reel; NULL: none now */
    void (*settled)(void *ctx, struct sim *s);       /* an attempt to open is over, one way or the other */
    void (*acked)(void *ctx, struct sim *s);         /* there is room in its window again */
    void (*over)(void *ctx, struct sim *s);          /* SIM_OVER was entered */
};

struct sim {
    struct sim_world *w;
    uint32_t index; /* of keys->entries */
    enum sim_state state;
    bool opening, placed, finishing, hopeless;
    struct conn *conn;
    struct tls_config *tls;
    struct frame_reader reader;
    struct reel reel;
    struct cargo *ready, *ready_tail;            /* prepared, not sent */
    struct cargo *window, *window_tail, *unsent; /* unacknowledged; from `unsent` on: not sent on this connection */
    uint32_t n_window, n_sent;
    uint64_t sent_bytes, first_no; /* n_sent batches from number first_no on are under way */
    uint32_t credit_batches;
    uint64_t credit_bytes;
    uint64_t retry_at_ms, deadline_ms, heartbeat_ms, heartbeat_at_ms;
    unsigned failures;
    uint8_t instance[16];
    struct sim_rules rules;
};

/* keys->entries[index] is its identity. The reel's label and position are the caller's to set, its ids are set by the
 * first Welcome (`placed`), the computer name before. */
void sim_init(struct sim *s, struct sim_world *w, uint32_t index);
void sim_deinit(struct sim *s); /* SIM_OVER or never opened */

bool sim_wants_open(const struct sim *s, uint64_t now_ms);
void sim_open(struct sim *s);
void sim_tick(struct sim *s, uint64_t now_ms);    /* every second or so: heartbeats, deadlines */
void sim_prepare(struct sim *s, struct cargo *c); /* takes it; to be sent before w->next is asked */
bool sim_can_send(const struct sim *s);
bool sim_send_one(struct sim *s);      /* false: no room, or nothing to send */
void sim_pump(struct sim *s);          /* all that there is room for */
bool sim_is_idle(const struct sim *s); /* nothing unacknowledged */
void sim_finish(struct sim *s);        /* goodbye, then SIM_OVER */
const char *sim_state_name(enum sim_state st);

#endif
