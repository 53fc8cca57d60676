/* Imports. What the writer has no room for stays here, at most one piece of the body, and the socket is not read. */
#include "import.h"
#include "handlers.h"
#include "frame.h"
#include "jout.h"
#include "log.h"
#include "mem.h"

#include <stdio.h>

#define IN_FLIGHT_MAX 64u
#define REJECTED_MAX 1000u

struct rejected {
    uint64_t batch;
    char *reason;
};

struct import {
    struct ingest_door *door;
    struct frame_reader reader;
    struct buf waiting; /* of the body, not cut into frames yet */
    uint32_t host;
    char *host_name;
    uint64_t n_batches, n_events, n_stored, n_duplicate, n_rejected;
    struct rejected *rejected; /* the first REJECTED_MAX of them */
    size_t n_kept, cap_kept;
    size_t in_flight;
    bool ended;
    enum status st; /* why it ended early */
    struct error err;
    void (*changed)(void *ctx);
    void *ctx;
};

static void free_import(void *state) {
    struct import *im = state;
    frame_reader_deinit(&im->reader);
    buf_free(&im->waiting);
    for (size_t i = 0; i < im->n_kept; i++) mem_free(im->rejected[i].reason);
    mem_free(im->rejected);
    mem_free(im->host_name);
    mem_free(im);
}

MUST_USE enum status import_begin(struct call *c, struct ingest_door *door, void (*changed)(void *ctx), void *ctx,
                                  struct error *err) {
    struct fleet_host h;
    enum status st = call_host(c, &h, err);
    if (st) return st;
    struct import *im = mem_zalloc(sizeof *im);
    im->door = door;
    im->changed = changed;
    im->ctx = ctx;
    im->host = h.id;
    im->host_name = mem_strdup(h.name);
    frame_reader_init(&im->reader, FRAME_FROM_AGENT);
    fleet_host_free(&h);
    c->state = im;
    c->free_state = free_import;
    return ST_OK;
}

static void reject(struct import *im, const struct ingest_result *r) {
    im->n_rejected++;
    if (im->n_kept == REJECTED_MAX) return;
    mem_grow((void **)&im->rejected, im->n_kept, &im->cap_kept, sizeof *im->rejected);
    im->rejected[im->n_kept++] = (struct rejected){r->number, mem_strdup(r->reason)};
}

static void on_done(void *owner, const struct ingest_result *r) {
    struct import *im = owner;
    im->in_flight--;
    if (r->st == ST_OK) {
        im->n_events += r->n_events;
        im->n_stored += r->n_stored;
        im->n_duplicate += r->n_duplicate;
    } else if (r->st != ST_CANCELLED) {
        reject(im, r);
    } else if (!im->st) {
        im->st =
            error_set(&im->err, ST_CANCELLED, "the collector is stopping: import again later, nothing is stored twice");
    }
    im->changed(im->ctx);
}

bool import_can_take(struct call *c) {
    struct import *im = c->state;
    return !im->st && im->in_flight < IN_FLIGHT_MAX && ingest_can_take(im->door);
}

/* Cuts frames while there is room. */
static void advance(struct call *c) {
    struct import *im = c->state;
    struct slice in = buf_slice(&im->waiting);
    while (in.len && import_can_take(c)) {
        enum frame_type type;
        struct slice body;
        enum status st = frame_next(&im->reader, &in, &type, &body, &im->err);
        if (st == ST_AGAIN) break;
        if (!st && type != FRAME_BATCH) st = error_set(&im->err, ST_PROTO, "a frame that is no batch");
        if (st) {
            im->st = st;
            char where[64];
            snprintf(where, sizeof where, "after batch %llu", (unsigned long long)im->n_batches);
            error_prefix(&im->err, st, "%s", where);
            break;
        }
        struct buf owned = frame_take_body(&im->reader);
        im->in_flight++;
        ingest_put(im->door, im->host, &owned, ++im->n_batches, on_done, im);
    }
    buf_consume(&im->waiting, im->waiting.len - in.len);
}

void import_feed(struct call *c, struct slice bytes) {
    struct import *im = c->state;
    if (im->st) return;
    buf_slice_append(&im->waiting, bytes);
    advance(c);
}

void import_ended(struct call *c) {
    struct import *im = c->state;
    im->ended = true;
}

void import_abandon(struct call *c, enum status why, const char *text) {
    struct import *im = c->state;
    if (!im->st) im->st = error_set(&im->err, why, "%s", text);
}

bool import_is_over(struct call *c) {
    struct import *im = c->state;
    if (!im->st && im->waiting.len) advance(c);
    if (im->in_flight) return false;
    if (im->st) return true;
    if (!im->ended || im->waiting.len) return false;
    if (im->reader.head_len)
        im->st = error_set(&im->err, ST_FORMAT, "the body ends inside a frame, after batch %llu",
                           (unsigned long long)im->n_batches);
    return true;
}

/* ---- the answer: on a work thread ---- */

static void audit(struct call *c, struct import *im) {
    char detail[160];
    struct error err = {0};
    snprintf(detail, sizeof detail, "%llu batches, %llu events, %llu stored, %llu duplicates, %llu rejected%s",
             (unsigned long long)im->n_batches, (unsigned long long)im->n_events, (unsigned long long)im->n_stored,
             (unsigned long long)im->n_duplicate, (unsigned long long)im->n_rejected, im->st ? ", broken off" : "");
    if (fleet_audit(c->common->o->fleet, c->actor, "import", im->host_name, detail, &err)) {
        log_error("api", "the audit log misses an import for %s: %s", im->host_name, err.msg);
    }
}

enum step import_step(struct call *c, struct buf *out, struct error *err) {
    struct import *im = c->state;
    if (im->n_batches) audit(c, im);
    if (im->st) {
        *err = im->err;
        return call_fail(err, im->st);
    }
    jout_object(out, NULL);
    jout_uint(out, "batches", im->n_batches);
    jout_uint(out, "events", im->n_events);
    jout_uint(out, "stored", im->n_stored);
    jout_uint(out, "duplicates", im->n_duplicate);
    jout_array(out, "rejected");
    for (size_t i = 0; i < im->n_kept; i++) {
        jout_object(out, NULL);
        jout_uint(out, "batch", im->rejected[i].batch);
        jout_str(out, "reason", im->rejected[i].reason);
        jout_close(out, '}');
    }
    jout_close(out, ']');
    if (im->n_rejected > im->n_kept) jout_uint(out, "more_rejected", im->n_rejected - im->n_kept);
    jout_line(out);
    return STEP_END;
}
