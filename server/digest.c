/* 9 DIGEST  Follows the packs. One thread owns everything here but `wake`, `position` and `ended`.
 *
 * For each block: columns always (times, event ids, GUIDs: the counts of the process table); the payload when the log may
 * be Sysmon's, whose RuleNames volumes are counted by, or when it holds an event that says that a log was cleared. An event
 * is decoded when it is a 1 or 5, such a clearing, or the first sight of a process since start, whose image is then taken
 * from that event as a placeholder; of all others of Sysmon only the RuleName is looked at. A run belongs to one partition. A block that cannot be decoded
 * is reported once, counted, and still indexed by what the writer knew of it, so that its bytes can be looked at. */
#include "digest.h"
#include "batch.h"
#include "clears.h"
#include "clock.h"
#include "event_pick.h"
#include "index.h"
#include "log.h"
#include "mem.h"
#include "procs.h"
#include "queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#define HEADER_ARENA_CAP (1024u * 1024)
#define BLOCKS_A_STEP 256
#define SEEN_SLOTS (1u << 16) /* processes whose image was given since start: a lossy set */
#define EVENT_START 1u
#define EVENT_END 5u
#define EVENT_SERVICE 4u
#define EVENT_CONFIG 16u
#define EVENT_ERROR 255u

struct block { /* the one being digested */
    const struct db_block *at;
    struct batch_header header;
    struct batch_columns columns;
    struct slice body, payload;
    bool has_payload;
    struct proc *procs; /* one for each GUID of the header */
    size_t n_procs;
    bool may_have_rules;
    uint32_t channel; /* of index_run_name */
};

struct digest {
    struct digest_options o;
    uv_thread_t thread;
    uv_sem_t moved;
    struct queue *bell; /* holds one ring at most */
    _Atomic uint64_t position;
    _Atomic uint64_t wanted; /* digest_sync: write the run once it holds this pack */
    _Atomic bool stopping, ended;
    struct clears *clears;
    struct batch_reader *reader;
    struct arena header_arena, event_arena, text_arena;
    struct buf bytes;
    struct index_run *run; /* NULL: none begun */
    char day[DB_DAY_LEN];  /* of the run */
    uint64_t next_seq;     /* to read; valid while there is a run */
    uint64_t run_since_ms;
    struct proc *procs; /* room for a block's */
    size_t procs_cap;
    uint64_t *seen; /* SEEN_SLOTS */
    struct log_limit bad_limit;
};

/* ---- the process table ---- */

static uint64_t seen_key(uint32_t host, const struct guid *g) {
    uint64_t a, b;
    memcpy(&a, g->b, 8);
    memcpy(&b, g->b + 8, 8);
    uint64_t h = (a ^ (b * UINT64_C(0x9e3779b97f4a7c15)) ^ host) * UINT64_C(0xbf58476d1ce4e5b9);
    h ^= h >> 29;
    return h ? h : 1;
}

/* True the first time (and again once another process has taken the slot: a little work done twice). */
static bool first_sight(struct digest *d, uint32_t host, const struct guid *g) {
    uint64_t key = seen_key(host, g);
    uint64_t *slot = &d->seen[key % SEEN_SLOTS];
    if (*slot == key) return false;
    *slot = key;
    return true;
}

static void widen(struct proc *p, uint64_t time) {
    if (!p->first_seen || time < p->first_seen) p->first_seen = time;
    if (time > p->last_seen) p->last_seen = time;
}

static uint32_t number(struct slice s) {
    uint64_t v = 0;
    if (!s.len || s.len > 10) return 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return 0;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    return v > UINT32_MAX ? 0 : (uint32_t)v;
}

/* Absent values are written as nothing, "-" or "?" by different versions; doubled percent signs are undone. */
static struct slice known(struct digest *d, const struct event *ev, const char *name) {
    struct slice v = event_value(ev, name);
    if (!v.len || slice_eq_str(v, "-") || slice_eq_str(v, "?")) return (struct slice){0};
    struct slice copy = arena_copy(&d->text_arena, v);
    if (copy.p && event_is_doubled(ev->provider, ev->event_id.v, slice_str(name)))
        copy.len = event_undouble(copy, (uint8_t *)(uintptr_t)copy.p); /* as its children's ParentCommandLine */
    return copy;
}

