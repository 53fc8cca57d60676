/* How the collector is, in JSON and for Prometheus; the ledger; the description of this API. */
#include "handlers.h"
#include "batch.h"
#include "clock.h"
#include "jout.h"
#include "ledger.h"
#include "mem.h"

#include <stdio.h>

#define MAX_HOLES 10000u

static void collect(struct call *c, struct stats_view *v) {
    const struct api_options *o = c->common->o;
    stats_collect(o->stats, o->db, o->ingest ? ingest_writer(o->ingest) : NULL, o->digest, v);
}

/* ---- status ---- */

struct host_counts {
    size_t total, connected, held, revoked, pending;
};

static struct host_counts count_hosts(struct fleet *f) {
    struct fleet_host *h;
    struct fleet_pending *p;
    struct host_counts n = {0};
    n.total = fleet_hosts(f, &h);
    for (size_t i = 0; i < n.total; i++) {
        n.connected += h[i].connected;
        n.held += h[i].state == HOST_HELD;
        n.revoked += h[i].state == HOST_REVOKED;
    }
    fleet_hosts_free(h, n.total);
    n.pending = fleet_pending_list(f, &p);
    fleet_pending_free(p, n.pending);
    return n;
}

static void put_hosts(struct fleet *f, struct buf *out) {
    struct host_counts n = count_hosts(f);
    jout_object(out, "hosts");
    jout_uint(out, "total", n.total);
    jout_uint(out, "connected", n.connected);
    jout_uint(out, "held", n.held);
    jout_uint(out, "revoked", n.revoked);
    jout_uint(out, "pending", n.pending);
    jout_close(out, '}');
}

static void put_rules(struct rollouts *r, struct buf *out) {
    struct rollouts_counts n;
    rollouts_count(r, &n);
    jout_object(out, "rules");
    for (uint32_t i = RULES_NONE; i <= RULES_DRIFTED; i++) jout_uint(out, rules_state_name(i), n.by_state[i]);
    jout_uint(out, "behind", n.behind);
    jout_uint(out, "rollouts_running", n.running);
    jout_uint(out, "rollouts_halted", n.halted);
    jout_close(out, '}');
}

static void put_writer(const struct writer_state *w, struct buf *out) {
    jout_object(out, "writer");
    jout_uint(out, "commits", w->n_commits);
    jout_uint(out, "batches", w->n_items);
    jout_uint(out, "events", w->n_events);
    jout_uint(out, "bytes", w->n_bytes);
    jout_uint(out, "duplicates", w->n_duplicates);
    jout_uint(out, "queued_batches", w->queued_items);
    jout_uint(out, "queued_bytes", w->queued_bytes);
    jout_real(out, "commit_ms_mean", w->n_commits ? (double)w->commit_us_total / 1000 / (double)w->n_commits : 0);
    jout_real(out, "commit_ms_max", (double)w->commit_us_max / 1000);
    jout_bool(out, "full", w->full);
    jout_str(out, "failure", w->failure);
    jout_close(out, '}');
}

static void put_store(const struct stats_view *v, struct buf *out) {
    jout_object(out, "disk");
    jout_uint(out, "free_bytes", v->disk_free);
    jout_uint(out, "total_bytes", v->disk_total);
    jout_uint(out, "store_bytes", v->store_bytes);
    jout_uint(out, "index_bytes", v->index_bytes);
    jout_close(out, '}');
    jout_object(out, "digest");
    jout_uint(out, "last_pack", v->last_seq);
    jout_uint(out, "flushed_pack", v->digest_seq);
    jout_uint(out, "lag_packs", v->digest_lag_packs);
    jout_uint(out, "indexed_events", v->stored_events);
    jout_uint(out, "indexed_blocks", v->stored_blocks);
    jout_close(out, '}');
}

static void put_partitions(struct db *db, struct buf *out) {
    struct db_partition *p;
    size_t n = db_partitions(db, &p);
    jout_array(out, "partitions");
    for (size_t i = 0; i < n; i++) {
        jout_object(out, NULL);
        jout_str(out, "day", p[i].day);
        jout_uint(out, "bytes", p[i].bytes);
        jout_uint(out, "index_bytes", p[i].index_bytes);
        jout_uint(out, "events", p[i].n_events);
        jout_uint(out, "blocks", p[i].n_blocks);
        jout_bool(out, "sealed", p[i].sealed);
        jout_close(out, '}');
    }
    jout_close(out, ']');
    mem_free(p);
}

