/* Grams: bits by hash, then the patterns that have theirs there. Pure. */
#include "matcher.h"
#include "mem.h"

#include <stdlib.h>

#define LONG_GRAM 4u
#define SHORT_GRAM 2u
#define HASH_BITS 15u /* 4 KiB of bits, which stay in the first cache */
#define FIRST_BITS 10u
#define GRAM_FAR 256u /* bytes of a pattern in which its gram is looked for */

struct gram { /* where a pattern has its gram */
    uint32_t hash, pattern, offset;
};

struct gram_set {                           /* of one length */
    uint64_t bits[(1u << HASH_BITS) / 64];  /* by hash */
    uint32_t first[(1u << FIRST_BITS) + 1]; /* by the upper bits of a hash: where its grams begin */
    struct gram *grams;                     /* by hash */
    size_t n;
};

struct matcher {
    struct match_pattern *patterns;
    struct gram_set *longs, *shorts; /* NULL: no pattern is that long */
    uint32_t *plain;                 /* patterns without a gram: empty ones and single characters */
    size_t n_plain;
};

/* ---- one pattern ---- */

static bool is_at(struct slice pattern, const uint8_t *text) {
    for (size_t i = 0; i < pattern.len; i++) {
        if ((uint8_t)slice_lower(text[i]) != pattern.p[i]) return false;
    }
    return true;
}

/* May a pattern of that kind and length begin at text.p + at? There is room for it there. */
static inline bool is_anchored(enum match_kind kind, size_t len, struct slice text, size_t at) {
    switch (kind) {
    case MATCH_IS: return len == text.len;
    case MATCH_BEGIN: return at == 0;
    case MATCH_END: return at + len == text.len;
    case MATCH_IMAGE: return at + len == text.len && (at == 0 || text.p[at - 1] == '\\');
    case MATCH_CONTAINS: break;
    }
    return true;
}

bool match_one(enum match_kind kind, struct slice pattern, struct slice text) {
    if (pattern.len > text.len) return false;
    for (size_t at = 0; at + pattern.len <= text.len; at++) {
        if (is_anchored(kind, pattern.len, text, at) && is_at(pattern, text.p + at)) return true;
    }
    return false;
}

/* ---- building ---- */

/* ASCII letters of either case have one hash; so have some signs, which the comparison tells apart. */
static inline uint32_t hash_long(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, LONG_GRAM);
    return (v | 0x20202020u) * 0x9e3779b1u >> (32 - HASH_BITS);
}

static inline uint32_t hash_short(const uint8_t *p) {
    return ((uint32_t)(p[0] | p[1] << 8) | 0x2020u) * 0x9e3779b1u >> (32 - HASH_BITS);
}

static uint32_t hash_of(const uint8_t *p, unsigned gram) {
    return gram == LONG_GRAM ? hash_long(p) : hash_short(p);
}

/* What is in nearly every value: grams of it tell little. */
static const char common_text[] =
    "c:\\windows\\system32\\c:\\program files (x86)\\c:\\programdata\\microsoft\\windows\\c:\\users\\default\\appdata\\local\\temp\\roaming\\"
    "microsoft.net\\framework64\\assembly\\nativeimages_ hklm\\software\\microsoft\\windows nt\\currentversion\\explorer\\internet "
    "settings\\hklm\\system\\currentcontrolset\\services\\control\\parameters\\hku\\s-1-5-21-_classes\\clsid\\wow6432node\\.exe.dll+ "
    "ntdll.dll+kernelbase.dll+kernel32.dll+rpcrt4.dll+combase.dll+|c:\\ nt authority\\system unknown(0000) http://www. google\\chrome\\";

static uint8_t common_longs[1u << HASH_BITS],
    common_shorts[1u << HASH_BITS]; /* how often, by hash; filled before main */

__attribute__((constructor)) static void fill_common(void) {
    const uint8_t *text = (const uint8_t *)common_text;
    for (size_t i = 0; i + LONG_GRAM < sizeof common_text; i++) common_longs[hash_of(text + i, LONG_GRAM)]++;
    for (size_t i = 0; i + SHORT_GRAM < sizeof common_text; i++) common_shorts[hash_of(text + i, SHORT_GRAM)]++;
}

static int by_hash(const void *pa, const void *pb) {
    const struct gram *a = pa, *b = pb;
    if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
    return (a->pattern > b->pattern) - (a->pattern < b->pattern);
}

/* The gram of the pattern that brings the fewest comparisons: rare in values, and not that of many other patterns (n_taken, by hash);
 * among equals the last. */
static struct gram pick_gram(const uint16_t *n_taken, struct slice text, uint32_t pattern, unsigned gram) {
    const uint8_t *common = gram == LONG_GRAM ? common_longs : common_shorts;
    struct gram best = {0, pattern, 0};
    unsigned least = UINT32_MAX;
    for (uint32_t i = 0; i + gram <= text.len && i < GRAM_FAR; i++) {
        uint32_t hash = hash_of(text.p + i, gram);
        unsigned cost = (1 + 8u * common[hash]) * (1u + n_taken[hash]);
        if (cost > least) continue;
        least = cost;
        best.hash = hash;
        best.offset = i;
    }
    return best;
}

