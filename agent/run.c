/* Feeder, uplink and loop together. Loop thread; the feeder runs on the reader thread and is met in its queues only.
 * Order of the end: uplink stops, feeder is told to, feeder is gone, loop ends. */
#include "run.h"
#include "clock.h"
#include "facts.h"
#include "keystore.h"
#include "log.h"
#include "mem.h"
#include "priority.h"
#include "progress.h"
#include "rules_run.h"
#include "rules_text.h"
#include "token.h"
#include "uplink_wire.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define AREA "agent"
#define STOP_GRACE_MS 2000u
#define STATUS_MS 5000u
#define SEND_GIVE_UP_MS 120000u
#define BAR_AFTER_MS 1000u
#define BAR_EVERY_MS 250u

struct run {
    const struct run_options *o;
    struct identity id;
    struct facts facts;
    struct wire *wire;
    struct uplink *uplink;
    struct feeder *feeder;
    struct feeder_report report; /* the latest; owns its logs */
    struct sysmon sysmon;        /* as it was last seen */
    struct rules *rules;         /* NULL: send */
    char *rules_dir;
    uint64_t acked, told; /* by the collector; the feeder knows of */
    bool ended;           /* the feeder has read everything (send) */
    uint64_t started_ms, started, status_at, bar_at;
    bool terminal, bar_shown, stopping;
    enum status result;
    struct error err;
};

static atomic_bool stop_wanted;

void run_stop(void) {
    atomic_store(&stop_wanted, true);
}

bool run_is_stopping(void) {
    return atomic_load(&stop_wanted);
}

/* ---- for the uplink ---- */

static struct outgoing *next(void *ctx) {
    struct run *r = ctx;
    struct outgoing *o = NULL;
    struct feeder_item *i = feeder_take(r->feeder);
    if (!i) return NULL;
    if (i->kind == FEEDER_BATCH) {
        o = i->batch;
        i->batch = NULL;
    } else {
        r->ended = true;
        uplink_finish(r->uplink);
    }
    feeder_item_free(&i);
    return o;
}

static void tell_acked(struct run *r) {
    if (r->acked > r->told && feeder_acked(r->feeder, r->acked)) r->told = r->acked;
}

static void acked(void *ctx, uint64_t seq, uint64_t n_events) {
    (void)n_events;
    struct run *r = ctx;
    r->acked = seq;
    tell_acked(r);
}

static void rejected(void *ctx, struct outgoing *o, enum status code, const char *reason) {
    struct run *r = ctx;
    feeder_rejected(r->feeder, o, code, log_peer(slice_str(reason)));
}

/* The logs in the form the uplink wants them; valid until the next report. */
static void load(void *ctx, struct uplink_load *ret) {
    static struct uplink_log logs[256]; /* the loop thread's alone; the feeder names no more */
    struct run *r = ctx;
    const struct feeder_report *p = &r->report;
    size_t n = p->n_logs < 256 ? p->n_logs : 256;
    uint64_t wraps = 0;
    for (size_t i = 0; i < n; i++) {
        const struct feeder_log *l = &p->logs[i];
        logs[i] = (struct uplink_log){.channel = l->channel,
                                      .computer = l->computer,
                                      .oldest_id = l->log_oldest_id,
                                      .newest_id = l->log_newest_id > l->newest_id ? l->log_newest_id : l->newest_id,
                                      .bytes = l->log_bytes,
                                      .max_bytes = l->log_max_bytes};
        if (l->wraps_in_s && (!wraps || l->wraps_in_s < wraps)) wraps = l->wraps_in_s;
    }
    *ret = (struct uplink_load){.sysmon = r->o->send ? NULL : &r->sysmon, /* what is told takes rules */
                                .backlog_events = p->events_unread,
                                .spool_bytes = p->spool_bytes,
                                .spool_max_bytes = p->spool_max_bytes,
                                .events_per_s = p->events_per_s,
                                .parse_errors = p->parse_errors,
                                .records_skipped = p->skipped,
                                .wraps_in_s = wraps,
                                .logs = logs,
                                .n_logs = n};
    facts_usage(&ret->cpu_ms, &ret->rss_bytes);
    static struct uplink_rules rules; /* the loop thread's alone */
    if (r->rules && rules_get_status(r->rules, &rules)) ret->rules = &rules;
}

