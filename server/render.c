/* Events as JSON, XML and CSV lines. Written by hand because values may hold lone surrogates, which JSON libraries
 * refuse; everything else that is JSON goes through yyjson. Pure. */
#include "render.h"
#include "batch.h"
#include "clock.h"
#include "mem.h"
#include "text.h"

MUST_USE enum status render_format_parse(const char *name, enum render_format *ret) {
    static const char *const names[] = {"json", "xml", "csv"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum render_format)i;
            return ST_OK;
        }
    }
    return ST_INVALID;
}

static void put_key(struct buf *out, const char *key) {
    if (out->p[out->len - 1] != '{') buf_byte(out, ',');
    buf_byte(out, '"');
    buf_str(out, key);
    buf_append(out, "\":", 2);
}

static void put_quoted(struct buf *out, struct slice s) {
    buf_byte(out, '"');
    text_json(out, s);
    buf_byte(out, '"');
}

static void put_text(struct buf *out, const char *key, struct slice s) {
    if (!s.p) return;
    put_key(out, key);
    put_quoted(out, s);
}

static void put_decimal(struct buf *out, uint64_t v) {
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    buf_append(out, digits + n, sizeof digits - n);
}

static void put_num(struct buf *out, const char *key, const struct event_num *n) {
    if (!n->present) return;
    put_key(out, key);
    put_decimal(out, n->v);
}

static void put_time(struct buf *out, const struct event *ev) {
    char text[FILETIME_TEXT_MAX];
    if (ev->time_text.len) {
        text_json(out, ev->time_text);
    } else {
        buf_append(out, text, filetime_format(ev->time, ev->time_digits, text));
    }
}

static bool key_taken(const struct slice *keys, size_t n, struct slice key) {
    for (size_t i = 0; i < n; i++) {
        if (slice_eq(keys[i], key)) return true;
    }
    return false;
}

/* The key of value i, unique among the ones before it: most are the name itself. */
static struct slice unique_key(const struct event *ev, size_t i, unsigned *unnamed, const struct slice *keys,
                               struct arena *a) {
    const struct event_data *d = &ev->data[i];
    struct buf b = {0};
    if (d->name.p) {
        if (!key_taken(keys, i, d->name)) return d->name;
        buf_slice_append(&b, d->name);
    } else if (d->element == EVENT_BINARY) {
        buf_str(&b, "<Binary>");
    } else {
        buf_printf(&b, "#%u", ++*unnamed);
    }
    size_t stem = b.len;
    for (unsigned n = 2; key_taken(keys, i, buf_slice(&b)); n++) {
        b.len = stem;
        buf_printf(&b, "#%u", n);
    }
    struct slice key = arena_copy(a, buf_slice(&b));
    buf_free(&b);
    return key;
}

static void put_data(struct buf *out, const struct event *ev) {
    struct slice few[64], *keys = ev->n_data <= 64 ? few : mem_alloc(mem_mul(ev->n_data, sizeof *keys));
    struct arena a;
    arena_init(&a, EVENT_ARENA_CAP);
    unsigned unnamed = 0;
    buf_byte(out, '{');
    for (size_t i = 0; i < ev->n_data; i++) {
        keys[i] = unique_key(ev, i, &unnamed, keys, &a);
        if (i) buf_byte(out, ',');
        put_quoted(out, keys[i]);
        buf_byte(out, ':');
        put_quoted(out, ev->data[i].value);
    }
    buf_byte(out, '}');
    arena_deinit(&a);
    if (keys != few) mem_free(keys);
}

