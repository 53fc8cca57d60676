/* Crash points for tests; empty without test hooks. */
#include "crash.h"

#ifdef HAECHI_TEST_HOOKS
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void crash_point(const char *name) {
    static atomic_long passed;
    const char *at = getenv("HAECHI_CRASH_AT");
    size_t len = strlen(name);
    if (!at || strncmp(at, name, len) != 0 || (at[len] && at[len] != ':')) return;
    long nth = at[len] == ':' ? strtol(at + len + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&passed, 1) + 1 == nth) _Exit(137);
}
#else
extern int crash_has_no_code;
#endif
