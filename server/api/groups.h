/* Groups as handlers share them. */
#ifndef HAECHI_API_GROUPS_H
#define HAECHI_API_GROUPS_H

#include "check.h"
#include "rulebook.h"

/* Fills in the lowest schema among the group's hosts (0: none is known) and whether all of them run Linux. */
void group_needs(struct fleet *f, const char *group, struct check_options *ret);

/* "groups": of a host, in the order in which they count, and which of them decides (by its name; "": none). */
void put_host_groups(struct buf *out, struct rulebook *book, const struct fleet_host *h, const char *deciding);

#endif
