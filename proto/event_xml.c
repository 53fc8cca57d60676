/* The event as XML on one line, as Windows' EvtRender or Sysmon for Linux prints it. Pure.
 *
 * What was kept as XML (UserData, an unusual System) goes out as it came in; whatever it is, line ends in it are
 * escaped, so that no event can spread over two lines. */
#include "clock.h"
#include "event.h"
#include "text.h"

struct writer {
    struct buf *out;
    char quote; /* of attributes */
    bool linux_form;
};

/* 0: goes out as it is; 1: needs a look */
static bool is_plain(uint8_t c) {
    return c >= 0x20 && c < 0xed && c != '&' && c != '<' && c != '>' && c != '\'' && c != '"';
}

static void put_special(struct writer *w, struct slice *s, bool in_attribute) {
    struct buf *out = w->out;
    uint32_t cp = 0;
    size_t n = text_next(*s, &cp);
    const char *as = NULL;
    switch (n ? cp : 0xfffd) {
    case '&': as = "&amp;"; break;
    case '<': as = "&lt;"; break;
    case '>': as = "&gt;"; break;
    case '"': as = "&quot;"; break;
    case '\'': as = w->linux_form ? "'" : "&apos;"; break;
    case '\r': as = "&#13;"; break;
    case '\n': as = "&#10;"; break;
    case '\t': as = in_attribute ? "&#9;" : "\t"; break;
    default: break;
    }
    if (as) {
        buf_str(out, as);
    } else if (!n) {
        text_put_cp(out, 0xfffd);
    } else if (cp >= 0xd800 && cp <= 0xdfff) {
        buf_printf(out, "&#x%X;", (unsigned)cp);
    } else {
        buf_append(out, s->p, n);
    }
    *s = slice_from(*s, n ? n : 1);
}

static void put_escaped(struct writer *w, struct slice s, bool in_attribute) {
    while (s.len) {
        size_t run = 0;
        while (run < s.len && is_plain(s.p[run])) {
            uint32_t cp;
            size_t n = s.p[run] < 0x80 ? 1 : text_next(slice_from(s, run), &cp);
            if (!n) break;
            run += n;
        }
        buf_append(w->out, s.p, run);
        s = slice_from(s, run);
        if (s.len) put_special(w, &s, in_attribute);
    }
}

void event_escape_xml(struct buf *out, struct slice s, bool in_attribute) {
    struct writer w = {out, '\'', false};
    put_escaped(&w, s, in_attribute);
}

static void put_fragment(struct writer *w, struct slice s) {
    for (; s.len; s = slice_from(s, 1)) {
        size_t run = 0;
        while (run < s.len && s.p[run] != '\r' && s.p[run] != '\n') run++;
        buf_append(w->out, s.p, run);
        s = slice_from(s, run);
        if (!s.len) break;
        buf_str(w->out, s.p[0] == '\r' ? "&#13;" : "&#10;");
    }
}

static void put_attribute(struct writer *w, const char *name, struct slice value) {
    if (!value.p) return;
    buf_byte(w->out, ' ');
    buf_str(w->out, name);
    buf_byte(w->out, '=');
    buf_byte(w->out, (uint8_t)w->quote);
    put_escaped(w, value, true);
    buf_byte(w->out, (uint8_t)w->quote);
}

static size_t put_decimal(uint64_t v, char out[21]) {
    char digits[20];
    size_t n = 0;
    do digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    for (size_t i = 0; i < n; i++) out[i] = digits[n - 1 - i];
    return n;
}

static struct slice num_text(const struct event_num *n, char scratch[21]) {
    if (n->text.len) return n->text;
    return slice_of(scratch, put_decimal(n->v, scratch));
}

static void put_num_attribute(struct writer *w, const char *name, const struct event_num *n) {
    char scratch[21];
    if (n->present) put_attribute(w, name, num_text(n, scratch));
}

static void put_element(struct writer *w, const char *name, struct slice text) {
    buf_byte(w->out, '<');
    buf_str(w->out, name);
    buf_byte(w->out, '>');
    put_escaped(w, text, false);
    buf_str(w->out, "</");
    buf_str(w->out, name);
    buf_byte(w->out, '>');
}

static void put_num_element(struct writer *w, const char *name, const struct event_num *n) {
    char scratch[21];
    if (n->present) put_element(w, name, num_text(n, scratch));
}

static void put_time(struct writer *w, const struct event *ev) {
    if (!ev->time && !ev->time_text.p) return;
    char scratch[FILETIME_TEXT_MAX];
    struct slice text = ev->time_text;
    if (!text.len) text = slice_of(scratch, filetime_format(ev->time, ev->time_digits, scratch));
    buf_str(w->out, "<TimeCreated");
    put_attribute(w, "SystemTime", text);
    buf_str(w->out, "/>");
}

