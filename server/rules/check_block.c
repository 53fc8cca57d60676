/* One event's block: what its fields, rules and attributes may be. A field that is not the event's costs the block and all later
 * ones of the tag, while Sysmon reports success. */
#include "check_internal.h"

#include <stdio.h>

static const struct schema_field *tag_field(const struct schema_tag *tag, struct slice name, uint32_t *ret_id) {
    for (const uint32_t *id = tag->ids; *id; id++) {
        const struct schema_field *f = schema_field_find(*id, name);
        if (f) {
            *ret_id = *id;
            return f;
        }
    }
    return NULL;
}

bool is_field_of_any(struct slice name) {
    uint32_t id;
    for (size_t i = 0; i < schema_n_tags; i++) {
        if (tag_field(&schema_tags[i], name, &id)) return true;
    }
    return false;
}

static void wrong_field(struct check *c, const struct config_node *n, const struct schema_tag *tag) {
    bool other = is_field_of_any(n->text);
    struct finding *f =
        finding_add(c->f, other ? CODE_WRONG_FIELD : CODE_FIELD, n->at,
                    other ? "<%s> is no field of %s: Sysmon drops this block and all later ones of the tag"
                          : "<%s> is no field of any event: Sysmon drops this block and all later ones of %s",
                    show(n->text).s, tag->tag);
    const char *close = f ? near_field(tag, n->text) : NULL;
    if (close) finding_instead(f, "did you mean <%s>?", close);
}

static bool check_condition(struct check *c, const struct config_node *n, enum rule_condition *ret) {
    const struct config_attribute *a = config_attribute(n, "condition");
    *ret = COND_IS;
    if (!a) return true;
    if (!schema_condition_parse(a->value, ret)) {
        struct finding *f = finding_add(c->f, CODE_CONDITION, a->at, "there is no condition \"%s\"", show(a->value).s);
        const char *close = f ? near_condition(a->value) : NULL;
        if (close) finding_instead(f, "did you mean \"%s\"?", close);
        return false;
    }
    const struct schema_name *info = schema_condition_info(*ret);
    char what[64];
    snprintf(what, sizeof what, "the condition \"%s\"", rule_condition_name(*ret));
    if (info) check_version(c, a->at, what, info->since, info->until);
    return true;
}

static struct place value_at(const struct config_node *n) {
    for (const struct config_node *t = n->first; t; t = t->next) {
        if (t->kind == CONFIG_TEXT || t->kind == CONFIG_CDATA) return t->at;
    }
    return n->at;
}

static void check_field(struct check *c, const struct config_node *n, const struct schema_tag *tag) {
    static const char *const allowed[] = {"condition", "name", NULL};
    struct lint_value v = {.tag = tag, .field = n->text, .at = value_at(n)};
    uint32_t id;
    const struct schema_field *f = tag_field(tag, n->text, &id);
    bool cut, known = check_condition(c, n, &v.condition);
    check_attributes(c, n, allowed);
    check_name(c, n);
    const struct config_node *inner = config_element(n->first);
    if (inner) {
        finding_add(c->f, CODE_MISPLACED, inner->at, "<%s> may not stand in a field", show(inner->text).s);
        return;
    }
    if (!f) {
        wrong_field(c, n, tag);
        return;
    }
    char what[128];
    const struct schema_event *e = schema_event_find(id);
    snprintf(what, sizeof what, "the field %s of %s", f->name, tag->tag);
    if (f->since > e->since || f->until) check_version(c, n->at, what, f->since, f->until);
    v.value = config_value(n, &cut);
    if (cut) {
        finding_instead(finding_add(c->f, CODE_CUT_VALUE, v.at, "Sysmon reads \"%s\" and nothing behind it",
                                    show(v.value).s),
                        "move the comment or CDATA section out of the value");
    }
    if (known) lint_value(c, &v);
}

static void check_rule(struct check *c, const struct config_node *n, const struct schema_tag *tag) {
    static const char *const allowed[] = {"groupRelation", "name", NULL};
    const struct config_attribute *a = config_attribute(n, "groupRelation");
    check_attributes(c, n, allowed);
    check_name(c, n);
    check_stray(c, n);
    if (!a) {
        finding_instead(finding_add(c->f, CODE_RULE_RELATION, n->at, "a Rule without groupRelation is an \"or\""),
                        "write groupRelation=\"or\" or groupRelation=\"and\"");
    } else if (!slice_eq_nocase(a->value, SLICE_LIT("or")) && !slice_eq_nocase(a->value, SLICE_LIT("and"))) {
        finding_instead(finding_add(c->f, CODE_RULE_RELATION, a->at,
                                    "groupRelation=\"%s\" of a Rule is taken as \"and\"", show(a->value).s),
                        "write \"or\" or \"and\"");
    }
    const struct config_node *f = config_element(n->first);
    if (!f) finding_add(c->f, CODE_EMPTY_RULE, n->at, "a Rule without fields");
    for (; f; f = config_element(f->next)) {
        if (slice_eq_nocase(f->text, SLICE_LIT("Rule"))) {
            finding_add(c->f, CODE_MISPLACED, f->at, "a Rule may not stand in a Rule");
        } else {
            check_field(c, f, tag);
        }
    }
}

