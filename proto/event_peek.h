/* What accounting asks of an event, read from its encoding in one pass, without decoding it: is it Sysmon's, and under
 * which RuleName was it logged. Pure. */
#ifndef HAECHI_EVENT_PEEK_H
#define HAECHI_EVENT_PEEK_H

#include "arena.h"
#include "slice.h"
#include "status.h"

struct event_peek {
    bool is_sysmon;    /* of Sysmon's provider, Windows' or Linux' */
    struct slice rule; /* RuleName; empty: there is none, or it is "-" */
};

/* Hostile bytes in, as event_decode takes them: ST_FORMAT, ST_NOMEM. time is the event's. RuleName is looked for in events of
 * Sysmon alone. What it points to lives in `bytes`, in `a` or for ever. Bytes behind the values are not looked at. */
MUST_USE enum status event_peek(struct slice bytes, uint64_t time, struct arena *a, struct event_peek *ret);

#endif
