/* Slots of 20 KiB in one mapping that costs address space only; a free list of slot numbers under a mutex (it is taken
 * twice in the life of a connection). */
#include "tls_slots.h"
#include "mem.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOT_LEN ((size_t)20 * 1024)
#define SLOT_MIN ((size_t)16 * 1024) /* smaller and larger requests go to malloc */
#define SLOTS ((size_t)256 * 1024)   /* 5 GiB of address space: 131,072 connections */

static struct {
    pthread_mutex_t lock;
    uint8_t *base;
    size_t page;
    size_t used;    /* slots below were handed out at least once */
    uint32_t *free; /* numbers of those that came back */
    size_t n_free, cap;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

void tls_slots_init(void) {
    long page = sysconf(_SC_PAGESIZE);
    if (page <= 0 || SLOT_LEN % (size_t)page != 0) return; /* 16 and 64 KiB pages: nothing to gain */
    void *p = mmap(NULL, SLOTS * SLOT_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return;
#ifdef MADV_NOHUGEPAGE
    madvise(p, SLOTS * SLOT_LEN, MADV_NOHUGEPAGE);
#endif
    pool.page = (size_t)page;
    pool.base = p;
}

static int is_slot(const void *p) {
    uintptr_t at = (uintptr_t)p, base = (uintptr_t)pool.base;
    return pool.base && at >= base && at < base + SLOTS * SLOT_LEN;
}

void *tls_slots_calloc(size_t n, size_t size) {
    size_t len = mem_mul(n, size);
    if (!pool.base || len < SLOT_MIN || len > SLOT_LEN) return calloc(n, size);
    uint8_t *p = NULL;
    pthread_mutex_lock(&pool.lock);
    if (pool.n_free) {
        p = pool.base + pool.free[--pool.n_free] * SLOT_LEN;
    } else if (pool.used < SLOTS) {
        if (pool.used == pool.cap) mem_grow((void **)&pool.free, pool.used, &pool.cap, sizeof *pool.free);
        p = pool.base + pool.used++ * SLOT_LEN; /* fresh from the system: zero; its place in `free` exists already */
    }
    pthread_mutex_unlock(&pool.lock);
    return p ? p : calloc(n, size);
}

void tls_slots_free(void *p) {
    if (!is_slot(p)) {
        free(p);
        return;
    }
    memset(p, 0, pool.page); /* the rest comes back as zeros */
    tls_slots_idle(p);
    pthread_mutex_lock(&pool.lock);
    pool.free[pool.n_free++] = (uint32_t)((size_t)((uint8_t *)p - pool.base) / SLOT_LEN);
    pthread_mutex_unlock(&pool.lock);
}

void tls_slots_idle(void *p) {
    if (!is_slot(p)) return;
    uint8_t *rest = (uint8_t *)p + pool.page;
    if (madvise(rest, SLOT_LEN - pool.page, MADV_DONTNEED)) memset(rest, 0, SLOT_LEN - pool.page);
}
