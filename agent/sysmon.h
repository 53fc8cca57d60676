/* Sysmon on this host, however it was named when it was installed. Bodies: sysmon.c (pure), sysmon_posix.c, sysmon_win.c. */
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
    /* Windows: of what the registry holds beside the rules and can blind them as well: which hashes, field sizes, ... */
    uint8_t settings_digest[RULES_DIGEST_LEN];
};

/* Once, before there are other threads. directory: where Sysmon for Linux is installed; NULL: /opt/sysmon. */
void sysmon_prepare(const char *directory);
/* Sysmon for Linux says its version only when it is started: this does so (DIRECTORY/sysmon -h, -s) when a program is there
 * that was not asked yet. Blocking, four seconds at most; one thread at a time. Nothing to do on Windows. */
void sysmon_ask(void);
/* Blocking, some milliseconds; starts no process; any thread. ret->state SYSMON_ABSENT when there is none. On Linux it runs
 * when a process of the program's owner has the command line "[...] DIRECTORY/sysmon ... -service", as its unit starts it. */
void sysmon_look(struct sysmon *ret);

/* ---- pure ---- */
/* The schema of a Sysmon for Windows of that version: "15.15" -> "4.90"; "" when that is not known. */
const char *sysmon_schema_of(const char *version);

#endif
