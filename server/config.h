/* The collector's options: config.def makes the struct, the table that reads the file, the sample file. */
#ifndef HAECHI_CONFIG_H
#define HAECHI_CONFIG_H

#include "conf.h"

#define CONFIG_TYPE_CONF_UINT uint64_t
#define CONFIG_TYPE_CONF_SIZE uint64_t
#define CONFIG_TYPE_CONF_DURATION uint64_t
#define CONFIG_TYPE_CONF_BOOL bool
#define CONFIG_TYPE_CONF_STRING char *
#define CONFIG_TYPE_CONF_STRINGS struct conf_strings

struct config {
#define OPTION(member, key, type, fallback, least, most, reloadable, help) CONFIG_TYPE_##type member;
#include "config.def"
#undef OPTION
};

/* What the command line says goes over what the file says; NULL members are not given. */
struct config_words {
    const char *data, *listen, *api, *log_level;
};

/* Defaults, then the file (NULL: none), then the command line; checked as a whole. */
MUST_USE enum status config_load(const char *file, const struct config_words *words, struct config *ret,
                                 struct error *err);
void config_free(struct config *s);

/* Takes over the reloadable options of `fresh` (which is emptied) and calls `stays` for each other one that differs. */
void config_reload(struct config *current, struct config *fresh, void (*stays)(const char *key));

void config_sample(struct buf *out); /* the commented file with all defaults */

/* The strings as a NULL-terminated array (mem_free the array, not the strings). */
const char **config_list(const struct conf_strings *s);

#endif
