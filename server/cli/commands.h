/* The commands of `haechi`: each has a row in a table (name, synopsis, options, help) and a function. Help, man page
 * and completion say what the rows say. */
#ifndef HAECHI_COMMANDS_H
#define HAECHI_COMMANDS_H

#include "args.h"
#include "client.h"
#include "table.h"

#include <yyjson.h>

/* Every command's options begin with these. */
struct common {
    const char *api;
    bool json;
};
#define OPTION_API                                                                                           \
    {                                                                                                        \
        "api", ARG_STRING, offsetof(struct common, api), "ADDRESS",                                          \
            "the collector's API: unix:PATH or https://HOST:PORT (else HAECHI_API, else the default socket)" \
    }
#define OPTION_JSON \
    { "json", ARG_FLAG, offsetof(struct common, json), NULL, "print JSON, one object a line" }

struct command {
    struct arg_command args;
    const char *summary; /* one line for the overview */
    size_t options_size;
    /* ST_OK, or the failure with its sentence; what it prints goes to stdout. */
    enum status (*run)(struct client *c, const void *options, const struct arg_list *words, struct error *err);
};

extern const struct command fleet_commands[], event_commands[], store_commands[], import_commands[];
extern const size_t n_fleet_commands, n_event_commands, n_store_commands, n_import_commands;
/* Commands that have a file of their own each; NULL-terminated. */
extern const struct command *const rules_commands[];
extern const struct command rules_push_command, rules_list_command, rules_show_command, rules_export_command,
    rules_diff_command;
extern const struct command groups_command, group_show_command, group_set_command, group_unassign_command;
extern const struct command rules_check_command, rules_merge_command, rules_status_command, rules_halt_command,
    rules_resume_command, rules_rollback_command;
extern const struct command rules_simulate_command;
extern const struct command rules_volume_command, rules_noisy_command;

#define OPTIONS(table) (table), sizeof(table) / sizeof *(table)

/* ---- shared by commands ---- */

/* Parses one line of JSON; ST_FORMAT with a sentence. Escapes of lone surrogates come out as WTF-8. */
MUST_USE enum status json_line(struct slice line, yyjson_doc **ret, struct error *err);
struct slice json_text(yyjson_val *object, const char *key); /* empty when absent */
uint64_t json_uint(yyjson_val *object, const char *key);
bool json_bool(yyjson_val *object, const char *key);
/* "2026-11-24 10:00:00" from an RFC 3339 text; "-" when absent or in 1601. */
struct slice json_time(yyjson_val *object, const char *key, char out[24]);

/* The object of a request's body: add members to o, then end it. */
struct json_body {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o;
};
struct json_body json_body_begin(void);
/* Appends the text to *out and frees the document, also on failure: ST_INVALID when a member is not UTF-8. */
MUST_USE enum status json_body_end(struct json_body *b, struct buf *out, struct error *err);

/* Ends the body and posts it; the reply's bytes in *reply. */
MUST_USE enum status json_body_post(struct json_body *b, struct client *c, struct buf *url, struct buf *reply,
                                    struct error *err);
/* The lines that the URL answers with, as they are (json) or as a table to which `row` adds each object's cells. */
MUST_USE enum status print_list(struct client *c, struct buf *url, bool json, const char *const *heads,
                                void (*row)(struct table *t, yyjson_val *o), struct error *err);
/* "host            web-1": a line of what is known of one thing; nothing when the value is empty. */
void print_member(const char *label, struct slice value);

/* A configuration from a file, or from stdin when it is "-"; at most RULES_XML_MAX bytes. */
MUST_USE enum status read_config(const char *path, struct buf *out, struct error *err);

/* client_line_fn: prints the line on stdout; ST_CLOSED when stdout is gone. */
enum status print_line(void *ctx, struct slice line);
/* The same for a whole reply, whose last line may end with a newline. */
enum status print_reply(struct slice reply);
/* Bytes as they are; ST_CLOSED likewise. */
enum status print_bytes(struct slice bytes);
/* "1.5 MiB" into out. */
const char *human_bytes(uint64_t bytes, char out[32]);
/* Checks a time for --since, --until, --at before it is sent. */
MUST_USE enum status check_time(const char *option, const char *text, struct error *err);

/* A bar on stderr, when that is a terminal and the work takes over a second. */
struct progress {
    uint64_t started_ms, drawn_ms;
    const char *what;
};
void progress_begin(struct progress *p, const char *what);
void progress_show(struct progress *p, uint64_t done, uint64_t all); /* all 0: not known */
void progress_end(struct progress *p);

#endif
