/* Configuration files: a strict subset of TOML 1.0 (comments, [tables], bare and quoted keys, basic and literal
 * strings, integers, booleans, arrays of strings) read through one table of options. An unknown key, a wrong type or a
 * value out of range is an error with file:line:column. Pure.
 *
 * A program reads into a fresh struct, validates, and swaps: a reload that fails changes nothing. */
#ifndef HAECHI_CONF_H
#define HAECHI_CONF_H

#include "args.h"

enum conf_type {
    CONF_BOOL,     /* bool */
    CONF_UINT,     /* uint64_t in [min, max] */
    CONF_STRING,   /* char *: owned (mem_free) */
    CONF_STRINGS,  /* struct conf_strings: owned */
    CONF_DURATION, /* uint64_t seconds in [min, max], written "30d" or 90 */
    CONF_SIZE      /* uint64_t bytes in [min, max], written "64M" or 1024 */
};

struct conf_strings {
    char **items;
    size_t n, cap;
};

struct conf_option {
    const char *key; /* "listen.address": table "listen", key "address" */
    enum conf_type type;
    size_t offset;
    const char *fallback; /* as it would be written in the file: "\"0.0.0.0:7443\"", "30d", "true", "[]" */
    uint64_t min, max;
    bool reloadable;
    const char *help;
};

/* Sets every option of the table in *target to its default. Old values are not freed. */
void conf_defaults(const struct conf_option *options, size_t n, void *target);
/* Reads text over what is there. `name` is the file's name for messages. *target may be half-written on failure. */
MUST_USE enum status conf_parse(const struct conf_option *options, size_t n, const char *name, struct slice text,
                                void *target, struct error *err);
void conf_free(const struct conf_option *options, size_t n, void *target); /* what the options own */

/* A commented sample file with every option and its default: deploy/conf is made by it. */
void conf_sample(struct buf *out, const struct conf_option *options, size_t n);

#endif
