/* Texts of an unattended installation. Pure. */
#include "setup.h"
#include "log.h"
#include "mem.h"
#include "text.h"
#include "token.h"

#include <stddef.h>
#include <stdio.h>

#define DEFAULT_PORT 7443
#define WORD_MAX 4096u
#define CHANNEL_MAX 255u /* of a name; the query behind it may be longer */

#define AT(member) offsetof(struct setup_file, member)
static const struct conf_option options[] = {
    {"token", CONF_STRING, AT(token), "\"\"", 0, 0, false, "what `haechi token create` printed"},
    {"name", CONF_STRING, AT(name), "\"\"", 0, 0, false, "the name this host shall have; its own by default"},
    {"collectors", CONF_STRINGS, AT(collectors), "[]", 0, 0, false,
     "collectors as HOST:PORT, asked in this order instead of the one in the token"},
};
#define N_OPTIONS (sizeof options / sizeof *options)

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s) {
    while (s.len && is_blank(s.p[0])) s = slice_from(s, 1);
    while (s.len && is_blank(s.p[s.len - 1])) s.len--;
    return s;
}

enum status setup_full_address(struct slice address, struct buf *out, struct error *err) {
    char host[ADDRESS_HOST_MAX];
    uint16_t port = 0;
    enum status st = address_split(address, DEFAULT_PORT, host, &port, err);
    if (!st) buf_printf(out, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    return st;
}

/* ---- the file ---- */

void setup_file_free(struct setup_file *f) {
    if (f->token) mem_wipe(f->token, strlen(f->token));
    conf_free(options, N_OPTIONS, f);
}

static enum status check_token(const char *text, struct error *err) {
    struct token t = {0};
    enum status st = token_decode(slice_str(text), &t, err);
    mem_wipe(&t, sizeof t);
    return st;
}

static enum status complete(const char *name, struct setup_file *f, struct error *err) {
    if (!*f->token) return error_set(err, ST_FORMAT, "%s: it has no token", name);
    enum status st = check_token(f->token, err);
    if (st) return error_prefix(err, st, "%s: token", name);
    for (size_t i = 0; i < f->collectors.n; i++) {
        struct buf address = {0};
        st = setup_full_address(slice_str(f->collectors.items[i]), &address, err);
        if (!st) {
            mem_free(f->collectors.items[i]);
            f->collectors.items[i] = mem_strndup(address.p, address.len);
        }
        buf_free(&address);
        if (st) return error_prefix(err, st, "%s: collectors", name);
    }
    return ST_OK;
}

enum status setup_file_parse(const char *name, struct slice text, struct setup_file *ret, struct error *err) {
    struct setup_file f = {0};
    enum status st = ST_OK;
    conf_defaults(options, N_OPTIONS, &f);
    if (slice_starts(trim(text), SLICE_LIT(TOKEN_PREFIX))) { /* nothing but the token */
        text = trim(text);
        mem_free(f.token);
        f.token = mem_strndup(text.p, text.len);
    } else {
        st = conf_parse(options, N_OPTIONS, name, text, &f, err);
    }
    if (!st) st = complete(name, &f, err);
    if (st)
        setup_file_free(&f);
    else
        *ret = f;
    return st;
}

/* ---- an installer's words ---- */

static void put_quoted(struct buf *out, struct slice s) {
    buf_byte(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\') buf_byte(out, '\\');
        buf_byte(out, s.p[i]);
    }
    buf_byte(out, '"');
}

/* What no word may have: it goes into files of lines, and through an installer's own tables. */
static enum status check_text(const char *name, const char *word, struct error *err) {
    struct slice s = slice_str(word);
    if (s.len > WORD_MAX) return error_set(err, ST_TOOBIG, "%s has more than %u bytes", name, WORD_MAX);
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < 0x20 || s.p[i] == 0x7f)
            return error_set(err, ST_INVALID, "%s has a control character (code %u) at place %zu", name, s.p[i], i + 1);
    }
    return text_is_utf8(s) ? ST_OK : error_set(err, ST_INVALID, "%s is not UTF-8", name);
}

