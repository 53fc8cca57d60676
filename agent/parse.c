/* 2 PARSE  Event XML -> struct event: the quick way for the usual shape, expat for all others.
 *
 * expat builds a small tree in a scratch arena, parse_build.c makes the event of it. Texts go straight into the caller's
 * arena. A parser belongs to one thread at a time. */
#include "parse.h"
#include "mem.h"
#include "parse_internal.h"
#include "parse_text.h"

#include <expat.h>

#define TREE_CAP EVENT_ARENA_CAP

struct parser {
    XML_Parser expat;
    struct buf wrapped; /* the text that expat reads */
    struct buf text;    /* character data since the last tag */
    struct arena tree;
    struct arena *a; /* the caller's */
    struct xml_node *root, *at;
    unsigned depth;
    enum status st; /* the first failure of the handlers */
    const char *why;
    uint64_t replaced;
};

struct parser *parser_new(void) {
    struct parser *p = mem_zalloc(sizeof *p);
    arena_init(&p->tree, TREE_CAP);
    return p;
}

void parser_free(struct parser **pp) {
    struct parser *p = *pp;
    if (!p) return;
    if (p->expat) XML_ParserFree(p->expat);
    arena_deinit(&p->tree);
    buf_free(&p->wrapped);
    buf_free(&p->text);
    mem_free(p);
    *pp = NULL;
}

uint64_t parser_replaced(const struct parser *p) {
    return p->replaced;
}

static void stop(struct parser *p, enum status st, const char *why) {
    if (p->st) return;
    p->st = st;
    p->why = why;
    XML_StopParser(p->expat, XML_FALSE);
}

static struct xml_node *add_node(struct parser *p) {
    struct xml_node *n = arena_zalloc(&p->tree, sizeof *n);
    if (!n) {
        stop(p, ST_NOMEM, "too many elements");
        return NULL;
    }
    n->parent = p->at;
    if (p->at && p->at->last) {
        p->at->last->next = n;
    } else if (p->at) {
        p->at->first = n;
    }
    if (p->at) p->at->last = n;
    return n;
}

static struct slice keep(struct parser *p, struct slice s) {
    struct slice kept = parse_unwrap(s, p->a);
    if (!kept.p) stop(p, ST_NOMEM, "over the memory limit");
    return kept;
}

static void flush_text(struct parser *p) {
    if (!p->text.len || p->st) return;
    struct xml_node *n = add_node(p);
    if (n) n->text = keep(p, buf_slice(&p->text));
    buf_clear(&p->text);
}

static void XMLCALL on_start(void *ctx, const XML_Char *name, const XML_Char **attributes) {
    struct parser *p = ctx;
    flush_text(p);
    if (p->st) return;
    if (++p->depth > PARSE_MAX_DEPTH) {
        stop(p, ST_TOOBIG, "elements are nested too deep");
        return;
    }
    struct xml_node *n = add_node(p);
    if (!n) return;
    n->name = keep(p, slice_str(name));
    size_t n_attributes = 0;
    while (attributes[2 * n_attributes]) n_attributes++;
    if (n_attributes > PARSE_MAX_ATTRIBUTES) {
        stop(p, ST_TOOBIG, "an element has too many attributes");
        return;
    }
    if (n_attributes) {
        struct xml_attribute *list = arena_alloc(&p->tree, n_attributes * sizeof *list);
        if (!list) {
            stop(p, ST_NOMEM, "over the memory limit");
            return;
        }
        for (size_t i = 0; i < n_attributes; i++) {
            list[i].name = keep(p, slice_str(attributes[2 * i]));
            list[i].value = keep(p, slice_str(attributes[2 * i + 1]));
        }
        n->attributes = list;
        n->n_attributes = n_attributes;
    }
    if (!p->at) p->root = n;
    p->at = n;
}

static void XMLCALL on_end(void *ctx, const XML_Char *name) {
    struct parser *p = ctx;
    (void)name;
    flush_text(p);
    if (p->st) return;
    p->at = p->at->parent;
    p->depth--;
}

static void XMLCALL on_text(void *ctx, const XML_Char *text, int len) {
    struct parser *p = ctx;
    if (!p->st) buf_append(&p->text, text, (size_t)len);
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid,
                               int internal) {
    (void)name;
    (void)sysid;
    (void)pubid;
    (void)internal;
    stop(ctx, ST_FORMAT, "a DOCTYPE is not allowed in an event");
}

static bool prepare(struct parser *p, struct arena *a) {
    if (p->expat) {
        XML_ParserReset(p->expat, "UTF-8");
    } else {
        p->expat = XML_ParserCreate("UTF-8");
    }
    if (!p->expat) return false;
    XML_SetUserData(p->expat, p);
    XML_SetElementHandler(p->expat, on_start, on_end);
    XML_SetCharacterDataHandler(p->expat, on_text);
    XML_SetStartDoctypeDeclHandler(p->expat, on_doctype);
    buf_clear(&p->wrapped);
    buf_clear(&p->text);
    arena_reset(&p->tree);
    p->a = a;
    p->root = p->at = NULL;
    p->depth = 0;
    p->st = ST_OK;
    p->why = NULL;
    return true;
}

static enum status fail_at(struct error *err, enum status st, struct slice xml, size_t offset, const char *why) {
    size_t line = 1;
    for (size_t i = 0; i < offset && i < xml.len; i++) line += xml.p[i] == '\n';
    return error_set(err, st, "line %zu, byte %zu: %s", line, offset + 1, why);
}

MUST_USE enum status parse_event_slow(struct parser *p, struct slice xml, struct arena *a, struct event *ret,
                                      struct error *err) {
    if (xml.len > XML_EVENT_MAX) return error_set(err, ST_TOOBIG, "the event is longer than 1 MiB");
    if (!prepare(p, a)) return error_set(err, ST_NOMEM, "no memory for an XML parser");
    parse_wrap(&p->wrapped, xml, SIZE_MAX, &p->replaced);
    if (!p->wrapped.len) return error_set(err, ST_FORMAT, "line 1, byte 1: no event, nothing at all");
    if (XML_Parse(p->expat, (const char *)p->wrapped.p, (int)p->wrapped.len, 1) == XML_STATUS_OK && !p->st) {
        const char *why = NULL;
        enum status st = parse_build(p->root, a, ret, &why);
        return st ? fail_at(err, st, xml, 0, why) : ST_OK;
    }
    XML_Index at = XML_GetCurrentByteIndex(p->expat);
    uint64_t again = 0;
    buf_clear(&p->text);
    size_t offset = at > 0 ? parse_wrap(&p->text, xml, (size_t)at, &again) : 0;
    if (p->st) return fail_at(err, p->st, xml, offset, p->why);
    enum XML_Error code = XML_GetErrorCode(p->expat);
    return fail_at(err, code == XML_ERROR_NO_MEMORY ? ST_NOMEM : ST_FORMAT, xml, offset, XML_ErrorString(code));
}

MUST_USE enum status parse_event(struct parser *p, struct slice xml, struct arena *a, struct event *ret,
                                 struct error *err) {
    if (parse_fast(xml, a, ret)) return ST_OK;
    return parse_event_slow(p, xml, a, ret, err);
}
