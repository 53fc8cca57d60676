/* Child processes on Windows: CreateProcess with one pipe. The pipe is asked before it is read, since it cannot be waited
 * for. A child that is read from ends with us: it is in a job of its own that does; one that is run to its end does not.
 * Used by one thread at a time. */
#include "child.h"
#include "clock.h"
#include "mem.h"
#include "wide_win.h"

#include <windows.h>

#define LOOK_EVERY_MS 10u

struct child {
    HANDLE process, out, job;
};

/* As CommandLineToArgvW reads it: quotes around each word, backslashes before a quote doubled. */
static void add_word(struct buf *line, const char *word) {
    if (line->len) buf_byte(line, ' ');
    buf_byte(line, '"');
    size_t slashes = 0;
    for (; *word; word++) {
        if (*word == '\\') {
            slashes++;
            continue;
        }
        if (*word == '"') slashes = slashes * 2 + 1;
        for (; slashes; slashes--) buf_byte(line, '\\');
        buf_byte(line, (uint8_t)*word);
    }
    for (slashes *= 2; slashes; slashes--) buf_byte(line, '\\');
    buf_byte(line, '"');
}

enum status child_start(const char *const *argv, struct child **ret, struct error *err) {
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE from = NULL, to = NULL;
    if (!CreatePipe(&from, &to, &inherited, 0)) return wide_fail(err, GetLastError(), "cannot make", "a pipe");
    SetHandleInformation(from, HANDLE_FLAG_INHERIT, 0);
    HANDLE none =
        CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, OPEN_EXISTING, 0, NULL);
    struct buf line = {0};
    for (size_t i = 0; argv[i]; i++) add_word(&line, argv[i]);
    wchar_t *w = wide_of(buf_cstr(&line));
    STARTUPINFOW si = {.cb = sizeof si,
                       .dwFlags = STARTF_USESTDHANDLES,
                       .hStdInput = none,
                       .hStdOutput = to,
                       .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
    PROCESS_INFORMATION pi = {0};
    BOOL ok = CreateProcessW(NULL, w, NULL, NULL, TRUE, CREATE_NO_WINDOW | CREATE_SUSPENDED, NULL, NULL, &si, &pi);
    DWORD e = GetLastError();
    mem_free(w);
    buf_free(&line);
    CloseHandle(to);
    if (none != INVALID_HANDLE_VALUE) CloseHandle(none);
    if (!ok) {
        CloseHandle(from);
        return wide_fail(err, e, "cannot run", argv[0]);
    }
    struct child *c = mem_zalloc(sizeof *c);
    c->process = pi.hProcess;
    c->out = from;
    c->job = CreateJobObjectW(NULL, NULL);
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limit = {
        .BasicLimitInformation = {.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE}};
    if (c->job) {
        SetInformationJobObject(c->job, JobObjectExtendedLimitInformation, &limit, sizeof limit);
        AssignProcessToJobObject(c->job, c->process);
    }
    ResumeThread(pi.hThread);
    CloseHandle(pi.hThread);
    *ret = c;
    return ST_OK;
}

enum status child_read(struct child *c, unsigned timeout_ms, size_t max, struct buf *into, struct error *err) {
    DWORD there = 0, n = 0;
    for (unsigned waited = 0;; waited += LOOK_EVERY_MS) {
        if (!PeekNamedPipe(c->out, NULL, 0, NULL, &there, NULL))
            return GetLastError() == ERROR_BROKEN_PIPE
                       ? ST_END
                       : wide_fail(err, GetLastError(), "cannot wait for", "a child's output");
        if (there) break;
        if (waited >= timeout_ms) return ST_AGAIN;
        Sleep(LOOK_EVERY_MS);
    }
    buf_reserve(into, max);
    if (!ReadFile(c->out, into->p + into->len, (DWORD)(max < there ? max : there), &n, NULL))
        return wide_fail(err, GetLastError(), "cannot read", "a child's output");
    into->len += n;
    return ST_OK;
}

void child_stop(struct child **cp) {
    struct child *c = *cp;
    if (!c) return;
    CloseHandle(c->out);
    if (WaitForSingleObject(c->process, 500) != WAIT_OBJECT_0) {
        TerminateProcess(c->process, 1);
        WaitForSingleObject(c->process, 5000);
    }
    CloseHandle(c->process);
    if (c->job) CloseHandle(c->job);
    mem_free(c);
    *cp = NULL;
}

/* ---- to the end ---- */

struct running {
    HANDLE process, out, job;
};

