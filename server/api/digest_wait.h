/* Answers from derived data: they wait, for a few seconds, until the digest has written what was committed before the
 * question. */
#ifndef HAECHI_DIGEST_WAIT_H
#define HAECHI_DIGEST_WAIT_H

#include "call.h"

struct digest_wait {
    uint64_t seq, give_up_ms; /* the digest must have come this far */
    uint64_t behind;          /* packs that are not in the answer, once it is over */
};

void digest_wait_begin(struct digest_wait *w, struct call *c);
/* False: return STEP_WAIT (c->wait_ms is set). True: the digest is there, or it has been waited for long enough, which is
 * logged with what the answer is ("a process tree"). */
bool digest_wait_over(struct digest_wait *w, struct call *c, const char *what);

#endif
