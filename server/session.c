/* One agent's session. Invariants: batches are acknowledged in the order in which they came, each after its commit; what
 * is unacknowledged never exceeds the credit; nothing is read while a job runs, while ingest has no room or while the
 * peer does not take its acks; session_enter is the only writer of `state`. */
#include "session.h"
#include "clock.h"
#include "crash.h"
#include "log.h"
#include "mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define FAILED_RETRY_S 60u /* our own trouble, such as a full disk: enrolment may be asked for again */

static const char *const state_names[] = {"new",    "hello",     "welcoming", "ready", "busy",
                                          "enroll", "enrolling", "closing",   "closed"};

const char *session_state_name(enum session_state st) {
    return state_names[st];
}

static bool edge_is_legal(enum session_state from, enum session_state to) {
    if (to == SESSION_CLOSED) return from != SESSION_CLOSED;
    if (to == SESSION_CLOSING) return from < SESSION_CLOSING;
    switch (from) {
    case SESSION_NEW: return to == SESSION_HELLO || to == SESSION_ENROLL;
    case SESSION_HELLO: return to == SESSION_WELCOMING;
    case SESSION_WELCOMING: return to == SESSION_READY;
    case SESSION_READY: return to == SESSION_BUSY;
    case SESSION_BUSY: return to == SESSION_READY;
    case SESSION_ENROLL: return to == SESSION_ENROLLING;
    default: return false;
    }
}

bool session_is_live(const struct session *s) {
    return s->state == SESSION_READY || s->state == SESSION_BUSY;
}

/* Not read because the writer, or the peer, is behind; a running job does not count. */
static void count_paused(struct session *s, bool paused) {
    if (paused != s->counted_paused) stats_add(s->stats, STATS_paused_sessions, paused ? 1 : -1);
    s->counted_paused = paused;
}

static void session_enter(struct session *s, enum session_state next) {
    bool was_live = session_is_live(s);
    assert(edge_is_legal(s->state, next));
    log_debug("session", "host %u: %s -> %s", s->host, state_names[s->state], state_names[next]);
    s->state = next;
    if (next >= SESSION_CLOSING) count_paused(s, false);
    if (was_live != session_is_live(s)) stats_add(s->stats, STATS_live_sessions, was_live ? -1 : 1);
}

void session_init(struct session *s, const struct session_io *io, void *ctx, const struct session_limits *limits,
                  struct stats *stats) {
    assert(limits->credit_batches && limits->credit_batches <= SESSION_MAX_CREDIT);
    *s = (struct session){.io = io, .ctx = ctx, .limits = *limits, .stats = stats, .reading = true};
    frame_reader_init(&s->frames, FRAME_FROM_AGENT);
    s->frames.max_body = 64 * 1024; /* until the peer is known and welcome */
}

void session_deinit(struct session *s) {
    frame_reader_deinit(&s->frames);
    buf_free(&s->pending);
    for (uint32_t i = 0; s->slots && i < s->limits.credit_batches; i++) mem_free(s->slots[i].reason);
    mem_free(s->slots);
    s->slots = NULL;
}

static void send_message(struct session *s, enum frame_type t, const void *message) {
    struct buf out = {0};
    msg_put_frame(&out, t, message);
    s->io->send(s->ctx, buf_slice(&out));
    buf_free(&out);
}

static void say_acks(struct session *s);

/* ---- the end ---- */

