/* Conditions on events: what `--where`, `--search`, `--id` and `--guid` mean. Pure.
 *
 *     FIELD OP VALUE        Image endswith \cmd.exe      DestinationPort = 443      event_id in 1,3,22
 *
 * FIELD is an EventData name as Sysmon spells it (ASCII case ignored), or one of the System members as `--format json`
 * names them: event_id, record_id, channel, computer, provider, level, task, opcode, version, keywords, process_id,
 * thread_id, user_sid. OP: = != < <= > >= in contains !contains startswith endswith like (with * and ?) exists !exists.
 * Text is compared without ASCII case; < <= > >= compare numbers (decimal or 0x...), and = does too when both sides
 * are numbers; GUIDs compare in any spelling because case does not count. Where a name occurs more than once, one
 * matching value is enough. Where Sysmon doubled percent signs (event_is_doubled), a value matches as it was written or undone. A field that the event lacks satisfies only !=, !contains and !exists. */
#ifndef HAECHI_FILTER_H
#define HAECHI_FILTER_H

#include "event.h"

enum filter_op {
    FILTER_EQ,
    FILTER_NE,
    FILTER_LT,
    FILTER_LE,
    FILTER_GT,
    FILTER_GE,
    FILTER_IN,
    FILTER_CONTAINS,
    FILTER_NOT_CONTAINS,
    FILTER_STARTS,
    FILTER_ENDS,
    FILTER_LIKE,
    FILTER_EXISTS,
    FILTER_NOT_EXISTS
};

struct filter_condition {
    char *field; /* owned */
    enum filter_op op;
    char *value; /* owned; "" where the operator takes none */
};

struct filter {
    uint32_t *ids; /* event ids, any of them; n_ids 0: all */
    size_t n_ids, cap_ids;
    bool has_guid;
    struct guid guid;
    struct filter_condition *conditions; /* all of them */
    size_t n_conditions, cap_conditions;
    char *search; /* text anywhere in the values; NULL: none */
};

void filter_deinit(struct filter *f); /* a zeroed one is empty and matches everything */
/* "1,3,22" */
MUST_USE enum status filter_add_ids(struct filter *f, const char *text, struct error *err);
MUST_USE enum status filter_set_guid(struct filter *f, const char *text, struct error *err);
MUST_USE enum status filter_add_where(struct filter *f, const char *text, struct error *err);
void filter_set_search(struct filter *f, const char *text);

/* The parts that a block's columns decide. */
bool filter_has_id(const struct filter *f, uint32_t event_id);
/* True when only a decoded event can tell. */
bool filter_needs_event(const struct filter *f);
/* Conditions and search (not ids and GUID). */
bool filter_match(const struct filter *f, const struct event *ev);

#endif
