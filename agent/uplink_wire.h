/* 5 WIRE  The agent's one loop: a connection with TLS, a timer, signals, and a way for other threads to wake it. What
 * struct uplink_io asks for, done with libuv; also used to enrol. Loop thread only, but for wire_wake. */
#ifndef HAECHI_UPLINK_WIRE_H
#define HAECHI_UPLINK_WIRE_H

#include "tls.h"
#include "uplink.h"

struct wire;

/* Who is on the wire: the uplink, or an enrolment. All with ctx first. */
struct wire_user {
    void *ctx;
    void (*on_open)(void *ctx);
    void (*on_data)(void *ctx, struct slice plain);
    void (*on_drained)(void *ctx);
    void (*on_closed)(void *ctx, enum status why, const char *text);
    void (*on_tick)(void *ctx);                 /* about ten times a second */
    void (*on_wake)(void *ctx);                 /* after wire_wake; may be NULL */
    void (*on_signal)(void *ctx, bool hang_up); /* SIGTERM and SIGINT; SIGHUP: hang_up. May be NULL: ends the loop */
};

struct wire *wire_new(void);
void wire_free(struct wire **w); /* after wire_run */
void wire_set_user(struct wire *w, const struct wire_user *user);
/* The client configuration of the next connections; the wire owns it from now on. */
void wire_set_tls(struct wire *w, struct tls_config *cfg);
struct uplink_io wire_io(struct wire *w);
/* The reader's thread; its last act is to say so by queue and wire_wake. Joined by wire_run. */
MUST_USE enum status wire_spawn(struct wire *w, void (*run)(void *arg), void *arg, struct error *err);
/* Work that blocks, on a thread of its own; then `done` on the loop thread, never from inside. wire_run does not return before
 * it has; after wire_end there is no new work: false, and nothing happens. */
MUST_USE bool wire_work(struct wire *w, void (*work)(void *arg), void (*done)(void *arg), void *arg);
void wire_run(struct wire *w);  /* until wire_end, and everything is closed */
void wire_end(struct wire *w);  /* idempotent, legal in any callback */
void wire_wake(struct wire *w); /* from any thread, while the loop lives */

#endif
