/* How a ruleset, or one revision of it, is named: "base", "base@3". Pure. */
#ifndef HAECHI_REF_H
#define HAECHI_REF_H

#include "slice.h"
#include "status.h"

#define RULESET_NAME_MAX 63 /* letters, digits, '.', '_', '-'; begins with a letter or digit */

struct ruleset_ref {
    char name[RULESET_NAME_MAX + 1];
    uint32_t revision; /* 0: the newest */
};

bool ruleset_name_is_fit(struct slice name);
/* ST_INVALID with a sentence. */
MUST_USE enum status ruleset_ref_parse(struct slice text, struct ruleset_ref *ret, struct error *err);
/* The RuleName of a revision's canary rule: "haechi:base/3". */
#define RULESET_CANARY_MAX (RULESET_NAME_MAX + 24)
void ruleset_canary_name(const char *name, uint32_t revision, char out[RULESET_CANARY_MAX]);

#endif
