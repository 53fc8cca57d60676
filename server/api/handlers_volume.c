/* How much hosts bring: volumes of the fleet, and what makes the noise on one host. */
#include "handlers.h"
#include "clock.h"
#include "digest_wait.h"
#include "jout.h"
#include "log.h"
#include "mem.h"
#include "noise.h"
#include "rulebook.h"
#include "volume.h"

#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_LIMIT 50u
#define MAX_LIMIT 100000u
#define STEP_BUDGET_MS 50

struct volume_call {
    struct digest_wait wait;
    struct fleet_host *hosts; /* that the answer may name, by id */
    size_t n_hosts;
    struct volume_spec spec;
    struct volume *volume;
    uint64_t limit;
    bool is_around, made;
    struct buf text;
    size_t at;
};

static void free_volume(void *state) {
    struct volume_call *v = state;
    volume_free(&v->volume);
    fleet_hosts_free(v->hosts, v->n_hosts);
    buf_free(&v->text);
    mem_free(v);
}

/* ---- the question ---- */

static const struct {
    const char *name;
    enum volume_by by;
} dimensions[] = {{"host", VOLUME_BY_HOST},
                  {"channel", VOLUME_BY_CHANNEL},
                  {"id", VOLUME_BY_ID},
                  {"rule", VOLUME_BY_RULE},
                  {"day", VOLUME_BY_DAY}};
#define N_DIMENSIONS (sizeof dimensions / sizeof *dimensions)

static enum status read_by(struct call *c, unsigned *ret, struct error *err) {
    const char *by = call_param(c, "by");
    *ret = by ? 0 : VOLUME_BY_RULE | VOLUME_BY_ID;
    for (const char *p = by; p && *p;) {
        size_t len = strcspn(p, ","), i = 0;
        while (i < N_DIMENSIONS && (strlen(dimensions[i].name) != len || strncmp(dimensions[i].name, p, len) != 0)) i++;
        if (i == N_DIMENSIONS) {
            return error_set(err, ST_INVALID,
                             "by=%s: host, channel, id, rule and day are known, with commas between them",
                             log_peer(slice_str(by)));
        }
        *ret |= dimensions[i].by;
        p += len + (p[len] == ',');
    }
    return ST_OK;
}

static enum status read_around(struct call *c, struct volume_call *v, struct error *err) {
    uint64_t from = 0, settled = 0, span_s = 86400;
    enum status st = call_time(c, "around", &from, err);
    settled = from;
    if (!st) st = call_time(c, "settled", &settled, err);
    if (!st) st = call_uint(c, "span_s", &span_s, err);
    if (st) return st;
    if (call_param(c, "since") || call_param(c, "until"))
        return error_set(err, ST_INVALID, "around compares two spans of its own: it does not go with since and until");
    if (settled < from) return error_set(err, ST_INVALID, "settled lies before around");
    if (!span_s || span_s > UINT64_C(366) * 86400) return error_set(err, ST_INVALID, "span_s is 1 to 31622400");
    st = volume_around(from, settled, span_s * FILETIME_SECOND, clock_wall(), v->spec.spans);
    if (st == ST_AGAIN) {
        char when[FILETIME_TEXT_MAX];
        filetime_format(v->spec.spans[1].until, 0, when);
        return error_set(
            err, ST_INVALID,
            "nothing to compare yet: volumes are counted by ten minutes, the first ones after that time are over at %s",
            when);
    }
    return st;
}

static enum status read_time(struct call *c, struct volume_call *v, struct error *err) {
    uint64_t now = clock_wall(), since = now - FILETIME_DAY, until = now;
    v->is_around = call_param(c, "around") != NULL;
    if (v->is_around) return read_around(c, v, err);
    if (call_param(c, "settled") || call_param(c, "span_s"))
        return error_set(err, ST_INVALID, "settled and span_s go with around");
    enum status st = call_time(c, "since", &since, err);
    if (!st) st = call_time(c, "until", &until, err);
    if (!st && until < since) st = error_set(err, ST_INVALID, "until lies before since");
    if (!st) v->spec.spans[0] = volume_span(since, until);
    return st;
}

static bool bears(const struct fleet_host *h, const char *group) {
    if (strcmp(group, RULEBOOK_DEFAULT_GROUP) == 0 || (h->group && strcmp(h->group, group) == 0)) return true;
    for (size_t i = 0; i < h->n_tags; i++) {
        if (strcmp(h->tags[i], group) == 0) return true;
    }
    return false;
}

static int by_id(const void *pa, const void *pb) {
    const struct fleet_host *a = pa, *b = pb;
    return (a->id > b->id) - (a->id < b->id);
}

