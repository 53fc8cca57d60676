/* 5 WIRE  The uplink's state machine. Invariants: batches are sent in the feeder's order; a batch leaves `window` only by
 * an ack or a rejection; numbers on the wire start at 1 on each connection; one connection at a time. Loop thread. */
#include "uplink_internal.h"
#include "mem.h"
#include "token.h"

#include <assert.h>
#include <stdio.h>

static const char *const state_names[] = {"new",       "waiting", "connecting", "greeting",
                                          "streaming", "closing", "stopped"};

void outgoing_free(struct outgoing **o) {
    if (!*o) return;
    buf_free(&(*o)->bytes);
    mem_free(*o);
    *o = NULL;
}

/* As much as fits. */
void uplink_keep_text(char *out, size_t cap, const char *text) {
    size_t n = strlen(text);
    if (n >= cap) n = cap - 1;
    memmove(out, text, n);
    out[n] = 0;
}

uint64_t uplink_now(const struct uplink *u) {
    return u->io.now_ms(u->io.ctx);
}

void uplink_enter(struct uplink *u, enum uplink_state next) {
    static const unsigned char edges[] = {
        [UPLINK_NEW] = 1 << UPLINK_CONNECTING | 1 << UPLINK_STOPPED,
        [UPLINK_WAITING] = 1 << UPLINK_CONNECTING | 1 << UPLINK_STOPPED,
        [UPLINK_CONNECTING] = 1 << UPLINK_GREETING | 1 << UPLINK_CLOSING | 1 << UPLINK_WAITING | 1 << UPLINK_STOPPED |
                              1 << UPLINK_CONNECTING,
        [UPLINK_GREETING] = 1 << UPLINK_STREAMING | 1 << UPLINK_CLOSING | 1 << UPLINK_WAITING | 1 << UPLINK_STOPPED |
                            1 << UPLINK_CONNECTING,
        [UPLINK_STREAMING] = 1 << UPLINK_CLOSING | 1 << UPLINK_WAITING | 1 << UPLINK_STOPPED | 1 << UPLINK_CONNECTING,
        [UPLINK_CLOSING] = 1 << UPLINK_WAITING | 1 << UPLINK_STOPPED | 1 << UPLINK_CONNECTING,
        [UPLINK_STOPPED] = 0,
    };
    assert(edges[u->state] & 1 << next);
    log_debug(AREA, "%s -> %s", state_names[u->state], state_names[next]);
    u->state = next;
}

struct uplink *uplink_new(const struct uplink_options *o, const struct uplink_io *io,
                          const struct uplink_owner *owner) {
    struct uplink *u = mem_zalloc(sizeof *u);
    u->o = *o;
    u->io = *io;
    u->owner = *owner;
    if (!u->o.backoff_base_ms) u->o.backoff_base_ms = 1000;
    if (!u->o.backoff_max_ms) u->o.backoff_max_ms = 60000;
    if (!u->o.refused_ms) u->o.refused_ms = 300000;
    if (!u->o.window_bytes) u->o.window_bytes = 16u * 1024 * 1024;
    u->collectors = mem_zalloc(mem_mul(o->n_collectors + 1, sizeof *u->collectors));
    for (size_t i = 0; i < o->n_collectors; i++) u->collectors[i] = mem_strdup(o->collectors[i]);
    u->n_collectors = o->n_collectors;
    u->o.collectors = NULL;
    arena_init(&u->arena, MSG_ARENA_CAP);
    return u;
}

void uplink_free(struct uplink **up) {
    struct uplink *u = *up;
    if (!u) return;
    assert(u->state == UPLINK_NEW || u->state == UPLINK_STOPPED);
    for (size_t i = 0; i < u->n_window; i++) outgoing_free(&u->window[i]);
    mem_free(u->window);
    for (size_t i = 0; i < u->n_collectors; i++) mem_free(u->collectors[i]);
    mem_free(u->collectors);
    if (u->reader_used) frame_reader_deinit(&u->reader);
    arena_deinit(&u->arena);
    buf_free(&u->scratch);
    mem_free(u);
    *up = NULL;
}

