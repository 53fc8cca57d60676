/* 1 SOURCE  Sysmon for Linux: the live journal (journalctl as a child), journal export files, syslog files; followed over
 * appends and rotation as `tail -F` does. Positions: "cursor C" (journald's own), "text FINGERPRINT LEN OFFSET" where the
 * fingerprint is of the first LEN bytes, so that a rotated file is known again or known to be another. Reader thread. */
#include "child.h"
#include "crc32.h"
#include "file.h"
#include "journal.h"
#include "mem.h"
#include "source.h"
#include "text.h"

#include <stdio.h>

#define CHUNK (64u * 1024)
#define PRINT_MAX 256u

struct line_source {
    struct source base;
    bool follow, strict, live;
    char *path;
    struct file *file;
    struct child *child;
    uint64_t read_at; /* bytes of the file that are in `in` or behind it */
    struct buf in;    /* what was read and not yet used; the current line begins at `used` */
    size_t used, scanned;
    uint64_t line_at, line_no; /* where the line after the current one begins; the number of the current one */
    bool too_long;             /* the rest of an over-long line is thrown away */
    struct journal_entry entry;
    struct buf text;      /* message of a syslog line */
    struct slice message; /* what is left of the current line's events */
    uint32_t print;       /* checksum of the first print_len bytes */
    uint32_t print_len;
    struct buf position;
};

static struct line_source *self(struct source *s) {
    return (struct line_source *)s;
}

static void line_close(struct source *s) {
    struct line_source *l = self(s);
    child_stop(&l->child);
    file_close(&l->file);
    journal_entry_deinit(&l->entry);
    buf_free(&l->in);
    buf_free(&l->text);
    buf_free(&l->position);
    mem_free(l->path);
}

/* ---- files ---- */

static enum status fingerprint(struct file *f, uint32_t len, uint32_t *ret_crc, uint32_t *ret_len, struct error *err) {
    uint8_t head[PRINT_MAX];
    size_t got = 0;
    enum status st = file_read_at(f, 0, head, len < PRINT_MAX ? len : PRINT_MAX, &got, err);
    if (st) return st;
    *ret_crc = crc32_add(0, slice_of(head, got));
    *ret_len = (uint32_t)got;
    return ST_OK;
}

/* Opens l->path from its beginning, or from `position` when that is one of this file. */
static enum status open_file(struct line_source *l, struct slice position, struct error *err) {
    struct file *f = NULL;
    uint64_t crc = 0, len = 0, at = 0;
    enum status st = file_open(l->path, FILE_READ, &f, err);
    if (st) return st;
    if (text_take(&position, "text ") && text_take_number(&position, 16, &crc) && text_take(&position, " ") &&
        text_take_number(&position, 10, &len) && text_take(&position, " ") && text_take_number(&position, 10, &at)) {
        uint32_t now = 0, got = 0;
        st = len <= PRINT_MAX ? fingerprint(f, (uint32_t)len, &now, &got, err) : ST_FORMAT;
        if (st || now != crc || got != len || at > file_length(f)) at = 0; /* another file by now: all of it is new */
    }
    file_close(&l->file);
    l->file = f;
    l->read_at = l->line_at = at;
    l->used = l->scanned = 0;
    buf_clear(&l->in);
    l->print_len = 0;
    return ST_OK;
}

/* At the end of the open file: has another file taken its name, or was it cut? */
static bool was_rotated(struct line_source *l) {
    uint64_t len = 0;
    struct file *f = NULL;
    if (file_size(l->path, &len, NULL)) return false; /* between rename and create: later */
    if (len < l->read_at) return true;
    uint32_t a = 0, b = 0, n = 0, m = 0;
    bool differs = false;
    if (file_open(l->path, FILE_READ, &f, NULL)) return false;
    if (!fingerprint(l->file, PRINT_MAX, &a, &n, NULL) && !fingerprint(f, n, &b, &m, NULL)) differs = a != b || n != m;
    file_close(&f);
    return differs;
}

/* More bytes into l->in: ST_OK, ST_AGAIN (nothing now), ST_END. */
static enum status more(struct line_source *l, struct error *err) {
    if (l->used) {
        buf_consume(&l->in, l->used);
        l->scanned -= l->used;
        l->used = 0;
    }
    if (l->child) {
        enum status st = child_read(l->child, SOURCE_WAIT_MS, CHUNK, &l->in, err);
        return st == ST_END ? error_set(err, ST_IO, "journalctl has ended") : st;
    }
    size_t got = 0;
    buf_reserve(&l->in, CHUNK);
    enum status st = file_read_at(l->file, l->read_at, l->in.p + l->in.len, CHUNK, &got, err);
    if (st) return st;
    l->in.len += got;
    l->read_at += got;
    l->base.facts.bytes_done = l->read_at;
    if (got) return ST_OK;
    if (!l->follow) return ST_END;
    if (!was_rotated(l)) return ST_AGAIN;
    l->line_no = 0;
    st = open_file(l, (struct slice){NULL, 0}, err);
    return st ? ST_AGAIN : ST_OK;
}

/* ---- lines ---- */

