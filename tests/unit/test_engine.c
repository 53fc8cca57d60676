/* engine.c: every condition, what decides between blocks, AND and OR, Rules, tags of several ids, RuleNames; Microsoft's own reading of
 * configurations against the compiled one; and a slow evaluator that must agree on random rules and events. */
#include "engine_internal.h"
#include "fields.h"
#include "file.h"
#include "fold.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct ruleset *parse(const char *xml) {
    struct ruleset *r = NULL;
    struct error err = {0};
    if (ruleset_parse(slice_str(xml), &r, &err)) fail_msg("%s: %s", xml, err.msg);
    return r;
}

/* "Image=C:\x|User=y", '|' between fields. */
static void set_event(struct event *ev, struct event_data *data, uint32_t id, const char *fields) {
    *ev = (struct event){.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                         .event_id = {id, true, {0}},
                         .body = EVENT_BODY_DATA,
                         .data = data};
    for (const char *at = fields; *at;) {
        size_t n = strcspn(at, "|"), name = strcspn(at, "=");
        data[ev->n_data++] = (struct event_data){slice_of(at, name), slice_of(at + name + 1, n - name - 1), EVENT_DATA};
        at += n + (at[n] == '|');
    }
}

/* ---- conditions ---- */

static const struct {
    const char *condition, *rule, *value; /* value NULL: the event lacks the field */
    bool holds;
} conditions[] = {
    {"is", "C:\\a.exe", "c:\\A.EXE", true},
    {"is", "C:\\a.exe", "C:\\a.exe ", false},
    {"is", "", "", true},
    {"is", "-", "-", true},
    {"is", "a;b", "a;b", true},
    {"is", "a;b", "a", false},
    {"is", "x", NULL, false},
    {"is not", "x", "y", true},
    {"is not", "x", "X", false},
    {"is not", "x", "", true},
    {"is not", "x", NULL, false},
    {"contains", "EMP", "C:\\Temp\\x", true},
    {"contains", "EMPX", "C:\\Temp\\x", false},
    {"contains", "", "anything", true},
    {"contains", "", "", true},
    {"contains", "x", NULL, false},
    {"contains", "abcabd", "xabcabcabdx", true},
    {"excludes", "temp", "C:\\Temp", false},
    {"excludes", "temp", "C:\\x", true},
    {"excludes", "temp", NULL, false},
    {"begin with", "c:\\t", "C:\\Temp", true},
    {"begin with", ":\\t", "C:\\Temp", false},
    {"begin with", "C:\\Temp", "C:\\Temp", true},
    {"begin with", "C:\\Temp\\", "C:\\Temp", false},
    {"not begin with", "c:\\t", "C:\\Temp", false},
    {"not begin with", "d:\\t", "C:\\Temp", true},
    {"not begin with", "d:\\t", NULL, false},
    {"end with", ".EXE", "C:\\a.exe", true},
    {"end with", ".ex", "C:\\a.exe", false},
    {"not end with", ".exe", "C:\\a.exe", false},
    {"not end with", ".dll", "C:\\a.exe", true},
    {"not end with", ".dll", NULL, false},
    {"less than", "10", "9", false},
    {"less than", "9", "10", true},
    {"less than", "b", "A", true},
    {"less than", "a", "A", false},
    {"less than", "a", NULL, false},
    {"more than", "10", "9", true},
    {"more than", "A", "b", true},
    {"more than", "a", "A", false},
    {"more than", "a", NULL, false},
    {"image", "cmd.exe", "C:\\Windows\\CMD.exe", true},
    {"image", "cmd.exe", "cmd.exe", true},
    {"image", "cmd.exe", "C:\\Windows\\xcmd.exe", false},
    {"image", "cmd.exe", "C:\\cmd.exe\\other.exe", false},
    {"image", "\\cmd.exe", "C:\\Windows\\cmd.exe", false},
    {"image", "C:\\Windows\\cmd.exe", "c:\\windows\\cmd.exe", true},
    {"image", "sshd", "/usr/sbin/sshd", false},
    {"image", "/usr/sbin/sshd", "/usr/sbin/sshd", true},
    {"image", "", "C:\\dir\\", true},
    {"image", "", "C:\\dir", false},
    {"contains any", "x;emp;y", "C:\\Temp", true},
    {"contains any", "x;y", "C:\\Temp", false},
    {"contains any", "q;;r", "C:\\Temp", true},
    {"contains any", "q;", "C:\\Temp", true},
    {"contains any", "x", NULL, false},
    {"contains all", "c:;emp;TEMP", "C:\\Temp", true},
    {"contains all", "c:;emp;y", "C:\\Temp", false},
    {"contains all", "c:;", "C:\\Temp", true},
    {"contains all", "emp;emp", "C:\\Temp", true},
    {"excludes any", "x;y", "C:\\Temp", true},
    {"excludes any", "x;emp", "C:\\Temp", false},
    {"excludes any", "x;;y", "C:\\Temp", false},
    {"excludes any", "x;y", NULL, false},
    {"excludes all", "c:;emp", "C:\\Temp", false},
    {"excludes all", "c:;y", "C:\\Temp", true},
    {"excludes all", "x;y", "C:\\Temp", true},
    {"excludes all", "x;y", NULL, false},
    {"is any", "a;C:\\temp;b", "C:\\Temp", true},
    {"is any", "a;b", "a;b", false},
    {"is any", "a;b;", "", true},
    {"is", "\xc3\x84rger", "\xc3\xa4RGER", true},                       /* Latin-1 */
    {"contains", "\xd0\x9f\xd1\x80", "\xd0\xbf\xd0\xa0\xd0\xb8", true}, /* Cyrillic */
    {"end with", "\xce\xa3", "x\xcf\x83", true},                        /* Greek */
    {"is", "\xc5\xb8", "\xc3\xbf", true},
    {"is", "\xc3\x97", "\xc3\xb7", false}, /* signs of multiplication and division are no letters */
};

