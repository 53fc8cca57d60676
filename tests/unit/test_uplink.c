/* The uplink on a fake clock and a fake wire, from the text scenarios tests/replay/uplink-*.rpl. A line is a command;
 * the lines after it that begin with ">" are everything the uplink does because of it, in order.
 *
 *   start | open | closed ST_NAME TEXT | block | drain | advance MS | stop MS | finish | garbage
 *   feed N                    N more batches, numbered on; each says it holds 10 events
 *   welcome credit=N [bytes=N] [heartbeat=S] [protocol=N]
 *   ack THROUGH [reject=N] [credit=N] [stored=N] [held=N]     events, of this connection
 *   outcome                   says what the acks said so far
 *   goodbye ST_NAME RETRY_S TEXT
 *   renewed
 *   sleep S                   as long as that no tick, then one: the machine slept
 *   wall [-]S                 this host's wall clock is set by so many seconds; the collector's is not
 * and, before start: collectors A B ... | final | give_up MS | window BYTES | certificate FROM_S TO_S (of wall clock) */
#include "clock.h"
#include "file.h"
#include "log.h"
#include "mem.h"
#include "msg.h"
#include "uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define BATCH_LEN 100

struct world {
    struct uplink *u;
    struct uplink_options o;
    const char *collectors[8];
    uint64_t clock_ms;
    int64_t wall_off_s; /* of this host's clock; the collector's has none */
    bool blocked, stopped, finishing;
    unsigned ready, given; /* batches there are, and how many the uplink has */
    struct buf out;        /* what it did, a line each */
    struct frame_reader reader;
};

static uint64_t now_ms(void *ctx) {
    return ((struct world *)ctx)->clock_ms;
}

static uint64_t true_time(const struct world *w) {
    return FILETIME_UNIX_EPOCH + w->clock_ms * (FILETIME_SECOND / 1000);
}

static uint64_t wall(void *ctx) {
    const struct world *w = ctx;
    return true_time(w) + (uint64_t)w->wall_off_s * FILETIME_SECOND;
}

static uint32_t no_chance(void *ctx) {
    (void)ctx;
    return 0;
}

static void do_connect(void *ctx, const char *host, uint16_t port) {
    struct world *w = ctx;
    frame_reader_deinit(&w->reader);
    frame_reader_init(&w->reader, FRAME_FROM_AGENT);
    buf_printf(&w->out, "connect %s %u\n", host, port);
}

static void do_write(void *ctx, struct slice bytes) {
    struct world *w = ctx;
    enum frame_type t;
    struct slice body;
    struct arena a;
    arena_init(&a, MSG_ARENA_CAP);
    while (frame_next(&w->reader, &bytes, &t, &body, NULL) == ST_OK) {
        if (t == FRAME_BATCH) {
            struct reader r = reader_of(body);
            uint32_t header_len = reader_u32le(&r);
            buf_printf(&w->out, "BATCH %u\n", reader_u32le(&r));
            assert_int_equal(header_len, 8);
            assert_int_equal(body.len, 4 + BATCH_LEN);
        } else if (t == FRAME_HEARTBEAT) {
            const Haechi__Heartbeat *m = MSG_UNPACK(Heartbeat, heartbeat, body, &a);
            buf_printf(&w->out, "HEARTBEAT backlog=%llu\n", (unsigned long long)m->backlog_events);
        } else {
            buf_printf(&w->out, "%s\n", frame_name(t));
        }
    }
    arena_deinit(&a);
}

static bool can_write(void *ctx) {
    return !((struct world *)ctx)->blocked;
}

static void do_close(void *ctx, bool flush) {
    buf_str(&((struct world *)ctx)->out, flush ? "close flush\n" : "close\n");
}

static struct outgoing *next(void *ctx) {
    struct world *w = ctx;
    if (w->given == w->ready) {
        if (w->finishing) uplink_finish(w->u);
        return NULL;
    }
    struct outgoing *o = mem_zalloc(sizeof *o);
    o->seq = ++w->given;
    o->header_len = 8;
    o->n_events = 10;
    buf_u32le(&o->bytes, (uint32_t)o->seq);
    while (o->bytes.len < BATCH_LEN) buf_byte(&o->bytes, 0);
    return o;
}

static void acked(void *ctx, uint64_t seq, uint64_t n_events) {
    buf_printf(&((struct world *)ctx)->out, "acked %llu %llu\n", (unsigned long long)seq, (unsigned long long)n_events);
}

static void rejected(void *ctx, struct outgoing *o, enum status code, const char *reason) {
    buf_printf(&((struct world *)ctx)->out, "rejected %llu %s %s\n", (unsigned long long)o->seq, status_name(code),
               reason);
    outgoing_free(&o);
}

static void load(void *ctx, struct uplink_load *ret) {
    const struct world *w = ctx;
    static const struct uplink_log log = {.channel = "Sysmon", .computer = "", .newest_id = 7};
    *ret = (struct uplink_load){.backlog_events = (w->ready - w->given) * 10, .logs = &log, .n_logs = 1};
}

