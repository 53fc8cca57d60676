/* Walks the document along the grammar and says what Sysmon would refuse or leave out; values go to lint.c, options to
 * check_option.c, and when the document makes a ruleset, its blocks to lint_blocks.c and shadow.c. */
#include "check_internal.h"
#include "mem.h"

#define LARGE_FILE (1024u * 1024)
#define OLD_MAJOR 400u /* a Sysmon of schema 4.x refuses files below */

static void check_filtering(struct check *c, const struct config_node *parent, bool in_group);

static void check_group(struct check *c, const struct config_node *n) {
    static const char *const allowed[] = {"groupRelation", "name", NULL};
    const struct config_attribute *a = config_attribute(n, "groupRelation");
    check_attributes(c, n, allowed);
    check_name(c, n);
    bool known = a && (slice_eq_nocase(a->value, SLICE_LIT("or")) || slice_eq_nocase(a->value, SLICE_LIT("and")));
    if (!a) {
        finding_instead(finding_add(c->f, CODE_RELATION, n->at, "a RuleGroup needs groupRelation"),
                        "write groupRelation=\"or\"");
    } else if (!slice_eq_str(a->value, "or") && !slice_eq_str(a->value, "and")) {
        finding_instead(finding_add(c->f, CODE_RELATION, a->at, "groupRelation=\"%s\" is neither \"and\" nor \"or\"",
                                    show(a->value).s),
                        known ? "write it in lower case" : "write groupRelation=\"or\" or groupRelation=\"and\"");
    }
    check_filtering(c, n, true);
}

static void not_a_tag(struct check *c, const struct config_node *n, const char *parent) {
    if (schema_option_find(n->text)) {
        finding_instead(finding_add(c->f, CODE_MISPLACED, n->at, "the option <%s> may not stand in <%s>",
                                    show(n->text).s, parent),
                        "put it directly into <Sysmon>");
        return;
    }
    if (slice_eq_nocase(n->text, SLICE_LIT("Rule")) || is_field_of_any(n->text)) {
        finding_instead(finding_add(c->f, CODE_MISPLACED, n->at, "<%s> may not stand in <%s>", show(n->text).s, parent),
                        "put it into an event's block");
        return;
    }
    struct finding *f = finding_add(c->f, CODE_TAG, n->at, "<%s> is no event tag of Sysmon", show(n->text).s);
    const char *close = f ? near_tag(n->text) : NULL;
    if (close) finding_instead(f, "did you mean <%s>?", close);
}

/* RuleGroup and EventFiltering hold the same, but that groups do not nest. */
static void check_filtering(struct check *c, const struct config_node *parent, bool in_group) {
    check_stray(c, parent);
    for (const struct config_node *n = config_element(parent->first); n; n = config_element(n->next)) {
        const struct schema_tag *tag = schema_tag_find(n->text);
        if (tag) {
            check_block(c, n, tag);
        } else if (slice_eq_str(n->text, "RuleGroup") && !in_group) {
            check_group(c, n);
        } else if (slice_eq_str(n->text, "RuleGroup") || slice_eq_str(n->text, "EventFiltering")) {
            finding_add(c->f, CODE_MISPLACED, n->at, "<%s> may not stand in <%s>", show(n->text).s,
                        in_group ? "RuleGroup" : "EventFiltering");
        } else {
            not_a_tag(c, n, in_group ? "RuleGroup" : "EventFiltering");
        }
    }
}

/* ---- the document ---- */

static void check_schema(struct check *c, const struct config_node *root) {
    const struct config_attribute *a = config_attribute(root, "schemaversion");
    uint32_t version = 0;
    if (!a) {
        finding_instead(finding_add(c->f, CODE_SCHEMA, root->at, "<Sysmon> has no schemaversion"),
                        "write schemaversion=\"4.90\", or the schema that \"sysmon -s\" prints on the oldest host");
        return;
    }
    if (!schema_version_parse(a->value, &version)) {
        finding_instead(finding_add(c->f, CODE_SCHEMA, a->at, "\"%s\" is no schema version", show(a->value).s),
                        "write a number with two decimals, as in \"4.90\"");
        return;
    }
    c->schema = version;
    uint32_t lowest = c->o->lowest_schema, newest = c->o->linux ? SCHEMA_NEWEST_LINUX : SCHEMA_NEWEST;
    if (version < SCHEMA_OLDEST) {
        finding_add(c->f, CODE_SCHEMA, a->at, "schema %s is older than any that Sysmon has had",
                    show_version(version).s);
    } else if (lowest && version > lowest) {
        finding_instead(finding_add(c->f, CODE_SCHEMA_ABOVE, a->at,
                                    "the file names schema %s, but a host's Sysmon has %s", show_version(version).s,
                                    show_version(lowest).s),
                        "write schemaversion=\"%s\"", show_version(lowest).s);
    } else if (lowest >= OLD_MAJOR && version < OLD_MAJOR) {
        finding_add(c->f, CODE_SCHEMA, a->at, "a Sysmon of schema %s refuses files of schema %s",
                    show_version(lowest).s, show_version(version).s);
    } else if (version < OLD_MAJOR) {
        finding_add(c->f, CODE_OLD_SCHEMA, a->at, "Sysmon 7 and later refuse files of schema %s",
                    show_version(version).s);
    } else if (version > newest && lowest) {
        finding_add(c->f, CODE_FUTURE_SCHEMA, a->at, "schema %s is newer than %s, the last that this checker knows",
                    show_version(version).s, show_version(newest).s);
    } else if (version > newest) {
        finding_instead(finding_add(c->f, CODE_SCHEMA, a->at, "schema %s is not known; the newest is %s",
                                    show_version(version).s, show_version(newest).s),
                        "write schemaversion=\"%s\"", show_version(newest).s);
    }
}

