/* 1 SOURCE  A scanner for the journal's JSON lines and for syslog lines. Pure; bounded by the length of the line. */
#include "journal.h"
#include "text.h"

#include <string.h>

struct scan {
    const uint8_t *p, *end;
};

void journal_entry_deinit(struct journal_entry *e) {
    buf_free(&e->message);
    buf_free(&e->cursor);
    buf_free(&e->scratch);
}

static void space(struct scan *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n')) s->p++;
}

static bool is(struct scan *s, uint8_t c) {
    space(s);
    if (s->p >= s->end || *s->p != c) return false;
    s->p++;
    return true;
}

static bool hex4(struct scan *s, uint32_t *ret) {
    uint32_t v = 0;
    if (s->end - s->p < 4) return false;
    for (int i = 0; i < 4; i++, s->p++) {
        uint8_t c = *s->p;
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return false;
        v = v << 4 | (uint32_t)d;
    }
    *ret = v;
    return true;
}

/* Behind the backslash and the u. */
static bool unicode_escape(struct scan *s, struct buf *out) {
    uint32_t cp, low;
    if (!hex4(s, &cp)) return false;
    if (cp >= 0xd800 && cp < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        struct scan ahead = {s->p + 2, s->end};
        if (!hex4(&ahead, &low)) return false;
        if (low >= 0xdc00 && low < 0xe000) {
            cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
            s->p = ahead.p;
        }
    }
    text_put_cp(out, cp);
    return true;
}

/* A string's content, decoded and appended; at most max_len bytes in all. */
static enum status string(struct scan *s, struct buf *out, size_t max_len) {
    if (!is(s, '"')) return ST_FORMAT;
    for (;;) {
        const uint8_t *plain = s->p;
        while (s->p < s->end && *s->p != '"' && *s->p != '\\' && *s->p >= 0x20) s->p++;
        size_t n = (size_t)(s->p - plain);
        if (out->len + n > max_len) return ST_TOOBIG;
        buf_append(out, plain, n);
        if (s->p >= s->end || *s->p < 0x20) return ST_FORMAT;
        if (*s->p++ == '"') return ST_OK;
        if (s->p >= s->end) return ST_FORMAT;
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        uint8_t c = *s->p++;
        const char *at = c ? strchr(from, c) : NULL;
        if (at)
            buf_byte(out, (uint8_t)to[at - from]);
        else if (c != 'u' || !unicode_escape(s, out))
            return ST_FORMAT;
    }
}

/* Behind the opening bracket: byte values up to the closing one. ST_NOTFOUND: something else than numbers is in it. */
static enum status byte_array(struct scan *s, struct buf *out, size_t max_len) {
    if (is(s, ']')) return ST_OK;
    for (;;) {
        space(s);
        if (s->p < s->end && (*s->p == '"' || *s->p == '[' || *s->p == 'n')) return ST_NOTFOUND;
        unsigned v = 0, digits = 0;
        while (s->p < s->end && *s->p >= '0' && *s->p <= '9' && digits++ < 3) v = v * 10 + (*s->p++ - '0');
        if (!digits || v > 255) return ST_FORMAT;
        if (out->len >= max_len) return ST_TOOBIG;
        buf_byte(out, (uint8_t)v);
        if (is(s, ']')) return ST_OK;
        if (!is(s, ',')) return ST_FORMAT;
    }
}

/* Any value, unread. */
static enum status skip_value(struct scan *s) {
    unsigned depth = 0;
    do {
        space(s);
        if (s->p >= s->end) return ST_FORMAT;
        uint8_t c = *s->p;
        if (c == '"') {
            for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
                if (*s->p == '\\') s->p++;
            }
            if (s->p >= s->end) return ST_FORMAT;
            s->p++;
        } else if (c == '{' || c == '[') {
            if (++depth > JOURNAL_MAX_DEPTH) return ST_TOOBIG;
            s->p++;
        } else if (c == '}' || c == ']') {
            if (!depth) return ST_FORMAT;
            depth--;
            s->p++;
        } else if (c == ',' || c == ':') {
            if (!depth) return ST_FORMAT;
            s->p++;
        } else {
            const uint8_t *from = s->p;
            while (s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || (*s->p >= 'a' && *s->p <= 'z') || *s->p == '-' ||
                                     *s->p == '+' || *s->p == '.' || *s->p == 'E'))
                s->p++;
            if (s->p == from) return ST_FORMAT;
        }
    } while (depth);
    return ST_OK;
}

