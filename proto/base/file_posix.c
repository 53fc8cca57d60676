/* Files on POSIX systems. What counts is what a power cut leaves: a new name is durable once its directory is synced,
 * a replaced file is the old or the new one and never a part, an append that fails is cut back. Modes do not depend on
 * the umask. A struct file belongs to one thread at a time; the other functions have no state. */
#include "file.h"
#include "crash.h"
#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct file {
    int fd;
    uint64_t len;
    enum status sync_failed; /* the kernel may have dropped what it could not write: later syncs must not say "done" */
    char *path;
};

static enum status fail(struct error *err, int error_number, const char *doing, const char *path) {
    enum status st = status_from_errno(error_number);
    return error_set(err, st == ST_OK ? ST_IO : st, "%s %s: %s", doing, path, strerror(error_number));
}

static int open_retry(const char *path, int flags, mode_t mode) {
    int fd;
    do fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

char *file_join(const char *dir, const char *name) {
    size_t n = strlen(dir), m = strlen(name);
    char *s = mem_alloc(n + m + 2);
    memcpy(s, dir, n);
    if (n && dir[n - 1] != '/') s[n++] = '/';
    memcpy(s + n, name, m + 1);
    return s;
}

/* The directory that holds path, as a new string. */
static char *parent_of(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
    return n ? mem_strndup(path, n) : mem_strdup(".");
}

MUST_USE enum status file_sync_dir(const char *path, struct error *err) {
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return fail(err, errno, "cannot open directory", path);
    enum status st = ST_OK;
    /* EINVAL: a file system that cannot sync directories (some network and FUSE ones) */
    if (fsync(fd) && errno != EINVAL) st = fail(err, errno, "cannot sync directory", path);
    close(fd);
    return st;
}

static enum status sync_parent(const char *path, struct error *err) {
    char *dir = parent_of(path);
    enum status st = file_sync_dir(dir, err);
    mem_free(dir);
    return st;
}

/* ---- whole files ---- */

MUST_USE enum status file_read(const char *path, size_t max_len, struct buf *out, struct error *err) {
    int fd = open_retry(path, O_RDONLY, 0);
    if (fd < 0) return fail(err, errno, "cannot open", path);
    size_t start = out->len;
    struct stat sb;
    size_t guess = fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size > 0 ? (size_t)sb.st_size : 0;
    enum status st = ST_OK;
    if (guess > max_len) {
        st = error_set(err, ST_TOOBIG, "%s has %zu bytes, more than the limit of %zu", path, guess, max_len);
    }
    while (!st) {
        size_t want = guess > out->len - start ? guess - (out->len - start) + 1 : 4096;
        st = buf_try_reserve(out, want, SIZE_MAX);
        if (st) {
            st = error_set(err, st, "no memory to read %s", path);
            break;
        }
        ssize_t n = read(fd, out->p + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = fail(err, errno, "cannot read", path);
        if (n <= 0) break;
        out->len += (size_t)n;
        if (out->len - start > max_len) {
            st = error_set(err, ST_TOOBIG, "%s has more than the limit of %zu bytes", path, max_len);
        }
    }
    close(fd);
    if (st) out->len = start;
    return st;
}

/* All of bytes at `at`; the errno of the first failure, or 0. */
static int write_at(int fd, struct slice bytes, uint64_t at) {
    while (bytes.len) {
        ssize_t n = pwrite(fd, bytes.p, bytes.len, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return ENOSPC;
        bytes = slice_from(bytes, (size_t)n);
        at += (uint64_t)n;
    }
    return 0;
}

/* A new file beside path that no other thread or process uses; what an earlier process of our number left is removed. */
static int open_beside(const char *path, char **ret_name) {
    static atomic_uint counter;
    char suffix[48];
    snprintf(suffix, sizeof suffix, ".%ld-%u.tmp", (long)getpid(), atomic_fetch_add(&counter, 1));
    size_t n = strlen(path), m = strlen(suffix);
    char *name = mem_alloc(n + m + 1);
    memcpy(name, path, n);
    memcpy(name + n, suffix, m + 1);
    int fd = open_retry(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST && unlink(name) == 0) {
        fd = open_retry(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    }
    *ret_name = name;
    return fd;
}

MUST_USE enum status file_replace(const char *path, struct slice bytes, unsigned mode, struct error *err) {
    char *name;
    int fd = open_beside(path, &name);
    if (fd < 0) {
        enum status st = fail(err, errno, "cannot create", name);
        mem_free(name);
        return st;
    }
    int failed = write_at(fd, bytes, 0);
    if (!failed && fchmod(fd, mode)) failed = errno;
    if (!failed && fsync(fd)) failed = errno;
    if (close(fd) && !failed && errno != EINTR) failed = errno;
    crash_point("file_replace");
    if (!failed && rename(name, path)) failed = errno;
    enum status st = failed ? fail(err, failed, "cannot write", path) : sync_parent(path, err);
    if (failed) unlink(name);
    mem_free(name);
    return st;
}

MUST_USE enum status file_remove(const char *path, struct error *err) {
    if (unlink(path)) return errno == ENOENT ? ST_OK : fail(err, errno, "cannot remove", path);
    return sync_parent(path, err);
}

MUST_USE enum status file_rename(const char *from, const char *to, struct error *err) {
    if (rename(from, to)) return fail(err, errno, "cannot rename to", to);
    char *a = parent_of(from), *b = parent_of(to);
    enum status st = file_sync_dir(b, err);
    if (!st && strcmp(a, b) != 0) st = file_sync_dir(a, err);
    mem_free(a);
    mem_free(b);
    return st;
}

/* ---- directories ---- */

static enum status make_one_dir(const char *path, unsigned mode, struct error *err) {
    struct stat sb;
    if (mkdir(path, 0700) == 0) {
        if (chmod(path, mode)) return fail(err, errno, "cannot set the mode of", path);
        return sync_parent(path, err);
    }
    int failed = errno;
    if (stat(path, &sb)) return fail(err, failed, "cannot create directory", path);
    if (S_ISDIR(sb.st_mode)) return ST_OK;
    return error_set(err, ST_EXISTS, "%s is there and is not a directory", path);
}

MUST_USE enum status file_make_dir(const char *path, unsigned mode, struct error *err) {
    if (!*path) return error_set(err, ST_INVALID, "the name of a directory is empty");
    char *s = mem_strdup(path);
    enum status st = ST_OK;
    for (char *slash = strchr(s + 1, '/'); slash && !st; slash = strchr(slash + 1, '/')) {
        if (slash[-1] == '/' || !slash[1]) continue;
        *slash = 0;
        st = make_one_dir(s, mode, err);
        *slash = '/';
    }
    if (!st) st = make_one_dir(s, mode, err);
    mem_free(s);
    return st;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

MUST_USE enum status file_list_dir(const char *path, enum status (*fn)(void *ctx, const char *name), void *ctx,
                                   struct error *err) {
    DIR *dir = opendir(path);
    if (!dir) return fail(err, errno, "cannot list", path);
    char **names = NULL;
    size_t n = 0, cap = 0;
    enum status st = ST_OK;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e) {
            if (errno) st = fail(err, errno, "cannot list", path);
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        mem_grow((void **)&names, n, &cap, sizeof *names);
        names[n++] = mem_strdup(e->d_name);
    }
    closedir(dir);
    if (n) qsort(names, n, sizeof *names, by_bytes);
    for (size_t i = 0; i < n; i++) {
        if (!st) st = fn(ctx, names[i]);
        mem_free(names[i]);
    }
    mem_free(names);
    return st;
}

bool file_exists(const char *path) {
    struct stat sb;
    return stat(path, &sb) == 0;
}

MUST_USE enum status file_size(const char *path, uint64_t *ret_len, struct error *err) {
    struct stat sb;
    if (stat(path, &sb)) return fail(err, errno, "cannot stat", path);
    *ret_len = (uint64_t)sb.st_size;
    return ST_OK;
}

MUST_USE enum status file_space(const char *path, uint64_t *ret_free, uint64_t *ret_total, struct error *err) {
    struct statvfs v;
    if (statvfs(path, &v)) return fail(err, errno, "cannot ask for the free space of", path);
    *ret_free = (uint64_t)v.f_bavail * v.f_frsize;
    *ret_total = (uint64_t)v.f_blocks * v.f_frsize;
    return ST_OK;
}

/* ---- open files ---- */

/* Opens for reading and writing; a new file gets mode 0600, and its name is made durable. */
static int open_or_create(const char *path, enum status *ret_st, struct error *err) {
    for (int tries = 0; tries < 10; tries++) {
        int fd = open_retry(path, O_RDWR, 0);
        if (fd >= 0 || errno != ENOENT) return fd;
        fd = open_retry(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd < 0 && errno == EEXIST) continue;
        if (fd < 0) return fd;
        if (fchmod(fd, 0600)) {
            *ret_st = fail(err, errno, "cannot set the mode of", path);
        } else {
            *ret_st = sync_parent(path, err);
        }
        return fd;
    }
    errno = EAGAIN;
    return -1;
}

MUST_USE enum status file_open(const char *path, enum file_mode mode, struct file **ret, struct error *err) {
    enum status st = ST_OK;
    int fd = mode == FILE_READ ? open_retry(path, O_RDONLY, 0) : open_or_create(path, &st, err);
    if (fd < 0) return fail(err, errno, "cannot open", path);
    struct stat sb;
    if (!st && fstat(fd, &sb)) st = fail(err, errno, "cannot stat", path);
    if (!st && S_ISDIR(sb.st_mode)) st = error_set(err, ST_INVALID, "%s is a directory", path);
    if (st) {
        close(fd);
        return st;
    }
    struct file *f = mem_zalloc(sizeof *f);
    f->fd = fd;
    f->len = (uint64_t)sb.st_size;
    f->path = mem_strdup(path);
    *ret = f;
    return ST_OK;
}

void file_close(struct file **f) {
    if (!*f) return;
    close((*f)->fd);
    mem_free((*f)->path);
    mem_free(*f);
    *f = NULL;
}

uint64_t file_length(const struct file *f) {
    return f->len;
}

MUST_USE enum status file_read_at(struct file *f, uint64_t at, void *into, size_t want, size_t *ret_got,
                                  struct error *err) {
    size_t got = 0;
    if (at > INT64_MAX - want) return error_set(err, ST_INVALID, "position out of range in %s", f->path);
    while (got < want) {
        ssize_t n = pread(f->fd, (uint8_t *)into + got, want - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(err, errno, "cannot read", f->path);
        if (n == 0) break;
        got += (size_t)n;
    }
    *ret_got = got;
    return ST_OK;
}

MUST_USE enum status file_append(struct file *f, struct slice bytes, struct error *err) {
    int failed = write_at(f->fd, bytes, f->len);
    if (!failed) {
        f->len += bytes.len;
        return ST_OK;
    }
    enum status st = fail(err, failed, "cannot append to", f->path);
    /* A cut that fails leaves bytes past f->len: the next append writes over them. */
    if (ftruncate(f->fd, (off_t)f->len)) st = error_prefix(err, st, "and its end could not be cut back");
    return st;
}

MUST_USE enum status file_truncate(struct file *f, uint64_t len, struct error *err) {
    int rc;
    do rc = ftruncate(f->fd, (off_t)len);
    while (rc && errno == EINTR);
    if (rc) return fail(err, errno, "cannot cut", f->path);
    f->len = len;
    return ST_OK;
}

MUST_USE enum status file_sync(struct file *f, struct error *err) {
    if (f->sync_failed) {
        return error_set(err, f->sync_failed, "%s could not be synced before: open it anew", f->path);
    }
    int rc;
    do rc = fdatasync(f->fd);
    while (rc && errno == EINTR);
    if (!rc) return ST_OK;
    return f->sync_failed = fail(err, errno, "cannot sync", f->path);
}

MUST_USE enum status file_lock(const char *path, struct file **ret, struct error *err) {
    struct file *f = NULL;
    enum status st = file_open(path, FILE_RDWR, &f, err);
    if (st) return st;
    if (flock(f->fd, LOCK_EX | LOCK_NB)) {
        int failed = errno;
        char pid[24] = "";
        size_t n = 0;
        if (file_read_at(f, 0, pid, sizeof pid - 1, &n, NULL)) n = 0;
        pid[strspn(pid, "0123456789")] = 0;
        if (failed == EWOULDBLOCK) {
            st = error_set(err, ST_BUSY, "%s is locked by another process%s%s", path, *pid ? ", number " : "", pid);
        } else {
            st = fail(err, failed, "cannot lock", path);
        }
        file_close(&f);
        return st;
    }
    char pid[24]; /* for people; the lock is the kernel's */
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (file_truncate(f, 0, NULL) == ST_OK && file_append(f, slice_of(pid, (size_t)n), NULL) != ST_OK) f->len = 0;
    *ret = f;
    return ST_OK;
}
