/* A ring of pointers under one uv mutex and condition variable; grows up to its bound. */
#include "queue.h"
#include "mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <uv.h>

struct entry {
    void *item;
    size_t weight;
};

struct queue {
    uv_mutex_t mutex;
    uv_cond_t filled;
    struct entry *ring;
    size_t cap, head, n, weight;
    size_t max_items, max_weight;
    bool closed;
    queue_wake_fn wake;
    void *wake_ctx;
};

struct queue *queue_new(size_t max_items, size_t max_weight, queue_wake_fn wake, void *ctx) {
    struct queue *q = mem_zalloc(sizeof *q);
    if (uv_mutex_init(&q->mutex) || uv_cond_init(&q->filled)) abort();
    q->max_items = max_items;
    q->max_weight = max_weight;
    q->wake = wake;
    q->wake_ctx = ctx;
    return q;
}

void queue_free(struct queue **q) {
    if (!*q) return;
    uv_cond_destroy(&(*q)->filled);
    uv_mutex_destroy(&(*q)->mutex);
    mem_free((*q)->ring);
    mem_free(*q);
    *q = NULL;
}

static bool has_room(const struct queue *q, size_t weight) {
    if (q->closed || q->n >= q->max_items) return false;
    return q->n == 0 || (q->weight <= q->max_weight && weight <= q->max_weight - q->weight);
}

bool queue_can_put(struct queue *q, size_t weight) {
    uv_mutex_lock(&q->mutex);
    bool can = has_room(q, weight);
    uv_mutex_unlock(&q->mutex);
    return can;
}

static void grow(struct queue *q) {
    size_t cap = q->cap ? q->cap * 2 : 16;
    struct entry *ring = mem_alloc(mem_mul(cap, sizeof *ring));
    for (size_t i = 0; i < q->n; i++) ring[i] = q->ring[(q->head + i) % q->cap];
    mem_free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->head = 0;
}

MUST_USE enum status queue_put(struct queue *q, void *item, size_t weight) {
    uv_mutex_lock(&q->mutex);
    enum status st = q->closed ? ST_CLOSED : has_room(q, weight) ? ST_OK : ST_AGAIN;
    if (!st) {
        if (q->n == q->cap) grow(q);
        q->ring[(q->head + q->n++) % q->cap] = (struct entry){item, weight};
        q->weight += weight;
        uv_cond_signal(&q->filled);
    }
    uv_mutex_unlock(&q->mutex);
    if (!st && q->wake) q->wake(q->wake_ctx);
    return st;
}

static void *take_locked(struct queue *q) {
    struct entry e = q->ring[q->head];
    q->head = (q->head + 1) % q->cap;
    q->n--;
    q->weight -= e.weight;
    return e.item;
}

void *queue_try_take(struct queue *q) {
    uv_mutex_lock(&q->mutex);
    void *item = q->n ? take_locked(q) : NULL;
    uv_mutex_unlock(&q->mutex);
    return item;
}

MUST_USE enum status queue_take(struct queue *q, int timeout_ms, void **ret_item) {
    uint64_t deadline = timeout_ms < 0 ? 0 : uv_hrtime() + (uint64_t)timeout_ms * 1000000;
    enum status st = ST_OK;
    uv_mutex_lock(&q->mutex);
    while (!q->n && !q->closed && !st) {
        if (timeout_ms < 0) {
            uv_cond_wait(&q->filled, &q->mutex);
            continue;
        }
        uint64_t now = uv_hrtime();
        if (now >= deadline || uv_cond_timedwait(&q->filled, &q->mutex, deadline - now)) {
            st = q->n ? ST_OK : ST_TIMEOUT;
            break;
        }
    }
    if (q->n) {
        *ret_item = take_locked(q);
        st = ST_OK;
    } else if (!st) {
        st = ST_CLOSED;
    }
    uv_mutex_unlock(&q->mutex);
    return st;
}

void queue_close(struct queue *q) {
    uv_mutex_lock(&q->mutex);
    q->closed = true;
    uv_cond_broadcast(&q->filled);
    uv_mutex_unlock(&q->mutex);
    if (q->wake) q->wake(q->wake_ctx);
}

size_t queue_items(struct queue *q) {
    uv_mutex_lock(&q->mutex);
    size_t n = q->n;
    uv_mutex_unlock(&q->mutex);
    return n;
}

size_t queue_weight(struct queue *q) {
    uv_mutex_lock(&q->mutex);
    size_t w = q->weight;
    uv_mutex_unlock(&q->mutex);
    return w;
}
