/* 5 WIRE  What is said on the uplink's connection: greeting, batches by credit, acks, heartbeats, renewal. Loop thread. */
#include "uplink_internal.h"
#include "clock.h"
#include "crash.h"
#include "mem.h"
#include "sysmon.h"

#include <stdio.h>

#define PROTOCOL_VERSION 1u
#define WELCOME_MS 10000u
#define RENEW_MS 60000u         /* for the answer */
#define RENEW_AGAIN_MS 3600000u /* after a failure */
#define HEARTBEAT_DEFAULT_S 30u
#define CLOCK_DOUBT (UINT64_C(3600) * FILETIME_SECOND)

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

/* What Hello, Heartbeat and RulesStatus say of Sysmon and the rules; NULL for what is not known. */
struct rules_words {
    Haechi__Sysmon sysmon;
    Haechi__RulesStatus rules;
};

static Haechi__Sysmon *sysmon_message(const struct uplink_load *load, struct rules_words *w) {
    const struct sysmon *s = load->sysmon;
    if (!s) return NULL;
    haechi__sysmon__init(&w->sysmon);
    w->sysmon.state = (uint32_t)s->state;
    w->sysmon.version = text_field(s->version);
    w->sysmon.schema = text_field(s->schema);
    w->sysmon.service = text_field(s->service);
    w->sysmon.driver = text_field(s->driver);
    w->sysmon.inbox = s->inbox;
    if (s->has_rules) w->sysmon.rules_digest = msg_bytes(slice_of(s->rules_digest, sizeof s->rules_digest));
    w->sysmon.config_hash = text_field(s->config_hash);
    w->sysmon.cannot_apply = text_field(s->cannot_apply);
    return &w->sysmon;
}

static Haechi__RulesStatus *rules_message(const struct uplink_load *load, struct rules_words *w) {
    const struct uplink_rules *r = load->rules;
    if (!r) return NULL;
    haechi__rules_status__init(&w->rules);
    w->rules.serial = r->serial;
    w->rules.ruleset = text_field(r->ruleset);
    w->rules.revision = r->revision;
    w->rules.digest = msg_bytes(r->digest);
    w->rules.state = r->state;
    w->rules.evidence = r->evidence;
    w->rules.reason = text_field(r->reason);
    w->rules.words = text_field(r->words);
    w->rules.rules_digest = msg_bytes(r->rules_digest);
    w->rules.time = r->time;
    return &w->rules;
}

void uplink_rules_changed(struct uplink *u) {
    struct uplink_load load = {0};
    struct rules_words w;
    if (u->state != UPLINK_STREAMING) return;
    u->owner.load(u->owner.ctx, &load);
    const Haechi__RulesStatus *m = rules_message(&load, &w);
    if (m) send_message(u, FRAME_RULES_STATUS, &m->base);
}

void uplink_on_open(struct uplink *u) {
    if (u->state != UPLINK_CONNECTING) return;
    struct uplink_load load = {0};
    struct rules_words words;
    u->owner.load(u->owner.ctx, &load);
    Haechi__Hello m = HAECHI__HELLO__INIT;
    m.protocol = PROTOCOL_VERSION;
    m.agent_version = text_field(HAECHI_VERSION);
    m.os = text_field(u->o.os);
    m.hostname = text_field(u->o.hostname);
    m.domain = text_field(u->o.domain);
    m.machine_id = msg_bytes(u->o.machine_id);
    m.channels = make_channels(&load);
    m.n_channels = load.n_logs;
    m.time = u->io.wall(u->io.ctx);
    m.boot_id = msg_bytes(u->o.boot_id);
    m.utc_offset_minutes = u->o.utc_offset_minutes;
    m.instance = msg_bytes(u->o.instance);
    m.sysmon = sysmon_message(&load, &words);
    m.rules = rules_message(&load, &words);
    uplink_enter(u, UPLINK_GREETING);
    u->deadline = uplink_now(u) + WELCOME_MS;
    send_message(u, FRAME_HELLO, &m.base);
    free_channels(m.channels, m.n_channels);
}

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

void uplink_say_goodbye(struct uplink *u, enum status code, const char *reason) {
    Haechi__Goodbye m = HAECHI__GOODBYE__INIT;
    m.code = code;
    m.reason = text_field(reason);
    send_message(u, FRAME_GOODBYE, &m.base);
    uplink_hang_up(u, ST_CLOSED, reason, true);
}

void uplink_pump(struct uplink *u) {
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
    if (u->finishing && !u->n_window && !u->renew_deadline)
        uplink_say_goodbye(u, ST_OK, "all is sent and acknowledged");
    else if (u->stopping && !u->n_sent)
        uplink_say_goodbye(u, ST_OK, "the agent stops");
}

