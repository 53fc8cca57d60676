/* The feeder on its thread: what it reads comes out once over restarts, whatever was acknowledged; a full spool makes it
 * wait; damage in the spool makes it read again; rejected batches are kept. */
#include "batch.h"
#include "clock.h"
#include "feeder.h"
#include "file.h"
#include "log.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>
#include <cmocka.h>

#define N_EVENTS 4500u

static char *dir, *xml;
static unsigned n_dirs;

static int setup(void **state) {
    (void)state;
    char name[64];
    const char *tmp = getenv("HAECHI_TMP") ? getenv("HAECHI_TMP") : "/tmp";
    struct buf text = {0};
    snprintf(name, sizeof name, "feeder-%llu-%u", (unsigned long long)clock_mono_ms(), n_dirs++);
    dir = file_join(tmp, name);
    assert_int_equal(file_make_dir(dir, 0700, NULL), ST_OK);
    xml = file_join(dir, "events.xml");
    for (unsigned i = 1; i <= N_EVENTS; i++) {
        uint32_t noise[4] = {i * 2654435761u, i * 40503u ^ 0x5bd1e995u, i * 2246822519u, i * 3266489917u};
        buf_printf(
            &text,
            "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='P'/><EventID>1</EventID>"
            "<TimeCreated SystemTime='2024-01-01T00:00:00.%07uZ'/><EventRecordID>%u</EventRecordID><Channel>C</Channel>"
            "<Computer>own</Computer></System><EventData><Data Name='D'>%08x%08x%08x%08x</Data></EventData></Event>\n",
            i, i, noise[0], noise[1], noise[2], noise[3]);
    }
    assert_int_equal(file_replace(xml, buf_slice(&text), 0600, NULL), ST_OK);
    buf_free(&text);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    mem_free(dir);
    mem_free(xml);
    return 0;
}

static void no_wake(void *ctx) {
    (void)ctx;
}

struct rig {
    struct feeder *f;
    uv_thread_t thread;
    bool ended;
    struct feeder_report report;
    uint64_t last_seq;
};

static void begin(struct rig *r, bool spooled, uint64_t spool_max) {
    static const char *const own[] = {"own"};
    struct feeder_input in = {.path = xml, .kind = SOURCE_AUTO};
    struct feeder_options o = {.state_dir = dir,
                               .inputs = &in,
                               .n_inputs = 1,
                               .spooled = spooled,
                               .spool_max_bytes = spool_max,
                               .own_names = own,
                               .n_own_names = 1,
                               .wake = no_wake};
    struct error err = {0};
    *r = (struct rig){0};
    if (feeder_new(&o, &r->f, &err)) fail_msg("%s", err.msg);
    assert_int_equal(uv_thread_create(&r->thread, feeder_run, r->f), 0);
}

static bool take_notes(struct rig *r) {
    struct feeder_item *i;
    bool gone = false;
    while ((i = feeder_take_note(r->f))) {
        gone |= i->kind == FEEDER_GONE;
        if (i->kind == FEEDER_REPORT) r->report = i->report;
        r->report.logs = NULL; /* not looked at */
        feeder_item_free(&i);
    }
    return gone;
}

static void end(struct rig *r) {
    feeder_stop(r->f);
    while (!take_notes(r)) clock_mono_ms();
    uv_thread_join(&r->thread);
    feeder_free(&r->f);
}

static void nap(void) {
    uv_sleep(5);
}

/* Takes batches until `want` events came or nothing comes for two seconds; marks each record id in seen. */
static unsigned take(struct rig *r, unsigned want, uint8_t *seen, bool ack) {
    unsigned n = 0;
    for (int idle = 0; n < want && idle < 400;) {
        struct feeder_item *i = feeder_take(r->f);
        take_notes(r);
        if (!i) {
            idle++;
            nap();
            continue;
        }
        idle = 0;
        if (i->kind == FEEDER_END) {
            r->ended = true;
        } else {
            struct arena a;
            struct batch_header h;
            arena_init(&a, 1 << 20);
            assert_int_equal(batch_header_parse(slice_of(i->batch->bytes.p, i->batch->header_len), &a, &h, NULL),
                             ST_OK);
            for (size_t k = 0; k < h.n_runs; k++) {
                for (uint64_t id = h.runs[k].first_id; id < h.runs[k].first_id + h.runs[k].n; id++) {
                    assert_in_range(id, 1, N_EVENTS);
                    seen[id]++;
                }
            }
            n += h.n_events;
            assert_true(i->batch->seq > r->last_seq);
            r->last_seq = i->batch->seq;
            arena_deinit(&a);
            if (ack) assert_true(feeder_acked(r->f, r->last_seq));
        }
        feeder_item_free(&i);
    }
    return n;
}

static void all_once(const uint8_t *seen) {
    for (unsigned i = 1; i <= N_EVENTS; i++) {
        if (seen[i] != 1) fail_msg("record %u came %u times", i, seen[i]);
    }
}

