/* The agent's state directory: its key, who it is, and which collectors it knows.
 *
 *     STATE/key.pem     the private key, 0600: made on this host, never leaves it. On Windows STATE/key.dpapi, sealed for
 *                       this machine by the system
 *     STATE/identity    certificate, CA and host name in one file, so that they change together or not at all
 *     STATE/lock        held by a running agent (`send` works beside it)
 *     STATE/enroll.conf, STATE/enrolment     setup.h, enroll_wait.h: a token that waits to be used, and what became of it
 *     STATE/bookmarks, STATE/gaps, STATE/spool/, STATE/rejected/, STATE/status      bookmarks.h, gaps.h, spool.h, feeder.h, progress.h
 *
 * Bodies: keystore.c, identity.c; keystore_dir, keystore_key, keystore_check_file: keystore_posix.c,
 * keystore_win.c, keystore_dir_win.c. Blocking. */
#ifndef HAECHI_KEYSTORE_H
#define HAECHI_KEYSTORE_H

#include "buf.h"
#include "file.h"

#define KEYSTORE_MAX_COLLECTORS 16u
#define KEYSTORE_NAME_MAX 128
#define KEYSTORE_IDENTITY_MAX (256u * 1024)

struct identity { /* zero, or owned: identity_free */
    uint32_t host_id;
    char host_name[KEYSTORE_NAME_MAX];
    uint8_t pin[32]; /* of the CA that it was enrolled with */
    char *collectors[KEYSTORE_MAX_COLLECTORS];
    size_t n_collectors;
    struct buf certificate, ca;     /* PEM */
    struct buf key;                 /* PEM; wiped when freed */
    uint64_t not_before, not_after; /* of the certificate, FILETIME */
};
void identity_free(struct identity *id);
void identity_add_collector(struct identity *id, struct slice address); /* copies; ignored when full */

/* Makes the state directory if need be, for this account (and the system's administrators) alone. ST_DENIED on Windows
 * when a stranger made it, who could read what is put there. */
MUST_USE enum status keystore_dir(const char *dir, struct error *err);
#if defined(_WIN32)
/* Lets an account, named as the service manager names it, use the state directory (made) and all that is in it. */
MUST_USE enum status keystore_grant(const char *dir, const char *account, struct error *err);
#endif
/* A file that is there: ST_DENIED when it belongs to a stranger or (POSIX) others than its owner can read or change it. */
MUST_USE enum status keystore_check_file(const char *path, struct error *err);
/* Takes the state directory for this process (made, 0700): ST_BUSY when another agent runs with it. */
MUST_USE enum status keystore_lock(const char *dir, struct file **ret, struct error *err);
/* The key that is there, or a new one that is on disk when this returns. */
MUST_USE enum status keystore_key(const char *dir, struct buf *ret_pem, struct error *err);
/* ST_NOTFOUND: this host is not enrolled (the sentence says what to do). ST_FORMAT: a damaged file. */
MUST_USE enum status keystore_load(const char *dir, struct identity *ret, struct error *err);
MUST_USE enum status keystore_save(const char *dir, const struct identity *id, struct error *err);

/* ---- pure ---- */
void identity_write(const struct identity *id, struct buf *out); /* without the key */
MUST_USE enum status identity_parse(struct slice text, struct identity *ret, struct error *err);

#endif
