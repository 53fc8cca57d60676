/* 2 PARSE  The shape in which nearly all events come, read in one pass without a tree. Pure.
 *
 * Known elements in the order in which EvtRender and Sysmon for Linux print them, without blanks between them, values
 * borrowed from the text unless they hold references. At anything else this gives up and expat decides; where it does
 * not, the result is the one that expat's way gives. */
#include "parse_internal.h"
#include "parse_text.h"
#include "text.h"

#define MAX_DATA 128

struct cursor {
    const uint8_t *p, *end;
    struct arena *a;
    bool bad;
};

static bool skip(struct cursor *c, const char *lit, size_t len) {
    if ((size_t)(c->end - c->p) < len || memcmp(c->p, lit, len) != 0) return false;
    c->p += len;
    return true;
}

#define SKIP(c, lit) skip(c, lit, sizeof(lit) - 1)

static void need(struct cursor *c, bool fine) {
    if (!fine) c->bad = true;
}

#define NEED(c, lit) need(c, SKIP(c, lit))

/* ---- texts ---- */

/* 0: goes on; 1: ends the run, look closer */
static const uint8_t stops[256] = {
    [0] = 1,  ['\t'] = 1, ['\n'] = 1, ['\r'] = 1, ['"'] = 1, ['&'] = 1, ['\''] = 1, ['<'] = 1, ['>'] = 1,
#define R8(n) [n] = 1, [n + 1] = 1, [n + 2] = 1, [n + 3] = 1, [n + 4] = 1, [n + 5] = 1, [n + 6] = 1, [n + 7] = 1
    R8(0x80), R8(0x88),   R8(0x90),   R8(0x98),   R8(0xa0),  R8(0xa8),  R8(0xb0),   R8(0xb8),  R8(0xc0),
    R8(0xc8), R8(0xd0),   R8(0xd8),   R8(0xe0),   R8(0xe8),  R8(0xf0),  R8(0xf8),
#undef R8
};

/* The reference at s.p; 0 when it is for expat to judge. */
static size_t reference(struct slice s, uint32_t *ret_cp) {
    static const struct {
        struct slice text;
        char c;
    } named[] = {
#define NAMED(t, ch) {{(const uint8_t *)(t), sizeof(t) - 1}, ch}
        NAMED("&lt;", '<'), NAMED("&gt;", '>'), NAMED("&amp;", '&'), NAMED("&quot;", '"'), NAMED("&apos;", '\''),
#undef NAMED
    };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (!slice_starts(s, named[i].text)) continue;
        *ret_cp = (uint8_t)named[i].c;
        return named[i].text.len;
    }
    size_t n = parse_char_ref(s, ret_cp);
    return n && *ret_cp >= 0xd800 && *ret_cp <= 0xdfff ? 0 : n;
}

/* The text from `from` to c->p, which is the first reference in it, goes into the arena, with the rest up to `until`. */
static struct slice decoded(struct cursor *c, const uint8_t *from, uint8_t until);

/* A text that ends before `until` ('<', or the quote of an attribute); c->p is there afterwards. */
static struct slice text(struct cursor *c, uint8_t until) {
    const uint8_t *from = c->p, *p = c->p;
    for (;;) {
        while (p < c->end && !stops[*p]) p++;
        if (p == c->end) break;
        if (*p == until) {
            c->p = p;
            return slice_of(from, (size_t)(p - from));
        }
        if (*p == '&') {
            c->p = p;
            return decoded(c, from, until);
        }
        if (*p >= 0x80) {
            uint32_t cp;
            size_t n = text_next(slice_of(p, (size_t)(c->end - p)), &cp);
            if (!n || (cp >= 0xd800 && cp <= 0xdfff)) break;
            p += n;
            continue;
        }
        if (*p == '<' || *p == '\r' || *p == 0) break;
        if (until != '<' && (*p == '\t' || *p == '\n')) break;
        if (*p == '>' && until == '<' && p - from >= 2 && p[-1] == ']' && p[-2] == ']') break;
        p++;
    }
    c->bad = true;
    return SLICE_LIT("");
}

