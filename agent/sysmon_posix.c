/* Sysmon for Linux: its directory, its process, and what it says of itself. What was learnt by starting it is kept in a list
 * that only grows, so that any thread may read while sysmon_ask adds to it. */
#include "sysmon.h"
#include "child.h"
#include "file.h"
#include "mem.h"
#include "tls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY "/opt/sysmon"
#define SERVICE "sysmon"
#define CONFIG_MAX (16u * 1024 * 1024)
#define ANSWER_MAX (1024u * 1024)
#define ANSWER_MS 2000u
#define OLD_SCHEMA "4.81" /* of all up to 1.3 */

struct asked { /* one program that was started */
    const struct asked *older;
    dev_t dev;
    ino_t ino;
    off_t size;
    time_t changed;
    char version[32], schema[16];
};

static char directory[512] = DIRECTORY;
static _Atomic(const struct asked *) asked;
static _Atomic long last_pid; /* where it was running when we last looked */

void sysmon_prepare(const char *dir) {
    if (dir && *dir && strlen(dir) < sizeof directory) memcpy(directory, dir, strlen(dir) + 1);
}

static const struct asked *answer_of(const struct stat *sb) {
    const struct asked *a = atomic_load(&asked);
    while (a && (a->dev != sb->st_dev || a->ino != sb->st_ino || a->size != sb->st_size || a->changed != sb->st_mtime))
        a = a->older;
    return a;
}

/* What follows `before` in the output of the program with that option, as far as it is digits and dots. */
static void ask(const char *program, const char *option, const char *before, char *out, size_t cap) {
    const char *const argv[] = {program, option, NULL};
    struct child_run o = {.argv = argv, .dir = "/", .time_limit_ms = ANSWER_MS, .max_output = ANSWER_MAX};
    struct child_end e = {0};
    if (child_check_program(program, NULL) || child_run(&o, &e, NULL)) return;
    const char *at = strstr(buf_cstr(&e.output), before);
    if (at) {
        at += strlen(before);
        snprintf(out, cap, "%.*s", (int)strspn(at, "0123456789."), at);
    }
    buf_free(&e.output);
}

void sysmon_ask(void) {
    struct stat sb;
    unsigned minor = 0;
    char *program = file_join(directory, "sysmon");
    if (stat(program, &sb) == 0 && S_ISREG(sb.st_mode) && !answer_of(&sb)) {
        struct asked *a = mem_zalloc(sizeof *a);
        *a = (struct asked){.older = atomic_load(&asked),
                            .dev = sb.st_dev,
                            .ino = sb.st_ino,
                            .size = sb.st_size,
                            .changed = sb.st_mtime};
        ask(program, "-h", "Sysmon v", a->version, sizeof a->version); /* "Sysmon v1.3.3 - Monitors system events" */
        ask(program, "-s", "schemaversion=\"", a->schema, sizeof a->schema); /* "<manifest schemaversion="4.81" ..." */
        if (!*a->schema && sscanf(a->version, "1.%5u", &minor) == 1 && minor <= 3)
            snprintf(a->schema, sizeof a->schema, OLD_SCHEMA);
        atomic_store(&asked, a);
    }
    mem_free(program);
}

/* ---- is it running? ---- */

/* A command line is no proof by itself, anybody can have one: the owner of the program must have it. */
static bool is_service(long pid, const char *program, uid_t owner) {
    char path[64], words[4096];
    struct stat sb;
    bool named = false, service = false;
    snprintf(path, sizeof path, "/proc/%ld", pid);
    if (pid <= 0 || stat(path, &sb) || sb.st_uid != owner) return false;
    snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, words, sizeof words - 1);
    close(fd);
    if (n <= 0) return false;
    words[n] = 0;
    unsigned at = 0;
    for (const char *w = words; w < words + n; w += strlen(w) + 1, at++) {
        if (at < 2 && strcmp(w, program) == 0) named = true; /* the second: a script and its interpreter */
        if (strcmp(w, "-service") == 0) service = true;
    }
    return named && service;
}

static enum sysmon_state look_for_process(const char *program, uid_t owner) {
    long pid = atomic_load(&last_pid);
    if (is_service(pid, program, owner)) return SYSMON_RUNNING;
    if (access("/proc/1/cmdline", R_OK)) return SYSMON_UNKNOWN; /* processes of others are hidden from us */
    DIR *d = opendir("/proc");
    if (!d) return SYSMON_UNKNOWN;
    enum sysmon_state found = SYSMON_STOPPED;
    for (const struct dirent *e = readdir(d); e && found == SYSMON_STOPPED; e = readdir(d)) {
        if (sscanf(e->d_name, "%9ld", &pid) != 1 || !is_service(pid, program, owner)) continue;
        found = SYSMON_RUNNING;
        atomic_store(&last_pid, pid);
    }
    closedir(d);
    return found;
}

static void may_apply(const char *config, uid_t owner, char *out, size_t cap) {
    if (geteuid() != 0 && geteuid() != owner)
        snprintf(out, cap, "the agent does not run as root, and Sysmon takes rules from root alone");
    else if (access(directory, W_OK) || (access(config, F_OK) == 0 && access(config, W_OK)))
        snprintf(out, cap, "%.80s cannot be written by the agent (%.40s)", directory, strerror(errno));
}

void sysmon_look(struct sysmon *ret) {
    struct sysmon s = {.state = SYSMON_ABSENT};
    struct stat sb;
    struct buf b = {0};
    char *program = file_join(directory, "sysmon"), *config = file_join(directory, "config.xml");
    if (stat(program, &sb) == 0 && S_ISREG(sb.st_mode)) {
        const struct asked *a = answer_of(&sb);
        s.state = look_for_process(program, sb.st_uid);
        if (a) {
            memcpy(s.version, a->version, sizeof s.version);
            memcpy(s.schema, a->schema, sizeof s.schema);
        }
        snprintf(s.service, sizeof s.service, SERVICE);
        snprintf(s.path, sizeof s.path, "%s", program);
        s.has_rules = file_read(config, CONFIG_MAX, &b, NULL) == ST_OK;
        if (s.has_rules) tls_sha256(buf_slice(&b), s.rules_digest);
        may_apply(config, sb.st_uid, s.cannot_apply, sizeof s.cannot_apply);
    } else if (errno == EACCES) { /* its directory is for root alone */
        s.state = look_for_process(program, 0) == SYSMON_RUNNING ? SYSMON_RUNNING : SYSMON_UNKNOWN;
        if (s.state == SYSMON_RUNNING) snprintf(s.service, sizeof s.service, SERVICE);
        snprintf(s.cannot_apply, sizeof s.cannot_apply,
                 "the agent does not run as root, and Sysmon takes rules from root alone");
    }
    buf_free(&b);
    mem_free(program);
    mem_free(config);
    *ret = s;
}
