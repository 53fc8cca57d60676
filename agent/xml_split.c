/* 2 PARSE  Event texts out of documents. Pure.
 *
 * Three steps: bytes become WTF-8 (encoding), between events the next start tag <Event is looked for (outside), and
 * within an event tags are matched by name until its own end tag (inside). Looking is never done twice over the same
 * bytes, but for the rest of an event that turned out to be malformed: that costs at most XML_SPLIT_DEPTH times its
 * length, since nested <Event tags count as depth. */
#include "xml_split.h"
#include "text.h"

enum { ENC_UNKNOWN, ENC_UTF8, ENC_UTF16LE, ENC_UTF16BE };

void xml_split_init(struct xml_split *s, enum xml_form form) {
    *s = (struct xml_split){.form = form, .line = 1};
}

void xml_split_deinit(struct xml_split *s) {
    buf_free(&s->held);
    buf_free(&s->text);
    buf_free(&s->line_text);
    *s = (struct xml_split){0};
}

/* ---- encoding ---- */

static void find_encoding(struct xml_split *s) {
    const uint8_t *p = s->held.p;
    size_t n = s->held.len, bom = 0;
    if (n < 3 && !s->finished) return;
    s->encoding = ENC_UTF8;
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        bom = 3;
    } else if (n >= 2 && p[0] == 0xff && p[1] == 0xfe) {
        s->encoding = ENC_UTF16LE;
        bom = 2;
    } else if (n >= 2 && p[0] == 0xfe && p[1] == 0xff) {
        s->encoding = ENC_UTF16BE;
        bom = 2;
    } else if (n >= 2 && p[0] == '<' && p[1] == 0) {
        s->encoding = ENC_UTF16LE;
    } else if (n >= 2 && p[0] == 0 && p[1] == '<') {
        s->encoding = ENC_UTF16BE;
    }
    buf_consume(&s->held, bom);
    s->offset += bom;
}

/* Whole UTF-16 characters of what is held go into the text; a high surrogate waits for what follows it. */
static void decode_held(struct xml_split *s) {
    if (s->encoding == ENC_UNKNOWN) return;
    size_t len = s->held.len;
    if (s->encoding != ENC_UTF8 && !s->finished) {
        len &= ~(size_t)1;
        uint8_t high = len ? s->held.p[len - (s->encoding == ENC_UTF16LE ? 1 : 2)] : 0;
        if (high >= 0xd8 && high <= 0xdb) len -= 2;
    }
    struct slice whole = slice_of(s->held.p, len);
    if (s->encoding == ENC_UTF8) {
        buf_slice_append(&s->text, whole);
    } else {
        text_from_utf16(&s->text, whole, s->encoding == ENC_UTF16BE);
    }
    buf_consume(&s->held, len);
}

/* What is left of the text. */
static struct slice view(const struct xml_split *s) {
    return s->text.len > s->head ? slice_of(s->text.p + s->head, s->text.len - s->head) : SLICE_LIT("");
}

void xml_split_feed(struct xml_split *s, struct slice bytes) {
    if (s->head) buf_consume(&s->text, s->head);
    s->head = 0;
    if (s->encoding == ENC_UTF8) {
        buf_slice_append(&s->text, bytes);
        return;
    }
    buf_slice_append(&s->held, bytes);
    if (s->encoding == ENC_UNKNOWN) find_encoding(s);
    decode_held(s);
}

void xml_split_finish(struct xml_split *s) {
    s->finished = true;
    if (s->encoding == ENC_UNKNOWN) find_encoding(s);
    decode_held(s);
}

/* How many bytes of the document gave this text. */
static uint64_t document_len(const struct xml_split *s, struct slice text) {
    if (s->encoding != ENC_UTF16LE && s->encoding != ENC_UTF16BE) return text.len;
    uint64_t units = 0;
    for (size_t i = 0; i < text.len; i++) {
        if ((text.p[i] & 0xc0) != 0x80) units += text.p[i] >= 0xf0 ? 2 : 1;
    }
    return 2 * units;
}

static uint64_t count_lines(struct slice text) {
    uint64_t n = 0;
    for (const uint8_t *p = text.p, *end = text.p + text.len; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        n++;
    return n;
}

/* Forgets the first n bytes of the text. */
static void drop(struct xml_split *s, size_t n) {
    struct slice gone = slice_head(view(s), n);
    s->offset += document_len(s, gone);
    if (gone.len) s->line += count_lines(gone);
    s->scan = s->scan > n ? s->scan - n : 0;
    s->head += gone.len;
}

/* ---- one event: tags matched by name ---- */

enum cut { CUT_MORE, CUT_WHOLE, CUT_BAD };

struct cutter { /* works on text from `at`; the open tags live in the xml_split */
    struct slice text;
    size_t at;
    const char *why;
};

static bool is_name_end(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '>' || c == '/';
}

static uint32_t name_hash(struct slice name) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.len; i++) h = (h ^ name.p[i]) * 16777619u;
    return h;
}