static void put_event_id(struct writer *w, const struct event *ev) {
    char scratch[21];
    if (!ev->event_id.present) return;
    buf_str(w->out, "<EventID");
    put_num_attribute(w, "Qualifiers", &ev->qualifiers);
    buf_byte(w->out, '>');
    put_escaped(w, num_text(&ev->event_id, scratch), false);
    buf_str(w->out, "</EventID>");
}

static void put_keywords(struct writer *w, const struct event *ev) {
    char scratch[24] = "0x";
    if (!ev->keywords.present) return;
    struct slice text = ev->keywords.text;
    if (!text.len) {
        int n = 1;
        while (n < 16 && ev->keywords.v >> (4 * n)) n++;
        for (int i = 0; i < n; i++) scratch[2 + i] = "0123456789abcdef"[ev->keywords.v >> (4 * (n - 1 - i)) & 15];
        text = slice_of(scratch, 2 + (size_t)n);
    }
    put_element(w, "Keywords", text);
}

static void put_system(struct writer *w, const struct event *ev) {
    struct buf *out = w->out;
    buf_str(out, "<System>");
    if (ev->provider.p || ev->provider_guid.p || ev->event_source.p) {
        buf_str(out, "<Provider");
        put_attribute(w, "Name", ev->provider);
        put_attribute(w, "Guid", ev->provider_guid);
        put_attribute(w, "EventSourceName", ev->event_source);
        buf_str(out, "/>");
    }
    put_event_id(w, ev);
    put_num_element(w, "Version", &ev->version);
    put_num_element(w, "Level", &ev->level);
    put_num_element(w, "Task", &ev->task);
    put_num_element(w, "Opcode", &ev->opcode);
    put_keywords(w, ev);
    put_time(w, ev);
    put_num_element(w, "EventRecordID", &ev->record_id);
    if (ev->has & EVENT_HAS_CORRELATION) {
        buf_str(out, "<Correlation");
        put_attribute(w, "ActivityID", ev->activity_id);
        put_attribute(w, "RelatedActivityID", ev->related_activity_id);
        buf_str(out, "/>");
    }
    if (ev->has & EVENT_HAS_EXECUTION) {
        buf_str(out, "<Execution");
        put_num_attribute(w, "ProcessID", &ev->process_id);
        put_num_attribute(w, "ThreadID", &ev->thread_id);
        put_num_attribute(w, "ProcessorID", &ev->processor_id);
        put_num_attribute(w, "SessionID", &ev->session_id);
        put_num_attribute(w, "KernelTime", &ev->kernel_time);
        put_num_attribute(w, "UserTime", &ev->user_time);
        put_num_attribute(w, "ProcessorTime", &ev->processor_time);
        buf_str(out, "/>");
    }
    if (ev->channel.p) put_element(w, "Channel", ev->channel);
    if (ev->computer.p) put_element(w, "Computer", ev->computer);
    if (ev->has & EVENT_HAS_SECURITY) {
        buf_str(out, "<Security");
        put_attribute(w, w->linux_form ? "UserId" : "UserID", ev->user_sid);
        buf_str(out, "/>");
    }
    buf_str(out, "</System>");
}

static void put_data(struct writer *w, const struct event *ev) {
    buf_str(w->out, "<EventData");
    put_attribute(w, "Name", ev->body_name);
    buf_byte(w->out, '>');
    for (size_t i = 0; i < ev->n_data; i++) {
        const struct event_data *d = &ev->data[i];
        buf_str(w->out, d->element == EVENT_BINARY ? "<Binary" : "<Data");
        put_attribute(w, "Name", d->name);
        buf_byte(w->out, '>');
        put_escaped(w, d->value, false);
        buf_str(w->out, d->element == EVENT_BINARY ? "</Binary>" : "</Data>");
    }
    buf_str(w->out, "</EventData>");
}

void event_write_xml(const struct event *ev, struct buf *out) {
    bool linux_form = ev->form == EVENT_FORM_LINUX;
    struct writer w = {out, linux_form ? '"' : '\'', linux_form};
    buf_str(out, linux_form ? "<Event>" : "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'>");
    if (ev->system_xml.len) {
        put_fragment(&w, ev->system_xml);
    } else {
        put_system(&w, ev);
    }
    if (ev->body == EVENT_BODY_DATA) put_data(&w, ev);
    if (ev->body == EVENT_BODY_XML) put_fragment(&w, ev->body_xml);
    put_fragment(&w, ev->extra_xml);
    buf_str(out, "</Event>");
}