/* Whose volumes: one host's, a group's, everybody's. *ret_ids is the caller's to free. */
static enum status read_hosts(struct call *c, struct volume_call *v, uint32_t **ret_ids, struct error *err) {
    const char *host = call_param(c, "host"), *group = call_param(c, "group");
    struct fleet_host one;
    if (host && group) return error_set(err, ST_INVALID, "host and group do not go together");
    if (host) {
        enum status st = fleet_host_find(c->common->o->fleet, slice_str(host), &one, err);
        if (st) return st;
        v->hosts = mem_alloc(sizeof *v->hosts);
        v->hosts[0] = one;
        v->n_hosts = 1;
    } else {
        v->n_hosts = fleet_hosts(c->common->o->fleet, &v->hosts);
        if (v->n_hosts) qsort(v->hosts, v->n_hosts, sizeof *v->hosts, by_id);
    }
    *ret_ids = mem_alloc(mem_mul(v->n_hosts, sizeof **ret_ids));
    for (size_t i = 0; i < v->n_hosts; i++) {
        if (!group || bears(&v->hosts[i], group)) (*ret_ids)[v->spec.n_hosts++] = v->hosts[i].id;
    }
    v->spec.all_hosts = !host && !group;
    return ST_OK;
}

static enum status begin(struct call *c, struct volume_call *v, struct error *err) {
    uint32_t *ids = NULL;
    v->limit = DEFAULT_LIMIT;
    enum status st = read_by(c, &v->spec.by, err);
    if (!st) st = read_time(c, v, err);
    if (!st) st = call_uint(c, "limit", &v->limit, err);
    if (!st && (!v->limit || v->limit > MAX_LIMIT)) st = error_set(err, ST_INVALID, "limit is 1 to %u", MAX_LIMIT);
    if (!st) st = read_hosts(c, v, &ids, err);
    v->spec.hosts = ids;
    if (!st) v->volume = volume_new(c->common->o->db, &v->spec);
    mem_free(ids);
    return st;
}

/* ---- the answer ---- */

static void put_span(struct buf *out, const struct volume_span *s) {
    jout_time(out, "since", s->since);
    jout_time(out, "until", s->until);
    jout_uint(out, "seconds", (s->until - s->since) / FILETIME_SECOND);
}

static void put_sum(struct buf *out, const struct volume_sum *s, unsigned i) {
    jout_uint(out, "events", s->events[i]);
    jout_uint(out, "bytes", s->bytes[i]);
}

static void put_sums(struct buf *out, const struct volume_call *v, const struct volume_sum *s, bool with_span) {
    static const char *const names[2] = {"before", "after"};
    if (!v->is_around) {
        if (with_span) put_span(out, &v->spec.spans[0]);
        put_sum(out, s, 0);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        jout_object(out, names[i]);
        if (with_span) put_span(out, &v->spec.spans[i]);
        put_sum(out, s, i);
        jout_close(out, '}');
    }
}

static void put_host(struct buf *out, const struct volume_call *v, uint32_t id) {
    struct fleet_host key = {.id = id};
    const struct fleet_host *h = v->n_hosts ? bsearch(&key, v->hosts, v->n_hosts, sizeof *v->hosts, by_id) : NULL;
    jout_str(out, "host", h ? h->name : "");
    jout_uint(out, "host_id", id);
}

static void put_kind(struct buf *out, unsigned by, const struct volume_row *r) {
    if (by & VOLUME_BY_CHANNEL) jout_text(out, "channel", r->channel);
    if (by & VOLUME_BY_ID && r->event_id != TALLY_OTHER_IDS) jout_uint(out, "id", r->event_id);
    if (by & VOLUME_BY_ID && r->event_id == TALLY_OTHER_IDS) jout_null(out, "id");
    if (by & VOLUME_BY_RULE) jout_text(out, "rule", r->rule);
    if (r->is_rest) jout_bool(out, "rest", true);
}

static void put_rows(struct buf *out, struct volume_call *v) {
    const struct volume_row *rows;
    struct volume_sum all;
    size_t n = volume_rows(v->volume, &rows, &all), shown = n < v->limit ? n : (size_t)v->limit;
    put_sums(out, v, &all, true);
    jout_array(out, "rows");
    for (size_t i = 0; i < shown; i++) {
        jout_object(out, NULL);
        if (v->spec.by & VOLUME_BY_DAY) {
            char day[11];
            filetime_day(rows[i].day, day);
            jout_str(out, "day", day);
        }
        if (v->spec.by & VOLUME_BY_HOST) put_host(out, v, rows[i].host);
        put_kind(out, v->spec.by, &rows[i]);
        put_sums(out, v, &rows[i].sum, false);
        jout_close(out, '}');
    }
    jout_close(out, ']');
    jout_uint(out, "more", n - shown);
}

static void put_by(struct buf *out, unsigned by) {
    jout_array(out, "by");
    for (size_t i = 0; i < N_DIMENSIONS; i++) {
        if (by & dimensions[i].by) jout_str(out, NULL, dimensions[i].name);
    }
    jout_close(out, ']');
}

