/* Reads a configuration's encoding as Sysmon does: the mark decides, then what the first characters look like, then the
 * declaration. Malformed text is refused with its place: Sysmon's readers disagree about it. */
#include "config_text.h"
#include "text.h"

#define DECLARATION_MAX 200u /* bytes looked through for encoding="..." */

void config_text_free(struct config_text *t) {
    buf_free(&t->utf8);
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool config_is_blank(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        if (!is_space(s.p[i])) return false;
    }
    return true;
}

size_t config_characters(struct slice utf8) {
    size_t n = 0;
    for (size_t i = 0; i < utf8.len; i++) n += (utf8.p[i] & 0xc0) != 0x80;
    return n;
}

struct config_cursor config_cursor_of(struct slice text) {
    return (struct config_cursor){text, 0, {1, 1}};
}

struct place config_place(struct config_cursor *c, size_t offset) {
    if (offset > c->text.len) offset = c->text.len;
    if (offset < c->offset) *c = config_cursor_of(c->text);
    const uint8_t *p = c->text.p;
    for (; c->offset < offset; c->offset++) {
        uint8_t byte = p[c->offset];
        bool ends = byte == '\n' || (byte == '\r' && (c->offset + 1 >= c->text.len || p[c->offset + 1] != '\n'));
        if (ends) {
            c->at.line++;
            c->at.column = 1;
        } else if ((byte & 0xc0) != 0x80) {
            c->at.column++;
        }
    }
    return c->at;
}

static struct place end_of(const struct buf *b) {
    struct config_cursor c = config_cursor_of(buf_slice(b));
    return config_place(&c, b->len);
}

static enum status from_utf16(struct slice s, bool big, struct config_text *t, struct place *ret_at,
                              struct error *err) {
    t->encoding = big ? "UTF-16BE" : "UTF-16LE";
    for (size_t i = 0; i + 1 < s.len; i += 2) {
        uint32_t c = big ? (uint32_t)(s.p[i] << 8 | s.p[i + 1]) : (uint32_t)(s.p[i + 1] << 8 | s.p[i]);
        if (c >= 0xdc00 && c < 0xe000) goto lone;
        if (c >= 0xd800 && c < 0xdc00) {
            if (i + 3 >= s.len) goto lone;
            uint32_t low = big ? (uint32_t)(s.p[i + 2] << 8 | s.p[i + 3]) : (uint32_t)(s.p[i + 3] << 8 | s.p[i + 2]);
            if (low < 0xdc00 || low >= 0xe000) goto lone;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        }
        text_put_cp(&t->utf8, c);
    }
    if (s.len % 2 == 0) return ST_OK;
    *ret_at = end_of(&t->utf8);
    return error_set(err, ST_FORMAT, "the file is %s, but ends in the middle of a character", t->encoding);
lone:
    *ret_at = end_of(&t->utf8);
    return error_set(err, ST_FORMAT, "the file is %s, but half of a character stands here", t->encoding);
}

static size_t skip_space(struct slice s, size_t i) {
    while (i < s.len && is_space(s.p[i])) i++;
    return i;
}

/* The value of encoding="..." in a declaration at the front of s. */
static struct slice declared_encoding(struct slice s) {
    static const char word[] = "encoding";
    if (!slice_starts(s, SLICE_LIT("<?xml"))) return (struct slice){NULL, 0};
    s = slice_head(s, DECLARATION_MAX);
    for (size_t i = 0; i + sizeof word < s.len && !(s.p[i] == '?' && s.p[i + 1] == '>'); i++) {
        if (memcmp(s.p + i, word, sizeof word - 1) != 0) continue;
        size_t at = skip_space(s, i + sizeof word - 1);
        if (at >= s.len || s.p[at] != '=') continue;
        at = skip_space(s, at + 1);
        if (at >= s.len || (s.p[at] != '"' && s.p[at] != '\'')) continue;
        const uint8_t *from = s.p + at + 1, *to = memchr(from, s.p[at], s.len - at - 1);
        if (to) return slice_of(from, (size_t)(to - from));
    }
    return (struct slice){NULL, 0};
}

