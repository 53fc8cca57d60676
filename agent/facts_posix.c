/* Facts about a Linux host. What cannot be found out stays empty: nothing here makes the agent fail. */
#include "facts.h"
#include "file.h"
#include "text.h"
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The first line of a small file. */
static void read_line(const char *path, struct buf *out) {
    if (file_read(path, 4096, out, NULL)) buf_clear(out);
    for (size_t i = 0; i < out->len; i++) {
        if (out->p[i] == '\n') out->len = i;
    }
}

/* PRETTY_NAME="Debian GNU/Linux 12 (bookworm)" */
static void distribution(char *out, size_t cap) {
    struct buf b = {0};
    out[0] = 0;
    if (file_read("/etc/os-release", 64 * 1024, &b, NULL) == ST_OK) {
        const char *at = strstr(buf_cstr(&b), "PRETTY_NAME=");
        at = at ? at + 12 : "";
        if (*at == '"') at++;
        size_t n = strcspn(at, "\"\n");
        snprintf(out, cap, "%.*s", (int)n, at);
    }
    buf_free(&b);
}

#define PLACE_LEN 8

/* Two processes that use one state directory say the same place; a copy of the directory is another place. */
static void make_instance(const char *state_dir, struct facts *f) {
    struct stat sb;
    uint8_t digest[32];
    struct buf b = {0};
    tls_random(f->instance, sizeof f->instance);
    if (stat(state_dir, &sb)) return;
    buf_printf(&b, "%zu:", f->machine_id.len);
    buf_slice_append(&b, buf_slice(&f->machine_id));
    buf_printf(&b, "%zu:", f->boot_id.len);
    buf_slice_append(&b, buf_slice(&f->boot_id));
    buf_printf(&b, "%llu:%llu", (unsigned long long)sb.st_dev, (unsigned long long)sb.st_ino);
    tls_sha256(buf_slice(&b), digest);
    memcpy(f->instance, digest, PLACE_LEN);
    buf_free(&b);
}

void facts_read(const char *state_dir, struct facts *f) {
    *f = (struct facts){0};
    struct utsname u;
    char dist[100];
    distribution(dist, sizeof dist);
    if (uname(&u) == 0)
        snprintf(f->os, sizeof f->os, "%.30s %.60s%s%.60s", u.sysname, u.release, *dist ? " " : "", dist);
    if (gethostname(f->hostname, sizeof f->hostname - 1)) f->hostname[0] = 0;
    const char *dot = strchr(f->hostname, '.');
    if (dot) snprintf(f->domain, sizeof f->domain, "%s", dot + 1);
    read_line("/etc/machine-id", &f->machine_id);
    read_line("/proc/sys/kernel/random/boot_id", &f->boot_id);
    time_t now = time(NULL);
    struct tm local, utc;
    if (localtime_r(&now, &local) && gmtime_r(&now, &utc)) {
        local.tm_isdst = utc.tm_isdst = 0;
        f->utc_offset_minutes = (int)(difftime(mktime(&local), mktime(&utc)) / 60);
    }
    make_instance(state_dir, f);
}

void facts_free(struct facts *f) {
    buf_free(&f->machine_id);
    buf_free(&f->boot_id);
}

void facts_usage(uint64_t *ret_cpu_ms, uint64_t *ret_rss_bytes) {
    struct rusage u;
    *ret_cpu_ms = *ret_rss_bytes = 0;
    if (getrusage(RUSAGE_SELF, &u) == 0) {
        *ret_cpu_ms = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
                      (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
    }
    struct buf b = {0};
    unsigned long long all = 0, resident = 0;
    read_line("/proc/self/statm", &b);
    if (sscanf(buf_cstr(&b), "%llu %llu", &all, &resident) == 2)
        *ret_rss_bytes = resident * (uint64_t)sysconf(_SC_PAGESIZE);
    buf_free(&b);
}

bool facts_is_terminal(void) {
    return isatty(STDERR_FILENO) == 1;
}
