/* Memory with two tempers: abort for our own sizes, NULL for sizes a peer chose. Thread-safe as malloc is. */
#include "mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAECHI_TEST_HOOKS
static unsigned long fail_countdown;

void mem_test_fail_at(unsigned long n) {
    fail_countdown = n;
}

static int test_fails(void) {
    return fail_countdown && --fail_countdown == 0;
}
#else
static int test_fails(void) {
    return 0;
}
#endif

static void *or_die(void *p, size_t len) {
    if (!p) {
        fprintf(stderr, "haechi: out of memory (%zu bytes wanted)\n", len);
        abort();
    }
    return p;
}

void *mem_alloc(size_t len) {
    return or_die(malloc(len ? len : 1), len);
}

void *mem_zalloc(size_t len) {
    return or_die(calloc(1, len ? len : 1), len);
}

void *mem_realloc(void *p, size_t len) {
    return or_die(realloc(p, len ? len : 1), len);
}

char *mem_strdup(const char *s) {
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const void *p, size_t len) {
    char *s = mem_alloc(len + 1);
    if (len) memcpy(s, p, len);
    s[len] = 0;
    return s;
}

void *mem_try_alloc(size_t len) {
    return test_fails() ? NULL : malloc(len ? len : 1);
}

void *mem_try_realloc(void *p, size_t len) {
    return test_fails() ? NULL : realloc(p, len ? len : 1);
}

void mem_free(void *p) {
    free(p);
}

void mem_wipe(void *p, size_t len) {
    volatile unsigned char *v = p;
    while (len--) *v++ = 0;
}

size_t mem_mul(size_t n, size_t size) {
    return size && n > SIZE_MAX / size ? SIZE_MAX : n * size;
}

void mem_grow(void **array, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return;
    size_t want = *cap ? *cap * 2 : 8;
    while (want <= n) want *= 2;
    *array = mem_realloc(*array, mem_mul(want, size));
    *cap = want;
}
