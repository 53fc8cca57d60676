/* Look-ups in the schema tables. They are short: linear search is enough, but for tags and fields, where the first letters
 * decide quickly. */
#include "schema.h"

static const char *const condition_names[COND_COUNT] = {
    [COND_IS] = "is",
    [COND_IS_NOT] = "is not",
    [COND_CONTAINS] = "contains",
    [COND_EXCLUDES] = "excludes",
    [COND_BEGIN_WITH] = "begin with",
    [COND_END_WITH] = "end with",
    [COND_LESS_THAN] = "less than",
    [COND_MORE_THAN] = "more than",
    [COND_IMAGE] = "image",
    [COND_CONTAINS_ANY] = "contains any",
    [COND_CONTAINS_ALL] = "contains all",
    [COND_EXCLUDES_ANY] = "excludes any",
    [COND_EXCLUDES_ALL] = "excludes all",
    [COND_IS_ANY] = "is any",
    [COND_NOT_BEGIN_WITH] = "not begin with",
    [COND_NOT_END_WITH] = "not end with",
};

const char *rule_condition_name(enum rule_condition c) {
    return (unsigned)c < COND_COUNT ? condition_names[c] : "?";
}

bool schema_condition_parse(struct slice text, enum rule_condition *ret) {
    for (int c = 0; c < COND_COUNT; c++) {
        if (!slice_eq_nocase(text, slice_str(condition_names[c]))) continue;
        *ret = (enum rule_condition)c;
        return true;
    }
    return false;
}

const struct schema_name *schema_condition_info(enum rule_condition c) {
    for (size_t i = 0; i < schema_n_conditions; i++) {
        if (strcmp(schema_conditions[i].name, rule_condition_name(c)) == 0) return &schema_conditions[i];
    }
    return NULL;
}

const struct schema_tag *schema_tag_find(struct slice tag) {
    for (size_t i = 0; i < schema_n_tags; i++) {
        if (slice_eq_str(tag, schema_tags[i].tag)) return &schema_tags[i];
    }
    return NULL;
}

const struct schema_event *schema_event_find(uint32_t id) {
    for (size_t i = 0; i < schema_n_events; i++) {
        if (schema_events[i].id == id) return &schema_events[i];
    }
    return NULL;
}

const struct schema_field *schema_field_find(uint32_t id, struct slice field) {
    const struct schema_event *e = schema_event_find(id);
    for (size_t i = 0; e && i < e->n_fields; i++) {
        const struct schema_field *f = &schema_fields[e->first_field + i];
        if (slice_eq_str(field, f->name)) return f;
    }
    return NULL;
}

int schema_field_index(uint32_t id, struct slice field) {
    const struct schema_event *e = schema_event_find(id);
    int index = 0;
    for (size_t i = 0; e && i < e->n_fields; i++) {
        const struct schema_field *f = &schema_fields[e->first_field + i];
        if (f->until) continue;
        if (slice_eq_str(field, f->name)) return index;
        index++;
    }
    return -1;
}

const struct schema_name *schema_option_find(struct slice name) {
    for (size_t i = 0; i < schema_n_options; i++) {
        if (slice_eq_str(name, schema_options[i].name)) return &schema_options[i];
    }
    return NULL;
}

uint32_t schema_grammar(uint32_t version) {
    uint32_t best = 0;
    for (size_t i = 0; i < schema_n_versions; i++) {
        if (schema_versions[i] <= version) best = schema_versions[i];
    }
    return best;
}
