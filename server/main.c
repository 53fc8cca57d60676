/* haechid: the collector. Wiring only: command line, settings, the order of start and stop, signals, timers.
 *
 * Threads: this one (signals, API, timers), the listener's loops, the writer, the digest, libuv's work threads. */
#include "api.h"
#include "address.h"
#include "args.h"
#include "clock.h"
#include "digest.h"
#include "file.h"
#include "fleet.h"
#include "ingest.h"
#include "listener.h"
#include "log.h"
#include "mem.h"
#include "notify.h"
#include "queue.h"
#include "config.h"
#include "stats.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND_MS 1000
#define TICK_EVERY_S 5    /* fleet_tick */
#define EXPIRE_EVERY_S 60 /* retention */
#define MAX_NOTICES 1024
#define WORK_THREADS "8"

struct words {
    const char *config, *data, *listen, *api, *log_level;
    bool rebuild, check_config, print_config, version;
};

struct notice { /* for the audit log */
    uint32_t host;
    char action[32], object[200], detail[ERROR_TEXT_MAX];
};

struct collector {
    struct words words;
    struct config conf;
    const char **names, **api_addresses, **collectors;
    char *agent_address;
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t second;
    uv_async_t noticed;
    uv_work_t chores;
    bool chores_run, stopping, was_failing;
    unsigned seconds, watchdog_ms;
    uint64_t watchdog_at_ms;
    uint64_t retention_days, retention_bytes; /* copies for the work thread */
    bool expire_due, tick_due;
    struct queue *notices;
    struct db *db;
    struct stats *stats;
    struct fleet *fleet;
    struct rulebook *book;
    struct rollouts *rollouts;
    struct ingest *ingest;
    struct digest *digest;
    struct listener *listener;
    struct api *api;
};

static const struct arg_option word_options[] = {
    {"config", ARG_STRING, offsetof(struct words, config), "FILE", "read options from FILE"},
    {"data", ARG_STRING, offsetof(struct words, data), "DIR", "the data directory"},
    {"listen", ARG_STRING, offsetof(struct words, listen), "ADDR:PORT",
     "where agents connect; port 0 takes any and prints it"},
    {"api", ARG_STRING, offsetof(struct words, api), "ADDR:PORT|unix:PATH", "where the API answers"},
    {"log", ARG_STRING, offsetof(struct words, log_level), "LEVEL", "error, warn, info or debug"},
    {"rebuild", ARG_FLAG, offsetof(struct words, rebuild), NULL, "build all derived data anew, then go on"},
    {"check-config", ARG_FLAG, offsetof(struct words, check_config), NULL, "check the options and end"},
    {"print-config", ARG_FLAG, offsetof(struct words, print_config), NULL, "print a file with all options and end"},
    {"version", ARG_FLAG, offsetof(struct words, version), NULL, "print the version and end"},
};

static const struct arg_command command = {
    .name = "haechid",
    .synopsis = "[--config FILE] [--data DIR] [--listen ADDR:PORT] [--api ADDR:PORT|unix:PATH]",
    .help = "Collects events from agents, keeps them, and answers questions about them.",
    .options = word_options,
    .n_options = sizeof word_options / sizeof *word_options,
};

/* ---- the audit log's notices: from any thread to a work thread ---- */

static void on_notice(void *ctx, uint32_t host, const char *action, const char *object, const char *detail) {
    struct collector *c = ctx;
    struct notice *n = mem_zalloc(sizeof *n);
    n->host = host;
    snprintf(n->action, sizeof n->action, "%s", action);
    snprintf(n->object, sizeof n->object, "%s", object);
    snprintf(n->detail, sizeof n->detail, "%s", detail);
    if (queue_put(c->notices, n, 1)) {
        stats_add(c->stats, STATS_notices_dropped, 1);
        mem_free(n);
    }
}

static void wake_main(void *ctx) {
    uv_async_send(&((struct collector *)ctx)->noticed);
}

static void write_notices(struct collector *c) {
    for (struct notice *n; (n = queue_try_take(c->notices)); mem_free(n)) {
        char actor[24];
        struct error err = {0};
        if (n->host)
            snprintf(actor, sizeof actor, "host:%u", n->host);
        else
            snprintf(actor, sizeof actor, "collector");
        if (fleet_audit(c->fleet, actor, n->action, n->object, n->detail, &err)) {
            log_error("main", "the audit log misses \"%s\" of %s: %s", n->action, actor, err.msg);
        }
    }
}

