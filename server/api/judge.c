/* Judging heads. Who may open the unix socket may do everything; over HTTPS a bearer token says who it is. */
#include "judge.h"
#include "reply.h"

#include <stdio.h>

#define IMPORT_TYPE "application/x-haechi-batches"

static bool refuse(struct verdict *v, int http, const char *detail) {
    v->http = http;
    snprintf(v->detail, sizeof v->detail, "%s", detail);
    return false;
}

static bool authenticate(struct call *c, const struct http_request *r, struct fleet *fleet, unsigned uid,
                         struct verdict *v) {
    static const char scheme[] = "Bearer ";
    struct error err = {0};
    char role[16], name[32];
    struct slice a = buf_slice(&r->authorization);
    if (!fleet) {
        c->role = ROLE_ADMIN;
        c->uid = uid;
        return true;
    }
    if (a.len < sizeof scheme || !slice_eq_nocase(slice_head(a, sizeof scheme - 1), slice_str(scheme))) {
        return refuse(
            v, 401,
            "an API token is needed, as: Authorization: Bearer TOKEN; make one on the collector with: haechi token "
            "create --role viewer");
    }
    if (fleet_api_token_check(fleet, slice_from(a, sizeof scheme - 1), role, name, &err))
        return refuse(v, 401, err.msg);
    c->role = role_parse(role);
    snprintf(c->actor, sizeof c->actor, "%s", name);
    return true;
}

static bool find_route(struct call *c, const struct http_request *r, struct verdict *v) {
    struct error err = {0};
    enum status st = target_parse(buf_slice(&r->target), &c->target, &err);
    if (st) return refuse(v, reply_http_of(st), err.msg);
    c->route = route_find(r->method, &c->target, c->words, v->allow);
    if (c->route) return true;
    if (v->allow[0]) return refuse(v, 405, "this path does not take that method");
    return refuse(v, 404, "there is nothing here; GET /api/v1/openapi.json says what there is");
}

static bool is_type(struct slice header, const char *type) {
    size_t len = strlen(type);
    return slice_eq_nocase(slice_head(header, len), slice_str(type)) &&
           (header.len == len || header.p[len] == ';' || header.p[len] == ' ');
}

static bool check_body(const struct call *c, const struct http_request *r, struct verdict *v) {
    bool has_body = r->chunked || r->content_length > 0;
    struct slice type = buf_slice(&r->content_type);
    size_t most = route_body_max(c->route->body);
    if (most && r->content_length > most) return refuse(v, 413, route_body_max_text(c->route->body));
    switch (c->route->body) {
    case BODY_NONE: return !has_body || refuse(v, 413, "this takes no body");
    case BODY_JSON:
        return !has_body || is_type(type, "application/json") || refuse(v, 415, "the body is to be application/json");
    case BODY_BYTES:
        return !has_body || is_type(type, "application/xml") || is_type(type, "application/octet-stream") ||
               refuse(v, 415, "the body is to be application/xml");
    case BODY_STREAM:
        return is_type(type, IMPORT_TYPE) || is_type(type, "application/octet-stream") ||
               refuse(v, 415, "the body is to be " IMPORT_TYPE);
    }
    return false;
}

bool judge(struct call *c, const struct http_request *r, struct fleet *fleet, unsigned uid, struct verdict *ret) {
    struct error err = {0};
    char text[120];
    if (!authenticate(c, r, fleet, uid, ret) || !find_route(c, r, ret)) return false;
    if (c->role < c->route->role) {
        snprintf(text, sizeof text, "this needs the role %s; the token's role is %s", role_name(c->route->role),
                 role_name(c->role));
        return refuse(ret, 403, text);
    }
    if (route_check_params(c->route, &c->target, &err)) return refuse(ret, 400, err.msg);
    if (!route_is_acceptable(c->route, buf_slice(&r->accept)))
        return refuse(ret, 406, "none of the types in Accept can be given");
    return check_body(c, r, ret);
}
