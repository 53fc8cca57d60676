/* Addresses: text to sockets, and a small hash table of counts. */
#include "address.h"
#include "mem.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

MUST_USE enum status address_parse(const char *text, char ret_host[256], uint16_t *ret_port, struct error *err) {
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    const char *host = text;
    char *end;
    unsigned long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 70000;
    if (port > 65535 || *end || len > 250) {
        return error_set(err, ST_INVALID, "\"%s\" is not an address: write ADDRESS:PORT, as in 0.0.0.0:7443", text);
    }
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len)) {
        return error_set(err, ST_INVALID, "\"%s\" is not an address: write an IPv6 address as [ADDRESS]:PORT", text);
    }
    if (len == 1 && *host == '*') len = 0;
    memcpy(ret_host, host, len);
    ret_host[len] = 0;
    *ret_port = (uint16_t)port;
    return ST_OK;
}

void address_set_port(struct sockaddr_storage *a, uint16_t port) {
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)a)->sin_port = htons(port);
}

MUST_USE enum status address_resolve(const char *text, struct sockaddr_storage *ret, struct error *err) {
    char host[256] = "";
    uint16_t port;
    enum status st = address_parse(text, host, &port, err);
    if (st) return st;
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (!host[0]) hints.ai_family = AF_INET;
    int rc = getaddrinfo(host[0] ? host : NULL, "0", &hints, &found);
    if (rc) return error_set(err, ST_NOTFOUND, "%s: %s", text, gai_strerror(rc));
    memset(ret, 0, sizeof *ret);
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    address_set_port(ret, port);
    return ST_OK;
}

static uint32_t bucket_of(const char *text) {
    uint32_t h = 2166136261u;
    for (const char *p = text; *p; p++) h = (h ^ (uint8_t)*p) * 16777619u;
    return h % ADDRESS_BUCKETS;
}

struct address_entry *address_count(struct address_table *t, const char *address) {
    char key[sizeof((struct address_entry *)0)->text];
    const char *colon = strrchr(address, ':');
    snprintf(key, sizeof key, "%.*s", colon ? (int)(colon - address) : (int)strlen(address), address);
    struct address_entry **at = &t->buckets[bucket_of(key)];
    while (*at && strcmp((*at)->text, key) != 0) at = &(*at)->next;
    if (!*at) {
        *at = mem_zalloc(sizeof **at);
        memcpy((*at)->text, key, sizeof key);
    }
    (*at)->n++;
    return *at;
}

void address_forget(struct address_table *t, struct address_entry *e) {
    if (!e || --e->n) return;
    struct address_entry **at = &t->buckets[bucket_of(e->text)];
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    mem_free(e);
}
