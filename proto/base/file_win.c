/* Files on Windows, with the promises of file.h. Names are durable by MoveFileEx with write-through and by NTFS' own
 * journal: there is no syncing of directories. All handles share reading, writing and deleting, so that nobody's log is held
 * up. "0600" is an access list for SYSTEM, Administrators and the owner, which inherits nothing. Virus scanners hold new
 * files open for moments: what fails for that is tried again for a second. A struct file belongs to one thread at a time. */
#include "crash.h"
#include "file.h"
#include "mem.h"
#include "wide_win.h"

#include <windows.h>

#include <sddl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define PRIVATE_FILE L"D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;OW)"
#define PRIVATE_DIR L"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"
#define HELD_TRIES 20
#define HELD_PAUSE_MS 50
#define LOCK_AT 0x40000000u /* high half of the locked byte's place: beyond all content, so that the file can be read */
#define CHUNK (1u << 20)

struct file {
    HANDLE h;
    uint64_t len;
    enum status sync_failed; /* what could not be written may be lost: later syncs must not say "done" */
    char *path;
};

static enum status fail(struct error *err, const char *doing, const char *path) {
    return wide_fail(err, GetLastError(), doing, path);
}

static bool is_held(DWORD e) {
    return e == ERROR_SHARING_VIOLATION || e == ERROR_LOCK_VIOLATION || e == ERROR_ACCESS_DENIED;
}

/* The security of what is made with `mode`; NULL: the folder's. Freed with LocalFree. */
static void *private_security(unsigned mode, bool dir) {
    void *sd = NULL;
    if (mode & 077) return NULL;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(dir ? PRIVATE_DIR : PRIVATE_FILE, SDDL_REVISION_1, &sd,
                                                              NULL))
        abort(); /* a constant */
    return sd;
}

static HANDLE open_wide(const wchar_t *path, DWORD access, DWORD how, unsigned mode) {
    void *sd = how == OPEN_EXISTING ? NULL : private_security(mode, false);
    SECURITY_ATTRIBUTES sa = {.nLength = sizeof sa, .lpSecurityDescriptor = sd};
    HANDLE h = CreateFileW(path, access, SHARE_ALL, sd ? &sa : NULL, how, FILE_ATTRIBUTE_NORMAL, NULL);
    DWORD e = GetLastError();
    if (sd) LocalFree(sd);
    SetLastError(e);
    return h;
}

static HANDLE open_path(const char *path, DWORD access, DWORD how, unsigned mode) {
    wchar_t *w = wide_path(path);
    HANDLE h = open_wide(w, access, how, mode);
    DWORD e = GetLastError();
    mem_free(w);
    SetLastError(e);
    return h;
}

char *file_join(const char *dir, const char *name) {
    size_t n = strlen(dir), m = strlen(name);
    char *s = mem_alloc(n + m + 2);
    memcpy(s, dir, n);
    if (n && dir[n - 1] != '/' && dir[n - 1] != '\\') s[n++] = '\\';
    memcpy(s + n, name, m + 1);
    return s;
}

enum status file_sync_dir(const char *path, struct error *err) {
    if (file_exists(path)) return ST_OK;
    SetLastError(ERROR_PATH_NOT_FOUND);
    return fail(err, "cannot open directory", path);
}

/* ---- reading and writing at a place ---- */

static OVERLAPPED at_place(uint64_t at) {
    return (OVERLAPPED){.Offset = (DWORD)at, .OffsetHigh = (DWORD)(at >> 32)};
}

/* GetLastError of the first failure, or 0. */
static DWORD write_at(HANDLE h, struct slice bytes, uint64_t at) {
    while (bytes.len) {
        OVERLAPPED o = at_place(at);
        DWORD n = 0;
        if (!WriteFile(h, bytes.p, (DWORD)(bytes.len < CHUNK ? bytes.len : CHUNK), &n, &o)) return GetLastError();
        if (!n) return ERROR_DISK_FULL;
        bytes = slice_from(bytes, n);
        at += n;
    }
    return 0;
}

/* Pipes and consoles have no places: they are read on. */
static DWORD read_at(HANDLE h, uint64_t at, void *into, size_t want, DWORD *ret_got) {
    OVERLAPPED o = at_place(at);
    *ret_got = 0;
    if (ReadFile(h, into, (DWORD)(want < CHUNK ? want : CHUNK), ret_got, &o)) return 0;
    DWORD e = GetLastError();
    return e == ERROR_HANDLE_EOF || e == ERROR_BROKEN_PIPE ? 0 : e;
}