/* ---- chores: everything that waits for the disk, one round at a time on a work thread ---- */

static void expire(struct collector *c) {
    struct error err = {0};
    size_t removed = 0;
    if (!c->retention_days && !c->retention_bytes) return;
    if (db_expire(c->db, clock_wall(), c->retention_days, c->retention_bytes, &removed, &err)) {
        log_error("main", "old days cannot be removed: %s; trying again in %d s", err.msg, EXPIRE_EVERY_S);
        stats_error(c->stats, "old days cannot be removed: %s", err.msg);
    }
    if (!removed) return;
    char detail[64];
    snprintf(detail, sizeof detail, "%zu day(s)", removed);
    stats_add(c->stats, STATS_partitions_expired, (int64_t)removed);
    log_info("main", "retention removed %s", detail);
    if (fleet_audit(c->fleet, "collector", "retention.expire", "events", detail, &err))
        log_error("main", "%s", err.msg);
}

static void do_chores(uv_work_t *w) {
    struct collector *c = w->data;
    write_notices(c);
    rollouts_tick(c->rollouts);
    if (c->tick_due) fleet_tick(c->fleet);
    if (c->expire_due) expire(c);
}

static void on_chores_done(uv_work_t *w, int status) {
    struct collector *c = w->data;
    (void)status;
    c->chores_run = false;
}

static void start_chores(struct collector *c, bool tick, bool expiry) {
    if (c->chores_run || c->stopping) return;
    c->tick_due = tick;
    c->expire_due = expiry;
    c->retention_days = c->conf.retention_days;
    c->retention_bytes = c->conf.retention_bytes;
    c->chores.data = c;
    c->chores_run = uv_queue_work(&c->loop, &c->chores, do_chores, on_chores_done) == 0;
}

static void on_noticed(uv_async_t *a) {
    start_chores(a->data, false, false);
}

/* ---- every second ---- */

static void watch_writer(struct collector *c) {
    struct writer_state w;
    writer_get_state(ingest_writer(c->ingest), &w);
    bool failing = w.failure[0] != 0;
    if (failing && !c->was_failing) { /* storage has logged it */
        stats_error(c->stats, "%s", w.failure);
        notify_send("STATUS=the store cannot be written: nothing is acknowledged");
    } else if (!failing && c->was_failing) {
        notify_send("STATUS=serving");
    }
    c->was_failing = failing;
}

static void on_second(uv_timer_t *t) {
    struct collector *c = t->data;
    c->seconds++;
    stats_sample(c->stats, ingest_writer(c->ingest));
    watch_writer(c);
    if (c->watchdog_ms && uv_now(&c->loop) - c->watchdog_at_ms >= c->watchdog_ms) {
        c->watchdog_at_ms = uv_now(&c->loop);
        notify_send("WATCHDOG=1");
    }
    bool tick = c->seconds % TICK_EVERY_S == 0;
    start_chores(c, tick, c->seconds % EXPIRE_EVERY_S == TICK_EVERY_S);
}

/* ---- signals ---- */

static void close_handles(struct collector *c) {
    uv_close((uv_handle_t *)&c->term, NULL);
    uv_close((uv_handle_t *)&c->interrupt, NULL);
    uv_close((uv_handle_t *)&c->hangup, NULL);
    uv_close((uv_handle_t *)&c->second, NULL);
}

static void on_stop(uv_signal_t *s, int number) {
    struct collector *c = s->data;
    if (c->stopping) return;
    log_info("main", "%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
    c->stopping = true;
    uv_stop(&c->loop);
}

static void say_stays(const char *key) {
    log_warn("main", "%s has changed: it takes effect at the next start", key);
}

static struct config_words words_of(const struct words *w) {
    return (struct config_words){.data = w->data, .listen = w->listen, .api = w->api, .log_level = w->log_level};
}

static void apply_log_level(const struct config *s) {
    enum log_level level;
    if (!log_level_parse(slice_str(s->log_level), &level)) log_set_level(level);
}

static void on_hangup(uv_signal_t *s, int number) {
    struct collector *c = s->data;
    struct config fresh;
    struct error err = {0};
    struct config_words words = words_of(&c->words);
    (void)number;
    if (config_load(c->words.config, &words, &fresh, &err)) {
        log_error("main", "the options stay as they were: %s", err.msg);
        stats_error(c->stats, "reload: %s", err.msg);
        return;
    }
    config_reload(&c->conf, &fresh, say_stays);
    apply_log_level(&c->conf);
    log_info("main", "options read anew");
}

/* ---- start ---- */

static void raise_file_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r)) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

