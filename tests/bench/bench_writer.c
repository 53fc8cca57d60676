/* The store alone: acked events a second, the writer's CPU, bytes stored and written, commit times; then the index run.
 *
 *     bench_writer [MILLION_EVENTS [DIR]]
 *
 * Blocks are random bytes of the sizes that real ones have: 1,000 events in 54 KB with 86 process GUIDs, 20 events in 1.3
 * KB with 7. Nothing is decoded or checked: this is the part behind the sessions. */
#include "clock.h"
#include "db.h"
#include "file.h"
#include "index.h"
#include "keys.h"
#include "ledger.h"
#include "mem.h"
#include "writer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SLACK_MS 10

struct shape {
    const char *name;
    uint32_t n_events, hosts, window; /* window: batches in flight, of all hosts */
    size_t header_len, len;
    unsigned n_guids;
    double rate; /* events a second; 0: as fast as it goes */
};

static const struct shape shapes[] = {
    {"8 hosts x 1,000 events, flat out", 1000, 8, 256, 3200, 54200, 86, 0},
    {"1,000 hosts x 20 events, flat out", 20, 1000, 8000, 220, 1290, 7, 0},
    {"1,000 hosts x 20 events, 300,000/s", 20, 1000, 8000, 220, 1290, 7, 300000},
    {"1,000 hosts x 20 events, 50,000/s", 20, 1000, 8000, 220, 1290, 7, 50000},
};

struct slot {
    struct writer_item item;
    uint64_t first_id, put_us;
    uint8_t guids[86 * GUID_LEN];
    struct slot *next;
};

struct bench {
    const struct shape *shape;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct slot *free;
    size_t n_out;
    uint32_t *ack_us;
    size_t n_acks;
};

static uint64_t now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static double thread_cpu(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t bytes_written(void) {
    FILE *f = fopen("/proc/self/io", "r");
    char line[128];
    unsigned long long n = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "write_bytes: %llu", &n) == 1) break;
    }
    if (f) fclose(f);
    return n;
}

static void check(enum status st, const struct error *err) {
    if (!st) return;
    fprintf(stderr, "bench_writer: %s: %s\n", status_name(st), err->msg);
    exit(1);
}

static enum status admit(void *ctx, struct writer *w, struct writer_item *item, struct error *err) {
    (void)ctx;
    struct slot *s = item->owner;
    struct writer_stream stream;
    uint64_t first = s->first_id, last = first + item->block.n_events - 1;
    enum status st = writer_stream_get(w, item->block.host, item->block.computer, item->block.channel, 1, &stream, err);
    if (st) return st;
    if (ledger_held(stream.ledger, first, last)) return error_set(err, ST_EXISTS, "held already");
    struct ledger_span span = {first, last, item->block.min_time, item->block.max_time};
    writer_place(w, item, stream.id, NULL, 0, &span, 1, item->block.n_events);
    return ST_OK;
}

static void done(void *ctx, struct writer_item *item, enum status st, const struct error *err) {
    struct bench *b = ctx;
    struct slot *s = item->owner;
    check(st, err);
    pthread_mutex_lock(&b->lock);
    b->ack_us[b->n_acks++] = (uint32_t)(now_us() - s->put_us);
    s->next = b->free;
    b->free = s;
    b->n_out--;
    pthread_cond_signal(&b->freed);
    pthread_mutex_unlock(&b->lock);
}

static void fill_guids(const struct shape *sh, uint32_t host, uint64_t nth, uint8_t *out) {
    unsigned n_new =
        sh->n_events * 6 / 100 + 1; /* real hosts: about 6 new processes in 100 events, the rest lives on */
    for (unsigned i = 0; i < sh->n_guids; i++) {
        memset(out + i * GUID_LEN, 0, GUID_LEN);
        key_put_u32(out + i * GUID_LEN, host);
        key_put_u64(out + i * GUID_LEN + 8, i < n_new ? nth * n_new + i + 1000 : (nth / 50 + i) % 1000);
    }
}

static struct slot *take_slot(struct bench *b) {
    pthread_mutex_lock(&b->lock);
    while (!b->free) pthread_cond_wait(&b->freed, &b->lock);
    struct slot *s = b->free;
    b->free = s->next;
    b->n_out++;
    pthread_mutex_unlock(&b->lock);
    return s;
}

