/* shadow.c against the rule engine: random rulesets; a rule of which the checker says that others take everything from it, or that it never
 * matches, is taken out, and no event may be treated otherwise. */
// links: rules proto base
#include "check.h"
#include "engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define RULESETS 400u
#define EVENTS 60u

static uint32_t seed = 11;

static uint32_t below(uint32_t n) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static void put_word(struct buf *b, uint32_t max) {
    for (uint32_t n = 1 + below(max); n; n--) buf_byte(b, (uint8_t) "ab\\"[below(3)]);
}

struct kind {
    const char *tag, *fields[2];
    uint32_t ids[3];
};
static const struct kind kinds[] = {{"ProcessCreate", {"Image", "CommandLine"}, {1, 1, 1}},
                                    {"RegistryEvent", {"Image", "User"}, {12, 13, 14}},
                                    {"RegistryEvent", {"User", "Details"}, {12, 13, 14}}};

static void put_field(struct buf *b, const struct kind *k) {
    const char *field = k->fields[below(2)], *condition = rule_condition_name((enum rule_condition)below(COND_COUNT));
    buf_printf(b, "<%s condition=\"%s\">", field, condition);
    put_word(b, 3);
    if (strstr(condition, "any") || strstr(condition, "all")) {
        for (uint32_t n = below(3); n; n--) {
            buf_byte(b, ';');
            put_word(b, 2);
        }
    }
    buf_printf(b, "</%s>", field);
}

/* A rule a line. */
static void put_block(struct buf *b, const struct kind *k, const char *how) {
    buf_printf(b, "<RuleGroup groupRelation=\"%s\"><%s onmatch=\"%s\">\n", below(4) ? "or" : "and", k->tag, how);
    for (uint32_t n = 1 + below(5); n; n--) {
        if (below(3)) {
            put_field(b, k);
        } else {
            buf_printf(b, "<Rule groupRelation=\"%s\">", below(2) ? "and" : "or");
            for (uint32_t m = 1 + below(3); m; m--) put_field(b, k);
            buf_str(b, "</Rule>");
        }
        buf_byte(b, '\n');
    }
    buf_printf(b, "</%s></RuleGroup>\n", k->tag);
}

static void put_ruleset(struct buf *b, const struct kind *k) {
    buf_str(b, "<Sysmon schemaversion=\"4.90\"><EventFiltering>\n");
    for (uint32_t n = 1 + below(2); n; n--) put_block(b, k, "include");
    for (uint32_t n = below(3); n; n--) put_block(b, k, "exclude");
    buf_str(b, "</EventFiltering></Sysmon>\n");
}

/* The text without one line. */
static void without(struct slice text, uint32_t line, struct buf *out) {
    for (uint32_t at = 1; text.len; at++) {
        const uint8_t *end = memchr(text.p, '\n', text.len);
        struct slice one = end ? slice_of(text.p, (size_t)(end - text.p) + 1) : text;
        if (at != line) buf_slice_append(out, one);
        text = slice_from(text, one.len);
    }
}

static struct ruleset *parse(struct slice xml) {
    struct ruleset *r = NULL;
    struct error err = {0};
    if (ruleset_parse(xml, &r, &err)) fail_msg("%s\n%.*s", err.msg, (int)xml.len, (const char *)xml.p);
    return r;
}

/* Events as Sysmon has them: a registry event bears the fields of its id. */
static bool logged(const struct engine *e, struct engine_scratch *s, uint32_t id, const struct slice values[3]) {
    struct event_data data[4];
    struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                       .event_id = {id, true, {0}},
                       .body = EVENT_BODY_DATA,
                       .data = data};
    const char *names[] = {"Image", id == 1 ? "CommandLine" : "User", "Details"};
    for (size_t i = 0; i < (id == 13 ? 3 : 2); i++)
        data[ev.n_data++] = (struct event_data){slice_str(names[i]), values[i], EVENT_DATA};
    return engine_judge(e, s, &ev).logged;
}

/* Is the line the only one of its block? Without it the block would be another thing. */
static bool is_alone(const struct ruleset *r, uint32_t line) {
    for (size_t i = 0; i < r->n_blocks; i++) {
        for (size_t k = 0; k < r->blocks[i].n_rules; k++) {
            if (r->blocks[i].rules[k].at.line == line) return r->blocks[i].n_rules == 1;
        }
    }
    return true;
}

/* Taking the line out must not bind the block to another event. */
static bool binds_alike(const struct ruleset *a, const struct ruleset *b) {
    for (size_t i = 0; i < a->n_blocks; i++) {
        if (a->n_blocks != b->n_blocks || a->blocks[i].bound_id != b->blocks[i].bound_id) return false;
    }
    return true;
}

static void compare(const struct kind *k, struct slice xml, const struct finding *f) {
    struct buf less = {0};
    without(xml, f->at.line, &less);
    struct ruleset *all = parse(xml), *rest = parse(buf_slice(&less));
    if (binds_alike(all, rest) && !is_alone(all, f->at.line)) {
        struct engine *e = engine_new(all), *other = engine_new(rest);
        struct engine_scratch *s = engine_scratch_new(e), *s_other = engine_scratch_new(other);
        for (uint32_t n = 0; n < EVENTS; n++) {
            struct buf words[3] = {0};
            for (size_t i = 0; i < 3; i++) put_word(&words[i], 5);
            const struct slice values[3] = {buf_slice(&words[0]), buf_slice(&words[1]), buf_slice(&words[2])};
            uint32_t id = k->ids[below(3)];
            if (logged(e, s, id, values) != logged(other, s_other, id, values)) {
                fail_msg("line %u: %s\nevent %u %s %s %s\n%.*s", f->at.line, f->text, id, buf_cstr(&words[0]),
                         buf_cstr(&words[1]), buf_cstr(&words[2]), (int)xml.len, (const char *)xml.p);
            }
            for (size_t i = 0; i < 3; i++) buf_free(&words[i]);
        }
        engine_scratch_free(&s);
        engine_scratch_free(&s_other);
        engine_free(&e);
        engine_free(&other);
    }
    ruleset_free(&all);
    ruleset_free(&rest);
    buf_free(&less);
}

static void test_true(void **state) {
    const struct check_options o = {0};
    size_t shadowed = 0, excluded = 0, never = 0;
    (void)state;
    for (uint32_t i = 0; i < RULESETS; i++) {
        const struct kind *k = &kinds[below(3)];
        struct buf xml = {0};
        struct findings f;
        struct ruleset *r = NULL;
        put_ruleset(&xml, k);
        (void)!ruleset_check(buf_slice(&xml), &o, &f, &r);
        for (size_t n = 0; n < f.n; n++) {
            bool is_shadowed = strcmp(f.list[n].code, "shadowed-rule") == 0;
            bool is_excluded = strcmp(f.list[n].code, "excluded-include") == 0;
            bool is_never = strcmp(f.list[n].code, "never-matches") == 0;
            shadowed += is_shadowed;
            excluded += is_excluded;
            never += is_never;
            if (is_shadowed || is_excluded || is_never) compare(k, buf_slice(&xml), &f.list[n]);
        }
        findings_free(&f);
        ruleset_free(&r);
        buf_free(&xml);
    }
    if (shadowed < 80 || excluded < 25 || never < 12)
        fail_msg("%zu shadowed, %zu excluded, %zu never", shadowed, excluded, never);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_true)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
