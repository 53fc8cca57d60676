/* import: reads .evtx files, event XML and JSON lines here, by the agent's own readers, and sends finished batches through the
 * same door as an agent's: the ledger recognises what is held already. */
#include "batcher.h"
#include "clock.h"
#include "commands.h"
#include "file.h"
#include "frame.h"
#include "json_event.h"
#include "mem.h"
#include "parse.h"
#include "source.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

struct import {
    struct common common;
    const char *host;
};

static const struct arg_option import_options[] = {
    {"host", ARG_STRING, offsetof(struct import, host), "HOST", "whose log the files are"},
    OPTION_JSON,
    OPTION_API,
};

struct job {
    const struct arg_list *files;
    size_t next;           /* file to open next */
    struct source *source; /* NULL between files, and while json is read */
    FILE *json;            /* a file of JSON lines */
    const char *name;
    uint64_t line, json_bytes, json_size;
    struct batcher *batcher;
    struct parser *parser;
    struct arena arena;
    struct buf *out; /* where finished batches go during one call of more */
    struct progress progress;
    uint64_t events, events_before, unreadable;
    bool flushed;
};

static void on_batch(void *ctx, struct batcher_batch *b) {
    struct job *j = ctx;
    uint8_t head[FRAME_HEAD_LEN];
    frame_head(head, FRAME_BATCH, 4 + b->bytes.len);
    buf_append(j->out, head, sizeof head);
    buf_u32le(j->out, b->header_len);
    buf_slice_append(j->out, buf_slice(&b->bytes));
    buf_free(&b->bytes);
}

static void report(struct job *j, const char *what) {
    progress_end(&j->progress);
    fprintf(stderr, "haechi import: %s: %s\n", j->name, what);
    j->unreadable++;
}

/* Takes the event, or says where and why not. st and *err: how reading it went. */
static void take_event(struct job *j, const struct event *ev, enum status st, uint64_t line, uint64_t byte,
                       struct error *err) {
    if (!st) {
        st = batcher_add(j->batcher, ev, (struct slice){0}, 0);
        if (!st) {
            j->events++;
            return;
        }
        error_set(err, st, "%s", status_text(st));
    }
    if (line) {
        error_prefix(err, st, "line %llu, byte %llu: an event is left out", (unsigned long long)line,
                     (unsigned long long)byte);
    } else {
        error_prefix(err, st, "an event is left out");
    }
    report(j, err->msg);
}

/* Lines of `haechi events --format json` name event_id; a journal export does not. */
static bool looks_like_events(FILE *f) {
    char head[4097];
    size_t n = fread(head, 1, sizeof head - 1, f);
    rewind(f);
    head[n] = 0;
    return head[strspn(head, " \t\r\n")] == '{' && strstr(head, "\"event_id\":");
}

/* Opens the next file; ST_END after the last. */
static enum status next_file(struct job *j, struct error *err) {
    if (j->next == j->files->n) return ST_END;
    j->name = j->files->items[j->next++];
    j->line = j->json_bytes = 0;
    j->events_before = j->events;
    FILE *f = strcmp(j->name, "-") != 0 ? fopen(j->name, "rb") : NULL;
    if (f && looks_like_events(f)) {
        j->json = f;
        return file_size(j->name, &j->json_size, err);
    }
    if (f) fclose(f);
    return source_open(SOURCE_AUTO, &(struct source_options){.path = j->name}, &j->source, err);
}

static enum status read_source(struct job *j, struct error *err) {
    struct source_record r;
    struct event ev;
    struct error why = {0};
    enum status st = source_next(j->source, &r, &why);
    if (st == ST_END) {
        if (j->events == j->events_before && source_facts(j->source).foreign) report(j, "no event was found in it");
        source_close(&j->source);
        return ST_OK;
    }
    if (st == ST_CORRUPT || st == ST_FORMAT || st == ST_TOOBIG) {
        report(j, why.msg);
        return ST_OK;
    }
    if (st) return error_set(err, st, "%s", why.msg);
    arena_reset(&j->arena);
    st = parse_event(j->parser, r.xml, &j->arena, &ev, &why);
    take_event(j, &ev, st, r.line, r.byte, &why);
    struct source_facts f = source_facts(j->source);
    progress_show(&j->progress, f.bytes_done, f.bytes_all);
    return ST_OK;
}

static void read_json(struct job *j) {
    char *text = NULL;
    size_t cap = 0;
    ssize_t n = getline(&text, &cap, j->json);
    if (n < 0) {
        fclose(j->json);
        j->json = NULL;
    } else if (text[strspn(text, " \t\r\n")]) {
        struct event ev;
        struct error why = {0};
        yyjson_doc *doc;
        arena_reset(&j->arena);
        enum status st = json_line(slice_of(text, (size_t)n), &doc, &why);
        if (!st) st = json_event(yyjson_doc_get_root(doc), &j->arena, &ev, &why);
        take_event(j, &ev, st, ++j->line, j->json_bytes, &why);
        yyjson_doc_free(doc);
    } else {
        j->line++;
    }
    free(text);
    if (n > 0) j->json_bytes += (uint64_t)n;
    progress_show(&j->progress, j->json_bytes, j->json_size);
}

