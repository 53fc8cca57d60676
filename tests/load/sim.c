/* The simulated agent. Invariants: the window holds what is unacknowledged in the order of sending; numbers on the wire
 * start at 1 on each connection; a batch is counted as sent once, as acknowledged once. */
#include "sim.h"
#include "clock.h"
#include "log.h"
#include "mem.h"
#include "msg.h"

#include <assert.h>
#include <stdio.h>

#define AREA "load"
#define WELCOME_MS 30000u
#define BACKOFF_MS 250u
#define BACKOFF_MAX_MS 8000u
#define FIRST_ID 1u

static const char *const state_names[] = {"waiting", "enrolling", "connecting", "greeting", "ready", "closing", "over"};

const char *sim_state_name(enum sim_state st) {
    return state_names[st];
}

static bool edge_is_legal(enum sim_state from, enum sim_state to) {
    switch (to) {
    case SIM_WAITING: return from >= SIM_ENROLLING && from <= SIM_CLOSING;
    case SIM_ENROLLING:
    case SIM_CONNECTING: return from == SIM_WAITING;
    case SIM_GREETING: return from == SIM_CONNECTING;
    case SIM_READY: return from == SIM_GREETING;
    case SIM_CLOSING: return from >= SIM_ENROLLING && from <= SIM_READY;
    case SIM_OVER: return from != SIM_OVER;
    default: return false;
    }
}

static void sim_enter(struct sim *s, enum sim_state next) {
    assert(edge_is_legal(s->state, next));
    log_debug(AREA, "%u: %s -> %s", s->index, state_names[s->state], state_names[next]);
    s->state = next;
}

static struct key_entry *entry(const struct sim *s) {
    return &s->w->keys->entries[s->index];
}

static uint64_t now_ms(const struct sim *s) {
    return uv_now(s->w->loop);
}

static uint64_t now_us(void) {
    return uv_hrtime() / 1000;
}

static char *text_field(const char *text) {
    return (char *)(uintptr_t)text; /* protobuf-c does not write through it */
}

/* ---- life ---- */

void sim_init(struct sim *s, struct sim_world *w, uint32_t index) {
    *s = (struct sim){.w = w, .index = index};
    frame_reader_init(&s->reader, FRAME_FROM_COLLECTOR);
    tls_random(s->instance, sizeof s->instance);
}

static void free_list(struct cargo **list) {
    while (*list) {
        struct cargo *c = *list;
        *list = c->next;
        mem_free(c);
    }
}

void sim_deinit(struct sim *s) {
    assert(!s->conn);
    free_list(&s->ready);
    free_list(&s->window);
    frame_reader_deinit(&s->reader);
    tls_config_free(&s->tls);
}

static void settle(struct sim *s) {
    if (!s->opening) return;
    s->opening = false;
    s->w->settled(s->w->ctx, s);
}

static void trouble(struct sim *s, const char *what, const char *text) {
    snprintf(s->w->trouble, sizeof s->w->trouble, "%s: %s%s%.400s", entry(s)->name, what, *what ? ": " : "",
             log_peer(slice_str(text)));
}

/* No further attempt is made. */
static void give_up(struct sim *s, const char *what, const char *text) {
    if (!s->hopeless) s->w->counts.failed++;
    s->hopeless = true;
    trouble(s, what, text);
}

static void over(struct sim *s) {
    sim_enter(s, SIM_OVER);
    settle(s);
    s->w->over(s->w->ctx, s);
}

static void hang_up(struct sim *s, enum status why, const char *text, bool flush) {
    if (s->state == SIM_CLOSING) return;
    sim_enter(s, SIM_CLOSING);
    if (flush)
        conn_close_after_flush(s->conn, why, text);
    else
        conn_close(s->conn, why, text);
}

static void send_message(struct sim *s, enum frame_type t, const ProtobufCMessage *m) {
    struct buf out = {0};
    msg_put_frame(&out, t, m);
    conn_write(s->conn, buf_slice(&out));
    buf_free(&out);
}

/* ---- enrolment ---- */

