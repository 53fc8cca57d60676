/* 6 COLLECT  Accepts agents and hosts that want to enrol, on one port and any number of loop threads (SO_REUSEPORT), and
 * joins each connection to its session.
 *
 * Admission limits come before anything is allocated: beyond the most connections, or the most handshakes in flight, the
 * kernel's backlog keeps who comes. An address that has more than its share is closed after accept. Revocation cuts live
 * sessions at once, from any thread. */
#ifndef HAECHI_LISTENER_H
#define HAECHI_LISTENER_H

#include "fleet.h"
#include "ingest.h"
#include "session.h"

#define LISTENER_MAX_LOOPS 16

struct listener;

struct listener_options {
    const char *address; /* "ADDR:PORT", "[ADDR]:PORT", "*:PORT"; port 0: any */
    unsigned loops;      /* threads */
    uint64_t max_connections, max_handshakes;
    uint64_t max_per_address; /* of each loop */
    struct session_limits limits;
    struct db *db;
    struct fleet *fleet;
    struct ingest *ingest;
    struct rollouts *rollouts; /* NULL: no rules are offered */
    struct stats *stats;
    /* For the audit log: a host or a stranger that was not let in; any thread, must not block. host 0: not known. NULL: not told. */
    void (*notice)(void *ctx, uint32_t host, const char *action, const char *object, const char *detail);
    void *notice_ctx;
};
/* ST_BUSY: the port is in use. */
MUST_USE enum status listener_start(const struct listener_options *o, struct listener **ret, struct error *err);
uint16_t listener_port(const struct listener *l);

/* Stops accepting, says goodbye to every session, stops reading; returns when no loop touches the writer any more. Then
 * ingest_stop commits what is queued, and listener_stop waits for the answers, ends the loops and frees all. */
void listener_quiet(struct listener *l);
void listener_stop(struct listener **l);

/* fleet_on_cut's function, with ctx = listener: any thread. */
void listener_cut(void *listener, uint32_t host, enum status why, const char *text);

/* rollouts_on_offer's function, with ctx = listener: any thread. */
void listener_offer(void *listener);

#endif
