/* The text of a configuration file as UTF-8, whatever it was stored in, and where in it an offset stands. Pure. */
#ifndef HAECHI_CONFIG_TEXT_H
#define HAECHI_CONFIG_TEXT_H

#include "buf.h"
#include "ruleset.h"

struct config_text {
    struct buf utf8;
    size_t start;         /* of the document: white space before it is Sysmon's to skip, not XML's */
    const char *encoding; /* "UTF-8", "UTF-16LE", "UTF-16BE", "ISO-8859-1" */
    bool has_bom, ascii;
    struct slice declared; /* in utf8; .p NULL: no declaration or none of an encoding */
};

/* Fills *ret, also on failure (config_text_free); then *err says what and *ret_at where. */
MUST_USE enum status config_text_decode(struct slice bytes, struct config_text *ret, struct place *ret_at,
                                        struct error *err);
void config_text_free(struct config_text *t);

bool config_is_blank(struct slice s); /* XML's white space alone, or nothing */
size_t config_characters(struct slice utf8);

/* Walks along a text: line and column of offsets that do not decrease (a smaller one starts again from the front). */
struct config_cursor {
    struct slice text;
    size_t offset;
    struct place at;
};
struct config_cursor config_cursor_of(struct slice text);
struct place config_place(struct config_cursor *c, size_t offset);

#endif