/* ---- for the rules ---- */

struct rules_work_item {
    struct run *run;
    struct rules_job *job;
};

static void work_on_rules(void *arg) { /* on a thread of its own */
    const struct rules_work_item *i = arg;
    rules_run_job(i->run->rules_dir, i->job);
}

static void rules_done(void *arg) {
    struct rules_work_item *i = arg;
    rules_on_done(i->run->rules, i->job);
    mem_free(i);
}

static void rules_begin(void *ctx, struct rules_job *j) {
    struct rules_work_item *i = mem_alloc(sizeof *i);
    *i = (struct rules_work_item){ctx, j};
    if (!wire_work(i->run->wire, work_on_rules, rules_done, i))
        mem_free(i); /* the loop ends: rules_stop has been said */
}

static uint64_t rules_now_ms(void *ctx) {
    (void)ctx;
    return clock_mono_ms();
}

static uint64_t rules_wall(void *ctx) {
    (void)ctx;
    return clock_wall();
}

static void rules_random(void *ctx, void *out, size_t len) {
    (void)ctx;
    tls_random(out, len);
}

static void rules_listen(void *ctx, const char *canary) {
    feeder_listen(((struct run *)ctx)->feeder, canary);
}

static void rules_looked(void *ctx, const struct sysmon *s) {
    ((struct run *)ctx)->sysmon = *s;
}

static void rules_changed(void *ctx) {
    struct run *r = ctx;
    r->status_at = 0; /* soon */
    uplink_rules_changed(r->uplink);
}

static void offered(void *ctx, struct slice offer) {
    struct run *r = ctx;
    if (r->rules) rules_offered(r->rules, offer, buf_slice(&r->id.ca));
}

/* Sysmon's own channel, live and whole enough that its event 16 comes by. */
static bool reads_sysmon(const struct run_options *o) {
    for (size_t i = 0; i < o->n_inputs; i++) {
        const struct feeder_input *in = &o->inputs[i];
        if (in->kind == SOURCE_JOURNAL || (in->kind == SOURCE_TEXT && in->follow)) return true;
        if (in->kind == SOURCE_EVTLOG && !in->query &&
            slice_eq_nocase(slice_str(in->path), SLICE_LIT("Microsoft-Windows-Sysmon/Operational")))
            return true;
    }
    return false;
}

static struct rules *make_rules(struct run *r) {
    const struct run_options *o = r->o;
    struct rules_options ro = {.system = SYSMON_ON_LINUX,
                               .reads_events = reads_sysmon(o),
                               .apply_ms = o->rules_apply_ms,
                               .prove_ms = o->rules_prove_ms,
                               .look_ms = o->rules_look_ms};
#if defined(_WIN32)
    ro.system = SYSMON_ON_WINDOWS;
#endif
    struct rules_io io = {.ctx = r,
                          .now_ms = rules_now_ms,
                          .wall = rules_wall,
                          .random = rules_random,
                          .start = rules_begin,
                          .listen = rules_listen,
                          .looked = rules_looked,
                          .changed = rules_changed};
    struct buf kept = {0};
    r->rules_dir = file_join(o->state, "rules");
    rules_run_read(r->rules_dir, &kept);
    struct rules *made = rules_new(&ro, &io, buf_slice(&kept));
    buf_free(&kept);
    return made;
}

