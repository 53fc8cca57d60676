/* How much the fleet's logs bring: events and bytes by host, group, channel, event id, RuleName and day, from the volumes
 * that the digest keeps (storage/tally.h: exact, in slots of ten minutes of the events' own time), for one span of time or
 * for two of equal length, before and after a change.
 *
 * A question is asked in steps, one a partition; a read transaction lives as long as a step, which is a tenth of a second
 * for a day of a thousand hosts. What the digest has not written yet is not in: digest_sync first. Work threads. */
#ifndef HAECHI_VOLUME_H
#define HAECHI_VOLUME_H

#include "tallytab.h"

#define VOLUME_MAX_ROWS 1000000u

enum volume_by { VOLUME_BY_HOST = 1, VOLUME_BY_CHANNEL = 2, VOLUME_BY_ID = 4, VOLUME_BY_RULE = 8, VOLUME_BY_DAY = 16 };

struct volume_span {
    uint64_t since, until; /* FILETIME, whole slots; until is not in it */
};

struct volume_spec {
    const uint32_t *hosts; /* ascending; copied */
    size_t n_hosts;
    bool all_hosts; /* whatever `hosts` says */
    unsigned by;
    struct volume_span spans[2]; /* the second one is empty (0, 0) when there is one only */
};

/* One span: whole slots around [since, until], both included. */
struct volume_span volume_span(uint64_t since, uint64_t until);
/* Two of equal length, at most `len` (FILETIME units): the one ends with the last slot that was over at `from`, the other
 * begins with the first that began at `settled` or later and is over at `now`. ST_AGAIN: not one slot is over since; *ret
 * says when one will be (ret[1].until). */
MUST_USE enum status volume_around(uint64_t from, uint64_t settled, uint64_t len, uint64_t now,
                                   struct volume_span ret[2]);

struct volume_sum {
    uint64_t events[2], bytes[2];
};

struct volume_row { /* what is not asked by is 0 or empty */
    uint32_t host, event_id;
    uint64_t day; /* FILETIME of its first moment */
    struct slice channel, rule;
    bool is_rest; /* kinds of a host that were too many to be told apart */
    struct volume_sum sum;
};

struct volume;
struct volume *volume_new(struct db *db, const struct volume_spec *spec);
void volume_free(struct volume **v);
/* ST_OK: there is more to read; ST_END: done. ST_TOOBIG: more than VOLUME_MAX_ROWS rows. */
MUST_USE enum status volume_step(struct volume *v, struct error *err);
/* After ST_END: the rows, those with the most bytes first (days in order before that when asked by day), and all of them
 * together. Borrowed from v. */
size_t volume_rows(struct volume *v, const struct volume_row **ret, struct volume_sum *ret_all);

#endif
