/* An event from a line of `haechi events --format json`: the opposite of server/render.c. Pure. */
#ifndef HAECHI_JSON_EVENT_H
#define HAECHI_JSON_EVENT_H

#include "event.h"

#include <yyjson.h>

/* *ret borrows from the document and the arena. ST_FORMAT says which member is missing or of the wrong kind. */
MUST_USE enum status json_event(yyjson_val *object, struct arena *a, struct event *ret, struct error *err);

#endif