/* ---- whole files ---- */

enum status file_read(const char *path, size_t max_len, struct buf *out, struct error *err) {
    HANDLE h = open_path(path, GENERIC_READ, OPEN_EXISTING, 0);
    if (h == INVALID_HANDLE_VALUE) return fail(err, "cannot open", path);
    size_t start = out->len;
    LARGE_INTEGER size = {.QuadPart = 0};
    if (!GetFileSizeEx(h, &size) || size.QuadPart < 0) size.QuadPart = 0;
    enum status st = ST_OK;
    if ((uint64_t)size.QuadPart > max_len)
        st = error_set(err, ST_TOOBIG, "%s has %lld bytes, more than the limit of %zu", path, size.QuadPart, max_len);
    while (!st) {
        uint64_t have = out->len - start;
        size_t want = (uint64_t)size.QuadPart > have ? (size_t)((uint64_t)size.QuadPart - have) + 1 : 4096;
        st = buf_try_reserve(out, want, SIZE_MAX);
        if (st) {
            st = error_set(err, st, "no memory to read %s", path);
            break;
        }
        DWORD n = 0, e = read_at(h, have, out->p + out->len, out->cap - out->len, &n);
        if (e) st = wide_fail(err, e, "cannot read", path);
        if (e || !n) break;
        out->len += n;
        if (out->len - start > max_len)
            st = error_set(err, ST_TOOBIG, "%s has more than the limit of %zu bytes", path, max_len);
    }
    CloseHandle(h);
    if (st) out->len = start;
    return st;
}

/* MoveFileEx that waits for scanners and indexers to let go. */
static bool move_over(const wchar_t *from, const wchar_t *to) {
    for (int i = 0; i < HELD_TRIES; i++) {
        if (MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) return true;
        if (!is_held(GetLastError())) return false;
        if (i + 1 < HELD_TRIES) Sleep(HELD_PAUSE_MS);
    }
    return false;
}

enum status file_replace(const char *path, struct slice bytes, unsigned mode, struct error *err) {
    static atomic_uint counter;
    struct buf name = {0};
    buf_printf(&name, "%s.%lu-%u.tmp", path, (unsigned long)GetCurrentProcessId(), atomic_fetch_add(&counter, 1));
    wchar_t *from = wide_path(buf_cstr(&name)), *to = wide_path(path);
    enum status st = ST_OK;
    DeleteFileW(from); /* of an earlier process with our number */
    HANDLE h = open_wide(from, GENERIC_READ | GENERIC_WRITE, CREATE_NEW, mode);
    if (h == INVALID_HANDLE_VALUE) {
        st = fail(err, "cannot create", buf_cstr(&name));
        goto out;
    }
    DWORD failed = write_at(h, bytes, 0);
    if (!failed && !FlushFileBuffers(h)) failed = GetLastError();
    if (!CloseHandle(h) && !failed) failed = GetLastError();
    crash_point("file_replace");
    if (!failed && !move_over(from, to)) failed = GetLastError();
    if (failed) {
        st = wide_fail(err, failed, "cannot write", path);
        DeleteFileW(from);
    }
out:
    mem_free(from);
    mem_free(to);
    buf_free(&name);
    return st;
}

enum status file_remove(const char *path, struct error *err) {
    wchar_t *w = wide_path(path);
    enum status st = ST_OK;
    for (int i = 0; i < HELD_TRIES && !DeleteFileW(w); i++) {
        DWORD e = GetLastError();
        if (e == ERROR_FILE_NOT_FOUND || e == ERROR_PATH_NOT_FOUND) break;
        if (!is_held(e) || i + 1 == HELD_TRIES) {
            st = wide_fail(err, e, "cannot remove", path);
            break;
        }
        Sleep(HELD_PAUSE_MS);
    }
    mem_free(w);
    return st;
}

enum status file_rename(const char *from, const char *to, struct error *err) {
    wchar_t *a = wide_path(from), *b = wide_path(to);
    enum status st = move_over(a, b) ? ST_OK : fail(err, "cannot rename to", to);
    mem_free(a);
    mem_free(b);
    return st;
}

/* ---- directories ---- */

