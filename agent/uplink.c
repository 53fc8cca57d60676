/* 5 WIRE  The uplink's state machine. Invariants: batches are sent in the feeder's order; a batch leaves `window` only by
 * an ack or a rejection; numbers on the wire start at 1 on each connection; one connection at a time. Loop thread. */
#include "uplink.h"
#include "clock.h"
#include "crash.h"
#include "log.h"
#include "mem.h"
#include "msg.h"
#include "token.h"

#include <assert.h>
#include <stdio.h>

#define AREA "uplink"
#define PROTOCOL_VERSION 1u
#define WELCOME_MS 10000u
#define RENEW_MS 60000u         /* for the answer */
#define RENEW_AGAIN_MS 3600000u /* after a failure */
#define HEARTBEAT_DEFAULT_S 30u
#define CLOCK_DOUBT (UINT64_C(3600) * FILETIME_SECOND)

enum uplink_state {
    UPLINK_NEW,        /* not started */
    UPLINK_WAITING,    /* no connection until wait_until */
    UPLINK_CONNECTING, /* name, TCP, TLS: the connection has its own deadline */
    UPLINK_GREETING,   /* Hello is sent, Welcome awaited */
    UPLINK_STREAMING,  /* batches out, acks in */
    UPLINK_CLOSING,    /* close was asked for, on_closed awaited */
    UPLINK_STOPPED     /* final */
};

static const char *const state_names[] = {"new",       "waiting", "connecting", "greeting",
                                          "streaming", "closing", "stopped"};

struct uplink {
    struct uplink_options o;
    struct uplink_io io;
    struct uplink_owner owner;
    char **collectors;
    size_t n_collectors, at, tried; /* at: in use; tried: how many in this round */
    enum uplink_state state;
    unsigned attempt; /* rounds without success */
    uint64_t wait_until, deadline, unreached_since;
    bool finishing, stopping, pumping;
    uint64_t stop_at;

    /* this connection */
    struct frame_reader reader;
    bool reader_used;
    struct arena arena;
    uint64_t last_heard, heartbeat_ms, heartbeat_at;
    uint64_t credit_batches, credit_bytes;
    enum status bye; /* why the connection ends, when we know better than the socket */
    char bye_text[ERROR_TEXT_MAX];
    uint64_t bye_wait_ms;

    struct outgoing **window; /* in order; the first n_sent were sent on this connection as first_no ... */
    size_t n_window, cap_window, n_sent;
    uint64_t first_no, window_bytes, sent_bytes, window_events;

    uint64_t renew_at_ms, renew_deadline; /* 0: not due, not asked */
    struct buf scratch;
    char trouble[ERROR_TEXT_MAX];
    struct uplink_status counts;
};

void outgoing_free(struct outgoing **o) {
    if (!*o) return;
    buf_free(&(*o)->bytes);
    mem_free(*o);
    *o = NULL;
}

/* As much as fits. */
static void keep_text(char *out, size_t cap, const char *text) {
    size_t n = strlen(text);
    if (n >= cap) n = cap - 1;
    memmove(out, text, n);
    out[n] = 0;
}

static uint64_t now(const struct uplink *u) {
    return u->io.now_ms(u->io.ctx);
}

static void uplink_enter(struct uplink *u, enum uplink_state next) {
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
    keep_text(copy, sizeof copy, text);
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
    u->unreached_since = now(u);
    if (!u->n_collectors) {
        stop(u, ST_INVALID, "no collector is known");
        return;
    }
    connect_now(u);
}

