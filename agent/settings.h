/* What `haechi-agent run` reads from its configuration file; deploy/conf/agent.toml is made from the same table. */
#ifndef HAECHI_AGENT_SETTINGS_H
#define HAECHI_AGENT_SETTINGS_H

#include "conf.h"

struct settings {
    char *state, *log_level, *sysmon_directory;
    struct conf_strings collectors;
    uint64_t retry_min_s, retry_max_s, spool_max_bytes;
    uint64_t rules_apply_s, rules_prove_s, rules_look_s;
    bool journal, unproven;
    struct conf_strings channels, evtx, xml, syslog;
};

/* path NULL: the default file if there is one, else the defaults. */
MUST_USE enum status settings_load(const char *path, struct settings *ret, struct error *err);
/* From text; `name` is for messages. */
MUST_USE enum status settings_parse(const char *name, struct slice text, struct settings *ret, struct error *err);
void settings_free(struct settings *s);
void settings_sample(struct buf *out);

#endif
