/* Windows speaks UTF-16 and error numbers of its own: both are translated here, once. Any thread. */
#ifndef HAECHI_WIDE_WIN_H
#define HAECHI_WIDE_WIN_H

#include "buf.h"

#include <wchar.h>

/* WTF-8 to UTF-16 in new memory (mem_free), and back; bytes that are no WTF-8 become U+FFFD. */
wchar_t *wide_of(const char *utf8);
char *wide_text(const wchar_t *wide);
/* A path for the W calls: absolute, backslashes, with the prefix that lifts the limit of 260 characters. */
wchar_t *wide_path(const char *utf8);

/* A number of GetLastError as a status, and as a sentence: "Access is denied (5)". */
enum status wide_status(unsigned long error_number);
MUST_USE enum status wide_fail(struct error *err, unsigned long error_number, const char *doing, const char *what);

/* The command line of this process as UTF-8; lives as long as the process. */
void wide_args(int *ret_argc, char ***ret_argv);

#endif
