/* Many patterns against one text in one go: which of them hold. Values of one field of a ruleset become one matcher.
 *
 * What is anchored at the beginning or the end is found by walking two tries (from the front, from the back) as far as they
 * go; what may lie anywhere by one pass of an Aho-Corasick automaton. ASCII case is folded by the tables; text with other
 * letters is folded first (fold.h). What the tables have no room for is tried one by one. Pure; a
 * matcher is immutable. */
#ifndef HAECHI_MATCHER_H
#define HAECHI_MATCHER_H

#include "slice.h"

#define MATCHER_MAX_CELLS (2u * 1024 * 1024) /* of one table, 4 bytes each */

enum match_kind {
    MATCH_IS,
    MATCH_BEGIN,
    MATCH_END,
    MATCH_CONTAINS,
    MATCH_IMAGE /* the whole text, or all behind its last backslash; the pattern has no backslash in it */
};

struct match_pattern {
    struct slice text; /* folded; the caller keeps it alive */
    enum match_kind kind;
    uint32_t id;
};

struct matcher;
/* *cells: how many cells it may have, less what it took afterwards. */
struct matcher *matcher_new(const struct match_pattern *patterns, size_t n, size_t *cells);
void matcher_free(struct matcher **m);

struct match_sink { /* the caller's */
    uint32_t *seen; /* by id: the mark of the last run that found it */
    uint32_t mark;  /* another one for each run */
    uint32_t *hits; /* room for every id */
    size_t n;
};
bool matcher_wants_folded(const struct matcher *m);
/* Adds the ids of the patterns that hold to the sink, each once for a mark. `text`: folded; ASCII may come as it is unless
 * matcher_wants_folded. */
void matcher_run(const struct matcher *m, struct slice text, struct match_sink *sink);

/* One pattern alone; both folded. */
bool match_one(enum match_kind kind, struct slice pattern, struct slice text);

#endif