static void send_gap(struct uplink *u, const struct uplink_gap *g) {
    Haechi__Gap m = HAECHI__GAP__INIT;
    m.channel = text_bytes(g->channel);
    m.epoch = g->epoch;
    m.cause = g->cause;
    m.first_id = g->first_id;
    m.last_id = g->last_id;
    send_message(u, FRAME_GAP, &m.base);
}

void uplink_explain(struct uplink *u, const struct uplink_gap *g) {
    u->gaps[u->gap_at] = *g;
    u->gap_at = (u->gap_at + 1) % UPLINK_GAPS;
    if (u->n_gaps < UPLINK_GAPS) u->n_gaps++;
    if (u->state == UPLINK_STREAMING) send_gap(u, g);
}

static void tell_positions(struct uplink *u, const Haechi__Welcome *m) {
    char channel[256];
    for (size_t i = 0; i < m->n_positions && u->owner.position; i++) {
        const Haechi__Position *p = m->positions[i];
        if (p->computer.len || p->channel.len >= sizeof channel) continue;
        memcpy(channel, p->channel.data, p->channel.len);
        channel[p->channel.len] = 0;
        u->owner.position(u->owner.ctx, &(struct uplink_position){.channel = channel,
                                                                  .epoch = p->epoch,
                                                                  .highest_id = p->highest_id,
                                                                  .highest_time = p->highest_time});
    }
}

static void on_welcome(struct uplink *u, struct slice body) {
    const Haechi__Welcome *m = MSG_UNPACK(Welcome, welcome, body, &u->arena);
    if (!m) {
        uplink_hang_up(u, ST_PROTO, "sent a welcome that cannot be read", false);
        return;
    }
    if (m->protocol != PROTOCOL_VERSION) {
        char text[100];
        snprintf(text, sizeof text, "speaks protocol %u, this agent speaks %u: update the older one", m->protocol,
                 PROTOCOL_VERSION);
        uplink_hang_up(u, ST_VERSION, text, false);
        return;
    }
    u->credit_batches = m->credit_batches ? m->credit_batches : 1;
    u->credit_bytes = m->credit_bytes;
    u->heartbeat_ms = (m->heartbeat_s ? m->heartbeat_s : HEARTBEAT_DEFAULT_S) * UINT64_C(1000);
    u->heartbeat_at = uplink_now(u) + u->heartbeat_ms;
    u->attempt = 0;
    u->tried = 0;
    u->trouble[0] = 0;
    uint64_t wall = u->io.wall(u->io.ctx);
    u->their_time = m->time;
    u->their_time_at = uplink_now(u);
    uint64_t apart = wall > m->time ? wall - m->time : m->time - wall;
    if (m->time && apart > CLOCK_DOUBT) {
        log_warn(AREA, "this host's clock and the collector's are %llu minutes apart: set the one that is wrong",
                 (unsigned long long)(apart / FILETIME_SECOND / 60));
    }
    uplink_enter(u, UPLINK_STREAMING);
    tell_positions(u, m);
    for (size_t i = 0; i < u->n_gaps; i++) send_gap(u, &u->gaps[i]);
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
    if (u->state == UPLINK_STREAMING) uplink_renew_if_due(u); /* a short `send` has no later moment */
    uplink_pump(u);
}

static const Haechi__Rejected *rejection(const Haechi__Ack *m, uint64_t no) {
    for (size_t i = 0; i < m->n_rejected; i++) {
        if (m->rejected[i]->batch == no) return m->rejected[i];
    }
    return NULL;
}

/* Totals of this connection; they never shrink, whatever a collector says. */
static void count_outcome(struct uplink *u, const Haechi__Ack *m) {
    if (m->events_stored > u->stored_here) {
        u->counts.events_stored += m->events_stored - u->stored_here;
        u->stored_here = m->events_stored;
    }
    if (m->events_held > u->held_here) {
        u->counts.events_held += m->events_held - u->held_here;
        u->held_here = m->events_held;
    }
}