static void put_json(struct buf *out, const struct render_place *where, const struct event *ev) {
    buf_byte(out, '{');
    put_text(out, "host", slice_str(where->host));
    put_text(out, "channel", ev->channel);
    put_key(out, "epoch");
    put_decimal(out, where->epoch);
    if (where->epoch != EPOCH_CONTENT) {
        put_key(out, "record_id");
        put_decimal(out, where->record_id);
    }
    put_key(out, "time");
    buf_byte(out, '"');
    put_time(out, ev);
    buf_byte(out, '"');
    put_text(out, "provider", ev->provider);
    put_text(out, "provider_guid", ev->provider_guid);
    put_text(out, "event_source_name", ev->event_source);
    put_num(out, "event_id", &ev->event_id);
    put_num(out, "qualifiers", &ev->qualifiers);
    put_num(out, "version", &ev->version);
    put_num(out, "level", &ev->level);
    put_num(out, "task", &ev->task);
    put_num(out, "opcode", &ev->opcode);
    if (ev->keywords.text.len) {
        put_text(out, "keywords", ev->keywords.text);
    } else if (ev->keywords.present) {
        put_key(out, "keywords");
        buf_printf(out, "\"0x%llx\"", (unsigned long long)ev->keywords.v);
    }
    put_text(out, "computer", ev->computer);
    put_text(out, "user_sid", ev->user_sid);
    put_num(out, "process_id", &ev->process_id);
    put_num(out, "thread_id", &ev->thread_id);
    put_num(out, "processor_id", &ev->processor_id);
    put_num(out, "session_id", &ev->session_id);
    put_num(out, "kernel_time", &ev->kernel_time);
    put_num(out, "user_time", &ev->user_time);
    put_num(out, "processor_time", &ev->processor_time);
    put_text(out, "activity_id", ev->activity_id);
    put_text(out, "related_activity_id", ev->related_activity_id);
    if (ev->system_xml.len) put_text(out, "system_xml", ev->system_xml);
    if (ev->body == EVENT_BODY_DATA) {
        put_text(out, "data_name", ev->body_name);
        put_key(out, "data");
        put_data(out, ev);
    } else if (ev->body == EVENT_BODY_XML) {
        put_text(out, "xml", ev->body_xml);
    }
    if (ev->extra_xml.len) put_text(out, "extra_xml", ev->extra_xml);
    buf_byte(out, '}');
}

/* One CSV cell: always quoted, quotes doubled, line breaks and control characters shown, formulas disarmed. */
static void put_cell(struct buf *out, struct slice s) {
    buf_byte(out, '"');
    if (s.len && strchr("=+-@\t\r", s.p[0]) && !(s.len == 1 && s.p[0] == '-')) buf_byte(out, '\'');
    struct buf shown = {0};
    text_printable(&shown, s, SIZE_MAX);
    for (size_t i = 0; i < shown.len; i++) {
        if (shown.p[i] == '"') buf_byte(out, '"');
        buf_byte(out, shown.p[i]);
    }
    buf_free(&shown);
    buf_byte(out, '"');
}

void render_csv_header(struct buf *out) {
    buf_str(out, "time,host,channel,epoch,record_id,event_id,computer,provider,user_sid,data\n");
}

static void put_csv(struct buf *out, const struct render_place *where, const struct event *ev) {
    put_time(out, ev);
    buf_byte(out, ',');
    put_cell(out, slice_str(where->host));
    buf_byte(out, ',');
    put_cell(out, ev->channel);
    buf_printf(out, ",%lu,", (unsigned long)where->epoch);
    if (where->epoch != EPOCH_CONTENT) put_decimal(out, where->record_id);
    buf_byte(out, ',');
    put_decimal(out, ev->event_id.v);
    const struct slice cells[] = {ev->computer, ev->provider, ev->user_sid};
    for (size_t i = 0; i < 3; i++) {
        buf_byte(out, ',');
        put_cell(out, cells[i]);
    }
    buf_byte(out, ',');
    struct buf data = {0};
    if (ev->body == EVENT_BODY_DATA) {
        put_data(&data, ev);
    } else {
        buf_slice_append(&data, ev->body_xml);
    }
    put_cell(out, buf_slice(&data));
    buf_free(&data);
}

void render_event(struct buf *out, enum render_format format, const struct render_place *where,
                  const struct event *ev) {
    switch (format) {
    case RENDER_JSON: put_json(out, where, ev); break;
    case RENDER_XML: event_write_xml(ev, out); break;
    case RENDER_CSV: put_csv(out, where, ev); break;
    }
    buf_byte(out, '\n');
}