static void ask_certificate(struct sim *s) {
    struct buf csr = {0};
    struct error err = {0};
    struct key_entry *e = entry(s);
    Haechi__EnrollRequest m = HAECHI__ENROLL_REQUEST__INIT;
    enum status st = e->key.len ? ST_OK : tls_make_key(&e->key, &err);
    if (!st) st = tls_make_csr(buf_slice(&e->key), e->name, &csr, &err);
    if (st) {
        give_up(s, "no key could be made", err.msg);
        hang_up(s, st, err.msg, false);
        return;
    }
    m.token_id = msg_bytes(slice_of(s->w->token->id, TOKEN_ID_LEN));
    m.token_secret = msg_bytes(slice_of(s->w->token->secret, TOKEN_SECRET_LEN));
    m.csr = msg_bytes(buf_slice(&csr));
    m.host_name = e->name;
    m.os = text_field("simulated host");
    m.machine_id = msg_bytes(slice_str(e->name));
    m.agent_version = text_field(HAECHI_VERSION);
    m.time = clock_wall();
    s->deadline_ms = now_ms(s) + WELCOME_MS;
    send_message(s, FRAME_ENROLL, &m.base);
    buf_free(&csr);
}

static void on_certificate(struct sim *s, struct slice body) {
    struct key_entry *e = entry(s);
    const Haechi__EnrollReply *m = MSG_UNPACK(EnrollReply, enroll_reply, body, &s->w->arena);
    if (m && m->result == 1 && m->certificate.len && m->ca.len) {
        buf_clear(&e->certificate);
        buf_slice_append(&e->certificate, msg_slice(m->certificate));
        e->host_id = m->host_id;
        buf_clear(&s->w->keys->ca);
        buf_slice_append(&s->w->keys->ca, msg_slice(m->ca));
        s->w->counts.enrolled++;
    } else if (m && m->result == 2) {
        give_up(s, "enrolment is pending",
                "the collector knows a host of that name: use its --state, or another --prefix");
    } else {
        give_up(s, "enrolment refused", m && m->reason ? m->reason : "its answer cannot be read");
    }
    hang_up(s, ST_CLOSED, "enrolled", false);
}

/* ---- greeting ---- */

static void say_hello(struct sim *s) {
    Haechi__Hello m = HAECHI__HELLO__INIT;
    Haechi__Channel channels[TAPE_MAX_CHANNELS], *list[TAPE_MAX_CHANNELS];
    const struct tape *t = s->w->tape;
    for (size_t i = 0; i < t->n_channels; i++) {
        haechi__channel__init(&channels[i]);
        channels[i].channel = msg_bytes(t->channels[i]);
        channels[i].oldest_id = FIRST_ID;
        channels[i].newest_id = s->placed ? s->reel.next_id[i] - 1 : 0;
        list[i] = &channels[i];
    }
    m.protocol = 1;
    m.agent_version = text_field(HAECHI_VERSION);
    m.os = text_field("simulated host");
    m.hostname = entry(s)->name;
    m.machine_id = msg_bytes(slice_str(entry(s)->name));
    Haechi__Sysmon sysmon;
    Haechi__RulesStatus rules;
    sim_rules_sysmon(&s->rules, &sysmon);
    sim_rules_status(&s->rules, &rules);
    m.sysmon = &sysmon;
    if (s->rules.has) m.rules = &rules;
    m.channels = list;
    m.n_channels = t->n_channels;
    m.time = clock_wall();
    m.boot_id = msg_bytes(slice_of(s->instance, 8));
    m.instance = msg_bytes(slice_of(s->instance, sizeof s->instance));
    sim_enter(s, SIM_GREETING);
    s->deadline_ms = now_ms(s) + WELCOME_MS;
    send_message(s, FRAME_HELLO, &m.base);
}

/* The first Welcome says where the logs stand: go on behind that, in ids and in time. */
static void place(struct sim *s, const Haechi__Welcome *m) {
    const struct tape *t = s->w->tape;
    uint64_t from = 0;
    for (size_t c = 0; c < t->n_channels; c++) {
        s->reel.next_id[c] = FIRST_ID;
        for (size_t i = 0; i < m->n_positions; i++) {
            const Haechi__Position *p = m->positions[i];
            if (p->computer.len || !slice_eq(msg_slice(p->channel), t->channels[c]) || !p->epoch) continue;
            s->reel.next_id[c] = p->highest_id + 1;
            if (p->highest_time > from) from = p->highest_time;
        }
    }
    uint64_t now = clock_wall();
    s->reel.label.base =
        tape_base(t, s->reel.at, from + FILETIME_SECOND / 1000 > now ? from + FILETIME_SECOND / 1000 : now);
    s->placed = true;
}

