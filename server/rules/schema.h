/* What each version of Sysmon's schema, 2.0 to 4.91, knows: event tags, their fields, conditions, options. The tables
 * (schema_table.c) are written by deploy/sysmon/schema_table.py from Microsoft's manifests. Pure. Versions are hundredths. */
#ifndef HAECHI_SCHEMA_H
#define HAECHI_SCHEMA_H

#include "ruleset.h"

#define SCHEMA_OLDEST 200u
#define SCHEMA_NEWEST 491u
#define SCHEMA_NEWEST_LINUX 490u
#define SCHEMA_IDS_MAX 4 /* of one tag, the ending 0 included */

#define SCHEMA_WINDOWS 1u
#define SCHEMA_LINUX 2u

struct schema_field {
    const char *name;
    uint16_t since, until; /* until 0: the newest has it; else the first version without it */
};

struct schema_event {
    uint16_t id, first_field, n_fields; /* in schema_fields, in the event's order */
    uint16_t since, until;
    bool logged_by_default; /* without any block for its tag */
    uint8_t systems;        /* whose grammar has it: SCHEMA_WINDOWS, SCHEMA_LINUX */
};

struct schema_tag {
    const char *tag;
    uint32_t ids[SCHEMA_IDS_MAX]; /* 0-terminated */
};

enum schema_argument {
    SCHEMA_NO_ARGUMENT,
    SCHEMA_OPTIONAL_ARGUMENT,
    SCHEMA_ARGUMENT,
    SCHEMA_COMMAND_LINE /* not for files */
};
struct schema_name {
    const char *name;
    uint16_t since, until;
    enum schema_argument argument;
};

extern const uint16_t schema_versions[];
extern const size_t schema_n_versions;
extern const struct schema_field schema_fields[];
extern const struct schema_event schema_events[];
extern const size_t schema_n_events;
extern const struct schema_tag schema_tags[];
extern const size_t schema_n_tags;
extern const struct schema_name schema_conditions[], schema_options[];
extern const size_t schema_n_conditions, schema_n_options;

/* NULL: there is none. Names are compared as Sysmon does: tags, fields and options with case, conditions without. */
const struct schema_tag *schema_tag_find(struct slice tag);
const struct schema_event *schema_event_find(uint32_t id);
const struct schema_field *schema_field_find(uint32_t id, struct slice field); /* of any version */
const struct schema_name *schema_option_find(struct slice name);
const struct schema_name *schema_condition_info(enum rule_condition c);
bool schema_condition_parse(struct slice text, enum rule_condition *ret);

/* Where the field stands among the event's in the newest schema, from 0; -1: it has none of that name (any more). */
int schema_field_index(uint32_t id, struct slice field);

/* The grammar that Sysmon checks a file of this version with: the newest one not above it; 0: older than the oldest. */
uint32_t schema_grammar(uint32_t version);

#endif
