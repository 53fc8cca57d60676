/* Event XML: the quick way and expat's agree, writing and reading are inverse, and a document gives the same pieces
 * however it is cut into reads. The first byte chooses the form of the document. */
#include "event_eq.h"
#include "parse.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static void check_event(struct parser *p, struct slice text) {
    struct arena a, b, c;
    struct event quick, slow, again;
    struct error err;
    arena_init(&a, EVENT_ARENA_CAP);
    arena_init(&b, EVENT_ARENA_CAP);
    arena_init(&c, EVENT_ARENA_CAP);
    enum status st = parse_event(p, text, &a, &quick, &err), st_slow = parse_event_slow(p, text, &b, &slow, &err);
    if (st != st_slow) fail("one way reads it, the other does not");
    if (st == ST_OK) {
        if (event_difference(&quick, &slow)) fail(event_difference(&quick, &slow));
        struct buf xml = {0}, bytes = {0};
        event_write_xml(&quick, &xml);
        if (memchr(xml.p, '\n', xml.len)) fail("more than one line");
        enum status back = parse_event(p, buf_slice(&xml), &c, &again, &err);
        if (back && back != ST_TOOBIG && back != ST_NOMEM) fail(err.msg);
        if (!back && event_difference(&quick, &again)) fail(event_difference(&quick, &again));
        arena_reset(&c);
        if (event_encode(&quick, &bytes) == ST_OK) {
            if (event_decode(buf_slice(&bytes), &c, &again)) fail("the encoding cannot be decoded");
            if (event_difference(&quick, &again)) fail(event_difference(&quick, &again));
        }
        buf_free(&xml);
        buf_free(&bytes);
    }
    arena_deinit(&a);
    arena_deinit(&b);
    arena_deinit(&c);
}

/* A digest of all pieces; texts are parsed on the way when p is there. */
static uint64_t pieces(struct slice doc, enum xml_form form, size_t chunk, struct parser *p) {
    struct xml_split s;
    struct xml_piece piece;
    enum xml_piece_kind kind;
    uint64_t h = 0;
    xml_split_init(&s, form);
    for (bool done = false; !done;) {
        struct slice part = slice_head(doc, chunk);
        doc = slice_from(doc, part.len);
        if (part.len) {
            xml_split_feed(&s, part);
        } else {
            xml_split_finish(&s);
            done = true;
        }
        while ((kind = xml_split_next(&s, &piece)) != XML_MORE) {
            if (kind == XML_EVENT && p) check_event(p, piece.text);
            if (kind != XML_EVENT) continue; /* where junk is reported may depend on the reads, events may not */
            h = (h ^ piece.offset) * 31 + piece.line;
            for (size_t i = 0; i < piece.text.len; i++) h = (h ^ piece.text.p[i]) * UINT64_C(1099511628211);
        }
    }
    xml_split_deinit(&s);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (len < 2) return 0;
    struct parser *p = parser_new();
    struct slice doc = slice_of(data + 1, len - 1);
    enum xml_form form = (enum xml_form)(data[0] % 3);
    check_event(p, doc);
    uint64_t whole = pieces(doc, form, len, p);
    if (whole != pieces(doc, form, 1 + data[0] / 3, NULL)) fail("the pieces depend on the reads");
    parser_free(&p);
    return 0;
}
