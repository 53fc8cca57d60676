/* One connection on a uv loop: where TCP meets TLS. Also the plain pipe of the local API, which has no TLS (the only
 * transport without; TCP without TLS does not exist).
 *
 * Everything here runs on the loop's thread. conn_close is idempotent and legal anywhere, also inside callbacks;
 * on_closed is the last callback, always comes, once, never inside the call that caused it; the owner frees the conn
 * there with conn_free. Deadlines: connect + handshake (CONN_HANDSHAKE_MS); write stall (CONN_STALL_MS without a byte
 * taken by the peer while output waits); idleness is the owner's (conn_set_idle_ms).
 * Back-pressure: what waits to be written is bounded: conn_write refuses nothing but conn_can_write says when to stop;
 * on_drained tells when to go on. conn_pause stops reading the socket. */
#ifndef HAECHI_CONN_H
#define HAECHI_CONN_H

#include "tls.h"

#include <uv.h>

#define CONN_HANDSHAKE_MS 10000
#define CONN_STALL_MS 30000
#define CONN_WRITE_HIGH (1024 * 1024) /* conn_can_write is false above */
#define CONN_WRITE_LOW (256 * 1024)   /* on_drained below */

struct conn;

struct conn_events {
    void (*on_open)(struct conn *c, void *owner);                     /* handshake done; see conn_peer, conn_alpn */
    void (*on_data)(struct conn *c, void *owner, struct slice plain); /* up to 16 KiB */
    void (*on_drained)(struct conn *c, void *owner);                  /* may be NULL */
    void (*on_eof)(struct conn *c, void *owner);                      /* peer ended its side; NULL: close at once */
    void (*on_closed)(struct conn *c, void *owner, enum status why, const char *text);
};

/* Connects: host is a name or an address (resolved asynchronously). cfg is a client configuration. */
struct conn *conn_connect(uv_loop_t *loop, struct tls_config *cfg, const char *host, uint16_t port,
                          const struct conn_events *ev, void *owner);
/* Takes an incoming connection from a listening uv_tcp_t, with TLS (cfg), or from a listening uv_pipe_t (cfg NULL).
 * ST_AGAIN, ST_IO ...: nothing was made. */
MUST_USE enum status conn_accept(uv_loop_t *loop, uv_stream_t *listener, struct tls_config *cfg,
                                 const struct conn_events *ev, void *owner, struct conn **ret);
void conn_free(struct conn **c); /* only in on_closed or later */

void conn_write(struct conn *c, struct slice plain); /* after on_open; copies (encrypts); ignored after conn_close */
bool conn_can_write(const struct conn *c);
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
bool conn_is_paused(const struct conn *c);
/* Close now (output that waits is lost), or after output is flushed (at most 5 s, then 1 s for the peer to end its side).
 * The first reason stays. on_data does not come any more. */
void conn_close(struct conn *c, enum status why, const char *text);
void conn_close_after_flush(struct conn *c, enum status why, const char *text);
bool conn_is_closing(const struct conn *c);
void conn_set_idle_ms(struct conn *c,
                      unsigned idle_ms); /* closes with ST_TIMEOUT when nothing was read so long; 0: never */

const struct tls_peer *conn_peer(const struct conn *c);
const char *conn_alpn(const struct conn *c);
struct tls *conn_tls(struct conn *c);                           /* for tls_export; NULL on a pipe */
const uv_handle_t *conn_handle(const struct conn *c);           /* for uv_fileno: who is at a pipe's other end */
void conn_address(const struct conn *c, char *out, size_t len); /* "127.0.0.1:50122", "[::1]:7", "unix" */

struct conn_stats {
    uint64_t bytes_in, bytes_out; /* cipher bytes */
};
struct conn_stats conn_get_stats(const struct conn *c);

#ifdef HAECHI_TEST_HOOKS
void conn_test_speed(unsigned times); /* all deadlines above pass that many times faster; set before any conn */
#endif

#endif
