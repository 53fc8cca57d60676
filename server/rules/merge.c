/* Reads and checks the modules, collects their blocks by tag and direction, and writes each collection as one block. Written text is
 * escaped so that it reads back as it was; the result is checked again before it is handed out. */
#include "merge.h"
#include "check.h"
#include "mem.h"
#include "schema.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_SHOWN 200u

struct part {
    const struct merge_module *module;
    struct ruleset *rules; /* NULL: it could not be read */
};

struct merge {
    struct part *parts; /* the base first, then the modules by name */
    size_t n_parts;
    bool has_base;
    struct buf out, *complaints;
    size_t n_complaints;
};

/* ---- writing ---- */

static void put_escaped(struct buf *b, struct slice s, bool attribute) {
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c == '&') {
            buf_str(b, "&amp;");
        } else if (c == '<') {
            buf_str(b, "&lt;");
        } else if (c == '>') {
            buf_str(b, "&gt;");
        } else if (c == '"' && attribute) {
            buf_str(b, "&quot;");
        } else if (c == '\r' || (attribute && (c == '\n' || c == '\t'))) {
            buf_printf(b, "&#%u;", c);
        } else {
            buf_byte(b, c);
        }
    }
}

static void put_attribute(struct buf *b, const char *name, struct slice value) {
    if (!value.len) return;
    buf_printf(b, " %s=\"", name);
    put_escaped(b, value, true);
    buf_byte(b, '"');
}

/* Two hyphens would end the comment. */
static void put_comment(struct buf *b, const char *indent, const char *text) {
    struct buf shown = {0};
    text_printable(&shown, slice_str(text), NAME_SHOWN);
    buf_printf(b, "%s<!-- ", indent);
    for (size_t i = 0; i < shown.len; i++) {
        if (i && shown.p[i] == '-' && shown.p[i - 1] == '-') buf_byte(b, ' ');
        buf_byte(b, shown.p[i]);
    }
    buf_str(b, " -->\n");
    buf_free(&shown);
}

static void put_field(struct buf *b, const char *indent, const struct rule_field *f, struct slice group_name) {
    buf_printf(b, "%s<%.*s", indent, (int)f->field.len, (const char *)f->field.p);
    put_attribute(b, "name", f->name.len ? f->name : group_name);
    buf_printf(b, " condition=\"%s\">", rule_condition_name(f->condition));
    put_escaped(b, f->value, false);
    buf_printf(b, "</%.*s>\n", (int)f->field.len, (const char *)f->field.p);
}

static void put_rule(struct buf *b, const struct rule_field *fields, size_t n, enum rule_relation relation,
                     struct slice name) {
    buf_str(b, "        <Rule");
    put_attribute(b, "name", name);
    buf_printf(b, " groupRelation=\"%s\">\n", relation == RELATION_AND ? "and" : "or");
    for (size_t i = 0; i < n; i++) put_field(b, "          ", &fields[i], (struct slice){NULL, 0});
    buf_str(b, "        </Rule>\n");
}

/* ---- one block into the collection's ---- */

static void complain(struct merge *m, const struct part *p, struct place at, const char *fmt, ...) PRINTF_LIKE(4, 5);
static void complain(struct merge *m, const struct part *p, struct place at, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_printf(m->complaints, "%s:%u:%u: error: %s\n", p->module->name, at.line, at.column, text);
    m->n_complaints++;
}

static bool one_field(const struct rule_block *k) {
    for (size_t i = 0; i < k->n_rules; i++) {
        if (!k->rules[i].is_single || !slice_eq(k->rules[i].fields[0].field, k->rules[0].fields[0].field)) return false;
    }
    return true;
}

/* An "and" block of different fields, each once, is a Rule. Alternatives of one field beside other fields are not. */
static bool put_and_block(struct merge *m, const struct rule_block *k, struct slice name) {
    struct rule_field *fields = mem_alloc((k->n_rules + 1) * sizeof *fields);
    bool fits = true;
    for (size_t i = 0; i < k->n_rules && fits; i++) {
        fits = k->rules[i].is_single;
        for (size_t n = 0; n < i && fits; n++) fits = !slice_eq(fields[n].field, k->rules[i].fields[0].field);
        if (fits) fields[i] = k->rules[i].fields[0];
    }
    if (fits) put_rule(&m->out, fields, k->n_rules, RELATION_AND, name);
    mem_free(fields);
    return fits;
}

