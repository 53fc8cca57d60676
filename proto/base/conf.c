/* A strict subset of TOML 1.0, read straight into a struct through an option table. Pure; every message starts with
 * file:line:column. */
#include "conf.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define CONF_KEY_MAX 128

struct parse {
    const struct conf_option *options;
    size_t n_options;
    const char *name;
    const uint8_t *p, *end, *line_start;
    unsigned line;
    char table[CONF_KEY_MAX];
    bool *seen;
    void *target;
    struct error *err;
};

struct value {
    enum { V_BOOL, V_INT, V_STRING, V_ARRAY } type;
    bool boolean;
    uint64_t number;
    struct buf text;
    struct conf_strings items;
};

static void strings_free(struct conf_strings *s) {
    for (size_t i = 0; i < s->n; i++) mem_free(s->items[i]);
    mem_free(s->items);
    *s = (struct conf_strings){0};
}

static void strings_add(struct conf_strings *s, struct slice text) {
    mem_grow((void **)&s->items, s->n, &s->cap, sizeof *s->items);
    s->items[s->n++] = mem_strndup(text.p, text.len);
}

static void value_free(struct value *v) {
    buf_free(&v->text);
    strings_free(&v->items);
}

static enum status fail(struct parse *c, const uint8_t *at, const char *what) {
    return error_set(c->err, ST_FORMAT, "%s:%u:%u: %s", c->name, c->line, (unsigned)(at - c->line_start) + 1, what);
}

static void skip_blanks(struct parse *c) {
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t')) c->p++;
}

static bool at_line_end(const struct parse *c) {
    return c->p == c->end || *c->p == '\n' || (*c->p == '\r' && c->p + 1 < c->end && c->p[1] == '\n');
}

static void next_line(struct parse *c) {
    while (c->p < c->end && *c->p != '\n') c->p++;
    if (c->p < c->end) c->p++;
    c->line++;
    c->line_start = c->p;
}

static void skip_comment(struct parse *c) {
    if (c->p < c->end && *c->p == '#') {
        while (!at_line_end(c)) c->p++;
    }
}

/* Blanks, comments and line ends: inside arrays and between statements. */
static void skip_lines(struct parse *c) {
    for (;;) {
        skip_blanks(c);
        skip_comment(c);
        if (c->p == c->end || !at_line_end(c)) return;
        next_line(c);
    }
}

static bool is_bare(uint8_t ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-';
}

static int hex_digit(uint8_t ch) {
    return ch >= '0' && ch <= '9'   ? ch - '0'
           : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
           : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                    : -1;
}

static enum status read_escape(struct parse *c, struct buf *out) {
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    const uint8_t *at = c->p++;
    const char *found = c->p < c->end && *c->p ? strchr(from, *c->p) : NULL;
    if (found) {
        buf_byte(out, (uint8_t)to[found - from]);
        c->p++;
        return ST_OK;
    }
    int n = c->p < c->end && *c->p == 'u' ? 4 : c->p < c->end && *c->p == 'U' ? 8 : 0;
    uint32_t cp = 0;
    c->p++;
    for (int i = 0; i < n; i++, c->p++) {
        int d = c->p < c->end ? hex_digit(*c->p) : -1;
        if (d < 0) return fail(c, at, "\\u wants 4 hexadecimal digits, \\U wants 8");
        cp = cp << 4 | (uint32_t)d;
    }
    if (!n || !cp || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) {
        return fail(c, at, "unknown escape; in a path write two backslashes, or put it in single quotes");
    }
    text_put_cp(out, cp);
    return ST_OK;
}

