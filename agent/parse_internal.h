/* 2 PARSE  Shared by parse.c, parse_build.c and parse_fast.c. */
#ifndef HAECHI_PARSE_INTERNAL_H
#define HAECHI_PARSE_INTERNAL_H

#include "arena.h"
#include "parse.h"

struct xml_attribute {
    struct slice name, value;
};

/* An element, or a run of text (name.p is NULL). */
struct xml_node {
    struct slice name, text;
    const struct xml_attribute *attributes;
    size_t n_attributes;
    struct xml_node *first, *last, *next, *parent;
};

/* The tree of an <Event> as struct event; texts are shared with the tree. ST_FORMAT: *ret_why is a constant. */
MUST_USE enum status parse_build(const struct xml_node *root, struct arena *a, struct event *ret, const char **ret_why);

/* Numbers and times as System has them. False: not what the struct can say (empty). */
bool parse_number(struct slice text, bool hex, struct event_num *ret);
bool parse_time(struct slice text, struct event *ev);

/* The usual shape in one pass. False: it is not that, nothing is to be concluded. */
bool parse_fast(struct slice xml, struct arena *a, struct event *ret);

#endif
