/* Log lines: formatted on the caller's stack, written with one fwrite, so that lines of several threads never mix. */
#include "log.h"
#include "buf.h"
#include "clock.h"
#include "text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define LOG_LINE_MAX 2048
#define LOG_PEER_MAX 200

static atomic_int current_level = LOG_INFO;
static bool journal;
static void (*redirect)(void *, enum log_level, const char *);
static void *redirect_ctx;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_init(const char *program, enum log_level level) {
    (void)program;
    journal = getenv("JOURNAL_STREAM") != NULL;
    log_set_level(level);
}

void log_set_level(enum log_level level) {
    atomic_store(&current_level, (int)level);
}

MUST_USE enum status log_level_parse(struct slice name, enum log_level *ret) {
    for (int i = 0; i < 4; i++) {
        if (slice_eq_str(name, level_names[i])) {
            *ret = (enum log_level)i;
            return ST_OK;
        }
    }
    return ST_INVALID;
}

void log_redirect(void (*fn)(void *ctx, enum log_level, const char *line), void *ctx) {
    redirect = fn;
    redirect_ctx = ctx;
}

static size_t put_prefix(char *line, enum log_level level, const char *area) {
    static const int priority[] = {3, 4, 6, 7};
    int n;
    if (journal) {
        n = snprintf(line, LOG_LINE_MAX, "<%d>%s: ", priority[level], area);
    } else {
        char now[FILETIME_TEXT_MAX];
        filetime_format(clock_wall(), 3, now);
        n = snprintf(line, LOG_LINE_MAX, "%s %s %s: ", now, level_names[level], area);
    }
    return n > 0 ? (size_t)n : 0;
}

void log_write(enum log_level level, const char *area, const char *fmt, ...) {
    if ((int)level > atomic_load(&current_level)) return;
    char line[LOG_LINE_MAX];
    size_t n = redirect ? 0 : put_prefix(line, level, area);
    va_list ap;
    va_start(ap, fmt);
    int more = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    if (more < 0) return;
    n += (size_t)more;
    if (n > sizeof line - 2) n = sizeof line - 2;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)line[i] < 0x20) line[i] = ' ';
    }
    line[n] = 0;
    if (redirect) {
        redirect(redirect_ctx, level, line);
        return;
    }
    line[n++] = '\n';
    fwrite(line, 1, n, stderr);
}

bool log_limit_pass(struct log_limit *l, unsigned every_ms, unsigned *ret_suppressed) {
    unsigned long long now = clock_mono_ms();
    if (l->last_ms && now - l->last_ms < every_ms) {
        l->suppressed++;
        return false;
    }
    *ret_suppressed = l->suppressed;
    l->suppressed = 0;
    l->last_ms = now ? now : 1;
    return true;
}

const char *log_peer(struct slice s) {
    static _Thread_local char ring[4][LOG_PEER_MAX * 8 + 8];
    static _Thread_local unsigned at;
    char *out = ring[at++ % 4];
    struct buf b = {0};
    text_printable(&b, s, LOG_PEER_MAX);
    size_t n = b.len < sizeof ring[0] - 1 ? b.len : sizeof ring[0] - 1;
    if (n) memcpy(out, b.p, n);
    out[n] = 0;
    buf_free(&b);
    return out;
}
