/* GUID text both ways. Pure. */
#include "guid.h"

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

MUST_USE enum status guid_parse(struct slice s, struct guid *ret) {
    if (s.len == 38 && s.p[0] == '{' && s.p[37] == '}') s = slice_of(s.p + 1, 36);
    if (s.len != 36) return ST_FORMAT;
    struct guid g;
    size_t n = 0;
    for (size_t i = 0; i < 36;) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (s.p[i++] != '-') return ST_FORMAT;
            continue;
        }
        int hi = hex_value(s.p[i]), lo = hex_value(s.p[i + 1]);
        if (hi < 0 || lo < 0) return ST_FORMAT;
        g.b[n++] = (uint8_t)(hi << 4 | lo);
        i += 2;
    }
    *ret = g;
    return ST_OK;
}

void guid_format(const struct guid *g, bool upper, char out[GUID_TEXT_MAX]) {
    const char *hex = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char *o = out;
    *o++ = '{';
    for (int i = 0; i < GUID_LEN; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *o++ = '-';
        *o++ = hex[g->b[i] >> 4];
        *o++ = hex[g->b[i] & 15];
    }
    *o++ = '}';
    *o = 0;
}

bool guid_is_zero(const struct guid *g) {
    static const struct guid zero;
    return guid_eq(g, &zero);
}
