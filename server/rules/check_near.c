/* Did you mean: the name of the grammar that is nearest to a mistyped one. */
#include "check_internal.h"
#include "text.h"

const char *near_name(struct slice word, const char *const *names, size_t n) {
    struct shown w = show(word);
    for (size_t i = 0; i < n; i++) { /* another case only */
        if (slice_eq_nocase(word, slice_str(names[i]))) return names[i];
    }
    return text_suggest(w.s, names, n);
}

const char *near_tag(struct slice word) {
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; i < schema_n_tags && n < 60; i++) names[n++] = schema_tags[i].tag;
    names[n++] = "RuleGroup";
    return near_name(word, names, n);
}

const char *near_option(struct slice word) {
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; i < schema_n_options && n < 60; i++) {
        if (schema_options[i].argument != SCHEMA_COMMAND_LINE) names[n++] = schema_options[i].name;
    }
    names[n++] = "EventFiltering";
    return near_name(word, names, n);
}

const char *near_field(const struct schema_tag *tag, struct slice word) {
    const char *names[128];
    size_t n = 0;
    for (const uint32_t *id = tag->ids; *id; id++) {
        const struct schema_event *e = schema_event_find(*id);
        for (size_t i = 0; i < e->n_fields && n < 120; i++) names[n++] = schema_fields[e->first_field + i].name;
    }
    names[n++] = "Rule";
    return near_name(word, names, n);
}

const char *near_condition(struct slice word) {
    const char *names[COND_COUNT];
    for (int i = 0; i < COND_COUNT; i++) names[i] = rule_condition_name((enum rule_condition)i);
    const char *found = near_name(word, names, COND_COUNT);
    if (found) return found;
    const char *const others[][2] = {{"equals", "is"},
                                     {"starts with", "begin with"},
                                     {"begins with", "begin with"},
                                     {"ends with", "end with"},
                                     {"startswith", "begin with"},
                                     {"endswith", "end with"},
                                     {"not contains", "excludes"},
                                     {"is any of", "is any"},
                                     {"not", "is not"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (slice_eq_nocase(word, slice_str(others[i][0]))) return others[i][1];
    }
    return NULL;
}
