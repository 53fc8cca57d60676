/* Finds Sysmon however it was renamed: its file system filter has an altitude of its own, which Microsoft gave to it alone,
 * and the registry names it below the driver's service. An administrator may change the altitude: then the driver is the one
 * with compiled rules, or the one that a service names as Sysmon's does. No administrator is needed to read all that. */
#include "sysmon.h"
#include "mem.h"
#include "tls.h"
#include "wide_win.h"

#include <windows.h>

#include <stdio.h>
#include <string.h>

#define SERVICES L"SYSTEM\\CurrentControlSet\\Services"
#define ALTITUDE L"385201"
#define TEXT_MAX_CHARS 520
#define KEY_MAX_CHARS 256
#define FIXED_MAGIC 0xfeef04bdu /* of VS_FIXEDFILEINFO */
#define RULES_VALUE_MAX (16u * 1024 * 1024)
#define INBOX_FIRST_BUILD 20000u /* the version of the one that is part of Windows is that of Windows */

/* A text value of a key; "" when there is none. Unexpanded. */
static bool text_value(HKEY root, const wchar_t *key, const wchar_t *name, wchar_t out[TEXT_MAX_CHARS]) {
    DWORD len = TEXT_MAX_CHARS * sizeof *out;
    *out = 0;
    return RegGetValueW(root, key, name, RRF_RT_REG_SZ | RRF_RT_REG_EXPAND_SZ | RRF_NOEXPAND, NULL, out, &len) == 0;
}

static bool has_altitude(HKEY services, const wchar_t *service) {
    wchar_t path[KEY_MAX_CHARS + 16], name[KEY_MAX_CHARS], altitude[TEXT_MAX_CHARS];
    HKEY instances = NULL;
    bool found = false;
    _snwprintf(path, KEY_MAX_CHARS + 16, L"%ls\\Instances", service);
    if (RegOpenKeyExW(services, path, 0, KEY_READ, &instances)) return false;
    for (DWORD i = 0; !found; i++) {
        DWORD n = KEY_MAX_CHARS;
        if (RegEnumKeyExW(instances, i, name, &n, NULL, NULL, NULL, NULL)) break;
        found = text_value(instances, name, L"Altitude", altitude) && wcscmp(altitude, ALTITUDE) == 0;
    }
    RegCloseKey(instances);
    return found;
}

static bool has_value(HKEY services, const wchar_t *service, const wchar_t *name, DWORD type) {
    wchar_t path[KEY_MAX_CHARS + 16];
    _snwprintf(path, KEY_MAX_CHARS + 16, L"%ls\\Parameters", service);
    return RegGetValueW(services, path, name, type, NULL, NULL, NULL) == 0;
}

static bool has_rules(HKEY services, const wchar_t *service) {
    return has_value(services, service, L"Rules", RRF_RT_REG_BINARY) &&
           has_value(services, service, L"HashingAlgorithm", RRF_RT_REG_DWORD);
}

static bool names_driver(HKEY services, const wchar_t *service) {
    return has_value(services, service, L"DriverName", RRF_RT_REG_SZ);
}

static bool is_service(HKEY services, const wchar_t *name) {
    wchar_t text[TEXT_MAX_CHARS];
    return text_value(services, name, L"ImagePath", text);
}

/* The first service of which `is` holds. */
static bool find(HKEY services, bool (*is)(HKEY services, const wchar_t *service), wchar_t name[KEY_MAX_CHARS]) {
    for (DWORD i = 0;; i++) {
        DWORD n = KEY_MAX_CHARS;
        LSTATUS rc = RegEnumKeyExW(services, i, name, &n, NULL, NULL, NULL, NULL);
        if (rc == ERROR_MORE_DATA) continue;
        if (rc) break;
        if (is(services, name)) return true;
    }
    *name = 0;
    return false;
}

/* The driver that a service names in its Parameters. */
static bool driver_of(HKEY services, const wchar_t *service, wchar_t driver[TEXT_MAX_CHARS]) {
    wchar_t path[KEY_MAX_CHARS + 16];
    _snwprintf(path, KEY_MAX_CHARS + 16, L"%ls\\Parameters", service);
    return text_value(services, path, L"DriverName", driver) && *driver;
}

static bool find_driver(HKEY services, wchar_t name[KEY_MAX_CHARS]) {
    wchar_t service[KEY_MAX_CHARS], driver[TEXT_MAX_CHARS];
    if (find(services, has_altitude, name) || find(services, has_rules, name)) return true;
    if (find(services, names_driver, service) && driver_of(services, service, driver) &&
        wcslen(driver) < KEY_MAX_CHARS && is_service(services, driver)) {
        wcscpy(name, driver);
        return true;
    }
    wcscpy(name, L"SysmonDrv");
    if (is_service(services, name)) return true;
    *name = 0;
    return false;
}

