/* From the document to blocks, rules and fields, dropping what Sysmon's engine drops. All is copied into the ruleset's arena,
 * which the document's size bounds. */
#include "ruleset.h"
#include "config_text.h"
#include "config_xml.h"
#include "mem.h"
#include "schema.h"

#define RULESET_ARENA_CAP ((size_t)128 * 1024 * 1024)

struct reading {
    struct ruleset *r;
    const struct config_doc *doc;
    size_t n_groups;
    bool dropped[64]; /* by place in schema_tags: later blocks of the tag are dropped as well */
    struct place at;
    struct error *err;
};

/* The RuleGroup around a block. */
struct group_context {
    bool present;
    size_t number;
    struct slice name;
    enum rule_relation relation;
};

static enum status refuse(struct reading *rd, struct place at, enum status st, const char *why) {
    rd->at = at;
    return error_set(rd->err, st, "%s", why);
}

static enum status no_memory(struct reading *rd, struct place at) {
    return refuse(rd, at, ST_NOMEM, "the rules need more memory than one configuration may");
}

/* .p NULL: no such attribute, or no memory (then the arena is exhausted, and stays so). */
static struct slice copy_attribute(struct reading *rd, const struct config_node *n, const char *name) {
    const struct config_attribute *a = config_attribute(n, name);
    return a ? arena_copy(&rd->r->arena, a->value) : (struct slice){NULL, 0};
}

static enum status read_name(struct reading *rd, const struct config_node *n, struct slice *ret) {
    *ret = copy_attribute(rd, n, "name");
    if (ret->p && config_characters(*ret) > RULE_NAME_MAX) {
        return refuse(rd, config_attribute(n, "name")->at, ST_INVALID, "the name is longer than 255 characters");
    }
    return rd->r->arena.exhausted ? no_memory(rd, n->at) : ST_OK;
}

/* Whatever is not "or" is AND to Sysmon; absent: `otherwise`. */
static enum rule_relation relation_of(const struct config_node *n, enum rule_relation otherwise) {
    const struct config_attribute *a = config_attribute(n, "groupRelation");
    if (!a) return otherwise;
    return slice_eq_nocase(a->value, SLICE_LIT("or")) ? RELATION_OR : RELATION_AND;
}

static bool is_rule(const struct config_node *n) {
    return slice_eq_nocase(n->text, SLICE_LIT("Rule"));
}

static size_t count_elements(const struct config_node *parent) {
    size_t n = 0;
    for (const struct config_node *c = config_element(parent->first); c; c = config_element(c->next)) n++;
    return n;
}

static enum status read_field(struct reading *rd, const struct config_node *n, struct rule_field *f) {
    const struct config_attribute *condition = config_attribute(n, "condition");
    *f = (struct rule_field){.at = n->at, .condition = COND_IS};
    if (condition && !schema_condition_parse(condition->value, &f->condition)) {
        return refuse(rd, condition->at, ST_INVALID, "unknown condition");
    }
    f->field = arena_copy(&rd->r->arena, n->text);
    f->value = arena_copy(&rd->r->arena, config_value(n, NULL));
    rd->r->n_fields++;
    return read_name(rd, n, &f->name);
}

static enum status read_rule(struct reading *rd, const struct config_node *n, struct rule *rule) {
    *rule = (struct rule){.at = n->at, .relation = relation_of(n, RELATION_OR)};
    rule->is_single = !is_rule(n);
    size_t n_fields = rule->is_single ? 1 : count_elements(n);
    rule->fields = arena_zalloc(&rd->r->arena, n_fields * sizeof *rule->fields);
    if (!rule->fields) return no_memory(rd, n->at);
    if (rule->is_single) {
        rule->n_fields = 1;
        return read_field(rd, n, rule->fields);
    }
    enum status st = read_name(rd, n, &rule->name);
    for (const struct config_node *c = config_element(n->first); c && !st; c = config_element(c->next)) {
        st = read_field(rd, c, &rule->fields[rule->n_fields++]);
    }
    return st;
}

bool rule_block_fits(const struct rule_block *b, uint32_t id) {
    for (size_t i = 0; i < b->n_rules; i++) {
        for (size_t k = 0; k < b->rules[i].n_fields; k++) {
            if (!schema_field_find(id, b->rules[i].fields[k].field)) return false;
        }
    }
    return true;
}

/* The first id that has all fields; 0: none, which makes Sysmon drop the block. */
static uint32_t bound_to(const struct rule_block *b) {
    for (const uint32_t *id = b->event_ids; *id; id++) {
        if (rule_block_fits(b, *id)) return *id;
    }
    return 0;
}

/* False: Sysmon skips the block (neither or both attributes). */
static bool read_onmatch(const struct config_node *n, bool *ret_exclude) {
    const struct config_attribute *on = config_attribute(n, "onmatch"), *old = config_attribute(n, "default");
    if (!on == !old) return false;
    bool exclude = slice_eq_nocase((on ? on : old)->value, SLICE_LIT("exclude"));
    *ret_exclude = on ? exclude : !exclude;
    return true;
}

