/* Enrolment: a token, a key made on this host, a certificate for it. Runs a loop of its own until it is decided. */
#ifndef HAECHI_ENROLL_H
#define HAECHI_ENROLL_H

#include "status.h"

#include <stdbool.h>

struct enroll_options {
    const char *token;
    const char *state; /* directory */
    const char *name;  /* NULL: the host's own name */
    bool wait;         /* pending: ask again until an admin has decided */
    bool again;        /* also when the state directory has an identity already */
};

/* ST_OK: enrolled, now or before (said on standard output). ST_AGAIN: pending. Else refused or failed; *err has the
 * sentence. */
MUST_USE enum status enroll_run(const struct enroll_options *o, struct error *err);

#endif
