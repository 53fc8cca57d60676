/* Where Sysmon is on this Windows, and of which version. */
#ifndef HAECHI_SYSMON_WIN_H
#define HAECHI_SYSMON_WIN_H

#include "slice.h"

struct sysmon_found {
    char service[260 * 3], driver[260 * 3]; /* names of the services; service is the driver when that runs alone */
    char version[32];                       /* of the file, "15.15"; empty: not readable */
    char state[16];                         /* running, stopped, unknown */
};

/* false: there is none. */
bool sysmon_find(struct sysmon_found *ret);

#endif
