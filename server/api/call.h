/* One request and its answer, between the connection (peer.c) and the handlers.
 *
 * A handler is a step function that runs on a work thread, one step at a time, until it says STEP_END; what it appends
 * to *out goes to the client after each step, when the connection can take it. An answer that is complete after its
 * first output has a Content-Length, a longer one is chunked. No step holds a transaction or a lock when it returns.
 * While no step runs, the call belongs to the loop. */
#ifndef HAECHI_CALL_H
#define HAECHI_CALL_H

#include "api.h"
#include "target.h"

#include <stdatomic.h>

enum api_role { ROLE_NOBODY, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };

enum step {
    STEP_MORE, /* call again when *out has been taken (also when it is empty) */
    STEP_WAIT, /* call again after wait_ms, or after the next commit with wake_on_commit */
    STEP_END,
    STEP_FAIL /* *err says why: a problem document, or a broken connection when output was sent */
};

struct call;
typedef enum step (*step_fn)(struct call *c, struct buf *out, struct error *err);

struct api_common { /* what all calls share; borrowed */
    const struct api_options *o;
    _Atomic bool backup_runs;
    _Atomic unsigned n_simulations; /* that run */
};

struct call_progress { /* of a step that lasts; shown by the loop as {"done":..,"all":..} lines once all is not 0 */
    _Atomic uint64_t done, all;
};

struct route;
struct call {
    struct api_common *common;
    const struct route *route;
    struct target target;
    const char *words[2]; /* what the route's {placeholders} stand for, in order */
    struct buf body;      /* of BODY_JSON and BODY_BYTES */
    enum api_role role;
    char actor[64]; /* for the audit log; empty: resolve uid (on the work thread) */
    unsigned uid;
    step_fn step;

    /* set by steps */
    int http;         /* status; 200 unless set. With STEP_FAIL: 0 makes it from err->code */
    const char *type; /* content type; the route's first unless set */
    unsigned wait_ms;
    bool wake_on_commit;
    uint64_t skipped; /* blocks that could not be read: in the trailer */
    struct call_progress progress;
    void *state; /* the handler's own */
    void (*free_state)(void *state);
};

const char *call_param(const struct call *c, const char *name);
/* "1"; absent or "0": false. */
MUST_USE enum status call_flag(const struct call *c, const char *name, bool *ret, struct error *err);
/* Decimal; absent: stays as it is. */
MUST_USE enum status call_uint(const struct call *c, const char *name, uint64_t *ret, struct error *err);
/* What args_time takes; absent: stays as it is. */
MUST_USE enum status call_time(const struct call *c, const char *name, uint64_t *ret, struct error *err);
/* The host that words[0] names. */
MUST_USE enum status call_host(const struct call *c, struct fleet_host *ret, struct error *err);
enum step call_fail(struct error *err, enum status st); /* STEP_FAIL; fills err->code, and a text where none is */

/* The object in the body: of the keys named (NULL-terminated) only. An empty body is an empty object. */
struct yyjson_doc;
MUST_USE enum status call_json(const struct call *c, const char *const *keys, struct yyjson_doc **ret,
                               struct error *err);
/* Members of such an object: absent, they stay as they are; of another type, ST_INVALID. A text borrows from it. */
struct yyjson_val;
MUST_USE enum status call_text(struct yyjson_val *object, const char *key, const char **ret, struct error *err);
MUST_USE enum status call_number(struct yyjson_val *object, const char *key, uint64_t most, uint64_t *ret,
                                 struct error *err);
MUST_USE enum status call_bool(struct yyjson_val *object, const char *key, bool *ret, struct error *err);
#define CALL_PIECE (256u * 1024) /* about as much as one step puts out */

#endif
