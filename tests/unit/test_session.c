/* server/session.c on a fake clock: plays the scenarios of tests/replay/session-*.rpl.
 *
 *     > hello | batch LEN | heartbeat | query | gap | renew | goodbye | enroll | welcome | raw HEX      the peer sends
 *     open HOST | open enroll          job ok | job ST_X TEXT | job pending       ingest N ok | ingest N ST_X TEXT
 *     flush    tick MS    take on|off    send on|off    closed ST_X    split on|off (1-byte reads)
 *     close ST_X TEXT                  somebody else ends it: revoked, say
 *     < ...  ! ...                     what it must say to the peer, and to its surroundings, in this order
 *     = STATE                          where it is; "= free" and "= busy": whether it may be freed */
// links: server rules storage proto base
#include "session.h"
#include "clock.h"
#include "file.h"
#include "log.h"
#include "mem.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#ifndef HAECHI_REPLAY_DIR
#define HAECHI_REPLAY_DIR "tests/replay"
#endif

struct play {
    struct session s;
    struct stats *stats;
    struct frame_reader from_session;
    uint64_t now_ms;
    bool can_take, can_send, split;
    bool due; /* rules */
    struct job *job;
    char out[64][200]; /* what it has said and the scenario has not asked for yet */
    size_t n_out, at_out;
};

static void say(struct play *p, const char *fmt, ...) {
    va_list ap;
    assert_true(p->n_out < 64);
    va_start(ap, fmt);
    vsnprintf(p->out[p->n_out++], sizeof p->out[0], fmt, ap);
    va_end(ap);
}

static uint64_t io_now_ms(void *ctx) {
    return ((struct play *)ctx)->now_ms;
}
static uint64_t io_now(void *ctx) {
    return UINT64_C(133000000000000000) + ((struct play *)ctx)->now_ms * 10000;
}
static bool io_can_send(void *ctx) {
    return ((struct play *)ctx)->can_send;
}
static bool io_can_take(void *ctx) {
    return ((struct play *)ctx)->can_take;
}
static void io_read(void *ctx, bool on) {
    say(ctx, "! read %s", on ? "on" : "off");
}
static void io_close(void *ctx, enum status why, const char *text) {
    say(ctx, "! close %s %s", status_name(why), text);
}
static void io_end(void *ctx, uint64_t id) {
    say(ctx, "! end %llu", (unsigned long long)id);
}

static void io_batch(void *ctx, uint64_t number, struct buf *body) {
    say(ctx, "! batch %llu %zu", (unsigned long long)number, body->len);
    buf_free(body);
}

static void io_job(void *ctx, struct job *j) {
    static const char *const names[] = {"hello", "query", "gap", "renew", "enroll"};
    struct play *p = ctx;
    assert_null(p->job);
    p->job = j;
    say(p, "! job %s", names[j->kind]);
}

static void io_report(void *ctx, const struct fleet_report *r) {
    say(ctx, "! report %s%llu", r->has_load ? "backlog " : "facts ", (unsigned long long)r->backlog_events);
}

static void render(struct play *p, enum frame_type t, struct slice body) {
    struct arena a;
    arena_init(&a, MSG_ARENA_CAP);
    if (t == FRAME_WELCOME) {
        Haechi__Welcome *m = MSG_UNPACK(Welcome, welcome, body, &a);
        say(p, "< welcome %u credit %u positions %zu", m->host_id, m->credit_batches, m->n_positions);
    } else if (t == FRAME_ACK) {
        Haechi__Ack *m = MSG_UNPACK(Ack, ack, body, &a);
        if (m->events_stored || m->events_held)
            say(p, "< ack %llu stored %llu held %llu", (unsigned long long)m->through,
                (unsigned long long)m->events_stored, (unsigned long long)m->events_held);
        else
            say(p, "< ack %llu", (unsigned long long)m->through);
        for (size_t i = 0; i < m->n_rejected; i++) {
            say(p, "< rejected %llu %s %s", (unsigned long long)m->rejected[i]->batch,
                status_name((enum status)m->rejected[i]->code), m->rejected[i]->reason);
        }
    } else if (t == FRAME_GOODBYE) {
        Haechi__Goodbye *m = MSG_UNPACK(Goodbye, goodbye, body, &a);
        say(p, "< goodbye %s %s", status_name((enum status)m->code), m->reason);
    } else if (t == FRAME_ENROLL_REPLY) {
        Haechi__EnrollReply *m = MSG_UNPACK(EnrollReply, enroll_reply, body, &a);
        say(p, "< enrolled %u host %u %s", m->result, m->host_id, m->reason);
    } else if (t == FRAME_POSITION_REPLY) {
        Haechi__PositionReply *m = MSG_UNPACK(PositionReply, position_reply, body, &a);
        say(p, "< positions %zu", m->n_positions);
    } else {
        say(p, "< %s", frame_name(t));
    }
    arena_deinit(&a);
}

