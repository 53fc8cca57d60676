/* What the collector counts: counters and gauges that any thread bumps, the CPU clocks of its threads, the last error.
 * status and the Prometheus page are made from one struct stats_view. */
#ifndef HAECHI_STATS_H
#define HAECHI_STATS_H

#include "db.h"
#include "writer.h"

#include <stdatomic.h>

/* name, help text (also of the Prometheus metric haechi_NAME_total) */
#define STATS_COUNTERS(X)                                                                         \
    X(connections, "connections accepted")                                                        \
    X(connections_refused, "connections refused by a limit or without the right protocol")        \
    X(handshake_failures, "connections that ended before the TLS handshake was done")             \
    X(sessions, "agent sessions that got a welcome")                                              \
    X(sessions_refused, "agent sessions refused: revoked, held, cloned")                          \
    X(sessions_cut, "live sessions cut because their host was revoked or held")                   \
    X(protocol_errors, "sessions ended because the agent broke the protocol")                     \
    X(session_timeouts, "sessions ended because the agent was silent")                            \
    X(batches, "batches received")                                                                \
    X(batch_bytes, "bytes of batches received")                                                   \
    X(batches_rejected, "batches rejected and set aside: wrong digest, lying header")             \
    X(quarantine_dropped, "rejected batches not kept because the quarantine was full")            \
    X(events_stored, "events stored")                                                             \
    X(events_duplicate, "events recognised as held already")                                      \
    X(conflicts, "batches in which an event claimed the place of a different one; both are kept") \
    X(epochs_begun, "new epochs of logs that were known already")                                 \
    X(acks, "ack messages sent")                                                                  \
    X(gaps, "gaps that agents explained")                                                         \
    X(enrolments, "hosts enrolled")                                                               \
    X(enrolments_refused, "enrolments refused or left pending")                                   \
    X(renewals, "certificates renewed")                                                           \
    X(rules_offers, "rulesets offered to agents")                                                 \
    X(notices_dropped, "audit records not written because too many came at once")                 \
    X(digest_blocks, "blocks indexed")                                                            \
    X(digest_events, "events seen by the digest")                                                 \
    X(digest_bad_blocks, "stored blocks that could not be decoded")                               \
    X(holes_explained, "times that cleared logs were looked up to explain holes")                 \
    X(partitions_expired, "partitions removed by retention")

/* name, help text (metric haechi_NAME) */
#define STATS_GAUGES(X)                                                           \
    X(open_connections, "connections open now")                                   \
    X(handshakes, "TLS handshakes in flight")                                     \
    X(live_sessions, "agent sessions that are ready")                             \
    X(paused_sessions, "sessions that are not read because the writer is behind") \
    X(quarantine_files, "files in the quarantine")                                \
    X(quarantine_bytes, "bytes in the quarantine")

enum stats_counter {
#define STATS_ENUM(name, help) STATS_##name,
    STATS_COUNTERS(STATS_ENUM) STATS_GAUGES(STATS_ENUM)
#undef STATS_ENUM
        STATS_COUNT
};

struct stats;
struct digest;

struct stats *stats_new(void);
void stats_free(struct stats **s);

void stats_add(struct stats *s, enum stats_counter c, int64_t n); /* any thread; s may be NULL */
uint64_t stats_get(const struct stats *s, enum stats_counter c);
/* The calling thread's CPU time is shown under that name (up to 15 bytes) from now on, until it says that it ends. */
void stats_thread_begin(struct stats *s, const char *name);
void stats_thread_end(struct stats *s);
/* The last error that an operator should see; any thread. The text is copied. */
void stats_error(struct stats *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define STATS_MAX_THREADS 24
struct stats_view {
    const char *version;
    uint64_t started, now; /* FILETIME */
    uint64_t values[STATS_COUNT];
    double events_per_s; /* stored, over the last seconds */
    struct stats_thread {
        char name[16];
        double cpu_s;
    } threads[STATS_MAX_THREADS];
    size_t n_threads;
    double process_cpu_s;
    uint64_t rss_bytes;
    struct writer_state writer;
    uint64_t disk_free, disk_total;
    size_t n_partitions;
    char oldest_day[DB_DAY_LEN];
    uint64_t store_bytes, index_bytes, stored_events, stored_blocks;
    uint64_t last_seq, digest_seq; /* newest pack; newest pack that the digest has flushed */
    uint64_t digest_lag_packs;
    char last_error[ERROR_TEXT_MAX];
    uint64_t last_error_time; /* 0: none */
};

/* Samples the rate; main calls it every second. */
void stats_sample(struct stats *s, struct writer *w);
/* Looks at the file system: not on a loop thread that serves agents. Any of w, d may be NULL. */
void stats_collect(struct stats *s, struct db *db, struct writer *w, struct digest *d, struct stats_view *ret);

const char *stats_name(enum stats_counter c); /* "events_stored" */
const char *stats_help(enum stats_counter c);
bool stats_is_gauge(enum stats_counter c);

#endif