static enum status read_string(struct parse *c, struct buf *out) {
    const uint8_t *start = c->p;
    uint8_t quote = *c->p++;
    if (c->end - c->p >= 2 && c->p[0] == quote && c->p[1] == quote) {
        return fail(c, start, "multi-line strings are not supported; write one line");
    }
    while (c->p < c->end && *c->p != quote) {
        if (*c->p == '\\' && quote == '"') {
            enum status st = read_escape(c, out);
            if (st) return st;
        } else if (*c->p < 0x20 && *c->p != '\t') {
            return fail(c, c->p, "a string must end on its line");
        } else {
            buf_byte(out, *c->p++);
        }
    }
    if (c->p == c->end) return fail(c, start, "a string without its closing quote");
    c->p++;
    if (!text_is_utf8(buf_slice(out))) return fail(c, start, "a string that is not UTF-8");
    return ST_OK;
}

/* key or table name with dots: into `key` behind what it holds. */
static enum status read_key(struct parse *c, char key[CONF_KEY_MAX]) {
    struct buf text = {0};
    const uint8_t *start = c->p;
    enum status st = ST_OK;
    for (bool more = true; more && !st;) {
        skip_blanks(c);
        if (c->p < c->end && (*c->p == '"' || *c->p == '\'')) {
            st = read_string(c, &text);
        } else {
            const uint8_t *word = c->p;
            while (c->p < c->end && is_bare(*c->p)) buf_byte(&text, *c->p++);
            if (c->p == word) st = fail(c, c->p, "a key is expected here");
        }
        skip_blanks(c);
        more = !st && c->p < c->end && *c->p == '.';
        if (more) {
            buf_byte(&text, '.');
            c->p++;
        }
    }
    size_t had = strlen(key);
    if (!st && had + text.len + 2 > CONF_KEY_MAX) st = fail(c, start, "this key is too long");
    if (!st) snprintf(key + had, CONF_KEY_MAX - had, "%s%s", had ? "." : "", buf_cstr(&text));
    buf_free(&text);
    return st;
}

static enum status read_number(struct parse *c, struct value *v) {
    const uint8_t *start = c->p;
    v->type = V_INT;
    while (c->p < c->end && ((*c->p >= '0' && *c->p <= '9') || *c->p == '_')) {
        if (*c->p != '_') {
            if (v->number > (UINT64_MAX - 9) / 10) return fail(c, start, "this number is too large");
            v->number = v->number * 10 + (uint64_t)(*c->p - '0');
        }
        c->p++;
    }
    if (c->p < c->end && (is_bare(*c->p) || *c->p == '.')) {
        return fail(c, start, "neither a whole number nor a word that is known here; put text into quotes");
    }
    return ST_OK;
}

static enum status read_array(struct parse *c, struct value *v) {
    const uint8_t *start = c->p++;
    v->type = V_ARRAY;
    for (;;) {
        skip_lines(c);
        if (c->p == c->end) return fail(c, start, "an array without its closing bracket");
        if (*c->p == ']') break;
        if (*c->p != '"' && *c->p != '\'') return fail(c, c->p, "arrays hold strings in quotes here");
        struct buf item = {0};
        enum status st = read_string(c, &item);
        if (!st) strings_add(&v->items, buf_slice(&item));
        buf_free(&item);
        if (st) return st;
        skip_lines(c);
        if (c->p < c->end && *c->p == ',') {
            c->p++;
        } else if (c->p < c->end && *c->p != ']') {
            return fail(c, c->p, "a comma or the closing bracket is expected here");
        }
    }
    c->p++;
    return ST_OK;
}

static bool take_word(struct parse *c, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) return false;
    if (c->p + n < c->end && is_bare(c->p[n])) return false;
    c->p += n;
    return true;
}

static enum status read_value(struct parse *c, struct value *v) {
    if (at_line_end(c)) return fail(c, c->p, "a value is missing");
    if (*c->p == '"' || *c->p == '\'') {
        v->type = V_STRING;
        return read_string(c, &v->text);
    }
    if (*c->p == '[') return read_array(c, v);
    v->type = V_BOOL;
    if (take_word(c, "true")) {
        v->boolean = true;
        return ST_OK;
    }
    if (take_word(c, "false")) return ST_OK;
    if (*c->p >= '0' && *c->p <= '9') return read_number(c, v);
    return fail(c, c->p, "a value is a \"string\", a whole number, true, false, or [\"a\", \"list\"]");
}

