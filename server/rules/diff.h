/* What differs between two Sysmon configurations: by meaning (options, blocks, rules and their fields, whatever the text
 * looks like) and by line. Pure. */
#ifndef HAECHI_DIFF_H
#define HAECHI_DIFF_H

#include "buf.h"
#include "ruleset.h"

enum diff_kind {
    DIFF_ADDED,
    DIFF_REMOVED,
    DIFF_CHANGED, /* the same rule in another form: another condition, value or name */
    DIFF_MOVED    /* the same rule in another place of its block */
};

struct diff_change {
    enum diff_kind kind;
    const char *what;     /* "schema", "option", "block", "rule"; static */
    char *where;          /* "ProcessCreate include", an option's name; owned */
    char *before, *after; /* as a person reads it, owned; NULL: added, removed */
    struct place before_at, after_at;
    bool no_effect; /* order without a name at stake, case of letters: only with `all` */
};

struct diff {
    struct diff_change *list; /* the schema, options, then block by block as the newer file has them */
    size_t n, cap;
    size_t n_added, n_removed, n_changed, n_moved;
};
void diff_free(struct diff *d);

/* all: also what has no effect on what is logged and under which RuleName. */
void ruleset_diff(const struct ruleset *before, const struct ruleset *after, bool all, struct diff *ret);

/* "+ ProcessCreate include: Image is ..." lines, and a line that counts them; "no difference\n". */
void diff_text(const struct diff *d, struct buf *out);
const char *diff_kind_name(enum diff_kind k); /* "added" */

/* A unified diff of the texts (UTF-8), three lines around each change; nothing when they are equal. */
#define DIFF_LINES_AROUND 3
void lines_diff(struct slice before, struct slice after, const char *before_name, const char *after_name,
                struct buf *out);

#endif
