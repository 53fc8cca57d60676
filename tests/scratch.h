/* A folder of a test's own below /tmp: made at its beginning, removed with all that is in it at its end. */
#ifndef HAECHI_TESTS_SCRATCH_H
#define HAECHI_TESTS_SCRATCH_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define SCRATCH_MAX 64

/* false: it could not be made. */
static inline bool scratch_make(char dir[SCRATCH_MAX], const char *test) {
    snprintf(dir, SCRATCH_MAX, "/tmp/haechi-%s-XXXXXX", test);
    return mkdtemp(dir) != NULL;
}

/* 0, as a teardown of cmocka returns it. */
static inline int scratch_remove(const char *dir) {
    char command[SCRATCH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

#endif
