/* Targets. Everything is decoded once, into one run of NUL-terminated strings. */
#include "target.h"

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends the decoded part and a NUL; *ret_at is where it begins. */
static enum status decode(struct slice s, bool plus, struct buf *out, size_t *ret_at, struct error *err) {
    *ret_at = out->len;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.len ? hex(s.p[i + 1]) : -1, low = high >= 0 ? hex(s.p[i + 2]) : -1;
            if (low < 0) return error_set(err, ST_FORMAT, "a %% in the path or its parameters begins no escape");
            c = (uint8_t)(high * 16 + low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (!c) return error_set(err, ST_FORMAT, "a NUL in the path or its parameters");
        buf_byte(out, c);
    }
    buf_byte(out, 0);
    return ST_OK;
}

static struct slice cut(struct slice *s, uint8_t at) {
    const uint8_t *end = s->len ? memchr(s->p, at, s->len) : NULL;
    struct slice part = slice_head(*s, end ? (size_t)(end - s->p) : s->len);
    *s = slice_from(*s, part.len + (end != NULL));
    return part;
}

static enum status parse_words(struct slice path, struct target *t, struct error *err) {
    if (path.len == 0 || path.p[0] != '/') return error_set(err, ST_FORMAT, "the target is no path");
    path = slice_from(path, 1);
    do {
        size_t at;
        bool last = !memchr(path.len ? path.p : (const uint8_t *)"", '/', path.len);
        struct slice word = cut(&path, '/');
        if (!word.len && last && !t->n_words) return ST_OK; /* "/" */
        if (!word.len || t->n_words == TARGET_MAX_WORDS) return error_set(err, ST_NOTFOUND, "there is nothing here");
        enum status st = decode(word, false, &t->text, &at, err);
        if (st) return st;
        t->words[t->n_words++] = (const char *)at; /* made a pointer when text stands still */
        if (last) return ST_OK;
    } while (true);
}

static enum status parse_params(struct slice query, struct target *t, struct error *err) {
    while (query.len) {
        struct slice value = cut(&query, '&'), name = cut(&value, '=');
        size_t name_at, value_at;
        if (!name.len) return error_set(err, ST_FORMAT, "a parameter without a name");
        if (t->n_params == TARGET_MAX_PARAMS)
            return error_set(err, ST_FORMAT, "more than %u parameters", TARGET_MAX_PARAMS);
        enum status st = decode(name, true, &t->text, &name_at, err);
        if (!st) st = decode(value, true, &t->text, &value_at, err);
        if (st) return st;
        t->params[t->n_params++] = (struct target_param){(const char *)name_at, (const char *)value_at};
    }
    return ST_OK;
}

static const char *at_rest(const struct target *t, const char *at) {
    return (const char *)t->text.p + (uintptr_t)at;
}

MUST_USE enum status target_parse(struct slice text, struct target *ret, struct error *err) {
    struct target t = {0};
    struct slice query = text, path = cut(&query, '?');
    enum status st = parse_words(path, &t, err);
    if (!st) st = parse_params(query, &t, err);
    if (st) {
        target_deinit(&t);
        return st;
    }
    for (size_t i = 0; i < t.n_words; i++) t.words[i] = at_rest(&t, t.words[i]);
    for (size_t i = 0; i < t.n_params; i++) {
        t.params[i].name = at_rest(&t, t.params[i].name);
        t.params[i].value = at_rest(&t, t.params[i].value);
    }
    *ret = t;
    return ST_OK;
}

void target_deinit(struct target *t) {
    buf_free(&t->text);
    *t = (struct target){0};
}

const char *target_param(const struct target *t, const char *name) {
    for (size_t i = 0; i < t->n_params; i++) {
        if (strcmp(t->params[i].name, name) == 0) return t->params[i].value;
    }
    return NULL;
}
