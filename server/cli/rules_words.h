/* Configurations as a person names them: shared by the rules commands. */
#ifndef HAECHI_RULES_WORDS_H
#define HAECHI_RULES_WORDS_H

#include "client.h"
#include "ref.h"

/* The bytes of a revision, from the collector. */
MUST_USE enum status revision_bytes(struct client *c, const struct ruleset_ref *ref, struct buf *out,
                                    struct error *err);
/* Of a file, of stdin ("-"), or of a folder of modules, merged. */
MUST_USE enum status file_bytes(const char *path, struct buf *out, struct error *err);
/* A word with a '/', the ending ".xml" or "-" (stdin) is a file or folder; any other is NAME or NAME@REVISION of the collector's. */
MUST_USE enum status config_bytes(struct client *c, const char *word, struct buf *out, struct error *err);

#endif
