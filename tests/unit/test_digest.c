/* server/digest.c and clears.c on a real store: the process table, holes that cleared logs explain in whatever order the
 * events come, the same after a rebuild. */
// links: server rules storage proto base
#include "batch.h"
#include "clears.h"
#include "clock.h"
#include "digest.h"
#include "ingest.h"
#include "log.h"
#include "mem.h"
#include "procs.h"
#include "tally.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define T0 UINT64_C(133000000000000000)
#define HOST 7
#define SYSMON "Microsoft-Windows-Sysmon/Operational"

struct fixture {
    char dir[SCRATCH_MAX];
    struct db *db;
    struct stats *stats;
    struct ingest *in;
    struct digest *digest;
    uv_loop_t loop;
    struct ingest_door *door;
    unsigned n_sent, n_answered;
    struct batch_builder *builder;
    unsigned idle_ms;
};

static void open_all(struct fixture *f, bool rebuild) {
    struct error err = {0};
    struct db_options d = {.map_bytes = 64 * 1024 * 1024, .min_free_bytes = 1};
    if (db_open(f->dir, &d, &f->db, &err)) fail_msg("%s", err.msg);
    if (rebuild && db_drop_derived(f->db, &err)) fail_msg("%s", err.msg);
    f->stats = stats_new();
    struct ingest_options o = {
        .db = f->db, .stats = f->stats, .spacing_ms = 1, .quarantine_bytes = 100000, .quarantine_files = 2};
    if (ingest_start(&o, &f->in, &err)) fail_msg("%s", err.msg);
    struct digest_options g = {.db = f->db, .writer = ingest_writer(f->in), .stats = f->stats, .idle_ms = f->idle_ms};
    if (digest_start(&g, &f->digest, &err)) fail_msg("%s", err.msg);
    ingest_on_committed(f->in, digest_wake, f->digest);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(ingest_door_open(f->in, &f->loop, NULL, NULL, &f->door, &err), ST_OK);
    f->builder = batch_builder_new(0);
}

