/* Named durable positions (a pack sequence each): how far a consumer of the packs has come. In fleet/. */
#ifndef HAECHI_CURSOR_H
#define HAECHI_CURSOR_H

#include "db.h"

/* 0 when there is no such cursor. */
MUST_USE enum status cursor_get(struct db *db, const char *name, uint64_t *ret_seq, struct error *err);
MUST_USE enum status cursor_set(struct db *db, const char *name, uint64_t seq, struct error *err);

#endif