static void test_conditions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
        char xml[600], fields[200] = "";
        struct event ev;
        struct event_data data[4];
        snprintf(xml, sizeof xml,
                 "<Sysmon schemaversion=\"4.91\"><EventFiltering><RuleGroup groupRelation=\"or\"><FileCreate "
                 "onmatch=\"include\"><TargetFilename condition=\"%s\">%s</TargetFilename></FileCreate></RuleGroup>"
                 "</EventFiltering></Sysmon>",
                 conditions[i].condition, conditions[i].rule);
        if (conditions[i].value) snprintf(fields, sizeof fields, "TargetFilename=%s", conditions[i].value);
        struct ruleset *r = parse(xml);
        struct engine *e = engine_new(r);
        struct engine_scratch *s = engine_scratch_new(e);
        set_event(&ev, data, 11, fields);
        struct engine_verdict v = engine_judge(e, s, &ev);
        if (v.logged != conditions[i].holds) {
            fail_msg("%s '%s' on '%s': %d", conditions[i].condition, conditions[i].rule,
                     conditions[i].value ? conditions[i].value : "(none)", v.logged);
        }
        assert_int_equal(v.reason, conditions[i].holds ? ENGINE_RULE : ENGINE_NO_MATCH);
        engine_scratch_free(&s);
        engine_free(&e);
        ruleset_free(&r);
    }
}

/* ---- whole configurations ---- */

#define OR(blocks) "<RuleGroup name=\"\" groupRelation=\"or\">" blocks "</RuleGroup>"
#define AND(blocks) "<RuleGroup name=\"\" groupRelation=\"and\">" blocks "</RuleGroup>"
#define IN(tag, rules) "<" tag " onmatch=\"include\">" rules "</" tag ">"
#define EX(tag, rules) "<" tag " onmatch=\"exclude\">" rules "</" tag ">"
#define CMD "<Image condition=\"image\">cmd.exe</Image>"
#define NAMED(name, text) "<Image name=\"" name "\" condition=\"contains\">" text "</Image>"
#define LINE(name, text) "<CommandLine name=\"" name "\" condition=\"contains\">" text "</CommandLine>"

