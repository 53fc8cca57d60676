/* Finds Sysmon however it was renamed: its file system filter has an altitude of its own, which Microsoft gave to it alone,
 * and the registry names it below the driver's service. No administrator is needed for that. Blocking, quick. */
#include "sysmon_win.h"
#include "mem.h"
#include "wide_win.h"

#include <windows.h>

#include <stdio.h>
#include <string.h>

#define SERVICES L"SYSTEM\\CurrentControlSet\\Services"
#define ALTITUDE L"385201"
#define TEXT_MAX_CHARS 520
#define KEY_MAX_CHARS 256
#define FIXED_MAGIC 0xfeef04bdu /* of VS_FIXEDFILEINFO */

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
    swprintf(path, KEY_MAX_CHARS + 16, L"%ls\\Instances", service);
    if (RegOpenKeyExW(services, path, 0, KEY_READ, &instances)) return false;
    for (DWORD i = 0; !found; i++) {
        DWORD n = KEY_MAX_CHARS;
        if (RegEnumKeyExW(instances, i, name, &n, NULL, NULL, NULL, NULL)) break;
        found = text_value(instances, name, L"Altitude", altitude) && wcscmp(altitude, ALTITUDE) == 0;
    }
    RegCloseKey(instances);
    return found;
}

/* The driver's service name. */
static bool find_driver(HKEY services, wchar_t name[KEY_MAX_CHARS]) {
    for (DWORD i = 0;; i++) {
        DWORD n = KEY_MAX_CHARS;
        LSTATUS rc = RegEnumKeyExW(services, i, name, &n, NULL, NULL, NULL, NULL);
        if (rc == ERROR_MORE_DATA) continue;
        if (rc) return false;
        if (has_altitude(services, name)) return true;
    }
}

/* The service that uses the driver: the one whose Parameters name it, or the one beside a driver of the usual name. */
static bool find_service(HKEY services, const wchar_t *driver, wchar_t name[KEY_MAX_CHARS]) {
    wchar_t path[KEY_MAX_CHARS + 16], text[TEXT_MAX_CHARS];
    for (DWORD i = 0;; i++) {
        DWORD n = KEY_MAX_CHARS;
        LSTATUS rc = RegEnumKeyExW(services, i, name, &n, NULL, NULL, NULL, NULL);
        if (rc == ERROR_MORE_DATA) continue;
        if (rc) break;
        swprintf(path, KEY_MAX_CHARS + 16, L"%ls\\Parameters", name);
        if (text_value(services, path, L"DriverName", text) && _wcsicmp(text, driver) == 0) return true;
    }
    static const wchar_t *const usual[] = {L"Sysmon64", L"Sysmon"};
    for (size_t i = 0; i < 2; i++) {
        wcscpy(name, usual[i]);
        if (text_value(services, name, L"ImagePath", text)) return true;
    }
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
        got = swprintf(out, MAX_PATH, L"%ls\\%ls", root, at + 12);
    else if (wcschr(at, L':') || *at == L'\\')
        got = swprintf(out, MAX_PATH, L"%ls", at);
    else
        got = swprintf(out, MAX_PATH, L"%ls\\%ls", root, at);
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

static void running_state(const wchar_t *service, char *out, size_t cap) {
    SERVICE_STATUS s = {.dwCurrentState = 0};
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE h = manager ? OpenServiceW(manager, service, SERVICE_QUERY_STATUS) : NULL;
    bool known = h && QueryServiceStatus(h, &s);
    snprintf(out, cap, "%s", !known ? "unknown" : s.dwCurrentState == SERVICE_RUNNING ? "running" : "stopped");
    if (h) CloseServiceHandle(h);
    if (manager) CloseServiceHandle(manager);
}

bool sysmon_find(struct sysmon_found *ret) {
    wchar_t service[KEY_MAX_CHARS], driver[KEY_MAX_CHARS], image[TEXT_MAX_CHARS], path[MAX_PATH];
    struct sysmon_found f = {0};
    VS_FIXEDFILEINFO v;
    HKEY services = NULL;
    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, SERVICES, 0, KEY_READ, &services)) return false;
    bool found = find_driver(services, driver);
    bool has_service = found && find_service(services, driver, service);
    if (found) {
        /* The service's file carries the version that people know; the driver's is the same release. */
        const wchar_t *names[] = {has_service ? service : driver, driver};
        for (size_t i = 0; i < 2 && !*f.version; i++) {
            if (!text_value(services, names[i], L"ImagePath", image)) continue;
            image_path(image, path);
            if (!*path || !file_version(path, &v)) continue;
            snprintf(f.version, sizeof f.version, "%u.%u", HIWORD(v.dwFileVersionMS), LOWORD(v.dwFileVersionMS));
        }
        char *name = wide_text(has_service ? service : driver);
        snprintf(f.service, sizeof f.service, "%s", name);
        mem_free(name);
        name = wide_text(driver);
        snprintf(f.driver, sizeof f.driver, "%s", name);
        mem_free(name);
        running_state(has_service ? service : driver, f.state, sizeof f.state);
    }
    RegCloseKey(services);
    if (found) *ret = f;
    return found;
}
