/* Rows of the fleet environment: JSON objects, so that a person can read a dump. What all that keep records there
 * share. Pure. */
#ifndef HAECHI_ROW_H
#define HAECHI_ROW_H

#include "buf.h"

#include <yyjson.h>

/* The object of a new row: add members, then end it. */
yyjson_mut_val *row_begin(yyjson_mut_doc **ret);
/* Appends the text, frees the document. All strings were checked to be UTF-8 on the way in. */
void row_end(yyjson_mut_doc *doc, struct buf *out);
void row_add_hex(yyjson_mut_doc *doc, yyjson_mut_val *o, const char *key, struct slice bytes);

char *row_string(yyjson_val *object, const char *key);                                /* owned; "" when absent */
void row_copy(yyjson_val *object, const char *key, char *out, size_t len);            /* cut to fit; "" when absent */
uint64_t row_uint(yyjson_val *object, const char *key);                               /* 0 when absent */
bool row_bytes(yyjson_val *object, const char *key, size_t max_len, struct buf *ret); /* of hex; false: not that */
void row_hex(struct slice bytes, char *out, size_t out_len);                          /* lower case, cut to fit, NUL */

#endif
