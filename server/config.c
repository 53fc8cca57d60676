/* Options of haechid: the table and the checks that need more than one option. */
#include "config.h"
#include "address.h"
#include "file.h"
#include "log.h"
#include "mem.h"

#include <stddef.h>

#define FILE_MAX (1024u * 1024)

static const struct conf_option options[] = {
#define OPTION(member, key, type, fallback, least, most, reloadable, help) \
    {key, type, offsetof(struct config, member), fallback, least, most, reloadable, help},
#include "config.def"
#undef OPTION
};
#define N_OPTIONS (sizeof options / sizeof *options)

static void set_string(char **at, const char *value) {
    if (!value) return;
    mem_free(*at);
    *at = mem_strdup(value);
}

static void set_only(struct conf_strings *s, const char *value) {
    if (!value) return;
    for (size_t i = 0; i < s->n; i++) mem_free(s->items[i]);
    s->n = 0;
    mem_grow((void **)&s->items, s->n, &s->cap, sizeof *s->items);
    s->items[s->n++] = mem_strdup(value);
}

static enum status check_pair(const char *a, const char *b, const char *what, struct error *err) {
    if (!*a == !*b) return ST_OK;
    return error_set(err, ST_INVALID, "%s.certificate and %s.key belong together: give both or none", what, what);
}

static enum status check(const struct config *s, struct error *err) {
    enum log_level level;
    char host[256];
    uint16_t port;
    if (!*s->data) return error_set(err, ST_INVALID, "data is empty: name a directory");
    if (log_level_parse(slice_str(s->log_level), &level)) {
        return error_set(err, ST_INVALID, "log.level \"%s\" is none of error, warn, info, debug", s->log_level);
    }
    enum status st = address_parse(s->listen, host, &port, err);
    for (size_t i = 0; i < s->api.n && !st; i++) {
        if (strncmp(s->api.items[i], "unix:/", 6) != 0) st = address_parse(s->api.items[i], host, &port, err);
        if (st) (void)error_prefix(err, st, "api.address");
    }
    for (size_t i = 0; i < s->collectors.n && !st; i++) {
        st = address_parse(s->collectors.items[i], host, &port, err);
        if (st) (void)error_prefix(err, st, "listen.collectors");
    }
    if (!st) st = check_pair(s->ca_certificate, s->ca_key, "ca", err);
    if (!st) st = check_pair(s->api_certificate, s->api_key, "api", err);
    return st;
}

MUST_USE enum status config_load(const char *file, const struct config_words *words, struct config *ret,
                                 struct error *err) {
    struct config s = {0};
    struct buf text = {0};
    enum status st = ST_OK;
    conf_defaults(options, N_OPTIONS, &s);
    if (file) st = file_read(file, FILE_MAX, &text, err);
    if (file && !st) st = conf_parse(options, N_OPTIONS, file, buf_slice(&text), &s, err);
    if (!st) {
        set_string(&s.data, words->data);
        set_string(&s.listen, words->listen);
        set_string(&s.log_level, words->log_level);
        set_only(&s.api, words->api);
        st = check(&s, err);
    }
    buf_free(&text);
    if (st)
        config_free(&s);
    else
        *ret = s;
    return st;
}

void config_free(struct config *s) {
    conf_free(options, N_OPTIONS, s);
    memset(s, 0, sizeof *s);
}

static bool same(const struct conf_option *o, const void *a, const void *b) {
    const struct conf_strings *la = a, *lb = b;
    switch (o->type) {
    case CONF_BOOL: return *(const bool *)a == *(const bool *)b;
    case CONF_STRING: return strcmp(*(char *const *)a, *(char *const *)b) == 0;
    case CONF_STRINGS:
        if (la->n != lb->n) return false;
        for (size_t i = 0; i < la->n; i++) {
            if (strcmp(la->items[i], lb->items[i]) != 0) return false;
        }
        return true;
    default: return *(const uint64_t *)a == *(const uint64_t *)b;
    }
}

static void swap(void *a, void *b, size_t len) {
    uint8_t t[sizeof(struct conf_strings)];
    memcpy(t, a, len);
    memcpy(a, b, len);
    memcpy(b, t, len);
}

void config_reload(struct config *current, struct config *fresh, void (*stays)(const char *key)) {
    static const size_t size_of[] = {[CONF_BOOL] = sizeof(bool),         [CONF_UINT] = sizeof(uint64_t),
                                     [CONF_STRING] = sizeof(char *),     [CONF_STRINGS] = sizeof(struct conf_strings),
                                     [CONF_DURATION] = sizeof(uint64_t), [CONF_SIZE] = sizeof(uint64_t)};
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct conf_option *o = &options[i];
        void *a = (char *)current + o->offset, *b = (char *)fresh + o->offset;
        if (o->reloadable)
            swap(a, b, size_of[o->type]);
        else if (!same(o, a, b))
            stays(o->key);
    }
    config_free(fresh);
}

void config_sample(struct buf *out) {
    conf_sample(out, options, N_OPTIONS);
}

const char **config_list(const struct conf_strings *s) {
    const char **list = mem_zalloc(mem_mul(s->n + 1, sizeof *list));
    for (size_t i = 0; i < s->n; i++) list[i] = s->items[i];
    return list;
}
