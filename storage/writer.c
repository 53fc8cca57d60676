/* 8 STORE: the writer thread. Admission looks into ledgers in memory; what it places goes into one transaction of packs
 * and touched ledgers; items are completed after that transaction is on disk, never before.
 *
 * A group whose transaction fails is kept as it is and tried again: its items are admitted once, no new ones are let in
 * meanwhile, and the ledgers in memory are never ahead of the disk by more than that one group. */
#include "writer.h"
#include "clock.h"
#include "crash.h"
#include "group.h"
#include "log.h"
#include "mem.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>

#define WRITER_BATCH_BYTES ((size_t)1 << 20)
#define WRITER_QUEUE_BYTES ((size_t)32 << 20)
#define WRITER_GROUP_BYTES ((size_t)16 << 20) /* the most that one transaction takes */
#define WRITER_RETRY_MS 1000u
#define WRITER_MAX_NAME 1024u
#define ITEM_WEIGHT 256u

struct call {
    struct list link;
    enum status (*fn)(void *arg, struct writer *w, struct error *err);
    void (*done)(void *arg, enum status st, const struct error *err);
    void *arg;
};

struct writer {
    struct db *db;
    struct writer_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock */
    struct list items, calls;
    size_t waiting_bytes, n_waiting; /* not taken yet */
    bool idle, stopping;             /* idle: the thread waits for anything at all */
    bool finished;                   /* the thread is joined; for the thread that finishes and frees */
    struct writer_state state;
    /* the thread's own */
    struct streamtab streams;
    struct group group;
    struct partition *part; /* held; NULL before the first commit ever */
    struct partition *next; /* of a new day, until its first commit */
    uint64_t last_seq, last_start_us;
    struct writer_item *current; /* being admitted */
    struct writer_stream *scratch;
    size_t n_scratch, cap_scratch;
    bool failing;
};

static uint64_t mono_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void wait_until(struct writer *w, uint64_t us) {
    struct timespec ts = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    (void)pthread_cond_timedwait(&w->wake, &w->lock, &ts);
}

/* ---- any thread ---- */

static size_t weight(const struct writer_item *item) {
    return item->block.bytes.len + item->block.guids.len + ITEM_WEIGHT;
}

bool writer_can_put(struct writer *w, size_t bytes) {
    pthread_mutex_lock(&w->lock);
    uint64_t used = w->state.queued_bytes;
    pthread_mutex_unlock(&w->lock);
    return !used || used + bytes + ITEM_WEIGHT <= w->o.queue_bytes;
}

