/* Tokens: for enrolment and for the API. A token's secret is shown once; its SHA-256 is what is kept. */
#include "fleet_internal.h"
#include "clock.h"
#include "mem.h"
#include "text.h"
#include "token.h"

#include <stdio.h>

#define DEFAULT_EXPIRES_S 86400
#define TOKEN_NOTE_MAX 200

static const char *const roles[] = {"enroll", "viewer", "operator", "admin"};

struct token_row *tokens_get(const struct fleet *f, const char *id) {
    for (size_t i = 0; i < f->n_tokens; i++) {
        if (strcmp(f->tokens[i]->pub.id, id) == 0) return f->tokens[i];
    }
    return NULL;
}

static void token_copy(const struct fleet_token *from, struct fleet_token *to) {
    *to = *from;
    to->group = mem_strdup(from->group);
    to->note = mem_strdup(from->note);
    to->role = mem_strdup(from->role);
}

static void token_deinit(struct fleet_token *t) {
    mem_free(t->group);
    mem_free(t->note);
    mem_free(t->role);
}

void fleet_tokens_free(struct fleet_token *t, size_t n) {
    for (size_t i = 0; i < n; i++) token_deinit(&t[i]);
    mem_free(t);
}

size_t fleet_tokens(struct fleet *f, struct fleet_token **ret) {
    uv_rwlock_rdlock(&f->lock);
    size_t n = f->n_tokens;
    *ret = mem_zalloc(mem_mul(n, sizeof **ret));
    for (size_t i = 0; i < n; i++) token_copy(&f->tokens[i]->pub, &(*ret)[i]);
    uv_rwlock_rdunlock(&f->lock);
    return n;
}

MUST_USE enum status token_check(const struct fleet *f, const struct token_row *t, struct slice secret,
                                 struct error *err) {
    uint8_t hash[32];
    char hex[65];
    tls_sha256(secret, hash);
    row_hex(slice_of(hash, sizeof hash), hex, sizeof hex);
    if (!t || !tls_equal(hex, t->secret_hash, 64)) {
        return error_set(err, ST_AUTH, "this token is not known here; make a new one with: haechi token create");
    }
    if (t->pub.revoked) return error_set(err, ST_REVOKED, "this token was revoked; ask for a new one");
    if (t->pub.expires && t->pub.expires <= f->now()) {
        char when[FILETIME_TEXT_MAX];
        filetime_format(t->pub.expires, 0, when);
        return error_set(err, ST_EXPIRED, "this token expired %s; make a new one with: haechi token create", when);
    }
    return ST_OK;
}

static enum status check_request(const struct fleet_token_request *r, struct error *err) {
    bool known = false;
    for (size_t i = 0; i < 4; i++) known = known || strcmp(r->role, roles[i]) == 0;
    if (!known) {
        return error_set(err, ST_INVALID, "'%s' is no role; enroll, viewer, operator and admin are", r->role);
    }
    const char *texts[] = {r->group, r->note};
    for (size_t i = 0; i < 2; i++) {
        if (texts[i] && (strlen(texts[i]) > TOKEN_NOTE_MAX || !text_is_utf8(slice_str(texts[i])))) {
            return error_set(err, ST_INVALID, "group and note are UTF-8 text of at most %d bytes", TOKEN_NOTE_MAX);
        }
    }
    return ST_OK;
}

static enum status write_text(const struct fleet *f, const struct fleet_token_request *r, struct token *raw,
                              struct buf *out, struct error *err) {
    if (strcmp(r->role, "enroll") != 0) {
        char id[2 * TOKEN_ID_LEN + 1], secret[2 * TOKEN_SECRET_LEN + 1];
        row_hex(slice_of(raw->id, TOKEN_ID_LEN), id, sizeof id);
        row_hex(slice_of(raw->secret, TOKEN_SECRET_LEN), secret, sizeof secret);
        buf_printf(out, "haechi-api.v1.%s.%s", id, secret);
        mem_wipe(secret, sizeof secret);
        return ST_OK;
    }
    if (strlen(r->address) > TOKEN_ADDRESS_MAX) return error_set(err, ST_INVALID, "the address is too long");
    snprintf(raw->address, sizeof raw->address, "%s", r->address);
    fleet_ca_pin(f, raw->pin);
    return token_encode(raw, out, err);
}

static enum status put_token(struct fleet_txn *t, const struct token_row *row, struct error *err) {
    struct buf json = {0};
    row_token(row, &json);
    enum status st = fleet_txn_put(t, FLEET_TOKENS, slice_str(row->pub.id), buf_slice(&json), err);
    buf_free(&json);
    return st;
}

