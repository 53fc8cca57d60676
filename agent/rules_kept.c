/* The state file of the rules. Lines "key value"; unknown keys are a later version's; the words are a block at the end. Pure. */
#include "rules_kept.h"

#define HEADER "haechi-rules 1\n"

void rules_kept_free(struct rules_kept *k) {
    buf_free(&k->words);
    *k = (struct rules_kept){0};
}

/* ---- memory ---- */

const struct rules_memory *rules_kept_recall(const struct rules_kept *k, const char *version,
                                             const uint8_t digest[RULES_DIGEST_LEN]) {
    for (size_t i = 0; i < k->n_memory; i++) {
        const struct rules_memory *m = &k->memory[i];
        if (strcmp(m->version, version) == 0 && memcmp(m->digest, digest, sizeof m->digest) == 0) return m;
    }
    return NULL;
}

void rules_kept_remember(struct rules_kept *k, const char *version, const uint8_t digest[RULES_DIGEST_LEN],
                         const uint8_t rules_digest[RULES_DIGEST_LEN]) {
    struct rules_memory m = {0};
    size_t n = strlen(version);
    if (!n || n >= sizeof m.version) return; /* of a version that is not known nothing can be said later */
    memcpy(m.version, version, n);
    memcpy(m.digest, digest, sizeof m.digest);
    memcpy(m.rules_digest, rules_digest, sizeof m.rules_digest);
    const struct rules_memory *old = rules_kept_recall(k, version, digest);
    size_t at = old ? (size_t)(old - k->memory) : k->n_memory;
    if (at == RULES_MEMORY_MAX) at--;
    if (!old && k->n_memory < RULES_MEMORY_MAX) k->n_memory++;
    memmove(k->memory + 1, k->memory, at * sizeof m);
    k->memory[0] = m;
}

/* ---- writing ---- */

static void put_hex(struct buf *out, const char *key, const uint8_t *bytes, size_t len) {
    buf_printf(out, "%s ", key);
    for (size_t i = 0; i < len; i++) buf_printf(out, "%02x", bytes[i]);
    buf_byte(out, '\n');
}

void rules_kept_write(const struct rules_kept *k, struct buf *out) {
    const struct rules_order *o = &k->order;
    buf_str(out, HEADER);
    buf_printf(out, "highest %llu\n", (unsigned long long)k->highest);
    if (k->has_order) {
        buf_printf(out, "serial %llu\nruleset %s\nrevision %u\nlen %llu\nsigned %llu\nheal %d\ncanary %s\n",
                   (unsigned long long)o->serial, o->ruleset, o->revision, (unsigned long long)o->len,
                   (unsigned long long)o->time, o->heal, o->canary);
        put_hex(out, "md5", k->hash.md5, sizeof k->hash.md5);
        put_hex(out, "sha1", k->hash.sha1, sizeof k->hash.sha1);
        put_hex(out, "sha256", o->digest, sizeof o->digest);
        buf_printf(out, "state %u\nevidence %u\nsince %llu\nwaits %d\nwas_loaded %d\nversion %s\n", (unsigned)k->state,
                   k->evidence, (unsigned long long)k->since, k->waits, k->was_loaded, k->version);
        buf_str(out, "reason ");
        for (const char *p = k->reason; *p; p++) buf_byte(out, *p == '\n' ? ' ' : (uint8_t)*p);
        buf_byte(out, '\n');
        if (k->has_rules) put_hex(out, "rules_digest", k->rules_digest, sizeof k->rules_digest);
        put_hex(out, "settings_digest", k->settings_digest, sizeof k->settings_digest);
    }
    for (size_t i = k->n_memory; i-- > 0;) { /* so that remembering them in turn gives the same order */
        const struct rules_memory *m = &k->memory[i];
        put_hex(out, "file", m->digest, sizeof m->digest);
        put_hex(out, "made", m->rules_digest, sizeof m->rules_digest);
        buf_printf(out, "by %s\n", m->version);
    }
    if (k->words.len) {
        buf_printf(out, "words %zu\n", k->words.len);
        buf_slice_append(out, buf_slice(&k->words));
        buf_byte(out, '\n');
    }
}

/* ---- reading ---- */

static bool number(struct slice s, uint64_t max, uint64_t *ret) {
    uint64_t v = 0;
    if (!s.len || s.len > 20) return false;
    for (size_t i = 0; i < s.len; i++) {
        uint64_t d = s.p[i] - (uint64_t)'0';
        if (s.p[i] < '0' || d > 9 || v > (UINT64_MAX - d) / 10) return false;
        v = v * 10 + d;
    }
    *ret = v;
    return v <= max;
}

static bool text(struct slice s, char *out, size_t cap) {
    if (s.len >= cap || memchr(s.p, 0, s.len)) return false;
    memcpy(out, s.p, s.len);
    out[s.len] = 0;
    return true;
}

static bool hex(struct slice s, uint8_t *out, size_t len) {
    if (s.len != 2 * len) return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        uint8_t v = (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | v : v << 4);
    }
    return true;
}

