/* What is checked of every element alike: the version that it came with, its attributes, its name, text where none may be. */
#include "check_internal.h"
#include "config_text.h"

void check_version(struct check *c, struct place at, const char *what, uint32_t since, uint32_t until) {
    if (c->o->lowest_schema && since > c->o->lowest_schema) {
        finding_add(c->f, CODE_NEWER_HOSTS, at, "%s came with schema %s, but a host has %s", what,
                    show_version(since).s, show_version(c->o->lowest_schema).s);
    } else if (c->schema && since > c->schema) {
        finding_instead(finding_add(c->f, CODE_NEWER, at, "%s came with schema %s, the file names %s", what,
                                    show_version(since).s, show_version(c->schema).s),
                        "write schemaversion=\"%s\" where every host's Sysmon has it", show_version(since).s);
    } else if (until && c->schema >= until) {
        finding_add(c->f, CODE_GONE, at, "%s is not in schema %s any more; it went with %s", what,
                    show_version(c->schema).s, show_version(until).s);
    }
}

/* `allowed` is NULL-terminated. */
void check_attributes(struct check *c, const struct config_node *n, const char *const *allowed) {
    for (size_t i = 0; i < n->n_attributes; i++) {
        const struct config_attribute *a = &n->attributes[i];
        size_t k = 0;
        while (allowed[k] && !slice_eq_str(a->name, allowed[k])) k++;
        if (allowed[k]) continue;
        struct finding *f =
            finding_add(c->f, CODE_ATTRIBUTE, a->at, "<%s> has no attribute %s", show(n->text).s, show(a->name).s);
        const char *close = f ? near_name(a->name, allowed, k) : NULL;
        if (close) finding_instead(f, "did you mean %s?", close);
    }
}

void check_stray(struct check *c, const struct config_node *parent) {
    for (const struct config_node *n = parent->first; n; n = n->next) {
        if ((n->kind == CONFIG_TEXT && !config_is_blank(n->text)) || n->kind == CONFIG_CDATA) {
            finding_instead(finding_add(c->f, CODE_STRAY_TEXT, n->at,
                                        "text stands between the elements of <%s>: \"%s\"", show(parent->text).s,
                                        show(n->text).s),
                            "take it out or make it a comment");
        }
    }
}

/* Items between commas, each one key=value: how collectors read names like technique_id=T1059,technique_name=Scripting. */
static bool name_is_readable(struct slice name) {
    if (!memchr(name.p, '=', name.len)) return true;
    while (name.p) {
        const uint8_t *comma = memchr(name.p, ',', name.len);
        struct slice item = comma ? slice_of(name.p, (size_t)(comma - name.p)) : name;
        const uint8_t *is = item.len ? memchr(item.p, '=', item.len) : NULL;
        if (!is || is == item.p || memchr(is + 1, '=', item.len - (size_t)(is + 1 - item.p))) return false;
        name = comma ? slice_from(name, item.len + 1) : (struct slice){NULL, 0};
    }
    return true;
}

void check_name(struct check *c, const struct config_node *n) {
    const struct config_attribute *a = config_attribute(n, "name");
    if (!a) return;
    size_t len = config_characters(a->value);
    uint32_t oldest = c->o->lowest_schema && c->o->lowest_schema < c->schema ? c->o->lowest_schema : c->schema;
    if (len > RULE_NAME_MAX) {
        finding_add(c->f, CODE_NAME_LENGTH, a->at, "a name of %zu characters; Sysmon refuses more than 255", len);
    } else if (oldest < 490 && len > 128) {
        finding_add(c->f, CODE_NAME_OLD, a->at, "a name of %zu characters; Sysmon before 15 takes 128", len);
    } else if (oldest < 423 && len > 32) {
        finding_add(c->f, CODE_NAME_OLD, a->at, "a name of %zu characters; Sysmon before 10.42 takes 32", len);
    }
    if (!name_is_readable(a->value)) {
        finding_instead(finding_add(c->f, CODE_NAME_FORM, a->at, "readers of key=value names misread \"%s\"",
                                    show(a->value).s),
                        "write key=value,key=value with no other comma or =");
    }
}
