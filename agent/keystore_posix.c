/* The state directory on POSIX systems: file modes are the protection. Blocking; one thread at a time. */
#include "keystore.h"
#include "mem.h"
#include "text.h"
#include "tls.h"

#include <stdio.h>
#include <sys/stat.h>

#define IDENTITY_MAX (256u * 1024)
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
    if (slice_eq_str(key, "certificate")) return number(value, IDENTITY_MAX, &n) && block(rest, n, &id->certificate);
    if (slice_eq_str(key, "ca")) return number(value, IDENTITY_MAX, &n) && block(rest, n, &id->ca);
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

enum status keystore_lock(const char *dir, struct file **ret, struct error *err) {
    enum status st = file_make_dir(dir, 0700, err);
    if (st) return st;
    char *path = file_join(dir, "lock");
    st = file_lock(path, ret, err);
    if (st == ST_BUSY)
        error_set(err, ST_BUSY, "another haechi-agent is running with %s: stop it, or give another --state", dir);
    mem_free(path);
    return st;
}

enum status keystore_key(const char *dir, struct buf *ret_pem, struct error *err) {
    char *path = file_join(dir, "key.pem");
    struct stat sb;
    enum status st = file_make_dir(dir, 0700, err);
    if (!st && stat(path, &sb) == 0) {
        if (sb.st_mode & 077)
            st = error_set(err, ST_DENIED,
                           "%s can be read by others than its owner: chmod 600 it, and enrol anew if they may have",
                           path);
        else
            st = file_read(path, 64 * 1024, ret_pem, err);
    } else if (!st) {
        st = tls_make_key(ret_pem, err);
        if (!st) st = file_replace(path, buf_slice(ret_pem), 0600, err);
    }
    mem_free(path);
    return st;
}

enum status keystore_load(const char *dir, struct identity *ret, struct error *err) {
    char *path = file_join(dir, "identity");
    struct buf text = {0};
    struct identity id = {0};
    struct tls_peer facts;
    enum status st = ST_OK;
    if (!file_exists(path)) {
        st = error_set(
            err, ST_NOTFOUND,
            "this host is not enrolled (%s has no identity): run `haechi-agent enroll --token TOKEN --state %s`", dir,
            dir);
        goto out;
    }
    st = file_read(path, IDENTITY_MAX, &text, err);
    if (st) goto out;
    st = identity_parse(buf_slice(&text), &id, err);
    if (!st) st = tls_certificate_facts(buf_slice(&id.certificate), &facts, &id.not_before, err);
    if (st) {
        st = error_prefix(err, st, "%s: enrol this host anew", path);
        goto out;
    }
    id.not_after = facts.not_after;
    st = keystore_key(dir, &id.key, err);
    if (st) goto out;
    *ret = id;
    id = (struct identity){0};
out:
    identity_free(&id);
    buf_free(&text);
    mem_free(path);
    return st;
}

enum status keystore_save(const char *dir, const struct identity *id, struct error *err) {
    char *path = file_join(dir, "identity");
    struct buf text = {0};
    identity_write(id, &text);
    enum status st = file_replace(path, buf_slice(&text), 0600, err);
    buf_free(&text);
    mem_free(path);
    return st;
}
