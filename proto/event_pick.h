/* Some values of an encoded event, without decoding the rest: for who asks the same fields of millions. Pure. */
#ifndef HAECHI_EVENT_PICK_H
#define HAECHI_EVENT_PICK_H

#include "arena.h"
#include "slice.h"
#include "status.h"

enum event_origin { ORIGIN_OTHER, ORIGIN_SYSMON, ORIGIN_SYSMON_LINUX };

/* Which fields: by number of fields.def the place of its value in `values`, from 1; 0: not wanted. */
struct event_wanted {
    const uint8_t *places;
    size_t n_places; /* length of places: numbers from there on are not wanted */
    size_t n;        /* length of values, up to 255 */
};

/* Hostile bytes in, as event_decode takes them: ST_FORMAT, ST_NOMEM. time is the event's. Of Sysmon's events fills values[0 .. n): the
 * first value of that name, .p NULL where there is none; of others fills nothing. Values point into `bytes`, into `a` or to what lives for ever. */
MUST_USE enum status event_pick(struct slice bytes, uint64_t time, const struct event_wanted *w, struct arena *a,
                                enum event_origin *ret_origin, struct slice *values);
/* The RuleName under which an event of Sysmon was logged; empty: there is none, or it is "-". */
MUST_USE enum status event_pick_rule(struct slice bytes, uint64_t time, struct arena *a, bool *ret_is_sysmon,
                                     struct slice *ret_rule);

#endif
