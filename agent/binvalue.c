/* 1 SOURCE  The typed values of BinXML as text.
 *
 * Invariant: nothing is written for a value that fails, and no integer is read from bytes that are not there. What a
 * value may hold is hostile; its length was checked by the caller. */
#include "binvalue.h"

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t le(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;) v = v << 8 | p[i];
    return v;
}

/* ---- text ---------------------------------------------------------------------------------------------------------- */

static bool fail(struct xmlout *o, enum status st) {
    if (o->st == ST_OK) o->st = st;
    return false;
}

/* Room for `len` more bytes. */
static bool reserve(struct xmlout *o, size_t len) {
    if (o->st != ST_OK) return false;
    if (o->buf->len > o->max_len || len > o->max_len - o->buf->len) return fail(o, ST_TOOBIG);
    if (o->buf->cap - o->buf->len >= len) return true;
    enum status st = buf_try_reserve(o->buf, len, o->max_len);
    return st == ST_OK || fail(o, st);
}

bool xmlout_bytes(struct xmlout *o, const void *p, size_t len) {
    if (!reserve(o, len)) return false;
    if (len) memcpy(o->buf->p + o->buf->len, p, len);
    o->buf->len += len;
    return true;
}

static bool put_str(struct xmlout *o, const char *s) {
    return xmlout_bytes(o, s, strlen(s));
}

/* What stands for a character that XML text cannot hold as it is; NULL: the character itself. */
static const char *escape(uint8_t c, bool in_attribute) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&apos;";
    case '\r': return "&#13;";
    case '\n': return "&#10;";
    case '\t': return in_attribute ? "&#9;" : NULL;
    default: return NULL;
    }
}

static uint8_t *put_code(uint8_t *w, uint32_t c) {
    if (c < 0x80) {
        *w++ = (uint8_t)c;
    } else if (c < 0x800) {
        *w++ = (uint8_t)(0xc0 | c >> 6);
        *w++ = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *w++ = (uint8_t)(0xe0 | c >> 12);
        *w++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *w++ = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        *w++ = (uint8_t)(0xf0 | c >> 18);
        *w++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        *w++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        *w++ = (uint8_t)(0x80 | (c & 0x3f));
    }
    return w;
}

static uint8_t *put_escaped(uint8_t *w, uint8_t c, bool in_attribute) {
    const char *e =
        c == '&' || c == '<' || c == '>' || c == '"' || c == '\'' || c < 0x20 ? escape(c, in_attribute) : NULL;
    if (!e) {
        *w++ = c;
        return w;
    }
    size_t n = strlen(e);
    memcpy(w, e, n);
    return w + n;
}

#define ESCAPED_MAX 6 /* bytes from one UTF-16 unit: "&quot;" */
#define PIECE_UNITS 1024

bool xmlout_utf16(struct xmlout *o, const uint8_t *p, size_t n_units) {
    while (n_units) { /* in pieces, so that the reserve stays near what is needed */
        size_t n = n_units < PIECE_UNITS ? n_units : PIECE_UNITS;
        if (n < n_units && (p[2 * n - 1] & 0xfc) == 0xd8) n--; /* do not part a surrogate pair */
        uint8_t tmp[PIECE_UNITS * ESCAPED_MAX], *w = tmp;
        for (size_t i = 0; i < n; i++) {
            uint32_t c = (uint32_t)p[2 * i] | (uint32_t)p[2 * i + 1] << 8;
            if (c < 0x80) {
                w = put_escaped(w, (uint8_t)c, o->in_attribute);
                continue;
            }
            if (c >= 0xd800 && c < 0xdc00 && i + 1 < n && (p[2 * i + 3] & 0xfc) == 0xdc) {
                uint32_t low = (uint32_t)p[2 * i + 2] | (uint32_t)p[2 * i + 3] << 8;
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                i++;
            }
            w = put_code(w, c);
        }
        if (!xmlout_bytes(o, tmp, (size_t)(w - tmp))) return false;
        p += 2 * n;
        n_units -= n;
    }
    return o->st == ST_OK;
}