static enum status commit_token(struct fleet *f, const char *actor, const char *action, const struct token_row *row,
                                struct error *err) {
    char detail[512];
    snprintf(detail, sizeof detail, "role %s, uses %llu, group %s", row->pub.role,
             (unsigned long long)row->pub.uses_all, row->pub.group[0] ? row->pub.group : "-");
    struct fleet_txn *t = NULL;
    enum status st = fleet_begin(f->db, &t, err);
    if (!st) st = put_token(t, row, err);
    if (!st) st = fleet_audit_in(f, t, actor, action, row->pub.id, detail, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    return st;
}

static struct token_row *new_row(struct fleet *f, const struct fleet_token_request *r, const struct token *raw) {
    bool enroll = strcmp(r->role, "enroll") == 0;
    struct token_row *row = mem_zalloc(sizeof *row);
    uint8_t hash[32];
    row_hex(slice_of(raw->id, TOKEN_ID_LEN), row->pub.id, sizeof row->pub.id);
    if (enroll) {
        tls_sha256(slice_of(raw->secret, TOKEN_SECRET_LEN), hash);
    } else { /* API secrets travel as text */
        char secret[2 * TOKEN_SECRET_LEN + 1];
        row_hex(slice_of(raw->secret, TOKEN_SECRET_LEN), secret, sizeof secret);
        tls_sha256(slice_str(secret), hash);
        mem_wipe(secret, sizeof secret);
    }
    row_hex(slice_of(hash, sizeof hash), row->secret_hash, sizeof row->secret_hash);
    row->pub.role = mem_strdup(r->role);
    row->pub.group = mem_strdup(r->group ? r->group : "");
    row->pub.note = mem_strdup(r->note ? r->note : "");
    row->pub.created = f->now();
    uint64_t expires_s = r->expires_s ? r->expires_s : enroll ? DEFAULT_EXPIRES_S : 0;
    row->pub.expires = expires_s ? row->pub.created + expires_s * FILETIME_SECOND : 0;
    row->pub.uses_all = row->pub.uses_left = enroll ? (r->uses ? r->uses : 1) : 0;
    return row;
}

MUST_USE enum status fleet_token_create(struct fleet *f, const char *actor, const struct fleet_token_request *r,
                                        struct buf *ret_text, struct fleet_token *ret, struct error *err) {
    enum status st = check_request(r, err);
    if (st) return st;
    struct token raw = {0};
    tls_random(raw.id, sizeof raw.id);
    tls_random(raw.secret, sizeof raw.secret);
    struct buf text = {0};
    st = write_text(f, r, &raw, &text, err);
    if (st) return st;
    struct token_row *row = new_row(f, r, &raw);
    mem_wipe(&raw, sizeof raw);
    uv_mutex_lock(&f->change);
    st = commit_token(f, actor, "token create", row, err);
    if (!st) {
        token_copy(&row->pub, ret);
        uv_rwlock_wrlock(&f->lock);
        mem_grow((void **)&f->tokens, f->n_tokens, &f->cap_tokens, sizeof *f->tokens);
        f->tokens[f->n_tokens++] = row;
        uv_rwlock_wrunlock(&f->lock);
        buf_slice_append(ret_text, buf_slice(&text));
    } else {
        token_deinit(&row->pub);
        mem_free(row);
    }
    uv_mutex_unlock(&f->change);
    if (text.p) mem_wipe(text.p, text.len);
    buf_free(&text);
    return st;
}

MUST_USE enum status fleet_token_revoke(struct fleet *f, const char *actor, const char *id, struct error *err) {
    uv_mutex_lock(&f->change);
    struct token_row *row = tokens_get(f, id);
    enum status st;
    if (!row) {
        st = error_set(err, ST_NOTFOUND, "no token has the id '%s'; see: haechi token list", id);
    } else {
        struct token_row revoked = *row;
        revoked.pub.revoked = true;
        st = commit_token(f, actor, "token revoke", &revoked, err);
        uv_rwlock_wrlock(&f->lock);
        if (!st) row->pub.revoked = true;
        uv_rwlock_wrunlock(&f->lock);
    }
    uv_mutex_unlock(&f->change);
    return st;
}

MUST_USE enum status fleet_api_token_check(struct fleet *f, struct slice text, char ret_role[16], char ret_name[32],
                                           struct error *err) {
    static const char prefix[] = "haechi-api.v1.";
    char id[2 * TOKEN_ID_LEN + 1] = "";
    size_t head = sizeof prefix - 1, dot = head + 2 * TOKEN_ID_LEN;
    if (text.len != dot + 1 + 2 * TOKEN_SECRET_LEN || !slice_starts(text, slice_str(prefix)) || text.p[dot] != '.') {
        return error_set(err, ST_AUTH, "this is no API token; make one with: haechi token create --role viewer");
    }
    memcpy(id, text.p + head, 2 * TOKEN_ID_LEN);
    uv_rwlock_rdlock(&f->lock);
    struct token_row *row = tokens_get(f, id);
    enum status st = token_check(f, row, slice_from(text, dot + 1), err);
    if (!st && strcmp(row->pub.role, "enroll") == 0) {
        st = error_set(err, ST_AUTH, "an enrolment token does not open the API");
    }
    if (!st) {
        snprintf(ret_role, 16, "%s", row->pub.role);
        snprintf(ret_name, 32, "token:%s", id);
    }
    uv_rwlock_rdunlock(&f->lock);
    return st;
}