static void on_welcome(struct sim *s, struct slice body) {
    const Haechi__Welcome *m = MSG_UNPACK(Welcome, welcome, body, &s->w->arena);
    if (!m || m->protocol != 1) {
        give_up(s, "welcome", "it cannot be read, or speaks another protocol");
        hang_up(s, ST_PROTO, "bad welcome", false);
        return;
    }
    s->credit_batches = m->credit_batches ? m->credit_batches : 1;
    s->credit_bytes = m->credit_bytes;
    s->heartbeat_ms = (m->heartbeat_s ? m->heartbeat_s : 30) * UINT64_C(1000);
    s->heartbeat_at_ms = now_ms(s) + s->heartbeat_ms;
    s->failures = 0;
    s->w->counts.welcomes++;
    if (!s->placed) place(s, m);
    s->unsent = s->window;
    s->n_sent = 0;
    s->sent_bytes = 0;
    s->first_no = 1;
    sim_enter(s, SIM_READY);
    settle(s);
    while (s->unsent && sim_send_one(s)) {}
    s->w->acked(s->w->ctx, s);
}

/* ---- streaming ---- */

static uint32_t window_of(const struct sim *s) {
    return s->w->window && s->w->window < s->credit_batches ? s->w->window : s->credit_batches;
}

bool sim_can_send(const struct sim *s) {
    return s->state == SIM_READY && s->n_sent < window_of(s) && conn_can_write(s->conn);
}

bool sim_is_idle(const struct sim *s) {
    return !s->window;
}

void sim_prepare(struct sim *s, struct cargo *c) {
    c->next = NULL;
    if (s->ready)
        s->ready_tail->next = c;
    else
        s->ready = c;
    s->ready_tail = c;
}

static struct cargo *fetch(struct sim *s) {
    struct cargo *c = s->ready;
    if (c)
        s->ready = c->next;
    else
        c = s->w->next(s->w->ctx, s);
    if (!c) return NULL;
    c->next = NULL;
    c->sent_us = 0;
    if (s->window)
        s->window_tail->next = c;
    else
        s->window = c;
    s->window_tail = c;
    s->n_window++;
    return c;
}

bool sim_send_one(struct sim *s) {
    if (!sim_can_send(s)) return false;
    if (!s->unsent) s->unsent = fetch(s);
    struct cargo *c = s->unsent;
    if (!c || (s->n_sent && s->credit_bytes && s->sent_bytes + c->len > s->credit_bytes)) return false;
    struct sim_counts *n = &s->w->counts;
    if (c->sent_us) {
        n->resent_batches++;
    } else {
        c->sent_us = now_us();
        n->sent_batches++;
        n->sent_events += c->n_events;
        n->sent_bytes += c->len;
    }
    s->unsent = c->next;
    s->n_sent++;
    s->sent_bytes += c->len;
    conn_write(s->conn, slice_of(c->bytes, c->len));
    return true;
}

void sim_pump(struct sim *s) {
    while (sim_send_one(s)) {}
}

static void on_rejected(struct sim *s, const struct cargo *c, const Haechi__Rejected *r) {
    s->w->counts.rejected_batches++;
    s->w->counts.rejected_events += c->n_events;
    if (!s->w->rejection[0]) {
        snprintf(s->w->rejection, sizeof s->w->rejection, "%s, batch %llu: %.400s", entry(s)->name,
                 (unsigned long long)r->batch, log_peer(slice_str(r->reason)));
    }
}

static const Haechi__Rejected *find_rejected(const Haechi__Ack *m, uint64_t number) {
    for (size_t i = 0; i < m->n_rejected; i++) {
        if (m->rejected[i]->batch == number) return m->rejected[i];
    }
    return NULL;
}

static void on_ack(struct sim *s, struct slice body) {
    const Haechi__Ack *m = MSG_UNPACK(Ack, ack, body, &s->w->arena);
    if (!m || m->through >= s->first_no + s->n_sent) {
        trouble(s, "", m ? "an ack of what was not sent" : "an ack that cannot be read");
        hang_up(s, ST_PROTO, "bad ack", false);
        return;
    }
    struct sim_counts *n = &s->w->counts;
    uint64_t now = now_us();
    if (m->credit_batches) s->credit_batches = m->credit_batches;
    if (m->credit_bytes) s->credit_bytes = m->credit_bytes;
    while (s->first_no <= m->through) {
        struct cargo *c = s->window;
        const Haechi__Rejected *r = m->n_rejected ? find_rejected(m, s->first_no) : NULL;
        if (r) {
            on_rejected(s, c, r);
        } else {
            n->acked_batches++;
            n->acked_events += c->n_events;
            n->last_ack_us = now;
            histogram_add(&n->latency_us, now - c->sent_us);
        }
        s->window = c->next;
        s->n_window--;
        s->n_sent--;
        s->sent_bytes -= c->len;
        s->first_no++;
        mem_free(c);
    }
    s->w->acked(s->w->ctx, s);
}

