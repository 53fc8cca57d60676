/* Memory. mem_* abort when there is none: for sizes that we choose. mem_try_* return NULL: for sizes that a peer can
 * influence, where failure costs that peer and nobody else. */
#ifndef HAECHI_MEM_H
#define HAECHI_MEM_H

#include <stddef.h>

void *mem_alloc(size_t len);                  /* not zeroed, never NULL (also for len 0) */
void *mem_zalloc(size_t len);                 /* zeroed, never NULL */
void *mem_realloc(void *p, size_t len);       /* never NULL */
char *mem_strdup(const char *s);              /* never NULL; s must not be NULL */
char *mem_strndup(const void *p, size_t len); /* a NUL-terminated copy of len bytes, never NULL */
void *mem_try_alloc(size_t len);              /* NULL when there is none */
void *mem_try_realloc(void *p, size_t len);   /* NULL when there is none; p stays valid then */
void mem_free(void *p);                       /* NULL is fine */
void mem_wipe(void *p, size_t len);           /* zeroes, not optimised away: for secrets */

/* Overflow-safe n * size; SIZE_MAX on overflow, which no allocator grants. */
size_t mem_mul(size_t n, size_t size);

/* Makes room for one more element of *array (elements of `size` bytes, *cap allocated, n used): doubles. */
void mem_grow(void **array, size_t n, size_t *cap, size_t size);

#ifdef HAECHI_TEST_HOOKS
/* The n-th mem_try_* call from now on returns NULL (1 is the next one; 0 turns it off). For unit tests. */
void mem_test_fail_at(unsigned long n);
#endif

#endif
