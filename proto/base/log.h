/* Log lines on stderr: "2026-11-24T23:47:04.123Z warn area: sentence". One line each, peer text escaped, thread-safe.
 *
 * The caller says what happens next ("dropping session", "retry in 4 s"). Never event bodies, never secrets. Text
 * that came from a peer goes through LOG_PEER (escapes control characters and cuts). */
#ifndef HAECHI_LOG_H
#define HAECHI_LOG_H

#include "slice.h"
#include "status.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Under systemd (JOURNAL_STREAM set) lines get a <N> priority prefix and no time. */
void log_init(const char *program, enum log_level level);
void log_set_level(enum log_level level);
MUST_USE enum status log_level_parse(struct slice name, enum log_level *ret); /* error warn info debug */
/* Lines go to fn instead of stderr: the Windows event log, a test. NULL restores stderr. */
void log_redirect(void (*fn)(void *ctx, enum log_level, const char *line), void *ctx);

void log_write(enum log_level level, const char *area, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define log_error(area, ...) log_write(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...) log_write(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...) log_write(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_write(LOG_DEBUG, area, __VA_ARGS__)

/* Repeats of one kind of line: at most one in `every_ms`; *ret_suppressed is how many were held back since. A zeroed
 * struct is ready; one struct per place and thread. */
struct log_limit {
    unsigned long long last_ms;
    unsigned suppressed;
};
bool log_limit_pass(struct log_limit *l, unsigned every_ms, unsigned *ret_suppressed);

/* Peer text made fit for a line, in one of 4 static per-thread buffers (so at most 4 in one call). */
const char *log_peer(struct slice s);

#endif