/* `send` may work beside `run` with the same state directory: what is kept there is then the running agent's to keep. */
static enum status keep_identity(const struct run *r, const struct identity *id, struct error *err) {
    if (!r->o->send) return keystore_save(r->o->state, id, err);
    struct file *lock = NULL;
    enum status st = keystore_lock(r->o->state, &lock, err);
    if (st == ST_BUSY) return ST_OK;
    if (!st) st = keystore_save(r->o->state, id, err);
    file_close(&lock);
    return st;
}

/* The fleet has other collectors than we knew: for the next start. A small file, seldom. */
static void welcome(void *ctx, const struct uplink_welcome *w) {
    struct run *r = ctx;
    bool same = w->n_collectors == r->id.n_collectors;
    for (size_t i = 0; i < w->n_collectors && same; i++) same = slice_eq_str(w->collectors[i], r->id.collectors[i]);
    if (same || !w->n_collectors) return;
    for (size_t i = 0; i < w->n_collectors; i++) {
        char host[ADDRESS_HOST_MAX];
        uint16_t port;
        if (address_split(w->collectors[i], 7443, host, &port, NULL)) return;
    }
    for (size_t i = 0; i < r->id.n_collectors; i++) mem_free(r->id.collectors[i]);
    r->id.n_collectors = 0;
    for (size_t i = 0; i < w->n_collectors; i++) identity_add_collector(&r->id, w->collectors[i]);
    struct error err = {0};
    if (keep_identity(r, &r->id, &err))
        log_warn(AREA, "the new list of collectors could not be kept: %s", err.msg);
    else
        log_info(AREA, "the fleet's list of collectors has changed; it is used from the next start on");
}

static void position(void *ctx, const struct uplink_position *p) {
    struct run *r = ctx;
    feeder_position(r->feeder, p->channel,
                    (struct source_known){.epoch = p->epoch, .id = p->highest_id, .time = p->highest_time});
}

/* Before the first report: the logs that the collector is asked about. */
static void name_logs(struct run *r) {
    const struct run_options *o = r->o;
    r->report.logs = mem_zalloc(mem_mul(o->n_inputs + 1, sizeof *r->report.logs));
    for (size_t i = 0; i < o->n_inputs; i++) {
        const struct feeder_input *in = &o->inputs[i];
        if (in->kind != SOURCE_EVTLOG || strlen(in->path) >= sizeof r->report.logs->channel) continue;
        memcpy(r->report.logs[r->report.n_logs++].channel, in->path, strlen(in->path));
    }
}

static enum status make_csr(void *ctx, struct buf *ret_der, struct error *err) {
    struct run *r = ctx;
    return tls_make_csr(buf_slice(&r->id.key), r->id.host_name, ret_der, err);
}

static enum status use_identity(struct run *r, struct slice certificate, struct slice ca, struct error *err) {
    struct tls_config *cfg = NULL;
    struct tls_client_options t = {.ca_pem = ca,
                                   .certificate_pem = certificate,
                                   .key_pem = buf_slice(&r->id.key),
                                   .alpn = TLS_ALPN_AGENT};
    enum status st = tls_client_config(&t, &cfg, err);
    if (!st) wire_set_tls(r->wire, cfg);
    return st;
}

/* A new certificate: kept at once, used from the next connection on. Two small files every few weeks, on the loop. */
static enum status renewed(void *ctx, struct slice certificate, struct slice ca, uint64_t *ret_not_before,
                           uint64_t *ret_not_after, struct error *err) {
    struct run *r = ctx;
    struct tls_peer facts;
    uint64_t from = 0;
    if (!ca.len) ca = buf_slice(&r->id.ca);
    enum status st = tls_certificate_facts(certificate, &facts, &from, err);
    struct identity id = r->id; /* everything else as it was */
    id.certificate = id.ca = (struct buf){0};
    buf_slice_append(&id.certificate, certificate);
    buf_slice_append(&id.ca, ca);
    if (!st) st = use_identity(r, buf_slice(&id.certificate), buf_slice(&id.ca), err);
    if (!st) st = keep_identity(r, &id, err);
    if (st) {
        buf_free(&id.certificate);
        buf_free(&id.ca);
        return st;
    }
    buf_free(&r->id.certificate);
    buf_free(&r->id.ca);
    r->id.certificate = id.certificate;
    r->id.ca = id.ca;
    *ret_not_before = r->id.not_before = from;
    *ret_not_after = r->id.not_after = facts.not_after;
    return ST_OK;
}

