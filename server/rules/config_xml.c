/* Builds the tree with expat, which gets UTF-8 whatever the file was. Handlers stop the parser on the first failure; places are
 * counted along the text once, since what expat reports comes in its order. */
#include "config_xml.h"
#include "config_text.h"
#include "mem.h"

#include <expat.h>

struct builder {
    XML_Parser expat;
    struct config_doc *doc;
    struct config_cursor cursor;
    size_t start; /* what expat counts from */
    struct config_node *at;
    struct buf text; /* character data since the last tag, comment or section */
    struct place text_at;
    bool in_cdata;
    unsigned depth;
    size_t n_nodes;
    enum status st;
    struct place st_at;
    struct error *err;
};

static size_t offset_of(const struct builder *b) {
    XML_Index at = XML_GetCurrentByteIndex(b->expat);
    return b->start + (at > 0 ? (size_t)at : 0);
}

static struct place here(struct builder *b) {
    return config_place(&b->cursor, offset_of(b));
}

static void stop_at(struct builder *b, struct place at, enum status st, const char *why) {
    if (b->st) return;
    b->st = error_set(b->err, st, "%s", why);
    b->st_at = at;
    XML_StopParser(b->expat, XML_FALSE);
}

static void stop(struct builder *b, enum status st, const char *why) {
    if (!b->st) stop_at(b, here(b), st, why);
}

static struct slice keep(struct builder *b, struct slice s) {
    struct slice kept = arena_copy(&b->doc->arena, s);
    if (!kept.p) stop(b, ST_NOMEM, "the file needs more memory than one configuration may");
    return kept;
}

static struct config_node *add(struct builder *b, enum config_kind kind, struct slice text, struct place at) {
    if (++b->n_nodes > RULESET_NODES_MAX) {
        stop(b, ST_TOOBIG, "the file has too many elements");
        return NULL;
    }
    struct config_node *n = arena_zalloc(&b->doc->arena, sizeof *n);
    if (!n) {
        stop(b, ST_NOMEM, "the file needs more memory than one configuration may");
        return NULL;
    }
    n->kind = kind;
    n->at = at;
    n->text = keep(b, text);
    n->parent = b->at;
    if (!b->at) return n;
    if (b->at->last) {
        b->at->last->next = n;
    } else {
        b->at->first = n;
    }
    b->at->last = n;
    return n;
}

/* Ends a run of text. White space next to an element is layout. */
static void flush(struct builder *b, bool element_follows) {
    if (b->st || !b->at || (!b->text.len && !b->in_cdata)) return;
    struct slice text = buf_slice(&b->text);
    bool layout = !b->in_cdata && config_is_blank(text) &&
                  (element_follows || (b->at->last && b->at->last->kind == CONFIG_ELEMENT));
    if (!layout) (void)add(b, b->in_cdata ? CONFIG_CDATA : CONFIG_TEXT, text, b->text_at);
    buf_clear(&b->text);
}

/* The offset of the k-th attribute's name is found in the tag's text, which expat has found well-formed. */
static size_t attribute_at(struct slice text, size_t i) {
    while (i < text.len && (text.p[i] == ' ' || text.p[i] == '\t' || text.p[i] == '\r' || text.p[i] == '\n')) i++;
    return i;
}

static size_t attribute_end(struct slice text, size_t i) {
    while (i < text.len && text.p[i] != '"' && text.p[i] != '\'') i++;
    if (i >= text.len) return i;
    const uint8_t *end = memchr(text.p + i + 1, text.p[i], text.len - i - 1);
    return end ? (size_t)(end - text.p) + 1 : text.len;
}

static void add_attributes(struct builder *b, struct config_node *n, const XML_Char **pairs) {
    size_t count = 0, i = offset_of(b) + 1 + n->text.len;
    while (pairs[2 * count]) count++;
    if (!count) return;
    if (count > CONFIG_ATTRIBUTES_MAX) {
        stop(b, ST_TOOBIG, "an element has too many attributes");
        return;
    }
    n->attributes = arena_zalloc(&b->doc->arena, count * sizeof *n->attributes);
    if (!n->attributes) {
        stop(b, ST_NOMEM, "the file needs more memory than one configuration may");
        return;
    }
    for (size_t k = 0; k < count; k++) {
        struct config_attribute *a = &n->attributes[k];
        a->name = keep(b, slice_str(pairs[2 * k]));
        a->value = keep(b, slice_str(pairs[2 * k + 1]));
        i = attribute_at(b->doc->text, i);
        a->at = config_place(&b->cursor, i);
        i = attribute_end(b->doc->text, i);
    }
    n->n_attributes = (uint32_t)count;
}