void session_close(struct session *s, enum status why, uint32_t retry_after_s, const char *fmt, ...) {
    if (s->state >= SESSION_CLOSING) return;
    char text[SESSION_GOODBYE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    say_acks(s);
    if (s->state != SESSION_NEW) {
        Haechi__Goodbye bye = HAECHI__GOODBYE__INIT;
        bye.code = (uint32_t)why;
        bye.reason = text;
        bye.retry_after_s = retry_after_s;
        send_message(s, FRAME_GOODBYE, &bye);
    }
    if (why == ST_PROTO || why == ST_TOOBIG || why == ST_VERSION) stats_add(s->stats, STATS_protocol_errors, 1);
    if (why == ST_TIMEOUT) stats_add(s->stats, STATS_session_timeouts, 1);
    if (why && why != ST_CLOSED) {
        log_warn("session", "%s %s at %s: %s; closing the connection", s->host ? "host" : "peer",
                 s->name[0] ? s->name : "without a name", s->address, log_peer(slice_str(text)));
    }
    session_enter(s, SESSION_CLOSING);
    s->io->close(s->ctx, why, text);
}

void session_closed(struct session *s, enum status why, const char *text) {
    if (s->state == SESSION_CLOSED) return;
    if (s->state != SESSION_CLOSING && s->state != SESSION_NEW) {
        log_info("session", "host %s at %s: connection closed: %s", s->name, s->address,
                 text && *text ? log_peer(slice_str(text)) : status_text(why));
    }
    session_enter(s, SESSION_CLOSED);
    buf_free(&s->pending);
    if (s->rules_connection) s->io->rules_gone(s->ctx, s->rules_connection);
    s->rules_connection = 0;
    if (s->fleet_session) s->io->end(s->ctx, s->fleet_session);
    s->fleet_session = 0;
}

bool session_can_free(const struct session *s) {
    return s->state == SESSION_CLOSED && !s->job_under_way && s->n_waiting == 0;
}

/* ---- reading ---- */

static void update_reading(struct session *s) {
    if (s->state >= SESSION_CLOSING) return;
    bool want = !s->job_under_way && s->io->can_send(s->ctx) && (s->state != SESSION_READY || s->io->can_take(s->ctx));
    if (want == s->reading) return;
    s->reading = want;
    count_paused(s, !want && !s->job_under_way);
    s->io->read(s->ctx, want);
}

static void start_job(struct session *s, enum job_kind kind, struct slice body, enum session_state next) {
    struct job *j = job_new(kind, body);
    if (!j) {
        session_close(s, ST_PROTO, 0, "malformed message");
        return;
    }
    j->host = s->host;
    snprintf(j->address, sizeof j->address, "%s", s->address);
    session_enter(s, next);
    s->job_under_way = true;
    s->io->job(s->ctx, j);
}

static void on_batch(struct session *s, size_t len) {
    uint64_t in_flight = s->n_received - s->n_acked;
    if (in_flight >= s->limits.credit_batches || (in_flight && len > s->limits.credit_bytes - s->bytes_in_flight)) {
        session_close(s, ST_PROTO, 0, "more batches under way than the credit of %u batches and %llu bytes allows",
                      s->limits.credit_batches, (unsigned long long)s->limits.credit_bytes);
        return;
    }
    struct session_slot *slot = &s->slots[s->n_received % s->limits.credit_batches];
    mem_free(slot->reason);
    *slot = (struct session_slot){.is = SLOT_WAITS, .len = len};
    s->bytes_in_flight += len;
    s->n_waiting++;
    struct buf body = frame_take_body(&s->frames);
    s->io->batch(s->ctx, ++s->n_received, &body);
}

/* ---- rules ---- */

void session_offer(struct session *s) {
    if (!session_is_live(s) || !s->rules_connection) return;
    s->offer_waits = !s->io->can_send(s->ctx); /* what the peer does not read is not heaped up here */
    if (s->offer_waits) return;
    const struct order *o = s->io->rules_due(s->ctx, s->rules_connection);
    if (!o) return;
    log_debug("session", "host %s: offered %s@%lu, order %llu", s->name, o->ruleset, (unsigned long)o->revision,
              (unsigned long long)o->serial);
    s->io->send(s->ctx, buf_slice(&o->frame));
    stats_add(s->stats, STATS_rules_offers, 1);
    order_release(&o);
}

static void on_rules_status(struct session *s, struct slice body) {
    struct arena a;
    arena_init(&a, MSG_ARENA_CAP);
    const Haechi__RulesStatus *m = MSG_UNPACK(RulesStatus, rules_status, body, &a);
    if (!m) {
        session_close(s, ST_PROTO, 0, "malformed rules status");
    } else if (s->rules_connection) {
        s->io->rules_heard(s->ctx, &(struct rules_report){.rules = m});
        session_offer(s);
    }
    arena_deinit(&a);
}

static void on_heartbeat(struct session *s, struct slice body) {
    struct arena a;
    arena_init(&a, MSG_ARENA_CAP);
    Haechi__Heartbeat *m = MSG_UNPACK(Heartbeat, heartbeat, body, &a);
    if (m) {
        s->io->report(s->ctx, &(struct fleet_report){.has_load = true,
                                                     .backlog_events = m->backlog_events,
                                                     .spool_bytes = m->spool_bytes,
                                                     .log_wraps_in_s = m->log_wraps_in_s,
                                                     .events_per_s = m->events_per_s,
                                                     .sysmon_version = slice_str(m->sysmon ? m->sysmon->version : ""),
                                                     .sysmon_schema = slice_str(m->sysmon ? m->sysmon->schema : "")});
        Haechi__HeartbeatReply r = HAECHI__HEARTBEAT_REPLY__INIT;
        r.time = s->io->now(s->ctx);
        send_message(s, FRAME_HEARTBEAT_REPLY, &r);
        if (s->rules_connection) {
            s->io->rules_heard(s->ctx, &(struct rules_report){.sysmon = m->sysmon,
                                                              .rules = m->rules,
                                                              .has_rate = true,
                                                              .events_per_s = m->events_per_s});
            session_offer(s);
        }
    } else {
        session_close(s, ST_PROTO, 0, "malformed heartbeat");
    }
    arena_deinit(&a);
}

static void on_goodbye(struct session *s, struct slice body) {
    struct arena a;
    arena_init(&a, MSG_ARENA_CAP);
    Haechi__Goodbye *m = MSG_UNPACK(Goodbye, goodbye, body, &a);
    if (m && m->reason && *m->reason)
        log_info("session", "host %s says goodbye: %s", s->name, log_peer(slice_str(m->reason)));
    arena_deinit(&a);
    session_close(s, ST_CLOSED, 0, "goodbye");
}

static void on_ready_frame(struct session *s, enum frame_type t, struct slice body) {
    switch (t) {
    case FRAME_BATCH: on_batch(s, body.len < 4 ? 0 : body.len - 4); break; /* credit counts blocks (PROTOCOL.md) */
    case FRAME_HEARTBEAT: on_heartbeat(s, body); break;
    case FRAME_POSITION_QUERY: start_job(s, JOB_POSITIONS, body, SESSION_BUSY); break;
    case FRAME_GAP: start_job(s, JOB_GAP, body, SESSION_BUSY); break;
    case FRAME_RENEW: start_job(s, JOB_RENEW, body, SESSION_BUSY); break;
    case FRAME_RULES_STATUS: on_rules_status(s, body); break;
    case FRAME_GOODBYE: on_goodbye(s, body); break;
    default: session_close(s, ST_PROTO, 0, "%s out of turn", frame_name(t));
    }
}

static void on_frame(struct session *s, enum frame_type t, struct slice body) {
    s->last_heard_ms = s->io->now_ms(s->ctx);
    if (s->state == SESSION_READY) {
        on_ready_frame(s, t, body);
    } else if (s->state == SESSION_HELLO && t == FRAME_HELLO) {
        start_job(s, JOB_HELLO, body, SESSION_WELCOMING);
    } else if (s->state == SESSION_ENROLL && t == FRAME_ENROLL) {
        start_job(s, JOB_ENROLL, body, SESSION_ENROLLING);
    } else if (t == FRAME_GOODBYE) {
        on_goodbye(s, body);
    } else {
        session_close(s, ST_PROTO, 0, "%s out of turn: %s is due", frame_name(t), s->host ? "HELLO" : "ENROLL");
    }
}

/* Frames from `bytes` until it is used up or the session stops reading; what is left is kept. */
static void read_frames(struct session *s, struct slice bytes) {
    s->feeding = true;
    while (s->reading && s->state < SESSION_CLOSING) {
        enum frame_type t;
        struct slice body;
        struct error err = {0};
        enum status st = frame_next(&s->frames, &bytes, &t, &body, &err);
        if (st == ST_AGAIN) break;
        if (st) {
            session_close(s, st == ST_TOOBIG ? ST_TOOBIG : ST_PROTO, 0, "%s", err.msg[0] ? err.msg : status_text(st));
            break;
        }
        on_frame(s, t, body);
        update_reading(s);
    }
    s->feeding = false;
    if (s->state < SESSION_CLOSING && bytes.len) buf_slice_append(&s->pending, bytes);
}

void session_feed(struct session *s, struct slice bytes) {
    if (s->state >= SESSION_CLOSING) return;
    if (!s->reading || s->pending.len)
        buf_slice_append(&s->pending, bytes); /* the connection's last gasp after a pause */
    else
        read_frames(s, bytes);
}

void session_go_on(struct session *s) {
    if (s->offer_waits) session_offer(s);
    if (s->feeding || s->state >= SESSION_CLOSING) return;
    update_reading(s);
    while (s->reading && s->pending.len && s->state < SESSION_CLOSING) {
        struct buf held = s->pending;
        s->pending = (struct buf){0};
        read_frames(s, buf_slice(&held));
        buf_free(&held);
        if (s->reading && s->pending.len) continue;
        break;
    }
}

/* ---- opening ---- */

void session_open(struct session *s, uint32_t host, const char *name, const char *address) {
    s->host = host;
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->address, sizeof s->address, "%s", address);
    s->last_heard_ms = s->io->now_ms(s->ctx);
    s->deadline_ms = s->last_heard_ms + SESSION_HELLO_MS;
    if (host) s->frames.max_body = 256 * 1024;
    session_enter(s, host ? SESSION_HELLO : SESSION_ENROLL);
}

