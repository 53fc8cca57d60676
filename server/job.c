/* Sessions' errands on work threads. Reads and changes what is thread-safe: fleet and database snapshots. */
#include "job.h"
#include "batch.h"
#include "mem.h"

#include <stdlib.h>

#define JOB_MAX_CHANNELS 4096u

static const ProtobufCMessageDescriptor *descriptor_of(enum job_kind k) {
    switch (k) {
    case JOB_HELLO: return &haechi__hello__descriptor;
    case JOB_POSITIONS: return &haechi__position_query__descriptor;
    case JOB_GAP: return &haechi__gap__descriptor;
    case JOB_RENEW: return &haechi__renew__descriptor;
    case JOB_ENROLL: break;
    }
    return &haechi__enroll_request__descriptor;
}

struct job *job_new(enum job_kind kind, struct slice body) {
    struct job *j = mem_zalloc(sizeof *j);
    j->kind = kind;
    arena_init(&j->arena, MSG_ARENA_CAP);
    if (buf_try_append(&j->body, body.p, body.len, body.len)) {
        job_free(&j);
        return NULL;
    }
    j->message = msg_unpack(descriptor_of(kind), buf_slice(&j->body), &j->arena);
    if (!j->message) job_free(&j);
    return j;
}

void job_free(struct job **pj) {
    struct job *j = *pj;
    if (!j) return;
    if (j->kind == JOB_ENROLL && j->body.p) mem_wipe(j->body.p, j->body.cap); /* the token's secret */
    buf_free(&j->body);
    arena_deinit(&j->arena);
    mem_free(j->positions);
    buf_free(&j->certificate);
    buf_free(&j->ca);
    buf_free(&j->enrolled.certificate);
    buf_free(&j->enrolled.ca);
    mem_free(j);
    *pj = NULL;
}

/* ---- positions ---- */

static int cmp_log(struct slice computer_a, struct slice channel_a, struct slice computer_b, struct slice channel_b) {
    int c = slice_cmp(computer_a, computer_b);
    return c ? c : slice_cmp(channel_a, channel_b);
}

static int cmp_streams(const void *pa, const void *pb) {
    const struct db_stream *a = pa, *b = pb;
    int c = cmp_log(slice_str(a->computer), slice_str(a->channel), slice_str(b->computer), slice_str(b->channel));
    return c ? c : (a->epoch > b->epoch) - (a->epoch < b->epoch);
}

/* The newest numbered epoch of the log among streams sorted by cmp_streams; NULL: none. */
static const struct db_stream *newest(const struct db_stream *s, size_t n, struct slice computer,
                                      struct slice channel) {
    size_t lo = 0, hi = n; /* the first stream after the log's numbered epochs */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = cmp_log(slice_str(s[mid].computer), slice_str(s[mid].channel), computer, channel);
        if (c < 0 || (c == 0 && s[mid].epoch != EPOCH_CONTENT))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo || cmp_log(slice_str(s[lo - 1].computer), slice_str(s[lo - 1].channel), computer, channel)) return NULL;
    return s[lo - 1].epoch == EPOCH_CONTENT ? NULL : &s[lo - 1];
}

static void find_positions(struct job *j, const struct job_context *c, Haechi__Channel *const *channels, size_t n) {
    struct db_stream *streams = NULL;
    size_t n_streams = 0;
    if (n > JOB_MAX_CHANNELS) {
        j->st = error_set(&j->err, ST_TOOBIG, "%zu channels; at most %u", n, JOB_MAX_CHANNELS);
        return;
    }
    j->st = db_streams(c->db, j->host, &streams, &n_streams, &j->err);
    if (j->st) return;
    if (n_streams) qsort(streams, n_streams, sizeof *streams, cmp_streams);
    j->positions = mem_zalloc(mem_mul(n, sizeof *j->positions));
    j->n_positions = n;
    for (size_t i = 0; i < n; i++) {
        struct job_position *p = &j->positions[i];
        p->channel = msg_slice(channels[i]->channel);
        p->computer = msg_slice(channels[i]->computer);
        const struct db_stream *s = newest(streams, n_streams, p->computer, p->channel);
        const struct ledger_span *top = s ? ledger_highest(s->ledger) : NULL;
        if (!top) continue;
        p->epoch = s->epoch;
        p->highest_id = top->last;
        p->highest_time = top->last_time;
    }
    db_streams_free(streams, n_streams);
}

/* ---- gaps ---- */

enum status job_explain(void *job, struct writer *w, struct error *err) {
    const struct job *j = job;
    const Haechi__Gap *g = j->message;
    struct slice computer = msg_slice(g->computer), channel = msg_slice(g->channel);
    struct writer_stream *streams = NULL, s = {0};
    if (g->cause < LEDGER_CLEARED || g->cause > LEDGER_DAMAGED || g->first_id > g->last_id || !channel.len) {
        return error_set(err, ST_INVALID, "a gap without a channel, a cause or a range");
    }
    size_t n = writer_streams(w, j->host, computer, channel, &streams);
    while (n && streams[n - 1].epoch == EPOCH_CONTENT) n--;
    for (size_t i = 0; i < n; i++) { /* the epoch it names, else the newest */
        s = streams[i];
        if (s.epoch == g->epoch) break;
    }
    /* a log of which nothing is held yet: its first records are gone */
    enum status st = n ? ST_OK : writer_stream_get(w, j->host, computer, channel, 1, &s, err);
    if (!st) writer_explain(w, s.id, g->first_id, g->last_id, (enum ledger_cause)g->cause);
    return st;
}

/* ---- the rest ---- */

static void run_hello(struct job *j, const struct job_context *c) {
    const Haechi__Hello *h = j->message;
    struct fleet_presence p = {.address = j->address,
                               .machine_id = msg_slice(h->machine_id),
                               .boot_id = msg_slice(h->boot_id),
                               .instance = msg_slice(h->instance)};
    j->st = fleet_session_begin(c->fleet, j->host, &p, &j->fleet_session, &j->err);
    if (j->st) {
        j->fleet_session = 0;
        return;
    }
    find_positions(j, c, h->channels, h->n_channels);
}

static void run_enroll(struct job *j, const struct job_context *c) {
    const Haechi__EnrollRequest *m = j->message;
    struct fleet_enroll_request r = {.token_id = msg_slice(m->token_id),
                                     .token_secret = msg_slice(m->token_secret),
                                     .csr_der = msg_slice(m->csr),
                                     .host_name = slice_str(m->host_name),
                                     .os = slice_str(m->os),
                                     .machine_id = msg_slice(m->machine_id),
                                     .agent_version = slice_str(m->agent_version),
                                     .address = j->address,
                                     .agent_time = m->time};
    j->st = fleet_enroll(c->fleet, &r, &j->enrolled, &j->err);
}

void job_run(struct job *j, const struct job_context *c) {
    switch (j->kind) {
    case JOB_HELLO: run_hello(j, c); break;
    case JOB_POSITIONS: {
        const Haechi__PositionQuery *q = j->message;
        find_positions(j, c, q->channels, q->n_channels);
        break;
    }
    case JOB_GAP: break; /* job_explain */
    case JOB_RENEW: {
        const Haechi__Renew *r = j->message;
        j->st = fleet_renew(c->fleet, j->host, msg_slice(r->csr), &j->certificate, &j->ca, &j->err);
        break;
    }
    case JOB_ENROLL: run_enroll(j, c); break;
    }
}
