/* The agent as a Windows service: one thread of the manager's does the work, its handler asks it to stop.
 *
 * The explicit argument `service` decides, never a failed dispatcher call: not every system refuses that in a console. What
 * only some systems know (delayed start, restart after a failed end, time before a shutdown) is set best effort.
 *
 * A service has no standard error: lines go to STATE\agent.log (two files of LOG_MAX), warnings and errors to the Application log
 * too, by the message table of the program (deploy/windows/messages.mc). */
#include "service.h"
#include "clock.h"
#include "keystore.h"
#include "log.h"
#include "mem.h"
#include "run.h"
#include "wide_win.h"

#include <windows.h>

#include <stdio.h>
#include <stdlib.h>

#define AREA "service"
#define NAME L"HaechiAgent"
#define TITLE L"Haechi Agent"
#define ABOUT L"Sends this computer's event logs to a Haechi collector."
#define SOURCE_KEY L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\Haechi Agent"
#define STOP_HINT_MS 5000
#define STOP_LIMIT_MS 4000
#define STOP_WAIT_MS 15000
#define LOG_MAX (4u << 20)
/* Of messages.mc: severity and number. */
#define MESSAGE_INFO 0x40000001u
#define MESSAGE_WARNING 0x80000002u
#define MESSAGE_ERROR 0xC0000003u

static struct {
    struct service_options o;
    int code;
    bool began;
    SERVICE_STATUS_HANDLE handle;
    SERVICE_STATUS status;
    HANDLE file, source;
    wchar_t log_path[MAX_PATH + 16], old_path[MAX_PATH + 20];
    uint64_t log_len;
    SRWLOCK lock; /* of file and log_len: lines come from several threads */
} service;        /* one process is one service */

void service_prepare(void) {
    _putenv("UV_THREADPOOL_SIZE=1"); /* names are looked up there, nothing else */
}

enum status service_verb_parse(const char *word, enum service_verb *ret) {
    static const struct {
        const char *word;
        enum service_verb verb;
    } verbs[] = {{"", VERB_RUN},
                 {"install", VERB_INSTALL},
                 {"uninstall", VERB_UNINSTALL},
                 {"start", VERB_START},
                 {"stop", VERB_STOP}};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(word, verbs[i].word) != 0) continue;
        *ret = verbs[i].verb;
        return ST_OK;
    }
    return ST_INVALID;
}

static enum status system_error(struct error *err, const char *what, DWORD code) {
    static const struct {
        DWORD code;
        enum status st;
        const char *text;
    } known[] = {{ERROR_ACCESS_DENIED, ST_DENIED, "access is denied: run this as an administrator"},
                 {ERROR_SERVICE_EXISTS, ST_EXISTS, "the service is installed already"},
                 {ERROR_SERVICE_MARKED_FOR_DELETE, ST_BUSY,
                  "the service is being removed: close the programs that look at it, or restart"},
                 {ERROR_SERVICE_DOES_NOT_EXIST, ST_NOTFOUND,
                  "the service is not installed: `haechi-agent service install`"},
                 {ERROR_SERVICE_ALREADY_RUNNING, ST_BUSY, "the service runs already"},
                 {ERROR_SERVICE_NOT_ACTIVE, ST_NOTFOUND, "the service does not run"},
                 {ERROR_FAILED_SERVICE_CONTROLLER_CONNECT, ST_INVALID,
                  "only the service manager starts it so; `haechi-agent run` is for trying things"},
                 {ERROR_INVALID_SERVICE_ACCOUNT, ST_INVALID, "there is no such account"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].code == code) return error_set(err, known[i].st, "%s: %s", what, known[i].text);
    }
    return error_set(err, ST_IO, "%s: Windows error %lu", what, (unsigned long)code);
}

/* ---- lines ---- */

