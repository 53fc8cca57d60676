/* 1 SOURCE  BinXML -> XML text, read and written in one pass.
 *
 * A template is not compiled: its tokens are walked again for each record, which costs less than what it takes to
 * write the text. Where an element turns out not to be wanted (an optional value is absent) the output is cut back to
 * where the element began; where it holds an array it is walked once more for each further item.
 *
 * Invariants: the cursor only moves forward inside [pos, end), except into a template's definition, which costs depth;
 * every token costs work; so hostile bytes end in bounded time. Nothing is read outside the chunk. */
#include "binxml.h"

#include "binvalue.h"

enum token { /* 0x40, "more follows", is masked off where it does not change the layout */
             TOKEN_EOF = 0x00,
             TOKEN_ELEMENT = 0x01,
             TOKEN_CLOSE_START = 0x02,
             TOKEN_CLOSE_EMPTY = 0x03,
             TOKEN_END_ELEMENT = 0x04,
             TOKEN_VALUE = 0x05,
             TOKEN_ATTRIBUTE = 0x06,
             TOKEN_CDATA = 0x07,
             TOKEN_CHAR_REF = 0x08,
             TOKEN_ENTITY_REF = 0x09,
             TOKEN_PI_TARGET = 0x0a,
             TOKEN_PI_DATA = 0x0b,
             TOKEN_TEMPLATE = 0x0c,
             TOKEN_SUBSTITUTION = 0x0d,
             TOKEN_OPTIONAL = 0x0e,
             TOKEN_FRAGMENT = 0x0f,
             TOKEN_MORE = 0x40
};

#define NO_DEPENDENCY 0xffff
#define TEMPLATE_HEADER 24u /* u32 next, GUID, u32 size */

struct walk {
    struct slice chunk;
    struct xmlout out;
    uint32_t *work;
    unsigned depth;
    struct binxml_fault fault;
};

/* The substitution values of a template instance. */
struct values {
    uint32_t n;
    uint32_t desc; /* u16 size, u8 type, u8 0 for each */
    uint32_t at[BINXML_VALUES_MAX];
};

/* The part of the stream that is being read. */
struct cursor {
    uint32_t pos, end;
    const struct values *values; /* NULL outside a template */
};

/* Which array an element is being repeated for, and where in it we are. */
struct repeat {
    int32_t sub; /* index of the value; -1: none so far */
    size_t at, next;
    size_t len;
};

enum absence { PRESENT, ABSENT };

static bool fail(struct walk *w, uint32_t offset, const char *why) {
    if (w->out.st == ST_OK) w->out.st = ST_FORMAT;
    if (!w->fault.why) w->fault = (struct binxml_fault){offset, why};
    return false;
}

/* After a failed write: say why, if it is not memory. */
static bool fail_out(struct walk *w, uint32_t offset, const char *why) {
    return fail(w, offset, w->out.st == ST_TOOBIG ? "the event is larger than the limit" : why);
}

