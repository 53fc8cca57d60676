/* Enrolment. Invariants: the private key is on disk before anything is asked for with it, and never in a message; an
 * identity is replaced only by one whose CA has the token's pin. Loop thread; one connection for each question. */
#include "enroll.h"
#include "clock.h"
#include "facts.h"
#include "keystore.h"
#include "log.h"
#include "mem.h"
#include "msg.h"
#include "text.h"
#include "token.h"
#include "uplink_wire.h"

#include <stdio.h>

#define AREA "enroll"
#define ANSWER_MS 30000u
#define RETRY_MIN_S 2u
#define RETRY_MAX_S 300u
#define CLOCK_WRONG (UINT64_C(3600) * FILETIME_SECOND)

enum enroll_state {
    ENROLL_WAITING,    /* --wait: until `deadline`, then the next question */
    ENROLL_CONNECTING, /* the connection has its own deadline */
    ENROLL_ASKED,      /* the request is out, until `deadline` */
    ENROLL_DECIDED     /* result and err are final; the connection closes */
};

struct enroll {
    const struct enroll_options *o;
    struct token token;
    size_t at; /* which collector is asked */
    struct facts facts;
    struct buf key, csr;
    const char *name;
    struct wire *wire;
    struct uplink_io io;
    enum enroll_state state;
    uint64_t deadline;
    struct frame_reader reader;
    struct arena arena;
    enum status result;
    struct error err;
    bool said_pending;
};

static void enroll_enter(struct enroll *e, enum enroll_state next) {
    log_debug(AREA, "state %d -> %d", (int)e->state, (int)next);
    e->state = next;
}

static const char *address_of(const struct enroll *e) {
    return e->o->n_collectors ? e->o->collectors[e->at] : e->token.address;
}

static void decide(struct enroll *e, enum status st) {
    e->result = st;
    enroll_enter(e, ENROLL_DECIDED);
    wire_end(e->wire);
}

static void ask(struct enroll *e) {
    char host[ADDRESS_HOST_MAX];
    uint16_t port = 0;
    frame_reader_deinit(&e->reader);
    frame_reader_init(&e->reader, FRAME_FROM_COLLECTOR);
    enroll_enter(e, ENROLL_CONNECTING);
    if (address_split(slice_str(address_of(e)), 0, host, &port, &e->err))
        decide(e, ST_INVALID);
    else
        e->io.connect(e->io.ctx, host, port);
}

static char *text_field(const char *s) {
    return (char *)(uintptr_t)s; /* protobuf-c does not write through it */
}

static void on_open(void *ctx) {
    struct enroll *e = ctx;
    Haechi__EnrollRequest m = HAECHI__ENROLL_REQUEST__INIT;
    m.token_id = msg_bytes(slice_of(e->token.id, TOKEN_ID_LEN));
    m.token_secret = msg_bytes(slice_of(e->token.secret, TOKEN_SECRET_LEN));
    m.csr = msg_bytes(buf_slice(&e->csr));
    m.host_name = text_field(e->name);
    m.os = text_field(e->facts.os);
    m.machine_id = msg_bytes(buf_slice(&e->facts.machine_id));
    m.agent_version = text_field(HAECHI_VERSION);
    m.time = clock_wall();
    struct buf out = {0};
    msg_put_frame(&out, FRAME_ENROLL, &m.base);
    enroll_enter(e, ENROLL_ASKED);
    e->deadline = clock_mono_ms() + ANSWER_MS;
    e->io.write(e->io.ctx, buf_slice(&out));
    mem_wipe(out.p, out.len);
    buf_free(&out);
}

/* Does a certificate of that PEM have the token's pin? */
static bool has_pin(struct slice pem, const uint8_t *pin) {
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    for (size_t i = 0; i + sizeof begin - 1 <= pem.len; i++) {
        struct tls_peer facts;
        uint64_t from = 0;
        struct slice rest = slice_from(pem, i);
        if (!slice_starts(rest, slice_str(begin))) continue;
        if (tls_certificate_facts(rest, &facts, &from, NULL) == ST_OK && tls_equal(facts.spki, pin, TOKEN_PIN_LEN))
            return true;
    }
    return false;
}