static void XMLCALL on_start(void *ctx, const XML_Char *name, const XML_Char **attributes) {
    struct builder *b = ctx;
    flush(b, true);
    if (b->st) return;
    if (++b->depth > RULESET_DEPTH_MAX) {
        stop(b, ST_TOOBIG, "elements are nested too deep");
        return;
    }
    struct config_node *n = add(b, CONFIG_ELEMENT, slice_str(name), here(b));
    if (!n) return;
    add_attributes(b, n, attributes);
    if (!b->at) b->doc->root = n;
    b->at = n;
}

static void XMLCALL on_end(void *ctx, const XML_Char *name) {
    struct builder *b = ctx;
    (void)name;
    flush(b, false);
    if (b->st) return;
    b->at = b->at->parent;
    b->depth--;
}

static void XMLCALL on_text(void *ctx, const XML_Char *text, int len) {
    struct builder *b = ctx;
    if (b->st) return;
    if (!b->text.len) b->text_at = here(b);
    buf_append(&b->text, text, (size_t)len);
}

static void XMLCALL on_comment(void *ctx, const XML_Char *text) {
    struct builder *b = ctx;
    flush(b, false);
    if (!b->st && b->at) (void)add(b, CONFIG_COMMENT, slice_str(text), here(b));
}

static void XMLCALL on_instruction(void *ctx, const XML_Char *target, const XML_Char *data) {
    struct builder *b = ctx;
    (void)data;
    flush(b, false);
    if (!b->st && b->at) (void)add(b, CONFIG_INSTRUCTION, slice_str(target), here(b));
}

static void XMLCALL on_cdata_start(void *ctx) {
    struct builder *b = ctx;
    flush(b, false);
    if (b->st) return;
    b->in_cdata = true;
    b->text_at = here(b);
}

static void XMLCALL on_cdata_end(void *ctx) {
    struct builder *b = ctx;
    flush(b, false);
    b->in_cdata = false;
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid,
                               int internal) {
    (void)name;
    (void)sysid;
    (void)pubid;
    (void)internal;
    struct builder *b = ctx;
    size_t at = offset_of(b); /* somewhere in it */
    while (at > b->start && !slice_starts(slice_from(b->doc->text, at), SLICE_LIT("<!DOCTYPE"))) at--;
    stop_at(b, config_place(&b->cursor, at), ST_DENIED,
            "a DOCTYPE is not taken: it could define entities, and Sysmon needs none");
}

static bool in_comment(struct slice before) {
    while (before.p && before.len >= 4) {
        if (memcmp(before.p + before.len - 3, "-->", 3) == 0) return false;
        if (memcmp(before.p + before.len - 4, "<!--", 4) == 0) return true;
        before.len--;
    }
    return false;
}

static const char *invalid_token(const struct builder *b) {
    size_t at = offset_of(b);
    struct slice rest = slice_from(b->doc->text, at);
    if (in_comment(slice_head(b->doc->text, at + 4))) return "two hyphens may not stand in a comment";
    if (b->doc->root && !b->at) return "something stands behind the end of the document's element";
    uint8_t before = at ? b->doc->text.p[at - 1] : 0; /* expat points behind it */
    if (before == '&') return "& as such is written &amp;";
    if (before == '<') return "< as such is written &lt;";
    if (rest.len && rest.p[0] < ' ') return "a control character may not stand in the file";
    return "this character may not stand here";
}

