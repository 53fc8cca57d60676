/* What other commands ask of groups. */
#ifndef HAECHI_GROUP_COMMANDS_H
#define HAECHI_GROUP_COMMANDS_H

#include "check.h"
#include "client.h"

/* What the checker has to know of the group's hosts; a lowest schema that is given already stays. */
MUST_USE enum status group_check_options(struct client *c, const char *group, struct check_options *ret,
                                         struct error *err);

#endif