static size_t find(struct slice s, const char *what) {
    size_t n = strlen(what);
    const uint8_t *p = s.p, *end = s.p + s.len;
    for (; p && (size_t)(end - p) >= n; p++) {
        p = memchr(p, what[0], (size_t)(end - p) - n + 1);
        if (!p) break;
        if (memcmp(p, what, n) == 0) return (size_t)(p - s.p);
    }
    return SIZE_MAX;
}

/* Length of the markup at s.p, which begins with '<'; 0: its end is not there yet. */
static size_t markup_len(struct slice s) {
    static const struct { const char *begin, *end; } sections[] = {{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}};
    bool is_tag = s.len > 1 && s.p[1] != '!' && s.p[1] != '?';
    for (size_t i = 0; i < sizeof sections / sizeof *sections && !is_tag; i++) {
        size_t begin = strlen(sections[i].begin);
        if (s.len < begin && memcmp(s.p, sections[i].begin, s.len) == 0) return 0;
        if (!slice_starts(s, slice_str(sections[i].begin))) continue;
        size_t at = find(slice_from(s, begin), sections[i].end);
        return at == SIZE_MAX ? 0 : begin + at + strlen(sections[i].end);
    }
    uint8_t quote = 0;
    for (size_t i = 1; i < s.len; i++) {
        if (quote) {
            if (s.p[i] == quote) quote = 0;
        } else if (s.p[i] == '>') {
            return i + 1;
        } else if (s.p[i] == '\'' || s.p[i] == '"') {
            quote = s.p[i];
        }
    }
    return 0;
}

static struct slice tag_name(struct slice tag, size_t from) {
    size_t n = from;
    while (n < tag.len && !is_name_end(tag.p[n])) n++;
    return slice_of(tag.p + from, n - from);
}

static enum cut cut_bad(struct cutter *c, const char *why) {
    c->why = why;
    return CUT_BAD;
}

static enum cut open_tag(struct xml_split *s, struct cutter *c, struct slice tag) {
    struct slice name = tag_name(tag, 1);
    if (!name.len) return cut_bad(c, "a '<' that begins no tag");
    if (memchr(tag.p + 1, '<', tag.len - 1)) return cut_bad(c, "a '<' inside a tag");
    /* inside UserData an element of that name may be the provider's own */
    if (s->depth && slice_eq_str(name, "Event") && (s->depth < 2 || s->open[1] != name_hash(SLICE_LIT("UserData"))))
        return cut_bad(c, "an event without its end");
    if (tag.p[tag.len - 2] == '/') return s->depth ? CUT_MORE : CUT_WHOLE;
    if (s->depth == XML_SPLIT_DEPTH) return cut_bad(c, "elements are nested too deep");
    s->open[s->depth++] = name_hash(name);
    return CUT_MORE;
}

static enum cut close_tag(struct xml_split *s, struct cutter *c, struct slice tag) {
    if (!s->depth || s->open[s->depth - 1] != name_hash(tag_name(tag, 2)))
        return cut_bad(c, "an end tag that does not match its start tag");
    return --s->depth ? CUT_MORE : CUT_WHOLE;
}

/* Goes on from c->at until the event's end (c->at is behind it), the text's end, or what cannot be. */
static enum cut cut_event(struct xml_split *s, struct cutter *c) {
    for (;;) {
        const uint8_t *lt = c->at < c->text.len ? memchr(c->text.p + c->at, '<', c->text.len - c->at) : NULL;
        if (!lt) {
            c->at = c->text.len;
            return CUT_MORE;
        }
        c->at = (size_t)(lt - c->text.p);
        struct slice rest = slice_from(c->text, c->at);
        if (slice_starts(rest, SLICE_LIT("<!DOCTYPE"))) return cut_bad(c, "a DOCTYPE is not allowed");
        size_t n = markup_len(rest);
        if (!n) return CUT_MORE;
        struct slice tag = slice_head(rest, n);
        enum cut r = CUT_MORE;
        if (tag.p[1] == '/') {
            r = close_tag(s, c, tag);
        } else if (tag.p[1] != '!' && tag.p[1] != '?') {
            r = open_tag(s, c, tag);
        }
        if (r == CUT_BAD) return r;
        c->at += n;
        if (r == CUT_WHOLE) return r;
    }
}

