/* Conditions: parsed from one line of text each, applied to decoded events. Pure. */
#include "filter.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>

static const struct {
    const char *word;
    enum filter_op op;
} operators[] = {
    {"=", FILTER_EQ},
    {"==", FILTER_EQ},
    {"is", FILTER_EQ},
    {"!=", FILTER_NE},
    {"<", FILTER_LT},
    {"<=", FILTER_LE},
    {">", FILTER_GT},
    {">=", FILTER_GE},
    {"in", FILTER_IN},
    {"contains", FILTER_CONTAINS},
    {"!contains", FILTER_NOT_CONTAINS},
    {"startswith", FILTER_STARTS},
    {"endswith", FILTER_ENDS},
    {"like", FILTER_LIKE},
    {"exists", FILTER_EXISTS},
    {"!exists", FILTER_NOT_EXISTS},
};
#define N_OPERATORS (sizeof operators / sizeof *operators)

void filter_deinit(struct filter *f) {
    for (size_t i = 0; i < f->n_conditions; i++) {
        mem_free(f->conditions[i].field);
        mem_free(f->conditions[i].value);
    }
    mem_free(f->conditions);
    mem_free(f->ids);
    mem_free(f->search);
    *f = (struct filter){0};
}

MUST_USE enum status filter_add_ids(struct filter *f, const char *text, struct error *err) {
    const char *p = text;
    for (;;) {
        uint32_t id = 0;
        const char *start = p;
        for (; *p >= '0' && *p <= '9' && id <= 0xffff; p++) id = id * 10 + (uint32_t)(*p - '0');
        if (p == start || id > 0xffff || (*p && *p != ',')) {
            return error_set(err, ST_INVALID, "'%s' is no list of event ids; write 1,3,22", text);
        }
        mem_grow((void **)&f->ids, f->n_ids, &f->cap_ids, sizeof *f->ids);
        f->ids[f->n_ids++] = id;
        if (!*p++) return ST_OK;
    }
}

MUST_USE enum status filter_set_guid(struct filter *f, const char *text, struct error *err) {
    if (guid_parse(slice_str(text), &f->guid)) {
        return error_set(err, ST_INVALID, "'%s' is no GUID; write {01234567-89ab-cdef-0123-456789abcdef}", text);
    }
    f->has_guid = true;
    return ST_OK;
}