static const struct {
    const char *name, *filtering;
    uint32_t id;
    const char *fields;
    bool logged;
    enum engine_reason reason;
    const char *rule_name;
} configs[] = {
    {"no block: 1 is logged", "", 1, "Image=x", true, ENGINE_NO_BLOCK, ""},
    {"no block: 5 is logged", "", 5, "Image=x", true, ENGINE_NO_BLOCK, ""},
    {"no block: 3 is not", "", 3, "Image=x", false, ENGINE_NO_BLOCK, ""},
    {"no block: 4 always", "", 4, "State=Started", true, ENGINE_ALWAYS, ""},
    {"no block: 16 always", "", 16, "", true, ENGINE_ALWAYS, ""},
    {"no block: 255 always", "", 255, "", true, ENGINE_ALWAYS, ""},
    {"an id from the future", "", 77, "", true, ENGINE_ALWAYS, ""},
    {"include alone, match", OR(IN("ProcessCreate", CMD)), 1, "Image=C:\\cmd.exe", true, ENGINE_RULE, ""},
    {"include alone, none", OR(IN("ProcessCreate", CMD)), 1, "Image=C:\\x.exe", false, ENGINE_NO_MATCH, ""},
    {"exclude alone, match", OR(EX("ProcessCreate", CMD)), 1, "Image=C:\\cmd.exe", false, ENGINE_RULE, ""},
    {"exclude alone, none", OR(EX("ProcessCreate", CMD)), 1, "Image=C:\\x.exe", true, ENGINE_NO_MATCH, ""},
    {"empty include", OR(IN("ImageLoad", "")), 7, "Image=x", false, ENGINE_NO_MATCH, ""},
    {"empty exclude", OR(EX("ImageLoad", "")), 7, "Image=x", true, ENGINE_NO_MATCH, ""},
    {"empty exclude and an include: its matches", OR(EX("ImageLoad", "")) OR(IN("ImageLoad", NAMED("n", "x"))), 7,
     "Image=x", true, ENGINE_RULE, "n"},
    {"empty exclude and an include: nothing else", OR(EX("ImageLoad", "")) OR(IN("ImageLoad", NAMED("n", "x"))), 7,
     "Image=y", false, ENGINE_MANY_BLOCKS, ""},
    {"exclude beats an include before it", OR(IN("ProcessCreate", CMD)) OR(EX("ProcessCreate", NAMED("e", "cmd"))), 1,
     "Image=C:\\cmd.exe", false, ENGINE_RULE, "e"},
    {"two excludes, no match: not logged",
     OR(EX("ProcessCreate", NAMED("a", "a"))) OR(EX("ProcessCreate", NAMED("b", "b"))), 1, "Image=x", false,
     ENGINE_MANY_BLOCKS, ""},
    {"two includes: the second may match",
     OR(IN("ProcessCreate", NAMED("a", "a"))) OR(IN("ProcessCreate", NAMED("b", "b"))), 1, "Image=b", true, ENGINE_RULE,
     "b"},
    {"two includes: the first block wins",
     OR(IN("ProcessCreate", NAMED("a", "a"))) OR(IN("ProcessCreate", NAMED("b", "b"))), 1, "Image=ba", true,
     ENGINE_RULE, "a"},
    {"blocks in one RuleGroup", OR(IN("ProcessCreate", NAMED("a", "a")) EX("ProcessCreate", NAMED("b", "b"))), 1,
     "Image=ab", false, ENGINE_RULE, "b"},
    {"or: the first match names", OR(IN("ProcessCreate", NAMED("a", "x") NAMED("b", "x"))), 1, "Image=x", true,
     ENGINE_RULE, "a"},
    {"and: both fields", AND(IN("ProcessCreate", NAMED("a", "x") LINE("b", "y"))), 1, "Image=x|CommandLine=y", true,
     ENGINE_RULE, "b"},
    {"and: one field is not enough", AND(IN("ProcessCreate", NAMED("a", "x") LINE("b", "y"))), 1,
     "Image=x|CommandLine=z", false, ENGINE_NO_MATCH, ""},
    {"and: a field that is missing", AND(IN("ProcessCreate", NAMED("a", "x") LINE("b", "y"))), 1, "Image=x", false,
     ENGINE_NO_MATCH, ""},
    {"and: entries of one field are alternatives",
     AND(IN("ProcessCreate", NAMED("a", "p") LINE("b", "y") NAMED("c", "x"))), 1, "Image=x|CommandLine=y", true,
     ENGINE_RULE, "c"},
    {"and: a Rule is a term of its own",
     AND(IN("ProcessCreate", NAMED("a", "x") "<Rule name=\"r\" groupRelation=\"and\">" LINE("", "y") "</Rule>")), 1,
     "Image=x|CommandLine=y", true, ENGINE_RULE, "r"},
    {"and: the Rule must hold too",
     AND(IN("ProcessCreate", NAMED("a", "x") "<Rule name=\"r\" groupRelation=\"and\">" LINE("", "z") "</Rule>")), 1,
     "Image=x|CommandLine=y", false, ENGINE_NO_MATCH, ""},
    {"and Rule: a repeated field must hold twice",
     OR(IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"and\">" NAMED("", "x") NAMED("", "y") "</Rule>")), 1,
     "Image=xy", true, ENGINE_RULE, "r"},
    {"and Rule: once is not enough",
     OR(IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"and\">" NAMED("", "x") NAMED("", "y") "</Rule>")), 1,
     "Image=x", false, ENGINE_NO_MATCH, ""},
    {"or Rule",
     OR(IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"or\">" NAMED("", "q") NAMED("", "y") "</Rule>")), 1,
     "Image=y", true, ENGINE_RULE, "r"},
    {"a Rule without relation is OR",
     OR(IN("ProcessCreate", "<Rule name=\"r\">" NAMED("", "q") NAMED("", "y") "</Rule>")), 1, "Image=y", true,
     ENGINE_RULE, "r"},
    {"and Rule with a negative condition",
     OR(IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"and\">" NAMED(
                                "", "x") "<CommandLine condition=\"excludes\">q</CommandLine></Rule>")),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, "r"},
    {"... which the missing field does not satisfy",
     OR(IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"and\">" NAMED(
                                "", "x") "<CommandLine condition=\"excludes\">q</CommandLine></Rule>")),
     1, "Image=x", false, ENGINE_NO_MATCH, ""},
    {"a Rule of negative conditions only",
     OR(IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"and\"><Image condition=\"is not\">a</Image>"
                            "<CommandLine condition=\"excludes\">q</CommandLine></Rule>")),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, "r"},
    {"field's name before the Rule's",
     OR(IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"and\">" NAMED("f", "x") "</Rule>")), 1, "Image=x", true,
     ENGINE_RULE, "f"},
    {"RuleGroup's name", "<RuleGroup name=\"g\" groupRelation=\"or\">" IN("ProcessCreate", CMD) "</RuleGroup>", 1,
     "Image=cmd.exe", true, ENGINE_RULE, "g"},
    {"Rule's name before the RuleGroup's",
     "<RuleGroup name=\"g\" groupRelation=\"or\">" IN("ProcessCreate", "<Rule name=\"r\" groupRelation=\"and\">" CMD
                                                                       "</Rule>") "</RuleGroup>",
     1, "Image=cmd.exe", true, ENGINE_RULE, "r"},
    {"logged by default: no name",
     "<RuleGroup name=\"g\" groupRelation=\"or\">" EX("ProcessCreate", CMD) "</RuleGroup>", 1, "Image=x", true,
     ENGINE_NO_MATCH, ""},
    {"and Rule: the last entry with a name",
     OR(IN("ProcessCreate",
           "<Rule groupRelation=\"and\">" NAMED("one", "x") LINE("two", "y") NAMED("", "x") "</Rule>")),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, "two"},
    {"a Rule that failed half-way leaves its name",
     OR(IN("ProcessCreate",
           "<Rule name=\"left\" groupRelation=\"and\">" NAMED("", "x") LINE("", "no") "</Rule>" LINE("", "y"))),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, "left"},
    {"... from an exclude block as well",
     OR(EX("ProcessCreate", "<Rule name=\"left\" groupRelation=\"and\">" NAMED("", "x") LINE("", "no") "</Rule>"))
         OR(IN("ProcessCreate", LINE("", "y"))),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, "left"},
    {"... from an AND block",
     AND(EX("ProcessCreate", NAMED("left", "x") LINE("", "no"))) OR(IN("ProcessCreate", LINE("", "y"))), 1,
     "Image=x|CommandLine=y", true, ENGINE_RULE, "left"},
    {"... but not over a name",
     OR(EX("ProcessCreate", "<Rule name=\"left\" groupRelation=\"and\">" NAMED("", "x") LINE("", "no") "</Rule>"))
         OR(IN("ProcessCreate", LINE("own", "y"))),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, "own"},
    {"... and not when its first entry fails",
     OR(IN("ProcessCreate",
           "<Rule name=\"left\" groupRelation=\"and\">" LINE("", "no") NAMED("", "x") "</Rule>" LINE("", "y"))),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, ""},
    {"... and not from behind the match",
     OR(IN("ProcessCreate",
           LINE("", "y") "<Rule name=\"left\" groupRelation=\"and\">" NAMED("", "x") LINE("", "no") "</Rule>")),
     1, "Image=x|CommandLine=y", true, ENGINE_RULE, ""},
    {"registry: Image counts for 12", OR(IN("RegistryEvent", NAMED("n", "x"))), 12, "Image=x", true, ENGINE_RULE, "n"},
    {"registry: Image counts for 14", OR(IN("RegistryEvent", NAMED("n", "x"))), 14, "Image=x", true, ENGINE_RULE, "n"},
    {"registry: Details binds to 13",
     OR(IN("RegistryEvent", "<Details condition=\"contains\">x</Details>" NAMED("n", "y"))), 13, "Image=z|Details=x",
     true, ENGINE_RULE, ""},
    {"registry: bound to 13, Image counts for 12 all the same",
     OR(IN("RegistryEvent", "<Details condition=\"contains\">x</Details>" NAMED("n", "y"))), 12, "Image=y", true,
     ENGINE_RULE, "n"},
    {"registry: bound to 13, User is elsewhere in 12",
     OR(IN("RegistryEvent", "<Details condition=\"contains\">q</Details><User condition=\"is\">u</User>")), 12,
     "Image=y|User=u", false, ENGINE_NO_MATCH, ""},
    {"registry: bound to 13, User counts for 13",
     OR(IN("RegistryEvent", "<Details condition=\"contains\">q</Details><User condition=\"is\">u</User>")), 13,
     "Image=y|User=u", true, ENGINE_RULE, ""},
    {"registry: bound to 12, User is elsewhere in 13", OR(IN("RegistryEvent", "<User condition=\"is\">u</User>")), 13,
     "Image=y|User=u", false, ENGINE_NO_MATCH, ""},
    {"registry: a negative condition does not hold either",
     OR(IN("RegistryEvent", "<User condition=\"is not\">u</User>")), 13, "Image=y|User=v", false, ENGINE_NO_MATCH, ""},
    {"wmi: Name binds to 19", OR(IN("WmiEvent", "<Name condition=\"is\">n</Name>")), 19, "Name=n", true, ENGINE_RULE,
     ""},
    {"wmi: 20 has Name elsewhere", OR(IN("WmiEvent", "<Name condition=\"is\">n</Name>")), 20, "Name=n", false,
     ENGINE_NO_MATCH, ""},
    {"wmi: Destination binds to 20",
     OR(IN("WmiEvent", "<Name condition=\"is\">n</Name><Destination condition=\"is\">d</Destination>")), 20, "Name=n",
     true, ENGINE_RULE, ""},
    {"wmi: Operation counts for all", OR(IN("WmiEvent", "<Operation condition=\"is\">Created</Operation>")), 21,
     "Operation=Created", true, ENGINE_RULE, ""},
    {"pipe: both ids", OR(IN("PipeEvent", "<PipeName condition=\"begin with\">\\p</PipeName>")), 18, "PipeName=\\pp",
     true, ENGINE_RULE, ""},
    {"GUID fields of older spelling",
     OR(IN("ProcessAccess", "<SourceProcessGUID condition=\"is\">{1}</SourceProcessGUID>")), 10,
     "SourceProcessGuid={1}", true, ENGINE_RULE, ""},
    {"doubled percent signs", OR(IN("ProcessCreate", "<CommandLine condition=\"contains\">%TEMP%</CommandLine>")), 1,
     "CommandLine=cmd /c %%TEMP%%\\x", true, ENGINE_RULE, ""},
    {"... are undone", OR(IN("ProcessCreate", "<CommandLine condition=\"contains\">%%TEMP%%</CommandLine>")), 1,
     "CommandLine=cmd /c %%TEMP%%\\x", false, ENGINE_NO_MATCH, ""},
    {"... in these fields only",
     OR(IN("ProcessCreate", "<ParentCommandLine condition=\"contains\">%%TEMP%%</ParentCommandLine>")), 1,
     "ParentCommandLine=cmd /c %%TEMP%%\\x", true, ENGINE_RULE, ""},
    {"no RuleGroup, schema 4.91: AND", IN("ProcessCreate", NAMED("", "x") LINE("", "y")), 1, "Image=x|CommandLine=q",
     false, ENGINE_NO_MATCH, ""},
};

