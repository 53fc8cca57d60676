/* What Sysmon says about itself in its own events: the configuration was changed (16), service started or stopped (4), an error (255),
 * and the event 1 of the process that the agent started to be seen. Pure. */
#ifndef HAECHI_SYSMON_NOTE_H
#define HAECHI_SYSMON_NOTE_H

#include "event.h"

#define CANARY_MAX 64u /* bytes of the argument with NUL */

struct sysmon_note {
    unsigned event; /* 1, 4, 16, 255 */
    uint64_t time;  /* FILETIME */
    char hash[300]; /* 16: ConfigurationFileHash */
    char file[300]; /* 16: Configuration; 4: State; 255: ID; 1: RuleName */
    char text[300]; /* 16: user SID; 4: Version; 255: Description */
};

/* canary: the argument that the event 1 must have in its command line; "": none is waited for. False: nothing of interest.
 * Texts are cut to fit. */
bool sysmon_note_of(const struct event *ev, const char *canary, struct sysmon_note *ret);

#endif
