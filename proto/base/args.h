/* Command lines: one table of options per command, from which parsing, --help and the suggestions for a mistyped word
 * are made. Used by all programs. Pure but for printing help. */
#ifndef HAECHI_ARGS_H
#define HAECHI_ARGS_H

#include "buf.h"

enum arg_type {
    ARG_FLAG,   /* bool */
    ARG_STRING, /* const char *: borrows argv */
    ARG_LIST,   /* struct arg_list: may be given more than once */
    ARG_UINT    /* uint64_t, decimal */
};

struct arg_list {
    const char **items; /* owned array of borrowed strings */
    size_t n, cap;
};

struct arg_option {
    const char *name; /* "since": written --since T or --since=T */
    enum arg_type type;
    size_t offset;     /* of the target in the struct given to args_parse */
    const char *value; /* "T", NULL for a flag */
    const char *help;  /* one sentence without a full stop */
};

struct arg_command {
    const char *name;     /* "events" or "token create" */
    const char *synopsis; /* "--host HOST [--since T] ..." */
    const char *help;     /* what it does: one or more sentences */
    const struct arg_option *options;
    size_t n_options;
    unsigned min_words, max_words; /* how many words that are no options it takes */
};

/* Fills *target by the command's table and *words with the rest, in order. "--" ends options; -h and --help are seen
 * to by the caller first (args_wants_help). ST_INVALID with a sentence that names the word and suggests the nearest:
 * "unknown option --sicne; did you mean --since?". */
MUST_USE enum status args_parse(const struct arg_command *cmd, int argc, char **argv, void *target,
                                struct arg_list *words, struct error *err);
bool args_wants_help(int argc, char **argv);

/* The help of one command: usage line, sentences, options. `program` is "haechi". */
void args_help(struct buf *out, const char *program, const struct arg_command *cmd);

/* Durations "90s", "15m", "24h", "7d", "2w" (a bare number is seconds) in seconds. */
MUST_USE enum status args_duration(const char *text, uint64_t *ret_s, struct error *err);
/* Sizes "512", "64K", "10M", "5G", "1T" (powers of 1024) in bytes. */
MUST_USE enum status args_size(const char *text, uint64_t *ret_bytes, struct error *err);
/* A time for --since and --until: RFC 3339, "YYYY-MM-DD", or a duration ago ("15m", "24h"), as FILETIME. */
MUST_USE enum status args_time(const char *text, uint64_t now, uint64_t *ret_ft, struct error *err);

void arg_list_free(struct arg_list *l);

#endif