static enum status make_csr(void *ctx, struct buf *der, struct error *err) {
    (void)ctx;
    (void)err;
    buf_str(der, "csr");
    return ST_OK;
}

static enum status renewed(void *ctx, struct slice certificate, struct slice ca, uint64_t *from, uint64_t *to,
                           struct error *err) {
    (void)ca;
    (void)err;
    assert_true(slice_eq_str(certificate, "new"));
    *from = true_time(ctx); /* the collector's dates */
    *to = *from + 30 * FILETIME_DAY;
    buf_str(&((struct world *)ctx)->out, "renewed\n");
    return ST_OK;
}

static void stopped(void *ctx, enum status why, const char *text) {
    struct world *w = ctx;
    (void)text;
    w->stopped = true;
    buf_printf(&w->out, "stopped %s\n", status_name(why));
}

static enum status status_named(const char *name) {
    for (int i = 0; i < ST_COUNT; i++) {
        if (strcmp(name, status_name((enum status)i)) == 0) return (enum status)i;
    }
    fail_msg("no status is called %s", name);
    return ST_OK;
}

/* key=N in the words of a command, or the fallback. */
static unsigned value(const char *words, const char *key, unsigned fallback) {
    const char *at = strstr(words, key);
    return at ? (unsigned)strtoul(at + strlen(key), NULL, 10) : fallback;
}

static void receive(struct world *w, enum frame_type t, const ProtobufCMessage *m) {
    struct buf b = {0};
    msg_put_frame(&b, t, m);
    /* in two pieces: where bytes are cut must not matter */
    size_t half = b.len / 2;
    uplink_on_data(w->u, slice_of(b.p, half));
    uplink_on_data(w->u, slice_of(b.p + half, b.len - half));
    buf_free(&b);
}

static void start(struct world *w) {
    struct uplink_io io = {.ctx = w,
                           .now_ms = now_ms,
                           .wall = wall,
                           .random = no_chance,
                           .connect = do_connect,
                           .write = do_write,
                           .can_write = can_write,
                           .close = do_close};
    struct uplink_owner owner = {.ctx = w,
                                 .next = next,
                                 .acked = acked,
                                 .rejected = rejected,
                                 .load = load,
                                 .make_csr = make_csr,
                                 .renewed = renewed,
                                 .stopped = stopped};
    w->o.collectors = w->collectors;
    w->u = uplink_new(&w->o, &io, &owner);
    uplink_start(w->u);
}

/* A message of the collector; false: there is none of that name. */
static bool hear(struct world *w, const char *line, char *args) {
    if (strcmp(line, "welcome") == 0) {
        Haechi__Welcome m = HAECHI__WELCOME__INIT;
        m.protocol = value(args, "protocol=", 1);
        m.credit_batches = value(args, "credit=", 4);
        m.credit_bytes = value(args, "bytes=", 0);
        m.heartbeat_s = value(args, "heartbeat=", 30);
        m.time = true_time(w);
        receive(w, FRAME_WELCOME, &m.base);
    } else if (strcmp(line, "ack") == 0) {
        Haechi__Ack m = HAECHI__ACK__INIT;
        Haechi__Rejected r = HAECHI__REJECTED__INIT, *list[] = {&r};
        m.through = value(args, "", 0);
        m.credit_batches = value(args, "credit=", 0);
        m.events_stored = value(args, "stored=", 0);
        m.events_held = value(args, "held=", 0);
        r.batch = value(args, "reject=", 0);
        r.code = ST_CORRUPT;
        r.reason = (char *)(uintptr_t) "lies";
        m.n_rejected = r.batch ? 1 : 0;
        m.rejected = list;
        receive(w, FRAME_ACK, &m.base);
    } else if (strcmp(line, "goodbye") == 0) {
        Haechi__Goodbye m = HAECHI__GOODBYE__INIT;
        char name[32], text[100];
        unsigned retry = 0;
        assert_int_equal(sscanf(args, "%31s %u %99[^\n]", name, &retry, text), 3);
        m.code = status_named(name);
        m.retry_after_s = retry;
        m.reason = text;
        receive(w, FRAME_GOODBYE, &m.base);
    } else if (strcmp(line, "renewed") == 0) {
        Haechi__Renewed m = HAECHI__RENEWED__INIT;
        m.certificate = msg_bytes(SLICE_LIT("new"));
        m.ca = msg_bytes(SLICE_LIT("ca"));
        receive(w, FRAME_RENEWED, &m.base);
    } else {
        return false;
    }
    return true;
}

