/* A ruleset as engine_compile.c leaves it for engine.c: for each event id a program. Only they and the engine's test see this. */
#ifndef HAECHI_ENGINE_INTERNAL_H
#define HAECHI_ENGINE_INTERNAL_H

#include "engine.h"
#include "matcher.h"

#define NO_SLOT UINT32_MAX
#define ENGINE_MAX_ID 255u
#define ENGINE_ARENA_CAP (256u * 1024 * 1024) /* many times what RULES_XML_MAX bytes of values take */

enum entry_test {
    TEST_ANY,     /* one of its patterns holds */
    TEST_ALL,     /* all of them */
    TEST_NONE,    /* none of them, but the field is there */
    TEST_NOT_ALL, /* one is missing, and the field is there */
    TEST_LESS,
    TEST_MORE
};

struct entry { /* one rule_field */
    const struct rule_field *field;
    struct slice name;  /* that it gives to the event; empty: none */
    struct slice value; /* folded; of TEST_LESS, TEST_MORE */
    enum entry_test test;
    uint32_t slot;           /* of the program; NO_SLOT: no event of this id has the field */
    uint32_t atoms, n_atoms; /* in atom_lists */
};

struct term { /* one rule */
    const struct rule *rule;
    uint32_t entries, n_entries, block;
    uint32_t group; /* in an AND block: what is an alternative of each other has one number */
};

struct block {
    const struct rule_block *block;
    uint32_t terms, n_terms, n_groups;
};

struct span {
    uint32_t at, n;
};

struct program {          /* of one event id */
    struct block *blocks; /* excludes first */
    struct term *terms;   /* of all blocks in order, so a term's number is its place in the evaluation */
    struct entry *entries;
    size_t n_blocks, n_terms, n_entries;
    uint32_t *fields; /* by slot: number of fields.def */
    struct matcher **matchers;
    size_t n_slots;
    uint32_t *atom_lists; /* of entries */
    size_t n_atoms;       /* different patterns */
    struct span *wakes;   /* by atom: in woken, the terms that may match when it holds */
    uint32_t *woken;
    uint32_t *always; /* terms that are tried for every event, ascending; of an AND block its first */
    size_t n_always;
    bool leaves_names; /* an AND that fails may leave a name behind */
    uint32_t max_groups;
};

struct engine {
    const struct ruleset *ruleset;
    struct arena arena;                          /* folded values */
    struct program *programs[ENGINE_MAX_ID + 1]; /* by event id; NULL: no block */
    size_t max_atoms, max_terms, max_groups;
};

/* The program of an event id; NULL when no block is for it. */
struct program *program_new(const struct ruleset *r, uint32_t event_id, struct arena *a);
void program_free(struct program **p);

#endif
