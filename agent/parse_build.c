/* 2 PARSE  The tree of an <Event> -> struct event. Pure.
 *
 * System's known elements and attributes become members; when there is anything else in it, all of it is kept as text
 * too. Other parts that the struct has no members for become text in one normal form, so that reading what was written
 * gives the same event. */
#include "clock.h"
#include "parse_internal.h"

struct build {
    struct arena *a;
    struct event ev;
    bool has_xmlns;
    bool unusual;          /* System holds what the members cannot say */
    bool user_id, user_Id; /* Windows' and Linux' spelling seen */
    uint32_t seen;         /* System's elements, to notice a second one */
    struct buf xml;        /* scratch for fragments */
    const struct xml_node *root;
};

static bool is_blank(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] != ' ' && s.p[i] != '\t' && s.p[i] != '\n' && s.p[i] != '\r') return false;
    }
    return true;
}

static bool is_text(const struct xml_node *n) {
    return !n->name.p;
}

/* ---- fragments ---- */

static void put_node(struct build *b, const struct xml_node *n);

static bool has_elements(const struct xml_node *n) {
    for (const struct xml_node *c = n->first; c; c = c->next) {
        if (!is_text(c)) return true;
    }
    return false;
}

static void put_attribute(struct build *b, const struct xml_attribute *at) {
    buf_byte(&b->xml, ' ');
    buf_slice_append(&b->xml, at->name);
    buf_str(&b->xml, "='");
    event_escape_xml(&b->xml, at->value, true);
    buf_byte(&b->xml, '\'');
}

/* Prefixes that the root declares are declared at the fragment's own element, which may stand alone then. */
static void put_inherited(struct build *b, const struct xml_node *n) {
    for (size_t i = 0; i < b->root->n_attributes; i++) {
        const struct xml_attribute *at = &b->root->attributes[i];
        if (!slice_starts(at->name, SLICE_LIT("xmlns:"))) continue;
        size_t k = 0;
        while (k < n->n_attributes && !slice_eq(n->attributes[k].name, at->name)) k++;
        if (k == n->n_attributes) put_attribute(b, at);
    }
}

static void put_element(struct build *b, const struct xml_node *n) {
    buf_byte(&b->xml, '<');
    buf_slice_append(&b->xml, n->name);
    for (size_t i = 0; i < n->n_attributes; i++) put_attribute(b, &n->attributes[i]);
    if (n->parent == b->root) put_inherited(b, n);
    if (!n->first) {
        buf_str(&b->xml, "/>");
        return;
    }
    buf_byte(&b->xml, '>');
    bool nested = has_elements(n);
    for (const struct xml_node *c = n->first; c; c = c->next) {
        if (!(nested && is_text(c) && is_blank(c->text))) put_node(b, c);
    }
    buf_str(&b->xml, "</");
    buf_slice_append(&b->xml, n->name);
    buf_byte(&b->xml, '>');
}

static void put_node(struct build *b, const struct xml_node *n) {
    if (is_text(n)) {
        event_escape_xml(&b->xml, n->text, false);
    } else {
        put_element(b, n);
    }
}

static bool take_xml(struct build *b, struct slice *ret) {
    *ret = arena_copy(b->a, buf_slice(&b->xml));
    buf_clear(&b->xml);
    return ret->p != NULL;
}

/* ---- System ---- */

/* Decimal or 0x-hex digits; *ret_v holds what there was until something else came. */
static bool read_number(struct slice s, uint64_t *ret_v) {
    uint64_t v = 0;
    bool hex = s.len > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X');
    bool fine = s.len > 0;
    for (size_t i = hex ? 2 : 0; i < s.len && fine; i++) {
        uint8_t c = s.p[i];
        unsigned d = c >= '0' && c <= '9'          ? c - (unsigned)'0'
                     : hex && c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10
                     : hex && c >= 'A' && c <= 'F' ? c - (unsigned)'A' + 10
                                                   : 99;
        unsigned base = hex ? 16 : 10;
        fine = d < base && v <= (UINT64_MAX - d) / base;
        if (fine) v = v * base + d;
    }
    *ret_v = fine ? v : 0;
    return fine;
}