static unsigned gram_of(struct slice text) {
    return text.len >= LONG_GRAM ? LONG_GRAM : text.len >= SHORT_GRAM ? SHORT_GRAM : 0;
}

static struct gram_set *set_new(const struct matcher *m, size_t n, unsigned gram) {
    size_t n_here = 0;
    for (size_t i = 0; i < n; i++) n_here += gram_of(m->patterns[i].text) == gram;
    if (!n_here) return NULL;
    struct gram_set *set = mem_zalloc(sizeof *set);
    uint16_t *n_taken = mem_zalloc((1u << HASH_BITS) * sizeof *n_taken);
    set->grams = mem_alloc(mem_mul(n_here, sizeof *set->grams));
    for (uint32_t i = 0; i < n; i++) {
        if (gram_of(m->patterns[i].text) != gram) continue;
        struct gram g = set->grams[set->n++] = pick_gram(n_taken, m->patterns[i].text, i, gram);
        set->bits[g.hash / 64] |= UINT64_C(1) << (g.hash % 64);
        n_taken[g.hash] += n_taken[g.hash] < UINT16_MAX;
    }
    mem_free(n_taken);
    qsort(set->grams, set->n, sizeof *set->grams, by_hash);
    for (uint32_t i = 0, k = 0; i <= 1u << FIRST_BITS; i++) {
        while (k < set->n && set->grams[k].hash >> (HASH_BITS - FIRST_BITS) < i) k++;
        set->first[i] = k;
    }
    return set;
}

static void set_free(struct gram_set *set) {
    if (set) mem_free(set->grams);
    mem_free(set);
}

struct matcher *matcher_new(const struct match_pattern *patterns, size_t n) {
    struct matcher *m = mem_zalloc(sizeof *m);
    m->patterns = mem_alloc(mem_mul(n, sizeof *m->patterns));
    m->plain = mem_alloc(mem_mul(n, sizeof *m->plain));
    for (size_t i = 0; i < n; i++) {
        m->patterns[i] = patterns[i];
        if (!gram_of(patterns[i].text)) m->plain[m->n_plain++] = (uint32_t)i;
    }
    m->longs = set_new(m, n, LONG_GRAM);
    m->shorts = set_new(m, n, SHORT_GRAM);
    return m;
}

void matcher_free(struct matcher **pm) {
    struct matcher *m = *pm;
    if (!m) return;
    set_free(m->longs);
    set_free(m->shorts);
    mem_free(m->patterns);
    mem_free(m->plain);
    mem_free(m);
    *pm = NULL;
}

/* ---- running ---- */

static void report(const struct match_pattern *p, struct match_sink *sink) {
    if (sink->seen[p->id] == sink->mark) return;
    sink->seen[p->id] = sink->mark;
    sink->hits[sink->n++] = p->id;
}

/* Some pattern may have its gram at text.p + at. */
static void try_grams(const struct matcher *m, const struct gram_set *set, uint32_t hash, struct slice text, size_t at,
                      struct match_sink *sink) {
    for (uint32_t i = set->first[hash >> (HASH_BITS - FIRST_BITS)]; i < set->n && set->grams[i].hash <= hash; i++) {
        const struct gram *g = &set->grams[i];
        const struct match_pattern *p = &m->patterns[g->pattern];
        if (g->hash != hash || g->offset > at || p->text.len > text.len - (at - g->offset)) continue;
        size_t begin = at - g->offset;
        if (is_anchored(p->kind, p->text.len, text, begin) && is_at(p->text, text.p + begin)) report(p, sink);
    }
}

static inline bool has_bit(const struct gram_set *set, uint32_t hash) {
    return set->bits[hash / 64] >> (hash % 64) & 1;
}

static void run_longs(const struct matcher *m, struct slice text, struct match_sink *sink) {
    for (size_t i = 0; i + LONG_GRAM <= text.len; i++) {
        uint32_t hash = hash_long(text.p + i);
        if (has_bit(m->longs, hash)) try_grams(m, m->longs, hash, text, i, sink);
    }
}

static void run_shorts(const struct matcher *m, struct slice text, struct match_sink *sink) {
    for (size_t i = 0; i + SHORT_GRAM <= text.len; i++) {
        uint32_t hash = hash_short(text.p + i);
        if (has_bit(m->shorts, hash)) try_grams(m, m->shorts, hash, text, i, sink);
    }
}

void matcher_run(const struct matcher *m, struct slice text, struct match_sink *sink) {
    if (m->longs) run_longs(m, text, sink);
    if (m->shorts) run_shorts(m, text, sink);
    for (size_t i = 0; i < m->n_plain; i++) {
        const struct match_pattern *p = &m->patterns[m->plain[i]];
        if (match_one(p->kind, p->text, text)) report(p, sink);
    }
}
