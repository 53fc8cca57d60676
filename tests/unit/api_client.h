/* For the tests of the API: a blocking client on its unix socket. `server` is the socket's path. */
#ifndef HAECHI_API_CLIENT_H
#define HAECHI_API_CLIENT_H

#include "buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static inline int dial(const char *server) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {20, 0};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", server);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static inline bool say(int fd, struct slice s) {
    while (s.len) {
        ssize_t n = send(fd, s.p, s.len, MSG_NOSIGNAL);
        if (n <= 0) return false;
        s = slice_from(s, (size_t)n);
    }
    return true;
}

/* More of the reply into *b: false at its end. */
static inline bool hear(int fd, struct buf *b) {
    uint8_t piece[65536];
    ssize_t n = recv(fd, piece, sizeof piece, 0);
    if (n < 0) fail_msg("no answer: %s", strerror(errno));
    buf_append(b, piece, (size_t)n);
    return n > 0;
}

struct reply {
    int status;
    struct buf head, body;
    bool whole;
};

static inline void reply_free(struct reply *r) {
    buf_free(&r->head);
    buf_free(&r->body);
}

/* Takes the chunks that are whole; true at the last one. */
static inline bool unchunk(struct buf *in, struct buf *out) {
    for (;;) {
        char *end, *text = (char *)(uintptr_t)buf_cstr(in);
        unsigned long n = strtoul(text, &end, 16);
        if (!strstr(text, "\r\n")) return false;
        size_t head = (size_t)(end - text) + 2;
        if (!n) return in->len >= head + 2 && memcmp(in->p + in->len - 4, "\r\n\r\n", 4) == 0;
        if (in->len < head + n + 2) return false;
        buf_append(out, in->p + head, n);
        buf_consume(in, head + n + 2);
    }
}

/* One reply; what comes after it stays in *rest. */
static inline struct reply read_reply(int fd, struct buf *rest) {
    struct reply r = {0};
    char *end;
    while (!(end = strstr((char *)(uintptr_t)buf_cstr(rest), "\r\n\r\n"))) {
        if (!hear(fd, rest)) return r;
    }
    size_t head = (size_t)(end - (char *)rest->p) + 4;
    buf_append(&r.head, rest->p, head);
    buf_consume(rest, head);
    r.status = atoi(buf_cstr(&r.head) + 9);
    char *length = strstr((char *)r.head.p, "Content-Length: ");
    if (length) {
        size_t n = strtoul(length + 16, NULL, 10);
        while (rest->len < n && hear(fd, rest)) continue;
        r.whole = rest->len >= n;
        buf_append(&r.body, rest->p, r.whole ? n : rest->len);
        buf_consume(rest, r.whole ? n : rest->len);
        return r;
    }
    while (!(r.whole = unchunk(rest, &r.body)) && hear(fd, rest)) continue;
    buf_clear(rest);
    return r;
}

static inline struct reply ask(const char *server, const char *request) {
    struct buf rest = {0};
    int fd = dial(server);
    (void)say(fd, slice_str(request));
    struct reply r = read_reply(fd, &rest);
    close(fd);
    buf_free(&rest);
    return r;
}

static inline struct reply get(const char *server, const char *path) {
    struct buf b = {0};
    buf_printf(&b, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    struct reply r = ask(server, buf_cstr(&b));
    buf_free(&b);
    return r;
}

static inline struct reply post(const char *server, const char *path, const char *type, struct slice body) {
    struct buf b = {0}, rest = {0};
    buf_printf(&b, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", path, type,
               body.len);
    buf_slice_append(&b, body);
    int fd = dial(server);
    (void)say(fd, buf_slice(&b));
    struct reply r = read_reply(fd, &rest);
    close(fd);
    buf_free(&b);
    buf_free(&rest);
    return r;
}

static inline size_t lines(const struct buf *b) {
    size_t n = 0;
    for (size_t i = 0; i < b->len; i++) n += b->p[i] == '\n';
    return n;
}

static inline void expect(struct reply r, int status, const char *part) {
    if (r.status != status || !r.whole || !strstr(buf_cstr(&r.body), part)) {
        fail_msg("wanted %d with \"%s\", got %d%s: %.600s", status, part, r.status, r.whole ? "" : " (cut)",
                 buf_cstr(&r.body));
    }
    reply_free(&r);
}

#endif