static void produce(struct bench *b, struct writer *w, uint64_t n_batches) {
    const struct shape *sh = b->shape;
    uint64_t began = now_us();
    for (uint64_t i = 0; i < n_batches; i++) {
        if (sh->rate > 0) {
            uint64_t due = began + (uint64_t)((double)(i * sh->n_events) * 1e6 / sh->rate);
            while (now_us() < due) usleep(500);
        }
        struct slot *s = take_slot(b);
        uint32_t host = 1 + (uint32_t)(i % sh->hosts);
        s->first_id = 1 + i / sh->hosts * sh->n_events;
        s->item.block.host = host;
        s->item.block.min_time = clock_wall();
        s->item.block.max_time = s->item.block.min_time + FILETIME_SECOND;
        fill_guids(sh, host, i / sh->hosts, s->guids);
        s->put_us = now_us();
        while (writer_put(w, &s->item)) usleep(200);
    }
    pthread_mutex_lock(&b->lock);
    while (b->n_out) pthread_cond_wait(&b->freed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

static double commit_ms(const struct writer_state *s, double part) {
    uint64_t seen = 0;
    for (int i = 0; i < WRITER_BUCKETS; i++) {
        double from = i ? (double)(UINT64_C(1) << (i - 1)) : 0, to = (double)(UINT64_C(1) << i);
        double want = part * (double)s->n_commits - (double)seen;
        if (s->commit_us_bucket[i] && want <= (double)s->commit_us_bucket[i]) {
            return (from + (to - from) * want / (double)s->commit_us_bucket[i]) / 1000;
        }
        seen += s->commit_us_bucket[i];
    }
    return (double)s->commit_us_max / 1000;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* What the digest does with the blocks, without decoding them. */
static void index_all(struct db *db, const struct shape *sh, double millions) {
    struct error err;
    double cpu = thread_cpu();
    uint64_t seq;
    char day[DB_DAY_LEN];
    uint64_t *nth = mem_zalloc((sh->hosts + 1) * sizeof *nth);
    uint8_t guids[86 * GUID_LEN];
    while (index_next(db, &seq, day, &err) == ST_OK) {
        struct db_block *blocks;
        size_t n;
        uint64_t next;
        check(db_blocks_from(db, seq, 20000, &blocks, &n, &next, &err), &err);
        struct index_run *run = index_run_new(db, day);
        for (size_t i = 0; i < n; i++) {
            fill_guids(sh, blocks[i].host, nth[blocks[i].host]++, guids);
            index_run_block(run, &blocks[i], slice_of(guids, sh->n_guids * GUID_LEN));
        }
        check(index_run_flush(run, next - 1, &err), &err);
        index_run_free(&run);
        mem_free(blocks);
    }
    cpu = thread_cpu() - cpu;
    struct db_partition *p;
    size_t n_parts = db_partitions(db, &p);
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_parts; i++) bytes += p[i].index_bytes;
    mem_free(p);
    mem_free(nth);
    printf("  index: %.3f CPU s/M, %.1f B/ev stored\n", cpu / millions, (double)bytes / millions / 1e6);
}

static void run(const struct shape *sh, double millions, const char *dir) {
    struct error err;
    struct db *db;
    struct writer *w;
    struct bench b = {.shape = sh};
    if (sh->rate > 0 && millions * 1e6 > sh->rate * 8) millions = sh->rate * 8 / 1e6;
    uint64_t n_batches = (uint64_t)(millions * 1e6) / sh->n_events;
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.freed, NULL);
    b.ack_us = mem_alloc(n_batches * sizeof *b.ack_us);
    struct slot *slots = mem_zalloc(sh->window * sizeof *slots);
    uint8_t *bytes = mem_alloc(sh->len);
    for (size_t i = 0; i < sh->len; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 11);
    for (uint32_t i = 0; i < sh->window; i++) {
        slots[i].item = (struct writer_item){.owner = &slots[i],
                                             .block = {.channel = SLICE_LIT("Microsoft-Windows-Sysmon/Operational"),
                                                       .bytes = slice_of(bytes, sh->len),
                                                       .header_len = (uint32_t)sh->header_len,
                                                       .n_events = sh->n_events,
                                                       .guids = slice_of(slots[i].guids, sh->n_guids * GUID_LEN)}};
        list_init(&slots[i].item.link);
        slots[i].next = b.free;
        b.free = &slots[i];
    }
    check(db_open(dir, NULL, &db, &err), &err);
    struct writer_options o = {.spacing_ms = SLACK_MS, .admit = admit, .done = done, .ctx = &b};
    check(writer_start(db, &o, &w, &err), &err);
    uint64_t written = bytes_written(), began = now_us();
    produce(&b, w, n_batches);
    double wall = (double)(now_us() - began) / 1e6;
    written = bytes_written() - written;
    struct writer_state s;
    writer_get_state(w, &s);
    struct db_partition *p;
    size_t n_parts = db_partitions(db, &p);
    uint64_t stored = 0;
    for (size_t i = 0; i < n_parts; i++) stored += p[i].bytes;
    mem_free(p);
    writer_stop(&w);
    qsort(b.ack_us, b.n_acks, sizeof *b.ack_us, by_value);
    double events = (double)s.n_events;
    printf("%s: %.0f events in %.2f s\n", sh->name, events, wall);
    printf("  %.2f M ev/s acked, writer %.3f CPU s/M, stored %.1f B/ev, written %.1f B/ev\n", events / wall / 1e6,
           s.cpu_s / events * 1e6, (double)stored / events, (double)written / events);
    printf("  %llu commits, p50 %.1f p99 %.1f max %.1f ms; ack p50 %.1f p99 %.1f ms\n", (unsigned long long)s.n_commits,
           commit_ms(&s, 0.5), commit_ms(&s, 0.99), (double)s.commit_us_max / 1000, b.ack_us[b.n_acks / 2] / 1000.0,
           b.ack_us[b.n_acks * 99 / 100] / 1000.0);
    index_all(db, sh, events / 1e6);
    db_close(&db);
    mem_free(b.ack_us);
    mem_free(slots);
    mem_free(bytes);
    fflush(stdout);
}

int main(int argc, char **argv) {
    double millions = argc > 1 ? atof(argv[1]) : 6;
    const char *parent = argc > 2 ? argv[2] : getenv("TMPDIR");
    if (!(millions > 0)) {
        fprintf(stderr, "usage: bench_writer [MILLION_EVENTS [DIR]]\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct buf dir = {0}, cmd = {0};
        buf_printf(&dir, "%s/bench-writer-%ld-%zu", parent && *parent ? parent : "/tmp", (long)getpid(), i);
        run(&shapes[i], millions, buf_cstr(&dir));
        buf_printf(&cmd, "rm -rf '%s'", buf_cstr(&dir));
        if (system(buf_cstr(&cmd))) fprintf(stderr, "bench_writer: cannot remove %s\n", buf_cstr(&dir));
        buf_free(&dir);
        buf_free(&cmd);
    }
    return 0;
}
