/* The one way in which threads meet: a bounded first-in-first-out queue of pointers. It holds the only mutex.
 *
 * Any thread may put and take. A consumer that is a loop thread gets woken by the `wake` callback (it calls
 * uv_async_send); one that is a plain thread blocks in queue_take. */
#ifndef HAECHI_QUEUE_H
#define HAECHI_QUEUE_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>

struct queue;

typedef void (*queue_wake_fn)(void *ctx);

/* At most max_items pointers whose `weight`s (bytes, say) sum to at most max_weight (one item is always let in). */
struct queue *queue_new(size_t max_items, size_t max_weight, queue_wake_fn wake, void *ctx);
void queue_free(struct queue **q); /* must be empty and unused */

bool queue_can_put(struct queue *q, size_t weight); /* a hint for back-pressure: true may be stale at once */
/* ST_AGAIN when full, ST_CLOSED after queue_close; the item stays the caller's then. */
MUST_USE enum status queue_put(struct queue *q, void *item, size_t weight);
/* NULL when empty. */
void *queue_try_take(struct queue *q);
/* Blocks up to timeout_ms (-1: for ever). ST_TIMEOUT, or ST_CLOSED once closed and empty. */
MUST_USE enum status queue_take(struct queue *q, int timeout_ms, void **ret_item);
void queue_close(struct queue *q); /* no more puts; takers get what is left, then ST_CLOSED */
size_t queue_items(struct queue *q);
size_t queue_weight(struct queue *q);

#endif
