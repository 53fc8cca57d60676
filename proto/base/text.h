/* Text from foreign places. Strings inside Haechi are UTF-8, with one widening: an unpaired UTF-16 surrogate, which
 * Windows allows in any string, is kept as the three bytes that UTF-8's scheme gives it (WTF-8), so that nothing is
 * lost. Whoever writes for others (JSON, XML, a terminal) escapes it. Pure. */
#ifndef HAECHI_TEXT_H
#define HAECHI_TEXT_H

#include "buf.h"

/* Length of the well-formed WTF-8 character at s.p (1 to 4), and its code point; 0 at a byte that starts none. */
size_t text_next(struct slice s, uint32_t *ret_cp);

/* True when all of s is strict UTF-8 (no surrogates, no overlong forms, no NUL). */
bool text_is_utf8(struct slice s);

void text_put_cp(struct buf *out, uint32_t cp); /* WTF-8 of one code point up to 0x10FFFF */

/* UTF-16 code units, little- or big-endian, to WTF-8: pairs joined, unpaired surrogates kept. An odd last byte is
 * ignored. */
void text_from_utf16(struct buf *out, struct slice utf16, bool big_endian);

/* Any bytes to WTF-8: bytes that start no character become U+FFFD each. Returns how many were replaced. */
size_t text_sanitize(struct buf *out, struct slice s);

/* JSON string content (without the quotes): control characters and lone surrogates as \uXXXX, the rest as UTF-8;
 * malformed bytes as \ufffd. Lossless for WTF-8. */
void text_json(struct buf *out, struct slice s);

/* For one log line or a terminal: control characters, bidirectional controls, DEL, malformed bytes and lone
 * surrogates as \xNN or \u{NNNN}; at most max_len bytes of input are shown, then "...". */
void text_printable(struct buf *out, struct slice s, size_t max_len);

/* Takes `word` off the front of *s, or a number: the digits of base 10 or 16 that stand there, without a sign or blanks.
 * False, and *s as it was: something else stands there, or the number is larger than 64 bits. */
bool text_take(struct slice *s, const char *word);
bool text_take_number(struct slice *s, unsigned base, uint64_t *ret);

/* The candidate nearest to `word` (edit distance at most 2 and at most half its length), or NULL: for "did you mean". */
const char *text_suggest(const char *word, const char *const *candidates, size_t n);

#endif
