/* UTF-16, paths and error numbers of Windows. No state. */
#include "wide_win.h"
#include "mem.h"
#include "text.h"

#include <windows.h>

#include <shellapi.h>
#include <stdio.h>

wchar_t *wide_of(const char *utf8) {
    struct slice s = slice_str(utf8);
    wchar_t *out = mem_alloc(mem_mul(s.len + 1, sizeof *out)); /* a character has no more units than bytes */
    size_t n = 0;
    while (s.len) {
        uint32_t cp = 0xfffd;
        size_t used = text_next(s, &cp);
        if (!used) {
            used = 1;
            cp = 0xfffd;
        }
        s = slice_from(s, used);
        if (cp >= 0x10000) {
            out[n++] = (wchar_t)(0xd800 + ((cp - 0x10000) >> 10));
            out[n++] = (wchar_t)(0xdc00 + ((cp - 0x10000) & 0x3ff));
        } else {
            out[n++] = (wchar_t)cp;
        }
    }
    out[n] = 0;
    return out;
}

char *wide_text(const wchar_t *wide) {
    struct buf b = {0};
    text_from_utf16(&b, slice_of(wide, wcslen(wide) * sizeof *wide), false);
    char *s = mem_strndup(b.p ? b.p : (const uint8_t *)"", b.len);
    buf_free(&b);
    return s;
}

wchar_t *wide_path(const char *utf8) {
    wchar_t *plain = wide_of(utf8);
    for (wchar_t *c = plain; *c; c++) {
        if (*c == L'/') *c = L'\\';
    }
    if (wcsncmp(plain, L"\\\\?\\", 4) == 0 || wcsncmp(plain, L"\\\\.\\", 4) == 0) return plain;
    DWORD cap = GetFullPathNameW(plain, 0, NULL, NULL);
    if (!cap) return plain; /* the call that gets it fails with words of its own */
    wchar_t *out = mem_alloc(mem_mul((size_t)cap + 9, sizeof *out)), *full = out + 8;
    DWORD n = GetFullPathNameW(plain, cap + 1, full, NULL);
    if (!n || n > cap) {
        mem_free(out);
        return plain;
    }
    mem_free(plain);
    /* \\server\share becomes \\?\UNC\server\share; a device name stays as it is */
    const wchar_t *prefix = L"\\\\?\\";
    if (full[0] == L'\\' && full[1] == L'\\') {
        prefix = full[2] == L'.' || full[2] == L'?' ? L"" : L"\\\\?\\UNC\\";
        if (*prefix) full += 2;
    }
    size_t len = wcslen(prefix), m = wcslen(full);
    wmemmove(out + len, full, m + 1);
    wmemcpy(out, prefix, len);
    return out;
}

enum status wide_status(unsigned long error_number) {
    switch (error_number) {
    case ERROR_SUCCESS: return ST_OK;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_BAD_NETPATH:
    case ERROR_NOT_FOUND: return ST_NOTFOUND;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS: return ST_EXISTS;
    case ERROR_ACCESS_DENIED:
    case ERROR_WRITE_PROTECT:
    case ERROR_PRIVILEGE_NOT_HELD: return ST_DENIED;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY: return ST_NOMEM;
    case ERROR_INVALID_NAME:
    case ERROR_INVALID_PARAMETER: return ST_INVALID;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION: return ST_BUSY;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL: return ST_FULL;
    case ERROR_TIMEOUT: return ST_TIMEOUT;
    default: return ST_IO;
    }
}

enum status wide_fail(struct error *err, unsigned long error_number, const char *doing, const char *what) {
    enum status st = wide_status(error_number);
    if (st == ST_OK) st = ST_IO;
    if (!err) return st;
    wchar_t words[256];
    DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                             NULL, error_number, 0, words, 256, NULL);
    while (n && (words[n - 1] <= L' ' || words[n - 1] == L'.')) n--;
    words[n] = 0;
    char *text = wide_text(n ? words : L"error");
    error_set(err, st, "%s %s: %s (%lu)", doing, what, text, error_number);
    mem_free(text);
    return st;
}

void wide_args(int *ret_argc, char ***ret_argv) {
    int n = 0;
    wchar_t **words = CommandLineToArgvW(GetCommandLineW(), &n);
    if (!words) return; /* what the C library made stays */
    char **argv = mem_zalloc(mem_mul((size_t)n + 1, sizeof *argv));
    for (int i = 0; i < n; i++) argv[i] = wide_text(words[i]);
    LocalFree(words);
    *ret_argc = n;
    *ret_argv = argv;
}
