/* The typed forms of EventData's values: text -> fewer bytes -> the same text. Pure.
 *
 *     form                 content
 *     VF_GUID_*            16 bytes, in the order of the text
 *     VF_DECIMAL, VF_HEX   varint
 *     VF_HEX_UPPER         8 bytes, little-endian
 *     VF_TIME              varint: milliseconds since 1601-01-01
 *     VF_TIME_NEAR         zigzag varint: the event's own time minus this one, in milliseconds
 *     VF_HASHES_*          number of hashes, then each: algorithm (number in hash_kinds), its bytes
 *     VF_BYTES             varint length, bytes
 *     VF_COMMON + n        nothing: text n of fields.def
 */
#include "event_internal.h"
#include "fields.h"

#define MS_NEAR (1 << 20)                /* 17 minutes */
#define MS_END UINT64_C(265046774400000) /* 10000-01-01 */
#define FILETIME_MS 10000u

static const struct hash_kind {
    const char *name;
    uint8_t name_len, len;
} hash_kinds[] = {{"SHA1", 4, 20}, {"MD5", 3, 16}, {"SHA256", 6, 32}, {"IMPHASH", 7, 16}};

#define N_HASH_KINDS (sizeof hash_kinds / sizeof *hash_kinds)

/* -1 for other characters */
static const int8_t hex_values[256] = {
#define H(c, v) [c] = (v) + 1
    H('0', 0),  H('1', 1),  H('2', 2),  H('3', 3),  H('4', 4),  H('5', 5),  H('6', 6),  H('7', 7),
    H('8', 8),  H('9', 9),  H('a', 10), H('b', 11), H('c', 12), H('d', 13), H('e', 14), H('f', 15),
    H('A', 10), H('B', 11), H('C', 12), H('D', 13), H('E', 14), H('F', 15),
#undef H
};

static int hex_value(uint8_t c) {
    return hex_values[c] - 1;
}

