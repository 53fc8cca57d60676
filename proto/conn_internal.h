/* What conn.c, conn_connect.c and conn_timer.c share. Only they include this. */
#ifndef HAECHI_CONN_INTERNAL_H
#define HAECHI_CONN_INTERNAL_H

#include "conn.h"

#define CONN_CONNECT_MS 3000 /* one address of several */

#ifdef HAECHI_TEST_HOOKS
extern unsigned conn_speed;
#define CONN_MS(ms) ((ms) / conn_speed)
#else
#define CONN_MS(ms) (ms)
#endif

enum conn_state {
    CONN_RESOLVING,  /* name -> addresses; also connecting to the next one of them */
    CONN_CONNECTING, /* TCP */
    CONN_HANDSHAKE,  /* TLS; on a pipe: waits for the round in which on_open comes */
    CONN_OPEN,
    CONN_FLUSHING,  /* last output on its way */
    CONN_LINGERING, /* our side is shut down */
    CONN_CLOSING,   /* handles are closing */
    CONN_CLOSED,    /* on_closed was called */
};

/* A getaddrinfo cannot be stopped once it runs: it outlives a conn that is closed meanwhile. */
struct resolve {
    uv_getaddrinfo_t req;
    struct conn *conn; /* NULL: closed */
};

struct conn {
    uv_loop_t *loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } s;
    uv_timer_t timer;
    uv_idle_t idle;
    int n_handles; /* not yet closed */
    bool has_stream;

    struct tls_config *config;
    struct tls *tls; /* NULL on a pipe, and before connect */
    const struct conn_events *ev;
    void *owner;
    enum conn_state state;
    bool is_pipe, orphan;
    bool paused, reading, ended, write_broken, was_high, open_due;

    char *host; /* of conn_connect */
    struct resolve *resolve;
    struct addrinfo *addresses, *next_address;
    struct sockaddr_storage fixed; /* when host is an address */
    uv_connect_t connect_req;
    char address[80];

    struct buf in, out; /* pipe only: bytes not yet delivered; bytes not yet written */
    struct buf writing; /* handed to uv_write */
    uv_write_t write_req;
    bool write_busy;
    uv_shutdown_t shutdown_req;
    size_t discarded;

    uint64_t open_by, connect_by, flush_by; /* loop time in ms; 0: no deadline */
    uint64_t stall_since, last_read, last_traffic;
    size_t stall_left;
    unsigned idle_ms;
    uint64_t due; /* the timer's */

    enum status why;
    char text[ERROR_TEXT_MAX];
    struct conn_stats stats;
};

/* conn.c */
struct conn *conn_new(uv_loop_t *loop, struct tls_config *cfg, const struct conn_events *ev, void *owner);
void conn_enter(struct conn *c, enum conn_state next);
enum status conn_uv_status(int rc);
void conn_keep_reason(struct conn *c, enum status why, const char *text);
void conn_close_handles(struct conn *c);
void conn_on_handle_closed(uv_handle_t *h);
void conn_start_deadline(struct conn *c);
void conn_next_round(struct conn *c);
void conn_begin_tls(struct conn *c, const char *server_name); /* TCP stands */

/* conn_timer.c */
void conn_arm(struct conn *c, uint64_t due); /* the timer fires at `due` or before */
void conn_traffic(struct conn *c);           /* something went either way */
size_t conn_output_waits(const struct conn *c);

/* conn_connect.c */
void conn_try_next_address(struct conn *c);

#endif
