/* The fleet's rules in the status file of a running agent (progress.h), and in plain words. Pure. */
#ifndef HAECHI_RULES_TEXT_H
#define HAECHI_RULES_TEXT_H

#include "uplink.h"

/* rules NULL: this host has never had any. */
void rules_text_write(struct buf *out, const struct uplink_rules *rules);
/* One line, more when something is wrong; nothing when the file has nothing of rules. */
void rules_text_explain(struct buf *out, struct slice status_file);

#endif
