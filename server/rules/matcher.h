/* Many patterns against one text in one go: which of them hold. Values of one field of a ruleset become one matcher.
 *
 * Every pattern is found by its rarest four bytes (two, when it is shorter than four), wherever it is anchored: at each place of a text a
 * bit says whether some pattern may have these there, and only then patterns are compared. The places do not depend on each
 * other, so this costs about half a nanosecond a byte however many patterns there are. Pure; a matcher is immutable. */
#ifndef HAECHI_MATCHER_H
#define HAECHI_MATCHER_H

#include "slice.h"

enum match_kind {
    MATCH_IS,
    MATCH_BEGIN,
    MATCH_END,
    MATCH_CONTAINS,
    MATCH_IMAGE /* the whole text, or all behind its last backslash; the pattern has no backslash in it */
};

struct match_pattern {
    struct slice text; /* folded (fold.h); the caller keeps it alive */
    enum match_kind kind;
    uint32_t id;
};

struct matcher;
struct matcher *matcher_new(const struct match_pattern *patterns, size_t n);
void matcher_free(struct matcher **m);

struct match_sink { /* the caller's */
    uint32_t *seen; /* by id: the mark of the last run that found it */
    uint32_t mark;  /* another one for each run */
    uint32_t *hits; /* room for every id */
    size_t n;
};
/* Adds the ids of the patterns that hold to the sink, each once for a mark. `text`: folded, or any ASCII, whose case is folded on
 * the way. */
void matcher_run(const struct matcher *m, struct slice text, struct match_sink *sink);

/* One pattern alone; the text as above. */
bool match_one(enum match_kind kind, struct slice pattern, struct slice text);

#endif