static enum status keep(struct enroll *e, const Haechi__EnrollReply *m, struct identity *id) {
    struct tls_peer facts;
    uint64_t from = 0;
    struct tls_config *probe = NULL;
    struct slice certificate = msg_slice(m->certificate), ca = msg_slice(m->ca);
    if (!has_pin(ca, e->token.pin)) {
        return error_set(&e->err, ST_AUTH, "the collector sent a CA that is not the token's: nothing was kept");
    }
    struct tls_client_options t = {.ca_pem = ca,
                                   .certificate_pem = certificate,
                                   .key_pem = buf_slice(&e->key),
                                   .alpn = TLS_ALPN_AGENT};
    enum status st = tls_client_config(&t, &probe, &e->err);
    if (!st) st = tls_certificate_facts(certificate, &facts, &from, &e->err);
    tls_config_free(&probe);
    if (st) return error_prefix(&e->err, st, "the collector's answer cannot be used");
    id->host_id = m->host_id;
    struct slice name = slice_str(m->host_name);
    if (!name.len || name.len >= sizeof id->host_name || !text_is_utf8(name)) name = slice_str(e->name);
    snprintf(id->host_name, sizeof id->host_name, "%.*s", (int)name.len, (const char *)name.p);
    memcpy(id->pin, e->token.pin, sizeof id->pin);
    /* The address that just worked comes first; then what the fleet says of others. */
    identity_add_collector(id, slice_str(address_of(e)));
    for (size_t i = 0; i < m->n_collectors; i++) {
        char host[ADDRESS_HOST_MAX];
        uint16_t port;
        struct slice address = slice_str(m->collectors[i]);
        if (slice_eq_str(address, address_of(e)) || address_split(address, 7443, host, &port, NULL)) continue;
        identity_add_collector(id, address);
    }
    buf_slice_append(&id->certificate, certificate);
    buf_slice_append(&id->ca, ca);
    st = keystore_save(e->o->state, id, &e->err);
    if (!st) {
        char until[FILETIME_TEXT_MAX];
        filetime_format(facts.not_after, 0, until);
        printf("enrolled as host %s (%u) at %s; the certificate is good until %s and renews itself\n", id->host_name,
               id->host_id, address_of(e), until);
    }
    return st;
}

static void pending(struct enroll *e, const Haechi__EnrollReply *m) {
    struct buf reason = {0};
    text_printable(&reason, slice_str(m->reason), 300);
    if (!e->o->wait) {
        error_set(&e->err, ST_AGAIN, "pending: %s; then run this again, or wait for it with --wait",
                  reason.len ? buf_cstr(&reason)
                             : "the name is known already and an admin has to approve this machine");
        decide(e, ST_AGAIN);
    } else {
        uint32_t s = m->retry_after_s < RETRY_MIN_S   ? RETRY_MIN_S
                     : m->retry_after_s > RETRY_MAX_S ? RETRY_MAX_S
                                                      : m->retry_after_s;
        if (!e->said_pending) {
            log_warn(AREA, "pending, and waiting: %s", buf_cstr(&reason));
            if (e->o->pending) e->o->pending(e->o->ctx, buf_cstr(&reason));
            e->said_pending = true;
        }
        enroll_enter(e, ENROLL_WAITING);
        e->deadline = clock_mono_ms() + s * UINT64_C(1000);
        e->io.close(e->io.ctx, false);
    }
    buf_free(&reason);
}

static void check_clock(uint64_t theirs) {
    uint64_t ours = clock_wall();
    uint64_t apart = ours > theirs ? ours - theirs : theirs - ours;
    if (!theirs || apart < CLOCK_WRONG) return;
    char a[FILETIME_TEXT_MAX], b[FILETIME_TEXT_MAX];
    filetime_format(ours, 0, a);
    filetime_format(theirs, 0, b);
    log_warn(
        AREA,
        "this host's clock says %s, the collector's %s: set the one that is wrong, or certificates will be refused", a,
        b);
}

