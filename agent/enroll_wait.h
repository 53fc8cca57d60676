/* Enrolment without a person: the agent waits for STATE/enroll.conf (setup.h), or for somebody who runs `enroll`.
 *
 * The file is removed once this host is enrolled, and when the collector refuses its token for good. A collector that does not
 * answer, or where an admin has to approve the host first, is asked again. STATE/enrolment says in one line what the agent
 * waits for. Loops of its own, one after the other; blocking. */
#ifndef HAECHI_ENROLL_WAIT_H
#define HAECHI_ENROLL_WAIT_H

#include "buf.h"

#include <stddef.h>

struct enroll_wait_options {
    const char *state;             /* directory; made if need be */
    const char *const *collectors; /* asked instead of the token's when the file names none; HOST[:PORT] */
    size_t n_collectors;
    unsigned retry_min_ms,
        retry_max_ms;   /* pauses while the collector is away; they double, by chance a little shorter */
    bool (*stop)(void); /* may be NULL; asked ten times a second */
};

/* ST_OK: this host is enrolled and no file is left to be used. ST_CANCELLED: stopped. Else what a person has to mend
 * first, such as a damaged identity. Says what it waits for in the log, once for each cause. */
MUST_USE enum status enroll_wait(const struct enroll_wait_options *o, struct error *err);

/* The line of STATE/enrolment, made printable, for people; appends nothing when there is none. */
void enroll_wait_explain(const char *state, struct buf *out);

#endif
