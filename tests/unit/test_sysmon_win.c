/* agent/sysmon_win.c, on keys and services that are made for it; a Windows program, for a scratch registry only. */
#include "sysmon.h"
#include "tls.h"

#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVICES L"SYSTEM\\CurrentControlSet\\Services\\"
#define RULES "compiled rules"

static void put(const wchar_t *key, const wchar_t *name, DWORD type, const void *p, size_t len) {
    wchar_t path[300] = SERVICES;
    wcscat(path, key);
    assert_int_equal(RegSetKeyValueW(HKEY_LOCAL_MACHINE, path, name, type, p, (DWORD)len), 0);
}

static void put_text(const wchar_t *key, const wchar_t *name, const wchar_t *text) {
    put(key, name, REG_SZ, text, (wcslen(text) + 1) * sizeof *text);
}

static void drop(const wchar_t *key) {
    wchar_t path[300] = SERVICES;
    wcscat(path, key);
    RegDeleteTreeW(HKEY_LOCAL_MACHINE, path);
}

/* A service that the manager knows, so that it has a state. */
static void make_service(const wchar_t *name, const wchar_t *image) {
    SC_HANDLE m = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    SC_HANDLE s = CreateServiceW(m, name, NULL, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS, SERVICE_DEMAND_START,
                                 SERVICE_ERROR_IGNORE, image, NULL, NULL, NULL, NULL, NULL);
    assert_non_null(s);
    CloseServiceHandle(s);
    CloseServiceHandle(m);
}

static void drop_service(const wchar_t *name) {
    SC_HANDLE m = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    SC_HANDLE s = OpenServiceW(m, name, DELETE);
    assert_true(DeleteService(s));
    CloseServiceHandle(s);
    CloseServiceHandle(m);
}

static void test_absent(void **state) {
    struct sysmon s;
    (void)state;
    sysmon_look(&s);
    assert_int_equal(s.state, SYSMON_ABSENT);
    assert_string_equal(s.service, "");
    assert_string_equal(s.cannot_apply, "");
}

static void test_renamed(void **state) {
    struct sysmon s;
    uint8_t digest[32];
    (void)state;
    make_service(L"QuietDrv", L"C:\\windows\\quiet.sys");
    make_service(L"Quiet", L"\"C:\\windows\\quiet.exe\" -service");
    put_text(L"QuietDrv\\Instances\\Sysmon Instance", L"Altitude", L"385201");
    put_text(L"Quiet\\Parameters", L"DriverName", L"quietdrv");
    put(L"QuietDrv\\Parameters", L"Rules", REG_BINARY, RULES, sizeof RULES);
    put_text(L"QuietDrv\\Parameters", L"ConfigHash", L"SHA256=AB");
    sysmon_look(&s);
    assert_int_equal(s.state, SYSMON_STOPPED);
    assert_string_equal(s.service, "Quiet");
    assert_string_equal(s.driver, "QuietDrv");
    assert_string_equal(s.path, ""); /* the file is not there */
    assert_string_equal(s.config_hash, "SHA256=AB");
    assert_string_equal(s.cannot_apply, "");
    assert_false(s.inbox);
    assert_true(s.has_rules);
    tls_sha256(slice_of(RULES, sizeof RULES), digest);
    assert_memory_equal(s.rules_digest, digest, sizeof digest);

    /* an administrator has changed the altitude: the rules tell */
    DWORD algorithm = 3;
    put_text(L"QuietDrv\\Instances\\Sysmon Instance", L"Altitude", L"385299");
    put(L"QuietDrv\\Parameters", L"HashingAlgorithm", REG_DWORD, &algorithm, sizeof algorithm);
    sysmon_look(&s);
    assert_string_equal(s.driver, "QuietDrv");

    /* and no rules at all: the service names its driver */
    drop(L"QuietDrv\\Parameters");
    sysmon_look(&s);
    assert_string_equal(s.driver, "quietdrv"); /* as it is written there */
    assert_false(s.has_rules);
    assert_string_equal(s.config_hash, "");
    drop_service(L"Quiet");
    drop_service(L"QuietDrv");
    drop(L"Quiet");
    drop(L"QuietDrv");
}

/* A service of the system that runs, with a driver that does not. */
static void test_blind(void **state) {
    static const wchar_t *const running[] = {L"PlugPlay", L"RpcSs", L"winedevice", L"Eventlog"};
    struct sysmon s;
    bool seen = false;
    (void)state;
    make_service(L"DeafDrv", L"C:\\windows\\deaf.sys");
    put_text(L"DeafDrv\\Instances\\Sysmon Instance", L"Altitude", L"385201");
    for (size_t i = 0; i < sizeof running / sizeof *running && !seen; i++) {
        wchar_t key[64];
        wcscat(wcscpy(key, running[i]), L"\\Parameters");
        put_text(key, L"DriverName", L"DeafDrv");
        sysmon_look(&s);
        seen = s.state == SYSMON_BLIND;
        drop(key);
    }
    assert_true(seen);
    drop_service(L"DeafDrv");
    drop(L"DeafDrv");
}

static void test_inbox(void **state) {
    struct sysmon s;
    (void)state;
    make_service(L"Sysmon", L"C:\\windows\\system32\\notepad.exe"); /* a file of the right place and version */
    make_service(L"SysmonDrv", L"\\SystemRoot\\system32\\drivers\\sysmondrv.sys");
    sysmon_look(&s);
    assert_string_equal(s.service, "Sysmon");
    assert_string_equal(s.driver, "SysmonDrv");
    print_message("version \"%s\", schema \"%s\", inbox %d, path %s\n", s.version, s.schema, s.inbox, s.path);
    if (strncmp(s.version, "10.0.", 5) == 0) {
        assert_true(s.inbox);
        assert_string_equal(s.schema, "4.91");
    }
    assert_true(*s.path);
    drop_service(L"Sysmon");
    drop_service(L"SysmonDrv");
    drop(L"Sysmon");
    drop(L"SysmonDrv");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_renamed),
        cmocka_unit_test(test_blind),
        cmocka_unit_test(test_inbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
