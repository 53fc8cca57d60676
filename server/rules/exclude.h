/* Adds excludes to a Sysmon configuration, as text, so that all else in it stays as it is: into the exclude block that the
 * tag has, since a second one would change what is done with events that match nothing; else as a block of its own. Pure. */
#ifndef HAECHI_EXCLUDE_H
#define HAECHI_EXCLUDE_H

#include "buf.h"
#include "ruleset.h"

#define EXCLUDE_MAX_ENTRIES 3u

struct exclude { /* one Rule: all entries must match */
    const char *tag;
    struct {
        const char *field;
        enum rule_condition condition;
        struct slice value;
    } entries[EXCLUDE_MAX_ENTRIES];
    size_t n_entries;
    struct slice comment; /* above it; empty: none */
    const char *why_not;  /* set by exclude_add when it was left out; static */
};

/* Can this value be written so that Sysmon compares exactly it? Not so with control characters, with blanks at its ends, or
 * with a percent sign, which Sysmon takes for a variable. */
bool exclude_value_is_fit(struct slice value);

/* Appends the configuration with the excludes that can be added, in UTF-8. One is left out, with why_not, where it would
 * change more than what it names. ST_INVALID: the configuration is not understood, or the result has errors that it had
 * not. */
MUST_USE enum status exclude_add(struct slice config, struct exclude *x, size_t n, struct buf *out, struct error *err);

/* A configuration that logs all events of these ids (those with a tag): for trying excludes where no ruleset is assigned.
 * Not one to be used. */
void exclude_nothing(uint32_t schema, const uint32_t *ids, size_t n_ids, struct buf *out);

#endif