static void make_volume(struct volume_call *v) {
    struct buf *out = &v->text;
    jout_object(out, NULL);
    put_by(out, v->spec.by);
    put_rows(out, v);
    jout_uint(out, "behind_packs", v->wait.behind);
    jout_line(out);
}

static enum step put_text(struct volume_call *v, struct buf *out) {
    struct slice piece = slice_head(slice_from(buf_slice(&v->text), v->at), CALL_PIECE);
    buf_slice_append(out, piece);
    v->at += piece.len;
    return v->at < v->text.len ? STEP_MORE : STEP_END;
}

static struct volume_call *volume_call_of(struct call *c) {
    struct volume_call *v = c->state = mem_zalloc(sizeof *v);
    c->free_state = free_volume;
    digest_wait_begin(&v->wait, c);
    return v;
}

/* ST_OK: there is more to do, of which some was done; ST_END: all is added up. */
static enum status add_up(struct volume_call *v, struct error *err) {
    enum status st = ST_OK;
    for (uint64_t began = clock_mono_ms(); !st && clock_mono_ms() - began < STEP_BUDGET_MS;)
        st = volume_step(v->volume, err);
    return st;
}

enum step volumes_step(struct call *c, struct buf *out, struct error *err) {
    struct volume_call *v = c->state;
    if (!v) {
        v = volume_call_of(c);
        enum status st = begin(c, v, err);
        if (st) return call_fail(err, st);
    }
    if (v->made) return put_text(v, out);
    if (!digest_wait_over(&v->wait, c, "a list of volumes")) return STEP_WAIT;
    enum status st = add_up(v, err);
    if (st == ST_OK) return STEP_MORE;
    if (st != ST_END) return call_fail(err, st);
    make_volume(v);
    v->made = true;
    return put_text(v, out);
}

/* ---- the noise of one host ---- */

static void put_images(struct buf *out, const struct noise *n, uint64_t limit) {
    jout_array(out, "images");
    for (size_t i = 0; i < n->n && i < limit; i++) {
        const struct noise_image *m = &n->images[i];
        jout_object(out, NULL);
        jout_text(out, "image", m->image);
        jout_uint(out, "processes", m->processes);
        jout_uint(out, "events", m->events);
        jout_object(out, "ids");
        for (unsigned k = 0; k <= PROC_MAX_EVENT_ID; k++) {
            char key[12] = "other";
            if (!m->counts[k]) continue;
            if (k < PROC_MAX_EVENT_ID) snprintf(key, sizeof key, "%u", k);
            jout_uint(out, key, m->counts[k]);
        }
        jout_close(out, '}');
        jout_close(out, '}');
    }
    jout_close(out, ']');
    jout_uint(out, "more_images", n->n > limit ? n->n - limit : 0);
}

static enum status make_noise(struct call *c, struct volume_call *v, struct error *err) {
    struct noise noise = {0};
    uint64_t since = v->spec.spans[0].since;
    enum status st = noise_images(c->common->o->db, v->hosts[0].id, since, &noise, err);
    if (st) return st;
    struct buf *out = &v->text;
    jout_object(out, NULL);
    jout_str(out, "host", v->hosts[0].name);
    put_by(out, v->spec.by);
    put_rows(out, v);
    jout_time(out, "images_since", since / FILETIME_DAY * FILETIME_DAY);
    put_images(out, &noise, v->limit);
    jout_uint(out, "behind_packs", v->wait.behind);
    jout_line(out);
    noise_deinit(&noise);
    return ST_OK;
}

static enum status begin_noise(struct call *c, struct volume_call *v, struct error *err) {
    v->limit = DEFAULT_LIMIT;
    v->spec.by = VOLUME_BY_CHANNEL | VOLUME_BY_ID | VOLUME_BY_RULE;
    enum status st = read_time(c, v, err);
    if (!st) st = call_uint(c, "limit", &v->limit, err);
    if (!st && (!v->limit || v->limit > MAX_LIMIT)) st = error_set(err, ST_INVALID, "limit is 1 to %u", MAX_LIMIT);
    if (st) return st;
    v->hosts = mem_zalloc(sizeof *v->hosts);
    st = call_host(c, v->hosts, err);
    if (st) return st;
    v->n_hosts = v->spec.n_hosts = 1;
    v->spec.hosts = &v->hosts[0].id;
    v->volume = volume_new(c->common->o->db, &v->spec);
    return ST_OK;
}

enum step noise_step(struct call *c, struct buf *out, struct error *err) {
    struct volume_call *v = c->state;
    if (!v) {
        v = volume_call_of(c);
        enum status st = begin_noise(c, v, err);
        if (st) return call_fail(err, st);
    }
    if (v->made) return put_text(v, out);
    if (!digest_wait_over(&v->wait, c, "a host's noise")) return STEP_WAIT;
    enum status st = add_up(v, err);
    if (st == ST_OK) return STEP_MORE;
    if (st == ST_END) st = make_noise(c, v, err);
    if (st) return call_fail(err, st);
    v->made = true;
    return put_text(v, out);
}
