/* Result codes as names and sentences. No state. */
#include "status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
} statuses[] = {
#define STATUS_ROW(name, text) {#name, text},
    STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

const char *status_name(enum status st) {
    return (unsigned)st < ST_COUNT ? statuses[st].name : "ST_?";
}

const char *status_text(enum status st) {
    return (unsigned)st < ST_COUNT ? statuses[st].text : "unknown status";
}

enum status status_from_errno(int err) {
    switch (err) {
    case 0: return ST_OK;
#ifdef EDQUOT
    case EDQUOT:
#endif
    case ENOSPC: return ST_FULL;
    case ENOENT: return ST_NOTFOUND;
    case EEXIST: return ST_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS: return ST_DENIED;
    case ENOMEM: return ST_NOMEM;
    case EINVAL: return ST_INVALID;
    case EBUSY: return ST_BUSY;
    case EAGAIN: return ST_AGAIN;
    case ETIMEDOUT: return ST_TIMEOUT;
    default: return ST_IO;
    }
}

enum status(error_set)(struct error *err, enum status code, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        err->code = code;
    }
    return code;
}

enum status error_prefix(struct error *err, enum status code, const char *fmt, ...) {
    if (err) {
        char prefix[ERROR_TEXT_MAX / 2];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(prefix, sizeof prefix, fmt, ap);
        va_end(ap);
        size_t n = strlen(prefix), room = sizeof err->msg - n - 3, old = strlen(err->msg);
        memmove(err->msg + n + 2, err->msg, old < room ? old : room);
        err->msg[n + 2 + (old < room ? old : room)] = 0;
        memcpy(err->msg, prefix, n);
        memcpy(err->msg + n, ": ", 2);
        err->code = code;
    }
    return code;
}