static uint8_t *put_varint(uint8_t *o, uint64_t v) {
    while (v >= 0x80) {
        *o++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *o++ = (uint8_t)v;
    return o;
}

static bool hex_bytes(const uint8_t *text, size_t n_bytes, uint8_t *out) {
    for (size_t i = 0; i < n_bytes; i++) {
        int hi = hex_value(text[2 * i]), lo = hex_value(text[2 * i + 1]);
        if ((hi | lo) < 0) return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

static uint8_t *put_hex(uint8_t *o, const uint8_t *bytes, size_t n, bool upper) {
    const char *hex = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *o++ = (uint8_t)hex[bytes[i] >> 4];
        *o++ = (uint8_t)hex[bytes[i] & 15];
    }
    return o;
}

/* ---- rendering: each returns the length of the text, 0 when the content stands for none ---- */

static uint8_t *put_digits(uint8_t *o, unsigned v, int n) {
    for (int i = n; i-- > 0; v /= 10) o[i] = (uint8_t)('0' + v % 10);
    return o + n;
}

static size_t text_of_decimal(uint64_t v, uint8_t *out) {
    uint8_t digits[20];
    size_t n = 0;
    do digits[n++] = (uint8_t)('0' + v % 10);
    while (v /= 10);
    for (size_t i = 0; i < n; i++) out[i] = digits[n - 1 - i];
    return n;
}

static size_t text_of_hex(uint64_t v, uint8_t *out) {
    int n = 1;
    while (n < 16 && v >> (4 * n)) n++;
    out[0] = '0';
    out[1] = 'x';
    for (int i = 0; i < n; i++) out[2 + i] = (uint8_t) "0123456789abcdef"[v >> (4 * (n - 1 - i)) & 15];
    return 2 + (size_t)n;
}

/* Days are counted from 0000-03-01, so that the leap day is a year's last. 1601-01-01 is day 584,694. */
#define DAY_1601 584694u

static size_t text_of_time(uint64_t ms, uint8_t *out) {
    if (ms >= MS_END) return 0;
    uint32_t days = (uint32_t)(ms / 86400000) + DAY_1601, in_day = (uint32_t)(ms % 86400000);
    uint32_t era = days / 146097, day = days % 146097;
    uint32_t y = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint32_t in_year = day - (365 * y + y / 4 - y / 100);
    uint32_t m = (5 * in_year + 2) / 153; /* 0 is March */
    uint8_t *o = put_digits(out, 400 * era + y + (m >= 10), 4);
    *o++ = '-';
    o = put_digits(o, m < 10 ? m + 3 : m - 9, 2);
    *o++ = '-';
    o = put_digits(o, in_year - (153 * m + 2) / 5 + 1, 2);
    *o++ = ' ';
    o = put_digits(o, in_day / 3600000, 2);
    *o++ = ':';
    o = put_digits(o, in_day / 60000 % 60, 2);
    *o++ = ':';
    o = put_digits(o, in_day / 1000 % 60, 2);
    *o++ = '.';
    o = put_digits(o, in_day % 1000, 3);
    return (size_t)(o - out);
}

static size_t text_of_hashes(struct reader *r, bool upper, uint8_t *out) {
    uint8_t *o = out;
    unsigned n = reader_u8(r);
    if (!n || n > N_HASH_KINDS) return 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned kind = reader_u8(r);
        if (kind >= N_HASH_KINDS) return 0;
        struct slice bytes = reader_bytes(r, hash_kinds[kind].len);
        if (r->bad) return 0;
        if (i) *o++ = ',';
        memcpy(o, hash_kinds[kind].name, hash_kinds[kind].name_len);
        o += hash_kinds[kind].name_len;
        *o++ = '=';
        o = put_hex(o, bytes.p, bytes.len, upper);
    }
    return (size_t)(o - out);
}

static size_t text_of_guid(struct reader *r, bool upper, uint8_t *out) {
    struct slice bytes = reader_bytes(r, GUID_LEN);
    if (r->bad) return 0;
    struct guid g;
    memcpy(g.b, bytes.p, GUID_LEN);
    char text[GUID_TEXT_MAX];
    guid_format(&g, upper, text);
    memcpy(out, text, GUID_TEXT_MAX - 1);
    return GUID_TEXT_MAX - 1;
}

static size_t text_of(struct reader *r, uint32_t form, uint64_t event_time, uint8_t *out) {
    switch (form) {
    case VF_GUID_LOWER: return text_of_guid(r, false, out);
    case VF_GUID_UPPER: return text_of_guid(r, true, out);
    case VF_DECIMAL: return text_of_decimal(reader_varint(r), out);
    case VF_HEX: return text_of_hex(reader_varint(r), out);
    case VF_HEX_UPPER: {
        uint64_t v = reader_u64le(r);
        uint8_t be[8];
        for (int i = 0; i < 8; i++) be[i] = (uint8_t)(v >> (56 - 8 * i));
        memcpy(out, "0x", 2);
        return (size_t)(put_hex(out + 2, be, 8, true) - out);
    }
    case VF_TIME: return text_of_time(reader_varint(r), out);
    case VF_TIME_NEAR: return text_of_time(event_time / FILETIME_MS - (uint64_t)reader_zigzag(r), out);
    case VF_HASHES_UPPER: return text_of_hashes(r, true, out);
    case VF_HASHES_LOWER: return text_of_hashes(r, false, out);
    default: return 0;
    }
}

MUST_USE enum status value_render(struct reader *r, uint32_t form, uint64_t event_time, struct arena *a,
                                  struct slice *ret) {
    if (form >= VF_COMMON) {
        *ret = common_at(form - VF_COMMON);
        return ret->p ? ST_OK : ST_FORMAT;
    }
    if (form == VF_BYTES) {
        struct slice bytes = reader_bytes(r, (size_t)reader_varint(r));
        if (r->bad) return ST_FORMAT;
        uint8_t *p = arena_alloc(a, 2 * bytes.len);
        if (!p) return ST_NOMEM;
        put_hex(p, bytes.p, bytes.len, true);
        *ret = slice_of(p, 2 * bytes.len);
        return ST_OK;
    }
    uint8_t text[VALUE_TYPED_MAX];
    size_t len = text_of(r, form, event_time, text);
    if (!len || r->bad) return ST_FORMAT;
    *ret = arena_copy(a, slice_of(text, len));
    return ret->p ? ST_OK : ST_NOMEM;
}

enum status value_skip(struct reader *r, uint32_t form) {
    switch (form) {
    case VF_TEXT:
    case VF_BYTES: (void)reader_bytes(r, (size_t)reader_varint(r)); break;
    case VF_GUID_LOWER:
    case VF_GUID_UPPER: (void)reader_bytes(r, GUID_LEN); break;
    case VF_DECIMAL:
    case VF_HEX:
    case VF_TIME:
    case VF_TIME_NEAR: (void)reader_varint(r); break;
    case VF_HEX_UPPER: (void)reader_bytes(r, 8); break;
    case VF_HASHES_UPPER:
    case VF_HASHES_LOWER:
        for (unsigned n = reader_u8(r); n && !r->bad; n--) {
            unsigned kind = reader_u8(r);
            if (kind >= N_HASH_KINDS) return ST_FORMAT;
            (void)reader_bytes(r, hash_kinds[kind].len);
        }
        break;
    default:
        if (form < VF_COMMON) return ST_FORMAT;
    }
    return r->bad ? ST_FORMAT : ST_OK;
}

/* ---- classifying ---- */

static size_t guess_guid(struct slice v, enum value_form *ret_form, uint8_t *out) {
    struct guid g;
    if (guid_parse(v, &g)) return 0;
    *ret_form = VF_GUID_LOWER;
    for (size_t i = 1; i < v.len - 1; i++) {
        if (v.p[i] >= 'A' && v.p[i] <= 'F') {
            *ret_form = VF_GUID_UPPER;
            break;
        }
    }
    memcpy(out, g.b, GUID_LEN);
    return GUID_LEN;
}

static size_t guess_decimal(struct slice v, uint8_t *out) {
    if (v.len > 20 || (v.p[0] == '0' && v.len > 1)) return 0;
    uint64_t n = 0;
    for (size_t i = 0; i < v.len; i++) {
        unsigned d = v.p[i] - (unsigned)'0';
        if (d > 9) return 0;
        n = n * 10 + d;
    }
    return (size_t)(put_varint(out, n) - out);
}

static size_t guess_hex(struct slice v, enum value_form *ret_form, uint8_t *out) {
    uint64_t n = 0;
    for (size_t i = 2; i < v.len; i++) {
        int d = hex_value(v.p[i]);
        if (d < 0) return 0;
        n = n << 4 | (unsigned)d;
    }
    bool lower = false;
    for (size_t i = 2; i < v.len; i++) lower = lower || v.p[i] >= 'a';
    if (v.len < 18 || lower) {
        *ret_form = VF_HEX;
        return (size_t)(put_varint(out, n) - out);
    }
    *ret_form = VF_HEX_UPPER;
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(n >> (8 * i));
    return 8;
}

static unsigned two_digits(const uint8_t *p) {
    return (unsigned)(p[0] - '0') * 10 + (unsigned)(p[1] - '0');
}

/* Not checked here: what is no time does not render back. */
static size_t guess_time(struct slice v, uint64_t event_time, enum value_form *ret_form, uint8_t *out) {
    uint32_t y = two_digits(v.p) * 100 + two_digits(v.p + 2), m = two_digits(v.p + 5), d = two_digits(v.p + 8);
    if (y < 1601 || y > 9999 || m < 1 || m > 12 || d > 31) return 0;
    if (m <= 2) y--;
    uint32_t in_year = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1, in_era = y % 400;
    uint64_t days = (uint64_t)(y / 400) * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year;
    if (days < DAY_1601) return 0;
    uint64_t ms = (days - DAY_1601) * 86400000 + (uint64_t)two_digits(v.p + 11) * 3600000 +
                  (uint64_t)two_digits(v.p + 14) * 60000 + (uint64_t)two_digits(v.p + 17) * 1000 +
                  two_digits(v.p + 20) * 10 + (unsigned)(v.p[22] - '0');
    int64_t before = (int64_t)(event_time / FILETIME_MS) - (int64_t)ms;
    if (before > -MS_NEAR && before < MS_NEAR) {
        *ret_form = VF_TIME_NEAR;
        return (size_t)(put_varint(out, (uint64_t)before << 1 ^ (before < 0 ? UINT64_MAX : 0)) - out);
    }
    *ret_form = VF_TIME;
    return (size_t)(put_varint(out, ms) - out);
}

static size_t guess_hashes(struct slice v, enum value_form *ret_form, uint8_t *out) {
    uint8_t *o = out + 1;
    unsigned n = 0;
    bool lower = false;
    for (size_t at = 0; at < v.len; n++) {
        if (n == N_HASH_KINDS) return 0;
        unsigned kind = 0;
        for (; kind < N_HASH_KINDS; kind++) {
            const struct hash_kind *h = &hash_kinds[kind];
            if (v.len - at > h->name_len + 2u * h->len && v.p[at + h->name_len] == '=' &&
                memcmp(v.p + at, h->name, h->name_len) == 0)
                break;
        }
        if (kind == N_HASH_KINDS) return 0;
        at += hash_kinds[kind].name_len + 1u;
        *o++ = (uint8_t)kind;
        if (!hex_bytes(v.p + at, hash_kinds[kind].len, o)) return 0;
        for (size_t i = 0; i < 2u * hash_kinds[kind].len; i++) lower = lower || v.p[at + i] >= 'a';
        o += hash_kinds[kind].len;
        at += 2u * hash_kinds[kind].len;
        if (at < v.len && (v.p[at++] != ',' || at == v.len)) return 0;
    }
    out[0] = (uint8_t)n;
    *ret_form = lower ? VF_HASHES_LOWER : VF_HASHES_UPPER;
    return (size_t)(o - out);
}

static size_t guess_bytes(struct slice v, uint8_t *out) {
    if (v.len % 2 || v.len < 32) return 0;
    uint8_t *o = put_varint(out, v.len / 2);
    for (size_t i = 0; i < v.len; i++) {
        if (hex_value(v.p[i]) < 0 || v.p[i] >= 'a') return 0;
    }
    hex_bytes(v.p, v.len / 2, o);
    return (size_t)(o - out) + v.len / 2;
}

enum value_form value_classify(struct slice v, uint64_t event_time, uint8_t *out, size_t *ret_len) {
    *ret_len = 0;
    int common = common_find(v);
    if (common >= 0) return (enum value_form)(VF_COMMON + common);
    enum value_form form = VF_TEXT;
    size_t len = 0;
    uint8_t c = v.p[0];
    if (c == '{' && v.len == GUID_TEXT_MAX - 1) {
        len = guess_guid(v, &form, out);
    } else if (c == '0' && v.len > 2 && v.len <= 18 && v.p[1] == 'x') {
        len = guess_hex(v, &form, out);
    } else if (v.len == 23 && v.p[4] == '-' && v.p[10] == ' ' && v.p[19] == '.') {
        len = guess_time(v, event_time, &form, out);
    } else if ((c == 'S' || c == 'M' || c == 'I') && v.len >= 36 && v.len < VALUE_TYPED_MAX / 2) {
        len = guess_hashes(v, &form, out);
    } else if (hex_value(c) >= 0) {
        form = VF_DECIMAL;
        if (c <= '9') len = guess_decimal(v, out);
        if (!len) {
            /* all of it is checked there, so that it renders back */
            len = guess_bytes(v, out);
            if (!len) return VF_TEXT;
            *ret_len = len;
            return VF_BYTES;
        }
    }
    if (!len) return VF_TEXT;
    uint8_t text[VALUE_TYPED_MAX];
    struct reader r = reader_of(slice_of(out, len));
    size_t text_len = text_of(&r, (uint32_t)form, event_time, text);
    if (text_len != v.len || memcmp(text, v.p, text_len) != 0) return VF_TEXT;
    *ret_len = len;
    return form;
}