static void io_send(void *ctx, struct slice bytes) {
    struct play *p = ctx;
    enum frame_type t;
    struct slice body;
    while (frame_next(&p->from_session, &bytes, &t, &body, NULL) == ST_OK) render(p, t, body);
}

/* ---- rules ---- */

static uint64_t io_rules_came(void *ctx, const struct rules_report *r) {
    say(ctx, "! rules came%s", r->rules ? " with some" : "");
    return 3;
}

static void io_rules_heard(void *ctx, const struct rules_report *r) {
    say(ctx, "! rules heard%s%s%s", r->sysmon ? " sysmon" : "", r->rules ? " rules" : "", r->has_rate ? " rate" : "");
}

static const struct order *io_rules_due(void *ctx, uint64_t connection) {
    struct play *p = ctx;
    assert_int_equal(connection, 3);
    if (!p->due) return NULL;
    p->due = false;
    struct order *o = mem_zalloc(sizeof *o + 64); /* room for the count that order_hold keeps behind it */
    Haechi__RulesOffer m = HAECHI__RULES_OFFER__INIT;
    msg_put_frame(&o->frame, FRAME_RULES_OFFER, &m.base);
    return order_hold(o);
}

static void io_rules_gone(void *ctx, uint64_t connection) {
    say(ctx, "! rules gone %llu", (unsigned long long)connection);
}

static const struct session_io fake_io = {io_now_ms, io_now,        io_send,        io_can_send,  io_read,
                                          io_close,  io_can_take,   io_batch,       io_job,       io_report,
                                          io_end,    io_rules_came, io_rules_heard, io_rules_due, io_rules_gone};

/* ---- what the peer sends ---- */

static void feed(struct play *p, struct slice bytes) {
    size_t step = p->split ? 1 : bytes.len;
    for (size_t at = 0; at < bytes.len; at += step) session_feed(&p->s, slice_of(bytes.p + at, step));
}

static void send_hex(struct play *p, const char *hex) {
    uint8_t raw[64];
    size_t n = 0;
    for (; isxdigit((unsigned char)hex[0]) && n < sizeof raw; n++) {
        char two[3] = {hex[0], hex[1], 0};
        raw[n] = (uint8_t)strtoul(two, NULL, 16);
        hex += hex[2] == ' ' ? 3 : 2;
    }
    feed(p, slice_of(raw, n));
}

static void peer_sends(struct play *p, const char *what, const char *arg) {
    struct buf out = {0};
    char text[] = "test";
    if (strcmp(what, "hello") == 0) {
        Haechi__Hello m = HAECHI__HELLO__INIT;
        Haechi__Channel c = HAECHI__CHANNEL__INIT, *list[] = {&c};
        Haechi__Sysmon sysmon = HAECHI__SYSMON__INIT;
        Haechi__RulesStatus rules = HAECHI__RULES_STATUS__INIT;
        m.protocol = *arg >= '0' && *arg <= '9' ? (uint32_t)atoi(arg) : 1;
        if (strstr(arg, "sysmon")) m.sysmon = &sysmon;
        if (strstr(arg, "rules")) m.rules = &rules;
        m.time = io_now(p);
        m.agent_version = m.os = text;
        c.channel = msg_bytes(SLICE_LIT("System"));
        m.channels = list;
        m.n_channels = 1;
        msg_put_frame(&out, FRAME_HELLO, &m.base);
    } else if (strcmp(what, "batch") == 0) {
        size_t len = strtoul(arg, NULL, 10);
        uint8_t *body = mem_zalloc(len);
        frame_put(&out, FRAME_BATCH, slice_of(body, len));
        mem_free(body);
    } else if (strcmp(what, "heartbeat") == 0) {
        Haechi__Heartbeat m = HAECHI__HEARTBEAT__INIT;
        Haechi__Sysmon sysmon = HAECHI__SYSMON__INIT;
        m.backlog_events = 5;
        if (strstr(arg, "sysmon")) m.sysmon = &sysmon;
        msg_put_frame(&out, FRAME_HEARTBEAT, &m.base);
    } else if (strcmp(what, "rules") == 0) {
        Haechi__RulesStatus m = HAECHI__RULES_STATUS__INIT;
        m.serial = 7;
        msg_put_frame(&out, FRAME_RULES_STATUS, &m.base);
    } else if (strcmp(what, "query") == 0) {
        Haechi__PositionQuery m = HAECHI__POSITION_QUERY__INIT;
        msg_put_frame(&out, FRAME_POSITION_QUERY, &m.base);
    } else if (strcmp(what, "gap") == 0) {
        Haechi__Gap m = HAECHI__GAP__INIT;
        msg_put_frame(&out, FRAME_GAP, &m.base);
    } else if (strcmp(what, "renew") == 0) {
        Haechi__Renew m = HAECHI__RENEW__INIT;
        msg_put_frame(&out, FRAME_RENEW, &m.base);
    } else if (strcmp(what, "enroll") == 0) {
        Haechi__EnrollRequest m = HAECHI__ENROLL_REQUEST__INIT;
        msg_put_frame(&out, FRAME_ENROLL, &m.base);
    } else if (strcmp(what, "goodbye") == 0) {
        Haechi__Goodbye m = HAECHI__GOODBYE__INIT;
        msg_put_frame(&out, FRAME_GOODBYE, &m.base);
    } else if (strcmp(what, "welcome") == 0) {
        Haechi__Welcome m = HAECHI__WELCOME__INIT;
        msg_put_frame(&out, FRAME_WELCOME, &m.base);
    } else {
        assert_string_equal(what, "raw");
        send_hex(p, arg);
    }
    feed(p, buf_slice(&out));
    buf_free(&out);
}

