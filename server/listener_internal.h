/* What the files of the listener share. A struct loop and its peers belong to its thread. */
#ifndef HAECHI_LISTENER_INTERNAL_H
#define HAECHI_LISTENER_INTERNAL_H

#include "address.h"
#include "conn.h"
#include "list.h"
#include "listener.h"
#include "queue.h"
#include "refusals.h"

#include <uv.h>

struct loop {
    struct listener *l;
    uv_loop_t uv;
    uv_thread_t thread;
    char name[16];
    uv_tcp_t socket;
    uv_async_t calls;
    uv_timer_t tick;
    struct queue *queue; /* of struct call */
    struct ingest_door *door;
    struct list peers;
    size_t n_peers;
    struct address_table addresses;
    struct refusals refusals;
    struct list dirty; /* peers that have acks to send */
    struct list asked; /* peers that may have rules due */
    size_t n_unread;   /* peers that are not read */
    bool accept_waits; /* the kernel has connections that limits keep out for now */
    bool quiet, ending;
    bool socket_open;
};

struct peer {
    struct list link, dirty, asked;
    struct loop *loop;
    struct conn *conn;
    struct address_entry *address;
    struct session session;
    bool opened; /* handshake done */
    bool unread;
};

struct call { /* to a loop, from another thread */
    enum { CALL_CUT, CALL_OFFER, CALL_QUIET, CALL_END } what;
    uint32_t host;
    enum status why;
    char text[200];
    uv_sem_t *done;
};

struct listener {
    struct listener_options o;
    struct tls_config *tls;
    uint16_t port;
    struct loop loops[LISTENER_MAX_LOOPS];
    unsigned n_loops;
    _Atomic uint64_t connections, handshakes;
};

/* listener_peer.c */
extern const struct session_io peer_io;   /* ctx: struct peer */
void peer_try_free(struct peer *p);       /* once nothing is under way */
void peer_handshake_over(struct peer *p); /* idempotent */

#endif
