/* One connection on a uv loop: TCP under TLS, or the local pipe without.
 *
 * All on the loop's thread. Callbacks to the owner come from uv callbacks only, never out of a call of the owner: what a
 * call causes is done by the idle handle in the loop's next round, which also gathers the output of one round into one
 * write. At most one uv_write is under way; what comes meanwhile waits in the TLS output buffer.
 *
 * Closing has two ways. Now: the handles close, then on_closed. After flush (also when TLS refused the peer, so that it
 * hears why): output goes out, our side is shut down, what still comes in is read and thrown away until the peer ends its
 * side or CONN_LINGER_MS pass. Without that the kernel would answer unread data with a reset, and the peer would lose the
 * alert that explains the refusal. */
#include "conn_internal.h"
#include "log.h"
#include "mem.h"

#include <assert.h>
#include <stdio.h>

#define CONN_FLUSH_MS 5000
#define CONN_LINGER_MS 1000
#define CONN_LINGER_BYTES (4 * 1024 * 1024)
#define CONN_FLUSH_AT (128 * 1024) /* that much output is not kept for the end of the round */
#define CONN_READ_LEN (256 * 1024)
#define CONN_PLAIN_LEN (16 * 1024)

static const char *const state_names[] = {"resolving", "connecting", "handshake", "open",
                                          "flushing",  "lingering",  "closing",   "closed"};

#ifdef HAECHI_TEST_HOOKS
unsigned conn_speed = 1;

void conn_test_speed(unsigned times) {
    conn_speed = times;
}
#endif

/* One read and one decryption at a time on each loop thread. */
static _Thread_local char read_buf[CONN_READ_LEN];
static _Thread_local char plain_buf[CONN_PLAIN_LEN];

static void pump(struct conn *c);
static void flush(struct conn *c);
static void begin_flush(struct conn *c, enum status why, const char *text);

void conn_enter(struct conn *c, enum conn_state next) {
    assert(next > c->state || (c->state == CONN_CONNECTING && next == CONN_RESOLVING));
    assert(next != CONN_LINGERING || c->state == CONN_FLUSHING);
    log_debug("conn", "%s: %s -> %s", c->address, state_names[c->state], state_names[next]);
    c->state = next;
}

enum status conn_uv_status(int rc) {
    static const struct {
        int rc;
        enum status st;
    } table[] = {
        {UV_ETIMEDOUT, ST_TIMEOUT},   {UV_ECONNRESET, ST_CLOSED},   {UV_EPIPE, ST_CLOSED},  {UV_EOF, ST_CLOSED},
        {UV_ECONNABORTED, ST_CLOSED}, {UV_ECANCELED, ST_CANCELLED}, {UV_ENOMEM, ST_NOMEM},  {UV_EAI_MEMORY, ST_NOMEM},
        {UV_EAI_NONAME, ST_NOTFOUND}, {UV_EAI_NODATA, ST_NOTFOUND}, {UV_EACCES, ST_DENIED}, {UV_EPERM, ST_DENIED},
        {UV_EAGAIN, ST_AGAIN},        {UV_EINVAL, ST_INVALID},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].rc == rc) return table[i].st;
    }
    return ST_IO;
}

/* ---- closing ---- */

void conn_on_handle_closed(uv_handle_t *h) {
    struct conn *c = h->data;
    if (--c->n_handles) return;
    conn_enter(c, CONN_CLOSED);
    if (c->orphan) {
        conn_free(&c);
        return;
    }
    c->ev->on_closed(c, c->owner, c->why, c->text);
}

void conn_keep_reason(struct conn *c, enum status why, const char *text) {
    c->why = why;
    snprintf(c->text, sizeof c->text, "%s", text ? text : status_text(why));
}

void conn_close_handles(struct conn *c) {
    conn_enter(c, CONN_CLOSING);
    if (c->resolve) {
        c->resolve->conn = NULL;
        uv_cancel((uv_req_t *)&c->resolve->req);
        c->resolve = NULL;
    }
    if (c->has_stream && !uv_is_closing(&c->s.handle)) uv_close(&c->s.handle, conn_on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, conn_on_handle_closed);
    uv_close((uv_handle_t *)&c->idle, conn_on_handle_closed);
}