/* The next start tag <Event in s from `from`; s.len when there is none, or less when one may begin at the end. */
static size_t find_event(struct slice s, size_t from, bool *ret_found) {
    *ret_found = false;
    for (size_t at = from; at < s.len;) {
        const uint8_t *lt = memchr(s.p + at, '<', s.len - at);
        if (!lt) break;
        at = (size_t)(lt - s.p);
        struct slice rest = slice_from(s, at);
        if (rest.len > 6 && slice_starts(rest, SLICE_LIT("<Event")) && is_name_end(rest.p[6])) {
            *ret_found = true;
            return at;
        }
        if (rest.len <= 6 && memcmp(rest.p, "<Event", rest.len) == 0) return at;
        at++;
    }
    return s.len;
}

/* ---- documents ---- */

static bool is_blank(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\n' && s.p[i] != '\r') return false;
    }
    return true;
}

/* Begins a report at text.p[0]; what follows up to the next event belongs to it. */
static enum xml_piece_kind report(struct xml_split *s, const char *why, struct xml_piece *ret) {
    *ret = (struct xml_piece){.offset = s->offset, .line = s->line, .why = why};
    s->in_bad = true;
    return XML_BAD;
}

enum between { BETWEEN_EVENT, BETWEEN_SKIP, BETWEEN_JUNK, BETWEEN_MORE };

/* What stands at text.p[0], where no event is open; *ret_len bytes of it. */
static enum between look_between(const struct xml_split *s, size_t *ret_len) {
    struct slice t = view(s);
    size_t blank = 0;
    while (blank < t.len && is_blank(slice_of(t.p + blank, 1))) blank++;
    *ret_len = blank;
    if (blank) return BETWEEN_SKIP;
    if (!t.len) return BETWEEN_MORE;
    bool found;
    size_t at = find_event(t, 0, &found);
    if (found && at == 0) return BETWEEN_EVENT;
    *ret_len = at ? at : t.len;
    /* behind something malformed only a start tag counts, so that it does not matter where a read ended */
    if (s->in_bad) return at == 0 && !s->finished ? BETWEEN_MORE : BETWEEN_JUNK;
    bool known = t.p[0] == '<' && !slice_starts(t, SLICE_LIT("<!D"));
    if (known && t.len < 10 && !s->finished && !markup_len(t)) return BETWEEN_MORE;
    bool comment = slice_starts(t, SLICE_LIT("<!--")), declaration = slice_starts(t, SLICE_LIT("<?"));
    if (comment || declaration || slice_starts(t, SLICE_LIT("<Events")) || slice_starts(t, SLICE_LIT("</Events"))) {
        size_t n = markup_len(t);
        if (n) {
            *ret_len = n;
            return BETWEEN_SKIP;
        }
        if (!s->finished && t.len <= XML_EVENT_MAX) return BETWEEN_MORE;
    }
    if (at == 0 && !found && !s->finished) return BETWEEN_MORE;
    return BETWEEN_JUNK;
}

static enum xml_piece_kind next_between(struct xml_split *s, struct xml_piece *ret, bool *ret_event) {
    for (;;) {
        size_t n;
        switch (look_between(s, &n)) {
        case BETWEEN_EVENT: *ret_event = true; return XML_MORE;
        case BETWEEN_MORE: return XML_MORE;
        case BETWEEN_SKIP: drop(s, n); break;
        case BETWEEN_JUNK: {
            bool again = s->in_bad;
            enum xml_piece_kind kind = report(s, "not an event", ret);
            drop(s, n);
            if (!again) return kind;
            break;
        }
        }
    }
}

/* The event in work is given up: its first byte goes, what follows is looked at again. */
static enum xml_piece_kind give_up(struct xml_split *s, const char *why, struct xml_piece *ret) {
    enum xml_piece_kind kind = report(s, why, ret);
    s->in_line = false;
    s->depth = 0;
    bool found;
    size_t next = find_event(view(s), 1, &found);
    s->scan = 0;
    drop(s, next);
    return kind;
}

static enum xml_piece_kind next_in_document(struct xml_split *s, struct xml_piece *ret) {
    if (!s->in_line) {
        bool event = false;
        enum xml_piece_kind kind = next_between(s, ret, &event);
        if (kind != XML_MORE || !event) return kind;
        s->in_line = true; /* an event is open */
        s->depth = 0;
        s->scan = s->seen = 0;
        s->in_bad = false;
    }
    struct cutter c = {.text = view(s), .at = s->scan};
    /* a tag ends with '>': without a new one there is no use in looking again */
    bool grown = c.text.len > s->seen && memchr(c.text.p + s->seen, '>', c.text.len - s->seen);
    enum cut r = grown ? cut_event(s, &c) : CUT_MORE;
    s->scan = c.at;
    s->seen = c.text.len;
    if (r == CUT_WHOLE && c.at <= XML_EVENT_MAX) {
        *ret = (struct xml_piece){.text = slice_head(c.text, c.at), .offset = s->offset, .line = s->line};
        s->taken = c.at;
        s->in_line = false;
        return XML_EVENT;
    }
    if (r == CUT_BAD) return give_up(s, c.why, ret);
    if (c.text.len > XML_EVENT_MAX) return give_up(s, "an event longer than 1 MiB", ret);
    if (s->finished) return give_up(s, "an event without its end", ret);
    return XML_MORE;
}

