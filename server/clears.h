/* Logs that were cleared, and the holes that explains.
 *
 * Clearing a log does not restart its record ids: what was not read before is a hole between the last record held before
 * the clearing and the first one after it. The event that says so (Security 1102; System 104, for the log it names) may
 * be collected before or after the records on either side, so clearings are remembered (the newest ones of each log, in
 * the fleet environment) and looked up again whenever their log has grown. Digest thread. */
#ifndef HAECHI_CLEARS_H
#define HAECHI_CLEARS_H

#include "db.h"
#include "event.h"
#include "writer.h"

struct clears;
MUST_USE enum status clears_open(struct db *db, struct clears **ret, struct error *err);
void clears_close(struct clears **c);

/* Is it an event that says that a log was cleared? Gives the log's channel (of `scratch`) . Pure. */
bool clears_event(const struct event *ev, struct arena *scratch, struct slice *ret_channel);

/* The log was cleared at `time`. Remembered on disk before it returns. */
MUST_USE enum status clears_add(struct clears *c, uint32_t host, struct slice computer, struct slice channel,
                                uint64_t time, struct error *err);
/* The log has grown. Cheap when it was never cleared. */
void clears_touch(struct clears *c, uint32_t host, struct slice computer, struct slice channel);
/* Has the writer explain what can be explained now, of the logs touched or cleared since. Returns how many logs. */
size_t clears_explain(struct clears *c, struct writer *w);

/* The unexplained holes of a stream that a clearing at one of the times explains. Pure: calls `found` for each. */
void clears_holes(const struct ledger *l, const uint64_t *times, size_t n,
                  void (*found)(void *ctx, uint64_t first, uint64_t last), void *ctx);

#endif
