/* The state directory on POSIX systems: file modes are the protection. Blocking; one thread at a time. */
#include "keystore.h"
#include "mem.h"
#include "tls.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum status keystore_dir(const char *dir, struct error *err) {
    return file_make_dir(dir, 0700, err);
}

enum status keystore_check_file(const char *path, struct error *err) {
    struct stat sb;
    if (lstat(path, &sb)) return error_set(err, status_from_errno(errno), "cannot look at %s", path);
    if (!S_ISREG(sb.st_mode)) return error_set(err, ST_DENIED, "%s is not a plain file", path);
    if (sb.st_uid != geteuid() && sb.st_uid != 0)
        return error_set(err, ST_DENIED, "%s belongs to another account: remove it, or give it to root", path);
    if (sb.st_mode & 077)
        return error_set(err, ST_DENIED, "%s can be read or changed by others than its owner: chmod 600 it", path);
    return ST_OK;
}

enum status keystore_key(const char *dir, struct buf *ret_pem, struct error *err) {
    char *path = file_join(dir, "key.pem");
    struct stat sb;
    enum status st = keystore_dir(dir, err);
    if (!st && stat(path, &sb) == 0) {
        if (sb.st_mode & 077)
            st = error_set(err, ST_DENIED,
                           "%s can be read by others than its owner: chmod 600 it, and enrol anew if they may have",
                           path);
        else
            st = file_read(path, 64 * 1024, ret_pem, err);
    } else if (!st) {
        st = tls_make_key(ret_pem, err);
        if (!st) st = file_replace(path, buf_slice(ret_pem), 0600, err);
    }
    mem_free(path);
    return st;
}
