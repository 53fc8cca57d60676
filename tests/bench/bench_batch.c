/* Builds and opens blocks of real events: bytes and CPU time per event by batch size, with and without the dictionary.
 *
 *     bench_batch [EVENTS.xml[.zst] [COMPUTER...]]       only these computers' events; by default those that the
 *                                                        dictionary was not trained on
 *     bench_batch --samples DIR EVENTS.xml[.zst] COMPUTER...
 *                                                        writes encoded events into DIR/NNNNNN, for proto/dict/train.sh
 */
#include "batch_internal.h"
#include "mem.h"
#include "parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 45000u
#define MAX_HOSTS 64u
#define SAMPLES_PER_ID 250u /* of one event id on one host: the rare kinds count too */

static const char *const unseen[] = {"DESKTOP-CQF82L6", "Pedro01", "MXS01.azsentinel.local"};

struct host {
    struct slice name;
    struct event *events;
    size_t n, cap;
    unsigned sampled[256];
};

static struct host hosts[MAX_HOSTS];
static size_t n_hosts, n_events;
static struct arena arena;

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_batch: %s: %s\n", what, why);
    exit(1);
}

/* Whole file; a .zst one through the zstd program. Kept to the end: the events borrow from it. */
static struct slice read_all(const char *path) {
    struct buf b = {0}, cmd = {0};
    size_t len = strlen(path), n;
    bool packed = len > 4 && strcmp(path + len - 4, ".zst") == 0;
    buf_printf(&cmd, "zstd -dc '%s'", path);
    FILE *f = packed ? popen(buf_cstr(&cmd), "r") : fopen(path, "rb");
    if (!f) die(path, "cannot be opened");
    do {
        buf_reserve(&b, 1 << 20);
        n = fread(b.p + b.len, 1, 1 << 20, f);
        b.len += n;
    } while (n);
    if (packed ? pclose(f) : fclose(f)) die(path, "cannot be read");
    buf_free(&cmd);
    return buf_slice(&b);
}

static struct host *host_of(struct slice name, char *const *only, size_t n_only) {
    bool wanted = !n_only;
    for (size_t i = 0; i < n_only; i++) wanted |= slice_eq_str(name, only[i]);
    if (!wanted) return NULL;
    for (size_t i = 0; i < n_hosts; i++) {
        if (slice_eq(hosts[i].name, name)) return &hosts[i];
    }
    if (n_hosts == MAX_HOSTS) return NULL;
    hosts[n_hosts].name = name;
    return &hosts[n_hosts++];
}

static void load(struct slice xml, char *const *only, size_t n_only, size_t max) {
    struct parser *p = parser_new();
    arena_init(&arena, SIZE_MAX / 2);
    while (xml.len && n_events < max) {
        const uint8_t *nl = memchr(xml.p, '\n', xml.len);
        struct slice line = slice_head(xml, nl ? (size_t)(nl - xml.p) : xml.len);
        xml = slice_from(xml, line.len + 1);
        struct event ev;
        struct error err;
        if (!line.len) continue;
        if (parse_event(p, line, &arena, &ev, &err)) die("event", err.msg);
        struct host *h = host_of(ev.computer, only, n_only);
        if (!h) continue;
        void *events = h->events;
        mem_grow(&events, h->n, &h->cap, sizeof *h->events);
        h->events = events;
        h->events[h->n++] = ev;
        n_events++;
    }
    parser_free(&p);
}

