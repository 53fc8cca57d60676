/* The audit log: every change, with who asked for it, in the transaction of the change. Keys are 8-byte sequence
 * numbers; values are JSON objects. */
#include "fleet_internal.h"
#include "clock.h"
#include "mem.h"
#include "text.h"

static void put_member(struct buf *out, const char *key, const char *value) {
    buf_printf(out, ",\"%s\":\"", key);
    text_json(out, slice_str(value ? value : ""));
    buf_byte(out, '"');
}

MUST_USE enum status fleet_audit_in(struct fleet *f, struct fleet_txn *t, const char *actor, const char *action,
                                    const char *object, const char *detail, struct error *err) {
    uint64_t seq;
    enum status st = fleet_txn_next(t, "audit", &seq, err);
    if (st) return st;
    char when[FILETIME_TEXT_MAX];
    filetime_format(f->now(), 7, when);
    struct buf row = {0};
    buf_printf(&row, "{\"seq\":%llu,\"time\":\"%s\"", (unsigned long long)seq, when);
    put_member(&row, "actor", actor);
    put_member(&row, "action", action);
    put_member(&row, "object", object);
    put_member(&row, "detail", detail);
    buf_byte(&row, '}');
    uint8_t key[8];
    for (int i = 0; i < 8; i++) key[i] = (uint8_t)(seq >> (56 - 8 * i));
    st = fleet_txn_put(t, FLEET_AUDIT, slice_of(key, 8), buf_slice(&row), err);
    buf_free(&row);
    return st;
}

MUST_USE enum status fleet_audit(struct fleet *f, const char *actor, const char *action, const char *object,
                                 const char *detail, struct error *err) {
    struct fleet_txn *t = NULL;
    enum status st = fleet_begin(f->db, &t, err);
    if (!st) st = fleet_audit_in(f, t, actor, action, object, detail, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    return st;
}

struct each {
    enum status (*fn)(void *ctx, struct slice json);
    void *ctx;
};

static enum status on_row(void *ctx, struct slice key, struct slice value) {
    (void)key;
    struct each *e = ctx;
    return e->fn(e->ctx, value);
}

MUST_USE enum status fleet_audit_each(struct fleet *f, uint64_t from_seq, bool reverse,
                                      enum status (*fn)(void *ctx, struct slice json), void *ctx, struct error *err) {
    uint8_t key[8];
    for (int i = 0; i < 8; i++) key[i] = (uint8_t)(from_seq >> (56 - 8 * i));
    struct each e = {fn, ctx};
    return fleet_each(f->db, FLEET_AUDIT, from_seq ? slice_of(key, 8) : (struct slice){0}, reverse, on_row, &e, err);
}
