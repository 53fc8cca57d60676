/* A Sysmon configuration as Sysmon understands it: blocks, rules, fields, in the document's order. What the checker, the
 * simulator and the diff work on. Made from bytes by ruleset_parse (ruleset.c), which is pure and takes hostile input; source of the
 * grammar: Microsoft's schema manifests 2.0 to 4.91 and the parser of SysmonCommon. Any thread; a ruleset is immutable. */
#ifndef HAECHI_RULESET_H
#define HAECHI_RULESET_H

#include "arena.h"
#include "rules_state.h"
#include "slice.h"
#include "status.h"

#define RULESET_DEPTH_MAX 16u
#define RULESET_NODES_MAX 400000u
#define RULE_NAME_MAX 255u /* characters of a RuleName; a longer one makes Sysmon refuse the file */

enum rule_condition {
    COND_IS,
    COND_IS_NOT,
    COND_CONTAINS,
    COND_EXCLUDES,
    COND_BEGIN_WITH,
    COND_END_WITH,
    COND_LESS_THAN,
    COND_MORE_THAN,
    COND_IMAGE,
    COND_CONTAINS_ANY,
    COND_CONTAINS_ALL,
    COND_EXCLUDES_ANY,
    COND_EXCLUDES_ALL,
    COND_IS_ANY,
    COND_NOT_BEGIN_WITH,
    COND_NOT_END_WITH,
    COND_COUNT
};
const char *rule_condition_name(enum rule_condition c); /* "begin with", as in the file */

enum rule_relation { RELATION_OR, RELATION_AND };

/* Where in the file, from 1; columns count characters, not bytes. */
struct place {
    uint32_t line, column;
};

/* All slices are UTF-8 and live in the ruleset's arena; .p NULL: the attribute was absent. */
struct rule_field { /* <Image condition="end with" name="x">\cmd.exe</Image> */
    struct slice field, value, name;
    enum rule_condition condition;
    struct place at;
};

struct rule { /* one term of a block: <Rule>, or a single field outside of one (is_single, n_fields 1) */
    bool is_single;
    enum rule_relation relation;
    struct slice name;
    struct rule_field *fields;
    size_t n_fields;
    struct place at;
};

struct rule_block {            /* <ProcessCreate onmatch="include"> */
    struct slice tag;          /* "ProcessCreate" */
    const uint32_t *event_ids; /* 0-terminated: 12, 13, 14 for RegistryEvent; static storage */
    uint32_t bound_id;         /* the event id whose fields the block was bound to; of a tag with one id, that id */
    bool exclude;
    enum rule_relation relation; /* what holds: of the RuleGroup, or the schema's default */
    struct slice group_name;
    bool in_group;
    size_t group; /* number of its RuleGroup, from 0; SIZE_MAX outside of one */
    struct rule *rules;
    size_t n_rules;
    struct place at;
};

/* The event of that id has every field of the block, in some version. */
bool rule_block_fits(const struct rule_block *b, uint32_t id);

struct rule_option { /* <HashAlgorithms>SHA256</HashAlgorithms> */
    struct slice name, value;
    struct place at;
};

struct ruleset {
    struct arena arena;
    uint32_t schema;      /* hundredths: 450 is 4.50 */
    const char *encoding; /* "UTF-8", "UTF-16LE", "UTF-16BE", "ISO-8859-1"; static */
    bool has_bom;
    struct rule_option *options;
    size_t n_options;
    struct rule_block *blocks;
    size_t n_blocks;
    size_t n_fields; /* in all blocks */
};
void ruleset_free(struct ruleset **r);

/* What Sysmon's engine makes of the bytes, as the newest schema has it: what it drops (unknown elements, a block without onmatch,
 * a block with a field that is not the event's and all later ones of its tag) is left out; what makes it refuse the file is
 * ST_INVALID or a status of config_xml_parse, with the line and column in *err (may be NULL). Use ruleset_check before anything
 * is pushed; this is for what is pushed already. */
MUST_USE enum status ruleset_parse(struct slice bytes, struct ruleset **ret, struct error *err);

struct config_doc;
/* The same from a document that is read already; *ret_at: where. */
MUST_USE enum status ruleset_build(const struct config_doc *doc, struct ruleset **ret, struct place *ret_at,
                                   struct error *err);

/* Reads a schema version as Sysmon does: a number, rounded to two decimals. False: not one. "4.9" is 490. */
bool schema_version_parse(struct slice text, uint32_t *ret);

#endif
