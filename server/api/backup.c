/* POST /backup. One step that lasts as long as the copy, whether its client stays or not: half a backup is of no use.
 * Meanwhile the loop shows its progress (struct call_progress). */
#include "handlers.h"
#include "jout.h"
#include "log.h"

#include <yyjson.h>

static void on_progress(void *ctx, uint64_t done, uint64_t all) {
    struct call *c = ctx;
    atomic_store(&c->progress.done, done);
    atomic_store(&c->progress.all, all);
}

static void audit(struct call *c, const char *dir, enum status st, const struct error *why) {
    struct error err = {0};
    const char *action = st ? "backup failed" : "backup";
    if (fleet_audit(c->common->o->fleet, c->actor, action, dir, st ? why->msg : "", &err)) {
        log_error("api", "the audit log misses the backup to %s: %s", log_peer(slice_str(dir)), err.msg);
    }
}

static enum step copy(struct call *c, const char *dir, struct buf *out, struct error *err) {
    enum status st = db_backup(c->common->o->db, dir, on_progress, c, err);
    audit(c, dir, st, err);
    if (st) log_error("api", "backup to %s: %s", log_peer(slice_str(dir)), err->msg);
    uint64_t all = atomic_load(&c->progress.all);
    if (st && !all) return call_fail(err, st); /* nothing can have been shown yet */
    jout_object(out, NULL);
    if (st) {
        jout_str(out, "error", err->msg);
    } else {
        jout_uint(out, "done", all);
        jout_uint(out, "all", all);
        jout_line(out);
        jout_object(out, NULL);
        jout_bool(out, "ok", true);
    }
    jout_line(out);
    return STEP_END;
}

enum step backup_step(struct call *c, struct buf *out, struct error *err) {
    static const char *const keys[] = {"dir", NULL};
    yyjson_doc *doc = NULL;
    enum status st = call_json(c, keys, &doc, err);
    if (st) return call_fail(err, st);
    yyjson_val *dir = yyjson_obj_get(yyjson_doc_get_root(doc), "dir");
    const char *path = yyjson_get_str(dir);
    enum step next;
    if (!path || path[0] != '/' || strlen(path) != yyjson_get_len(dir)) {
        next = call_fail(err, error_set(err, ST_INVALID,
                                        "dir is the absolute path of a directory on the collector's machine"));
    } else if (atomic_exchange(&c->common->backup_runs, true)) {
        c->http = 409;
        next = call_fail(err, error_set(err, ST_BUSY, "another backup is running"));
    } else {
        next = copy(c, path, out, err);
        atomic_store(&c->common->backup_runs, false);
    }
    yyjson_doc_free(doc);
    return next;
}
