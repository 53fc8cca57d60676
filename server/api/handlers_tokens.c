/* Tokens: of enrolment for operators, of the API for admins. */
#include "handlers.h"
#include "clock.h"
#include "jout.h"
#include "mem.h"
#include "router.h"

#include <yyjson.h>

static void put_token(struct buf *out, const struct fleet_token *t) {
    jout_str(out, "id", t->id);
    jout_str(out, "role", t->role);
    jout_str(out, "group", t->group);
    jout_str(out, "note", t->note);
    jout_time(out, "created", t->created);
    jout_time(out, "expires", t->expires);
    jout_uint(out, "uses_left", t->uses_left);
    jout_uint(out, "uses_all", t->uses_all);
    jout_bool(out, "revoked", t->revoked);
}

enum step tokens_step(struct call *c, struct buf *out, struct error *err) {
    struct fleet_token *t;
    size_t n = fleet_tokens(c->common->o->fleet, &t);
    (void)err;
    for (size_t i = 0; i < n; i++) {
        jout_object(out, NULL);
        put_token(out, &t[i]);
        jout_line(out);
    }
    fleet_tokens_free(t, n);
    return STEP_END;
}

static enum status read_request(struct call *c, yyjson_val *root, struct fleet_token_request *r, struct error *err) {
    *r = (struct fleet_token_request){.role = "enroll", .address = c->common->o->agent_address};
    enum status st = call_text(root, "role", &r->role, err);
    if (!st) st = call_text(root, "group", &r->group, err);
    if (!st) st = call_text(root, "note", &r->note, err);
    if (!st) st = call_text(root, "address", &r->address, err);
    if (!st) st = call_number(root, "uses", UINT32_MAX, &r->uses, err);
    if (!st) st = call_number(root, "expires_s", UINT32_MAX, &r->expires_s, err);
    if (!st && strcmp(r->role, "enroll") != 0 && c->role < ROLE_ADMIN) {
        st = error_set(err, ST_DENIED, "API tokens are made by admins only; this token is of the role %s",
                       role_name(c->role));
    }
    return st;
}

enum step token_create_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {"role", "group", "note", "uses", "expires_s", "address", NULL};
    struct fleet_token_request r;
    struct fleet_token *t = NULL;
    struct buf text = {0};
    yyjson_doc *doc = NULL;
    enum status st = call_json(c, keys, &doc, err);
    if (st) return call_fail(err, st);
    st = read_request(c, yyjson_doc_get_root(doc), &r, err);
    if (!st) {
        t = mem_zalloc(sizeof *t);
        st = fleet_token_create(c->common->o->fleet, c->actor, &r, &text, t, err);
        if (st) mem_free(t);
    }
    yyjson_doc_free(doc);
    if (st) return call_fail(err, st);
    jout_object(out, NULL);
    jout_text(out, "token", buf_slice(&text));
    put_token(out, t);
    jout_line(out);
    c->http = 201;
    mem_wipe(text.p, text.cap);
    buf_free(&text);
    fleet_tokens_free(t, 1);
    return STEP_END;
}

/* An operator ends enrolment tokens only. */
static enum status check_revoker(struct call *c, struct error *err) {
    struct fleet_token *t;
    size_t n = fleet_tokens(c->common->o->fleet, &t);
    enum status st = ST_OK;
    for (size_t i = 0; i < n && !st; i++) {
        if (strcmp(t[i].id, c->words[0]) == 0 && strcmp(t[i].role, "enroll") != 0) {
            st = error_set(err, ST_DENIED, "API tokens are revoked by admins only");
        }
    }
    fleet_tokens_free(t, n);
    return st;
}

enum step token_revoke_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {NULL};
    yyjson_doc *doc = NULL;
    enum status st = call_json(c, keys, &doc, err);
    yyjson_doc_free(doc);
    if (!st && c->role < ROLE_ADMIN) st = check_revoker(c, err);
    if (!st) st = fleet_token_revoke(c->common->o->fleet, c->actor, c->words[0], err);
    if (st) return call_fail(err, st);
    buf_str(out, "{}\n");
    return STEP_END;
}