void session_tick(struct session *s) {
    uint64_t now = s->io->now_ms(s->ctx);
    switch (s->state) {
    case SESSION_HELLO:
    case SESSION_ENROLL:
        if (now >= s->deadline_ms)
            session_close(s, ST_TIMEOUT, 0, "no %s within %d s", s->host ? "HELLO" : "ENROLL", SESSION_HELLO_MS / 1000);
        break;
    case SESSION_READY:
        if (!s->reading)
            s->last_heard_ms = now; /* silence is our own doing */
        else if (now - s->last_heard_ms >= UINT64_C(3000) * s->limits.heartbeat_s) {
            session_close(s, ST_TIMEOUT, 0, "nothing heard for %u s", 3 * s->limits.heartbeat_s);
        }
        break;
    default: break;
    }
}

static Haechi__Position *fill_positions(const struct job *j, Haechi__Position ***ret_list) {
    Haechi__Position *p = mem_zalloc(mem_mul(j->n_positions + 1, sizeof *p));
    Haechi__Position **list = mem_zalloc(mem_mul(j->n_positions + 1, sizeof *list));
    for (size_t i = 0; i < j->n_positions; i++) {
        haechi__position__init(&p[i]);
        p[i].channel = msg_bytes(j->positions[i].channel);
        p[i].computer = msg_bytes(j->positions[i].computer);
        p[i].epoch = j->positions[i].epoch;
        p[i].highest_id = j->positions[i].highest_id;
        p[i].highest_time = j->positions[i].highest_time;
        list[i] = &p[i];
    }
    *ret_list = list;
    return p;
}

