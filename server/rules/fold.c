/* Case folding by ranges of letters. Pure. */
#include "fold.h"

enum fold_kind {
    FOLD_ADD,  /* every character: + delta */
    FOLD_EVEN, /* upper case is even, lower case the next */
    FOLD_ODD   /* upper case is odd */
};

static const struct fold_range {
    uint16_t first, last;
    uint8_t kind, delta;
} ranges[] = {
    {0x00c0, 0x00d6, FOLD_ADD, 32}, {0x00d8, 0x00de, FOLD_ADD, 32}, {0x0100, 0x012f, FOLD_EVEN, 1},
    {0x0132, 0x0137, FOLD_EVEN, 1}, {0x0139, 0x0148, FOLD_ODD, 1},  {0x014a, 0x0177, FOLD_EVEN, 1},
    {0x0179, 0x017e, FOLD_ODD, 1},  {0x0386, 0x0386, FOLD_ADD, 38}, {0x0388, 0x038a, FOLD_ADD, 37},
    {0x038c, 0x038c, FOLD_ADD, 64}, {0x038e, 0x038f, FOLD_ADD, 63}, {0x0391, 0x03a1, FOLD_ADD, 32},
    {0x03a3, 0x03ab, FOLD_ADD, 32}, {0x0400, 0x040f, FOLD_ADD, 80}, {0x0410, 0x042f, FOLD_ADD, 32},
    {0x0460, 0x0481, FOLD_EVEN, 1}, {0x048a, 0x04bf, FOLD_EVEN, 1}, {0x04c1, 0x04ce, FOLD_ODD, 1},
    {0x04d0, 0x052f, FOLD_EVEN, 1}, {0x0531, 0x0556, FOLD_ADD, 48}, {0x1e00, 0x1e95, FOLD_EVEN, 1},
    {0x1ea0, 0x1eff, FOLD_EVEN, 1}, {0xff21, 0xff3a, FOLD_ADD, 32},
};

static uint32_t fold_cp(uint32_t cp) {
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges && cp >= ranges[i].first; i++) {
        const struct fold_range *r = &ranges[i];
        if (cp > r->last) continue;
        if (r->kind == FOLD_ADD) return cp + r->delta;
        return (cp & 1) == (r->kind == FOLD_ODD) ? cp + 1 : cp;
    }
    return cp == 0x0178 ? 0x00ff : cp;
}

static bool is_tail(uint8_t c) {
    return (c & 0xc0) == 0x80;
}

void fold_text(struct slice text, uint8_t *out) {
    const uint8_t *p = text.p;
    size_t i = 0;
    while (i < text.len) {
        uint8_t c = p[i];
        if (c < 0x80) {
            out[i++] = (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        } else if ((c & 0xe0) == 0xc0 && i + 1 < text.len && is_tail(p[i + 1])) {
            uint32_t cp = fold_cp((uint32_t)(c & 0x1f) << 6 | (p[i + 1] & 0x3f));
            out[i++] = (uint8_t)(0xc0 | cp >> 6);
            out[i++] = (uint8_t)(0x80 | (cp & 0x3f));
        } else if ((c & 0xf0) == 0xe0 && i + 2 < text.len && is_tail(p[i + 1]) && is_tail(p[i + 2])) {
            uint32_t cp = fold_cp((uint32_t)(c & 0x0f) << 12 | (uint32_t)(p[i + 1] & 0x3f) << 6 | (p[i + 2] & 0x3f));
            out[i++] = (uint8_t)(0xe0 | cp >> 12);
            out[i++] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
            out[i++] = (uint8_t)(0x80 | (cp & 0x3f));
        } else {
            out[i++] = c;
        }
    }
}

bool fold_is_ascii(struct slice text) {
    uint64_t any = 0, eight;
    size_t i = 0;
    for (; i + sizeof eight <= text.len; i += sizeof eight) {
        memcpy(&eight, text.p + i, sizeof eight);
        any |= eight;
    }
    for (; i < text.len; i++) any |= text.p[i];
    return (any & UINT64_C(0x8080808080808080)) == 0;
}
