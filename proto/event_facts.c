/* Questions to an event: a value by name, the processes it names, its identity. Pure. */
#include "event.h"

struct slice event_value(const struct event *ev, const char *name) {
    struct slice wanted = slice_str(name);
    for (size_t i = 0; i < ev->n_data; i++) {
        if (ev->data[i].name.p && slice_eq_nocase(ev->data[i].name, wanted)) {
            struct slice v = ev->data[i].value;
            return v.p ? v : SLICE_LIT("");
        }
    }
    return (struct slice){NULL, 0};
}

bool event_is_doubled(struct slice provider, uint64_t event_id, struct slice field) {
    if (event_id != 1 && event_id != 13) return false;
    if (!slice_eq_nocase(field, event_id == 1 ? SLICE_LIT("CommandLine") : SLICE_LIT("Details"))) return false;
    return slice_eq_nocase(provider, SLICE_LIT("Microsoft-Windows-Sysmon"));
}

size_t event_undouble(struct slice s, uint8_t *out) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        out[n++] = s.p[i];
        if (s.p[i] == '%' && i + 1 < s.len && s.p[i + 1] == '%') i++;
    }
    return n;
}

static bool is_process_guid_name(struct slice name) {
    if (name.len == 11) return slice_eq_nocase(name, SLICE_LIT("ProcessGuid"));
    if (name.len != 17) return false;
    return slice_eq_nocase(name, SLICE_LIT("ParentProcessGuid")) ||
           slice_eq_nocase(name, SLICE_LIT("SourceProcessGuid")) ||
           slice_eq_nocase(name, SLICE_LIT("TargetProcessGuid"));
}

size_t event_process_guids(const struct event *ev, struct guid out[EVENT_MAX_GUIDS]) {
    size_t n = 0;
    for (size_t i = 0; i < ev->n_data && n < EVENT_MAX_GUIDS; i++) {
        struct guid g;
        if (!ev->data[i].name.p || !is_process_guid_name(ev->data[i].name)) continue;
        if (guid_parse(ev->data[i].value, &g) || guid_is_zero(&g)) continue;
        size_t seen = 0;
        while (seen < n && !guid_eq(&out[seen], &g)) seen++;
        if (seen == n) out[n++] = g;
    }
    return n;
}

/* ---- identity ---- */

static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static bool is_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Drops the zeros in front of a number: they are a matter of who renders it. */
static struct slice without_zeros(struct slice s) {
    bool hex = s.len > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X');
    struct slice digits = hex ? slice_from(s, 2) : s;
    if (!digits.len) return s;
    for (size_t i = 0; i < digits.len; i++) {
        if (hex ? !is_hex(digits.p[i]) : digits.p[i] < '0' || digits.p[i] > '9') return s;
    }
    while (digits.len > 1 && digits.p[0] == '0') digits = slice_from(digits, 1);
    return digits;
}

/* Case, blanks and control characters do not count. Eight bytes at a time go into the hash. */
static uint64_t mix_text(uint64_t h, struct slice s) {
    uint64_t word = 0;
    unsigned n = 0;
    size_t total = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c <= 0x20) continue;
        word = word << 8 | (uint8_t)slice_lower(c);
        total++;
        if (++n < 8) continue;
        h = mix(h, word);
        word = 0;
        n = 0;
    }
    return mix(mix(h, word), total);
}

static bool is_blank(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] > 0x20) return false;
    }
    return true;
}

/* The texts between the tags of a fragment and its element names, without attributes and prefixes. */
static uint64_t mix_fragment(uint64_t h, struct slice s) {
    while (s.len) {
        const uint8_t *tag = memchr(s.p, '<', s.len);
        struct slice text = slice_head(s, tag ? (size_t)(tag - s.p) : s.len);
        if (!is_blank(text)) h = mix_text(h, text);
        if (!tag) break;
        const uint8_t *name = tag + 1, *end = s.p + s.len, *p = name;
        while (p<end && * p> 0x20 && *p != '>' && *p != '/') {
            if (*p++ == ':') name = p;
        }
        if (p > name) h = mix_text(h, slice_of(name, (size_t)(p - name)));
        uint8_t quote = 0;
        for (; p < end && (quote || *p != '>'); p++) {
            if (quote) {
                if (*p == quote) quote = 0;
            } else if (*p == '\'' || *p == '"') {
                quote = *p;
            }
        }
        s = slice_from(s, (size_t)(p - s.p) + (p < end));
    }
    return h;
}

uint64_t event_content_hash(const struct event *ev) {
    uint64_t h = UINT64_C(0x243f6a8885a308d3);
    const struct event_num *const nums[] = {&ev->event_id, &ev->version,   &ev->level,      &ev->task,     &ev->opcode,
                                            &ev->keywords, &ev->record_id, &ev->process_id, &ev->thread_id};
    for (size_t i = 0; i < sizeof nums / sizeof *nums; i++) h = mix(h, nums[i]->present ? nums[i]->v : 0);
    h = mix(h, ev->time);
    h = mix_text(h, ev->provider);
    h = mix_text(h, ev->channel);
    h = mix_text(h, ev->computer);
    h = mix_text(h, ev->user_sid);
    for (size_t i = 0; i < ev->n_data; i++) {
        if (is_blank(ev->data[i].value)) continue; /* some renderings leave empty values out */
        h = mix_text(h, ev->data[i].name);
        h = mix_text(h, without_zeros(ev->data[i].value));
    }
    if (ev->body == EVENT_BODY_XML) h = mix_fragment(h, ev->body_xml);
    return h;
}
