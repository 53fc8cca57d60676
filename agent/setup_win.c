/* What the MSI package does beyond its tables (deploy/windows/haechi-agent.wxs): the library haechi-setup.dll, which lives in the package
 * and is never installed. Check runs before anything is changed and refuses words that are no good; the others run as SYSTEM.
 *
 * The words come through properties that the installer hides in its logs. Nothing here starts a process, and nothing secret goes
 * anywhere but into STATE/enroll.conf. One thread, the installer's. */
#include "file.h"
#include "keystore.h"
#include "mem.h"
#include "service.h"
#include "settings.h"
#include "setup.h"
#include "wide_win.h"

#include <windows.h>

#include <msi.h>
#include <msiquery.h>
#include <stdio.h>

#define ACTION __declspec(dllexport) UINT __stdcall
#define WRITE_ACTION L"WriteEnrolment" /* the property of that name is what the deferred action gets to see */
#define SERVICE_NAME L"HaechiAgent"
#define WORD_DIVIDER '\t' /* no word may have one */
#define MAX_DEPTH 16
#define END_TRIES 100
#define END_PAUSE_MS 50

ACTION Check(MSIHANDLE h);
ACTION WriteEnrolment(MSIHANDLE h);
ACTION UndoEnrolment(MSIHANDLE h);
ACTION GrantState(MSIHANDLE h);
ACTION AwaitEnd(MSIHANDLE h);
ACTION RemoveToken(MSIHANDLE h);
ACTION RemoveState(MSIHANDLE h);

/* ---- the installer ---- */

/* In new memory: wipe_text. */
static char *property(MSIHANDLE h, const wchar_t *name) {
    wchar_t nothing[1] = L"";
    DWORD n = 0;
    UINT rc = MsiGetPropertyW(h, name, nothing, &n);
    if (rc != ERROR_MORE_DATA) return mem_strdup("");
    wchar_t *wide = mem_zalloc(mem_mul(++n, sizeof *wide));
    rc = MsiGetPropertyW(h, name, wide, &n);
    char *text = rc ? mem_strdup("") : wide_text(wide);
    mem_wipe(wide, mem_mul(n, sizeof *wide));
    mem_free(wide);
    return text;
}

static void wipe_text(char *s) {
    mem_wipe(s, strlen(s));
    mem_free(s);
}

static void set_property(MSIHANDLE h, const wchar_t *name, const char *value) {
    wchar_t *wide = wide_of(value);
    MsiSetPropertyW(h, name, wide);
    mem_wipe(wide, wcslen(wide) * sizeof *wide);
    mem_free(wide);
}

static void say(MSIHANDLE h, INSTALLMESSAGE kind, const char *text) {
    MSIHANDLE record = MsiCreateRecord(1);
    wchar_t *wide = wide_of(text);
    MsiRecordSetStringW(record, 0, L"Haechi agent: [1]");
    MsiRecordSetStringW(record, 1, wide);
    MsiProcessMessage(h, kind, record);
    MsiCloseHandle(record);
    mem_free(wide);
}

static UINT refuse(MSIHANDLE h, const char *text) {
    say(h, INSTALLMESSAGE_ERROR, text);
    return ERROR_INSTALL_FAILURE;
}

/* ---- before anything is changed ---- */

static bool is_windows_10(void) {
    typedef LONG(WINAPI * version_fn)(OSVERSIONINFOW *);
    HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    OSVERSIONINFOW v = {.dwOSVersionInfoSize = sizeof v};
    version_fn version = ntdll ? (version_fn)(void *)GetProcAddress(ntdll, "RtlGetVersion") : NULL;
    return version && version(&v) == 0 && v.dwMajorVersion >= 10;
}

/* The account that an installed service has, so that an upgrade keeps it; LocalSystem when there is none. */
static void keep_account(MSIHANDLE h) {
    union {
        QUERY_SERVICE_CONFIGW c;
        uint8_t room[8192];
    } config;
    DWORD n = 0;
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE s = manager ? OpenServiceW(manager, SERVICE_NAME, SERVICE_QUERY_CONFIG) : NULL;
    bool known = s && QueryServiceConfigW(s, &config.c, sizeof config, &n) && config.c.lpServiceStartName &&
                 *config.c.lpServiceStartName;
    MsiSetPropertyW(h, L"ACCOUNT", known ? config.c.lpServiceStartName : L"LocalSystem");
    if (s) CloseServiceHandle(s);
    if (manager) CloseServiceHandle(manager);
}

