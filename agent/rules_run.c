/* What the rules' jobs do. Invariants: a configuration is on disk before the state that names it; Sysmon is the installed one, by its
 * absolute path, and its argument is our own file, checked against its digest right before. On the job's thread; blocking. */
#include "rules_run.h"
#include "child.h"
#include "crash.h"
#include "file.h"
#include "keystore.h"
#include "log.h"
#include "mem.h"
#include "queue.h"
#include "rules_internal.h"
#include "tls.h"

#include <stdio.h>

#define OUTPUT_MAX (256u * 1024) /* of Sysmon: all of it is judged, RULES_WORDS_MAX of it is reported */
#define CANARY_LIMIT_MS 10000u
#define CANARY_LIVES_MS 200 /* Sysmon looks at some facts of a process while it lives */

#define FILE_NAME_MAX 24
static void file_name(const uint8_t digest[RULES_DIGEST_LEN], char out[FILE_NAME_MAX]) {
    for (size_t i = 0; i < 8; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
    snprintf(out + 16, FILE_NAME_MAX - 16, ".xml");
}

void rules_run_read(const char *dir, struct buf *ret_state) {
    struct error err = {0};
    char *path = file_join(dir, "state");
    if (file_exists(path) && file_read(path, RULES_KEPT_MAX, ret_state, &err))
        log_error(AREA, "what was kept of the rules cannot be read: %s; they are asked for anew", err.msg);
    mem_free(path);
}

struct sweep {
    const char *dir;
    char keep[FILE_NAME_MAX];
};

static enum status sweep_one(void *ctx, const char *name) {
    const struct sweep *s = ctx;
    size_t n = strlen(name);
    if (n < 4 || strcmp(name + n - 4, ".xml") != 0 || strcmp(name, s->keep) == 0) return ST_OK;
    char *path = file_join(s->dir, name);
    (void)!file_remove(path, NULL); /* a file too many does no harm */
    mem_free(path);
    return ST_OK;
}

static enum status keep(const char *dir, struct rules_job *j) {
    struct sweep s = {.dir = dir};
    enum status st = keystore_dir(dir, &j->err);
    file_name(j->digest, s.keep);
    if (!st && j->xml.len) {
        char *path = file_join(dir, s.keep);
        st = file_replace(path, buf_slice(&j->xml), 0600, &j->err);
        mem_free(path);
        crash_point("rules-file");
    }
    if (!st && j->state.len) {
        char *path = file_join(dir, "state");
        st = file_replace(path, buf_slice(&j->state), 0600, &j->err);
        mem_free(path);
    }
    if (!st && j->xml.len) (void)!file_list_dir(dir, sweep_one, &s, NULL);
    if (st) error_prefix(&j->err, st, "the rules could not be kept");
    return st;
}

/* The file as Sysmon shall read it. */
static enum status check_file(const char *path, const uint8_t digest[RULES_DIGEST_LEN], struct error *err) {
    struct buf bytes = {0};
    uint8_t is[RULES_DIGEST_LEN] = {0};
    enum status st = file_read(path, RULES_XML_MAX, &bytes, err);
    if (!st) tls_sha256(buf_slice(&bytes), is);
    if (st || memcmp(is, digest, sizeof is) != 0)
        st = error_set(err, ST_CORRUPT, "%s is not the file that was ordered any more: push them again", path);
    buf_free(&bytes);
    return st;
}

static enum status run(const char *dir, const char *const *argv, unsigned time_limit_ms, struct rules_job *j) {
    struct child_run o = {
        .argv = argv, .dir = dir, .time_limit_ms = time_limit_ms, .max_output = OUTPUT_MAX, .give_up = &j->give_up};
    struct child_end e = {0};
    enum status st = child_run(&o, &e, &j->err);
    if (st) return st;
    j->output = e.output;
    j->exit_code = e.exit_code;
    j->timed_out = e.timed_out;
    j->gave_up = e.gave_up;
    j->crashed = e.crashed;
    return ST_OK;
}

static enum status apply(const char *dir, struct rules_job *j) {
    char name[FILE_NAME_MAX], lacks[RULES_REASON_MAX];
    sysmon_look(&j->before);
    j->after = j->before;
    rules_host_lacks(&j->before, lacks);
    if (*lacks) {
        j->host_lacks = true;
        return ST_OK;
    }
    file_name(j->digest, name);
    char *path = file_join(dir, name);
#if defined(_WIN32)
    for (char *p = path; *p; p++) {
        if (*p == '/') *p = '\\';
    }
#endif
    enum status st = check_file(path, j->digest, &j->err);
    if (!st) st = child_check_program(j->before.path, &j->err);
    if (!st) {
        const char *argv[] = {j->before.path, "-c", path, NULL};
        log_info(AREA, "running %s -c %s", j->before.path, path);
        st = run(dir, argv, j->time_limit_ms, j);
        crash_point("rules-applied");
    }
    if (!st) sysmon_look(&j->after);
    mem_free(path);
    return st;
}

static enum status start_canary(const char *dir, struct rules_job *j) {
    char self[1024];
    child_own_path(self, sizeof self);
    if (!*self) return error_set(&j->err, ST_NOTFOUND, "the agent does not know its own path");
    const char *argv[] = {self, "canary", j->canary, NULL};
    return run(dir, argv, CANARY_LIMIT_MS, j);
}

void rules_run_job(const char *dir, struct rules_job *j) {
    if (j->xml.len || j->state.len) {
        j->st = keep(dir, j);
        j->not_kept = j->st != ST_OK;
        if (!j->st) crash_point("rules-kept");
    }
    switch (j->work) {
    case RULES_LOOK: sysmon_look(&j->after); break;
    case RULES_CANARY:
        if (!j->st) j->st = start_canary(dir, j);
        break;
    case RULES_APPLY:
        if (!j->st) j->st = apply(dir, j);
        break;
    default: break;
    }
}

int rules_run_canary(const char *word) {
    void *nothing = NULL;
    struct queue *q = queue_new(1, 1, NULL, NULL);
    enum status st = queue_take(q, CANARY_LIVES_MS, &nothing); /* nobody puts anything: a pause */
    queue_free(&q);
    return st == ST_TIMEOUT && strstr(word, RULES_CANARY_WORD) ? 0 : 2;
}