static void clear_bar(struct run *r) {
    if (r->bar_shown) fprintf(stderr, "\r\033[K");
    r->bar_shown = false;
}

/* The words of the end, while everything is known. */
static void say_result(const char *text) {
    fprintf(stderr, "haechi-agent: %s\n", text);
}

static void stopped(void *ctx, enum status why, const char *text) {
    struct run *r = ctx;
    r->result = why;
    if (why) error_set(&r->err, why, "%s", text);
    if (r->o->send && !r->ended) {
        /* The reader may be waiting for standard input for ever. Nothing is owed to the disk without a spool. */
        clear_bar(r);
        say_result(why ? text : "stopped before all was sent");
        exit(1);
    }
    tell_acked(r);
    if (r->rules) rules_stop(r->rules);
    feeder_stop(r->feeder);
}

/* ---- for the loop ---- */

static void explain(struct run *r, const struct feeder_gap *g) {
    struct uplink_gap u = {.epoch = g->gap.epoch,
                           .cause = g->gap.cause,
                           .first_id = g->gap.first_id,
                           .last_id = g->gap.last_id};
    memcpy(u.channel, g->channel, sizeof u.channel);
    uplink_explain(r->uplink, &u);
}

static void on_wake(void *ctx) {
    struct run *r = ctx;
    struct feeder_item *i;
    while ((i = feeder_take_note(r->feeder))) {
        if (i->kind == FEEDER_GONE) wire_end(r->wire);
        if (i->kind == FEEDER_REPORT) {
            mem_free(r->report.logs);
            mem_free(r->report.troubles);
            r->report = i->report;
            i->report.logs = NULL;
            i->report.troubles = NULL;
            r->report.gaps = NULL;
            r->report.sysmon = NULL;
            if (i->report.sysmon) r->sysmon = *i->report.sysmon;
            for (size_t k = 0; k < i->report.n_gaps; k++) explain(r, &i->report.gaps[k]);
        }
        if (i->kind == FEEDER_SYSMON && r->rules) rules_on_note(r->rules, i->note);
        feeder_item_free(&i);
    }
    uplink_kick(r->uplink);
}

static void write_status(struct run *r) {
    struct buf text = {0};
    struct uplink_status u = uplink_get_status(r->uplink);
    struct status_facts f = {.host_name = r->id.host_name,
                             .version = HAECHI_VERSION,
                             .now = clock_wall(),
                             .started = r->started,
                             .not_after = r->id.not_after,
                             .sysmon = &r->sysmon};
    struct uplink_rules rules;
    status_write(&text, &f, &r->report, &u);
    rules_text_write(&text, r->rules && rules_get_status(r->rules, &rules) ? &rules : NULL);
    feeder_write(r->feeder, "status", buf_slice(&text));
    buf_free(&text);
}

static void on_signal(void *ctx, bool hang_up);

static void draw_bar(struct run *r) {
    struct buf line = {0};
    struct uplink_status u = uplink_get_status(r->uplink);
    progress_bar(&line, &r->report, &u);
    fprintf(stderr, "\r%s\033[K", buf_cstr(&line));
    r->bar_shown = true;
    buf_free(&line);
}