static enum status find_operator(const char *word, const char *text, enum filter_op *ret, struct error *err) {
    const char *words[N_OPERATORS];
    for (size_t i = 0; i < N_OPERATORS; i++) {
        if (slice_eq_nocase(slice_str(word), slice_str(operators[i].word))) {
            *ret = operators[i].op;
            return ST_OK;
        }
        words[i] = operators[i].word;
    }
    const char *near = text_suggest(word, words, N_OPERATORS);
    return error_set(
        err, ST_INVALID,
        "condition '%s': unknown operator '%s'%s%s%s; a condition is FIELD OP VALUE, OP one of = != < <= > "
        ">= in contains !contains startswith endswith like exists !exists",
        text, word, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

MUST_USE enum status filter_add_where(struct filter *f, const char *text, struct error *err) {
    const char *p = text + strspn(text, " ");
    size_t field_len = strcspn(p, " ");
    const char *op_at = p + field_len + strspn(p + field_len, " ");
    size_t op_len = strcspn(op_at, " ");
    if (!field_len || !op_len) {
        return error_set(err, ST_INVALID, "condition '%s' is not FIELD OP VALUE, like: Image endswith \\cmd.exe", text);
    }
    char word[32];
    snprintf(word, sizeof word, "%.*s", (int)op_len, op_at);
    enum filter_op op = FILTER_EQ;
    enum status st = find_operator(word, text, &op, err);
    if (st) return st;
    const char *value = op_at + op_len + (op_at[op_len] == ' ');
    bool takes_value = op != FILTER_EXISTS && op != FILTER_NOT_EXISTS;
    if (takes_value && !*value && op != FILTER_EQ && op != FILTER_NE) {
        return error_set(err, ST_INVALID, "condition '%s': a value is missing behind '%s'", text, word);
    }
    mem_grow((void **)&f->conditions, f->n_conditions, &f->cap_conditions, sizeof *f->conditions);
    f->conditions[f->n_conditions++] =
        (struct filter_condition){mem_strndup(p, field_len), op, mem_strdup(takes_value ? value : "")};
    return ST_OK;
}

void filter_set_search(struct filter *f, const char *text) {
    mem_free(f->search);
    f->search = mem_strdup(text);
}

bool filter_has_id(const struct filter *f, uint32_t event_id) {
    for (size_t i = 0; i < f->n_ids; i++) {
        if (f->ids[i] == event_id) return true;
    }
    return f->n_ids == 0;
}

bool filter_needs_event(const struct filter *f) {
    return f->n_conditions || f->search;
}

/* ---- matching ---- */

static bool find_nocase(struct slice hay, struct slice needle) {
    if (!needle.len) return true;
    char first = slice_lower(needle.p[0]);
    for (size_t i = 0; i + needle.len <= hay.len; i++) {
        if (slice_lower(hay.p[i]) == first && slice_eq_nocase(slice_of(hay.p + i, needle.len), needle)) return true;
    }
    return false;
}

/* '*' any run, '?' any one byte; linear in practice, quadratic at worst, no recursion. */
static bool like_nocase(struct slice s, struct slice pattern) {
    size_t i = 0, j = 0, star = SIZE_MAX, mark = 0;
    while (i < s.len) {
        if (j < pattern.len && pattern.p[j] == '*') {
            star = j++;
            mark = i;
        } else if (j < pattern.len && (pattern.p[j] == '?' || slice_lower(pattern.p[j]) == slice_lower(s.p[i]))) {
            i++;
            j++;
        } else if (star != SIZE_MAX) {
            j = star + 1;
            i = ++mark;
        } else {
            return false;
        }
    }
    while (j < pattern.len && pattern.p[j] == '*') j++;
    return j == pattern.len;
}

static bool number_of(struct slice s, uint64_t *ret) {
    bool hex = s.len > 2 && s.p[0] == '0' && (s.p[1] | 32) == 'x';
    uint64_t v = 0, base = hex ? 16 : 10;
    if (!s.len) return false;
    for (size_t i = hex ? 2 : 0; i < s.len; i++) {
        uint8_t c = (uint8_t)slice_lower(s.p[i]);
        uint64_t d = 99;
        if (c >= '0' && c <= '9') d = (uint64_t)(c - '0');
        if (hex && c >= 'a' && c <= 'f') d = (uint64_t)(c - 'a' + 10);
        if (d == 99 || v > (UINT64_MAX - d) / base) return false;
        v = v * base + d;
    }
    *ret = v;
    return true;
}

static bool equals(struct slice have, struct slice want) {
    uint64_t a, b;
    if (slice_eq_nocase(have, want)) return true;
    return number_of(have, &a) && number_of(want, &b) && a == b;
}

static bool in_list(struct slice have, struct slice list) {
    for (;;) {
        const uint8_t *comma = list.len ? memchr(list.p, ',', list.len) : NULL;
        struct slice item = comma ? slice_of(list.p, (size_t)(comma - list.p)) : list;
        if (equals(have, item)) return true;
        if (!comma) return false;
        list = slice_from(list, item.len + 1);
    }
}

static bool compares(enum filter_op op, struct slice have, struct slice want) {
    uint64_t a, b;
    if (!number_of(have, &a) || !number_of(want, &b)) return false;
    switch (op) {
    case FILTER_LT: return a < b;
    case FILTER_LE: return a <= b;
    case FILTER_GT: return a > b;
    default: return a >= b;
    }
}

/* One value against a positive condition. */
static bool value_matches(enum filter_op op, struct slice have, struct slice want) {
    switch (op) {
    case FILTER_EQ:
    case FILTER_NE: return equals(have, want);
    case FILTER_IN: return in_list(have, want);
    case FILTER_CONTAINS:
    case FILTER_NOT_CONTAINS: return find_nocase(have, want);
    case FILTER_STARTS: return have.len >= want.len && slice_eq_nocase(slice_head(have, want.len), want);
    case FILTER_ENDS: return have.len >= want.len && slice_eq_nocase(slice_from(have, have.len - want.len), want);
    case FILTER_LIKE: return like_nocase(have, want);
    case FILTER_EXISTS:
    case FILTER_NOT_EXISTS: return true;
    default: return compares(op, have, want);
    }
}

/* A System member as text, in `room` when it is a number; .p NULL when the event lacks it or the name is none. */
static struct slice system_value(const struct event *ev, const char *field, char room[24]) {
    const struct {
        const char *name;
        const struct event_num *num;
        struct slice text;
    } members[] = {
        {"event_id", &ev->event_id, {0}}, {"record_id", &ev->record_id, {0}},   {"level", &ev->level, {0}},
        {"task", &ev->task, {0}},         {"opcode", &ev->opcode, {0}},         {"version", &ev->version, {0}},
        {"keywords", &ev->keywords, {0}}, {"process_id", &ev->process_id, {0}}, {"thread_id", &ev->thread_id, {0}},
        {"channel", NULL, ev->channel},   {"computer", NULL, ev->computer},     {"provider", NULL, ev->provider},
        {"user_sid", NULL, ev->user_sid},
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (!slice_eq_nocase(slice_str(field), slice_str(members[i].name))) continue;
        if (!members[i].num) return members[i].text;
        if (!members[i].num->present) return (struct slice){0};
        snprintf(room, 24, members[i].num == &ev->keywords ? "0x%llx" : "%llu", (unsigned long long)members[i].num->v);
        return slice_str(room);
    }
    return (struct slice){0};
}

/* A value with percent signs that Sysmon doubled matches in either spelling. */
static bool data_matches(const struct event *ev, const struct event_data *d, enum filter_op op, struct slice want) {
    if (value_matches(op, d->value, want)) return true;
    if (!d->name.p || !event_is_doubled(ev->provider, ev->event_id.v, d->name)) return false;
    if (!d->value.len || !memchr(d->value.p, '%', d->value.len)) return false;
    struct buf plain = {0};
    buf_reserve(&plain, d->value.len);
    plain.len = event_undouble(d->value, plain.p);
    bool matched = plain.len < d->value.len && value_matches(op, buf_slice(&plain), want);
    buf_free(&plain);
    return matched;
}

static bool condition_matches(const struct filter_condition *c, const struct event *ev) {
    bool negative = c->op == FILTER_NE || c->op == FILTER_NOT_CONTAINS || c->op == FILTER_NOT_EXISTS;
    struct slice field = slice_str(c->field), want = slice_str(c->value);
    char room[24];
    struct slice system = system_value(ev, c->field, room);
    bool matched = system.p && value_matches(c->op, system, want);
    for (size_t i = 0; i < ev->n_data && !matched; i++) {
        matched = ev->data[i].name.p && slice_eq_nocase(ev->data[i].name, field) &&
                  data_matches(ev, &ev->data[i], c->op, want);
    }
    return matched != negative;
}

static bool search_matches(const char *text, const struct event *ev) {
    struct slice needle = slice_str(text);
    for (size_t i = 0; i < ev->n_data; i++) {
        if (data_matches(ev, &ev->data[i], FILTER_CONTAINS, needle)) return true;
    }
    const struct slice others[] = {ev->body_xml, ev->computer, ev->provider, ev->user_sid, ev->channel, ev->extra_xml};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (others[i].p && find_nocase(others[i], needle)) return true;
    }
    return false;
}

bool filter_match(const struct filter *f, const struct event *ev) {
    for (size_t i = 0; i < f->n_conditions; i++) {
        if (!condition_matches(&f->conditions[i], ev)) return false;
    }
    return !f->search || search_matches(f->search, ev);
}
