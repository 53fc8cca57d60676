/* agent/progress.c: the status file, and what a person reads of it. */
#include "clock.h"
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW (UINT64_C(133700000000000000))
#define SEC FILETIME_SECOND

struct scene {
    struct status_facts f;
    struct feeder_report r;
    struct uplink_status u;
    struct sysmon sysmon;
    struct feeder_log log;
    struct feeder_trouble trouble;
    uint64_t later_s; /* when it is read */
};

static void all_well(struct scene *s) {
    *s = (struct scene){.f = {.host_name = "WS1",
                              .version = "0.1.0",
                              .now = NOW,
                              .started = NOW - 3 * 3600 * SEC,
                              .not_after = NOW + 20 * 86400 * SEC},
                        .u = {.state = "streaming",
                              .collector = "haechi.example:7443",
                              .connected = true,
                              .heard = NOW - 2 * SEC,
                              .trouble = ""},
                        .sysmon = {.state = SYSMON_RUNNING, .version = "15.15", .schema = "4.90"},
                        .log = {.channel = "Microsoft-Windows-Sysmon/Operational",
                                .newest_id = 100,
                                .log_newest_id = 130}};
    strcpy(s->sysmon.service, "Sysmon64");
}

static void expired(struct scene *s) {
    s->f.not_after = NOW - SEC;
}
static void no_collector(struct scene *s) {
    s->u.connected = false;
    s->u.state = "waiting";
    s->u.trouble = "collector haechi.example:7443: connection refused";
}
static void silent(struct scene *s) {
    s->u.heard = NOW - 600 * SEC;
}
static void dead(struct scene *s) {
    s->later_s = 7200;
}
static void full(struct scene *s) {
    s->r.spool_full = true;
}
static void wraps(struct scene *s) {
    s->log.wraps_in_s = 1800;
}
static void wraps_late(struct scene *s) {
    s->log.wraps_in_s = 864000;
}
static void no_sysmon(struct scene *s) {
    s->sysmon = (struct sysmon){.state = SYSMON_ABSENT};
}
static void stopped(struct scene *s) {
    s->sysmon.state = SYSMON_STOPPED;
}
static void blind(struct scene *s) {
    s->sysmon.state = SYSMON_BLIND;
    strcpy(s->sysmon.driver, "SysmonDrv");
}
static void denied(struct scene *s) {
    strcpy(s->trouble.input, "Security");
    strcpy(s->trouble.text, "access is denied: put its account into Event Log Readers");
    s->r.troubles = &s->trouble;
    s->r.n_troubles = 1;
}
static void rejected(struct scene *s) {
    s->u.rejected_batches = 2;
    s->u.rejected_events = 2000;
}
static void starting(struct scene *s) {
    s->u.connected = false;
    s->u.state = "connecting";
    s->u.heard = 0;
}

static void test_status(void **state) {
    static const struct {
        const char *name;
        void (*change)(struct scene *s);
        const char *says[3];
    } cases[] = {
        {"well", NULL, {"all is well", "connected, last heard 2 s ago", "read up to record 100, 30 behind"}},
        {"Sysmon",
         NULL,
         {"sysmon:     15.15, running, schema 4.90 (service Sysmon64)", "running for 3 h", "good for 20 days"}},
        {"expired", expired, {"WRONG:      the certificate has expired", "enroll --again", "EXPIRED"}},
        {"no collector", no_collector, {"NOT CONNECTED", "connection refused", "to do:    see that haechid runs"}},
        {"silent", silent, {"WRONG:      nothing was heard", "last heard 10 min ago"}},
        {"dead", dead, {"NOT RUNNING", "2 h old", "to do:    start it"}},
        {"full", full, {"FULL: reading waits", "WRONG:      the spool is full"}},
        {"wraps", wraps, {"WRONG:      in less than a day", "make the log larger"}},
        {"wraps late", wraps_late, {"all is well"}},
        {"no Sysmon", no_sysmon, {"sysmon:     absent", "WRONG:      there is no Sysmon"}},
        {"stopped", stopped, {"15.15, stopped", "to do:    start its service"}},
        {"blind", blind, {"running without its driver", "sees nothing: SysmonDrv"}},
        {"denied", denied, {"WRONG:      Security: access is denied", "Event Log Readers"}},
        {"rejected", rejected, {"2,000 events that the collector refused", "WRONG:      the collector refused events"}},
        {"starting", starting, {"NOT CONNECTED, not heard since the start", "all is well"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf file = {0}, text = {0};
        struct scene s;
        all_well(&s);
        if (cases[i].change) cases[i].change(&s);
        s.f.sysmon = &s.sysmon;
        s.r.logs = &s.log;
        s.r.n_logs = 1;
        status_write(&file, &s.f, &s.r, &s.u);
        status_explain(&text, buf_slice(&file), NOW + s.later_s * SEC);
        status_explain_troubles(&text, buf_slice(&file), NOW + s.later_s * SEC);
        for (size_t k = 0; k < 3 && cases[i].says[k]; k++) {
            if (!strstr(buf_cstr(&text), cases[i].says[k]))
                fail_msg("%s: no \"%s\" in\n%s", cases[i].name, cases[i].says[k], buf_cstr(&text));
        }
        buf_free(&file);
        buf_free(&text);
    }
}

static void test_strange_files(void **state) {
    static const char *const files[] = {"", "log", "log \nlog x\nlog 1 2\nlog 99999999999999999999 1 1 x\n",
                                        "sysmon_state 77\n", "written"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct buf text = {0};
        status_explain(&text, slice_str(files[i]), NOW);
        status_explain_troubles(&text, slice_str(files[i]), 0);
        assert_true(text.len > 0);
        buf_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_strange_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
