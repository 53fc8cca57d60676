/* 3 BATCH  Groups events into batches by log. Invariant: a position is handed out only with a batch that, together with
 * those before it, holds every event read up to that position. One thread; time and output by argument. */
#include "batcher.h"
#include "mem.h"

#define UNKNOWN_CHANNEL "unknown" /* the log of events that name no channel */

struct open_log {
    struct batch_builder *builder;
    struct buf channel, computer; /* computer empty: the host's own */
    uint32_t epoch;
    bool in_use;
    uint64_t opened; /* order of first events, for eviction and positions */
    uint64_t since_ms, last_record_id;
    struct buf before; /* the source's position before the first event of this batch */
};

struct batcher {
    struct batcher_options o;
    char **own_names;
    struct open_log logs[BATCHER_MAX_LOGS];
    size_t last; /* the log that the last event went to: usually the next one's too */
    uint64_t n_opened;
    uint32_t epoch;
    struct buf position; /* behind the last event that was added */
};

struct batcher *batcher_new(const struct batcher_options *o) {
    struct batcher *b = mem_zalloc(sizeof *b);
    b->o = *o;
    if (!b->o.max_events) b->o.max_events = BATCHER_LIVE_EVENTS;
    if (!b->o.max_raw) b->o.max_raw = BATCHER_LIVE_RAW;
    b->own_names = mem_zalloc(mem_mul(o->n_own_names + 1, sizeof *b->own_names));
    for (size_t i = 0; i < o->n_own_names; i++) b->own_names[i] = mem_strdup(o->own_names[i]);
    b->o.own_names = NULL;
    return b;
}

void batcher_free(struct batcher **b) {
    if (!*b) return;
    for (size_t i = 0; i < BATCHER_MAX_LOGS; i++) {
        struct open_log *l = &(*b)->logs[i];
        batch_builder_free(&l->builder);
        buf_free(&l->channel);
        buf_free(&l->computer);
        buf_free(&l->before);
    }
    for (size_t i = 0; i < (*b)->o.n_own_names; i++) mem_free((*b)->own_names[i]);
    mem_free((*b)->own_names);
    buf_free(&(*b)->position);
    mem_free(*b);
    *b = NULL;
}

static struct slice first_label(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '.') return slice_head(s, i);
    }
    return s;
}

bool batcher_same_host(struct slice computer, const char *name) {
    struct slice label = first_label(slice_str(name));
    return label.len && slice_eq_nocase(first_label(computer), label);
}

static bool is_own(const struct batcher *b, struct slice computer) {
    if (b->o.own || !computer.len) return true;
    for (size_t i = 0; i < b->o.n_own_names; i++) {
        if (batcher_same_host(computer, b->own_names[i])) return true;
    }
    return false;
}

static void set(struct buf *b, struct slice s) {
    buf_clear(b);
    buf_slice_append(b, s);
}

static void hand_out(struct batcher *b, struct open_log *l) {
    struct batcher_batch out = {.n_events = batch_count(l->builder),
                                .last_record_id = l->last_record_id,
                                .channel = buf_slice(&l->channel),
                                .computer = buf_slice(&l->computer)};
    l->in_use = false;
    const struct open_log *oldest = NULL;
    for (size_t i = 0; i < BATCHER_MAX_LOGS; i++) {
        const struct open_log *other = &b->logs[i];
        if (other->in_use && (!oldest || other->opened < oldest->opened)) oldest = other;
    }
    out.position = oldest ? buf_slice(&oldest->before) : buf_slice(&b->position);
    /* Only our own bug makes finishing fail: everything that went in was within the limits. */
    if (batch_finish(l->builder, &out.bytes, &out.header_len) != ST_OK) {
        buf_free(&out.bytes);
        return;
    }
    b->o.out(b->o.ctx, &out);
}

static bool is_log(const struct open_log *l, struct slice channel, struct slice computer, uint32_t epoch) {
    return l->in_use && l->epoch == epoch && slice_eq(buf_slice(&l->channel), channel) &&
           slice_eq(buf_slice(&l->computer), computer);
}

