/* What agent and collector both say about a host's Sysmon rules: numbers of the wire (append only) and their words. Pure. */
#ifndef HAECHI_RULES_STATE_H
#define HAECHI_RULES_STATE_H

#include "slice.h"

#define RULES_XML_MAX (4u * 1024 * 1024) /* bytes of one configuration */
#define RULES_ZSTD_MAX (1000u * 1024)    /* the same compressed, in an offer */
#define RULES_WORDS_MAX (16u * 1024)     /* what is kept of Sysmon's output */
#define RULES_SIGNED_PREFIX "haechi ruleset v1\n"
#define RULES_DIGEST_LEN 32               /* SHA-256 */
#define RULES_CANARY_WORD "haechi-canary" /* in the canary process's command line: what its rule matches */

/* number, name, what a person reads */
#define RULES_STATE_LIST(X)                                                                 \
    X(RULES_NONE, 0, "none", "has had no rules from the fleet")                             \
    X(RULES_RECEIVED, 1, "received", "verified and written; Sysmon has not been asked yet") \
    X(RULES_APPLIED, 2, "applied", "Sysmon took them; that they run is not proven yet")     \
    X(RULES_LOADED, 3, "loaded", "seen to be in force")                                     \
    X(RULES_FAILED, 4, "failed", "Sysmon did not load them")                                \
    X(RULES_REFUSED, 5, "refused", "the agent did not accept the offer")                    \
    X(RULES_DRIFTED, 6, "drifted", "other rules were found in force afterwards")

enum rules_state {
#define RULES_STATE_ENUM(id, number, name, text) id = number,
    RULES_STATE_LIST(RULES_STATE_ENUM)
#undef RULES_STATE_ENUM
};

/* What a claim rests on; several may hold. */
#define RULES_EVIDENCE_LIST(X)                                                      \
    X(RULES_BY_WORDS, 1, "words", "Sysmon's last line, and no complaint before it") \
    X(RULES_BY_EVENT16, 2, "event 16", "with the file's hash, after the change")    \
    X(RULES_BY_COPY, 4, "copy", "the system's own copy of the rules")               \
    X(RULES_BY_CANARY, 8, "canary", "an event that bears the revision's name")

enum rules_evidence {
#define RULES_EVIDENCE_ENUM(id, bit, name, text) id = bit,
    RULES_EVIDENCE_LIST(RULES_EVIDENCE_ENUM)
#undef RULES_EVIDENCE_ENUM
};

#define SYSMON_STATE_LIST(X)        \
    X(SYSMON_UNKNOWN, 0, "unknown") \
    X(SYSMON_ABSENT, 1, "absent")   \
    X(SYSMON_RUNNING, 2, "running") \
    X(SYSMON_STOPPED, 3, "stopped") \
    X(SYSMON_BLIND, 4, "running without its driver")

enum sysmon_state {
#define SYSMON_STATE_ENUM(id, number, name) id = number,
    SYSMON_STATE_LIST(SYSMON_STATE_ENUM)
#undef SYSMON_STATE_ENUM
};

/* "?" for a number that is not known here. */
const char *rules_state_name(uint32_t state);
const char *rules_state_text(uint32_t state);
const char *sysmon_state_name(uint32_t state);
/* "words, event 16, copy" into out; "" when there is none. */
void rules_evidence_text(uint32_t bits, char *out, size_t cap);

#endif