static void test_configs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct buf xml = {0};
        struct event ev;
        struct event_data data[8];
        buf_printf(&xml, "<Sysmon schemaversion=\"4.91\"><EventFiltering>%s</EventFiltering></Sysmon>",
                   configs[i].filtering);
        struct ruleset *r = parse(buf_cstr(&xml));
        struct engine *e = engine_new(r);
        struct engine_scratch *s = engine_scratch_new(e);
        set_event(&ev, data, configs[i].id, configs[i].fields);
        struct engine_verdict v = engine_judge(e, s, &ev);
        if (v.logged != configs[i].logged || v.reason != configs[i].reason ||
            !slice_eq_str(v.rule_name, configs[i].rule_name)) {
            fail_msg("%s: logged %d, %s, RuleName '%.*s'", configs[i].name, v.logged, engine_reason_name(v.reason),
                     (int)v.rule_name.len, (const char *)v.rule_name.p);
        }
        engine_scratch_free(&s);
        engine_free(&e);
        ruleset_free(&r);
        buf_free(&xml);
    }
}

static void test_scope(void **state) {
    static const struct {
        const char *filtering;
        uint32_t id;
        enum engine_scope scope;
    } cases[] = {
        {"", 1, ENGINE_ALL},
        {"", 3, ENGINE_NOTHING},
        {"", 4, ENGINE_ALL},
        {OR(EX("ImageLoad", "")), 7, ENGINE_ALL},
        {OR(EX("ImageLoad", CMD)), 7, ENGINE_SOME},
        {OR(IN("ImageLoad", "")), 7, ENGINE_NOTHING},
        {OR(IN("ImageLoad", CMD)), 7, ENGINE_SOME},
        {OR(EX("ImageLoad", CMD)) OR(EX("ImageLoad", "")), 7, ENGINE_NOTHING},
        {OR(EX("ImageLoad", CMD)) OR(IN("ImageLoad", CMD)), 7, ENGINE_SOME},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf xml = {0};
        buf_printf(&xml, "<Sysmon schemaversion=\"4.91\"><EventFiltering>%s</EventFiltering></Sysmon>",
                   cases[i].filtering);
        struct ruleset *r = parse(buf_cstr(&xml));
        struct engine *e = engine_new(r);
        if (engine_scope(e, cases[i].id) != cases[i].scope) fail_msg("%s", cases[i].filtering);
        engine_free(&e);
        ruleset_free(&r);
        buf_free(&xml);
    }
}