static enum status check_words(const struct setup_words *w, struct error *err) {
    struct buf enroll = {0}, config = {0};
    struct settings s = {0};
    enum status st = setup_compose(w, &enroll, &config, err);
    if (!st && config.len) {
        st = settings_parse("SERVER and CHANNELS", buf_slice(&config), &s, err);
        if (!st) settings_free(&s);
    }
    if (enroll.p) mem_wipe(enroll.p, enroll.cap);
    buf_free(&enroll);
    buf_free(&config);
    return st;
}

ACTION Check(MSIHANDLE h) {
    char *token = property(h, L"TOKEN"), *server = property(h, L"SERVER"), *channels = property(h, L"CHANNELS"),
         *account = property(h, L"ACCOUNT");
    struct setup_words w = {.token = token, .server = server, .channels = channels};
    struct error err = {0};
    UINT rc = ERROR_SUCCESS;
    if (!is_windows_10()) {
        rc = refuse(h, "this program needs Windows 10, Windows Server 2016 or later");
    } else if (check_words(&w, &err)) {
        rc = refuse(h, err.msg);
    } else {
        struct buf data = {0};
        buf_reserve(&data, strlen(token) + strlen(server) + strlen(channels) + 8);
        buf_str(&data, token);
        buf_byte(&data, WORD_DIVIDER);
        buf_str(&data, server);
        buf_byte(&data, WORD_DIVIDER);
        buf_str(&data, channels);
        set_property(h, WRITE_ACTION, buf_cstr(&data));
        mem_wipe(data.p, data.cap);
        buf_free(&data);
        if (!*account) keep_account(h);
        char *chosen = property(h, L"ACCOUNT");
        set_property(h, L"GrantState", chosen);
        wipe_text(chosen);
    }
    wipe_text(token);
    wipe_text(server);
    wipe_text(channels);
    wipe_text(account);
    return rc;
}

/* ---- as SYSTEM ---- */

/* Where the service looks: what the configuration says. One that cannot be read is the service's to complain about. */
static char *state_dir(void) {
    struct settings s = {0};
    if (settings_load(NULL, &s, NULL)) return mem_strdup(service_default_state());
    char *dir = mem_strdup(s.state);
    settings_free(&s);
    return dir;
}

static char *enroll_path(void) {
    char *dir = state_dir(), *path = file_join(dir, SETUP_FILE);
    mem_free(dir);
    return path;
}

/* The words into both files. agent.toml is the admin's from the first day on: one that is there stays. */
static enum status write_files(MSIHANDLE h, const struct setup_words *w, struct error *err) {
    struct buf enroll = {0}, config = {0};
    const char *config_path = service_default_config();
    enum status st = setup_compose(w, &enroll, &config, err);
    if (!st) st = keystore_dir(service_default_state(), err);
    if (!st && config.len && file_exists(config_path))
        say(h, INSTALLMESSAGE_INFO, "there is an agent.toml already: SERVER and CHANNELS were left out of it");
    else if (!st && config.len)
        st = file_replace(config_path, buf_slice(&config), 0600, err);
    if (!st && enroll.len) {
        char *dir = state_dir(), *path = file_join(dir, SETUP_FILE);
        st = keystore_dir(dir, err);
        if (!st) st = file_replace(path, buf_slice(&enroll), 0600, err);
        mem_free(path);
        mem_free(dir);
    }
    if (enroll.p) mem_wipe(enroll.p, enroll.cap);
    buf_free(&enroll);
    buf_free(&config);
    return st;
}

ACTION WriteEnrolment(MSIHANDLE h) {
    char *data = property(h, L"CustomActionData");
    char *server = strchr(data, WORD_DIVIDER), *channels = server ? strchr(server + 1, WORD_DIVIDER) : NULL;
    struct error err = {0};
    UINT rc = ERROR_SUCCESS;
    if (channels) {
        struct setup_words w = {.token = data, .server = server + 1, .channels = channels + 1};
        size_t len = strlen(data);
        *server = *channels = 0;
        if (write_files(h, &w, &err)) rc = refuse(h, err.msg);
        mem_wipe(data, len);
    }
    wipe_text(data);
    return rc;
}

