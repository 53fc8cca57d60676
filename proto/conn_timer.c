/* The clock of a connection: one timer, set to the nearest of several deadlines. What a deadline does to the connection is
 * said here; when each begins and ends, where its state changes (conn.c, conn_connect.c). On the loop's thread. */
#include "conn_internal.h"
#include "log.h"

#include <stdio.h>

#define CONN_TRIM_MS 2000 /* without traffic: buffers go back to the system */

static void on_timer(uv_timer_t *timer);

void conn_arm(struct conn *c, uint64_t due) {
    if (c->state >= CONN_CLOSING || (c->due && c->due <= due)) return;
    uint64_t now = uv_now(c->loop);
    c->due = due;
    uv_timer_start(&c->timer, on_timer, due > now ? due - now : 0, 0);
}

size_t conn_output_waits(const struct conn *c) {
    size_t n = c->tls ? tls_output_len(c->tls) : c->out.len;
    return n + (c->write_busy ? uv_stream_get_write_queue_size(&c->s.stream) : 0);
}

static void on_timer(uv_timer_t *timer) {
    struct conn *c = timer->data;
    uint64_t now = uv_now(c->loop);
    char text[160];
    c->due = 0;
    if (c->open_by && now >= c->open_by) {
        static const char *const doing[] = {"looking up its name", "connecting", "the TLS handshake"};
        snprintf(text, sizeof text, "%s: no answer in %d s: gave up at %s", c->address, CONN_HANDSHAKE_MS / 1000,
                 doing[c->state]);
        conn_close(c, ST_TIMEOUT, text);
    } else if (c->flush_by && now >= c->flush_by) {
        if (c->state == CONN_OPEN)
            conn_close(c, ST_CLOSED, "the peer reset the connection");
        else
            conn_close_handles(c);
    } else if (c->connect_by && now >= c->connect_by && c->state == CONN_CONNECTING) {
        c->connect_by = 0;
        conn_try_next_address(c); /* the next address */
    } else if (c->stall_since && now >= c->stall_since + CONN_MS(CONN_STALL_MS)) {
        snprintf(text, sizeof text, "%s took no data for %d s", c->address, CONN_STALL_MS / 1000);
        conn_close(c, ST_TIMEOUT, text);
    } else if (c->idle_ms && c->state == CONN_OPEN && !c->paused && now >= c->last_read + c->idle_ms) {
        snprintf(text, sizeof text, "%s sent nothing for %u s", c->address, c->idle_ms / 1000);
        conn_close(c, ST_TIMEOUT, text);
    }
    if (c->state >= CONN_CLOSING) return;
    if (c->open_by) conn_arm(c, c->open_by);
    if (c->flush_by) conn_arm(c, c->flush_by);
    if (c->connect_by) conn_arm(c, c->connect_by);
    if (c->stall_since) {
        size_t left = conn_output_waits(c);
        if (left < c->stall_left) c->stall_since = now;
        c->stall_left = left;
        conn_arm(c, now + CONN_MS(CONN_STALL_MS) / 6);
    }
    if (c->idle_ms && c->state == CONN_OPEN) conn_arm(c, c->paused ? now + c->idle_ms : c->last_read + c->idle_ms);
    if (c->last_traffic && c->tls) {
        if (now >= c->last_traffic + CONN_MS(CONN_TRIM_MS)) {
            tls_idle(c->tls);
            if (!c->write_busy) buf_free(&c->writing);
            c->last_traffic = 0;
        } else {
            conn_arm(c, c->last_traffic + CONN_MS(CONN_TRIM_MS));
        }
    }
}

void conn_traffic(struct conn *c) {
    bool was_quiet = c->last_traffic == 0;
    c->last_traffic = uv_now(c->loop);
    if (was_quiet) conn_arm(c, c->last_traffic + CONN_MS(CONN_TRIM_MS));
}

void conn_set_idle_ms(struct conn *c, unsigned idle_ms) {
    c->idle_ms = idle_ms;
    c->last_read = uv_now(c->loop);
    if (idle_ms) conn_arm(c, c->last_read + idle_ms);
}
