/* The simulator: real events (the sample of bench_batch, several times over, each time with record ids of its own) go into a store through
 * ingest; then configurations are simulated over all of them, alone and against another one.
 *
 *     bench_simulate [REPEATS [CONFIG [CONFIG NOW]]]
 *
 * HAECHI_SHARED: where the sample and the configurations are; without them there is nothing to measure. */
#include "batch.h"
#include "clock.h"
#include "file.h"
#include "ingest.h"
#include "log.h"
#include "mem.h"
#include "parse.h"
#include "simulate.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define CHANNEL "Microsoft-Windows-Sysmon/Operational"
#define A_BATCH 1000u
#define PASSES 3u /* times that each host's events are judged in one run */

static unsigned n_answered;

static void on_done(void *owner, const struct ingest_result *r) {
    (void)owner;
    if (r->st) abort();
    n_answered++;
}

static void read_lines(const char *path, struct buf *out) {
    struct buf cmd = {0};
    buf_printf(&cmd, "zstd -dc '%s'", path);
    FILE *f = popen(buf_cstr(&cmd), "r");
    for (size_t n = 1; f && n; out->len += n) {
        buf_reserve(out, 1 << 20);
        n = fread(out->p + out->len, 1, 1 << 20, f);
    }
    if (f) pclose(f);
    buf_free(&cmd);
}

struct feed {
    struct ingest_door *door;
    uv_loop_t loop;
    struct batch_builder *b;
    unsigned n_batches;
    uint64_t next_id;
};

static void send_batch(struct feed *f) {
    struct buf block = {0}, body = {0};
    uint32_t header_len;
    if (batch_finish(f->b, &block, &header_len)) abort();
    buf_u32le(&body, header_len);
    buf_slice_append(&body, buf_slice(&block));
    buf_free(&block);
    ingest_put(f->door, 1, &body, ++f->n_batches, on_done, NULL);
    while (!ingest_can_take(f->door)) uv_run(&f->loop, UV_RUN_ONCE);
    batch_begin(f->b, SLICE_LIT(CHANNEL), SLICE_LIT(""), 1);
}

static uint64_t fill(struct ingest *in, struct slice lines, unsigned repeats) {
    struct feed f = {.b = batch_builder_new(0), .next_id = 1};
    struct parser *p = parser_new();
    struct arena a;
    arena_init(&a, EVENT_ARENA_CAP);
    if (uv_loop_init(&f.loop) || ingest_door_open(in, &f.loop, NULL, NULL, &f.door, NULL)) abort();
    batch_begin(f.b, SLICE_LIT(CHANNEL), SLICE_LIT(""), 1);
    for (unsigned i = 0; i < repeats; i++) {
        for (struct slice rest = lines; rest.len;) {
            const uint8_t *end = memchr(rest.p, '\n', rest.len);
            struct slice line = slice_head(rest, end ? (size_t)(end - rest.p) : rest.len);
            struct event ev;
            rest = slice_from(rest, line.len + 1);
            arena_reset(&a);
            if (!line.len || parse_event(p, line, &a, &ev, NULL)) continue;
            ev.record_id = (struct event_num){f.next_id, true, {NULL, 0}};
            enum status st = batch_add(f.b, &ev, f.next_id);
            if (st == ST_TOOBIG) {
                send_batch(&f);
                st = batch_add(f.b, &ev, f.next_id);
            }
            if (st) abort();
            f.next_id++;
            if (batch_count(f.b) == A_BATCH) send_batch(&f);
        }
    }
    if (batch_count(f.b)) send_batch(&f);
    while (n_answered < f.n_batches) uv_run(&f.loop, UV_RUN_ONCE);
    batch_builder_free(&f.b);
    parser_free(&p);
    arena_deinit(&a);
    ingest_door_close(f.door, NULL, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    uv_loop_close(&f.loop);
    return f.next_id - 1;
}

static struct ruleset *rules(const char *path) {
    struct buf xml = {0};
    struct ruleset *r = NULL;
    struct error err = {0};
    if (file_read(path, RULES_XML_MAX, &xml, &err) || ruleset_parse(buf_slice(&xml), &r, &err)) {
        fprintf(stderr, "bench_simulate: %s: %s\n", path, err.msg);
        exit(1);
    }
    buf_free(&xml);
    return r;
}

static double cpu_s(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u)) abort();
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void measure(struct db *db, const char *what, const char *candidate, const char *current, unsigned n_threads) {
    struct simulate_spec spec = {.db = db, .candidate = rules(candidate), .n_hosts = PASSES, .n_threads = n_threads};
    struct error err = {0};
    struct buf out = {0};
    spec.hosts = mem_zalloc(PASSES * sizeof *spec.hosts);
    for (size_t i = 0; i < PASSES; i++) {
        spec.hosts[i] = (struct simulate_host){1, mem_strdup("host"), current ? 0 : SIMULATE_NO_RULES};
    }
    if (current) {
        spec.current = mem_zalloc(sizeof *spec.current);
        spec.current[0] = (struct simulate_current){rules(current), mem_strdup("now 1")};
        spec.n_current = 1;
    }
    uint64_t began = clock_mono_ms();
    double cpu = cpu_s();
    struct simulate *s = simulate_new(&spec);
    double compiled = cpu_s() - cpu;
    enum status st;
    while ((st = simulate_step(s, 200, &err)) == ST_OK) continue;
    if (st != ST_END) {
        fprintf(stderr, "bench_simulate: %s\n", err.msg);
        exit(1);
    }
    while (simulate_write(s, &out, 1 << 16) == ST_OK) buf_clear(&out);
    double million = (double)simulate_progress(s).events / 1e6, wall = (double)(clock_mono_ms() - began) / 1000;
    printf("%-34s %u threads: %5.2f M events/s, %.2f s/M CPU (%.3f s to compile)\n", what, n_threads, million / wall,
           (cpu_s() - cpu - compiled) / million, compiled);
    simulate_free(&s);
    buf_free(&out);
}

