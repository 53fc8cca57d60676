/* The feeder's way in: sources -> parse -> batcher. What cannot be read is said in one line, counted, and left behind.
 * Reader thread. */
#include "clock.h"
#include "feeder_internal.h"
#include "file.h"
#include "mem.h"

#include <stdio.h>

#define BURST_RECORDS 512u
#define BURST_MS 20u
#define RETRY_MS 5000u
#define LOOK_AGAIN_MS 5000u /* has a file that was read to its end changed? */
#define LINES_MAX 20u       /* about one input */

void feeder_close_source(struct input *in) {
    if (!in->source) return;
    struct source_facts f = source_facts(in->source);
    in->closed.skipped += f.skipped;
    in->closed.foreign += f.foreign;
    in->closed.damaged += f.damaged;
    in->closed.bytes_done += f.bytes_done;
    source_close(&in->source);
}

static void complain(struct input *in, const char *what) {
    if (in->lines++ < LINES_MAX)
        log_warn(AREA, "%s: %s; going on behind it", in->path ? in->path : "the journal", what);
    if (in->lines == LINES_MAX)
        log_warn(AREA, "%s: more of this kind is only counted", in->path ? in->path : "the journal");
}

static enum status open_input(struct input *in) {
    struct feeder *r = in->feeder;
    struct error err = {0};
    in->ask_until = 0;
    struct source_options o = {.path = in->path,
                               .query = in->query,
                               .known = in->known,
                               .follow = in->spec.follow,
                               .strict = in->spec.strict,
                               .position = buf_slice(&in->open_at)};
    enum status st = source_open(in->spec.kind, &o, &in->source, &err);
    snprintf(in->trouble, sizeof in->trouble, "%s", st ? err.msg : "");
    if (st) {
        in->retry_at = clock_mono_ms() + RETRY_MS;
        if (!r->o.spooled) {
            in->ended = true;
            r->report.failed_inputs++;
            log_error(AREA, "%s", err.msg);
        } else if (in->lines++ < LINES_MAX) {
            log_warn(AREA, "%s; retry every %u s", err.msg, RETRY_MS / 1000);
        }
        return st;
    }
    if (in->path && in->spec.kind != SOURCE_EVTLOG && file_size(in->path, &in->size, NULL) != ST_OK) in->size = 0;
    return ST_OK;
}

/* What Sysmon says about itself goes to whoever looks after its rules, past the batches. */
static void listen_to_sysmon(struct input *in, const struct event *ev) {
    struct feeder *r = in->feeder;
    struct sysmon_note n;
    bool live = in->spec.kind == SOURCE_EVTLOG || in->spec.kind == SOURCE_JOURNAL || in->spec.kind == SOURCE_TEXT;
    if (!live || !r->o.spooled || !sysmon_note_of(ev, r->canary, &n)) return;
    struct feeder_item *i = mem_zalloc(sizeof *i);
    i->kind = FEEDER_SYSMON;
    i->note = mem_alloc(sizeof n);
    *i->note = n;
    if (queue_put(r->notes, i, 0)) feeder_item_free(&i);
}

static void add_event(struct input *in, const struct source_record *rec, uint64_t now_ms) {
    struct feeder *r = in->feeder;
    struct event ev;
    struct error err = {0};
    char text[ERROR_TEXT_MAX + 64];
    arena_reset(&r->arena);
    if (rec->gap.cause) gaps_add(&r->gaps, in->path, &rec->gap);
    if (r->o.spooled) batcher_set_epoch(in->batcher, rec->epoch);
    enum status st = parse_event(r->parser, rec->xml, &r->arena, &ev, &err);
    if (!st) {
        st = batcher_add(in->batcher, &ev, rec->position, now_ms);
        if (st) error_set(&err, st, "an event of %zu bytes is larger than a batch may be", rec->xml.len);
    }
    if (!st) {
        r->report.events++;
        in->events++;
        listen_to_sysmon(in, &ev);
        if (rec->position.len && r->o.spooled) {
            buf_clear(&in->open_at);
            buf_slice_append(&in->open_at, rec->position);
        }
        return;
    }
    r->report.parse_errors++;
    in->bad++;
    if (rec->line)
        snprintf(text, sizeof text, "event at line %llu, byte %llu: %s", (unsigned long long)rec->line,
                 (unsigned long long)rec->byte, err.msg);
    else
        snprintf(text, sizeof text, "a record that is no event: %s", err.msg);
    complain(in, text);
}

static void end_input(struct input *in) {
    feeder_close_source(in);
    if (!in->feeder->o.spooled && !in->events && in->bad + in->closed.skipped + in->closed.foreign) {
        log_error(AREA, "%s: no event was found in it", in->path);
        in->feeder->report.failed_inputs++;
    }
    in->ended = true;
    in->retry_at = clock_mono_ms() + LOOK_AGAIN_MS;
    if (in->feeder->o.spooled) batcher_flush(in->batcher);
}

/* Some records of one input. Returns whether it gave any. */
static bool read_input(struct input *in) {
    struct feeder *r = in->feeder;
    uint64_t t = clock_mono_ms(), until = t + BURST_MS;
    if (in->ended && r->o.spooled && t >= in->retry_at) { /* a file that grew or was replaced */
        uint64_t size = 0;
        in->retry_at = t + LOOK_AGAIN_MS;
        if (in->path && file_size(in->path, &size, NULL) == ST_OK && size != in->size) in->ended = false;
    }
    if (in->ended || t < in->retry_at || (!in->source && t < in->ask_until)) return false;
    if (!in->source && open_input(in)) return false;
    batcher_set_limits(in->batcher, BATCHER_LIVE_EVENTS, in->caught_up ? BATCHER_LIVE_RAW : BATCHER_DRAIN_RAW);
    for (unsigned n = 0; n < BURST_RECORDS; n++) {
        struct source_record rec;
        struct error err = {0};
        enum status st = source_next(in->source, &rec, &err);
        if (st == ST_OK) {
            add_event(in, &rec, t);
            if (n % 32 == 31) t = clock_mono_ms();
            if (t >= until || (!r->o.spooled && r->n_ready)) return true;
        } else if (st == ST_CORRUPT || st == ST_FORMAT || st == ST_TOOBIG) {
            complain(in, err.msg);
        } else if (st == ST_AGAIN) {
            in->caught_up = true;
            return n > 0;
        } else {
            bool failed = st != ST_END;
            if (failed)
                log_error(AREA, "%s: %s%s", source_name(in->source), err.msg,
                          r->o.spooled ? "; opening it again in 5 s" : "");
            if (failed && r->o.spooled) {
                snprintf(in->trouble, sizeof in->trouble, "%s", err.msg);
                batcher_flush(in->batcher);
                feeder_close_source(in);
                in->retry_at = t + RETRY_MS;
                return false;
            }
            if (failed) r->report.failed_inputs++;
            end_input(in);
            return true;
        }
    }
    in->caught_up = false;
    return true;
}

bool feeder_read(struct feeder *r) {
    bool any = false;
    if (r->o.spooled) {
        for (size_t i = 0; i < r->n_inputs && r->n_ready < 64; i++) any |= read_input(&r->inputs[i]);
        uint64_t t = clock_mono_ms();
        for (size_t i = 0; i < r->n_inputs; i++) batcher_tick(r->inputs[i].batcher, t);
        return any;
    }
    while (r->at < r->n_inputs && r->inputs[r->at].ended) r->at++;
    if (r->at < r->n_inputs) return read_input(&r->inputs[r->at]);
    batcher_flush(r->inputs[0].batcher);
    return false;
}
