/* Sysmon's rule engine: would this event have been logged by that ruleset, and under which RuleName? Modelled on the engine
 * of Sysmon 15 (schema 4.91) as SysmonCommon's source has it: ENGINE_MODEL names it. Pure; an engine is immutable and may be used by
 * several threads, each with a scratch of its own.
 *
 * What is modelled, beyond the grammar: exclude blocks come before include blocks, the first block that matches decides; nothing
 * matches: one block, its opposite, several, not logged; no block: only 1 and 5 are logged. In an AND block entries of one field are
 * alternatives; in an AND Rule every entry must hold. A field that the event lacks matches nothing, not even a negative condition;
 * one that is there and empty, or "-", is compared as that text. In a block of RegistryEvent, WmiEvent or PipeEvent a field counts for
 * an event id only where it stands at the same place in that id's list as in the list of the id that the block is bound to. Text is
 * compared without case (fold.h), '<' and '>' by the order of characters. Values in which Sysmon doubled percent signs are
 * compared as Sysmon saw them.
 *
 * The RuleName is that of the last entry that matched and has one: its own name, else its Rule's, else its RuleGroup's. So an AND
 * that failed half-way can leave its name to an entry that matches later and has none. In an AND block all entries are tried in the
 * document's order, an AND Rule ends at its first entry that does not hold. */
#ifndef HAECHI_ENGINE_H
#define HAECHI_ENGINE_H

#include "event.h"
#include "ruleset.h"

#define ENGINE_MODEL "Sysmon 15 (schema 4.91)"
#define ENGINE_NAME_MAX 255u /* characters of a RuleName */

struct engine;
/* The ruleset must outlive it. */
struct engine *engine_new(const struct ruleset *r);
void engine_free(struct engine **e);

struct engine_scratch; /* what one thread needs to judge with an engine */
struct engine_scratch *engine_scratch_new(const struct engine *e);
void engine_scratch_free(struct engine_scratch **s);

enum engine_reason {
    ENGINE_RULE,        /* a block matched: it decides */
    ENGINE_NO_MATCH,    /* one block for this event and nothing in it matched: the block's opposite */
    ENGINE_MANY_BLOCKS, /* several blocks, none matched: not logged */
    ENGINE_NO_BLOCK,    /* none for this event: Sysmon's default */
    ENGINE_ALWAYS       /* 4, 16, 255, and ids that this engine does not know */
};
const char *engine_reason_name(enum engine_reason r); /* "rule", "no match", ... */

struct engine_verdict {
    bool logged;
    enum engine_reason reason;
    const struct rule_block *block; /* ENGINE_RULE, ENGINE_NO_MATCH; else NULL */
    const struct rule *rule;        /* the one that matched, or of an AND block the last; NULL */
    const struct rule_field *field; /* the entry that matched, of an AND the last; NULL */
    struct slice rule_name; /* as Sysmon would write it; empty: "-". Of an excluded event: what nobody gets to see */
};
/* Of a Sysmon event (others are logged, ENGINE_ALWAYS). */
struct engine_verdict engine_judge(const struct engine *e, struct engine_scratch *s, const struct event *ev);

/* The same for who has no decoded event: which fields the rules for an event id look at, as numbers of fields.def, each spelling as
 * in the newest manifest; and the verdict from their values, in that order; .p NULL: the event lacks it. */
struct engine_need {
    const uint32_t *fields;
    size_t n; /* 0: the verdict is the same for every event of this id */
};
struct engine_need engine_need(const struct engine *e, uint32_t event_id);
struct engine_verdict engine_judge_values(const struct engine *e, struct engine_scratch *s, uint32_t event_id,
                                          bool windows, const struct slice *values);
/* Field names that differ only in case are one to Sysmon (SourceProcessGUID, SourceProcessGuid): the number that stands for
 * both in engine_need. */
uint32_t engine_field(uint32_t field);

enum engine_scope { ENGINE_NOTHING, ENGINE_SOME, ENGINE_ALL };
/* How much of an event id these rules log, as far as the blocks alone tell. */
enum engine_scope engine_scope(const struct engine *e, uint32_t event_id);

#endif