static enum status wrong_type(struct parse *c, const uint8_t *at, const struct conf_option *o) {
    static const char *const wants[] = {"true or false",
                                        "a whole number",
                                        "a \"string\"",
                                        "a list of strings: [\"a\", \"b\"]",
                                        "a duration: \"30d\", \"12h\", or seconds",
                                        "a size: \"64M\", \"10G\", or bytes"};
    char text[CONF_KEY_MAX + 80];
    snprintf(text, sizeof text, "%s takes %s", o->key, wants[o->type]);
    return fail(c, at, text);
}

static enum status number_of(struct parse *c, const uint8_t *at, const struct conf_option *o, struct value *v,
                             uint64_t *ret) {
    struct error why = {0};
    if (v->type == V_INT) {
        *ret = v->number;
    } else if (v->type != V_STRING || o->type == CONF_UINT) {
        return wrong_type(c, at, o);
    } else if (o->type == CONF_DURATION ? args_duration(buf_cstr(&v->text), ret, &why)
                                        : args_size(buf_cstr(&v->text), ret, &why)) {
        return fail(c, at, why.msg);
    }
    if (*ret < o->min || (o->max && *ret > o->max)) {
        char text[CONF_KEY_MAX + 120];
        snprintf(text, sizeof text, "%s must be from %llu to %llu, not %llu", o->key, (unsigned long long)o->min,
                 (unsigned long long)(o->max ? o->max : UINT64_MAX), (unsigned long long)*ret);
        return fail(c, at, text);
    }
    return ST_OK;
}

static enum status store_value(struct parse *c, const uint8_t *at, const struct conf_option *o, struct value *v) {
    void *into = (char *)c->target + o->offset;
    switch (o->type) {
    case CONF_BOOL:
        if (v->type != V_BOOL) return wrong_type(c, at, o);
        *(bool *)into = v->boolean;
        return ST_OK;
    case CONF_STRING:
        if (v->type != V_STRING) return wrong_type(c, at, o);
        mem_free(*(char **)into);
        *(char **)into = mem_strndup(v->text.p, v->text.len);
        return ST_OK;
    case CONF_STRINGS:
        if (v->type != V_ARRAY) return wrong_type(c, at, o);
        strings_free(into);
        *(struct conf_strings *)into = v->items;
        v->items = (struct conf_strings){0};
        return ST_OK;
    case CONF_UINT:
    case CONF_DURATION:
    case CONF_SIZE: return number_of(c, at, o, v, into);
    }
    return ST_INVALID;
}

static enum status unknown_key(struct parse *c, const uint8_t *at, const char *key) {
    const char **keys = mem_alloc(mem_mul(c->n_options + 1, sizeof *keys));
    for (size_t i = 0; i < c->n_options; i++) keys[i] = c->options[i].key;
    const char *near = text_suggest(key, keys, c->n_options);
    mem_free(keys);
    char text[2 * CONF_KEY_MAX + 40];
    snprintf(text, sizeof text, near ? "unknown key %s; did you mean %s?" : "unknown key %s", key, near);
    return fail(c, at, text);
}

static enum status read_assignment(struct parse *c) {
    const uint8_t *at = c->p;
    char key[CONF_KEY_MAX];
    memcpy(key, c->table, sizeof key);
    enum status st = read_key(c, key);
    if (st) return st;
    size_t i = 0;
    while (i < c->n_options && strcmp(c->options[i].key, key) != 0) i++;
    if (i == c->n_options) return unknown_key(c, at, key);
    if (c->seen[i]) return fail(c, at, "this key is given twice");
    c->seen[i] = true;
    if (c->p == c->end || *c->p != '=') return fail(c, c->p, "= is expected behind the key");
    c->p++;
    skip_blanks(c);
    const uint8_t *value_at = c->p;
    struct value v = {0};
    st = read_value(c, &v);
    if (!st) st = store_value(c, value_at > c->line_start ? value_at : c->p, &c->options[i], &v);
    value_free(&v);
    return st;
}