/* The open batch of that log; opens one, which may flush another. */
static struct open_log *log_of(struct batcher *b, struct slice channel, struct slice computer, uint32_t epoch,
                               uint64_t now_ms) {
    if (is_log(&b->logs[b->last], channel, computer, epoch)) return &b->logs[b->last];
    struct open_log *unused = NULL, *oldest = &b->logs[0];
    for (size_t i = 0; i < BATCHER_MAX_LOGS; i++) {
        struct open_log *l = &b->logs[i];
        if (is_log(l, channel, computer, epoch)) {
            b->last = i;
            return l;
        }
        if (!l->in_use && (!unused || (!unused->builder && l->builder))) unused = l;
        if (l->opened < oldest->opened) oldest = l;
    }
    if (!unused) {
        hand_out(b, oldest);
        unused = oldest;
    }
    b->last = (size_t)(unused - b->logs);
    if (!unused->builder) { /* all logs share one set of zstd contexts, which are large */
        struct batch_builder *other = NULL;
        for (size_t i = 0; i < BATCHER_MAX_LOGS && !other; i++) other = b->logs[i].builder;
        unused->builder = other ? batch_builder_new_beside(other) : batch_builder_new(b->o.zstd_level);
    }
    set(&unused->channel, channel);
    set(&unused->computer, computer);
    set(&unused->before, buf_slice(&b->position));
    unused->epoch = epoch;
    unused->in_use = true;
    unused->opened = ++b->n_opened;
    unused->since_ms = now_ms;
    batch_begin(unused->builder, channel, computer, epoch);
    return unused;
}

enum status batcher_add(struct batcher *b, const struct event *ev, struct slice position, uint64_t now_ms) {
    uint64_t id = ev->record_id.present ? ev->record_id.v : event_content_hash(ev);
    struct slice channel = ev->channel.len ? ev->channel : SLICE_LIT(UNKNOWN_CHANNEL);
    struct slice computer = is_own(b, ev->computer) ? (struct slice){NULL, 0} : ev->computer;
    uint32_t epoch = !ev->record_id.present ? EPOCH_CONTENT : computer.len ? EPOCH_FIND : b->epoch;
    struct open_log *l = log_of(b, channel, computer, epoch, now_ms);
    enum status st = batch_add(l->builder, ev, id);
    if (st == ST_TOOBIG && batch_count(l->builder)) {
        hand_out(b, l);
        l = log_of(b, channel, computer, epoch, now_ms);
        st = batch_add(l->builder, ev, id);
    }
    if (st) {
        if (!batch_count(l->builder)) l->in_use = false;
        return st;
    }
    l->last_record_id = id;
    if (position.len) set(&b->position, slice_head(position, BATCHER_MAX_POSITION));
    if (batch_count(l->builder) >= b->o.max_events || batch_raw_len(l->builder) >= b->o.max_raw) hand_out(b, l);
    return ST_OK;
}

void batcher_set_epoch(struct batcher *b, uint32_t epoch) {
    b->epoch = epoch;
}

void batcher_tick(struct batcher *b, uint64_t now_ms) {
    if (!b->o.max_age_ms) return;
    for (size_t i = 0; i < BATCHER_MAX_LOGS; i++) {
        struct open_log *l = &b->logs[i];
        if (l->in_use && now_ms >= l->since_ms + b->o.max_age_ms) hand_out(b, l);
    }
}

void batcher_flush(struct batcher *b) {
    for (size_t i = 0; i < BATCHER_MAX_LOGS; i++) {
        if (b->logs[i].in_use) hand_out(b, &b->logs[i]);
    }
}

void batcher_set_limits(struct batcher *b, uint32_t max_events, size_t max_raw) {
    b->o.max_events = max_events;
    b->o.max_raw = max_raw;
}

uint64_t batcher_deadline_ms(const struct batcher *b) {
    uint64_t at = UINT64_MAX;
    if (!b->o.max_age_ms) return at;
    for (size_t i = 0; i < BATCHER_MAX_LOGS; i++) {
        if (b->logs[i].in_use && b->logs[i].since_ms + b->o.max_age_ms < at) at = b->logs[i].since_ms + b->o.max_age_ms;
    }
    return at;
}

uint64_t batcher_open_events(const struct batcher *b) {
    uint64_t n = 0;
    for (size_t i = 0; i < BATCHER_MAX_LOGS; i++) {
        if (b->logs[i].in_use) n += batch_count(b->logs[i].builder);
    }
    return n;
}
