/* The routes: which method and path is what, with which parameters, for whom. One table (routes.c), from which requests
 * are found and openapi.json is checked. Pure but for the table's handlers. */
#ifndef HAECHI_ROUTER_H
#define HAECHI_ROUTER_H

#include "call.h"
#include "http.h"

enum route_body {
    BODY_NONE,
    BODY_JSON,  /* application/json, up to ROUTE_JSON_MAX bytes, an object; may be empty */
    BODY_BYTES, /* application/xml (or octet-stream), up to ROUTE_BYTES_MAX bytes, as they are */
    BODY_STREAM /* of any length, taken as it comes: imports */
};
#define ROUTE_JSON_MAX (64u * 1024)
#define ROUTE_BYTES_MAX RULES_XML_MAX
#define ROUTE_MAX_TYPES 4
#define ROUTE_MAX_PARAMS 12

struct route {
    const char *method, *path; /* "GET", "/api/v1/hosts/{host}" */
    enum api_role role;
    enum route_body body;
    bool is_query;                        /* of those only so many at once */
    const char *types[ROUTE_MAX_TYPES];   /* what it may answer with; the first is the default */
    const char *params[ROUTE_MAX_PARAMS]; /* names; one with '*' at its end may be repeated */
    step_fn step;
};
extern const struct route routes[];
extern const size_t n_routes;

/* How long a body of that kind may be, in bytes and in words; 0: no limit. */
size_t route_body_max(enum route_body b);
const char *route_body_max_text(enum route_body b);

/* NULL: none. Then ret_allow (a list for the Allow header, 32 bytes) is not empty when the path is known. */
const struct route *route_find(const char *method, const struct target *t, const char *ret_words[2],
                               char ret_allow[32]);
/* Unknown and repeated parameters: ST_INVALID with a suggestion. */
MUST_USE enum status route_check_params(const struct route *r, const struct target *t, struct error *err);
/* Does the client take any of the route's types? An empty header takes all. */
bool route_is_acceptable(const struct route *r, struct slice accept);
const char *role_name(enum api_role r);
enum api_role role_parse(const char *name); /* ROLE_NOBODY: none of that name */

#endif