static void put_counters(const struct stats_view *v, struct buf *out) {
    jout_object(out, "counters");
    for (int i = 0; i < STATS_COUNT; i++) jout_uint(out, stats_name((enum stats_counter)i), v->values[i]);
    jout_close(out, '}');
    jout_array(out, "threads");
    for (size_t i = 0; i < v->n_threads; i++) {
        jout_object(out, NULL);
        jout_str(out, "name", v->threads[i].name);
        jout_real(out, "cpu_s", v->threads[i].cpu_s);
        jout_close(out, '}');
    }
    jout_close(out, ']');
}

enum step status_step(struct call *c, struct buf *out, struct error *err) {
    struct stats_view *v = mem_zalloc(sizeof *v);
    (void)err;
    collect(c, v);
    jout_object(out, NULL);
    jout_str(out, "version", v->version);
    jout_time(out, "started", v->started);
    jout_time(out, "now", v->now);
    jout_uint(out, "uptime_s", v->now > v->started ? (v->now - v->started) / FILETIME_SECOND : 0);
    jout_object(out, "events");
    jout_uint(out, "stored", v->values[STATS_events_stored]);
    jout_uint(out, "duplicates", v->values[STATS_events_duplicate]);
    jout_real(out, "per_s", v->events_per_s);
    jout_close(out, '}');
    put_hosts(c->common->o->fleet, out);
    put_rules(c->common->o->rollouts, out);
    put_writer(&v->writer, out);
    put_store(v, out);
    put_partitions(c->common->o->db, out);
    put_counters(v, out);
    jout_real(out, "cpu_s", v->process_cpu_s);
    jout_uint(out, "memory_bytes", v->rss_bytes);
    jout_str(out, "last_error", v->last_error);
    jout_time(out, "last_error_time", v->last_error_time);
    jout_line(out);
    mem_free(v);
    return STEP_END;
}

/* ---- Prometheus ---- */

static void put_metric(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP haechi_%s %s\n# TYPE haechi_%s %s\n", name, help, name, type);
}

static void put_single(struct buf *out, const char *name, const char *type, const char *help, double value) {
    put_metric(out, name, type, help);
    buf_printf(out, "haechi_%s %.17g\n", name, value);
}

static void put_commits(struct buf *out, const struct writer_state *w) {
    uint64_t n = 0;
    put_metric(out, "commit_seconds", "histogram", "how long commits took");
    for (int i = 0; i < WRITER_BUCKETS - 1; i++) {
        n += w->commit_us_bucket[i];
        buf_printf(out, "haechi_commit_seconds_bucket{le=\"%g\"} %llu\n", (double)(UINT64_C(1) << i) / 1e6,
                   (unsigned long long)n);
    }
    n += w->commit_us_bucket[WRITER_BUCKETS - 1];
    buf_printf(out, "haechi_commit_seconds_bucket{le=\"+Inf\"} %llu\n", (unsigned long long)n);
    buf_printf(out, "haechi_commit_seconds_sum %.6f\nhaechi_commit_seconds_count %llu\n",
               (double)w->commit_us_total / 1e6, (unsigned long long)n);
}

static void put_gauges(struct buf *out, const struct stats_view *v) {
    put_single(out, "start_time_seconds", "gauge", "when the collector started, Unix time",
               (double)filetime_to_unix(v->started));
    put_single(out, "events_per_second", "gauge", "events stored a second, over the last seconds", v->events_per_s);
    put_single(out, "resident_memory_bytes", "gauge", "resident memory", (double)v->rss_bytes);
    put_single(out, "cpu_seconds_total", "counter", "CPU time of the process", v->process_cpu_s);
    put_single(out, "disk_free_bytes", "gauge", "free space where the data is", (double)v->disk_free);
    put_single(out, "disk_total_bytes", "gauge", "size of the file system where the data is", (double)v->disk_total);
    put_single(out, "store_bytes", "gauge", "bytes of packs and ledger", (double)v->store_bytes);
    put_single(out, "index_bytes", "gauge", "bytes of derived data", (double)v->index_bytes);
    put_single(out, "partitions", "gauge", "days of arrival that are kept", (double)v->n_partitions);
    put_single(out, "writer_queued_bytes", "gauge", "bytes that wait for the writer", (double)v->writer.queued_bytes);
    put_single(out, "writer_failing", "gauge", "1 while commits fail and nothing is acknowledged",
               v->writer.failure[0] ? 1 : 0);
    put_single(out, "digest_lag_packs", "gauge", "packs that are not indexed yet", (double)v->digest_lag_packs);
}