static void close_all(struct fixture *f) {
    ingest_door_quiet(f->door);
    ingest_stop(f->in);
    digest_stop(&f->digest);
    ingest_door_drain(f->door);
    ingest_door_close(f->door, NULL, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    ingest_free(&f->in);
    db_close(&f->db);
    stats_free(&f->stats);
    batch_builder_free(&f->builder);
}

static void begin(struct fixture *f) {
    memset(f, 0, sizeof *f);
    assert_true(scratch_make(f->dir, "digest"));
    f->idle_ms = 20;
    open_all(f, false);
}

static void end(struct fixture *f) {
    close_all(f);
    assert_int_equal(scratch_remove(f->dir), 0);
}

/* "Name=value|Name=value" into data of the event. */
static void add(struct fixture *f, const char *channel, uint32_t event_id, uint64_t record, unsigned at,
                const char *values, const char *xml) {
    struct event_data data[16];
    size_t n = 0;
    for (const char *p = values; p && *p && n < 16;) {
        const char *eq = strchr(p, '='), *bar = strchr(eq, '|');
        const char *stop = bar ? bar : eq + strlen(eq);
        data[n++] = (struct event_data){.name = slice_of(p, (size_t)(eq - p)),
                                        .value = slice_of(eq + 1, (size_t)(stop - eq - 1))};
        p = bar ? bar + 1 : stop;
    }
    struct event ev = {.provider = xml || event_id == 1102 ? SLICE_LIT("Microsoft-Windows-Eventlog")
                                                           : SLICE_LIT("Microsoft-Windows-Sysmon"),
                       .event_id = {.v = event_id, .present = true},
                       .record_id = {.v = record, .present = true},
                       .time = T0 + at * FILETIME_SECOND,
                       .time_digits = 7,
                       .channel = slice_str(channel),
                       .computer = SLICE_LIT("PC"),
                       .body = xml ? EVENT_BODY_XML
                               : n ? EVENT_BODY_DATA
                                   : EVENT_BODY_NONE,
                       .data = data,
                       .n_data = n,
                       .body_xml = slice_str(xml)};
    assert_int_equal(batch_add(f->builder, &ev, record), ST_OK);
}

static void on_done(void *owner, const struct ingest_result *r) {
    assert_int_equal(r->st, ST_OK);
    ((struct fixture *)owner)->n_answered++;
}

static void start(struct fixture *f, const char *channel) {
    batch_begin(f->builder, slice_str(channel), SLICE_LIT(""), 1);
}

static void commit(struct fixture *f) {
    struct buf block = {0}, body = {0};
    uint32_t header_len;
    assert_int_equal(batch_finish(f->builder, &block, &header_len), ST_OK);
    buf_u32le(&body, header_len);
    buf_slice_append(&body, buf_slice(&block));
    buf_free(&block);
    ingest_put(f->door, HOST, &body, ++f->n_sent, on_done, f);
    while (f->n_answered < f->n_sent) uv_run(&f->loop, UV_RUN_ONCE);
}

static void plain(struct fixture *f, const char *channel, uint64_t first, unsigned n, unsigned at) {
    start(f, channel);
    for (unsigned i = 0; i < n; i++) add(f, channel, 3, first + i, at + i, "X=y", NULL);
    commit(f);
}

static void digested(struct fixture *f) {
    assert_true(digest_wait(f->digest, db_last_seq(f->db)));
}

#define GUID_A "{11111111-0000-0000-0000-000000000001}"
#define GUID_B "{22222222-0000-0000-0000-000000000002}"
#define GUID_C "{33333333-0000-0000-0000-000000000003}"

static void get(struct fixture *f, const char *guid, struct proc *ret, struct buf *bytes) {
    struct guid g;
    struct error err = {0};
    assert_int_equal(guid_parse(slice_str(guid), &g), ST_OK);
    if (procs_get(f->db, HOST, &g, ret, bytes, &err)) fail_msg("%s: %s", guid, err.msg);
}

static void check_procs(struct fixture *f) {
    struct proc p;
    struct buf bytes = {0};
    get(f, GUID_B, &p, &bytes); /* seen whole */
    assert_true(p.has_start && p.has_end);
    assert_true(slice_eq_str(p.image, "C:\\b.exe"));
    assert_true(slice_eq_str(p.command_line, "b %x"));
    assert_true(slice_eq_str(p.user, "PC\\me"));
    assert_int_equal(p.pid, 200);
    assert_int_equal(p.parent_pid, 100);
    assert_int_equal(p.start_record, 1);
    uint64_t when;
    assert_int_equal(filetime_parse(SLICE_LIT("2022-06-18 04:26:39.500"), &when, NULL, NULL), ST_OK);
    assert_true(p.start == when);
    assert_int_equal(p.counts[1], 1);
    assert_int_equal(p.counts[3], 2);
    assert_int_equal(p.counts[5], 1);
    assert_int_equal(p.counts[10], 1);
    buf_clear(&bytes);
    get(f, GUID_A, &p, &bytes); /* its child tells of it */
    assert_false(p.has_start);
    assert_true(slice_eq_str(p.image, "C:\\a.exe"));
    assert_true(slice_eq_str(p.command_line, "a -x"));
    assert_int_equal(p.pid, 100);
    assert_int_equal(p.counts[1], 1);
    buf_clear(&bytes);
    get(f, GUID_C, &p, &bytes); /* another process opened it */
    assert_true(slice_eq_str(p.image, "C:\\c.exe"));
    assert_int_equal(p.pid, 300);
    buf_free(&bytes);
}

static void test_processes(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    start(&f, SYSMON);
    add(&f, SYSMON, 1, 1, 10,
        "UtcTime=2022-06-18 04:26:39.500|ProcessGuid=" GUID_B
        "|ProcessId=200|Image=C:\\b.exe|CommandLine=b %%x|User=PC\\me|"
        "ParentProcessGuid=" GUID_A "|ParentProcessId=100|ParentImage=C:\\a.exe|ParentCommandLine=a -x|ParentUser=-",
        NULL);
    add(&f, SYSMON, 3, 2, 11, "ProcessGuid=" GUID_B "|ProcessId=200|Image=C:\\b.exe", NULL);
    add(&f, SYSMON, 3, 3, 12, "ProcessGuid=" GUID_B "|ProcessId=200|Image=C:\\b.exe", NULL);
    commit(&f);
    start(&f, SYSMON);
    add(&f, SYSMON, 10, 4, 13,
        "SourceProcessGUID=" GUID_B "|SourceProcessId=200|SourceImage=C:\\b.exe|TargetProcessGUID=" GUID_C
        "|TargetProcessId=300|TargetImage=C:\\c.exe",
        NULL);
    add(&f, SYSMON, 5, 5, 14, "UtcTime=2022-06-18 04:26:50.000|ProcessGuid=" GUID_B "|ProcessId=200|Image=C:\\b.exe",
        NULL);
    add(&f, SYSMON, 5, 6, 14, "UtcTime=-|ProcessGuid={00000000-0000-0000-0000-000000000000}|ProcessId=9", NULL);
    commit(&f);
    digested(&f);
    check_procs(&f);
    close_all(&f);
    open_all(&f, true); /* all derived data anew */
    digested(&f);
    check_procs(&f);
    end(&f);
}

/* Nobody has to wait for a run to grow old. */
static void test_sync(void **state) {
    (void)state;
    struct fixture f;
    struct proc p;
    struct buf bytes = {0};
    begin(&f);
    close_all(&f);
    f.idle_ms = 3600000;
    open_all(&f, false);
    for (unsigned i = 0; i < 3; i++) {
        start(&f, SYSMON);
        add(&f, SYSMON, 3, 1 + i, i, "ProcessGuid=" GUID_B "|ProcessId=200|Image=C:\\b.exe", NULL);
        commit(&f);
        assert_true(digest_sync(f.digest, 5000));
        buf_clear(&bytes);
        get(&f, GUID_B, &p, &bytes);
        assert_int_equal(p.counts[3], i + 1);
    }
    buf_free(&bytes);
    end(&f);
}

struct volumes {
    struct volume_sum {
        char channel[48], rule[48];
        uint32_t id, slot;
        uint64_t events, bytes;
    } sums[32];
    size_t n;
    uint64_t bytes;
};

static enum status on_volume(void *ctx, const struct tally_row *row) {
    struct volumes *v = ctx;
    assert_int_equal(row->host, HOST);
    assert_false(row->is_rest);
    v->bytes += row->bytes;
    for (size_t i = 0; i < v->n; i++) {
        struct volume_sum *s = &v->sums[i];
        if (s->id != row->event_id || s->slot != row->slot || !slice_eq_str(row->rule, s->rule) ||
            !slice_eq_str(row->channel, s->channel))
            continue;
        s->events += row->events;
        s->bytes += row->bytes;
        return ST_OK;
    }
    assert_true(v->n < 32);
    struct volume_sum *s = &v->sums[v->n++];
    *s = (struct volume_sum){.id = row->event_id, .slot = row->slot, .events = row->events, .bytes = row->bytes};
    snprintf(s->channel, sizeof s->channel, "%.*s", (int)row->channel.len, (const char *)row->channel.p);
    snprintf(s->rule, sizeof s->rule, "%.*s", (int)row->rule.len, (const char *)row->rule.p);
    return ST_OK;
}

static void read_volumes(struct fixture *f, struct volumes *v) {
    struct db_partition *parts;
    struct error err = {0};
    size_t n = db_partitions(f->db, &parts);
    *v = (struct volumes){0};
    for (size_t i = 0; i < n; i++) {
        if (tally_each(f->db, parts[i].day, HOST, 0, UINT32_MAX, on_volume, v, &err)) fail_msg("%s", err.msg);
    }
    mem_free(parts);
}

static void check_volumes(struct fixture *f, const char *name) {
    static const struct {
        const char *channel, *rule;
        uint32_t id, at;
        uint64_t events;
    } want[] = {{SYSMON, "Exec", 1, 10, 1},
                {SYSMON, "Net", 3, 11, 2},
                {SYSMON, "", 3, 12, 2},
                {SYSMON, "Net", 3, 1200, 1},
                {SYSMON, "technique_id=T1", 3, 15, 1},
                {"Security", "", 4624, 20, 3}};
    struct volumes v;
    read_volumes(f, &v);
    assert_int_equal(v.n, sizeof want / sizeof *want);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        uint64_t events = 0;
        for (size_t k = 0; k < v.n; k++) {
            const struct volume_sum *s = &v.sums[k];
            if (strcmp(s->channel, want[i].channel) == 0 && strcmp(s->rule, want[i].rule) == 0 && s->id == want[i].id &&
                s->slot == (T0 + want[i].at * FILETIME_SECOND) / TALLY_SLOT)
                events += s->events;
        }
        if (events != want[i].events)
            fail_msg("%s: %s %u \"%s\": %d events", name, want[i].channel, want[i].id, want[i].rule, (int)events);
    }
    struct db_stream *s = NULL;
    size_t n = 0;
    uint64_t stored = 0, blocks = 0;
    assert_int_equal(db_streams(f->db, HOST, &s, &n, NULL), ST_OK);
    for (size_t i = 0; i < n; i++) stored += s[i].n_bytes;
    db_streams_free(s, n);
    struct db_block *b;
    assert_int_equal(db_host_blocks(f->db, HOST, 0, UINT64_MAX, &b, &n, NULL), ST_OK);
    for (size_t i = 0; i < n; i++) blocks += b[i].partial ? 0 : b[i].len;
    mem_free(b);
    assert_true(v.bytes > blocks && v.bytes < stored); /* the partial block counts for its new event alone */
}

