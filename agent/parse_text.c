/* 2 PARSE  Wrapping of characters that XML 1.0 has no room for. Pure. */
#include "parse_text.h"
#include "text.h"

#define WRAP "\xf4\x8f\xbf\xbd" /* U+10FFFD */
#define WRAP_LEN 4
#define WRAP_CP 0x10fffdu
#define WRAPPED_LEN (WRAP_LEN + 4)

static bool is_illegal(uint32_t cp) {
    return (cp < 0x20 && cp != '\t' && cp != '\n' && cp != '\r') || (cp >= 0xd800 && cp <= 0xdfff) || cp == 0xfffe ||
           cp == 0xffff;
}

size_t parse_char_ref(struct slice s, uint32_t *ret_cp) {
    if (s.len < 4 || s.p[0] != '&' || s.p[1] != '#') return 0;
    bool hex = s.p[2] == 'x';
    uint32_t cp = 0;
    size_t first = hex ? 3 : 2, i = first;
    for (; i < s.len && i < 16 && s.p[i] != ';'; i++) {
        uint8_t c = s.p[i];
        uint32_t d = c >= '0' && c <= '9'          ? c - (uint32_t)'0'
                     : hex && c >= 'a' && c <= 'f' ? c - (uint32_t)'a' + 10
                     : hex && c >= 'A' && c <= 'F' ? c - (uint32_t)'A' + 10
                                                   : 99;
        if (d == 99) return 0;
        cp = cp * (hex ? 16 : 10) + d;
        if (cp > 0x10ffff) return 0;
    }
    if (i == first || i == s.len || s.p[i] != ';') return 0;
    *ret_cp = cp;
    return i + 1;
}

static void put_wrapped(struct buf *out, uint32_t cp) {
    buf_append(out, WRAP, WRAP_LEN);
    if (cp == WRAP_CP) {
        buf_append(out, "self", 4);
        return;
    }
    for (int shift = 12; shift >= 0; shift -= 4) buf_byte(out, (uint8_t) "0123456789abcdef"[cp >> shift & 15]);
}

/* Sections in which '&' and '<' mean nothing, and what ends them. */
static const struct section {
    struct slice begin, end;
} sections[] = {
    {{(const uint8_t *)"<![CDATA[", 9}, {(const uint8_t *)"]]>", 3}},
    {{(const uint8_t *)"<!--", 4}, {(const uint8_t *)"-->", 3}},
    {{(const uint8_t *)"<?", 2}, {(const uint8_t *)"?>", 2}},
};

static const struct section *section_at(struct slice s) {
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (slice_starts(s, sections[i].begin)) return &sections[i];
    }
    return NULL;
}

/* One character or reference at s.p; returns its length. */
static size_t wrap_one(struct buf *out, struct slice s, bool refs, uint64_t *replaced) {
    uint32_t cp;
    size_t n = refs && s.p[0] == '&' ? parse_char_ref(s, &cp) : 0;
    if (!n) n = text_next(s, &cp);
    if (!n) {
        text_put_cp(out, 0xfffd);
        (*replaced)++;
        return 1;
    }
    if (is_illegal(cp) || cp == WRAP_CP) {
        put_wrapped(out, cp);
    } else {
        buf_append(out, s.p, n);
    }
    return n;
}

static bool is_plain(uint8_t c) {
    return (c >= 0x20 && c < 0x80 && c != '&' && c != '<' && c != ']' && c != '-' && c != '?') || c == '\n' ||
           c == '\t' || c == '\r';
}

size_t parse_wrap(struct buf *out, struct slice xml, size_t max_out, uint64_t *replaced) {
    const struct section *in = NULL;
    size_t start = out->len;
    struct slice s = xml;
    while (s.len && out->len - start < max_out) {
        size_t run = 0;
        while (run < s.len && is_plain(s.p[run])) run++;
        if (run > max_out - (out->len - start)) run = max_out - (out->len - start);
        buf_append(out, s.p, run);
        s = slice_from(s, run);
        if (!s.len || out->len - start >= max_out) break;
        size_t n;
        if (in && slice_starts(s, in->end)) {
            n = in->end.len;
            buf_append(out, s.p, n);
            in = NULL;
        } else if (!in && s.p[0] == '<' && (in = section_at(s))) {
            n = in->begin.len;
            buf_append(out, s.p, n);
        } else {
            n = wrap_one(out, s, !in, replaced);
        }
        s = slice_from(s, n);
    }
    return xml.len - s.len;
}

static int hex_value(uint8_t c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character wrapped at s.p; false when there is none (a foreign U+10FFFD cannot be there). */
static bool wrapped_at(struct slice s, uint32_t *ret_cp) {
    if (s.len < WRAPPED_LEN || memcmp(s.p, WRAP, WRAP_LEN) != 0) return false;
    const uint8_t *d = s.p + WRAP_LEN;
    if (memcmp(d, "self", 4) == 0) {
        *ret_cp = WRAP_CP;
        return true;
    }
    uint32_t cp = 0;
    for (int i = 0; i < 4; i++) {
        int v = hex_value(d[i]);
        if (v < 0) return false;
        cp = cp << 4 | (uint32_t)v;
    }
    *ret_cp = cp;
    return true;
}

static uint8_t *put_cp(uint8_t *o, uint32_t cp) {
    if (cp >= 0x10000) {
        *o++ = (uint8_t)(0xf0 | cp >> 18);
        *o++ = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
    } else if (cp >= 0x800) {
        *o++ = (uint8_t)(0xe0 | cp >> 12);
    } else if (cp >= 0x80) {
        *o++ = (uint8_t)(0xc0 | cp >> 6);
    } else {
        *o++ = (uint8_t)cp;
        return o;
    }
    if (cp >= 0x800) *o++ = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    *o++ = (uint8_t)(0x80 | (cp & 0x3f));
    return o;
}

struct slice parse_unwrap(struct slice s, struct arena *a) {
    uint8_t *p = arena_alloc(a, s.len), *o = p;
    if (!p) return (struct slice){NULL, 0};
    while (s.len) {
        const uint8_t *wrap = memchr(s.p, (uint8_t)WRAP[0], s.len);
        size_t run = wrap ? (size_t)(wrap - s.p) : s.len;
        if (run) memcpy(o, s.p, run);
        o += run;
        s = slice_from(s, run);
        uint32_t cp, low;
        if (!s.len) break;
        if (!wrapped_at(s, &cp)) {
            *o++ = s.p[0];
            s = slice_from(s, 1);
            continue;
        }
        s = slice_from(s, WRAPPED_LEN);
        if (cp >= 0xd800 && cp <= 0xdbff && wrapped_at(s, &low) && low >= 0xdc00 && low <= 0xdfff) {
            cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
            s = slice_from(s, WRAPPED_LEN);
        }
        o = put_cp(o, cp);
    }
    return slice_of(p, (size_t)(o - p));
}
