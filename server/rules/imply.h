/* Whether one condition holds wherever another does: what the search for shadowed rules rests on. It says yes only when that is
 * sure; case is folded for ASCII alone, which is less than Sysmon folds and so errs towards no. Pure. */
#ifndef HAECHI_IMPLY_H
#define HAECHI_IMPLY_H

#include "arena.h"
#include "ruleset.h"

struct test {       /* a field's condition, its value in lower case and in pieces */
    unsigned field; /* the caller's number of the field's name */
    enum rule_condition condition;
    struct slice *tokens;
    size_t n_tokens;
    bool plain; /* no %, no empty token: it can be reasoned about */
    bool ascii;
};

/* From the arena; false: it is full. */
bool test_init(struct test *t, const struct rule_field *f, unsigned field, struct arena *a);

/* Whenever t1 matches an event, t2 does. *steps is lessened by the work, and nothing is implied at 0. */
bool test_implies(const struct test *t1, const struct test *t2, uint64_t *steps);
/* No event matches both. */
bool test_contradicts(const struct test *t1, const struct test *t2, uint64_t *steps);

#endif