/* ---- blocks ---- */

static void check_onmatch(struct check *c, const struct config_node *n) {
    const struct config_attribute *on = config_attribute(n, "onmatch"), *old = config_attribute(n, "default");
    const struct config_attribute *a = on ? on : old;
    if (!a) {
        finding_instead(finding_add(c->f, CODE_ONMATCH, n->at, "<%s> has no onmatch: Sysmon skips the block",
                                    show(n->text).s),
                        "write onmatch=\"include\" or onmatch=\"exclude\"");
        return;
    }
    if (on && old) {
        finding_instead(finding_add(c->f, CODE_ONMATCH, old->at,
                                    "onmatch and default together: Sysmon skips the block"),
                        "take default out");
        return;
    }
    bool include = slice_eq_nocase(a->value, SLICE_LIT("include"));
    bool known = include || slice_eq_nocase(a->value, SLICE_LIT("exclude"));
    if (!known || (!slice_eq_str(a->value, "include") && !slice_eq_str(a->value, "exclude"))) {
        finding_instead(finding_add(c->f, CODE_ONMATCH, a->at, "%s=\"%s\" is neither \"include\" nor \"exclude\"",
                                    show(a->name).s, show(a->value).s),
                        known ? "write it in lower case" : "write onmatch=\"include\" or onmatch=\"exclude\"");
    } else if (old) {
        finding_instead(finding_add(c->f, CODE_OLD_DEFAULT, a->at, "default=\"%s\" is the old form of onmatch=\"%s\"",
                                    include ? "include" : "exclude", include ? "exclude" : "include"),
                        "write onmatch=\"%s\"", include ? "exclude" : "include");
    }
}

/* Every field is the tag's; that there is an id which has them all is left to see. */
static void check_ids(struct check *c, const struct config_node *block, const struct schema_tag *tag) {
    const struct config_node *at = NULL;
    for (const uint32_t *id = tag->ids; *id; id++) {
        const struct config_node *missing = NULL;
        for (const struct config_node *n = config_element(block->first); n && !missing; n = config_element(n->next)) {
            bool rule = slice_eq_nocase(n->text, SLICE_LIT("Rule"));
            const struct config_node *f = rule ? config_element(n->first) : n;
            for (; f && !missing; f = rule ? config_element(f->next) : NULL) {
                uint32_t any;
                if (!tag_field(tag, f->text, &any)) return;
                if (!schema_field_find(*id, f->text)) missing = f;
            }
        }
        if (!missing) return;
        at = missing;
    }
    if (!at) return;
    finding_instead(
        finding_add(c->f, CODE_MIXED_IDS, at->at,
                    "no single event of %s has <%s> and the block's other fields: Sysmon drops this block and all "
                    "later ones of the tag",
                    tag->tag, show(at->text).s),
        "make a block of its own for each event id");
}

static void check_systems(struct check *c, const struct config_node *n, const struct schema_tag *tag) {
    static const char *const fires[] = {"ProcessCreate", "NetworkConnect", "ProcessTerminate", "RawAccessRead",
                                        "ProcessAccess", "FileCreate",     "FileDelete",       "eBPFEvent"};
    const struct schema_event *e = schema_event_find(tag->ids[0]);
    if (c->o->linux && !(e->systems & SCHEMA_LINUX)) {
        finding_add(c->f, CODE_NOT_ON_LINUX, n->at, "Sysmon for Linux does not know <%s>", tag->tag);
        return;
    }
    if (!c->o->linux && !(e->systems & SCHEMA_WINDOWS)) {
        finding_instead(finding_add(c->f, CODE_LINUX, n->at, "<%s> is known on Linux alone", tag->tag),
                        "keep a file for each system");
    }
    size_t i = 0, all = sizeof fires / sizeof *fires;
    while (i < all && strcmp(fires[i], tag->tag) != 0) i++;
    if (c->o->linux && i == all) finding_add(c->f, CODE_LINUX, n->at, "<%s> never happens on Linux", tag->tag);
}

void check_block(struct check *c, const struct config_node *n, const struct schema_tag *tag) {
    static const char *const allowed[] = {"onmatch", "default", NULL};
    const struct schema_event *e = schema_event_find(tag->ids[0]);
    char what[64];
    snprintf(what, sizeof what, "the event %s", tag->tag);
    check_version(c, n->at, what, e->since, e->until);
    check_systems(c, n, tag);
    check_attributes(c, n, allowed);
    check_onmatch(c, n);
    check_stray(c, n);
    for (const struct config_node *k = config_element(n->first); k; k = config_element(k->next)) {
        if (slice_eq_str(k->text, "Rule")) {
            check_rule(c, k, tag);
        } else if (slice_eq_nocase(k->text, SLICE_LIT("Rule"))) {
            finding_instead(finding_add(c->f, CODE_MISPLACED, k->at, "<%s> is not <Rule>", show(k->text).s),
                            "write Rule");
        } else {
            check_field(c, k, tag);
        }
    }
    check_ids(c, n, tag);
}