static void on_tick(void *ctx) {
    struct run *r = ctx;
    uint64_t t = clock_mono_ms();
    on_wake(r);
    if (atomic_load(&stop_wanted) && !r->stopping) {
        r->stopping = true;
        on_signal(r, false);
    }
    uplink_tick(r->uplink);
    if (r->rules) rules_tick(r->rules);
    tell_acked(r);
    if (!r->o->send && t >= r->status_at) {
        r->status_at = t + STATUS_MS;
        write_status(r);
    }
    if (r->o->send && r->terminal && !r->ended && t >= r->started_ms + BAR_AFTER_MS && t >= r->bar_at) {
        r->bar_at = t + BAR_EVERY_MS;
        draw_bar(r);
    }
}

static void on_signal(void *ctx, bool hang_up) {
    struct run *r = ctx;
    if (hang_up) return;
    log_info(AREA, "stopping");
    if (r->rules) rules_stop(r->rules);
    uplink_stop(r->uplink, r->o->send ? 0 : STOP_GRACE_MS);
}

static void wake(void *ctx) { /* on the reader thread */
    wire_wake(ctx);
}

static void on_open(void *ctx) {
    uplink_on_open(((struct run *)ctx)->uplink);
}

static void on_data(void *ctx, struct slice plain) {
    uplink_on_data(((struct run *)ctx)->uplink, plain);
}

static void on_drained(void *ctx) {
    uplink_on_drained(((struct run *)ctx)->uplink);
}

static void on_closed(void *ctx, enum status why, const char *text) {
    uplink_on_closed(((struct run *)ctx)->uplink, why, text);
}

/* ---- life ---- */

/* The certificate of a running agent is renewed by that agent alone. The lock is looked at when renewal is due and not
 * before: an agent that starts in that moment would find it taken. */
static bool is_ours_to_renew(const struct run *r) {
    struct file *lock = NULL;
    uint64_t life = r->id.not_after - r->id.not_before;
    if (!r->o->send || clock_wall() < r->id.not_before + life / 3 * 2) return true;
    bool ours = keystore_lock(r->o->state, &lock, NULL) != ST_BUSY;
    file_close(&lock);
    return ours;
}

static struct uplink *make_uplink(struct run *r) {
    const struct run_options *o = r->o;
    bool renews = is_ours_to_renew(r);
    struct uplink_options u = {.collectors = o->n_collectors ? o->collectors : (const char *const *)r->id.collectors,
                               .n_collectors = o->n_collectors ? o->n_collectors : r->id.n_collectors,
                               .backoff_base_ms = o->retry_min_ms,
                               .backoff_max_ms = o->retry_max_ms,
                               .refusal_is_final = o->send,
                               .give_up_ms = o->send ? SEND_GIVE_UP_MS : 0,
                               .not_before = renews ? r->id.not_before : 0,
                               .not_after = renews ? r->id.not_after : 0,
                               .os = r->facts.os,
                               .hostname = r->facts.hostname,
                               .domain = r->facts.domain,
                               .machine_id = buf_slice(&r->facts.machine_id),
                               .boot_id = buf_slice(&r->facts.boot_id),
                               .instance = slice_of(r->facts.instance, sizeof r->facts.instance),
                               .utc_offset_minutes = r->facts.utc_offset_minutes};
    struct uplink_owner owner = {.ctx = r,
                                 .next = next,
                                 .acked = acked,
                                 .rejected = rejected,
                                 .load = load,
                                 .welcome = welcome,
                                 .position = position,
                                 .rules = offered,
                                 .make_csr = make_csr,
                                 .renewed = renewed,
                                 .stopped = stopped};
    struct uplink_io io = wire_io(r->wire);
    return uplink_new(&u, &io, &owner);
}

