/* 2 PARSE  Text that XML 1.0 cannot hold, made fit for an XML parser and back. Pure.
 *
 * Windows puts any character into an event's XML; an XML parser must refuse some. parse_wrap writes each of them, raw or
 * as a numeric reference, as U+10FFFD and four hex digits, and U+10FFFD itself as U+10FFFD and "self"; parse_unwrap undoes
 * it. Bytes that are no WTF-8 become U+FFFD. */
#ifndef HAECHI_PARSE_TEXT_H
#define HAECHI_PARSE_TEXT_H

#include "arena.h"
#include "buf.h"

/* Appends the wrapped text; adds the number of bytes that became U+FFFD to *replaced. Returns how many bytes of xml
 * gave the first max_out bytes of output (all, when there are not as many). */
size_t parse_wrap(struct buf *out, struct slice xml, size_t max_out, uint64_t *replaced);

/* A copy in the arena, unwrapped; .p NULL over its cap. Two wrapped halves of a surrogate pair become one character. */
struct slice parse_unwrap(struct slice s, struct arena *a);

/* Reads the numeric reference at s.p ("&#13;", "&#xD800;") into *ret_cp; its length, or 0 when that is none. */
size_t parse_char_ref(struct slice s, uint32_t *ret_cp);

#endif