static void check_encoding(struct check *c, size_t file_len) {
    const struct config_doc *d = c->doc;
    struct place top = {1, 1};
    bool utf8 = strcmp(d->encoding, "UTF-8") == 0, utf16le = strcmp(d->encoding, "UTF-16LE") == 0;
    if (!utf8 && (!utf16le || c->o->linux)) {
        finding_instead(finding_add(c->f, CODE_ENCODING, top, "the file is %s, which not every Sysmon reads",
                                    d->encoding),
                        "save it as UTF-8");
    }
    bool agrees = !d->declared.p || slice_eq_nocase(d->declared, slice_str(d->encoding)) ||
                  (!utf8 && d->encoding[0] == 'U' && slice_eq_nocase(d->declared, SLICE_LIT("UTF-16"))) ||
                  (utf8 && slice_eq_nocase(d->declared, SLICE_LIT("us-ascii"))) ||
                  (strcmp(d->encoding, "ISO-8859-1") == 0);
    if (!agrees) {
        finding_instead(finding_add(c->f, CODE_ENCODING, top, "the file is %s, but declares \"%s\"%s", d->encoding,
                                    show(d->declared).s,
                                    d->ascii ? "" : ", and has characters that the two write differently"),
                        "write encoding=\"%s\"", d->encoding);
    }
    if (file_len > LARGE_FILE) {
        finding_add(c->f, CODE_LARGE, top, "the file has %zu KiB; configurations of that size are hardly tried",
                    file_len / 1024);
    }
}

/* Of Microsoft's page, but in no manifest. */
static bool is_documented_option(struct slice name) {
    return slice_eq_str(name, "CopyOnDeletePE") || slice_eq_str(name, "CopyOnDeleteSIDs") ||
           slice_eq_str(name, "CopyOnDeleteExtensions") || slice_eq_str(name, "CopyOnDeleteProcesses");
}

static void check_root(struct check *c) {
    static const char *const allowed[] = {"schemaversion", NULL}, *const none[] = {NULL};
    const struct config_node *root = c->doc->root;
    if (!slice_eq_str(root->text, "Sysmon")) {
        finding_instead(finding_add(c->f, CODE_NO_SYSMON, root->at, "the document's element is <%s>",
                                    show(root->text).s),
                        "write <Sysmon schemaversion=\"...\">");
        return;
    }
    check_attributes(c, root, allowed);
    check_schema(c, root);
    check_stray(c, root);
    for (const struct config_node *n = config_element(root->first); n; n = config_element(n->next)) {
        if (slice_eq_str(n->text, "EventFiltering")) continue;
        if (schema_option_find(n->text) || is_documented_option(n->text)) {
            check_option(c, n);
        } else if (schema_tag_find(n->text) || slice_eq_str(n->text, "RuleGroup")) {
            finding_instead(finding_add(c->f, CODE_MISPLACED, n->at, "<%s> stands outside of <EventFiltering>",
                                        show(n->text).s),
                            "put it into <EventFiltering>");
        } else {
            struct finding *f = finding_add(c->f, CODE_OPTION, n->at,
                                            "<%s> is no option of Sysmon: it and those after it are "
                                            "left out or the file is refused",
                                            show(n->text).s);
            const char *close = f ? near_option(n->text) : NULL;
            if (close) finding_instead(f, "did you mean <%s>?", close);
        }
    }
    for (const struct config_node *n = config_element(root->first); n; n = config_element(n->next)) {
        if (!slice_eq_str(n->text, "EventFiltering")) continue;
        check_attributes(c, n, none);
        check_filtering(c, n, false);
    }
}

static void check_document(struct check *c, struct ruleset **ret) {
    struct place at;
    check_root(c);
    struct error err = {0};
    if (ruleset_build(c->doc, ret, &at, &err)) {
        if (!c->f->n_errors) finding_add(c->f, CODE_NOT_XML, at, "%s", err.msg);
        return;
    }
    lint_blocks(c, *ret);
    lint_shadow(c, *ret);
    if ((*ret)->n_blocks && !c->hashes) {
        finding_instead(finding_add(c->f, CODE_NO_HASHES, c->doc->root->at,
                                    "without HashAlgorithms it depends on the version which hashes are computed"),
                        "write <HashAlgorithms>SHA256%s</HashAlgorithms>", c->o->linux ? "" : ",IMPHASH");
    }
    if (!(*ret)->n_blocks && !c->f->n_errors) {
        finding_add(c->f, CODE_NO_RULES, c->doc->root->at, "no rules: only process starts and ends are logged");
    }
}

MUST_USE enum status ruleset_check(struct slice bytes, const struct check_options *o, struct findings *ret_findings,
                                   struct ruleset **ret) {
    struct config_doc *doc = NULL;
    struct place at = {1, 1};
    struct error err = {0};
    *ret_findings = (struct findings){0};
    *ret = NULL;
    if (config_xml_parse(bytes, &doc, &at, &err)) {
        finding_add(ret_findings, CODE_NOT_XML, at, "%s", err.msg);
        return ST_INVALID;
    }
    struct check c = {.o = o, .doc = doc, .f = ret_findings};
    check_encoding(&c, bytes.len);
    check_document(&c, ret);
    findings_sort(ret_findings);
    config_xml_free(&doc);
    return ret_findings->n_errors ? ST_INVALID : ST_OK;
}