static enum status well_formed(struct builder *b) {
    enum XML_Error code = XML_GetErrorCode(b->expat);
    struct config_node *open = b->at;
    const char *name = open ? (const char *)arena_copy(&b->doc->arena, slice_head(open->text, 64)).p : NULL;
    int len = open ? (int)slice_head(open->text, 64).len : 0;
    if (!name) len = 0;
    b->st_at = here(b);
    switch (code) {
    case XML_ERROR_NO_MEMORY: return error_set(b->err, ST_NOMEM, "no memory for the XML parser");
    case XML_ERROR_TAG_MISMATCH:
        if (!len) break;
        return error_set(b->err, ST_FORMAT, "the end tag does not match <%.*s> of line %u", len, name, open->at.line);
    case XML_ERROR_NO_ELEMENTS:
    case XML_ERROR_UNCLOSED_TOKEN:
    case XML_ERROR_UNCLOSED_CDATA_SECTION:
        if (!len) break;
        return error_set(b->err, ST_FORMAT, "the file ends before <%.*s> of line %u is closed", len, name,
                         open->at.line);
    case XML_ERROR_INVALID_TOKEN: return error_set(b->err, ST_FORMAT, "not well-formed: %s", invalid_token(b));
    case XML_ERROR_UNDEFINED_ENTITY:
        return error_set(b->err, ST_FORMAT, "an entity that XML does not have; & as such is written &amp;");
    case XML_ERROR_JUNK_AFTER_DOC_ELEMENT:
        return error_set(b->err, ST_FORMAT, "something stands behind the end of the document's element");
    default: break;
    }
    return error_set(b->err, ST_FORMAT, "not well-formed: %s", XML_ErrorString(code));
}

static enum status run(struct builder *b) {
    struct slice text = slice_from(b->doc->text, b->start);
    b->expat = XML_ParserCreate("UTF-8");
    if (!b->expat) return error_set(b->err, ST_NOMEM, "no memory for an XML parser");
    XML_SetUserData(b->expat, b);
    XML_SetElementHandler(b->expat, on_start, on_end);
    XML_SetCharacterDataHandler(b->expat, on_text);
    XML_SetCommentHandler(b->expat, on_comment);
    XML_SetProcessingInstructionHandler(b->expat, on_instruction);
    XML_SetCdataSectionHandler(b->expat, on_cdata_start, on_cdata_end);
    XML_SetStartDoctypeDeclHandler(b->expat, on_doctype);
    if (XML_Parse(b->expat, (const char *)text.p, (int)text.len, 1) == XML_STATUS_OK && !b->st) return ST_OK;
    return b->st ? b->st : well_formed(b);
}

MUST_USE enum status config_xml_parse(struct slice bytes, struct config_doc **ret, struct place *ret_at,
                                      struct error *err) {
    struct config_text text;
    struct error unread = {0};
    struct builder b = {.err = err ? err : &unread, .st_at = {1, 1}};
    enum status st = config_text_decode(bytes, &text, ret_at, b.err);
    if (st) goto out;
    b.doc = mem_zalloc(sizeof *b.doc);
    arena_init(&b.doc->arena, CONFIG_ARENA_CAP);
    b.doc->text = arena_copy(&b.doc->arena, buf_slice(&text.utf8));
    if (text.declared.p) b.doc->declared = arena_copy(&b.doc->arena, text.declared);
    b.doc->encoding = text.encoding;
    b.doc->has_bom = text.has_bom;
    b.doc->ascii = text.ascii;
    b.start = text.start;
    b.cursor = config_cursor_of(b.doc->text);
    st = b.doc->text.p ? run(&b) : error_set(b.err, ST_NOMEM, "no memory for the file");
    *ret_at = b.st_at;
    if (b.expat) XML_ParserFree(b.expat);
    if (st) {
        config_xml_free(&b.doc);
    } else {
        b.doc->end = config_place(&b.cursor, b.doc->text.len);
        *ret = b.doc;
    }
out:
    buf_free(&b.text);
    config_text_free(&text);
    return st;
}

void config_xml_free(struct config_doc **dp) {
    struct config_doc *d = *dp;
    if (!d) return;
    arena_deinit(&d->arena);
    mem_free(d);
    *dp = NULL;
}

const struct config_attribute *config_attribute(const struct config_node *n, const char *name) {
    for (size_t i = 0; i < n->n_attributes; i++) {
        if (slice_eq_str(n->attributes[i].name, name)) return &n->attributes[i];
    }
    return NULL;
}

struct slice config_value(const struct config_node *n, bool *ret_cut) {
    const struct config_node *c = n->first;
    while (c && c->kind != CONFIG_TEXT && c->kind != CONFIG_CDATA) c = c->next;
    if (ret_cut) {
        *ret_cut = false;
        for (const struct config_node *more = c ? c->next : NULL; more; more = more->next) {
            *ret_cut |= more->kind == CONFIG_CDATA || (more->kind == CONFIG_TEXT && !config_is_blank(more->text));
        }
    }
    return c ? c->text : SLICE_LIT("");
}

const struct config_node *config_element(const struct config_node *n) {
    while (n && n->kind != CONFIG_ELEMENT) n = n->next;
    return n;
}