enum status writer_put(struct writer *w, struct writer_item *item) {
    size_t bytes = weight(item);
    pthread_mutex_lock(&w->lock);
    enum status st = w->stopping ? ST_CLOSED : ST_OK;
    if (!st && w->state.queued_bytes && w->state.queued_bytes + bytes > w->o.queue_bytes) st = ST_AGAIN;
    if (!st) {
        list_append(&w->items, &item->link);
        w->state.queued_bytes += bytes;
        w->state.queued_items++;
        w->waiting_bytes += bytes;
        w->n_waiting++;
        /* a writer that waits out its spacing is woken by volume only */
        if (w->idle || (w->waiting_bytes >= w->o.batch_bytes && w->waiting_bytes - bytes < w->o.batch_bytes)) {
            pthread_cond_signal(&w->wake);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return st;
}

enum status writer_call(struct writer *w, enum status (*fn)(void *arg, struct writer *w, struct error *err),
                        void (*done)(void *arg, enum status st, const struct error *err), void *arg) {
    struct call *c = mem_alloc(sizeof *c);
    *c = (struct call){.fn = fn, .done = done, .arg = arg};
    pthread_mutex_lock(&w->lock);
    enum status st = w->stopping ? ST_CLOSED : ST_OK;
    if (!st) {
        list_append(&w->calls, &c->link);
        if (w->idle) pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    if (st) mem_free(c);
    return st;
}

void writer_get_state(struct writer *w, struct writer_state *ret) {
    clockid_t clock;
    struct timespec ts;
    pthread_mutex_lock(&w->lock);
    *ret = w->state;
    pthread_mutex_unlock(&w->lock);
    if (!w->finished && !pthread_getcpuclockid(w->thread, &clock) && !clock_gettime(clock, &ts)) {
        ret->cpu_s = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
    }
}

/* ---- inside admit and writer_call ---- */

static void fill_stream(struct stream *s, struct writer_stream *ret) {
    *ret = (struct writer_stream){.id = s->id, .epoch = s->epoch, .ledger = &s->ledger};
}

static void collect_stream(void *ctx, struct stream *s) {
    struct writer *w = ctx;
    mem_grow((void **)&w->scratch, w->n_scratch, &w->cap_scratch, sizeof *w->scratch);
    fill_stream(s, &w->scratch[w->n_scratch++]);
}

size_t writer_streams(struct writer *w, uint32_t host, struct slice computer, struct slice channel,
                      struct writer_stream **ret) {
    w->n_scratch = 0;
    streamtab_each(&w->streams, host, computer, channel, collect_stream, w);
    *ret = w->scratch;
    return w->n_scratch;
}

static bool name_ok(struct slice s) {
    return s.len <= WRITER_MAX_NAME && (!s.len || !memchr(s.p, 0, s.len));
}

enum status writer_stream_get(struct writer *w, uint32_t host, struct slice computer, struct slice channel,
                              uint32_t epoch, struct writer_stream *ret, struct error *err) {
    if (!host || !channel.len || !name_ok(computer) || !name_ok(channel)) {
        return error_set(err, ST_INVALID,
                         "a log's channel has 1 to %u bytes, its computer at most as many, neither a NUL",
                         WRITER_MAX_NAME);
    }
    struct stream *s = streamtab_get(&w->streams, host, computer, channel, epoch);
    if (!s) return error_set(err, ST_TOOBIG, "the host has %u logs and epochs already", STREAMTAB_MAX_PER_HOST);
    fill_stream(s, ret);
    return ST_OK;
}

static struct stream *stream_of(struct writer *w, uint32_t id) {
    struct stream *s = streamtab_by_id(&w->streams, id);
    assert(s);
    return s;
}

void writer_place(struct writer *w, struct writer_item *item, uint32_t stream, const struct db_keep *keep,
                  size_t n_keep, const struct ledger_span *spans, size_t n_spans, uint64_t n_kept) {
    assert(item == w->current);
    group_wish(&w->group,
               (struct wish){.kind = WISH_PLACE,
                             .stream = stream_of(w, stream),
                             .item = item,
                             .n_keep = n_keep,
                             .n_spans = n_spans,
                             .n = n_kept},
               keep, spans);
}

void writer_count_duplicates(struct writer *w, uint32_t stream, uint64_t n) {
    if (!n) return;
    group_wish(&w->group, (struct wish){.kind = WISH_DUPLICATES, .stream = stream_of(w, stream), .n = n}, NULL, NULL);
}

void writer_explain(struct writer *w, uint32_t stream, uint64_t first, uint64_t last, enum ledger_cause cause) {
    group_wish(&w->group,
               (struct wish){
                   .kind = WISH_EXPLAIN, .stream = stream_of(w, stream), .first = first, .last = last, .cause = cause},
               NULL, NULL);
}

enum status writer_blocks(struct writer *w, uint32_t host, uint32_t stream, uint64_t first, uint64_t last,
                          struct db_block **ret, size_t *ret_n, struct error *err) {
    struct db_block *b;
    size_t n;
    enum status st = db_stream_blocks(w->db, host, stream, first, last, &b, &n, err);
    if (st) return st;
    size_t cap = n;
    for (size_t i = 0; i < w->group.n_placed; i++) {
        const struct db_block *own = &w->group.placed[i].blk;
        if (own->host != host || own->stream != stream || own->first_id > last || own->last_id < first) continue;
        mem_grow((void **)&b, n, &cap, sizeof *b);
        b[n++] = *own;
    }
    *ret = b;
    *ret_n = n;
    return ST_OK;
}

enum status writer_read_block(struct writer *w, const struct db_block *b, struct buf *out, struct db_keep **ret_keep,
                              size_t *ret_n_keep, struct error *err) {
    if (b->seq <= w->last_seq) return db_read_block(w->db, b, out, ret_keep, ret_n_keep, err);
    const struct placement *p = group_find(&w->group, b->seq, b->index);
    if (!p) return error_set(err, ST_NOTFOUND, "no such block in this transaction");
    buf_slice_append(out, p->item->block.bytes);
    *ret_keep = NULL;
    *ret_n_keep = p->n_keep;
    if (p->n_keep) {
        *ret_keep = mem_alloc(p->n_keep * sizeof **ret_keep);
        memcpy(*ret_keep, w->group.keeps + p->keep_at, p->n_keep * sizeof **ret_keep);
    }
    return ST_OK;
}

/* ---- the thread ---- */

/* Waits until there is something to do and its time has come; takes it. False: stopped and nothing is left. */
static bool take(struct writer *w, struct list *items, struct list *calls) {
    uint64_t due = w->last_start_us + (uint64_t)w->o.spacing_ms * 1000;
    pthread_mutex_lock(&w->lock);
    while (!w->stopping && list_is_empty(&w->items) && list_is_empty(&w->calls)) {
        w->idle = true;
        pthread_cond_wait(&w->wake, &w->lock);
        w->idle = false;
    }
    while (!w->stopping && w->waiting_bytes < w->o.batch_bytes && mono_us() < due) wait_until(w, due);
    size_t bytes = 0;
    while (!list_is_empty(&w->calls)) {
        struct list *link = w->calls.next;
        list_remove(link);
        list_append(calls, link);
    }
    while (!list_is_empty(&w->items)) {
        struct writer_item *item = container_of(w->items.next, struct writer_item, link);
        if (bytes && bytes + weight(item) > WRITER_GROUP_BYTES) break;
        bytes += weight(item);
        list_remove(&item->link);
        list_append(items, &item->link);
        w->n_waiting--;
    }
    w->waiting_bytes -= bytes;
    pthread_mutex_unlock(&w->lock);
    return !list_is_empty(items) || !list_is_empty(calls);
}

static void complete_item(struct writer *w, struct writer_item *item, enum status st, const struct error *err) {
    size_t bytes = weight(item);
    list_remove(&item->link);
    pthread_mutex_lock(&w->lock);
    w->state.queued_bytes -= bytes;
    w->state.queued_items--;
    if (!st) w->state.n_items++;
    pthread_mutex_unlock(&w->lock);
    w->o.done(w->o.ctx, item, st, err);
}

static void complete_call(struct call *c, enum status st, const struct error *err) {
    list_remove(&c->link);
    if (c->done) c->done(c->arg, st, err);
    mem_free(c);
}

/* Runs the callbacks; the refused are completed at once and leave the lists. */
static void admit(struct writer *w, struct list *items, struct list *calls) {
    group_begin(&w->group, w->o.now(), w->last_seq + 1);
    list_for_each_safe (it, tmp, calls) {
        struct call *c = container_of(it, struct call, link);
        struct error err = {0};
        enum status st = c->fn(c->arg, w, &err);
        if (st) {
            group_forget_wishes(&w->group);
            complete_call(c, st, &err);
        } else {
            group_grant_wishes(&w->group, &w->streams);
        }
    }
    list_for_each_safe (it, tmp, items) {
        struct writer_item *item = container_of(it, struct writer_item, link);
        struct error err = {0};
        w->current = item;
        enum status st = w->o.admit(w->o.ctx, w, item, &err);
        w->current = NULL;
        if (st) {
            group_forget_wishes(&w->group);
            complete_item(w, item, st, &err);
        } else {
            group_grant_wishes(&w->group, &w->streams);
        }
    }
}

static enum status check_space(struct writer *w, struct error *err) {
    uint64_t left, total;
    enum status st = file_space(w->db->dir, &left, &total, err);
    if (st || left >= w->db->options.min_free_bytes) return st;
    return error_set(
        err, ST_FULL,
        "%s has %llu MiB free, less than the %llu MiB that stay reserved; free some space or shorten the retention",
        w->db->dir, (unsigned long long)(left >> 20), (unsigned long long)(w->db->options.min_free_bytes >> 20));
}

/* The partition that the group goes to: the newest, or a new one when the day of arrival is past it. */
static enum status choose_partition(struct writer *w, struct partition **ret, struct error *err) {
    char day[DB_DAY_LEN];
    filetime_day(w->group.arrival, day);
    if (w->part && strcmp(day, w->part->day) <= 0) {
        *ret = w->part;
        return ST_OK;
    }
    if (!w->next) {
        enum status st = partition_create(w->db, day, w->last_seq, &w->next, err);
        if (st) return st;
    }
    *ret = w->next;
    return ST_OK;
}

static enum status write_once(struct writer *w, struct partition *p, struct error *err) {
    bool first = p == w->next;
    size_t bytes = group_bytes(&w->group) + streamtab_store_bytes(&w->streams, first);
    MDB_txn *txn = NULL;
    enum status st = env_write(p->events, bytes, &txn, err);
    if (st) return st;
    int rc = 0;
    if (first) st = partition_put_meta(p, txn, err);
    if (!st) rc = group_store(&w->group, p, txn);
    if (!st && !rc) rc = streamtab_store(&w->streams, p, txn, first);
    if (rc) st = env_error(p->events, rc, "cannot store", err);
    if (st) {
        env_end(p->events, &txn);
        return st;
    }
    crash_point("before-commit");
    st = env_commit(p->events, &txn, err);
    if (!st) crash_point("after-commit");
    return st;
}

/* LMDB calls a write that came out short, as the last one before a full disk does, an input/output error. */
static bool is_out_of_space(struct writer *w, enum status st) {
    uint64_t left, total;
    if (st != ST_IO || file_space(w->db->dir, &left, &total, NULL)) return st == ST_FULL;
    return left < 4 * (uint64_t)group_bytes(&w->group) + ((uint64_t)16 << 20);
}

static enum status write_group(struct writer *w, struct partition **ret, struct error *err) {
    enum status st = check_space(w, err);
    if (!st) st = choose_partition(w, ret, err);
    if (st) return st;
    st = write_once(w, *ret, err);
    for (int tries = 0; st == ST_AGAIN && tries < 8; tries++) {
        st = env_grow((*ret)->events, group_bytes(&w->group), err);
        if (!st) st = write_once(w, *ret, err);
    }
    if (is_out_of_space(w, st)) {
        st = ST_FULL;
        error_prefix(err, st, "no space for events; free some space on the file system of %s or shorten the retention",
                     w->db->dir);
    }
    return st;
}

/* The group is on disk: readers may see it. The directory first, so that no pack is readable that it does not list. */
static void publish(struct writer *w, struct partition *p) {
    group_publish(&w->group, w->db->tail);
    streamtab_stored(&w->streams);
    w->last_seq += w->group.n_packs;
    if (p == w->next) {
        partition_publish(w->db, p);
        partition_release(w->db, w->part);
        w->part = p;
        w->next = NULL;
    }
    pthread_mutex_lock(&w->db->lock);
    p->last_seq = w->last_seq;
    w->db->last_seq = w->last_seq;
    pthread_mutex_unlock(&w->db->lock);
}

static void note_failure(struct writer *w, enum status st, const struct error *err) {
    if (!w->failing) { log_error("storage", "%s; nothing is acknowledged, trying again every second", err->msg); }
    w->failing = true;
    pthread_mutex_lock(&w->lock);
    w->state.full = st == ST_FULL;
    memcpy(w->state.failure, err->msg, sizeof w->state.failure);
    pthread_mutex_unlock(&w->lock);
}

static void note_success(struct writer *w, uint64_t took_us) {
    if (w->failing) log_info("storage", "events are stored and acknowledged again");
    w->failing = false;
    pthread_mutex_lock(&w->lock);
    w->state.full = false;
    w->state.failure[0] = 0;
    w->state.n_commits++;
    w->state.n_events += w->group.n_events;
    w->state.n_bytes += w->group.n_bytes;
    w->state.n_duplicates += w->group.n_duplicates;
    w->state.commit_us_total += took_us;
    if (took_us > w->state.commit_us_max) w->state.commit_us_max = took_us;
    size_t bucket = 0;
    while (bucket + 1 < WRITER_BUCKETS && took_us > UINT64_C(1) << bucket) bucket++;
    w->state.commit_us_bucket[bucket]++;
    pthread_mutex_unlock(&w->lock);
}

/* Waits before another try. False: stopping, give up. */
static bool wait_retry(struct writer *w) {
    uint64_t due = mono_us() + WRITER_RETRY_MS * 1000;
    pthread_mutex_lock(&w->lock);
    while (!w->stopping && mono_us() < due) wait_until(w, due);
    bool again = !w->stopping;
    pthread_mutex_unlock(&w->lock);
    return again;
}

static enum status commit(struct writer *w, struct error *err) {
    if (!w->group.n_placed && !w->streams.n_dirty) return ST_OK; /* nothing new: all of it is on disk already */
    for (;;) {
        struct partition *p = NULL;
        uint64_t began = mono_us();
        enum status st = write_group(w, &p, err);
        if (!st) {
            publish(w, p);
            note_success(w, mono_us() - began);
            return ST_OK;
        }
        note_failure(w, st, err);
        if (!wait_retry(w)) return st;
    }
}

static void *run(void *arg) {
    struct writer *w = arg;
    struct list items, calls;
    list_init(&items);
    list_init(&calls);
    enum status st = ST_OK;
    while (take(w, &items, &calls)) {
        struct error err = {0};
        w->last_start_us = mono_us();
        uint64_t before = w->last_seq;
        if (!st) {
            admit(w, &items, &calls);
            st = commit(w, &err);
        } else { /* given up while stopping: the ledgers in memory are not those on disk any more */
            error_set(&err, st, "stopped while events could not be stored");
        }
        list_for_each_safe (it, tmp, &calls) complete_call(container_of(it, struct call, link), st, &err);
        list_for_each_safe (it, tmp, &items) complete_item(w, container_of(it, struct writer_item, link), st, &err);
        if (w->last_seq != before && w->o.committed) w->o.committed(w->o.ctx, w->last_seq);
    }
    return NULL;
}

/* ---- life ---- */

static void writer_free(struct writer *w) {
    streamtab_deinit(&w->streams);
    group_deinit(&w->group);
    partition_discard(&w->next);
    partition_release(w->db, w->part);
    mem_free(w->scratch);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

enum status writer_start(struct db *db, const struct writer_options *o, struct writer **ret, struct error *err) {
    struct writer *w = mem_zalloc(sizeof *w);
    w->db = db;
    w->o = *o;
    if (!w->o.batch_bytes) w->o.batch_bytes = WRITER_BATCH_BYTES;
    if (!w->o.queue_bytes) w->o.queue_bytes = WRITER_QUEUE_BYTES;
    if (!w->o.now) w->o.now = clock_wall;
    list_init(&w->items);
    list_init(&w->calls);
    streamtab_init(&w->streams);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&w->lock, NULL);
    w->last_seq = db_last_seq(db);
    w->part = partition_hold_newest(db);
    enum status st = w->part ? streamtab_load(&w->streams, w->part, err) : ST_OK;
    if (!st && pthread_create(&w->thread, NULL, run, w))
        st = error_set(err, ST_NOMEM, "cannot start the writer thread");
    if (st) {
        writer_free(w);
    } else {
        *ret = w;
    }
    return st;
}

void writer_finish(struct writer *w) {
    if (w->finished) return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    w->finished = true;
}

void writer_stop(struct writer **w) {
    if (!*w) return;
    writer_finish(*w);
    writer_free(*w);
    *w = NULL;
}