static enum status summary(struct run *r, struct error *err) {
    const struct feeder_report *p = &r->report;
    struct uplink_status u = uplink_get_status(r->uplink);
    struct buf line = {0};
    uint64_t ms = clock_mono_ms() - r->started_ms;
    buf_str(&line, "sent ");
    progress_number(&line, u.acked_events);
    buf_printf(&line, " events of %zu file%s in %llu.%llu s", r->o->n_inputs, r->o->n_inputs == 1 ? "" : "s",
               (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000 / 100));
    if (u.acked_events && u.events_stored + u.events_held == u.acked_events) {
        buf_str(&line, ": ");
        progress_number(&line, u.events_stored);
        buf_str(&line, " stored, ");
        progress_number(&line, u.events_held);
        buf_str(&line, " held already");
    } else {
        buf_str(&line, ", all acknowledged"); /* nothing was sent, or a collector did not say what became of it */
    }
    if (p->skipped + p->parse_errors) {
        buf_str(&line, "; ");
        progress_number(&line, p->skipped + p->parse_errors);
        buf_str(&line, " records could not be read");
    }
    if (p->damaged) buf_printf(&line, "; %llu damaged parts", (unsigned long long)p->damaged);
    if (u.rejected_batches) {
        buf_str(&line, "; ");
        progress_number(&line, u.rejected_events);
        buf_printf(&line, " events were rejected and are kept in %s/rejected", r->o->state);
    }
    printf("%s\n", buf_cstr(&line));
    fflush(stdout);
    buf_free(&line);
    if (u.rejected_batches)
        return error_set(err, ST_DENIED, "the collector rejected %llu events", (unsigned long long)u.rejected_events);
    if (p->failed_inputs)
        return error_set(err, ST_IO, "%llu of %zu files could not be read", (unsigned long long)p->failed_inputs,
                         r->o->n_inputs);
    return ST_OK;
}

enum status run_agent(const struct run_options *o, struct error *err) {
    struct run r = {.o = o, .started_ms = clock_mono_ms(), .started = clock_wall()};
    struct file *lock = NULL;
    enum status st = keystore_load(o->state, &r.id, err);
    if (!st && !o->send) st = keystore_lock(o->state, &lock, err);
    if (st) goto out;
    facts_read(o->state, &r.facts);
    if (!o->send) {
        priority_lower();
        sysmon_prepare(o->sysmon_directory);
        sysmon_ask();
        sysmon_look(&r.sysmon);
    }
    r.terminal = facts_is_terminal();
    r.wire = wire_new();
    const char *own[] = {r.id.host_name, r.facts.hostname};
    struct feeder_options f = {.state_dir = o->state,
                               .inputs = o->inputs,
                               .n_inputs = o->n_inputs,
                               .spooled = !o->send,
                               .spool_max_bytes = o->spool_max_bytes,
                               .own_names = own,
                               .n_own_names = 2,
                               .wake = wake,
                               .ctx = r.wire};
    st = use_identity(&r, buf_slice(&r.id.certificate), buf_slice(&r.id.ca), err);
    if (!st) st = feeder_new(&f, &r.feeder, err);
    if (st) goto out;
    name_logs(&r);
    r.uplink = make_uplink(&r);
    if (!o->send) r.rules = make_rules(&r);
    wire_set_user(r.wire, &(struct wire_user){.ctx = &r,
                                              .on_open = on_open,
                                              .on_data = on_data,
                                              .on_drained = on_drained,
                                              .on_closed = on_closed,
                                              .on_tick = on_tick,
                                              .on_wake = on_wake,
                                              .on_signal = on_signal});
    st = wire_spawn(r.wire, feeder_run, r.feeder, err);
    if (st) goto out;
    uplink_start(r.uplink);
    wire_run(r.wire);
    clear_bar(&r);
    st = r.result;
    if (st && err)
        *err = r.err;
    else if (o->send)
        st = summary(&r, err);
out:
    uplink_free(&r.uplink);
    wire_free(&r.wire);
    rules_free(&r.rules);
    mem_free(r.rules_dir);
    feeder_free(&r.feeder);
    mem_free(r.report.logs);
    mem_free(r.report.troubles);
    file_close(&lock);
    facts_free(&r.facts);
    identity_free(&r.id);
    return st;
}