/* ---- a scenario ---- */

static enum status status_of(const char *name) {
    for (int i = 0; i < ST_COUNT; i++) {
        if (strcmp(status_name((enum status)i), name) == 0) return (enum status)i;
    }
    assert_string_equal(name, "ok");
    return ST_OK;
}

static void job_ends(struct play *p, const char *how, const char *text) {
    struct job *j = p->job;
    assert_non_null(j);
    p->job = NULL;
    bool pending = strcmp(how, "pending") == 0;
    j->st = pending ? ST_OK : status_of(how);
    if (j->st) error_set(&j->err, j->st, "%s", text);
    if (j->kind == JOB_HELLO && !j->st) j->fleet_session = 42;
    if (j->kind == JOB_ENROLL && !j->st) {
        j->enrolled.result = pending ? ENROLL_PENDING : ENROLL_GRANTED;
        j->enrolled.host_id = 9;
        snprintf(j->enrolled.reason, sizeof j->enrolled.reason, "%s", text);
    }
    if (j->kind == JOB_HELLO || j->kind == JOB_POSITIONS) {
        j->positions = mem_zalloc(2 * sizeof *j->positions);
        j->n_positions = 2;
    }
    session_job_done(&p->s, j);
}

static void ingest_ends(struct play *p, const char *number, const char *rest) {
    char how[32] = "";
    int used = 0;
    assert_int_equal(sscanf(rest, "%31s %n", how, &used), 1);
    struct ingest_result r = {.number = strtoull(number, NULL, 10), .st = status_of(how), .reason = rest + used};
    if (!r.st) (void)sscanf(rest + used, "%u %u", &r.n_stored, &r.n_duplicate);
    session_batch_done(&p->s, &r);
}

static bool check_state(struct play *p, const char *want) {
    if (strcmp(want, "free") == 0) return session_can_free(&p->s);
    if (strcmp(want, "busy") == 0 && p->s.state == SESSION_CLOSED) return !session_can_free(&p->s);
    return strcmp(want, session_state_name(p->s.state)) == 0;
}

/* False: the line is not known, or what it asks for is not so. */
static bool play_line(struct play *p, const char *line) {
    char word[32] = "", arg[32] = "";
    int used = 0;
    if (sscanf(line, "%31s %n", word, &used) < 1) return true;
    const char *rest = line + used;
    int more = 0;
    if (sscanf(rest, "%31s %n", arg, &more) < 1) more = 0;
    const char *tail = rest + more;
    bool on = strcmp(arg, "on") == 0;
    if (strcmp(word, ">") == 0)
        peer_sends(p, arg, tail);
    else if (strcmp(word, "open") == 0)
        session_open(&p->s, (uint32_t)atoi(arg), on ? "" : "PC", "192.0.2.1:99");
    else if (strcmp(word, "job") == 0)
        job_ends(p, arg, tail);
    else if (strcmp(word, "ingest") == 0)
        ingest_ends(p, arg, tail);
    else if (strcmp(word, "flush") == 0)
        session_flush(&p->s);
    else if (strcmp(word, "due") == 0)
        p->due = true;
    else if (strcmp(word, "offer") == 0)
        session_offer(&p->s);
    else if (strcmp(word, "goon") == 0)
        session_go_on(&p->s);
    else if (strcmp(word, "tick") == 0)
        p->now_ms += strtoull(arg, NULL, 10), session_tick(&p->s);
    else if (strcmp(word, "take") == 0)
        p->can_take = on;
    else if (strcmp(word, "send") == 0)
        p->can_send = on;
    else if (strcmp(word, "split") == 0)
        p->split = on;
    else if (strcmp(word, "close") == 0)
        session_close(&p->s, status_of(arg), 0, "%s", tail);
    else if (strcmp(word, "closed") == 0)
        session_closed(&p->s, status_of(arg), tail);
    else if (strcmp(word, "=") == 0)
        return check_state(p, arg);
    else
        return false;
    return true;
}

