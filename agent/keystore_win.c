/* The key on Windows: sealed by DPAPI for this machine, so that a copy of the file alone is worth nothing elsewhere. Blocking; one thread
 * at a time. */
#include "keystore.h"
#include "mem.h"
#include "tls.h"
#include "wide_win.h"

#include <windows.h>

#include <dpapi.h>

#define SEALED_MAX (64u * 1024)

static DATA_BLOB entropy(void) {
    static BYTE words[] = "haechi-agent key 1";
    return (DATA_BLOB){.cbData = sizeof words, .pbData = words};
}

static enum status seal(struct slice plain, struct buf *out, struct error *err) {
    DATA_BLOB in = {.cbData = (DWORD)plain.len, .pbData = (BYTE *)(uintptr_t)plain.p}, salt = entropy(), sealed = {0};
    if (!CryptProtectData(&in, L"haechi-agent", &salt, NULL, NULL,
                          CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN, &sealed))
        return wide_fail(err, GetLastError(), "cannot seal", "the key");
    buf_append(out, sealed.pbData, sealed.cbData);
    LocalFree(sealed.pbData);
    return ST_OK;
}

static enum status unseal(const char *path, struct slice bytes, struct buf *ret_plain, struct error *err) {
    DATA_BLOB in = {.cbData = (DWORD)bytes.len, .pbData = (BYTE *)(uintptr_t)bytes.p}, salt = entropy(), plain = {0};
    if (!CryptUnprotectData(&in, NULL, &salt, NULL, NULL, CRYPTPROTECT_UI_FORBIDDEN, &plain)) {
        enum status st = wide_fail(err, GetLastError(), "cannot open the sealed", path);
        return error_prefix(err, st, "the key is of another machine or damaged; enrol this host anew");
    }
    buf_append(ret_plain, plain.pbData, plain.cbData);
    SecureZeroMemory(plain.pbData, plain.cbData);
    LocalFree(plain.pbData);
    return ST_OK;
}

enum status keystore_key(const char *dir, struct buf *ret_pem, struct error *err) {
    char *path = file_join(dir, "key.dpapi");
    struct buf sealed = {0};
    enum status st = keystore_dir(dir, err);
    if (!st && file_exists(path)) {
        st = file_read(path, SEALED_MAX, &sealed, err);
        if (!st) st = unseal(path, buf_slice(&sealed), ret_pem, err);
    } else if (!st) {
        st = tls_make_key(ret_pem, err);
        if (!st) st = seal(buf_slice(ret_pem), &sealed, err);
        if (!st) st = file_replace(path, buf_slice(&sealed), 0600, err);
    }
    buf_free(&sealed);
    mem_free(path);
    return st;
}