/* ---- Microsoft's reading of configurations, beside them ---- */

static void put_entry(struct buf *out, const struct entry *e) {
    buf_printf(out, "%.*s filter: %s value: '%.*s'\n", (int)e->field->field.len, (const char *)e->field->field.p,
               rule_condition_name(e->field->condition), (int)e->field->value.len, (const char *)e->field->value.p);
}

static void put_block(struct buf *out, const struct program *p, const struct block *b) {
    buf_printf(out, "- %.*s onmatch: %s combine rules using '%s'\n", (int)b->block->tag.len,
               (const char *)b->block->tag.p, b->block->exclude ? "exclude" : "include",
               b->block->relation == RELATION_AND ? "And" : "Or");
    for (uint32_t i = b->terms; i < b->terms + b->n_terms; i++) {
        const struct term *t = &p->terms[i];
        if (!t->rule->is_single) {
            buf_printf(out, "Compound Rule %.*s combine using %s\n",
                       (int)(t->rule->name.len < 32 ? t->rule->name.len : 32), (const char *)t->rule->name.p,
                       t->rule->relation == RELATION_AND ? "And" : "Or");
        }
        for (uint32_t k = 0; k < t->n_entries; k++) put_entry(out, &p->entries[t->entries + k]);
    }
}

/* The compiled programs in the form of the dump, blanks squeezed. */
static void put_programs(struct buf *out, const struct engine *e) {
    buf_printf(out, "Rule configuration (version %u.%02u):\n", e->ruleset->schema / 100, e->ruleset->schema % 100);
    const char *last = "";
    for (uint32_t id = 1; id <= ENGINE_MAX_ID; id++) {
        const struct sysmon_event *known = sysmon_event_find(id);
        const struct program *p = e->programs[id];
        if (!known || !known->tag || strcmp(known->tag, last) == 0 || !p) continue;
        last = known->tag;
        for (size_t n = 0; n < e->ruleset->n_blocks; n++) { /* the document's order */
            for (size_t i = 0; i < p->n_blocks; i++) {
                if (p->blocks[i].block == &e->ruleset->blocks[n]) put_block(out, p, &p->blocks[i]);
            }
        }
    }
}

static void squeeze(struct buf *text) {
    size_t n = 0;
    for (size_t i = 0; i < text->len; i++) {
        uint8_t c = text->p[i];
        bool blank = c == ' ' || c == '\t' || c == '\r';
        if (blank && (!n || text->p[n - 1] == ' ' || text->p[n - 1] == '\n')) continue;
        if (c == '\n' && n && text->p[n - 1] == ' ') n--;
        text->p[n++] = blank ? ' ' : c;
    }
    while (n && (text->p[n - 1] == '\n' || text->p[n - 1] == ' ')) n--;
    text->len = n;
}

