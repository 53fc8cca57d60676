/* The checker says where blocks stand and what they mean; here their tags are found again in the text, and text is put in
 * between. The result is checked. */
#include "exclude.h"
#include "check.h"
#include "config_text.h"
#include "event.h"
#include "mem.h"
#include "schema.h"
#include "text.h"

#include <stdlib.h>

/* ---- tags in the text; it has passed the parser ---- */

struct tag {
    size_t start, end; /* of "<...>" */
    struct slice name;
    bool closes, is_empty;
};

static size_t find(struct slice s, size_t at, const char *what) {
    size_t len = strlen(what);
    for (; at + len <= s.len; at++) {
        if (memcmp(s.p + at, what, len) == 0) return at;
    }
    return s.len;
}

static size_t end_of_tag(struct slice s, size_t at) {
    uint8_t quote = 0;
    for (; at < s.len && (quote || s.p[at] != '>'); at++) {
        if (quote) {
            if (s.p[at] == quote) quote = 0;
        } else if (s.p[at] == '"' || s.p[at] == '\'') {
            quote = s.p[at];
        }
    }
    return at < s.len ? at + 1 : at;
}

static bool next_tag(struct slice s, size_t *at, struct tag *ret) {
    for (;;) {
        size_t i = find(s, *at, "<");
        struct slice rest = slice_from(s, i);
        if (i >= s.len) return false;
        if (slice_starts(rest, SLICE_LIT("<!--"))) {
            *at = find(s, i, "-->");
        } else if (slice_starts(rest, SLICE_LIT("<![CDATA["))) {
            *at = find(s, i, "]]>");
        } else if (slice_starts(rest, SLICE_LIT("<!")) || slice_starts(rest, SLICE_LIT("<?"))) {
            *at = end_of_tag(s, i);
        } else {
            struct tag t = {.start = i, .end = end_of_tag(s, i)};
            t.closes = rest.len > 1 && rest.p[1] == '/';
            t.is_empty = t.end >= 2 && s.p[t.end - 2] == '/';
            size_t name = i + 1 + t.closes, end = name;
            while (end < t.end && !memchr(" \t\r\n/>", s.p[end], 6)) end++;
            t.name = slice_of(s.p + name, end - name);
            *at = t.end;
            *ret = t;
            return true;
        }
        if (*at >= s.len) return false;
    }
}

/* ---- text to put in ---- */

bool exclude_value_is_fit(struct slice v) {
    if (!v.len || !text_is_utf8(v) || v.p[0] == ' ' || v.p[v.len - 1] == ' ') return false;
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] < 0x20 || v.p[i] == 0x7f || v.p[i] == '%') return false;
    }
    return true;
}

static void put_rule(struct buf *out, const struct exclude *x) {
    if (x->comment.len) {
        buf_str(out, "\n      <!-- ");
        for (size_t i = 0; i < x->comment.len; i++) /* no two dashes in a comment */
            buf_byte(out, x->comment.p[i] == '-' ? '_' : x->comment.p[i]);
        buf_str(out, " -->");
    }
    buf_str(out, "\n      <Rule groupRelation=\"and\">");
    for (size_t i = 0; i < x->n_entries; i++) {
        buf_printf(out, "\n        <%s condition=\"%s\">", x->entries[i].field,
                   rule_condition_name(x->entries[i].condition));
        event_escape_xml(out, x->entries[i].value, false);
        buf_printf(out, "</%s>", x->entries[i].field);
    }
    buf_str(out, "\n      </Rule>");
}

static void put_rules(struct buf *out, const struct exclude *x, size_t n, const char *tag) {
    for (size_t i = 0; i < n; i++) {
        if (!x[i].why_not && strcmp(x[i].tag, tag) == 0) put_rule(out, &x[i]);
    }
}

/* ---- where it goes ---- */

struct edit {
    size_t at, cut; /* bytes there that go */
    struct buf text;
};

struct edits {
    struct edit *list;
    size_t n, cap;
};

static struct buf *edit_at(struct edits *e, size_t at, size_t cut) {
    mem_grow((void **)&e->list, e->n, &e->cap, sizeof *e->list);
    e->list[e->n] = (struct edit){.at = at, .cut = cut};
    return &e->list[e->n++].text;
}

