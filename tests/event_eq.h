/* Equality of events, member by member: for tests. */
#ifndef HAECHI_TESTS_EVENT_EQ_H
#define HAECHI_TESTS_EVENT_EQ_H

#include "event.h"

static inline bool same_text(struct slice a, struct slice b) {
    return (a.p == NULL) == (b.p == NULL) && slice_eq(a, b);
}

static inline bool same_num(const struct event_num *a, const struct event_num *b) {
    return a->present == b->present && a->v == b->v && slice_eq(a->text, b->text);
}

/* The name of the first member that differs; NULL when the events are equal. */
static inline const char *event_difference(const struct event *a, const struct event *b) {
#define PLAIN(m) \
    if (a->m != b->m) return #m
#define TEXT(m) \
    if (!same_text(a->m, b->m)) return #m
#define XML(m) \
    if (!slice_eq(a->m, b->m)) return #m
#define NUM(m) \
    if (!same_num(&a->m, &b->m)) return #m
    PLAIN(form);
    PLAIN(time);
    PLAIN(time_digits);
    PLAIN(has);
    PLAIN(body);
    PLAIN(n_data);
    TEXT(provider);
    TEXT(provider_guid);
    TEXT(event_source);
    TEXT(activity_id);
    TEXT(related_activity_id);
    TEXT(channel);
    TEXT(computer);
    TEXT(user_sid);
    TEXT(body_name);
    NUM(event_id);
    NUM(qualifiers);
    NUM(version);
    NUM(level);
    NUM(task);
    NUM(opcode);
    NUM(keywords);
    NUM(record_id);
    NUM(process_id);
    NUM(thread_id);
    NUM(processor_id);
    NUM(session_id);
    NUM(kernel_time);
    NUM(user_time);
    NUM(processor_time);
    XML(time_text);
    XML(system_xml);
    XML(body_xml);
    XML(extra_xml);
    for (size_t i = 0; i < a->n_data; i++) {
        if (!same_text(a->data[i].name, b->data[i].name)) return "name of a value";
        if (!slice_eq(a->data[i].value, b->data[i].value)) return "value";
        if (a->data[i].element != b->data[i].element) return "element of a value";
    }
    return NULL;
#undef PLAIN
#undef TEXT
#undef XML
#undef NUM
}

#endif