static void open_log(void) {
    LARGE_INTEGER size = {0};
    service.file = CreateFileW(service.log_path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                               OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (service.file != INVALID_HANDLE_VALUE) GetFileSizeEx(service.file, &size);
    service.log_len = (uint64_t)size.QuadPart;
}

static void to_file(enum log_level level, const char *text) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char now[FILETIME_TEXT_MAX], line[2048];
    DWORD wrote = 0;
    filetime_format(clock_wall(), 3, now);
    int n = snprintf(line, sizeof line - 2, "%s %s %s", now, names[level], text);
    DWORD len = n < 0 ? 0 : n < (int)sizeof line - 2 ? (DWORD)n : (DWORD)sizeof line - 3;
    line[len++] = '\r';
    line[len++] = '\n';
    AcquireSRWLockExclusive(&service.lock);
    if (service.file != INVALID_HANDLE_VALUE && service.log_len > LOG_MAX) {
        CloseHandle(service.file);
        MoveFileExW(service.log_path, service.old_path, MOVEFILE_REPLACE_EXISTING);
        open_log();
    }
    if (service.file != INVALID_HANDLE_VALUE && WriteFile(service.file, line, len, &wrote, NULL))
        service.log_len += wrote;
    ReleaseSRWLockExclusive(&service.lock);
}

static void to_application_log(WORD type, DWORD message, const char *line) {
    if (!service.source) return;
    wchar_t *wide = wide_of(line);
    const wchar_t *texts[] = {wide};
    ReportEventW(service.source, type, 0, message, NULL, 1, 0, texts, NULL);
    mem_free(wide);
}

static void on_line(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    to_file(level, line);
    if (level == LOG_ERROR) to_application_log(EVENTLOG_ERROR_TYPE, MESSAGE_ERROR, line);
    if (level == LOG_WARN) to_application_log(EVENTLOG_WARNING_TYPE, MESSAGE_WARNING, line);
}

/* ---- what the service manager keeps of us ---- */

static void set_habits(SC_HANDLE s) {
    SERVICE_DESCRIPTIONW about = {.lpDescription = (wchar_t *)ABOUT};
    SC_ACTION actions[] = {{SC_ACTION_RESTART, 5000}, {SC_ACTION_RESTART, 30000}, {SC_ACTION_RESTART, 300000}};
    SERVICE_FAILURE_ACTIONSW failure = {.dwResetPeriod = 86400, .cActions = 3, .lpsaActions = actions};
    SERVICE_FAILURE_ACTIONS_FLAG also_failed_ends = {.fFailureActionsOnNonCrashFailures = TRUE};
    SERVICE_DELAYED_AUTO_START_INFO delayed = {.fDelayedAutostart = TRUE};
    if (!ChangeServiceConfig2W(s, SERVICE_CONFIG_DESCRIPTION, &about)) log_warn(AREA, "no description could be set");
    if (!ChangeServiceConfig2W(s, SERVICE_CONFIG_FAILURE_ACTIONS, &failure))
        log_warn(AREA, "restart on failure could not be set: a crash leaves the service stopped");
    ChangeServiceConfig2W(s, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &also_failed_ends);
    ChangeServiceConfig2W(s, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &delayed);
}

static bool has_habits(SC_HANDLE s) {
    union {
        SERVICE_FAILURE_ACTIONSW failure;
        uint8_t room[4096];
    } u = {.room = {0}};
    DWORD n = 0;
    return QueryServiceConfig2W(s, SERVICE_CONFIG_FAILURE_ACTIONS, u.room, sizeof u, &n) && u.failure.cActions;
}

static bool is_system(const wchar_t *account) {
    return !account || !*account || _wcsicmp(account, L"LocalSystem") == 0 ||
           _wcsicmp(account, L"NT AUTHORITY\\SYSTEM") == 0;
}

static void say_few_rights(const char *account) {
    log_warn(AREA,
             "the service's account is %s: it reads what Event Log Readers may read, and cannot push Sysmon's rules",
             account);
}

