/* The file of identities. Keys are wiped when they go. */
#include "keys.h"
#include "file.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_NAME "haechi-load.keys"
#define FILE_MAX (4u * 1024 * 1024 * 1023)
#define FIRST_LINE "haechi-load 1"
#define PART_MAX (64u * 1024) /* a key, a certificate chain, the CAs */

static void wipe(struct buf *b) {
    if (b->p) mem_wipe(b->p, b->cap);
    buf_free(b);
}

void keys_free(struct keys *k) {
    for (size_t i = 0; i < k->n; i++) {
        wipe(&k->entries[i].key);
        buf_free(&k->entries[i].certificate);
    }
    mem_free(k->entries);
    buf_free(&k->ca);
    *k = (struct keys){0};
}

void keys_resize(struct keys *k, size_t n) {
    if (n <= k->n) return;
    k->entries = mem_realloc(k->entries, mem_mul(n, sizeof *k->entries));
    for (; k->n < n; k->n++) {
        struct key_entry *e = &k->entries[k->n];
        *e = (struct key_entry){0};
        snprintf(e->name, sizeof e->name, "%.48s-%05u", k->prefix, (unsigned)(k->n % KEYS_MAX_AGENTS) + 1);
    }
}

void keys_write(const struct keys *k, struct buf *out) {
    buf_printf(out, FIRST_LINE "\ncollector %s\nprefix %s\nca %zu\n", k->collector, k->prefix, k->ca.len);
    buf_slice_append(out, buf_slice(&k->ca));
    buf_byte(out, '\n');
    for (size_t i = 0; i < k->n; i++) {
        const struct key_entry *e = &k->entries[i];
        if (!e->certificate.len) continue;
        buf_printf(out, "agent %zu %u %s %zu %zu\n", i, e->host_id, e->name, e->key.len, e->certificate.len);
        buf_slice_append(out, buf_slice(&e->key));
        buf_slice_append(out, buf_slice(&e->certificate));
        buf_byte(out, '\n');
    }
}

/* ---- reading ---- */

/* The next line without its end; false at the end of the text. */
static bool next_line(struct slice *text, struct slice *ret) {
    const uint8_t *nl = text->len ? memchr(text->p, '\n', text->len) : NULL;
    if (!nl) return false;
    *ret = slice_head(*text, (size_t)(nl - text->p));
    *text = slice_from(*text, ret->len + 1);
    return true;
}

static struct slice next_word(struct slice *line) {
    size_t n = 0;
    while (n < line->len && line->p[n] != ' ') n++;
    struct slice word = slice_head(*line, n);
    *line = slice_from(*line, n + 1);
    return word;
}

static bool next_number(struct slice *line, uint64_t max, uint64_t *ret) {
    struct slice word = next_word(line);
    uint64_t v = 0;
    if (!word.len || word.len > 12) return false;
    for (size_t i = 0; i < word.len; i++) {
        if (word.p[i] < '0' || word.p[i] > '9') return false;
        v = v * 10 + (uint64_t)(word.p[i] - '0');
    }
    *ret = v;
    return v <= max;
}

static bool next_text(struct slice *line, char *out, size_t size) {
    struct slice word = next_word(line);
    if (!word.len || word.len >= size || memchr(word.p, 0, word.len)) return false;
    memcpy(out, word.p, word.len);
    out[word.len] = 0;
    return true;
}

static bool next_part(struct slice *text, size_t len, struct buf *out) {
    if (text->len < len) return false;
    buf_slice_append(out, slice_head(*text, len));
    *text = slice_from(*text, len);
    return true;
}

static bool read_agent(struct slice *text, struct slice line, struct keys *k) {
    uint64_t index, id, key_len, certificate_len;
    char name[KEYS_NAME_MAX];
    struct slice end;
    if (!next_number(&line, KEYS_MAX_AGENTS - 1, &index) || !next_number(&line, UINT32_MAX, &id) ||
        !next_text(&line, name, sizeof name) || !next_number(&line, PART_MAX, &key_len) ||
        !next_number(&line, PART_MAX, &certificate_len) || line.len) {
        return false;
    }
    if (text->len < key_len + certificate_len) return false;
    keys_resize(k, (size_t)index + 1);
    struct key_entry *e = &k->entries[index];
    if (e->key.len) return false; /* twice */
    e->host_id = (uint32_t)id;
    memcpy(e->name, name, sizeof name);
    return next_part(text, (size_t)key_len, &e->key) && next_part(text, (size_t)certificate_len, &e->certificate) &&
           next_line(text, &end) && !end.len;
}

static bool read_head(struct slice *text, struct keys *k) {
    struct slice line;
    uint64_t len;
    if (!next_line(text, &line) || !slice_eq_str(line, FIRST_LINE)) return false;
    if (!next_line(text, &line) || !slice_eq_str(next_word(&line), "collector") ||
        !next_text(&line, k->collector, sizeof k->collector)) {
        return false;
    }
    if (!next_line(text, &line) || !slice_eq_str(next_word(&line), "prefix") ||
        !next_text(&line, k->prefix, sizeof k->prefix)) {
        return false;
    }
    return next_line(text, &line) && slice_eq_str(next_word(&line), "ca") && next_number(&line, PART_MAX, &len) &&
           next_part(text, (size_t)len, &k->ca) && next_line(text, &line) && !line.len;
}

enum status keys_read(struct slice text, struct keys *ret, struct error *err) {
    struct keys k = {0};
    struct slice line;
    bool good = read_head(&text, &k);
    while (good && next_line(&text, &line)) {
        good = slice_eq_str(next_word(&line), "agent") && read_agent(&text, line, &k);
    }
    if (!good || text.len) {
        keys_free(&k);
        return error_set(err, ST_FORMAT, "not a whole file of simulated hosts' keys");
    }
    *ret = k;
    return ST_OK;
}

enum status keys_load(const char *dir, struct keys *ret, struct error *err) {
    struct buf text = {0};
    char *path = file_join(dir, FILE_NAME);
    enum status st = file_read(path, FILE_MAX, &text, err);
    if (!st) st = keys_read(buf_slice(&text), ret, err);
    if (st == ST_FORMAT) error_prefix(err, st, "%s", path);
    wipe(&text);
    mem_free(path);
    return st;
}

enum status keys_save(const char *dir, const struct keys *k, struct error *err) {
    struct buf text = {0};
    char *path = file_join(dir, FILE_NAME);
    keys_write(k, &text);
    enum status st = file_make_dir(dir, 0700, err);
    if (!st) st = file_replace(path, buf_slice(&text), 0600, err);
    wipe(&text);
    mem_free(path);
    return st;
}
