/* The state directory on Windows: an access list for SYSTEM, Administrators and the owner; the key is sealed by DPAPI for
 * this machine, so that a copy of the file alone is worth nothing elsewhere. Anyone may make folders under ProgramData:
 * one that a stranger owns is refused. Blocking; one thread at a time. */
#include "keystore.h"
#include "mem.h"
#include "tls.h"
#include "wide_win.h"

#include <windows.h>

#include <aclapi.h>
#include <dpapi.h>
#include <sddl.h>

#define DIR_SDDL L"D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"
#define SEALED_MAX (64u * 1024)

/* ---- the folder ---- */

static bool is_me(PSID who) {
    HANDLE token = NULL;
    union {
        TOKEN_USER user;
        uint8_t room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } u;
    DWORD n = 0;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) return false;
    bool same = GetTokenInformation(token, TokenUser, &u, sizeof u, &n) && EqualSid(u.user.User.Sid, who);
    CloseHandle(token);
    return same;
}

static enum status check_owner(const wchar_t *w, const char *path, struct error *err) {
    PSID owner = NULL;
    PSECURITY_DESCRIPTOR sd = NULL;
    DWORD e = GetNamedSecurityInfoW(w, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION, &owner, NULL, NULL, NULL, &sd);
    if (e) return wide_fail(err, e, "cannot find the owner of", path);
    enum status st = ST_OK;
    if (!IsWellKnownSid(owner, WinLocalSystemSid) && !IsWellKnownSid(owner, WinBuiltinAdministratorsSid) &&
        !is_me(owner))
        st = error_set(err, ST_DENIED, "%s belongs to another account, which could read or change it: remove it", path);
    LocalFree(sd);
    return st;
}

/* Its list is its folder's or tighter: the owner is what tells where it came from. */
enum status keystore_check_file(const char *path, struct error *err) {
    wchar_t *w = wide_path(path);
    DWORD is = GetFileAttributesW(w);
    enum status st = is == INVALID_FILE_ATTRIBUTES ? wide_fail(err, GetLastError(), "cannot look at", path)
                     : is & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT)
                         ? error_set(err, ST_DENIED, "%s is not a plain file", path)
                         : check_owner(w, path, err);
    mem_free(w);
    return st;
}

enum status keystore_dir(const char *dir, struct error *err) {
    wchar_t *w = wide_path(dir);
    bool was_there = file_exists(dir);
    PSECURITY_DESCRIPTOR sd = NULL;
    enum status st = file_make_dir(dir, 0700, err);
    if (!st) st = check_owner(w, dir, err);
    /* A folder from an installer has its parent's list. An account that may not change it does not own it either. */
    if (!st && was_there &&
        ConvertStringSecurityDescriptorToSecurityDescriptorW(DIR_SDDL, SDDL_REVISION_1, &sd, NULL)) {
        BOOL present = FALSE, defaulted = FALSE;
        PACL acl = NULL;
        DWORD e = ERROR_INVALID_ACL;
        if (GetSecurityDescriptorDacl(sd, &present, &acl, &defaulted) && present)
            e = SetNamedSecurityInfoW(w, SE_FILE_OBJECT,
                                      DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, NULL, NULL, acl,
                                      NULL);
        LocalFree(sd);
        if (e) st = wide_fail(err, e, "cannot protect", dir);
    }
    mem_free(w);
    return st;
}

/* ---- the key ---- */

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