static void on_goodbye(struct sim *s, struct slice body) {
    const Haechi__Goodbye *m = MSG_UNPACK(Goodbye, goodbye, body, &s->w->arena);
    const char *reason = m && m->reason ? m->reason : "no reason given";
    if (m && m->retry_after_s) s->retry_at_ms = now_ms(s) + m->retry_after_s * UINT64_C(1000);
    if (m && (m->code == ST_REVOKED || m->code == ST_DENIED || m->code == ST_AUTH || m->code == ST_VERSION))
        give_up(s, "the collector says goodbye", reason);
    else
        trouble(s, "the collector says goodbye", reason);
    hang_up(s, ST_CLOSED, reason, false);
}

/* ---- rules ---- */

static void say_rules(struct sim *s) {
    Haechi__RulesStatus m;
    sim_rules_status(&s->rules, &m);
    send_message(s, FRAME_RULES_STATUS, &m.base);
}

static void on_offer(struct sim *s, struct slice body) {
    struct sim_counts *n = &s->w->counts;
    n->rules_offers++;
    if (!sim_rules_offer(&s->rules, s->w->rules, body, &s->w->arena, now_ms(s), clock_wall())) {
        trouble(s, "", "an offer of rules that cannot be read");
        hang_up(s, ST_PROTO, "bad offer", false);
        return;
    }
    say_rules(s);
}

static void heartbeat(struct sim *s, uint64_t now) {
    Haechi__Heartbeat m = HAECHI__HEARTBEAT__INIT;
    Haechi__Sysmon sysmon;
    Haechi__RulesStatus rules;
    sim_rules_sysmon(&s->rules, &sysmon);
    sim_rules_status(&s->rules, &rules);
    m.time = clock_wall();
    m.events_per_s = sim_rules_rate(&s->rules, s->w->rules);
    m.sysmon = &sysmon;
    if (s->rules.has) m.rules = &rules;
    s->heartbeat_at_ms = now + s->heartbeat_ms;
    send_message(s, FRAME_HEARTBEAT, &m.base);
}

static void rules_tick(struct sim *s, uint64_t now) {
    uint32_t was = s->rules.state;
    if (!sim_rules_tick(&s->rules, s->w->rules, s->index, now, clock_wall())) return;
    if (s->rules.goes_away) { /* and stays away */
        s->retry_at_ms = UINT64_MAX;
        hang_up(s, ST_CLOSED, "fell silent", false);
        return;
    }
    s->w->counts.rules_loaded += s->rules.state == RULES_LOADED && was != RULES_LOADED;
    if (s->rules.lost_sysmon)
        heartbeat(s, now);
    else
        say_rules(s);
}

static void on_frame(struct sim *s, enum frame_type t, struct slice body) {
    arena_reset(&s->w->arena);
    if (t == FRAME_GOODBYE) {
        on_goodbye(s, body);
    } else if (s->state == SIM_ENROLLING && t == FRAME_ENROLL_REPLY) {
        on_certificate(s, body);
    } else if (s->state == SIM_GREETING && t == FRAME_WELCOME) {
        on_welcome(s, body);
    } else if (s->state == SIM_READY && t == FRAME_ACK) {
        on_ack(s, body);
    } else if (s->state == SIM_READY && t == FRAME_RULES_OFFER) {
        on_offer(s, body);
    } else if (s->state != SIM_READY || t != FRAME_HEARTBEAT_REPLY) {
        trouble(s, frame_name(t), "out of turn");
        hang_up(s, ST_PROTO, "out of turn", false);
    }
}

/* ---- the connection ---- */

static void on_open(struct conn *c, void *owner) {
    struct sim *s = owner;
    (void)c;
    if (s->state == SIM_ENROLLING)
        ask_certificate(s);
    else if (s->state == SIM_CONNECTING)
        say_hello(s);
}

static void on_data(struct conn *c, void *owner, struct slice plain) {
    struct sim *s = owner;
    (void)c;
    while (s->state == SIM_ENROLLING || s->state == SIM_GREETING || s->state == SIM_READY) {
        enum frame_type t;
        struct slice body;
        struct error err;
        enum status st = frame_next(&s->reader, &plain, &t, &body, &err);
        if (st == ST_AGAIN) return;
        if (st) {
            trouble(s, "", err.msg);
            hang_up(s, st, err.msg, false);
            return;
        }
        on_frame(s, t, body);
    }
}

