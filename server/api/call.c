/* What handlers ask of a call. */
#include "call.h"
#include "args.h"
#include "clock.h"
#include "log.h"
#include "text.h"

#include <yyjson.h>

const char *call_param(const struct call *c, const char *name) {
    return target_param(&c->target, name);
}

MUST_USE enum status call_flag(const struct call *c, const char *name, bool *ret, struct error *err) {
    const char *v = call_param(c, name);
    *ret = v && strcmp(v, "1") == 0;
    if (v && !*ret && strcmp(v, "0") != 0) return error_set(err, ST_INVALID, "%s is 1 or 0", name);
    return ST_OK;
}

MUST_USE enum status call_uint(const struct call *c, const char *name, uint64_t *ret, struct error *err) {
    const char *v = call_param(c, name);
    uint64_t n = 0;
    if (!v) return ST_OK;
    bool good = *v != 0;
    for (const char *p = v; *p && good; p++) {
        unsigned digit = (unsigned)(*p - '0');
        good = digit <= 9 && n <= (UINT64_MAX - digit) / 10;
        n = n * 10 + digit;
    }
    if (!good) return error_set(err, ST_INVALID, "%s=%s is no number", name, log_peer(slice_str(v)));
    *ret = n;
    return ST_OK;
}

MUST_USE enum status call_time(const struct call *c, const char *name, uint64_t *ret, struct error *err) {
    const char *v = call_param(c, name);
    if (!v) return ST_OK;
    enum status st = args_time(v, clock_wall(), ret, err);
    return st ? error_prefix(err, ST_INVALID, "%s", name) : ST_OK;
}

MUST_USE enum status call_host(const struct call *c, struct fleet_host *ret, struct error *err) {
    return fleet_host_find(c->common->o->fleet, slice_str(c->words[0]), ret, err);
}

enum step call_fail(struct error *err, enum status st) {
    if (err->code == ST_OK) err->code = st;
    if (!err->msg[0]) error_set(err, st, "%s", status_text(st));
    return STEP_FAIL;
}

MUST_USE enum status call_json(const struct call *c, const char *const *keys, struct yyjson_doc **ret,
                               struct error *err) {
    yyjson_read_err why;
    struct slice text = c->body.len ? buf_slice(&c->body) : SLICE_LIT("{}");
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.p, text.len, YYJSON_READ_NOFLAG, NULL, &why);
    if (!doc) return error_set(err, ST_FORMAT, "the body is no JSON: %s at byte %zu", why.msg, why.pos);
    yyjson_val *root = yyjson_doc_get_root(doc), *key, *value;
    enum status st = yyjson_is_obj(root) ? ST_OK : error_set(err, ST_FORMAT, "the body is no JSON object");
    size_t i, n;
    if (!st) {
        yyjson_obj_foreach(root, i, n, key, value) {
            const char *const *k = keys;
            while (*k && !yyjson_equals_str(key, *k)) k++;
            if (*k) continue;
            struct slice name = slice_of(yyjson_get_str(key), yyjson_get_len(key));
            st = error_set(err, ST_INVALID, "the body has an unknown member '%s'", log_peer(name));
            break;
        }
    }
    if (st)
        yyjson_doc_free(doc);
    else
        *ret = doc;
    return st;
}

MUST_USE enum status call_text(struct yyjson_val *object, const char *key, const char **ret, struct error *err) {
    yyjson_val *v = yyjson_obj_get(object, key);
    if (!v) return ST_OK;
    const char *s = yyjson_get_str(v);
    if (!s || strlen(s) != yyjson_get_len(v)) return error_set(err, ST_INVALID, "%s is no text", key);
    *ret = s;
    return ST_OK;
}

MUST_USE enum status call_number(struct yyjson_val *object, const char *key, uint64_t most, uint64_t *ret,
                                 struct error *err) {
    yyjson_val *v = yyjson_obj_get(object, key);
    if (!v) return ST_OK;
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) > most) {
        return error_set(err, ST_INVALID, "%s is no number from 0 to %llu", key, (unsigned long long)most);
    }
    *ret = yyjson_get_uint(v);
    return ST_OK;
}

MUST_USE enum status call_bool(struct yyjson_val *object, const char *key, bool *ret, struct error *err) {
    yyjson_val *v = yyjson_obj_get(object, key);
    if (!v) return ST_OK;
    if (!yyjson_is_bool(v)) return error_set(err, ST_INVALID, "%s is true or false", key);
    *ret = yyjson_get_bool(v);
    return ST_OK;
}
