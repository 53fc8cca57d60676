/* What a run says to people, on one line while it runs and in full at its end, and to programs as JSON. Pure. */
#ifndef LOAD_REPORT_H
#define LOAD_REPORT_H

#include "buf.h"
#include "swarm.h"

void report_line(struct buf *out, const char *phase, const struct swarm_report *r);
void report_text(struct buf *out, const struct swarm_report *r);
void report_json(struct buf *out, const struct swarm_report *r);
/* All that was to be sent was sent, stored and acknowledged, by all agents. */
bool report_is_good(const struct swarm_report *r);

#endif
