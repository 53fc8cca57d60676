/* What the rulebook's files share. `lock` guards what is in memory (look-ups take it shared, for moments); `change`
 * serialises changes, which hold it across check, commit and the update of memory. */
#ifndef HAECHI_RULEBOOK_INTERNAL_H
#define HAECHI_RULEBOOK_INTERNAL_H

#include "fleetdb.h"
#include "rulebook.h"

#include <stdatomic.h>
#include <uv.h>

struct book_group {
    char name[RULEBOOK_NAME_MAX + 1], ruleset[RULEBOOK_NAME_MAX + 1];
    int32_t precedence;
    bool heal;
    uint32_t revision;
    uint64_t serial;
    struct buf manifest;       /* of the order; empty: none */
    const struct order *order; /* NULL: none, or what it needs is damaged */
};

struct rulebook {
    struct db *db;
    struct fleet *fleet;
    uv_rwlock_t lock;
    uv_mutex_t change;
    struct revision *revisions; /* by name, then revision */
    size_t n_revisions, cap_revisions;
    struct book_group **groups; /* in the order in which they count */
    size_t n_groups, cap_groups;
    _Atomic uint64_t serial; /* the last one that was given out, or heard of */
};

/* ---- revisions (rulebook.c) ---- */
/* The newest (revision 0) or that one; NULL and a sentence. Callers hold the lock. */
const struct revision *revisions_get(const struct rulebook *b, const char *name, uint32_t revision, struct error *err);
void revision_copy(const struct revision *from, struct revision *to);
/* The bytes as they are kept, and unpacked: both are proved to be the revision's. ret_xml may be NULL. */
MUST_USE enum status revision_read(struct rulebook *b, const struct revision *r, struct buf *ret_zstd,
                                   struct buf *ret_xml, struct error *err);

/* ---- groups (rulebook_groups.c): callers hold the lock ---- */
struct book_group *groups_get(const struct rulebook *b, const char *name);
void groups_insert(struct rulebook *b, struct book_group *g);
void book_group_free(struct book_group *g);

/* ---- orders (rulebook_order.c) ---- */
/* Takes the next serial inside the transaction and signs; zstd: revision_read's. */
MUST_USE enum status order_make(struct rulebook *b, struct fleet_txn *t, const char *group, bool heal,
                                const struct revision *r, struct slice zstd, const struct order **ret,
                                struct error *err);

/* ---- rows (rulebook_rows.c) ---- */
#define BOOK_KEY_MAX (RULEBOOK_NAME_MAX + 5)
struct slice book_key(const char *name, uint32_t revision, uint8_t out[BOOK_KEY_MAX]);
void book_row_revision(const struct revision *r, struct buf *out);
bool book_row_revision_parse(struct slice key, struct slice json, struct revision *ret); /* false: not a row of ours */
void book_row_group(const struct book_group *g, struct buf *out);
struct book_group *book_row_group_parse(struct slice key, struct slice json); /* NULL: not a row of ours */

#endif