static void on_progress(void *ctx, uint64_t seq, uint64_t last) {
    struct collector *c = ctx;
    if (c->words.rebuild && !c->listener && isatty(STDERR_FILENO)) {
        fprintf(stderr, "\rrebuilding: %3llu %%", (unsigned long long)(last ? seq * 100 / last : 100));
    }
}

static enum status open_store(struct collector *c, struct error *err) {
    struct db_options o = {.map_bytes = c->conf.map_bytes, .min_free_bytes = c->conf.min_free_bytes};
    enum status st = file_make_dir(c->conf.data, 0700, err);
    if (!st) st = db_open(c->conf.data, &o, &c->db, err);
    if (!st && c->words.rebuild) st = db_drop_derived(c->db, err);
    return st;
}

/* The names that the certificate is for. The first one goes into tokens. */
static void choose_names(struct collector *c) {
    static char host_name[256];
    char listen[256];
    uint16_t port;
    c->names = mem_zalloc(mem_mul(c->conf.names.n + 8, sizeof *c->names));
    size_t n = 0;
    for (; n < c->conf.names.n; n++) c->names[n] = c->conf.names.items[n];
    if (n) return;
    if (address_parse(c->conf.listen, listen, &port, NULL)) listen[0] = 0;
    static char concrete[256];
    if (listen[0] && strcmp(listen, "0.0.0.0") != 0 && strcmp(listen, "::") != 0) {
        snprintf(concrete, sizeof concrete, "%s", listen);
        c->names[n++] = concrete;
    }
    if (!gethostname(host_name, sizeof host_name - 1) && host_name[0] && strcmp(host_name, concrete) != 0) {
        c->names[n++] = host_name;
    }
    if (strcmp(concrete, "localhost") != 0 && strcmp(host_name, "localhost") != 0) c->names[n++] = "localhost";
    if (strcmp(concrete, "127.0.0.1") != 0) c->names[n++] = "127.0.0.1";
}

static enum status open_fleet(struct collector *c, struct error *err) {
    char *ca_dir = file_join(c->conf.data, "ca");
    struct fleet_options o = {.ca_dir = ca_dir,
                              .supplied_ca_cert = *c->conf.ca_certificate ? c->conf.ca_certificate : NULL,
                              .supplied_ca_key = *c->conf.ca_key ? c->conf.ca_key : NULL,
                              .host_cert_days = c->conf.host_days,
                              .now = clock_wall};
    choose_names(c);
    o.server_names = c->names;
    enum status st = fleet_open(c->db, &o, &c->fleet, err);
    if (!st) st = rulebook_open(c->db, c->fleet, &c->book, err);
    struct rollouts_options r = {.db = c->db, .fleet = c->fleet, .book = c->book, .now = clock_wall};
    if (!st) st = rollouts_open(&r, &c->rollouts, err);
    mem_free(ca_dir);
    return st;
}

static void on_sysmon(void *ctx, uint32_t host, uint32_t event_id, uint64_t time) {
    rollouts_on_event(ctx, host, event_id, time);
}

