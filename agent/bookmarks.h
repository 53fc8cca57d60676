/* The bookmarks file: for each source the position that the collector has acknowledged, and the spool's acknowledged
 * number. One file, replaced at once, so that both always go together.
 *
 *     haechi-bookmarks 1
 *     acked 1234
 *     source NAME<TAB>POSITION */
#ifndef HAECHI_BOOKMARKS_H
#define HAECHI_BOOKMARKS_H

#include "buf.h"

struct bookmark {
    char *name;
    struct buf position;
};

struct bookmarks { /* zero is empty; bookmarks_free */
    uint64_t acked;
    struct bookmark *items;
    size_t n, cap;
};

void bookmarks_free(struct bookmarks *b);
struct slice bookmarks_get(const struct bookmarks *b, const char *name); /* empty: none */
void bookmarks_set(struct bookmarks *b, const char *name, struct slice position);
void bookmarks_write(const struct bookmarks *b, struct buf *out);
MUST_USE enum status bookmarks_parse(struct slice text, struct bookmarks *ret);

#endif
