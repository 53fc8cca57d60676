/* Who this host is, as text and back. Pure. */
#include "keystore.h"
#include "mem.h"
#include "text.h"

#define HEADER "haechi-identity 1\n"

void identity_free(struct identity *id) {
    for (size_t i = 0; i < id->n_collectors; i++) mem_free(id->collectors[i]);
    buf_free(&id->certificate);
    buf_free(&id->ca);
    if (id->key.p) mem_wipe(id->key.p, id->key.cap);
    buf_free(&id->key);
    *id = (struct identity){0};
}

void identity_add_collector(struct identity *id, struct slice address) {
    if (id->n_collectors < KEYSTORE_MAX_COLLECTORS)
        id->collectors[id->n_collectors++] = mem_strndup(address.p, address.len);
}

void identity_write(const struct identity *id, struct buf *out) {
    buf_str(out, HEADER);
    buf_printf(out, "host_id %u\nhost_name %s\npin ", id->host_id, id->host_name);
    for (size_t i = 0; i < sizeof id->pin; i++) buf_printf(out, "%02x", id->pin[i]);
    buf_str(out, "\n");
    for (size_t i = 0; i < id->n_collectors; i++) buf_printf(out, "collector %s\n", id->collectors[i]);
    buf_printf(out, "certificate %zu\n", id->certificate.len);
    buf_slice_append(out, buf_slice(&id->certificate));
    buf_printf(out, "\nca %zu\n", id->ca.len);
    buf_slice_append(out, buf_slice(&id->ca));
    buf_str(out, "\n");
}

static bool hex_byte(const uint8_t *p, uint8_t *ret) {
    unsigned v = 0;
    for (int i = 0; i < 2; i++) {
        uint8_t c = (uint8_t)slice_lower(p[i]);
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        v = v * 16 + (c <= '9' ? c - 48u : c - 87u);
    }
    *ret = (uint8_t)v;
    return true;
}

static bool number(struct slice s, uint64_t max, uint64_t *ret) {
    uint64_t v = 0;
    if (!s.len || s.len > 10) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        v = v * 10 + (s.p[i] - '0');
    }
    *ret = v;
    return v <= max;
}

/* A line "key N" is followed by N bytes and a newline. */
static bool block(struct slice *rest, uint64_t n, struct buf *out) {
    if (n >= rest->len || rest->p[n] != '\n') return false;
    buf_append(out, rest->p, n);
    *rest = slice_from(*rest, n + 1);
    return true;
}

static bool line_of(struct identity *id, struct slice key, struct slice value, struct slice *rest) {
    uint64_t n = 0;
    if (slice_eq_str(key, "host_id")) {
        if (!number(value, UINT32_MAX, &n)) return false;
        id->host_id = (uint32_t)n;
        return true;
    }
    if (slice_eq_str(key, "host_name")) {
        if (!value.len || value.len >= sizeof id->host_name || !text_is_utf8(value)) return false;
        memcpy(id->host_name, value.p, value.len);
        id->host_name[value.len] = 0;
        return true;
    }
    if (slice_eq_str(key, "pin")) {
        bool ok = value.len == 2 * sizeof id->pin;
        for (size_t i = 0; i < sizeof id->pin && ok; i++) ok = hex_byte(value.p + 2 * i, &id->pin[i]);
        return ok;
    }
    if (slice_eq_str(key, "collector")) {
        identity_add_collector(id, value);
        return true;
    }
    if (slice_eq_str(key, "certificate"))
        return number(value, KEYSTORE_IDENTITY_MAX, &n) && block(rest, n, &id->certificate);
    if (slice_eq_str(key, "ca")) return number(value, KEYSTORE_IDENTITY_MAX, &n) && block(rest, n, &id->ca);
    return true; /* a later version's line */
}

enum status identity_parse(struct slice text, struct identity *ret, struct error *err) {
    struct identity id = {0};
    bool ok = slice_starts(text, SLICE_LIT(HEADER));
    text = slice_from(text, sizeof HEADER - 1);
    while (ok && text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        if (!nl) break;
        struct slice line = slice_of(text.p, (size_t)(nl - text.p));
        text = slice_from(text, line.len + 1);
        if (!line.len) continue;
        const uint8_t *blank = memchr(line.p, ' ', line.len);
        ok = blank && line_of(&id, slice_of(line.p, (size_t)(blank - line.p)),
                              slice_from(line, (size_t)(blank - line.p) + 1), &text);
    }
    if (!ok || !id.host_name[0] || !id.n_collectors || !id.certificate.len || !id.ca.len) {
        identity_free(&id);
        return error_set(err, ST_FORMAT, "the file is damaged");
    }
    *ret = id;
    return ST_OK;
}