void conn_close(struct conn *c, enum status why, const char *text) {
    if (c->state >= CONN_CLOSING) return;
    if (c->state == CONN_OPEN) {
        if (c->tls) tls_close_notify(c->tls);
        flush(c); /* as much as the socket takes at once */
        if (c->state == CONN_CLOSING) return;
        conn_keep_reason(c, why, text);
    } else if (c->state < CONN_OPEN) {
        conn_keep_reason(c, why, text);
    } /* else the first reason stays */
    conn_close_handles(c);
}

void conn_free(struct conn **pc) {
    struct conn *c = *pc;
    if (!c) return;
    assert(c->state == CONN_CLOSED);
    tls_free(&c->tls);
    if (c->addresses) uv_freeaddrinfo(c->addresses);
    buf_free(&c->in);
    buf_free(&c->out);
    buf_free(&c->writing);
    mem_free(c->host);
    mem_free(c);
    *pc = NULL;
}

/* ---- the next round of the loop ---- */

static void on_drained_maybe(struct conn *c) {
    if (!c->was_high || c->state != CONN_OPEN || conn_output_waits(c) >= CONN_WRITE_LOW) return;
    c->was_high = false;
    if (c->ev->on_drained) c->ev->on_drained(c, c->owner);
}

static void set_reading(struct conn *c);

static void on_idle(uv_idle_t *idle) {
    struct conn *c = idle->data;
    uv_idle_stop(&c->idle);
    if (c->why && c->state < CONN_HANDSHAKE) { /* failed before it began */
        conn_close_handles(c);
        return;
    }
    if (c->open_due) {
        c->open_due = false;
        c->open_by = 0;
        conn_enter(c, CONN_OPEN);
        c->ev->on_open(c, c->owner);
    }
    if (c->state == CONN_OPEN) pump(c);
    if (c->state == CONN_OPEN || c->state == CONN_HANDSHAKE || c->state == CONN_FLUSHING) flush(c);
    on_drained_maybe(c);
    set_reading(c);
}

void conn_next_round(struct conn *c) {
    if (c->state < CONN_CLOSING) uv_idle_start(&c->idle, on_idle);
}

/* ---- writing ---- */

static void take_output(struct conn *c) {
    if (c->tls) {
        tls_take_output(c->tls, &c->writing);
    } else {
        struct buf b = c->writing;
        c->writing = c->out;
        c->out = b;
    }
}

static void on_shutdown(uv_shutdown_t *req, int rc) {
    struct conn *c = req->data;
    (void)rc;
    if (c->state != CONN_LINGERING) return;
    if (c->ended) { /* the peer ended its side before */
        conn_close_handles(c);
        return;
    }
    c->flush_by = uv_now(c->loop) + CONN_MS(CONN_LINGER_MS);
    conn_arm(c, c->flush_by);
    set_reading(c);
}

static void all_is_flushed(struct conn *c) {
    conn_enter(c, CONN_LINGERING);
    c->shutdown_req.data = c;
    if (uv_shutdown(&c->shutdown_req, &c->s.stream, on_shutdown)) conn_close_handles(c);
}

/* The peer no longer takes data. It may have said why before: read on for a moment. */
static void on_write_failed(struct conn *c, int rc) {
    c->write_broken = true;
    c->stall_since = 0;
    buf_clear(&c->writing);
    take_output(c);
    buf_clear(&c->writing);
    if (c->state >= CONN_FLUSHING || c->paused || rc == UV_ECANCELED) {
        if (c->state == CONN_OPEN) conn_keep_reason(c, conn_uv_status(rc), uv_strerror(rc));
        if (c->state < CONN_CLOSING) conn_close_handles(c);
        return;
    }
    c->flush_by = uv_now(c->loop) + CONN_MS(CONN_LINGER_MS);
    conn_arm(c, c->flush_by);
}

