/* Command-line parsing from tables, and the small grammars of durations, sizes and times. Pure. */
#include "args.h"
#include "clock.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

static void list_add(struct arg_list *l, const char *item) {
    mem_grow((void **)&l->items, l->n, &l->cap, sizeof *l->items);
    l->items[l->n++] = item;
}

void arg_list_free(struct arg_list *l) {
    mem_free(l->items);
    *l = (struct arg_list){0};
}

bool args_wants_help(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) return false;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    }
    return false;
}

static enum status unknown_option(const struct arg_command *cmd, struct slice name, struct error *err) {
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(name.len < 63 ? name.len : 63), (const char *)name.p);
    const char **names = mem_alloc(mem_mul(cmd->n_options + 1, sizeof *names));
    for (size_t i = 0; i < cmd->n_options; i++) names[i] = cmd->options[i].name;
    const char *near = text_suggest(word, names, cmd->n_options);
    mem_free(names);
    if (near) return error_set(err, ST_INVALID, "unknown option --%s; did you mean --%s?", word, near);
    return error_set(err, ST_INVALID, "unknown option --%s; see %s --help", word, cmd->name);
}

static const struct arg_option *find_option(const struct arg_command *cmd, struct slice name) {
    for (size_t i = 0; i < cmd->n_options; i++) {
        if (slice_eq_str(name, cmd->options[i].name)) return &cmd->options[i];
    }
    return NULL;
}

static enum status store_option(const struct arg_option *o, const char *value, void *target, struct error *err) {
    void *at = (char *)target + o->offset;
    switch (o->type) {
    case ARG_FLAG: *(bool *)at = true; return ST_OK;
    case ARG_STRING: *(const char **)at = value; return ST_OK;
    case ARG_LIST: list_add(at, value); return ST_OK;
    case ARG_UINT: {
        uint64_t v = 0;
        const char *p = value;
        for (; *p >= '0' && *p <= '9' && v < UINT64_MAX / 10 - 1; p++) v = v * 10 + (uint64_t)(*p - '0');
        if (!*value || *p) { return error_set(err, ST_INVALID, "--%s takes a whole number, not '%s'", o->name, value); }
        *(uint64_t *)at = v;
        return ST_OK;
    }
    }
    return ST_INVALID;
}

/* Takes argv[*i] (and the value behind it) as an option. */
static enum status take_option(const struct arg_command *cmd, int argc, char **argv, int *i, void *target,
                               struct error *err) {
    const char *word = argv[*i] + 2, *equals = strchr(word, '=');
    struct slice name = slice_of(word, equals ? (size_t)(equals - word) : strlen(word));
    const struct arg_option *o = find_option(cmd, name);
    if (!o) return unknown_option(cmd, name, err);
    const char *value = equals ? equals + 1 : NULL;
    if (o->type == ARG_FLAG && value) return error_set(err, ST_INVALID, "--%s takes no value", o->name);
    if (o->type != ARG_FLAG && !value) {
        if (*i + 1 >= argc)
            return error_set(err, ST_INVALID, "--%s needs a value: --%s %s", o->name, o->name, o->value);
        value = argv[++*i];
    }
    return store_option(o, value, target, err);
}

MUST_USE enum status args_parse(const struct arg_command *cmd, int argc, char **argv, void *target,
                                struct arg_list *words, struct error *err) {
    bool options = true;
    for (int i = 0; i < argc; i++) {
        enum status st = ST_OK;
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1] == '-') {
            st = take_option(cmd, argc, argv, &i, target, err);
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            st = error_set(err, ST_INVALID, "unknown option %s; options are written --name", argv[i]);
        } else if (words->n >= cmd->max_words) {
            st = error_set(err, ST_INVALID, "unexpected word '%s'; usage: %s %s", argv[i], cmd->name, cmd->synopsis);
        } else {
            list_add(words, argv[i]);
        }
        if (st) return st;
    }
    if (words->n < cmd->min_words) {
        return error_set(err, ST_INVALID, "something is missing; usage: %s %s", cmd->name, cmd->synopsis);
    }
    return ST_OK;
}