/* An installer knows nothing of restarts and late starts: the service sees to them at its first start. What an admin has set
 * since stays. */
static void look_at_self(void) {
    union {
        QUERY_SERVICE_CONFIGW c;
        uint8_t room[8192];
    } u;
    DWORD n = 0;
    SC_HANDLE m = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE s = m ? OpenServiceW(m, NAME, SERVICE_QUERY_CONFIG | SERVICE_CHANGE_CONFIG | SERVICE_START) : NULL;
    if (s && !has_habits(s)) set_habits(s);
    if (!s && m) s = OpenServiceW(m, NAME, SERVICE_QUERY_CONFIG); /* an account with few rights */
    if (s && QueryServiceConfigW(s, &u.c, sizeof u, &n) && !is_system(u.c.lpServiceStartName)) {
        char *account = wide_text(u.c.lpServiceStartName);
        say_few_rights(account);
        mem_free(account);
    }
    if (s) CloseServiceHandle(s);
    if (m) CloseServiceHandle(m);
}

/* ---- under the manager ---- */

static void report(DWORD state, DWORD wait_hint) {
    SERVICE_STATUS *s = &service.status;
    s->dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    s->dwCurrentState = state;
    s->dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0;
    s->dwWaitHint = wait_hint;
    s->dwCheckPoint = state == SERVICE_RUNNING || state == SERVICE_STOPPED ? 0 : s->dwCheckPoint + 1;
    s->dwWin32ExitCode = state == SERVICE_STOPPED && service.code ? ERROR_SERVICE_SPECIFIC_ERROR : NO_ERROR;
    s->dwServiceSpecificExitCode = (DWORD)service.code;
    SetServiceStatus(service.handle, s);
}

/* What the system does for us cannot be called off, such as the look-up of a name: the manager does not wait for it. All that must
 * last is on disk already. */
static DWORD WINAPI last_resort(void *arg) {
    (void)arg;
    Sleep(STOP_LIMIT_MS);
    to_file(LOG_WARN, AREA ": something hangs; ending without it");
    report(SERVICE_STOPPED, 0);
    TerminateProcess(GetCurrentProcess(), 0);
    return 0;
}

static DWORD WINAPI on_control(DWORD control, DWORD type, void *data, void *ctx) {
    (void)type;
    (void)data;
    (void)ctx;
    switch (control) {
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_SHUTDOWN:
        report(SERVICE_STOP_PENDING, STOP_HINT_MS);
        run_stop();
        CloseHandle(CreateThread(NULL, 0, last_resort, NULL, 0, NULL));
        return NO_ERROR;
    case SERVICE_CONTROL_INTERROGATE: return NO_ERROR;
    default: return ERROR_CALL_NOT_IMPLEMENTED;
    }
}

static void WINAPI service_main(DWORD argc, wchar_t **argv) {
    (void)argc;
    (void)argv;
    service.began = true;
    service.handle = RegisterServiceCtrlHandlerExW(NAME, on_control, NULL);
    if (!service.handle) return;
    report(SERVICE_START_PENDING, STOP_HINT_MS);
    service.source = RegisterEventSourceW(NULL, TITLE);
    log_redirect(on_line, NULL);
    SetPriorityClass(GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS);
    report(SERVICE_RUNNING, 0);
    look_at_self();
    to_application_log(EVENTLOG_INFORMATION_TYPE, MESSAGE_INFO, "The agent has started, version " HAECHI_VERSION ".");
    service.code = service.o.work(service.o.ctx);
    if (!service.code) to_application_log(EVENTLOG_INFORMATION_TYPE, MESSAGE_INFO, "The agent has stopped.");
    log_redirect(NULL, NULL);
    if (service.source) DeregisterEventSource(service.source);
    report(SERVICE_STOPPED, 0); /* the process may end at any moment from here on */
}

