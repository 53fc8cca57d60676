/* The event's encoding: struct event <-> protobuf Event of haechi.proto. Pure.
 *
 * Optional members are told apart from zero by bits of `present` (enum event_member), numbers that were not written
 * canonically keep their text in `texts`, and EventData is one run of bytes, since a protobuf message for each value
 * costs four bytes and twice the time:
 *
 *     data  = varint n, then n times: name, form, content
 *     name  = varint: 0 no Name attribute; 1 length and bytes follow; else interned number + 1
 *     form  = byte: enum value_form, + 128 for a <Binary> element
 *     content of VF_TEXT: varint length, bytes; of the others: event_value.c
 */
#include "event_internal.h"
#include "fields.h"
#include "msg.h"

#define FORM_BINARY 128u

enum { NAME_NONE, NAME_TEXT, NAME_INTERNED };
enum { BODY_DATA, BODY_NONE, BODY_XML }; /* of the encoding: the usual one is 0 */

/* The numbers of System: their bit, their place in struct event and in the message. */
static const struct number_member {
    enum event_member bit;
    size_t in_event, in_message;
} numbers[] = {
#define NUMBER(BIT, name) \
    { EM_##BIT, offsetof(struct event, name), offsetof(Haechi__Event, name) }
    NUMBER(EVENT_ID, event_id),
    NUMBER(QUALIFIERS, qualifiers),
    NUMBER(VERSION, version),
    NUMBER(LEVEL, level),
    NUMBER(TASK, task),
    NUMBER(OPCODE, opcode),
    NUMBER(KEYWORDS, keywords),
    NUMBER(RECORD_ID, record_id),
    NUMBER(PROCESS_ID, process_id),
    NUMBER(THREAD_ID, thread_id),
    NUMBER(PROCESSOR_ID, processor_id),
    NUMBER(SESSION_ID, session_id),
    NUMBER(KERNEL_TIME, kernel_time),
    NUMBER(USER_TIME, user_time),
    NUMBER(PROCESSOR_TIME, processor_time),
#undef NUMBER
};

static const struct text_member {
    enum event_member bit;
    size_t in_event, in_message;
} texts[] = {
#define TEXT(BIT, name) \
    { EM_##BIT, offsetof(struct event, name), offsetof(Haechi__Event, name) }
    TEXT(PROVIDER, provider),
    TEXT(PROVIDER_GUID, provider_guid),
    TEXT(EVENT_SOURCE, event_source),
    TEXT(ACTIVITY_ID, activity_id),
    TEXT(RELATED_ACTIVITY_ID, related_activity_id),
    TEXT(CHANNEL, channel),
    TEXT(COMPUTER, computer),
    TEXT(USER_SID, user_sid),
    TEXT(BODY_NAME, body_name),
#undef TEXT
};

#define N_OF(array) (sizeof(array) / sizeof *(array))
#define BIT(member) (UINT64_C(1) << (member))

static const struct event_num *num_of(const struct event *ev, const struct number_member *m) {
    return (const struct event_num *)((const char *)ev + m->in_event);
}

/* ---- encoding ---- */

/* An upper bound of the bytes that the values take. ST_TOOBIG: they are too many. */
static enum status data_bound(const struct event *ev, size_t *ret) {
    if (ev->n_data > EVENT_MAX_DATA) return ST_TOOBIG;
    size_t bound = 16;
    for (size_t i = 0; i < ev->n_data; i++) {
        const struct event_data *d = &ev->data[i];
        if (d->name.len > EVENT_MAX_ENCODED || d->value.len > EVENT_MAX_ENCODED) return ST_TOOBIG;
        bound += d->name.len + d->value.len + 32;
    }
    *ret = bound;
    return bound > 2 * EVENT_MAX_ENCODED ? ST_TOOBIG : ST_OK;
}

static uint8_t *put_varint(uint8_t *o, uint64_t v) {
    while (v >= 0x80) {
        *o++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *o++ = (uint8_t)v;
    return o;
}

static uint8_t *put_bytes(uint8_t *o, struct slice s) {
    o = put_varint(o, s.len);
    if (s.len) memcpy(o, s.p, s.len);
    return o + s.len;
}

static uint8_t *put_value(uint8_t *o, const struct event_data *d, uint64_t time) {
    uint32_t id = event_field_id(d->name);
    if (!d->name.p) {
        *o++ = NAME_NONE;
    } else if (id) {
        o = put_varint(o, id - 1 + NAME_INTERNED);
    } else {
        *o++ = NAME_TEXT;
        o = put_bytes(o, d->name);
    }
    uint8_t *form_at = o++;
    size_t len;
    uint32_t form = (uint32_t)value_classify(d->value, time, o, &len);
    o = form == VF_TEXT ? put_bytes(o, d->value) : o + len;
    *form_at = (uint8_t)(form | (d->element == EVENT_BINARY ? FORM_BINARY : 0));
    return o;
}

static void put_data(const struct event *ev, struct buf *out, size_t bound) {
    buf_reserve(out, bound);
    uint8_t *o = put_varint(out->p, ev->n_data);
    for (size_t i = 0; i < ev->n_data; i++) o = put_value(o, &ev->data[i], ev->time);
    out->len = (size_t)(o - out->p);
}

/* What is known of the provider goes as numbers; the rest as it is. */
static uint64_t put_provider(const struct event *ev, Haechi__Event *m) {
    uint64_t present = 0;
    uint32_t number;
    const struct known_provider *known = ev->provider.p ? provider_find(ev->provider, &number) : NULL;
    if (!known) return 0;
    m->provider_known = number;
    m->provider = msg_bytes((struct slice){NULL, 0});
    if (ev->provider_guid.p && known->guid) {
        struct slice lower = slice_of(known->guid, GUID_TEXT_MAX - 1);
        struct guid g;
        char upper[GUID_TEXT_MAX];
        if (guid_parse(lower, &g) == ST_OK) {
            guid_format(&g, true, upper);
            if (slice_eq(ev->provider_guid, lower)) {
                present |= BIT(EM_GUID_KNOWN_LOWER);
            } else if (slice_eq_str(ev->provider_guid, upper)) {
                present |= BIT(EM_GUID_KNOWN_UPPER);
            }
        }
        if (present) m->provider_guid = msg_bytes((struct slice){NULL, 0});
    }
    if (ev->channel.p && slice_eq(ev->channel, known->channel)) {
        present |= BIT(EM_CHANNEL_KNOWN);
        m->channel = msg_bytes((struct slice){NULL, 0});
    }
    return present;
}

static bool is_too_big(const struct event *ev) {
    size_t sum = ev->time_text.len + ev->system_xml.len + ev->body_xml.len + ev->extra_xml.len;
    for (size_t i = 0; i < N_OF(texts); i++) sum += ((const struct slice *)((const char *)ev + texts[i].in_event))->len;
    for (size_t i = 0; i < N_OF(numbers); i++) sum += num_of(ev, &numbers[i])->text.len;
    return sum > EVENT_MAX_ENCODED;
}

MUST_USE enum status event_encode(const struct event *ev, struct buf *out) {
    size_t bound;
    if (data_bound(ev, &bound) || is_too_big(ev)) return ST_TOOBIG;
    Haechi__Event m = HAECHI__EVENT__INIT;
    Haechi__NumText num_texts[N_OF(numbers)], *num_text_ptrs[N_OF(numbers)];
    m.texts = num_text_ptrs;
    m.form = (uint32_t)ev->form;
    m.present = (uint64_t)(ev->has & 7u) << EM_HAS_CORRELATION;
    for (size_t i = 0; i < N_OF(numbers); i++) {
        const struct event_num *n = num_of(ev, &numbers[i]);
        if (!n->present) continue;
        m.present |= BIT(numbers[i].bit);
        memcpy((char *)&m + numbers[i].in_message, &n->v, sizeof n->v);
        if (!n->text.len) continue;
        Haechi__NumText *t = &num_texts[m.n_texts];
        haechi__num_text__init(t);
        t->member = (uint32_t)numbers[i].bit;
        t->text = msg_bytes(n->text);
        num_text_ptrs[m.n_texts++] = t;
    }
    for (size_t i = 0; i < N_OF(texts); i++) {
        const struct slice *s = (const struct slice *)((const char *)ev + texts[i].in_event);
        if (!s->p) continue;
        m.present |= BIT(texts[i].bit);
        *(ProtobufCBinaryData *)((char *)&m + texts[i].in_message) = msg_bytes(*s);
    }
    m.present |= put_provider(ev, &m);
    m.time = ev->time;
    m.time_digits = (uint32_t)ev->time_digits;
    m.time_text = msg_bytes(ev->time_text);
    m.system_xml = msg_bytes(ev->system_xml);
    m.extra_xml = msg_bytes(ev->extra_xml);
    struct buf data = {0};
    if (ev->body == EVENT_BODY_DATA) {
        if (ev->n_data) put_data(ev, &data, bound);
        m.data = msg_bytes(buf_slice(&data));
    } else if (ev->body == EVENT_BODY_XML) {
        m.body = BODY_XML;
        m.body_xml = msg_bytes(ev->body_xml);
    } else {
        m.body = BODY_NONE;
    }
    size_t len = protobuf_c_message_get_packed_size(&m.base);
    enum status st = len > EVENT_MAX_ENCODED ? ST_TOOBIG : ST_OK;
    if (!st) {
        buf_reserve(out, len + 1); /* an event of defaults only is empty */
        out->len += protobuf_c_message_pack(&m.base, out->p + out->len);
    }
    buf_free(&data);
    return st;
}

/* ---- decoding ---- */

static enum status get_name(struct reader *r, struct slice *ret) {
    uint64_t code = reader_varint(r);
    if (code == NAME_NONE) {
        *ret = (struct slice){NULL, 0};
    } else if (code == NAME_TEXT) {
        *ret = reader_bytes(r, (size_t)reader_varint(r));
    } else {
        *ret = code - NAME_INTERNED + 1 > UINT32_MAX ? (struct slice){NULL, 0}
                                                     : field_name_at((uint32_t)(code - NAME_INTERNED + 1));
        if (!ret->p) return ST_FORMAT;
    }
    return r->bad ? ST_FORMAT : ST_OK;
}

static enum status get_data(struct slice bytes, struct arena *a, struct event *ev) {
    if (!bytes.len) return ST_OK;
    struct reader r = reader_of(bytes);
    uint64_t n = reader_varint(&r);
    if (r.bad || n > EVENT_MAX_DATA || n > reader_left(&r) / 2) return ST_FORMAT;
    struct event_data *data = arena_alloc(a, (size_t)n * sizeof *data);
    if (!data) return ST_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct event_data *d = &data[i];
        enum status st = get_name(&r, &d->name);
        if (st) return st;
        uint32_t form = reader_u8(&r);
        d->element = form & FORM_BINARY ? EVENT_BINARY : EVENT_DATA;
        form &= ~FORM_BINARY;
        if (form == VF_TEXT) {
            d->value = reader_bytes(&r, (size_t)reader_varint(&r));
        } else if ((st = value_render(&r, form, ev->time, a, &d->value))) {
            return st;
        }
        if (r.bad) return ST_FORMAT;
    }
    if (reader_left(&r)) return ST_FORMAT;
    ev->data = data;
    ev->n_data = (size_t)n;
    return ST_OK;
}

/* A member that is there and empty has a pointer all the same. */
static struct slice present_bytes(ProtobufCBinaryData b) {
    return b.len ? msg_slice(b) : SLICE_LIT("");
}

static enum status get_provider(const Haechi__Event *m, struct arena *a, struct event *ev) {
    if (!m->provider_known) return ST_OK;
    const struct known_provider *known = provider_at(m->provider_known);
    if (!known) return ST_FORMAT;
    ev->provider = known->name;
    if (m->present & BIT(EM_CHANNEL_KNOWN)) ev->channel = known->channel;
    if (!known->guid) return ST_OK;
    struct slice lower = slice_of(known->guid, GUID_TEXT_MAX - 1);
    if (m->present & BIT(EM_GUID_KNOWN_LOWER)) {
        ev->provider_guid = lower;
    } else if (m->present & BIT(EM_GUID_KNOWN_UPPER)) {
        char upper[GUID_TEXT_MAX];
        struct guid g;
        if (guid_parse(lower, &g)) return ST_FORMAT;
        guid_format(&g, true, upper);
        ev->provider_guid = arena_copy(a, slice_of(upper, GUID_TEXT_MAX - 1));
        if (!ev->provider_guid.p) return ST_NOMEM;
    }
    return ST_OK;
}

static enum status get_numbers(const Haechi__Event *m, struct event *ev) {
    for (size_t i = 0; i < N_OF(numbers); i++) {
        if (!(m->present & BIT(numbers[i].bit))) continue;
        struct event_num *n = (struct event_num *)((char *)ev + numbers[i].in_event);
        memcpy(&n->v, (const char *)m + numbers[i].in_message, sizeof n->v);
        n->present = true;
    }
    for (size_t t = 0; t < m->n_texts; t++) {
        size_t i = 0;
        while (i < N_OF(numbers) && (uint32_t)numbers[i].bit != m->texts[t]->member) i++;
        if (i == N_OF(numbers) || !m->texts[t]->text.len) return ST_FORMAT;
        struct event_num *n = (struct event_num *)((char *)ev + numbers[i].in_event);
        if (!n->present) return ST_FORMAT;
        n->text = msg_slice(m->texts[t]->text);
    }
    return ST_OK;
}

MUST_USE enum status event_decode(struct slice bytes, struct arena *a, struct event *ret) {
    if (bytes.len > EVENT_MAX_ENCODED) return ST_TOOBIG;
    Haechi__Event *m = MSG_UNPACK(Event, event, bytes, a);
    if (!m) return a->exhausted ? ST_NOMEM : ST_FORMAT;
    if (m->form > EVENT_FORM_LINUX || m->body > BODY_XML || m->time_digits > 9) return ST_FORMAT;
    struct event ev = {.form = m->form ? EVENT_FORM_LINUX : EVENT_FORM_WINDOWS};
    ev.has = (unsigned)(m->present >> EM_HAS_CORRELATION) & 7u;
    for (size_t i = 0; i < N_OF(texts); i++) {
        if (!(m->present & BIT(texts[i].bit))) continue;
        struct slice *s = (struct slice *)((char *)&ev + texts[i].in_event);
        *s = present_bytes(*(ProtobufCBinaryData *)((char *)m + texts[i].in_message));
    }
    enum status st = get_numbers(m, &ev);
    if (!st) st = get_provider(m, a, &ev);
    if (st) return st;
    ev.time = m->time;
    ev.time_digits = (int)m->time_digits;
    ev.time_text = msg_slice(m->time_text);
    ev.system_xml = msg_slice(m->system_xml);
    ev.extra_xml = msg_slice(m->extra_xml);
    if (m->body == BODY_DATA) {
        ev.body = EVENT_BODY_DATA;
        st = get_data(msg_slice(m->data), a, &ev);
    } else if (m->body == BODY_XML) {
        ev.body = EVENT_BODY_XML;
        ev.body_xml = present_bytes(m->body_xml);
    }
    if (!st) *ret = ev;
    return st;
}