/* A field's value into *out; ST_NOTFOUND (the value skipped): null, several values, or another type. */
static enum status field_value(struct scan *s, struct buf *out, size_t max_len) {
    buf_clear(out);
    space(s);
    const uint8_t *from = s->p;
    if (s->p < s->end && *s->p == '"') return string(s, out, max_len);
    if (is(s, '[')) {
        enum status st = byte_array(s, out, max_len);
        if (st != ST_NOTFOUND) return st;
        s->p = from;
    }
    enum status st = skip_value(s);
    return st ? st : ST_NOTFOUND;
}

enum { SEEN_UID = 1, SEEN_EXE = 2, SEEN_UNIT = 4, GOOD_UID = 8, GOOD_EXE = 16, GOOD_UNIT = 32, CONTRADICTION = 64 };

static enum journal_proof proof_of(unsigned seen) {
    if (!(seen & (SEEN_UID | SEEN_EXE | SEEN_UNIT))) return JOURNAL_UNPROVEN;
    return !(seen & CONTRADICTION) && seen & GOOD_UID && seen & (GOOD_EXE | GOOD_UNIT) ? JOURNAL_PROVEN
                                                                                       : JOURNAL_FOREIGN;
}

/* Journald itself writes the fields that begin with _ : a client cannot. */
static unsigned note_trusted(unsigned seen, unsigned bit, struct slice value, enum status st, const char *want) {
    if (seen & bit) return seen | CONTRADICTION;
    return seen | bit | (st == ST_OK && slice_eq_str(value, want) ? bit << 3 : 0);
}

enum status journal_parse(struct slice line, struct journal_entry *e) {
    struct scan s = {line.p, line.p + line.len};
    char key[64];
    unsigned seen = 0;
    buf_clear(&e->message);
    buf_clear(&e->cursor);
    e->has_message = false;
    e->is_sysmon = true;
    if (line.len > JOURNAL_MAX_LINE) return ST_TOOBIG;
    if (!is(&s, '{')) return ST_FORMAT;
    bool again = !is(&s, '}');
    while (again) {
        buf_clear(&e->scratch);
        enum status st = string(&s, &e->scratch, JOURNAL_MAX_MESSAGE);
        if (st) return st;
        if (!is(&s, ':')) return ST_FORMAT;
        size_t n = e->scratch.len < sizeof key ? e->scratch.len : 0;
        memcpy(key, n ? (const char *)e->scratch.p : "", n);
        struct slice k = slice_of(key, n);
        if (slice_eq_str(k, "MESSAGE")) {
            st = field_value(&s, &e->message, JOURNAL_MAX_MESSAGE);
            e->has_message = !st;
        } else if (slice_eq_str(k, "__CURSOR")) {
            st = field_value(&s, &e->cursor, JOURNAL_MAX_CURSOR);
        } else {
            st = field_value(&s, &e->scratch, JOURNAL_MAX_MESSAGE);
            struct slice v = buf_slice(&e->scratch);
            if (slice_eq_str(k, "_UID"))
                seen = note_trusted(seen, SEEN_UID, v, st, "0");
            else if (slice_eq_str(k, "_EXE"))
                seen = note_trusted(seen, SEEN_EXE, v, st, "/opt/sysmon/sysmon");
            else if (slice_eq_str(k, "_SYSTEMD_UNIT"))
                seen = note_trusted(seen, SEEN_UNIT, v, st, "sysmon.service");
            else if (slice_eq_str(k, "SYSLOG_IDENTIFIER"))
                e->is_sysmon = st == ST_OK && slice_eq_str(v, "sysmon");
        }
        if (st && st != ST_NOTFOUND) return st;
        again = is(&s, ',');
        if (!again && !is(&s, '}')) return ST_FORMAT;
    }
    space(&s);
    if (s.p != s.end) return ST_FORMAT;
    e->proof = proof_of(seen);
    return ST_OK;
}

/* ---- text lines ---- */

static struct slice find(struct slice s, const char *what) {
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= s.len; i++) {
        const uint8_t *hit = memchr(s.p + i, what[0], s.len - n + 1 - i);
        if (!hit) break;
        i = (size_t)(hit - s.p);
        if (memcmp(hit, what, n) == 0) return slice_from(s, i);
    }
    return (struct slice){s.p + s.len, 0};
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

