/* JSON objects to events, member by member; unknown members are refused, so that nothing is lost silently. */
#include "json_event.h"
#include "clock.h"

#include <stddef.h>

static const struct {
    const char *key;
    size_t offset;
} numbers[] = {
    {"event_id", offsetof(struct event, event_id)},
    {"qualifiers", offsetof(struct event, qualifiers)},
    {"version", offsetof(struct event, version)},
    {"level", offsetof(struct event, level)},
    {"task", offsetof(struct event, task)},
    {"opcode", offsetof(struct event, opcode)},
    {"record_id", offsetof(struct event, record_id)},
    {"process_id", offsetof(struct event, process_id)},
    {"thread_id", offsetof(struct event, thread_id)},
    {"processor_id", offsetof(struct event, processor_id)},
    {"session_id", offsetof(struct event, session_id)},
    {"kernel_time", offsetof(struct event, kernel_time)},
    {"user_time", offsetof(struct event, user_time)},
    {"processor_time", offsetof(struct event, processor_time)},
};

static const struct {
    const char *key;
    size_t offset;
    unsigned has;
} texts[] = {
    {"provider", offsetof(struct event, provider), 0},
    {"provider_guid", offsetof(struct event, provider_guid), 0},
    {"event_source_name", offsetof(struct event, event_source), 0},
    {"channel", offsetof(struct event, channel), 0},
    {"computer", offsetof(struct event, computer), 0},
    {"user_sid", offsetof(struct event, user_sid), EVENT_HAS_SECURITY},
    {"activity_id", offsetof(struct event, activity_id), EVENT_HAS_CORRELATION},
    {"related_activity_id", offsetof(struct event, related_activity_id), EVENT_HAS_CORRELATION},
    {"system_xml", offsetof(struct event, system_xml), 0},
    {"data_name", offsetof(struct event, body_name), 0},
    {"xml", offsetof(struct event, body_xml), 0},
    {"extra_xml", offsetof(struct event, extra_xml), 0},
};

static struct slice text_of(yyjson_val *v) {
    return slice_of(yyjson_get_str(v), yyjson_get_len(v));
}

/* "Name#2" was the second value of that name, "#1" one without a name, "<Binary>" a Binary element. */
static struct event_data data_of(struct slice key, struct slice value) {
    struct event_data d = {.name = key, .value = value};
    if (slice_starts(key, SLICE_LIT("<Binary>"))) {
        return (struct event_data){.value = value, .element = EVENT_BINARY};
    }
    size_t digits = 0;
    while (digits < key.len && key.p[key.len - 1 - digits] >= '0' && key.p[key.len - 1 - digits] <= '9') digits++;
    if (digits && digits < key.len && key.p[key.len - 1 - digits] == '#') {
        d.name = slice_head(key, key.len - 1 - digits);
        if (!d.name.len) d.name = (struct slice){0};
    }
    return d;
}

static enum status read_data(yyjson_val *object, struct arena *a, struct event *ev, struct error *err) {
    yyjson_val *key, *value;
    size_t i, n;
    if (!yyjson_is_obj(object)) return error_set(err, ST_FORMAT, "data is no object");
    ev->body = EVENT_BODY_DATA;
    ev->n_data = 0;
    ev->data = arena_zalloc(a, (yyjson_obj_size(object) + 1) * sizeof *ev->data);
    if (!ev->data) return error_set(err, ST_TOOBIG, "too many values");
    yyjson_obj_foreach(object, i, n, key, value) {
        if (!yyjson_is_str(value)) return error_set(err, ST_FORMAT, "data.%s is no string", yyjson_get_str(key));
        ev->data[ev->n_data++] = data_of(text_of(key), text_of(value));
    }
    return ST_OK;
}

static enum status read_time(yyjson_val *v, struct event *ev, struct error *err) {
    bool lost = false;
    if (!yyjson_is_str(v) || filetime_parse(text_of(v), &ev->time, &ev->time_digits, &lost)) {
        return error_set(err, ST_FORMAT, "time is no RFC 3339 time");
    }
    if (lost) ev->time_text = text_of(v);
    return ST_OK;
}

/* "0x..." as render.c writes it; anything else keeps its text. */
static void read_keywords(struct slice s, struct event_num *n) {
    n->present = true;
    bool canonical = s.len > 2 && s.len <= 18 && slice_starts(s, SLICE_LIT("0x")) && (s.p[2] != '0' || s.len == 3);
    for (size_t i = 2; i < s.len; i++) {
        uint8_t c = s.p[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f')) canonical = false;
        n->v = n->v << 4 | (digit ? c - '0' : (uint8_t)(slice_lower(c) - 'a' + 10));
    }
    if (!canonical) n->text = s;
}

static enum status read_member(struct slice key, yyjson_val *v, struct arena *a, struct event *ev, struct error *err) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!slice_eq_str(key, numbers[i].key)) continue;
        if (!yyjson_is_uint(v)) return error_set(err, ST_FORMAT, "%s is no whole number", numbers[i].key);
        struct event_num *n = (struct event_num *)((char *)ev + numbers[i].offset);
        *n = (struct event_num){.v = yyjson_get_uint(v), .present = true};
        if (numbers[i].offset >= offsetof(struct event, process_id)) ev->has |= EVENT_HAS_EXECUTION;
        return ST_OK;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!slice_eq_str(key, texts[i].key)) continue;
        if (!yyjson_is_str(v)) return error_set(err, ST_FORMAT, "%s is no string", texts[i].key);
        *(struct slice *)((char *)ev + texts[i].offset) = text_of(v);
        ev->has |= texts[i].has;
        if (texts[i].offset == offsetof(struct event, body_xml)) ev->body = EVENT_BODY_XML;
        return ST_OK;
    }
    if (slice_eq_str(key, "time")) return read_time(v, ev, err);
    if (slice_eq_str(key, "data")) return read_data(v, a, ev, err);
    if (slice_eq_str(key, "keywords") && yyjson_is_str(v)) {
        read_keywords(text_of(v), &ev->keywords);
        return ST_OK;
    }
    if (slice_eq_str(key, "host") || slice_eq_str(key, "epoch")) return ST_OK; /* where it was stored, not what it is */
    return error_set(err, ST_FORMAT, "unknown member '%.*s'; lines of haechi events --format json are read here",
                     (int)(key.len < 60 ? key.len : 60), (const char *)key.p);
}

MUST_USE enum status json_event(yyjson_val *object, struct arena *a, struct event *ret, struct error *err) {
    yyjson_val *key, *value;
    size_t i, n;
    if (!yyjson_is_obj(object)) return error_set(err, ST_FORMAT, "this line is no JSON object");
    *ret = (struct event){0};
    yyjson_obj_foreach(object, i, n, key, value) {
        enum status st = read_member(text_of(key), value, a, ret, err);
        if (st) return st;
    }
    if (!ret->event_id.present || !ret->channel.p || !ret->time) {
        return error_set(err, ST_FORMAT, "event_id, channel or time is missing");
    }
    if (slice_eq_str(ret->provider, "Linux-Sysmon")) ret->form = EVENT_FORM_LINUX;
    ret->has |= EVENT_HAS_CORRELATION | EVENT_HAS_EXECUTION | EVENT_HAS_SECURITY; /* Windows always writes them */
    return ST_OK;
}
