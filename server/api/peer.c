/* One client's connection: requests one after the other, each judged by its head, answered by a call.
 *
 * All on the API's loop, but for the steps of a call (work threads). While a step runs, the call and the peer's out, step
 * and err are the step's; the peer lives until it has come back, also when the client is gone. The socket is read during
 * a call, so that a client that goes away is noticed; what it sends ahead waits in `in`, up to IN_MAX. */
#include "api_internal.h"
#include "clock.h"
#include "http.h"
#include "import.h"
#include "judge.h"
#include "log.h"
#include "mem.h"
#include "reply.h"
#include "router.h"

#include <assert.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IN_MAX (64u * 1024)
#define PROGRESS_MS 500
#define SKIPPED_TRAILER "Haechi-Skipped-Blocks"

enum peer_state {
    PEER_HEAD,   /* between requests, or in a request's head */
    PEER_BODY,   /* a small body is gathered */
    PEER_IMPORT, /* the body goes to the ingest door as it comes */
    PEER_CALL,   /* a call is at work */
    PEER_CLOSING /* the connection is closing or closed */
};

struct peer {
    struct list link;
    struct api *api;
    struct conn *conn;
    struct address_entry *address;
    bool is_pipe;
    unsigned uid; /* pipe: who is at the other end */
    enum peer_state state;
    struct http_parser *parser;
    struct buf in; /* received, not parsed yet */
    uv_timer_t timer;
    bool timer_closed, in_run;
    struct call *call;
    bool counted_query, counted_follower, stepped;
    /* of the answer */
    bool working, head_sent, keep_alive, body_unread;
    uint64_t shown;   /* progress */
    uint64_t commits; /* seen by the loop when the last step began */
    uv_work_t work;
    struct buf out;
    enum step step;
    struct error err;
};

static void run(struct peer *p);
static void on_timer(uv_timer_t *t);

static void enter(struct peer *p, enum peer_state next) {
    assert(p->state != PEER_CLOSING || next == PEER_CLOSING);
    p->state = next;
}

static void arm(struct peer *p, unsigned ms) {
    if (p->state != PEER_CLOSING) uv_timer_start(&p->timer, on_timer, ms, 0);
}

/* ---- the end ---- */

static void drop_call(struct peer *p) {
    struct call *c = p->call;
    if (!c) return;
    if (p->counted_query) p->api->n_queries--;
    if (p->counted_follower) p->api->n_followers--;
    p->counted_query = p->counted_follower = false;
    if (c->free_state) c->free_state(c->state);
    target_deinit(&c->target);
    buf_free(&c->body);
    mem_free(c);
    p->call = NULL;
}

static struct call *import_of(struct peer *p) {
    /* a streaming call gets its state on the loop, others on a work thread */
    return p->call && p->call->route->body == BODY_STREAM && p->call->state ? p->call : NULL;
}

static void queue_step(struct peer *p);

/* An import whose client is gone is audited all the same. */
static bool import_lives(struct peer *p) {
    struct call *c = import_of(p);
    if (!c || p->stepped) return false;
    if (import_is_over(c)) queue_step(p);
    return true;
}

static void try_free(struct peer *p) {
    if (p->conn || !p->timer_closed || p->working || p->in_run || import_lives(p)) return;
    struct api *a = p->api;
    bool remote = !p->is_pipe;
    drop_call(p);
    list_remove(&p->link);
    address_forget(&a->addresses, p->address);
    http_parser_free(&p->parser);
    buf_free(&p->in);
    buf_free(&p->out);
    mem_free(p);
    api_peer_gone(a, remote);
}

static void on_timer_closed(uv_handle_t *h) {
    struct peer *p = h->data;
    p->timer_closed = true;
    try_free(p);
}

