/* Result codes and the error text that a person gets to read.
 *
 * Every function that can fail returns `enum status`; numbers of foreign libraries are translated to it in the one
 * file that owns the library. Where a person has to mend something, `struct error` carries the sentence for them. */
#ifndef HAECHI_STATUS_H
#define HAECHI_STATUS_H

#define MUST_USE __attribute__((warn_unused_result))
#if defined(__MINGW32__) /* its own snprintf knows %zu, the system's would not */
#define PRINTF_LIKE(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#else
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#endif

/* name, text for people */
#define STATUS_LIST(X)                                                  \
    X(ST_OK, "done")                                                    \
    X(ST_AGAIN, "not now, try again")                                   \
    X(ST_END, "end of the data")                                        \
    X(ST_NOMEM, "out of memory or over a memory limit")                 \
    X(ST_TOOBIG, "larger than the limit")                               \
    X(ST_FORMAT, "malformed data")                                      \
    X(ST_CORRUPT, "damaged data: a checksum or a length does not hold") \
    X(ST_VERSION, "a version or feature that is not supported")         \
    X(ST_INVALID, "invalid argument")                                   \
    X(ST_NOTFOUND, "not found")                                         \
    X(ST_EXISTS, "exists already")                                      \
    X(ST_DENIED, "refused")                                             \
    X(ST_AUTH, "the identity of the peer could not be verified")        \
    X(ST_EXPIRED, "expired")                                            \
    X(ST_REVOKED, "revoked")                                            \
    X(ST_PROTO, "the peer broke the protocol")                          \
    X(ST_TLS, "TLS failure")                                            \
    X(ST_IO, "input/output error")                                      \
    X(ST_FULL, "no space left")                                         \
    X(ST_TIMEOUT, "timed out")                                          \
    X(ST_CLOSED, "closed")                                              \
    X(ST_CANCELLED, "cancelled")                                        \
    X(ST_BUSY, "busy or locked by another process")

enum status {
#define STATUS_ENUM(name, text) name,
    STATUS_LIST(STATUS_ENUM)
#undef STATUS_ENUM
        ST_COUNT
};

const char *status_name(enum status st); /* "ST_TOOBIG" */
const char *status_text(enum status st); /* "larger than the limit" */

/* From errno: ENOSPC and EDQUOT -> ST_FULL, ENOENT -> ST_NOTFOUND, EACCES -> ST_DENIED, ... else ST_IO. */
enum status status_from_errno(int err);

#define ERROR_TEXT_MAX 512

/* What went wrong, where, and what to do about it: one line without a final full stop or newline. */
struct error {
    enum status code;
    char msg[ERROR_TEXT_MAX];
};

/* Fills *err (which may be NULL) and returns code, so that `return error_set(err, ST_FORMAT, "...")` works. */
enum status error_set(struct error *err, enum status code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#ifdef __clang_analyzer__
/* That it returns its code, for a tool that sees one file at a time. */
#define error_set(err, code, ...) ((error_set)((err), (code), __VA_ARGS__), (code))
#endif

/* Puts "prefix: " before the text that *err holds already; returns err->code. err may be NULL. */
enum status error_prefix(struct error *err, enum status code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