static uint64_t event_time(const struct event *ev) {
    uint64_t t;
    return filetime_parse(event_value(ev, "UtcTime"), &t, NULL, NULL) ? ev->time : t;
}

static struct proc *proc_of(struct block *b, struct slice text) {
    struct guid g;
    if (guid_parse(text, &g) || guid_is_zero(&g)) return NULL;
    for (size_t lo = 0, hi = b->n_procs; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        int c = memcmp(b->procs[mid].guid.b, g.b, GUID_LEN);
        if (c == 0) return &b->procs[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void on_start(struct digest *d, struct block *b, const struct event *ev, uint64_t record) {
    struct proc *p = proc_of(b, event_value(ev, "ProcessGuid"));
    struct proc *parent = proc_of(b, event_value(ev, "ParentProcessGuid"));
    if (p && !p->has_start) {
        p->has_start = true;
        p->start = event_time(ev);
        p->pid = number(event_value(ev, "ProcessId"));
        p->parent_pid = number(event_value(ev, "ParentProcessId"));
        p->image = known(d, ev, "Image");
        p->command_line = known(d, ev, "CommandLine");
        p->user = known(d, ev, "User");
        p->hashes = known(d, ev, "Hashes");
        p->parent_image = known(d, ev, "ParentImage");
        p->parent_command_line = known(d, ev, "ParentCommandLine");
        p->integrity = known(d, ev, "IntegrityLevel");
        p->current_directory = known(d, ev, "CurrentDirectory");
        p->start_record = record;
        p->start_stream = b->at->stream;
        if (parent) p->parent = parent->guid; /* itself, in hostile data: whoever shows the tree cuts it there */
    }
    if (!parent || parent == p || parent->has_start)
        return; /* what a child says of its parent stands in for the rest */
    if (!parent->image.len) parent->image = known(d, ev, "ParentImage");
    if (!parent->command_line.len) parent->command_line = known(d, ev, "ParentCommandLine");
    if (!parent->user.len) parent->user = known(d, ev, "ParentUser");
    if (!parent->pid) parent->pid = number(event_value(ev, "ParentProcessId"));
}

static void on_end(struct digest *d, struct block *b, const struct event *ev) {
    struct proc *p = proc_of(b, event_value(ev, "ProcessGuid"));
    if (!p) return;
    p->has_end = true;
    p->end = event_time(ev);
    if (!p->image.len && !p->has_start) p->image = known(d, ev, "Image");
    if (!p->user.len && !p->has_start) p->user = known(d, ev, "User");
    if (!p->pid) p->pid = number(event_value(ev, "ProcessId"));
}

static void stand_in(struct digest *d, struct block *b, const struct event *ev, const char *guid, const char *image,
                     const char *user, const char *pid) {
    struct proc *p = proc_of(b, event_value(ev, guid));
    if (!p || p->has_start) return;
    if (!p->image.len) p->image = known(d, ev, image);
    if (!p->user.len) p->user = known(d, ev, user);
    if (!p->pid) p->pid = number(event_value(ev, pid));
}

/* Any other event, at first sight of a process. */
static void on_other(struct digest *d, struct block *b, const struct event *ev) {
    stand_in(d, b, ev, "ProcessGuid", "Image", "User", "ProcessId");
    stand_in(d, b, ev, "SourceProcessGuid", "SourceImage", "SourceUser", "SourceProcessId");
    stand_in(d, b, ev, "TargetProcessGuid", "TargetImage", "TargetUser", "TargetProcessId");
}

/* ---- a block ---- */

static bool may_clear(const struct block *b, uint32_t event_id) {
    return (event_id == 1102 && slice_eq_nocase(b->header.channel, SLICE_LIT("Security"))) ||
           (event_id == 104 && slice_eq_nocase(b->header.channel, SLICE_LIT("System")));
}

static void on_clear(struct digest *d, struct block *b, const struct event *ev) {
    struct slice channel;
    struct error err = {0};
    if (!d->o.writer || !clears_event(ev, &d->event_arena, &channel)) return;
    log_info("digest", "host %u: the log %s was cleared", b->at->host, log_peer(channel));
    if (clears_add(d->clears, b->at->host, b->header.computer, channel, ev->time, &err)) {
        log_error("digest", "a cleared log is remembered until the next start only: %s", err.msg);
    }
}

/* The encoded event. */
static enum status open_event(struct digest *d, struct block *b, uint32_t i, struct slice *ret, struct error *err) {
    if (!b->has_payload) {
        enum status st = batch_open_payload(d->reader, &b->header, b->body, &b->payload, err);
        if (st) return st;
        b->has_payload = true;
    }
    *ret = slice_of(b->payload.p + b->columns.payload_at[i], b->columns.payload_len[i]);
    return ST_OK;
}

static enum status decode_event(struct digest *d, struct block *b, uint32_t i, struct error *err) {
    struct event ev;
    struct slice bytes;
    uint32_t id = b->columns.event_id[i];
    enum status st = open_event(d, b, i, &bytes, err);
    if (st) return st;
    arena_reset(&d->event_arena);
    st = event_decode(bytes, &d->event_arena, &ev);
    if (st) return error_set(err, st, "event %u of the block cannot be decoded: %s", i, status_text(st));
    if (may_clear(b, id))
        on_clear(d, b, &ev);
    else if (id == EVENT_START)
        on_start(d, b, &ev, b->columns.record_id[i]);
    else if (id == EVENT_END)
        on_end(d, b, &ev);
    else
        on_other(d, b, &ev);
    return ST_OK;
}

/* ---- volumes ---- */

static bool may_have_rules(struct slice channel) {
    return slice_eq_nocase(channel, SLICE_LIT("Microsoft-Windows-Sysmon/Operational")) ||
           slice_eq_nocase(channel, SLICE_LIT("Linux-Sysmon/Operational")) ||
           slice_eq_nocase(channel, SLICE_LIT("ForwardedEvents"));
}

/* The event's part of the block's bytes as stored: what its encoding is of all that the block encodes. The parts sum up to
 * the block to the byte. */
static uint64_t share_of(const struct block *b, uint32_t i) {
    const struct batch_columns *c = &b->columns;
    uint64_t all = (uint64_t)c->payload_at[c->n - 1] + c->payload_len[c->n - 1], at = c->payload_at[i];
    if (!all) return (uint64_t)b->at->len * (i + 1) / c->n - (uint64_t)b->at->len * i / c->n;
    return b->at->len * (at + c->payload_len[i]) / all - b->at->len * at / all;
}

static enum status count_event(struct digest *d, struct block *b, uint32_t i, struct error *err) {
    struct slice bytes, rule = {NULL, 0};
    bool is_sysmon;
    if (b->may_have_rules) {
        enum status st = open_event(d, b, i, &bytes, err);
        if (st) return st;
        if (d->event_arena.used) arena_reset(&d->event_arena);
        st = event_pick_rule(bytes, b->columns.time[i], &d->event_arena, &is_sysmon, &rule);
        if (st) return error_set(err, st, "event %u of the block cannot be read: %s", i, status_text(st));
    }
    index_run_tally(d->run, &(struct tally_cell){.host = b->at->host,
                                                 .slot = (uint32_t)(b->columns.time[i] / TALLY_SLOT),
                                                 .event_id = b->columns.event_id[i],
                                                 .channel = b->channel,
                                                 .rule = index_run_name(d->run, rule),
                                                 .events = 1,
                                                 .bytes = share_of(b, i)});
    return ST_OK;
}

/* What Sysmon says of itself, in the host's own log. */
static bool is_of_sysmon_itself(const struct block *b, uint32_t id) {
    return b->may_have_rules && (id == EVENT_SERVICE || id == EVENT_CONFIG || id == EVENT_ERROR) &&
           !b->header.computer.len && !slice_eq_nocase(b->header.channel, SLICE_LIT("ForwardedEvents"));
}

static enum status digest_event(struct digest *d, struct block *b, uint32_t i, struct error *err) {
    uint32_t id = b->columns.event_id[i];
    bool fresh = false;
    if (d->o.sysmon && is_of_sysmon_itself(b, id)) d->o.sysmon(d->o.sysmon_ctx, b->at->host, id, b->columns.time[i]);
    for (unsigned k = 0; k < b->columns.n_guids[i]; k++) {
        struct proc *p = &b->procs[b->columns.guid[i][k]];
        p->counts[id < PROC_MAX_EVENT_ID ? id : PROC_MAX_EVENT_ID]++;
        widen(p, b->columns.time[i]);
        if (!p->image.len && first_sight(d, b->at->host, &p->guid)) fresh = true;
    }
    bool process = b->columns.n_guids[i] && (id == EVENT_START || id == EVENT_END || fresh);
    return process || may_clear(b, id) ? decode_event(d, b, i, err) : ST_OK;
}

static void prepare_procs(struct digest *d, struct block *b) {
    b->n_procs = b->header.guids.len / GUID_LEN;
    if (b->n_procs > d->procs_cap) {
        d->procs = mem_realloc(d->procs, mem_mul(b->n_procs, sizeof *d->procs));
        d->procs_cap = b->n_procs;
    }
    b->procs = d->procs;
    if (b->n_procs) memset(b->procs, 0, b->n_procs * sizeof *b->procs);
    for (size_t i = 0; i < b->n_procs; i++) memcpy(b->procs[i].guid.b, b->header.guids.p + i * GUID_LEN, GUID_LEN);
}

static enum status digest_events(struct digest *d, struct block *b, const struct db_keep *keep, size_t n_keep,
                                 struct error *err) {
    struct db_keep all = {0, b->header.n_events};
    enum status st = batch_open_columns(d->reader, &b->header, b->body, &b->columns, err);
    if (st) return st;
    prepare_procs(d, b);
    b->may_have_rules = may_have_rules(b->header.channel);
    b->channel = index_run_name(d->run, b->header.channel);
    for (size_t k = 0; k < (n_keep ? n_keep : 1) && !st; k++) {
        const struct db_keep *part = n_keep ? &keep[k] : &all;
        for (uint32_t i = part->first; i < part->first + part->n && i < b->columns.n && !st; i++) {
            st = count_event(d, b, i, err);
            if (!st) st = digest_event(d, b, i, err);
        }
        stats_add(d->o.stats, STATS_digest_events, part->n);
    }
    for (size_t i = 0; i < b->n_procs; i++) {
        if (b->procs[i].last_seen) index_run_proc(d->run, b->at->host, &b->procs[i]);
    }
    return st;
}

static void report_bad(struct digest *d, const struct db_block *at, const char *why) {
    unsigned more;
    stats_add(d->o.stats, STATS_digest_bad_blocks, 1);
    stats_error(d->o.stats, "block %llu.%u of host %u: %s", (unsigned long long)at->seq, at->index, at->host, why);
    if (log_limit_pass(&d->bad_limit, 1000, &more)) {
        log_error("digest", "block %llu.%u of host %u is skipped (%u more before it): %s", (unsigned long long)at->seq,
                  at->index, at->host, more, why);
        char object[48];
        snprintf(object, sizeof object, "block %llu.%u", (unsigned long long)at->seq, at->index);
        if (d->o.notice) d->o.notice(d->o.notice_ctx, at->host, "block.unreadable", object, why);
    }
    if (d->o.set_aside && d->bytes.len) {
        d->o.set_aside(d->o.set_aside_ctx, at->host, buf_slice(&d->bytes), at->header_len, why);
    }
}

static void digest_block(struct digest *d, const struct db_block *at) {
    struct db_keep *keep = NULL;
    size_t n_keep = 0;
    struct error err = {0};
    struct block b = {.at = at};
    buf_clear(&d->bytes);
    arena_reset(&d->header_arena);
    arena_reset(&d->text_arena);
    enum status st = db_read_block(d->o.db, at, &d->bytes, &keep, &n_keep, &err);
    if (st == ST_NOTFOUND) return; /* expired meanwhile */
    struct slice bytes = buf_slice(&d->bytes);
    if (!st) st = batch_header_parse(slice_head(bytes, at->header_len), &d->header_arena, &b.header, &err);
    if (!st) {
        b.body = slice_from(bytes, at->header_len);
        st = digest_events(d, &b, keep, n_keep, &err);
    }
    if (st) report_bad(d, at, err.msg[0] ? err.msg : status_text(st));
    index_run_block(d->run, at, b.header.guids);
    clears_touch(d->clears, at->host, b.header.computer, b.header.channel);
    stats_add(d->o.stats, STATS_digest_blocks, 1);
    mem_free(keep);
}

/* ---- runs ---- */

static void moved(struct digest *d, uint64_t seq) {
    atomic_store(&d->position, seq);
    uv_sem_post(&d->moved);
    if (d->o.progress) d->o.progress(d->o.progress_ctx, seq, db_last_seq(d->o.db));
}

static void flush_run(struct digest *d) {
    struct error err = {0};
    if (!d->run) return;
    uint64_t seq = d->next_seq - 1;
    enum status st = index_run_flush(d->run, seq, &err);
    index_run_free(&d->run);
    if (st) { /* begun anew from the cursor, when the disk has room again */
        log_error("digest", "derived data cannot be written: %s; trying again", err.msg);
        stats_error(d->o.stats, "derived data cannot be written: %s", err.msg);
        struct timespec second = {1, 0};
        if (!atomic_load(&d->stopping)) (void)nanosleep(&second, NULL); /* a thread of its own, no loop waits for it */
        return;
    }
    moved(d, seq);
    if (d->o.writer) stats_add(d->o.stats, STATS_holes_explained, (int64_t)clears_explain(d->clears, d->o.writer));
}

/* The last pack of the run's partition; 0: it is gone. */
static uint64_t last_of_day(struct digest *d) {
    struct db_partition *p = NULL;
    uint64_t last = 0;
    size_t n = db_partitions(d->o.db, &p);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(p[i].day, d->day) == 0) last = p[i].last_seq;
    }
    mem_free(p);
    return last;
}

/* Digests some blocks. False: there are none. */
static bool step(struct digest *d) {
    struct error err = {0};
    struct db_block *blocks = NULL;
    size_t n = 0;
    uint64_t next = 0;
    if (!d->run) {
        enum status st = index_next(d->o.db, &d->next_seq, d->day, &err);
        if (st) return false;
        d->run = index_run_new(d->o.db, d->day);
        d->run_since_ms = clock_mono_ms();
    }
    uint64_t last = last_of_day(d);
    if (d->next_seq > last) { /* all of the day is in the run, or the day has expired */
        bool newer = d->next_seq <= db_last_seq(d->o.db);
        if (newer) flush_run(d);
        return newer;
    }
    enum status st = db_blocks_from(d->o.db, d->next_seq, BLOCKS_A_STEP, &blocks, &n, &next, &err);
    if (st || next <= d->next_seq) {
        if (st && st != ST_END) log_error("digest", "packs cannot be read: %s", err.msg);
        mem_free(blocks);
        return false;
    }
    for (size_t i = 0; i < n && blocks[i].seq <= last; i++) digest_block(d, &blocks[i]);
    d->next_seq = next <= last + 1 ? next : last + 1;
    mem_free(blocks);
    if (index_run_blocks(d->run) >= DIGEST_RUN_BLOCKS) flush_run(d);
    return true;
}

/* Until there are packs to read, or the run that was begun is due. */
static void wait_for_packs(struct digest *d) {
    void *ring;
    uint64_t age = d->run ? clock_mono_ms() - d->run_since_ms : 0;
    int ms = !d->run ? -1 : age >= d->o.idle_ms ? 1 : (int)(d->o.idle_ms - age);
    if (queue_take(d->bell, ms, &ring)) return;
}

static void run(void *arg) {
    struct digest *d = arg;
    stats_thread_begin(d->o.stats, "digest");
    while (!atomic_load(&d->stopping)) {
        bool more = step(d);
        bool old = d->run && clock_mono_ms() - d->run_since_ms >= d->o.idle_ms;
        bool wanted =
            d->run && atomic_load(&d->wanted) > atomic_load(&d->position) && d->next_seq > atomic_load(&d->wanted);
        if (wanted || (!more && old)) flush_run(d);
        if (!more && !atomic_load(&d->stopping)) wait_for_packs(d);
    }
    flush_run(d);
    atomic_store(&d->ended, true);
    uv_sem_post(&d->moved);
    stats_thread_end(d->o.stats);
}

/* ---- start and stop ---- */

static enum status describe(void *ctx, struct slice header, struct db_block *fill, struct slice *ret_guids) {
    struct digest *d = ctx;
    struct batch_header h;
    arena_reset(&d->header_arena);
    enum status st = batch_header_parse(header, &d->header_arena, &h, NULL);
    if (st) return st;
    fill->n_events = h.n_events;
    fill->min_time = h.min_time;
    fill->max_time = h.max_time;
    fill->first_id = UINT64_MAX;
    fill->last_id = 0;
    for (size_t i = 0; i < h.n_runs; i++) {
        uint64_t last = h.runs[i].first_id + (h.runs[i].n - 1);
        if (h.runs[i].first_id < fill->first_id) fill->first_id = h.runs[i].first_id;
        if (last > fill->last_id) fill->last_id = last;
    }
    *ret_guids = h.guids;
    return ST_OK;
}

static void free_all(struct digest **pd) {
    struct digest *d = *pd;
    clears_close(&d->clears);
    batch_reader_free(&d->reader);
    arena_deinit(&d->header_arena);
    arena_deinit(&d->event_arena);
    arena_deinit(&d->text_arena);
    buf_free(&d->bytes);
    index_run_free(&d->run);
    mem_free(d->procs);
    mem_free(d->seen);
    uv_sem_destroy(&d->moved);
    while (queue_try_take(d->bell)) continue;
    queue_free(&d->bell);
    mem_free(d);
    *pd = NULL;
}

MUST_USE enum status digest_start(const struct digest_options *o, struct digest **ret, struct error *err) {
    struct digest *d = mem_zalloc(sizeof *d);
    uint64_t seq;
    d->o = *o;
    if (!d->o.idle_ms) d->o.idle_ms = DIGEST_IDLE_MS;
    d->reader = batch_reader_new();
    d->seen = mem_zalloc(SEEN_SLOTS * sizeof *d->seen);
    arena_init(&d->header_arena, HEADER_ARENA_CAP);
    arena_init(&d->event_arena, EVENT_ARENA_CAP);
    arena_init(&d->text_arena, 4 * EVENT_ARENA_CAP);
    if (uv_sem_init(&d->moved, 0)) abort();
    d->bell = queue_new(1, SIZE_MAX, NULL, NULL);
    enum status st = index_load_tail(o->db, describe, d, err);
    if (!st) st = clears_open(o->db, &d->clears, err);
    if (st) {
        free_all(&d);
        return st;
    }
    d->position = index_next(o->db, &seq, d->day, NULL) ? db_last_seq(o->db) : seq - 1;
    if (uv_thread_create(&d->thread, run, d)) abort();
    *ret = d;
    return ST_OK;
}

static void ring_bell(struct digest *d) {
    static char ring;
    (void)!queue_put(d->bell, &ring, 0); /* rung already: fine */
}

void digest_stop(struct digest **d) {
    if (!*d) return;
    atomic_store(&(*d)->stopping, true);
    ring_bell(*d);
    (void)uv_thread_join(&(*d)->thread);
    free_all(d);
}

void digest_wake(void *digest, uint64_t last_seq) {
    (void)last_seq;
    ring_bell(digest);
}

uint64_t digest_position(const struct digest *d) {
    return atomic_load(&d->position);
}

static void want(struct digest *d, uint64_t seq) {
    uint64_t was = atomic_load(&d->wanted);
    while (was < seq && !atomic_compare_exchange_weak(&d->wanted, &was, seq)) continue;
    ring_bell(d);
}

bool digest_sync(struct digest *d, unsigned timeout_ms) {
    uint64_t seq = db_last_seq(d->o.db), until = clock_mono_ms() + timeout_ms;
    want(d, seq);
    while (digest_position(d) < seq && clock_mono_ms() < until && !atomic_load(&d->ended)) {
        struct timespec tick = {0, 2000000};
        (void)nanosleep(&tick, NULL);
    }
    return digest_position(d) >= seq;
}

bool digest_wait(struct digest *d, uint64_t seq) {
    want(d, seq);
    while (digest_position(d) < seq) {
        if (atomic_load(&d->ended)) return false;
        uv_sem_wait(&d->moved);
    }
    return true;
}