static void on_closed(struct conn *c, void *owner, enum status why, const char *text) {
    struct peer *p = owner;
    log_debug("api", "connection closed: %s (%s)", text, status_name(why));
    enter(p, PEER_CLOSING);
    if (import_of(p) && !p->stepped) import_abandon(p->call, ST_CLOSED, "the client went away");
    conn_free(&c);
    p->conn = NULL;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

void peer_close(struct peer *p) {
    if (p->state == PEER_CLOSING) return;
    enter(p, PEER_CLOSING);
    conn_close(p->conn, ST_CLOSED, "the API is stopping");
}

static void close_soon(struct peer *p, const char *why) {
    enter(p, PEER_CLOSING);
    uv_timer_stop(&p->timer);
    conn_close_after_flush(p->conn, ST_CLOSED, why);
}

/* ---- answers ---- */

static void send_bytes(struct peer *p, struct buf *b) {
    conn_write(p->conn, buf_slice(b));
    buf_free(b);
}

static void next_request(struct peer *p) {
    drop_call(p);
    if (!p->keep_alive || p->api->quiet) {
        close_soon(p, "answered");
        return;
    }
    enter(p, PEER_HEAD);
    arm(p, API_MS(API_IDLE_MS));
}

/* A whole answer: a problem document. The connection ends with it when the request's body was not read. */
static void send_problem(struct peer *p, struct reply_head h, const char *detail) {
    struct buf body = {0}, out = {0};
    if (p->body_unread) p->keep_alive = false;
    reply_problem(&body, h.http, detail);
    h.type = REPLY_PROBLEM;
    h.length = body.len;
    h.close = !p->keep_alive;
    h.ask_token = h.http == 401;
    h.now = clock_wall();
    if (h.http == 503 && !h.retry_after_s) h.retry_after_s = 1;
    reply_head(&out, &h);
    buf_slice_append(&out, buf_slice(&body));
    send_bytes(p, &out);
    buf_free(&body);
    next_request(p);
}

static void problem(struct peer *p, int http, const char *detail) {
    send_problem(p, (struct reply_head){.http = http}, detail);
}

static void head(struct peer *p, bool chunked, uint64_t length, struct buf *out) {
    const struct call *c = p->call;
    bool trailer = chunked && c->route->is_query;
    reply_head(out, &(struct reply_head){.http = c->http ? c->http : 200,
                                         .type = c->type ? c->type : c->route->types[0],
                                         .chunked = chunked,
                                         .length = length,
                                         .close = !p->keep_alive,
                                         .trailer = trailer ? SKIPPED_TRAILER : NULL,
                                         .now = clock_wall()});
    p->head_sent = true;
}

static void send_piece(struct peer *p) {
    struct buf out = {0};
    if (!p->head_sent) head(p, true, 0, &out);
    reply_chunk(&out, buf_slice(&p->out));
    buf_clear(&p->out);
    send_bytes(p, &out);
}

static void send_end(struct peer *p) {
    struct buf out = {0};
    if (p->head_sent) {
        reply_chunk(&out, buf_slice(&p->out));
        reply_last_chunk(&out, p->call->skipped ? SKIPPED_TRAILER : NULL, p->call->skipped);
    } else {
        head(p, false, p->out.len, &out);
        buf_slice_append(&out, buf_slice(&p->out));
    }
    send_bytes(p, &out);
    if (p->out.p) mem_wipe(p->out.p, p->out.len); /* may hold a token */
    buf_free(&p->out);
    next_request(p);
}

/* ---- steps ---- */

static void resolve_actor(struct call *c) {
    struct passwd pw, *found = NULL;
    char text[1024];
    if (!getpwuid_r(c->uid, &pw, text, sizeof text, &found) && found)
        snprintf(c->actor, sizeof c->actor, "%.50s@unix", pw.pw_name);
    else
        snprintf(c->actor, sizeof c->actor, "%u@unix", c->uid);
}

static void on_work(uv_work_t *w) {
    struct peer *p = w->data;
    if (!p->call->actor[0]) resolve_actor(p->call);
    p->step = p->call->step(p->call, &p->out, &p->err);
}

static void on_worked(uv_work_t *w, int status);

static void queue_step(struct peer *p) {
    p->working = p->stepped = true;
    p->work.data = p;
    p->commits = p->api->n_commits;
    p->err = (struct error){0};
    p->call->wake_on_commit = false;
    if (uv_queue_work(p->api->loop, &p->work, on_work, on_worked)) abort(); /* only for a NULL function */
}

static void next_step(struct peer *p) {
    arm(p, PROGRESS_MS);
    queue_step(p);
}

static void go_on(struct peer *p) {
    if (conn_can_write(p->conn)) next_step(p); /* else on_drained */
}

static void fail(struct peer *p) {
    int http = p->call->http ? p->call->http : reply_http_of(p->err.code);
    if (http >= 500) log_error("api", "%s %s: %s", p->call->route->method, p->call->route->path, p->err.msg);
    if (!p->head_sent) {
        buf_clear(&p->out);
        problem(p, http, p->err.msg);
        return;
    }
    enter(p, PEER_CLOSING); /* without the last chunk: the client sees that the answer is not complete */
    conn_close(p->conn, p->err.code, p->err.msg);
}

static void after_step(struct peer *p) {
    struct call *c = p->call;
    bool follows = p->step == STEP_WAIT && c->wake_on_commit;
    if (p->counted_follower != follows && c->route->is_query) { /* who waits for events is no load */
        p->api->n_followers += follows ? 1 : (size_t)-1;
        p->counted_follower = follows;
    }
    switch (p->step) {
    case STEP_FAIL: fail(p); break;
    case STEP_END: send_end(p); break;
    case STEP_MORE:
        if (p->out.len) send_piece(p);
        go_on(p);
        break;
    case STEP_WAIT:
        if (p->out.len || (follows && !p->head_sent)) send_piece(p);
        /* a commit that came during the step may have been overlooked by it */
        arm(p, follows && p->commits != p->api->n_commits && c->wait_ms > API_PACE_MS ? API_PACE_MS : c->wait_ms);
        break;
    }
}

static void on_worked(uv_work_t *w, int status) {
    struct peer *p = w->data;
    (void)status; /* nothing cancels it */
    p->working = false;
    uv_timer_stop(&p->timer);
    if (p->state == PEER_CLOSING) {
        try_free(p);
        return;
    }
    after_step(p);
    run(p);
}

/* A long step shows how far it is. */
static void show_progress(struct peer *p) {
    uint64_t done = atomic_load(&p->call->progress.done), all = atomic_load(&p->call->progress.all);
    if (all && done != p->shown && conn_can_write(p->conn)) {
        struct buf line = {0}, out = {0};
        p->shown = done;
        buf_printf(&line, "{\"done\":%llu,\"all\":%llu}\n", (unsigned long long)done, (unsigned long long)all);
        if (!p->head_sent) head(p, true, 0, &out);
        reply_chunk(&out, buf_slice(&line));
        send_bytes(p, &out);
        buf_free(&line);
    }
    arm(p, PROGRESS_MS);
}

/* The body is at fault: an answer comes when what was taken of it is stored. */
static void end_import(struct peer *p, int http, const char *why) {
    p->call->http = http;
    p->keep_alive = false;
    import_abandon(p->call, ST_PROTO, why);
}

static void on_timer(uv_timer_t *t) {
    struct peer *p = t->data;
    switch (p->state) {
    case PEER_HEAD:
        if (http_is_idle(p->parser)) {
            close_soon(p, "idle");
        } else {
            p->keep_alive = false;
            problem(p, 408, "the request's head did not come in time");
        }
        break;
    case PEER_BODY:
        p->keep_alive = false;
        problem(p, 408, "the request's body did not come in time");
        break;
    case PEER_IMPORT:
        if (conn_is_paused(p->conn)) { /* it waits for us */
            arm(p, API_MS(API_BODY_MS));
        } else {
            end_import(p, 408, "the request's body did not come in time");
            run(p);
        }
        break;
    case PEER_CALL:
        if (p->working)
            show_progress(p);
        else
            go_on(p);
        break;
    case PEER_CLOSING: break;
    }
}

static bool is_waiting(const struct peer *p) {
    return p->state == PEER_CALL && !p->working && p->step == STEP_WAIT;
}

void peer_wake(struct peer *p) {
    if (!is_waiting(p) || !p->call->wake_on_commit) return;
    uv_timer_stop(&p->timer);
    go_on(p);
}

/* ---- a request ---- */

static void on_import_changed(void *ctx) {
    peer_poke(ctx);
}

static bool admit(struct peer *p, struct call *c) {
    struct api *a = p->api;
    struct error err = {0};
    if (c->route->is_query && a->n_queries - a->n_followers >= API_MAX_QUERIES) {
        problem(p, 503, "too many queries at once; try again in a moment");
        return false;
    }
    if (c->route->is_query && a->n_followers >= API_MAX_FOLLOWERS && target_param(&c->target, "follow")) {
        problem(p, 503, "too many clients follow events already");
        return false;
    }
    if (c->route->is_query) a->n_queries++;
    p->counted_query = c->route->is_query;
    if (c->route->body != BODY_STREAM) return true;
    enum status st = import_begin(c, a->door, on_import_changed, p, &err);
    if (st) problem(p, reply_http_of(st), err.msg);
    return !st;
}

static void begin_call(struct peer *p) {
    enter(p, PEER_CALL);
    next_step(p);
}

/* The head of a request is here. */
static void on_head(struct peer *p) {
    const struct http_request *r = http_request(p->parser);
    struct call *c = p->call = mem_zalloc(sizeof *c);
    bool has_body = r->chunked || r->content_length > 0;
    c->common = &p->api->common;
    p->keep_alive = r->keep_alive;
    p->head_sent = p->stepped = false;
    p->shown = 0;
    p->body_unread = has_body;
    buf_clear(&p->out);
    if (p->api->quiet) {
        problem(p, 503, "the collector is stopping");
        return;
    }
    struct verdict v = {0};
    if (!judge(c, r, p->is_pipe ? NULL : p->api->o.fleet, p->uid, &v)) {
        send_problem(p, (struct reply_head){.http = v.http, .allow = v.allow}, v.detail);
        return;
    }
    if (!admit(p, c)) return;
    c->step = c->route->step;
    if (has_body && r->expect_continue) conn_write(p->conn, SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
    enter(p, c->route->body == BODY_STREAM ? PEER_IMPORT : PEER_BODY);
    arm(p, API_MS(API_BODY_MS));
}

static void on_body(struct peer *p, struct slice body) {
    struct call *c = p->call;
    if (p->state == PEER_IMPORT) {
        import_feed(c, body);
        arm(p, API_MS(API_BODY_MS));
    } else if (buf_try_append(&c->body, body.p, body.len, route_body_max(c->route->body))) {
        problem(p, 413, route_body_max_text(c->route->body));
    }
}

static void on_request_end(struct peer *p) {
    p->body_unread = false;
    if (p->state == PEER_IMPORT) {
        import_ended(p->call);
        uv_timer_stop(&p->timer);
    } else if (p->state == PEER_BODY) {
        begin_call(p);
    } /* else: the end of a request that was refused by its head */
}

static void on_bad(struct peer *p) {
    const char *why;
    int http = http_refusal(p->parser, &why);
    if (p->state == PEER_IMPORT) {
        end_import(p, http, why);
        return;
    }
    p->keep_alive = false;
    problem(p, http, why);
}

/* ---- bytes ---- */

static bool wants_bytes(struct peer *p) {
    if (p->state == PEER_IMPORT) return import_can_take(p->call);
    return p->state == PEER_HEAD || p->state == PEER_BODY;
}

static void parse(struct peer *p) {
    struct slice in = buf_slice(&p->in), body;
    bool more = true;
    while (more && wants_bytes(p)) {
        bool was_idle = http_is_idle(p->parser);
        switch (http_next(p->parser, &in, &body)) {
        case HTTP_EVENT_MORE: more = false; break;
        case HTTP_EVENT_HEAD: on_head(p); break;
        case HTTP_EVENT_BODY: on_body(p, body); break;
        case HTTP_EVENT_END: on_request_end(p); break;
        case HTTP_EVENT_BAD: on_bad(p); break;
        }
        if (p->state == PEER_HEAD && was_idle && !http_is_idle(p->parser)) arm(p, API_MS(API_HEAD_MS));
    }
    buf_consume(&p->in, p->in.len - in.len);
}

/* Whatever can be done now. */
static void run(struct peer *p) {
    if (p->in_run) return;
    p->in_run = true;
    if (p->state != PEER_CLOSING) parse(p);
    if (p->state == PEER_IMPORT && import_is_over(p->call)) begin_call(p);
    if (p->conn && p->state != PEER_CLOSING) {
        bool full = p->state == PEER_IMPORT ? !import_can_take(p->call) : p->in.len > IN_MAX;
        if (full && !conn_is_paused(p->conn)) conn_pause(p->conn);
        if (!full && conn_is_paused(p->conn)) conn_resume(p->conn);
    }
    p->in_run = false;
    try_free(p);
}

void peer_poke(struct peer *p) {
    if (p->state == PEER_IMPORT || p->state == PEER_CLOSING) run(p);
}

static void on_data(struct conn *c, void *owner, struct slice plain) {
    struct peer *p = owner;
    (void)c;
    if (p->state == PEER_CLOSING) return;
    buf_slice_append(&p->in, plain);
    run(p);
}

static void on_drained(struct conn *c, void *owner) {
    struct peer *p = owner;
    (void)c;
    if (p->state == PEER_CALL && !p->working && p->step == STEP_MORE) next_step(p);
}

static void on_eof(struct conn *c, void *owner) {
    struct peer *p = owner;
    enter(p, PEER_CLOSING);
    conn_close(c, ST_CLOSED, "the client closed the connection");
}

/* ---- beginning ---- */

/* SO_PEERCRED's shape; glibc shows its own name for it to _GNU_SOURCE only. */
struct credentials {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

static void on_open(struct conn *c, void *owner) {
    struct peer *p = owner;
    struct credentials who;
    socklen_t len = sizeof who;
    uv_os_fd_t fd;
    if (p->is_pipe) {
        if (uv_fileno(conn_handle(c), &fd) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len)) {
            enter(p, PEER_CLOSING);
            conn_close(c, ST_IO, "the client's user cannot be told");
            return;
        }
        p->uid = who.uid;
    }
    arm(p, API_MS(API_IDLE_MS));
}

static const struct conn_events events = {on_open, on_data, on_drained, on_eof, on_closed};

struct peer *peer_of(struct list *link) {
    return container_of(link, struct peer, link);
}

void peer_accept(struct api *a, struct listening *l) {
    char address[80];
    struct peer *p = mem_zalloc(sizeof *p);
    p->api = a;
    p->is_pipe = l->is_pipe;
    p->parser = http_parser_new();
    enum status st = conn_accept(a->loop, &l->h.stream, l->is_pipe ? NULL : a->tls, &events, p, &p->conn);
    if (st) {
        http_parser_free(&p->parser);
        mem_free(p);
        return;
    }
    uv_timer_init(a->loop, &p->timer);
    p->timer.data = p;
    list_append(&a->peers, &p->link);
    a->n_peers++;
    a->n_remote += !l->is_pipe;
    if (l->is_pipe) return;
    conn_address(p->conn, address, sizeof address);
    p->address = address_count(&a->addresses, address);
    if (p->address->n > API_MAX_PER_ADDRESS) {
        enter(p, PEER_CLOSING);
        conn_close(p->conn, ST_BUSY, "too many connections of one address");
    }
}