static enum status launch(const struct child_run *o, struct running *ret, struct error *err) {
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    struct running r = {0};
    HANDLE to = NULL;
    if (!CreatePipe(&r.out, &to, &inherited, 0)) return wide_fail(err, GetLastError(), "cannot make", "a pipe");
    SetHandleInformation(r.out, HANDLE_FLAG_INHERIT, 0);
    HANDLE none =
        CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, OPEN_EXISTING, 0, NULL);
    struct buf line = {0};
    for (size_t i = 0; o->argv[i]; i++) add_word(&line, o->argv[i]);
    wchar_t *words = wide_of(buf_cstr(&line)), *program = wide_of(o->argv[0]), *dir = wide_of(o->dir);
    STARTUPINFOW si = {
        .cb = sizeof si, .dwFlags = STARTF_USESTDHANDLES, .hStdInput = none, .hStdOutput = to, .hStdError = to};
    PROCESS_INFORMATION pi = {0};
    for (wchar_t *p = dir; *p; p++) {
        if (*p == L'/') *p = L'\\';
    }
    BOOL ok =
        CreateProcessW(program, words, NULL, NULL, TRUE, CREATE_NO_WINDOW | CREATE_SUSPENDED, NULL, dir, &si, &pi);
    DWORD e = GetLastError();
    mem_free(words);
    mem_free(program);
    mem_free(dir);
    buf_free(&line);
    CloseHandle(to);
    if (none != INVALID_HANDLE_VALUE) CloseHandle(none);
    if (!ok) {
        CloseHandle(r.out);
        return wide_fail(err, e, "cannot run", o->argv[0]);
    }
    r.process = pi.hProcess;
    r.job = CreateJobObjectW(NULL, NULL);
    if (r.job) AssignProcessToJobObject(r.job, r.process);
    ResumeThread(pi.hThread);
    CloseHandle(pi.hThread);
    *ret = r;
    return ST_OK;
}

static void drain(HANDLE from, size_t max, struct buf *into) {
    char chunk[4096];
    DWORD there = 0, n = 0;
    while (PeekNamedPipe(from, NULL, 0, NULL, &there, NULL) && there) {
        if (!ReadFile(from, chunk, sizeof chunk, &n, NULL) || !n) return;
        size_t room = into->len < max ? max - into->len : 0;
        buf_append(into, chunk, n < room ? n : room);
    }
}

enum status child_run(const struct child_run *o, struct child_end *ret, struct error *err) {
    struct child_end e = {0};
    struct running r = {0};
    enum status st = launch(o, &r, err);
    if (st) return st;
    uint64_t began = clock_mono_ms(), until = began + o->time_limit_ms;
    bool asked = false;
    for (;;) {
        bool ended = WaitForSingleObject(r.process, LOOK_EVERY_MS) == WAIT_OBJECT_0;
        uint64_t t = clock_mono_ms();
        drain(r.out, o->max_output, &e.output);
        if (ended) break;
        if (!asked && o->give_up && atomic_load(o->give_up)) {
            asked = true;
            if (t + CHILD_GRACE_MS < until) until = t + CHILD_GRACE_MS;
        }
        if (t < until) continue;
        e.gave_up = asked;
        e.timed_out = !asked;
        if (r.job) TerminateJobObject(r.job, 1);
        TerminateProcess(r.process, 1);
        WaitForSingleObject(r.process, 5000);
        drain(r.out, o->max_output, &e.output);
        break;
    }
    DWORD code = 0;
    if (GetExitCodeProcess(r.process, &code)) e.exit_code = (int)code;
    e.crashed = !e.timed_out && !e.gave_up && code >= 0xc0000000u; /* an exception that nobody took */
    e.ran_ms = (unsigned)(clock_mono_ms() - began);
    CloseHandle(r.out);
    CloseHandle(r.process);
    if (r.job) CloseHandle(r.job);
    *ret = e;
    return ST_OK;
}

enum status child_check_program(const char *path, struct error *err) {
    if (!((path[0] >= 'A' && path[0] <= 'Z') || (path[0] >= 'a' && path[0] <= 'z')) || path[1] != ':' ||
        (path[2] != '\\' && path[2] != '/'))
        return error_set(err, ST_DENIED, "%s is no absolute path on a drive", path);
    wchar_t *w = wide_path(path);
    DWORD is = GetFileAttributesW(w);
    enum status st = ST_OK;
    if (is == INVALID_FILE_ATTRIBUTES)
        st = wide_fail(err, GetLastError(), "cannot look at", path);
    else if (is & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT))
        st = error_set(err, ST_DENIED, "%s is not a plain file", path);
    mem_free(w);
    return st;
}

void child_own_path(char *out, size_t cap) {
    wchar_t w[1024];
    DWORD n = GetModuleFileNameW(NULL, w, 1024);
    out[0] = 0;
    if (!n || n >= 1024) return;
    char *path = wide_text(w);
    size_t len = strlen(path);
    if (len < cap) memcpy(out, path, len + 1);
    mem_free(path);
}