/* Events and bytes by RuleName, event id and ten minutes: once each, after a restart and a rebuild too. */
static void test_volumes(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    start(&f, SYSMON);
    add(&f, SYSMON, 1, 1, 10, "RuleName=Exec|ProcessGuid=" GUID_B "|ProcessId=200|Image=C:\\b.exe", NULL);
    add(&f, SYSMON, 3, 2, 11, "RuleName=Net|ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    add(&f, SYSMON, 3, 3, 11, "RuleName=Net|ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    add(&f, SYSMON, 3, 4, 12, "RuleName=-|ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    add(&f, SYSMON, 3, 5, 12, "ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    commit(&f);
    start(&f, SYSMON); /* two of its three events are there already */
    add(&f, SYSMON, 3, 4, 12, "RuleName=-|ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    add(&f, SYSMON, 3, 5, 12, "ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    add(&f, SYSMON, 3, 6, 15, "RuleName=technique_id=T1|ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    commit(&f);
    digested(&f);
    close_all(&f);
    open_all(&f, false);
    start(&f, SYSMON);
    add(&f, SYSMON, 3, 7, 1200, "RuleName=Net|ProcessGuid=" GUID_B "|Image=C:\\b.exe", NULL);
    commit(&f);
    start(&f, "Security");
    for (unsigned i = 0; i < 3; i++) add(&f, "Security", 4624, 1 + i, 20, "RuleName=not ours", NULL);
    commit(&f);
    digested(&f);
    check_volumes(&f, "as it came");
    close_all(&f);
    open_all(&f, true);
    digested(&f);
    check_volumes(&f, "rebuilt");
    end(&f);
}

static enum ledger_cause cause_of_hole(struct fixture *f, const char *channel, uint64_t *ret_first,
                                       uint64_t *ret_last) {
    struct db_stream *s = NULL;
    size_t n = 0;
    enum ledger_cause cause = LEDGER_DAMAGED; /* none found */
    assert_int_equal(db_streams(f->db, HOST, &s, &n, NULL), ST_OK);
    for (size_t i = 0; i < n; i++) {
        struct ledger_note hole;
        uint64_t at = 0;
        if (strcmp(s[i].channel, channel) != 0 || !ledger_next_hole(s[i].ledger, &at, &hole)) continue;
        cause = hole.cause;
        *ret_first = hole.first;
        *ret_last = hole.last;
    }
    db_streams_free(s, n);
    return cause;
}

/* Waits a while: the explanation is a commit of its own after the run. */
static void check_hole(struct fixture *f, const char *name, const char *channel, enum ledger_cause want, uint64_t first,
                       uint64_t last) {
    uint64_t from = 0, to = 0;
    for (int i = 0; i < 100; i++) {
        if (cause_of_hole(f, channel, &from, &to) == want) break;
        usleep(20000);
    }
    enum ledger_cause got = cause_of_hole(f, channel, &from, &to);
    if (got != want || from != first || to != last)
        fail_msg("%s: hole %d-%d, cause %d", name, (int)from, (int)to, (int)got);
}

#define CLEARED(name) "<UserData><LogFileCleared xmlns='x'><Channel>" name "</Channel></LogFileCleared></UserData>"

static void clear_event(struct fixture *f, uint64_t record, unsigned at) {
    start(f, "System");
    add(f, "System", 104, record, at, NULL, CLEARED("App/Op"));
    commit(f);
}

static void test_cleared(void **state) {
    (void)state;
    static const struct {
        const char *name,
            *order; /* b: before the clearing, c: the clearing, a: after it; a space waits for the digest */
        unsigned after_at;
        enum ledger_cause want;
    } cases[] = {
        {"in order", "b c a", 120, LEDGER_CLEARED},
        {"all at once", "bca", 120, LEDGER_CLEARED},
        {"the clearing last", "b a c", 120, LEDGER_CLEARED},
        {"the older part last", "c a b", 120, LEDGER_CLEARED},
        {"the clearing first", "c b a", 120, LEDGER_CLEARED},
        {"the hole is before the clearing", "b c a", 60, LEDGER_OPEN},
        {"with a restart in between", "b c R a", 120, LEDGER_CLEARED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        begin(&f);
        for (const char *p = cases[i].order; *p; p++) {
            if (*p == 'b') plain(&f, "App/Op", 1, 10, 0);
            if (*p == 'a') plain(&f, "App/Op", 31, 10, cases[i].after_at);
            if (*p == 'c') clear_event(&f, 5, 100);
            if (*p == ' ') digested(&f);
            if (*p == 'R') {
                close_all(&f);
                open_all(&f, false);
            }
        }
        digested(&f);
        check_hole(&f, cases[i].name, "App/Op", cases[i].want, 11, 30);
        end(&f);
    }
}

static void test_security(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    plain(&f, "Security", 1, 10, 0);
    start(&f, "Security");
    add(&f, "Security", 1102, 21, 50, NULL, NULL);
    commit(&f);
    digested(&f);
    check_hole(&f, "Security", "Security", LEDGER_CLEARED, 11, 20);
    end(&f);
}

static void drop_line(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    (void)line;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processes), cmocka_unit_test(test_sync),     cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_cleared),   cmocka_unit_test(test_security),
    };
    log_redirect(drop_line, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
