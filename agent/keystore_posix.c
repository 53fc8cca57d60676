/* The state directory on POSIX systems: file modes are the protection. Blocking; one thread at a time. */
#include "keystore.h"
#include "mem.h"
#include "tls.h"

#include <sys/stat.h>

enum status keystore_dir(const char *dir, struct error *err) {
    return file_make_dir(dir, 0700, err);
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
