/* Files, as far as the portable code needs them. Paths are UTF-8. Bodies: file_posix.c (and file_win.c).
 * Blocking: never called on a loop thread. Errors: status_from_errno, with a full sentence in *err (may be NULL). */
#ifndef HAECHI_FILE_H
#define HAECHI_FILE_H

#include "buf.h"

/* The whole file into *out (appended); ST_TOOBIG over max_len. */
MUST_USE enum status file_read(const char *path, size_t max_len, struct buf *out, struct error *err);

/* Replaces the file's content at once or not at all: temporary file beside it, fsync, rename, fsync of the directory.
 * On failure the old file stays. `mode`: 0600 or 0644. */
MUST_USE enum status file_replace(const char *path, struct slice bytes, unsigned mode, struct error *err);

MUST_USE enum status file_remove(const char *path, struct error *err); /* ST_OK also when absent */
MUST_USE enum status file_rename(const char *from, const char *to,
                                 struct error *err); /* replaces; syncs the directory */
MUST_USE enum status file_make_dir(const char *path, unsigned mode,
                                   struct error *err); /* with parents; ST_OK if there */
MUST_USE enum status file_sync_dir(const char *path, struct error *err);
bool file_exists(const char *path);
MUST_USE enum status file_size(const char *path, uint64_t *ret_len, struct error *err);

/* Calls fn for each name in the directory (not "." and ".."), sorted by byte order; stops at the first that does not
 * return ST_OK and returns that. */
MUST_USE enum status file_list_dir(const char *path, enum status (*fn)(void *ctx, const char *name), void *ctx,
                                   struct error *err);

/* An open file for positioned reads and appends. */
struct file;
enum file_mode { FILE_READ, FILE_APPEND /* creates, 0600, read too */, FILE_RDWR /* creates, 0600 */ };
MUST_USE enum status file_open(const char *path, enum file_mode mode, struct file **ret, struct error *err);
void file_close(struct file **f);
uint64_t file_length(const struct file *f);
/* Up to `want` bytes at `at`; *ret_got < want only at the end of the file. */
MUST_USE enum status file_read_at(struct file *f, uint64_t at, void *into, size_t want, size_t *ret_got,
                                  struct error *err);
MUST_USE enum status file_append(struct file *f, struct slice bytes,
                                 struct error *err); /* all, or the file is cut back */
MUST_USE enum status file_truncate(struct file *f, uint64_t len, struct error *err);
MUST_USE enum status file_sync(struct file *f, struct error *err); /* data on the device (fdatasync) */
/* After a failed file_sync what was written since the last good one may be lost, and every later one fails too: cut the
 * file back or set it aside, and open it anew. */

/* Takes an exclusive lock for the life of the process (lock file, created): ST_BUSY when another process has it. */
MUST_USE enum status file_lock(const char *path, struct file **ret, struct error *err);

/* Bytes free and total on the file system of path. */
MUST_USE enum status file_space(const char *path, uint64_t *ret_free, uint64_t *ret_total, struct error *err);

/* dir + "/" + name into a new string (mem_free). */
char *file_join(const char *dir, const char *name);

#endif
