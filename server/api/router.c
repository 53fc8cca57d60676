/* Finding a route and checking what a request says against it. */
#include "router.h"
#include "log.h"
#include "text.h"

#include <stdio.h>

size_t route_body_max(enum route_body b) {
    return b == BODY_JSON ? ROUTE_JSON_MAX : b == BODY_BYTES ? ROUTE_BYTES_MAX : 0;
}

const char *route_body_max_text(enum route_body b) {
    return b == BODY_JSON ? "the body is longer than 64 KiB" : "the body is longer than 4 MiB";
}

static bool path_matches(const char *path, const struct target *t, const char *ret_words[2]) {
    size_t n = 0, n_held = 0;
    ret_words[0] = ret_words[1] = NULL;
    for (const char *p = path; *p == '/'; n++) {
        size_t len = strcspn(++p, "/");
        if (n >= t->n_words) return false;
        if (*p == '{') {
            if (n_held < 2) ret_words[n_held++] = t->words[n];
        } else if (!slice_eq_str(slice_of(p, len), t->words[n])) {
            return false;
        }
        p += len;
    }
    return n == t->n_words;
}

const struct route *route_find(const char *method, const struct target *t, const char *ret_words[2],
                               char ret_allow[32]) {
    ret_allow[0] = 0;
    for (size_t i = 0; i < n_routes; i++) {
        if (!path_matches(routes[i].path, t, ret_words)) continue;
        if (strcmp(routes[i].method, method) == 0) return &routes[i];
        size_t len = strlen(ret_allow);
        snprintf(ret_allow + len, 32 - len, "%s%s", len ? ", " : "", routes[i].method);
    }
    return NULL;
}

static bool is_param(const char *known, const char *name, bool *ret_repeatable) {
    size_t len = strlen(known);
    *ret_repeatable = known[len - 1] == '*';
    return slice_eq_str(slice_of(known, len - *ret_repeatable), name);
}

static enum status unknown_param(const struct route *r, const char *name, struct error *err) {
    char names[ROUTE_MAX_PARAMS][32];
    const char *known[ROUTE_MAX_PARAMS];
    size_t n = 0;
    for (; n < ROUTE_MAX_PARAMS && r->params[n]; n++) {
        snprintf(names[n], sizeof names[n], "%.*s", (int)strcspn(r->params[n], "*"), r->params[n]);
        known[n] = names[n];
    }
    const char *near = text_suggest(name, known, n);
    return error_set(err, ST_INVALID, "unknown parameter '%s'%s%s%s", log_peer(slice_str(name)),
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

MUST_USE enum status route_check_params(const struct route *r, const struct target *t, struct error *err) {
    for (size_t i = 0; i < t->n_params; i++) {
        const char *name = t->params[i].name;
        bool found = false, repeatable = false;
        for (size_t k = 0; k < ROUTE_MAX_PARAMS && r->params[k] && !found; k++)
            found = is_param(r->params[k], name, &repeatable);
        if (!found) return unknown_param(r, name, err);
        if (!repeatable && target_param(t, name) != t->params[i].value) {
            return error_set(err, ST_INVALID, "parameter '%s' is given twice", name);
        }
    }
    return ST_OK;
}

static struct slice trim(struct slice s) {
    while (s.len && (*s.p == ' ' || *s.p == '\t')) s = slice_from(s, 1);
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t')) s.len--;
    return s;
}

static struct slice before(struct slice s, char c) {
    const uint8_t *end = s.len ? memchr(s.p, c, s.len) : NULL;
    return slice_head(s, end ? (size_t)(end - s.p) : s.len);
}

/* "text/plain", "text" + "/" + "*", or all. */
static bool range_takes(struct slice range, const char *type) {
    struct slice t = before(slice_str(type), ';');
    if (slice_eq_str(range, "*/*") || slice_eq_nocase(range, t)) return true;
    struct slice main = slice_head(range, range.len ? range.len - 1 : 0);
    return range.len > 2 && range.p[range.len - 1] == '*' && slice_starts(t, main);
}

/* ";q=0" takes a type out. */
static bool is_refused(struct slice params) {
    for (size_t i = 0; i + 2 < params.len; i++) {
        if ((params.p[i] | 32) != 'q' || params.p[i + 1] != '=') continue;
        for (i += 2; i < params.len && params.p[i] != ';'; i++) {
            if (params.p[i] >= '1' && params.p[i] <= '9') return false;
        }
        return true;
    }
    return false;
}

bool route_is_acceptable(const struct route *r, struct slice accept) {
    if (!trim(accept).len) return true;
    while (accept.len) {
        struct slice one = before(accept, ',');
        accept = slice_from(accept, one.len + 1);
        struct slice range = trim(before(one, ';'));
        if (is_refused(slice_from(one, before(one, ';').len))) continue;
        for (size_t i = 0; i < ROUTE_MAX_TYPES && r->types[i]; i++) {
            if (range_takes(range, r->types[i])) return true;
        }
    }
    return false;
}

static const char *const role_names[] = {"nobody", "viewer", "operator", "admin"};

const char *role_name(enum api_role r) {
    return role_names[r];
}

enum api_role role_parse(const char *name) {
    for (int i = ROLE_VIEWER; i <= ROLE_ADMIN; i++) {
        if (strcmp(name, role_names[i]) == 0) return (enum api_role)i;
    }
    return ROLE_NOBODY;
}