static enum status open_ingest(struct collector *c, struct error *err) {
    const struct config *s = &c->conf;
    struct ingest_options o = {.db = c->db,
                               .stats = c->stats,
                               .spacing_ms = (unsigned)s->spacing_ms,
                               .batch_bytes = s->commit_bytes,
                               .queue_bytes = s->queue_bytes,
                               .now = clock_wall,
                               .quarantine_bytes = s->quarantine_bytes,
                               .quarantine_files = s->quarantine_files,
                               .notice = on_notice,
                               .notice_ctx = c};
    enum status st = ingest_start(&o, &c->ingest, err);
    if (st) return st;
    struct digest_options d = {.db = c->db,
                               .writer = ingest_writer(c->ingest),
                               .stats = c->stats,
                               .progress = on_progress,
                               .progress_ctx = c,
                               .notice = on_notice,
                               .notice_ctx = c,
                               .set_aside = ingest_set_aside,
                               .set_aside_ctx = c->ingest,
                               .sysmon = on_sysmon,
                               .sysmon_ctx = c->rollouts};
    st = digest_start(&d, &c->digest, err);
    if (st) return st;
    ingest_on_committed(c->ingest, digest_wake, c->digest);
    if (c->words.rebuild) {
        log_info("main", "building derived data anew from %llu packs", (unsigned long long)db_last_seq(c->db));
        (void)digest_wait(c->digest, db_last_seq(c->db));
        if (isatty(STDERR_FILENO)) fputc('\n', stderr);
        log_info("main", "derived data is complete");
    }
    return ST_OK;
}

static enum status open_listener(struct collector *c, struct error *err) {
    const struct config *s = &c->conf;
    c->collectors = config_list(&s->collectors);
    struct listener_options o = {.address = s->listen,
                                 .loops = (unsigned)s->loops,
                                 .max_connections = s->max_connections,
                                 .max_handshakes = s->max_handshakes,
                                 .max_per_address = s->max_per_address,
                                 .limits = {.credit_batches = (uint32_t)s->credit_batches,
                                            .credit_bytes = s->credit_bytes,
                                            .heartbeat_s = (uint32_t)s->heartbeat_s,
                                            .collectors = c->collectors},
                                 .db = c->db,
                                 .fleet = c->fleet,
                                 .ingest = c->ingest,
                                 .rollouts = c->rollouts,
                                 .stats = c->stats,
                                 .notice = on_notice,
                                 .notice_ctx = c};
    enum status st = listener_start(&o, &c->listener, err);
    if (st) return st;
    fleet_on_cut(c->fleet, listener_cut, c->listener);
    rollouts_on_offer(c->rollouts, listener_offer, c->listener);
    struct buf address = {0};
    const char *name = c->names[0];
    if (strchr(name, ':') && name[0] != '[')
        buf_printf(&address, "[%s]:%u", name, listener_port(c->listener));
    else
        buf_printf(&address, "%s:%u", name, listener_port(c->listener));
    c->agent_address = mem_strdup(buf_cstr(&address));
    buf_free(&address);
    return ST_OK;
}

static enum status open_api(struct collector *c, struct error *err) {
    c->api_addresses = config_list(&c->conf.api);
    struct api_options o = {.db = c->db,
                            .fleet = c->fleet,
                            .book = c->book,
                            .rollouts = c->rollouts,
                            .ingest = c->ingest,
                            .digest = c->digest,
                            .stats = c->stats,
                            .listener = c->listener,
                            .addresses = c->api_addresses,
                            .certificate_file = *c->conf.api_certificate ? c->conf.api_certificate : NULL,
                            .key_file = *c->conf.api_key ? c->conf.api_key : NULL,
                            .agent_address = c->agent_address};
    enum status st = api_start(&c->loop, &o, &c->api, err);
    if (!st) ingest_on_committed(c->ingest, api_committed, c->api);
    return st;
}

/* Queries, fleet changes and enrolments share libuv's pool of work threads: a few long queries must not make an enrolment
 * wait, as with libuv's own four. Before the pool is first used; an administrator's own number stands. */
static void size_work_pool(void) {
    if (setenv("UV_THREADPOOL_SIZE", WORK_THREADS, 0))
        log_warn("main", "the number of work threads could not be set: libuv's own is used");
}

static void open_handles(struct collector *c) {
    if (uv_loop_init(&c->loop)) abort();
    if (uv_async_init(&c->loop, &c->noticed, on_noticed)) abort();
    (void)uv_signal_init(&c->loop, &c->term);
    (void)uv_signal_init(&c->loop, &c->interrupt);
    (void)uv_signal_init(&c->loop, &c->hangup);
    (void)uv_timer_init(&c->loop, &c->second);
    c->term.data = c->interrupt.data = c->hangup.data = c->second.data = c->noticed.data = c;
    c->notices = queue_new(MAX_NOTICES, SIZE_MAX, wake_main, c);
}