/* Ends the connection for a reason of ours. */
static void hang_up(struct uplink *u, enum status why, const char *text, bool flush) {
    if (u->state == UPLINK_CLOSING || u->state == UPLINK_STOPPED) return;
    if (!u->bye) {
        u->bye = why;
        keep_text(u->bye_text, sizeof u->bye_text, text);
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
    u->wait_until = now(u) + ms;
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
    keep_text(u->trouble, sizeof u->trouble, line);
    if (streamed) {
        u->counts.reconnects++;
        u->unreached_since = now(u);
        u->attempt = 0;
        u->tried = u->n_collectors; /* begin with the first of the list, after a pause */
    } else {
        u->tried++;
    }
    if (u->o.refusal_is_final && (why == ST_REVOKED || (is_refusal(why) && u->tried >= u->n_collectors))) {
        stop(u, why, line);
        return;
    }
    if (u->o.give_up_ms && now(u) - u->unreached_since >= u->o.give_up_ms) {
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

static ProtobufCBinaryData text_bytes(const char *s) {
    return msg_bytes(slice_str(s));
}

/* protobuf-c never writes through it; its string fields are not const. */
static char *text_field(const char *s) {
    return s ? (char *)(uintptr_t)s : (char *)(uintptr_t) "";
}

static void send_message(struct uplink *u, enum frame_type t, const ProtobufCMessage *m) {
    buf_clear(&u->scratch);
    msg_put_frame(&u->scratch, t, m);
    u->io.write(u->io.ctx, buf_slice(&u->scratch));
}

/* The load's logs as messages: one array of each, freed by free_channels. */
static Haechi__Channel **make_channels(const struct uplink_load *load) {
    Haechi__Channel **list = mem_zalloc(mem_mul(load->n_logs + 1, sizeof *list));
    for (size_t i = 0; i < load->n_logs; i++) {
        const struct uplink_log *l = &load->logs[i];
        list[i] = mem_alloc(sizeof **list);
        haechi__channel__init(list[i]);
        list[i]->channel = text_bytes(l->channel);
        list[i]->computer = text_bytes(l->computer);
        list[i]->oldest_id = l->oldest_id;
        list[i]->newest_id = l->newest_id;
        list[i]->log_bytes = l->bytes;
        list[i]->log_max_bytes = l->max_bytes;
    }
    return list;
}

static void free_channels(Haechi__Channel **list, size_t n) {
    for (size_t i = 0; i < n; i++) mem_free(list[i]);
    mem_free(list);
}

void uplink_on_open(struct uplink *u) {
    if (u->state != UPLINK_CONNECTING) return;
    struct uplink_load load = {0};
    u->owner.load(u->owner.ctx, &load);
    Haechi__Hello m = HAECHI__HELLO__INIT;
    m.protocol = PROTOCOL_VERSION;
    m.agent_version = text_field(HAECHI_VERSION);
    m.os = text_field(u->o.os);
    m.hostname = text_field(u->o.hostname);
    m.domain = text_field(u->o.domain);
    m.machine_id = msg_bytes(u->o.machine_id);
    m.sysmon_version = text_field(u->o.sysmon_version);
    m.sysmon_schema = text_field(u->o.sysmon_schema);
    m.channels = make_channels(&load);
    m.n_channels = load.n_logs;
    m.time = u->io.wall(u->io.ctx);
    m.boot_id = msg_bytes(u->o.boot_id);
    m.utc_offset_minutes = u->o.utc_offset_minutes;
    m.instance = msg_bytes(u->o.instance);
    uplink_enter(u, UPLINK_GREETING);
    u->deadline = now(u) + WELCOME_MS;
    send_message(u, FRAME_HELLO, &m.base);
    free_channels(m.channels, m.n_channels);
}

/* ---- streaming ---- */

static bool credit_left(const struct uplink *u, size_t len) {
    if (u->n_sent >= u->credit_batches) return false;
    return !u->n_sent || !u->credit_bytes || u->sent_bytes + len <= u->credit_bytes;
}

static struct outgoing *pull(struct uplink *u) {
    if (u->stopping || (u->n_window && u->window_bytes >= u->o.window_bytes)) return NULL;
    struct outgoing *o = u->owner.next(u->owner.ctx);
    if (!o) return NULL;
    mem_grow((void **)&u->window, u->n_window, &u->cap_window, sizeof *u->window);
    u->window[u->n_window++] = o;
    u->window_bytes += o->bytes.len;
    u->window_events += o->n_events;
    return o;
}

static void send_batch(struct uplink *u, const struct outgoing *o) {
    uint8_t head[FRAME_HEAD_LEN];
    frame_head(head, FRAME_BATCH, o->bytes.len + 4);
    buf_clear(&u->scratch);
    buf_append(&u->scratch, head, sizeof head);
    buf_u32le(&u->scratch, o->header_len);
    buf_slice_append(&u->scratch, buf_slice(&o->bytes));
    u->io.write(u->io.ctx, buf_slice(&u->scratch));
    u->n_sent++;
    u->sent_bytes += o->bytes.len;
    crash_point("batch-sent");
}

static void say_goodbye(struct uplink *u, enum status code, const char *reason) {
    Haechi__Goodbye m = HAECHI__GOODBYE__INIT;
    m.code = code;
    m.reason = text_field(reason);
    send_message(u, FRAME_GOODBYE, &m.base);
    hang_up(u, ST_CLOSED, reason, true);
}

static void pump(struct uplink *u) {
    if (u->pumping) return; /* the feeder may call uplink_finish while it is asked for more */
    u->pumping = true;
    while (u->state == UPLINK_STREAMING && u->io.can_write(u->io.ctx)) {
        const struct outgoing *o = u->n_sent < u->n_window ? u->window[u->n_sent] : NULL;
        if (!o) {
            if (u->n_sent >= u->credit_batches) break;
            o = pull(u);
        }
        if (!o || !credit_left(u, o->bytes.len)) break;
        send_batch(u, o);
    }
    u->pumping = false;
    if (u->state != UPLINK_STREAMING) return;
    if (u->finishing && !u->n_window)
        say_goodbye(u, ST_OK, "all is sent and acknowledged");
    else if (u->stopping && !u->n_sent)
        say_goodbye(u, ST_OK, "the agent stops");
}

static void on_welcome(struct uplink *u, struct slice body) {
    const Haechi__Welcome *m = MSG_UNPACK(Welcome, welcome, body, &u->arena);
    if (!m) {
        hang_up(u, ST_PROTO, "sent a welcome that cannot be read", false);
        return;
    }
    if (m->protocol != PROTOCOL_VERSION) {
        char text[100];
        snprintf(text, sizeof text, "speaks protocol %u, this agent speaks %u: update the older one", m->protocol,
                 PROTOCOL_VERSION);
        hang_up(u, ST_VERSION, text, false);
        return;
    }
    u->credit_batches = m->credit_batches ? m->credit_batches : 1;
    u->credit_bytes = m->credit_bytes;
    u->heartbeat_ms = (m->heartbeat_s ? m->heartbeat_s : HEARTBEAT_DEFAULT_S) * UINT64_C(1000);
    u->heartbeat_at = now(u) + u->heartbeat_ms;
    u->attempt = 0;
    u->tried = 0;
    u->trouble[0] = 0;
    uint64_t wall = u->io.wall(u->io.ctx);
    uint64_t apart = wall > m->time ? wall - m->time : m->time - wall;
    if (m->time && apart > CLOCK_DOUBT) {
        log_warn(AREA, "this host's clock and the collector's are %llu minutes apart: set the one that is wrong",
                 (unsigned long long)(apart / FILETIME_SECOND / 60));
    }
    uplink_enter(u, UPLINK_STREAMING);
    log_info(AREA, "connected to %s, as host %s (%u)", u->collectors[u->at], log_peer(slice_str(m->host_name)),
             m->host_id);
    if (u->owner.welcome) {
        struct slice *list = mem_zalloc(mem_mul(m->n_collectors + 1, sizeof *list));
        for (size_t i = 0; i < m->n_collectors; i++) list[i] = slice_str(m->collectors[i]);
        struct uplink_welcome w = {.host_id = m->host_id,
                                   .host_name = slice_str(m->host_name),
                                   .collector_version = slice_str(m->collector_version),
                                   .time = m->time,
                                   .collectors = list,
                                   .n_collectors = m->n_collectors};
        u->owner.welcome(u->owner.ctx, &w);
        mem_free(list);
    }
    pump(u);
}

static const Haechi__Rejected *rejection(const Haechi__Ack *m, uint64_t no) {
    for (size_t i = 0; i < m->n_rejected; i++) {
        if (m->rejected[i]->batch == no) return m->rejected[i];
    }
    return NULL;
}

static void on_ack(struct uplink *u, struct slice body) {
    const Haechi__Ack *m = MSG_UNPACK(Ack, ack, body, &u->arena);
    if (!m || m->through >= u->first_no + u->n_sent) {
        hang_up(u, ST_PROTO, m ? "acknowledged a batch that was not sent" : "sent an ack that cannot be read", false);
        return;
    }
    size_t n = m->through >= u->first_no ? (size_t)(m->through - u->first_no + 1) : 0;
    uint64_t events = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        struct outgoing *o = u->window[i];
        const Haechi__Rejected *r = m->n_rejected ? rejection(m, u->first_no + i) : NULL;
        u->sent_bytes -= o->bytes.len;
        u->window_bytes -= o->bytes.len;
        u->window_events -= o->n_events;
        last = o->seq;
        if (r) {
            u->counts.rejected_batches++;
            u->counts.rejected_events += o->n_events;
            u->owner.rejected(u->owner.ctx, o, r->code < ST_COUNT ? (enum status)r->code : ST_INVALID, r->reason);
        } else {
            events += o->n_events;
            u->counts.acked_batches++;
            outgoing_free(&o);
        }
    }
    memmove(u->window, u->window + n, (u->n_window - n) * sizeof *u->window);
    u->n_window -= n;
    u->n_sent -= n;
    u->first_no += n;
    u->counts.acked_events += events;
    if (m->credit_batches) u->credit_batches = m->credit_batches;
    if (m->credit_bytes) u->credit_bytes = m->credit_bytes;
    if (n) u->owner.acked(u->owner.ctx, last, events);
    pump(u);
}

static void on_goodbye(struct uplink *u, struct slice body) {
    const Haechi__Goodbye *m = MSG_UNPACK(Goodbye, goodbye, body, &u->arena);
    if (!m) {
        hang_up(u, ST_PROTO, "sent a goodbye that cannot be read", false);
        return;
    }
    enum status why = m->code && m->code < ST_COUNT ? (enum status)m->code : ST_CLOSED;
    char text[ERROR_TEXT_MAX];
    keep_text(text, sizeof text, *m->reason ? log_peer(slice_str(m->reason)) : status_text(why));
    u->bye_wait_ms = (m->retry_after_s > 3600 ? 3600 : m->retry_after_s) * UINT64_C(1000);
    /* ST_CLOSED by us would mean "finished"; a collector that goes away is just away. */
    hang_up(u, why == ST_CLOSED ? ST_CANCELLED : why, text, false);
}

/* ---- renewal ---- */

static void renew_failed(struct uplink *u, const char *text) {
    u->renew_deadline = 0;
    u->renew_at_ms = now(u) + RENEW_AGAIN_MS;
    log_error(AREA, "the certificate could not be renewed: %s; retry in %u minutes", text, RENEW_AGAIN_MS / 60000);
}

static void renew_if_due(struct uplink *u) {
    uint64_t life = u->o.not_after > u->o.not_before ? u->o.not_after - u->o.not_before : 0;
    if (!life || u->renew_deadline || now(u) < u->renew_at_ms) return;
    if (u->io.wall(u->io.ctx) < u->o.not_before + life / 3 * 2) return;
    struct buf csr = {0};
    struct error err = {0};
    if (u->owner.make_csr(u->owner.ctx, &csr, &err)) {
        renew_failed(u, err.msg);
    } else {
        Haechi__Renew m = HAECHI__RENEW__INIT;
        m.csr = msg_bytes(buf_slice(&csr));
        u->renew_deadline = now(u) + RENEW_MS;
        send_message(u, FRAME_RENEW, &m.base);
    }
    buf_free(&csr);
}

static void on_renewed(struct uplink *u, struct slice body) {
    const Haechi__Renewed *m = MSG_UNPACK(Renewed, renewed, body, &u->arena);
    struct error err = {0};
    if (!m || !u->renew_deadline) {
        hang_up(u, ST_PROTO, "sent a certificate that was not asked for or cannot be read", false);
        return;
    }
    uint64_t from = 0, to = 0;
    if (u->owner.renewed(u->owner.ctx, msg_slice(m->certificate), msg_slice(m->ca), &from, &to, &err)) {
        renew_failed(u, err.msg);
        return;
    }
    char until[FILETIME_TEXT_MAX];
    filetime_format(to, 0, until);
    log_info(AREA, "the certificate was renewed, until %s", until);
    u->o.not_before = from;
    u->o.not_after = to;
    u->renew_deadline = 0;
}

/* ---- time and bytes ---- */

static void heartbeat(struct uplink *u) {
    struct uplink_load load = {0};
    u->owner.load(u->owner.ctx, &load);
    Haechi__Heartbeat m = HAECHI__HEARTBEAT__INIT;
    m.time = u->io.wall(u->io.ctx);
    m.backlog_events = load.backlog_events + u->window_events;
    m.spool_bytes = load.spool_bytes;
    m.spool_max_bytes = load.spool_max_bytes;
    m.events_per_s = load.events_per_s;
    m.cpu_ms = load.cpu_ms;
    m.rss_bytes = load.rss_bytes;
    m.parse_errors = load.parse_errors;
    m.records_skipped = load.records_skipped;
    m.channels = make_channels(&load);
    m.n_channels = load.n_logs;
    u->heartbeat_at = now(u) + u->heartbeat_ms;
    send_message(u, FRAME_HEARTBEAT, &m.base);
    free_channels(m.channels, m.n_channels);
}

static void on_frame(struct uplink *u, enum frame_type t, struct slice body) {
    bool welcome_due = u->state == UPLINK_GREETING;
    arena_reset(&u->arena);
    if (t == FRAME_GOODBYE) {
        on_goodbye(u, body);
    } else if (welcome_due != (t == FRAME_WELCOME)) {
        hang_up(u, ST_PROTO, "sent a message out of turn", false);
    } else if (t == FRAME_WELCOME) {
        on_welcome(u, body);
    } else if (t == FRAME_ACK) {
        on_ack(u, body);
    } else if (t == FRAME_RENEWED) {
        on_renewed(u, body);
    } /* HEARTBEAT_REPLY, POSITION_REPLY: that it came is all that counts here */
}

void uplink_on_data(struct uplink *u, struct slice plain) {
    u->last_heard = now(u);
    while (u->state == UPLINK_GREETING || u->state == UPLINK_STREAMING) {
        enum frame_type t;
        struct slice body;
        struct error err = {0};
        enum status st = frame_next(&u->reader, &plain, &t, &body, &err);
        if (st == ST_AGAIN) return;
        if (st)
            hang_up(u, st, *err.msg ? err.msg : status_text(st), false);
        else
            on_frame(u, t, body);
    }
}

void uplink_on_drained(struct uplink *u) {
    pump(u);
}

void uplink_kick(struct uplink *u) {
    pump(u);
}

void uplink_finish(struct uplink *u) {
    u->finishing = true;
    pump(u);
}

void uplink_stop(struct uplink *u, unsigned grace_ms) {
    if (u->stopping || u->state == UPLINK_STOPPED) return;
    u->stopping = true;
    u->stop_at = now(u) + grace_ms;
    if (u->state == UPLINK_NEW || u->state == UPLINK_WAITING)
        stop(u, ST_OK, u->trouble);
    else if (u->state == UPLINK_STREAMING)
        pump(u);
    else
        hang_up(u, ST_CLOSED, "the agent stops", false);
}

void uplink_tick(struct uplink *u) {
    uint64_t t = now(u);
    switch (u->state) {
    case UPLINK_WAITING:
        if (t >= u->wait_until) connect_now(u);
        break;
    case UPLINK_GREETING:
        if (t >= u->deadline) hang_up(u, ST_TIMEOUT, "did not answer the greeting", false);
        break;
    case UPLINK_STREAMING:
        if (u->stopping && t >= u->stop_at) {
            say_goodbye(u, ST_OK, "the agent stops");
        } else if (t >= u->last_heard + 3 * u->heartbeat_ms + 1000) {
            hang_up(u, ST_TIMEOUT, "has fallen silent", false);
        } else {
            if (u->renew_deadline && t >= u->renew_deadline) renew_failed(u, "no answer");
            renew_if_due(u);
            if (t >= u->heartbeat_at) heartbeat(u);
            pump(u);
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
