/* Any bytes as a configuration file: a tree whose places lie inside the file and in its order, or a refusal with a place inside it;
 * twice the same; a document in UTF-8 gives the same tree when it comes as UTF-16. */
// links: rules proto base
#include "config_xml.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static bool before(struct place a, struct place b) {
    return a.line < b.line || (a.line == b.line && a.column <= b.column);
}

/* Returns a digest of the tree; *at is moved along. */
static uint64_t walk(const struct config_node *n, struct place *at, struct place end, unsigned depth) {
    uint64_t h = (uint64_t)n->kind + 1;
    bool is_leaf = n->kind != CONFIG_ELEMENT; /* the depth counts elements */
    if (depth > RULESET_DEPTH_MAX + is_leaf) fail("too deep");
    if (!before(*at, n->at) || !before(n->at, end)) fail("a node's place");
    *at = n->at;
    h = h * 31 + n->at.line * 1009 + n->at.column;
    for (size_t i = 0; i < n->text.len; i++) h = (h ^ n->text.p[i]) * UINT64_C(1099511628211);
    for (size_t i = 0; i < n->n_attributes; i++) {
        const struct config_attribute *a = &n->attributes[i];
        if (!before(*at, a->at) || !before(a->at, end)) fail("an attribute's place");
        *at = a->at;
        for (size_t k = 0; k < a->value.len; k++) h = (h ^ a->value.p[k]) * UINT64_C(1099511628211);
        h = h * 31 + a->at.column + a->name.len;
    }
    for (const struct config_node *c = n->first; c; c = c->next) h = h * 31 + walk(c, at, end, depth + 1);
    return h;
}

static uint64_t digest(struct slice bytes, bool *ret_ok, struct buf *utf8) {
    struct config_doc *d = NULL;
    struct place at = {0, 0};
    struct error err = {0};
    uint64_t h;
    enum status st = config_xml_parse(bytes, &d, &at, &err);
    *ret_ok = !st;
    if (st) {
        if (d || !err.msg[0] || !at.line || !at.column) fail("a refusal without a place");
        h = at.line * 1009 + at.column + (uint64_t)st * 31;
        return h;
    }
    at = (struct place){1, 1};
    h = walk(d->root, &at, d->end, 1);
    if (utf8) buf_slice_append(utf8, d->text);
    config_xml_free(&d);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    bool ok, again;
    struct buf text = {0}, wide = {0};
    uint64_t h = digest(slice_of(data, len), &ok, &text);
    if (h != digest(slice_of(data, len), &again, NULL) || ok != again) fail("not the same twice");
    if (ok && text.p[0] < 0x80) {
        buf_str(&wide, "\xff\xfe");
        for (struct slice s = buf_slice(&text); s.len;) {
            uint32_t cp = 0;
            size_t n = text_next(s, &cp);
            if (!n) fail("not UTF-8");
            if (cp >= 0x10000) {
                buf_u16le(&wide, (uint16_t)(0xd800 + ((cp - 0x10000) >> 10)));
                buf_u16le(&wide, (uint16_t)(0xdc00 + ((cp - 0x10000) & 0x3ff)));
            } else {
                buf_u16le(&wide, (uint16_t)cp);
            }
            s = slice_from(s, n);
        }
        if (wide.len <= RULES_XML_MAX && (h != digest(buf_slice(&wide), &again, NULL) || !again))
            fail("another tree as UTF-16");
    }
    buf_free(&text);
    buf_free(&wide);
    return 0;
}