static void on_write(uv_write_t *req, int rc) {
    struct conn *c = req->data;
    c->write_busy = false;
    if (c->state >= CONN_CLOSING) return;
    if (rc) {
        on_write_failed(c, rc);
        return;
    }
    c->stats.bytes_out += c->writing.len;
    c->stall_since = 0;
    buf_clear(&c->writing);
    flush(c);
    on_drained_maybe(c);
}

static void write_rest(struct conn *c, size_t done) {
    uv_buf_t b = uv_buf_init((char *)c->writing.p + done, (unsigned)(c->writing.len - done));
    c->write_req.data = c;
    c->write_busy = true;
    int rc = uv_write(&c->write_req, &c->s.stream, &b, 1, on_write);
    if (rc) {
        c->write_busy = false;
        on_write_failed(c, rc);
        return;
    }
    c->stall_since = uv_now(c->loop);
    c->stall_left = conn_output_waits(c);
    conn_arm(c, c->stall_since + CONN_MS(CONN_STALL_MS) / 6);
}

static void flush(struct conn *c) {
    if (c->write_busy || c->write_broken || !c->has_stream) return;
    while (c->tls ? tls_has_output(c->tls) : c->out.len > 0) {
        take_output(c);
        uv_buf_t b = uv_buf_init((char *)c->writing.p, (unsigned)c->writing.len);
        int n = uv_try_write(&c->s.stream, &b, 1);
        if (n < 0 && n != UV_EAGAIN) {
            on_write_failed(c, n);
            return;
        }
        size_t done = n > 0 ? (size_t)n : 0;
        if (done < c->writing.len) {
            write_rest(c, done);
            return;
        }
        c->stats.bytes_out += done;
        buf_clear(&c->writing);
        conn_traffic(c);
    }
    if (c->state == CONN_FLUSHING) all_is_flushed(c);
}

void conn_write(struct conn *c, struct slice plain) {
    if (c->state >= CONN_FLUSHING || c->write_broken) return;
    assert(c->state == CONN_OPEN);
    if (c->tls) {
        struct error err;
        enum status st = tls_write(c->tls, plain, &err);
        if (st) { /* the pump will find the same and close */
            conn_next_round(c);
            return;
        }
    } else {
        buf_slice_append(&c->out, plain);
    }
    if (conn_output_waits(c) >= CONN_FLUSH_AT) flush(c);
    if (conn_output_waits(c) > CONN_WRITE_HIGH) c->was_high = true;
    conn_next_round(c);
}

bool conn_can_write(const struct conn *c) {
    return c->state == CONN_OPEN && conn_output_waits(c) <= CONN_WRITE_HIGH;
}

static void begin_flush(struct conn *c, enum status why, const char *text) {
    conn_keep_reason(c, why, text);
    conn_enter(c, CONN_FLUSHING);
    c->open_by = 0;
    c->flush_by = uv_now(c->loop) + CONN_MS(CONN_FLUSH_MS);
    conn_arm(c, c->flush_by);
    if (c->write_broken)
        conn_close_handles(c);
    else
        conn_next_round(c);
}

void conn_close_after_flush(struct conn *c, enum status why, const char *text) {
    if (c->state >= CONN_FLUSHING) return;
    if (c->state != CONN_OPEN) {
        conn_close(c, why, text);
        return;
    }
    if (c->tls) tls_close_notify(c->tls);
    begin_flush(c, why, text);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b) {
    (void)h;
    (void)suggested;
    *b = uv_buf_init(read_buf, sizeof read_buf);
}

static void on_end(struct conn *c) {
    c->ended = true;
    if (c->ev->on_eof)
        c->ev->on_eof(c, c->owner);
    else
        conn_close(c, ST_CLOSED, "the peer closed the connection");
}

static void pump_handshake(struct conn *c) {
    struct error err = {0};
    enum status st = tls_handshake(c->tls, &err);
    if (st == ST_AGAIN) {
        flush(c);
    } else if (st == ST_OK) {
        flush(c);
        c->open_by = 0;
        c->last_read = uv_now(c->loop);
        conn_enter(c, CONN_OPEN);
        c->ev->on_open(c, c->owner);
    } else {
        begin_flush(c, st, err.msg);
    }
}