static bool stands_at(struct config_cursor *c, const struct tag *t, struct place at) {
    struct place start = config_place(c, t->start), name = config_place(c, t->start + 1);
    return start.line == at.line ? start.column == at.column || (name.line == at.line && name.column == at.column)
                                 : name.line == at.line && name.column == at.column;
}

/* Into the block whose tag stands at `at`: behind its last entry. */
static bool into_block(struct slice text, struct place at, const struct exclude *x, size_t n, const char *tag,
                       struct edits *e) {
    struct tag t;
    struct config_cursor c = config_cursor_of(text);
    bool inside = false;
    for (size_t i = 0; next_tag(text, &i, &t);) {
        if (!slice_eq_str(t.name, tag)) continue;
        if (inside && t.closes) {
            size_t end = t.start; /* of the last entry */
            while (strchr(" \t\r\n", text.p[end - 1])) end--;
            put_rules(edit_at(e, end, 0), x, n, tag);
            return true;
        }
        if (t.closes || !stands_at(&c, &t, at)) continue;
        if (t.is_empty) {
            struct buf *b = edit_at(e, t.end - 2, 2);
            buf_byte(b, '>');
            put_rules(b, x, n, tag);
            buf_printf(b, "\n    </%s>", tag);
            return true;
        }
        inside = true;
    }
    return false;
}

/* A block of its own, at the end of the last EventFiltering. */
static bool as_block(struct slice text, const struct exclude *x, size_t n, const char *tag, struct edits *e) {
    struct tag t, filtering = {0}, root = {0};
    for (size_t i = 0; next_tag(text, &i, &t);) {
        if (slice_eq_str(t.name, "EventFiltering") && (t.closes || t.is_empty)) filtering = t;
        if (slice_eq_str(t.name, "Sysmon") && t.closes) root = t;
    }
    if (!root.end) return false;
    struct buf *b = !filtering.end       ? edit_at(e, root.start, 0)
                    : filtering.is_empty ? edit_at(e, filtering.start, filtering.end - filtering.start)
                                         : edit_at(e, filtering.start, 0);
    bool whole = !filtering.end || filtering.is_empty;
    if (whole) buf_str(b, "<EventFiltering>\n");
    buf_printf(b, "  <RuleGroup name=\"\" groupRelation=\"or\">\n    <%s onmatch=\"exclude\">", tag);
    put_rules(b, x, n, tag);
    buf_printf(b, "\n    </%s>\n  </RuleGroup>\n", tag);
    if (whole) buf_str(b, "</EventFiltering>\n");
    return true;
}

static bool is_default(const char *tag) {
    for (size_t i = 0; i < schema_n_events; i++) {
        const struct schema_tag *t = schema_tag_find(slice_str(tag));
        if (t && schema_events[i].id == t->ids[0]) return schema_events[i].logged_by_default;
    }
    return false;
}

/* Where a tag's rules go, or why they do not. */
static const char *place_tag(struct slice text, const struct ruleset *r, const struct exclude *x, size_t n,
                             const char *tag, struct edits *e) {
    const struct rule_block *exclude = NULL;
    size_t n_blocks = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct rule_block *b = &r->blocks[i];
        if (!slice_eq_str(b->tag, tag)) continue;
        n_blocks++;
        if (b->exclude && !exclude) exclude = b;
    }
    if (exclude && exclude->relation == RELATION_AND && exclude->n_rules)
        return "the ruleset's exclude block for this tag combines its entries with \"and\": another entry would undo it";
    if (!n_blocks && !is_default(tag))
        return "the ruleset has no block for this tag, so nothing of it is logged; an exclude block would switch it on";
    bool found = exclude ? into_block(text, exclude->at, x, n, tag, e) : as_block(text, x, n, tag, e);
    return found ? NULL : "the place where it belongs is not found in the file";
}

static int by_offset(const void *pa, const void *pb) {
    const struct edit *a = pa, *b = pb;
    return (a->at > b->at) - (a->at < b->at);
}

