/* The tables of fields.def as lookups: numbers for names, providers and frequent values, and back. Pure. */
#ifndef HAECHI_FIELDS_H
#define HAECHI_FIELDS_H

#include "slice.h"

enum field_number {
    F_NONE,
#define FIELD(number, name) F_##name = number,
#include "fields.def"
    F_COUNT
};

struct known_provider {
    struct slice name;
    const char *guid; /* lower case; NULL: none */
    struct slice channel;
};

const struct known_provider *provider_find(struct slice name, uint32_t *ret_number); /* NULL: not known */
const struct known_provider *provider_at(uint32_t number);                           /* NULL: not known */

/* Frequent values: their number, or -1; the text, .p NULL when there is none of that number. */
int common_find(struct slice text);
struct slice common_at(uint32_t number);

struct slice field_name_at(uint32_t number); /* .p NULL when there is none of that number */

#endif
