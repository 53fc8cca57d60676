/* Events and trees of a host: the queries. */
#include "handlers.h"
#include "clock.h"
#include "digest_wait.h"
#include "jout.h"
#include "log.h"
#include "mem.h"
#include "query.h"
#include "tree.h"

#include <stdio.h>

#define STEP_BUDGET_MS 50
#define FIRST_PIECE 1u /* the first row leaves at once */
#define SECOND_PIECE (16u * 1024)
#define KEEP_ALIVE_MS 15000

/* ---- events ---- */

struct events {
    struct query *q;
    char host[64];
    uint64_t limit;
    size_t piece;
    uint64_t said_ms; /* the last time that something was sent */
    bool count, follow, blank_lines, at_end;
};

static void free_events(void *state) {
    struct events *e = state;
    query_free(&e->q);
    mem_free(e);
}

static enum status read_filter(struct call *c, struct filter *f, struct error *err) {
    const char *ids = call_param(c, "id"), *guid = call_param(c, "guid"), *search = call_param(c, "search");
    enum status st = ids ? filter_add_ids(f, ids, err) : ST_OK;
    if (!st && guid) st = filter_set_guid(f, guid, err);
    if (!st && search) filter_set_search(f, search);
    for (size_t i = 0; i < c->target.n_params && !st; i++) {
        if (strcmp(c->target.params[i].name, "where") == 0) st = filter_add_where(f, c->target.params[i].value, err);
    }
    return st;
}

static enum status read_events(struct call *c, struct events *e, struct query_spec *q, struct error *err) {
    static const char *const types[] = {NULL, "text/plain; charset=utf-8", "text/csv; charset=utf-8"};
    const char *format = call_param(c, "format");
    enum status st = read_filter(c, &q->filter, err);
    if (!st) st = call_time(c, "since", &q->since, err);
    if (!st) st = call_time(c, "until", &q->until, err);
    if (!st) st = call_uint(c, "limit", &q->limit, err);
    if (!st) st = call_flag(c, "reverse", &q->reverse, err);
    if (!st) st = call_flag(c, "follow", &e->follow, err);
    q->new_only = e->follow && !call_param(c, "since");
    if (!st) st = call_flag(c, "count", &e->count, err);
    if (!st && format && render_format_parse(format, &q->format)) {
        st = error_set(err, ST_INVALID, "format=%s: json, xml and csv are known", log_peer(slice_str(format)));
    }
    if (!st && e->follow && q->reverse) st = error_set(err, ST_INVALID, "follow and reverse do not go together");
    if (!st && e->follow && e->count) st = error_set(err, ST_INVALID, "follow and count do not go together");
    c->type = e->count ? "application/json" : types[q->format];
    e->blank_lines = q->format == RENDER_JSON;
    e->limit = q->limit;
    return st;
}

static enum status begin_events(struct call *c, struct error *err) {
    struct query_spec q = {0};
    struct fleet_host h;
    enum status st = call_host(c, &h, err);
    if (st) return st;
    struct events *e = mem_zalloc(sizeof *e);
    c->state = e;
    c->free_state = free_events;
    e->piece = FIRST_PIECE;
    snprintf(e->host, sizeof e->host, "%s", h.name);
    st = read_events(c, e, &q, err);
    if (!st) {
        q.host = h.id;
        q.host_name = h.name;
        st = query_new(c->common->o->db, &q, &e->q, err);
    } else {
        filter_deinit(&q.filter);
    }
    fleet_host_free(&h);
    return st;
}

static enum step end_events(struct call *c, struct events *e) {
    c->skipped = query_skipped(e->q);
    if (c->skipped) {
        log_warn("api", "%llu blocks of host %s could not be read: the answer to %s is without them",
                 (unsigned long long)c->skipped, log_peer(slice_str(e->host)), c->actor);
    }
    return STEP_END;
}

static enum step count_events(struct call *c, struct events *e, struct buf *out, struct error *err) {
    uint64_t n = 0;
    enum status st = query_count(e->q, STEP_BUDGET_MS, &n, err);
    if (st == ST_OK) return STEP_MORE;
    if (st != ST_END) return call_fail(err, st);
    jout_object(out, NULL);
    jout_uint(out, "count", n);
    if (query_skipped(e->q)) jout_uint(out, "skipped_blocks", query_skipped(e->q));
    jout_line(out);
    return end_events(c, e);
}

