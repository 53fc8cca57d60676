/* The rulebook's rows, both ways. Pure. */
#include "mem.h"
#include "row.h"
#include "rulebook_internal.h"

#include <stdio.h>

struct slice book_key(const char *name, uint32_t revision, uint8_t out[BOOK_KEY_MAX]) {
    size_t n = strlen(name);
    memcpy(out, name, n);
    out[n++] = 0;
    for (int i = 0; i < 4; i++) out[n++] = (uint8_t)(revision >> (24 - 8 * i));
    return slice_of(out, n);
}

/* name, 0, revision:4 */
static bool key_parse(struct slice key, char name[RULEBOOK_NAME_MAX + 1], uint32_t *ret_revision) {
    if (key.len < 6 || key.len > BOOK_KEY_MAX || key.p[key.len - 5] != 0) return false;
    struct slice n = slice_head(key, key.len - 5);
    if (!ruleset_name_is_fit(n)) return false;
    memcpy(name, n.p, n.len);
    name[n.len] = 0;
    *ret_revision = 0;
    for (size_t i = key.len - 4; i < key.len; i++) *ret_revision = *ret_revision << 8 | key.p[i];
    return *ret_revision > 0;
}

void book_row_revision(const struct revision *r, struct buf *out) {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o = row_begin(&doc);
    yyjson_mut_obj_add_str(doc, o, "author", r->author);
    yyjson_mut_obj_add_str(doc, o, "comment", r->comment);
    yyjson_mut_obj_add_uint(doc, o, "time", r->time);
    row_add_hex(doc, o, "digest", slice_of(r->digest, sizeof r->digest));
    yyjson_mut_obj_add_uint(doc, o, "len", r->len);
    yyjson_mut_obj_add_uint(doc, o, "schema", r->schema);
    if (r->canary) yyjson_mut_obj_add_str(doc, o, "canary", r->canary);
    row_end(doc, out);
}

bool book_row_revision_parse(struct slice key, struct slice json, struct revision *ret) {
    struct revision r = {0};
    struct buf digest = {0};
    if (!key_parse(key, r.name, &r.revision)) return false;
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc);
    bool good = row_bytes(o, "digest", RULES_DIGEST_LEN, &digest) && digest.len == RULES_DIGEST_LEN;
    r.len = row_uint(o, "len");
    if (good && r.len && r.len <= RULES_XML_MAX) {
        memcpy(r.digest, digest.p, RULES_DIGEST_LEN);
        r.author = row_string(o, "author");
        r.comment = row_string(o, "comment");
        r.time = row_uint(o, "time");
        r.schema = (uint32_t)row_uint(o, "schema");
        if (yyjson_is_str(yyjson_obj_get(o, "canary"))) r.canary = row_string(o, "canary");
        *ret = r;
    } else {
        good = false;
    }
    buf_free(&digest);
    yyjson_doc_free(doc);
    return good;
}

void book_row_group(const struct book_group *g, struct buf *out) {
    yyjson_mut_doc *doc;
    yyjson_mut_val *o = row_begin(&doc);
    yyjson_mut_obj_add_sint(doc, o, "precedence", g->precedence);
    yyjson_mut_obj_add_bool(doc, o, "heal", g->heal);
    if (g->ruleset[0]) {
        yyjson_mut_obj_add_str(doc, o, "ruleset", g->ruleset);
        yyjson_mut_obj_add_uint(doc, o, "revision", g->revision);
        yyjson_mut_obj_add_uint(doc, o, "serial", g->serial);
        row_add_hex(doc, o, "manifest", buf_slice(&g->manifest));
    }
    row_end(doc, out);
}

struct book_group *book_row_group_parse(struct slice key, struct slice json) {
    yyjson_doc *doc = yyjson_read((const char *)json.p, json.len, 0);
    yyjson_val *o = yyjson_doc_get_root(doc), *precedence = yyjson_obj_get(o, "precedence");
    struct book_group *g = NULL;
    if (yyjson_is_int(precedence) && key.len <= RULEBOOK_NAME_MAX) {
        g = mem_zalloc(sizeof *g);
        memcpy(g->name, key.p, key.len);
        g->precedence = yyjson_get_int(precedence);
        g->heal = yyjson_get_bool(yyjson_obj_get(o, "heal"));
        g->revision = (uint32_t)row_uint(o, "revision");
        g->serial = row_uint(o, "serial");
        row_copy(o, "ruleset", g->ruleset, sizeof g->ruleset);
        if (!row_bytes(o, "manifest", 4096, &g->manifest) || !g->revision || !g->serial) g->ruleset[0] = 0;
    }
    yyjson_doc_free(doc);
    return g;
}
