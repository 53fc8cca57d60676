/* What a host did: events of one host from all partitions, in order of time, filtered, as a stream of text.
 *
 * A query runs on a work thread, one step at a time; no transaction and no lock outlives a step. Memory is bounded by
 * the number of blocks asked (some 100 bytes each) and of blocks that overlap in time (24 bytes an event), never by
 * the number of events. A block that cannot be read is logged, counted and skipped. */
#ifndef HAECHI_QUERY_H
#define HAECHI_QUERY_H

#include "db.h"
#include "filter.h"
#include "render.h"

struct query;

struct query_spec {
    uint32_t host;
    const char *host_name; /* copied */
    uint64_t since, until; /* FILETIME, both included; until 0: no end */
    struct filter filter;  /* moved into the query, also on failure */
    uint64_t limit;        /* 0: all */
    bool reverse;          /* newest first */
    bool new_only;         /* nothing that is committed now: for query_follow, what arrives from here on */
    enum render_format format;
};

MUST_USE enum status query_new(struct db *db, struct query_spec *spec, struct query **ret, struct error *err);
void query_free(struct query **q);

/* Appends whole lines until *out has max_bytes or budget_ms has passed: ST_OK with more to come (also when nothing
 * matched yet), ST_END after the last line, or what went wrong. */
MUST_USE enum status query_step(struct query *q, struct buf *out, size_t max_bytes, unsigned budget_ms,
                                struct error *err);

/* The number of matching events, without ordering or rendering; in steps as above: ST_END when *ret is final. */
MUST_USE enum status query_count(struct query *q, unsigned budget_ms, uint64_t *ret, struct error *err);

/* After ST_END: takes up what was committed since (for `--follow`): ST_OK when there is something to step through,
 * ST_AGAIN when not yet. Lines come in the order of arrival's blocks then. */
MUST_USE enum status query_follow(struct query *q, struct error *err);

uint64_t query_rows(const struct query *q);    /* written so far */
uint64_t query_skipped(const struct query *q); /* blocks that could not be read */

#endif