static void put_block(struct merge *m, const struct part *p, const struct rule_block *k, bool shared_name) {
    struct slice name = shared_name ? (struct slice){NULL, 0} : k->group_name;
    if (!k->n_rules) return;
    put_comment(&m->out, "        ", p->module->name);
    if (k->relation == RELATION_AND && k->n_rules > 1 && !one_field(k)) {
        if (put_and_block(m, k, name)) return;
        complain(
            m, p, k->at,
            "<%.*s>: alternatives joined by \"and\" cannot stand in one block with other modules, put them into Rules",
            (int)k->tag.len, (const char *)k->tag.p);
        return;
    }
    for (size_t i = 0; i < k->n_rules; i++) {
        const struct rule *r = &k->rules[i];
        if (r->is_single) {
            put_field(&m->out, "        ", r->fields, name);
        } else {
            put_rule(&m->out, r->fields, r->n_fields, r->relation, r->name.len ? r->name : name);
        }
    }
}

/* ---- all blocks of one tag and direction ---- */

struct block_iterator {
    const struct merge *m;
    const char *tag;
    bool exclude;
    size_t part, block;
};

static const struct rule_block *next_block(struct block_iterator *it, const struct part **ret) {
    for (; it->part < it->m->n_parts; it->part++, it->block = 0) {
        const struct ruleset *r = it->m->parts[it->part].rules;
        while (r && it->block < r->n_blocks) {
            const struct rule_block *k = &r->blocks[it->block++];
            if (k->exclude != it->exclude || !slice_eq_str(k->tag, it->tag)) continue;
            *ret = &it->m->parts[it->part];
            return k;
        }
    }
    return NULL;
}

/* Some id must have the fields of all modules. */
static void check_ids(struct merge *m, const struct schema_tag *tag, bool exclude) {
    bool fits[SCHEMA_IDS_MAX] = {true, true, true, true};
    struct block_iterator it = {.m = m, .tag = tag->tag, .exclude = exclude};
    const struct part *p;
    for (const struct rule_block *k; (k = next_block(&it, &p));) {
        bool any = false;
        for (size_t i = 0; tag->ids[i]; i++) any |= fits[i] = fits[i] && rule_block_fits(k, tag->ids[i]);
        if (any) continue;
        complain(
            m, p, k->at,
            "<%s>: no single event has these fields and those of the modules before, in one block Sysmon drops all",
            tag->tag);
        return;
    }
}

static void merge_tag(struct merge *m, const struct schema_tag *tag, bool exclude) {
    struct block_iterator it = {.m = m, .tag = tag->tag, .exclude = exclude}, first = it;
    const struct part *p;
    const struct rule_block *lead = next_block(&first, &p);
    if (!lead) return;
    bool shared = true;
    for (const struct rule_block *k; (k = next_block(&first, &p));) shared &= slice_eq(k->group_name, lead->group_name);
    check_ids(m, tag, exclude);
    buf_str(&m->out, "    <RuleGroup");
    if (shared) put_attribute(&m->out, "name", lead->group_name);
    buf_printf(&m->out, " groupRelation=\"or\">\n      <%s onmatch=\"%s\">\n", tag->tag,
               exclude ? "exclude" : "include");
    for (const struct rule_block *k; (k = next_block(&it, &p));) put_block(m, p, k, shared);
    buf_printf(&m->out, "      </%s>\n    </RuleGroup>\n", tag->tag);
}

/* ---- options ---- */

static const struct rule_option *option_of(const struct ruleset *r, struct slice name) {
    for (size_t i = 0; r && i < r->n_options; i++) {
        if (slice_eq(r->options[i].name, name)) return &r->options[i];
    }
    return NULL;
}

/* The base's word counts; among modules all must say the same. */
static void merge_option(struct merge *m, size_t part, const struct rule_option *o) {
    for (size_t i = 0; i < part; i++) {
        const struct rule_option *before = option_of(m->parts[i].rules, o->name);
        if (!before) continue;
        if (!(i == 0 && m->has_base) && !slice_eq(before->value, o->value)) {
            complain(m, &m->parts[part], o->at, "%.*s has another value in %s; say in a base file which one holds",
                     (int)o->name.len, (const char *)o->name.p, m->parts[i].module->name);
        }
        return;
    }
    buf_printf(&m->out, "  <%.*s>", (int)o->name.len, (const char *)o->name.p);
    put_escaped(&m->out, o->value, false);
    buf_printf(&m->out, "</%.*s>\n", (int)o->name.len, (const char *)o->name.p);
}

/* ---- schema ---- */

static void at_least(uint32_t *version, uint32_t since) {
    if (since > *version) *version = since;
}

