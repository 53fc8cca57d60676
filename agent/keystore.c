/* The state directory, whatever the system: the lock and the identity. How it and the key are kept from others is for
 * keystore_posix.c and keystore_win.c. Blocking; one thread at a time. */
#include "keystore.h"
#include "mem.h"
#include "tls.h"

enum status keystore_lock(const char *dir, struct file **ret, struct error *err) {
    enum status st = keystore_dir(dir, err);
    if (st) return st;
    char *path = file_join(dir, "lock");
    st = file_lock(path, ret, err);
    if (st == ST_BUSY)
        error_set(err, ST_BUSY, "another haechi-agent is running with %s: stop it, or give another --state", dir);
    mem_free(path);
    return st;
}

enum status keystore_load(const char *dir, struct identity *ret, struct error *err) {
    char *path = file_join(dir, "identity");
    struct buf text = {0};
    struct identity id = {0};
    struct tls_peer facts;
    enum status st = ST_OK;
    if (!file_exists(path)) {
        st = error_set(
            err, ST_NOTFOUND,
            "this host is not enrolled (%s has no identity): run `haechi-agent enroll --token TOKEN --state %s`", dir,
            dir);
        goto out;
    }
    st = file_read(path, KEYSTORE_IDENTITY_MAX, &text, err);
    if (st) goto out;
    st = identity_parse(buf_slice(&text), &id, err);
    if (!st) st = tls_certificate_facts(buf_slice(&id.certificate), &facts, &id.not_before, err);
    if (st) {
        st = error_prefix(err, st, "%s: enrol this host anew", path);
        goto out;
    }
    id.not_after = facts.not_after;
    st = keystore_key(dir, &id.key, err);
    if (st) goto out;
    *ret = id;
    id = (struct identity){0};
out:
    identity_free(&id);
    buf_free(&text);
    mem_free(path);
    return st;
}

enum status keystore_save(const char *dir, const struct identity *id, struct error *err) {
    char *path = file_join(dir, "identity");
    struct buf text = {0};
    identity_write(id, &text);
    enum status st = file_replace(path, buf_slice(&text), 0600, err);
    buf_free(&text);
    mem_free(path);
    return st;
}