static void put_rules_metrics(struct rollouts *r, struct buf *out) {
    struct rollouts_counts n;
    rollouts_count(r, &n);
    put_metric(out, "hosts_rules", "gauge", "hosts by what they say of their rules");
    for (uint32_t i = RULES_NONE; i <= RULES_DRIFTED; i++)
        buf_printf(out, "haechi_hosts_rules{state=\"%s\"} %zu\n", rules_state_name(i), n.by_state[i]);
    put_single(out, "hosts_rules_behind", "gauge", "hosts that have not the rules they shall have", (double)n.behind);
    put_single(out, "rollouts_running", "gauge", "rollouts that run", (double)n.running);
    put_single(out, "rollouts_halted", "gauge", "rollouts that were halted", (double)n.halted);
}

enum step metrics_step(struct call *c, struct buf *out, struct error *err) {
    struct stats_view *v = mem_zalloc(sizeof *v);
    struct host_counts n = count_hosts(c->common->o->fleet);
    (void)err;
    collect(c, v);
    put_metric(out, "build_info", "gauge", "the version, as a label");
    buf_printf(out, "haechi_build_info{version=\"%s\"} 1\n", v->version);
    for (int i = 0; i < STATS_COUNT; i++) {
        enum stats_counter k = (enum stats_counter)i;
        char name[64];
        snprintf(name, sizeof name, "%s%s", stats_name(k), stats_is_gauge(k) ? "" : "_total");
        put_single(out, name, stats_is_gauge(k) ? "gauge" : "counter", stats_help(k), (double)v->values[i]);
    }
    put_gauges(out, v);
    put_single(out, "hosts", "gauge", "hosts known", (double)n.total);
    put_single(out, "hosts_connected", "gauge", "hosts connected", (double)n.connected);
    put_single(out, "hosts_held", "gauge", "hosts held after a clone alarm", (double)n.held);
    put_single(out, "hosts_pending", "gauge", "enrolments that wait for approval", (double)n.pending);
    put_rules_metrics(c->common->o->rollouts, out);
    put_commits(out, &v->writer);
    put_metric(out, "thread_cpu_seconds_total", "counter", "CPU time by thread");
    for (size_t i = 0; i < v->n_threads; i++) {
        buf_printf(out, "haechi_thread_cpu_seconds_total{thread=\"%s\"} %.6f\n", v->threads[i].name,
                   v->threads[i].cpu_s);
    }
    mem_free(v);
    return STEP_END;
}

/* ---- ledger: host by host, so that no more than one host's ledgers are in memory ---- */

struct ledger_call {
    struct fleet_host *hosts;
    size_t n, at, n_owned;
    bool holes;
};

static void free_ledger(void *state) {
    struct ledger_call *l = state;
    fleet_hosts_free(l->hosts, l->n_owned);
    mem_free(l);
}

static enum status begin_ledger(struct call *c, struct error *err) {
    const char *name = call_param(c, "host");
    struct ledger_call *l = mem_zalloc(sizeof *l);
    c->state = l;
    c->free_state = free_ledger;
    enum status st = call_flag(c, "holes", &l->holes, err);
    if (st || !name) {
        l->n = l->n_owned = st ? 0 : fleet_hosts(c->common->o->fleet, &l->hosts);
        return st;
    }
    struct fleet_host h;
    st = fleet_host_find(c->common->o->fleet, slice_str(name), &h, err);
    if (st) return st;
    l->hosts = mem_alloc(sizeof *l->hosts);
    l->hosts[0] = h;
    l->n = l->n_owned = 1;
    return ST_OK;
}

