/* ruleset.c: what the engine makes of a file: blocks, relations, bindings, what is dropped, what makes it refuse; schema versions. */
// links: rules proto base
#include "buf.h"
#include "ruleset.h"
#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define DOC(version, body) "<Sysmon schemaversion=\"" version "\"><EventFiltering>" body "</EventFiltering></Sysmon>"
#define IN "onmatch=\"include\""
#define X51 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* tag, + or -, bound id, relation, group; its rules: (relation name: fields) or the field; field, condition, value, name */
static void put_slice(struct buf *b, const char *mark, struct slice s) {
    if (s.p) buf_printf(b, "%s%.*s", mark, (int)s.len, (const char *)s.p);
}

static void put_field(struct buf *b, const struct rule_field *f) {
    buf_printf(b, " %.*s %s", (int)f->field.len, (const char *)f->field.p, rule_condition_name(f->condition));
    put_slice(b, "=", f->value);
    put_slice(b, "#", f->name);
}

static const char *dump(const struct ruleset *r, struct buf *b) {
    for (size_t i = 0; i < r->n_options; i++) {
        put_slice(b, "", r->options[i].name);
        put_slice(b, "=", r->options[i].value);
        buf_str(b, "; ");
    }
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct rule_block *k = &r->blocks[i];
        buf_printf(b, "%c%.*s %u %s", k->exclude ? '-' : '+', (int)k->tag.len, (const char *)k->tag.p, k->bound_id,
                   k->relation == RELATION_AND ? "and" : "or");
        if (k->in_group) buf_printf(b, " %zu", k->group);
        put_slice(b, "#", k->group_name);
        for (size_t n = 0; n < k->n_rules; n++) {
            const struct rule *rule = &k->rules[n];
            if (!rule->is_single) buf_str(b, rule->relation == RELATION_AND ? " (and" : " (or");
            put_slice(b, "#", rule->name);
            for (size_t m = 0; m < rule->n_fields; m++) put_field(b, &rule->fields[m]);
            if (!rule->is_single) buf_str(b, ")");
        }
        buf_str(b, "; ");
    }
    return buf_cstr(b);
}

static const struct {
    const char *name, *xml, *want;
} cases[] = {
    {"nothing", "<Sysmon schemaversion=\"4.90\"/>", ""},
    {"options", "<Sysmon schemaversion=\"4.90\"><HashAlgorithms> MD5</HashAlgorithms><A/></Sysmon>",
     "HashAlgorithms= MD5; A=; "},
    {"and outside of a group", DOC("4.20", "<ProcessCreate " IN "><Image>a</Image></ProcessCreate>"),
     "+ProcessCreate 1 and Image is=a; "},
    {"or before 4.2", DOC("4.1", "<ProcessCreate " IN "><Image>a</Image></ProcessCreate>"),
     "+ProcessCreate 1 or Image is=a; "},
    {"groups",
     DOC("4.90", "<RuleGroup name=\"g\" groupRelation=\"or\"><ProcessCreate " IN "/></RuleGroup>"
                 "<RuleGroup groupRelation=\"And\"><FileCreate onmatch=\"exclude\"/></RuleGroup>"),
     "+ProcessCreate 1 or 0#g; -FileCreate 11 and 1; "},
    {"rules",
     DOC("4.90",
         "<RuleGroup groupRelation=\"or\"><ProcessCreate " IN "><Rule name=\"r\" groupRelation=\"and\">"
         "<Image condition=\"End With\" name=\"n\">a</Image><User/></Rule><Rule><Image>b</Image></Rule><Rule groupRelation=\"x\"/>"
         "</ProcessCreate></RuleGroup>"),
     "+ProcessCreate 1 or 0 (and#r Image end with=a#n User is=) (or Image is=b) (and); "},
    {"the old form", DOC("4.90", "<FileCreate default=\"include\"/><FileCreate default=\"exclude\"/>"),
     "-FileCreate 11 and; +FileCreate 11 and; "},
    {"no onmatch",
     DOC("4.90", "<FileCreate/><FileCreate onmatch=\"include\" default=\"include\"/><ProcessCreate " IN "/>"),
     "+ProcessCreate 1 and; "},
    {"a wrong field drops the later ones too",
     DOC("4.90",
         "<FileCreate " IN "/><FileCreate " IN "><Nothing/></FileCreate><FileCreate " IN "/><ProcessCreate " IN "/>"),
     "+FileCreate 11 and; +ProcessCreate 1 and; "},
    {"a wrong field in a Rule", DOC("4.90", "<FileCreate " IN "><Rule><QueryName>a</QueryName></Rule></FileCreate>"),
     ""},
    {"bound to 12", DOC("4.90", "<RegistryEvent " IN "><TargetObject>a</TargetObject></RegistryEvent>"),
     "+RegistryEvent 12 and TargetObject is=a; "},
    {"bound to 13", DOC("4.90", "<RegistryEvent " IN "><Details>a</Details></RegistryEvent>"),
     "+RegistryEvent 13 and Details is=a; "},
    {"bound to 14", DOC("4.90", "<RegistryEvent " IN "><NewName>a</NewName></RegistryEvent>"),
     "+RegistryEvent 14 and NewName is=a; "},
    {"bound to 20", DOC("4.90", "<WmiEvent " IN "><Destination>a</Destination></WmiEvent>"),
     "+WmiEvent 20 and Destination is=a; "},
    {"mixed ids", DOC("4.90", "<RegistryEvent " IN "><Details>a</Details><NewName>a</NewName></RegistryEvent>"), ""},
    {"unknown elements", DOC("4.90", "<What><FileCreate " IN "/></What>"), "+FileCreate 11 and; "},
    {"outside", "<Sysmon schemaversion=\"4.90\"><FileCreate " IN "/></Sysmon>", "FileCreate=; "},
    {"several EventFilterings",
     "<Sysmon schemaversion=\"4.90\"><EventFiltering/><EventFiltering><FileCreate " IN "/></EventFiltering></Sysmon>",
     "+FileCreate 11 and; "},
    {"a field that is gone", DOC("3.40", "<ClipboardChange " IN "><Path>a</Path></ClipboardChange>"),
     "+ClipboardChange 24 or Path is=a; "},
    {"cut", DOC("4.90", "<FileCreate " IN "><Image>a<!-- -->b</Image></FileCreate>"),
     "+FileCreate 11 and Image is=a; "},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ruleset *r = NULL;
        struct error err = {0};
        struct buf b = {0};
        if (ruleset_parse(slice_str(cases[i].xml), &r, &err)) fail_msg("%s: %s", cases[i].name, err.msg);
        if (strcmp(dump(r, &b), cases[i].want) != 0) fail_msg("%s: %s", cases[i].name, buf_cstr(&b));
        ruleset_free(&r);
        buf_free(&b);
    }
}

