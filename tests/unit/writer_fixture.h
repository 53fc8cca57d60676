/* For the tests of the ack path: a store with its writer, opened for each test, and the first line that it logs. */
#ifndef HAECHI_WRITER_FIXTURE_H
#define HAECHI_WRITER_FIXTURE_H

#include "store_fixture.h"

#include "log.h"

struct bed {
    char *dir;
    struct db *db;
    struct writer *w;
};

static writer_done_fn bed_done; /* NULL: store_done */
static struct db_options options = {.min_free_bytes = 1};
static atomic_uint n_log;
static char first_log[1024];

static inline void on_log(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    if (level > LOG_WARN) return;
    if (!atomic_fetch_add(&n_log, 1)) snprintf(first_log, sizeof first_log, "%s", line);
}

static inline void bed_open(struct bed *t) {
    struct writer_options o = store_writer_options();
    if (bed_done) o.done = bed_done;
    uint8_t guids[4 * GUID_LEN];
    must(db_open(t->dir, &options, &t->db, &store_err));
    must(index_load_tail(t->db, store_describe, guids, &store_err));
    must(writer_start(t->db, &o, &t->w, &store_err));
}

static inline void bed_close(struct bed *t) {
    writer_stop(&t->w);
    db_close(&t->db);
}

static inline int bed_setup(void **state) {
    struct bed *t = mem_zalloc(sizeof *t);
    atomic_store(&store_now, DAY0);
    atomic_store(&n_log, 0);
    options = (struct db_options){.min_free_bytes = 1};
    log_redirect(on_log, NULL);
    t->dir = store_dir();
    bed_open(t);
    *state = t;
    return 0;
}

static inline int bed_teardown(void **state) {
    struct bed *t = *state;
    bed_close(t);
    log_redirect(NULL, NULL);
    store_remove(t->dir);
    mem_free(t);
    return 0;
}

static inline uint64_t held(struct db *db, uint32_t host) {
    struct db_stream *s;
    size_t n;
    uint64_t sum = 0;
    must(db_streams(db, host, &s, &n, &store_err));
    for (size_t i = 0; i < n; i++) sum += ledger_count(s[i].ledger);
    db_streams_free(s, n);
    return sum;
}

#endif
