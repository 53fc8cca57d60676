/* Sysmon's rule engine: would this event have been logged by that ruleset, and under which RuleName? Modelled on the engine
 * of Sysmon 15 (schema 4.91) as SysmonCommon's source has it: ENGINE_MODEL names it. Pure; an engine is immutable and may be used by
 * several threads, each with a scratch of its own. */
#ifndef HAECHI_ENGINE_H
#define HAECHI_ENGINE_H

#include "event.h"
#include "ruleset.h"

#define ENGINE_MODEL "Sysmon 15 (schema 4.91)"

struct engine;
/* The ruleset must outlive it. */
struct engine *engine_new(const struct ruleset *r);
void engine_free(struct engine **e);

enum engine_reason {
    ENGINE_RULE,        /* a block matched: it decides */
    ENGINE_NO_MATCH,    /* one block for this event and nothing in it matched: the block's opposite */
    ENGINE_MANY_BLOCKS, /* several blocks, none matched: not logged */
    ENGINE_NO_BLOCK,    /* none for this event: Sysmon's default */
    ENGINE_ALWAYS       /* 4, 16, 255 */
};

struct engine_verdict {
    bool logged;
    enum engine_reason reason;
    const struct rule_block *block; /* ENGINE_RULE, ENGINE_NO_MATCH; else NULL */
    const struct rule *rule;        /* the one that matched, or of an AND block the last; NULL */
    struct slice rule_name;         /* as Sysmon would write it; empty: "-" */
};
/* Of a Sysmon event (others are logged, ENGINE_ALWAYS). */
struct engine_verdict engine_judge(const struct engine *e, const struct event *ev);

#endif
