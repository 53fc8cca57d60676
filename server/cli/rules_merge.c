/* rules merge: a folder of modules as one configuration, on stdout or in a file; no collector is asked. */
#include "commands.h"
#include "file.h"
#include "modules.h"

#include <stdio.h>

struct rules_merge {
    struct common common;
    const char *out, *base;
};

static const struct arg_option merge_options[] = {
    {"out", ARG_STRING, offsetof(struct rules_merge, out), "FILE", "write to this file instead of standard output"},
    {"base", ARG_STRING, offsetof(struct rules_merge, base), "FILE",
     "takes schemaversion and options from this file (else from templates/sysmon_template.xml in the folder, if it is there)"},
};

static enum status run_rules_merge(struct client *c, const void *options, const struct arg_list *words,
                                   struct error *err) {
    const struct rules_merge *o = options;
    struct buf xml = {0};
    size_t n = 0;
    (void)c;
    enum status st = modules_merge(words->items[0], o->base, &xml, &n, err);
    if (!st && o->out) {
        st = file_replace(o->out, buf_slice(&xml), 0644, err);
        if (!st) printf("%s: %zu modules merged\n", o->out, n);
    } else if (!st) {
        st = print_bytes(buf_slice(&xml));
    }
    buf_free(&xml);
    return st;
}

const struct command rules_merge_command = {
    {"rules merge", "[--out FILE] [--base FILE] DIR",
     "Merges a folder of small configurations, as sysmon-modular has them, into one: for every event one include and one "
     "exclude block, with a comment for each module. Folders whose names begin with a digit hold the modules, or the folder "
     "itself when it has none such. The same modules give the same file.",
     OPTIONS(merge_options), 1, 1},
    "merge a folder of modules into one configuration",
    sizeof(struct rules_merge),
    run_rules_merge,
};
