/* A child process on Windows: CreateProcess with one pipe. The pipe is asked before it is read, since it cannot be waited
 * for. The child ends with us: it is in a job of its own that does. Used by one thread at a time. */
#include "child.h"
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
