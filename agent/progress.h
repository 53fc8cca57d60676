/* What a person sees of the agent: a progress bar while files are sent, and the status file of a running agent. */
#ifndef HAECHI_PROGRESS_H
#define HAECHI_PROGRESS_H

#include "feeder.h"

/* One line without a newline: "[######....] 61 %  30,500 events acknowledged". */
void progress_bar(struct buf *out, const struct feeder_report *r, const struct uplink_status *u);
/* A number with thousands separated. */
void progress_number(struct buf *out, uint64_t n);

/* The status file: "key value" lines, for status_explain. */
struct status_facts {
    const char *host_name, *version;
    uint64_t now, started, not_after; /* FILETIME */
    const struct sysmon *sysmon;
};
void status_write(struct buf *out, const struct status_facts *f, const struct feeder_report *r,
                  const struct uplink_status *u);
/* The rest of the first line that begins with `key` and a blank; empty when there is none. */
struct slice status_value(struct slice file, const char *key);
/* The status file in plain words: how things are; and what is wrong and what to do about it, or that all is well. */
void status_explain(struct buf *out, struct slice file, uint64_t now);
void status_explain_troubles(struct buf *out, struct slice file, uint64_t now);

#endif