static const struct session_limits limits = {.credit_batches = 3, .credit_bytes = 5000, .heartbeat_s = 30};

static void begin(struct play *p) {
    memset(p, 0, sizeof *p);
    p->stats = stats_new();
    p->can_take = p->can_send = true;
    p->now_ms = 1000000;
    frame_reader_init(&p->from_session, FRAME_FROM_COLLECTOR);
    session_init(&p->s, &fake_io, p, &limits, p->stats);
}

static void end(struct play *p, const char *name) {
    if (p->at_out != p->n_out) fail_msg("%s: not asked for: %s", name, p->out[p->at_out]);
    if (p->s.state != SESSION_CLOSED) session_closed(&p->s, ST_CLOSED, "");
    if (stats_get(p->stats, STATS_live_sessions) || stats_get(p->stats, STATS_paused_sessions))
        fail_msg("%s: gauges do not return to 0", name);
    job_free(&p->job);
    frame_reader_deinit(&p->from_session);
    session_deinit(&p->s);
    stats_free(&p->stats);
}

static void play_file(const char *path) {
    static struct play p;
    struct buf text = {0};
    struct error err = {0};
    if (file_read(path, 1024 * 1024, &text, &err)) fail_msg("%s", err.msg);
    begin(&p);
    unsigned n = 0;
    for (char *line = (char *)(uintptr_t)buf_cstr(&text), *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        n++;
        if (line[0] == '#' || !line[0]) continue;
        if (strncmp(line, "---", 3) == 0) { /* another session */
            end(&p, path);
            begin(&p);
            continue;
        }
        if (line[0] == '<' || line[0] == '!') {
            const char *got = p.at_out < p.n_out ? p.out[p.at_out] : "nothing";
            if (strcmp(got, line) != 0) fail_msg("%s:%u: wanted \"%s\", got \"%s\"", path, n, line, got);
            if (++p.at_out == p.n_out) p.at_out = p.n_out = 0;
            continue;
        }
        if (p.at_out < p.n_out) fail_msg("%s:%u: not asked for: \"%s\"", path, n, p.out[p.at_out]);
        if (!play_line(&p, line))
            fail_msg("%s:%u: \"%s\" does not hold (state %s)", path, n, line, session_state_name(p.s.state));
    }
    end(&p, path);
    buf_free(&text);
}

static unsigned n_files;
static enum status play_name(void *ctx, const char *name) {
    (void)ctx;
    size_t len = strlen(name);
    if (strncmp(name, "session-", 8) != 0 || len < 5 || strcmp(name + len - 4, ".rpl") != 0) return ST_OK;
    char *path = file_join(HAECHI_REPLAY_DIR, name);
    n_files++;
    play_file(path);
    mem_free(path);
    return ST_OK;
}

static void drop_line(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    (void)line;
}

static void test_scenarios(void **state) {
    (void)state;
    log_redirect(drop_line, NULL);
    assert_int_equal(file_list_dir(HAECHI_REPLAY_DIR, play_name, NULL, NULL), ST_OK);
    assert_true(n_files >= 5);
    log_redirect(NULL, NULL);
}

/* No bytes that a peer can send do more than end the session. */
static void test_random_bytes(void **state) {
    (void)state;
    static struct play p;
    uint32_t seed = 12345;
    log_redirect(drop_line, NULL);
    for (int round = 0; round < 3000; round++) {
        begin(&p);
        session_open(&p.s, round % 3 ? 7 : 0, "PC", "192.0.2.1:99");
        if (round % 2 && round % 3) {
            peer_sends(&p, "hello", "");
            job_ends(&p, "ok", "");
        }
        for (int k = 0; k < 20 && p.s.state < SESSION_CLOSING; k++) {
            uint8_t raw[24] = {0};
            for (size_t i = 0; i < sizeof raw; i++) raw[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
            raw[0] &= 15;
            raw[1] = raw[2] = raw[3] = 0;
            raw[4] = (uint8_t)(raw[4] % 14 + 1);
            session_feed(&p.s, slice_of(raw, sizeof raw));
            p.n_out = p.at_out = 0;
            if (p.job) job_ends(&p, "ST_INVALID", "no");
            p.n_out = p.at_out = 0;
        }
        session_closed(&p.s, ST_CLOSED, "");
        p.n_out = p.at_out = 0;
        end(&p, "random");
    }
    log_redirect(NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
