/* An intrusive doubly linked list: the link lives in the element, so adding and removing cannot fail. */
#ifndef HAECHI_LIST_H
#define HAECHI_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
/* Safe when the body removes `it`. */
#define list_for_each_safe(it, tmp, head) \
    for (struct list *it = (head)->next, *tmp = it->next; it != (head); it = tmp, tmp = it->next)

static inline void list_init(struct list *head) {
    head->next = head->prev = head;
}

static inline bool list_is_empty(const struct list *head) {
    return head->next == head;
}

static inline void list_append(struct list *head, struct list *link) {
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void list_remove(struct list *link) { /* also fine on one that is in no list */
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = link;
}

#endif