static void on_drained(struct conn *c, void *owner) {
    struct sim *s = owner;
    (void)c;
    if (s->state == SIM_READY) s->w->acked(s->w->ctx, s);
}

static void back_off(struct sim *s) {
    uint64_t ms = BACKOFF_MS, at;
    for (unsigned i = 0; i < s->failures && ms < BACKOFF_MAX_MS; i++) ms *= 2;
    at = now_ms(s) + ms / 2 + (uint64_t)s->instance[s->failures % sizeof s->instance] * ms / 512;
    if (at > s->retry_at_ms) s->retry_at_ms = at;
    s->failures++;
}

static bool is_refusal(enum status why) {
    return why == ST_REVOKED || why == ST_AUTH || why == ST_EXPIRED || why == ST_DENIED;
}

static void on_closed(struct conn *c, void *owner, enum status why, const char *why_text) {
    struct sim *s = owner;
    bool was_up = s->state == SIM_READY, enrolled = s->state == SIM_CLOSING && !s->placed && entry(s)->certificate.len;
    char text[ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", why_text ? why_text : ""); /* it is the connection's */
    conn_free(&c);
    s->conn = NULL;
    if (s->finishing || s->hopeless) {
        over(s);
        return;
    }
    if (!enrolled || s->tls) {
        if (is_refusal(why)) {
            give_up(s, "refused", *text ? text : status_text(why));
            over(s);
            return;
        }
        if (s->state != SIM_CLOSING) trouble(s, "", *text ? text : status_text(why));
        if (was_up || s->placed) s->w->counts.reconnects += !s->rules.goes_away;
        back_off(s);
    }
    sim_enter(s, SIM_WAITING);
    settle(s);
}

static const struct conn_events events = {on_open, on_data, on_drained, NULL, on_closed};

bool sim_wants_open(const struct sim *s, uint64_t now) {
    return s->state == SIM_WAITING && !s->opening && now >= s->retry_at_ms && !s->rules.goes_away;
}

static enum status make_tls(struct sim *s, struct error *err) {
    struct key_entry *e = entry(s);
    struct tls_client_options o = {.ca_pem = buf_slice(&s->w->keys->ca),
                                   .certificate_pem = buf_slice(&e->certificate),
                                   .key_pem = buf_slice(&e->key),
                                   .alpn = TLS_ALPN_AGENT};
    return s->tls ? ST_OK : tls_client_config(&o, &s->tls, err);
}

void sim_open(struct sim *s) {
    struct error err = {0};
    bool enrol = !entry(s)->certificate.len;
    s->opening = true;
    enum status st = enrol ? ST_OK : make_tls(s, &err);
    if (enrol && !s->w->enroll_tls) st = error_set(&err, ST_NOTFOUND, "not enrolled, and no --token was given");
    if (st) {
        give_up(s, "", err.msg);
        over(s);
        return;
    }
    frame_reader_deinit(&s->reader);
    frame_reader_init(&s->reader, FRAME_FROM_COLLECTOR);
    s->retry_at_ms = 0;
    s->deadline_ms = 0;
    sim_enter(s, enrol ? SIM_ENROLLING : SIM_CONNECTING);
    s->conn = conn_connect(s->w->loop, enrol ? s->w->enroll_tls : s->tls, s->w->host, s->w->port, &events, s);
}

void sim_tick(struct sim *s, uint64_t now) {
    if (s->state == SIM_READY) {
        if (now >= s->heartbeat_at_ms) heartbeat(s, now);
        rules_tick(s, now);
    } else if ((s->state == SIM_ENROLLING || s->state == SIM_GREETING) && s->deadline_ms && now >= s->deadline_ms) {
        trouble(s, "", "the collector does not answer");
        hang_up(s, ST_TIMEOUT, "no answer", false);
    }
}

void sim_finish(struct sim *s) {
    if (s->finishing || s->state == SIM_OVER) return;
    s->finishing = true;
    if (s->state == SIM_READY) {
        Haechi__Goodbye m = HAECHI__GOODBYE__INIT;
        m.reason = text_field("the load is over");
        send_message(s, FRAME_GOODBYE, &m.base);
        hang_up(s, ST_CLOSED, "the load is over", true);
    } else if (s->conn) {
        hang_up(s, ST_CLOSED, "the load is over", false);
    } else {
        over(s);
    }
}