int main(int argc, char **argv) {
    unsigned repeats = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 5;
    const char *shared = getenv("HAECHI_SHARED") ? getenv("HAECHI_SHARED") : "../shared";
    char sample[600], modular[600], swift[600], dir[] = "/var/tmp/haechi-bench-XXXXXX", command[80];
    snprintf(sample, sizeof sample, "%s/data/bench/sysmon-100k.xml.zst", shared);
    snprintf(modular, sizeof modular, "%s/data/configs/sysmon-modular/sysmonconfig.xml", shared);
    snprintf(swift, sizeof swift, "%s/data/configs/swiftonsecurity/sysmonconfig-export.xml", shared);
    if (access(sample, R_OK) || access(modular, R_OK)) {
        printf("skipped: %s or %s is not there\n", sample, modular);
        return 0;
    }
    struct error err = {0};
    struct db_options d = {.map_bytes = (uint64_t)4 << 30};
    struct db *db = NULL;
    struct ingest *in = NULL;
    struct stats *stats = stats_new();
    struct buf lines = {0};
    log_set_level(LOG_WARN);
    if (!mkdtemp(dir) || db_open(dir, &d, &db, &err)) {
        fprintf(stderr, "bench_simulate: %s\n", err.msg);
        return 1;
    }
    struct ingest_options o = {.db = db, .stats = stats, .quarantine_bytes = 1, .quarantine_files = 1};
    if (ingest_start(&o, &in, &err)) return 1;
    read_lines(sample, &lines);
    uint64_t n = fill(in, buf_slice(&lines), repeats);
    buf_free(&lines);
    printf("%llu events stored, each judged %u times\n", (unsigned long long)n, PASSES);
    const char *first = argc > 2 ? argv[2] : modular, *second = argc > 3 ? argv[3] : swift;
    measure(db, "sysmon-modular", first, NULL, 1);
    measure(db, "sysmon-modular", first, NULL, 2);
    measure(db, "SwiftOnSecurity", second, NULL, 2);
    measure(db, "sysmon-modular against Swift's", first, second, 2);
    ingest_free(&in);
    db_close(&db);
    stats_free(&stats);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) ? 1 : 0;
}
