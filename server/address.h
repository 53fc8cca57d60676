/* Addresses to listen on, and how many connections each peer's address has open. */
#ifndef HAECHI_ADDRESS_H
#define HAECHI_ADDRESS_H

#include "status.h"

#include <stdint.h>
#include <sys/socket.h>

/* "ADDR:PORT", "[ADDR]:PORT", "*:PORT" into its parts; host "" for "*". Pure. ST_INVALID with a sentence. */
MUST_USE enum status address_parse(const char *text, char ret_host[256], uint16_t *ret_port, struct error *err);
/* Blocks when it is a name: at start only. */
MUST_USE enum status address_resolve(const char *text, struct sockaddr_storage *ret, struct error *err);
void address_set_port(struct sockaddr_storage *a, uint16_t port);

#define ADDRESS_BUCKETS 1024u
struct address_entry { /* open connections of one address */
    struct address_entry *next;
    unsigned n;
    char text[56];
};
struct address_table { /* zeroed is empty; one thread */
    struct address_entry *buckets[ADDRESS_BUCKETS];
};
/* One more connection from "ADDR:PORT"; all ports of a machine count together. */
struct address_entry *address_count(struct address_table *t, const char *address);
void address_forget(struct address_table *t, struct address_entry *e); /* one less; NULL is fine */

#endif
