/* What a session has done on a work thread because it waits for the disk: the fleet's changes, the ledger's positions, an
 * explained gap. A session has one at a time and does not read meanwhile.
 *
 * Made on the loop, run on a work thread (job_run), handed back on the loop (session_job_done), freed there. */
#ifndef HAECHI_JOB_H
#define HAECHI_JOB_H

#include "arena.h"
#include "fleet.h"
#include "msg.h"
#include "writer.h"

enum job_kind {
    JOB_HELLO,     /* message Hello: begins the fleet session, looks up positions */
    JOB_POSITIONS, /* message PositionQuery */
    JOB_GAP,       /* message Gap: not for a work thread, see job_explain */
    JOB_RENEW,     /* message Renew */
    JOB_ENROLL     /* message EnrollRequest */
};

struct job_position {
    struct slice channel, computer; /* of the message */
    uint32_t epoch;                 /* 0: nothing is held */
    uint64_t highest_id, highest_time;
};

struct job {
    enum job_kind kind;
    uint32_t host;
    char address[64];
    struct buf body; /* the message's bytes, which it borrows from */
    struct arena arena;
    const void *message; /* Haechi__Hello *, ... in the arena */
    /* results */
    enum status st;
    struct error err;
    uint64_t fleet_session;         /* HELLO; 0: none */
    struct job_position *positions; /* HELLO, POSITIONS; one for each channel asked for */
    size_t n_positions;
    struct buf certificate, ca;     /* RENEW */
    struct fleet_enrolled enrolled; /* ENROLL */
};

/* Copies the body and unpacks it: NULL when it is malformed or decodes to too much. */
struct job *job_new(enum job_kind kind, struct slice body);
void job_free(struct job **j);

struct job_context {
    struct fleet *fleet;
    struct db *db;
};
/* On a work thread. Fills the results. Blocks. */
void job_run(struct job *j, const struct job_context *c);

/* JOB_GAP on the writer thread: an ingest_call_fn with arg = the job. */
enum status job_explain(void *job, struct writer *w, struct error *err);

#endif
