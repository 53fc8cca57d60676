/* Sysmon on this host, however it was named when it was installed. Bodies: sysmon_posix.c, sysmon_win.c. */
#ifndef HAECHI_SYSMON_H
#define HAECHI_SYSMON_H

#include "rules_state.h"
#include "status.h"

#define SYSMON_TEXT_MAX 260

struct sysmon {
    enum sysmon_state state;
    char version[32];                                       /* "15.15"; empty: not known */
    char schema[16];                                        /* "4.90"; empty: not known */
    char service[SYSMON_TEXT_MAX], driver[SYSMON_TEXT_MAX]; /* UTF-8; driver empty on Linux */
    char path[1024];                                        /* the installed program, absolute; empty: not found */
    char config_hash[256];                  /* as Sysmon keeps it, "SHA256=..."; empty: none, or not kept */
    char cannot_apply[160];                 /* empty: this process may change the rules; else why not */
    bool inbox;                             /* part of Windows */
    bool has_rules;                         /* the system's copy of the rules could be read: */
    uint8_t rules_digest[RULES_DIGEST_LEN]; /* SHA-256 of it */
};

/* Blocking, some milliseconds; starts no process. ret->state SYSMON_ABSENT when there is none. */
void sysmon_look(struct sysmon *ret);

#endif
