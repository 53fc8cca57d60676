/* Refused batches on disk. Several work threads may put at once: the counts are atomic and reserved before writing. */
#include "quarantine.h"
#include "clock.h"
#include "file.h"
#include "log.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

struct quarantine {
    char *dir;
    uint64_t max_bytes, max_files;
    _Atomic uint64_t bytes, files, number;
    struct stats *stats;
};

static enum status count_one(void *ctx, const char *name) {
    struct quarantine *q = ctx;
    uint64_t len = 0;
    char *path = file_join(q->dir, name);
    if (!file_size(path, &len, NULL)) {
        q->bytes += len;
        if (strstr(name, ".batch")) q->files++;
    }
    mem_free(path);
    return ST_OK;
}

MUST_USE enum status quarantine_open(const char *data_dir, uint64_t max_bytes, uint64_t max_files, struct stats *stats,
                                     struct quarantine **ret, struct error *err) {
    struct quarantine *q = mem_zalloc(sizeof *q);
    q->dir = file_join(data_dir, "quarantine");
    q->max_bytes = max_bytes;
    q->max_files = max_files;
    q->stats = stats;
    enum status st = file_make_dir(q->dir, 0700, err);
    if (!st) st = file_list_dir(q->dir, count_one, q, err);
    if (st) {
        quarantine_close(&q);
        return st;
    }
    stats_add(stats, STATS_quarantine_bytes, (int64_t)q->bytes);
    stats_add(stats, STATS_quarantine_files, (int64_t)q->files);
    *ret = q;
    return ST_OK;
}

void quarantine_close(struct quarantine **q) {
    if (!*q) return;
    mem_free((*q)->dir);
    mem_free(*q);
    *q = NULL;
}

static bool reserve(struct quarantine *q, uint64_t len) {
    if (atomic_fetch_add(&q->files, 1) < q->max_files) {
        if (atomic_fetch_add(&q->bytes, len) + len <= q->max_bytes) return true;
        atomic_fetch_sub(&q->bytes, len);
    }
    atomic_fetch_sub(&q->files, 1);
    return false;
}

static enum status write_file(struct quarantine *q, const char *stem, const char *ending, struct slice bytes,
                              struct error *err) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", stem, ending);
    char *path = file_join(q->dir, name);
    enum status st = file_replace(path, bytes, 0600, err);
    mem_free(path);
    return st;
}

void quarantine_put(struct quarantine *q, uint32_t host, struct slice bytes, const char *reason) {
    static _Thread_local struct log_limit limit;
    unsigned more;
    uint64_t len = bytes.len + strlen(reason) + 1;
    if (!reserve(q, len)) {
        stats_add(q->stats, STATS_quarantine_dropped, 1);
        if (log_limit_pass(&limit, 60000, &more)) {
            log_warn("quarantine", "%s is full (%llu files): rejected batches are dropped; look at it and empty it",
                     q->dir, (unsigned long long)q->max_files);
        }
        return;
    }
    char now[FILETIME_TEXT_MAX], stem[80];
    filetime_format(clock_wall(), 3, now);
    snprintf(stem, sizeof stem, "%s-host%u-%llu", now, host, (unsigned long long)(atomic_fetch_add(&q->number, 1) + 1));
    struct error err = {0};
    struct buf text = {0};
    buf_str(&text, reason);
    buf_byte(&text, '\n');
    enum status st = write_file(q, stem, "batch", bytes, &err);
    if (!st) st = write_file(q, stem, "txt", buf_slice(&text), &err);
    buf_free(&text);
    if (st) {
        atomic_fetch_sub(&q->files, 1);
        atomic_fetch_sub(&q->bytes, len);
        stats_add(q->stats, STATS_quarantine_dropped, 1);
        log_error("quarantine", "a rejected batch of host %u could not be kept: %s", host, err.msg);
        return;
    }
    stats_add(q->stats, STATS_quarantine_files, 1);
    stats_add(q->stats, STATS_quarantine_bytes, (int64_t)len);
}
