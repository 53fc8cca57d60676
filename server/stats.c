/* Counters are relaxed atomics: each is right by itself, a view of several is of about one moment. The thread table and
 * the last error are small and change rarely, so they have a mutex of their own instead of a queue between threads. */
#include "stats.h"
#include "clock.h"
#include "digest.h"
#include "file.h"
#include "mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#ifndef HAECHI_VERSION
#define HAECHI_VERSION "0"
#endif

#define RATE_WINDOW 10 /* seconds */

struct thread {
    char name[16];
    pthread_t self;
    clockid_t clock;
    bool live;
    double ended_cpu_s;
};

struct stats {
    _Atomic int64_t values[STATS_COUNT];
    uv_mutex_t mutex; /* all below */
    struct thread threads[STATS_MAX_THREADS];
    size_t n_threads;
    char last_error[ERROR_TEXT_MAX];
    uint64_t last_error_time, started;
    uint64_t ring[RATE_WINDOW], ring_ms[RATE_WINDOW]; /* events stored, and when */
    size_t ring_n;
};

static const struct {
    const char *name, *help;
    bool gauge;
} facts[STATS_COUNT] = {
#define STATS_FACT(n, h) [STATS_##n] = {#n, h, false},
    STATS_COUNTERS(STATS_FACT)
#undef STATS_FACT
#define STATS_FACT(n, h) [STATS_##n] = {#n, h, true},
        STATS_GAUGES(STATS_FACT)
#undef STATS_FACT
};

struct stats *stats_new(void) {
    struct stats *s = mem_zalloc(sizeof *s);
    if (uv_mutex_init(&s->mutex)) abort();
    s->started = clock_wall();
    return s;
}

void stats_free(struct stats **s) {
    if (!*s) return;
    uv_mutex_destroy(&(*s)->mutex);
    mem_free(*s);
    *s = NULL;
}

void stats_add(struct stats *s, enum stats_counter c, int64_t n) {
    if (s) atomic_fetch_add_explicit(&s->values[c], n, memory_order_relaxed);
}

uint64_t stats_get(const struct stats *s, enum stats_counter c) {
    int64_t v = atomic_load_explicit(&s->values[c], memory_order_relaxed);
    return v < 0 ? 0 : (uint64_t)v;
}

static double seconds_of(clockid_t clock) {
    struct timespec t;
    return clock_gettime(clock, &t) ? 0 : (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void stats_thread_begin(struct stats *s, const char *name) {
    if (!s) return;
    uv_mutex_lock(&s->mutex);
    struct thread *t = NULL;
    for (size_t i = 0; i < s->n_threads && !t; i++) { /* a thread that ended gives its line to its successor */
        if (!s->threads[i].live && strcmp(s->threads[i].name, name) == 0) t = &s->threads[i];
    }
    if (!t && s->n_threads < STATS_MAX_THREADS) t = &s->threads[s->n_threads++];
    if (t) {
        snprintf(t->name, sizeof t->name, "%s", name);
        t->self = pthread_self();
        t->live = pthread_getcpuclockid(t->self, &t->clock) == 0;
    }
    uv_mutex_unlock(&s->mutex);
}

void stats_thread_end(struct stats *s) {
    if (!s) return;
    uv_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->n_threads; i++) {
        struct thread *t = &s->threads[i];
        if (!t->live || !pthread_equal(t->self, pthread_self())) continue;
        t->ended_cpu_s += seconds_of(t->clock);
        t->live = false;
    }
    uv_mutex_unlock(&s->mutex);
}

void stats_error(struct stats *s, const char *fmt, ...) {
    if (!s) return;
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    uv_mutex_lock(&s->mutex);
    memcpy(s->last_error, text, sizeof text);
    s->last_error_time = clock_wall();
    uv_mutex_unlock(&s->mutex);
}

void stats_sample(struct stats *s, struct writer *w) {
    struct writer_state ws = {0};
    if (w) writer_get_state(w, &ws);
    uint64_t now = clock_mono_ms();
    uv_mutex_lock(&s->mutex);
    s->ring[s->ring_n % RATE_WINDOW] = ws.n_events;
    s->ring_ms[s->ring_n % RATE_WINDOW] = now;
    s->ring_n++;
    uv_mutex_unlock(&s->mutex);
}

static double rate_locked(const struct stats *s) {
    if (s->ring_n < 2) return 0;
    size_t newest = (s->ring_n - 1) % RATE_WINDOW;
    size_t oldest = s->ring_n > RATE_WINDOW ? s->ring_n % RATE_WINDOW : 0;
    uint64_t ms = s->ring_ms[newest] - s->ring_ms[oldest];
    return ms && s->ring[newest] >= s->ring[oldest] ? (double)(s->ring[newest] - s->ring[oldest]) * 1000 / (double)ms
                                                    : 0;
}

static uint64_t resident(void) {
    size_t rss = 0;
    return uv_resident_set_memory(&rss) ? 0 : rss;
}

static void collect_store(struct db *db, struct stats_view *v) {
    struct db_partition *p = NULL;
    size_t n = db_partitions(db, &p);
    v->n_partitions = n;
    if (n) memcpy(v->oldest_day, p[0].day, sizeof v->oldest_day);
    for (size_t i = 0; i < n; i++) {
        v->store_bytes += p[i].bytes;
        v->index_bytes += p[i].index_bytes;
        v->stored_events += p[i].n_events;
        v->stored_blocks += p[i].n_blocks;
    }
    mem_free(p);
    v->last_seq = db_last_seq(db);
    if (file_space(db_dir(db), &v->disk_free, &v->disk_total, NULL)) v->disk_free = v->disk_total = 0;
}

void stats_collect(struct stats *s, struct db *db, struct writer *w, struct digest *d, struct stats_view *ret) {
    memset(ret, 0, sizeof *ret);
    ret->version = HAECHI_VERSION;
    ret->now = clock_wall();
    for (int i = 0; i < STATS_COUNT; i++) ret->values[i] = stats_get(s, (enum stats_counter)i);
    if (w) writer_get_state(w, &ret->writer);
    uv_mutex_lock(&s->mutex);
    ret->started = s->started;
    ret->events_per_s = rate_locked(s);
    memcpy(ret->last_error, s->last_error, sizeof ret->last_error);
    ret->last_error_time = s->last_error_time;
    for (size_t i = 0; i < s->n_threads; i++) {
        struct stats_thread *t = &ret->threads[ret->n_threads++];
        snprintf(t->name, sizeof t->name, "%s", s->threads[i].name);
        t->cpu_s = s->threads[i].ended_cpu_s + (s->threads[i].live ? seconds_of(s->threads[i].clock) : 0);
    }
    uv_mutex_unlock(&s->mutex);
    if (w && ret->n_threads < STATS_MAX_THREADS) {
        struct stats_thread *t = &ret->threads[ret->n_threads++];
        snprintf(t->name, sizeof t->name, "writer");
        t->cpu_s = ret->writer.cpu_s;
    }
    ret->process_cpu_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    ret->rss_bytes = resident();
    collect_store(db, ret);
    ret->digest_seq = d ? digest_position(d) : 0;
    ret->digest_lag_packs = ret->last_seq > ret->digest_seq ? ret->last_seq - ret->digest_seq : 0;
}

const char *stats_name(enum stats_counter c) {
    return facts[c].name;
}

const char *stats_help(enum stats_counter c) {
    return facts[c].help;
}

bool stats_is_gauge(enum stats_counter c) {
    return facts[c].gauge;
}
