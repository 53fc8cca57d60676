/* Tags of hosts: short words that an admin gives and takes. One change, with its audit record. */
#include "fleet_internal.h"
#include "log.h"
#include "mem.h"

static bool tag_is_fit(const char *tag) {
    size_t n = strlen(tag);
    return n && n <= FLEET_NAME_MAX &&
           strspn(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == n;
}

static bool in_list(const char *tag, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(tag, list[i]) == 0) return true;
    }
    return false;
}

MUST_USE enum status fleet_host_tag(struct fleet *f, const char *actor, uint32_t host, const char *const *add,
                                    size_t n_add, const char *const *remove, size_t n_remove, struct error *err) {
    for (size_t i = 0; i < n_add; i++) {
        if (!tag_is_fit(add[i])) {
            return error_set(err, ST_INVALID, "'%s' is no tag: letters, digits and - _ . : only, at most %d",
                             log_peer(slice_str(add[i])), FLEET_NAME_MAX);
        }
    }
    uv_mutex_lock(&f->change);
    struct host *h = hosts_get(f, host);
    if (!h) {
        uv_mutex_unlock(&f->change);
        return error_set(err, ST_NOTFOUND, "no host has the id %lu", (unsigned long)host);
    }
    struct host changed = *h;
    struct buf detail = {0};
    changed.pub.tags = mem_zalloc(mem_mul(h->pub.n_tags + n_add + 1, sizeof *changed.pub.tags));
    changed.pub.n_tags = 0;
    for (size_t i = 0; i < h->pub.n_tags; i++) {
        if (!in_list(h->pub.tags[i], remove, n_remove)) changed.pub.tags[changed.pub.n_tags++] = h->pub.tags[i];
    }
    for (size_t i = 0; i < n_add; i++) {
        if (!in_list(add[i], (const char *const *)changed.pub.tags, changed.pub.n_tags)) {
            changed.pub.tags[changed.pub.n_tags++] = (char *)add[i];
        }
    }
    for (size_t i = 0; i < changed.pub.n_tags; i++) buf_printf(&detail, "%s%s", i ? " " : "", changed.pub.tags[i]);
    struct fleet_txn *t = NULL;
    enum status st = fleet_begin(f->db, &t, err);
    if (!st) st = change_put_host(t, &changed, err);
    if (!st) st = fleet_audit_in(f, t, actor, "host tag", h->pub.name, buf_cstr(&detail), err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    if (!st) {
        for (size_t i = 0; i < changed.pub.n_tags; i++) changed.pub.tags[i] = mem_strdup(changed.pub.tags[i]);
        uv_rwlock_wrlock(&f->lock);
        for (size_t i = 0; i < h->pub.n_tags; i++) mem_free(h->pub.tags[i]);
        mem_free(h->pub.tags);
        h->pub.tags = changed.pub.tags;
        h->pub.n_tags = changed.pub.n_tags;
        uv_rwlock_wrunlock(&f->lock);
    } else {
        mem_free(changed.pub.tags);
    }
    uv_mutex_unlock(&f->change);
    buf_free(&detail);
    return st;
}