static const struct {
    const char *name, *xml, *want;
} refused[] = {
    {"not XML", "<Sysmon>\n<", "line 2, column 1: "},
    {"another root", "<A/>", "line 1, column 1: the document's element is not <Sysmon>"},
    {"no version", "<Sysmon/>", "line 1, column 1: <Sysmon> has no schemaversion"},
    {"no number", "<Sysmon schemaversion=\"x\"/>", "line 1, column 9: schemaversion is not a version"},
    {"condition", DOC("4.90", "\n<FileCreate " IN "><Image condition=\"x\"/></FileCreate>"),
     "line 2, column 38: unknown condition"},
    {"name", DOC("4.90", "\n<RuleGroup name=\"" X51 X51 X51 X51 X51 "x\"/>"), "line 2, column 12: the name is longer"},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct ruleset *r = NULL;
        struct error err = {0};
        enum status st = ruleset_parse(slice_str(refused[i].xml), &r, &err);
        if (!st || r || strncmp(err.msg, refused[i].want, strlen(refused[i].want)) != 0)
            fail_msg("%s: %s", refused[i].name, err.msg);
    }
}

static const struct {
    const char *text;
    uint32_t want; /* 0: refused */
} versions[] = {{"4.90", 490},  {"4.9", 490},   {"4.1", 410},   {"4", 400},  {"4.", 400},    {"3.40", 340},
                {"4.909", 491}, {"4.904", 490}, {"04.50", 450}, {".5", 50},  {"", 0},        {".", 0},
                {"4.9x", 0},    {"-4.9", 0},    {" 4.9", 0},    {"4,90", 0}, {"99999.9", 0}, {"4.5.0", 0}};

static void test_versions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        uint32_t v = 0;
        bool ok = schema_version_parse(slice_str(versions[i].text), &v);
        if (ok != (versions[i].want != 0) || v != versions[i].want) fail_msg("\"%s\": %u", versions[i].text, v);
    }
}

/* Facts of the reference that the tables must have. */
static void test_schema(void **state) {
    (void)state;
    assert_int_equal(schema_grammar(489), 483);
    assert_int_equal(schema_grammar(199), 0);
    assert_int_equal(schema_field_find(1, SLICE_LIT("OriginalFileName"))->since, 421);
    assert_int_equal(schema_field_find(1, SLICE_LIT("ParentUser"))->since, 480);
    assert_int_equal(schema_field_find(15, SLICE_LIT("Contents"))->since, 431);
    assert_int_equal(schema_field_find(24, SLICE_LIT("Path"))->until, 440);
    assert_null(schema_field_find(1, SLICE_LIT("image")));
    assert_int_equal(schema_event_find(29)->since, 490);
    assert_int_equal(schema_event_find(29)->systems, SCHEMA_WINDOWS);
    assert_int_equal(schema_event_find(100)->systems, SCHEMA_LINUX);
    assert_true(schema_event_find(1)->logged_by_default && schema_event_find(5)->logged_by_default);
    for (size_t i = 0; i < schema_n_events; i++) {
        uint32_t id = schema_events[i].id;
        if (schema_events[i].logged_by_default != (id == 1 || id == 5)) fail_msg("event %u", id);
    }
    assert_int_equal(schema_field_index(12, SLICE_LIT("User")), 7);
    assert_int_equal(schema_field_index(13, SLICE_LIT("User")), 8);
    assert_int_equal(schema_field_index(1, SLICE_LIT("SequenceNumber")), -1);
    assert_int_equal(schema_field_index(1, SLICE_LIT("RuleName")), 0);
    assert_int_equal(schema_option_find(SLICE_LIT("FieldSizes"))->since, 481);
    assert_int_equal(schema_option_find(SLICE_LIT("Install"))->argument, SCHEMA_COMMAND_LINE);
    for (int c = 0; c < COND_COUNT; c++) {
        enum rule_condition back;
        assert_non_null(schema_condition_info((enum rule_condition)c));
        assert_true(schema_condition_parse(slice_str(rule_condition_name((enum rule_condition)c)), &back) &&
                    (int)back == c);
    }
    for (size_t i = 0; i < schema_n_tags; i++) {
        for (const uint32_t *id = schema_tags[i].ids; *id; id++) assert_non_null(schema_event_find(*id));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_versions), cmocka_unit_test(test_schema)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