static bool spend(struct walk *w, uint32_t offset) {
    if (*w->work == 0) {
        w->out.st = ST_TOOBIG;
        return fail(w, offset, "more tokens than any event has");
    }
    --*w->work;
    return true;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static bool has(const struct cursor *c, uint32_t n) {
    return c->end - c->pos >= n;
}

static uint8_t peek(const struct walk *w, const struct cursor *c) {
    return c->pos < c->end ? w->chunk.p[c->pos] : TOKEN_EOF;
}

static uint32_t u16_at(const struct walk *w, uint32_t at) {
    const uint8_t *p = w->chunk.p + at;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t u32_at(const struct walk *w, uint32_t at) {
    return u16_at(w, at) | u16_at(w, at + 2) << 16;
}

/* u16 n, n UTF-16 units. */
static bool read_text(struct walk *w, struct cursor *c, const uint8_t **ret, uint32_t *ret_n) {
    if (!has(c, 2)) return fail(w, c->pos, "text is cut off");
    uint32_t n = u16_at(w, c->pos);
    if (!has(c, 2 + 2 * n)) return fail(w, c->pos, "text runs past its end");
    *ret = w->chunk.p + c->pos + 2;
    *ret_n = n;
    c->pos += 2 + 2 * n;
    return true;
}

/* A name in the chunk: u32 next, u16 hash, u16 n, n UTF-16 units, u16 0. */
struct name {
    const uint8_t *p;
    uint32_t n;
};

static bool name_at(const struct walk *w, uint32_t at, struct name *ret) {
    if (at > w->chunk.len || w->chunk.len - at < 8) return false;
    uint32_t n = u16_at(w, at + 6);
    if (w->chunk.len - at - 8 < 2 * (size_t)n) return false;
    *ret = (struct name){w->chunk.p + at + 8, n};
    return true;
}

/* The u32 offset of a name; the name itself follows right here when it is the first use in the chunk. */
static bool read_name(struct walk *w, struct cursor *c, struct name *ret) {
    if (!has(c, 4)) return fail(w, c->pos, "a name is cut off");
    uint32_t at = u32_at(w, c->pos);
    if (!name_at(w, at, ret)) return fail(w, c->pos, "a name lies outside the chunk");
    c->pos += 4;
    if (at != c->pos) return true;
    uint32_t size = 8 + 2 * ret->n + 2;
    if (!has(c, size)) return fail(w, c->pos, "a name runs past its end");
    c->pos += size;
    return true;
}

static bool put_name(struct walk *w, uint32_t offset, struct name n) {
    return xmlout_name(&w->out, n.p, n.n) || fail_out(w, offset, "a name that cannot be one");
}

static bool put(struct walk *w, uint32_t offset, const char *s, size_t len) {
    return xmlout_bytes(&w->out, s, len) || fail_out(w, offset, "cannot be written");
}

#define PUT(w, offset, lit) put(w, offset, lit, sizeof(lit) - 1)

/* ---- values -------------------------------------------------------------------------------------------------------- */

static bool render_content(struct walk *w, struct cursor *c, struct repeat *rep, enum absence *ret_absence);

static struct slice value_of(const struct walk *w, const struct values *v, uint32_t i, uint8_t *ret_type) {
    *ret_type = w->chunk.p[v->desc + 4 * i + 2];
    return slice_of(w->chunk.p + v->at[i], u16_at(w, v->desc + 4 * i));
}

/* A fragment inside a value: UserData, and EventData of most providers. */
static bool render_nested(struct walk *w, const struct values *v, uint32_t i, uint32_t offset) {
    if (w->out.in_attribute) return fail(w, offset, "elements inside an attribute");
    struct cursor c = {v->at[i], v->at[i] + u16_at(w, v->desc + 4 * i), NULL};
    return render_content(w, &c, NULL, NULL);
}

/* An array: the item that the element is being repeated for, or in an attribute (and for a second array in the same
 * element) all items with commas between. */
static bool render_array(struct walk *w, uint32_t sub, uint8_t type, struct slice v, uint32_t offset,
                         struct repeat *rep) {
    struct slice item;
    if (type == BINVALUE_BINARY)
        return binvalue_put(&w->out, type, v) || fail_out(w, offset, "a value does not fit its type");
    bool mine = rep && (rep->sub < 0 || rep->sub == (int32_t)sub);
    if (mine && rep->sub < 0) *rep = (struct repeat){(int32_t)sub, 0, 0, v.len};
    size_t at = mine ? rep->at : 0;
    while (at < v.len) {
        size_t next;
        if (!spend(w, offset)) return false;
        if (!binvalue_item(type, v, at, &item, &next)) return fail(w, offset, "an array does not fit its type");
        if (!mine && at && !PUT(w, offset, ",")) return false;
        if (!binvalue_put(&w->out, type, item)) return fail_out(w, offset, "a value does not fit its type");
        at = next;
        if (mine) break;
    }
    if (mine) rep->next = at;
    return true;
}

static bool render_substitution(struct walk *w, struct cursor *c, struct repeat *rep, bool optional,
                                enum absence *ret_absence) {
    uint32_t offset = c->pos;
    if (!has(c, 4)) return fail(w, offset, "a substitution is cut off");
    uint32_t sub = u16_at(w, offset + 1);
    c->pos += 4;
    if (!c->values) return fail(w, offset, "a substitution outside a template");
    if (sub >= c->values->n) return fail(w, offset, "a substitution of a value that is not there");
    uint8_t type;
    struct slice v = value_of(w, c->values, sub, &type);
    if (type == BINVALUE_NULL) {
        if (optional && ret_absence) *ret_absence = ABSENT;
        return true;
    }
    if (type == BINVALUE_BINXML) return v.len == 0 || render_nested(w, c->values, sub, offset);
    if (type & BINVALUE_ARRAY) return render_array(w, sub, type & 0x7f, v, offset, rep);
    return binvalue_put(&w->out, type, v) || fail_out(w, offset, "a value does not fit its type");
}

/* ---- elements ------------------------------------------------------------------------------------------------------ */

static bool render_attribute(struct walk *w, struct cursor *c) {
    size_t mark = w->out.buf->len;
    uint32_t offset = c->pos++;
    struct name name = {0};
    if (!spend(w, offset) || !read_name(w, c, &name)) return false;
    if (!PUT(w, offset, " ") || !put_name(w, offset, name) || !PUT(w, offset, "='")) return false;
    enum absence absence = PRESENT;
    w->out.in_attribute = true;
    bool ok = render_content(w, c, NULL, &absence);
    w->out.in_attribute = false;
    if (!ok) return false;
    if (absence == ABSENT) {
        w->out.buf->len = mark;
        return true;
    }
    return PUT(w, offset, "'");
}

struct element {
    uint32_t offset, end;
    uint32_t body; /* where attributes or the close token begin */
    uint32_t dependency;
    bool has_attributes;
    struct name name;
};

static uint32_t name_hash(struct name n) {
    uint32_t h = 0;
    for (uint32_t i = 0; i < n.n; i++) h = h * 65599 + ((uint32_t)n.p[2 * i] | (uint32_t)n.p[2 * i + 1] << 8);
    return h & 0xffff;
}

/* Elements outside a template have no dependency id in most writers' output, but not in all: take the layout in which
 * the name's hash is right. */
static bool has_dependency(const struct walk *w, const struct cursor *c) {
    if (c->values) return true;
    for (uint32_t skip = 0; skip <= 2; skip += 2) {
        struct name n;
        if (!has(c, 1 + skip + 8) || u32_at(w, c->pos + 1 + skip) > c->end - c->pos) continue;
        uint32_t at = u32_at(w, c->pos + 1 + skip + 4);
        if (name_at(w, at, &n) && n.n && u16_at(w, at + 4) == name_hash(n)) return skip == 2;
    }
    return true;
}

/* token [u16 dependency] u32 size, name, [u32 size of the attributes when TOKEN_MORE] */
static bool read_element(struct walk *w, struct cursor *c, struct element *ret) {
    struct element e = {.offset = c->pos, .dependency = NO_DEPENDENCY};
    e.has_attributes = w->chunk.p[c->pos] & TOKEN_MORE;
    bool dependency = has_dependency(w, c);
    c->pos++;
    if (!has(c, 6)) return fail(w, e.offset, "an element is cut off");
    if (dependency) {
        e.dependency = u16_at(w, c->pos);
        c->pos += 2;
    }
    if (!has(c, 4)) return fail(w, e.offset, "an element is cut off");
    uint32_t size = u32_at(w, c->pos);
    c->pos += 4;
    if (!has(c, size)) return fail(w, e.offset, "an element runs past its end");
    e.end = c->pos + size;
    if (!read_name(w, c, &e.name)) return false;
    if (e.has_attributes) {
        if (!has(c, 4) || u32_at(w, c->pos) > c->end - c->pos - 4)
            return fail(w, c->pos, "attributes run past their end");
        c->pos += 4;
    }
    e.body = c->pos;
    if (e.end < e.body) return fail(w, e.offset, "an element is smaller than its name");
    *ret = e;
    return true;
}

/* One writing of the element, from its body on. */
static bool render_once(struct walk *w, struct cursor *c, const struct element *e, struct repeat *rep,
                        enum absence *ret_absence) {
    c->pos = e->body;
    if (!PUT(w, e->offset, "<") || !put_name(w, e->offset, e->name)) return false;
    while (e->has_attributes && (peek(w, c) & ~TOKEN_MORE) == TOKEN_ATTRIBUTE) {
        if (!render_attribute(w, c)) return false;
    }
    uint8_t token = peek(w, c);
    if (!has(c, 1)) return fail(w, c->pos, "an element has no end");
    c->pos++;
    if (token == TOKEN_CLOSE_EMPTY) return PUT(w, c->pos, "/>");
    if (token != TOKEN_CLOSE_START) return fail(w, c->pos - 1, "an unknown token in a start tag");
    if (!PUT(w, c->pos, ">") || !render_content(w, c, rep, ret_absence)) return false;
    if (*ret_absence == ABSENT) return true;
    if (!has(c, 1) || peek(w, c) != TOKEN_END_ELEMENT) return fail(w, c->pos, "an element has no end");
    c->pos++;
    return PUT(w, c->pos, "</") && put_name(w, c->pos, e->name) && PUT(w, c->pos, ">");
}

static bool render_element(struct walk *w, struct cursor *c) {
    struct element e = {0};
    if (!read_element(w, c, &e)) return false;
    if (c->values && e.dependency != NO_DEPENDENCY) {
        uint8_t type;
        if (e.dependency >= c->values->n) return fail(w, e.offset, "an element depends on a value that is not there");
        value_of(w, c->values, e.dependency, &type);
        if (type == BINVALUE_NULL) {
            c->pos = e.end;
            return true;
        }
    }
    struct cursor in = {e.body, e.end, c->values};
    struct repeat rep = {.sub = -1};
    do {
        size_t mark = w->out.buf->len;
        enum absence absence = PRESENT;
        if (!spend(w, e.offset)) return false;
        rep.at = rep.next;
        if (!render_once(w, &in, &e, &rep, &absence)) return false;
        if (absence == ABSENT) {
            w->out.buf->len = mark;
            in.pos = e.end;
            break;
        }
    } while (rep.sub >= 0 && rep.next < rep.len);
    c->pos = in.pos;
    return true;
}

/* ---- templates ----------------------------------------------------------------------------------------------------- */

static bool read_values(struct walk *w, struct cursor *c, struct values *ret) {
    uint32_t offset = c->pos;
    if (!has(c, 4)) return fail(w, offset, "the values of a template are cut off");
    ret->n = u32_at(w, offset);
    c->pos += 4;
    if (ret->n > BINXML_VALUES_MAX) return fail(w, offset, "more values than any template has");
    if (!has(c, 4 * ret->n)) return fail(w, offset, "the values of a template are cut off");
    ret->desc = c->pos;
    c->pos += 4 * ret->n;
    for (uint32_t i = 0; i < ret->n; i++) {
        uint32_t size = u16_at(w, ret->desc + 4 * i);
        if (!has(c, size)) return fail(w, ret->desc + 4 * i, "a value runs past its end");
        ret->at[i] = c->pos;
        c->pos += size;
    }
    return true;
}

/* token, u8 1, u32 id, u32 offset of the definition, [the definition, when it is right here], values
 * definition: u32 next, GUID (of which the id is the first part), u32 size, BinXML */
static bool render_template(struct walk *w, struct cursor *c) {
    uint32_t offset = c->pos;
    if (!has(c, 10)) return fail(w, offset, "a template is cut off");
    uint32_t id = u32_at(w, offset + 2), def = u32_at(w, offset + 6);
    c->pos += 10;
    if (def > w->chunk.len || w->chunk.len - def < TEMPLATE_HEADER)
        return fail(w, offset, "a template lies outside the chunk");
    uint32_t size = u32_at(w, def + TEMPLATE_HEADER - 4);
    if (size > w->chunk.len - def - TEMPLATE_HEADER) return fail(w, offset, "a template runs past the chunk");
    if (u32_at(w, def + 4) != id) return fail(w, offset, "its template has been overwritten");
    if (def == c->pos) {
        if (!has(c, TEMPLATE_HEADER + size)) return fail(w, offset, "a template runs past its end");
        c->pos += TEMPLATE_HEADER + size;
    }
    struct values values;
    if (!read_values(w, c, &values)) return false;
    struct cursor in = {def + TEMPLATE_HEADER, def + TEMPLATE_HEADER + size, &values};
    return render_content(w, &in, NULL, NULL);
}

/* ---- content ------------------------------------------------------------------------------------------------------- */

static bool render_text(struct walk *w, struct cursor *c) {
    uint32_t offset = c->pos, n = 0;
    const uint8_t *p = NULL;
    if (w->chunk.p[offset] == TOKEN_VALUE || w->chunk.p[offset] == (TOKEN_VALUE | TOKEN_MORE)) {
        if (!has(c, 2) || w->chunk.p[offset + 1] != BINVALUE_STRING) return fail(w, offset, "text of an unknown type");
        c->pos++;
    }
    c->pos++;
    return read_text(w, c, &p, &n) && (xmlout_utf16(&w->out, p, n) || fail_out(w, offset, "cannot be written"));
}

static bool render_char_ref(struct walk *w, struct cursor *c) {
    uint32_t offset = c->pos;
    if (!has(c, 3)) return fail(w, offset, "a character reference is cut off");
    char tmp[8];
    size_t n = 0;
    uint32_t v = u16_at(w, offset + 1);
    do tmp[sizeof tmp - ++n] = (char)('0' + v % 10);
    while (v /= 10);
    c->pos += 3;
    return PUT(w, offset, "&#") && put(w, offset, tmp + sizeof tmp - n, n) && PUT(w, offset, ";");
}

static bool render_entity_ref(struct walk *w, struct cursor *c) {
    uint32_t offset = c->pos++;
    struct name name = {0};
    return read_name(w, c, &name) && PUT(w, offset, "&") && put_name(w, offset, name) && PUT(w, offset, ";");
}

/* Processing instructions say nothing about the event and no writer of events is known to use them: checked, left out. */
static bool skip_instruction(struct walk *w, struct cursor *c) {
    uint32_t n;
    const uint8_t *p;
    struct name name;
    return (w->chunk.p[c->pos++] & ~TOKEN_MORE) == TOKEN_PI_TARGET ? read_name(w, c, &name) : read_text(w, c, &p, &n);
}

static bool skip_fragment_header(struct walk *w, struct cursor *c) { /* token, major 1, minor 1, flags */
    if (!has(c, 4)) return fail(w, c->pos, "a fragment is cut off");
    if (w->chunk.p[c->pos + 1] != 1) return fail(w, c->pos, "a fragment of an unknown version");
    c->pos += 4;
    return true;
}

static bool render_token(struct walk *w, struct cursor *c, struct repeat *rep, enum absence *ret_absence) {
    switch (peek(w, c) & ~TOKEN_MORE) {
    case TOKEN_ELEMENT:
        return w->out.in_attribute ? fail(w, c->pos, "an element in an attribute") : render_element(w, c);
    case TOKEN_TEMPLATE:
        return w->out.in_attribute ? fail(w, c->pos, "a template in an attribute") : render_template(w, c);
    case TOKEN_VALUE:
    case TOKEN_CDATA: return render_text(w, c);
    case TOKEN_CHAR_REF: return render_char_ref(w, c);
    case TOKEN_ENTITY_REF: return render_entity_ref(w, c);
    case TOKEN_PI_TARGET:
    case TOKEN_PI_DATA: return skip_instruction(w, c);
    case TOKEN_SUBSTITUTION: return render_substitution(w, c, rep, false, ret_absence);
    case TOKEN_OPTIONAL: return render_substitution(w, c, rep, true, ret_absence);
    case TOKEN_FRAGMENT: return skip_fragment_header(w, c);
    default: return fail(w, c->pos, "an unknown token");
    }
}

/* Up to the end of the part, EOF, or the token that ends the element or attribute around it (which is left there).
 * An optional value that is absent ends it too: *ret_absence, and the cursor is where it is. */
static bool render_content(struct walk *w, struct cursor *c, struct repeat *rep, enum absence *ret_absence) {
    if (w->depth == BINXML_DEPTH_MAX) return fail(w, c->pos, "elements too deep inside each other");
    w->depth++;
    bool ok = true;
    while (ok && c->pos < c->end) {
        uint8_t token = peek(w, c) & (uint8_t)~TOKEN_MORE;
        bool at_end = token == TOKEN_EOF || token == TOKEN_END_ELEMENT;
        if (w->out.in_attribute)
            at_end |= token == TOKEN_ATTRIBUTE || token == TOKEN_CLOSE_START || token == TOKEN_CLOSE_EMPTY;
        if (at_end) break;
        ok = spend(w, c->pos) && render_token(w, c, rep, ret_absence);
        if (ret_absence && *ret_absence == ABSENT && !w->out.in_attribute) break;
    }
    w->depth--;
    return ok;
}

enum status binxml_render(struct slice chunk, uint32_t from, uint32_t to, size_t max_len, uint32_t *work,
                          struct buf *xml, struct binxml_fault *ret_fault) {
    size_t mark = xml->len;
    struct walk w = {.chunk = chunk, .out = {.buf = xml, .max_len = max_len}, .work = work};
    struct cursor c = {from, to, NULL};
    if (to > chunk.len || from > to) return ST_INVALID;
    if (render_content(&w, &c, NULL, NULL) && xml->len == mark) fail(&w, from, "there is no event in it");
    if (w.out.st == ST_OK) return ST_OK;
    xml->len = mark;
    if (w.out.st != ST_NOMEM) *ret_fault = w.fault;
    return w.out.st;
}