static void welcome(struct session *s, const struct job *j) {
    const Haechi__Hello *h = j->message;
    if (h->protocol != 1) {
        session_close(s, ST_VERSION, 0, "protocol %u is not spoken here, protocol 1 is", h->protocol);
        return;
    }
    s->slots = mem_zalloc(mem_mul(s->limits.credit_batches, sizeof *s->slots));
    s->frames.max_body = 0; /* each type's own */
    Haechi__Welcome w = HAECHI__WELCOME__INIT;
    Haechi__Position **list;
    Haechi__Position *positions = fill_positions(j, &list);
    char version[] = HAECHI_VERSION;
    w.protocol = 1;
    w.collector_version = version;
    w.time = s->io->now(s->ctx);
    w.host_id = s->host;
    w.host_name = s->name;
    w.credit_batches = s->limits.credit_batches;
    w.credit_bytes = s->limits.credit_bytes;
    w.positions = list;
    w.n_positions = j->n_positions;
    w.heartbeat_s = s->limits.heartbeat_s;
    w.collectors = (char **)(uintptr_t)s->limits.collectors;
    while (w.collectors && w.collectors[w.n_collectors]) w.n_collectors++;
    session_enter(s, SESSION_READY);
    stats_add(s->stats, STATS_sessions, 1);
    log_info("session", "host %s at %s: agent %s on %s", s->name, s->address, log_peer(slice_str(h->agent_version)),
             log_peer(slice_str(h->os)));
    s->io->report(s->ctx, &(struct fleet_report){.os = slice_str(h->os),
                                                 .agent_version = slice_str(h->agent_version),
                                                 .sysmon_version = slice_str(h->sysmon ? h->sysmon->version : ""),
                                                 .sysmon_schema = slice_str(h->sysmon ? h->sysmon->schema : ""),
                                                 .domain = slice_str(h->domain),
                                                 .hostname = slice_str(h->hostname)});
    uint64_t apart = h->time > w.time ? h->time - w.time : w.time - h->time;
    if (h->time && apart > 3600 * FILETIME_SECOND) {
        log_warn("session", "host %s: its clock is %llu s %s ours; its events keep its times", s->name,
                 (unsigned long long)(apart / FILETIME_SECOND), h->time > w.time ? "ahead of" : "behind");
    }
    send_message(s, FRAME_WELCOME, &w);
    mem_free(positions);
    mem_free(list);
    if (!h->sysmon) return; /* `send`, or an agent that knows nothing of rules */
    s->rules_connection = s->io->rules_came(s->ctx, &(struct rules_report){.sysmon = h->sysmon, .rules = h->rules});
    session_offer(s);
}