/* What lines say that make sense together only. */
struct reading {
    struct rules_kept k;
    struct rules_memory memory;
};

static bool number_line(struct rules_kept *k, struct slice key, struct slice value, bool *ret_known) {
    uint64_t n = 0;
    const struct {
        const char *key;
        uint64_t max;
    } keys[] = {{"highest", UINT64_MAX},  {"serial", UINT64_MAX},
                {"revision", UINT32_MAX}, {"len", RULES_XML_MAX},
                {"signed", UINT64_MAX},   {"heal", 1},
                {"state", RULES_DRIFTED}, {"evidence", UINT32_MAX},
                {"since", UINT64_MAX},    {"waits", 1},
                {"was_loaded", 1}};
    size_t i = 0;
    while (i < sizeof keys / sizeof *keys && !slice_eq_str(key, keys[i].key)) i++;
    *ret_known = i < sizeof keys / sizeof *keys;
    if (!*ret_known) return true;
    if (!number(value, keys[i].max, &n)) return false;
    switch (i) {
    case 0: k->highest = n; break;
    case 1:
        k->order.serial = n;
        k->has_order = true;
        break;
    case 2: k->order.revision = (uint32_t)n; break;
    case 3: k->order.len = n; break;
    case 4: k->order.time = n; break;
    case 5: k->order.heal = n != 0; break;
    case 6: k->state = (enum rules_state)n; break;
    case 7: k->evidence = (uint32_t)n; break;
    case 8: k->since = n; break;
    case 9: k->waits = n != 0; break;
    default: k->was_loaded = n != 0; break;
    }
    return true;
}

static bool line_of(struct reading *r, struct slice key, struct slice value, struct slice *rest) {
    struct rules_kept *k = &r->k;
    uint64_t n = 0;
    bool known = false;
    bool ok = number_line(k, key, value, &known);
    if (known) return ok;
    if (slice_eq_str(key, "ruleset")) return text(value, k->order.ruleset, sizeof k->order.ruleset);
    if (slice_eq_str(key, "canary")) return text(value, k->order.canary, sizeof k->order.canary);
    if (slice_eq_str(key, "version")) return text(value, k->version, sizeof k->version);
    if (slice_eq_str(key, "reason")) return text(value, k->reason, sizeof k->reason);
    if (slice_eq_str(key, "md5")) return hex(value, k->hash.md5, sizeof k->hash.md5);
    if (slice_eq_str(key, "sha1")) return hex(value, k->hash.sha1, sizeof k->hash.sha1);
    if (slice_eq_str(key, "sha256")) return hex(value, k->order.digest, sizeof k->order.digest);
    if (slice_eq_str(key, "rules_digest")) return k->has_rules = hex(value, k->rules_digest, sizeof k->rules_digest);
    if (slice_eq_str(key, "settings_digest")) return hex(value, k->settings_digest, sizeof k->settings_digest);
    if (slice_eq_str(key, "file")) return hex(value, r->memory.digest, sizeof r->memory.digest);
    if (slice_eq_str(key, "made")) return hex(value, r->memory.rules_digest, sizeof r->memory.rules_digest);
    if (slice_eq_str(key, "by")) {
        if (!text(value, r->memory.version, sizeof r->memory.version)) return false;
        rules_kept_remember(k, r->memory.version, r->memory.digest, r->memory.rules_digest);
        return true;
    }
    if (slice_eq_str(key, "words")) {
        if (!number(value, RULES_WORDS_MAX, &n) || n >= rest->len || rest->p[n] != '\n') return false;
        buf_clear(&k->words);
        buf_append(&k->words, rest->p, (size_t)n);
        *rest = slice_from(*rest, (size_t)n + 1);
    }
    return true;
}

enum status rules_kept_parse(struct slice file, struct rules_kept *ret, struct error *err) {
    struct reading r = {0};
    bool ok = slice_starts(file, SLICE_LIT(HEADER));
    file = slice_from(file, sizeof HEADER - 1);
    while (ok && file.len) {
        const uint8_t *nl = memchr(file.p, '\n', file.len);
        ok = nl != NULL;
        if (!ok) break;
        struct slice line = slice_of(file.p, (size_t)(nl - file.p));
        file = slice_from(file, line.len + 1);
        const uint8_t *blank = line.len ? memchr(line.p, ' ', line.len) : NULL;
        ok = blank && line_of(&r, slice_of(line.p, (size_t)(blank - line.p)),
                              slice_from(line, (size_t)(blank - line.p) + 1), &file);
    }
    if (ok && r.k.has_order) ok = r.k.order.serial && *r.k.order.ruleset && r.k.order.serial <= r.k.highest;
    if (!ok) {
        rules_kept_free(&r.k);
        return error_set(err, ST_FORMAT, "the file is damaged");
    }
    memcpy(r.k.hash.sha256, r.k.order.digest, sizeof r.k.hash.sha256);
    *ret = r.k;
    return ST_OK;
}
