/* POST /hosts/{host}/import: frames of batches, streamed in through an ingest door. Runs on the API's loop.
 *
 * Life: import_begin with the call; import_feed and import_ended as the body comes; when import_is_over says so, the
 * call's step (import_step) writes the audit record and makes the answer on a work thread, also when the client is gone. */
#ifndef HAECHI_IMPORT_H
#define HAECHI_IMPORT_H

#include "call.h"

struct import;

/* ST_NOTFOUND, ST_INVALID: no such host. Becomes the call's state. `changed` is called on the loop after an answer has
 * come, never inside a call of this header. */
MUST_USE enum status import_begin(struct call *c, struct ingest_door *door, void (*changed)(void *ctx), void *ctx,
                                  struct error *err);
void import_feed(struct call *c, struct slice bytes); /* all of it is kept */
bool import_can_take(struct call *c);                 /* false: feed no more until `changed` or the door's `after` */
void import_ended(struct call *c);                    /* the body is complete */
/* Nothing more is taken: the client went away (ST_CLOSED), or its body is at fault. The first reason stays. */
void import_abandon(struct call *c, enum status why, const char *text);
bool import_is_over(struct call *c); /* nothing in flight, and ended, failed or abandoned */

#endif
