/* MD5 (RFC 1321) and SHA-1 (FIPS 180-4), which nothing else here has use for, and the text form of hashes. Pure. */
#include "filehash.h"
#include "tls.h"

#define BLOCK 64

static uint32_t rol(uint32_t v, unsigned n) {
    return v << n | v >> (32 - n);
}

static uint32_t word_le(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t word_be(const uint8_t *p) {
    return (uint32_t)p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

static void md5_block(uint32_t h[5], const uint8_t *p) {
    static const uint8_t shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    /* the integer part of 2^32 * |sin(i + 1)| */
    static const uint32_t sines[64] = {0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a,
                                       0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be,
                                       0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340,
                                       0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
                                       0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8,
                                       0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
                                       0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
                                       0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
                                       0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92,
                                       0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1,
                                       0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3];
    for (unsigned i = 0; i < 64; i++) {
        uint32_t f;
        unsigned k;
        if (i < 16)
            f = (b & c) | (~b & d), k = i;
        else if (i < 32)
            f = (d & b) | (~d & c), k = (5 * i + 1) % 16;
        else if (i < 48)
            f = b ^ c ^ d, k = (3 * i + 5) % 16;
        else
            f = c ^ (b | ~d), k = (7 * i) % 16;
        f += a + sines[i] + word_le(p + 4 * k);
        a = d;
        d = c;
        c = b;
        b += rol(f, shifts[i / 16][i % 4]);
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
}

static void sha1_block(uint32_t h[5], const uint8_t *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned i = 0; i < 16; i++) w[i] = word_be(p + 4 * i);
    for (unsigned i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (unsigned i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20)
            f = (b & c) | (~b & d), k = 0x5a827999;
        else if (i < 40)
            f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (i < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else
            f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t t = rol(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rol(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* Both pad alike: a one bit, zeros, the length in bits; they differ in the order of its bytes. */
static void digest(struct slice s, void (*block)(uint32_t h[5], const uint8_t *p), bool big, uint32_t h[5]) {
    uint8_t tail[2 * BLOCK] = {0};
    uint64_t bits = (uint64_t)s.len * 8;
    while (s.len >= BLOCK) {
        block(h, s.p);
        s = slice_from(s, BLOCK);
    }
    if (s.len) memcpy(tail, s.p, s.len);
    tail[s.len] = 0x80;
    size_t len = s.len + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
    for (unsigned i = 0; i < 8; i++) tail[big ? len - 1 - i : len - 8 + i] = (uint8_t)(bits >> 8 * i);
    for (size_t at = 0; at < len; at += BLOCK) block(h, tail + at);
}

void filehash_make(struct slice bytes, struct filehash *ret) {
    uint32_t m[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0};
    uint32_t s[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    digest(bytes, md5_block, false, m);
    digest(bytes, sha1_block, true, s);
    for (unsigned i = 0; i < 16; i++) ret->md5[i] = (uint8_t)(m[i / 4] >> 8 * (i % 4));
    for (unsigned i = 0; i < 20; i++) ret->sha1[i] = (uint8_t)(s[i / 4] >> (24 - 8 * (i % 4)));
    tls_sha256(bytes, ret->sha256);
}

static int nibble(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_is(struct slice hex, const uint8_t *bytes, size_t len) {
    if (hex.len != 2 * len) return false;
    for (size_t i = 0; i < len; i++) {
        int hi = nibble(hex.p[2 * i]), lo = nibble(hex.p[2 * i + 1]);
        if (hi < 0 || lo < 0 || bytes[i] != (hi << 4 | lo)) return false;
    }
    return true;
}

static bool is_hex(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        if (nibble(s.p[i]) < 0) return false;
    }
    return s.len > 0;
}

enum filehash_answer filehash_compare(const struct filehash *h, struct slice text) {
    const struct {
        const char *name;
        const uint8_t *bytes;
        size_t len;
    } known[] = {{"MD5", h->md5, sizeof h->md5},
                 {"SHA1", h->sha1, sizeof h->sha1},
                 {"SHA256", h->sha256, sizeof h->sha256}};
    enum filehash_answer answer = FILEHASH_NONE;
    while (text.len) {
        const uint8_t *comma = memchr(text.p, ',', text.len);
        struct slice one = slice_head(text, comma ? (size_t)(comma - text.p) : text.len);
        text = slice_from(text, one.len + (comma != NULL));
        while (one.len && *one.p == ' ') one = slice_from(one, 1);
        while (one.len && one.p[one.len - 1] == ' ') one.len--;
        const uint8_t *eq = one.len ? memchr(one.p, '=', one.len) : NULL;
        struct slice name = slice_head(one, eq ? (size_t)(eq - one.p) : 0);
        struct slice hex = eq ? slice_from(one, name.len + 1) : one;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            if (eq ? !slice_eq_nocase(name, slice_str(known[i].name)) : hex.len != 2 * known[i].len || !is_hex(hex))
                continue;
            if (!hex_is(hex, known[i].bytes, known[i].len)) return FILEHASH_OTHER;
            answer = FILEHASH_SAME;
        }
    }
    return answer;
}
