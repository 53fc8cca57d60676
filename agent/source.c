/* 1 SOURCE  Chooses the kind and passes calls on. */
#include "source.h"
#include "evtx.h"
#include "file.h"
#include "mem.h"

#define HEAD_LEN 512

static struct slice skip_space(struct slice s) {
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n')) s = slice_from(s, 1);
    return s;
}

enum source_kind source_guess(struct slice head) {
    if (slice_starts(head, SLICE_LIT("ElfFile"))) return SOURCE_EVTX;
    if (head.len >= 2 && ((head.p[0] == 0xff && head.p[1] == 0xfe) || (head.p[0] == 0xfe && head.p[1] == 0xff)))
        return SOURCE_XML;
    if (head.len >= 2 && (head.p[0] == 0 || head.p[1] == 0)) return SOURCE_XML; /* UTF-16 without a mark */
    if (slice_starts(head, SLICE_LIT("\xef\xbb\xbf"))) head = slice_from(head, 3);
    head = skip_space(head);
    /* "<134>Mar  1 ..." is syslog's priority, "<Event" and "<?xml" are XML */
    if (head.len >= 2 && head.p[0] == '<' && !(head.p[1] >= '0' && head.p[1] <= '9')) return SOURCE_XML;
    return SOURCE_TEXT;
}

static enum status guess_file(const char *path, enum source_kind *ret, struct error *err) {
    struct file *f = NULL;
    uint8_t head[HEAD_LEN];
    size_t got = 0;
    enum status st = file_open(path, FILE_READ, &f, err);
    if (!st) st = file_read_at(f, 0, head, sizeof head, &got, err);
    if (!st) *ret = source_guess(slice_of(head, got));
    if (!st && *ret != SOURCE_EVTX) { /* an .evtx file whose own header is damaged still has its chunks */
        st = file_read_at(f, EVTX_FILE_HEADER, head, 8, &got, err);
        if (!st && got == 8 && memcmp(head, "ElfChnk", 8) == 0) *ret = SOURCE_EVTX;
    }
    file_close(&f);
    return st;
}

enum status source_open(enum source_kind kind, const struct source_options *o, struct source **ret, struct error *err) {
    enum status st = ST_OK;
    if (kind == SOURCE_AUTO) {
        if (slice_eq_str(slice_str(o->path), "-"))
            kind = SOURCE_XML;
        else
            st = guess_file(o->path, &kind, err);
    }
    if (st) return st;
    struct source *s = NULL;
    switch (kind) {
    case SOURCE_EVTX: st = source_evtx_open(o, &s, err); break;
    case SOURCE_TEXT: st = source_text_open(o, &s, err); break;
    case SOURCE_JOURNAL: st = source_journal_open(o, &s, err); break;
#if defined(_WIN32)
    case SOURCE_EVTLOG: st = source_evtlog_open(o, &s, err); break;
#else
    case SOURCE_EVTLOG:
        return error_set(err, ST_VERSION, "channel %s: only Windows has an Event Log; read its file with sources.evtx",
                         o->path);
#endif
    default: st = source_xml_open(o, &s, err); break;
    }
    if (st) return st;
    s->name = mem_strdup(o->path ? o->path : "the journal");
    *ret = s;
    return ST_OK;
}

enum status source_next(struct source *s, struct source_record *ret, struct error *err) {
    return s->ops->next(s, ret, err);
}

void source_ack(struct source *s, struct slice position) {
    if (s->ops->ack) s->ops->ack(s, position);
}

struct source_facts source_facts(const struct source *s) {
    return s->facts;
}

const char *source_name(const struct source *s) {
    return s->name;
}

void source_close(struct source **s) {
    if (!*s) return;
    (*s)->ops->close(*s);
    mem_free((*s)->name);
    mem_free(*s);
    *s = NULL;
}