static struct slice decoded(struct cursor *c, const uint8_t *from, uint8_t until) {
    const uint8_t *end = memchr(c->p, until, (size_t)(c->end - c->p));
    uint8_t *out = end ? arena_alloc(c->a, (size_t)(end - from)) : NULL, *o = out;
    if (!out) {
        c->bad = true;
        return SLICE_LIT("");
    }
    const uint8_t *p = c->p;
    memcpy(o, from, (size_t)(p - from));
    o += p - from;
    while (p < end) {
        uint32_t cp;
        size_t n = *p == '&' ? reference(slice_of(p, (size_t)(end - p)), &cp) : 0;
        if (n) {
            struct buf utf8 = {o, 0, 4}; /* a character is never longer than its reference */
            text_put_cp(&utf8, cp);
            o += utf8.len;
            p += n;
            continue;
        }
        n = text_next(slice_of(p, (size_t)(end - p)), &cp);
        bool odd = !n || *p == '&' || *p == '<' || *p == '\r' || *p == 0 || (cp >= 0xd800 && cp <= 0xdfff) ||
                   (until != '<' && (*p == '\t' || *p == '\n')) ||
                   (*p == '>' && until == '<' && p - from >= 2 && p[-1] == ']' && p[-2] == ']');
        if (odd) {
            c->bad = true;
            return SLICE_LIT("");
        }
        memcpy(o, p, n);
        o += n;
        p += n;
    }
    c->p = end;
    return slice_of(out, (size_t)(o - out));
}

/* The value after `name=`, where c->p is at the quote. */
static struct slice quoted(struct cursor *c) {
    uint8_t quote = c->p < c->end ? *c->p : 0;
    if (quote != '\'' && quote != '"') {
        c->bad = true;
        return SLICE_LIT("");
    }
    c->p++;
    struct slice s = text(c, quote);
    if (!c->bad) c->p++;
    return s;
}

#define ATTRIBUTE(c, name, ret)                        \
    do {                                               \
        if (SKIP(c, " " name "=")) *(ret) = quoted(c); \
    } while (0)

static void number_attribute(struct cursor *c, const char *lit, size_t len, struct event_num *ret) {
    if (skip(c, lit, len)) need(c, parse_number(quoted(c), false, ret));
}

#define NUMBER_ATTRIBUTE(c, name, ret) number_attribute(c, " " name "=", sizeof(" " name "=") - 1, ret)

#define NUMBER_ELEMENT(c, name, hex, ret)                  \
    do {                                                   \
        if (SKIP(c, "<" name ">")) {                       \
            need(c, parse_number(text(c, '<'), hex, ret)); \
            NEED(c, "</" name ">");                        \
        }                                                  \
    } while (0)

#define TEXT_ELEMENT(c, name, ret)   \
    do {                             \
        if (SKIP(c, "<" name ">")) { \
            *(ret) = text(c, '<');   \
            NEED(c, "</" name ">");  \
        }                            \
    } while (0)

/* ---- the event ---- */

static void system_head(struct cursor *c, struct event *ev) {
    NEED(c, "<System>");
    NEED(c, "<Provider Name=");
    ev->provider = quoted(c);
    ATTRIBUTE(c, "Guid", &ev->provider_guid);
    ATTRIBUTE(c, "EventSourceName", &ev->event_source);
    NEED(c, "/>");
    NEED(c, "<EventID");
    NUMBER_ATTRIBUTE(c, "Qualifiers", &ev->qualifiers);
    NEED(c, ">");
    need(c, parse_number(text(c, '<'), false, &ev->event_id));
    NEED(c, "</EventID>");
    NUMBER_ELEMENT(c, "Version", false, &ev->version);
    NUMBER_ELEMENT(c, "Level", false, &ev->level);
    NUMBER_ELEMENT(c, "Task", false, &ev->task);
    NUMBER_ELEMENT(c, "Opcode", false, &ev->opcode);
    NUMBER_ELEMENT(c, "Keywords", true, &ev->keywords);
}

