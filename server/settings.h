/* The collector's options: settings.def makes the struct, the table that reads the file, the sample file. */
#ifndef HAECHI_SETTINGS_H
#define HAECHI_SETTINGS_H

#include "conf.h"

#define SETTINGS_TYPE_CONF_UINT uint64_t
#define SETTINGS_TYPE_CONF_SIZE uint64_t
#define SETTINGS_TYPE_CONF_DURATION uint64_t
#define SETTINGS_TYPE_CONF_BOOL bool
#define SETTINGS_TYPE_CONF_STRING char *
#define SETTINGS_TYPE_CONF_STRINGS struct conf_strings

struct settings {
#define OPTION(member, key, type, fallback, least, most, reloadable, help) SETTINGS_TYPE_##type member;
#include "settings.def"
#undef OPTION
};

/* What the command line says goes over what the file says; NULL members are not given. */
struct settings_words {
    const char *data, *listen, *api, *log_level;
};

/* Defaults, then the file (NULL: none), then the command line; checked as a whole. */
MUST_USE enum status settings_load(const char *file, const struct settings_words *words, struct settings *ret,
                                   struct error *err);
void settings_free(struct settings *s);

/* Takes over the reloadable options of `fresh` (which is emptied) and calls `stays` for each other one that differs. */
void settings_reload(struct settings *current, struct settings *fresh, void (*stays)(const char *key));

void settings_sample(struct buf *out); /* the commented file with all defaults */

/* The strings as a NULL-terminated array (mem_free the array, not the strings). */
const char **settings_list(const struct conf_strings *s);

#endif