/* The service that uses the driver: the one whose Parameters name it, or one of the usual names. */
static bool find_service(HKEY services, const wchar_t *driver, wchar_t name[KEY_MAX_CHARS]) {
    wchar_t text[TEXT_MAX_CHARS];
    for (DWORD i = 0;; i++) {
        DWORD n = KEY_MAX_CHARS;
        LSTATUS rc = RegEnumKeyExW(services, i, name, &n, NULL, NULL, NULL, NULL);
        if (rc == ERROR_MORE_DATA) continue;
        if (rc) break;
        if (driver_of(services, name, text) && _wcsicmp(text, driver) == 0) return true;
    }
    static const wchar_t *const usual[] = {L"Sysmon64", L"Sysmon64a", L"Sysmon"};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        wcscpy(name, usual[i]);
        if (is_service(services, name)) return true;
    }
    *name = 0;
    return false;
}

/* "C:\Windows\Sysmon64.exe" -service, \SystemRoot\x.sys, %SystemRoot%\x.exe, \??\C:\x.sys or SysmonDrv.sys as a path. */
static void image_path(const wchar_t *image, wchar_t out[MAX_PATH]) {
    wchar_t text[TEXT_MAX_CHARS], root[MAX_PATH];
    *out = 0;
    UINT n = GetWindowsDirectoryW(root, MAX_PATH);
    if (!n || n >= MAX_PATH) return;
    DWORD len = ExpandEnvironmentStringsW(image, text, TEXT_MAX_CHARS);
    if (!len || len > TEXT_MAX_CHARS) return;
    wchar_t *at = text, *end = NULL;
    if (*at == L'"') {
        end = wcschr(++at, L'"');
    } else {
        end = wcsstr(at, L".exe ");
        if (end) end += 4;
    }
    if (end) *end = 0;
    if (wcsncmp(at, L"\\??\\", 4) == 0) at += 4;
    int got;
    if (_wcsnicmp(at, L"\\SystemRoot\\", 12) == 0)
        got = _snwprintf(out, MAX_PATH, L"%ls\\%ls", root, at + 12);
    else if (wcschr(at, L':') || *at == L'\\')
        got = _snwprintf(out, MAX_PATH, L"%ls", at);
    else
        got = _snwprintf(out, MAX_PATH, L"%ls\\%ls", root, at);
    if (got < 0 || got >= MAX_PATH) *out = 0;
}

/* The version resource is found by its magic number: nothing of version.dll is needed for one structure. */
static bool file_version(const wchar_t *path, VS_FIXEDFILEINFO *ret) {
    HMODULE m = LoadLibraryExW(path, NULL, LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_AS_IMAGE_RESOURCE);
    bool found = false;
    if (!m) return false;
    HRSRC r = FindResourceW(m, MAKEINTRESOURCEW(VS_VERSION_INFO), (LPCWSTR)(uintptr_t)16 /* RT_VERSION */);
    HGLOBAL g = r ? LoadResource(m, r) : NULL;
    const uint8_t *p = g ? LockResource(g) : NULL;
    size_t len = r ? SizeofResource(m, r) : 0;
    for (size_t i = 0; p && i + sizeof *ret <= len && !found; i += 4) {
        memcpy(ret, p + i, sizeof *ret);
        found = ret->dwSignature == FIXED_MAGIC;
    }
    FreeLibrary(m);
    return found;
}

static void keep(char *out, size_t cap, const wchar_t *wide) {
    char *s = wide_text(wide);
    if (strlen(s) < cap) memcpy(out, s, strlen(s) + 1);
    mem_free(s);
}

static enum sysmon_state running_state(const wchar_t *service) {
    SERVICE_STATUS s = {.dwCurrentState = 0};
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE h = manager ? OpenServiceW(manager, service, SERVICE_QUERY_STATUS) : NULL;
    bool known = h && QueryServiceStatus(h, &s);
    if (h) CloseServiceHandle(h);
    if (manager) CloseServiceHandle(manager);
    return !known ? SYSMON_UNKNOWN : s.dwCurrentState == SERVICE_RUNNING ? SYSMON_RUNNING : SYSMON_STOPPED;
}

/* Of service and driver together; NULL: there is none of that. */
static enum sysmon_state state_of(const wchar_t *service, const wchar_t *driver) {
    enum sysmon_state s = service ? running_state(service) : SYSMON_STOPPED,
                      d = driver ? running_state(driver) : SYSMON_STOPPED;
    if (s != SYSMON_RUNNING) return s;
    return d == SYSMON_STOPPED ? SYSMON_BLIND : SYSMON_RUNNING;
}

