/* 1 SOURCE  Event XML: files and standard input, whatever form the splitter knows. Position: "xml SIZE N", N pieces of a
 * file of SIZE bytes are done. Reader thread. */
#include "file.h"
#include "mem.h"
#include "source.h"
#include "text.h"
#include "xml_split.h"

#include <stdio.h>

#define CHUNK (64u * 1024)

struct xml_source {
    struct source base;
    struct file *file; /* NULL: standard input */
    uint64_t size, at, done, skip_to;
    struct xml_split split;
    uint8_t *bytes;
    bool finished;
    struct buf position;
};

static struct xml_source *self(struct source *s) {
    return (struct xml_source *)s;
}

static void xml_close(struct source *s) {
    struct xml_source *x = self(s);
    file_close(&x->file);
    xml_split_deinit(&x->split);
    mem_free(x->bytes);
    buf_free(&x->position);
}

static enum status more(struct xml_source *x, struct error *err) {
    size_t got = 0;
    if (x->file) {
        enum status st = file_read_at(x->file, x->at, x->bytes, CHUNK, &got, err);
        if (st) return st;
    } else {
        got = fread(x->bytes, 1, CHUNK, stdin);
        if (!got && ferror(stdin)) return error_set(err, ST_IO, "cannot read standard input");
    }
    x->at += got;
    x->base.facts.bytes_done = x->at;
    if (got) {
        xml_split_feed(&x->split, slice_of(x->bytes, got));
    } else {
        xml_split_finish(&x->split);
        x->finished = true;
    }
    return ST_OK;
}

static enum status xml_next(struct source *s, struct source_record *ret, struct error *err) {
    struct xml_source *x = self(s);
    for (;;) {
        struct xml_piece piece;
        enum xml_piece_kind kind = xml_split_next(&x->split, &piece);
        if (kind == XML_MORE) {
            enum status st = x->finished ? ST_END : more(x, err);
            if (st) return st;
            continue;
        }
        x->done++;
        if (x->done <= x->skip_to) continue;
        if (kind == XML_BAD) {
            s->facts.damaged++;
            s->facts.skipped++;
            return error_set(err, ST_FORMAT, "line %llu, byte %llu: %s", (unsigned long long)piece.line,
                             (unsigned long long)piece.offset + 1, piece.why);
        }
        buf_clear(&x->position);
        if (x->file)
            buf_printf(&x->position, "xml %llu %llu", (unsigned long long)x->size, (unsigned long long)x->done);
        *ret = (struct source_record){.xml = piece.text,
                                      .position = buf_slice(&x->position),
                                      .line = piece.line,
                                      .byte = piece.offset};
        return ST_OK;
    }
}

enum status source_xml_open(const struct source_options *o, struct source **ret, struct error *err) {
    static const struct source_ops ops = {.next = xml_next, .close = xml_close};
    struct xml_source *x = mem_zalloc(sizeof *x);
    x->base.ops = &ops;
    x->bytes = mem_alloc(CHUNK);
    xml_split_init(&x->split, XML_DOCUMENT);
    if (strcmp(o->path, "-") != 0) {
        enum status st = file_open(o->path, FILE_READ, &x->file, err);
        if (st) {
            xml_close(&x->base);
            mem_free(x);
            return st;
        }
        x->size = file_length(x->file);
    }
    struct slice p = o->position;
    uint64_t size = 0, done = 0;
    if (text_take(&p, "xml ") && text_take_number(&p, 10, &size) && text_take(&p, " ") &&
        text_take_number(&p, 10, &done) && size == x->size)
        x->skip_to = done;
    x->base.facts.bytes_all = x->size;
    *ret = &x->base;
    return ST_OK;
}