/* The installation failed: the token must not lie there for ever. */
ACTION UndoEnrolment(MSIHANDLE h) {
    return RemoveToken(h);
}

/* A service under an account with few rights has to read and write its state. */
ACTION GrantState(MSIHANDLE h) {
    static const char *const are_in[] = {"", "LocalSystem", "NT AUTHORITY\\SYSTEM", ".\\LocalSystem"};
    char *account = property(h, L"CustomActionData"), *dir = state_dir();
    struct error err = {0};
    bool needed = true;
    for (size_t i = 0; i < sizeof are_in / sizeof *are_in && needed; i++)
        needed = !slice_eq_nocase(slice_str(account), slice_str(are_in[i]));
    UINT rc = needed && keystore_grant(dir, account, &err) ? refuse(h, err.msg) : ERROR_SUCCESS;
    mem_free(dir);
    wipe_text(account);
    return rc;
}

/* A service that has stopped is still a process for a moment: its file could not be removed. No one writes to a program that runs. */
ACTION AwaitEnd(MSIHANDLE h) {
    char *path = property(h, L"CustomActionData");
    wchar_t *wide = wide_path(path);
    for (int i = 0; i < END_TRIES; i++) {
        HANDLE f = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                               OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
        DWORD e = GetLastError();
        if (f != INVALID_HANDLE_VALUE) CloseHandle(f);
        if (f != INVALID_HANDLE_VALUE || (e != ERROR_SHARING_VIOLATION && e != ERROR_ACCESS_DENIED)) break;
        Sleep(END_PAUSE_MS);
    }
    mem_free(wide);
    wipe_text(path);
    return ERROR_SUCCESS;
}

ACTION RemoveToken(MSIHANDLE h) {
    char *path = enroll_path();
    struct error err = {0};
    if (file_remove(path, &err)) say(h, INSTALLMESSAGE_INFO, err.msg);
    mem_free(path);
    return ERROR_SUCCESS;
}

/* Links are removed, never followed. What cannot be removed stays, and is named by the caller. */
static bool remove_tree(const wchar_t *dir, unsigned depth) {
    WIN32_FIND_DATAW e;
    size_t len = wcslen(dir);
    wchar_t *path = mem_alloc(mem_mul(len + MAX_PATH + 2, sizeof *path));
    wcscpy(path, dir);
    wcscpy(path + len, L"\\*");
    HANDLE find = depth < MAX_DEPTH ? FindFirstFileW(path, &e) : INVALID_HANDLE_VALUE;
    bool all = depth < MAX_DEPTH;
    for (BOOL more = find != INVALID_HANDLE_VALUE; more; more = FindNextFileW(find, &e)) {
        if (wcscmp(e.cFileName, L".") == 0 || wcscmp(e.cFileName, L"..") == 0) continue;
        wcscpy(path + len + 1, e.cFileName);
        bool folder = e.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY;
        bool link = e.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT;
        bool gone = folder ? (link ? RemoveDirectoryW(path) : remove_tree(path, depth + 1)) : DeleteFileW(path);
        all = all && gone;
    }
    if (find != INVALID_HANDLE_VALUE) FindClose(find);
    mem_free(path);
    return RemoveDirectoryW(dir) && all;
}

/* The folder under ProgramData alone: one that an admin chose may hold more than ours. */
ACTION RemoveState(MSIHANDLE h) {
    const char *dir = service_default_state();
    char text[512];
    wchar_t *wide = wide_path(dir);
    DWORD is = GetFileAttributesW(wide);
    if (is != INVALID_FILE_ATTRIBUTES && !(is & FILE_ATTRIBUTE_REPARSE_POINT) && !remove_tree(wide, 0)) {
        snprintf(text, sizeof text, "%s could not be removed whole", dir);
        say(h, INSTALLMESSAGE_INFO, text);
    }
    mem_free(wide);
    return ERROR_SUCCESS;
}