/* The next whole line (without its end). At the end of a file that is not followed, the unfinished last one too. */
static enum status next_line(struct line_source *l, struct slice *ret, struct error *err) {
    for (;;) {
        uint8_t *from = l->in.p + l->scanned;
        uint8_t *nl = l->in.len > l->scanned ? memchr(from, '\n', l->in.len - l->scanned) : NULL;
        size_t end = nl ? (size_t)(nl - l->in.p) : l->in.len;
        l->scanned = end;
        if (!nl) {
            if (end - l->used > JOURNAL_MAX_LINE) {
                l->too_long = true;
                l->line_at += end - l->used;
                l->used = end;
            }
            enum status st = more(l, err);
            if (st == ST_OK) continue;
            if (st != ST_END || l->in.len == l->used) return st;
            end = l->in.len;
        }
        *ret = slice_of(l->in.p + l->used, end - l->used);
        size_t took = end + (nl ? 1 : 0) - l->used;
        l->used += took;
        l->scanned = l->used;
        l->line_at += took;
        l->line_no++;
        if (!l->too_long) return ST_OK;
        l->too_long = false;
        l->base.facts.skipped++;
        return error_set(err, ST_TOOBIG, "a line longer than %u bytes is skipped", JOURNAL_MAX_LINE);
    }
}

static void set_position(struct line_source *l) {
    buf_clear(&l->position);
    if (l->live) {
        if (l->entry.cursor.len) {
            buf_str(&l->position, "cursor ");
            buf_slice_append(&l->position, buf_slice(&l->entry.cursor));
        }
        return;
    }
    if (l->print_len < PRINT_MAX && fingerprint(l->file, PRINT_MAX, &l->print, &l->print_len, NULL)) l->print_len = 0;
    buf_printf(&l->position, "text %08x %u %llu", l->print, l->print_len, (unsigned long long)l->line_at);
}

/* Finds the events of one line: ST_OK with l->message, ST_NOTFOUND: none for us. */
static enum status read_line(struct line_source *l, struct slice line, struct error *err) {
    struct slice s = line;
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t')) s = slice_from(s, 1);
    if (!s.len) return ST_NOTFOUND;
    if (l->live || s.p[0] == '{') {
        enum status st = journal_parse(s, &l->entry);
        if (st) {
            l->base.facts.skipped++;
            return error_set(err, ST_FORMAT, "not a line of a journal export (%s)", status_text(st));
        }
        set_position(l);
        bool proven = l->entry.proof == JOURNAL_PROVEN;
        bool wanted = l->entry.has_message && l->entry.is_sysmon &&
                      (proven || (!l->strict && l->entry.proof == JOURNAL_UNPROVEN));
        l->message = buf_slice(&l->entry.message);
        if (!wanted) l->base.facts.foreign++;
        return wanted ? ST_OK : ST_NOTFOUND;
    }
    set_position(l);
    if (l->strict || journal_parse_syslog(s, &l->text)) {
        l->base.facts.foreign++;
        return ST_NOTFOUND;
    }
    l->message = buf_slice(&l->text);
    return ST_OK;
}

static enum status line_next(struct source *s, struct source_record *ret, struct error *err) {
    struct line_source *l = self(s);
    struct slice xml;
    for (;;) {
        enum status st = journal_next_event(&l->message, &xml);
        if (st == ST_OK) {
            *ret = (struct source_record){.xml = xml, .line = l->line_no};
            /* More events on this line: the position stays before it, so that a restart reads it again. */
            struct slice rest = l->message, other;
            if (journal_next_event(&rest, &other) == ST_END) ret->position = buf_slice(&l->position);
            return ST_OK;
        }
        if (st == ST_CORRUPT) {
            s->facts.skipped++;
            return error_set(err, ST_CORRUPT, "line %llu: an event without its end, cut off by a program on its way",
                             (unsigned long long)l->line_no);
        }
        struct slice line;
        st = next_line(l, &line, err);
        if (!st) st = read_line(l, line, err);
        if (st == ST_NOTFOUND) {
            l->message = (struct slice){NULL, 0};
            continue;
        }
        if (st == ST_FORMAT && err) {
            char text[ERROR_TEXT_MAX];
            snprintf(text, sizeof text, "%s", err->msg);
            error_set(err, ST_FORMAT, "line %llu: %s", (unsigned long long)l->line_no, text);
        }
        if (st) return st;
    }
}

static const struct source_ops line_ops = {.next = line_next, .close = line_close};

static struct line_source *line_new(const struct source_options *o) {
    struct line_source *l = mem_zalloc(sizeof *l);
    l->base.ops = &line_ops;
    l->follow = o->follow;
    l->strict = o->strict;
    buf_reserve(&l->in, CHUNK);
    return l;
}

enum status source_text_open(const struct source_options *o, struct source **ret, struct error *err) {
    struct line_source *l = line_new(o);
    l->path = mem_strdup(o->path);
    enum status st = open_file(l, o->position, err);
    if (st) {
        line_close(&l->base);
        mem_free(l);
        return st;
    }
    l->base.facts.bytes_all = file_length(l->file);
    *ret = &l->base;
    return ST_OK;
}

enum status source_journal_open(const struct source_options *o, struct source **ret, struct error *err) {
    struct line_source *l = line_new(o);
    char after[SOURCE_MAX_POSITION + 32];
    struct slice cursor = slice_starts(o->position, SLICE_LIT("cursor ")) ? slice_from(o->position, 7) : SLICE_LIT("");
    snprintf(after, sizeof after, "--after-cursor=%.*s", (int)slice_head(cursor, JOURNAL_MAX_CURSOR).len,
             (const char *)cursor.p);
    /* Trusted fields are matched by journalctl already and checked again by us. */
    const char *argv[] = {"journalctl",
                          "--all",
                          "--quiet",
                          "--output=json",
                          "--no-pager",
                          "--follow",
                          "--no-tail",
                          "_UID=0",
                          "SYSLOG_IDENTIFIER=sysmon",
                          cursor.len ? after : NULL,
                          NULL};
    l->live = l->strict = true;
    enum status st = child_start(argv, &l->child, err);
    if (st) {
        line_close(&l->base);
        mem_free(l);
        return st;
    }
    *ret = &l->base;
    return ST_OK;
}