static void serve(struct collector *c) {
    (void)uv_signal_start(&c->term, on_stop, SIGTERM);
    (void)uv_signal_start(&c->interrupt, on_stop, SIGINT);
    (void)uv_signal_start(&c->hangup, on_hangup, SIGHUP);
    (void)uv_timer_start(&c->second, on_second, SECOND_MS, SECOND_MS);
    c->watchdog_ms = notify_watchdog_ms();
    printf("listening on port %u\n", listener_port(c->listener));
    fflush(stdout);
    log_info("main", "version %s serves agents on %s (port %u), data in %s", HAECHI_VERSION, c->conf.listen,
             listener_port(c->listener), c->conf.data);
    notify_send("READY=1\nSTATUS=serving");
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    notify_send("STOPPING=1");
}

/* Any prefix of start may have happened. Nothing accepted is lost: what is queued commits before its session ends. */
static void stop(struct collector *c) {
    c->stopping = true;
    if (c->rollouts) rollouts_on_offer(c->rollouts, NULL, NULL);
    if (c->api) api_quiet(c->api);
    if (c->listener) listener_quiet(c->listener);
    ingest_stop(c->ingest);
    listener_stop(&c->listener);
    api_stop(&c->api);
    close_handles(c);
    while (c->chores_run) (void)uv_run(&c->loop, UV_RUN_ONCE);
    if (c->fleet) write_notices(c);
    uv_close((uv_handle_t *)&c->noticed, NULL);
    (void)uv_run(&c->loop, UV_RUN_DEFAULT);
    digest_stop(&c->digest);
    ingest_free(&c->ingest);
    rollouts_close(&c->rollouts);
    rulebook_close(&c->book);
    fleet_close(&c->fleet);
    db_close(&c->db);
    stats_free(&c->stats);
    queue_free(&c->notices);
    (void)uv_loop_close(&c->loop);
    mem_free(c->agent_address);
    mem_free(c->names);
    mem_free(c->api_addresses);
    mem_free(c->collectors);
}

static int run(struct collector *c) {
    struct error err = {0};
    open_handles(c);
    c->stats = stats_new();
    stats_thread_begin(c->stats, "main");
    enum status st = open_store(c, &err);
    if (!st) st = open_fleet(c, &err);
    if (!st) st = open_ingest(c, &err);
    if (!st) st = open_listener(c, &err);
    if (!st) st = open_api(c, &err);
    if (!st) serve(c);
    stop(c);
    if (st)
        fprintf(stderr, "haechid: %s\n", err.msg[0] ? err.msg : status_text(st));
    else
        log_info("main", "stopped");
    return st ? 1 : 0;
}

int main(int argc, char **argv) {
    struct collector c = {0};
    struct arg_list words = {0};
    struct error err = {0};
    struct buf text = {0};
    if (args_wants_help(argc, argv)) {
        args_help(&text, "", &command);
        fputs(buf_cstr(&text), stdout);
        buf_free(&text);
        return 0;
    }
    if (args_parse(&command, argc - 1, argv + 1, &c.words, &words, &err)) {
        fprintf(stderr, "haechid: %s\n", err.msg);
        return 2;
    }
    arg_list_free(&words);
    if (c.words.version) {
        puts("haechid " HAECHI_VERSION);
        return 0;
    }
    if (c.words.print_config) {
        config_sample(&text);
        fputs(buf_cstr(&text), stdout);
        buf_free(&text);
        return 0;
    }
    log_init("haechid", LOG_INFO);
    struct config_words given = words_of(&c.words);
    if (config_load(c.words.config, &given, &c.conf, &err)) {
        fprintf(stderr, "haechid: %s\n", err.msg);
        return 2;
    }
    int code = 0;
    if (c.words.check_config) {
        printf("%s: good\n", c.words.config ? c.words.config : "the options are");
    } else {
        apply_log_level(&c.conf);
        umask(077);
        signal(SIGPIPE, SIG_IGN);
        raise_file_limit();
        size_work_pool();
        tls_global_init();
        code = run(&c);
    }
    config_free(&c.conf);
    return code;
}
