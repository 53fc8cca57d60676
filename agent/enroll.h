/* Enrolment: a token, a key made on this host, a certificate for it. Runs a loop of its own until it is decided. */
#ifndef HAECHI_ENROLL_H
#define HAECHI_ENROLL_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>

struct enroll_options {
    const char *token;
    const char *state; /* directory */
    const char *name;  /* NULL: the host's own name */
    bool wait;         /* pending: ask again until an admin has decided */
    bool again;        /* also when the state directory has an identity already */
    /* Asked in this order, HOST:PORT each; none: the collector that the token names. It has to have the token's CA in any case. */
    const char *const *collectors;
    size_t n_collectors;
    bool (*stop)(void); /* NULL, or asked ten times a second: true ends it with ST_CANCELLED */
    void (*pending)(void *ctx, const char *reason); /* with wait: once, when an admin has to decide; may be NULL */
    void *ctx;
    bool *ret_final; /* may be NULL; set true when the token is of no use any more, here or at its collector */
};

/* ST_OK: enrolled, now or before (said on standard output). ST_AGAIN: pending. Else refused or failed; *err has the
 * sentence. */
MUST_USE enum status enroll_run(const struct enroll_options *o, struct error *err);

#endif
