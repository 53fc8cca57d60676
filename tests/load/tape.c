/* The tape. Invariant: all shifts are whole milliseconds, so that a time inside an event keeps its distance to the
 * event's own time to the last digit. */
#include "tape.h"
#include "clock.h"
#include "mem.h"
#include "parse.h"
#include "source.h"

#include <stdio.h>
#include <stdlib.h>

#define MS INT64_C(10000)                        /* in FILETIME's unit */
#define GAP_MAX (UINT64_C(60) * FILETIME_SECOND) /* longer silences are closed */
#define NEAR (UINT64_C(3600) * FILETIME_SECOND)  /* a time so near the event's belongs to the replay */
#define TIME_TEXT_LEN 23u                        /* "2026-11-24 23:47:04.123" */

void tape_init(struct tape *t) {
    *t = (struct tape){0};
    arena_init(&t->arena, SIZE_MAX / 2);
}

void tape_deinit(struct tape *t) {
    mem_free(t->events);
    arena_deinit(&t->arena);
    *t = (struct tape){0};
}

static int64_t up_to_ms(int64_t v) {
    int64_t rest = v % MS;
    return rest > 0 ? v + (MS - rest) : v - rest; /* rest < 0: towards zero is up */
}

/* ---- reading ---- */

static bool is_guid_name(struct slice name) {
    return name.len >= 4 && slice_eq_nocase(slice_from(name, name.len - 4), SLICE_LIT("guid"));
}

static bool find_patch(const struct event *ev, const struct event_data *d, struct tape_patch *ret) {
    struct guid g;
    if (!d->name.p) return false;
    if (d->value.len == GUID_TEXT_MAX - 1 && is_guid_name(d->name) && guid_parse(d->value, &g) == ST_OK &&
        !guid_is_zero(&g)) {
        ret->kind = TAPE_GUID;
        for (size_t i = 0; i < d->value.len; i++) ret->upper |= d->value.p[i] >= 'A' && d->value.p[i] <= 'F';
        return true;
    }
    if (d->value.len != TIME_TEXT_LEN || filetime_parse(d->value, &ret->time, NULL, NULL)) return false;
    ret->kind = TAPE_TIME;
    return (ret->time > ev->time ? ret->time - ev->time : ev->time - ret->time) < NEAR;
}

static void find_patches(struct tape *t, struct tape_event *e) {
    struct tape_patch found[TAPE_MAX_PATCHES];
    for (size_t i = 0; i < e->ev.n_data && e->n_patches < TAPE_MAX_PATCHES; i++) {
        struct tape_patch p = {.data = (uint16_t)i};
        if (find_patch(&e->ev, &e->ev.data[i], &p)) found[e->n_patches++] = p;
    }
    if (e->n_patches) e->patches = arena_alloc(&t->arena, e->n_patches * sizeof *e->patches);
    if (e->n_patches) memcpy(e->patches, found, e->n_patches * sizeof *found);
}

static bool find_channel(struct tape *t, struct slice channel, uint32_t *ret) {
    for (size_t i = 0; i < t->n_channels; i++) {
        *ret = (uint32_t)i;
        if (slice_eq(t->channels[i], channel)) return true;
    }
    if (t->n_channels == TAPE_MAX_CHANNELS) return false;
    *ret = (uint32_t)t->n_channels;
    t->channels[t->n_channels++] = channel;
    return true;
}

enum status tape_add(struct tape *t, struct parser *p, struct slice xml, struct error *err) {
    struct tape_event e = {0};
    struct slice copy = arena_copy(&t->arena, xml);
    enum status st = parse_event(p, copy, &t->arena, &e.ev, err);
    if (st) return st;
    const struct event *ev = &e.ev;
    if (ev->system_xml.len || !ev->time || !ev->record_id.present || !ev->channel.len || ev->n_data > TAPE_MAX_DATA ||
        !find_channel(t, ev->channel, &e.channel)) {
        t->left_out++;
        return ST_OK;
    }
    find_patches(t, &e);
    void *events = t->events;
    mem_grow(&events, t->n, &t->cap, sizeof *t->events);
    t->events = events;
    t->events[t->n++] = e;
    return ST_OK;
}

enum status tape_read(struct tape *t, const char *path, size_t max, struct error *err) {
    struct source *s = NULL;
    struct source_record r;
    struct source_options o = {.path = path};
    enum status st = source_open(strcmp(path, "-") == 0 ? SOURCE_XML : SOURCE_AUTO, &o, &s, err);
    if (st) return st;
    struct parser *p = parser_new();
    while (t->n < max) {
        st = source_next(s, &r, err);
        if (st == ST_AGAIN) continue;
        if (st == ST_CORRUPT || st == ST_FORMAT || (!st && tape_add(t, p, r.xml, err))) {
            t->left_out++;
        } else if (st) {
            break;
        }
    }
    if (st == ST_END || st == ST_CORRUPT || st == ST_FORMAT) st = ST_OK;
    parser_free(&p);
    source_close(&s);
    return st;
}

/* ---- the timeline ---- */

static _Thread_local const struct tape_event *sort_events;

static int by_track(const void *pa, const void *pb) {
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    uint32_t ta = sort_events[a].track, tb = sort_events[b].track;
    return ta != tb ? (ta < tb ? -1 : 1) : (a > b) - (a < b);
}

