/* The fleet environment's rows as JSON objects, so that a person can read a dump. Unknown members are dropped when a
 * row is written anew; a row that is not ours is reported by the caller and left alone. */
#include "fleet_internal.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const host_states[] = {"active", "revoked", "held"};

void row_host(const struct host *h, struct buf *out) {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o = row_begin(&doc), *tags = yyjson_mut_arr(doc);
    const struct fleet_host *p = &h->pub;
    yyjson_mut_obj_add_uint(doc, o, "id", p->id);
    yyjson_mut_obj_add_str(doc, o, "name", p->name);
    yyjson_mut_obj_add_str(doc, o, "group", p->group);
    for (size_t i = 0; i < p->n_tags; i++) yyjson_mut_arr_add_str(doc, tags, p->tags[i]);
    yyjson_mut_obj_add_val(doc, o, "tags", tags);
    yyjson_mut_obj_add_str(doc, o, "state", host_states[p->state]);
    yyjson_mut_obj_add_str(doc, o, "state_reason", p->state_reason);
    yyjson_mut_obj_add_uint(doc, o, "enrolled", p->enrolled);
    yyjson_mut_obj_add_uint(doc, o, "last_seen", p->last_seen);
    yyjson_mut_obj_add_str(doc, o, "address", p->address);
    yyjson_mut_obj_add_str(doc, o, "os", p->os);
    yyjson_mut_obj_add_str(doc, o, "domain", p->domain);
    yyjson_mut_obj_add_str(doc, o, "agent_version", p->agent_version);
    yyjson_mut_obj_add_str(doc, o, "sysmon_version", p->sysmon_version);
    yyjson_mut_obj_add_str(doc, o, "sysmon_schema", p->sysmon_schema);
    yyjson_mut_obj_add_str(doc, o, "machine_id", h->machine_id);
    row_end(doc, out);
}

static void read_tags(yyjson_val *o, struct fleet_host *p) {
    yyjson_val *tags = yyjson_obj_get(o, "tags"), *tag;
    size_t i, n;
    p->tags = mem_zalloc(mem_mul(yyjson_arr_size(tags) + 1, sizeof *p->tags));
    yyjson_arr_foreach(tags, i, n, tag) {
        if (yyjson_is_str(tag)) p->tags[p->n_tags++] = mem_strdup(yyjson_get_str(tag));
    }
}

static enum host_state state_of(yyjson_val *o) {
    const char *s = yyjson_get_str(yyjson_obj_get(o, "state"));
    for (int i = 0; s && i < 3; i++) {
        if (strcmp(s, host_states[i]) == 0) return (enum host_state)i;
    }
    return HOST_HELD; /* a state we do not know: let nobody in by mistake */
}

struct host *row_host_parse(struct slice json) {
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc);
    struct host *h = NULL;
    if (row_uint(o, "id") && yyjson_is_str(yyjson_obj_get(o, "name"))) {
        h = mem_zalloc(sizeof *h);
        list_init(&h->sessions);
        struct fleet_host *p = &h->pub;
        p->id = (uint32_t)row_uint(o, "id");
        p->name = row_string(o, "name");
        p->group = row_string(o, "group");
        read_tags(o, p);
        p->state = state_of(o);
        p->state_reason = row_string(o, "state_reason");
        p->enrolled = row_uint(o, "enrolled");
        p->last_seen = row_uint(o, "last_seen");
        p->address = row_string(o, "address");
        p->os = row_string(o, "os");
        p->domain = row_string(o, "domain");
        p->agent_version = row_string(o, "agent_version");
        p->sysmon_version = row_string(o, "sysmon_version");
        p->sysmon_schema = row_string(o, "sysmon_schema");
        row_copy(o, "machine_id", h->machine_id, sizeof h->machine_id);
    }
    yyjson_doc_free(doc);
    return h;
}

void row_cert(const struct cert *c, uint64_t issued, struct buf *out) {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o = row_begin(&doc);
    yyjson_mut_obj_add_uint(doc, o, "host", c->host);
    yyjson_mut_obj_add_str(doc, o, "spki", c->spki);
    yyjson_mut_obj_add_str(doc, o, "token", c->token);
    yyjson_mut_obj_add_uint(doc, o, "issued", issued);
    yyjson_mut_obj_add_uint(doc, o, "not_after", c->not_after);
    yyjson_mut_obj_add_bool(doc, o, "revoked", c->revoked);
    row_end(doc, out);
}

struct cert *row_cert_parse(struct slice key, struct slice json) {
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc);
    struct cert *c = NULL;
    if (row_uint(o, "host") && key.len < sizeof c->serial) {
        c = mem_zalloc(sizeof *c);
        memcpy(c->serial, key.p, key.len);
        row_copy(o, "spki", c->spki, sizeof c->spki);
        row_copy(o, "token", c->token, sizeof c->token);
        c->host = (uint32_t)row_uint(o, "host");
        c->not_after = row_uint(o, "not_after");
        c->revoked = yyjson_get_bool(yyjson_obj_get(o, "revoked"));
    }
    yyjson_doc_free(doc);
    return c;
}

void row_token(const struct token_row *t, struct buf *out) {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o = row_begin(&doc);
    const struct fleet_token *p = &t->pub;
    yyjson_mut_obj_add_str(doc, o, "role", p->role);
    yyjson_mut_obj_add_str(doc, o, "group", p->group);
    yyjson_mut_obj_add_str(doc, o, "note", p->note);
    yyjson_mut_obj_add_uint(doc, o, "created", p->created);
    yyjson_mut_obj_add_uint(doc, o, "expires", p->expires);
    yyjson_mut_obj_add_uint(doc, o, "uses_left", p->uses_left);
    yyjson_mut_obj_add_uint(doc, o, "uses_all", p->uses_all);
    yyjson_mut_obj_add_bool(doc, o, "revoked", p->revoked);
    yyjson_mut_obj_add_str(doc, o, "secret_sha256", t->secret_hash);
    row_end(doc, out);
}

struct token_row *row_token_parse(struct slice key, struct slice json) {
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc);
    struct token_row *t = NULL;
    if (yyjson_is_str(yyjson_obj_get(o, "secret_sha256")) && key.len < sizeof t->pub.id) {
        t = mem_zalloc(sizeof *t);
        struct fleet_token *p = &t->pub;
        memcpy(p->id, key.p, key.len);
        p->role = row_string(o, "role");
        p->group = row_string(o, "group");
        p->note = row_string(o, "note");
        p->created = row_uint(o, "created");
        p->expires = row_uint(o, "expires");
        p->uses_left = row_uint(o, "uses_left");
        p->uses_all = row_uint(o, "uses_all");
        p->revoked = yyjson_get_bool(yyjson_obj_get(o, "revoked"));
        row_copy(o, "secret_sha256", t->secret_hash, sizeof t->secret_hash);
    }
    yyjson_doc_free(doc);
    return t;
}