static void command(struct world *w, char *line) {
    char *args = strchr(line, ' ');
    if (args)
        *args++ = 0;
    else
        args = line + strlen(line);
    if (strcmp(line, "collectors") == 0) {
        for (char *c = strtok(args, " "); c; c = strtok(NULL, " ")) w->collectors[w->o.n_collectors++] = c;
    } else if (strcmp(line, "final") == 0) {
        w->o.refusal_is_final = true;
    } else if (strcmp(line, "give_up") == 0) {
        w->o.give_up_ms = value(args, "", 0);
    } else if (strcmp(line, "window") == 0) {
        w->o.window_bytes = value(args, "", 0);
    } else if (strcmp(line, "certificate") == 0) {
        unsigned from = 0, to = 0;
        assert_int_equal(sscanf(args, "%u %u", &from, &to), 2);
        w->o.not_before = filetime_from_unix(from);
        w->o.not_after = filetime_from_unix(to);
    } else if (strcmp(line, "start") == 0) {
        start(w);
    } else if (strcmp(line, "open") == 0) {
        uplink_on_open(w->u);
    } else if (strcmp(line, "closed") == 0) {
        char *text = strchr(args, ' ');
        if (text) *text++ = 0;
        uplink_on_closed(w->u, status_named(args), text ? text : "");
    } else if (strcmp(line, "block") == 0) {
        w->blocked = true;
    } else if (strcmp(line, "drain") == 0) {
        w->blocked = false;
        uplink_on_drained(w->u);
    } else if (strcmp(line, "advance") == 0) {
        for (unsigned left = value(args, "", 0); left;) {
            unsigned step = left < 100 ? left : 100;
            w->clock_ms += step;
            left -= step;
            uplink_tick(w->u);
        }
    } else if (strcmp(line, "sleep") == 0) {
        w->clock_ms += value(args, "", 0) * UINT64_C(1000);
        uplink_tick(w->u);
    } else if (strcmp(line, "wall") == 0) {
        w->wall_off_s += strtoll(args, NULL, 10);
        uplink_tick(w->u);
    } else if (strcmp(line, "stop") == 0) {
        uplink_stop(w->u, value(args, "", 0));
    } else if (strcmp(line, "feed") == 0) {
        w->ready += value(args, "", 1);
        if (w->u) uplink_kick(w->u);
    } else if (strcmp(line, "finish") == 0) {
        w->finishing = true;
        uplink_kick(w->u);
    } else if (strcmp(line, "garbage") == 0) {
        uplink_on_data(w->u, SLICE_LIT("\xff\xff\xff\xff\xff\xff"));
    } else if (strcmp(line, "outcome") == 0) {
        struct uplink_status s = uplink_get_status(w->u);
        buf_printf(&w->out, "%llu acked: %llu stored, %llu held\n", (unsigned long long)s.acked_events,
                   (unsigned long long)s.events_stored, (unsigned long long)s.events_held);
    } else if (!hear(w, line, args)) {
        fail_msg("no such command: %s", line);
    }
}

static void play(const char *path) {
    struct world w = {.clock_ms = 1000};
    struct buf file = {0}, want = {0};
    struct error err = {0};
    if (file_read(path, 1 << 20, &file, &err)) fail_msg("%s", err.msg);
    frame_reader_init(&w.reader, FRAME_FROM_AGENT);
    buf_byte(&file, 0);
    unsigned number = 0, command_at = 0;
    for (char *line = (char *)file.p, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        number++;
        char *hash = strstr(line, "  #");
        if (hash) *hash = 0;
        if (*line == '>') {
            buf_printf(&want, "%s\n", line + 2);
            continue;
        }
        if (*line == '#' || (!*line && end)) continue;
        buf_byte(&want, 0);
        buf_byte(&w.out, 0);
        if (strcmp((char *)want.p, (char *)w.out.p) != 0) {
            fail_msg("%s:%u: it did:\n%sand not:\n%s", path, command_at, (char *)w.out.p, (char *)want.p);
        }
        buf_clear(&want);
        buf_clear(&w.out);
        command_at = number;
        if (*line) command(&w, line);
    }
    assert_true(w.stopped); /* every scenario plays to the end */
    uplink_free(&w.u);
    frame_reader_deinit(&w.reader);
    buf_free(&w.out);
    buf_free(&want);
    buf_free(&file);
}

static char *dir;

static void test_scenario(void **state) {
    char *path = file_join(dir, *state);
    play(path);
    mem_free(path);
}

static struct CMUnitTest tests[128];
static size_t n_tests;

static enum status add(void *ctx, const char *name) {
    (void)ctx;
    size_t n = strlen(name);
    if (strncmp(name, "uplink-", 7) == 0 && n > 4 && strcmp(name + n - 4, ".rpl") == 0 && n_tests < 128) {
        char *copy = mem_strdup(name);
        tests[n_tests++] = (struct CMUnitTest){.name = copy, .test_func = test_scenario, .initial_state = copy};
    }
    return ST_OK;
}

static void no_log(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    (void)line;
}

int main(void) {
    const char *src = getenv("HAECHI_SRC");
    dir = file_join(src ? src : ".", "tests/replay");
    log_init("test_uplink", LOG_DEBUG);
    log_redirect(no_log, NULL);
    if (file_list_dir(dir, add, NULL, NULL) || !n_tests) return 1;
    int failed = _cmocka_run_group_tests("uplink", tests, n_tests, NULL, NULL);
    for (size_t i = 0; i < n_tests; i++) mem_free(tests[i].initial_state);
    mem_free(dir);
    return failed;
}