/* ---- lines ---- */

static int octal(uint8_t c) {
    return c >= '0' && c <= '7' ? c - '0' : -1;
}

/* The line without the #ooo that stand for control characters. A carriage return stays a reference: as it is, XML
 * would make a line feed of it. */
static void take_line(struct xml_split *s, struct slice line) {
    buf_clear(&s->line_text);
    if (s->form != XML_SYSLOG) {
        buf_slice_append(&s->line_text, line);
        return;
    }
    while (line.len) {
        const uint8_t *mark = memchr(line.p, '#', line.len);
        size_t run = mark ? (size_t)(mark - line.p) : line.len;
        buf_append(&s->line_text, line.p, run);
        line = slice_from(line, run);
        if (!line.len) return;
        int v = line.len < 4 || octal(line.p[1]) < 0 || octal(line.p[2]) < 0 || octal(line.p[3]) < 0
                    ? -1
                    : octal(line.p[1]) * 64 + octal(line.p[2]) * 8 + octal(line.p[3]);
        if (v == '\r') {
            buf_str(&s->line_text, "&#13;");
        } else if ((v > 0 && v < 0x20) || v == 0x7f) {
            buf_byte(&s->line_text, (uint8_t)v);
        } else {
            buf_byte(&s->line_text, '#');
            line = slice_from(line, 1);
            continue;
        }
        line = slice_from(line, 4);
    }
}

/* Brings a whole line into line_text. False: there is none yet. */
static bool begin_line(struct xml_split *s, struct xml_piece *ret, bool *ret_too_long) {
    struct slice t = view(s);
    const uint8_t *lf = t.len > s->scan ? memchr(t.p + s->scan, '\n', t.len - s->scan) : NULL;
    s->scan = t.len;
    if (!lf && !s->finished) {
        if (t.len <= 2 * XML_EVENT_MAX) return false;
        *ret_too_long = !s->skip_line;
        if (*ret_too_long)
            *ret = (struct xml_piece){.offset = s->offset, .line = s->line, .why = "a line longer than 2 MiB"};
        s->skip_line = true;
        drop(s, t.len);
        return false;
    }
    if (!t.len) return false;
    size_t len = lf ? (size_t)(lf - t.p) : t.len;
    take_line(s, slice_head(t, s->skip_line ? 0 : len));
    s->taken = len + (lf != NULL);
    s->skip_line = false;
    s->line_scan = 0;
    s->scan = 0;
    s->in_line = true;
    return true;
}

static enum xml_piece_kind next_in_lines(struct xml_split *s, struct xml_piece *ret) {
    for (;;) {
        bool too_long = false;
        if (!s->in_line && !begin_line(s, ret, &too_long)) return too_long ? XML_BAD : XML_MORE;
        struct slice t = buf_slice(&s->line_text);
        bool found;
        size_t at = find_event(t, s->line_scan, &found);
        if (!found) {
            s->in_line = false;
            drop(s, s->taken);
            s->taken = 0;
            s->scan = 0;
            continue;
        }
        s->depth = 0;
        struct cutter c = {.text = slice_from(t, at)};
        enum cut r = cut_event(s, &c);
        *ret = (struct xml_piece){.offset = s->offset, .line = s->line};
        if (r == CUT_WHOLE && c.at <= XML_EVENT_MAX) {
            s->line_scan = at + c.at;
            ret->text = slice_head(c.text, c.at);
            return XML_EVENT;
        }
        ret->why = r == CUT_BAD     ? c.why
                   : r == CUT_WHOLE ? "an event longer than 1 MiB"
                                    : "a line cut off inside an event";
        s->line_scan = r == CUT_WHOLE ? at + c.at : at + 1;
        return XML_BAD;
    }
}

enum xml_piece_kind xml_split_next(struct xml_split *s, struct xml_piece *ret) {
    if (s->form != XML_DOCUMENT) return next_in_lines(s, ret);
    if (s->taken) drop(s, s->taken);
    s->taken = 0;
    return next_in_document(s, ret);
}