static struct slice trimmed(struct slice s) {
    while (s.len && is_blank(slice_head(s, 1))) s = slice_from(s, 1);
    while (s.len && is_blank(slice_of(s.p + s.len - 1, 1))) s.len--;
    return s;
}

bool parse_number(struct slice text, bool hex, struct event_num *ret) {
    if (!text.len) return false;
    struct event_num n = {.present = true, .text = text};
    bool fine = read_number(trimmed(text), &n.v);
    bool written_hex = text.len > 2 && text.p[1] == 'x';
    bool canonical = fine && hex == written_hex;
    if (hex) {
        canonical = canonical && (text.p[2] != '0' || text.len == 3);
        for (size_t i = 2; i < text.len; i++) canonical = canonical && (text.p[i] <= '9' || text.p[i] >= 'a');
    } else {
        canonical = canonical && (text.p[0] != '0' || text.len == 1);
    }
    for (size_t i = 0; i < text.len; i++) canonical = canonical && text.p[i] > ' ';
    if (canonical) n.text = (struct slice){NULL, 0};
    *ret = n;
    return true;
}

bool parse_time(struct slice text, struct event *ev) {
    if (!text.len) return false;
    bool lost = false;
    uint64_t ft = 0;
    int digits = 0;
    enum status st = filetime_parse(text, &ft, &digits, &lost);
    ev->time = st ? 0 : ft;
    ev->time_digits = st ? 0 : digits;
    bool canonical = !st && !lost && ft && text.p[10] == 'T' && text.p[text.len - 1] == 'Z';
    ev->time_text = canonical ? (struct slice){NULL, 0} : text;
    return true;
}

static void take_number(struct build *b, struct slice text, bool hex, struct event_num *ret) {
    if (!parse_number(text, hex, ret)) b->unusual = true;
}

/* The text of an element without child elements. */
static struct slice text_of(struct build *b, const struct xml_node *n) {
    if (!n->first) return SLICE_LIT("");
    if (n->first->next || !is_text(n->first)) {
        b->unusual = true;
        return SLICE_LIT("");
    }
    return n->first->text;
}

struct known_attribute {
    const char *name;
    struct slice *text;
    struct event_num *number;
};

static void take_attributes(struct build *b, const struct xml_node *n, const struct known_attribute *known,
                            size_t n_known) {
    for (size_t i = 0; i < n->n_attributes; i++) {
        const struct xml_attribute *at = &n->attributes[i];
        size_t k = 0;
        while (k < n_known && !slice_eq_str(at->name, known[k].name)) k++;
        if (k == n_known) {
            b->unusual = true;
        } else if (known[k].text) {
            *known[k].text = at->value;
        } else {
            take_number(b, at->value, false, known[k].number);
        }
    }
}

static void take_empty(struct build *b, const struct xml_node *n, const struct known_attribute *known, size_t n_known) {
    take_attributes(b, n, known, n_known);
    if (has_elements(n) || !is_blank(text_of(b, n))) b->unusual = true;
}

#define TAKE_EMPTY(b, n, ...)                                       \
    take_empty(b, n, (const struct known_attribute[]){__VA_ARGS__}, \
               sizeof((const struct known_attribute[]){__VA_ARGS__}) / sizeof(struct known_attribute))

static void take_security(struct build *b, const struct xml_node *n) {
    struct event *ev = &b->ev;
    struct slice windows = {NULL, 0}, other = {NULL, 0};
    TAKE_EMPTY(b, n, {"UserID", &windows, NULL}, {"UserId", &other, NULL});
    b->user_id = windows.p != NULL;
    b->user_Id = other.p != NULL;
    ev->user_sid = windows.p ? windows : other;
    ev->has |= EVENT_HAS_SECURITY;
}

static void take_number_element(struct build *b, const struct xml_node *n, bool hex, struct event_num *ret) {
    if (n->n_attributes) b->unusual = true;
    take_number(b, text_of(b, n), hex, ret);
}