/* All that is stored has been said: wait for more. */
static enum step follow_events(struct call *c, struct events *e, struct buf *out, struct error *err) {
    enum status st = query_follow(e->q, err);
    uint64_t now = clock_mono_ms();
    if (st == ST_OK) {
        e->at_end = false;
        return STEP_MORE;
    }
    if (st != ST_AGAIN) return call_fail(err, st);
    if (now - e->said_ms >= KEEP_ALIVE_MS) {
        if (e->blank_lines) buf_byte(out, '\n');
        e->said_ms = now;
    }
    c->wake_on_commit = true;
    c->wait_ms = (unsigned)(KEEP_ALIVE_MS - (now - e->said_ms));
    return STEP_WAIT;
}

enum step events_step(struct call *c, struct buf *out, struct error *err) {
    enum status st = c->state ? ST_OK : begin_events(c, err);
    if (st) return call_fail(err, st);
    struct events *e = c->state;
    if (e->count) return count_events(c, e, out, err);
    if (e->at_end) return follow_events(c, e, out, err);
    uint64_t rows = query_rows(e->q);
    st = query_step(e->q, out, e->piece, STEP_BUDGET_MS, err);
    if (query_rows(e->q) > rows) e->piece = e->piece == FIRST_PIECE ? SECOND_PIECE : CALL_PIECE;
    if (out->len || !e->said_ms) e->said_ms = clock_mono_ms();
    if (st == ST_OK) return STEP_MORE;
    if (st != ST_END) return call_fail(err, st);
    if (!e->follow || (e->limit && query_rows(e->q) >= e->limit)) return end_events(c, e);
    e->at_end = true;
    return follow_events(c, e, out, err);
}

/* ---- tree ---- */

struct tree_call {
    struct digest_wait wait;
    struct tree tree;
    struct buf text;
    size_t at;
};

static void free_tree(void *state) {
    struct tree_call *t = state;
    buf_free(&t->text);
    mem_free(t);
}

static enum status find_process(struct call *c, uint32_t host, struct guid *g, struct error *err) {
    const char *guid = call_param(c, "guid"), *pid_text = call_param(c, "pid");
    uint64_t pid = 0, at = 0;
    if (!guid == !pid_text)
        return error_set(err, ST_INVALID, "name the process by guid=GUID, or by pid=PID and at=TIME");
    if (guid) {
        if (call_param(c, "at")) return error_set(err, ST_INVALID, "at goes with pid");
        return guid_parse(slice_str(guid), g)
                   ? error_set(err, ST_INVALID, "guid=%s is no GUID", log_peer(slice_str(guid)))
                   : ST_OK;
    }
    enum status st = call_uint(c, "pid", &pid, err);
    if (!st) st = call_time(c, "at", &at, err);
    if (!st && pid > UINT32_MAX) st = error_set(err, ST_INVALID, "pid=%s is no PID", log_peer(slice_str(pid_text)));
    return st ? st : tree_find_pid(c->common->o->db, host, (uint32_t)pid, at, g, err);
}

static enum status make_tree(struct call *c, struct tree_call *t, struct error *err) {
    const char *format = call_param(c, "format");
    bool text = format && strcmp(format, "text") == 0;
    struct fleet_host h;
    struct guid g;
    if (format && !text && strcmp(format, "json") != 0) {
        return error_set(err, ST_INVALID, "format=%s: json and text are known", log_peer(slice_str(format)));
    }
    enum status st = call_host(c, &h, err);
    if (st) return st;
    st = find_process(c, h.id, &g, err);
    if (!st) st = tree_build(c->common->o->db, h.id, &g, &t->tree, err);
    fleet_host_free(&h);
    if (st) return st;
    if (text) {
        c->type = "text/plain; charset=utf-8";
        tree_write_text(&t->tree, &t->text);
    } else {
        tree_write_json(&t->tree, &t->text);
    }
    tree_deinit(&t->tree);
    return ST_OK;
}

enum step tree_step(struct call *c, struct buf *out, struct error *err) {
    struct tree_call *t = c->state;
    if (!t) {
        t = c->state = mem_zalloc(sizeof *t);
        c->free_state = free_tree;
        digest_wait_begin(&t->wait, c);
    }
    if (!t->text.len) {
        if (!digest_wait_over(&t->wait, c, "a process tree")) return STEP_WAIT;
        enum status st = make_tree(c, t, err);
        if (st) return call_fail(err, st);
    }
    struct slice piece = slice_head(slice_from(buf_slice(&t->text), t->at), CALL_PIECE);
    buf_slice_append(out, piece);
    t->at += piece.len;
    return t->at < t->text.len ? STEP_MORE : STEP_END;
}
