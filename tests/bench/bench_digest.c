/* 9 DIGEST  CPU of turning stored blocks into indexes and the process table: made batches of Sysmon's mix, each with
 * process GUIDs of its own, go through ingest; then the digest runs over all of them at once, as after a rebuild.
 *
 *     bench_digest [BATCHES [EVENTS A BATCH]] */
#include "batch.h"
#include "clock.h"
#include "digest.h"
#include "ingest.h"
#include "log.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define T0 UINT64_C(133000000000000000)
#define CHANNEL "Microsoft-Windows-Sysmon/Operational"
#define HOSTS 50
#define EVENTS_A_PROCESS 12

static unsigned n_answered;

static void on_done(void *owner, const struct ingest_result *r) {
    (void)owner;
    if (r->st) abort();
    n_answered++;
}

static double cpu_of(struct stats *s, struct db *db, struct writer *w, const char *name) {
    struct stats_view v;
    stats_collect(s, db, w, NULL, &v);
    for (size_t i = 0; i < v.n_threads; i++) {
        if (strcmp(v.threads[i].name, name) == 0) return v.threads[i].cpu_s;
    }
    return 0;
}

/* One event of a process: its start, network connections, files, registry values, its end. */
static void add_event(struct batch_builder *b, uint64_t id, unsigned process, unsigned k) {
    static const uint32_t ids[EVENTS_A_PROCESS] = {1, 3, 11, 13, 7, 7, 12, 13, 3, 22, 10, 5};
    char guid[40], parent[40], text[32];
    uint32_t event_id = ids[k];
    struct event_data data[10];
    size_t n = 0;
    static const char *const rules[8] = {
        "-",         "technique_id=T1059.001,technique_name=PowerShell",
        "-",         "technique_id=T1547.001,technique_name=Registry Run Keys / Startup Folder",
        "Downloads", "technique_id=T1036,technique_name=Masquerading",
        "-",         "technique_id=T1071,technique_name=Application Layer Protocol"};
    data[n++] = (struct event_data){SLICE_LIT("RuleName"), slice_str(rules[(process + k) % 8]), EVENT_DATA};
    snprintf(guid, sizeof guid, "{%08x-1111-2222-3333-%012x}", process * 2654435761u, process);
    snprintf(parent, sizeof parent, "{%08x-1111-2222-3333-%012x}", (process / 4) * 2654435761u, process / 4);
    snprintf(text, sizeof text, "%u", 1000 + process % 9000);
    data[n++] = (struct event_data){SLICE_LIT("UtcTime"), SLICE_LIT("2022-06-18 04:26:39.500"), EVENT_DATA};
    data[n++] = (struct event_data){event_id == 10 ? SLICE_LIT("SourceProcessGUID") : SLICE_LIT("ProcessGuid"),
                                    slice_str(guid), EVENT_DATA};
    data[n++] = (struct event_data){SLICE_LIT("ProcessId"), slice_str(text), EVENT_DATA};
    data[n++] = (struct event_data){SLICE_LIT("Image"), SLICE_LIT("C:\\Windows\\System32\\svchost.exe"), EVENT_DATA};
    if (event_id == 1) {
        data[n++] = (struct event_data){SLICE_LIT("CommandLine"), SLICE_LIT("svchost.exe -k netsvcs -p -s Schedule"),
                                        EVENT_DATA};
        data[n++] = (struct event_data){SLICE_LIT("User"), SLICE_LIT("NT AUTHORITY\\SYSTEM"), EVENT_DATA};
        data[n++] = (struct event_data){SLICE_LIT("ParentProcessGuid"), slice_str(parent), EVENT_DATA};
        data[n++] =
            (struct event_data){SLICE_LIT("ParentImage"), SLICE_LIT("C:\\Windows\\System32\\services.exe"), EVENT_DATA};
    }
    if (event_id == 10) data[n++] = (struct event_data){SLICE_LIT("TargetProcessGUID"), slice_str(parent), EVENT_DATA};
    struct event ev = {.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                       .event_id = {.v = event_id, .present = true},
                       .record_id = {.v = id, .present = true},
                       .time = T0 + id * 100000,
                       .time_digits = 7,
                       .channel = SLICE_LIT(CHANNEL),
                       .computer = SLICE_LIT("PC"),
                       .body = EVENT_BODY_DATA,
                       .data = data,
                       .n_data = n};
    if (batch_add(b, &ev, id)) abort();
}