static bool same_track(const struct tape_event *a, const struct tape_event *b) {
    return a->channel == b->channel && slice_eq(a->ev.computer, b->ev.computer);
}

/* Tracks are numbered in order of first appearance. They are few: a list will do. */
static void find_tracks(struct tape *t) {
    uint32_t *first = NULL; /* the first event of each */
    size_t n = 0, cap = 0;
    for (size_t k = 0; k < t->n; k++) {
        struct tape_event *e = &t->events[k];
        size_t i = 0;
        while (i < n && !same_track(&t->events[first[i]], e)) i++;
        if (i == n) {
            void *list = first;
            mem_grow(&list, n++, &cap, sizeof *first);
            first = list;
            first[i] = (uint32_t)k;
        }
        e->track = (uint32_t)i;
    }
    t->n_tracks = n;
    mem_free(first);
}

static void sort_tracks(struct tape *t) {
    uint32_t *order = mem_alloc(mem_mul(t->n, sizeof *order));
    for (size_t k = 0; k < t->n; k++) order[k] = (uint32_t)k;
    sort_events = t->events;
    qsort(order, t->n, sizeof *order, by_track);
    struct tape_event *sorted = mem_alloc(mem_mul(t->n, sizeof *sorted));
    for (size_t k = 0; k < t->n; k++) sorted[k] = t->events[order[k]];
    mem_free(t->events);
    mem_free(order);
    t->events = sorted;
    t->cap = t->n;
}

enum status tape_finish(struct tape *t, struct error *err) {
    if (!t->n) return error_set(err, ST_NOTFOUND, "there is no event that could be replayed");
    find_tracks(t);
    sort_tracks(t);
    uint64_t place = t->events[0].ev.time;
    for (size_t k = 1; k < t->n; k++) {
        struct tape_event *e = &t->events[k], *before = &t->events[k - 1];
        uint64_t here = e->ev.time + (uint64_t)before->delta;
        bool smooth = e->track == before->track && here >= place && here - place <= GAP_MAX;
        e->delta = smooth ? before->delta : up_to_ms((int64_t)(place + (uint64_t)MS - e->ev.time));
        place = e->ev.time + (uint64_t)e->delta;
    }
    t->span = (uint64_t)up_to_ms((int64_t)(place - t->events[0].ev.time) + MS);
    return ST_OK;
}

/* ---- labels ---- */

int64_t tape_base(const struct tape *t, size_t k, uint64_t from) {
    return up_to_ms((int64_t)(from - t->events[k].ev.time - (uint64_t)t->events[k].delta));
}

uint64_t tape_time(const struct tape *t, size_t k, const struct tape_label *l) {
    const struct tape_event *e = &t->events[k];
    return e->ev.time + (uint64_t)e->delta + (uint64_t)l->base + l->lap * t->span;
}

/* {machine-time.low-time.high-...}: Sysmon's own layout, so the time moves on as the clock does; at least a second a lap. */
static void label_guid(const struct tape *t, const struct tape_label *l, struct slice value, bool upper, char *out) {
    struct guid g;
    uint64_t lap_s = (t->span + FILETIME_SECOND - 1) / FILETIME_SECOND;
    if (guid_parse(value, &g)) memset(&g, 0, sizeof g); /* it was one when the tape was read */
    uint32_t time = (uint32_t)g.b[6] << 24 | (uint32_t)g.b[7] << 16 | (uint32_t)g.b[4] << 8 | g.b[5];
    time += (uint32_t)(l->base / (int64_t)FILETIME_SECOND) + (uint32_t)(l->lap * lap_s);
    for (int i = 0; i < 4; i++) g.b[i] = (uint8_t)(l->mark >> (24 - 8 * i));
    g.b[4] = (uint8_t)(time >> 8);
    g.b[5] = (uint8_t)time;
    g.b[6] = (uint8_t)(time >> 24);
    g.b[7] = (uint8_t)(time >> 16);
    guid_format(&g, upper, out);
}

void tape_label_event(const struct tape *t, size_t k, const struct tape_label *l, uint64_t record_id,
                      struct tape_scratch *scratch, struct event *ret) {
    const struct tape_event *e = &t->events[k];
    uint64_t time = tape_time(t, k, l), moved = time - e->ev.time;
    *ret = e->ev;
    ret->record_id = (struct event_num){.v = record_id, .present = true};
    ret->time = time;
    ret->time_text = (struct slice){NULL, 0};
    ret->computer = l->computer;
    if (!e->n_patches) return;
    memcpy(scratch->data, e->ev.data, e->ev.n_data * sizeof *scratch->data);
    ret->data = scratch->data;
    for (size_t i = 0; i < e->n_patches; i++) {
        const struct tape_patch *p = &e->patches[i];
        char *text = scratch->text[i];
        if (p->kind == TAPE_GUID) {
            label_guid(t, l, e->ev.data[p->data].value, p->upper, text);
            scratch->data[p->data].value = slice_of(text, GUID_TEXT_MAX - 1);
        } else {
            filetime_format(p->time + moved, 3, text);
            text[10] = ' ';
            scratch->data[p->data].value = slice_of(text, TIME_TEXT_LEN);
        }
    }
}