static void enrolled(struct session *s, struct job *j) {
    Haechi__EnrollReply r = HAECHI__ENROLL_REPLY__INIT;
    struct fleet_enrolled *e = &j->enrolled;
    char none[] = "";
    bool failed = j->st != ST_OK;
    r.result = failed ? ENROLL_REFUSED : (uint32_t)e->result;
    r.reason = failed ? (j->err.msg[0] ? j->err.msg : none) : e->reason;
    r.certificate = msg_bytes(buf_slice(&e->certificate));
    r.ca = msg_bytes(buf_slice(&e->ca));
    r.host_id = e->host_id;
    r.host_name = e->host_name;
    r.retry_after_s = failed ? FAILED_RETRY_S : e->retry_after_s;
    r.collectors = (char **)(uintptr_t)s->limits.collectors;
    while (r.collectors && r.collectors[r.n_collectors]) r.n_collectors++;
    r.time = s->io->now(s->ctx);
    send_message(s, FRAME_ENROLL_REPLY, &r);
    stats_add(s->stats, r.result == ENROLL_GRANTED ? STATS_enrolments : STATS_enrolments_refused, 1);
    if (r.result == ENROLL_GRANTED)
        log_info("enrol", "host %s enrolled from %s", log_peer(slice_str(e->host_name)), s->address);
    else if (failed) /* the fleet says why it refuses */
        log_warn("enrol", "refused from %s: %s", s->address, log_peer(slice_str(r.reason)));
    session_close(s, ST_CLOSED, 0, "done");
}

static void answered(struct session *s, struct job *j) {
    session_enter(s, SESSION_READY);
    if (j->st == ST_INVALID || j->st == ST_TOOBIG) {
        session_close(s, ST_PROTO, 0, "%s", j->err.msg[0] ? j->err.msg : status_text(j->st));
        return;
    }
    if (j->kind == JOB_POSITIONS && !j->st) {
        Haechi__PositionReply r = HAECHI__POSITION_REPLY__INIT;
        Haechi__Position *p = fill_positions(j, &r.positions);
        r.n_positions = j->n_positions;
        send_message(s, FRAME_POSITION_REPLY, &r);
        mem_free(p);
        mem_free(r.positions);
    } else if (j->kind == JOB_RENEW && !j->st) {
        Haechi__Renewed r = HAECHI__RENEWED__INIT;
        r.certificate = msg_bytes(buf_slice(&j->certificate));
        r.ca = msg_bytes(buf_slice(&j->ca));
        send_message(s, FRAME_RENEWED, &r);
        stats_add(s->stats, STATS_renewals, 1);
    } else if (j->kind == JOB_GAP && !j->st) {
        stats_add(s->stats, STATS_gaps, 1);
    } else {
        session_close(s, j->st, 30, "%s", j->err.msg[0] ? j->err.msg : status_text(j->st));
    }
}