static void fill(struct ingest *in, unsigned n_batches, unsigned n_events) {
    uv_loop_t loop;
    struct ingest_door *door = NULL;
    struct batch_builder *b = batch_builder_new(0);
    if (uv_loop_init(&loop) || ingest_door_open(in, &loop, NULL, NULL, &door, NULL)) abort();
    for (unsigned i = 0; i < n_batches; i++) {
        struct buf block = {0}, body = {0};
        uint32_t header_len;
        uint64_t at = (uint64_t)(i / HOSTS) * n_events;
        batch_begin(b, SLICE_LIT(CHANNEL), SLICE_LIT(""), 1);
        for (unsigned k = 0; k < n_events; k++) {
            uint64_t id = 1 + at + k;
            add_event(b, id, (unsigned)(id / EVENTS_A_PROCESS) * HOSTS + i % HOSTS, (unsigned)(id % EVENTS_A_PROCESS));
        }
        if (batch_finish(b, &block, &header_len)) abort();
        buf_u32le(&body, header_len);
        buf_slice_append(&body, buf_slice(&block));
        buf_free(&block);
        ingest_put(door, 1 + i % HOSTS, &body, i + 1, on_done, NULL);
        while (!ingest_can_take(door)) uv_run(&loop, UV_RUN_ONCE);
    }
    while (n_answered < n_batches) uv_run(&loop, UV_RUN_ONCE);
    batch_builder_free(&b);
    ingest_door_close(door, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

int main(int argc, char **argv) {
    unsigned n_batches = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 500;
    unsigned n_events = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000;
    char dir[] = "/var/tmp/haechi-bench-XXXXXX", command[80];
    struct error err = {0};
    struct db_options d = {.map_bytes = (uint64_t)4 << 30};
    struct db *db = NULL;
    struct ingest *in = NULL;
    struct digest *digest = NULL;
    struct stats *stats = stats_new();
    log_set_level(LOG_WARN);
    if (!n_events || n_events > BATCH_MAX_EVENTS || !mkdtemp(dir) || db_open(dir, &d, &db, &err)) {
        fprintf(stderr, "bench_digest: %s\n", err.msg);
        return 1;
    }
    struct ingest_options o = {.db = db, .stats = stats, .quarantine_bytes = 1, .quarantine_files = 1};
    if (ingest_start(&o, &in, &err)) return 1;
    fill(in, n_batches, n_events);
    double million = (double)n_batches * n_events / 1e6;
    double writer = cpu_of(stats, db, ingest_writer(in), "writer");
    uint64_t began = clock_mono_ms();
    struct digest_options g = {.db = db, .writer = ingest_writer(in), .stats = stats, .idle_ms = 1};
    if (digest_start(&g, &digest, &err) || !digest_wait(digest, db_last_seq(db))) return 1;
    double wall = (double)(clock_mono_ms() - began) / 1000, cpu = cpu_of(stats, db, NULL, "digest");
    struct stats_view v;
    stats_collect(stats, db, ingest_writer(in), digest, &v);
    printf(
        "%u batches of %u events: writer %.2f s/M; digest %.2f s/M CPU, %.2f M events/s; stored %.1f + index %.1f bytes/event\n",
        n_batches, n_events, writer / million, cpu / million, million / wall, (double)v.store_bytes / million / 1e6,
        (double)v.index_bytes / million / 1e6);
    digest_stop(&digest);
    ingest_free(&in);
    db_close(&db);
    stats_free(&stats);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) ? 1 : 0;
}
