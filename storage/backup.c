/* Hot backup of what is not derived.
 *
 * Order: the events day by day, oldest first, then fleet/, then plain files (keys and certificates of the collector's
 * CA), then "format". Fleet after events: a host that enrols meanwhile is then known to the copy without events, which
 * is harmless; the other way round the copy would hold events of a host number that a restored collector would give to
 * somebody else. Cursors in fleet/ may then stand past the newest pack of the copy: opening it sets them back. "format"
 * last: a copy that was cut short is not taken for a data directory. */
#include "db.h"
#include "env.h"
#include "mem.h"
#include "partition.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_ROOM (UINT64_C(8) << 30) /* copying holds up the growth of the map: grow it before */
#define MAX_FILE (UINT64_C(1) << 30)

struct backup {
    struct db *db;
    const char *from, *to; /* of the directory being copied */
    uint64_t done, all;
    void (*progress)(void *ctx, uint64_t done, uint64_t all);
    void *ctx;
    struct error *err;
};

static void advance(struct backup *b, uint64_t bytes) {
    b->done += bytes;
    if (b->done > b->all) b->all = b->done;
    if (b->progress) b->progress(b->ctx, b->done, b->all);
}

static enum status refuse_name(void *ctx, const char *name) {
    (void)ctx;
    (void)name;
    return ST_EXISTS;
}

static enum status prepare(const char *dir, struct error *err) {
    enum status st = file_make_dir(dir, 0700, err);
    if (!st) st = file_list_dir(dir, refuse_name, NULL, err);
    if (st == ST_EXISTS) error_set(err, st, "%s is not empty; a backup needs a directory of its own", dir);
    return st;
}

static enum status copy_env(struct backup *b, struct env *e, const char *kind, const char *day, bool room) {
    char *parent = file_join(b->to, kind), *path = day ? file_join(parent, day) : mem_strdup(parent);
    enum status st = file_make_dir(path, 0700, b->err);
    if (!st && room) st = env_reserve(e, MAP_ROOM, b->err);
    if (!st) st = env_copy(e, path, b->err);
    if (!st) st = file_sync_dir(parent, b->err);
    if (!st) advance(b, env_file_bytes(e));
    mem_free(path);
    mem_free(parent);
    return st;
}

static enum status copy_partitions(struct backup *b, struct partition **parts, size_t n) {
    enum status st = ST_OK;
    for (size_t i = 0; i < n && !st; i++) {
        bool room = i + 1 == n && !b->db->options.read_only;
        st = copy_env(b, parts[i]->events, "events", parts[i]->day, room);
    }
    return st;
}

/* ---- plain files ---- */

static enum status copy_tree(struct backup *b, const char *from, const char *to, bool top);

static enum status copy_file(struct backup *b, const char *from, const char *to, unsigned mode) {
    struct buf bytes = {0};
    enum status st = file_read(from, MAX_FILE, &bytes, b->err);
    if (st == ST_NOTFOUND) return ST_OK; /* removed meanwhile */
    if (!st) st = file_replace(to, buf_slice(&bytes), mode & 0044 ? 0644 : 0600, b->err);
    if (!st) advance(b, bytes.len);
    mem_wipe(bytes.p, bytes.len); /* may have been a key */
    buf_free(&bytes);
    return st;
}

struct tree {
    struct backup *b;
    const char *from, *to;
    bool top;
};

static bool is_ours(const char *name) { /* what is copied by other means, or not at all */
    static const char *const names[] = {"LOCK", "format", "events", "index", "fleet"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) return true;
    }
    return false;
}

static bool is_same(const struct stat *sb, const char *path) { /* a backup inside the data directory */
    struct stat other;
    return !stat(path, &other) && other.st_dev == sb->st_dev && other.st_ino == sb->st_ino;
}

static enum status copy_entry(void *ctx, const char *name) {
    const struct tree *t = ctx;
    if (t->top && is_ours(name)) return ST_OK;
    char *from = file_join(t->from, name), *to = file_join(t->to, name);
    struct stat sb;
    enum status st = ST_OK;
    if (!lstat(from, &sb)) { /* sockets and links stay behind */
        if (S_ISDIR(sb.st_mode) && !is_same(&sb, t->b->to)) st = copy_tree(t->b, from, to, false);
        if (S_ISREG(sb.st_mode)) st = copy_file(t->b, from, to, sb.st_mode);
    }
    mem_free(from);
    mem_free(to);
    return st;
}

static enum status copy_tree(struct backup *b, const char *from, const char *to, bool top) {
    struct tree t = {.b = b, .from = from, .to = to, .top = top};
    enum status st = file_make_dir(to, 0700, b->err);
    return st ? st : file_list_dir(from, copy_entry, &t, b->err);
}

static enum status copy_format(struct backup *b) {
    char *from = file_join(b->db->dir, "format"), *to = file_join(b->to, "format");
    enum status st = copy_file(b, from, to, 0600);
    mem_free(from);
    mem_free(to);
    return st;
}

enum status db_backup(struct db *db, const char *dir, void (*progress)(void *ctx, uint64_t done, uint64_t all),
                      void *ctx, struct error *err) {
    struct backup b = {.db = db, .from = db->dir, .to = dir, .progress = progress, .ctx = ctx, .err = err};
    struct partition **parts;
    enum status st = prepare(dir, err);
    if (st) return st;
    size_t n = partitions_hold(db, &parts);
    for (size_t i = 0; i < n; i++) b.all += env_file_bytes(parts[i]->events);
    b.all += env_file_bytes(db->fleet);
    st = copy_partitions(&b, parts, n);
    if (!st) st = copy_env(&b, db->fleet, "fleet", NULL, false);
    if (!st) st = copy_tree(&b, db->dir, dir, true);
    if (!st) st = copy_format(&b);
    partitions_release(parts, n, db);
    return st ? error_prefix(err, st, "the backup is not complete; delete %s and try again", dir) : ST_OK;
}
