/* RuleName is the first value of every event of Sysmon that has one, so the usual event costs its System numbers and one
 * value. Members stand in the order of their numbers (event_encode), so nothing behind `data` matters. Pure. */
#include "event_peek.h"
#include "event_internal.h"
#include "fields.h"

#define MEMBER_PROVIDER_KNOWN 3u
#define MEMBER_DATA 15u
#define PROVIDER_SYSMON 1u
#define PROVIDER_SYSMON_LINUX 2u
#define FORM_BINARY 128u

enum { NAME_NONE, NAME_TEXT, NAME_INTERNED };
enum { WIRE_NUMBER = 0, WIRE_8_BYTES = 1, WIRE_BYTES = 2, WIRE_4_BYTES = 5 };

static inline uint64_t varint(struct reader *r) {
    return !r->bad && r->p < r->end && *r->p < 0x80 ? *r->p++ : reader_varint(r);
}

/* Is the value's name RuleName? Reads the name. */
static bool is_rule_name(struct reader *r) {
    uint64_t code = varint(r);
    if (code == NAME_INTERNED + F_RuleName - 1) return true;
    return code == NAME_TEXT && slice_eq_nocase(reader_bytes(r, (size_t)varint(r)), SLICE_LIT("RuleName"));
}

static enum status find_rule(struct slice data, uint64_t time, struct arena *a, struct slice *ret) {
    struct reader r = reader_of(data);
    for (uint64_t n = data.len ? varint(&r) : 0; n && !r.bad; n--) {
        bool wanted = is_rule_name(&r);
        uint32_t form = reader_u8(&r) & ~FORM_BINARY;
        enum status st = ST_OK;
        if (!wanted) {
            st = value_skip(&r, form);
        } else if (form == VF_TEXT) {
            *ret = reader_bytes(&r, (size_t)varint(&r));
        } else {
            st = value_render(&r, form, time, a, ret);
        }
        if (st) return st;
        if (wanted) break;
    }
    if (slice_eq_str(*ret, "-")) ret->len = 0;
    return r.bad ? ST_FORMAT : ST_OK;
}

static void skip(struct reader *r, unsigned wire) {
    switch (wire) {
    case WIRE_NUMBER: (void)varint(r); break;
    case WIRE_8_BYTES: (void)reader_bytes(r, 8); break;
    case WIRE_BYTES: (void)reader_bytes(r, (size_t)varint(r)); break;
    case WIRE_4_BYTES: (void)reader_bytes(r, 4); break;
    default: r->bad = true;
    }
}

MUST_USE enum status event_peek(struct slice bytes, uint64_t time, struct arena *a, struct event_peek *ret) {
    struct reader r = reader_of(bytes);
    struct event_peek e = {0};
    while (reader_left(&r)) {
        uint64_t tag = varint(&r);
        unsigned wire = (unsigned)(tag & 7);
        if (tag >> 3 == MEMBER_PROVIDER_KNOWN && wire == WIRE_NUMBER) {
            uint64_t provider = varint(&r);
            e.is_sysmon = provider == PROVIDER_SYSMON || provider == PROVIDER_SYSMON_LINUX;
            if (!e.is_sysmon) break;
        } else if (tag >> 3 == MEMBER_DATA && wire == WIRE_BYTES) {
            struct slice data = reader_bytes(&r, (size_t)varint(&r));
            if (r.bad || !e.is_sysmon) break;
            enum status st = find_rule(data, time, a, &e.rule);
            if (st) return st;
            break;
        } else {
            skip(&r, wire);
        }
    }
    if (r.bad) return ST_FORMAT;
    *ret = e;
    return ST_OK;
}