/* client_more_fn: reads on until a batch is full, or all files have ended. */
static enum status more(void *ctx, struct buf *out, struct error *err) {
    struct job *j = ctx;
    enum status st = ST_OK;
    j->out = out;
    while (!out->len && !j->flushed && !st) {
        if (j->json) {
            read_json(j);
        } else if (j->source) {
            st = read_source(j, err);
        } else {
            st = next_file(j, err);
        }
        if (st == ST_END) {
            batcher_flush(j->batcher);
            j->flushed = true;
            st = ST_OK;
        }
    }
    return st;
}

/* The host's own name, so that its own logs are told from other computers'. */
static enum status host_name(struct client *c, const char *host, struct buf *ret, struct error *err) {
    struct buf url = {0}, reply = {0};
    yyjson_doc *doc = NULL;
    url_begin(&url, "/api/v1/hosts");
    url_part(&url, host);
    enum status st = client_get(c, &url, &reply, err);
    if (!st) st = json_line(buf_slice(&reply), &doc, err);
    if (!st) buf_slice_append(ret, json_text(yyjson_doc_get_root(doc), "name"));
    yyjson_doc_free(doc);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

static enum status summarise(const struct job *j, struct slice reply, bool json, struct error *err) {
    yyjson_doc *doc;
    enum status st = json_line(reply, &doc, err);
    if (st) return st;
    yyjson_val *o = yyjson_doc_get_root(doc);
    size_t rejected = yyjson_arr_size(yyjson_obj_get(o, "rejected"));
    if (json) {
        st = print_reply(reply);
    } else {
        printf("%llu events of %zu file%s: %llu stored, %llu held already\n", (unsigned long long)j->events,
               j->files->n, j->files->n == 1 ? "" : "s", (unsigned long long)json_uint(o, "stored"),
               (unsigned long long)json_uint(o, "duplicates"));
    }
    if (!st && rejected) {
        struct slice reason = json_text(yyjson_arr_get_first(yyjson_obj_get(o, "rejected")), "reason");
        st = error_set(err, ST_DENIED, "%zu batches were refused: %.*s", rejected, (int)reason.len,
                       (const char *)reason.p);
    } else if (!st && j->unreadable) {
        st = error_set(err, ST_FORMAT, "%llu events or parts could not be read (see above); all others are stored",
                       (unsigned long long)j->unreadable);
    }
    yyjson_doc_free(doc);
    return st;
}

static enum status run_import(struct client *c, const void *options, const struct arg_list *words, struct error *err) {
    const struct import *o = options;
    if (!o->host) return error_set(err, ST_INVALID, "--host HOST is needed: whose log is it? See: haechi hosts");
    struct buf name = {0}, url = {0}, reply = {0};
    enum status st = host_name(c, o->host, &name, err);
    if (!st) {
        const char *own[] = {buf_cstr(&name)};
        struct job j = {.files = words, .parser = parser_new()};
        struct batcher_options b = {
            .max_raw = BATCHER_DRAIN_RAW, .own_names = own, .n_own_names = 1, .out = on_batch, .ctx = &j};
        arena_init(&j.arena, EVENT_ARENA_CAP);
        j.batcher = batcher_new(&b);
        progress_begin(&j.progress, "import");
        url_begin(&url, "/api/v1/hosts");
        url_part(&url, own[0]);
        buf_str(&url, "/import");
        st = client_upload(c, &url, more, &j, &reply, err);
        progress_end(&j.progress);
        if (!st) st = summarise(&j, buf_slice(&reply), o->common.json, err);
        source_close(&j.source);
        if (j.json) fclose(j.json);
        batcher_free(&j.batcher);
        parser_free(&j.parser);
        arena_deinit(&j.arena);
    }
    buf_free(&name);
    buf_free(&url);
    buf_free(&reply);
    return st;
}

const struct command import_commands[] = {
    {{"import", "--host HOST FILE...",
      "Reads .evtx files, event XML, lines of haechi events --format json, and Sysmon for Linux' journal or syslog lines "
      "into a host's records. What is held "
      "already is recognised; a log of another computer is kept as a log of its own under that host.",
      OPTIONS(import_options), 1, 100000},
     "read log files into a host's records",
     sizeof(struct import),
     run_import},
};
const size_t n_import_commands = sizeof import_commands / sizeof *import_commands;