static void system_tail(struct cursor *c, struct event *ev) {
    NEED(c, "<TimeCreated SystemTime=");
    need(c, parse_time(quoted(c), ev));
    NEED(c, "/>");
    NUMBER_ELEMENT(c, "EventRecordID", false, &ev->record_id);
    if (SKIP(c, "<Correlation")) {
        ev->has |= EVENT_HAS_CORRELATION;
        ATTRIBUTE(c, "ActivityID", &ev->activity_id);
        ATTRIBUTE(c, "RelatedActivityID", &ev->related_activity_id);
        NEED(c, "/>");
    }
    if (SKIP(c, "<Execution")) {
        ev->has |= EVENT_HAS_EXECUTION;
        NUMBER_ATTRIBUTE(c, "ProcessID", &ev->process_id);
        NUMBER_ATTRIBUTE(c, "ThreadID", &ev->thread_id);
        NUMBER_ATTRIBUTE(c, "ProcessorID", &ev->processor_id);
        NUMBER_ATTRIBUTE(c, "SessionID", &ev->session_id);
        NUMBER_ATTRIBUTE(c, "KernelTime", &ev->kernel_time);
        NUMBER_ATTRIBUTE(c, "UserTime", &ev->user_time);
        NUMBER_ATTRIBUTE(c, "ProcessorTime", &ev->processor_time);
        NEED(c, "/>");
    }
    TEXT_ELEMENT(c, "Channel", &ev->channel);
    TEXT_ELEMENT(c, "Computer", &ev->computer);
    if (SKIP(c, "<Security")) {
        ev->has |= EVENT_HAS_SECURITY;
        if (ev->form == EVENT_FORM_LINUX) {
            ATTRIBUTE(c, "UserId", &ev->user_sid);
        } else {
            ATTRIBUTE(c, "UserID", &ev->user_sid);
        }
        NEED(c, "/>");
    }
    NEED(c, "</System>");
}

static bool data_element(struct cursor *c, struct event_data *ret) {
    bool binary = false;
    if (!SKIP(c, "<Data")) {
        if (!SKIP(c, "<Binary")) return false;
        binary = true;
    }
    *ret = (struct event_data){.value = SLICE_LIT(""), .element = binary ? EVENT_BINARY : EVENT_DATA};
    ATTRIBUTE(c, "Name", &ret->name);
    if (SKIP(c, "/>")) return true;
    NEED(c, ">");
    if (c->bad) return true;
    ret->value = text(c, '<');
    if (binary) {
        NEED(c, "</Binary>");
    } else {
        NEED(c, "</Data>");
    }
    return true;
}

static void event_data(struct cursor *c, struct event *ev) {
    ev->body = EVENT_BODY_DATA;
    ATTRIBUTE(c, "Name", &ev->body_name);
    if (SKIP(c, "/>")) return;
    NEED(c, ">");
    struct event_data data[MAX_DATA];
    size_t n = 0;
    while (!c->bad && n < MAX_DATA && data_element(c, &data[n])) n++;
    NEED(c, "</EventData>");
    if (c->bad || !n) return;
    struct event_data *kept = arena_alloc(c->a, n * sizeof *kept);
    if (!kept) {
        c->bad = true;
        return;
    }
    memcpy(kept, data, n * sizeof *kept);
    ev->data = kept;
    ev->n_data = n;
}

bool parse_fast(struct slice xml, struct arena *a, struct event *ret) {
    if (xml.len > XML_EVENT_MAX) return false;
    struct cursor c = {xml.p, xml.p + xml.len, a, false};
    struct event ev = {.form = EVENT_FORM_WINDOWS};
    if (SKIP(&c, "<Event>")) {
        ev.form = EVENT_FORM_LINUX;
    } else if (!SKIP(&c, "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'>") &&
               !SKIP(&c, "<Event xmlns=\"http://schemas.microsoft.com/win/2004/08/events/event\">")) {
        return false;
    }
    system_head(&c, &ev);
    if (c.bad) return false;
    system_tail(&c, &ev);
    if (c.bad) return false;
    if (SKIP(&c, "<EventData")) event_data(&c, &ev);
    NEED(&c, "</Event>");
    if (c.bad || c.p != c.end) return false;
    *ret = ev;
    return true;
}
