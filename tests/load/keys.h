/* The simulated hosts' identities, kept in one file so that a second run starts at once:
 *
 *     haechi-load 1
 *     collector HOST:PORT
 *     prefix NAME
 *     ca LEN\n bytes \n
 *     agent INDEX HOST-ID NAME KEY-LEN CERTIFICATE-LEN\n key certificate \n      for each host that is enrolled
 */
#ifndef LOAD_KEYS_H
#define LOAD_KEYS_H

#include "buf.h"

#define KEYS_NAME_MAX 64
#define KEYS_MAX_AGENTS 1000000u

struct key_entry { /* empty key: not enrolled yet */
    char name[KEYS_NAME_MAX];
    uint32_t host_id;
    struct buf key, certificate; /* PEM */
};

struct keys {
    char collector[300], prefix[KEYS_NAME_MAX];
    struct buf ca; /* PEM */
    struct key_entry *entries;
    size_t n;
};

void keys_free(struct keys *k);
/* Room for n hosts; those beyond what is there have names by prefix and number. */
void keys_resize(struct keys *k, size_t n);
void keys_write(const struct keys *k, struct buf *out);
/* Pure. ST_FORMAT. */
MUST_USE enum status keys_read(struct slice text, struct keys *ret, struct error *err);
/* DIR/haechi-load.keys; ST_NOTFOUND when there is none. Saving makes the directory. */
MUST_USE enum status keys_load(const char *dir, struct keys *ret, struct error *err);
MUST_USE enum status keys_save(const char *dir, const struct keys *k, struct error *err);

#endif