static void pump_pipe(struct conn *c) {
    size_t at = 0;
    while (c->state == CONN_OPEN && !c->paused && at < c->in.len) {
        struct slice part = slice_head(slice_from(buf_slice(&c->in), at), CONN_PLAIN_LEN);
        at += part.len;
        c->ev->on_data(c, c->owner, part);
    }
    buf_consume(&c->in, at);
    if (c->in.len == 0 && c->in.cap > CONN_READ_LEN) buf_free(&c->in);
}

/* Delivers what has arrived, until there is no more or the owner pauses or closes. */
static void pump(struct conn *c) {
    if (c->is_pipe) {
        pump_pipe(c);
        return;
    }
    if (c->state == CONN_HANDSHAKE) pump_handshake(c);
    while (c->state == CONN_OPEN && !c->paused && !c->ended) {
        size_t n = 0;
        struct error err = {0};
        enum status st = tls_read(c->tls, plain_buf, sizeof plain_buf, &n, &err);
        if (st == ST_OK) {
            c->ev->on_data(c, c->owner, slice_of(plain_buf, n));
        } else if (st == ST_AGAIN) {
            return;
        } else if (st == ST_END) {
            on_end(c);
        } else {
            begin_flush(c, st, err.msg);
        }
    }
}

static void on_read_failed(struct conn *c, int rc) {
    uv_read_stop(&c->s.stream);
    c->reading = false;
    char text[200];
    if (c->state == CONN_LINGERING || c->state == CONN_FLUSHING) {
        c->ended = true;
        if (c->state == CONN_LINGERING || rc != UV_EOF) conn_close_handles(c);
    } else if (c->state == CONN_HANDSHAKE) {
        snprintf(text, sizeof text, "%s closed the connection during the TLS handshake%s%s", c->address,
                 rc == UV_EOF ? "" : ": ", rc == UV_EOF ? "" : uv_strerror(rc));
        conn_close(c, ST_CLOSED, text);
    } else if (rc == UV_EOF && c->is_pipe) {
        on_end(c);
    } else if (rc == UV_EOF && c->ended) { /* after its close_notify: nothing new, the owner knows */
        return;
    } else if (rc == UV_EOF) {
        conn_close(c, ST_CLOSED, "the peer closed the connection without a word");
    } else {
        snprintf(text, sizeof text, "connection lost: %s", uv_strerror(rc));
        conn_close(c, conn_uv_status(rc), text);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b) {
    struct conn *c = stream->data;
    if (n == 0 || c->state >= CONN_CLOSING) return;
    if (n < 0) {
        on_read_failed(c, (int)n);
        return;
    }
    c->stats.bytes_in += (uint64_t)n;
    c->last_read = uv_now(c->loop);
    conn_traffic(c);
    if (c->state >= CONN_FLUSHING) {
        c->discarded += (size_t)n;
        if (c->discarded > CONN_LINGER_BYTES) conn_close_handles(c);
        return;
    }
    struct slice bytes = slice_of(b->base, (size_t)n);
    if (c->is_pipe) {
        buf_slice_append(&c->in, bytes);
    } else {
        enum status st = tls_feed(c->tls, bytes);
        if (st) {
            conn_close(c, st, "no memory for what the peer sent");
            return;
        }
    }
    if (c->state == CONN_OPEN || c->state == CONN_HANDSHAKE) pump(c);
}

/* Starts or stops the socket's reading as state and pause ask for. */
static void set_reading(struct conn *c) {
    bool want = c->has_stream && c->state >= CONN_HANDSHAKE && c->state < CONN_CLOSING && !c->ended &&
                (c->state >= CONN_FLUSHING || !c->paused);
    if (want == c->reading || c->state >= CONN_CLOSING) return;
    int rc = want ? uv_read_start(&c->s.stream, on_alloc, on_read) : uv_read_stop(&c->s.stream);
    if (!rc) c->reading = want;
}

void conn_pause(struct conn *c) {
    c->paused = true;
    if (c->state == CONN_OPEN || c->state == CONN_HANDSHAKE) set_reading(c);
}

void conn_resume(struct conn *c) {
    if (!c->paused) return;
    c->paused = false;
    c->last_read = uv_now(c->loop); /* the silence was ours */
    conn_next_round(c);
}

/* ---- beginning ---- */

struct conn *conn_new(uv_loop_t *loop, struct tls_config *cfg, const struct conn_events *ev, void *owner) {
    struct conn *c = mem_zalloc(sizeof *c);
    c->loop = loop;
    c->config = cfg;
    c->ev = ev;
    c->owner = owner;
    snprintf(c->address, sizeof c->address, "?");
    uv_timer_init(loop, &c->timer);
    uv_idle_init(loop, &c->idle);
    c->timer.data = c->idle.data = c;
    c->n_handles = 2;
    return c;
}

static void set_address(struct conn *c) {
    struct sockaddr_storage sa;
    int len = sizeof sa;
    char ip[64];
    if (uv_tcp_getpeername(&c->s.tcp, (struct sockaddr *)&sa, &len)) return;
    if (sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&sa;
        if (uv_ip6_name(in6, ip, sizeof ip) == 0)
            snprintf(c->address, sizeof c->address, "[%s]:%u", ip, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&sa;
        if (uv_ip4_name(in, ip, sizeof ip) == 0)
            snprintf(c->address, sizeof c->address, "%s:%u", ip, ntohs(in->sin_port));
    }
}

void conn_start_deadline(struct conn *c) {
    uv_update_time(c->loop); /* a loop that was busy has an old idea of now */
    c->open_by = uv_now(c->loop) + CONN_MS(CONN_HANDSHAKE_MS);
    conn_arm(c, c->open_by);
}

void conn_begin_tls(struct conn *c, const char *server_name) {
    uv_tcp_nodelay(&c->s.tcp, 1);
    uv_tcp_keepalive(&c->s.tcp, 1, 60);
    set_address(c);
    c->tls = tls_new(c->config, server_name);
    if (c->state != CONN_HANDSHAKE) conn_enter(c, CONN_HANDSHAKE);
    set_reading(c);
    pump(c);
}

MUST_USE enum status conn_accept(uv_loop_t *loop, uv_stream_t *listener, struct tls_config *cfg,
                                 const struct conn_events *ev, void *owner, struct conn **ret) {
    struct conn *c = conn_new(loop, cfg, ev, owner);
    c->is_pipe = cfg == NULL;
    c->state = CONN_HANDSHAKE;
    int rc = c->is_pipe ? uv_pipe_init(loop, &c->s.pipe, 0) : uv_tcp_init(loop, &c->s.tcp);
    if (!rc) {
        c->has_stream = true;
        c->n_handles++;
        c->s.handle.data = c;
        rc = uv_accept(listener, &c->s.stream);
    }
    if (rc) { /* the handles close in their own time, and take c along */
        c->orphan = true;
        conn_close_handles(c);
        return conn_uv_status(rc);
    }
    if (c->is_pipe) {
        snprintf(c->address, sizeof c->address, "unix");
        c->open_due = true;
        conn_next_round(c);
    } else {
        conn_start_deadline(c);
        conn_begin_tls(c, NULL);
    }
    *ret = c;
    return ST_OK;
}

/* ---- facts ---- */

bool conn_is_paused(const struct conn *c) {
    return c->paused;
}

bool conn_is_closing(const struct conn *c) {
    return c->state >= CONN_FLUSHING;
}

const struct tls_peer *conn_peer(const struct conn *c) {
    static const struct tls_peer nobody;
    return c->tls ? tls_get_peer(c->tls) : &nobody;
}

const char *conn_alpn(const struct conn *c) {
    return c->tls ? tls_get_alpn(c->tls) : NULL;
}

struct tls *conn_tls(struct conn *c) {
    return c->tls;
}

const uv_handle_t *conn_handle(const struct conn *c) {
    return &c->s.handle;
}

void conn_address(const struct conn *c, char *out, size_t len) {
    snprintf(out, len, "%s", c->address);
}

struct conn_stats conn_get_stats(const struct conn *c) {
    return c->stats;
}