static void on_reply(struct enroll *e, struct slice body) {
    arena_reset(&e->arena);
    const Haechi__EnrollReply *m = MSG_UNPACK(EnrollReply, enroll_reply, body, &e->arena);
    if (!m) {
        error_set(&e->err, ST_PROTO, "the collector's answer cannot be read");
        decide(e, ST_PROTO);
        return;
    }
    check_clock(m->time);
    if (m->result == 1) {
        struct identity id = {0};
        enum status st = keep(e, m, &id);
        identity_free(&id);
        decide(e, st);
    } else if (m->result == 2) {
        pending(e, m);
    } else {
        struct buf reason = {0};
        text_printable(&reason, slice_str(m->reason), 400);
        error_set(&e->err, ST_DENIED, "the collector refused: %s",
                  reason.len ? buf_cstr(&reason) : "it gave no reason");
        buf_free(&reason);
        if (e->o->ret_final) *e->o->ret_final = !m->retry_after_s; /* its own trouble passes, a bad token does not */
        decide(e, ST_DENIED);
    }
}

static void on_data(void *ctx, struct slice plain) {
    struct enroll *e = ctx;
    while (e->state == ENROLL_ASKED) {
        enum frame_type t;
        struct slice body;
        enum status st = frame_next(&e->reader, &plain, &t, &body, &e->err);
        if (st == ST_AGAIN) return;
        if (!st && t == FRAME_ENROLL_REPLY) {
            on_reply(e, body);
            return;
        }
        if (!st && t == FRAME_GOODBYE) {
            arena_reset(&e->arena);
            const Haechi__Goodbye *m = MSG_UNPACK(Goodbye, goodbye, body, &e->arena);
            st = error_set(&e->err, ST_DENIED, "the collector refused: %s", m ? log_peer(slice_str(m->reason)) : "?");
        } else if (!st) {
            st = error_set(&e->err, ST_PROTO, "the collector answered with %s to an enrolment", frame_name(t));
        }
        decide(e, st);
    }
}

static void on_closed(void *ctx, enum status why, const char *text) {
    struct enroll *e = ctx;
    if (e->state == ENROLL_WAITING || e->state == ENROLL_DECIDED) return;
    const char *said = *text ? text : status_text(why);
    if (why == ST_OK) why = ST_CLOSED;
    if (why == ST_AUTH && e->state == ENROLL_CONNECTING) {
        error_set(
            &e->err, why,
            "the collector at %s is not the one that made this token (its CA has another key): %s. Nothing was sent to it",
            address_of(e), said);
    } else if (why == ST_EXPIRED) {
        error_set(&e->err, why, "the collector's certificate at %s is not valid at this host's time: %s", address_of(e),
                  said);
    } else {
        error_set(&e->err, why, "no answer from the collector at %s: %s", address_of(e), said);
    }
    if (e->at + 1 < e->o->n_collectors) { /* the next one, from the timer */
        log_info(AREA, "%s; trying the next collector", e->err.msg);
        e->at++;
        enroll_enter(e, ENROLL_WAITING);
        e->deadline = 0;
        return;
    }
    e->at = 0;
    if (e->o->wait && e->said_pending && why != ST_AUTH) { /* it was there before: it may come back */
        log_warn(AREA, "%s; asking again in 10 s", e->err.msg);
        enroll_enter(e, ENROLL_WAITING);
        e->deadline = clock_mono_ms() + 10000;
        return;
    }
    decide(e, why);
}