static void test_dumps(void **state) {
    static const char *const names[] = {"01_basic_include",        "02_basic_exclude",        "04_and_logic_include",
                                        "06_multiple_rulegroups",  "07_multiple_event_types", "08_hash_sha256",
                                        "09_hash_multiple",        "11_special_chars",        "13_exclude_all_events",
                                        "15_file_and_network",     "16_image_condition",      "18_named_rules",
                                        "19_include_then_exclude", "20_older_schema",         "22_real_world_swift",
                                        "23_all_event_types"};
    const char *shared = getenv("HAECHI_SHARED");
    size_t n_seen = 0;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[600];
        struct buf xml = {0}, wanted = {0}, got = {0};
        struct error err = {0};
        struct ruleset *r = NULL;
        snprintf(path, sizeof path, "%s/data/configs/sysmonforlinux/%s.xml", shared ? shared : "../shared", names[i]);
        if (file_read(path, RULES_XML_MAX, &xml, &err)) continue;
        strcpy(strrchr(path, '.'), ".rules");
        assert_int_equal(file_read(path, RULES_XML_MAX, &wanted, &err), ST_OK);
        if (ruleset_parse(buf_slice(&xml), &r, &err)) fail_msg("%s: %s", names[i], err.msg);
        struct engine *e = engine_new(r);
        put_programs(&got, e);
        squeeze(&got);
        squeeze(&wanted);
        if (!slice_eq(buf_slice(&got), buf_slice(&wanted))) {
            fail_msg("%s\n--- wanted\n%s\n--- got\n%s", names[i], buf_cstr(&wanted), buf_cstr(&got));
        }
        n_seen++;
        engine_free(&e);
        ruleset_free(&r);
        buf_free(&xml);
        buf_free(&wanted);
        buf_free(&got);
    }
    if (!n_seen) print_message("no configurations in %s: skipped\n", shared ? shared : "../shared");
}

/* ---- a slow evaluator, straight from the description ---- */

struct slow {
    const struct event *ev;
    struct slice name;
    const struct rule_field *field;
};

static struct slice slow_fold(struct slice s, char room[256]) {
    for (size_t i = 0; i < s.len; i++) room[i] = slice_lower(s.p[i]);
    return slice_of(room, s.len);
}

static bool slow_within(struct slice text, struct slice part) {
    for (size_t i = 0; i + part.len <= text.len; i++) {
        if (slice_starts(slice_from(text, i), part)) return true;
    }
    return false;
}

static bool slow_ends(struct slice text, struct slice end) {
    return text.len >= end.len && slice_eq(slice_from(text, text.len - end.len), end);
}

/* How many of the tokens are within the text, or equal to it. */
static size_t slow_tokens(struct slice text, struct slice list, bool equal, size_t *ret_all) {
    size_t n = 0, at = 0;
    *ret_all = 0;
    for (size_t i = 0; i <= list.len; i++) {
        if (i < list.len && list.p[i] != ';') continue;
        struct slice token = slice_head(slice_from(list, at), i - at);
        n += equal ? slice_eq(text, token) : slow_within(text, token);
        ++*ret_all;
        at = i + 1;
    }
    return n;
}

static bool slow_image(struct slice text, struct slice want) {
    if (slice_eq(text, want)) return true;
    if (want.len && memchr(want.p, '\\', want.len)) return false;
    for (size_t i = text.len; i > 0; i--) {
        if (text.p[i - 1] == '\\') return slice_eq(slice_from(text, i), want);
    }
    return false;
}

static bool slow_condition(enum rule_condition c, struct slice text, struct slice want) {
    size_t all;
    switch (c) {
    case COND_IS: return slice_eq(text, want);
    case COND_IS_NOT: return !slice_eq(text, want);
    case COND_CONTAINS: return slow_within(text, want);
    case COND_EXCLUDES: return !slow_within(text, want);
    case COND_BEGIN_WITH: return slice_starts(text, want);
    case COND_NOT_BEGIN_WITH: return !slice_starts(text, want);
    case COND_END_WITH: return slow_ends(text, want);
    case COND_NOT_END_WITH: return !slow_ends(text, want);
    case COND_LESS_THAN: return slice_cmp(text, want) < 0;
    case COND_MORE_THAN: return slice_cmp(text, want) > 0;
    case COND_IMAGE: return slow_image(text, want);
    case COND_CONTAINS_ANY: return slow_tokens(text, want, false, &all) > 0;
    case COND_CONTAINS_ALL: return slow_tokens(text, want, false, &all) == all;
    case COND_EXCLUDES_ANY: return slow_tokens(text, want, false, &all) == 0;
    case COND_EXCLUDES_ALL: return slow_tokens(text, want, false, &all) < all;
    case COND_IS_ANY: return slow_tokens(text, want, true, &all) > 0;
    case COND_COUNT: break;
    }
    abort();
}

static int slow_place(uint32_t id, struct slice field) {
    const struct sysmon_event *known = sysmon_event_find(id);
    for (int i = 0; known->fields[i]; i++) {
        if (slice_eq_str(field, event_field_name(known->fields[i]))) return i;
    }
    return -1;
}