static void take_text_element(struct build *b, const struct xml_node *n, struct slice *ret) {
    if (n->n_attributes) b->unusual = true;
    *ret = text_of(b, n);
}

enum {
    S_PROVIDER,
    S_EVENT_ID,
    S_VERSION,
    S_LEVEL,
    S_TASK,
    S_OPCODE,
    S_KEYWORDS,
    S_TIME,
    S_RECORD_ID,
    S_CORRELATION,
    S_EXECUTION,
    S_CHANNEL,
    S_COMPUTER,
    S_SECURITY,
    S_COUNT
};

static const char *const system_names[S_COUNT] = {"Provider",      "EventID",     "Version",   "Level",
                                                  "Task",          "Opcode",      "Keywords",  "TimeCreated",
                                                  "EventRecordID", "Correlation", "Execution", "Channel",
                                                  "Computer",      "Security"};

static void take_system_element(struct build *b, const struct xml_node *n) {
    struct event *ev = &b->ev;
    int which = 0;
    while (which < S_COUNT && !slice_eq_str(n->name, system_names[which])) which++;
    if (which == S_COUNT || (b->seen & 1u << which)) {
        b->unusual = true;
        return;
    }
    b->seen |= 1u << which;
    struct slice time = {NULL, 0};
    switch (which) {
    case S_PROVIDER:
        TAKE_EMPTY(b, n, {"Name", &ev->provider, NULL}, {"Guid", &ev->provider_guid, NULL},
                   {"EventSourceName", &ev->event_source, NULL});
        if (!n->n_attributes) b->unusual = true;
        break;
    case S_EVENT_ID:
        take_attributes(b, n, &(struct known_attribute){"Qualifiers", NULL, &ev->qualifiers}, 1);
        take_number(b, text_of(b, n), false, &ev->event_id);
        break;
    case S_VERSION: take_number_element(b, n, false, &ev->version); break;
    case S_LEVEL: take_number_element(b, n, false, &ev->level); break;
    case S_TASK: take_number_element(b, n, false, &ev->task); break;
    case S_OPCODE: take_number_element(b, n, false, &ev->opcode); break;
    case S_KEYWORDS: take_number_element(b, n, true, &ev->keywords); break;
    case S_TIME:
        TAKE_EMPTY(b, n, {"SystemTime", &time, NULL});
        if (!parse_time(time, ev)) b->unusual = true;
        break;
    case S_RECORD_ID: take_number_element(b, n, false, &ev->record_id); break;
    case S_CORRELATION:
        TAKE_EMPTY(b, n, {"ActivityID", &ev->activity_id, NULL}, {"RelatedActivityID", &ev->related_activity_id, NULL});
        ev->has |= EVENT_HAS_CORRELATION;
        break;
    case S_EXECUTION:
        TAKE_EMPTY(b, n, {"ProcessID", NULL, &ev->process_id}, {"ThreadID", NULL, &ev->thread_id},
                   {"ProcessorID", NULL, &ev->processor_id}, {"SessionID", NULL, &ev->session_id},
                   {"KernelTime", NULL, &ev->kernel_time}, {"UserTime", NULL, &ev->user_time},
                   {"ProcessorTime", NULL, &ev->processor_time});
        ev->has |= EVENT_HAS_EXECUTION;
        break;
    case S_CHANNEL: take_text_element(b, n, &ev->channel); break;
    case S_COMPUTER: take_text_element(b, n, &ev->computer); break;
    default: take_security(b, n); break;
    }
}

static bool take_system(struct build *b, const struct xml_node *system) {
    if (system->n_attributes) b->unusual = true;
    for (const struct xml_node *n = system->first; n; n = n->next) {
        if (!is_text(n)) {
            take_system_element(b, n);
        } else if (!is_blank(n->text)) {
            b->unusual = true;
        }
    }
    bool linux_form = !b->has_xmlns && !b->user_id;
    b->ev.form = linux_form ? EVENT_FORM_LINUX : EVENT_FORM_WINDOWS;
    if (b->user_Id && (!linux_form || b->user_id)) b->unusual = true;
    if (!b->unusual) return true;
    put_element(b, system);
    return take_xml(b, &b->ev.system_xml);
}