static void test_send(void **state) {
    (void)state;
    struct rig r;
    uint8_t seen[N_EVENTS + 1] = {0};
    begin(&r, false, 0);
    take(&r, N_EVENTS + 1, seen, true); /* until the end is said */
    assert_true(r.ended);
    all_once(seen);
    end(&r);
    assert_int_equal(r.report.events, N_EVENTS);
}

static void test_restart_goes_on(void **state) {
    (void)state;
    struct rig r;
    uint8_t seen[N_EVENTS + 1] = {0}, more[N_EVENTS + 1] = {0};
    begin(&r, true, 1 << 30);
    unsigned n = take(&r, 2000, seen, true);
    end(&r); /* what was read and not taken waits in the spool */
    begin(&r, true, 1 << 30);
    n += take(&r, N_EVENTS - n, seen, true);
    assert_int_equal(n, N_EVENTS);
    all_once(seen);
    end(&r);
    begin(&r, true, 1 << 30);
    assert_int_equal(take(&r, 1, more, true), 0); /* all acknowledged: nothing is read again */
    end(&r);
}

static void test_unacknowledged_comes_again(void **state) {
    (void)state;
    struct rig r;
    uint8_t seen[N_EVENTS + 1] = {0}, again[N_EVENTS + 1] = {0};
    begin(&r, true, 1 << 30);
    assert_int_equal(take(&r, N_EVENTS, seen, false), N_EVENTS);
    end(&r);
    begin(&r, true, 1 << 30);
    assert_int_equal(take(&r, N_EVENTS, again, true), N_EVENTS);
    all_once(again);
    end(&r);
}

static void test_full_spool_waits(void **state) {
    (void)state;
    struct rig r;
    uint8_t seen[N_EVENTS + 1] = {0};
    begin(&r, true, 60000);
    for (int i = 0; i < 1000 && !r.report.spool_full; i++) {
        take_notes(&r);
        nap();
    }
    assert_true(r.report.spool_full);
    end(&r); /* and with room for it (segments go when all in them is acknowledged) everything comes */
    begin(&r, true, 1 << 30);
    assert_int_equal(take(&r, N_EVENTS, seen, true), N_EVENTS);
    all_once(seen);
    end(&r);
}

static enum status damage_one(void *ctx, const char *name) {
    (void)ctx;
    if (strlen(name) != 20) return ST_OK;
    char *spool = file_join(dir, "spool"), *path = file_join(spool, name);
    struct buf b = {0};
    assert_int_equal(file_read(path, 1 << 26, &b, NULL), ST_OK);
    b.p[100] ^= 0x40; /* in the first entry */
    assert_int_equal(file_replace(path, buf_slice(&b), 0600, NULL), ST_OK);
    buf_free(&b);
    mem_free(path);
    mem_free(spool);
    return ST_OK;
}

static void test_damaged_spool_is_read_again(void **state) {
    (void)state;
    struct rig r;
    uint8_t seen[N_EVENTS + 1] = {0}, again[N_EVENTS + 1] = {0};
    begin(&r, true, 1 << 30);
    assert_int_equal(take(&r, N_EVENTS, seen, false), N_EVENTS);
    end(&r);
    char *spool = file_join(dir, "spool");
    assert_int_equal(file_list_dir(spool, damage_one, NULL, NULL), ST_OK);
    mem_free(spool);
    begin(&r, true, 1 << 30);
    take(&r, 3 * N_EVENTS, again, true); /* the readable rest of the spool and the source anew: nothing is missing */
    for (unsigned i = 1; i <= N_EVENTS; i++) {
        if (!again[i]) fail_msg("record %u is missing", i);
    }
    end(&r);
}

static unsigned n_batches, n_notes;
static enum status count(void *ctx, const char *name) {
    (void)ctx;
    if (strstr(name, ".txt"))
        n_notes++;
    else
        n_batches++;
    return ST_OK;
}

static void test_rejected_is_kept(void **state) {
    (void)state;
    struct rig r;
    begin(&r, false, 0);
    struct feeder_item *i = NULL;
    for (int k = 0; k < 1000 && !(i = feeder_take(r.f)); k++) nap();
    assert_non_null(i);
    struct outgoing *o = i->batch;
    i->batch = NULL;
    feeder_item_free(&i);
    feeder_rejected(r.f, o, ST_CORRUPT, "the header lies");
    feeder_write(r.f, "status", SLICE_LIT("host x\n"));
    end(&r);
    char *rejected = file_join(dir, "rejected"), *status = file_join(dir, "status");
    n_batches = n_notes = 0;
    assert_int_equal(file_list_dir(rejected, count, NULL, NULL), ST_OK);
    assert_int_equal(n_batches, 1);
    assert_int_equal(n_notes, 1);
    assert_true(file_exists(status));
    mem_free(rejected);
    mem_free(status);
}

static void no_log(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    (void)line;
}

int main(void) {
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_send),
        CASE(test_restart_goes_on),
        CASE(test_unacknowledged_comes_again),
        CASE(test_full_spool_waits),
        CASE(test_damaged_spool_is_read_again),
        CASE(test_rejected_is_kept),
    };
    log_redirect(no_log, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
