/* Many small configurations, each with the rules of one subject (the form of sysmon-modular), as one: for every event tag one
 * include and one exclude block, as Sysmon wants them. Pure; the same modules give the same bytes, in whatever order they come.
 *
 * What a rule means stays: a RuleGroup's name goes to the rules that have none of their own when the modules' differ, an "and"
 * block becomes a Rule. Blocks of tags with several ids are bound anew, by the fields of all their modules. */
#ifndef HAECHI_MERGE_H
#define HAECHI_MERGE_H

#include "buf.h"
#include "ruleset.h"

struct merge_module {
    const char *name; /* for comments and complaints: "1_process_creation/include_shells.xml" */
    struct slice bytes;
};

/* Appends the configuration to *ret_xml. `base` (may be NULL) gives the options, and schemaversion unless something newer is used;
 * it may have blocks. Without it the highest schema that a module names or needs counts, and the modules' options, which must
 * agree. On failure (ST_INVALID) nothing is appended, *complaints gets a line for everything that is wrong
 * ("MODULE:3:7: error: ..."), and *err says how much it was. */
MUST_USE enum status ruleset_merge(const struct merge_module *base, const struct merge_module *modules, size_t n,
                                   struct buf *ret_xml, struct buf *complaints, struct error *err);

/* The lowest schema that has everything that the ruleset uses. */
uint32_t ruleset_needs(const struct ruleset *r);

#endif
