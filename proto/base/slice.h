/* A borrowed run of bytes. It owns nothing and dies when the call that got it returns, unless the header of the
 * function that hands it out says otherwise. */
#ifndef HAECHI_SLICE_H
#define HAECHI_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *p;
    size_t len;
};

static inline struct slice slice_of(const void *p, size_t len) {
    return (struct slice){(const uint8_t *)p, len};
}

static inline struct slice slice_str(const char *s) {
    return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0};
}

#define SLICE_LIT(lit) ((struct slice){(const uint8_t *)(lit), sizeof(lit) - 1})

static inline bool slice_eq(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s) {
    return slice_eq(a, slice_str(s));
}

static inline char slice_lower(uint8_t c) {
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* ASCII case folded; other bytes must be equal. */
static inline bool slice_eq_nocase(struct slice a, struct slice b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++) {
        if (slice_lower(a.p[i]) != slice_lower(b.p[i])) return false;
    }
    return true;
}

static inline bool slice_starts(struct slice a, struct slice prefix) {
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.p, prefix.p, prefix.len) == 0);
}

/* The part from byte `from` on; empty when from is past the end. */
static inline struct slice slice_from(struct slice a, size_t from) {
    if (!a.p) return a;
    return from >= a.len ? (struct slice){a.p + a.len, 0} : (struct slice){a.p + from, a.len - from};
}

/* The first n bytes, or all when there are fewer. */
static inline struct slice slice_head(struct slice a, size_t n) {
    return (struct slice){a.p, n < a.len ? n : a.len};
}

/* Order of unsigned bytes, a shorter prefix first: as LMDB orders keys. */
static inline int slice_cmp(struct slice a, struct slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

#endif