uint32_t ruleset_needs(const struct ruleset *r) {
    uint32_t needs = SCHEMA_OLDEST;
    for (size_t i = 0; i < r->n_options; i++) {
        const struct schema_name *o = schema_option_find(r->options[i].name);
        if (o) at_least(&needs, o->since);
    }
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct rule_block *k = &r->blocks[i];
        at_least(&needs, schema_event_find(k->bound_id)->since);
        for (size_t n = 0; n < k->n_rules; n++) {
            for (size_t f = 0; f < k->rules[n].n_fields; f++) {
                const struct schema_field *field = schema_field_find(k->bound_id, k->rules[n].fields[f].field);
                const struct schema_name *condition = schema_condition_info(k->rules[n].fields[f].condition);
                if (field) at_least(&needs, field->since);
                if (condition) at_least(&needs, condition->since);
            }
        }
    }
    return needs;
}

/* The base's number unless something newer is used: a lower one suits more hosts. */
static uint32_t schema_of(const struct merge *m) {
    uint32_t version = m->has_base ? m->parts[0].rules->schema : SCHEMA_OLDEST;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (!m->has_base) at_least(&version, m->parts[i].rules->schema);
        at_least(&version, ruleset_needs(m->parts[i].rules));
    }
    return version;
}

/* ---- all ---- */

/* Complains of each error; *ret NULL: it is not understood. */
static void check_bytes(struct merge *m, const char *name, struct slice bytes, struct ruleset **ret) {
    const struct check_options o = {0};
    struct findings f;
    (void)!ruleset_check(bytes, &o, &f, ret);
    for (size_t i = 0; i < f.n; i++) {
        const struct findings one = {.list = &f.list[i], .n = 1};
        if (f.list[i].kind == FINDING_ERROR) findings_text(&one, name, m->complaints);
    }
    m->n_complaints += f.n_errors;
    findings_free(&f);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct part *)a)->module->name, ((const struct part *)b)->module->name);
}

static void write_all(struct merge *m) {
    struct buf head = {0};
    buf_printf(&head, "merged from %zu modules: change those, not this", m->n_parts - m->has_base);
    buf_printf(&m->out, "<Sysmon schemaversion=\"%u.%02u\">\n", schema_of(m) / 100, schema_of(m) % 100);
    put_comment(&m->out, "  ", buf_cstr(&head));
    for (size_t i = 0; i < m->n_parts; i++) {
        for (size_t k = 0; k < m->parts[i].rules->n_options; k++) merge_option(m, i, &m->parts[i].rules->options[k]);
    }
    buf_str(&m->out, "  <EventFiltering>\n");
    for (size_t i = 0; i < schema_n_tags; i++) {
        merge_tag(m, &schema_tags[i], false);
        merge_tag(m, &schema_tags[i], true);
    }
    buf_str(&m->out, "  </EventFiltering>\n</Sysmon>\n");
    buf_free(&head);
}

MUST_USE enum status ruleset_merge(const struct merge_module *base, const struct merge_module *modules, size_t n,
                                   struct buf *ret_xml, struct buf *complaints, struct error *err) {
    struct merge m = {.has_base = base != NULL, .n_parts = n + (base != NULL), .complaints = complaints};
    struct ruleset *again = NULL;
    enum status st = ST_OK;
    m.parts = mem_zalloc((m.n_parts + 1) * sizeof *m.parts);
    m.parts[0].module = base;
    for (size_t i = 0; i < n; i++) m.parts[i + m.has_base].module = &modules[i];
    qsort(m.parts + m.has_base, n, sizeof *m.parts, by_name);
    for (size_t i = 0; i < m.n_parts; i++) {
        check_bytes(&m, m.parts[i].module->name, m.parts[i].module->bytes, &m.parts[i].rules);
    }
    if (!m.n_complaints) {
        write_all(&m);
        if (!m.n_complaints)
            check_bytes(&m, "(merged)", buf_slice(&m.out), &again); /* modules of schemas that do not go together */
    }
    if (m.n_complaints) {
        st = error_set(err, ST_INVALID, "the modules cannot be merged: %zu error%s", m.n_complaints,
                       m.n_complaints == 1 ? "" : "s");
    } else {
        buf_slice_append(ret_xml, buf_slice(&m.out));
    }
    ruleset_free(&again);
    for (size_t i = 0; i < m.n_parts; i++) ruleset_free(&m.parts[i].rules);
    mem_free(m.parts);
    buf_free(&m.out);
    return st;
}
