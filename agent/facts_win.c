/* Facts about a Windows host. What cannot be found out stays empty: nothing here makes the agent fail. */
#include "facts.h"
#include "file.h"
#include "mem.h"
#include "tls.h"
#include "wide_win.h"

#include <windows.h>

#include <psapi.h>
#include <stdio.h>
#include <stdlib.h>

#define CURRENT L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
#define CRYPTOGRAPHY L"SOFTWARE\\Microsoft\\Cryptography"
#define PREFETCH L"SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management\\PrefetchParameters"
#define PLACE_LEN 8
#define FIRST_BUILD_OF_11 22000u

/* A text of the 64-bit registry, in new memory; NULL when it is not there. */
static char *registry_text(const wchar_t *key, const wchar_t *name) {
    wchar_t text[256];
    DWORD len = sizeof text;
    if (RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_SZ | RRF_SUBKEY_WOW6464KEY, NULL, text, &len))
        return NULL;
    return wide_text(text);
}

static bool registry_number(const wchar_t *key, const wchar_t *name, DWORD *ret) {
    DWORD len = sizeof *ret;
    return RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_DWORD | RRF_SUBKEY_WOW6464KEY, NULL, ret, &len) == 0;
}

/* "Windows 11 Pro 23H2 10.0.22631.3155". The product name in the registry still says 10 on an 11. */
static void system_name(char *out, size_t cap) {
    char *product = registry_text(CURRENT, L"ProductName"), *version = registry_text(CURRENT, L"DisplayVersion"),
         *build = registry_text(CURRENT, L"CurrentBuildNumber");
    DWORD major = 10, minor = 0, revision = 0;
    registry_number(CURRENT, L"CurrentMajorVersionNumber", &major);
    registry_number(CURRENT, L"CurrentMinorVersionNumber", &minor);
    registry_number(CURRENT, L"UBR", &revision);
    if (product && build && strncmp(product, "Windows 10", 10) == 0 && strtoul(build, NULL, 10) >= FIRST_BUILD_OF_11)
        product[9] = '1';
    if (product && strncmp(product, "Microsoft ", 10) == 0) memmove(product, product + 10, strlen(product + 10) + 1);
    snprintf(out, cap, "%.80s%s%.20s %lu.%lu.%.20s.%lu", product ? product : "Windows", version ? " " : "",
             version ? version : "", (unsigned long)major, (unsigned long)minor, build ? build : "0",
             (unsigned long)revision);
    mem_free(product);
    mem_free(version);
    mem_free(build);
}

static void computer_name(COMPUTER_NAME_FORMAT kind, char *out, size_t cap) {
    wchar_t text[256];
    DWORD len = 256;
    *out = 0;
    if (!GetComputerNameExW(kind, text, &len)) return;
    char *s = wide_text(text);
    if (strlen(s) < cap) snprintf(out, cap, "%s", s);
    mem_free(s);
}

/* The kernel counts its starts there. Without that number the time of the start, to ten seconds (it moves with the clock). */
static void boot(struct buf *out) {
    DWORD n = 0;
    FILETIME now;
    if (registry_number(PREFETCH, L"BootId", &n)) {
        buf_printf(out, "boot-%lu", (unsigned long)n);
        return;
    }
    GetSystemTimeAsFileTime(&now);
    uint64_t ft = (uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime;
    buf_printf(out, "start-%llu", (unsigned long long)((ft / 10000 - GetTickCount64() + 5000) / 10000));
}

/* Two processes that use one state directory say the same place; a copy of the directory is another place. */
static void make_instance(const char *state_dir, struct facts *f) {
    BY_HANDLE_FILE_INFORMATION info;
    uint8_t digest[32];
    struct buf b = {0};
    tls_random(f->instance, sizeof f->instance);
    wchar_t *w = wide_path(state_dir);
    HANDLE h = CreateFileW(w, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    mem_free(w);
    if (h == INVALID_HANDLE_VALUE) return;
    BOOL known = GetFileInformationByHandle(h, &info);
    CloseHandle(h);
    if (!known) return;
    buf_printf(&b, "%zu:", f->machine_id.len);
    buf_slice_append(&b, buf_slice(&f->machine_id));
    buf_printf(&b, "%zu:", f->boot_id.len);
    buf_slice_append(&b, buf_slice(&f->boot_id));
    buf_printf(&b, "%lu:%lu:%lu", (unsigned long)info.dwVolumeSerialNumber, (unsigned long)info.nFileIndexHigh,
               (unsigned long)info.nFileIndexLow);
    tls_sha256(buf_slice(&b), digest);
    memcpy(f->instance, digest, PLACE_LEN);
    buf_free(&b);
}

void facts_read(const char *state_dir, struct facts *f) {
    *f = (struct facts){0};
    system_name(f->os, sizeof f->os);
    computer_name(ComputerNamePhysicalDnsFullyQualified, f->hostname, sizeof f->hostname);
    computer_name(ComputerNamePhysicalDnsDomain, f->domain, sizeof f->domain);
    char *guid = registry_text(CRYPTOGRAPHY, L"MachineGuid");
    if (guid) buf_str(&f->machine_id, guid);
    mem_free(guid);
    boot(&f->boot_id);
    TIME_ZONE_INFORMATION zone;
    DWORD season = GetTimeZoneInformation(&zone);
    if (season != TIME_ZONE_ID_INVALID)
        f->utc_offset_minutes = -(int)(zone.Bias + (season == TIME_ZONE_ID_DAYLIGHT   ? zone.DaylightBias
                                                    : season == TIME_ZONE_ID_STANDARD ? zone.StandardBias
                                                                                      : 0));
    make_instance(state_dir, f);
}

void facts_free(struct facts *f) {
    buf_free(&f->machine_id);
    buf_free(&f->boot_id);
}

void facts_usage(uint64_t *ret_cpu_ms, uint64_t *ret_rss_bytes) {
    FILETIME made, ended, kernel, user;
    PROCESS_MEMORY_COUNTERS m = {.cb = sizeof m};
    *ret_cpu_ms = *ret_rss_bytes = 0;
    if (GetProcessTimes(GetCurrentProcess(), &made, &ended, &kernel, &user))
        *ret_cpu_ms = (((uint64_t)kernel.dwHighDateTime << 32 | kernel.dwLowDateTime) +
                       ((uint64_t)user.dwHighDateTime << 32 | user.dwLowDateTime)) /
                      10000;
    if (K32GetProcessMemoryInfo(GetCurrentProcess(), &m, sizeof m)) *ret_rss_bytes = m.WorkingSetSize;
}

/* Escape sequences are for consoles that know them. */
bool facts_is_terminal(void) {
    HANDLE h = GetStdHandle(STD_ERROR_HANDLE);
    DWORD mode = 0;
    return GetConsoleMode(h, &mode) && SetConsoleMode(h, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}