bool xmlout_name(struct xmlout *o, const uint8_t *p, size_t n_units) {
    if (n_units == 0 || n_units > 256) return fail(o, ST_FORMAT);
    uint8_t tmp[256 * 3], *w = tmp;
    for (size_t i = 0; i < n_units; i++) {
        uint32_t c = (uint32_t)p[2 * i] | (uint32_t)p[2 * i + 1] << 8;
        bool starts = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' || c >= 0xc0;
        bool goes_on = (c >= '0' && c <= '9') || c == '-' || c == '.' || c == 0xb7;
        if (!(starts || (i && goes_on)) || (c >= 0xd800 && c < 0xe000) || c >= 0xfffe) return fail(o, ST_FORMAT);
        w = put_code(w, c);
    }
    return xmlout_bytes(o, tmp, (size_t)(w - tmp));
}

/* Windows-1252, the code page of most machines that write such strings; undefined bytes stay C1 controls. */
static bool put_ansi(struct xmlout *o, struct slice v) {
    static const uint16_t high[32] = {0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                      0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                      0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                      0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
    size_t n = v.len;
    while (n && v.p[n - 1] == 0) n--;
    for (size_t i = 0; i < n; i++) {
        uint8_t tmp[ESCAPED_MAX], c = v.p[i];
        uint8_t *w = c < 0x80 ? put_escaped(tmp, c, o->in_attribute) : put_code(tmp, c < 0xa0 ? high[c - 0x80] : c);
        if (!xmlout_bytes(o, tmp, (size_t)(w - tmp))) return false;
    }
    return o->st == ST_OK;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------- */

static bool put_unsigned(struct xmlout *o, uint64_t v, bool minus) {
    char tmp[24], *w = tmp + sizeof tmp;
    do *--w = (char)('0' + v % 10);
    while (v /= 10);
    if (minus) *--w = '-';
    return xmlout_bytes(o, w, (size_t)(tmp + sizeof tmp - w));
}

static bool put_signed(struct xmlout *o, const uint8_t *p, size_t n) {
    uint64_t v = le(p, n);
    bool minus = p[n - 1] & 0x80;
    if (minus) v = n == 8 ? -v : (UINT64_C(1) << 8 * n) - v;
    return put_unsigned(o, v, minus);
}

static bool put_hex_number(struct xmlout *o, uint64_t v) {
    char tmp[24], *w = tmp + sizeof tmp;
    do *--w = "0123456789abcdef"[v & 15];
    while (v >>= 4);
    *--w = 'x';
    *--w = '0';
    return xmlout_bytes(o, w, (size_t)(tmp + sizeof tmp - w));
}

/* As the Microsoft C library prints them: "1.#INF", exponents of three digits; as many digits as it takes to read the
 * same number back. */
static bool put_real(struct xmlout *o, struct slice v) {
    bool single = v.len == 4;
    double d;
    if (single) {
        float f;
        memcpy(&f, v.p, sizeof f);
        d = (double)f;
    } else {
        memcpy(&d, v.p, sizeof d);
    }
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    bool minus = bits >> 63;
    if ((bits >> 52 & 0x7ff) == 0x7ff) {
        if (bits << 12 == 0) return put_str(o, minus ? "-1.#INF" : "1.#INF");
        return put_str(o, minus ? "-1.#IND" : "1.#QNAN");
    }
    char tmp[48];
    int digits = single ? 6 : 15, most = single ? 9 : 17;
    for (;; digits++) {
        snprintf(tmp, sizeof tmp, "%.*g", digits, d);
        if (digits >= most) break;
        double back = strtod(tmp, NULL);
        if (single ? (float)back == (float)d : !(back < d) && !(back > d)) break;
    }
    char *e = strchr(tmp, 'e');
    if (e && strlen(e) == 4) { /* "e-05" -> "e-005" */
        memmove(e + 3, e + 2, 3);
        e[2] = '0';
    }
    return put_str(o, tmp);
}

/* ---- the others ---------------------------------------------------------------------------------------------------- */

static char *put_digits(char *w, uint64_t v, int n, const char *digits, unsigned base) {
    for (int i = n; i-- > 0; v /= base) w[i] = digits[v % base];
    return w + n;
}

static bool put_guid(struct xmlout *o, const uint8_t *p) {
    static const char hex[] = "0123456789abcdef";
    char tmp[38], *w = tmp;
    *w++ = '{';
    w = put_digits(w, le(p, 4), 8, hex, 16);
    *w++ = '-';
    w = put_digits(w, le(p + 4, 2), 4, hex, 16);
    *w++ = '-';
    w = put_digits(w, le(p + 6, 2), 4, hex, 16);
    *w++ = '-';
    for (int i = 8; i < 16; i++) {
        w = put_digits(w, p[i], 2, hex, 16);
        if (i == 9) *w++ = '-';
    }
    *w++ = '}';
    return xmlout_bytes(o, tmp, (size_t)(w - tmp));
}

static bool put_binary(struct xmlout *o, struct slice v) {
    if (!reserve(o, 2 * v.len)) return false;
    char *w = (char *)o->buf->p + o->buf->len;
    for (size_t i = 0; i < v.len; i++) w = put_digits(w, v.p[i], 2, "0123456789ABCDEF", 16);
    o->buf->len += 2 * v.len;
    return true;
}

/* revision, number of parts, authority (6 bytes, big-endian), parts (32 bit each) */
static bool put_sid(struct xmlout *o, struct slice v) {
    if (v.len < 8 || v.len < 8 + 4u * v.p[1]) return fail(o, ST_FORMAT);
    uint64_t authority = 0;
    for (int i = 2; i < 8; i++) authority = authority << 8 | v.p[i];
    if (!put_str(o, "S-") || !put_unsigned(o, v.p[0], false) || !put_str(o, "-")) return false;
    if (!(authority >> 32 ? put_hex_number(o, authority) : put_unsigned(o, authority, false))) return false;
    for (size_t i = 0; i < v.p[1]; i++) {
        if (!put_str(o, "-") || !put_unsigned(o, le(v.p + 8 + 4 * i, 4), false)) return false;
    }
    return true;
}

/* year, month, day of week, day, hour, minute, second, millisecond: 16 bit each */
static bool put_systemtime(struct xmlout *o, const uint8_t *p) {
    static const char dec[] = "0123456789";
    static const struct {
        uint8_t at, digits;
        char after;
    } part[] = {{0, 4, '-'}, {2, 2, '-'}, {6, 2, 'T'}, {8, 2, ':'}, {10, 2, ':'}, {12, 2, '.'}, {14, 3, 'Z'}};
    char tmp[32], *w = tmp;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        uint64_t v = le(p + part[i].at, 2);
        if (v >= (part[i].digits == 2 ? 100u : part[i].digits == 3 ? 1000u : 10000u)) return fail(o, ST_FORMAT);
        w = put_digits(w, v, part[i].digits, dec, 10);
        *w++ = part[i].after;
    }
    return xmlout_bytes(o, tmp, (size_t)(w - tmp));
}

static bool put_filetime(struct xmlout *o, uint64_t ft) {
    char tmp[FILETIME_TEXT_MAX];
    return xmlout_bytes(o, tmp, filetime_format(ft, 9, tmp));
}

/* ---- by type ------------------------------------------------------------------------------------------------------- */

static bool is_integer_size(size_t n) {
    return n == 1 || n == 2 || n == 4 || n == 8;
}

bool binvalue_put(struct xmlout *o, uint8_t type, struct slice v) {
    if (o->st != ST_OK) return false;
    if (v.len == 0 || type == BINVALUE_NULL) return true;
    switch (type) {
    case BINVALUE_STRING:
    case BINVALUE_EVTXML: {
        size_t n = v.len / 2;
        while (n && v.p[2 * n - 1] == 0 && v.p[2 * n - 2] == 0) n--;
        return xmlout_utf16(o, v.p, n);
    }
    case BINVALUE_ANSI: return put_ansi(o, v);
    case BINVALUE_INT8:
    case BINVALUE_INT16:
    case BINVALUE_INT32:
    case BINVALUE_INT64: return is_integer_size(v.len) ? put_signed(o, v.p, v.len) : fail(o, ST_FORMAT);
    case BINVALUE_UINT8:
    case BINVALUE_UINT16:
    case BINVALUE_UINT32:
    case BINVALUE_UINT64: return is_integer_size(v.len) ? put_unsigned(o, le(v.p, v.len), false) : fail(o, ST_FORMAT);
    case BINVALUE_SIZE:
    case BINVALUE_HEX32:
    case BINVALUE_HEX64:
    case BINVALUE_HANDLE: return is_integer_size(v.len) ? put_hex_number(o, le(v.p, v.len)) : fail(o, ST_FORMAT);
    case BINVALUE_REAL32:
    case BINVALUE_REAL64: return v.len == 4 || v.len == 8 ? put_real(o, v) : fail(o, ST_FORMAT);
    case BINVALUE_BOOL:
        return is_integer_size(v.len) ? put_str(o, le(v.p, v.len) ? "true" : "false") : fail(o, ST_FORMAT);
    case BINVALUE_BINARY: return put_binary(o, v);
    case BINVALUE_GUID: return v.len == 16 ? put_guid(o, v.p) : fail(o, ST_FORMAT);
    case BINVALUE_FILETIME: return v.len == 8 ? put_filetime(o, le(v.p, 8)) : fail(o, ST_FORMAT);
    case BINVALUE_SYSTEMTIME: return v.len == 16 ? put_systemtime(o, v.p) : fail(o, ST_FORMAT);
    case BINVALUE_SID: return put_sid(o, v);
    default: return fail(o, ST_FORMAT);
    }
}

/* Bytes of one item of an array; 0: they differ in size, or there are none. */
static size_t item_size(uint8_t type) {
    static const uint8_t size[] = {
        [BINVALUE_INT8] = 1,   [BINVALUE_UINT8] = 1,    [BINVALUE_INT16] = 2,       [BINVALUE_UINT16] = 2,
        [BINVALUE_INT32] = 4,  [BINVALUE_UINT32] = 4,   [BINVALUE_INT64] = 8,       [BINVALUE_UINT64] = 8,
        [BINVALUE_REAL32] = 4, [BINVALUE_REAL64] = 8,   [BINVALUE_BOOL] = 4,        [BINVALUE_GUID] = 16,
        [BINVALUE_SIZE] = 8,   [BINVALUE_FILETIME] = 8, [BINVALUE_SYSTEMTIME] = 16, [BINVALUE_HEX32] = 4,
        [BINVALUE_HEX64] = 8};
    return type < sizeof size ? size[type] : 0;
}

bool binvalue_item(uint8_t type, struct slice array, size_t at, struct slice *ret_item, size_t *ret_next) {
    struct slice rest = slice_from(array, at);
    size_t n = 0, skip = 0;
    if (type == BINVALUE_STRING) {
        while (n + 2 <= rest.len && (rest.p[n] || rest.p[n + 1])) n += 2;
        skip = 2;
    } else if (type == BINVALUE_ANSI) {
        while (n < rest.len && rest.p[n]) n++;
        skip = 1;
    } else if (type == BINVALUE_SID) {
        if (rest.len < 8) return false;
        n = 8 + 4u * rest.p[1];
    } else {
        n = item_size(type);
        if (n == 0) return false;
    }
    if (n > rest.len) return false;
    *ret_item = slice_head(rest, n);
    *ret_next = at + n + skip;
    return true;
}