static void write_samples(const char *dir) {
    unsigned n = 0;
    for (size_t k = 0; k < n_hosts; k++) {
        for (size_t i = 0; i < hosts[k].n; i++) {
            const struct event *ev = &hosts[k].events[i];
            if (hosts[k].sampled[ev->event_id.v & 255]++ >= SAMPLES_PER_ID) continue;
            struct buf b = {0}, path = {0};
            if (event_encode(ev, &b)) continue;
            buf_printf(&path, "%s/%06u", dir, n++);
            FILE *f = fopen(buf_cstr(&path), "wb");
            if (!f || fwrite(b.p, 1, b.len, f) != b.len || fclose(f)) die(buf_cstr(&path), "cannot be written");
            buf_free(&b);
            buf_free(&path);
        }
    }
    printf("%u samples of %zu hosts in %s\n", n, n_hosts, dir);
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct result {
    size_t events, batches, header, guids, columns, columns_raw, payload, payload_raw;
    size_t zstd_bytes;
    double build_s, parse_s, check_s, columns_s, payload_s;
};

static void must(enum status st, const struct error *err) {
    if (st) die(status_name(st), err ? err->msg : "");
}

static void open_block(struct batch_reader *r, struct arena *a, struct slice block, uint32_t header_len,
                       struct result *res) {
    struct batch_header h;
    struct batch_columns c;
    struct slice header = slice_head(block, header_len), body = slice_from(block, header_len), payload;
    struct error err;
    double t[5];
    t[0] = cpu_s();
    for (int i = 0; i < 16; i++) {
        arena_reset(a);
        must(batch_header_parse(header, a, &h, &err), &err);
    }
    t[1] = cpu_s();
    must(batch_check(&h, header, body, &err), &err);
    t[2] = cpu_s();
    must(batch_open_columns(r, &h, body, &c, &err), &err);
    t[3] = cpu_s();
    must(batch_open_payload(r, &h, body, &payload, &err), &err);
    t[4] = cpu_s();
    res->parse_s += (t[1] - t[0]) / 16;
    res->check_s += t[2] - t[1];
    res->columns_s += t[3] - t[2];
    res->payload_s += t[4] - t[3];
    res->events += h.n_events;
    res->batches++;
    res->header += header.len;
    res->guids += h.guids.len;
    res->columns += h.columns_len;
    res->columns_raw += h.columns_raw_len;
    res->payload += h.payload_len;
    res->payload_raw += h.payload_raw_len;
}

static struct result run(size_t per_batch, bool dict) {
    struct result res = {0};
    struct batch_builder *b = batch_builder_new(0);
    struct batch_reader *r = batch_reader_new();
    struct arena a;
    arena_init(&a, 1 << 20);
    struct buf out = {0};
    uint32_t header_len;
    if (!dict) batch_builder_no_dict(b);
    for (size_t k = 0; k < n_hosts; k++) {
        const struct host *h = &hosts[k];
        for (size_t i = 0; i < h->n;) {
            double t0 = cpu_s();
            batch_begin(b, h->events[i].channel, (struct slice){NULL, 0}, EPOCH_FIND);
            while (i < h->n && batch_count(b) < per_batch) {
                enum status st = batch_add(b, &h->events[i], h->events[i].record_id.v);
                if (st == ST_TOOBIG && batch_count(b)) break;
                must(st, NULL);
                i++;
            }
            buf_clear(&out);
            must(batch_finish(b, &out, &header_len), NULL);
            res.build_s += cpu_s() - t0;
            open_block(r, &a, buf_slice(&out), header_len, &res);
        }
    }
    res.zstd_bytes = batch_builder_zstd_bytes(b);
    buf_free(&out);
    arena_deinit(&a);
    batch_reader_free(&r);
    batch_builder_free(&b);
    return res;
}

static void print_row(size_t per_batch, const char *dict, const struct result *r) {
    double n = (double)r->events, us = 1e6 / n;
    printf("%6zu  %-5s %7.2f %6.1f %6.2f %8.1f %8.1f | %7.3f %7.3f %7zu | %6.0f %7.3f %7.3f %7.3f\n", per_batch, dict,
           (double)r->header / n, (double)r->guids / n, (double)r->columns / n, (double)r->payload / n,
           (double)(r->header + r->columns + r->payload) / n, r->build_s * us,
           (double)r->payload_raw / r->build_s / 1e6 / 1000, r->zstd_bytes / 1024,
           r->parse_s * 1e9 / (double)r->batches, r->check_s * us, r->columns_s * us, r->payload_s * us);
}

int main(int argc, char **argv) {
    struct buf path = {0};
    const char *shared = getenv("HAECHI_SHARED"), *samples = NULL;
    buf_printf(&path, "%s/data/bench/sysmon-100k.xml.zst", shared ? shared : "../shared");
    char **arg = argv + 1, **end = argv + argc;
    if (end - arg >= 2 && strcmp(arg[0], "--samples") == 0) {
        samples = arg[1];
        arg += 2;
    }
    const char *file = arg < end ? *arg++ : buf_cstr(&path);
    if (access(file, R_OK) != 0) {
        printf("skipped: %s is not there\n", file);
        return 0;
    }
    size_t n_only = (size_t)(end - arg);
    char *const *only = n_only ? arg : (char *const *)(uintptr_t)unseen;
    if (!n_only && !samples) n_only = sizeof unseen / sizeof *unseen;
    load(read_all(file), only, n_only, samples ? SIZE_MAX : MAX_EVENTS);
    if (samples) {
        write_samples(samples);
        return 0;
    }
    printf("%zu events of %zu hosts\n", n_events, n_hosts);
    printf("                 bytes/event                                | build                    | open, us/event\n");
    printf(
        "events  dict   header  guids columns payload    total |  us/ev     GB/s zstd KB | header  digest columns payload\n"
        "                                                                                   ns/batch\n");
    static const size_t sizes[] = {20, 100, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct result without = run(sizes[i], false), with = run(sizes[i], true);
        print_row(sizes[i], "no", &without);
        print_row(sizes[i], "yes", &with);
    }
    buf_free(&path);
    return 0;
}