static void on_ack(struct uplink *u, struct slice body) {
    const Haechi__Ack *m = MSG_UNPACK(Ack, ack, body, &u->arena);
    if (!m || m->through >= u->first_no + u->n_sent) {
        uplink_hang_up(u, ST_PROTO, m ? "acknowledged a batch that was not sent" : "sent an ack that cannot be read",
                       false);
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
    count_outcome(u, m);
    if (m->credit_batches) u->credit_batches = m->credit_batches;
    if (m->credit_bytes) u->credit_bytes = m->credit_bytes;
    if (n) u->owner.acked(u->owner.ctx, last, events);
    uplink_pump(u);
}

static void on_goodbye(struct uplink *u, struct slice body) {
    const Haechi__Goodbye *m = MSG_UNPACK(Goodbye, goodbye, body, &u->arena);
    if (!m) {
        uplink_hang_up(u, ST_PROTO, "sent a goodbye that cannot be read", false);
        return;
    }
    enum status why = m->code && m->code < ST_COUNT ? (enum status)m->code : ST_CLOSED;
    char text[ERROR_TEXT_MAX];
    uplink_keep_text(text, sizeof text, *m->reason ? log_peer(slice_str(m->reason)) : status_text(why));
    u->bye_wait_ms = (m->retry_after_s > 3600 ? 3600 : m->retry_after_s) * UINT64_C(1000);
    /* ST_CLOSED by us would mean "finished"; a collector that goes away is just away. */
    uplink_hang_up(u, why == ST_CLOSED ? ST_CANCELLED : why, text, false);
}

/* ---- renewal ---- */

void uplink_renew_failed(struct uplink *u, const char *text) {
    u->renew_deadline = 0;
    u->renew_at_ms = uplink_now(u) + RENEW_AGAIN_MS;
    log_error(AREA, "the certificate could not be renewed: %s; retry in %u minutes", text, RENEW_AGAIN_MS / 60000);
}

void uplink_renew_if_due(struct uplink *u) {
    uint64_t life = u->o.not_after > u->o.not_before ? u->o.not_after - u->o.not_before : 0;
    if (!life || u->renew_deadline || uplink_now(u) < u->renew_at_ms) return;
    /* By the clock of the collector, whose dates these are: this host's may be set to anything at any time. */
    uint64_t t = u->their_time ? u->their_time + (uplink_now(u) - u->their_time_at) * (FILETIME_SECOND / 1000)
                               : u->io.wall(u->io.ctx);
    if (t < u->o.not_before + life / 3 * 2) return;
    struct buf csr = {0};
    struct error err = {0};
    if (u->owner.make_csr(u->owner.ctx, &csr, &err)) {
        uplink_renew_failed(u, err.msg);
    } else {
        Haechi__Renew m = HAECHI__RENEW__INIT;
        m.csr = msg_bytes(buf_slice(&csr));
        u->renew_deadline = uplink_now(u) + RENEW_MS;
        send_message(u, FRAME_RENEW, &m.base);
    }
    buf_free(&csr);
}

static void on_renewed(struct uplink *u, struct slice body) {
    const Haechi__Renewed *m = MSG_UNPACK(Renewed, renewed, body, &u->arena);
    struct error err = {0};
    if (!m || !u->renew_deadline) {
        uplink_hang_up(u, ST_PROTO, "sent a certificate that was not asked for or cannot be read", false);
        return;
    }
    uint64_t from = 0, to = 0;
    if (u->owner.renewed(u->owner.ctx, msg_slice(m->certificate), msg_slice(m->ca), &from, &to, &err)) {
        uplink_renew_failed(u, err.msg);
        uplink_pump(u);
        return;
    }
    char until[FILETIME_TEXT_MAX];
    filetime_format(to, 0, until);
    log_info(AREA, "the certificate was renewed, until %s", until);
    u->o.not_before = from;
    u->o.not_after = to;
    u->renew_deadline = 0;
    uplink_pump(u);
}

void uplink_heartbeat(struct uplink *u) {
    struct uplink_load load = {0};
    struct rules_words words;
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
    m.log_wraps_in_s = load.wraps_in_s;
    m.channels = make_channels(&load);
    m.n_channels = load.n_logs;
    m.sysmon = sysmon_message(&load, &words);
    m.rules = rules_message(&load, &words);
    u->heartbeat_at = uplink_now(u) + u->heartbeat_ms;
    send_message(u, FRAME_HEARTBEAT, &m.base);
    free_channels(m.channels, m.n_channels);
}

static void on_frame(struct uplink *u, enum frame_type t, struct slice body) {
    bool welcome_due = u->state == UPLINK_GREETING;
    arena_reset(&u->arena);
    if (t == FRAME_GOODBYE) {
        on_goodbye(u, body);
    } else if (welcome_due != (t == FRAME_WELCOME)) {
        uplink_hang_up(u, ST_PROTO, "sent a message out of turn", false);
    } else if (t == FRAME_WELCOME) {
        on_welcome(u, body);
    } else if (t == FRAME_ACK) {
        on_ack(u, body);
    } else if (t == FRAME_RENEWED) {
        on_renewed(u, body);
    } else if (t == FRAME_RULES_OFFER) {
        if (u->owner.rules) u->owner.rules(u->owner.ctx, body);
    } /* HEARTBEAT_REPLY, POSITION_REPLY: that it came is all that counts here */
}

void uplink_on_data(struct uplink *u, struct slice plain) {
    u->last_heard = uplink_now(u);
    u->counts.heard = u->io.wall(u->io.ctx);
    while (u->state == UPLINK_GREETING || u->state == UPLINK_STREAMING) {
        enum frame_type t;
        struct slice body;
        struct error err = {0};
        enum status st = frame_next(&u->reader, &plain, &t, &body, &err);
        if (st == ST_AGAIN) return;
        if (st)
            uplink_hang_up(u, st, *err.msg ? err.msg : status_text(st), false);
        else
            on_frame(u, t, body);
    }
}