static enum status under_manager(const struct service_options *o, int *ret_code, struct error *err) {
    SERVICE_TABLE_ENTRYW table[] = {{(wchar_t *)NAME, service_main}, {NULL, NULL}};
    wchar_t *state = wide_of(o->state);
    service.o = *o;
    InitializeSRWLock(&service.lock);
    _snwprintf(service.log_path, MAX_PATH + 15, L"%ls\\agent.log", state);
    _snwprintf(service.old_path, MAX_PATH + 19, L"%ls\\agent.log.1", state);
    mem_free(state);
    service.file = INVALID_HANDLE_VALUE;
    if (keystore_dir(o->state, NULL) == ST_OK)
        open_log(); /* nothing is written to a stranger's folder; the work says why */
    if (!StartServiceCtrlDispatcherW(table)) return system_error(err, "service", GetLastError());
    if (service.file != INVALID_HANDLE_VALUE) CloseHandle(service.file);
    if (!service.began) return error_set(err, ST_IO, "service: the service manager did not start it");
    *ret_code = service.code;
    return ST_OK;
}

/* ---- from a console or a setup program ---- */

static enum status open_service(DWORD rights, SC_HANDLE *ret_manager, SC_HANDLE *ret, const char *what,
                                struct error *err) {
    SC_HANDLE m = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    if (!m) return system_error(err, what, GetLastError());
    SC_HANDLE s = OpenServiceW(m, NAME, rights);
    if (!s) {
        enum status st = system_error(err, what, GetLastError());
        CloseServiceHandle(m);
        return st;
    }
    *ret_manager = m;
    *ret = s;
    return ST_OK;
}

static void close_both(SC_HANDLE manager, SC_HANDLE s) {
    CloseServiceHandle(s);
    CloseServiceHandle(manager);
}

static void register_messages(const wchar_t *program) {
    HKEY key;
    DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    LSTATUS rc = RegCreateKeyExW(HKEY_LOCAL_MACHINE, SOURCE_KEY, 0, NULL, 0, KEY_SET_VALUE, NULL, &key, NULL);
    if (!rc) {
        rc = RegSetValueExW(key, L"EventMessageFile", 0, REG_SZ, (const BYTE *)program,
                            (DWORD)((wcslen(program) + 1) * sizeof *program));
        if (!rc) rc = RegSetValueExW(key, L"TypesSupported", 0, REG_DWORD, (const BYTE *)&types, sizeof types);
        RegCloseKey(key);
    }
    if (rc) log_warn(AREA, "the Application log will not show our messages in words (error %ld)", (long)rc);
}

/* " --name "value"" behind what is there; false when it does not fit or cannot be quoted. */
static bool add_option(wchar_t *line, size_t cap, const wchar_t *name, const char *value) {
    if (!value) return true;
    wchar_t *wide = wide_of(value);
    size_t at = wcslen(line), n = wcslen(wide);
    bool fits = !wcschr(wide, L'"') && (!n || wide[n - 1] != L'\\') && at + wcslen(name) + n + 8 < cap;
    if (fits) _snwprintf(line + at, cap - at, L" --%ls \"%ls\"", name, wide);
    mem_free(wide);
    return fits;
}

/* An account with few rights has to read and write the state. */
static void open_state(const struct service_options *o) {
    struct error err = {0};
    const char *dir = o->state ? o->state : service_default_state();
    if (keystore_grant(dir, o->account, &err)) log_warn(AREA, "%s: let that account change it yourself", err.msg);
    say_few_rights(o->account);
}

