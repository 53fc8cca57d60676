/* Rollouts for a person: shared by `rules status` and `rules push`. */
#ifndef HAECHI_RULES_ROLLOUT_H
#define HAECHI_RULES_ROLLOUT_H

#include "client.h"

#include <yyjson.h>

/* Watches a rollout until it runs no more: a bar on a terminal, else a line for each change; json: the object at each change. Then
 * shows it in full. ST_DENIED with a sentence when it ended other than done. */
MUST_USE enum status rollout_follow(struct client *c, uint64_t id, bool json, struct error *err);
/* One rollout as the API gives it: what, how far, its waves, who failed and why. */
void rollout_show(yyjson_val *o);

#endif