static enum status read_table(struct parse *c) {
    const uint8_t *at = c->p++;
    if (c->p < c->end && *c->p == '[') return fail(c, at, "arrays of tables are not supported");
    c->table[0] = 0;
    enum status st = read_key(c, c->table);
    if (st) return st;
    if (c->p == c->end || *c->p != ']') return fail(c, c->p, "] is expected behind the table's name");
    c->p++;
    size_t n = strlen(c->table);
    for (size_t i = 0; i < c->n_options; i++) {
        if (strncmp(c->options[i].key, c->table, n) == 0 && c->options[i].key[n] == '.') return ST_OK;
    }
    return unknown_key(c, at, c->table);
}

static enum status parse_all(struct parse *c) {
    if (c->end - c->p >= 3 && memcmp(c->p, "\xef\xbb\xbf", 3) == 0) c->p += 3;
    for (;;) {
        skip_lines(c);
        if (c->p == c->end) return ST_OK;
        enum status st = *c->p == '[' ? read_table(c) : read_assignment(c);
        if (st) return st;
        skip_blanks(c);
        skip_comment(c);
        if (!at_line_end(c)) return fail(c, c->p, "the line should end here");
    }
}

MUST_USE enum status conf_parse(const struct conf_option *options, size_t n, const char *name, struct slice text,
                                void *target, struct error *err) {
    struct parse c = {.options = options,
                      .n_options = n,
                      .name = name,
                      .p = text.p,
                      .end = text.len ? text.p + text.len : text.p,
                      .line_start = text.p,
                      .line = 1,
                      .target = target,
                      .err = err};
    c.seen = mem_zalloc(n);
    enum status st = text.len ? parse_all(&c) : ST_OK;
    mem_free(c.seen);
    return st;
}

void conf_defaults(const struct conf_option *options, size_t n, void *target) {
    for (size_t i = 0; i < n; i++) {
        void *into = (char *)target + options[i].offset;
        if (options[i].type == CONF_STRING) *(char **)into = NULL;
        if (options[i].type == CONF_STRINGS) *(struct conf_strings *)into = (struct conf_strings){0};
        struct buf line = {0};
        struct error err = {0};
        buf_printf(&line, "%s = %s", options[i].key, options[i].fallback);
        if (conf_parse(&options[i], 1, "default", buf_slice(&line), target, &err)) {
            fprintf(stderr, "haechi: option table: %s\n", err.msg);
            abort();
        }
        buf_free(&line);
    }
}

void conf_free(const struct conf_option *options, size_t n, void *target) {
    for (size_t i = 0; i < n; i++) {
        void *at = (char *)target + options[i].offset;
        if (options[i].type == CONF_STRING) {
            mem_free(*(char **)at);
            *(char **)at = NULL;
        } else if (options[i].type == CONF_STRINGS) {
            strings_free(at);
        }
    }
}

void conf_sample(struct buf *out, const struct conf_option *options, size_t n) {
    char table[CONF_KEY_MAX] = "";
    for (size_t i = 0; i < n; i++) {
        const char *dot = strrchr(options[i].key, '.');
        size_t len = dot ? (size_t)(dot - options[i].key) : 0;
        if (len && (strlen(table) != len || strncmp(table, options[i].key, len) != 0)) {
            snprintf(table, sizeof table, "%.*s", (int)len, options[i].key);
            buf_printf(out, "\n[%s]\n", table);
        }
        buf_printf(out, "# %s%s\n#%s = %s\n", options[i].help, options[i].reloadable ? " (reloadable)" : "",
                   dot ? dot + 1 : options[i].key, options[i].fallback);
    }
}
