/* Answers as bytes. */
#include "reply.h"
#include "clock.h"
#include "text.h"

#include <stdio.h>
#include <time.h>

static const struct {
    int http;
    const char *title;
} titles[] = {{100, "Continue"},
              {200, "OK"},
              {201, "Created"},
              {400, "Bad Request"},
              {401, "Unauthorized"},
              {403, "Forbidden"},
              {404, "Not Found"},
              {405, "Method Not Allowed"},
              {406, "Not Acceptable"},
              {408, "Request Timeout"},
              {409, "Conflict"},
              {413, "Content Too Large"},
              {414, "URI Too Long"},
              {415, "Unsupported Media Type"},
              {417, "Expectation Failed"},
              {422, "Unprocessable Content"},
              {431, "Request Header Fields Too Large"},
              {500, "Internal Server Error"},
              {501, "Not Implemented"},
              {503, "Service Unavailable"},
              {505, "HTTP Version Not Supported"},
              {507, "Insufficient Storage"}};

static const char *title_of(int http) {
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) {
        if (titles[i].http == http) return titles[i].title;
    }
    return "Unknown";
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static void put_date(struct buf *out, uint64_t now) {
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)filetime_to_unix(now);
    struct tm tm;
    if (!gmtime_r(&t, &tm)) return;
    buf_printf(out, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
               tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void reply_head(struct buf *out, const struct reply_head *h) {
    buf_printf(out, "HTTP/1.1 %d %s\r\n", h->http, title_of(h->http));
    put_date(out, h->now);
    buf_printf(out, "Content-Type: %s\r\n", h->type);
    if (h->chunked) {
        buf_str(out, "Transfer-Encoding: chunked\r\n");
        if (h->trailer) buf_printf(out, "Trailer: %s\r\n", h->trailer);
    } else {
        buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)h->length);
    }
    if (h->allow && *h->allow) buf_printf(out, "Allow: %s\r\n", h->allow);
    if (h->ask_token) buf_str(out, "WWW-Authenticate: Bearer realm=\"haechi\"\r\n");
    if (h->retry_after_s) buf_printf(out, "Retry-After: %u\r\n", h->retry_after_s);
    buf_str(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    if (h->close) buf_str(out, "Connection: close\r\n");
    buf_str(out, "\r\n");
}

void reply_chunk(struct buf *out, struct slice bytes) {
    if (!bytes.len) return;
    buf_printf(out, "%zx\r\n", bytes.len);
    buf_slice_append(out, bytes);
    buf_str(out, "\r\n");
}

void reply_last_chunk(struct buf *out, const char *trailer, uint64_t value) {
    buf_str(out, "0\r\n");
    if (trailer) buf_printf(out, "%s: %llu\r\n", trailer, (unsigned long long)value);
    buf_str(out, "\r\n");
}

void reply_problem_begin(struct buf *out, int http, const char *detail) {
    buf_printf(out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"", title_of(http), http);
    text_json(out, slice_str(detail));
    buf_byte(out, '"');
}

void reply_problem(struct buf *out, int http, const char *detail) {
    reply_problem_begin(out, http, detail);
    buf_str(out, "}\n");
}

int reply_http_of(enum status st) {
    switch (st) {
    case ST_INVALID:
    case ST_FORMAT:
    case ST_PROTO: return 400;
    case ST_DENIED: return 403;
    case ST_NOTFOUND: return 404;
    case ST_EXISTS:
    case ST_EXPIRED:
    case ST_REVOKED: return 409;
    case ST_TOOBIG: return 413;
    case ST_BUSY:
    case ST_AGAIN:
    case ST_CANCELLED: return 503;
    case ST_FULL: return 507;
    default: return 500;
    }
}