static enum status make_one_dir(const wchar_t *w, const char *path, unsigned mode, struct error *err) {
    DWORD is = GetFileAttributesW(w);
    if (is != INVALID_FILE_ATTRIBUTES) {
        if (is & FILE_ATTRIBUTE_DIRECTORY) return ST_OK;
        return error_set(err, ST_EXISTS, "%s is there and is not a directory", path);
    }
    void *sd = private_security(mode, true);
    SECURITY_ATTRIBUTES sa = {.nLength = sizeof sa, .lpSecurityDescriptor = sd};
    BOOL made = CreateDirectoryW(w, sd ? &sa : NULL);
    DWORD e = GetLastError();
    if (sd) LocalFree(sd);
    if (made || e == ERROR_ALREADY_EXISTS) return ST_OK;
    return wide_fail(err, e, "cannot create directory", path);
}

enum status file_make_dir(const char *path, unsigned mode, struct error *err) {
    if (!*path) return error_set(err, ST_INVALID, "the name of a directory is empty");
    wchar_t *w = wide_path(path);
    size_t n = wcslen(w);
    while (n > 1 && w[n - 1] == L'\\') w[--n] = 0;
    /* The deepest one that is there, then down from it. Volumes and shares cannot be made: "C:" is never looked at. */
    size_t at = n;
    while (GetFileAttributesW(w) == INVALID_FILE_ATTRIBUTES) {
        size_t up = at;
        while (up > 4 && w[up - 1] != L'\\') up--;
        if (up <= 5 || w[up - 2] == L':') break;
        at = up - 1;
        w[at] = 0;
    }
    enum status st = make_one_dir(w, path, mode, err);
    while (at < n && !st) {
        w[at] = L'\\';
        at += wcslen(w + at);
        st = make_one_dir(w, path, mode, err);
    }
    mem_free(w);
    return st;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum status file_list_dir(const char *path, enum status (*fn)(void *ctx, const char *name), void *ctx,
                          struct error *err) {
    char *pattern = file_join(path, "*");
    wchar_t *w = wide_path(pattern);
    mem_free(pattern);
    WIN32_FIND_DATAW e;
    HANDLE h = FindFirstFileW(w, &e);
    mem_free(w);
    if (h == INVALID_HANDLE_VALUE) return fail(err, "cannot list", path);
    char **names = NULL;
    size_t n = 0, cap = 0;
    do {
        if (wcscmp(e.cFileName, L".") == 0 || wcscmp(e.cFileName, L"..") == 0) continue;
        mem_grow((void **)&names, n, &cap, sizeof *names);
        names[n++] = wide_text(e.cFileName);
    } while (FindNextFileW(h, &e));
    enum status st = GetLastError() == ERROR_NO_MORE_FILES ? ST_OK : fail(err, "cannot list", path);
    FindClose(h);
    if (n) qsort(names, n, sizeof *names, by_bytes);
    for (size_t i = 0; i < n; i++) {
        if (!st) st = fn(ctx, names[i]);
        mem_free(names[i]);
    }
    mem_free(names);
    return st;
}

bool file_exists(const char *path) {
    wchar_t *w = wide_path(path);
    DWORD is = GetFileAttributesW(w);
    mem_free(w);
    return is != INVALID_FILE_ATTRIBUTES;
}

enum status file_size(const char *path, uint64_t *ret_len, struct error *err) {
    wchar_t *w = wide_path(path);
    WIN32_FILE_ATTRIBUTE_DATA d;
    enum status st = ST_OK;
    if (GetFileAttributesExW(w, GetFileExInfoStandard, &d))
        *ret_len = (uint64_t)d.nFileSizeHigh << 32 | d.nFileSizeLow;
    else
        st = fail(err, "cannot stat", path);
    mem_free(w);
    return st;
}

enum status file_space(const char *path, uint64_t *ret_free, uint64_t *ret_total, struct error *err) {
    wchar_t *w = wide_path(path);
    ULARGE_INTEGER available, total;
    enum status st = ST_OK;
    if (GetDiskFreeSpaceExW(w, &available, &total, NULL)) {
        *ret_free = available.QuadPart;
        *ret_total = total.QuadPart;
    } else {
        st = fail(err, "cannot ask for the free space of", path);
    }
    mem_free(w);
    return st;
}

/* ---- open files ---- */

enum status file_open(const char *path, enum file_mode mode, struct file **ret, struct error *err) {
    HANDLE h = mode == FILE_READ ? open_path(path, GENERIC_READ, OPEN_EXISTING, 0)
                                 : open_path(path, GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS, 0600);
    if (h == INVALID_HANDLE_VALUE) return fail(err, "cannot open", path);
    LARGE_INTEGER size = {.QuadPart = 0};
    if (GetFileType(h) == FILE_TYPE_DISK && !GetFileSizeEx(h, &size)) {
        enum status st = fail(err, "cannot stat", path);
        CloseHandle(h);
        return st;
    }
    FILE_IO_PRIORITY_HINT_INFO low = {.PriorityHint = IoPriorityHintLow};
    SetFileInformationByHandle(h, FileIoPriorityHintInfo, &low, sizeof low); /* best effort: others come first */
    struct file *f = mem_zalloc(sizeof *f);
    f->h = h;
    f->len = (uint64_t)size.QuadPart;
    f->path = mem_strdup(path);
    *ret = f;
    return ST_OK;
}

void file_close(struct file **f) {
    if (!*f) return;
    CloseHandle((*f)->h);
    mem_free((*f)->path);
    mem_free(*f);
    *f = NULL;
}

uint64_t file_length(const struct file *f) {
    return f->len;
}

enum status file_read_at(struct file *f, uint64_t at, void *into, size_t want, size_t *ret_got, struct error *err) {
    size_t got = 0;
    if (at > INT64_MAX - want) return error_set(err, ST_INVALID, "position out of range in %s", f->path);
    while (got < want) {
        DWORD n = 0, e = read_at(f->h, at + got, (uint8_t *)into + got, want - got, &n);
        if (e) return wide_fail(err, e, "cannot read", f->path);
        if (!n) break;
        got += n;
    }
    *ret_got = got;
    return ST_OK;
}

static bool cut(struct file *f, uint64_t len) {
    FILE_END_OF_FILE_INFO end = {.EndOfFile = {.QuadPart = (LONGLONG)len}};
    return SetFileInformationByHandle(f->h, FileEndOfFileInfo, &end, sizeof end);
}

enum status file_append(struct file *f, struct slice bytes, struct error *err) {
    DWORD failed = write_at(f->h, bytes, f->len);
    if (!failed) {
        f->len += bytes.len;
        return ST_OK;
    }
    enum status st = wide_fail(err, failed, "cannot append to", f->path);
    /* A cut that fails leaves bytes past f->len: the next append writes over them. */
    if (!cut(f, f->len)) st = error_prefix(err, st, "and its end could not be cut back");
    return st;
}

enum status file_truncate(struct file *f, uint64_t len, struct error *err) {
    if (!cut(f, len)) return fail(err, "cannot cut", f->path);
    f->len = len;
    return ST_OK;
}

enum status file_sync(struct file *f, struct error *err) {
    if (f->sync_failed) return error_set(err, f->sync_failed, "%s could not be synced before: open it anew", f->path);
    if (FlushFileBuffers(f->h)) return ST_OK;
    return f->sync_failed = fail(err, "cannot sync", f->path);
}

enum status file_lock(const char *path, struct file **ret, struct error *err) {
    struct file *f = NULL;
    enum status st = file_open(path, FILE_RDWR, &f, err);
    if (!f) return st;
    OVERLAPPED o = {.OffsetHigh = LOCK_AT};
    char pid[24] = "";
    if (!LockFileEx(f->h, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &o)) {
        DWORD e = GetLastError();
        size_t n = 0;
        if (file_read_at(f, 0, pid, sizeof pid - 1, &n, NULL)) n = 0;
        pid[strspn(pid, "0123456789")] = 0;
        if (e == ERROR_LOCK_VIOLATION || e == ERROR_IO_PENDING)
            st = error_set(err, ST_BUSY, "%s is locked by another process%s%s", path, *pid ? ", number " : "", pid);
        else
            st = wide_fail(err, e, "cannot lock", path);
        file_close(&f);
        return st;
    }
    int n = snprintf(pid, sizeof pid, "%lu\n", (unsigned long)GetCurrentProcessId()); /* for people */
    if (file_truncate(f, 0, NULL) == ST_OK && file_append(f, slice_of(pid, (size_t)n), NULL) != ST_OK) f->len = 0;
    *ret = f;
    return ST_OK;
}