/* ---- connecting ---- */

static void stop(struct uplink *u, enum status why, const char *text) {
    char copy[ERROR_TEXT_MAX];
    uplink_keep_text(copy, sizeof copy, text);
    uplink_enter(u, UPLINK_STOPPED);
    u->owner.stopped(u->owner.ctx, why, copy);
}

static void connect_now(struct uplink *u) {
    char host[ADDRESS_HOST_MAX];
    uint16_t port = 0;
    struct error err = {0};
    uplink_enter(u, UPLINK_CONNECTING);
    u->bye = ST_OK;
    u->bye_text[0] = 0;
    u->bye_wait_ms = 0;
    u->n_sent = 0;
    u->sent_bytes = 0;
    u->first_no = 1;
    u->stored_here = u->held_here = 0;
    if (u->reader_used) frame_reader_deinit(&u->reader);
    frame_reader_init(&u->reader, FRAME_FROM_COLLECTOR);
    u->reader_used = true;
    if (address_split(slice_str(u->collectors[u->at]), 7443, host, &port, &err)) {
        stop(u, ST_INVALID, err.msg); /* configuration is checked before; this is the last door */
        return;
    }
    u->io.connect(u->io.ctx, host, port);
}

void uplink_start(struct uplink *u) {
    u->unreached_since = uplink_now(u);
    if (!u->n_collectors) {
        stop(u, ST_INVALID, "no collector is known");
        return;
    }
    connect_now(u);
}

/* Ends the connection for a reason of ours. */
void uplink_hang_up(struct uplink *u, enum status why, const char *text, bool flush) {
    if (u->state == UPLINK_CLOSING || u->state == UPLINK_STOPPED) return;
    if (!u->bye) {
        u->bye = why;
        uplink_keep_text(u->bye_text, sizeof u->bye_text, text);
    }
    uplink_enter(u, UPLINK_CLOSING);
    u->io.close(u->io.ctx, flush);
}

static bool is_refusal(enum status why) {
    return why == ST_REVOKED || why == ST_AUTH || why == ST_EXPIRED || why == ST_DENIED || why == ST_VERSION;
}

static uint64_t back_off(struct uplink *u) {
    uint64_t ms = u->o.backoff_base_ms;
    for (unsigned i = 1; i < u->attempt && ms < u->o.backoff_max_ms; i++) ms *= 2;
    if (ms > u->o.backoff_max_ms) ms = u->o.backoff_max_ms;
    return ms / 2 + u->io.random(u->io.ctx) % (ms / 2 + 1);
}

static void wait_for(struct uplink *u, uint64_t ms, enum status why, const char *text) {
    uplink_enter(u, UPLINK_WAITING);
    u->wait_until = uplink_now(u) + ms;
    u->tried = 0;
    u->at = 0;
    log_write(is_refusal(why) ? LOG_ERROR : LOG_WARN, AREA, "%s: retry in %llu.%llu s", text,
              (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000 / 100));
}