/* ---- the body ---- */

static const char *const body_names[] = {"EventData", "UserData", "DebugData", "BinaryEventData"};

static bool is_body(const struct xml_node *n) {
    for (size_t i = 0; i < sizeof body_names / sizeof *body_names; i++) {
        if (slice_eq_str(n->name, body_names[i])) return true;
    }
    return false;
}

static bool has_only_name(const struct xml_node *n) {
    return n->n_attributes == 0 || (n->n_attributes == 1 && slice_eq_str(n->attributes[0].name, "Name"));
}

/* Whether the members can say it; counts the values. */
static bool is_plain_data(const struct xml_node *body, size_t *ret_n) {
    if (!slice_eq_str(body->name, "EventData") || !has_only_name(body)) return false;
    size_t n = 0;
    for (const struct xml_node *c = body->first; c; c = c->next) {
        if (is_text(c)) {
            if (!is_blank(c->text)) return false;
            continue;
        }
        bool known = slice_eq_str(c->name, "Data") || slice_eq_str(c->name, "Binary");
        if (!known || !has_only_name(c) || has_elements(c) || ++n > EVENT_MAX_DATA) return false;
    }
    *ret_n = n;
    return true;
}

static bool take_body(struct build *b, const struct xml_node *body) {
    struct event *ev = &b->ev;
    size_t n;
    if (!is_plain_data(body, &n)) {
        ev->body = EVENT_BODY_XML;
        put_element(b, body);
        return take_xml(b, &ev->body_xml);
    }
    ev->body = EVENT_BODY_DATA;
    if (body->n_attributes) ev->body_name = body->attributes[0].value;
    if (!n) return true;
    struct event_data *data = arena_alloc(b->a, n * sizeof *data);
    if (!data) return false;
    for (const struct xml_node *c = body->first; c; c = c->next) {
        if (is_text(c)) continue;
        struct event_data *d = &data[ev->n_data++];
        d->name = c->n_attributes ? c->attributes[0].value : (struct slice){NULL, 0};
        d->value = c->first ? c->first->text : SLICE_LIT("");
        d->element = slice_eq_str(c->name, "Binary") ? EVENT_BINARY : EVENT_DATA;
    }
    ev->data = data;
    return true;
}

static bool take_extra(struct build *b, const struct xml_node *system, const struct xml_node *body) {
    for (const struct xml_node *n = b->root->first; n; n = n->next) {
        if (n != system && n != body && !(is_text(n) && is_blank(n->text))) put_node(b, n);
    }
    return b->xml.len == 0 || take_xml(b, &b->ev.extra_xml);
}

MUST_USE enum status parse_build(const struct xml_node *root, struct arena *a, struct event *ret,
                                 const char **ret_why) {
    *ret_why = "the root element is not <Event>";
    if (!slice_eq_str(root->name, "Event")) return ST_FORMAT;
    const struct xml_node *system = NULL, *body = NULL;
    for (const struct xml_node *n = root->first; n; n = n->next) {
        if (is_text(n)) continue;
        if (!system && slice_eq_str(n->name, "System")) {
            system = n;
        } else if (!body && is_body(n)) {
            body = n;
        }
    }
    *ret_why = "the event has no <System> element";
    if (!system) return ST_FORMAT;
    struct build b = {.a = a, .root = root};
    for (size_t i = 0; i < root->n_attributes; i++) {
        if (slice_eq_str(root->attributes[i].name, "xmlns")) b.has_xmlns = true;
    }
    bool fits = take_system(&b, system) && (!body || take_body(&b, body)) && take_extra(&b, system, body);
    buf_free(&b.xml);
    *ret_why = "over the memory limit";
    if (!fits) return ST_NOMEM;
    *ret = b.ev;
    return ST_OK;
}