static enum status install(const struct service_options *o, struct error *err) {
    wchar_t program[MAX_PATH + 1] = L"", line[4 * MAX_PATH];
    DWORD n = GetModuleFileNameW(NULL, program, MAX_PATH);
    if (!n || n >= MAX_PATH) return error_set(err, ST_TOOBIG, "install: the path of the program is too long");
    _snwprintf(line, sizeof line / sizeof *line, L"\"%ls\" service", program);
    if (!add_option(line, sizeof line / sizeof *line, L"config", o->config) ||
        !add_option(line, sizeof line / sizeof *line, L"state", o->state))
        return error_set(err, ST_INVALID, "install: paths with quotes or a final backslash cannot be used");
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);
    if (!manager) return system_error(err, "install", GetLastError());
    wchar_t *account = o->account ? wide_of(o->account) : NULL;
    SC_HANDLE s = CreateServiceW(manager, NAME, TITLE, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS,
                                 SERVICE_AUTO_START, SERVICE_ERROR_NORMAL, line, NULL, NULL, NULL, account, NULL);
    enum status st = s ? ST_OK : system_error(err, "install", GetLastError());
    if (s) {
        set_habits(s);
        register_messages(program);
        if (!is_system(account)) open_state(o);
        CloseServiceHandle(s);
    }
    mem_free(account);
    CloseServiceHandle(manager);
    return st;
}

/* Until it is in that state, up to STOP_WAIT_MS. */
static enum status wait_for(SC_HANDLE s, DWORD wanted, const char *what, struct error *err) {
    SERVICE_STATUS now = {0};
    for (unsigned waited = 0; waited <= STOP_WAIT_MS; waited += 50) {
        if (!QueryServiceStatus(s, &now)) return system_error(err, what, GetLastError());
        if (now.dwCurrentState == wanted) return ST_OK;
        if (wanted == SERVICE_RUNNING && now.dwCurrentState == SERVICE_STOPPED)
            return error_set(err, ST_IO, "%s: it stopped at once: see agent.log in the state directory", what);
        Sleep(50);
    }
    return error_set(err, ST_TIMEOUT, "%s: the service does not answer", what);
}

static enum status start(struct error *err) {
    SC_HANDLE m = NULL, s = NULL;
    enum status st = open_service(SERVICE_START | SERVICE_QUERY_STATUS, &m, &s, "start", err);
    if (st) return st;
    st = StartServiceW(s, 0, NULL) ? wait_for(s, SERVICE_RUNNING, "start", err)
                                   : system_error(err, "start", GetLastError());
    close_both(m, s);
    return st;
}

static enum status stop(struct error *err) {
    SC_HANDLE m = NULL, s = NULL;
    SERVICE_STATUS now;
    enum status st = open_service(SERVICE_STOP | SERVICE_QUERY_STATUS, &m, &s, "stop", err);
    if (st) return st;
    st = ControlService(s, SERVICE_CONTROL_STOP, &now) ? wait_for(s, SERVICE_STOPPED, "stop", err)
                                                       : system_error(err, "stop", GetLastError());
    close_both(m, s);
    return st;
}

static enum status uninstall(struct error *err) {
    SC_HANDLE m = NULL, s = NULL;
    SERVICE_STATUS now;
    struct error ignored;
    enum status st = open_service(SERVICE_STOP | SERVICE_QUERY_STATUS | DELETE, &m, &s, "uninstall", err);
    if (st) return st;
    if (ControlService(s, SERVICE_CONTROL_STOP, &now) && wait_for(s, SERVICE_STOPPED, "uninstall", &ignored))
        log_warn(AREA, "the service does not stop; it is removed at the next start of this computer");
    if (!DeleteService(s)) st = system_error(err, "uninstall", GetLastError());
    if (!st) RegDeleteTreeW(HKEY_LOCAL_MACHINE, SOURCE_KEY);
    close_both(m, s);
    return st;
}

enum status service_run(enum service_verb verb, const struct service_options *o, int *ret_code, struct error *err) {
    *ret_code = 0;
    switch (verb) {
    case VERB_INSTALL: return install(o, err);
    case VERB_UNINSTALL: return uninstall(err);
    case VERB_START: return start(err);
    case VERB_STOP: return stop(err);
    default: return under_manager(o, ret_code, err);
    }
}
