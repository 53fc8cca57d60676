/* A canary rule: one that only the agent's own canary process fires, so that its event 1 names the revision that is really
 * in force. Put into a configuration's text; all other bytes stay as they are. Pure; hostile bytes in. */
#ifndef HAECHI_CANARY_H
#define HAECHI_CANARY_H

#include "buf.h"
#include "slice.h"

#define CANARY_NAME_PREFIX "haechi:"

/* Appends the configuration with the rule at the front of its first ProcessCreate include block, in the file's own encoding.
 * rule_name: printable ASCII without < > & and quotes. ST_INVALID with a sentence where there is no such block, or the rule
 * would change what else is logged: it is proved that one rule was added and nothing else changed. ST_EXISTS: there is a
 * canary rule already. */
MUST_USE enum status canary_insert(struct slice xml, const char *rule_name, struct buf *out, struct error *err);

/* The RuleName of the canary rule that a configuration has, into ret[cap]; false: it has none. */
struct ruleset;
bool canary_find(const struct ruleset *r, char *ret, size_t cap);

#endif