static bool slow_field(struct slow *s, const struct rule_block *b, const struct rule *rule,
                       const struct rule_field *f) {
    char text[256], want[256];
    int bound = slow_place(b->bound_id, f->field);
    if (bound < 0 || bound != slow_place((uint32_t)s->ev->event_id.v, f->field)) return false;
    struct slice v = {0};
    for (size_t i = 0; i < s->ev->n_data && !v.p; i++) {
        if (slice_eq(s->ev->data[i].name, f->field)) v = s->ev->data[i].value;
    }
    if (!v.p || !slow_condition(f->condition, slow_fold(v, text), slow_fold(f->value, want))) return false;
    struct slice name = f->name.len ? f->name : rule->name.len ? rule->name : b->group_name;
    if (name.len) s->name = name;
    s->field = f;
    return true;
}

static bool slow_rule(struct slow *s, const struct rule_block *b, const struct rule *r) {
    bool and = !r->is_single && r->relation == RELATION_AND;
    for (size_t i = 0; i < r->n_fields; i++) {
        if (slow_field(s, b, r, &r->fields[i]) != and) return !and;
    }
    return and&&r->n_fields;
}

static const struct rule *slow_block(struct slow *s, const struct rule_block *b) {
    const struct rule *last = NULL;
    bool held[64] = {0}, all = b->n_rules > 0;
    assert_true(b->n_rules <= 64);
    for (size_t i = 0; i < b->n_rules; i++) {
        held[i] = slow_rule(s, b, &b->rules[i]);
        if (held[i]) last = &b->rules[i];
        if (held[i] && b->relation == RELATION_OR) return last;
    }
    if (b->relation == RELATION_OR) return NULL;
    for (size_t i = 0; i < b->n_rules; i++) {
        bool any = held[i];
        for (size_t k = 0; k < b->n_rules && b->rules[i].is_single; k++) {
            any = any || (held[k] && b->rules[k].is_single &&
                          slice_eq(b->rules[k].fields[0].field, b->rules[i].fields[0].field));
        }
        all = all && any;
    }
    return all ? last : NULL;
}

static struct engine_verdict slow_judge(const struct ruleset *r, const struct event *ev) {
    struct slow s = {.ev = ev, .name = SLICE_LIT("")};
    struct engine_verdict v = {.rule_name = SLICE_LIT("")};
    const struct rule_block *only = NULL;
    size_t n = 0;
    for (int exclude = 1; exclude >= 0; exclude--) {
        for (size_t i = 0; i < r->n_blocks; i++) {
            const struct rule_block *b = &r->blocks[i];
            bool is_for = false;
            for (size_t k = 0; b->event_ids[k]; k++) is_for = is_for || b->event_ids[k] == ev->event_id.v;
            if (b->exclude != exclude || !is_for) continue;
            n++;
            only = b;
            v.rule = slow_block(&s, b);
            if (!v.rule) continue;
            return (struct engine_verdict){!b->exclude, ENGINE_RULE, b, v.rule, s.field, s.name};
        }
    }
    v.reason = n == 0 ? ENGINE_NO_BLOCK : n == 1 ? ENGINE_NO_MATCH : ENGINE_MANY_BLOCKS;
    v.block = n == 1 ? only : NULL;
    v.logged = n == 0 ? ev->event_id.v == 1 || ev->event_id.v == 5 : n == 1 && only->exclude;
    return v;
}

/* ---- random rules and events ---- */

static uint64_t seed;

static uint32_t pick(uint32_t n) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % n;
}

static void put_text(struct buf *out, uint32_t max, bool list) {
    static const char letters[] = "abABc\\x/-";
    for (uint32_t n = pick(max + 1); n; n--) buf_byte(out, (uint8_t)letters[pick(sizeof letters - 1)]);
    while (list && pick(2)) {
        buf_byte(out, ';');
        for (uint32_t n = pick(3); n; n--) buf_byte(out, (uint8_t)letters[pick(sizeof letters - 1)]);
    }
}

static void put_name(struct buf *out) {
    if (pick(2)) buf_printf(out, " name=\"n%u\"", pick(9));
}

static void put_field(struct buf *out, uint32_t id) {
    const struct sysmon_event *known = sysmon_event_find(id);
    uint32_t n = 0;
    while (known->fields[n]) n++;
    /* few fields, so that they meet; all of one id, so that Sysmon takes the block */
    const char *field = event_field_name(known->fields[pick(2) ? n - 1 - pick(3) : 4 + pick(n - 4)]);
    enum rule_condition c = (enum rule_condition)pick(COND_COUNT);
    buf_printf(out, "<%s", field);
    put_name(out);
    buf_printf(out, " condition=\"%s\">", rule_condition_name(c));
    put_text(out, 3, c >= COND_CONTAINS_ANY);
    buf_printf(out, "</%s>", field);
}

static void put_random_block(struct buf *out, const char *tag, uint32_t id) {
    buf_printf(out, "<RuleGroup groupRelation=\"%s\"", pick(3) ? "or" : "and");
    put_name(out);
    buf_printf(out, "><%s onmatch=\"%s\">", tag, pick(2) ? "include" : "exclude");
    for (uint32_t n = pick(7); n; n--) {
        if (pick(2)) {
            put_field(out, id);
            continue;
        }
        buf_printf(out, "<Rule groupRelation=\"%s\"", pick(3) ? "and" : "or");
        put_name(out);
        buf_str(out, ">");
        for (uint32_t k = 1 + pick(3); k; k--) put_field(out, id);
        buf_str(out, "</Rule>");
    }
    buf_printf(out, "</%s></RuleGroup>", tag);
}

