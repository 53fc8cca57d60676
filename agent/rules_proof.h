/* When are rules loaded? What was seen since Sysmon was run, and what that proves. Pure.
 *
 * Needed, all of it:
 *   - words: Sysmon took the file without a complaint (sysmon_words.h);
 *   - copy, or canary: the system's own copy of the rules is this file's. Linux: /opt/sysmon/config.xml has its bytes. Windows: the
 *     registry's Rules value is what the same version of Sysmon made of the same file before; or it has changed by this run; or it has
 *     not, and ConfigHash has become this file's, for files that differ in comments make the same rules; or the file was in force already
 *     by ConfigHash and event 16 says that it was given again;
 *   - event 16 with the file's hash, after the start of the run, where the agent reads the channel. Sysmon for Linux before May 2025 names
 *     the file's path only: that is not evidence, and it is not waited for either;
 *   - canary: where the order names one, the event 1 of the agent's own process with that RuleName. */
#ifndef HAECHI_RULES_PROOF_H
#define HAECHI_RULES_PROOF_H

#include "rules_kept.h"
#include "sysmon.h"
#include "sysmon_note.h"
#include "sysmon_words.h"

struct rules_proof {
    uint64_t since;       /* Sysmon was started then, FILETIME */
    struct sysmon before; /* as it was right before */
    bool words, event16, event16_without_hash, copy, canary;
    uint8_t copy_digest[RULES_DIGEST_LEN]; /* of the copy that proved it */
    char canary_said[RULES_NAME_MAX];      /* the canary was seen with another RuleName */
    bool canary_seen;
    char trouble[RULES_REASON_MAX]; /* Sysmon's own event 255 since; "": none */
};

/* What a look at Sysmon says about the copy; sets p->copy. late: the time for proof is over: what was proven by then can be lost, but on
 * Windows, where the copy proves itself by having changed, it cannot be won. */
void rules_proof_look(struct rules_proof *p, const struct rules_kept *k, const struct sysmon *now,
                      enum sysmon_system system, bool late);
/* An event of Sysmon about itself; false: it has nothing to do with this run. */
bool rules_proof_note(struct rules_proof *p, const struct rules_kept *k, const struct sysmon_note *n);
/* Bits of enum rules_evidence. */
uint32_t rules_proof_evidence(const struct rules_proof *p);
/* True: loaded. Else missing (RULES_REASON_MAX bytes) says what is not proven. */
bool rules_proof_holds(const struct rules_proof *p, const struct rules_kept *k, bool reads_events, char *missing);

#endif