/* Text broken into lines of at most 100 columns behind `indent` blanks; the cursor stands at column `at` already. */
static void put_wrapped(struct buf *out, const char *text, size_t indent, size_t at) {
    while (*text) {
        size_t word = strcspn(text, " ");
        if (at > indent && at + 1 + word > 100) {
            buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            buf_byte(out, ' ');
            at++;
        }
        buf_append(out, text, word);
        at += word;
        text += word + strspn(text + word, " ");
    }
    buf_byte(out, '\n');
}

void args_help(struct buf *out, const char *program, const struct arg_command *cmd) {
    buf_printf(out, "usage: %s%s%s %s\n\n", program, *program ? " " : "", cmd->name, cmd->synopsis);
    put_wrapped(out, cmd->help, 0, 0);
    if (cmd->n_options) buf_byte(out, '\n');
    for (size_t i = 0; i < cmd->n_options; i++) {
        const struct arg_option *o = &cmd->options[i];
        size_t start = out->len;
        buf_printf(out, "  --%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        size_t used = out->len - start;
        if (used < 26) {
            buf_printf(out, "%*s", (int)(26 - used), "");
        } else {
            buf_printf(out, "\n%26s", "");
        }
        put_wrapped(out, o->help, 26, 26);
    }
}

/* Digits, then a unit of *units ("smhdw"); *ret_unit is its index, or -1 when there is none. */
static bool number_and_unit(const char *text, const char *units, uint64_t *ret, int *ret_unit) {
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > UINT64_MAX / 100) return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (p == text) return false;
    *ret_unit = -1;
    if (*p) {
        const char *u = strchr(units, *p);
        if (!u || p[1]) return false;
        *ret_unit = (int)(u - units);
    }
    *ret = v;
    return true;
}

MUST_USE enum status args_duration(const char *text, uint64_t *ret_s, struct error *err) {
    static const uint32_t factors[] = {1, 60, 3600, 86400, 604800};
    uint64_t v;
    int unit;
    if (!number_and_unit(text, "smhdw", &v, &unit) || v > UINT64_MAX / 604800 / 2) {
        return error_set(err, ST_INVALID, "'%s' is no duration; write 90s, 15m, 24h, 7d or 2w", text);
    }
    *ret_s = v * (unit < 0 ? 1 : factors[unit]);
    return ST_OK;
}

MUST_USE enum status args_size(const char *text, uint64_t *ret_bytes, struct error *err) {
    uint64_t v;
    int unit;
    if (!number_and_unit(text, "KMGT", &v, &unit) || (unit >= 0 && v > UINT64_MAX >> (10 * (unit + 1)))) {
        return error_set(err, ST_INVALID, "'%s' is no size; write 512, 64K, 10M, 5G or 1T", text);
    }
    *ret_bytes = unit < 0 ? v : v << (10 * (unit + 1));
    return ST_OK;
}

MUST_USE enum status args_time(const char *text, uint64_t now, uint64_t *ret_ft, struct error *err) {
    uint64_t v;
    int unit;
    if (!filetime_parse(slice_str(text), ret_ft, NULL, NULL)) return ST_OK;
    if (!filetime_from_day(slice_str(text), ret_ft)) return ST_OK;
    if (strcmp(text, "now") == 0) {
        *ret_ft = now;
        return ST_OK;
    }
    if (number_and_unit(text, "smhdw", &v, &unit) && unit >= 0 && !args_duration(text, &v, NULL)) {
        *ret_ft = v > now / FILETIME_SECOND ? 0 : now - v * FILETIME_SECOND;
        return ST_OK;
    }
    return error_set(err, ST_INVALID,
                     "'%s' is no time; write 2026-11-24T10:00:00Z, 2026-11-24, or how long ago: 15m, 24h, 7d", text);
}