/* Where the program is, of which version, and whether it came with Windows: that one lies in System32. */
static void look_at_program(HKEY services, const wchar_t *service, const wchar_t *driver, struct sysmon *s) {
    wchar_t image[TEXT_MAX_CHARS], path[MAX_PATH], system[MAX_PATH];
    const wchar_t *names[] = {service, driver}; /* the driver's version is that of the same release */
    VS_FIXEDFILEINFO v;
    for (size_t i = 0; i < 2; i++) {
        if (!names[i] || !text_value(services, names[i], L"ImagePath", image)) continue;
        image_path(image, path);
        if (!*path) continue;
        UINT n = GetSystemDirectoryW(system, MAX_PATH);
        bool ours = i == 0 && GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
        bool in_system = i == 0 && n && n < MAX_PATH && _wcsnicmp(path, system, n) == 0 && path[n] == L'\\';
        if (ours) keep(s->path, sizeof s->path, path);
        s->inbox |= ours && in_system;
        if (*s->version || !file_version(path, &v)) continue;
        unsigned major = HIWORD(v.dwFileVersionMS), minor = LOWORD(v.dwFileVersionMS),
                 build = HIWORD(v.dwFileVersionLS);
        bool windows = major == 10 && minor == 0 && build >= INBOX_FIRST_BUILD;
        s->inbox &= windows;
        if (windows)
            snprintf(s->version, sizeof s->version, "%u.%u.%u.%u", major, minor, build, LOWORD(v.dwFileVersionLS));
        else
            snprintf(s->version, sizeof s->version, "%u.%u", major, minor);
    }
    snprintf(s->schema, sizeof s->schema, "%s", sysmon_schema_of(s->version));
}

static void look_at_rules(HKEY services, const wchar_t *driver, struct sysmon *s) {
    wchar_t path[KEY_MAX_CHARS + 16], hash[TEXT_MAX_CHARS];
    DWORD len = 0;
    _snwprintf(path, KEY_MAX_CHARS + 16, L"%ls\\Parameters", driver);
    if (text_value(services, path, L"ConfigHash", hash)) keep(s->config_hash, sizeof s->config_hash, hash);
    for (int i = 0; i < 3; i++) { /* it may grow between the two calls */
        if (RegGetValueW(services, path, L"Rules", RRF_RT_REG_BINARY, NULL, NULL, &len) || len > RULES_VALUE_MAX)
            return;
        uint8_t *p = mem_alloc(len + 1u);
        LSTATUS rc = RegGetValueW(services, path, L"Rules", RRF_RT_REG_BINARY, NULL, p, &len);
        s->has_rules = rc == 0;
        if (s->has_rules) tls_sha256(slice_of(p, len), s->rules_digest);
        mem_free(p);
        if (rc != ERROR_MORE_DATA) return;
    }
}

/* Values of Parameters that change what events say, while the rules stay as they are. */
static void look_at_settings(HKEY services, const wchar_t *driver, struct sysmon *s) {
    static const wchar_t *const names[] = {L"HashingAlgorithm",   L"Options",           L"FieldSizes",
                                           L"CheckRevocation",    L"DnsLookup",         L"ArchiveDirectory",
                                           L"ProcessAccessNames", L"ProcessAccessMasks"};
    wchar_t path[KEY_MAX_CHARS + 16];
    struct buf all = {0};
    _snwprintf(path, KEY_MAX_CHARS + 16, L"%ls\\Parameters", driver);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint8_t value[4096];
        DWORD len = sizeof value, type = 0;
        LSTATUS rc = RegGetValueW(services, path, names[i], RRF_RT_ANY | RRF_NOEXPAND, &type, value, &len);
        buf_u32le(&all, (uint32_t)rc);
        if (rc) continue;
        buf_u32le(&all, type);
        buf_u32le(&all, len);
        buf_append(&all, value, len);
    }
    tls_sha256(buf_slice(&all), s->settings_digest);
    buf_free(&all);
}

/* Of the token as it is: of an administrator's that was not raised, the group is for denying only. */
static bool is_administrator(void) {
    SID_IDENTIFIER_AUTHORITY nt = SECURITY_NT_AUTHORITY;
    PSID group = NULL;
    BOOL member = FALSE;
    if (!AllocateAndInitializeSid(&nt, 2, SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS, 0, 0, 0, 0, 0, 0,
                                  &group))
        return false;
    if (!CheckTokenMembership(NULL, group, &member)) member = FALSE;
    FreeSid(group);
    return member;
}

void sysmon_prepare(const char *directory) {
    (void)directory;
}

void sysmon_ask(void) {}

void sysmon_look(struct sysmon *ret) {
    wchar_t service[KEY_MAX_CHARS], driver[KEY_MAX_CHARS];
    struct sysmon s = {.state = SYSMON_UNKNOWN};
    HKEY services = NULL;
    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, SERVICES, 0, KEY_READ, &services) == 0) {
        const wchar_t *d = find_driver(services, driver) ? driver : NULL;
        const wchar_t *p = find_service(services, driver, service) ? service : NULL;
        s.state = d || p ? state_of(p, d) : SYSMON_ABSENT;
        if (p) keep(s.service, sizeof s.service, p);
        if (d) keep(s.driver, sizeof s.driver, d);
        look_at_program(services, p, d, &s);
        if (d) look_at_rules(services, d, &s);
        if (d) look_at_settings(services, d, &s);
        if ((d || p) && !is_administrator())
            snprintf(s.cannot_apply, sizeof s.cannot_apply,
                     "the agent is no administrator here, and Sysmon takes rules from administrators alone");
        RegCloseKey(services);
    }
    *ret = s;
}