void session_job_done(struct session *s, struct job *j) {
    s->job_under_way = false;
    if (s->state >= SESSION_CLOSING) {
        if (j->fleet_session) s->io->end(s->ctx, j->fleet_session);
        job_free(&j);
        return;
    }
    s->last_heard_ms = s->io->now_ms(s->ctx);
    if (s->state == SESSION_ENROLLING) {
        enrolled(s, j);
    } else if (s->state == SESSION_WELCOMING) {
        s->fleet_session = j->fleet_session;
        if (j->st == ST_DENIED || j->st == ST_REVOKED) stats_add(s->stats, STATS_sessions_refused, 1);
        if (j->st)
            session_close(s, j->st, 60, "%s", j->err.msg[0] ? j->err.msg : status_text(j->st));
        else
            welcome(s, j);
    } else {
        answered(s, j);
    }
    job_free(&j);
    session_go_on(s);
}

/* ---- acks ---- */

void session_batch_done(struct session *s, const struct ingest_result *r) {
    assert(r->number > s->n_acked && r->number <= s->n_received);
    struct session_slot *slot = &s->slots[(r->number - 1) % s->limits.credit_batches];
    s->n_waiting--;
    slot->is = r->st ? SLOT_REJECTED : SLOT_STORED;
    slot->code = r->st;
    slot->n_stored = r->st ? 0 : r->n_stored;
    slot->n_held = r->st ? 0 : r->n_duplicate;
    if (r->st) slot->reason = mem_strdup(r->reason);
    if (r->st == ST_CANCELLED) session_close(s, ST_AGAIN, 5, "the collector cannot store now: %s", r->reason);
}

static size_t collect_rejected(struct session *s, uint64_t through, Haechi__Rejected **ret_items,
                               Haechi__Rejected ***ret_list) {
    size_t n = 0, k = 0;
    for (uint64_t b = s->n_acked; b < through; b++) n += s->slots[b % s->limits.credit_batches].is == SLOT_REJECTED;
    *ret_items = mem_zalloc(mem_mul(n + 1, sizeof **ret_items));
    *ret_list = mem_zalloc(mem_mul(n + 1, sizeof **ret_list));
    for (uint64_t b = s->n_acked; b < through; b++) {
        struct session_slot *slot = &s->slots[b % s->limits.credit_batches];
        if (slot->is != SLOT_REJECTED) continue;
        Haechi__Rejected *r = &(*ret_items)[k];
        haechi__rejected__init(r);
        r->batch = b + 1;
        r->code = (uint32_t)slot->code;
        r->reason = slot->reason;
        (*ret_list)[k++] = r;
    }
    return n;
}

/* One message for all that is done in order; later ones wait for those before. */
static void say_acks(struct session *s) {
    if (!session_is_live(s)) return;
    uint64_t through = s->n_acked;
    while (through < s->n_received) {
        const struct session_slot *slot = &s->slots[through % s->limits.credit_batches];
        if (slot->is == SLOT_WAITS || slot->code == ST_CANCELLED) break;
        through++;
    }
    if (through == s->n_acked) return;
    Haechi__Ack ack = HAECHI__ACK__INIT;
    Haechi__Rejected *items;
    ack.through = through;
    ack.n_rejected = collect_rejected(s, through, &items, &ack.rejected);
    for (uint64_t b = s->n_acked; b < through; b++) {
        const struct session_slot *slot = &s->slots[b % s->limits.credit_batches];
        s->bytes_in_flight -= slot->len;
        s->events_stored += slot->n_stored;
        s->events_held += slot->n_held;
    }
    s->n_acked = through;
    ack.events_stored = s->events_stored;
    ack.events_held = s->events_held;
    crash_point("before-ack");
    send_message(s, FRAME_ACK, &ack);
    crash_point("ack-sent");
    stats_add(s->stats, STATS_acks, 1);
    mem_free(items);
    mem_free(ack.rejected);
}

void session_flush(struct session *s) {
    say_acks(s);
    session_go_on(s);
}
