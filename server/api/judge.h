/* What is decided by a request's head alone: who asks, for which route, with what. */
#ifndef HAECHI_JUDGE_H
#define HAECHI_JUDGE_H

#include "router.h"

struct verdict { /* of a request that is refused */
    int http;
    char allow[32]; /* of 405 */
    char detail[ERROR_TEXT_MAX];
};

/* Fills the call: role, actor (over HTTPS) or uid (of a pipe: fleet is NULL then), target, route, words. False: *ret
 * says why not. */
bool judge(struct call *c, const struct http_request *r, struct fleet *fleet, unsigned uid, struct verdict *ret);

#endif