/* "sysmon", "sysmon[812]" */
static bool is_sysmon_tag(struct slice tag) {
    if (!slice_starts(tag, SLICE_LIT("sysmon"))) return false;
    tag = slice_from(tag, 6);
    if (!tag.len) return true;
    if (tag.len < 3 || tag.p[0] != '[' || tag.p[tag.len - 1] != ']') return false;
    for (size_t i = 1; i + 1 < tag.len; i++) {
        if (!is_digit(tag.p[i])) return false;
    }
    return true;
}

static struct slice next_word(struct slice *s) {
    size_t i = 0;
    while (i < s->len && s->p[i] == ' ') i++;
    *s = slice_from(*s, i);
    for (i = 0; i < s->len && s->p[i] != ' ';) i++;
    struct slice word = slice_head(*s, i);
    *s = slice_from(*s, i);
    return word;
}

/* The message of a line whose prefix says that sysmon wrote it; .p NULL: it does not. */
static struct slice syslog_message(struct slice line) {
    const struct slice none = {NULL, 0};
    struct slice s = line;
    if (s.len && s.p[0] == '<' && s.len > 2 && is_digit(s.p[1])) { /* <134> */
        size_t i = 1;
        while (i < s.len && i < 5 && is_digit(s.p[i])) i++;
        if (i >= s.len || s.p[i] != '>') return none;
        s = slice_from(s, i + 1);
    }
    struct slice rest = s;
    struct slice word = next_word(&rest);
    if (word.len == 1 && word.p[0] == '1') { /* RFC 5424: VERSION TIME HOST APP PROCID MSGID SD MSG */
        next_word(&rest);
        next_word(&rest);
        if (!slice_eq_str(next_word(&rest), "sysmon")) return none;
        next_word(&rest);
        next_word(&rest);
        while (rest.len && rest.p[0] == ' ') rest = slice_from(rest, 1);
        if (!rest.len || (rest.p[0] != '-' && rest.p[0] != '[')) return none;
        if (rest.p[0] == '-') return slice_from(rest, 1);
        bool quoted = false;
        for (size_t i = 0; i < rest.len; i++) { /* [id name="value"][...] */
            if (rest.p[i] == '\\' && quoted)
                i++;
            else if (rest.p[i] == '"')
                quoted = !quoted;
            else if (rest.p[i] == ']' && !quoted && (i + 1 == rest.len || rest.p[i + 1] == ' '))
                return slice_from(rest, i + 1);
        }
        return none;
    }
    /* RFC 3164 and ISO 8601: the tag is the word before the first colon that a space follows. */
    for (size_t i = 0; i + 1 < s.len; i++) {
        if (s.p[i] != ':' || s.p[i + 1] != ' ') continue;
        size_t from = i;
        while (from && s.p[from - 1] != ' ') from--;
        return is_sysmon_tag(slice_of(s.p + from, i - from)) ? slice_from(s, i + 2) : none;
    }
    return none;
}

enum status journal_parse_syslog(struct slice line, struct buf *out) {
    buf_clear(out);
    while (line.len && (line.p[0] == ' ' || line.p[0] == '\t')) line = slice_from(line, 1);
    struct slice m = slice_starts(line, SLICE_LIT("<Event")) ? line : syslog_message(line);
    if (m.p) m = find(m, "<Event");
    if (!m.p || !m.len) return ST_NOTFOUND;
    for (size_t i = 0; i < m.len; i++) {
        if (m.p[i] == '#' && i + 3 < m.len && m.p[i + 1] == '0' && m.p[i + 2] >= '0' && m.p[i + 2] <= '3' &&
            m.p[i + 3] >= '0' && m.p[i + 3] <= '7' && (m.p[i + 2] != '0' || m.p[i + 3] != '0')) {
            buf_byte(out, (uint8_t)((m.p[i + 2] - '0') * 8 + (m.p[i + 3] - '0')));
            i += 3;
        } else {
            buf_byte(out, m.p[i]);
        }
    }
    return ST_OK;
}

enum status journal_next_event(struct slice *message, struct slice *ret_xml) {
    if (!message->len) return ST_END;
    struct slice m = find(*message, "<Event");
    *message = slice_from(*message, message->len);
    if (!m.len) return ST_END;
    struct slice end = find(m, "</Event>");
    /* An event that was cut in two by the next one's start has no end of its own. */
    struct slice next = find(slice_from(m, 6), "<Event>");
    if (!end.len) return ST_CORRUPT;
    if (next.len > end.len) {
        *message = next;
        return ST_CORRUPT;
    }
    size_t n = (size_t)(end.p - m.p) + 8;
    *ret_xml = slice_head(m, n);
    *message = slice_from(m, n);
    return ST_OK;
}
