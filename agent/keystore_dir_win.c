/* The state directory on Windows: an access list for SYSTEM, Administrators and the owner. Anyone may make folders under
 * ProgramData: one that a stranger owns is refused. Blocking; one thread at a time. */
#include "keystore.h"
#include "mem.h"
#include "wide_win.h"

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <stdio.h>

#define DIR_SDDL L"D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"

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

/* Somebody has chosen its list: an installer's folder, and one made in the Explorer, inherits its parent's. */
static bool has_own_list(const wchar_t *w) {
    PSECURITY_DESCRIPTOR sd = NULL;
    SECURITY_DESCRIPTOR_CONTROL control = 0;
    DWORD revision;
    if (GetNamedSecurityInfoW(w, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, NULL, NULL, &sd)) return false;
    bool own = GetSecurityDescriptorControl(sd, &control, &revision) && (control & SE_DACL_PROTECTED);
    LocalFree(sd);
    return own;
}

typedef DWORD(WINAPI *tree_fn)(wchar_t *, SE_OBJECT_TYPE, SECURITY_INFORMATION, PSID, PSID, PACL, PACL, DWORD,
                               FN_PROGRESS, PROG_INVOKE_SETTING, void *);

/* The list of `sddl`; with `tree` all below inherits it, whatever it had. A number of GetLastError. */
static DWORD set_list(wchar_t *w, const wchar_t *sddl, bool tree) {
    PSECURITY_DESCRIPTOR sd = NULL;
    BOOL present = FALSE, defaulted = FALSE;
    PACL acl = NULL;
    DWORD e = ERROR_INVALID_ACL, what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    HMODULE advapi = tree ? GetModuleHandleW(L"advapi32.dll") : NULL;
    tree_fn whole =
        advapi ? (tree_fn)(void *)GetProcAddress(advapi, "TreeSetNamedSecurityInfoW") : NULL; /* Wine has none */
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &sd, NULL)) return GetLastError();
    if (GetSecurityDescriptorDacl(sd, &present, &acl, &defaulted) && present)
        e = whole ? whole(w, SE_FILE_OBJECT, what, NULL, NULL, acl, NULL, TREE_SEC_INFO_RESET, NULL,
                          ProgressInvokeNever, NULL)
                  : SetNamedSecurityInfoW(w, SE_FILE_OBJECT, what, NULL, NULL, acl, NULL);
    /* Those also hand it down; Wine's mixes the parent's list in, which this one does not. */
    if (!e && !SetFileSecurityW(w, what, sd)) e = GetLastError();
    LocalFree(sd);
    return e;
}

enum status keystore_dir(const char *dir, struct error *err) {
    wchar_t *w = wide_path(dir);
    bool was_there = file_exists(dir);
    enum status st = file_make_dir(dir, 0700, err);
    if (!st) st = check_owner(w, dir, err);
    if (!st && was_there && !has_own_list(w)) {
        DWORD e = set_list(w, DIR_SDDL, false);
        if (e) st = wide_fail(err, e, "cannot protect", dir);
    }
    mem_free(w);
    return st;
}

enum status keystore_grant(const char *dir, const char *account, struct error *err) {
    uint8_t sid[SECURITY_MAX_SID_SIZE];
    wchar_t domain[256], sddl[512], *text = NULL, *w = wide_path(dir), *name = wide_of(account);
    DWORD n_sid = sizeof sid, n_domain = sizeof domain / sizeof *domain, e = 0;
    SID_NAME_USE use;
    enum status st = keystore_dir(dir, err);
    if (st) goto out;
    if (!LookupAccountNameW(NULL, name, sid, &n_sid, domain, &n_domain, &use) || !ConvertSidToStringSidW(sid, &text)) {
        st = wide_fail(err, GetLastError(), "cannot find the account", account);
        goto out;
    }
    _snwprintf(sddl, sizeof sddl / sizeof *sddl - 1, DIR_SDDL L"(A;OICI;FA;;;%ls)", text);
    sddl[sizeof sddl / sizeof *sddl - 1] = 0;
    e = set_list(w, sddl, true);
    if (e) st = wide_fail(err, e, "cannot open to the service's account", dir);
out:
    LocalFree(text);
    mem_free(name);
    mem_free(w);
    return st;
}