/* The next part of *rest; false when there is none. Empty parts are passed over. */
static bool next_part(struct slice *rest, const char *dividers, struct slice *ret) {
    while (rest->len) {
        size_t n = 0;
        while (n < rest->len && !strchr(dividers, rest->p[n])) n++;
        *ret = trim(slice_head(*rest, n));
        *rest = slice_from(*rest, n < rest->len ? n + 1 : n);
        if (ret->len) return true;
    }
    return false;
}

static enum status put_server(const char *server, struct buf *out, struct error *err) {
    struct slice rest = slice_str(server), part;
    enum status st = ST_OK;
    bool first = true;
    buf_str(out, "collectors = [");
    while (!st && next_part(&rest, ",; ", &part)) {
        struct buf address = {0};
        st = setup_full_address(part, &address, err);
        if (!first) buf_str(out, ", ");
        put_quoted(out, buf_slice(&address));
        buf_free(&address);
        if (st) return error_prefix(err, st, "SERVER: %s", log_peer(part));
        first = false;
    }
    buf_str(out, "]\n");
    return first ? error_set(err, ST_INVALID, "SERVER names no collector") : ST_OK;
}

static enum status put_channels(const char *channels, struct buf *out, struct error *err) {
    struct slice rest = slice_str(channels), part;
    bool first = true;
    buf_str(out, "[sources]\nchannels = [");
    while (next_part(&rest, ";", &part)) {
        size_t name = 0;
        while (name < part.len && !(part.p[name] == ':' && (name + 1 == part.len || part.p[name + 1] == ' '))) name++;
        for (size_t i = 0; i < name; i++) {
            if (strchr("\"\\`<>&[]*?|", part.p[i]))
                return error_set(err, ST_INVALID,
                                 "CHANNELS: %s: a channel's name has no '%c'; a query follows it as \"NAME: QUERY\"",
                                 log_peer(part), part.p[i]);
        }
        if (!name || name > CHANNEL_MAX)
            return error_set(err, ST_INVALID, "CHANNELS: %s: a channel's name has 1 to %u bytes", log_peer(part),
                             CHANNEL_MAX);
        if (name < part.len && trim(slice_from(part, name + 1)).len == 0)
            return error_set(err, ST_INVALID, "CHANNELS: %s: there is no query behind the colon", log_peer(part));
        if (!first) buf_str(out, ", ");
        put_quoted(out, part);
        first = false;
    }
    buf_str(out, "]\n");
    return first ? error_set(err, ST_INVALID, "CHANNELS names no channel") : ST_OK;
}

enum status setup_compose(const struct setup_words *w, struct buf *ret_enroll, struct buf *ret_config,
                          struct error *err) {
    struct buf server = {0}, channels = {0};
    const struct {
        const char *name, *word;
    } words[] = {{"TOKEN", w->token}, {"SERVER", w->server}, {"CHANNELS", w->channels}};
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof words / sizeof *words && !st; i++)
        if (words[i].word) st = check_text(words[i].name, words[i].word, err);
    if (!st && w->token && *w->token) {
        st = check_token(w->token, err);
        if (st) st = error_prefix(err, st, "TOKEN");
    }
    if (!st && w->server && *w->server) st = put_server(w->server, &server, err);
    if (!st && w->channels && *w->channels) st = put_channels(w->channels, &channels, err);
    if (!st && w->token && *w->token) {
        buf_reserve(ret_enroll, TOKEN_TEXT_MAX + server.len + 128); /* no copies left behind by growing */
        buf_str(ret_enroll, "# Written at installation. The agent enrols with it and then removes it.\ntoken = ");
        put_quoted(ret_enroll, trim(slice_str(w->token)));
        buf_str(ret_enroll, "\n");
        buf_slice_append(ret_enroll, buf_slice(&server));
    }
    if (!st && (server.len || channels.len)) {
        buf_str(ret_config,
                "# Written at installation; yours to change. `haechi-agent run --print-config` shows all options.\n");
        buf_slice_append(ret_config, buf_slice(&server));
        if (server.len && channels.len) buf_str(ret_config, "\n");
        buf_slice_append(ret_config, buf_slice(&channels));
    }
    buf_free(&server);
    buf_free(&channels);
    return st;
}