void uplink_on_closed(struct uplink *u, enum status why, const char *text) {
    if (u->state == UPLINK_STOPPED) return;
    bool streamed = u->state == UPLINK_STREAMING || (u->state == UPLINK_CLOSING && u->credit_batches);
    char line[ERROR_TEXT_MAX + 300];
    if (u->bye) why = u->bye;
    snprintf(line, sizeof line, "collector %s: %s", u->collectors[u->at],
             *u->bye_text    ? u->bye_text
             : text && *text ? text
                             : status_text(why));
    u->bye_text[0] = 0;
    u->credit_batches = 0;
    u->renew_deadline = 0;
    if (u->finishing && !u->n_window) {
        stop(u, ST_OK, "");
        return;
    }
    if (u->stopping) {
        stop(u, ST_OK, line);
        return;
    }
    uplink_keep_text(u->trouble, sizeof u->trouble, line);
    if (streamed) {
        u->counts.reconnects++;
        u->unreached_since = uplink_now(u);
        u->attempt = 0;
        u->tried = u->n_collectors; /* begin with the first of the list, after a pause */
    } else {
        u->tried++;
    }
    if (u->o.refusal_is_final && (why == ST_REVOKED || (is_refusal(why) && u->tried >= u->n_collectors))) {
        stop(u, why, line);
        return;
    }
    if (u->o.give_up_ms && uplink_now(u) - u->unreached_since >= u->o.give_up_ms) {
        size_t n = strlen(line);
        snprintf(line + n, sizeof line - n, " (given up after %u s)", u->o.give_up_ms / 1000);
        stop(u, why ? why : ST_CLOSED, line);
        return;
    }
    if (u->bye_wait_ms) {
        wait_for(u, u->bye_wait_ms, why, line);
    } else if (u->tried < u->n_collectors) {
        log_warn(AREA, "%s: trying the next one", line);
        u->at = (u->at + 1) % u->n_collectors;
        connect_now(u);
    } else if (is_refusal(why)) {
        wait_for(u, u->o.refused_ms / 4 * 3 + u->io.random(u->io.ctx) % (u->o.refused_ms / 2 + 1), why, line);
    } else {
        u->attempt++;
        wait_for(u, back_off(u), why, line);
    }
}

void uplink_on_drained(struct uplink *u) {
    uplink_pump(u);
}

void uplink_kick(struct uplink *u) {
    uplink_pump(u);
}

void uplink_finish(struct uplink *u) {
    u->finishing = true;
    uplink_pump(u);
}

void uplink_stop(struct uplink *u, unsigned grace_ms) {
    if (u->stopping || u->state == UPLINK_STOPPED) return;
    u->stopping = true;
    u->stop_at = uplink_now(u) + grace_ms;
    if (u->state == UPLINK_NEW || u->state == UPLINK_WAITING)
        stop(u, ST_OK, u->trouble);
    else if (u->state == UPLINK_STREAMING)
        uplink_pump(u);
    else
        uplink_hang_up(u, ST_CLOSED, "the agent stops", false);
}

void uplink_tick(struct uplink *u) {
    uint64_t t = uplink_now(u);
    switch (u->state) {
    case UPLINK_WAITING:
        if (t >= u->wait_until) connect_now(u);
        break;
    case UPLINK_GREETING:
        if (t >= u->deadline) uplink_hang_up(u, ST_TIMEOUT, "did not answer the greeting", false);
        break;
    case UPLINK_STREAMING:
        if (u->stopping && t >= u->stop_at) {
            uplink_say_goodbye(u, ST_OK, "the agent stops");
        } else if (t >= u->last_heard + 3 * u->heartbeat_ms + 1000) {
            uplink_hang_up(u, ST_TIMEOUT, "has fallen silent", false);
        } else {
            if (u->renew_deadline && t >= u->renew_deadline) uplink_renew_failed(u, "no answer");
            uplink_renew_if_due(u);
            if (t >= u->heartbeat_at) uplink_heartbeat(u);
            uplink_pump(u);
        }
        break;
    default: break;
    }
}

uint64_t uplink_deadline_ms(const struct uplink *u) {
    switch (u->state) {
    case UPLINK_WAITING: return u->wait_until;
    case UPLINK_GREETING: return u->deadline;
    case UPLINK_STREAMING: return u->stopping && u->stop_at < u->heartbeat_at ? u->stop_at : u->heartbeat_at;
    default: return UINT64_MAX;
    }
}

struct uplink_status uplink_get_status(const struct uplink *u) {
    struct uplink_status s = u->counts;
    s.state = state_names[u->state];
    s.collector = u->n_collectors ? u->collectors[u->at] : "";
    s.connected = u->state == UPLINK_STREAMING;
    s.unacked_batches = u->n_window;
    s.unacked_events = u->window_events;
    s.unacked_bytes = u->window_bytes;
    s.trouble = u->trouble;
    return s;
}