struct hole_counts {
    uint64_t missing, explained, n;
};

static struct hole_counts count_holes(const struct ledger *l) {
    struct hole_counts c = {0};
    struct ledger_note hole;
    uint64_t at = 0;
    while (ledger_next_hole(l, &at, &hole)) {
        uint64_t ids = hole.last - hole.first + 1;
        c.n++;
        c.missing += ids;
        if (hole.cause != LEDGER_OPEN) c.explained += ids;
    }
    return c;
}

static void put_holes(const struct ledger *l, uint64_t n, struct buf *out) {
    static const char *const causes[] = {"open", "cleared", "wrapped", "filtered", "damaged"};
    struct ledger_note hole;
    uint64_t at = 0;
    jout_array(out, "holes");
    for (unsigned i = 0; i < MAX_HOLES && ledger_next_hole(l, &at, &hole); i++) {
        jout_object(out, NULL);
        jout_uint(out, "first", hole.first);
        jout_uint(out, "last", hole.last);
        jout_uint(out, "count", hole.last - hole.first + 1);
        jout_str(out, "cause", causes[hole.cause]);
        jout_close(out, '}');
    }
    jout_close(out, ']');
    if (n > MAX_HOLES) jout_uint(out, "more", n - MAX_HOLES);
}

static void put_log(const struct fleet_host *h, const struct db_stream *s, bool only_holes, struct buf *out) {
    bool by_content = s->epoch == EPOCH_CONTENT;
    struct hole_counts n = {0};
    if (!by_content) n = count_holes(s->ledger);
    const struct ledger_span *highest = by_content ? NULL : ledger_highest(s->ledger);
    if (only_holes && !n.n) return;
    jout_object(out, NULL);
    jout_str(out, "host", h->name);
    jout_str(out, "computer", s->computer);
    jout_str(out, "channel", s->channel);
    if (by_content) {
        jout_null(out, "epoch");
        jout_bool(out, "by_content", true);
    } else {
        jout_uint(out, "epoch", s->epoch);
    }
    if (highest) {
        jout_uint(out, "first_id", s->ledger->spans[0].first);
        jout_uint(out, "last_id", highest->last);
    } else {
        jout_null(out, "first_id");
        jout_null(out, "last_id");
    }
    jout_uint(out, "held", s->n_events);
    jout_uint(out, "missing", n.missing);
    jout_uint(out, "explained", n.explained);
    jout_bool(out, "complete", n.missing == 0);
    jout_uint(out, "duplicates", s->n_duplicates);
    jout_uint(out, "bytes", s->n_bytes);
    jout_time(out, "last_arrival", s->last_arrival);
    if (by_content) {
        jout_array(out, "holes");
        jout_close(out, ']');
    } else {
        put_holes(s->ledger, n.n, out);
    }
    jout_line(out);
}

#define LEDGER_DIGEST_MS 2000 /* events that explain holes may be a moment old: the digest gets that long for them */

enum step ledger_step(struct call *c, struct buf *out, struct error *err) {
    if (!c->state && c->common->o->digest) (void)digest_sync(c->common->o->digest, LEDGER_DIGEST_MS);
    enum status st = c->state ? ST_OK : begin_ledger(c, err);
    if (st) return call_fail(err, st);
    struct ledger_call *l = c->state;
    uint64_t began = clock_mono_ms();
    for (; l->at < l->n && out->len < CALL_PIECE && clock_mono_ms() - began < 50; l->at++) {
        struct db_stream *streams;
        size_t n;
        st = db_streams(c->common->o->db, l->hosts[l->at].id, &streams, &n, err);
        if (st) return call_fail(err, st);
        for (size_t i = 0; i < n; i++) put_log(&l->hosts[l->at], &streams[i], l->holes, out);
        db_streams_free(streams, n);
    }
    return l->at < l->n ? STEP_MORE : STEP_END;
}

/* ---- the description ---- */

extern const unsigned char openapi_json[]; /* made from openapi.json by the Makefile */
extern const size_t openapi_json_len;

enum step openapi_step(struct call *c, struct buf *out, struct error *err) {
    (void)c;
    (void)err;
    buf_append(out, openapi_json, openapi_json_len);
    return STEP_END;
}
