/* The HTTP API: what `haechi` and the console talk to. Runs on main's loop; anything that blocks (queries, fleet changes)
 * goes to work threads.
 *
 * Life: api_start; api_quiet when the collector is going down (no new requests; its ingest door is quiet); then main stops
 * ingest, calls api_stop, and runs the loop until it is empty: the API's handles must all be closing by then, and what it
 * owns is freed in the last close callback. */
#ifndef HAECHI_API_H
#define HAECHI_API_H

#include "digest.h"
#include "fleet.h"
#include "ingest.h"
#include "listener.h"
#include "rollout.h"
#include "stats.h"

#include <uv.h>

struct api;

struct api_options { /* all borrowed, and outlive the API */
    struct db *db;
    struct fleet *fleet;
    struct rulebook *book;
    struct rollouts *rollouts;
    struct ingest *ingest; /* imports: ingest_door_open on the loop; ingest_writer for explaining and removing */
    struct digest *digest;
    struct stats *stats; /* stats_collect: on a work thread */
    struct listener *listener;
    const char *const *addresses;            /* "unix:PATH", "ADDRESS:PORT"; NULL-terminated */
    const char *certificate_file, *key_file; /* for HTTPS; NULL: the collector's own certificate */
    const char *agent_address;               /* HOST:PORT that goes into enrolment tokens */
};
MUST_USE enum status api_start(uv_loop_t *loop, const struct api_options *o, struct api **ret, struct error *err);
uint16_t api_port(const struct api *a); /* of the first ADDRESS:PORT; 0: there is none */
void api_quiet(struct api *a);
void api_stop(struct api **a); /* NULLs; fine on NULL */

/* After a commit, on the writer thread (an ingest listener): followers of events wake up. ctx: the api. */
void api_committed(void *api, uint64_t last_seq);

#ifdef HAECHI_TEST_HOOKS
void api_test_speed(unsigned times); /* the deadlines of clients pass that many times faster; set before api_start */
#endif

#endif
