/* Volumes in memory: cells with their sums, the names they use, and the stored form of both. Collected by the digest's runs,
 * and by whoever adds up what is stored. Pure, one thread. */
#ifndef HAECHI_TALLYTAB_H
#define HAECHI_TALLYTAB_H

#include "arena.h"
#include "tally.h"

#define TALLY_VERSION 1

enum { TALLY_NAME_NONE, TALLY_NAME_REST, TALLY_NAMES }; /* numbers of names; TALLY_NAMES is the first that has a text */

struct tallytab {
    struct tally_cell *cells;
    uint32_t *slots; /* cell + 1; 0: free */
    size_t n, cap, n_slots;
    struct slice *names; /* in the arena; from TALLY_NAMES on */
    uint32_t *name_slots;
    size_t n_names, cap_names, n_name_slots;
    struct arena arena;
    uint64_t seed; /* names are a peer's words: their places in the table must not be foreseen */
};

void tallytab_init(struct tallytab *r);
void tallytab_deinit(struct tallytab *r);
void tallytab_clear(struct tallytab *r);
size_t tallytab_bytes(const struct tallytab *r);
/* The number of a name, which is cut to TALLY_NAME_MAX; TALLY_NAME_NONE when empty. Holds until tallytab_clear. */
uint32_t tallytab_name(struct tallytab *r, struct slice name);
void tallytab_add(struct tallytab *r, const struct tally_cell *c);

/* By host, day, kind and slot; a kind is channel, event id and rule. */
void tallytab_sort(struct tallytab *r);
int tally_by_kind(const void *a, const void *b);                                /* of struct tally_cell */
bool tally_is_same_day(const struct tally_cell *a, const struct tally_cell *b); /* and of the same host */
/* In a sorted table: the end of the cells of the same host and day as cell `from`. */
size_t tallytab_section(const struct tallytab *r, size_t from);
/* Appends the sheet of the sorted cells [from, to), which are whole sections. */
void tallytab_encode(const struct tallytab *r, size_t from, size_t to, struct buf *out);

#endif