static void check_random(const struct ruleset *r, const struct engine *e, struct engine_scratch *s, uint32_t id,
                         const char *xml) {
    const struct sysmon_event *known = sysmon_event_find(id);
    struct event_data data[32];
    struct buf texts[32] = {{0}};
    struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"), .event_id = {id, true, {0}}, .data = data};
    for (size_t i = 0; known->fields[i]; i++) {
        if (!pick(8)) continue;
        put_text(&texts[i], 8, false);
        struct slice value = texts[i].len ? buf_slice(&texts[i]) : SLICE_LIT("");
        data[ev.n_data++] = (struct event_data){slice_str(event_field_name(known->fields[i])), value, EVENT_DATA};
    }
    struct engine_verdict got = engine_judge(e, s, &ev), want = slow_judge(r, &ev);
    if (got.logged != want.logged || got.reason != want.reason || got.block != want.block || got.rule != want.rule ||
        got.field != want.field || !slice_eq(got.rule_name, want.rule_name)) {
        for (size_t i = 0; i < ev.n_data; i++) {
            print_message("%s=%.*s\n", (const char *)ev.data[i].name.p, (int)ev.data[i].value.len,
                          (const char *)ev.data[i].value.p);
        }
        fail_msg("event %u, seed %llu\n%s\nlogged %d, wanted %d; %s, wanted %s; name '%.*s', wanted '%.*s'", id,
                 (unsigned long long)seed, xml, got.logged, want.logged, engine_reason_name(got.reason),
                 engine_reason_name(want.reason), (int)got.rule_name.len, (const char *)got.rule_name.p,
                 (int)want.rule_name.len, (const char *)want.rule_name.p);
    }
    for (size_t i = 0; i < 32; i++) buf_free(&texts[i]);
}

static void test_random(void **state) {
    static const struct {
        const char *tag;
        uint32_t ids[3];
        size_t n;
    } tags[] = {{"FileCreate", {11}, 1},
                {"RegistryEvent", {12, 13, 14}, 3},
                {"WmiEvent", {19, 20, 21}, 3},
                {"ProcessTerminate", {5}, 1}};
    (void)state;
    seed = 20261125;
    for (unsigned round = 0; round < 3000; round++) {
        struct buf xml = {0};
        buf_str(&xml, "<Sysmon schemaversion=\"4.91\"><EventFiltering>");
        uint32_t t = pick(4);
        for (uint32_t n = pick(4); n; n--) put_random_block(&xml, tags[t].tag, tags[t].ids[pick((uint32_t)tags[t].n)]);
        buf_str(&xml, "</EventFiltering></Sysmon>");
        struct ruleset *r = parse(buf_cstr(&xml));
        struct engine *e = engine_new(r);
        struct engine_scratch *s = engine_scratch_new(e);
        for (unsigned k = 0; k < 40; k++) check_random(r, e, s, tags[t].ids[k % tags[t].n], buf_cstr(&xml));
        engine_scratch_free(&s);
        engine_free(&e);
        ruleset_free(&r);
        buf_free(&xml);
    }
}

/* ---- the matcher alone ---- */

/* Short words of few letters, so that they meet, are found exactly as one by one; upper case in the text counts as lower case. */
static void test_matcher(void **state) {
    enum { N = 60 };
    (void)state;
    seed = 7;
    for (unsigned round = 0; round < 200; round++) {
        struct match_pattern patterns[N];
        char texts[N][8];
        uint32_t seen[N] = {0}, hits[N];
        for (size_t i = 0; i < N; i++) {
            size_t n = pick(8);
            enum match_kind kind = (enum match_kind)pick(5);
            for (size_t k = 0; k < n; k++) texts[i][k] = kind == MATCH_IMAGE ? "ab1"[pick(3)] : "ab\\|1"[pick(5)];
            patterns[i] = (struct match_pattern){slice_of(texts[i], n), kind, (uint32_t)i};
        }
        struct matcher *m = matcher_new(patterns, N);
        for (uint32_t mark = 1; mark < 100; mark++) {
            char text[16], lower[16];
            size_t n = pick(16);
            for (size_t k = 0; k < n; k++) {
                text[k] = "aAbB\\|1"[pick(7)];
                lower[k] = slice_lower((uint8_t)text[k]);
            }
            struct match_sink sink = {.seen = seen, .mark = mark, .hits = hits};
            matcher_run(m, slice_of(text, n), &sink);
            for (size_t i = 0; i < N; i++) {
                static const enum rule_condition as[] = {COND_IS, COND_BEGIN_WITH, COND_END_WITH, COND_CONTAINS,
                                                         COND_IMAGE};
                bool want = slow_condition(as[patterns[i].kind], slice_of(lower, n), patterns[i].text);
                if (want != (seen[i] == mark))
                    fail_msg("pattern '%.*s' on '%.*s'", (int)patterns[i].text.len, texts[i], (int)n, text);
                assert_int_equal(match_one(patterns[i].kind, patterns[i].text, slice_of(text, n)), want);
            }
        }
        matcher_free(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions), cmocka_unit_test(test_configs), cmocka_unit_test(test_scope),
        cmocka_unit_test(test_dumps),      cmocka_unit_test(test_random),  cmocka_unit_test(test_matcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
