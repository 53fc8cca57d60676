/* DATA/quarantine: batches that were refused, as received, with the reason beside them; bounded in number and bytes.
 * Work threads: calls block on the disk. */
#ifndef HAECHI_QUARANTINE_H
#define HAECHI_QUARANTINE_H

#include "stats.h"

struct quarantine;
MUST_USE enum status quarantine_open(const char *data_dir, uint64_t max_bytes, uint64_t max_files, struct stats *stats,
                                     struct quarantine **ret, struct error *err);
void quarantine_close(struct quarantine **q);

/* Writes TIME-hostN.batch (the frame's body) and .txt (the reason). When there is no room, the bytes are dropped and
 * counted, with a log line now and then: the caller has told the operator of the batch anyway. */
void quarantine_put(struct quarantine *q, uint32_t host, struct slice bytes, const char *reason);

#endif