static void apply(struct slice text, struct edits *e, struct buf *out) {
    size_t at = 0;
    if (e->n) qsort(e->list, e->n, sizeof *e->list, by_offset);
    for (size_t i = 0; i < e->n; i++) {
        struct edit *d = &e->list[i];
        if (d->at > at) buf_append(out, text.p + at, d->at - at);
        buf_slice_append(out, buf_slice(&d->text));
        if (d->at + d->cut > at) at = d->at + d->cut;
    }
    buf_slice_append(out, slice_from(text, at));
}

static enum status check_result(struct slice text, size_t n_errors_before, struct error *err) {
    struct findings f;
    struct ruleset *r = NULL;
    struct check_options o = {0};
    (void)!ruleset_check(text, &o, &f, &r);
    enum status st = ST_OK;
    if (f.n_errors > n_errors_before || !r) {
        const char *what = "";
        for (size_t i = 0; i < f.n && !*what; i++) {
            if (f.list[i].kind == FINDING_ERROR) what = f.list[i].text;
        }
        st = error_set(err, ST_INVALID, "with the exclude the configuration has errors: %s", what);
    }
    findings_free(&f);
    ruleset_free(&r);
    return st;
}

/* What the file says of its encoding becomes UTF-8, which it is in now. */
static void say_utf8(const struct config_text *t, struct edits *e) {
    if (t->declared.p) buf_str(edit_at(e, (size_t)(t->declared.p - t->utf8.p), t->declared.len), "UTF-8");
}

static void place_all(struct slice text, const struct ruleset *r, struct exclude *x, size_t n, struct edits *e) {
    for (size_t i = 0; i < n; i++) {
        bool done = false;
        for (size_t k = 0; k < i && !done; k++) done = strcmp(x[k].tag, x[i].tag) == 0;
        if (done) continue;
        const char *why = place_tag(text, r, x, n, x[i].tag, e);
        for (size_t k = i; why && k < n; k++) {
            if (strcmp(x[k].tag, x[i].tag) == 0) x[k].why_not = why;
        }
    }
}

enum status exclude_add(struct slice config, struct exclude *x, size_t n, struct buf *out, struct error *err) {
    struct config_text t;
    struct findings f;
    struct ruleset *r = NULL;
    struct check_options o = {0};
    struct place at;
    struct edits e = {0};
    enum status st = config_text_decode(config, &t, &at, err);
    (void)!ruleset_check(config, &o, &f, &r);
    size_t n_errors = f.n_errors;
    findings_free(&f);
    if (!st && !r) st = error_set(err, ST_INVALID, "the ruleset is not understood; see: haechi rules check");
    if (!st) {
        struct buf text = {0};
        place_all(buf_slice(&t.utf8), r, x, n, &e);
        say_utf8(&t, &e);
        apply(buf_slice(&t.utf8), &e, &text);
        st = check_result(buf_slice(&text), n_errors, err);
        if (!st) buf_slice_append(out, buf_slice(&text));
        buf_free(&text);
    }
    for (size_t i = 0; i < e.n; i++) buf_free(&e.list[i].text);
    mem_free(e.list);
    config_text_free(&t);
    ruleset_free(&r);
    return st;
}

void exclude_nothing(uint32_t schema, const uint32_t *ids, size_t n_ids, struct buf *out) {
    buf_printf(out,
               "<!-- Logs all events of the tags below but what it excludes: to be simulated, not to be used. -->\n"
               "<Sysmon schemaversion=\"%u.%02u\">\n<HashAlgorithms>SHA256</HashAlgorithms>\n<EventFiltering>\n",
               (unsigned)(schema / 100), (unsigned)(schema % 100));
    for (size_t t = 0; t < schema_n_tags; t++) {
        bool wanted = false;
        for (size_t k = 0; schema_tags[t].ids[k]; k++) {
            for (size_t i = 0; i < n_ids; i++) wanted = wanted || schema_tags[t].ids[k] == ids[i];
        }
        if (!wanted) continue;
        buf_printf(out, "  <RuleGroup name=\"\" groupRelation=\"or\">\n    <%s onmatch=\"exclude\"/>\n  </RuleGroup>\n",
                   schema_tags[t].tag);
    }
    buf_str(out, "</EventFiltering>\n</Sysmon>\n");
}