static enum status read_block(struct reading *rd, const struct config_node *n, const struct schema_tag *tag,
                              const struct group_context *group) {
    bool exclude, *dropped = &rd->dropped[tag - schema_tags];
    if (*dropped || !read_onmatch(n, &exclude)) return ST_OK;
    struct rule_block *b = &rd->r->blocks[rd->r->n_blocks];
    *b = (struct rule_block){.tag = slice_str(tag->tag),
                             .event_ids = tag->ids,
                             .exclude = exclude,
                             .in_group = group->present,
                             .group = group->present ? group->number : SIZE_MAX,
                             .group_name = group->name,
                             .relation = group->relation,
                             .at = n->at};
    size_t n_rules = count_elements(n);
    b->rules = arena_zalloc(&rd->r->arena, n_rules * sizeof *b->rules);
    if (!b->rules) return no_memory(rd, n->at);
    for (const struct config_node *c = config_element(n->first); c; c = config_element(c->next)) {
        enum status st = read_rule(rd, c, &b->rules[b->n_rules++]);
        if (st) return st;
    }
    b->bound_id = bound_to(b);
    if (b->bound_id) {
        rd->r->n_blocks++;
    } else {
        *dropped = true;
    }
    return ST_OK;
}

/* Event tags are looked for at any depth. */
static enum status read_filtering(struct reading *rd, const struct config_node *parent,
                                  const struct group_context *group) {
    for (const struct config_node *n = config_element(parent->first); n; n = config_element(n->next)) {
        const struct schema_tag *tag = schema_tag_find(n->text);
        struct group_context inner = *group;
        enum status st = ST_OK;
        if (tag) {
            st = read_block(rd, n, tag, group);
        } else if (slice_eq_nocase(n->text, SLICE_LIT("RuleGroup"))) {
            inner.present = true;
            inner.number = rd->n_groups++;
            inner.relation = relation_of(n, group->relation);
            st = read_name(rd, n, &inner.name);
            if (!st) st = read_filtering(rd, n, &inner);
        } else {
            st = read_filtering(rd, n, group);
        }
        if (st) return st;
    }
    return ST_OK;
}

static size_t count_below(const struct config_node *parent) {
    size_t n = 0;
    for (const struct config_node *c = config_element(parent->first); c; c = config_element(c->next)) {
        n += schema_tag_find(c->text) ? 1 : count_below(c);
    }
    return n;
}

static enum status read_all(struct reading *rd) {
    const struct config_node *root = rd->doc->root;
    struct ruleset *r = rd->r;
    const struct config_attribute *schema = config_attribute(root, "schemaversion");
    if (!slice_eq_str(root->text, "Sysmon")) {
        return refuse(rd, root->at, ST_INVALID, "the document's element is not <Sysmon>");
    }
    if (!schema) return refuse(rd, root->at, ST_INVALID, "<Sysmon> has no schemaversion");
    if (!schema_version_parse(schema->value, &r->schema)) {
        return refuse(rd, schema->at, ST_INVALID, "schemaversion is not a version");
    }
    r->options = arena_zalloc(&r->arena, count_elements(root) * sizeof *r->options);
    r->blocks = arena_zalloc(&r->arena, count_below(root) * sizeof *r->blocks);
    if (!r->options || !r->blocks) return no_memory(rd, root->at);
    const struct group_context outside = {.relation = r->schema > 410 ? RELATION_AND : RELATION_OR};
    for (const struct config_node *n = config_element(root->first); n; n = config_element(n->next)) {
        if (slice_eq_str(n->text, "EventFiltering")) {
            enum status st = read_filtering(rd, n, &outside);
            if (st) return st;
            continue;
        }
        struct rule_option *o = &r->options[r->n_options++];
        o->name = arena_copy(&r->arena, n->text);
        o->value = arena_copy(&r->arena, config_value(n, NULL));
        o->at = n->at;
    }
    return r->arena.exhausted ? no_memory(rd, root->at) : ST_OK;
}

MUST_USE enum status ruleset_build(const struct config_doc *doc, struct ruleset **ret, struct place *ret_at,
                                   struct error *err) {
    struct reading rd = {.r = mem_zalloc(sizeof *rd.r), .doc = doc, .err = err};
    arena_init(&rd.r->arena, RULESET_ARENA_CAP);
    rd.r->encoding = doc->encoding;
    rd.r->has_bom = doc->has_bom;
    enum status st = read_all(&rd);
    *ret_at = rd.at;
    if (st) {
        ruleset_free(&rd.r);
    } else {
        *ret = rd.r;
    }
    return st;
}

MUST_USE enum status ruleset_parse(struct slice bytes, struct ruleset **ret, struct error *err) {
    struct config_doc *doc = NULL;
    struct place at = {1, 1};
    enum status st = config_xml_parse(bytes, &doc, &at, err);
    if (!st) st = ruleset_build(doc, ret, &at, err);
    config_xml_free(&doc);
    return st ? error_prefix(err, st, "line %u, column %u", at.line, at.column) : ST_OK;
}

void ruleset_free(struct ruleset **rp) {
    struct ruleset *r = *rp;
    if (!r) return;
    arena_deinit(&r->arena);
    mem_free(r);
    *rp = NULL;
}

bool schema_version_parse(struct slice text, uint32_t *ret) {
    size_t i = 0, digits = 0;
    uint32_t whole = 0, thousandths = 0, weight = 100;
    for (; i < text.len && text.p[i] >= '0' && text.p[i] <= '9'; i++, digits++) {
        if (whole > 999) return false;
        whole = whole * 10 + (uint32_t)(text.p[i] - '0');
    }
    if (i < text.len && text.p[i] == '.') i++;
    for (; i < text.len && text.p[i] >= '0' && text.p[i] <= '9'; i++, digits++) {
        thousandths += weight * (uint32_t)(text.p[i] - '0');
        weight /= 10;
    }
    if (i != text.len || !digits) return false;
    *ret = whole * 100 + (thousandths + 5) / 10;
    return true;
}
