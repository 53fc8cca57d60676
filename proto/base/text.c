/* UTF-8, WTF-8, UTF-16, and escaping for others. Pure. */
#include "text.h"
#include "mem.h"

size_t text_next(struct slice s, uint32_t *ret_cp) {
    if (!s.len) return 0;
    uint8_t c = s.p[0];
    if (c < 0x80) {
        *ret_cp = c;
        return 1;
    }
    size_t n = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;
    if (!n || s.len < n) return 0;
    uint32_t cp = c & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xc0) != 0x80) return 0;
        cp = cp << 6 | (s.p[i] & 0x3f);
    }
    if ((n == 3 && cp < 0x800) || (n == 4 && (cp < 0x10000 || cp > 0x10ffff))) return 0;
    *ret_cp = cp;
    return n;
}

static bool is_surrogate(uint32_t cp) {
    return cp >= 0xd800 && cp <= 0xdfff;
}

bool text_is_utf8(struct slice s) {
    while (s.len) {
        uint32_t cp;
        size_t n = text_next(s, &cp);
        if (!n || !cp || is_surrogate(cp)) return false;
        s = slice_from(s, n);
    }
    return true;
}

void text_put_cp(struct buf *out, uint32_t cp) {
    uint8_t u[4];
    size_t n;
    if (cp < 0x80) {
        u[0] = (uint8_t)cp;
        n = 1;
    } else if (cp < 0x800) {
        u[0] = (uint8_t)(0xc0 | cp >> 6);
        u[1] = (uint8_t)(0x80 | (cp & 0x3f));
        n = 2;
    } else if (cp < 0x10000) {
        u[0] = (uint8_t)(0xe0 | cp >> 12);
        u[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        u[2] = (uint8_t)(0x80 | (cp & 0x3f));
        n = 3;
    } else {
        u[0] = (uint8_t)(0xf0 | cp >> 18);
        u[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
        u[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        u[3] = (uint8_t)(0x80 | (cp & 0x3f));
        n = 4;
    }
    buf_append(out, u, n);
}

/* Copies ASCII units, four at a time, as long as there are; returns how many. Nearly all of an event is that. */
static size_t put_ascii(struct buf *out, const uint8_t *p, size_t n, bool big_endian) {
    static const uint8_t not_ascii[2][8] = {{0x80, 0xff, 0x80, 0xff, 0x80, 0xff, 0x80, 0xff},
                                            {0xff, 0x80, 0xff, 0x80, 0xff, 0x80, 0xff, 0x80}};
    uint64_t mask, four;
    size_t i = 0;
    memcpy(&mask, not_ascii[big_endian], sizeof mask);
    buf_reserve(out, n);
    uint8_t *to = out->p + out->len;
    for (; i + 4 <= n; i += 4) {
        const uint8_t *from = p + 2 * i + big_endian;
        memcpy(&four, p + 2 * i, sizeof four);
        if (four & mask) break;
        to[i] = from[0];
        to[i + 1] = from[2];
        to[i + 2] = from[4];
        to[i + 3] = from[6];
    }
    out->len += i;
    return i;
}

void text_from_utf16(struct buf *out, struct slice utf16, bool big_endian) {
    size_t n = utf16.len / 2, other = 0; /* units left until the next look for ASCII */
    for (size_t i = 0; i < n; i++) {
        if (!other) {
            i += put_ascii(out, utf16.p + 2 * i, n - i, big_endian);
            if (i == n) return;
            other = 8;
        }
        other--;
        const uint8_t *p = utf16.p + 2 * i;
        uint32_t u = big_endian ? (uint32_t)(p[0] << 8 | p[1]) : (uint32_t)(p[1] << 8 | p[0]);
        if (u >= 0xd800 && u <= 0xdbff && i + 1 < n) {
            uint32_t low = big_endian ? (uint32_t)(p[2] << 8 | p[3]) : (uint32_t)(p[3] << 8 | p[2]);
            if (low >= 0xdc00 && low <= 0xdfff) {
                u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
                i++;
            }
        }
        text_put_cp(out, u);
    }
}

size_t text_sanitize(struct buf *out, struct slice s) {
    size_t replaced = 0;
    while (s.len) {
        uint32_t cp;
        size_t n = text_next(s, &cp);
        if (n) {
            buf_append(out, s.p, n);
        } else {
            text_put_cp(out, 0xfffd);
            replaced++;
            n = 1;
        }
        s = slice_from(s, n);
    }
    return replaced;
}

static bool json_plain(uint8_t c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7f;
}

void text_json(struct buf *out, struct slice s) {
    while (s.len) {
        size_t run = 0;
        while (run < s.len && json_plain(s.p[run])) run++;
        buf_append(out, s.p, run);
        s = slice_from(s, run);
        if (!s.len) return;
        uint32_t cp = 0xfffd;
        size_t n = text_next(s, &cp);
        if (cp == '"' || cp == '\\') {
            buf_byte(out, '\\');
            buf_byte(out, (uint8_t)cp);
        } else if (cp == '\n') {
            buf_str(out, "\\n");
        } else if (cp == '\r') {
            buf_str(out, "\\r");
        } else if (cp == '\t') {
            buf_str(out, "\\t");
        } else if (!n || cp < 0x20 || cp == 0x7f || is_surrogate(cp)) {
            buf_printf(out, "\\u%04x", (unsigned)cp);
        } else {
            buf_append(out, s.p, n);
        }
        s = slice_from(s, n ? n : 1);
    }
}

static bool is_unsafe_to_show(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || is_surrogate(cp) || cp == 0x061c ||
           (cp >= 0x200b && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) ||
           cp == 0xfeff;
}

void text_printable(struct buf *out, struct slice s, size_t max_len) {
    struct slice shown = slice_head(s, max_len);
    while (shown.len) {
        uint32_t cp = 0;
        size_t n = text_next(shown, &cp);
        if (!n) {
            if (shown.len < 4 && s.len > max_len) break; /* a character that the limit cut */
            buf_printf(out, "\\x%02x", shown.p[0]);
            n = 1;
        } else if (cp < 0x80 && is_unsafe_to_show(cp)) {
            buf_printf(out, "\\x%02x", (unsigned)cp);
        } else if (is_unsafe_to_show(cp)) {
            buf_printf(out, "\\u{%x}", (unsigned)cp);
        } else {
            buf_append(out, shown.p, n);
        }
        shown = slice_from(shown, n);
    }
    if (s.len > max_len) buf_str(out, "...");
}

static size_t min3(size_t a, size_t b, size_t c) {
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

bool text_take(struct slice *s, const char *word) {
    if (!slice_starts(*s, slice_str(word))) return false;
    *s = slice_from(*s, strlen(word));
    return true;
}

static unsigned digit_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = slice_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10u : 16;
}

bool text_take_number(struct slice *s, unsigned base, uint64_t *ret) {
    uint64_t n = 0;
    size_t i = 0;
    for (; i < s->len && digit_value(s->p[i]) < base; i++) {
        unsigned d = digit_value(s->p[i]);
        if (n > (UINT64_MAX - d) / base) return false;
        n = n * base + d;
    }
    if (!i) return false;
    *s = slice_from(*s, i);
    *ret = n;
    return true;
}

static size_t edit_distance(const char *a, const char *b) {
    size_t row[65], na = strlen(a), nb = strlen(b);
    if (na > 64 || nb > 64) return 64;
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t up = row[j];
            row[j] = min3(up + 1, row[j - 1] + 1,
                          diagonal + (slice_lower((uint8_t)a[i - 1]) != slice_lower((uint8_t)b[j - 1])));
            diagonal = up;
        }
    }
    return row[nb];
}

const char *text_suggest(const char *word, const char *const *candidates, size_t n) {
    const char *best = NULL;
    size_t best_distance = 3;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, candidates[i]);
        if (d < best_distance && 2 * d <= strlen(word)) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}