static enum status from_utf8(struct slice s, struct config_text *t, struct place *ret_at, struct error *err) {
    t->encoding = "UTF-8";
    buf_slice_append(&t->utf8, s);
    for (size_t i = 0; i < s.len;) {
        uint32_t cp = 0;
        size_t n = s.p[i] < 0x80 ? 1 : text_next(slice_from(s, i), &cp);
        if (!n || (cp >= 0xd800 && cp < 0xe000)) {
            struct config_cursor c = config_cursor_of(s);
            *ret_at = config_place(&c, i);
            struct slice declared = declared_encoding(slice_from(s, skip_space(s, 0)));
            bool other = declared.p && !t->has_bom && !slice_eq_nocase(declared, SLICE_LIT("utf-8"));
            return error_set(err, ST_FORMAT, "byte 0x%02x is not UTF-8; %s", s.p[i],
                             other ? "the encoding that is declared is not taken: save the file as UTF-8"
                                   : "save the file as UTF-8");
        }
        i += n;
    }
    return ST_OK;
}

static bool is_latin1(struct slice name) {
    return slice_eq_nocase(name, SLICE_LIT("ISO-8859-1")) || slice_eq_nocase(name, SLICE_LIT("latin1"));
}

/* The first character is ASCII in every configuration, so two bytes tell UTF-16. */
static enum status decode(struct slice s, struct config_text *t, struct place *ret_at, struct error *err) {
    if (s.len >= 2 && ((s.p[0] == 0xff && s.p[1] == 0xfe) || (s.p[0] == 0xfe && s.p[1] == 0xff))) {
        t->has_bom = true;
        return from_utf16(slice_from(s, 2), s.p[0] == 0xfe, t, ret_at, err);
    }
    if (s.len >= 2 && s.p[0] && !s.p[1]) return from_utf16(s, false, t, ret_at, err);
    if (s.len >= 2 && !s.p[0] && s.p[1]) return from_utf16(s, true, t, ret_at, err);
    t->has_bom = slice_starts(s, SLICE_LIT("\xef\xbb\xbf"));
    if (t->has_bom) s = slice_from(s, 3);
    if (!t->has_bom && is_latin1(declared_encoding(slice_from(s, skip_space(s, 0))))) {
        t->encoding = "ISO-8859-1";
        for (size_t i = 0; i < s.len; i++) text_put_cp(&t->utf8, s.p[i]);
        return ST_OK;
    }
    return from_utf8(s, t, ret_at, err);
}

MUST_USE enum status config_text_decode(struct slice bytes, struct config_text *ret, struct place *ret_at,
                                        struct error *err) {
    *ret = (struct config_text){.encoding = "UTF-8"};
    *ret_at = (struct place){1, 1};
    if (bytes.len > RULES_XML_MAX) {
        return error_set(err, ST_TOOBIG, "the file has %zu bytes; no more than %u are taken", bytes.len, RULES_XML_MAX);
    }
    buf_reserve(&ret->utf8, bytes.len + 1);
    enum status st = decode(bytes, ret, ret_at, err);
    if (st) return st;
    struct slice text = buf_slice(&ret->utf8);
    ret->start = skip_space(text, 0);
    if (ret->start == text.len) return error_set(err, ST_FORMAT, "the file is empty");
    ret->declared = declared_encoding(slice_from(text, ret->start));
    ret->ascii = true;
    for (size_t i = 0; i < text.len && ret->ascii; i++) ret->ascii = text.p[i] < 0x80;
    const uint8_t *nul = memchr(text.p, 0, text.len);
    if (!nul) return ST_OK;
    struct config_cursor c = config_cursor_of(text);
    *ret_at = config_place(&c, (size_t)(nul - text.p));
    return error_set(err, ST_FORMAT, "a NUL stands in the text");
}
