/* Case folding as the rule engine compares: one character for one character, upper to lower. ASCII, Latin-1 and Latin Extended,
 * Greek, Cyrillic, Armenian, Latin Extended Additional and the full-width letters; what Windows maps to a letter of another
 * encoded length (U+0130, U+2126 ...) stays as it is. So a text keeps its length. Pure. */
#ifndef HAECHI_FOLD_H
#define HAECHI_FOLD_H

#include "slice.h"

/* Writes text.len bytes to out, which may be text.p itself. Text is WTF-8; malformed bytes are copied. */
void fold_text(struct slice text, uint8_t *out);
bool fold_is_ascii(struct slice text);

#endif
