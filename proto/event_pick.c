/* Walks the encoding of event.c: members up to `data`, then its values until all that is wanted has been found. Members stand in
 * the order of their numbers (event_encode), so nothing behind `data` matters. Pure. */
#include "event_pick.h"
#include "event_internal.h"
#include "fields.h"

#define MEMBER_PROVIDER_KNOWN 3u
#define MEMBER_DATA 15u
#define FORM_BINARY 128u

enum { NAME_NONE, NAME_TEXT, NAME_INTERNED };
enum { WIRE_NUMBER = 0, WIRE_8_BYTES = 1, WIRE_BYTES = 2, WIRE_4_BYTES = 5 };

static inline uint64_t varint(struct reader *r) {
    return !r->bad && r->p < r->end && *r->p < 0x80 ? *r->p++ : reader_varint(r);
}

static inline struct slice bytes_of(struct reader *r) {
    return reader_bytes(r, (size_t)varint(r));
}

/* The place of the value whose name comes next; 0: not wanted. */
static size_t read_place(struct reader *r, const struct event_wanted *w) {
    uint64_t code = varint(r), number = 0;
    if (code >= NAME_INTERNED)
        number = code - NAME_INTERNED + 1;
    else if (code == NAME_TEXT) /* by an encoder that did not know the name yet */
        number = event_field_id(bytes_of(r));
    return number < w->n_places ? w->places[number] : 0;
}

static enum status pick(struct slice data, uint64_t time, const struct event_wanted *w, struct arena *a,
                        struct slice *values) {
    struct reader r = reader_of(data);
    size_t missing = w->n;
    for (uint64_t n = data.len ? varint(&r) : 0; n && missing && !r.bad; n--) {
        size_t place = read_place(&r, w);
        uint32_t form = reader_u8(&r) & ~FORM_BINARY;
        enum status st = ST_OK;
        if (!place || values[place - 1].p) {
            st = value_skip(&r, form);
            if (st) return st;
            continue;
        }
        struct slice *v = &values[place - 1];
        if (form == VF_TEXT)
            *v = bytes_of(&r);
        else
            st = value_render(&r, form, time, a, v);
        if (st) return st;
        if (!v->p) *v = SLICE_LIT("");
        missing--;
    }
    return r.bad ? ST_FORMAT : ST_OK;
}

static void skip(struct reader *r, unsigned wire) {
    switch (wire) {
    case WIRE_NUMBER: (void)varint(r); break;
    case WIRE_8_BYTES: (void)reader_bytes(r, 8); break;
    case WIRE_BYTES: (void)bytes_of(r); break;
    case WIRE_4_BYTES: (void)reader_bytes(r, 4); break;
    default: r->bad = true;
    }
}

MUST_USE enum status event_pick(struct slice bytes, uint64_t time, const struct event_wanted *w, struct arena *a,
                                enum event_origin *ret_origin, struct slice *values) {
    struct reader r = reader_of(bytes);
    enum event_origin origin = ORIGIN_OTHER;
    enum status st = ST_OK;
    for (size_t i = 0; i < w->n; i++) values[i] = (struct slice){NULL, 0};
    while (reader_left(&r)) {
        uint64_t tag = varint(&r);
        unsigned wire = (unsigned)(tag & 7);
        if (tag >> 3 == MEMBER_PROVIDER_KNOWN && wire == WIRE_NUMBER) {
            uint64_t provider = varint(&r);
            origin = provider <= ORIGIN_SYSMON_LINUX ? (enum event_origin)provider : ORIGIN_OTHER;
            if (origin == ORIGIN_OTHER) break;
        } else if (tag >> 3 == MEMBER_DATA && wire == WIRE_BYTES) {
            struct slice data = bytes_of(&r);
            if (!r.bad && origin != ORIGIN_OTHER) st = pick(data, time, w, a, values);
            break;
        } else {
            skip(&r, wire);
        }
    }
    if (st || r.bad) return st ? st : ST_FORMAT;
    *ret_origin = origin;
    return ST_OK;
}

/* RuleName is the first value of every event of Sysmon that has one: the usual event costs its System numbers and one value. */
MUST_USE enum status event_pick_rule(struct slice bytes, uint64_t time, struct arena *a, bool *ret_is_sysmon,
                                     struct slice *ret_rule) {
    static const uint8_t places[F_RuleName + 1] = {[F_RuleName] = 1};
    static const struct event_wanted wanted = {places, F_RuleName + 1, 1};
    enum event_origin origin;
    struct slice rule;
    enum status st = event_pick(bytes, time, &wanted, a, &origin, &rule);
    if (st) return st;
    *ret_is_sysmon = origin != ORIGIN_OTHER;
    *ret_rule = slice_eq_str(rule, "-") ? slice_head(rule, 0) : rule;
    return ST_OK;
}
