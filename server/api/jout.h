/* JSON as text, member by member: commas and escapes are seen to. */
#ifndef HAECHI_JOUT_H
#define HAECHI_JOUT_H

#include "buf.h"

/* Opens and closes: key NULL inside arrays and at the top. */
void jout_object(struct buf *out, const char *key);
void jout_array(struct buf *out, const char *key);
void jout_close(struct buf *out, char bracket); /* '}' or ']' */
void jout_line(struct buf *out);                /* closes the outermost object and ends the line */
void jout_text(struct buf *out, const char *key, struct slice value);
void jout_str(struct buf *out, const char *key, const char *value); /* NULL: "" */
void jout_uint(struct buf *out, const char *key, uint64_t value);
void jout_int(struct buf *out, const char *key, int64_t value);
void jout_real(struct buf *out, const char *key, double value);           /* 3 digits */
void jout_version(struct buf *out, const char *key, uint32_t hundredths); /* "4.90"; 0: null */
void jout_bool(struct buf *out, const char *key, bool value);
void jout_null(struct buf *out, const char *key);
void jout_time(struct buf *out, const char *key, uint64_t filetime); /* RFC 3339, 7 digits; 0: null */

#endif