static void on_tick(void *ctx) {
    struct enroll *e = ctx;
    if (e->state == ENROLL_DECIDED) return;
    if (e->o->stop && e->o->stop()) {
        error_set(&e->err, ST_CANCELLED, "interrupted");
        decide(e, ST_CANCELLED);
        return;
    }
    if (clock_mono_ms() < e->deadline) return;
    if (e->state == ENROLL_WAITING) {
        ask(e);
    } else if (e->state == ENROLL_ASKED) {
        error_set(&e->err, ST_TIMEOUT, "the collector at %s did not answer in %u s", address_of(e), ANSWER_MS / 1000);
        decide(e, ST_TIMEOUT);
    }
}

static void on_signal(void *ctx, bool hang_up) {
    struct enroll *e = ctx;
    if (hang_up || e->state == ENROLL_DECIDED) return;
    error_set(&e->err, ST_CANCELLED, "interrupted");
    decide(e, ST_CANCELLED);
}

/* An identity that is there and good stays. ST_EXISTS: nothing to do. */
static enum status check_known(const struct enroll_options *o, const struct token *t, struct error *err) {
    struct identity id = {0};
    enum status st = keystore_load(o->state, &id, err);
    if (st == ST_NOTFOUND) return ST_OK;
    if (st == ST_FORMAT && o->again) return ST_OK;
    if (st) return st;
    bool same = memcmp(id.pin, t->pin, sizeof id.pin) == 0;
    if (o->again || id.not_after < clock_wall()) {
        st = ST_OK;
    } else if (!same) {
        st = error_set(
            err, ST_DENIED,
            "%s belongs to host %s of another collector (%s): use another --state, or --again to leave that one",
            o->state, id.host_name, id.n_collectors ? id.collectors[0] : "?");
        if (o->ret_final) *o->ret_final = true;
    } else {
        printf("already enrolled as host %s (%u) at %s; nothing was changed (--again asks for a new certificate)\n",
               id.host_name, id.host_id, id.collectors[0]);
        st = ST_EXISTS;
    }
    identity_free(&id);
    return st;
}

enum status enroll_run(const struct enroll_options *o, struct error *err) {
    struct enroll e = {.o = o};
    struct file *lock = NULL;
    struct tls_config *cfg = NULL;
    arena_init(&e.arena, MSG_ARENA_CAP);
    frame_reader_init(&e.reader, FRAME_FROM_COLLECTOR);
    enum status st = token_decode(slice_str(o->token), &e.token, err);
    if (!st) st = keystore_lock(o->state, &lock, err);
    if (!st) st = check_known(o, &e.token, err);
    if (st) goto out;
    facts_read(o->state, &e.facts);
    e.name = o->name ? o->name : e.facts.hostname;
    if (!*e.name || strlen(e.name) >= KEYSTORE_NAME_MAX || !text_is_utf8(slice_str(e.name))) {
        st = error_set(err, ST_INVALID, "this host's name cannot be used: give one with --name");
        goto out;
    }
    st = keystore_key(o->state, &e.key, err);
    if (!st) st = tls_make_csr(buf_slice(&e.key), e.name, &e.csr, err);
    struct tls_client_options t = {.ca_pin = e.token.pin, .alpn = TLS_ALPN_ENROLL};
    if (!st) st = tls_client_config(&t, &cfg, err);
    if (st) goto out;
    e.wire = wire_new();
    e.io = wire_io(e.wire);
    wire_set_tls(e.wire, cfg);
    wire_set_user(e.wire, &(struct wire_user){.ctx = &e,
                                              .on_open = on_open,
                                              .on_data = on_data,
                                              .on_closed = on_closed,
                                              .on_tick = on_tick,
                                              .on_signal = on_signal});
    ask(&e);
    wire_run(e.wire);
    st = e.result;
    if (st && err) *err = e.err;
    if (err) err->code = st;
    wire_free(&e.wire);
out:
    file_close(&lock);
    if (e.key.p) mem_wipe(e.key.p, e.key.cap);
    buf_free(&e.key);
    buf_free(&e.csr);
    facts_free(&e.facts);
    frame_reader_deinit(&e.reader);
    arena_deinit(&e.arena);
    mem_wipe(&e.token, sizeof e.token);
    return st == ST_EXISTS ? ST_OK : st;
}
