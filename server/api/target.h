/* A request's target in its parts: "/api/v1/hosts/dc%2001/events?id=1%2C3&where=a" into decoded path words and
 * parameters. Pure. */
#ifndef HAECHI_TARGET_H
#define HAECHI_TARGET_H

#include "buf.h"

#define TARGET_MAX_WORDS 8u
#define TARGET_MAX_PARAMS 64u

struct target_param {
    const char *name, *value;
};

struct target {
    struct buf text; /* what the pointers point into */
    const char *words[TARGET_MAX_WORDS];
    size_t n_words;
    struct target_param params[TARGET_MAX_PARAMS];
    size_t n_params;
};

/* ST_FORMAT with a sentence: a bad escape, a NUL, an empty or too many parts. '+' is a space in parameters. */
MUST_USE enum status target_parse(struct slice text, struct target *ret, struct error *err);
void target_deinit(struct target *t);

const char *target_param(const struct target *t, const char *name); /* the first of that name; NULL: not given */

#endif
